"""GSM8K's test split, four stored answers each: how long it takes to load and judge them, and whether the labels agree.

    python benchmarks/judge_gsm8k.py [--data FOLDER] [--verifier number] [--workers 2] [--quick] [--json]

FOLDER holds test.jsonl and example_model_solutions.jsonl as their authors publish them (else $BURNISH_DATA/gsm8k): 1,319 questions with
the answers of four models, labelled right or wrong by them. Prints rows, seconds and rate for loading and for judging, how many verdicts
agree with their labels, and every one that does not. `--quick` takes the first 100 questions; `--json` prints one object. Exits 1 where a
verdict disagrees with its label.

Not for: figures of a model (burnish eval), or other verifiers' errors (burnish audit).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.records import Key, Problem, Verdict
from burnish.tasks import load
from burnish.tasks.files import read_rows
from burnish.verify import identity
from burnish.verify.pool import Pool
from report import add_json, publish

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
Stored = tuple[Key, Problem, str, bool]
"""(problem and model, the problem, the stored answer, its label)"""


def read(folder: Path, questions: int | None) -> list[Stored]:
    """Every stored answer beside the problem it answers, joined by what the question says."""
    task = load("gsm8k", {"held_out": str(folder / "test.jsonl")})
    problems = {problem.question: problem for problem in task.held_out()}
    stored: list[Stored] = []
    for number, (place, row) in enumerate(read_rows(str(folder / "example_model_solutions.jsonl"))):
        if questions is not None and number >= questions:
            break
        problem = problems.get(row["question"].strip())
        if problem is None:
            raise DataError(f"{place}: no row of test.jsonl asks this; give both files of one version.")
        for index, model in enumerate(MODELS):
            answer = row[model]
            stored.append((Key(problem.id, index), problem, answer["solution"], answer["is_correct"]))
    return stored


def compare(stored: list[Stored], verdicts: dict[Key, Verdict]) -> dict[str, Any]:
    """How the verdicts stand to the labels."""
    disagree = [
        {
            "problem": key.problem_id,
            "model": MODELS[key.index],
            "label": "right" if label else "wrong",
            "verdict": verdicts[key].outcome,
            "found": verdicts[key].found,
            "gold": problem.reference["answer"],
            "why": verdicts[key].why,
        }
        for key, problem, _, label in stored
        if verdicts[key].outcome != ("right" if label else "wrong")
    ]
    return {
        "questions": len({key.problem_id for key, *_ in stored}),
        "answers": len(stored),
        "labelled_right": sum(label for *_, label in stored),
        "judged_right": sum(verdict.outcome == "right" for verdict in verdicts.values()),
        "agree": len(stored) - len(disagree),
        "disagree": disagree,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    given_data = os.environ.get("BURNISH_DATA")
    parser.add_argument("--data", type=Path, default=Path(given_data) / "gsm8k" if given_data else None)
    parser.add_argument("--verifier", default="number")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    add_json(parser)
    given = parser.parse_args(arguments)
    if given.data is None or not given.data.is_dir():
        parser.error(f"there is no folder at {given.data}; give --data or set BURNISH_DATA")
    began = time.perf_counter()
    stored = read(given.data, 100 if given.quick else None)
    loaded = time.perf_counter()
    with Pool(given.verifier, given.workers) as pool:
        verdicts = dict(pool.judge((key, problem, response) for key, problem, response, _ in stored))
    ended = time.perf_counter()
    result: dict[str, Any] = {
        "ratio": {},
        "verifier": identity(given.verifier),
        "workers": given.workers,
        **compare(stored, verdicts),
        "seconds": {"loading": loaded - began, "judging": ended - loaded},
        "answers_per_second": len(stored) / (ended - loaded),
    }
    judging = ended - loaded
    lines = [
        f"{result['questions']:,} questions, {result['answers']:,} answers: loaded in {loaded - began:.2f} s; judged by "
        f"{result['verifier']} with {given.workers} workers, their start included, in {judging:.2f} s "
        f"({result['answers_per_second']:,.0f} a second).",
        f"{result['labelled_right']:,} labelled right, {result['judged_right']:,} judged right; {result['agree']:,} of "
        f"{result['answers']:,} verdicts agree with their labels.",
    ]
    lines += [
        f"{one['problem']} by {one['model']}: labelled {one['label']}, {one['verdict']}: {one['why']} (found {one['found']!r})"
        for one in result["disagree"]
    ]
    publish(given, result, "\n".join(lines))
    return 1 if result["disagree"] else 0


if __name__ == "__main__":
    sys.exit(main())
