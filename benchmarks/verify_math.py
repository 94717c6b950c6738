"""The maths verifier beside math-verify and TRL's accuracy reward: false verdicts by class, and verdicts a second.

    python benchmarks/verify_math.py --data DIR [--quick] [--trl-python PYTHON] [--json OUT.json]

DIR holds math_cases, gsm8k and olympiadbench. math-verify runs with the settings that gave it the fewest false verdicts
(boxed first, set relations compared, 9 decimals). TRL's is its own `trl.rewards.accuracy_reward`, called in the interpreter
named by --trl-python, which needs trl and math-verify; it is left out without one. Bare answers are put in a box for both.
Each is one process of one thread; every pair is judged alone. "fresh" pairs are judged with empty caches of ours and are
all different; "again" is a second pass over the same pairs. The speed pairs hold no case that makes a system hang. A None
of TRL's (the gold could not be read) counts as not right. "TRL, $gold$" is TRL with the gold put between dollars, which it
reads better than a bare one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burnish.verify import maths
from report import add_json, publish, ratios

Judge = Callable[[str, str, bool], bool]


def ours(gold: str, answer: str, whole: bool) -> bool:
    judge = maths.judge_response if whole else maths.verify
    return judge(gold, answer).outcome == "right"


def peers() -> dict[str, Judge]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    best = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def math_verify(gold: str, answer: str, whole: bool) -> bool:
        found = parse(answer if whole else f"\\boxed{{{answer}}}", extraction_config=best)
        return bool(verify(parse(f"\\boxed{{{gold}}}", extraction_config=best), found, 9, allow_set_relation_comp=True))

    return {"math-verify": math_verify}


_TRL_SIDE = r"""
import contextlib, json, sys
out, sys.stdout = sys.stdout, sys.stderr
import time
from trl.rewards import accuracy_reward
print(json.dumps(["ready"]), file=out, flush=True)
for line in sys.stdin:
    gold, answer = json.loads(line)
    began = time.perf_counter()
    try:
        reward = accuracy_reward([[{"role": "assistant", "content": answer}]], [gold])[0]
    except Exception as error:
        reward = repr(error)
    print(json.dumps([reward, time.perf_counter() - began]), file=out, flush=True)
