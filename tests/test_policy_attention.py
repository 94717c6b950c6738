"""The registered attention, both its ways, against the mathematics written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.errors import ModelError
from burnish.policy import attention

B, H, K, T, D = 2, 4, 2, 9, 8


def inputs(tokens: int = T, keys: int = K) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((B, H, tokens, D), (B, keys, tokens, D), (B, keys, tokens, D))
    query, key, value = (torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)
    return query, key, value


def written_out(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, cap: float | None) -> Tensor:
    """One query at a time, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.zeros_like(q)
    for h in range(H):
        group = h // (H // k.shape[1])
        for t in range(q.shape[2]):
            first = 0 if window is None else max(0, t - window + 1)
            scores = (k[:, group, first : t + 1] @ q[:, h, t, :, None])[..., 0] * scale
            if cap is not None:
                scores = cap * torch.tanh(scores / cap)
            out[:, h, t] = (scores.softmax(-1)[..., None] * v[:, group, first : t + 1]).sum(1)
    return out


@pytest.fixture(params=["explicit", "library"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which way short rows take; long ones take the library's."""
    if request.param == "library":
        monkeypatch.setattr(attention, "EXPLICIT_MAX_TOKENS", 0)
        monkeypatch.setattr(attention, "EXPLICIT_MAX_TOKENS_FLOAT32", 0)
    return str(request.param)


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 1, 4, T, 100])
@pytest.mark.parametrize("keys", [1, K, H])
def test_attention_is_the_mathematics(way: str, window: int | None, cap: float | None, keys: int) -> None:
    q, k, v = inputs(keys=keys)
    found = attention.causal(q, k, v, 0.3, window, cap)
    assert torch.allclose(found.double(), written_out(q, k, v, 0.3, window, cap), atol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_gradients_are_those_of_the_library(window: int | None) -> None:
    q, k, v = inputs()
    ahead = torch.ones(T, T, dtype=torch.bool).triu(1)
    if window is not None:
        ahead |= torch.ones(T, T, dtype=torch.bool).tril(-window)
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=~ahead, scale=0.3, enable_gqa=True)
    ours = attention.causal(q, k, v, 0.3, window, None)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        assert torch.allclose(mine, other, atol=1e-5)


def test_both_ways_agree_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = inputs(tokens=64)
    explicit = attention.causal(q, k, v, 0.3, None, None)
    monkeypatch.setattr(attention, "EXPLICIT_MAX_TOKENS", 63)
    monkeypatch.setattr(attention, "EXPLICIT_MAX_TOKENS_FLOAT32", 63)
    assert torch.allclose(explicit, attention.causal(q, k, v, 0.3, None, None), atol=1e-5)


def test_one_token_attends_to_itself(way: str) -> None:
    q, k, v = inputs(tokens=1)
    found = attention.causal(q, k, v, 0.3, None, None)
    assert torch.allclose(found, v.repeat_interleave(H // K, dim=1), atol=1e-6)


def test_the_interface_hands_back_tokens_before_heads() -> None:
    q, k, v = inputs()
    found, weights = attention.attention(torch.nn.Module(), q, k, v, None, scaling=0.3)
    assert weights is None
    assert torch.equal(found, attention.causal(q, k, v, 0.3, None, None).transpose(1, 2))


def test_the_scale_is_one_over_the_root_of_the_width_unless_given() -> None:
    q, k, v = inputs()
    found, _ = attention.attention(torch.nn.Module(), q, k, v, None)
    assert torch.allclose(found.transpose(1, 2), attention.causal(q, k, v, D**-0.5, None, None))


def test_attention_sinks_are_refused_and_not_ignored() -> None:
    with pytest.raises(ModelError, match="attention sinks"):
        attention.attention(torch.nn.Module(), *inputs(), None, s_aux=torch.zeros(H))
