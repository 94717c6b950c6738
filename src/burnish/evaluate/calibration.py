"""How far a model's stated probabilities can be trusted: reliability by bins, and the expected calibration error. Pure.

A pair's probability is s(R_w - R_l): which side is "chosen" is an accident of the row, so what is judged is the confidence
max(p, 1 - p) in the side the model prefers, against whether that side was the right one.

Not for: making the probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.evaluate.statistics import mean_interval
from burnish.records import Interval

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose confidence lies in [low, high): how sure the model was, and how often it was right."""

    low: float
    high: float
    pairs: int
    confidence: float
    accuracy: Interval


def confidences(margins: Sequence[float]) -> list[tuple[float, float]]:
    """(confidence, 1.0 where right) of each R_w - R_l; a margin of 0 prefers neither, and is half right.

    >>> confidences([0.0])
    [(0.5, 0.5)]
    """
    return [
        (1.0 / (1.0 + math.exp(-min(abs(margin), 700.0))), 0.5 if margin == 0 else float(margin > 0))
        for margin in margins
    ]


def reliability(margins: Mapping[str, Sequence[float]], bins: int = BINS) -> list[Bin]:
    """Bins of equal width over [0.5, 1]; those that hold nothing are left out. `margins` are by prompt, which is the cluster."""
    edges = [0.5 + 0.5 * i / bins for i in range(bins + 1)]
    held: list[dict[str, list[tuple[float, float]]]] = [{} for _ in range(bins)]
    for cluster, values in margins.items():
        for confidence, right in confidences(values):
            held[_bin(confidence, bins)].setdefault(cluster, []).append((confidence, right))
    found = []
    for i, clusters in enumerate(held):
        pairs = [pair for values in clusters.values() for pair in values]
        if pairs:
            means = [math.fsum(right for _, right in values) / len(values) for values in clusters.values()]
            mean = math.fsum(confidence for confidence, _ in pairs) / len(pairs)
            found.append(Bin(edges[i], edges[i + 1], len(pairs), mean, mean_interval(means)))
    return found


def calibration_error(
    margins: Mapping[str, Sequence[float]], bins: int = BINS, seed: int = 0, draws: int = 1000, level: float = 0.95
) -> Interval:
    """ECE = sum over bins of (pairs in it / all pairs) |mean confidence - accuracy| (Guo et al. 2017, arXiv 1706.04599).

    The interval is a percentile bootstrap over prompts. ECE is biased upwards by noise, and resampling adds noise: the interval
    may lie above a small value, and then says no more than that these data cannot tell it from zero.
    """
    clusters = list(margins.values())
    if not clusters:
        raise ValueError("a calibration error needs at least one pair")
    table = np.zeros((len(clusters), bins, 3))  # pairs, sum of confidence, sum of right
    for row, values in enumerate(clusters):
        for confidence, right in confidences(values):
            table[row, _bin(confidence, bins)] += (1.0, confidence, right)

    def error(total: np.ndarray) -> np.ndarray:
        gap: np.ndarray = np.abs(total[..., 1] - total[..., 2]).sum(-1) / total[..., 0].sum(-1)
        return gap

    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        picked = np.bincount(generator.integers(len(clusters), size=len(clusters)), minlength=len(clusters))
        drawn.append(float(error(np.tensordot(picked, table, axes=1))))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(error(table.sum(0))), float(low), float(high))


def _bin(confidence: float, bins: int) -> int:
    return min(bins - 1, int((confidence - 0.5) * 2 * bins))
