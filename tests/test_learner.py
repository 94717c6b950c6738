"""The learner: the same gradient however the step is cut, its schedule, and what it does with what is not finite."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.algos.recipes import Recipe, recipe
from burnish.errors import ConfigError, EngineError, TrainingError
from burnish.learner.batch import batches
from burnish.learner.learner import Learner, Optimization
from burnish.metrics import Metric, values
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Group, Key, Notes, Outcome, Sample, Tokens, from_json
from tiny import FAMILIES, eager, group, policy

WHOLE = 1 << 20


def learner(budget: int = WHOLE, needs: frozenset[str] = frozenset(), **changes: Any) -> Learner:
    """A fresh one over the same tiny weights; nothing is clipped unless asked for."""
    options = {"lr": 1e-3, "total_updates": 10, "clip_norm": 1e9, "micro_batch_tokens": budget} | changes
    return Learner(policy(), Optimization(**options), needs=needs)


def groups(seed: int, sizes: Sequence[int] = (4, 4, 3), most_prompt: int = 8, most: int = 12) -> list[Group]:
    """Groups with a signal each, of prompts and completions of random ids and lengths."""
    rng = random.Random(seed)

    def ids(longest: int, shortest: int = 1) -> list[int]:
        return [rng.randrange(9, 270) for _ in range(rng.randint(shortest, longest))]

    made = []
    for number, size in enumerate(sizes):
        prompt = ids(most_prompt, max(1, most_prompt // 2))
        outcomes: list[Outcome] = ["right", "wrong", *(rng.choice(["right", "wrong"]) for _ in range(size - 2))]  # type: ignore[list-item]
        made.append(group(f"p{number}", [(prompt, ids(most), outcome) for outcome in outcomes]))
    return made


def credited(chosen: Recipe, given: Sequence[Group], notes: dict[Key, Notes] | None = None) -> list[Sample]:
    kept, _ = chosen.select(given)
    return chosen.credit_groups(kept, notes or {})


def gradient(one: Learner, samples: Sequence[Sample], chosen: Recipe) -> dict[str, torch.Tensor]:
    """What reaches the optimizer; the weights and the version stay."""
    found: dict[str, torch.Tensor] = {}

    def note() -> None:
        found.update({name: weight.grad.clone() for name, weight in one.policy.module.named_parameters()})

    version = one.version
    one.optimizer.step = note  # type: ignore[method-assign,assignment]
    one.update(samples, chosen.objective, chosen.weigh)
    one.version = version
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], within: float = 1e-5) -> None:
    """To float32's rounding: `within` that share of the largest entry of each gradient."""
    assert one.keys() == other.keys()
    for name, expected in one.items():
        assert (other[name] - expected).abs().max() <= within * expected.abs().max() + 1e-9, name


# ---- one gradient, however the step is cut

RECIPES = {
    "grpo": recipe("grpo"),
    "grpo with a KL": recipe("grpo", kl_to="reference", kl_coefficient=0.1),
    "dr_grpo": recipe("dr_grpo", constant=16),
    "dapo": recipe("dapo"),
    "rloo": recipe("rloo"),
    "prompt_mean": recipe("grpo", reduction="prompt_mean"),
    "gspo": recipe("gspo"),
    "sapo with an entropy bonus": recipe("sapo", entropy_coefficient=0.01),
    "reinforce_pp with a correction": recipe("reinforce_pp", correction="sequence_tis", correction_high=2),
}


@pytest.fixture(scope="module")
def shared() -> Learner:
    return learner(needs=frozenset({"reference"}))


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budget=st.integers(1, 150), seed=st.integers(0, 1000), long=st.booleans(), lag=st.booleans())
def test_the_gradient_is_the_same_for_any_micro_batch_budget(
    shared: Learner, name: str, budget: int, seed: int, long: bool, lag: bool
) -> None:
    chosen = RECIPES[name]
    made = groups(seed, most_prompt=30, most=6) if long else groups(seed)
    if lag:  # off policy, with the ratio to what the sampler reported
        made = [replace(g, rollouts=tuple(replace(r, oldest=9, newest=9) for r in g.rollouts)) for g in made]
    notes = shared.score(made, chosen.needs(1)) if chosen.needs(1) else {}
    notes = {key: replace(note, reference=tuple(x - 0.3 for x in note.reference or ())) for key, note in notes.items()}
    samples = credited(chosen, made, notes)
    whole = gradient(shared, samples, chosen)
    shared.optimization = replace(shared.optimization, micro_batch_tokens=budget)
    parts = gradient(shared, samples, chosen)
    shared.optimization = replace(shared.optimization, micro_batch_tokens=WHOLE)
    assert any(part.abs().max() > 0 for part in whole.values())
    assert_same(whole, parts)


