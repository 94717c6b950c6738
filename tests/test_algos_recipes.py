"""The recipes: who is trained on, with which advantage, and what a run file may change."""

from __future__ import annotations

import pytest

from burnish.algos.credit import Credit
from burnish.algos.objective import KL, Clip, Objective
from burnish.algos.recipes import OVERRIDES, RECIPES, Recipe, recipe
from burnish.algos.reward import RewardTable
from burnish.errors import ConfigError
from burnish.records import Dropped, Group, Key, Notes, Outcome, Problem, Prompt, Rollout, Sample, Stop, Tokens, Verdict

SCORES: dict[Outcome, float | None] = {"right": 1.0, "wrong": 0.0, "no_verdict": None}


def group(problem: str, *outcomes: Outcome, stop: Stop = "eos") -> Group:
    """One rollout per outcome, the i-th with i + 1 sampled tokens after a prompt of two."""
    rollouts = tuple(
        Rollout(i, Tokens.join((1, 2), (5,) * (i + 1), (-1.0,) * (i + 1)), "", stop, Verdict(o, SCORES[o]), 3, 4)
        for i, o in enumerate(outcomes)
    )
    return Group(Problem(problem, "t", "?", {}, "train", "f"), Prompt(problem, (), "", (1, 2)), rollouts)


def first_advantages(samples: list[Sample]) -> list[float]:
    return [sample.advantages[-1] for sample in samples]


# ---- the named choices


@pytest.mark.parametrize(
    ("name", "credit", "clip", "reduction", "constant"),
    [
        ("reinforce", Credit("none"), None, "constant", 1.0),
        ("grpo", Credit("group_mean_std", "bessel", 1e-6), Clip(0.2, 0.2), "sequence_mean", None),
        ("dr_grpo", Credit("group_mean"), Clip(0.2, 0.2), "constant", None),
        ("dapo", Credit("group_mean_std", "bessel", 1e-6), Clip(0.2, 0.28), "token_mean", None),
        ("rloo", Credit("leave_one_out"), Clip(0.2, 0.2), "token_mean", None),
    ],
)
def test_a_name_stands_for_one_choice_on_each_axis(
    name: str, credit: Credit, clip: Clip | None, reduction: str, constant: float | None
) -> None:
    found = RECIPES[name]
    assert (found.credit, found.objective, found.reduction, found.constant, found.reward) == (
        credit,
        Objective(clip, None),
        reduction,
        constant,
        RewardTable(),
    )


@pytest.mark.parametrize("found", RECIPES.values(), ids=RECIPES)
def test_every_recipe_names_itself_its_paper_and_its_peers(found: Recipe) -> None:
    assert RECIPES[found.name] is found
    assert found.paper
    assert found.peers


def test_a_recipe_without_changes_is_the_named_one() -> None:
    assert recipe("grpo") == RECIPES["grpo"]


# ---- select


def test_a_group_with_a_signal_is_kept_whole() -> None:
    mixed = group("p", "right", "wrong")
    assert recipe("grpo").select([mixed]) == ([mixed], [])


@pytest.mark.parametrize("outcome", ["right", "wrong"])
def test_a_flat_group_is_dropped_rollout_by_rollout(outcome: Outcome) -> None:
    kept, dropped = recipe("grpo").select([group("p", outcome, outcome)])
    assert (kept, dropped) == ([], [Dropped(Key("p", 0), "flat"), Dropped(Key("p", 1), "flat")])


def test_a_rollout_without_a_verdict_is_dropped_and_the_rest_kept() -> None:
    kept, dropped = recipe("grpo").select([group("p", "right", "no_verdict", "wrong")])
    assert [r.index for r in kept[0].rollouts] == [0, 2]
    assert dropped == [Dropped(Key("p", 1), "no_verdict")]


def test_a_group_left_with_one_verdict_is_flat() -> None:
    _, dropped = recipe("grpo").select([group("p", "no_verdict", "right")])
    assert [d.reason for d in dropped] == ["no_verdict", "flat"]


def test_a_group_in_which_nothing_was_judged_has_no_verdict() -> None:
    _, dropped = recipe("grpo").select([group("p", "no_verdict", "no_verdict")])
    assert [d.reason for d in dropped] == ["no_verdict", "no_verdict"]


def test_reinforce_learns_from_a_group_that_is_all_right() -> None:
    kept, dropped = recipe("reinforce").select([group("p", "right", "right"), group("q", "wrong")])
    assert [g.problem.id for g in kept] == ["p"]
    assert dropped == [Dropped(Key("q", 0), "flat")]


