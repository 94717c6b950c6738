"""What this machine can do at most: matrix products and reading memory, measured now. Not for: what a step makes of it (bench.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy import fused_layer, kernels

MOST_FLOP = 4e10
"""A product is measured on fewer rows where more would take longer than this."""

FEWEST_ROWS = 64
SIZES_MIB = (1, 8, 64, 512)
"""Working sets for the bandwidth: inside a core's cache, inside the shared one, about as large, and memory for sure."""


def best(call: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest call, of at least three and for about `seconds`: a ceiling is what was reached once."""
    call()
    fastest, end, count = float("inf"), time.perf_counter() + seconds, 0
    while count < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        fastest, count = min(fastest, time.perf_counter() - began), count + 1
    return fastest


def product(rows: int, inner: int, outer: int, dtype: torch.dtype, seconds: float = 0.1, device: str = "cpu") -> float:
    """FLOP/s of [rows x inner] x [inner x outer], with the weights laid out for the product where the library can do that."""
    rows = max(FEWEST_ROWS, min(rows, int(MOST_FLOP / (2 * inner * outer))))
    left, weight = (torch.randn(size, device=device).to(dtype) for size in ((rows, inner), (outer, inner)))
    with torch.inference_mode():
        ways: list[Callable[[], object]] = [lambda: F.linear(left, weight)]
        if dtype is torch.bfloat16 and device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
            packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
            ways.append(lambda: torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], ""))
            if kernels.library() is not None and fused_layer.OURS and inner % 2 == 0:
                ours = fused_layer.Product([weight], [None])
                ways.append(lambda: ours(left))
        return 2 * rows * inner * outer / min(best(_awaited(way, device), seconds) for way in ways)


def bandwidth(mebibytes: int, seconds: float = 0.1, device: str = "cpu") -> float:
    """Bytes a second of reading so large a tensor once."""
    numbers = torch.ones(mebibytes << 18, device=device)
    return 4 * numbers.numel() / best(_awaited(lambda: numbers.sum(), device), seconds)


def _awaited(call: Callable[[], object], device: str) -> Callable[[], object]:
    if device == "cpu":
        return call

    def both() -> None:
        call()
        torch.cuda.synchronize()

    return both


@dataclass
class Ceilings:
    """Measures each ceiling when it is first asked for.

    seconds  how long each measurement lasts
    """

    device: str = "cpu"
    seconds: float = 0.1
    products: dict[tuple[int, int, int, torch.dtype], float] = field(default_factory=dict)
    bandwidths: dict[int, float] = field(default_factory=dict)

    def flops(self, rows: int, inner: int, outer: int, dtype: torch.dtype) -> float:
        """FLOP/s of a product of this shape."""
        key = (rows, inner, outer, dtype)
        if key not in self.products:
            self.products[key] = product(*key, self.seconds, self.device)
        return self.products[key]

    def read(self, working_set: float) -> float:
        """Bytes a second of reading what lies in a working set of so many bytes, again and again."""
        size = next((size for size in SIZES_MIB if size << 20 >= working_set), SIZES_MIB[-1])
        if size not in self.bandwidths:
            self.bandwidths[size] = bandwidth(size, self.seconds, self.device)
        return self.bandwidths[size]