PLAIN = {
    "grpo": recipe("grpo"),
    "gspo": recipe("gspo"),
    "cispo": recipe("cispo"),
    "sapo": recipe("sapo"),
    "reinforce_pp with a correction": recipe("reinforce_pp", correction="sequence_tis", correction_high=2),
}
"""Recipes in whose loss there is nothing but the advantage."""


def half_silent(chosen: Any, seed: int) -> list[Sample]:
    samples = credited(chosen, groups(seed, most=6))
    return [replace(s, advantages=(0.0,) * len(s.advantages)) if i % 2 else s for i, s in enumerate(samples)]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("lag", [0, 9])
def test_rows_without_advantage_go_forward_only_and_nothing_else_changes(
    shared: Learner, name: str, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = PLAIN[name]
    samples = [replace(sample, oldest=lag, newest=lag) for sample in half_silent(chosen, 3)]
    taken: list[dict[str, Metric]] = []
    found: list[dict[str, torch.Tensor]] = []
    learned: list[int] = []
    for told_apart in (True, False):
        with monkeypatch.context() as patch:
            if not told_apart:
                patch.setattr(type(chosen.objective), "only_advantage", False)
            real = shared._see

            def watched(batch: Any, *paths: Any, real: Any = real) -> Any:
                learned.append(len(batch.origins) if torch.is_grad_enabled() else 0)
                return real(batch, *paths)

            patch.setattr(shared, "_see", watched)
            real_update = shared.update
            patch.setattr(shared, "update", lambda *args, run=real_update: taken.append(run(*args)))
            found.append(gradient(shared, samples, chosen))
    assert sum(learned) == len(samples[::2]) + len(samples)  # the first time half of them, then all
    assert any(part.abs().max() > 0 for part in found[0].values())
    assert_same(found[0], found[1])
    one, other = values(taken[0]), values(taken[1])
    assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "chosen",
    [
        recipe("grpo", kl_to="reference", kl_coefficient=0.1),
        recipe("sapo", entropy_coefficient=0.01),
        recipe("grpo", objective="dppo", dppo_drift=0.1),
    ],
)
def test_where_the_loss_holds_more_than_the_advantage_every_row_is_learned_from(chosen: Any) -> None:
    assert not chosen.objective.only_advantage


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("most_prompt", [3, 30])
def test_the_gradient_is_that_of_the_formula(family: str, most_prompt: int) -> None:
    """On policy: minus the sum over tokens of weight * advantage * grad log-probability, each row through the family's own
    attention. Long prompts stand once in a micro-batch, for all their rows."""
    chosen = recipe("dapo")
    samples = credited(chosen, groups(1, most_prompt=most_prompt, most=8))
    one = Learner(policy(family), Optimization(1e-3, 1, clip_norm=1e9, micro_batch_tokens=160))
    assert {batch.shared is not None for batch in batches(samples, chosen.weigh(samples), 0, 160)} == {
        most_prompt == 30
    }
    found = gradient(one, samples, chosen)
    module = eager(one.policy)
    total = sum(sample.tokens.sampled_count for sample in samples)
    for sample in samples:
        ids = torch.tensor(sample.tokens.ids)
        logp = module(ids[None], use_cache=False).logits[0, :-1].log_softmax(-1)
        for t in range(1, len(ids)):
            if sample.tokens.sampled[t]:
                (-logp[t - 1, ids[t]] * sample.advantages[t] / total).backward(retain_graph=True)
    assert_same({name: weight.grad for name, weight in module.named_parameters()}, found, within=1e-4)


