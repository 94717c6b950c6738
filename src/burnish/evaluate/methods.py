"""From answers to figures: what each inference-time method costs a problem and how often it is right, and methods compared.

Not for: the mathematics (scaling.py and statistics.py), or sampling. Every method is measured on the same problems; costs are
tokens generated, those inserted or taken back included; tokens only read (prompts, beginnings, what a reward model is shown)
stand apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from burnish.evaluate.scaling import (
    Answers,
    Point,
    at_budget,
    best_of,
    count_votes,
    stop_when_decided,
    stop_when_sure,
    tokens_to_reach,
    weighted_vote,
)
from burnish.evaluate.statistics import maj_at_k, mean_interval, paired_difference
from burnish.records import Group, Key

METHODS: dict[str, str] = {
    "greedy": "one answer, the most likely token at every place",
    "sample": "one sampled answer",
    "vote": "majority of n answers, ties shared (self-consistency)",
    "vote_decided": "the same vote, stopped when no vote that is left can change the winner",
    "vote_sure": "the same vote, stopped when the leader is the likelier answer with the confidence asked for",
    "vote_likelihood": "n answers vote with their probability a token",
    "vote_reward_model": "n answers vote with the reward model's score",
    "best_likelihood": "of n answers the most probable one",
    "best_likelihood_mean": "of n answers the most probable one a token",
    "best_reward_model": "of n answers the one that the reward model scores highest",
    "best_verifier": "of n answers a right one if there is one: an upper bound, since it knows the gold answer",
    "mended": "one answer, shown to the model again with the request to mend it (self-refinement)",
    "forced": "one answer whose thought is ended early or made to go on (budget forcing)",
    "thinking": "one answer whose thought is opened for the model",
}
"""Every method, and what it does."""
WITH_REWARD_MODEL = ("vote_reward_model", "best_reward_model")
DISCARDED = "discarded"
"""The part of a verdict that counts tokens sampled and then taken back: no longer in the answer, but paid for."""

Drawn = Mapping[Key, Group]
"""Answers by (problem, index), each a group of one: those to one problem need not share their prompt."""


def spent(group: Group) -> int:
    """Tokens this one answer cost: everything behind its prompt, inserted ones too, and those taken back."""
    return len(group.rollouts[0].tokens.ids) - len(group.prompt.ids) + discarded(group)


def discarded(group: Group) -> int:
    """Tokens of this one answer that were sampled and then taken back."""
    return int(group.rollouts[0].verdict.parts.get(DISCARDED, 0.0))


def given(group: Group) -> int:
    """Tokens the model was given to read for this one answer, where nothing is remembered between two calls.

    Every run of tokens it did not sample ends where a call began, and that call read everything up to there.
    """
    sampled = group.rollouts[0].tokens.sampled
    return sum(t for t in range(1, len(sampled)) if sampled[t] and not sampled[t - 1])


# ---- from one pool


@dataclass(frozen=True, slots=True)
class One:
    """The pool of one problem [N], its prompt's length, and what answers are chosen by: log-probabilities in nats, scores."""

    answers: Answers
    prompt: int
    summed: tuple[float, ...]
    mean: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, groups: Sequence[Group], score: str) -> One:
        """From groups of one; `score` is the part of a verdict that holds a reward model's, 0 where there is none."""
        rollouts = [group.rollouts[0] for group in groups]
        summed = tuple(math.fsum(rollout.tokens.logprobs) for rollout in rollouts)
        counts = [max(1, rollout.tokens.sampled_count) for rollout in rollouts]
        return cls(
            Answers(
                tuple(rollout.verdict.found for rollout in rollouts),
                tuple(rollout.verdict.outcome == "right" for rollout in rollouts),
                tuple(spent(group) for group in groups),
            ),
            len(groups[0].prompt.ids),
            summed,
            tuple(total / count for total, count in zip(summed, counts, strict=True)),
            tuple(rollout.verdict.parts.get(score, 0.0) for rollout in rollouts),
        )


@dataclass(frozen=True, slots=True)
class _Figure:
    """One method with one n on one problem."""

    accuracy: float
    tokens: float
    read: float
    notes: Mapping[str, float]


def pooled(name: str, ns: Sequence[int], ones: Mapping[str, One], confidence: float = 0.95) -> list[Point]:
    """A method that votes or chooses among n answers of the pool, for every n. Raises KeyError for one that does not."""
    figures = {problem: _figures(name, ns, one, confidence) for problem, one in ones.items()}
    points = []
    for place, n in enumerate(ns):
        at = {problem: figures[problem][place] for problem in ones}
        notes = {
            note: math.fsum(one.notes[note] for one in at.values()) / len(at) for note in next(iter(at.values())).notes
        }
        points.append(
            Point(
                f"n = {n}",
                {problem: one.accuracy for problem, one in at.items()},
                {problem: one.tokens for problem, one in at.items()},
                {problem: one.read for problem, one in at.items()},
                notes,
            )
        )
    return points


def _figures(name: str, ns: Sequence[int], one: One, confidence: float) -> list[_Figure]:
    if name in ("vote_decided", "vote_sure"):
        return _stopped(name, ns, one, confidence)
    chance = _CHANCES[name]
    mean = one.answers.mean_tokens
    shown = one.prompt + mean if name in WITH_REWARD_MODEL else 0.0
    return [_Figure(chance(one, n), n * mean, one.prompt + n * shown, {}) for n in ns]


