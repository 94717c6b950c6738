"""Rows that share their prompts in an update give what whole rows give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from burnish.algos.recipes import recipe
from burnish.learner import batch
from burnish.learner.learner import Learner, Optimization
from burnish.records import Key, Sample, Tokens


def group(name: str, prompt: int, lengths: list[int]) -> list[Sample]:
    """Samples of one problem: a prompt of `prompt` tokens and a completion of each length."""
    head = tuple(range(20, 20 + prompt))
    made = []
    for i, length in enumerate(lengths):
        tokens = Tokens.join(head, tuple(40 + (7 * t + i) % 60 for t in range(length)), (-1.0,) * length)
        advantage = 1.0 - 2.0 * i / max(1, len(lengths) - 1)
        made.append(Sample(Key(name, i), tokens, tuple(advantage if s else 0.0 for s in tokens.sampled), 0.0, 0, 0))
    return made


def gradients(
    family: str, samples: list[Sample], share: bool, budget: int, monkeypatch: pytest.MonkeyPatch
) -> list[torch.Tensor]:
    """The gradient of one update, before it is clipped."""
    monkeypatch.setattr(batch, "SHARED_MOST", 1e9 if share else -1.0)
    policy = tiny.policy(family)
    learner = Learner(policy, Optimization(1e-3, 1, clip_norm=1e9, micro_batch_tokens=budget))
    taken: list[torch.Tensor] = []
    monkeypatch.setattr(
        learner.optimizer, "step", lambda: taken.extend(p.grad.clone() for p in policy.module.parameters())
    )
    learner.update(samples, recipe("grpo").objective, recipe("grpo").weigh)
    return taken


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "mistral", "phi3"])
def test_the_gradient_is_that_of_whole_rows(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [*group("a", 9, [3, 1, 12, 8]), *group("b", 4, [5, 20]), *group("c", 13, [2])]
    shared = gradients(family, samples, True, 4096, monkeypatch)
    whole = gradients(family, samples, False, 4096, monkeypatch)
    for one, other in zip(shared, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max() + 1))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(1, 15), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(20, 400))
def test_any_split_of_shared_rows_gives_the_same_gradient(lengths: list[list[int]], budget: int) -> None:
    samples = [sample for i, each in enumerate(lengths) for sample in group(str(i), 3 + 2 * i, each)]
    with pytest.MonkeyPatch.context() as patch:
        split = gradients("qwen3", samples, True, budget, patch)
        whole = gradients("qwen3", samples, True, 1 << 20, patch)
    for one, other in zip(split, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max() + 1))


def test_a_prompt_stands_once_for_all_its_rows() -> None:
    samples = group("a", 10, [4, 4, 4, 4])
    (made,) = batch.batches(samples, {sample.origin: 1.0 for sample in samples}, 0, 4096)
    assert made.shared is not None
    assert made.inputs_BT.shape == (1, 10 + 4 * 3)  # the last token of a row predicts nothing


def test_rows_with_prompts_of_their_own_stand_whole() -> None:
    samples = [sample for i in range(4) for sample in group(str(i), 6 + i, [5])]
    (made,) = batch.batches(samples, {sample.origin: 1.0 for sample in samples}, 0, 4096)
    assert made.shared is None


def test_long_rows_stand_whole() -> None:
    samples = group("a", 40, [batch.EXPLICIT_MAX_TOKENS, 5])
    made = batch.batches(samples, {sample.origin: 1.0 for sample in samples}, 0, 1 << 20)
    assert all(each.shared is None for each in made)
