"""Whether guessing tokens ahead pays: what a pass costs by its places, and tokens a second with guesses and without.

    python benchmarks/drafts.py [--model FOLDER] [--draft FOLDER] [--rows 1 4 16 64] [--max-new 160] [--repeats 3] [--quick] [--json]

Without a model, one of the demo's shape with random weights is made, whose text hardly repeats itself: give a trained one (the demo's
`runs/demo/run/final`) for figures that mean something.

  pass    the time of a pass over N places, and the places whose time its fixed part takes: `burnish.engine.drafts.PASS` stands for it
  rows    for each number of rows: tokens a second without guesses, with what followed before ("lookup"), and with the small model of
          --draft, medians of calls in turns; how many tokens were guessed, and the share of them that were right
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from burnish.engine.cache import PagedCache, Rows
from burnish.engine.compute import Network
from burnish.engine.drafts import PASS
from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.policy.model import Policy, load, tune_allocator
from report import command_of, heading, machine, options, publish, shortened, table
from sampling import ours, rate
from shapes import chains, made

PLACES = (1, 2, 4, 8, 16, 32, 64, 128)


def passes(policy: Policy, repeats: int) -> dict[str, Any]:
    """Seconds of a pass over N rows of forty tokens, and its fixed part in places."""
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
    # Least squares of the relative error, over the quickest of each N.
    slope, fixed = np.polyfit(list(seconds), taken, 1, w=1 / taken)
    return {"seconds": seconds, "fixed_places": float(fixed / slope)}


def by_rows(policy: Policy, draft: Policy | None, counts: list[int], max_new: int, repeats: int) -> dict[int, Any]:
    """Every way of guessing on the same requests, in turns."""
    found: dict[int, Any] = {}
    for rows in counts:
        work = chains(policy, max(1, rows // 8), min(8, rows), max_new)
        engines = {"none": EmbeddedEngine(policy), "lookup": EmbeddedEngine(policy, options=Options(lookup=True))}
        if draft is not None:
            engines["small model"] = EmbeddedEngine(policy, draft=draft)
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(repeats + 1):  # the first is a warm-up
            for name, engine in engines.items():
                speeds[name].append(rate(ours(engine, work, turn)))
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
    parser = options(__doc__)
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final")
    parser.add_argument("--draft", help="the folder of a smaller model with the same vocabulary")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--max-new", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if given.quick:
        given.rows, given.max_new, given.repeats = [1, 8], 32, 1
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = load(given.model, "bfloat16") if given.model else made("T", uniform=False)
    draft = load(given.draft, "bfloat16") if given.draft else None
    cost = passes(policy, given.repeats)
    found = by_rows(policy, draft, given.rows, given.max_new, given.repeats)
    cells = [
        (
            rows,
            name,
            f"{one['tokens_per_second']:,.0f}",
            f"{one['tokens_per_second'] / ways['none']['tokens_per_second']:.2f}",
            f"{one['guessed']:.2f}",
            f"{one['right']:.0%}" if one["guessed"] else "",
        )
        for rows, ways in found.items()
        for name, one in ways.items()
    ]
    source = f"The model of {shortened(given.model)}" if given.model else "Shape T, random weights"
    headings = ("rows", "guesses", "tokens/s", "times without", "guesses a token", "right")
    text = (
        f"{heading(command_of('drafts.py'), facts)}\n{source}; medians of {given.repeats}.\n\n"
        f"{table(('places', 'ms'), [(count, f'{1e3 * seconds:.2f}') for count, seconds in cost['seconds'].items()])}\n"
        f"The fixed part of a pass is that of {cost['fixed_places']:.1f} places; the engine reckons with {PASS}.\n\n"
        f"{table(headings, cells)}"
    )
    publish(given, {"ratio": {}, "machine": facts, "pass": cost, "rows": found}, text, "drafts")


if __name__ == "__main__":
    main()
