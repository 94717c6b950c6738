"""Does every gold answer of a task pass its own verifier? Every row is loaded, every gold judged, and what is left out is counted.

Loads no torch. Not for: a whole run, with its model (check), or how often a verifier errs on other answers (audit).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Key, Problem, Verdict
from burnish.run.display import Display
from burnish.tasks import Task, at_path, load
from burnish.tasks.splits import gold_response
from burnish.verify import identity, readiness
from burnish.verify.pool import Pool

ENDLESS = 512
"""Problems of an endless task whose gold answers are judged, beside the held-out ones."""
DEADLINE_S = 20.0
_NO_GOLD = Verdict("no_verdict", None, why="the task has no gold response for this problem", fault="gold")


@dataclass(frozen=True, slots=True)
class Item:
    """A gold to judge: where its problem stands, the problem, and a response that must pass; None where there is none."""

    where: str
    problem: Problem
    response: str | None


@dataclass(frozen=True, slots=True)
class Golds:
    """The golds of some data for one verifier.

    rows      of its files; None where problems are made and not read
    left_out  reason -> rows that are no problem
    readable  True where there are no gold answers (instructions): then a problem passes if any answer gets a verdict
    """

    data: str
    verifier: str
    rows: int | None
    items: Sequence[Item]
    left_out: Mapping[str, int] = field(default_factory=dict)
    readable: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `failures` hold problem, where, gold (its end), outcome and why of each that does not pass."""

    data: str
    verifier: str
    rows: int | None
    judged: int
    passed: int
    left_out: Mapping[str, int]
    failures: Sequence[Mapping[str, str]]
    seconds: float


def golds_of(task: Task, data: str | None = None) -> Golds:
    """All problems of a task with their golds; of an endless one the held-out and some others."""
    size = ENDLESS if task.train_size is None else task.train_size
    problems = [*task.held_out(), *(task.train(0).take(size) if size else ())]
    where = getattr(task, "where", lambda problem: problem.id)
    items = [Item(str(where(problem)), problem, gold_response(task, problem)) for problem in problems]
    left_out = dict(getattr(task, "left_out", {}))
    rows = getattr(task, "rows", None)
    other = 0 if rows is None else rows - len(problems) - sum(left_out.values())
    if other:
        left_out["are in neither split, by the data set's own rule"] = other
    return Golds(data or task.name, task.verifier, rows, items, left_out, not getattr(task, "has_golds", True))


def judge_golds(golds: Golds, workers: int = 2, deadline_s: float = DEADLINE_S, quiet: bool = True) -> Result:
    """Judge every item in worker processes that can be killed. An item without a response fails.

    What a busy machine left without a verdict is judged once more, alone.
    """
    began = time.perf_counter()
    keys = [Key(item.problem.id, at) for at, item in enumerate(golds.items)]
    items = dict(zip(keys, golds.items, strict=True))
    verdicts = dict.fromkeys(keys, _NO_GOLD)
    asked = [key for key in keys if items[key].response is not None]
    columns = (("passed", "passed so far", "{:6.1%}"),)
    with Display(f"golds of {golds.data}", len(asked), columns, quiet) as display:
        passed = 0
        for done, (key, verdict) in enumerate(_judged(golds.verifier, asked, items, workers, deadline_s), start=1):
            verdicts[key] = verdict
            passed += _passes(golds, verdict)
            if done % 64 == 0 or done == len(asked):
                display.step(done, {"passed": passed / done})
    again = [key for key in asked if verdicts[key].outcome == "no_verdict" and verdicts[key].fault != "gold"]
    verdicts.update(_judged(golds.verifier, again, items, 1, deadline_s))
    failures = [
        {
            "problem": item.problem.id,
            "where": item.where,
            "gold": (item.response or "")[-80:],
            "outcome": verdicts[key].outcome,
            "why": verdicts[key].why,
        }
        for key, item in items.items()
        if not _passes(golds, verdicts[key])
    ]
    seconds = time.perf_counter() - began
    passed = len(keys) - len(failures)
    return Result(golds.data, golds.verifier, golds.rows, len(keys), passed, golds.left_out, failures, seconds)


def _judged(
    verifier: str, keys: Sequence[Key], items: Mapping[Key, Item], workers: int, deadline_s: float
) -> Iterator[tuple[Key, Verdict]]:
    if keys:
        with Pool(verifier, workers, deadline_s) as pool:
            yield from pool.judge((key, items[key].problem, items[key].response or "") for key in keys)


def check_task(
    name: str,
    path: str | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int = 2,
    deadline_s: float = DEADLINE_S,
    quiet: bool = False,
) -> dict[str, Any]:
    """Load every row of a task and judge every gold. `path` is a file of it, or a folder in the layout of the hub.

    Raises ConfigError for a path beside options that name files, and whatever reading raises.
    """
    given = dict(options or {})
    if path is not None:
        clash = sorted({"train", "held_out"} & set(given))
        if clash:
            raise ConfigError(f"--path names the files, and so does the option {clash[0]!r}; give one of them.")
        given |= at_path(name, path)
    task = load(name, given)
    began = time.perf_counter()
    golds = golds_of(task)
    loading = time.perf_counter() - began
    sandbox = readiness(task.verifier, (item.problem.reference for item in golds.items))
    result = judge_golds(golds, workers, deadline_s, quiet)
    return {
        "task": name,
        "verifier": identity(task.verifier),
        "rows": result.rows,
        "held_out_problems": len(task.held_out()),
        "train_problems": task.train_size,
        "judged": result.judged,
        "passed": result.passed,
        "readable_only": golds.readable,
        "left_out": dict(result.left_out),
        "failures": list(result.failures),
        "notices": [*sandbox, *task.notices],
        "seconds": {"loading": loading, "judging": result.seconds},
        "table": table([result]),
    }


def table(results: Iterable[Result]) -> str:
    """A Markdown table, a line for each result."""
    lines = ["| data | verifier | rows | golds judged | passed | left out, and why |", "|---|---|---|---|---|---|"]
    for one in results:
        left_out = "; ".join(f"{count:,}: {reason}" for reason, count in one.left_out.items())
        rows = "made" if one.rows is None else f"{one.rows:,}"
        lines.append(f"| {one.data} | {one.verifier} | {rows} | {one.judged:,} | {one.passed:,} | {left_out or '-'} |")
    return "\n".join(lines)


def _passes(golds: Golds, verdict: Verdict) -> bool:
    return verdict.outcome != "no_verdict" if golds.readable else verdict.outcome == "right"
