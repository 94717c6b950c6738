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


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "ppo"])
def test_no_recipe_but_ppo_needs_scores_as_it_comes(name: str) -> None:
    found = RECIPES[name]
    assert found.needs(updates_per_step=1) == found.needs(updates_per_step=4) == frozenset()


def test_ppo_needs_its_critic_and_its_reference() -> None:
    assert RECIPES["ppo"].needs(1) == {"values", "reference"}
    assert recipe("ppo", kl_to="none").needs(1) == {"values"}


def test_a_correction_needs_the_start_of_the_step_only_with_several_updates() -> None:
    corrected = recipe("grpo", correction="tis", correction_high=2)
    assert (corrected.needs(1), corrected.needs(2)) == (frozenset(), {"proximal"})


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


TABLE = {"right": {"finished": 1, "cut": 0.5}, "wrong": {"finished": 0, "cut": -0.5}}
PULL = {"kl_to": "reference", "kl_coefficient": 0.1}
MOVING = {"kl_to": "moving", "kl_coefficient": 0.1, "kl_every": 8, "kl_mix": 0.5}
ENTROPY = {"entropy_coefficient": 0.01, "entropy_target": 0.3}
COV = {"covariance": "clip", "covariance_share": 0.01}
OVERLONG = {"overlong_buffer": 8, "overlong_limit": 32}
LENGTH = {"length": "linear", "length_tokens": 32, "length_weight": 0.1}
CHANGES: list[tuple[str, object, str, dict[str, object]]] = [  # setting, value, recipe, what must stand beside it
    ("reward_right", 2, "grpo", {}),
    ("reward_wrong", -1.0, "grpo", {}),
    ("reward_cut_right", 0.5, "grpo", {}),
    ("reward_cut_wrong", -0.5, "grpo", {}),
    ("reward_format_bonus", 0.1, "grpo", {}),
    ("reward_weight", 0.5, "grpo", OVERLONG),
    ("reward_table", TABLE, "grpo", {}),
    ("reward_parts", {"thought": 0.1}, "gdpo", {}),
    ("overlong_buffer", 16, "dapo", OVERLONG),
    ("overlong_limit", 64, "dapo", OVERLONG),
    ("overlong_penalty", 0.5, "dapo", OVERLONG),
    ("length", "target", "grpo", LENGTH),
    ("length_tokens", 16, "grpo", LENGTH),
    ("length_weight", 0.2, "grpo", LENGTH),
    ("credit", "leave_one_out", "grpo", {}),
    ("credit_deviation", "population", "grpo", {}),
    ("credit_epsilon", 1e-4, "grpo", {}),
    ("whiten", "tokens", "grpo", {}),
    ("whiten_deviation", "population", "reinforce_pp", {}),
    ("whiten_epsilon", 1e-4, "gdpo", {}),
    ("gamma", 0.99, "reinforce", {}),
    ("gae_lambda", 1, "ppo", {}),
    ("objective", "cispo", "grpo", {}),
    ("clip_low", 0.1, "grpo", {}),
    ("clip_high", 0.28, "grpo", {}),
    ("clip_dual", 3.0, "grpo", {}),
    ("sapo_positive", 2, "sapo", {}),
    ("sapo_negative", 2, "sapo", {}),
    ("dppo_divergence", "kl", "grpo", {"objective": "dppo"}),
    ("dppo_cap", 20, "grpo", {"objective": "dppo"}),
    ("dppo_drift", 1e-3, "grpo", {"objective": "dppo"}),
    ("kl_to", "start_of_step", "grpo", PULL),
    ("kl_coefficient", 0.2, "grpo", PULL),
    ("kl_in", "reward", "grpo", PULL),
    ("kl_estimator", "k3", "grpo", PULL),
    ("kl_every", 4, "grpo", MOVING),
    ("kl_mix", 1, "grpo", MOVING),
    ("correction", "icepop", "grpo", {"correction": "tis", "correction_high": 2}),
    ("correction_low", 0.5, "grpo", {"correction": "icepop", "correction_high": 2}),
    ("correction_high", 5, "grpo", {"correction": "icepop", "correction_high": 2}),
    ("stale_mask", 0.1, "grpo", {}),
    ("entropy_coefficient", 0.02, "grpo", ENTROPY),
    ("entropy_target", 0.2, "grpo", ENTROPY),
    ("entropy_step", 0.01, "grpo", ENTROPY),
    ("entropy_most", 0.5, "grpo", ENTROPY),
    ("covariance", "kl", "grpo", COV),
    ("covariance_share", 0.02, "grpo", COV),
    ("covariance_low", 0.5, "grpo", COV),
    ("covariance_high", 9, "grpo", COV),
    ("covariance_coefficient", 0.5, "grpo", {"covariance": "kl"}),
    ("critic_coefficient", 1, "ppo", {}),
    ("critic_clip", None, "ppo", {}),
    ("reduction", "token_mean", "grpo", {}),
    ("constant", 8, "reinforce", {}),
]


