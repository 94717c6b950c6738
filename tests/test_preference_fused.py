"""Preference and supervised losses through the compiled path: the module's gradients up to bfloat16, for any split, order and layout."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.algos.preference import CHOSEN, KINDS, Preference, PreferenceStep, RewardStep, cross_entropy
from burnish.learner.learner import Learner, Optimization
from burnish.policy import kernels
from burnish.policy.fused import Fused
from burnish.policy.heads import scorer_from
from burnish.policy.model import Policy
from burnish.records import Key, Sample
from test_learner_layouts import documents, gradient, pairs, reward_pairs, supervised
from test_policy_fused import distance, wide

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")
LOSSES: list[Any] = [Preference(kind, beta=0.3) for kind in KINDS]  # type: ignore[arg-type]


def step(loss: Preference, samples: list[Sample]) -> PreferenceStep:
    chosen = sum(one.tokens.sampled_count for one in samples if one.origin.index == CHOSEN)
    return PreferenceStep(loss, len(samples) // 2 if loss.paired else len(samples), chosen, 0.2)


def gradients(policy: Policy, samples: list[Sample], objective: Any, layout: Any, budget: int) -> dict[str, Tensor]:
    """The gradient of one update, before it is clipped."""
    learner = Learner(policy, Optimization(1e-3, 1, clip_norm=1e9, micro_batch_tokens=budget, layout=layout))
    taken: dict[str, Tensor] = {}

    def keep(*_: Any) -> None:
        taken.update({n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None})

    learner.optimizer.register_step_pre_hook(keep)
    weight = 1.0 / sum(one.tokens.sampled_count for one in samples)
    learner.update(samples, objective, lambda part: {one.origin: weight for one in part})
    return taken


def near(fused: dict[str, Tensor], module: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
    """As near the exact gradient (the module in float32) as the module is in bfloat16, and half as much again."""
    ours, theirs = distance(fused, exact), distance(module, exact)
    assert not {n: (ours[n], theirs[n]) for n in ours if ours[n] > 1.5 * theirs[n] + 5e-3}


@needs_kernels
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
def test_preference_gradients_through_the_kernels_are_the_modules(
    loss: Preference, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = pairs(6)
    objective = step(loss, samples)
    assert Fused.serves(wide("qwen3"))
    fused = gradients(wide("qwen3"), samples, objective, "pairs", 70)
    exact = gradients(wide("qwen3", torch.float32), samples, objective, "pairs", 70)
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    near(fused, gradients(wide("qwen3"), samples, objective, "pairs", 70), exact)


@needs_kernels
@pytest.mark.parametrize("layout", ["auto", "packed"])
def test_supervised_gradients_through_the_kernels_are_the_modules(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = documents(12)
    fused = gradients(wide("qwen3"), samples, supervised, layout, 60)
    exact = gradients(wide("qwen3", torch.float32), samples, supervised, layout, 60)
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    near(fused, gradients(wide("qwen3"), samples, supervised, layout, 60), exact)


@needs_kernels
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.kind in ("dpo", "orpo", "kto")], ids=lambda x: x.kind)
@given(count=st.integers(2, 5), budget=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=6, deadline=None)
def test_any_split_and_order_of_pairs_through_the_kernels(loss: Preference, count: int, budget: int, seed: int) -> None:
    samples = pairs(count, seed)
    objective = step(loss, samples)
    whole = gradients(wide("qwen3"), samples, objective, "pairs", 1 << 20)
    mixed = random.Random(seed).sample(samples, len(samples))
    # The parts of a split are rounded to bfloat16 apart, so the sums differ by that much.
    assert max(distance(gradients(wide("qwen3"), mixed, objective, "pairs", budget), whole).values()) < 0.05


@given(count=st.integers(1, 6), budget=st.integers(1, 200), seed=st.integers(0, 99), kind=st.sampled_from(KINDS))
@settings(max_examples=15, deadline=None)
def test_any_split_and_order_of_pairs(count: int, budget: int, seed: int, kind: Any) -> None:
    samples = pairs(count, seed)
    objective = step(Preference(kind, beta=0.3), samples)
    mixed = random.Random(seed).sample(samples, len(samples))
    assert_close(gradient(mixed, objective, "pairs", budget), gradient(samples, objective, "pairs", 1 << 20))


@given(count=st.integers(1, 6), budget=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_any_split_and_order_of_reward_pairs(count: int, budget: int, seed: int) -> None:
    samples = reward_pairs(count)
    objective = RewardStep(count, {str(i): 0.1 * i for i in range(count)}, centre=0.01)
    mixed = random.Random(seed).sample(samples, len(samples))
    whole = gradient(samples, objective, "pairs", 1 << 20, scorer=True)
    assert_close(gradient(mixed, objective, "pairs", budget, scorer=True), whole)


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    scale = max(float(g.abs().max()) for g in other.values())
    for name in other:
        assert float((one[name] - other[name]).abs().max()) <= 5e-5 * scale, name


def poisoned(sample: Sample) -> Sample:
    """NaN wherever the policy wrote nothing: log-probabilities, advantages, the reference's log-probabilities."""

    def poison(values: Any) -> Any:
        return tuple(x if own else float("nan") for x, own in zip(values, sample.tokens.sampled, strict=True))

    return replace(
        sample,
        tokens=replace(sample.tokens, logprobs=poison(sample.tokens.logprobs)),
        advantages=poison(sample.advantages),
        notes=replace(sample.notes, reference=poison(sample.notes.reference)),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_masked_places_never_reaches_a_preference_gradient(kind: Any) -> None:
    samples = pairs(4)
    objective = step(Preference(kind, beta=0.3), samples)
    clean = gradient(samples, objective, "pairs", 60)
    dirty = gradient([poisoned(one) for one in samples], objective, "pairs", 60)
    assert all(torch.equal(clean[name], dirty[name]) for name in clean)


@pytest.mark.parametrize("layout", ["auto", "packed"])
def test_nan_in_masked_places_never_reaches_a_supervised_gradient(layout: str) -> None:
    samples = documents(6)
    clean = gradient(samples, supervised, layout, 60)
    dirty = gradient([poisoned(one) for one in samples], supervised, layout, 60)
    assert all(torch.equal(clean[name], dirty[name]) for name in clean)


@needs_kernels
def test_reward_gradients_through_the_kernels_are_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact is the module in float32; the bound is the module's own error in bfloat16, and half as much again."""
    samples, objective = reward_pairs(6), RewardStep(6)
    fused, module, exact = (
        reward_gradient(wide("qwen3", compute), samples, objective, serve, monkeypatch)
        for compute, serve in ((torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False))
    )
    ours, theirs = distance(fused, exact), distance(module, exact)
    assert not {name: (ours[name], theirs[name]) for name in ours if ours[name] > 1.5 * theirs[name] + 2e-3}
    assert float(fused["score.weight"].abs().max()) > 0


def reward_gradient(
    policy: Any, samples: list[Sample], objective: Any, serve: bool, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    model = scorer_from(policy, 3)
    assert Fused.serves(model) == (policy.compute is torch.bfloat16)
    with monkeypatch.context() as patch:
        if not serve:
            patch.setattr(Fused, "serves", staticmethod(lambda policy: False))
        settings_ = Optimization(lr=1e-3, total_updates=1, clip_norm=1e9, micro_batch_tokens=60, layout="pairs")
        learner, found = Learner(model, settings_), dict[str, Tensor]()

        def keep(*_: Any) -> None:
            found.update({n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None})

        learner.optimizer.register_step_pre_hook(keep)
        learner.update(samples, objective, lambda part: {one.origin: 1.0 for one in part})
    return found


def test_padding_ids_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the places behind the shorter rows, the gradient is the same."""
    import burnish.learner.batch as batch

    samples = pairs(4)
    objective = step(Preference("dpo", beta=0.3), samples)
    plain = gradient(samples, objective, "pairs", 1 << 20)
    real = torch.zeros

    def filled(*size: Any, **kwargs: Any) -> Tensor:
        made = real(*size, **kwargs)
        return made.fill_(77) if made.dtype is torch.long and made.ndim == 2 else made

    monkeypatch.setattr(batch.torch, "zeros", filled)
    assert_close(gradient(samples, objective, "pairs", 1 << 20), plain)


def test_cross_entropy_of_a_step_does_not_depend_on_its_keys() -> None:
    """Names of rows are names: another order of the same rows is the same step."""
    samples = documents(6)
    renamed = [replace(one, origin=Key(f"x{9 - i}", 0)) for i, one in enumerate(samples)]
    assert cross_entropy(torch.tensor([-1.0]), torch.tensor([1.0])).item() == 1.0
    assert_close(gradient(renamed, supervised, "packed", 40), gradient(samples, supervised, "packed", 40))
