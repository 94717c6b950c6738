"""Does every gold answer pass its own verifier? One line for each file of a folder of data sets.

    python benchmarks/gold_check.py [--data FOLDER] [--only NAME] [--workers 2] [--json golds.json]

The folder (else $BURNISH_DATA) holds a folder for each data set, as docs/quickstart.md lays them out. For each file and verifier: how
many rows there are, how many golds were judged, how many passed, and what was left out and why. Every gold that does not pass is
named. Exits 1 where one does not, or where no file is there.

The programs of humaneval and mbpp are the files' own solutions. The contest files have none: there the gold is a program that knows
the expected outputs, which proves that each output passes its own comparison, not that it is right.

Not for: how often a verifier errs on other answers (burnish audit).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.records import Key, Problem, Verdict
from burnish.tasks import Task, load
from burnish.tasks.files import read_rows
from burnish.verify.pool import Pool

Item = tuple[str, Problem, str]
"""Where it stands, the problem, the response that must be right."""
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Golds:
    """The golds of one data set for one verifier: `rows` in its files, `left_out` (reason -> rows), and the items."""

    verifier: str
    rows: int
    items: list[Item]
    left_out: dict[str, int] = field(default_factory=dict)
    deadline_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `failures` are (where, gold as far as shown, outcome, why)."""

    data: str
    verifier: str
    rows: int
    judged: int
    passed: int
    left_out: dict[str, int]
    failures: list[tuple[str, str, str, str]]
    seconds: float


def _bare(place: str, gold: Any, **reference: Any) -> Item:
    problem = Problem(place, "gold", "", {"answer": gold, "bare": True, **reference}, "given", "")
    return place, problem, str(gold)


def _whole(place: str, gold: Any, said: str, **reference: Any) -> Item:
    return place, Problem(place, "gold", "", {"answer": gold, **reference}, "given", ""), said


def gsm8k(folder: Path) -> Iterator[Golds]:
    """The worked solutions themselves: the number after "####" must be found in them and be right."""
    rows = [row for name in ("train", "test") for row in read_rows(str(folder / f"{name}.jsonl"))]
    items = [_whole(place, row["answer"].rpartition("####")[2].strip(), row["answer"]) for place, row in rows]
    for verifier in ("number", "math"):
        yield Golds(verifier, len(rows), items)


def svamp(folder: Path) -> Iterator[Golds]:
    rows = list(read_rows(str(folder / "SVAMP.json")))
    for verifier in ("number", "math"):
        yield Golds(verifier, len(rows), [_whole(place, row["Answer"], f"#### {row['Answer']}") for place, row in rows])


def gsm_hard(folder: Path) -> Iterator[Golds]:
    rows = list(read_rows(str(folder / "gsmhardv2.jsonl")))
    for verifier in ("number", "math"):
        yield Golds(verifier, len(rows), [_whole(place, row["target"], f"#### {row['target']}") for place, row in rows])


def aqua(folder: Path) -> Iterator[Golds]:
    """The letter, the text of its option, and both, each in a box; the options go with the reference."""
    rows = [row for name in ("dev", "test") for row in read_rows(str(folder / f"{name}.json"))]
    items, same = [], 0
    for place, row in rows:
        letter, options = row["correct"], [option.partition(")")[2] for option in row["options"]]
        own = options["ABCDE".index(letter)]
        items.append(_whole(place, letter, f"The answer is \\boxed{{{letter}}}.", choices=options))
        if sum(option.strip() == own.strip() for option in options) > 1:
            same += 1  # the text is that of another letter too, so it cannot be the answer
            continue
        items.append(_whole(f"{place} (text)", letter, f"<answer>{own}</answer>", choices=options))
        items.append(_whole(f"{place} (both)", letter, f"<answer>({letter}) {own}</answer>", choices=options))
    left_out = {"the text of two options is the same, so only the letter is tried": same} if same else {}
    yield Golds("math", len(rows), items, left_out)


def olympiadbench(folder: Path) -> Iterator[Golds]:
    """Each answer of a row as a box, alone."""
    rows = list(read_rows(str(folder / "test.jsonl")))
    golds = [(place, str(gold)) for place, row in rows for gold in row["final_answer"]]
    yield Golds("math", len(rows), [_whole(place, gold, f"So \\boxed{{{gold}}}.") for place, gold in golds])


def math_cases(folder: Path) -> Iterator[Golds]:
    rows = list(read_rows(str(folder / "cases.jsonl")))
    golds = {row["gold"]: place for place, row in rows}
    items = [_bare(place, gold) for gold, place in golds.items()]
    repeated = len(rows) - len(golds)
    yield Golds("math", len(rows), items, {"the gold stands in another row too": repeated} if repeated else {})


