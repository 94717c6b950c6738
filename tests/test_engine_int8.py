"""Weights of eight bits for sampling: the product, and what the engine draws with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.scheduler import most_pages
from burnish.errors import EngineError
from burnish.learner.learner import Learner, Optimization
from burnish.policy import kernels
from burnish.policy.fused_layer import ProductInt8, _panels
from burnish.policy.model import Policy
from burnish.records import Sampling
from tiny import by_key, joined, policy, prompts, requests

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")

BF = torch.bfloat16
FREE = Sampling(max_new=40, stop_ids=(20, 90, 200), seed=5)


def subject() -> Policy:
    return policy("qwen3", BF, hidden_size=64, head_dim=32, initializer_range=0.1)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_weights_that_are_whole_multiples_of_their_scale_are_exact() -> None:
    """Absmax 254 over 127 is a scale of 2, so even weights are kept; 3 * 254 - 100 + 1 = 663, and 664 in bfloat16 (steps of 4)."""
    weight, x = torch.zeros(3, 16), torch.zeros(1, 16, dtype=BF)
    weight[1, 0], weight[1, 1] = 254.0, -100.0
    x[0, 0], x[0, 1] = 3.0, 1.0
    out = ProductInt8([weight], [torch.tensor([0.0, 1.0, 0.5])])(x)
    assert out.tolist() == [[0.0, 664.0, 0.5]]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 90), st.booleans())
def test_a_product_is_that_of_the_rounded_weights(N: int, O: int, I: int, biased: bool) -> None:
    O, I = (
        5 * O,
        16 * I,
    )  # more than one panel of outputs, more than one stretch of inputs, more than one chunk of places
    weight, bias, x = random(O, I), random(O, seed=1) if biased else None, random(N, I, seed=2).to(BF)
    scale = weight.abs().amax(1, keepdim=True) / 127
    wanted = x.double() @ ((weight / scale).round() * scale).double().t() + (0 if bias is None else bias.double())
    out = ProductInt8(
        [weight[: O // 2], weight[O // 2 :]], [bias] if bias is None else [bias[: O // 2], bias[O // 2 :]]
    )(x)
    torch.testing.assert_close(out.double(), wanted, rtol=2.0**-8, atol=2.0**-8 * I**0.5)


def test_a_place_gets_the_same_bits_whoever_is_computed_beside_it() -> None:
    product, x = ProductInt8([random(100, 528)], [None]), random(301, 528, seed=1).to(BF)
    whole = product(x)
    for start, stop in ((0, 1), (5, 12), (190, 290)):
        assert torch.equal(product(x[start:stop]), whole[start:stop])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_weight_that_went_wrong_shows(wrong: float) -> None:
    weight = random(70, 32)
    weight[66, 3] = wrong
    out = ProductInt8([weight], [None])(random(2, 32, seed=1).to(BF))
    assert out[:, 66].isnan().all()
    assert not out[:, :66].isnan().any()


def test_a_product_of_eight_bits_takes_half_the_memory() -> None:
    """One byte a weight, and for each of 256 outputs a scale and a bias of four."""
    weight = random(256, 256)
    assert _panels(weight.to(BF)).nbytes == 2 * 256 * 256
    product = ProductInt8([weight], [None])
    assert product._panels.nbytes == 256 * 256


def test_no_row_cap_and_no_lost_pages_change_a_bit() -> None:
    """Nothing on this path rounds by who else is there, so traces and log-probabilities are the same numbers."""
    one = subject()
    listed = requests(prompts((17, 3, 9)), 6, FREE)
    wanted = by_key(EmbeddedEngine(one, options=Options(int8=True)).generate(listed))
    alone = by_key(EmbeddedEngine(one, options=Options(rows=5, int8=True)).generate(listed))
    page = EmbeddedEngine(one, options=Options(page=16)).page_bytes
    few = EmbeddedEngine(one, options=Options(18, 16, 16, page * (most_pages(17, 40, 16) + 6), int8=True))
    put_by = by_key(few.generate(listed))
    assert few.preemptions > 0
    assert alone == wanted
    assert put_by == wanted


def test_the_gap_it_makes_is_measured_and_weighed() -> None:
    """Weights exp(learner - sampler) undo it: under the sampler their mean is 1, whatever the gap (importance sampling)."""
    one = subject()
    sampling = Sampling(max_new=30, seed=3)
    listed = requests(prompts((3, 17, 1, 9)), 24, sampling)
    gaps = {}
    for int8 in (False, True):
        rows = joined(listed, by_key(EmbeddedEngine(one, options=Options(int8=int8)).generate(listed)))
        scored = Learner(one, Optimization(1e-3, 1)).log_probs(rows)
        pairs = [
            (own[t], row.logprobs[t])
            for row, own in zip(rows, scored, strict=True)
            for t in range(len(own))
            if row.sampled[t]
        ]
        gaps[int8] = torch.tensor(pairs)
    learner_N, sampler_N = gaps[True].unbind(1)
    plain, rounded = (float((gap[:, 0] - gap[:, 1]).abs().mean()) for gap in (gaps[False], gaps[True]))
    assert 2 * plain < rounded < 0.2
    weight_N = torch.exp(learner_N - sampler_N)
    error = float(weight_N.std()) / len(weight_N) ** 0.5
    assert float(weight_N.mean()) == pytest.approx(1.0, abs=4 * error)


def test_a_policy_without_kernels_is_refused_in_one_sentence() -> None:
    with pytest.raises(EngineError, match=r'sampling\.weights = "int8" needs the compiled kernels, .* Leave it out\.'):
        EmbeddedEngine(policy("qwen3"), options=Options(int8=True))
