"""What the embedded engine does with many short answers and a long tail: speed, memory, and how both grow.

    python benchmarks/engine.py [--quick] [--json FILE]

On a model of the demo's shape with random weights, where every answer has exactly the length it is given:

  workloads   sampled tokens a second, most memory in use of the cache, bytes a token, rows put by for want of pages
  growth      the same with twice the samples and with twice the length: what takes how much longer
  knee        tokens a second by the number of rows decoded together, and where twice the rows bring less than a tenth more
  shapes      calls of ever other sizes: resident memory of the process, and primitives that the library made, in processes of their
              own; beside it the same with every number of rows as it is, which is what rounding them up avoids
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.scheduler import Pages
from burnish.policy import fused
from burnish.policy.model import Policy, tune_allocator
from burnish.records import Request
from decode import made, requests

SHAPES, EXACT = "--shapes-only", "--exact-rows"


def run(policy: Policy, asked: list[Request], options: Options) -> dict[str, float]:
    """One call: tokens a second and what its cache came to."""
    engine = EmbeddedEngine(policy, options=options)
    most = 0
    take = Pages.take

    def noting(self: Pages, count: int) -> list[int]:
        nonlocal most
        taken = take(self, count)
        most = max(most, self.count - self.free)
        return taken

    Pages.take = noting  # type: ignore[method-assign]
    start = time.perf_counter()
    for _ in engine.generate(asked):
        pass
    seconds = time.perf_counter() - start
    Pages.take = take  # type: ignore[method-assign]
    return {
        "tokens": engine.tokens_sampled,
        "tokens_per_second": engine.tokens_sampled / seconds,
        "seconds": seconds,
        "cache_mib": most * engine.page_bytes / 2**20,
        "bytes_a_token": engine.page_bytes / options.page,
        "put_by": engine.preemptions,
        "recomputed": engine.tokens_recomputed,
    }


def tail(policy: Policy, problems: int, samples: int, longest: int) -> list[Request]:
    """Most answers short, a few long: lengths are those at which a geometric answer would end, cut at `longest`.

    Stop tokens make them end: about one token in sixty, so half of the answers are shorter than 42 tokens and one in a hundred than 276.
    """
    asked = requests(policy, problems, samples, longest)
    vocabulary = len(policy.tokenizer)
    stops = tuple(int(i) for i in np.linspace(9, vocabulary - 1, max(1, vocabulary // 60)))
    return [Request(one.key, one.prompt, type(one.sampling)(max_new=longest, stop_ids=stops, seed=1)) for one in asked]


def workloads(policy: Policy, quick: bool) -> dict[str, Any]:
    problems, longest = (16, 128) if quick else (64, 448)
    mixed, even = tail(policy, problems, 8, longest), requests(policy, problems, 8, 96)
    free = run(policy, mixed, Options())
    found: dict[str, Any] = {
        "short answers and a long tail": free,
        "the tail, a quarter of that cache": run(policy, mixed, Options(cache_bytes=int(free["cache_mib"] * 2**18))),
        "all 96 tokens": run(policy, even, Options()),
        "growth: as it is": run(policy, requests(policy, problems // 2, 4, 64), Options()),
        "growth: twice the samples": run(policy, requests(policy, problems // 2, 8, 64), Options()),
        "growth: twice the length": run(policy, requests(policy, problems // 2, 4, 128), Options()),
    }
    return found


def knee(policy: Policy, quick: bool) -> dict[str, Any]:
    rates = {}
    for rows in (1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        asked = requests(policy, max(1, rows // 8), min(8, rows), 48)
        run(policy, asked, Options(rows=rows))
        rates[rows] = run(policy, asked, Options(rows=rows))["tokens_per_second"]
    pairs = list(zip(rates, list(rates)[1:], strict=False))
    return {"rates": rates, "knee": next((a for a, b in pairs if rates[b] < 1.1 * rates[a]), None)}


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def shapes(policy: Policy, quick: bool) -> None:
    """Rows that end one after the other, in calls of other sizes: every number of live rows is met. Prints resident memory."""
    before = resident_mib()
    for samples in range(3, 6 if quick else 11):
        run(policy, tail(policy, 8 if quick else 48, samples, 96), Options())
    print(json.dumps({"resident_before_mib": before, "resident_after_mib": resident_mib()}))


def primitives(quick: bool, *more: str) -> dict[str, Any]:
    """`shapes` in a process of its own, with the library telling what it makes."""
    command = [sys.executable, __file__, SHAPES, *more, *(["--quick"] if quick else [])]
    found: dict[str, Any] = {}
    for name, verbose in (("", "0"), ("made", "2")):
        environment = {**os.environ, "ONEDNN_VERBOSE": verbose}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        if name:
            made_here = [line for line in lines if ",create:" in line and "cache_miss" in line]
            found["primitives_made"] = len(made_here)
        else:
            found |= json.loads(lines[-1])
    return found


def main() -> None:
    """Print everything; --json writes it too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument(SHAPES, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(EXACT, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    tune_allocator()
    policy = made()
    if given.exact_rows:
        fused.recurring = lambda n: n
    if given.shapes_only:
        shapes(policy, given.quick)
        return
    run(policy, requests(policy, 8, 8, 16), Options())  # a warm-up
    found = {"workloads": workloads(policy, given.quick), "knee": knee(policy, given.quick)}
    found["shapes"] = {"rows rounded up": primitives(given.quick), "rows as they are": primitives(given.quick, EXACT)}
    for name, one in found["workloads"].items():
        print(
            f"{name:36} {one['tokens_per_second']:9,.0f} tokens/s {one['seconds']:8.2f} s {one['cache_mib']:8.1f} MiB "
            f"{one['bytes_a_token']:,.0f} bytes a token, {one['put_by']:.0f} rows put by, {one['recomputed']:,.0f} tokens computed again"
        )
    for rows, rate in found["knee"]["rates"].items():
        print(f"{rows:5} rows {rate:10,.0f} tokens/s")
    print(f"knee: {found['knee']['knee']} rows")
    for name, one in found["shapes"].items():
        print(
            f"{name}: {one['primitives_made']:,} primitives, {one['resident_before_mib']:,.0f} MiB resident before and "
            f"{one['resident_after_mib']:,.0f} MiB after"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
