"""Attention over rows on this processor: explicit products, the compiled kernels, and torch's scaled_dot_product_attention.

    python benchmarks/attention.py [--json attention.json]

All compute the causal attention of burnish.policy.attention on the demo's heads (4 query heads, 2 key heads, 64 wide), forward
alone and forward with backward, on rows of 40 to 2048 tokens, about --tokens of them together as in a micro-batch. They take
turns, and the medians are printed with the library's over ours: above 1, ours is the faster. The kernels are for bfloat16 alone.
EXPLICIT_MAX_TOKENS rests on the first two columns.

Not for: accuracy (a test compares the two), or GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy import kernels
from burnish.policy.attention import EXPLICIT_MAX_TOKENS, EXPLICIT_MAX_TOKENS_FLOAT32, _explicit
from burnish.policy.model import tune_allocator
from step import machine

LENGTHS = (40, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
QUERY_HEADS, KEY_HEADS, WIDTH = 4, 2, 64
SCALE = WIDTH**-0.5


def explicit(query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
    return _explicit(query_BHTD, key_BKTD, value_BKTD, SCALE, None, None)


def library(query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(
        query_BHTD, key_BKTD, value_BKTD, is_causal=True, scale=SCALE, enable_gqa=True
    )


def compiled(rows: int, tokens: int, backward: bool) -> Callable[[], None] | None:
    """The kernels on as many rows, laid end to end; None where there are none."""
    call = kernels.library()
    if call is None:
        return None
    H, K, D, N = QUERY_HEADS, KEY_HEADS, WIDTH, rows * tokens
    generator = torch.Generator().manual_seed(tokens)
    turned, qkv, upstream = (
        torch.randn(N, heads * D, generator=generator).to(torch.bfloat16) for heads in (H + K, H + 2 * K, H)
    )
    spans = torch.tensor([[0, 0, row * tokens, tokens] for row in range(rows)], dtype=torch.int32)
    where = (rows, torch.arange(rows + 1, dtype=torch.int32), spans, H, K, D)
    out, lse, grad = torch.empty(N, H * D, dtype=torch.bfloat16), torch.empty(N, H), torch.empty_like(qkv)

    def once() -> None:
        call.attend(*where, turned, qkv, SCALE, 0, out, lse)
        if backward:
            call.attend_backward(*where, turned, qkv, SCALE, 0, lse, upstream, grad)

    return once


def medians(sides: Sequence[Callable[[], None]], seconds: float) -> list[float]:
    """Median seconds of a call of each side; they take turns for about `seconds`, at least five times each."""
    for side in sides:
        side()
    spent: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + seconds
    while len(spent[0]) < 5 or time.perf_counter() < end:
        for side, times in zip(sides, spent, strict=True):
            began = time.perf_counter()
            side()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in spent]


def measure(rows: int, tokens: int, dtype: torch.dtype, backward: bool, seconds: float) -> list[float]:
    """Seconds of explicit, library and, in bfloat16, kernels on `rows` rows of `tokens` tokens."""
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(rows, heads, tokens, WIDTH) for heads in (QUERY_HEADS, KEY_HEADS, KEY_HEADS)]
    inputs = [torch.randn(shape, generator=generator).to(dtype).requires_grad_(backward) for shape in shapes]
    upstream = torch.randn(shapes[0], generator=generator).to(dtype)

    def side(attend: Callable[..., Tensor]) -> Callable[[], None]:
        def once() -> None:
            with torch.set_grad_enabled(backward):
                output = attend(*inputs)
                if backward:
                    torch.autograd.grad(output, inputs, upstream)

        return once

    third = compiled(rows, tokens, backward) if dtype is torch.bfloat16 else None
    return medians([side(explicit), side(library), *([third] if third is not None else [])], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens together, padding included")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each comparison lasts")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="also write everything here")
    args = parser.parse_args()
    facts = machine(args.threads)
    torch.set_num_threads(args.threads)
    tune_allocator()
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, torch {facts['torch']}, ", end="")
    print(f"bfloat16 by {', '.join(facts['bfloat16']) or 'no unit'}; load average {facts['load_average_at_start']:.1f}")
    print(
        f"milliseconds; explicit products are in use up to {EXPLICIT_MAX_TOKENS} tokens, {EXPLICIT_MAX_TOKENS_FLOAT32} in float32\n"
    )
    results: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        print(f"{str(dtype).removeprefix('torch.'):18}{'forward':^50}{'forward and backward':^50}")
        print(f"{'tokens':>8}{'rows':>8}  " + f"{'library':>10}{'explicit':>10}{'':>8}{'kernels':>10}{'':>8}    " * 2)
        for tokens in LENGTHS:
            rows = max(1, args.tokens // tokens)
            line = f"{tokens:8}{rows:8}  "
            for backward in (False, True):
                ours, theirs, *third = measure(rows, tokens, dtype, backward, args.seconds)
                line += f"{1000 * theirs:10.3f}{1000 * ours:10.3f}{theirs / ours:7.2f}x"
                line += f"{1000 * third[0]:10.3f}{theirs / third[0]:7.2f}x    " if third else " " * 22
                results.append(
                    {
                        "dtype": str(dtype).removeprefix("torch."),
                        "tokens": tokens,
                        "rows": rows,
                        "backward": backward,
                        "explicit_seconds": ours,
                        "library_seconds": theirs,
                        "kernel_seconds": third[0] if third else None,
                    }
                )
            print(line.rstrip(), flush=True)
        print()
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": facts, "results": results}, indent=1))


if __name__ == "__main__":
    main()