def test_what_stands_at_tokens_nobody_sampled_changes_nothing() -> None:
    """NaN in every field of the prompts gives the very same bits."""
    chosen = RECIPES["grpo with a KL"]
    one = learner(needs=chosen.needs(1))
    made = groups(2)
    samples = credited(chosen, made, one.score(made, chosen.needs(1)))

    def spoiled(sample: Sample) -> Sample:
        def spoil(values: Sequence[float]) -> tuple[float, ...]:
            return tuple(v if s else math.nan for v, s in zip(values, sample.tokens.sampled, strict=True))

        tokens = replace(sample.tokens, logprobs=spoil(sample.tokens.logprobs))
        notes = Notes(reference=spoil(sample.notes.reference or ()))
        return replace(sample, tokens=tokens, advantages=spoil(sample.advantages), notes=notes)

    clean = gradient(one, samples, chosen)
    dirty = gradient(one, [spoiled(sample) for sample in samples], chosen)
    assert all(torch.equal(clean[name], dirty[name]) for name in clean)


def test_a_gradient_does_not_add_up_over_updates() -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(3))
    one = learner()
    first = gradient(one, samples, chosen)
    second = gradient(one, samples, chosen)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- ratio, clip, schedule


def test_on_policy_the_ratio_is_exactly_one_whatever_the_sampler_reported() -> None:
    chosen = recipe("grpo")
    told = values(learner().update(credited(chosen, groups(4)), chosen.objective, chosen.weigh))
    assert (told["policy/ratio_mean"], told["policy/clip_low"], told["policy/clip_high"]) == (1.0, 0.0, 0.0)
    assert told["gap/abs_mean"] > 0.1  # the made-up log-probabilities are far off


def test_off_policy_the_ratio_is_to_what_the_sampler_reported() -> None:
    chosen = recipe("grpo")
    stale = credited(chosen, [*groups(4)])
    one = learner()
    one.version = 1
    told = values(one.update(stale, chosen.objective, chosen.weigh))
    assert told["policy/ratio_mean"] != 1.0


def test_the_second_update_of_a_step_is_off_policy() -> None:
    chosen = recipe("grpo")
    one = learner(updates_per_step=2)
    told = values(one.update(credited(chosen, groups(4)), chosen.objective, chosen.weigh))
    assert told["policy/ratio_mean"] != 1.0
    assert told["optim/updates"] == 2.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),  # from 1 down to 0.2 in the four updates after the warm-up
        ("cosine", [0.5, 1.0, 1.0, 0.882842712, 0.6, 0.317157288, 0.2]),  # 0.2 + 0.8 (1 + cos(pi k / 4)) / 2
    ],
)
def test_the_learning_rate_by_hand(schedule: str, expected: list[float]) -> None:
    """Two updates of warm-up and four more."""
    share = 0.0 if schedule == "constant" else 0.2
    one = Optimization(1.0, 6, warmup_updates=2, schedule=schedule, final_lr_share=share)
    assert [one.lr_at(update) for update in range(7)] == pytest.approx(expected)


def test_without_a_warm_up_the_first_update_has_the_whole_rate() -> None:
    assert Optimization(0.5, 4).lr_at(0) == 0.5


def test_the_optimizer_is_given_the_scheduled_rate() -> None:
    chosen = recipe("grpo")
    one = learner(lr=1.0, warmup_updates=4)
    rates = []
    samples = credited(chosen, groups(5))
    one.optimizer.step = lambda: rates.append({g["lr"] for g in one.optimizer.param_groups})  # type: ignore[method-assign,assignment]
    for _ in range(2):
        told = values(one.update(samples, chosen.objective, chosen.weigh))
    assert rates == [{0.25}, {0.5}]
    assert told["optim/lr"] == 0.5


def norm(gradients: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))


def test_a_large_gradient_is_scaled_down_to_the_norm() -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(6))
    free = gradient(learner(), samples, chosen)
    clipped = gradient(learner(clip_norm=norm(free) / 4), samples, chosen)
    assert norm(clipped) == pytest.approx(norm(free) / 4, rel=1e-4)
    assert_same({name: g / 4 for name, g in free.items()}, clipped)


def test_the_norm_reported_is_the_one_before_the_clip() -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(6))
    free = norm(gradient(learner(), samples, chosen))
    told = values(learner(clip_norm=1e-3).update(samples, chosen.objective, chosen.weigh))
    assert told["optim/grad_norm"] == pytest.approx(free, rel=1e-4)


