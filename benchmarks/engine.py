"""What the embedded engine does with many short answers and a long tail: speed, memory, and how both grow.

    python benchmarks/engine.py [--quick] [--json]

On a model of the demo's shape with random weights:

  workloads   sampled tokens a second, most memory in use of the cache, bytes a token, rows put by for want of pages
  growth      the same with twice the samples and with twice the length: what takes how much longer
  knee        tokens a second by the number of rows decoded together, and where twice the rows bring less than a tenth more
  shapes      calls of ever other sizes: resident memory of the process, and primitives that the library made, in processes of their
              own; beside it the same with products of the library, and with every number of rows as it is, which is what rounding them
              up avoids
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.scheduler import Pages
from burnish.policy import fused, fused_layer
from burnish.policy.model import Policy, tune_allocator
from burnish.records import Request
from report import command_of, heading, machine, options, publish, table
from shapes import chains, made, tail

SHAPES = "--shapes-only"
PRODUCTS = {"ours": "our kernel's", "rounded": "the library's, rounded up", "exact": "the library's, as they are"}
"""Whose products, and for the library's whether the number of rows is rounded up."""


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
        "bytes_a_token": engine.page_bytes / engine.page,
        "put_by": engine.preemptions,
        "recomputed": engine.tokens_recomputed,
    }


def even(policy: Policy, problems: int, samples: int, length: int) -> list[Request]:
    """Answers of exactly this length."""
    return replace(chains(policy, problems, samples, length), stop_ids=()).requests()


def uneven(policy: Policy, problems: int, samples: int, longest: int) -> list[Request]:
    """Most answers short, a few long: about one token in sixty ends an answer."""
    return tail(policy, problems, samples, longest, mean=60.0).requests()


def workloads(policy: Policy, quick: bool) -> dict[str, Any]:
    problems, longest = (16, 128) if quick else (64, 448)
    mixed = uneven(policy, problems, 8, longest)
    free = run(policy, mixed, Options())
    found: dict[str, Any] = {
        "short answers and a long tail": free,
        "the tail, a quarter of that cache": run(policy, mixed, Options(cache_bytes=int(free["cache_mib"] * 2**18))),
        "all 96 tokens": run(policy, even(policy, problems, 8, 96), Options()),
        "growth: as it is": run(policy, even(policy, problems // 2, 4, 64), Options()),
        "growth: twice the samples": run(policy, even(policy, problems // 2, 8, 64), Options()),
        "growth: twice the length": run(policy, even(policy, problems // 2, 4, 128), Options()),
    }
    return found


def knee(policy: Policy, quick: bool) -> dict[str, Any]:
    rates = {}
    for rows in (1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        asked = even(policy, max(1, rows // 8), min(8, rows), 48)
        run(policy, asked, Options(rows=rows))
        goes = 1 if quick else 9 if rows < 64 else 3  # a few rows are done in a hundredth of a second
        rates[rows] = statistics.median(
            run(policy, asked, Options(rows=rows))["tokens_per_second"] for _ in range(goes)
        )
    pairs = list(zip(rates, list(rates)[1:], strict=False))
    return {"rates": rates, "knee": next((a for a, b in pairs if rates[b] < 1.1 * rates[a]), None)}


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def shapes(policy: Policy, quick: bool) -> None:
    """Rows that end one after the other, in calls of other sizes: every number of live rows is met. Prints resident memory."""
    before = resident_mib()
    for samples in range(3, 6 if quick else 11):
        run(policy, uneven(policy, 8 if quick else 48, samples, 96), Options())
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
    parser = options(__doc__)
    parser.add_argument(SHAPES, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--products", choices=PRODUCTS, default="ours", help=argparse.SUPPRESS)
    given = parser.parse_args()
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = made("T", context=1024)  # room for the longest of the tail behind the longest prompt
    fused_layer.OURS = fused_layer.OURS and given.products == "ours"
    if given.products == "exact":
        fused.recurring = lambda n: n
    if given.shapes_only:
        shapes(policy, given.quick)
        return
    run(policy, even(policy, 8, 8, 16), Options())  # a warm-up
    found = {"workloads": workloads(policy, given.quick), "knee": knee(policy, given.quick)}
    found["shapes"] = {said: primitives(given.quick, "--products", name) for name, said in PRODUCTS.items()}
    publish(given, {"ratio": {}, "machine": facts, **found}, shown(found, facts), "engine")


def shown(found: dict[str, Any], facts: dict[str, Any]) -> str:
    """The result as a page takes it."""
    work = [
        (
            name,
            *(
                f"{one[field]:,.0f}"
                for field in ("tokens_per_second", "tokens", "cache_mib", "bytes_a_token", "put_by")
            ),
            f"{one['recomputed']:,.0f}",
        )
        for name, one in found["workloads"].items()
    ]
    knee = [(rows, f"{rate:,.0f}") for rows, rate in found["knee"]["rates"].items()]
    made_for = [
        (
            name,
            *(f"{one[field]:,.0f}" for field in ("primitives_made", "resident_before_mib", "resident_after_mib")),
        )
        for name, one in found["shapes"].items()
    ]
    headings = ("work", "tokens/s", "tokens", "cache, MiB", "bytes a token", "rows put by", "tokens computed again")
    return (
        f"{heading(command_of('engine.py'), facts)}\n{table(headings, work)}\n\n{table(('rows', 'tokens/s'), knee)}\n"
        f"Twice the rows bring less than a tenth more from {found['knee']['knee']} rows on.\n\n"
        f"{table(('numbers of rows', 'products made', 'MiB before', 'MiB after'), made_for)}"
    )


if __name__ == "__main__":
    main()