"""


class Trl:
    """TRL's accuracy_reward in an interpreter of its own, one pair at a time; its own time, without the pipe, is kept."""

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, "-c", _TRL_SIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.seconds = 0.0
        self.answer()  # imports are not counted

    def answer(self) -> list[Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("TRL's interpreter ended: does it have trl and math-verify?")
        found: list[Any] = json.loads(line)
        if isinstance(found[0], str) and "ImportError" in found[0]:
            raise SystemExit(f"TRL's accuracy_reward cannot run: {found[0]}")
        return found

    def __call__(self, gold: str, answer: str, whole: bool) -> bool:
        assert self.process.stdin is not None
        print(json.dumps([gold, answer if whole else f"\\boxed{{{answer}}}"]), file=self.process.stdin, flush=True)
        reward, self.seconds = self.answer()
        return reward == 1.0


def said(judge: Judge, gold: str, answer: str, whole: bool) -> bool:
    try:
        return judge(gold, answer, whole)
    except Exception:  # noqa: BLE001 - another system's failure is its verdict: not right
        return False


def table(judges: dict[str, Judge], rows: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """class -> system -> [false positives, false negatives, cases]."""
    result: dict[str, dict[str, list[int]]] = {}
    for name, judge in judges.items():
        for row in rows:
            right = said(judge, row["gold"], row["answer"], row["class"].startswith("response"))
            for kind in (row["class"], "all"):
                cell = result.setdefault(kind, {}).setdefault(name, [0, 0, 0])
                cell[0] += right and not row["expected"]
                cell[1] += row["expected"] and not right
                cell[2] += 1
    return result


def real_pairs(data: Path, count: int) -> list[tuple[str, str, bool]]:
    """Distinct pairs of real golds with right, wrong and response-form answers, half of each file."""
    generator = random.Random(7)
    gsm, olympiad = [], []
    for line in (data / "gsm8k" / "example_model_solutions.jsonl").open():
        row = json.loads(line)
        gold = row["ground_truth"].rsplit("A: ", 1)[1].strip()
        gsm += [
            (
                gold,
                f"{row[model]['solution'].rsplit('A: ', 1)[0]}\\boxed{{{row[model]['solution'].rsplit('A: ', 1)[-1]}}}",
                True,
            )
            for model in ("6b_finetuning", "175b_verification")
        ]
    golds = [
        answer for line in (data / "olympiadbench" / "test.jsonl").open() for answer in json.loads(line)["final_answer"]
    ]
    golds = [gold.strip("$. ") for gold in golds if gold.count("$") in (0, 2)]
    for gold in golds:
        olympiad += [(gold, gold.replace("\\frac", "\\dfrac") + " ", False), (gold, generator.choice(golds), False)]
        olympiad.append((gold, f"So the answer is $\\boxed{{{gold}}}$.", True))
    generator.shuffle(gsm)
    generator.shuffle(olympiad)
    pairs = list(dict.fromkeys([*gsm[: count // 2], *olympiad[: count // 2]]))
    generator.shuffle(pairs)
    return pairs


def speed(judge: Judge, pairs: list[tuple[str, str, bool]]) -> dict[str, float]:
    times = []
    for gold, answer, whole in pairs:
        began = time.perf_counter()
        said(judge, gold, answer, whole)
        times.append(judge.seconds if isinstance(judge, Trl) else time.perf_counter() - began)
    times.sort()
    return {
        "per_second": len(times) / sum(times),
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "max_ms": times[-1] * 1e3,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("BURNISH_DATA", "shared/data")))
    parser.add_argument("--quick", action="store_true", help="fewer pairs, and no cases that make others hang")
    parser.add_argument("--trl-python", help="an interpreter that has trl and math-verify")
    add_json(parser)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in (arguments.data / "math_cases" / "cases.jsonl").open()]
    if arguments.quick:
        rows = [row for row in rows if row["class"] != "pathological"]
    pairs = real_pairs(arguments.data, 300 if arguments.quick else 1_000)
    judges: dict[str, Judge] = {"burnish": ours, **peers()}
    if arguments.trl_python:
        judges["TRL"] = trl = Trl(arguments.trl_python)
        judges["TRL, $gold$"] = lambda gold, answer, whole: trl(f"${gold.strip('$ ')}$", answer, whole)
    for judge in judges.values():
        said(judge, "x+1", "1+x", False)  # imports are not counted
    maths.clear_caches()
    rates = {"burnish, fresh": speed(ours, pairs), "burnish, again": speed(ours, pairs)}
    for name in [name for name in judges if name in ("math-verify", "TRL")]:
        rates[name] = speed(judges[name], pairs)
    found = table(judges, rows)
    lines = [
        f"{platform.python_version()}, {platform.machine()}, {len(rows)} cases, {len(pairs)} pairs",
        f"{'false positives/negatives':<18}" + "".join(f"{name:>16}" for name in judges),
    ]
    for kind, cells in found.items():
        lines.append(f"{kind:<18}" + "".join(f"{f'{cell[0]}/{cell[1]} of {cell[2]}':>16}" for cell in cells.values()))
    for name, speeds in rates.items():
        lines.append(f"{name:<18}" + "  ".join(f"{key} {value:,.3f}" for key, value in speeds.items()))
    fresh = rates["burnish, fresh"]["per_second"]
    ratio = {name: fresh / rates[name]["per_second"] for name in ("math-verify", "TRL") if name in rates}
    lines.append("ratio on fresh pairs: " + ratios(ratio))
    result = {
        "ratio": ratio,
        "table": found,
        "rates": rates,
        "python": sys.version,
        "cases": len(rows),
        "pairs": len(pairs),
    }
    publish(arguments, result, "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
