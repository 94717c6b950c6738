"""The mathematics of inference-time scaling, against hand numbers, enumeration, and rules checked on every sequence of votes."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from burnish.evaluate import scaling
from burnish.evaluate.scaling import (
    Answers,
    Point,
    at_budget,
    best_of,
    count_votes,
    decided,
    leader_is_likelier,
    mixed,
    orders,
    stop_when_decided,
    stop_when_sure,
    subsets,
    tokens_to_reach,
    weighted_vote,
)
from burnish.evaluate.statistics import maj_at_k, pass_at_k

ANSWERS = st.lists(st.sampled_from(["right", "a", "b", None]), min_size=1, max_size=6)


def pool(votes: list[str | None], tokens: list[int] | None = None) -> Answers:
    """ "right" is right, all else wrong; None says nothing."""
    right = tuple(vote == "right" for vote in votes)
    return Answers(tuple(votes), right, tuple(tokens or [1] * len(votes)))


def winners(votes: list[str | None]) -> set[str]:
    """All answers that lead a vote."""
    counts = Counter(vote for vote in votes if vote is not None)
    return {vote for vote, count in counts.items() if count == max(counts.values())}


def share_right(votes: list[str | None]) -> float:
    leading = winners(votes)
    return ("right" in leading) / len(leading) if leading else 0.0


# ---- best of n


def test_best_of_by_hand() -> None:
    assert best_of([0.9, 0.5, 0.1], [False, True, True], 2) == 1 / 3  # only {0.5, 0.1} is led by a right one


def test_best_of_shares_a_tie() -> None:
    assert best_of([1.0, 1.0, 1.0, 0.0], [True, False, False, True], 4) == 1 / 3


def test_best_of_one_is_the_share_of_right_ones() -> None:
    assert best_of([0.3, 0.1, 0.2, 0.4], [True, False, False, False], 1) == 0.25


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.booleans()), min_size=1, max_size=7), st.data())
@settings(deadline=None)
def test_best_of_is_the_mean_over_all_subsets(rows: list[tuple[float, bool]], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(rows)))
    shares = []
    for chosen in combinations(rows, n):
        best = [right for score, right in chosen if score == max(score for score, _ in chosen)]
        shares.append(sum(best) / len(best))
    scores, right = zip(*rows, strict=True)
    assert best_of(scores, right, n) == pytest.approx(sum(shares) / len(shares))


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_best_of_by_the_verdict_is_pass_at_n(right: list[bool], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(right)))
    assert best_of([float(one) for one in right], right, n) == pytest.approx(pass_at_k(len(right), sum(right), n))


@pytest.mark.parametrize(
    ("scores", "n", "said"),
    [
        ([1.0, 2.0], 3, "n must be from 1"),
        ([1.0, 2.0], 0, "n must be from 1"),
        ([1.0], 1, "1 values for 2"),
        ([1.0, float("nan")], 1, "not a finite number"),
    ],
)
def test_best_of_refuses_what_makes_no_sense(scores: list[float], n: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        best_of(scores, [True, False], n)


# ---- weighted votes


def test_one_heavy_vote_beats_two_light_ones() -> None:
    assert weighted_vote(pool(["right", "a", "a"]), [0.9, 0.4, 0.4], 3) == 1.0
    assert weighted_vote(pool(["right", "a", "a"]), [0.7, 0.4, 0.4], 3) == 0.0


def test_sums_that_differ_by_rounding_alone_are_a_tie() -> None:
    assert 0.1 + 0.2 != 0.3
    assert weighted_vote(pool(["right", "right", "a"]), [0.1, 0.2, 0.3], 3) == 0.5


def test_what_says_nothing_has_no_weight() -> None:
    assert weighted_vote(pool([None, None, "right"]), [9.0, 9.0, 0.1], 3) == 1.0
    assert weighted_vote(pool([None, None]), [1.0, 1.0], 2) == 0.0


@given(ANSWERS, st.data())
@settings(deadline=None)
def test_equal_weights_are_a_majority_vote(votes: list[str | None], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(votes)))
    one = pool(votes)
    assert weighted_vote(one, [0.3] * len(votes), n) == pytest.approx(maj_at_k(one.said, one.right, n))


def test_a_large_pool_is_drawn_from_without_bias() -> None:
    votes = ["right"] * 12 + ["a"] * 10 + ["b"] * 10
    one = pool(votes)
    exact = maj_at_k(one.said, one.right, 9)
    for seed in range(5):
        assert weighted_vote(one, [1.0] * 32, 9, seed=seed, draws=4000) == pytest.approx(exact, abs=0.03)


def test_the_same_seed_gives_the_same_figure() -> None:
    one, weights = pool(["right"] * 10 + ["a"] * 12), [1.0 + i for i in range(22)]
    assert weighted_vote(one, weights, 8, seed=3) == weighted_vote(one, weights, 8, seed=3)
    assert weighted_vote(one, weights, 8, seed=3) != weighted_vote(one, weights, 8, seed=4)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf")])
def test_a_weight_must_be_above_nothing(weight: float) -> None:
    with pytest.raises(ValueError, match="not a number above 0"):
        weighted_vote(pool(["right", "a"]), [1.0, weight], 1)


def test_subsets_and_orders_are_all_of_them_where_they_are_few() -> None:
    assert {tuple(row) for row in subsets(5, 2, 0, 10).tolist()} == set(combinations(range(5), 2))
    assert {tuple(row) for row in orders(4, 0, 10).tolist()} == set(permutations(range(4)))


def test_drawn_orders_hold_every_answer_once() -> None:
    drawn = orders(9, 0, 50)
    assert drawn.shape == (50, 9) and (np.sort(drawn, axis=1) == np.arange(9)).all()


# ---- stopping early


def sequences(length: int) -> list[tuple[str | None, ...]]:
    return list(product(["a", "b", "c", None], repeat=length))


def holds(votes: tuple[str | None, ...], left: int) -> bool:
    first, second = ([*sorted(Counter(v for v in votes if v).values(), reverse=True), 0, 0])[:2]
    return bool(decided(first, second, left))


def test_a_decided_vote_keeps_its_winner_whatever_the_rest_says() -> None:
    total = 6
    for length in range(1, total + 1):
        for begun in sequences(length):
            if holds(begun, total - length):
                for rest in sequences(total - length):
                    assert winners([*begun, *rest]) == winners(list(begun))


def test_a_vote_that_is_not_decided_can_still_be_turned() -> None:
    total = 5
    for length in range(1, total):
        for begun in sequences(length):
            if not holds(begun, total - length):
                ends = {frozenset(winners([*begun, *rest])) for rest in sequences(total - length)}
                assert len(ends) > 1


def test_the_beta_rule_is_the_posterior_of_its_paper() -> None:
    for first in range(8):
        for second in range(first + 1):
            wanted = stats.beta(first + 1, second + 1).sf(0.5)
            assert leader_is_likelier(first, second) == pytest.approx(wanted)


def test_four_votes_of_one_mind_are_enough_for_95_percent() -> None:
    assert leader_is_likelier(3, 0) == 1 - 1 / 16  # 0.9375
    assert leader_is_likelier(4, 0) == 1 - 1 / 32
    stopped = stop_when_sure(count_votes(pool(["right"] * 7)), 7, 0.95)
    assert (stopped.drawn, stopped.saved, stopped.changed, stopped.gain) == (4.0, 3.0, 0.0, 0.0)


def test_a_decided_vote_saves_tokens_by_hand() -> None:
    # right, right, a: both right ones first (2 of 6 orders) is decided after two; the third answer is "a", 10 tokens.
    stopped = stop_when_decided(count_votes(pool(["right", "right", "a"], [1, 1, 10])), 3)
    assert stopped.saved == pytest.approx(10 / 3)
    assert stopped.drawn == pytest.approx(8 / 3)


@given(ANSWERS, st.data())
@settings(deadline=None)
def test_stopping_when_decided_changes_nothing_but_the_cost(votes: list[str | None], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(votes)))
    stopped = stop_when_decided(count_votes(pool(votes)), n)
    assert (stopped.gain, stopped.changed) == (0.0, 0.0)
    assert 0.0 <= stopped.saved <= n - 1 and stopped.drawn == pytest.approx(n - stopped.saved)


def walked(votes: list[str | None], n: int, confidence: float) -> tuple[float, float, float]:
    """(accuracy, drawn, changed) of the Beta rule by going through all orders."""
    right, drawn, changed = [], [], []
    for order in permutations(votes):
        at = n
        for length in range(1, n + 1):
            first, second = ([*sorted(Counter(v for v in order[:length] if v).values(), reverse=True), 0, 0])[:2]
            if leader_is_likelier(first, second) >= confidence:
                at = length
                break
        right.append(share_right(list(order[:at])))
        drawn.append(at)
        full = winners(list(order[:n]))
        changed.append(0.0 if at == n else 1 - len(winners(list(order[:at])) & full) / len(full))
    return tuple(sum(column) / len(column) for column in (right, drawn, changed))  # type: ignore[return-value]


@given(ANSWERS, st.sampled_from([0.7, 0.8, 0.9]), st.data())
@settings(deadline=None, max_examples=40)
def test_the_sure_vote_equals_a_walk_through_all_orders(
    votes: list[str | None], confidence: float, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(votes)))
    one = pool(votes)
    stopped = stop_when_sure(count_votes(one), n, confidence)
    accuracy, drawn, changed = walked(votes, n, confidence)
    assert maj_at_k(one.said, one.right, n) + stopped.gain == pytest.approx(accuracy)
    assert stopped.drawn == pytest.approx(drawn) and stopped.changed == pytest.approx(changed)


def test_the_sure_vote_errs_no_more_often_than_it_says() -> None:
    """Two answers with every share alike likely: how often the leader at the stop is the less likely one, state by state."""
    confidence, most = 0.95, 40
    stopped = wrong = 0.0
    for share in (np.arange(200) + 0.5) / 200:
        going_on = {(0, 0): 1.0}
        for _ in range(most):
            reached: dict[tuple[int, int], float] = {}
            for (a, b), chance in going_on.items():
                for state, step in (((a + 1, b), share), ((a, b + 1), 1 - share)):
                    reached[state] = reached.get(state, 0.0) + chance * step
            sure = {state for state in reached if leader_is_likelier(max(state), min(state)) >= confidence}
            stopped += sum(reached[state] for state in sure)
            wrong += sum(reached[a, b] for a, b in sure if (a > b) != (share > 0.5))
            going_on = {state: chance for state, chance in reached.items() if state not in sure}
    assert 0.0 < wrong / stopped <= 1 - confidence


@pytest.mark.parametrize("confidence", [0.5, 1.0, -1.0])
def test_a_confidence_must_mean_something(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        stop_when_sure(count_votes(pool(["right", "a"])), 2, confidence)


def test_no_more_can_be_drawn_than_there_are() -> None:
    with pytest.raises(ValueError, match="size of the pool"):
        stop_when_decided(count_votes(pool(["right", "a"])), 3)


def test_answers_must_be_as_many_as_their_lengths() -> None:
    with pytest.raises(ValueError, match="2 answers, 2 verdicts and 1 lengths"):
        Answers(("a", "b"), (True, False), (3,))


# ---- equal budgets


def point(setting: str, accuracy: float, tokens: float) -> Point:
    return Point(setting, {"p": accuracy, "q": accuracy}, {"p": tokens, "q": tokens}, {"p": 1.0, "q": 1.0})


CHEAP, DEAR = point("n = 1", 0.2, 10.0), point("n = 4", 0.6, 40.0)


def test_between_two_settings_a_coin_makes_the_cost_the_budget() -> None:
    found = at_budget([DEAR, CHEAP], 25.0)
    assert found is not None
    assert (found.setting, found.cost, found.value) == ("n = 1 to 4", 25.0, pytest.approx(0.4))


def test_a_setting_at_the_budget_stands_for_itself() -> None:
    assert at_budget([CHEAP, DEAR], 10.0 * (1 - 1e-12)) is CHEAP
    assert at_budget([CHEAP, DEAR], 40.0) is DEAR


def test_above_its_dearest_setting_a_method_leaves_the_rest() -> None:
    assert at_budget([CHEAP, DEAR], 99.0) is DEAR


def test_a_budget_below_the_cheapest_setting_is_none() -> None:
    assert at_budget([CHEAP, DEAR], 9.9) is None


def test_a_mixture_is_no_more_than_right() -> None:
    sure = point("x", 1.0, 1.0)
    assert all(mixed(sure, sure, share / 97).accuracy["p"] <= 1.0 for share in range(98))


@pytest.mark.parametrize(("target", "tokens"), [(0.2, 10.0), (0.5, pytest.approx(32.5)), (0.6, 40.0), (0.61, None)])
def test_tokens_to_reach_an_accuracy(target: float, tokens: float | None) -> None:
    assert tokens_to_reach([DEAR, CHEAP], target) == tokens


def test_the_constants_say_what_they_claim() -> None:
    assert len(orders(7, 0, 1)) == scaling.ENUMERATED == 5040
    assert len(subsets(100, 2, 0, 1)) == 4950
