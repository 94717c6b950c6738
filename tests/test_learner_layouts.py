"""How rows stand in a micro-batch: packed rows never see each other, pairs stay together, and neither changes the gradient."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from burnish.algos.preference import Preference, PreferenceStep, RewardStep, cross_entropy
from burnish.learner.batch import batches, cut_packed
from burnish.learner.critic import reward_row, scores
from burnish.learner.learner import Learner, Optimization
from burnish.policy.heads import scorer_from
from burnish.records import Key, Notes, Sample, Tokens

FAMILIES = ("qwen3", "gemma2", "mistral", "llama")


def sample(name: str, index: int, prompt: int, length: int, rng: random.Random, head: tuple[int, ...] = ()) -> Sample:
    ids = head + tuple(rng.randrange(9, 272) for _ in range(prompt - len(head) + length))
    tokens = Tokens(ids, (False,) * prompt + (True,) * length, (0.0,) * len(ids))
    return Sample(
        Key(name, index), tokens, (0.0,) * prompt + (1.0,) * length, 0.0, 0, 0, Notes(reference=(-2.0,) * len(ids))
    )


def documents(count: int, seed: int = 0) -> list[Sample]:
    rng = random.Random(seed)
    return [sample(str(i), 0, rng.randint(1, 6), rng.randint(1, 20), rng) for i in range(count)]


def pairs(count: int, seed: int = 0) -> list[Sample]:
    rng = random.Random(seed)
    made = []
    for i in range(count):
        head = tuple(rng.randrange(9, 272) for _ in range(rng.randint(2, 12)))
        made += [sample(str(i), side, len(head), rng.randint(1, 15), rng, head) for side in (0, 1)]
    return made


def gradient(
    samples: list[Sample], objective: Any, layout: Any, budget: int, family: str = "qwen3", scorer: bool = False
) -> Any:
    policy = tiny.policy(family)
    network = scorer_from(policy, 3) if scorer else policy
    settings_ = Optimization(lr=1e-3, total_updates=1, clip_norm=1e9, micro_batch_tokens=budget, layout=layout)
    learner = Learner(network, settings_)
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        found.update({n: p.grad.clone() for n, p in network.module.named_parameters() if p.grad is not None})

    learner.optimizer.register_step_pre_hook(keep)
    weight = 1.0 / sum(one.tokens.sampled_count for one in samples)
    learner.update(samples, objective, lambda part: {one.origin: weight for one in part})
    return found


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    scale = max(float(g.abs().max()) for g in other.values())
    for name in other:
        assert float((one[name] - other[name]).abs().max()) <= 2e-5 * scale, name


def supervised(fields: Any) -> Any:
    return cross_entropy(fields.logp_N, fields.weight_N), {}


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_gradient_of_rows_apart(family: str) -> None:
    rows = documents(9)
    packed = gradient(rows, supervised, "packed", 60, family)
    assert_close(packed, gradient(rows, supervised, "auto", 1, family))  # a row a micro-batch


@given(count=st.integers(1, 8), budget=st.integers(1, 120), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_any_packing_has_the_same_gradient(count: int, budget: int, seed: int) -> None:
    rows = documents(count, seed)
    assert_close(gradient(rows, supervised, "packed", budget), gradient(rows, supervised, "auto", 10_000))


def test_a_packed_row_does_not_see_its_neighbours() -> None:
    """The gradient of one document's loss to the embedding of a token that only the other one holds is exactly zero."""
    policy = tiny.policy("llama")  # untied: the embedding is input only
    tokens = [
        Tokens((10, 11, 12, 13), (False, True, True, True), (0.0,) * 4),
        Tokens((20, 21, 22), (False, True, True), (0.0,) * 3),
    ]
    rows = [Sample(Key(str(i), 0), each, (0.0,) * len(each.ids), 0.0, 0, 0) for i, each in enumerate(tokens)]
    [batch] = batches(rows, {row.origin: 1.0 for row in rows}, 0, 100, "packed")
    assert batch.inputs_BT.tolist() == [[10, 11, 12, 20, 21]]
    hidden = policy.hidden(batch.inputs_BT, **batch.layout())
    hidden[0, 3:].square().sum().backward()
    grad = policy.module.get_input_embeddings().weight.grad
    assert float(grad[[10, 11, 12]].abs().max()) == 0.0 and float(grad[[20, 21]].abs().min(dim=1).values.max()) > 0.0


