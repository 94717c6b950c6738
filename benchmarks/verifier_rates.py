"""How often the verifiers that ship are wrong on labelled answers: the figures in src/burnish/evaluate/verifier_rates.json.

    python benchmarks/verifier_rates.py [--data DIR] [--only math] [--quick] [--json] [--write]

DIR (else $BURNISH_DATA) holds math_cases and gsm8k; the sets of tests/data are always there. Prints a table; --write puts what was
measured into the file, and keeps the entries of sets that are not here. --quick takes the sets of tests/data alone.
tests/test_verifier_rates.py measures again and compares.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from burnish.evaluate.verifiers import FILE, Measured, measured
from burnish.records import Key, Problem
from burnish.verify import identity
from burnish.verify.pool import Pool
from report import add_json, publish

TESTS = Path(__file__).resolve().parents[1] / "tests" / "data"
COMMAND = "python benchmarks/verifier_rates.py"
SETS: dict[str, tuple[str, ...]] = {
    "gsm8k example_model_solutions.jsonl": ("number", "math"),
    "gsm8k example_model_solutions.jsonl, in tags": ("tagged_number", "math_tagged"),
    "math_cases cases.jsonl": ("math",),
    "tests/data/maths_cases.txt": ("math",),
    "tests/data/maths_marked.txt": ("math",),
}
"""Labelled set -> the verifiers measured on it."""


class Labelled(NamedTuple):
    """An answer that people (or the set's own program) labelled. `bare`: an answer alone, not a response."""

    gold: str
    answer: str
    label: bool
    bare: bool


def labelled(name: str, data: Path | None) -> list[Labelled] | None:
    """The rows of a set; None where it is not here."""
    place, _, file = name.partition(" ")
    if place.startswith("tests/"):
        return list(_of_text(TESTS / Path(place).name))
    file, _, dress = file.partition(", ")
    path = data / place / file if data is not None else None
    if path is None or not path.is_file():
        return None
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    if place != "gsm8k":
        return list(_of_cases(rows))
    solutions = list(_of_solutions(rows))
    return [row._replace(answer=_tagged(row.answer)) for row in solutions] if dress else solutions


def _of_solutions(rows: list[dict]) -> Iterator[Labelled]:
    for row in rows:
        gold = row["ground_truth"].rsplit("A:", 1)[1].strip()
        for one in row.values():
            if isinstance(one, dict):
                yield Labelled(gold, one["solution"], one["is_correct"], False)


def _tagged(solution: str) -> str:
    """A solution that ends in "A: 18" as a response in the format of the tagged verifiers; one without stays as it is."""
    before, mark, answer = solution.rpartition("A:")
    return f"<think>{before}</think><answer>{answer.strip()}</answer>" if mark else solution


def _of_cases(rows: list[dict]) -> Iterator[Labelled]:
    for row in rows:
        yield Labelled(row["gold"], row["answer"], row["expected"], not row["class"].startswith("response"))


def _of_text(path: Path) -> Iterator[Labelled]:
    """ "= gold", then "+ answer" (right) and "- answer" (wrong); ">+" and ">-" are whole responses with \\n for a new line."""
    gold = ""
    for line in path.read_text(encoding="utf-8").split("\n"):
        mark, _, rest = line.partition(" ")
        if mark == "=":
            gold = rest
        elif mark in ("+", "-", ">+", ">-"):
            whole = mark.startswith(">")
            yield Labelled(gold, re.sub(r"\\n(?![a-z])", "\n", rest) if whole else rest, mark.endswith("+"), not whole)


def measure(verifier: str, name: str, rows: list[Labelled]) -> Measured:
    """One verifier on one set, in a worker process with a deadline, as everywhere."""
    positives = negatives = missing = 0
    items = []
    for number, row in enumerate(rows):
        reference = {"answer": row.gold} | ({"bare": True} if row.bare else {})
        items.append((Key("row", number), Problem("row", "labelled", "", reference, "given", ""), row.answer))
    with Pool(verifier, 1) as pool:
        outcomes = {key.index: verdict.outcome for key, verdict in pool.judge(items)}
    for number, row in enumerate(rows):
        outcome = outcomes[number]
        missing += outcome == "no_verdict"
        positives += outcome == "right" and not row.label
        negatives += outcome == "wrong" and row.label
    right = sum(row.label for row in rows)
    command = f"{COMMAND} --only {verifier}"
    return Measured(
        *(verifier, identity(verifier), name, command, len(rows) - right, right, positives, negatives, missing)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BURNISH_DATA"))
    parser.add_argument("--only", help="this verifier alone")
    parser.add_argument("--quick", action="store_true", help="the sets of tests/data alone")
    parser.add_argument("--write", action="store_true", help=f"put it into {FILE.name}")
    add_json(parser)
    given = parser.parse_args()
    found: list[Measured] = []
    for name, verifiers in SETS.items():
        if given.quick and not name.startswith("tests/"):
            continue
        rows = labelled(name, Path(given.data) if given.data is not None else None)
        if rows is not None:
            found += [measure(one, name, rows) for one in verifiers if given.only in (None, one)]
    lines = ["| verifier | labelled set | false positives | false negatives | no verdict |", "|---|---|---:|---:|---:|"]
    for one in found:
        wrongly = [
            "-" if rate is None else f"{errors} of {total:,} [{rate.low:.2%}, {rate.high:.2%}]"
            for errors, total, rate in (
                (one.false_positives, one.wrong, one.false_positive_rate),
                (one.false_negatives, one.right, one.false_negative_rate),
            )
        ]
        lines.append(f"| {one.version} | {one.data} | {wrongly[0]} | {wrongly[1]} | {one.no_verdict} |")
    publish(given, {"ratio": {}, "rates": [asdict(one) for one in found]}, "\n".join(lines))
    if given.write:
        new = {(one.verifier, one.data): one for one in found}
        old = {(one.verifier, one.data): one for one in (measured() if FILE.is_file() else ())}
        FILE.write_text(json.dumps([asdict(one) for one in (old | new).values()], indent=2) + "\n")


if __name__ == "__main__":
    main()
