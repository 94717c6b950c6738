"""Keep training and held-out problems apart, and prove that a task's gold answers pass its own verifier.

Not for: judging what a model wrote (burnish.verify), or reading rows (files.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from burnish.errors import DataError
from burnish.records import Problem, Verdict
from burnish.verify import judge
from burnish.verify import load as load_verifier

if TYPE_CHECKING:
    from burnish.tasks import Task

Overlap = Literal["drop", "refuse"]
NAMED = 3  # how many offenders a message names


@dataclass(frozen=True, slots=True)
class Separation:
    """Two splits with no fingerprint in common and none twice, and a sentence for each thing that was done to them.

    `notices` e.g. ("22 training rows repeat an earlier one; dropped.", "5 problems stand in both splits; dropped from
    training.")
    `dropped`  e.g. {"repeat an earlier one": 22, "stand in both splits; dropped from training": 5}
    """

    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    notices: tuple[str, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GoldFailure:
    """A gold answer that its own verifier does not call right. `where` is file:line, or the problem's id."""

    problem_id: str
    where: str
    verdict: Verdict


def separate(train: Sequence[Problem], held_out: Sequence[Problem], overlap: Overlap = "drop") -> Separation:
    """Drop repeats within each split, then from training whatever is held out too; held-out scores stay comparable.

    Raises DataError where overlap is "refuse" and the splits share a problem, or where nothing is left to train on.
    """
    notices = []
    dropped = {}
    kept, repeats = _unique(train)
    if repeats:
        notices.append(f"{repeats} training {_rows(repeats)} an earlier one; dropped.")
        dropped["repeat an earlier training row"] = repeats
    tests, repeats = _unique(held_out)
    if repeats:
        notices.append(f"{repeats} held-out {_rows(repeats)} an earlier one; dropped.")
        dropped["repeat an earlier held-out row"] = repeats
    both = [fingerprint for fingerprint in kept if fingerprint in tests]
    if both and overlap == "refuse":
        named = ", ".join(f"{kept[f].id} is {tests[f].id}" for f in both[:NAMED])
        raise DataError(
            f"{_problems(len(both))} in both splits, a held-out problem in train: {named}"
            f'{", ..." if len(both) > NAMED else ""}; remove from the training file, or set overlap to "drop".'
        )
    if both and len(both) == len(kept):
        raise DataError(
            f"All {len(kept)} training problems stand in the held-out split, so none is left to train on; "
            "name two different files."
        )
    if both:
        notices.append(f"{_problems(len(both))} in both splits; dropped from training.")
        dropped["stand in both splits, dropped from training"] = len(both)
    training = tuple(problem for fingerprint, problem in kept.items() if fingerprint not in tests)
    return Separation(training, tuple(tests.values()), tuple(notices), dropped)


def check_golds(task: Task, problems: Iterable[Problem]) -> list[GoldFailure]:
    """Judge each problem's gold response with the task's own verifier, in this process; return those not called right.

    A problem the task has no gold response for is a failure too: nothing may train on it. Of a task that has none at all
    (`has_golds = False`, instructions) it is asked instead that its references can be read: any answer gets a verdict.
    """
    verifier = load_verifier(task.verifier)
    where = getattr(task, "where", None)
    failures = []
    for problem in problems:
        response = gold_response(task, problem)
        if response is None:
            verdict = Verdict("no_verdict", None, why="the task has no gold response for this problem", fault="gold")
        else:
            verdict = judge(verifier, problem, response)
        if not passes(task, verdict):
            place = str(where(problem)) if where is not None else problem.id
            failures.append(GoldFailure(problem.id, place, verdict))
    return failures


def gold_response(task: Task, problem: Problem) -> str | None:
    """What to judge in order to check a problem: its gold response, or any where the task has none for any problem."""
    return task.gold(problem) if getattr(task, "has_golds", True) else "Any answer."


def passes(task: Task, verdict: Verdict) -> bool:
    """Whether that verdict speaks for the problem."""
    return verdict.outcome == "right" if getattr(task, "has_golds", True) else verdict.outcome != "no_verdict"


def _unique(problems: Iterable[Problem]) -> tuple[dict[str, Problem], int]:
    """The first problem of each fingerprint, in order, and how many others there were."""
    kept: dict[str, Problem] = {}
    count = 0
    for problem in problems:
        kept.setdefault(problem.fingerprint, problem)
        count += 1
    return kept, count - len(kept)


def _rows(count: int) -> str:
    return "row repeats" if count == 1 else "rows repeat"


def _problems(count: int) -> str:
    return "1 problem stands" if count == 1 else f"{count} problems stand"
