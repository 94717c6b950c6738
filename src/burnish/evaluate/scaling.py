"""What more tokens at inference buy: expected accuracy and cost of votes and choices, from one pool of answers a problem. Pure.

Every figure is a mean over subsets (or orders) of the pool, so that it estimates without bias what fresh answers would give:
in closed form or over all of them where that is feasible, else over `draws` of them, drawn with a seed. Votes follow maj_at_k:
right answers are one class, wrong ones are classes by their text, what says nothing has no vote, and ties are shared.

Not for: sampling (burnish.pipelines.draws), or intervals over problems (statistics.py).

N answers in a pool, S subsets, R orders of the pool, K classes of answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, permutations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENUMERATED = 5040
"""Subsets and orders are all gone through up to here: every order of 7 answers, every pair of 100."""
DRAWS = 1000
"""Drawn above that: a standard error of at most 0.016 for one problem, and that over the root of their number for the mean."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """The pool of one problem: what each answer says (None: nothing), whether it was judged right, and its tokens.

    >>> Answers(("72", "70", "72"), (True, False, True), (40, 31, 44))
    """

    said: tuple[str | None, ...]
    right: tuple[bool, ...]
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.said) == len(self.right) == len(self.tokens):
            raise ValueError(f"{len(self.said)} answers, {len(self.right)} verdicts and {len(self.tokens)} lengths")

    def __len__(self) -> int:
        return len(self.said)

    @property
    def mean_tokens(self) -> float:
        return sum(self.tokens) / len(self.tokens)


def classes(answers: Answers) -> Ints:
    """The class [N] each answer votes for: 0 is the right one, -1 is no vote."""
    numbers: dict[str, int] = {}
    found = []
    for said, right in zip(answers.said, answers.right, strict=True):
        found.append(0 if right else -1 if said is None else numbers.setdefault(said, len(numbers) + 1))
    return np.array(found, dtype=np.int64)


# ---- choosing one of n


def best_of(scores: Sequence[float], right: Sequence[bool], n: int) -> float:
    """The probability that the answer with the highest score of n is right: the mean over all n-subsets of the pool.

    Ties are shared. Of m answers with one score above L others, the best of a subset is one with probability
    (C(L + m, n) - C(L, n)) / C(N, n), and then each of the m alike; exact in whole numbers, rounded once. With `right` as the scores
    this is pass@n. Raises ValueError unless 1 <= n <= N, for scores that are not numbers, or where lengths differ.

    >>> best_of([0.9, 0.5, 0.1], [False, True, True], 2)  # {0.9, 0.5}, {0.9, 0.1} and {0.5, 0.1}: the last is right
    0.3333333333333333
    """
    size = _checked(len(right), len(scores), n)
    if not all(math.isfinite(score) for score in scores):
        raise ValueError("a score is not a finite number")
    won, below = Fraction(0), 0
    ranked: dict[float, list[bool]] = {}
    for score, good in sorted(zip(scores, right, strict=True)):
        ranked.setdefault(score, []).append(good)
    for tied in ranked.values():
        ways = comb(below + len(tied), n) - comb(below, n)
        won += Fraction(ways * sum(tied), len(tied))
        below += len(tied)
    return float(won / comb(size, n))


def _checked(size: int, other: int, n: int) -> int:
    if size != other:
        raise ValueError(f"{other} values for {size} answers")
    _check_size(size, n)
    return size


def _check_size(size: int, n: int) -> None:
    if not 1 <= n <= size:
        raise ValueError(f"n must be from 1 to the size of the pool: n={n}, N={size}")


# ---- weighted votes


def weighted_vote(answers: Answers, weights: Sequence[float], n: int, *, seed: int = 0, draws: int = DRAWS) -> float:
    """The probability that the class with the most weight among n answers is right: the mean over n-subsets of the pool.

    Over all subsets where there are at most ENUMERATED, else over `draws` of them. Equal weights give maj@n. A subset without
    a vote is wrong. (Votes weighted by a verifier's score: Li et al. 2023, arXiv 2206.02336; by length-normalised
    likelihood: Wang et al. 2022, arXiv 2203.11171.) Raises ValueError unless 1 <= n <= N and all weights are above 0.
    """
    size = _checked(len(answers), len(weights), n)
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError("a weight is not a number above 0")
    chosen_Sn, voted = subsets(size, n, seed, draws), classes(answers)
    weight_NK = _one_hot(voted) * (np.asarray(weights) / max(weights))[:, None]
    sum_SK = np.zeros((len(chosen_Sn), weight_NK.shape[1]))
    for column in range(n):  # not one gather of [S, n, K]: this is small enough for the cache
        sum_SK += weight_NK[chosen_Sn[:, column]]
    most_S = sum_SK.max(axis=1)
    lead_SK = sum_SK >= most_S[:, None] * (1 - 1e-9)  # sums that are equal but for rounding are a tie
    shared_S = np.where(most_S > 0, lead_SK[:, 0] / lead_SK.sum(axis=1), 0.0)
    return float(shared_S.mean())


def _one_hot(voted_N: Ints) -> NDArray[np.float64]:
    """[N, K] with at least two classes; a row of zeros for no vote."""
    table = np.eye(max(2, int(voted_N.max()) + 1))
    row_NK: NDArray[np.float64] = np.where(voted_N[:, None] >= 0, table[voted_N], 0.0)
    return row_NK


@lru_cache(maxsize=64)
def subsets(size: int, n: int, seed: int, draws: int) -> Ints:
    """n-subsets [S, n] of a pool, all of them where there are at most ENUMERATED, else `draws` of them, drawn evenly."""
    if comb(size, n) <= ENUMERATED:
        return np.array(list(combinations(range(size), n)), dtype=np.int64)
    return orders(size, seed, draws)[:, :n]


@lru_cache(maxsize=64)
def orders(size: int, seed: int, draws: int) -> Ints:
    """Orders [R, N] of a pool, all of them where there are at most ENUMERATED, else `draws` of them, drawn evenly."""
    if math.factorial(size) <= ENUMERATED:
        return np.array(list(permutations(range(size))), dtype=np.int64)
    drawn: Ints = np.random.default_rng((seed, size)).random((draws, size)).argsort(axis=1)
    return drawn


# ---- votes that stop early


def decided(first: Any, second: Any, left: Any) -> Any:
    """Whether `left` more votes can change no winner: the leader is ahead by more than they are. For numbers and arrays.

    It is exact: where it does not hold, `left` votes for the second (or for one not named yet) end in a tie at least.

    >>> decided(3, 1, 1), decided(3, 2, 1)
    (True, False)
    """
    return first - second > left


@lru_cache(maxsize=65536)
def leader_is_likelier(first: int, second: int) -> float:
    """The posterior probability that the leader is the likelier of the two answers that lead, with first and second votes.

    P(X > 1/2) for X ~ Beta(first + 1, second + 1), from a uniform prior (Adaptive-Consistency, Aggarwal et al. 2023, arXiv
    2305.11860); for whole numbers that is the binomial sum_{j <= first} C(first + second + 1, j) / 2^(first + second + 1).

    >>> leader_is_likelier(4, 0)
    0.96875
    """
    trials = first + second + 1
    below: int = sum(comb(trials, j) for j in range(first + 1))
    return below / (1 << trials)


@dataclass(frozen=True, slots=True)
class Count:
    """The votes of a pool counted one after the other, in R orders: votes_RNK after each answer, tokens_RN spent by then."""

    votes_RNK: Ints
    tokens_RN: Ints
    first_RN: Ints
    second_RN: Ints


def count_votes(answers: Answers, *, seed: int = 0, draws: int = DRAWS) -> Count:
    """Count the answers in all orders where there are at most ENUMERATED, else in `draws` of them."""
    order_RN = orders(len(answers), seed, draws)
    votes_RNK = _one_hot(classes(answers)).astype(np.int64)[order_RN].cumsum(axis=1)
    tokens_RN = np.asarray(answers.tokens, dtype=np.int64)[order_RN].cumsum(axis=1)
    leading_RN2 = np.partition(votes_RNK, -2, axis=2)[:, :, -2:]
    return Count(votes_RNK, tokens_RN, leading_RN2[:, :, 1], leading_RN2[:, :, 0])


@dataclass(frozen=True, slots=True)
class Stopped:
    """A vote that may stop early, against the full vote of n in the same orders of the pool; means over the orders.

    The differences are what is estimated: the full vote's own accuracy and cost are known exactly.

    gain     accuracy minus that of the full vote
    saved    tokens that the full vote would have spent beyond
    drawn    answers drawn until it stopped
    changed  probability that the winner is not the full vote's
    """

    gain: float
    saved: float
    drawn: float
    changed: float


def stop_when_decided(count: Count, n: int) -> Stopped:
    """A vote of at most n answers that stops when no vote that is left can change the winner."""
    _check_size(count.votes_RNK.shape[1], n)
    left_n = n - np.arange(1, n + 1)
    return _stopped(count, n, decided(count.first_RN[:, :n], count.second_RN[:, :n], left_n))


def stop_when_sure(count: Count, n: int, confidence: float = 0.95) -> Stopped:
    """A vote of at most n answers that stops when `leader_is_likelier` reaches the confidence: wrong with at most 1 - confidence."""
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"the confidence must lie between 0.5 and 1: {confidence}")
    _check_size(count.votes_RNK.shape[1], n)
    sure = np.array([[leader_is_likelier(max(a, b), b) >= confidence for b in range(n + 1)] for a in range(n + 1)])
    return _stopped(count, n, sure[count.first_RN[:, :n], count.second_RN[:, :n]])


def _stopped(count: Count, n: int, may_stop_Rn: Bools) -> Stopped:
    may_stop_Rn = may_stop_Rn.copy()
    may_stop_Rn[:, -1] = True
    row_R, stop_R = np.arange(len(may_stop_Rn)), may_stop_Rn.argmax(axis=1)
    lead_RK, full_RK = (_shares(count.votes_RNK[row_R, at]) for at in (stop_R, np.full_like(stop_R, n - 1)))
    # A vote that ran to its end has the full vote's winner, however ties are broken there.
    agreed_R = np.where(stop_R == n - 1, 1.0, (lead_RK * full_RK).sum(axis=1))
    return Stopped(
        float((lead_RK[:, 0] - full_RK[:, 0]).mean()),
        float((count.tokens_RN[:, n - 1] - count.tokens_RN[row_R, stop_R]).mean()),
        float((stop_R + 1).mean()),
        float((1.0 - agreed_R).mean()),
    )


def _shares(votes_RK: Ints) -> NDArray[np.float64]:
    """The chance [R, K] of each class to win, shared among those that lead; all 0 where there is no vote."""
    most_R1 = votes_RK.max(axis=1, keepdims=True)
    lead_RK = (votes_RK == most_R1) & (most_R1 > 0)
    share_RK: NDArray[np.float64] = lead_RK / np.maximum(1, lead_RK.sum(axis=1, keepdims=True))
    return share_RK


# ---- equal budgets


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of one method: per problem, by id, the expected accuracy, the tokens generated and the tokens only read.

    `notes` are further means, such as how many answers were drawn before a vote stopped.
    """

    setting: str
    accuracy: Mapping[str, float]
    tokens: Mapping[str, float]
    read: Mapping[str, float]
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """Mean tokens generated for a problem."""
        return math.fsum(self.tokens.values()) / len(self.tokens)

    @property
    def value(self) -> float:
        """Mean accuracy."""
        return math.fsum(self.accuracy.values()) / len(self.accuracy)


