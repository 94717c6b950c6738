"""Two measurements side by side: may they be compared, and what does a paired comparison say. Pure.

Not for: reading directories (pipelines.compare), or the test itself (statistics.paired_difference).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.errors import DataError
from burnish.evaluate.figures import by_problem, pass_rates
from burnish.evaluate.statistics import paired_difference
from burnish.records import Judged

SURE = 0.05
MOST_NAMED = 20  # problems won or lost that are listed by id


@dataclass(frozen=True)
class Side:
    """The answers to one task on one side.

    name       how a sentence calls it: a directory, or "before" and "after"
    verifier   who judged, with the version; "" where it was not written down
    sampling   how the answers were drawn, where known
    marks      problem id -> fingerprint, where known: the same id must be the same problem
    """

    name: str
    rows: Sequence[Judged]
    verifier: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)


def compared(label: str, first: Side, second: Side, common: bool = False) -> dict[str, Any]:
    """Second minus first on the same problems, with what a reader must know.

    Raises DataError where the problems are not the same (with `common`: where none is), or where two verifiers, or two versions of
    one, judged.
    """
    notes = []
    if first.verifier and second.verifier and first.verifier != second.verifier:
        raise DataError(
            f"{label}: {first.name} was judged by {first.verifier} and {second.name} by {second.verifier}, so a difference may be the "
            "verifier's. Judge both with one: burnish rejudge DIR --verifier V on each, then burnish compare ... --verifier V."
        )
    if not (first.verifier and second.verifier):
        notes.append("It is not written down which version of the verifier judged on both sides.")
    ids = _shared(label, first, second, common, notes)
    notes += _drawn_differently(first, second)
    rates = [{name: rate for name, rate in pass_rates(side.rows).items() if name in ids} for side in (first, second)]
    both = rates[0].keys() & rates[1].keys()
    if not both:
        raise DataError(f"{label}: no problem has a verdict on both sides, so there is nothing to compare.")
    if len(both) < len(ids):
        notes.append(f"{len(ids) - len(both):,} problems have no verdict on one side, and are left out.")
    before, after = ({name: rate[name] for name in both} for rate in rates)
    paired = paired_difference(before, after)
    change = paired.difference
    return {
        "task": label,
        "problems": len(both),
        "samples": [_samples(first, both), _samples(second, both)],
        "first": {"name": first.name, "pass@1": sum(before.values()) / len(both)},
        "second": {"name": second.name, "pass@1": sum(after.values()) / len(both)},
        "difference": {"value": change.value, "low": change.low, "high": change.high},
        "p_value": paired.p_value,
        "won": paired.won,
        "lost": paired.lost,
        "tied": paired.tied,
        "won_most": _extreme(before, after, 1.0),
        "lost_most": _extreme(before, after, -1.0),
        "verifier": second.verifier or first.verifier,
        "notes": notes,
    }


def sentence(result: Mapping[str, Any]) -> str:
    """One that a newcomer can quote."""
    first, second, change = result["first"], result["second"], result["difference"]
    p = "p < 0.001" if result["p_value"] < 0.001 else f"p = {result['p_value']:.2g}"
    sure = change["low"] > 0 or change["high"] < 0
    if sure and result["p_value"] <= SURE:
        verdict = f"{second['name']} is {'better' if change['value'] > 0 else 'worse'}, beyond chance"
    elif sure or result["p_value"] <= SURE:
        verdict = "on the edge: the interval and the test do not agree, so take more problems"
    else:
        verdict = "no difference beyond chance"
    n = result["samples"]
    each = f"{n[0]} answers each" if n[0] == n[1] else f"{n[0]} and {n[1]} answers each"
    return (
        f"On the same {result['problems']:,} problems of {result['task']} ({each}), {first['name']} has {first['pass@1']:.1%} right "
        f"and {second['name']} {second['pass@1']:.1%}: a change of {100 * change['value']:+.1f} points (95% interval "
        f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f}, {p}, paired by problem); {result['won']:,} problems won, "
        f"{result['lost']:,} lost, {result['tied']:,} as before: {verdict}."
    )


def _shared(label: str, first: Side, second: Side, common: bool, notes: list[str]) -> set[str]:
    """The ids to compare on."""
    here, there = ({row.key.problem_id for row in side.rows} for side in (first, second))
    ids = here & there
    changed = (
        sorted(name for name in ids if first.marks.get(name) != second.marks.get(name))
        if _marked(first, second)
        else []
    )
    if changed:
        raise DataError(
            f"{label}: {len(changed)} problems have the same id on both sides and are not the same, first {changed[0]}; the task's data "
            "has changed in between."
        )
    if here != there:
        only = f"{len(here - there):,} only in {first.name}, {len(there - here):,} only in {second.name}, {len(ids):,} in both"
        if not common:
            hint = "compare on those with --common" if ids else "measure both on the same ones"
            raise DataError(f"{label}: the problems differ ({only}); {hint}.")
        if not ids:
            raise DataError(f"{label}: no problem is on both sides ({only}); measure both on the same ones.")
        notes.append(f"Compared on the problems that both have: {only}.")
    return ids


def _marked(first: Side, second: Side) -> bool:
    return bool(first.marks) and bool(second.marks)


def _drawn_differently(first: Side, second: Side) -> list[str]:
    apart = [
        f"{name} {first.sampling[name]} and {second.sampling[name]}"
        for name in first.sampling
        if name in second.sampling and name != "seed" and first.sampling[name] != second.sampling[name]
    ]
    notes = [f"The answers were drawn differently ({', '.join(apart)})."] if apart else []
    counts = [max((len(rows) for rows in by_problem(side.rows).values()), default=0) for side in (first, second)]
    if counts[0] != counts[1]:
        notes.append(
            f"{counts[0]} answers a problem on one side and {counts[1]} on the other: pass@1 compares all the same, at the lower precision."
        )
    return notes


def _samples(side: Side, ids: set[str]) -> int:
    return max(len(rows) for name, rows in by_problem(side.rows).items() if name in ids)


def _extreme(before: Mapping[str, float], after: Mapping[str, float], sign: float) -> list[dict[str, Any]]:
    """The problems that moved most in one direction."""
    moved = [(name, after[name] - before[name]) for name in before if sign * (after[name] - before[name]) > 0]
    moved.sort(key=lambda pair: (-abs(pair[1]), pair[0]))
    return [{"problem": name, "first": before[name], "second": after[name]} for name, _ in moved[:MOST_NAMED]]
