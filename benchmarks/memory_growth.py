"""Memory of a training process over updates of ever new sizes, and what makes it grow: one oneDNN primitive for each shape of product.

    python benchmarks/memory_growth.py [--updates 160] [--quick] [--json]

Three processes take the same updates on a model of the demo's shape: with the places of a micro-batch as they come, with as they come
and a primitive cache of 64 (which shows whose memory it is), and rounded up as `burnish train` does it. Each row of the table is the
resident memory (MiB) after so many updates and the primitives that oneDNN had made by then. Not for: speed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import command_of, heading, machine, options, publish, say, table

CASES: dict[str, dict[str, str]] = {
    "as they come": {},
    "as they come, 64 primitives kept": {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"},
    "rounded": {},
}


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(rounded: bool, updates: int) -> None:
    """Take the updates; print the memory after each. (In a process of its own.)"""
    import torch

    from burnish.algos.recipes import recipe
    from burnish.learner.learner import Learner, Optimization
    from burnish.policy import fused_layer
    from burnish.policy.model import tune_allocator
    from burnish.records import Key, Sample, Tokens
    from shapes import made

    if not rounded:
        fused_layer.rounded_up = lambda count: count
    torch.set_num_threads(1)
    tune_allocator()
    policy, rng = made("T", uniform=False), random.Random(1)
    learner, grpo = Learner(policy, Optimization(1e-6, updates)), recipe("grpo")
    for update in range(1, updates + 1):
        samples = []
        for problem in range(rng.randint(4, 16)):
            prompt = tuple(rng.randrange(9, 300) for _ in range(rng.randint(20, 45)))
            for index in range(8):
                own = tuple(rng.randrange(9, 300) for _ in range(rng.randint(8, 90)))
                tokens = Tokens.join(prompt, own, (-5.0,) * len(own))
                advantages = (0.0,) * len(prompt) + (float(index - 3),) * len(own)
                samples.append(Sample(Key(f"p{problem}", index), tokens, advantages, 0.0, 0, 0))
        learner.update(samples, grpo.objective, grpo.weigh)
        print(f"resident,{update},{resident_mib():.1f}", flush=True)


def measured(case: str, updates: int) -> list[dict[str, Any]]:
    """Resident memory and primitives made, after each update."""
    command = [
        sys.executable,
        __file__,
        "--updates",
        str(updates),
        "--one",
        "rounded" if case == "rounded" else "plain",
    ]
    environment = {**os.environ, **CASES[case], "ONEDNN_VERBOSE": "profile_create"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"the process of the case {case!r} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    rows: list[dict[str, Any]] = []
    made = 0
    for line in done.stdout.splitlines():
        made += "create:cache_miss" in line
        if line.startswith("resident,"):
            _, update, memory = line.split(",")
            rows.append({"update": int(update), "resident_mib": float(memory), "primitives": made})
    return rows


def main() -> None:
    parser = options(__doc__, threads=False)
    parser.add_argument("--updates", type=int, default=160)
    parser.add_argument("--one", choices=("plain", "rounded"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    updates = 12 if given.quick else given.updates
    if given.one:
        watched(given.one == "rounded", given.updates)
        return
    facts = machine(1)
    result = {}
    for case in CASES:
        say(case)
        result[case] = measured(case, updates)
    shown = sorted({1, *(updates * part // 4 for part in (1, 2, 3, 4))})
    lines = [
        (case, *(f"{rows[at - 1]['resident_mib']:,.0f} ({rows[at - 1]['primitives']:,})" for at in shown))
        for case, rows in result.items()
    ]
    text = (
        f"{heading(command_of('memory_growth.py'), facts)}\nMiB resident, and in brackets the primitives made so far.\n\n"
        f"{table(('places of a micro-batch', *(f'update {at}' for at in shown)), lines)}"
    )
    grown = {case: rows[-1]["resident_mib"] - rows[0]["resident_mib"] for case, rows in result.items()}
    found = {"ratio": {}, "machine": facts, "updates": updates, "grown_mib": grown, "cases": result}
    publish(given, found, text, "memory growth")


if __name__ == "__main__":
    main()