def test_weight_decay_is_on_matrices_only() -> None:
    one = learner(weight_decay=0.1)
    decays = {
        name: next(g["weight_decay"] for g in one.optimizer.param_groups if any(weight is p for p in g["params"]))
        for name, weight in one.policy.module.named_parameters()
    }
    assert {decay for name, decay in decays.items() if name.endswith("_proj.weight")} == {0.1}
    assert {decay for name, decay in decays.items() if "norm" in name} == {0.0}


# ---- several updates a step


def parts(one: Learner, problems: int = 6) -> list[set[str]]:
    samples = credited(recipe("grpo"), groups(7, sizes=[3] * problems))
    found = one._parts(samples)
    assert sorted(s.origin for part in found for s in part) == sorted(s.origin for s in samples)
    return [{sample.origin.problem_id for sample in part} for part in found]


def test_problems_are_dealt_out_whole_and_evenly() -> None:
    found = parts(learner(updates_per_step=3))
    assert [len(part) for part in found] == [2, 2, 2]
    assert len(set.union(*found)) == 6


def test_the_deal_depends_on_seed_and_version_alone() -> None:
    one, same, other = learner(updates_per_step=3), learner(updates_per_step=3), learner(updates_per_step=3)
    other.version = 1
    assert parts(one) == parts(same)
    assert parts(one) != parts(other)


def test_fewer_problems_than_updates_make_fewer_updates() -> None:
    chosen = recipe("grpo")
    one = learner(updates_per_step=5)
    one.update(credited(chosen, groups(7, sizes=[3, 3])), chosen.objective, chosen.weigh)
    assert one.version == 2


def test_every_update_advances_the_version_by_one() -> None:
    chosen = recipe("grpo")
    one = learner(updates_per_step=3)
    one.update(credited(chosen, groups(7)), chosen.objective, chosen.weigh)
    assert one.version == 3


def test_no_samples_no_step() -> None:
    one = learner()
    before = {name: weight.clone() for name, weight in one.policy.module.named_parameters()}
    assert one.update([], recipe("grpo").objective, recipe("grpo").weigh) == {}
    assert one.version == 0
    assert all(torch.equal(before[name], weight) for name, weight in one.policy.module.named_parameters())


def test_updates_raise_the_probability_of_what_was_rewarded() -> None:
    chosen = recipe("grpo")
    made = groups(8)
    samples = credited(chosen, made)
    one = learner(lr=1e-3)
    rows = [sample.tokens for sample in samples]
    before = [sum(row) for row in one.log_probs(rows)]
    one.update(samples, chosen.objective, chosen.weigh)
    after = [sum(row) for row in one.log_probs(rows)]
    pushed = sum((b - a) * max(s.advantages, key=abs) for s, a, b in zip(samples, before, after, strict=True))
    assert pushed > 0


def test_tokens_trained_are_whole_rows_counted_once() -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(9))
    one = learner(budget=30)
    one.update(samples, chosen.objective, chosen.weigh)
    assert one.tokens_trained == sum(len(sample.tokens.ids) for sample in samples)


# ---- what is not finite


def spoil_loss(fields: Any) -> Any:
    return fields.logp_N.sum() * math.inf, {}


def spoil_gradient(fields: Any) -> Any:
    """A finite loss whose gradient is not: the root of zero."""
    return (fields.logp_N * 0.0).sqrt().sum(), {}


@pytest.mark.parametrize(("objective", "what"), [(spoil_loss, "loss"), (spoil_gradient, "gradient")])
def test_what_is_not_finite_stops_training_and_leaves_the_weights(tmp_path: Path, objective: Any, what: str) -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(10))
    evidence = tmp_path / "run" / "not_finite.jsonl"
    one = Learner(policy(), Optimization(1e-3, 10, micro_batch_tokens=40), evidence=evidence)
    before = {name: weight.detach().clone() for name, weight in one.policy.module.named_parameters()}
    with pytest.raises(TrainingError, match=f"The {what} of update 0 is not finite") as caught:
        one.update(samples, objective, chosen.weigh)
    assert str(evidence) in str(caught.value)
    assert [from_json(Sample, line) for line in evidence.read_text().splitlines()] == samples
    assert all(torch.equal(before[name], weight) for name, weight in one.policy.module.named_parameters())
    assert all(weight.grad is None for weight in one.policy.module.parameters())
    assert one.version == 0


