"""Whether guessing tokens ahead pays: what a pass costs by its places, and tokens a second with guesses and without.

    python benchmarks/drafts.py [--model FOLDER] [--draft FOLDER] [--rows 1 4 16 64] [--max-new 160] [--repeats 3] [--json FILE]

Without a model, one of the demo's shape with random weights is made, whose text hardly repeats itself: give a trained one (the demo's
`runs/demo/run/final`) for figures that mean something.

  pass    the time of a pass over N places, and the places whose time its fixed part takes: `burnish.engine.drafts.PASS` stands for it
  rows    for each number of rows: tokens a second without guesses, with what followed before ("lookup"), and with the small model of
          --draft, medians of calls in turns; how many tokens were guessed, and the share of them that were right
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from burnish.engine.cache import PagedCache, Rows
from burnish.engine.compute import Network
from burnish.engine.drafts import PASS
from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.policy.model import Policy, load, tune_allocator
from burnish.records import Request
from decode import made, requests

PLACES = (1, 2, 4, 8, 16, 32, 64, 128)


def passes(policy: Policy, repeats: int) -> dict[str, Any]:
    """Seconds of a pass over N rows of forty tokens, and its fixed part in places: least squares of relative error over the quickest of each N."""
    seconds = {}
    cache = PagedCache(2 * PLACES[-1], 32, policy.device)
    with torch.inference_mode(), policy.precision():
        network = Network(policy, cache)
        for count in PLACES:
            zeros, ones = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
            table = np.arange(2 * count, dtype=np.int32).reshape(count, 2)
            rows = Rows(40 * ones, ones, table, zeros, zeros, np.arange(count))
            times = []
            for _ in range(5 * repeats + 2):
                start = time.perf_counter()
                network.after(20 * ones, rows)
                times.append(time.perf_counter() - start)
            seconds[count] = min(times[2:])
    taken = np.array(list(seconds.values()))
    slope, fixed = np.polyfit(list(seconds), taken, 1, w=1 / taken)
    return {"seconds": seconds, "fixed_places": float(fixed / slope)}


def timed(engine: EmbeddedEngine, asked: list[Request]) -> float:
    before, start = engine.tokens_sampled, time.perf_counter()
    for _ in engine.generate(asked):
        pass
    return (engine.tokens_sampled - before) / (time.perf_counter() - start)


def by_rows(policy: Policy, draft: Policy | None, counts: list[int], max_new: int, repeats: int) -> dict[int, Any]:
    """Every way of guessing on the same requests, in turns."""
    found: dict[int, Any] = {}
    for rows in counts:
        asked = requests(policy, max(1, rows // 8), min(8, rows), max_new)
        engines = {"none": EmbeddedEngine(policy), "lookup": EmbeddedEngine(policy, options=Options(lookup=True))}
        if draft is not None:
            engines["small model"] = EmbeddedEngine(policy, draft=draft)
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(repeats + 1):  # the first is a warm-up
            for name, engine in engines.items():
                speeds[name].append(timed(engine, asked))
        found[rows] = {
            name: {
                "tokens_per_second": statistics.median(speeds[name][1:]),
                "guessed": engine.tokens_guessed / engine.tokens_sampled,
                "right": engine.guesses_right / max(1, engine.tokens_guessed),
            }
            for name, engine in engines.items()
        }
    return found


def main() -> None:
    """Print everything; --json writes it too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--max-new", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tune_allocator()
    policy = load(str(given.model), "bfloat16") if given.model else made()
    draft = load(str(given.draft), "bfloat16") if given.draft else None
    found: dict[str, Any] = {"pass": passes(policy, given.repeats)}
    found["rows"] = by_rows(policy, draft, given.rows, given.max_new, given.repeats)
    for count, seconds in found["pass"]["seconds"].items():
        print(f"a pass over {count:4} places {1e3 * seconds:9.2f} ms")
    print(f"its fixed part is that of {found['pass']['fixed_places']:.1f} places; the engine reckons with {PASS}")
    for rows, ways in found["rows"].items():
        for name, one in ways.items():
            print(
                f"{rows:4} rows, {name:12} {one['tokens_per_second']:9,.0f} tokens/s "
                f"({one['tokens_per_second'] / ways['none']['tokens_per_second']:.2f}x), {one['guessed']:.2f} guesses a token, "
                f"{one['right']:.0%} of them right"
            )
    if given.json is not None:
        given.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