def test_a_poisoned_neighbour_does_not_leak() -> None:
    """A row whose embedding is NaN leaves the values of the other rows of its pack as they were."""
    policy = tiny.policy("llama")
    rows = documents(3)
    poisoned = Tokens((271,) * 6, (False, *(True,) * 5), (0.0,) * 6)
    rows = [row for row in rows if 271 not in row.tokens.ids] + [Sample(Key("nan", 0), poisoned, (0.0,) * 6, 0.0, 0, 0)]
    with torch.no_grad():
        policy.module.get_input_embeddings().weight[271] = float("nan")
        [batch] = batches(rows, {row.origin: 1.0 for row in rows}, 0, 1000, "packed")
        hidden = policy.hidden(batch.inputs_BT, **batch.layout())[0, batch.place_N]
    bad = {b for b, key in enumerate(batch.origins) if key.problem_id == "nan"}
    for n, row in enumerate(batch.row_N.tolist()):
        assert bool(hidden[n].isnan().any()) == (row in bad)


def test_packs_are_filled_to_the_budget() -> None:
    assert cut_packed([3, 9, 4, 8], 12) == [[1], [3, 2], [0]]


@pytest.mark.parametrize("kind", ["dpo", "ipo", "cdpo", "kto", "orpo", "simpo"])
def test_pairs_have_the_same_gradient_in_any_micro_batches(kind: Any) -> None:
    rows = pairs(6)
    loss = Preference(kind, beta=0.3)
    tokens = sum(one.tokens.sampled_count for one in rows if one.origin.index == 0)
    step = PreferenceStep(loss, 6 if loss.paired else 12, tokens, 0.2)
    whole = gradient(rows, step, "pairs", 10_000)
    assert_close(gradient(list(reversed(rows)), step, "pairs", 1), whole)


def test_a_pair_over_the_budget_stays_together() -> None:
    rows = pairs(4)
    made = batches(rows, {row.origin: 1.0 for row in rows}, 0, 1, "pairs")
    assert [{key.problem_id for key in batch.origins} for batch in made] != [] and all(
        len(batch.origins) == 2 and len({key.problem_id for key in batch.origins}) == 1 for batch in made
    )


def reward_pairs(count: int) -> list[Sample]:
    made = []
    for one in pairs(count):
        start = one.tokens.sampled.index(True)
        tokens = reward_row(one.tokens.ids[:start], one.tokens.ids[start:])
        made.append(Sample(one.origin, tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0))
    return made


def test_a_reward_model_has_the_same_gradient_in_any_micro_batches() -> None:
    rows = reward_pairs(5)
    whole = gradient(rows, RewardStep(5), "pairs", 10_000, scorer=True)
    assert_close(gradient(rows, RewardStep(5), "pairs", 1, scorer=True), whole)
    assert float(whole["score.weight"].abs().max()) > 0


def test_a_score_is_what_transformers_sequence_classification_gives() -> None:
    model = scorer_from(tiny.policy("qwen3"), 4)
    ids = (10, 11, 12, 13, 14)
    own = model.module(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, 5, dtype=torch.long)).logits
    assert scores(model, [reward_row(ids[:2], ids[2:])])[0] == pytest.approx(own.item(), abs=1e-5)


def test_scores_do_not_depend_on_the_company() -> None:
    model = scorer_from(tiny.policy("qwen3"), 4)
    rows = [one.tokens for one in reward_pairs(5)]
    together = scores(model, rows)
    assert together == pytest.approx([scores(model, [row])[0] for row in rows], abs=1e-5)


def test_logits_held_at_once_do_not_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one and at four times the rows no more than a chunk of logits exists at a time, forward and backward."""
    policy = tiny.policy("qwen3")
    vocabulary = policy.module.config.vocab_size
    monkeypatch.setattr("burnish.policy.model.LOGITS_CHUNK", 8 * vocabulary)
    seen: list[int] = []
    real = policy.module.get_output_embeddings().forward

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = real(hidden)
        seen.append(logits.numel())
        return logits

    monkeypatch.setattr(policy.module.get_output_embeddings(), "forward", watched)
    learner = Learner(policy, Optimization(lr=1e-3, total_updates=2, micro_batch_tokens=10_000, layout="packed"))
    for count in (6, 24):
        rows = documents(count)
        learner.update(rows, supervised, lambda part: {one.origin: 1.0 for one in part})
        assert max(seen) <= 8 * vocabulary and sum(seen) > 2 * 8 * vocabulary
        seen.clear()
