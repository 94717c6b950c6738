"""The figures of sampled answers: pass@k, pass^k, maj@k with their intervals, lengths, truncation, missing verdicts. Pure.

Conventions. pass@1 is the mean over all samples of a problem, then over problems: with n samples it is what reports call avg@n
(avg@64 of a reasoning model). pass@k: at least one of k is right. pass^k: all of k are right. maj@k: the most frequent of k is
right. All are exact means over the k-subsets of the samples, so a figure does not depend on which k were taken.

An answer without a verdict counts for nothing: it is left out of its problem, counted, and reported. A problem that is left with
fewer than k answers is left out of the figures at k, and each figure says over how many problems it is.

Not for: drawing or judging answers (collect.py), or the mathematics (statistics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.evaluate.statistics import (
    bootstrap_interval,
    is_rough,
    maj_at_k,
    mean_interval,
    pass_at_k,
    pass_hat_k,
)
from burnish.records import Interval, Judged

BOOTSTRAP_SEED = 0
"""Of the cross-check's draws: the same answers always give the same figures."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over `problems` problems, its 95 % interval, and the cluster bootstrap's beside it.

    rough  fewer than five problems' worth of right, or of wrong, answers: the interval is wide on purpose, and not sharp
    """

    interval: Interval
    bootstrap: Interval
    problems: int
    rough: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands beside the figures: counts, and means over answers.

    missing        answers that were asked for and are not there (an endpoint that gave none)
    without_count  answers whose length nobody knows
    """

    problems: int
    samples: int
    answers: int
    missing: int
    no_verdict: int
    cut_off: int
    thinks: int
    without_count: int
    tokens: int
    length: float | None
    length_right: float | None
    length_wrong: float | None


def by_problem(rows: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Answers by problem id, each problem's in the order of their index."""
    found: dict[str, list[Judged]] = {}
    for row in rows:
        found.setdefault(row.key.problem_id, []).append(row)
    return {problem: sorted(answers, key=lambda row: row.key.index) for problem, answers in found.items()}


def judged_only(rows: Iterable[Judged]) -> dict[str, list[Judged]]:
    """The same without the answers that have no verdict, and without the problems that have no other."""
    return by_problem(row for row in rows if row.outcome != "no_verdict")


def pass_rates(rows: Iterable[Judged]) -> dict[str, float]:
    """pass@1 of each problem, by id: what a paired comparison takes. Problems without any verdict are left out."""
    return {problem: _right(answers) / len(answers) for problem, answers in judged_only(rows).items()}


def rates_at(kind: str, k: int, rows: Iterable[Judged]) -> dict[str, float]:
    """ "pass@", "pass^" or "maj@" at k for each problem that has as many judged answers."""
    of = _KINDS[kind]
    return {problem: of(answers, k) for problem, answers in judged_only(rows).items() if len(answers) >= k}


def figures(rows: Sequence[Judged], ks: Iterable[int]) -> dict[str, Figure]:
    """pass@1, then pass@k, pass^k and maj@k for each k > 1; {} where nothing has a verdict. One nobody can compute is absent."""
    found: dict[str, Figure] = {}
    for k in sorted({1, *ks}):
        for kind in _KINDS if k > 1 else ("pass@",):
            values = list(rates_at(kind, k, rows).values())
            if values:
                found[f"{kind}{k}"] = _figure(values)
    return found


def summary(rows: Sequence[Judged], problems: int, samples: int) -> Summary:
    """The counts of answers to `problems` problems of which `samples` each were asked for."""
    known = [row.tokens for row in rows if row.tokens is not None]
    return Summary(
        problems,
        samples,
        len(rows),
        problems * samples - len(rows),
        sum(row.outcome == "no_verdict" for row in rows),
        sum(row.stop == "length" for row in rows),
        sum(row.thought for row in rows),
        len(rows) - len(known),
        sum(known),
        _mean(known),
        _mean([row.tokens for row in rows if row.tokens is not None and row.outcome == "right"]),
        _mean([row.tokens for row in rows if row.tokens is not None and row.outcome == "wrong"]),
    )


def as_json(figure: Figure) -> dict[str, Any]:
    """{"value", "low", "high", "bootstrap": {"low", "high"}, "problems", "rough"}."""
    interval, drawn = figure.interval, figure.bootstrap
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "bootstrap": {"low": drawn.low, "high": drawn.high},
        "problems": figure.problems,
        "rough": figure.rough,
    }


def _figure(values: list[float]) -> Figure:
    drawn = bootstrap_interval(values, BOOTSTRAP_SEED)
    return Figure(mean_interval(values), drawn, len(values), is_rough(values))


def _right(answers: Sequence[Judged]) -> int:
    return sum(row.outcome == "right" for row in answers)


def _majority(answers: Sequence[Judged], k: int) -> float:
    return maj_at_k([row.found for row in answers], [row.outcome == "right" for row in answers], k)


_KINDS: Mapping[str, Callable[[Sequence[Judged], int], float]] = {
    "pass@": lambda answers, k: pass_at_k(len(answers), _right(answers), k),
    "pass^": lambda answers, k: pass_hat_k(len(answers), _right(answers), k),
    "maj@": _majority,
}


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None
