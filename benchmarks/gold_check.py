"""Does every gold answer pass its own verifier? One line for each file of a folder of data sets.

    python benchmarks/gold_check.py [--data FOLDER] [--only NAME] [--workers 2] [--quick] [--json [golds.json]]

The folder (else $BURNISH_DATA) holds a folder for each data set, with its files as published. First comes each task's own check, which
is what `burnish check --task NAME` does: how many rows there are, how many golds were judged, how many passed, and what was left out
and why. Then the same golds written in other ways, or judged by a second verifier. Every gold that does not pass is named. Exits 1
where one does not, or where no file is there. --quick judges the first 50 golds of each.

The programs of humaneval and mbpp are the files' own solutions. The contest files here have none: there the gold is a program that knows
the expected outputs, which proves that each output passes its own comparison, not that it is right.

Not for: how often a verifier errs on other answers (burnish audit).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from burnish.pipelines.golds import Golds, Item, golds_of, judge_golds, table
from burnish.records import Problem
from burnish.tasks import load
from burnish.tasks.files import read_rows
from burnish.tasks.languages import GIVE_A_NUMBER
from report import add_json, publish

SHOWN = 20
QUICK = 50
FILES: dict[str, dict[str, list[str]]] = {
    "gsm8k": {"train": ["train.jsonl"], "held_out": ["test.jsonl"]},
    "svamp": {"held_out": ["SVAMP.json"]},
    "aqua": {"held_out": ["test.json", "dev.json"]},
    "gsm_hard": {"held_out": ["gsmhardv2.jsonl"]},
    "olympiadbench": {"held_out": ["test.jsonl"]},
    "countdown": {"train": ["train.parquet"], "held_out": ["test.parquet"]},
    "humaneval": {"held_out": ["HumanEval.jsonl.gz"]},
    "mbpp": {"train": ["mbpp.jsonl"], "held_out": ["mbpp.jsonl"]},
    "code_contests": {"train": ["sandboxfusion_code_contests_20.jsonl"], "held_out": ["code_contests_test.json"]},
    "math500": {"held_out": ["test.jsonl"]},
    "mgsm": {"held_out": [f"mgsm_{language}.tsv" for language in GIVE_A_NUMBER]},
    "ifeval": {"held_out": ["input_data.jsonl"]},
}
"""Task, which is also its folder -> the files of its splits."""


def of_task(name: str, folder: Path) -> Iterator[Golds]:
    options = {split: [str(folder / file) for file in files] for split, files in FILES[name].items()}
    yield golds_of(load(name, options))


def _said(place: str, gold: Any, said: str, **reference: Any) -> Item:
    return Item(place, Problem(place, "gold", "", {"answer": gold, **reference}, "given", ""), said)


def worked_solutions(folder: Path) -> Iterator[Golds]:
    """GSM8K's worked solutions themselves: the number after "####" must be found in them and be right."""
    rows = [row for name in ("train", "test") for row in read_rows(str(folder / f"{name}.jsonl"))]
    items = [_said(place, row["answer"].rpartition("####")[2].strip(), row["answer"]) for place, row in rows]
    for verifier in ("number", "math"):
        yield Golds("gsm8k, worked solutions", verifier, len(rows), items)


def marked(name: str, file: str, column: str, verifiers: tuple[str, ...]) -> Callable[[Path], Iterator[Golds]]:
    """The gold after "####", by another verifier than the task's."""

    def golds(folder: Path) -> Iterator[Golds]:
        rows = list(read_rows(str(folder / file)))
        items = [_said(place, row[column], f"#### {row[column]}") for place, row in rows]
        for verifier in verifiers:
            yield Golds(f"{name}, after ####", verifier, len(rows), items)

    return golds


def texts_of_options(folder: Path) -> Iterator[Golds]:
    """The text of AQuA's right option, and letter and text together."""
    rows = [row for name in ("dev", "test") for row in read_rows(str(folder / f"{name}.json"))]
    items, same = [], 0
    for place, row in rows:
        letter, options = row["correct"], [option.partition(")")[2] for option in row["options"]]
        own = options["ABCDE".index(letter)]
        if sum(option.strip() == own.strip() for option in options) > 1:
            same += 1
            continue
        items.append(_said(f"{place} (text)", letter, f"<answer>{own}</answer>", choices=options))
        items.append(_said(f"{place} (both)", letter, f"<answer>({letter}) {own}</answer>", choices=options))
    yield Golds("aqua, the option's text", "math", len(rows), items, {"the text is that of another option too": same})


def bare_cases(folder: Path) -> Iterator[Golds]:
    """The golds of the cases written for the maths verifier, each as its own bare answer."""
    rows = list(read_rows(str(folder / "cases.jsonl")))
    golds = {row["gold"]: place for place, row in rows}
    items = [_said(place, gold, gold, bare=True) for gold, place in golds.items()]
    yield Golds("math_cases", "math", len(rows), items, {"the gold stands in another row too": len(rows) - len(golds)})


ALSO: dict[str, tuple[Callable[[Path], Iterator[Golds]], ...]] = {
    "gsm8k": (worked_solutions,),
    "svamp": (marked("svamp", "SVAMP.json", "Answer", ("number", "math")),),
    "gsm_hard": (marked("gsm_hard", "gsmhardv2.jsonl", "target", ("number", "math")),),
    "aqua": (texts_of_options,),
    "math_cases": (bare_cases,),
}
"""Folder -> the same golds, asked in other ways."""


def all_golds(data: Path, only: str | None) -> Iterator[Golds]:
    for name in FILES:
        if (data / name).is_dir() and only in (None, name):
            yield from of_task(name, data / name)
    for name, makers in ALSO.items():
        if (data / name).is_dir() and only in (None, name):
            for make in makers:
                yield from make(data / name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BURNISH_DATA"))
    parser.add_argument("--only", choices=sorted({*FILES, *ALSO}))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="the first 50 golds of each alone")
    add_json(parser)
    given = parser.parse_args(arguments)
    if given.data is None or not Path(given.data).is_dir():
        parser.error(f"there is no folder of data sets at {given.data}; give --data or set BURNISH_DATA")
    chosen = all_golds(Path(given.data), given.only)
    if given.quick:
        chosen = (replace(golds, items=golds.items[:QUICK]) for golds in chosen)
    results = [judge_golds(golds, given.workers) for golds in chosen]
    lines = [table(results)]
    for one in results:
        named = f"{one.data} by {one.verifier}"
        lines += [
            f"{named}, {failure['where']}: {failure['outcome']}, {failure['why']} ({failure['gold']!r})"
            for failure in one.failures[:SHOWN]
        ]
        if len(one.failures) > SHOWN:
            lines.append(f"{named}: and {len(one.failures) - SHOWN} more")
    publish(given, {"ratio": {}, "golds": [asdict(one) for one in results]}, "\n".join(lines))
    return 0 if results and not any(one.failures for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