@pytest.mark.parametrize(("key", "value", "name", "beside"), CHANGES, ids=[key for key, *_ in CHANGES])
def test_every_setting_changes_the_recipe(key: str, value: object, name: str, beside: dict[str, object]) -> None:
    assert recipe(name, **{**beside, key: value}) != recipe(name, **beside)


def test_the_settings_above_are_all_there_are() -> None:
    assert {key for key, *_ in CHANGES} == set(OVERRIDES)


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
        ("grpo", {"reward_table": {"right": TABLE["right"]}}, "no number for wrong x finished: give all four cells"),
        ("grpo", {"reward_table": {**TABLE, "wrong": {"finished": 0}}}, "no number for wrong x cut"),
        ("grpo", {"reward_table": {**TABLE, "no_verdict": {"finished": 0, "cut": 0}}}, "never trained on"),
        ("grpo", {"reward_table": {**TABLE, "maybe": {}}}, "no cell 'maybe'"),
        (
            "grpo",
            {"reward_table": {"right": TABLE["right"], "wrng": TABLE["wrong"]}},
            "no cell 'wrng'; did you mean 'wrong'",
        ),
        ("grpo", {"reward_table": TABLE, "reward_right": 1}, "give one of the two"),
        ("grpo", {"reward_weight": 0.5}, "reward_weight has no effect without another reward"),
        ("grpo", {"reward_parts": {"format": "much"}}, "reward_parts.format is 'much': give a number"),
        ("grpo", {"overlong_penalty": 1}, "overlong_penalty has no effect without overlong_buffer"),
        ("grpo", {"overlong_buffer": 8}, "overlong_buffer needs overlong_limit"),
        ("grpo", {"overlong_buffer": 40, "overlong_limit": 32}, "from 1 to the limit, 32"),
        ("grpo", {"length": "linear"}, "set all three, or none"),
        ("grpo", {"critic_clip": 0.2}, "asks for a critic, and credit 'group_mean_std' has none"),
        ("grpo", {"gae_lambda": 0.9}, "gae_lambda has no effect with credit 'group_mean_std'"),
        ("grpo", {"whiten_deviation": "population"}, "has no effect without whitening"),
        ("ppo", {"whiten": "samples"}, "gives each token its own advantage"),
        ("grpo", {"kl_to": "reference", "kl_coefficient": 0.1, "kl_mix": 0.5}, "how a moving reference moves"),
        ("grpo", {"kl_to": "moving", "kl_coefficient": 0.1, "kl_mix": 0.5}, "how a moving reference moves"),
        ("maxrl", {"reward_wrong": -1}, "no reward may be below 0"),
        ("maxrl", {**PULL, "kl_in": "reward"}, "no reward may be below 0"),
        ("gdpo", {**PULL, "kl_in": "reward"}, 'use kl_in = "loss"'),
        ("sapo", {"clip_low": 0.2}, "clip_low has no effect with objective 'sapo'"),
        ("grpo", {"objective": "gspo", "clip_dual": 3}, "clip_dual has no effect with objective 'gspo'"),
        ("grpo", {"objective": "dppo", "correction": "tis", "correction_high": 2}, "count the gap twice"),
        ("grpo", {"kl_to": "start_of_step", "kl_coefficient": 1, "kl_in": "reward"}, "always 0 in the reward"),
        ("grpo", {**PULL, "kl_in": "reward", "kl_estimator": "ratio_k3"}, "is for the loss"),
        ("grpo", {"kl_to": "moving", "kl_coefficient": 0.1}, "kl_every and kl_mix say how a moving reference moves"),
        ("grpo", {**PULL, "kl_every": 8, "kl_mix": 1}, "kl_every and kl_mix say how"),
        ("grpo", {"kl_to": "none", "kl_coefficient": 0.1}, "turns the KL off"),
        ("grpo", {"correction_high": 2}, "correction_high has no effect alone"),
        ("grpo", {"correction": "tis"}, "needs correction_high"),
        ("grpo", {"correction": "icepop", "correction_low": 3, "correction_high": 2}, "hold nothing between them"),
        ("grpo", {"correction": "decoupled", "correction_high": 2}, "has no bounds"),
        ("grpo", {"entropy_target": 0.3}, "entropy_target has no effect alone"),
        ("grpo", {"entropy_coefficient": 0.1, "entropy_step": 0.1}, "no effect without entropy_target"),
        ("grpo", {"covariance": "clip", "covariance_coefficient": 1}, "no effect with covariance = 'clip'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(name: str, overrides: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        recipe(name, **overrides)
    assert says in str(refusal.value)
