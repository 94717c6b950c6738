"""How right the verdicts on programs are: every reference solution must pass, every changed one must fail.

    python benchmarks/verify_programs.py DATA_FOLDER [--quick] [--json] [--out docs/verify-programs.md]

DATA_FOLDER holds humaneval/, mbpp/ and code_contests/. Gold: all solutions of the files, judged by their own tests. Mutants:
each HumanEval solution with one change (`mutants.py`). A mutant changes behaviour where it gives another value than the
solution on some input: the tests' inputs and variations of them. One that passes its tests is then either equivalent on all
inputs tried, or caught by a variation only: then the tests of the data set are too weak to see it, and no verifier that
judges by them could. With --quick, a tenth of the mutants.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from burnish.records import Problem
from burnish.tasks import load
from burnish.verify import judge
from burnish.verify import load as load_verifier
from burnish.verify.format import split_response
from burnish.verify.programs import judge_program
from burnish.verify.programs.compare import same_value
from burnish.verify.programs.extract import extract_program
from burnish.verify.programs.suite import read_suite
from burnish.verify.sandbox import Limits, Policy, Sandbox
from mutants import OPERATORS, mutants
from report import add_json, publish

_VARIATIONS = 60


def tasks(data: Path) -> dict[str, Any]:
    mbpp, contests = str(data / "mbpp/mbpp.jsonl"), data / "code_contests"
    return {
        "humaneval": load("humaneval", {"held_out": str(data / "humaneval/HumanEval.jsonl.gz")}),
        "mbpp": load("mbpp", {"train": mbpp, "held_out": mbpp}),
        "code_contests": load(
            "code_contests",
            {
                "train": str(contests / "code_contests_test.json"),
                "held_out": str(contests / "sandboxfusion_code_contests_20.jsonl"),
            },
        ),
    }


def problems_of(task: Any) -> list[Problem]:
    return [*task.held_out(), *(task.train(0).take(task.train_size) if task.train_size else [])]


def gold(task: Any) -> dict[str, Any]:
    """Judge every solution of a task."""
    problems, verifier = problems_of(task), load_verifier("programs")
    outcomes: collections.Counter[str] = collections.Counter()
    failures = []
    began = time.perf_counter()
    for problem in problems:
        verdict = judge(verifier, problem, task.gold(problem))
        outcomes[verdict.outcome] += 1
        if verdict.outcome != "right":
            failures.append(f"{problem.id}: {verdict.outcome}, {verdict.why}")
    kinds = collections.Counter(problem.reference["kind"] for problem in problems)
    tests = sum(len(problem.reference.get("tests", [None])) for problem in problems)
    return {
        "problems": len(problems),
        "tests": tests,
        "kinds": dict(kinds),
        "outcomes": dict(outcomes),
        "failures": failures,
        "notices": list(task.notices),
        "seconds": time.perf_counter() - began,
    }


def vary(arguments: list[Any], number: int) -> list[Any]:
    """Arguments near the given ones, so that they are still of the kind a function takes. Deterministic."""

    def other(value: Any, depth: int) -> Any:
        pick = (number * 7 + depth * 3) % 6
        if isinstance(value, bool):
            return value if pick % 2 else not value
        if isinstance(value, int):
            return (value + pick - 2, value, abs(value) * 2 + 1, value - 1, value + 1, pick)[pick]
        if isinstance(value, float):
            return (value + 0.5, value, value * 2, value - 1.0, value + 1.0, float(pick))[pick]
        if isinstance(value, str):
            return (value[1:], value[::-1], value + value[:2], value[:-1], value.swapcase(), value * 2)[pick]
        if isinstance(value, list):
            parts = [other(part, depth + 1 + index) for index, part in enumerate(value)]
            return (parts, value[1:], value[::-1], parts + value[:1], value + value, value[:-1])[pick]
        return value

    return [other(value, index) for index, value in enumerate(arguments)]


def values(sandbox: Sandbox, suite: Any, program: str, inputs: list[Any]) -> list[str]:
    """What a program gives for each input, as lines of results; what never came is "none"."""
    job = {"mode": "calls", "source": program, "before": suite.before, "entry": suite.entry, "calls": inputs}
    ran = sandbox.run(job, limits=Limits(seconds=2.0, cpu_seconds=2.0, result_bytes=8 << 20))
    lines = ran.results.decode("utf-8", "replace").splitlines()[1:]
    return [*lines, *["none"] * (len(inputs) - len(lines))]


def differs(one: str, other: str) -> bool:
    """Whether two results differ; where the solution itself raises, the input is outside what is asked."""
    try:
        left = json.loads(one)
        right = json.loads(other)
    except ValueError:
        return '"value"' in one
    if left[0] != "value":
        return False
    return right[0] != "value" or not same_value(left[1], right[1])


def check_inputs(problem: Problem) -> list[Any]:
    """Inputs for a problem whose tests are a program: a few of the kinds its first examples use."""
    found = []
    entry = problem.reference["entry"]
    for node in ast.walk(ast.parse(problem.reference["source"])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (entry, "candidate"):
            try:
                found.append([[ast.literal_eval(argument) for argument in node.args], {}])
            except ValueError:
                continue
    text = [[["abcdefghij" * 2][:1], {}], [["hello"], {}], [[""], {}], [[[1, 2, 3, -4]], {}], [[[2, -3]], {}]]
    return found or text


def measure_mutants(task: Any, every: int) -> dict[str, Any]:
    """Judge changed solutions, and find out of those that pass whether they behave differently at all."""
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in OPERATORS}
    weak, number = [], 0
    with Sandbox(Policy.of_environment()) as sandbox:
        for problem in problems_of(task):
            suite = read_suite({**problem.reference, "seconds": 1.0})
            solution = extract_program(split_response(task.gold(problem)))
            assert solution is not None
            given = [test.input for test in suite.tests] or check_inputs(problem)
            varied = [
                [vary(args, n + i), kwargs]
                for n in range(_VARIATIONS // len(given) + 1)
                for i, (args, kwargs) in enumerate(given)
            ]
            inputs = [*given, *varied]
            original: list[str] | None = None
            for operator, source in mutants(solution, suite.entry):
                number += 1
                if number % every:
                    continue
                verdict = judge_program(suite, source, sandbox)
                counts[operator]["made"] += 1
                if verdict.outcome != "right":
                    counts[operator][verdict.outcome] += 1
                    continue
                original = original or values(sandbox, suite, solution, inputs)
                changed = values(sandbox, suite, source, inputs)
                seen = [index for index, (a, b) in enumerate(zip(original, changed, strict=True)) if differs(a, b)]
                if any(index < len(suite.tests) and suite.tests[index].how == "equal" for index in seen):
                    counts[operator]["missed"] += 1
                    weak.append(f"MISSED {problem.id}: {operator}")
                elif seen:
                    counts[operator]["weak tests"] += 1
                    weak.append(f"{problem.id}: {operator}, e.g. {json.dumps(inputs[seen[0]])[:80]}")
                else:
                    counts[operator]["equivalent"] += 1
    return {"counts": {name: dict(count) for name, count in counts.items()}, "survivors": weak}


def tables(result: dict[str, Any]) -> str:
    head = "| file | problems | tests | judged by calls / by a check / by output | reference solutions that pass |"
    lines = [head, "|---|---|---|---|---|"]
    for name, row in result["gold"].items():
        kinds = " / ".join(str(row["kinds"].get(kind, 0)) for kind in ("call", "check", "stdin"))
        right = row["outcomes"].get("right", 0)
        lines.append(f"| {name} | {row['problems']} | {row['tests']} | {kinds} | {right} of {row['problems']} |")
    columns = ("made", "wrong", "no_verdict", "equivalent", "weak tests", "missed")
    lines += ["", f"| change | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    total: collections.Counter[str] = collections.Counter()
    for name, count in result["mutants"]["counts"].items():
        total.update(count)
        lines.append(f"| {name} | {' | '.join(str(count.get(column, 0)) for column in columns)} |")
    lines.append(f"| **all** | {' | '.join(str(total.get(column, 0)) for column in columns)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the mutants")
    add_json(parser)
    parser.add_argument("--out", type=Path, help="put the tables into this page, between its markers")
    options = parser.parse_args()
    made = tasks(options.data)
    result = {
        "gold": {name: gold(task) for name, task in made.items()},
        "mutants": measure_mutants(made["humaneval"], 10 if options.quick else 1),
    }
    lines = [tables(result)]
    for name, row in result["gold"].items():
        lines += [f"{name}: {line}" for line in [*row["failures"], *row["notices"]]]
    publish(options, {"ratio": {}, **result}, "\n".join([*lines, *result["mutants"]["survivors"]]))
    if options.out:
        page = options.out.read_text()
        begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
        head, rest = page.split(begin)
        options.out.write_text(f"{head}{begin}{tables(result)}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
