"""A verifier's own errors, counted on labelled answers: rates with intervals, by class, and two verifiers compared. Pure.

Rates. A false positive is a wrong answer held right; its rate is over all answers labelled wrong. A false negative is a right
answer held wrong; its rate is over all labelled right. An answer without a verdict is neither, is counted by itself, and stays
in the denominators, so a verifier cannot look better by not answering.

Not for: judging, or files (pipelines.audit).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import Any

from burnish.records import Interval, Verdict


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled answer and what the verifier said: `Case("cases.jsonl:7", "fraction", True, verdict)`."""

    place: str
    kind: str
    label: bool
    verdict: Verdict

    @property
    def error(self) -> bool:
        """Whether the verdict contradicts the label."""
        return self.verdict.outcome == ("wrong" if self.label else "right")


@dataclass(frozen=True, slots=True)
class Rates:
    """n answers, positives of them labelled right; the two errors with their rates, and what has no verdict."""

    n: int
    positives: int
    false_positives: int
    false_negatives: int
    no_verdict: int
    false_positive_rate: Interval | None
    false_negative_rate: Interval | None
    no_verdict_share: Interval


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """A share with its Wilson score interval (Wilson 1927): honest for small n and for shares of 0 and 1.

    Centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n). Raises ValueError where n is 0.

    >>> wilson(0, 10)
    Interval(value=0.0, low=0.0, high=0.2775...)
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no share")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high)


def rates(cases: Sequence[Case]) -> Rates:
    """The errors among some cases. Raises ValueError where there are none."""
    positives = sum(case.label for case in cases)
    wrongly_right = sum(case.error for case in cases if not case.label)
    wrongly_wrong = sum(case.error for case in cases if case.label)
    missing = sum(case.verdict.outcome == "no_verdict" for case in cases)
    negatives = len(cases) - positives
    return Rates(
        len(cases),
        positives,
        wrongly_right,
        wrongly_wrong,
        missing,
        wilson(wrongly_right, negatives) if negatives else None,
        wilson(wrongly_wrong, positives) if positives else None,
        wilson(missing, len(cases)),
    )


def by_class(cases: Sequence[Case]) -> dict[str, Rates]:
    """The errors of each class, in the order the classes first come."""
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        kinds.setdefault(case.kind, []).append(case)
    return {kind: rates(members) for kind, members in kinds.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two verifiers on the same answers. An answer counts as a miss where it is judged against its label or not at all.

    difference  share missed by the first minus share missed by the second, with a paired 95 % interval
    p           of the exact McNemar test: how likely so lopsided a split of the answers that only one misses is by chance
    """

    both_miss: int
    only_first: int
    only_second: int
    neither: int
    difference: Interval
    p: float


def compare(first: Sequence[Case], second: Sequence[Case]) -> Comparison:
    """A paired comparison, the cases joined by place. Raises ValueError where they are not the same answers."""
    others = {case.place: case for case in second}
    if len(others) != len(second) or {case.place for case in first} != others.keys() or len(first) != len(second):
        raise ValueError("the two verifiers did not judge the same answers")
    both = only_first = only_second = 0
    for case in first:
        one, other = _missed(case), _missed(others[case.place])
        both += one and other
        only_first += one and not other
        only_second += other and not one
    n = len(first)
    # Agresti and Min 2005: half an answer added to each of the four cells.
    padded = n + 2
    b, c = only_first + 0.5, only_second + 0.5
    centre = (b - c) / padded
    half = NormalDist().inv_cdf(0.975) * math.sqrt(max(0.0, (b + c) / padded - centre**2) / padded)
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    apart = Interval((only_first - only_second) / n, low, high)
    return Comparison(
        both, only_first, only_second, n - both - only_first - only_second, apart, _mcnemar(only_first, only_second)
    )


def _mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p of a fair coin that fell so often on one side."""
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, float(Fraction(2 * tail, 2**n)))


def _missed(case: Case) -> bool:
    return case.error or case.verdict.outcome == "no_verdict"


def as_json(record: Rates | Comparison) -> dict[str, Any]:
    """As plain values; an interval is {"value", "low", "high"}."""
    return asdict(record)