def test_select_does_not_change_the_groups_it_was_given() -> None:
    given = group("p", "right", "no_verdict", "wrong")
    recipe("grpo").select([given])
    assert given == group("p", "right", "no_verdict", "wrong")


def test_every_rollout_is_either_kept_or_dropped() -> None:
    groups = [group("p", "right", "wrong", "no_verdict"), group("q", "wrong", "wrong"), group("r", "no_verdict")]
    kept, dropped = recipe("grpo").select(groups)
    trained = [g.key(r) for g in kept for r in g.rollouts]
    assert sorted(trained + [d.origin for d in dropped]) == sorted(g.key(r) for g in groups for r in g.rollouts)


def test_the_reward_table_decides_what_is_flat() -> None:
    cut = group("p", "wrong", "wrong", stop="length")
    mixed = Group(cut.problem, cut.prompt, (cut.rollouts[0], group("p", "wrong", "wrong").rollouts[1]))
    assert recipe("grpo").select([mixed])[0] == []
    assert recipe("grpo", reward_cut_wrong=-1.0).select([mixed])[0] == [mixed]


# ---- credit


def test_every_sampled_token_has_the_advantage_and_the_prompt_has_none() -> None:
    right, wrong = recipe("dr_grpo", constant=8).credit_groups([group("p", "right", "wrong")], {})
    assert right.advantages == (0.0, 0.0, 0.5)
    assert wrong.advantages == (0.0, 0.0, -0.5, -0.5)


def test_a_sample_says_where_it_is_from() -> None:
    sample = recipe("grpo").credit_groups([group("p", "right", "wrong")], {})[1]
    assert (sample.origin, sample.reward, sample.oldest, sample.newest) == (Key("p", 1), 0.0, 3, 4)


def test_uneven_groups_each_have_their_own_baseline() -> None:
    groups = [group("p", "right", "wrong"), group("q", "right", "wrong", "wrong", "wrong")]
    samples = recipe("dr_grpo", constant=8).credit_groups(groups, {})
    assert first_advantages(samples) == [0.5, -0.5, 0.75, -0.25, -0.25, -0.25]


def test_grpo_gives_the_advantages_of_the_reference_vectors() -> None:
    samples = recipe("grpo").credit_groups([group("p", "right", "wrong", "wrong", "wrong")], {})
    assert first_advantages(samples) == pytest.approx([1.499997, -0.499999, -0.499999, -0.499999], abs=1e-6)


def test_rloo_gives_the_advantages_of_the_reference_vectors() -> None:
    samples = recipe("rloo").credit_groups([group("p", "right", "wrong", "wrong", "wrong")], {})
    assert first_advantages(samples) == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])


def test_reinforce_gives_the_reward_itself() -> None:
    assert first_advantages(recipe("reinforce").credit_groups([group("p", "right", "wrong")], {})) == [1.0, 0.0]


def test_notes_are_joined_by_key() -> None:
    notes = {Key("p", 1): Notes(reference=(-2.0,) * 4), Key("p", 0): Notes(reference=(-1.0,) * 3)}
    samples = recipe("grpo").credit_groups([group("p", "right", "wrong")], notes)
    assert [s.notes for s in samples] == [notes[Key("p", 0)], notes[Key("p", 1)]]


def test_a_missing_note_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'p', index=1.*has no note"):
        recipe("grpo").credit_groups([group("p", "right", "wrong")], {Key("p", 0): Notes()})


def test_a_note_of_another_length_is_caught() -> None:
    with pytest.raises(AssertionError, match="one number a token"):
        recipe("grpo").credit_groups([group("p", "right")], {Key("p", 0): Notes(reference=(-1.0,))})


def test_credit_without_selection_is_refused() -> None:
    with pytest.raises(ValueError, match="has no reward: select"):
        recipe("grpo").credit_groups([group("p", "right", "no_verdict")], {})


# ---- weigh


def test_grpo_weighs_each_sample_the_same_and_dapo_each_token() -> None:
    groups = [group("p", "right", "wrong", "wrong")]  # one, two and three sampled tokens
    samples = recipe("grpo").credit_groups(groups, {})
    assert list(recipe("grpo").weigh(samples).values()) == pytest.approx([1 / 3, 1 / 6, 1 / 9])
    assert list(recipe("dapo").weigh(samples).values()) == pytest.approx([1 / 6, 1 / 6, 1 / 6])


