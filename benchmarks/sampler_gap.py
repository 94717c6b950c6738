"""What each way of sampling costs in distance from the learner, and what it brings in speed.

    python benchmarks/sampler_gap.py [--model FOLDER] [--problems 64] [--samples 8] [--max-new 128] [--repeats 3]
                                     [--shape S] [--quick] [--json]

Without a model, one of a shape of benchmarks/shapes.py with random weights is made. For each option the same requests are sampled and
then scored by the learner, in the precision it trains in:

  gap      |learner - sampler| of the log-probabilities of the sampled tokens, nats: mean, 99th percentile, maximum
  weight   mean of exp(learner - sampler), which is 1 where importance weights undo the gap, with the half-width of its 95 % interval
  left     the share of the sample that these weights leave, (sum w)^2 / (n sum w^2)
  speed    sampled tokens a second, the median of calls in turns; and the same for one prompt with few samples, where the cost of
           reading weights is largest
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.learner.learner import Learner, Optimization
from burnish.policy.model import Policy, load, tune_allocator
from burnish.records import Request, Tokens
from report import command_of, heading, machine, options, publish, say, shortened, table
from shapes import SHAPES, Work, chains, made

KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
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


def measure(policies: dict[str, Policy], work: Work, repeats: int) -> dict[str, Any]:
    """Every option on the same requests, in turns."""
    found: dict[str, Any] = {name: {"speeds": [], "few": []} for name in OPTIONS}
    engines = {name: EmbeddedEngine(policies[kind], options=options) for name, (kind, options) in OPTIONS.items()}
    asked = work.requests()
    for turn in range(repeats + 1):  # the first is a warm-up
        for name, engine in engines.items():
            rows, speed = sample(engine, asked)
            if turn == 0:
                found[name] |= gap(engine.policy, rows)
                continue
            found[name]["speeds"].append(speed)
            found[name]["few"].append(sample(engine, asked[:FEW])[1])
        say(f"{turn}/{repeats}")
    for one in found.values():
        one["tokens_per_second"] = statistics.median(one.pop("speeds"))
        one["few_tokens_per_second"] = statistics.median(one.pop("few"))
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final")
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if given.quick:
        given.problems, given.samples, given.max_new, given.repeats = 4, 4, 24, 1
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = load(given.model) if given.model else made(given.shape, uniform=False)
    work = chains(policy, given.problems, given.samples, given.max_new)
    found = measure({name: replace(policy, compute=kind) for name, kind in KINDS.items()}, work, given.repeats)
    cells = [
        (
            name,
            *(f"{one[field]:.1e}" for field in ("mean", "p99", "max")),
            f"{one['weight']:.4f} ± {one['weight_half_width']:.4f}",
            f"{one['left']:.2%}",
            f"{one['tokens_per_second']:,.0f}",
            f"{one['few_tokens_per_second']:,.0f}",
        )
        for name, one in found.items()
    ]
    headings = ("sampled with", "mean gap", "p99", "max", "mean weight", "left", "tokens/s", f"tokens/s, {FEW} rows")
    source = f"The model of {shortened(given.model)}" if given.model else f"Shape {given.shape}, random weights"
    text = (
        f"{heading(command_of('sampler_gap.py'), facts)}\n{source}; {work.said}; medians of {given.repeats}.\n\n"
        f"{table(headings, cells)}"
    )
    mark = f"gap {'model' if given.model else given.shape}"
    publish(given, {"ratio": {}, "machine": facts, "options": found, "work": work.said}, text, mark)


if __name__ == "__main__":
    main()
