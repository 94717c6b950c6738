"""From verdicts to rewards, from rewards to advantages, and what each token weighs."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.algos.credit import Credit, group_mean, group_mean_std, leave_one_out, no_baseline
from burnish.algos.reduce import Reduction, weights
from burnish.algos.reward import RewardTable
from burnish.errors import ConfigError
from burnish.records import Key, Outcome, Rollout, Sample, Stop, Tokens, Verdict

ONE_RIGHT = [1.0, 0.0, 0.0, 0.0]  # the rewards of the reference vectors
COMPARING = [Credit("group_mean_std"), Credit("group_mean"), Credit("leave_one_out")]
REWARDS = st.lists(st.one_of(st.none(), st.sampled_from([0.0, 0.1, 1.0, 1.1])), max_size=8)


def rollout(outcome: Outcome, stop: Stop = "eos", parts: dict[str, float] | None = None, length: int = 2) -> Rollout:
    tokens = Tokens.join((1,), (5,) * length, (-1.0,) * length)
    score = {"right": 1.0, "wrong": 0.0, "no_verdict": None}[outcome]
    return Rollout(0, tokens, "", stop, Verdict(outcome, score, parts or {}), 0, 0)


def sample(problem: str, index: int, length: int) -> Sample:
    tokens = Tokens.join((1, 2), (5,) * length, (-1.0,) * length)
    return Sample(Key(problem, index), tokens, (0.0,) * (2 + length), 1.0, 0, 0)


def sampled_weight(samples: list[Sample], reduction: Reduction, constant: float | None = None) -> float:
    """The weights of all sampled tokens, added up."""
    by_key = weights(samples, reduction, constant)
    return math.fsum(by_key[s.origin] * s.tokens.sampled_count for s in samples)


# ---- reward


def test_a_right_trace_earns_one_and_a_wrong_trace_nothing() -> None:
    table = RewardTable()
    assert (table.reward(rollout("right")), table.reward(rollout("wrong"))) == (1.0, 0.0)


def test_no_verdict_is_never_a_number() -> None:
    table = RewardTable(wrong=-1.0, cut_wrong=-2.0, format_bonus=0.1)
    stops: list[Stop] = ["eos", "length", "aborted"]
    assert [table.reward(rollout("no_verdict", stop, {"format": 1.0})) for stop in stops] == [None, None, None]


def test_a_cut_trace_earns_as_a_finished_one_unless_the_table_says_otherwise() -> None:
    assert RewardTable().reward(rollout("right", "length")) == 1.0
    assert RewardTable(cut_right=0.5).reward(rollout("right", "length")) == 0.5
    assert RewardTable(cut_wrong=-0.5).reward(rollout("wrong", "length")) == -0.5


def test_the_cut_rewards_leave_finished_traces_alone() -> None:
    table = RewardTable(cut_right=0.5, cut_wrong=-0.5)
    assert (table.reward(rollout("right")), table.reward(rollout("wrong"))) == (1.0, 0.0)


def test_a_cut_reward_of_zero_is_not_taken_for_a_missing_one() -> None:
    assert RewardTable(cut_right=0.0).reward(rollout("right", "length")) == 0.0


def test_an_aborted_trace_has_no_reward() -> None:
    assert RewardTable().reward(rollout("wrong", "aborted")) is None


def test_a_trace_in_which_nothing_was_sampled_has_no_reward() -> None:
    assert RewardTable().reward(rollout("wrong", length=0)) is None


def test_the_format_bonus_is_added_in_proportion() -> None:
    table = RewardTable(format_bonus=0.1)
    earned = [table.reward(rollout("wrong", parts={"format": share})) for share in (0.0, 0.5, 1.0)]
    assert earned == [0.0, 0.05, 0.1]


def test_a_verdict_without_a_format_part_earns_no_bonus() -> None:
    assert RewardTable(format_bonus=0.1).reward(rollout("right")) == 1.0


def test_a_format_part_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'format' is 3\.0"):
        RewardTable(format_bonus=0.1).reward(rollout("wrong", parts={"format": 3.0}))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"format_bonus": 0.2}, "reward_format_bonus"),
        ({"format_bonus": -0.1}, "reward_format_bonus"),
        ({"right": math.nan}, "reward_right"),
        ({"cut_wrong": -math.inf}, "reward_cut_wrong"),
        ({"right": 0.0}, "reward_right"),
    ],
)
def test_a_table_that_cannot_teach_is_refused(settings: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RewardTable(**settings)


# ---- credit


@pytest.mark.parametrize(
    ("advantages", "expected"),
    [
        (group_mean_std(ONE_RIGHT), [1.499997, -0.499999]),  # verl, SkyRL, NeMo-RL without leave-one-out
        (group_mean_std(ONE_RIGHT, epsilon=1e-4), [1.4997, -0.4999]),  # TRL
        (group_mean_std(ONE_RIGHT, epsilon=1e-9), [1.5, -0.5]),  # OpenRLHF
        (group_mean_std(ONE_RIGHT, "population", 1e-8), [1.732051, -0.577350]),  # TRL, asynchronous
        (group_mean(ONE_RIGHT), [0.75, -0.25]),  # Dr. GRPO, prime-rl, tinker-cookbook
        (leave_one_out(ONE_RIGHT), [1.0, -0.333333]),  # RLOO
        (no_baseline(ONE_RIGHT), [1.0, 0.0]),
    ],
)
def test_advantages_match_the_reference_vectors(advantages: list[float], expected: list[float]) -> None:
    first, rest = expected
    assert advantages == pytest.approx([first, rest, rest, rest], abs=1e-6 if first != 1.4997 else 1e-4)


def test_leave_one_out_is_the_reward_less_the_mean_of_the_others() -> None:
    assert leave_one_out([3.0, 0.0, 6.0]) == [0.0, -4.5, 4.5]  # 3 - 6/2, 0 - 9/2, 6 - 3/2


@pytest.mark.parametrize("credit", COMPARING)
def test_a_rollout_without_a_verdict_leaves_the_others_as_they_were(credit: Credit) -> None:
    first, second, third = credit([1.0, 0.0, 0.0])
    assert credit([1.0, None, 0.0, 0.0, None]) == [first, None, second, third, None]


@pytest.mark.parametrize("credit", COMPARING)
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0 / 3.0])
def test_a_flat_group_gets_exact_zeros(credit: Credit, reward: float) -> None:
    assert credit([reward] * 3) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("credit", COMPARING)
def test_a_group_of_one_has_nothing_to_compare_with(credit: Credit) -> None:
    assert credit([1.0]) == [0.0]
    assert credit([None, 1.0, None]) == [None, 0.0, None]


def test_reinforce_takes_the_reward_itself_even_in_a_group_of_one() -> None:
    assert Credit("none")([1.0]) == [1.0]


@given(rewards=REWARDS)
@pytest.mark.parametrize("credit", COMPARING)
def test_advantages_of_a_group_sum_to_zero(credit: Credit, rewards: list[float | None]) -> None:
    assert math.fsum(a for a in credit(rewards) if a is not None) == pytest.approx(0.0, abs=1e-9)


@given(rewards=REWARDS, data=st.data())
@pytest.mark.parametrize("credit", [*COMPARING, Credit("none")])
def test_the_order_of_a_group_does_not_matter(credit: Credit, rewards: list[float | None], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rewards))))
    assert credit([rewards[i] for i in order]) == [credit(rewards)[i] for i in order]


@given(rewards=REWARDS, where=st.integers(0, 8))
@pytest.mark.parametrize("credit", [*COMPARING, Credit("none")])
def test_one_more_rollout_without_a_verdict_changes_nothing(
    credit: Credit, rewards: list[float | None], where: int
) -> None:
    more = credit([*rewards[:where], None, *rewards[where:]])
    place = min(where, len(rewards))
    assert more[:place] + more[place + 1 :] == credit(rewards)


def test_an_epsilon_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="credit_epsilon"):
        Credit(epsilon=-1e-6)


# ---- reduce

UNEVEN = [sample("p", 0, 2), sample("p", 1, 3), sample("q", 0, 5)]


def test_token_mean_weighs_every_token_the_same() -> None:
    assert weights(UNEVEN, "token_mean") == dict.fromkeys((s.origin for s in UNEVEN), 1 / 10)


def test_sequence_mean_weighs_every_sample_the_same() -> None:
    assert list(weights(UNEVEN, "sequence_mean").values()) == [1 / 6, 1 / 9, 1 / 15]


def test_prompt_mean_weighs_every_prompt_the_same() -> None:
    assert list(weights(UNEVEN, "prompt_mean").values()) == [1 / 10, 1 / 10, 1 / 10]
    assert list(weights(UNEVEN[:1] + UNEVEN[2:], "prompt_mean").values()) == [1 / 4, 1 / 10]


def test_constant_divides_by_samples_and_a_length() -> None:
    assert set(weights(UNEVEN, "constant", 8.0).values()) == {1 / 24}


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "prompt_mean"])
def test_a_mean_weighs_one_in_all(reduction: Reduction) -> None:
    assert sampled_weight(UNEVEN, reduction) == pytest.approx(1.0)


def test_weights_follow_the_origin_and_not_the_place() -> None:
    assert weights(UNEVEN[::-1], "sequence_mean") == weights(UNEVEN, "sequence_mean")


def test_only_sampled_tokens_are_counted() -> None:
    tokens = Tokens((1, 5, 9, 5), (False, True, False, True), (0.0, -1.0, 0.0, -1.0))  # a tool's reply in the middle
    only = Sample(Key("p", 0), tokens, (0.0,) * 4, 1.0, 0, 0)
    assert weights([only], "token_mean") == {Key("p", 0): 0.5}


def test_a_sample_with_nothing_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match="has no sampled token"):
        weights([*UNEVEN, sample("r", 0, 0)], "token_mean")


def test_the_same_rollout_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"same rollout.*'p', index=1"):
        weights([*UNEVEN, sample("p", 1, 4)], "token_mean")


@pytest.mark.parametrize(("reduction", "constant"), [("constant", None), ("token_mean", 8.0), ("constant", 0.0)])
def test_a_constant_goes_with_its_reduction_only(reduction: Reduction, constant: float | None) -> None:
    with pytest.raises(ValueError, match="constant"):
        weights(UNEVEN, reduction, constant)


# ---- imports


def test_the_signal_is_computed_without_torch() -> None:
    names = ("reward", "credit", "reduce", "objective", "recipes")
    code = "\n".join(
        [*(f"import burnish.algos.{name}" for name in names), "import sys; sys.exit('torch' in sys.modules)"]
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