def countdown(folder: Path) -> Iterator[Golds]:
    files = {"train": folder / "train.parquet", "held_out": folder / "test.parquet"}
    yield _of_task("countdown", {name: str(file) for name, file in files.items()}, *files.values())


def humaneval(folder: Path) -> Iterator[Golds]:
    yield _of_task("humaneval", {"held_out": str(folder / "HumanEval.jsonl.gz")}, folder / "HumanEval.jsonl.gz")


def mbpp(folder: Path) -> Iterator[Golds]:
    """Both splits that the task makes of the one file; rows 1 to 10, which show the prompt, are in neither."""
    file = str(folder / "mbpp.jsonl")
    yield _of_task("mbpp", {"train": file, "held_out": file}, folder / "mbpp.jsonl")


def code_contests(folder: Path) -> Iterator[Golds]:
    files = {"train": folder / "sandboxfusion_code_contests_20.jsonl", "held_out": folder / "code_contests_test.json"}
    yield _of_task("code_contests", {name: str(file) for name, file in files.items()}, *files.values())


DATA: dict[str, Callable[[Path], Iterator[Golds]]] = {
    "gsm8k": gsm8k,
    "svamp": svamp,
    "aqua": aqua,
    "gsm_hard": gsm_hard,
    "olympiadbench": olympiadbench,
    "math_cases": math_cases,
    "countdown": countdown,
    "humaneval": humaneval,
    "mbpp": mbpp,
    "code_contests": code_contests,
}


def _of_task(name: str, options: dict[str, Any], *files: Path) -> Golds:
    """The gold responses of a task, and what its notices say was left out of its files."""
    task: Task = load(name, options)
    problems = [*task.held_out(), *(task.train(0).take(task.train_size) if task.train_size else ())]
    where: Callable[[Problem], str] = getattr(task, "where", lambda problem: problem.id)
    items = [(where(problem), problem, task.gold(problem) or "") for problem in problems]
    rows = sum(1 for file in files for _ in read_rows(str(file)))
    left_out = {notice.rstrip("."): int(notice.partition(" ")[0].replace(",", "")) for notice in task.notices}
    other = rows - len(problems) - sum(left_out.values())
    if other:
        left_out["the task puts them in neither split"] = other
    return Golds(task.verifier, rows, items, left_out)


def check(data: str, golds: Golds, workers: int) -> Result:
    """Judge every item in worker processes."""
    began = time.perf_counter()
    failures = []
    places = {Key(place, at): (place, said) for at, (place, _, said) in enumerate(golds.items)}

    def asked() -> Iterable[tuple[Key, Problem, str]]:
        return ((Key(place, at), problem, said) for at, (place, problem, said) in enumerate(golds.items))

    with Pool(golds.verifier, workers, golds.deadline_s) as pool:
        verdicts: dict[Key, Verdict] = dict(pool.judge(asked()))
    for key, (place, said) in places.items():
        if verdicts[key].outcome != "right":
            failures.append((place, said[-80:], verdicts[key].outcome, verdicts[key].why))
    judged = len(golds.items)
    seconds = time.perf_counter() - began
    return Result(data, golds.verifier, golds.rows, judged, judged - len(failures), golds.left_out, failures, seconds)


def table(results: list[Result]) -> str:
    lines = ["| data | verifier | rows | golds judged | passed | left out |", "|---|---|---|---|---|---|"]
    for one in results:
        left_out = "; ".join(
            reason if str(count) == reason.partition(" ")[0] else f"{count}: {reason}"
            for reason, count in one.left_out.items()
        )
        lines.append(
            f"| {one.data} | {one.verifier} | {one.rows:,} | {one.judged:,} | {one.passed:,} | {left_out or '-'} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BURNISH_DATA"))
    parser.add_argument("--only", choices=DATA)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.data is None or not Path(given.data).is_dir():
        parser.error(f"there is no folder of data sets at {given.data}; give --data or set BURNISH_DATA")
    results = []
    for name, golds_of in DATA.items():
        folder = Path(given.data) / name
        if not folder.is_dir() or (given.only is not None and name != given.only):
            continue
        results += [check(name, golds, given.workers) for golds in golds_of(folder)]
    print(table(results))
    for one in results:
        for place, said, outcome, why in one.failures[:SHOWN]:
            print(f"{one.data} by {one.verifier}, {place}: {outcome}, {why} ({said!r})")
        if len(one.failures) > SHOWN:
            print(f"{one.data} by {one.verifier}: and {len(one.failures) - SHOWN} more")
    if given.json is not None:
        rows = [{name: getattr(one, name) for name in one.__slots__} for one in results]
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if results and not any(one.failures for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
