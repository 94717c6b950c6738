"""Attention over rows on this processor: explicit products, the compiled kernels, and torch's scaled_dot_product_attention.

    python benchmarks/attention.py [--quick] [--json]

All compute the causal attention of burnish.policy.attention on the demo's heads (4 query heads, 2 key heads, 64 wide), forward
alone and forward with backward, on rows of 40 to 2048 tokens, about --tokens of them together as in a micro-batch. They take
turns, and the medians are printed with the library's over ours: above 1, ours is the faster. The ratio of --json is the median
over the lengths, in bfloat16 with backward, of the library over the faster of our two. The kernels are for bfloat16 alone.
EXPLICIT_MAX_TOKENS rests on the first two columns.

Not for: accuracy (a test compares the two), or GPUs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy import kernels
from burnish.policy.attention import EXPLICIT_MAX_TOKENS, EXPLICIT_MAX_TOKENS_FLOAT32, _explicit
from burnish.policy.model import tune_allocator
from report import command_of, heading, machine, options, publish, say, table

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


def compare(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Every length in both precisions, forward alone and with backward: seconds of each way."""
    results: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        say(str(dtype).removeprefix("torch."))
        for tokens in LENGTHS[::4] if given.quick else LENGTHS:
            rows = max(1, given.tokens // tokens)
            for backward in (False, True):
                explicit_s, library_s, *third = measure(rows, tokens, dtype, backward, given.seconds)
                results.append(
                    {
                        "dtype": str(dtype).removeprefix("torch."),
                        "tokens": tokens,
                        "rows": rows,
                        "backward": backward,
                        "explicit_seconds": explicit_s,
                        "library_seconds": library_s,
                        "kernel_seconds": third[0] if third else None,
                    }
                )
    return results


def fastest(row: dict[str, Any]) -> float:
    """Seconds of the faster of our two ways."""
    return float(min(row["explicit_seconds"], row["kernel_seconds"] or row["explicit_seconds"]))


def shown(results: list[dict[str, Any]]) -> str:
    """A table for each precision."""
    tables = []
    for dtype in ("bfloat16", "float32"):
        rows = []
        own = [row for row in results if row["dtype"] == dtype]
        for forward, both in zip(own[::2], own[1::2], strict=True):
            cells: list[str] = [str(forward["tokens"])]
            for row in (forward, both):
                cells.append(f"{1000 * row['library_seconds']:.3f}")
                for way in ("explicit_seconds", "kernel_seconds"):
                    took = row[way]
                    cells.append(f"{1000 * took:.3f} ({row['library_seconds'] / took:.2f})" if took else "")
            rows.append(cells)
        ways = ("library", "explicit", "kernels")
        headings = (f"{dtype}, tokens a row", *(f"{way}, forward" for way in ways), *(f"{way}, both" for way in ways))
        tables.append(table(headings, rows))
    return "\n\n".join(tables)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens together, padding included")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each comparison lasts")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.tokens = 0.02, 1024
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    results = compare(given)
    trained = [row for row in results if row["dtype"] == "bfloat16" and row["backward"]]
    ratio = {"scaled_dot_product_attention": statistics.median(r["library_seconds"] / fastest(r) for r in trained)}
    text = (
        f"{heading(command_of('attention.py'), facts)}\nMilliseconds, and in brackets the library's over ours; explicit products are in "
        f"use up to {EXPLICIT_MAX_TOKENS} tokens, {EXPLICIT_MAX_TOKENS_FLOAT32} in float32.\n\n{shown(results)}"
    )
    publish(given, {"ratio": ratio, "machine": facts, "results": results}, text, "attention")


if __name__ == "__main__":
    main()
