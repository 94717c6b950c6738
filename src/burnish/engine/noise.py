"""Counter-based noise: the uniform number for (request, position) is a pure function of both. Not for: distributions.

A trace therefore depends on its own seed and never on who else is in the batch, in which order, or on which worker.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from burnish.records import Key

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def request_seed(run_seed: int, key: Key, version: int) -> int:
    """64 bits from (run seed, problem id, sample index, policy version)."""
    text = f"{run_seed}\x1f{key.problem_id}\x1f{key.index}\x1f{version}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniforms(seeds_B: NDArray[np.uint64], positions_B: NDArray[np.uint64]) -> NDArray[np.float64]:
    """One number in [0, 1) for each (seed, position): SplitMix64's output function (Steele et al. 2014) on a counter."""
    with np.errstate(over="ignore"):
        x = seeds_B + (positions_B + np.uint64(1)) * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    unit: NDArray[np.float64] = (x >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return unit
