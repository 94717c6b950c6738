"""Measure a policy on held-out problems in one go, as a training run does before and after. Reads verdicts, never rewards.

Every figure is a mean over problems with a 95% interval over problems (figures.py). Not for: training, the mathematics
(statistics.py), or an evaluation that is stored and gone on with (collect.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from burnish.errors import DataError
from burnish.evaluate import figures as of_answers
from burnish.records import Group, Judged, Key, Problem, Report, Rollout, Sampling
from burnish.rollout import Sampler


def evaluate(
    sampler: Sampler,
    problems: Sequence[Problem],
    samples: int,
    ks: Sequence[int],
    sampling: Sampling,
    on_rollout: Callable[[Rollout], None] | None = None,
    verifier: str = "",
) -> tuple[Report, list[Group]]:
    """Draw `samples` for every problem and report the figures for each k. Raises DataError where nothing got a verdict."""
    if not problems:
        raise DataError("There are no held-out problems to measure on; give the task a held-out split.")
    start = time.perf_counter()
    groups = sampler.groups(problems, samples, sampling=sampling, on_rollout=on_rollout)
    seconds = time.perf_counter() - start
    return report(problems[0].task, groups, samples, ks, seconds, verifier), groups


def report(
    task: str, groups: Sequence[Group], samples: int, ks: Sequence[int], seconds: float, verifier: str = ""
) -> Report:
    """The figures of judged groups. pass@1 is the mean over samples; pass@k is unbiased (Chen et al. 2021); maj@k is exact."""
    rows = tuple(judged(group.problem.id, rollout) for group in groups for rollout in group.rollouts)
    found = of_answers.figures(rows, ks)
    if not found:
        raise DataError(f"None of the {len(rows)} answers got a verdict; mend the verifier first.")
    whole = of_answers.summary(rows, len(groups), samples)
    means = {
        "length": whole.length or 0.0,
        "share that thinks": whole.thinks / len(rows),
        "share cut off": whole.cut_off / len(rows),
        "share without a verdict": whole.no_verdict / len(rows),
    }
    tokens = float(whole.tokens)
    cost = {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / max(seconds, 1e-9)}
    intervals = {name: figure.interval for name, figure in found.items()}
    return Report(task, len(groups), samples, intervals, means, cost, rows, verifier)


def as_json(report: Report) -> dict[str, Any]:
    """The report without its rows, as the run's report.json holds it: figures by name, then means, cost and counts."""
    figures = {name: {"value": one.value, "low": one.low, "high": one.high} for name, one in report.figures.items()}
    return {
        **figures,
        "task": report.task,
        "problems": report.problems,
        "samples": report.samples,
        "means": dict(report.means),
        "cost": dict(report.cost),
    }


def pass_rates(report: Report) -> Mapping[str, float]:
    """pass@1 of each problem, by id: what a paired comparison takes. Problems without any verdict are left out."""
    return of_answers.pass_rates(report.rows)


def judged(problem_id: str, rollout: Rollout) -> Judged:
    """The row of one answer."""
    verdict = rollout.verdict
    thought = verdict.parts.get("thought", 0.0) > 0
    return Judged(Key(problem_id, rollout.index), verdict.outcome, verdict.found, rollout.length, rollout.stop, thought)
