"""Judge the stored answers of a directory with another verifier: its own file, and where the two disagree. Loads no torch.

The original is never touched: verdicts go to DIR/rejudged/VERIFIER.jsonl (in an evaluation, one for each task). Its first line names
both verifiers; each further one is (step, problem, index) with the new verdict.

Not for: answers in a file (verify, labelled).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.evaluate.collect import ABOUT, read_about
from burnish.evaluate.figures import pass_rates
from burnish.evaluate.statistics import mean_interval, paired_difference
from burnish.journal.files import encode, storage_error, writing_whole
from burnish.journal.rollouts import as_groups, read_rollouts, rollouts_files
from burnish.pipelines.compare import rejudged_path
from burnish.prompts import response
from burnish.records import Group, Interval, Judged, Key, Problem, Rollout, Verdict
from burnish.run.display import Display
from burnish.verify import identity
from burnish.verify.pool import Pool

OUTCOMES = ("right", "wrong", "no_verdict")
EXAMPLES = 20  # rows where the two differ, kept in the result: at most so many of each kind
_SHOWN = 300  # characters of an answer


def rejudge(
    directory: str, verifier: str, workers: int = 2, deadline_s: float = 5.0, quiet: bool = False
) -> dict[str, Any]:
    """Every stored answer judged again; the confusion of the two verifiers, and examples. Raises DataError where none is stored."""
    now = identity(verifier)
    place = Path(directory)
    found = {}
    for label, folder, was in _folders(place):
        found[label] = _one(label, folder, was, verifier, now, workers, deadline_s, quiet)
    return {"directory": directory, "verifier": now, "tasks": found}


def page(result: Mapping[str, Any]) -> str:
    """The result as a person reads it."""
    lines = []
    for label, one in result["tasks"].items():
        lines += [f"{label}: {one['answers']:,} answers, {one['was']} (down) against {result['verifier']} (across)"]
        lines.append("  " + "".join(f"{name:>12}" for name in ("", *OUTCOMES)))
        lines += [
            f"  {was:>12}" + "".join(f"{one['confusion'][was][now]:>12,}" for now in OUTCOMES) for was in OUTCOMES
        ]
        share = one["agreement"]
        lines.append(f"  They agree on {share:.2%} of the answers.")
        if one["pass@1"] is not None:
            old, new, change = (one["pass@1"][key] for key in ("was", "now", "difference"))
            lines.append(
                f"  pass@1 was {old['value']:.1%} [{old['low']:.1%}, {old['high']:.1%}] and is {new['value']:.1%} [{new['low']:.1%}, "
                f"{new['high']:.1%}]: {100 * change['value']:+.1f} points [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]."
            )
        for row in one["examples"][:10]:
            lines.append(
                f"  {row['problem_id']} #{row['index']}: {row['was']['outcome']} ({row['was']['why']}), now {row['now']['outcome']} "
                f"({row['now']['why']}); gold {row['gold']!s:.60}: ...{row['text'][-80:]!r}"
            )
        if (more := one["disagreements"] - min(10, len(one["examples"]))) > 0:
            lines.append(f"  ... and {more:,} more; {one['out']} has every verdict.")
        lines.append(f"  Written to {one['out']}; the stored answers are as they were.")
    return "\n".join(lines)


def _folders(place: Path) -> list[tuple[str, Path, str]]:
    """(label, folder that holds rollouts/, who judged): the tasks of an evaluation, or a training run."""
    if (place / ABOUT).is_file():
        tasks = read_about(place)["tasks"]
        listed = [(label, place / label, str(task["verifier"])) for label, task in tasks.items()]
    else:
        listed = [(place.name, place, "the run's verifier")]
    found = [one for one in listed if rollouts_files(one[1] / "rollouts")]
    if not found:
        raise DataError(f"{place} holds no answers; name a directory that burnish eval or burnish train wrote.")
    return found


def _one(
    label: str, folder: Path, was: str, verifier: str, now: str, workers: int, deadline_s: float, quiet: bool
) -> dict[str, Any]:
    files = rollouts_files(folder / "rollouts")
    out = rejudged_path(folder, verifier)
    try:
        out.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(out.parent, error) from error
    confusion: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    old: list[Judged] = []
    new: list[Judged] = []
    with (
        Pool(verifier, workers, deadline_s) as pool,
        writing_whole(out) as write,
        Display(f"judging {label} again", len(files), (("agree", "agree", "{:6.1%}"),), quiet) as display,
    ):
        write((encode({"verifier": now, "was": was, "answers_of": str(folder)}) + "\n").encode())
        for done, step in enumerate(files, start=1):
            for group, rollout, verdict in _judged(as_groups(read_rollouts(folder, step)), pool):
                pair = (rollout.verdict.outcome, verdict.outcome)
                confusion[pair] += 1
                write(_line(step, group, rollout, verdict))
                key = group.key(rollout)
                old.append(_row(key, rollout, rollout.verdict))
                new.append(_row(key, rollout, verdict))
                if pair[0] != pair[1] and len(kept := examples.setdefault(pair, [])) < EXAMPLES:
                    kept.append(_example(step, group, rollout, verdict))
            display.step(done, {"agree": sum(confusion[o, o] for o in OUTCOMES) / max(1, confusion.total())})
    agree = sum(confusion[outcome, outcome] for outcome in OUTCOMES)
    return {
        "out": str(out),
        "was": was,
        "answers": confusion.total(),
        "agreement": agree / confusion.total(),
        "disagreements": confusion.total() - agree,
        "confusion": {a: {b: confusion[a, b] for b in OUTCOMES} for a in OUTCOMES},
        "examples": [row for rows in examples.values() for row in rows],
        "pass@1": _change(old, new),
    }


def _judged(groups: list[Group], pool: Pool) -> Iterator[tuple[Group, Rollout, Verdict]]:
    """Each stored answer with the verdict that the pool gives, in the order they are stored."""
    verdicts = dict(
        pool.judge(
            (group.key(rollout), group.problem, response(group.prompt, rollout.text))
            for group in groups
            for rollout in group.rollouts
        )
    )
    yield from ((group, rollout, verdicts[group.key(rollout)]) for group in groups for rollout in group.rollouts)


def _row(key: Key, rollout: Rollout, verdict: Verdict) -> Judged:
    return Judged(key, verdict.outcome, verdict.found, rollout.length, rollout.stop, False)


def _line(step: int, group: Group, rollout: Rollout, verdict: Verdict) -> bytes:
    fields = {
        "step": step,
        "problem_id": group.problem.id,
        "index": rollout.index,
        "was": rollout.verdict.outcome,
        "outcome": verdict.outcome,
        "score": verdict.score,
        "found": verdict.found,
        "why": verdict.why,
        "fault": verdict.fault,
    }
    return (encode(fields) + "\n").encode("utf-8", "backslashreplace")


def _example(step: int, group: Group, rollout: Rollout, verdict: Verdict) -> dict[str, Any]:
    def said(one: Verdict) -> dict[str, Any]:
        return {"outcome": one.outcome, "found": one.found, "why": one.why}

    problem: Problem = group.problem
    return {
        "step": step,
        "problem_id": problem.id,
        "index": rollout.index,
        "question": problem.question[:_SHOWN],
        "gold": problem.reference.get("answer", dict(problem.reference)),
        "text": rollout.text[-_SHOWN:],
        "was": said(rollout.verdict),
        "now": said(verdict),
    }


def _change(old: list[Judged], new: list[Judged]) -> dict[str, Any] | None:
    """pass@1 by either verifier and their difference, over the problems on which both have a verdict."""
    before, after = pass_rates(old), pass_rates(new)
    both = before.keys() & after.keys()
    if not both:
        return None
    first, second = ({name: rates[name] for name in both} for rates in (before, after))
    paired = paired_difference(first, second)
    return {
        "was": _plain(mean_interval(list(first.values()))),
        "now": _plain(mean_interval(list(second.values()))),
        "difference": _plain(paired.difference),
        "problems": len(both),
    }


def _plain(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
