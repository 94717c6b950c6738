"""From sampled answers to figures with honest error bars: pass@k, maj@k, intervals, and paired comparison. Pure.

The unit is the problem: samples of one problem are one cluster, and it is the spread between problems that says how
far a figure would move on other problems of the same kind.

Not for: judging answers (verify does), or rewards (an evaluation never reads them).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import comb
from statistics import NormalDist

import numpy as np

from burnish.records import Interval

EXACT_COST = 2**20  # maj@k is counted while n * k * k is at most this (under a second), resampled above
ENOUGH = 5  # problems' worth of the rarer outcome, below which an interval is wide on purpose
EXACT_FLIPS = 12  # the sign-flip test goes through all 2^12 sign patterns up to here, and draws them above


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that at least one of k samples is right, estimated from c right ones among n.

    1 - C(n-c, k) / C(n, k), unbiased (Chen et al. 2021, arXiv 2107.03374). Exact in whole numbers, rounded once.
    Raises ValueError unless 1 <= k <= n and 0 <= c <= n.

    >>> pass_at_k(32, 1, 8)
    0.25
    """
    _check_counts(n, c, k)
    return (comb(n, k) - comb(n - c, k)) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """The probability that all of k samples are right, estimated from c right ones among n.

    C(c, k) / C(n, k), unbiased (pass^k of tau-bench, Yao et al. 2024, arXiv 2406.12045). Raises as `pass_at_k`.

    >>> pass_hat_k(4, 2, 2)  # of the 6 pairs, one is both right
    0.16666666666666666
    """
    _check_counts(n, c, k)
    return comb(c, k) / comb(n, k)


