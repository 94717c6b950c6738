"""Fault injection: mixed items with hangs and crashes among them go through a pool; every one must come back, named rightly.

    python benchmarks/pool_faults.py [--quick] [--json faults.json]

10,000 items for 2 workers, of which 1 % hang until they are killed and 1 % end their process; the others take microseconds.
Then as many that all behave, for the throughput. Prints what came back, the restarts, the latencies, and whether a worker
process was left. Exits 1 where an item is missing, wrongly named, or a worker leaked.

Not for: judging answers (the verifiers here only obey).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from burnish.records import Key, Problem, Verdict
from burnish.verify.pool import Pool
from report import add_json, publish

PROBLEM = Problem("fault/0", "fault", "", {}, "made", "")


def obey(problem: Problem, response: str) -> Verdict:
    """Hang, crash, or say who answered what."""
    if response == "hang":
        while True:
            time.sleep(1.0)
    if response == "crash":
        os._exit(1)
    return Verdict("right", 1.0, {}, response, str(os.getpid()))


def judge(pool: Pool, orders: list[str]) -> tuple[dict[Key, Verdict], float]:
    began = time.perf_counter()
    items = ((Key("item", index), PROBLEM, order) for index, order in enumerate(orders))
    verdicts = dict(pool.judge(items))
    return verdicts, time.perf_counter() - began


def run(count: int, share: float, deadline_s: float, workers: int, seed: int) -> dict[str, Any]:
    bad = round(count * share)
    orders = ["hang"] * bad + ["crash"] * bad + [str(i) for i in range(count - 2 * bad)]
    random.Random(seed).shuffle(orders)
    expected = {"hang": "timeout", "crash": "crashed"}
    with Pool("pool_faults:obey", workers, deadline_s) as pool:
        judge(pool, ["0"] * 100)  # the workers are there
        healthy, quick_s = judge(pool, [str(i) for i in range(count)])
        before = pool.statistics()
        verdicts, seconds = judge(pool, orders)
        after = pool.statistics()
    seen = {int(verdict.why) for verdict in (*healthy.values(), *verdicts.values()) if verdict.outcome == "right"}
    misnamed = [
        index
        for index, order in enumerate(orders)
        if (verdict := verdicts.get(Key("item", index))) is None
        or verdict.fault != expected.get(order)
        or (order not in expected and verdict.found != order)
    ]
    return {
        "items": count,
        "answered": len(verdicts),
        "misnamed": len(misnamed),
        "faults": dict(Counter(verdict.fault for verdict in verdicts.values() if verdict.fault)),
        "restarts": {name: after.restarts[name] - before.restarts.get(name, 0) for name in after.restarts},
        "seconds": seconds,
        "least_seconds": bad * deadline_s / workers,  # what the hangs alone take
        "latency": dict(after.latency),
        "verdicts_per_second": count / quick_s,
        "workers": workers,
        "deadline_s": deadline_s,
        "workers_left": sum(_runs(pid) for pid in seen),
        "python": sys.version.split()[0],
    }


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1,000 items")
    add_json(parser)
    parser.add_argument("--deadline", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # the workers import this file by its name
    found = run(1_000 if given.quick else 10_000, 0.01, given.deadline, given.workers, given.seed)
    text = (
        f"{found['answered']:,} of {found['items']:,} items answered, {found['misnamed']} not as they should be\n"
        f"faults {found['faults']}, restarts {found['restarts']}, workers left {found['workers_left']}\n"
        f"{found['seconds']:.1f} s, of which the hangs alone take {found['least_seconds']:.1f} s on {given.workers} workers\n"
        f"without faults {found['verdicts_per_second']:,.0f} verdicts a second"
    )
    publish(given, {"ratio": {}, **found}, text)
    good = found["answered"] == found["items"] and not found["misnamed"] and not found["workers_left"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
