"""The statistics of an evaluation, against hand numbers, all subsets, and simulation."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from burnish.evaluate import statistics
from burnish.evaluate.statistics import (
    bootstrap_interval,
    maj_at_k,
    mean_interval,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    t_quantile,
)


def all_subsets_maj(answers: list[str | None], right: list[bool], k: int) -> float:
    """maj@k by its definition: every subset, one by one."""
    classes = [("right", "") if good else ("wrong", found) for found, good in zip(answers, right, strict=True)]
    voting = [None if found is None and not good else c for c, found, good in zip(classes, answers, right, strict=True)]
    shares = []
    for subset in combinations(range(len(answers)), k):
        votes = Counter(voting[i] for i in subset if voting[i] is not None)
        most = max(votes.values(), default=0)
        leaders = [name for name, count in votes.items() if count == most]
        shares.append(1 / len(leaders) if ("right", "") in leaders else 0.0)
    return sum(shares) / len(shares)


# ---- pass@k and pass^k


@pytest.mark.parametrize(("k", "value"), [(1, 0.03125), (8, 0.25), (16, 0.5), (32, 1.0)])
def test_pass_at_k_of_one_right_in_32(k: int, value: float) -> None:
    assert pass_at_k(32, 1, k) == value


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(4, 2, 2) == 5 / 6  # of the 6 pairs only one is wrong twice


def test_pass_hat_k_by_hand() -> None:
    assert pass_hat_k(4, 2, 2) == 1 / 6


def test_pass_at_k_is_nought_without_a_right_answer() -> None:
    assert pass_at_k(8, 0, 8) == 0.0


def test_pass_at_k_keeps_its_digits_where_it_is_tiny() -> None:
    assert pass_at_k(10**9, 1, 1) == 1e-9  # 1 - (1 - 1e-9) would lose half of them


def test_pass_at_k_does_not_overflow() -> None:
    assert pass_at_k(4000, 1, 2000) == 0.5


@given(st.integers(1, 9), st.data())
@settings(deadline=None)
def test_pass_figures_equal_the_mean_over_all_subsets(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1), (0, 0, 1)])
def test_pass_figures_refuse_impossible_counts(n: int, c: int, k: int) -> None:
    for figure in (pass_at_k, pass_hat_k):
        with pytest.raises(ValueError, match=r"must be from 1|not possible"):
            figure(n, c, k)


# ---- maj@k


def test_maj_at_1_is_pass_at_1() -> None:
    assert maj_at_k(["1", "2", "3", "1"], [True, False, False, True], 1) == pass_at_k(4, 2, 1) == 0.5


def test_a_tie_is_shared() -> None:
    assert maj_at_k(["72", "70"], [True, False], 2) == 0.5
    assert maj_at_k(["72", "70", "71"], [True, False, False], 3) == pytest.approx(1 / 3)


def test_the_majority_can_be_wrong() -> None:
    assert maj_at_k(["72", "70", "70"], [True, False, False], 3) == 0.0


def test_right_answers_are_one_class_however_they_are_written() -> None:
    assert maj_at_k(["1/2", "0.5", "3", "3"], [True, True, False, False], 4) == 0.5


def test_an_answer_that_was_not_found_has_no_vote() -> None:
    assert maj_at_k([None, None, "72"], [False, False, True], 3) == 1.0


def test_no_answer_at_all_is_wrong() -> None:
    assert maj_at_k([None, None], [False, False], 2) == 0.0


def test_maj_at_k_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="k=3, n=2"):
        maj_at_k(["1", "2"], [True, False], 3)


def test_maj_at_k_refuses_verdicts_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="2 answers but 1 verdicts"):
        maj_at_k(["1", "2"], [True], 1)


ANSWERS = st.lists(
    st.sampled_from([("1", True), ("one", True), ("2", False), ("3", False), ("4", False), (None, False)])
)


@given(ANSWERS.filter(lambda rows: 1 <= len(rows) <= 9), st.data())
@settings(deadline=None)
def test_maj_at_k_equals_the_mean_over_all_subsets(rows: list[tuple[str | None, bool]], data: st.DataObject) -> None:
    answers, right = [found for found, _ in rows], [good for _, good in rows]
    k = data.draw(st.integers(1, len(rows)))
    assert maj_at_k(answers, right, k) == pytest.approx(all_subsets_maj(answers, right, k), abs=1e-12)


def test_maj_at_k_by_drawing_agrees_with_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | None] = [str(i % 7) for i in range(56)] + [None] * 8
    right = [found == "3" for found in answers]
    exact = maj_at_k(answers, right, 16)
    monkeypatch.setattr(statistics, "EXACT_COST", 0)
    drawn = maj_at_k(answers, right, 16, seed=1, draws=40_000)
    assert drawn != exact
    assert abs(drawn - exact) < 4 * 0.5 / math.sqrt(40_000)  # four standard errors
    assert drawn == maj_at_k(answers, right, 16, seed=1, draws=40_000)


def test_drawing_gives_no_win_without_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "EXACT_COST", 0)
    assert maj_at_k([None] * 3, [False] * 3, 2) == 0.0
    # Of the three pairs, one has no vote, and in two the only vote is right.
    assert maj_at_k([None, None, "72"], [False, False, True], 2, draws=10_000) == pytest.approx(2 / 3, abs=0.02)


# ---- intervals


def test_the_interval_by_hand() -> None:
    # The variance of the mean is 3 * 0.02 / 11 / 12 = 0.000454545, so m = 0.25 / 0.000454545 = 550; t of eleven degrees of
    # freedom is 2.200985, t^2 / m = 0.0088079; half = 2.200985 * sqrt(1 / 2200 + 0.0088079 / 2200) / 1.0088079 = 0.046719.
    interval = mean_interval([0.4, 0.5, 0.5, 0.6] * 3)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.453281, 0.546719), abs=1e-6)


def test_the_interval_of_one_answer_a_problem_is_wilsons() -> None:
    # 99 degrees of freedom in place of 100 problems, and t in place of z, are all the difference.
    wilson = stats.binomtest(8, 100).proportion_ci(method="wilson")
    interval = mean_interval([1.0] * 8 + [0.0] * 92)
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high), abs=0.002)


def test_far_from_the_ends_the_interval_is_student_s() -> None:
    values = (np.random.default_rng(4).binomial(8, np.linspace(0.2, 0.8, 400)) / 8).tolist()
    margin = stats.t.ppf(0.975, 399) * np.std(values, ddof=1) / 20
    interval = mean_interval(values)
    assert (interval.high - interval.low) / 2 == pytest.approx(margin, rel=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_interval_holds_its_mean_and_stays_within_the_possible(values: list[float]) -> None:
    interval = mean_interval(values)
    assert 0.0 <= interval.low <= interval.value + 1e-12 and interval.value - 1e-12 <= interval.high <= 1.0


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=30))
@settings(deadline=None)
def test_right_and_wrong_are_treated_alike(values: list[float]) -> None:
    one, other = mean_interval(values), mean_interval([1 - value for value in values])
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_a_rough_interval_is_no_sharper_than_as_many_independent_problems() -> None:
    values = [0.0] * 99 + [0.5]  # half a problem's worth: ten times sharper, taken at its word
    rough = mean_interval(values)
    assert statistics.is_rough(values) and rough.high > 0.02


def test_ten_of_ten_has_the_wilson_interval() -> None:
    interval = mean_interval([1.0] * 10)
    assert interval.low == pytest.approx(10 / (10 + 1.959964**2), rel=1e-6)  # 0.7225
    assert (interval.value, interval.high) == (1.0, 1.0)


def test_none_of_ten_mirrors_ten_of_ten() -> None:
    wilson = stats.binomtest(0, 10).proportion_ci(method="wilson")
    interval = mean_interval([0.0] * 10)
    assert (interval.low, interval.high) == pytest.approx((wilson.low, wilson.high), abs=1e-9)


def test_equal_values_in_the_middle_do_not_claim_certainty() -> None:
    interval = mean_interval([0.5] * 10)
    assert interval.low < 0.5 < interval.high


def test_one_problem_says_very_little() -> None:
    assert mean_interval([1.0]).low == pytest.approx(0.2065, abs=1e-4)


def test_a_higher_level_is_wider() -> None:
    narrow, wide = mean_interval([0.0, 1.0] * 20, 0.8), mean_interval([0.0, 1.0] * 20, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("values", [[], [1.5], [-0.1, 0.2], [math.nan]])
def test_intervals_refuse_what_is_not_a_share(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|outside"):
        mean_interval(values)
    with pytest.raises(ValueError, match=r"at least one|outside"):
        bootstrap_interval(values, seed=0)


def test_intervals_refuse_a_level_in_per_cent() -> None:
    with pytest.raises(ValueError, match="level must lie between 0 and 1: 95"):
        mean_interval([0.0, 1.0], 95)


def test_the_bootstrap_agrees_with_the_closed_form() -> None:
    shares = np.random.default_rng(5).binomial(8, np.linspace(0.05, 0.95, 200)) / 8
    closed, drawn = mean_interval(shares.tolist()), bootstrap_interval(shares.tolist(), seed=1)
    assert drawn.value == closed.value
    assert (drawn.low, drawn.high) == pytest.approx((closed.low, closed.high), abs=0.006)  # of a width of 0.08


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = np.linspace(0.0, 1.0, 50).tolist()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_the_bootstrap_of_equal_values_is_not_of_zero_width() -> None:
    assert bootstrap_interval([1.0] * 10, seed=0) == mean_interval([1.0] * 10)


@pytest.mark.parametrize("problems", [30, 200])
def test_the_closed_form_covers_the_truth_as_often_as_it_says(problems: int) -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for _ in range(1500):  # difficulties from Beta(2, 3), whose mean is 0.4; four samples a problem
        interval = mean_interval((generator.binomial(4, generator.beta(2, 3, problems)) / 4).tolist())
        covered += interval.low <= 0.4 <= interval.high
    assert 0.93 <= covered / 1500 <= 0.97


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(12)
    covered = 0
    for seed in range(600):
        shares = (generator.binomial(4, generator.beta(2, 3, 100)) / 4).tolist()
        interval = bootstrap_interval(shares, seed=seed, draws=400)
        covered += interval.low <= 0.4 <= interval.high
    assert 0.93 <= covered / 600 <= 0.97


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30, 100, 101, 1318])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.975, 0.9995])
def test_t_quantiles_are_those_of_scipy(probability: float, freedom: int) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-8, abs=1e-12)


def test_values_without_a_bound_have_students_interval() -> None:
    interval = mean_interval([1.0, 2.0, 3.0], low=0.0, high=math.inf)  # sd 1; t at 2 degrees of freedom is 4.3027
    assert (interval.value, interval.low) == (2.0, 0.0)
    assert interval.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    both = mean_interval([1.0, 2.0, 3.0], low=-math.inf, high=math.inf)
    assert both.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)


def test_t_quantiles_refuse_no_degrees_of_freedom() -> None:
    with pytest.raises(ValueError, match="0 degrees"):
        t_quantile(0.975, 0)


# ---- paired comparison


def test_a_paired_difference_by_hand() -> None:
    paired = paired_difference({"a": 0.0, "b": 0.5, "c": 1.0, "d": 0.0}, {"a": 1.0, "b": 1.0, "c": 0.5, "d": 0.0})
    assert paired.difference.value == 0.25  # (1 + 0.5 - 0.5 + 0) / 4
    assert (paired.won, paired.lost, paired.tied) == (2, 1, 1)
    # |+-1 +-0.5 +-0.5| reaches 1 unless both halves are against the 1: in 6 of 8 sign patterns.
    assert paired.p_value == 0.75


def test_pairing_is_by_id_and_not_by_order() -> None:
    first = {"a": 0.0, "b": 1.0, "c": 0.5}
    assert paired_difference(first, {"c": 0.5, "b": 1.0, "a": 0.0}).tied == 3


def test_pairing_refuses_other_problems() -> None:
    with pytest.raises(ValueError, match="2 problems are not in both; 'b' is only in the first"):
        paired_difference({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})


def test_five_wins_of_five_by_chance() -> None:
    names = "abcde"
    paired = paired_difference(dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0))
    assert paired.p_value == 2 / 32


def test_no_difference_anywhere_is_no_evidence_but_not_certainty() -> None:
    same = {str(i): i % 2 for i in range(50)}
    paired = paired_difference(same, same)
    assert paired.p_value == 1.0
    assert paired.difference.low < 0.0 < paired.difference.high


def test_swapping_the_two_turns_the_sign() -> None:
    generator = np.random.default_rng(2)
    a, b = ({str(i): float(x) for i, x in enumerate(generator.random(9))} for _ in range(2))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert (there.won, there.lost, there.p_value) == (back.lost, back.won, back.p_value)


def test_drawn_sign_flips_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {str(i): 0.0 for i in range(12)}
    second = {str(i): [1.0, 0.5, 0.25][i % 3] * (i < 9) for i in range(12)}
    first |= {"9": 1.0, "10": 0.5, "11": 0.25}
    exact = paired_difference(first, second).p_value
    monkeypatch.setattr(statistics, "EXACT_FLIPS", 0)
    drawn = paired_difference(first, second, draws=20_000).p_value
    assert 0.01 < exact < 0.3
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))


def test_pairing_is_narrower_than_two_intervals() -> None:
    hard = np.linspace(0.0, 0.9, 60)
    first = {str(i): float(x) for i, x in enumerate(hard)}
    second = {str(i): float(x) + 0.05 + 0.05 * (i % 2) for i, x in enumerate(hard)}
    paired, alone = paired_difference(first, second).difference, mean_interval(list(first.values()))
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 5


def test_p_values_are_even_when_there_is_nothing_to_find() -> None:
    generator = np.random.default_rng(3)
    small = 0
    for seed in range(300):
        a, b = ({str(i): float(x) for i, x in enumerate(generator.binomial(4, 0.5, 40) / 4)} for _ in range(2))
        small += paired_difference(a, b, seed=seed, draws=500).p_value <= 0.1
    assert 0.06 <= small / 300 <= 0.14