def test_training_can_go_on_after_an_update_that_was_not_finite() -> None:
    chosen = recipe("grpo")
    samples = credited(chosen, groups(10))
    one, clean = learner(), learner()
    with pytest.raises(TrainingError):
        one.update(samples, spoil_gradient, chosen.weigh)
    one.update(samples, chosen.objective, chosen.weigh)
    clean.update(samples, chosen.objective, chosen.weigh)
    state, expected = one.policy.module.state_dict(), clean.policy.module.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_a_full_disk_does_not_hide_why_training_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    one = Learner(policy(), Optimization(1e-3, 10), evidence=tmp_path / "not_finite.jsonl")
    with pytest.raises(TrainingError, match="not finite"):
        one.update(credited(recipe("grpo"), groups(10)), spoil_loss, recipe("grpo").weigh)


def test_a_truncated_distribution_is_refused_at_once() -> None:
    with pytest.raises(EngineError, match="Cannot train"):
        Learner(policy(), Optimization(1e-3, 1), SamplingDistribution(top_k=3))


# ---- scoring


@pytest.mark.parametrize("most_prompt", [3, 30])
def test_log_probabilities_do_not_depend_on_the_micro_batches(most_prompt: int) -> None:
    rows = [rollout.tokens for one in groups(11, most_prompt=most_prompt) for rollout in one.rollouts]
    whole, parts = learner().log_probs(rows), learner(budget=20).log_probs(rows)
    for row, one, other in zip(rows, whole, parts, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
        assert all(value == 0.0 for value, sampled in zip(one, row.sampled, strict=True) if not sampled)


def test_a_row_with_nothing_to_predict_scores_zero() -> None:
    rows = [Tokens((5,), (False,), (0.0,)), Tokens((5, 6), (False, True), (0.0, -1.0))]
    first, second = learner().log_probs(rows)
    assert first == (0.0,)
    assert second[1] < 0.0


def test_scoring_asks_for_nothing_it_was_not_told_to_keep() -> None:
    with pytest.raises(ConfigError, match="no critic"):
        learner().score(groups(1), frozenset({"values"}))


def test_the_reference_stays_where_the_policy_started() -> None:
    chosen = RECIPES["grpo with a KL"]
    one = learner(needs=chosen.needs(1))
    made = groups(12)
    before = one.score(made, chosen.needs(1))
    one.update(credited(chosen, made, before), chosen.objective, chosen.weigh)
    assert one.score(made, chosen.needs(1)) == before
    assert one.score(made, frozenset({"proximal"}))[Key("p0", 0)].proximal != before[Key("p0", 0)].reference


def test_dropout_is_off_while_scoring() -> None:
    """Also after an update: two looks at the same rows are the same."""
    one = Learner(policy("qwen2"), Optimization(1e-3, 10))
    torch.nn.Module.train(one.policy.module)
    layer = one.policy.module.get_decoder().layers[0]
    layer.mlp = torch.nn.Sequential(layer.mlp, torch.nn.Dropout(0.5))
    rows = [rollout.tokens for g in groups(13) for rollout in g.rollouts]
    assert one.log_probs(rows) == one.log_probs(rows)


# ---- state


def test_a_restored_learner_goes_on_bit_for_bit() -> None:
    chosen = RECIPES["grpo with a KL"]
    one = learner(needs=chosen.needs(1), warmup_updates=3, weight_decay=0.1)

    def step(who: Learner, seed: int) -> None:
        made = groups(seed)
        who.update(credited(chosen, made, who.score(made, chosen.needs(1))), chosen.objective, chosen.weigh)

    step(one, 1)
    step(one, 2)
    kept = _copied(one.state())
    step(one, 3)
    other = Learner(policy(seed=9), one.optimization, needs=chosen.needs(1))
    other.restore(kept)
    step(other, 3)
    state, expected = other.policy.module.state_dict(), one.policy.module.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert (other.version, other.tokens_trained) == (one.version, one.tokens_trained) == (3, one.tokens_trained)


def _copied(state: Any) -> Any:
    """As it is on the disk."""
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
