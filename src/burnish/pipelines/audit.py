"""Audit a verifier on labelled answers: its error rates by class, every disagreement, a second verifier beside it. No torch.

The result is what an evaluation quotes: which verifier (with the hash of its code), on which data (with its hash and n), and
under which limits. Not for: judging models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.evaluate.audit import Case, as_json, by_class, compare, rates
from burnish.journal.files import encode, write_atomic
from burnish.pipelines.verify import Source, judged
from burnish.run.display import Display
from burnish.verify import identity
from burnish.verify.pool import Pool

LABELS = ("label", "expected")
_SHOWN = 200  # characters of an answer in a list of disagreements


def audit(
    verifier: str,
    path: str,
    against: str | None = None,
    out: str | None = None,
    workers: int = 2,
    deadline_s: float = 5.0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Judge every row of `path` and hold the verdicts against the labels; the result is written to `out`, if given.

    A row is one that `burnish verify` takes, with `label` (or `expected`): true or false, and a `class` if it has one. Raises
    DataError for a row without a label, ConfigError for an unknown verifier.
    """
    identity(verifier)
    digest = _digest(path)
    total = sum(1 for given in Source(path, verifier) if _label(given.row, given.place) is not None)
    if against is not None:
        identity(against)  # an unknown one is refused before the work begins
    limits = {"workers": workers, "deadline_s": deadline_s}
    result: dict[str, Any] = {
        "verifier": identity(verifier),
        "data": {"file": path, "blake2b": digest, "n": total},
        "burnish": version("burnish"),
        "limits": limits,
    }
    first, found = _run(verifier, path, total, workers, deadline_s, quiet)
    result |= found
    if against is not None:
        second, other = _run(against, path, total, workers, deadline_s, quiet)
        result["against"] = {"verifier": identity(against), **other}
        result["comparison"] = as_json(compare(first, second))
        outcomes = {case.place: case.verdict.outcome for case in second}
        result["apart"] = [
            {"place": case.place, "label": case.label, "first": case.verdict.outcome, "second": outcomes[case.place]}
            for case in first
            if case.verdict.outcome != outcomes[case.place]
        ]
    if _digest(path) != digest:
        raise DataError(f"{path} was changed while it was read; run the audit again.")
    if out is not None:
        write_atomic(out, encode(result) + "\n")
        result["out"] = out
    return result


def _run(
    verifier: str, path: str, total: int, workers: int, deadline_s: float, quiet: bool
) -> tuple[list[Case], dict[str, Any]]:
    """Every case with its verdict, and the figures of one verifier."""
    cases: list[Case] = []
    disagreements: list[dict[str, Any]] = []
    columns = (("right", "held right", "{:6.1%}"),)
    with Pool(verifier, workers, deadline_s) as pool, Display(f"auditing {verifier}", total, columns, quiet) as display:
        for given, verdict in judged(iter(Source(path, verifier)), pool, display):
            case = Case(given.place, str(given.row.get("class", "all")), _label(given.row, given.place), verdict)
            cases.append(case)
            if case.error or verdict.outcome == "no_verdict":
                answer = given.row.get("answer", given.row.get("response"))
                gold = given.row.get("gold", given.row.get("reference"))
                disagreements.append(
                    {
                        "place": given.place,
                        "class": case.kind,
                        "label": case.label,
                        "outcome": verdict.outcome,
                        "gold": gold,
                        "answer": str(answer)[:_SHOWN],
                        "found": verdict.found,
                        "why": verdict.why,
                        "fault": verdict.fault,
                    }
                )
        statistics = pool.statistics()
    return cases, {
        "all": as_json(rates(cases)),
        "classes": {kind: as_json(one) for kind, one in by_class(cases).items()},
        "disagreements": disagreements,
        "faults": dict(statistics.faults),
        "latency": dict(statistics.latency),
    }


def _label(row: Mapping[str, Any], place: str) -> bool:
    for name in LABELS:
        if isinstance(row.get(name), bool):
            return bool(row[name])
    raise DataError(
        f"{place} has no label: give label (or expected), true or false; it has {', '.join(map(str, row)) or 'no field'}."
    )


def _digest(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        return ""  # a data set of the hub, or nothing: who reads the rows says so
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def page(result: Mapping[str, Any]) -> str:
    """The result as a person reads it."""
    sides = [(result["verifier"], result)]
    if "against" in result:
        sides.append((result["against"]["verifier"], result["against"]))
    lines = [f"{result['data']['n']:,} labelled answers of {result['data']['file']} ({result['data']['blake2b'][:12]})"]
    for name, side in sides:
        lines += ["", name, f"  {'class':<16}{'n':>6}  {'false positives':<27}{'false negatives':<27}no verdict"]
        rows = {**side["classes"], "all": side["all"]}
        lines += [_line(kind, one) for kind, one in rows.items()]
    if "comparison" in result:
        pair = result["comparison"]
        apart = pair["difference"]
        lines += [
            "",
            f"Missed (wrong or no verdict) by the first only {pair['only_first']}, by the second only {pair['only_second']}, by both "
            f"{pair['both_miss']}: difference {apart['value']:+.1%} [{apart['low']:+.1%}, {apart['high']:+.1%}], "
            f"McNemar p = {pair['p']:.2g}.",
        ]
    shown = result["disagreements"]
    if shown:
        lines += ["", f"{len(shown)} disagreements of {result['verifier']} with the labels:"]
        lines += [
            f"  {one['place']} {one['class']}: labelled {'right' if one['label'] else 'wrong'}, {one['outcome']}: "
            f"{one['answer'][:60]!r} against {str(one['gold'])[:60]!r} ({one['why']})"
            for one in shown[:50]
        ]
        if len(shown) > 50:
            lines.append(f"  ... and {len(shown) - 50} more; --out FILE has all of them.")
    if "out" in result:
        lines += ["", f"Written to {result['out']}."]
    return "\n".join(lines)


def _line(kind: str, one: Mapping[str, Any]) -> str:
    negatives = one["n"] - one["positives"]
    wrongly_right = _share(one["false_positives"], negatives, one["false_positive_rate"])
    wrongly_wrong = _share(one["false_negatives"], one["positives"], one["false_negative_rate"])
    return f"  {kind[:15]:<16}{one['n']:>6}  {wrongly_right:<27}{wrongly_wrong:<27}{one['no_verdict']}"


def _share(errors: int, n: int, rate: Mapping[str, float] | None) -> str:
    if rate is None:
        return "-"
    return f"{errors}/{n} [{rate['low']:.1%}, {rate['high']:.1%}]"
