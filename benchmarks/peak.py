"""What bounds a step on this processor: the matrix product's peak, and the places one GRPO update goes through.

    python benchmarks/peak.py [--model FOLDER]

With a model, the demo's task is sampled (64 problems x 8 samples) and the places of the update's micro-batches are counted, padding
and repeated prompts included, beside those of whole rows. Not for: speed of a step (step.py).
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.learner import batch
from burnish.policy.model import load, tune_allocator
from burnish.records import Key, Sample, Tokens
from decode import requests

BUDGET = 8192


def peak(size: int, dtype: torch.dtype) -> float:
    """Median TFLOP/s of a square product."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times) / 1e12


def places(folder: str) -> None:
    """Print how many places the update of one step has, shared and whole."""
    policy = load(folder)
    asked = requests(policy, 64, 8, 96)
    prompts = {request.key: request.prompt.ids for request in asked}
    samples, steps = [], 0
    for drawn in EmbeddedEngine(policy).generate(asked):
        tokens = Tokens.join(prompts[drawn.key], drawn.ids, drawn.logprobs)
        samples.append(Sample(Key(*drawn.key), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0))
        steps = max(steps, len(drawn.ids))
    weights = {sample.origin: 1.0 for sample in samples}
    made = batch.batches(samples, weights, 0, BUDGET)
    whole = [
        len(part) * max(len(samples[row].tokens.ids) - 1 for row in part)
        for part in batch.cut([len(s.tokens.ids) - 1 for s in samples], BUDGET)
    ]
    count = sum(each.inputs_BT.numel() for each in made)
    print(f"update: {count:,} places in {len(made)} micro-batches (whole rows: {sum(whole):,})")
    print(f"        {6 * policy.parameters * count / 1e12:.2f} TFLOP, 6 for each weight and place")
    print(f"sampling: {sum(s.tokens.sampled_count for s in samples):,} tokens, {steps} decode steps for the longest")


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    given = parser.parse_args()
    tune_allocator()
    for dtype in (torch.bfloat16, torch.float32):
        print(f"{dtype}: " + ", ".join(f"{size}^2 {peak(size, dtype):.2f} TFLOP/s" for size in (512, 1024, 2048)))
    if given.model:
        places(given.model)


if __name__ == "__main__":
    main()