def _check_counts(n: int, c: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the number of samples: k={k}, n={n}")
    if not 0 <= c <= n:
        raise ValueError(f"{c} right answers among {n} samples is not possible")


def maj_at_k(
    answers: Sequence[str | None], right: Sequence[bool], k: int, *, seed: int = 0, draws: int = 4000
) -> float:
    """The probability that the most frequent of k answers is right: the mean over all k-subsets of the samples.

    Answers that were judged right are one class, however they are written, since the verifier holds them equal; wrong
    ones are classes by their text. None (nothing found) takes a place among the k but never a vote, so a subset
    without a vote is wrong. A tie is shared equally among the answers that lead. (Majority voting: Wang et al. 2022,
    arXiv 2203.11171.)

    Counted exactly while n * k * k <= EXACT_COST, which holds for every n up to 64 and for n = 256 with k = 64; above
    that the mean of `draws` subsets drawn with `seed`, unbiased, with a standard error of at most 0.5 / sqrt(draws).
    Raises ValueError unless 1 <= k <= n, or where the two sequences differ in length.

    >>> maj_at_k(["72", "72", "70"], [True, True, False], 2)  # {72, 72} wins, the other two pairs are ties
    0.6666666666666666
    """
    if len(answers) != len(right):
        raise ValueError(f"{len(answers)} answers but {len(right)} verdicts")
    n = len(answers)
    _check_counts(n, sum(map(bool, right)), k)
    rights = sum(map(bool, right))
    wrongs = Counter(answer for answer, good in zip(answers, right, strict=True) if answer is not None and not good)
    if n * k * k > EXACT_COST:
        return _drawn_majority(rights, list(wrongs.values()), n, k, seed, draws)
    won = sum((_wins_with(votes, rights, wrongs, n, k) for votes in range(1, min(rights, k) + 1)), Fraction(0))
    return float(won / comb(n, k))


def _wins_with(votes: int, rights: int, wrongs: Counter[str], n: int, k: int) -> Fraction:
    """How many k-subsets are won by the right class with exactly `votes` votes, a tie of j others counting 1 / (j + 1).

    ways[j][s] counts the choices of s samples from the wrong classes seen so far in which none has more than `votes`
    votes and j have as many. Classes too small to reach `votes` cannot matter, so they are lumped with the empty
    answers.
    """
    room = k - votes
    ways = {0: [1] + [0] * room}
    rivals = [size for size in wrongs.values() if size >= votes]
    for size in rivals:
        grown: dict[int, list[int]] = {}
        for ties, counts in ways.items():
            for taken in range(votes + 1):
                row = grown.setdefault(ties + (taken == votes), [0] * (room + 1))
                for already, count in enumerate(counts[: max(0, room + 1 - taken)]):
                    row[already + taken] += count * comb(size, taken)
        ways = {ties: counts for ties, counts in grown.items() if any(counts)}
    harmless = n - rights - sum(rivals)
    won = Fraction(0)
    for ties, counts in ways.items():
        filled = sum(count * comb(harmless, room - used) for used, count in enumerate(counts))
        won += Fraction(filled, ties + 1)
    return won * comb(rights, votes)


def _drawn_majority(rights: int, wrongs: list[int], n: int, k: int, seed: int, draws: int) -> float:
    """The same, over subsets drawn without replacement. Class 0 is the right one, the last one has no vote."""
    sizes = [rights, *wrongs, n - rights - sum(wrongs)]
    votes = np.random.default_rng(seed).multivariate_hypergeometric(sizes, k, size=draws, method="marginals")[:, :-1]
    most = votes.max(axis=1)
    leading = (votes == most[:, None]).sum(axis=1)
    return float(np.where((votes[:, 0] == most) & (most > 0), 1.0 / leading, 0.0).mean())


def mean_interval(values: Sequence[float], level: float = 0.95, *, low: float = 0.0, high: float = 1.0) -> Interval:
    """The mean over problems and its confidence interval, in closed form: Wilson's, at the size the spread amounts to.

    `values` has one number a problem (the mean over its samples), each in [low, high]; they are read on the scale from 0 to
    1. With mean p and variance v of that mean (sample variance over n problems, divided by n), the problems say as much as
    m = p (1 - p) / v independent right-or-wrong answers would (the effective sample size of Korn and Graubard 1998), and
    the interval is Wilson's score interval for p at m, with Student's t at n - 1 degrees of freedom in place of z:
    centre (p + t^2/2m) / (1 + t^2/m), half width t sqrt(p(1-p)/m + t^2/4m^2) / (1 + t^2/m). For p away from 0 and 1 that
    is mean +- t sd / sqrt(n) (Miller 2024, arXiv 2411.00640, the problem as the cluster); near them it stays honest.

    Where the rarer outcome amounts to fewer than ENOUGH problems (`is_rough`), the spread seen says little about the spread
    there is: m then goes linearly to n, which is the most that it can be. There the interval errs on the wide side.

    Values without a bound on one side or both (a loss, a margin) have no such scale: theirs is mean +- t sd / sqrt(n), cut at
    the bound there is.

    Where all values are equal (everything right, everything wrong, one problem) at most a share q = z^2 / (n + z^2) of
    problems is taken to be otherwise, and those anywhere in [low, high]; at 0 % and 100 % this is exactly the Wilson
    interval. `python benchmarks/coverage.py` prints how often it covers. Raises ValueError for no values, for one outside
    [low, high], or a level outside (0, 1).

    >>> mean_interval([0.0, 1.0] * 50)
    Interval(value=0.5, low=0.403..., high=0.596...)
    """
    mean = _checked_mean(values, level, low, high)
    n = len(values)
    if min(values) == max(values):
        return _unvaried(mean, n, level, low, high)
    t = t_quantile((1 + level) / 2, n - 1)
    scale = high - low
    if math.isinf(scale):
        spread = t * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
        return Interval(mean, max(low, mean - spread), min(high, mean + spread))
    share = (mean - low) / scale
    variance = math.fsum(((value - mean) / scale) ** 2 for value in values) / (n - 1) / n
    size = share * (1 - share) / variance
    if size > n:
        size = n + (size - n) * min(1.0, _rarer(share, n) / ENOUGH)
    whole = 1 + t * t / size
    centre = (share + t * t / (2 * size)) / whole
    half = t * math.sqrt(share * (1 - share) / size + t * t / (4 * size * size)) / whole
    return Interval(mean, low + scale * max(0.0, centre - half), low + scale * min(1.0, centre + half))


def is_rough(values: Sequence[float]) -> bool:
    """Whether shares hold fewer than ENOUGH problems' worth of right, or of wrong, answers: no interval is sharp there.

    >>> is_rough([0.0] * 98 + [1.0] * 2), is_rough([0.5] * 10)
    (True, False)
    """
    return _rarer(math.fsum(values) / len(values), len(values)) < ENOUGH


def _rarer(share: float, n: int) -> float:
    """How many problems' worth of answers went the rarer way."""
    return n * min(share, 1 - share)


def bootstrap_interval(
    values: Sequence[float],
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Interval:
    """The same by resampling problems with replacement (percentile cluster bootstrap, Efron 1979).

    For a cross-check, and for figures with no closed form. It agrees with `mean_interval` unless that `is_rough`; there it
    is too narrow. Values all equal are treated as in `mean_interval`, which also says what is raised.
    """
    mean = _checked_mean(values, level, low, high)
    if min(values) == max(values):
        return _unvaried(mean, len(values), level, low, high)
    generator, array = np.random.default_rng(seed), np.asarray(values, dtype=np.float64)
    block = max(1, 2_000_000 // len(values))  # so that many problems do not take much memory
    means: list[float] = []
    while len(means) < draws:
        picks = generator.integers(len(values), size=(min(block, draws - len(means)), len(values)))
        means.extend(array[picks].mean(axis=1).tolist())
    ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(ends[0]), float(ends[1]))


def _checked_mean(values: Sequence[float], level: float, low: float, high: float) -> float:
    if not values:
        raise ValueError("an interval needs at least one problem")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1: {level}")
    for value in values:
        if not low <= value <= high:  # also true for NaN
            raise ValueError(f"value {value} is outside [{low}, {high}]")
    return math.fsum(values) / len(values)


def _unvaried(mean: float, n: int, level: float, low: float, high: float) -> Interval:
    z = NormalDist().inv_cdf((1 + level) / 2)
    otherwise = z * z / (n + z * z)
    return Interval(mean, mean - otherwise * (mean - low), mean + otherwise * (high - mean))


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t: the point below which `probability` (from 0.5 to 1) lies, for a whole number of degrees of freedom.

    Up to 100 degrees by halving on the finite series for the distribution (Abramowitz and Stegun 26.7.3 and 26.7.4),
    above by the expansion around the normal quantile (26.7.5); right to eight digits. Here so that scipy is not
    needed to run.
    """
    if not 0.5 <= probability < 1.0 or freedom < 1:
        raise ValueError(f"no t quantile for probability {probability} and {freedom} degrees of freedom")
    if freedom > 100:
        z = NormalDist().inv_cdf(probability)
        terms = (
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
            (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
        )
        return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))
    below, above = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(freedom): bounded, where t is not
    for _ in range(60):
        middle = (below + above) / 2
        if _t_within(middle, freedom) < 2 * probability - 1:
            below = middle
        else:
            above = middle
    return math.tan((below + above) / 2) * math.sqrt(freedom)


def _t_within(angle: float, freedom: int) -> float:
    """P(|T| < tan(angle) * sqrt(freedom))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for i in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (i - 1) / i
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@dataclass(frozen=True, slots=True)
class Paired:
    """Two policies on the same problems: `Paired(Interval(0.1, 0.02, 0.18), won=12, lost=4, tied=84, p_value=0.08)`.

    difference is the mean over problems of second minus first, won counts problems where the second is higher.
    """

    difference: Interval
    won: int
    lost: int
    tied: int
    p_value: float


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    level: float = 0.95,
    *,
    seed: int = 0,
    draws: int = 10_000,
) -> Paired:
    """Second minus first, paired by problem id: the mean difference with its interval, and how likely it is by chance.

    The values are per-problem means in [0, 1]. Pairing takes the problems' difficulty out of the comparison (Miller
    2024, arXiv 2411.00640). The interval is Student's over the differences d of n problems and two more that moved half each
    way by s = sum d^2 / sum |d|, the size of a usual move: Agresti and Min's (2005) for differences of 0 and 1, and of no
    consequence where many problems moved. The p-value is two-sided, of the sign-flip permutation test (Fisher 1935): all sign
    patterns up to EXACT_FLIPS problems that differ, above that `draws` patterns drawn with `seed`, where p = (1 + as
    extreme) / (1 + draws). Raises ValueError where the ids differ.
    """
    if strangers := sorted(first.keys() ^ second.keys()):
        where = "first" if strangers[0] in first else "second"
        raise ValueError(f"{len(strangers)} problems are not in both; {strangers[0]!r} is only in the {where}")
    for values in (first, second):
        _checked_mean(list(values.values()), level, 0.0, 1.0)
    differences = [second[name] - first[name] for name in sorted(first)]
    moved = [difference for difference in differences if difference]
    won = sum(difference > 0 for difference in moved)
    return Paired(
        _difference_interval(differences, level),
        won,
        len(moved) - won,
        len(differences) - len(moved),
        _sign_flip(moved, seed, draws),
    )


def _difference_interval(differences: list[float], level: float) -> Interval:
    n = len(differences)
    mean = math.fsum(differences) / n
    moved = math.fsum(map(abs, differences))
    if n == 1 or not moved:
        return _unvaried(mean, n, level, -1.0, 1.0)
    squares = math.fsum(difference * difference for difference in differences)
    centre = math.fsum(differences) / (n + 2)
    variance = (squares + (squares / moved) ** 2) / (n + 2) - centre * centre
    margin = t_quantile((1 + level) / 2, n - 1) * math.sqrt(variance / (n + 2) * n / (n - 1))
    return Interval(mean, min(mean, max(-1.0, centre - margin)), max(mean, min(1.0, centre + margin)))


def _sign_flip(moved: list[float], seed: int, draws: int) -> float:
    if not moved:
        return 1.0
    extreme = abs(math.fsum(moved)) - 1e-9  # sums that are equal but for rounding are as extreme
    if len(moved) <= EXACT_FLIPS:
        patterns: Iterable[Sequence[int]] = product((1, -1), repeat=len(moved))
        sums = [abs(sum(s * d for s, d in zip(signs, moved, strict=True))) for signs in patterns]
        return sum(total >= extreme for total in sums) / len(sums)
    generator, array = np.random.default_rng(seed), np.asarray(moved)
    hits, block = 0, max(1, 1_000_000 // len(moved))
    for start in range(0, draws, block):
        flips = generator.integers(2, size=(min(block, draws - start), len(moved)), dtype=np.int8)
        hits += int((np.abs((2.0 * flips - 1.0) @ array) >= extreme).sum())
    return (1 + hits) / (1 + draws)
