"""What each way of sampling costs in distance from the learner, and what it brings in speed.

    python benchmarks/sampler_gap.py [--model FOLDER] [--problems 64] [--samples 8] [--max-new 128] [--repeats 3] [--json FILE]

Without a model, one of the demo's shape with random weights is made. For each option the same requests are sampled and then scored by
the learner, in the precision it trains in:

  gap      |learner - sampler| of the log-probabilities of the sampled tokens, nats: mean, 99th percentile, maximum
  weight   mean of exp(learner - sampler), which is 1 where importance weights undo the gap, with the half-width of its 95 % interval
  left     the share of the sample that these weights leave, (sum w)^2 / (n sum w^2)
  speed    sampled tokens a second, the median of calls in turns; and the same for one prompt with few samples, where the cost of
           reading weights is largest
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

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.learner.learner import Learner, Optimization
from burnish.policy.model import Policy, load, tune_allocator
from burnish.records import Request, Tokens
from decode import made, requests

OPTIONS: dict[str, tuple[str, Options]] = {
    "float32": ("float32", Options()),
    "float32, cache in bfloat16": ("float32", Options(cache_dtype=torch.bfloat16)),
    "bfloat16": ("bfloat16", Options()),
    "bfloat16, weights in int8": ("bfloat16", Options(int8=True)),
}
FEW = 4


def sample(engine: EmbeddedEngine, asked: list[Request]) -> tuple[list[Tokens], float]:
    """(the rows, tokens a second)"""
    before, start = engine.tokens_sampled, time.perf_counter()
    done = {one.key: one for one in engine.generate(asked)}
    seconds = time.perf_counter() - start
    rows = [Tokens.join(one.prompt.ids, done[one.key].ids, done[one.key].logprobs) for one in asked]
    return rows, (engine.tokens_sampled - before) / seconds


def gap(policy: Policy, rows: list[Tokens]) -> dict[str, float]:
    scored = Learner(policy, Optimization(1e-6, 1)).log_probs(rows)
    log_N = np.array(
        [
            own[t] - row.logprobs[t]
            for row, own in zip(rows, scored, strict=True)
            for t in range(len(own))
            if row.sampled[t]
        ]
    )
    weight_N, off_N = np.exp(log_N), np.abs(log_N)
    return {
        "mean": float(off_N.mean()),
        "p99": float(np.quantile(off_N, 0.99)),
        "max": float(off_N.max()),
        "weight": float(weight_N.mean()),
        "weight_half_width": float(1.96 * weight_N.std() / len(weight_N) ** 0.5),
        "left": float(weight_N.sum() ** 2 / (len(weight_N) * (weight_N**2).sum())),
        "tokens": len(log_N),
    }


def measure(policies: dict[str, Policy], problems: int, samples: int, max_new: int, repeats: int) -> dict[str, Any]:
    """Every option on the same requests, in turns."""
    found: dict[str, Any] = {name: {"speeds": [], "few": []} for name in OPTIONS}
    engines = {name: EmbeddedEngine(policies[kind], options=options) for name, (kind, options) in OPTIONS.items()}
    for turn in range(repeats + 1):  # the first is a warm-up
        for name, engine in engines.items():
            asked = requests(engine.policy, problems, samples, max_new)
            rows, speed = sample(engine, asked)
            if turn == 0:
                found[name] |= gap(engine.policy, rows)
                continue
            found[name]["speeds"].append(speed)
            found[name]["few"].append(sample(engine, asked[:FEW])[1])
    return found


def main() -> None:
    """Print everything; --json writes it too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tune_allocator()
    policies = {kind: load(str(given.model), kind) if given.model else made(kind) for kind in ("float32", "bfloat16")}
    found = measure(policies, given.problems, given.samples, given.max_new, given.repeats)
    print(f"{'':28} {'mean':>9} {'p99':>9} {'max':>9} {'weight':>17} {'left':>7} {'tokens/s':>9} {f'{FEW} rows':>9}")
    for name, one in found.items():
        weight = f"{one['weight']:.4f} ± {one['weight_half_width']:.4f}"
        print(
            f"{name:28} {one['mean']:9.2e} {one['p99']:9.2e} {one['max']:9.2e} {weight:>17} {one['left']:7.2%} "
            f"{statistics.median(one['speeds']):9,.0f} {statistics.median(one['few']):9,.0f}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
