"""Measure a policy on held-out problems. Reads verdicts, never rewards. Not for: training, or the mathematics (statistics.py).

Every figure is a mean over problems with a 95% interval over problems. A sample without a verdict counts for nothing: it is left out
of its problem, counted, and reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from burnish.errors import DataError
from burnish.evaluate.statistics import maj_at_k, mean_interval, pass_at_k
from burnish.records import Group, Interval, Judged, Key, Problem, Report, Rollout, Sampling
from burnish.rollout import Sampler


def evaluate(
    sampler: Sampler,
    problems: Sequence[Problem],
    samples: int,
    ks: Sequence[int],
    sampling: Sampling,
    on_rollout: Callable[[Rollout], None] | None = None,
) -> tuple[Report, list[Group]]:
    """Draw `samples` for every problem and report pass@k and maj@k for each k. Raises DataError where nothing got a verdict."""
    if not problems:
        raise DataError("There are no held-out problems to measure on; give the task a held-out split.")
    start = time.perf_counter()
    groups = sampler.groups(problems, samples, sampling=sampling, on_rollout=on_rollout)
    seconds = time.perf_counter() - start
    return report(problems[0].task, groups, samples, ks, seconds), groups


def report(task: str, groups: Sequence[Group], samples: int, ks: Sequence[int], seconds: float) -> Report:
    """The figures of judged groups. pass@1 is the mean over samples; pass@k is unbiased (Chen et al. 2021); maj@k is exact."""
    judged = [[rollout for rollout in group.rollouts if rollout.verdict.outcome != "no_verdict"] for group in groups]
    counted = [rollouts for rollouts in judged if rollouts]
    if not counted:
        raise DataError(
            f"None of the {sum(len(group.rollouts) for group in groups)} answers got a verdict; mend the verifier first."
        )
    figures: dict[str, Interval] = {}
    for k in sorted({1, *ks}):
        enough = [rollouts for rollouts in counted if len(rollouts) >= k]
        if not enough:
            continue
        figures[f"pass@{k}"] = mean_interval([pass_at_k(len(rollouts), _right(rollouts), k) for rollouts in enough])
        if k > 1:
            figures[f"maj@{k}"] = mean_interval(
                [
                    maj_at_k([r.verdict.found for r in rollouts], [r.verdict.outcome == "right" for r in rollouts], k)
                    for rollouts in enough
                ]
            )
    rows = tuple(_row(group, rollout) for group in groups for rollout in group.rollouts)
    lengths = [row.tokens for row in rows]
    tokens = float(sum(lengths))
    means = {
        "length": tokens / len(rows),
        "share that thinks": sum(row.thought for row in rows) / len(rows),
        "share cut off": sum(row.stop == "length" for row in rows) / len(rows),
        "share without a verdict": sum(row.outcome == "no_verdict" for row in rows) / len(rows),
    }
    cost = {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / max(seconds, 1e-9)}
    return Report(task, len(groups), samples, figures, means, cost, rows)


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
    outcomes: dict[str, list[bool]] = {}
    for row in report.rows:
        if row.outcome != "no_verdict":
            outcomes.setdefault(row.key.problem_id, []).append(row.outcome == "right")
    return {problem: sum(right) / len(right) for problem, right in outcomes.items()}


def _right(rollouts: Sequence[Rollout]) -> int:
    return sum(rollout.verdict.outcome == "right" for rollout in rollouts)


def _row(group: Group, rollout: Rollout) -> Judged:
    verdict = rollout.verdict
    key = Key(group.problem.id, rollout.index)
    return Judged(
        key,
        verdict.outcome,
        verdict.found,
        rollout.tokens.sampled_count,
        rollout.stop,
        verdict.parts.get("thought", 0.0) > 0,
    )