# ---- needs


@pytest.mark.parametrize("found", RECIPES.values(), ids=RECIPES)
def test_no_recipe_needs_scores_as_it_comes(found: Recipe) -> None:
    assert found.needs(updates_per_step=1) == found.needs(updates_per_step=4) == frozenset()


def test_a_kl_to_the_reference_needs_the_reference() -> None:
    assert recipe("grpo", kl_to="reference", kl_coefficient=0.04).needs(1) == {"reference"}


def test_a_kl_to_the_start_of_the_step_needs_scores_only_with_several_updates() -> None:
    pulled = recipe("grpo", kl_to="start_of_step", kl_coefficient=0.04)
    assert pulled.needs(1) == frozenset()
    assert pulled.needs(2) == {"proximal"}


def test_a_step_without_updates_is_refused() -> None:
    with pytest.raises(ValueError, match="updates_per_step is 0"):
        recipe("grpo").needs(0)


# ---- what a run file may change


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reward_right", 2),
        ("reward_wrong", -1.0),
        ("reward_cut_right", 0.5),
        ("reward_cut_wrong", -0.5),
        ("reward_format_bonus", 0.1),
        ("clip_low", 0.1),
        ("clip_high", 0.28),
        ("clip_dual", 3.0),
        ("credit", "leave_one_out"),
        ("credit_deviation", "population"),
        ("credit_epsilon", 1e-4),
        ("reduction", "token_mean"),
    ],
)
def test_every_setting_changes_the_recipe(key: str, value: object) -> None:
    assert recipe("grpo", **{key: value}) != RECIPES["grpo"]


def test_the_settings_above_and_those_that_come_in_pairs_are_all_there_are() -> None:
    single = test_every_setting_changes_the_recipe.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {key for key, _ in single} | {"kl_to", "kl_coefficient", "constant"} == set(OVERRIDES)


def test_clip_higher_keeps_the_lower_clip() -> None:
    assert recipe("grpo", clip_high=0.28).objective.clip == Clip(0.2, 0.28)


def test_a_kl_is_added_to_the_clip() -> None:
    found = recipe("grpo", kl_to="reference", kl_coefficient=0.04)
    assert found.objective == Objective(Clip(0.2, 0.2), KL("reference", 0.04))


def test_reinforce_can_be_made_to_clip() -> None:
    assert recipe("reinforce", clip_low=0.2, clip_high=0.28).objective.clip == Clip(0.2, 0.28)


def test_another_reduction_leaves_the_constant_behind() -> None:
    assert recipe("reinforce", reduction="token_mean").constant is None


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("gpro", {}, "did you mean 'grpo'"),
        ("grpo", {"clip_hihg": 0.28}, "did you mean 'clip_high'"),
        ("grpo", {"credit": "leave_one_uot"}, "did you mean 'leave_one_out'"),
        ("grpo", {"kl_to": "reference"}, "kl_to has no effect alone: set kl_coefficient"),
        ("grpo", {"kl_coefficient": 0.1}, "kl_coefficient has no effect alone: set kl_to"),
        ("grpo", {"kl_to": "reference", "kl_coefficient": 0.0}, "kl_coefficient is 0.0"),
        ("grpo", {"constant": 8}, "constant has no effect with reduction 'sequence_mean'"),
        ("dr_grpo", {}, "constant is None: set it above 0, usually to the sampling's max_new"),
        ("dr_grpo", {"constant": 0}, "constant is 0.0"),
        ("dr_grpo", {"constant": 8, "credit_epsilon": 1e-4}, "credit_epsilon has no effect with credit 'group_mean'"),
        ("grpo", {"credit": "none", "credit_deviation": "population"}, "credit_deviation has no effect"),
        ("reinforce", {"clip_high": 0.28}, "does not clip: set both"),
        ("grpo", {"clip_low": "0.2"}, "clip_low is '0.2': give a number"),
        ("grpo", {"clip_low": True}, "clip_low is True: give a number"),
        ("grpo", {"clip_low": None}, "clip_low is None: give a number"),
        ("grpo", {"clip_low": 1.5}, "clip_low is 1.5"),
        ("grpo", {"clip_high": float("nan")}, "clip_high is nan"),
        ("grpo", {"clip_dual": 0.5}, "clip_dual is 0.5"),
        ("grpo", {"reward_format_bonus": 0.5}, "reward_format_bonus is 0.5"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(name: str, overrides: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        recipe(name, **overrides)
    assert says in str(refusal.value)
