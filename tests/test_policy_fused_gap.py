"""The compiled path, in every dress its families come in: as close to the learner as the module it replaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.learner.learner import Learner, Optimization
from burnish.policy import fused_layer, kernels
from burnish.policy.fused import Fused
from burnish.policy.model import Policy
from burnish.records import Sampling, Tokens
from tiny import by_key, joined, policy, prompts, requests

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True}),
    "llama, one key head": ("llama", {"num_key_value_heads": 1}),
    "llama, stretched": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
    "mistral, windowed": ("mistral", {}),
    "qwen2, half windowed": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3, tied": ("qwen3", {"tie_word_embeddings": True, "initializer_range": 0.05}),
    "qwen3 with biases": ("qwen3", {"attention_bias": True}),
    "qwen3, half windowed": ("qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
}


def subject(name: str) -> Policy:
    """With biases and norms that matter: transformers starts them at 0 and 1."""
    family, changes = VARIANTS[name]
    shape = {"hidden_size": 64, "head_dim": 32, "initializer_range": 0.1, "tie_word_embeddings": False}
    one = policy(family, torch.bfloat16, **{**shape, **changes})
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in one.module.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.3)
    return one


def drawn(engine: EmbeddedEngine) -> list[Tokens]:
    listed = requests(prompts((3, 17, 1, 9)), 4, Sampling(max_new=20, seed=3))
    return joined(listed, by_key(engine.generate(listed)))


def gaps(one: Policy, rows: list[Tokens]) -> list[float]:
    """Between what the sampler reported and what the learner says, for every sampled token, in nats."""
    scored = Learner(one, Optimization(1e-3, 1)).log_probs(rows)
    pairs = [
        (row.logprobs[t], own[t]) for row, own in zip(rows, scored, strict=True) for t in range(len(own)) if own[t]
    ]
    assert sum(learner for _, learner in pairs) / len(pairs) < -0.5, "the traces should be far from certain"
    return [abs(sampler - learner) for sampler, learner in pairs]


def mean_gap(one: Policy, rows: list[Tokens]) -> float:
    found = gaps(one, rows)
    return sum(found) / len(found)


@pytest.mark.skipif(
    not fused_layer.OURS,
    reason="this processor leaves products to the library, whose roundings go with their number of rows",
)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_learner_says_what_the_sampler_said(name: str) -> None:
    """Rows of one prompt together, one by one, and put by for want of pages: the same bits until the last sum in float32."""
    one = subject(name)
    few_pages = EmbeddedEngine(
        one, options=Options(page=16, cache_bytes=12 * EmbeddedEngine(one, options=Options(page=16)).page_bytes)
    )
    for engine in (EmbeddedEngine(one), EmbeddedEngine(one, rows=5), few_pages):
        rows = drawn(engine)
        assert max(gaps(one, rows)) < 2e-6
        assert max(gap for row in rows[::3] for gap in gaps(one, [row])) < 2e-6
    assert few_pages.preemptions > 0


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_no_further_from_the_learner_than_the_module(
    name: str, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our products (which any processor can compute, if not quickly), and with the library's."""
    monkeypatch.setattr(fused_layer, "OURS", ours)
    one = subject(name)
    assert Fused.serves(one)
    fused = mean_gap(one, drawn(EmbeddedEngine(one, rows=6)))
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    plain = mean_gap(one, drawn(EmbeddedEngine(one, rows=6)))
    assert plain < 0.02
    assert fused < 1.5 * plain + 1e-3


def test_a_new_version_is_decoded_with_its_own_weights() -> None:
    one = subject("qwen3")
    engine = EmbeddedEngine(one)
    drawn(engine)
    with torch.no_grad():
        for weight in one.module.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    engine.load(one.module, 1)
    assert mean_gap(one, drawn(engine)) < 0.02