@lru_cache(maxsize=1 << 14)
def _counted(answers: Answers, n: int) -> float:
    """Three methods ask for the same vote, and it is the costliest of the exact figures."""
    return maj_at_k(answers.said, answers.right, n)


def _majority(one: One, n: int) -> float:
    return _counted(one.answers, n)


_CHANCES: dict[str, Callable[[One, int], float]] = {
    "vote": _majority,
    "vote_likelihood": lambda one, n: weighted_vote(one.answers, [math.exp(mean) for mean in one.mean], n),
    "vote_reward_model": lambda one, n: weighted_vote(one.answers, one.scores, n),
    "best_likelihood": lambda one, n: best_of(one.summed, one.answers.right, n),
    "best_likelihood_mean": lambda one, n: best_of(one.mean, one.answers.right, n),
    "best_reward_model": lambda one, n: best_of(one.scores, one.answers.right, n),
    "best_verifier": lambda one, n: best_of([float(right) for right in one.answers.right], one.answers.right, n),
}
"""How likely a method with n answers is right."""


def _stopped(name: str, ns: Sequence[int], one: One, confidence: float) -> list[_Figure]:
    count, mean = count_votes(one.answers), one.answers.mean_tokens
    figures = []
    for n in ns:
        sure = name == "vote_sure"
        stopped = stop_when_sure(count, n, confidence) if sure else stop_when_decided(count, n)
        accuracy = min(1.0, max(0.0, _majority(one, n) + stopped.gain))
        notes = {"drawn": stopped.drawn, **({"changed": stopped.changed} if sure else {})}
        figures.append(_Figure(accuracy, n * mean - stopped.saved, one.prompt, notes))
    return figures


# ---- from answers of their own


def chained(setting: str, steps: Sequence[Drawn], problems: Sequence[str]) -> Point:
    """Right as often as the answers of the last step; what all steps cost. The mean over the indices of a problem."""
    indices: dict[str, list[Key]] = {problem: [] for problem in problems}
    for key in steps[-1]:
        if key.problem_id in indices:
            indices[key.problem_id].append(key)

    def mean(figure: Callable[[Key], float]) -> dict[str, float]:
        return {problem: math.fsum(map(figure, keys)) / len(keys) for problem, keys in indices.items()}

    return Point(
        setting,
        mean(lambda key: float(steps[-1][key].rollouts[0].verdict.outcome == "right")),
        mean(lambda key: sum(spent(step[key]) for step in steps)),
        mean(lambda key: sum(given(step[key]) for step in steps)),
    )


def series(name: str, steps: Sequence[tuple[str, Drawn]], problems: Sequence[str]) -> list[Point]:
    """One point for each step. Where an answer is mended, those before it were paid for too."""
    answers = [drawn for _, drawn in steps]
    begins = 0 if name == "mended" else None
    return [
        chained(setting, answers[(place if begins is None else begins) : place + 1], problems)
        for place, (setting, _) in enumerate(steps)
    ]


# ---- compared


def row(point: Point) -> dict[str, Any]:
    """A point as a report holds it: mean tokens a problem, accuracy with its 95% interval over problems."""
    interval = mean_interval(list(point.accuracy.values()))
    read = math.fsum(point.read.values()) / len(point.read)
    figures = {"tokens": point.cost, "read": read, "value": interval.value, "low": interval.low, "high": interval.high}
    return {"setting": point.setting, **figures, **point.notes}


def difference(first: Point, second: Point) -> dict[str, float]:
    """Second minus first, problem by problem, with its 95% interval and the p-value of the sign-flip test."""
    paired = paired_difference(first.accuracy, second.accuracy)
    one = paired.difference
    return {"value": one.value, "low": one.low, "high": one.high, "p_value": paired.p_value}


def compared(points: Mapping[str, Sequence[Point]], budgets: Sequence[float], against: str) -> list[dict[str, Any]]:
    """All methods at each budget, and how far each is from `against` there. One that costs more has no row."""
    listed = []
    for budget in budgets:
        base = at_budget(points[against], budget)
        rows = []
        for name, series_of in points.items():
            point = at_budget(series_of, budget)
            if point is not None:
                apart = None if base is None or name == against else difference(base, point)
                rows.append({"method": name, **row(point), "difference": apart})
        listed.append({"budget": budget, "rows": rows})
    return listed


def beside(single: Mapping[str, Point], points: Mapping[str, Sequence[Point]]) -> dict[str, Any]:
    """Another model's single answers next to all that these methods make of the first one.

    For every method: what it has at the cost of the other's sampled answer, what it has at its dearest setting, and how many
    tokens it takes to be as accurate (None: never measured to be). Differences are the other model minus the method.
    """
    target = single["sample"]
    rows = []
    for name, series_of in points.items():
        equal = at_budget(series_of, target.cost)
        dearest = max(series_of, key=lambda point: point.cost)
        rows.append(
            {
                "method": name,
                "equal": None if equal is None else {**row(equal), "difference": difference(equal, target)},
                "dearest": {**row(dearest), "difference": difference(dearest, target)},
                "reaches_at": tokens_to_reach(series_of, target.value),
            }
        )
    return {"single": {name: row(point) for name, point in single.items()}, "rows": rows}