def at_budget(points: Sequence[Point], budget: float) -> Point | None:
    """What a method makes of `budget` tokens a problem, on average; None where its cheapest setting costs more.

    Between two settings it is their mixture: for each problem a coin says which of the two is used, with the share that makes
    the mean cost the budget, so that all methods are compared at one and the same cost. Above its dearest setting a method
    leaves the rest unspent.
    """
    ranked = sorted(points, key=lambda point: point.cost)
    if not ranked or ranked[0].cost > budget * (1 + 1e-9):
        return None
    below = [point for point in ranked if point.cost <= budget * (1 + 1e-9)]
    if len(below) == len(ranked) or below[-1].cost >= budget * (1 - 1e-9):
        return below[-1]
    low, high = below[-1], ranked[len(below)]
    return mixed(low, high, (budget - low.cost) / (high.cost - low.cost))


def mixed(low: Point, high: Point, share: float) -> Point:
    """`high` for a share of the problems, `low` for the others, at random: every expected figure mixes alike."""

    def mix(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
        return {name: (1 - share) * value + share * second[name] for name, value in first.items()}

    accuracy = {name: min(1.0, value) for name, value in mix(low.accuracy, high.accuracy).items()}  # rounding
    both = low.setting.startswith("n = ") and high.setting.startswith("n = ")
    setting = f"{low.setting} to {high.setting[4:] if both else high.setting}"
    return Point(setting, accuracy, mix(low.tokens, high.tokens), mix(low.read, high.read))


def tokens_to_reach(points: Sequence[Point], accuracy: float) -> float | None:
    """The fewest mean tokens at which a method, mixtures included, has this mean accuracy; None where it never has."""
    ranked = sorted(points, key=lambda point: point.cost)
    for number, point in enumerate(ranked):
        if point.value < accuracy:
            continue
        if not number or (before := ranked[number - 1]).value >= accuracy:
            return point.cost
        share = (accuracy - before.value) / (point.value - before.value)
        return before.cost + share * (point.cost - before.cost)
    return None
