"""Numbers that carry their own reduction, so that merging micro-batches, ranks or steps cannot average the wrong way.

    >>> (Mean.of([1.0, 3.0]) + Mean.of([5.0])).value
    3.0

Not for: tensors (convert first), display or storage (the journal writes `.value`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Mean:
    """A weighted mean: total / weight. Empty (weight 0) has the value NaN and merges as nothing."""

    total: float
    weight: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        listed = list(values)
        return cls(math.fsum(listed), float(len(listed)))

    @property
    def value(self) -> float:
        return self.total / self.weight if self.weight else math.nan

    def __add__(self, other: Mean) -> Mean:
        return type(self)(self.total + other.total, self.weight + other.weight)


@dataclass(frozen=True, slots=True)
class Share(Mean):
    """How many of how many: a mean of zeros and ones."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Share:
        listed = [1.0 if value else 0.0 for value in values]
        return cls(math.fsum(listed), float(len(listed)))


@dataclass(frozen=True, slots=True)
class EffectiveShare:
    """What share of a weighted sample its weights leave: (sum w)^2 / (n sum w^2); 1 where all weights are equal, 0 where all are 0."""

    total: float
    squares: float
    count: float

    @property
    def value(self) -> float:
        if not self.squares:
            return 0.0 if self.count else math.nan
        return self.total * self.total / (self.count * self.squares)

    def __add__(self, other: EffectiveShare) -> EffectiveShare:
        return EffectiveShare(self.total + other.total, self.squares + other.squares, self.count + other.count)


@dataclass(frozen=True, slots=True)
class Sum:
    """A total."""

    total: float

    @property
    def value(self) -> float:
        return self.total

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.total + other.total)


@dataclass(frozen=True, slots=True)
class Max:
    """The largest value seen."""

    most: float

    @property
    def value(self) -> float:
        return self.most

    def __add__(self, other: Max) -> Max:
        return Max(max(self.most, other.most))


@dataclass(frozen=True, slots=True)
class Min:
    """The smallest value seen."""

    least: float

    @property
    def value(self) -> float:
        return self.least

    def __add__(self, other: Min) -> Min:
        return Min(min(self.least, other.least))


Metric = Mean | EffectiveShare | Sum | Max | Min
Metrics = dict[str, Metric]
M = TypeVar("M", Mean, EffectiveShare, Sum, Max, Min)


def merge(*parts: Mapping[str, Metric]) -> Metrics:
    """Merge metric mappings; a name must carry the same reduction in every part (TypeError otherwise)."""
    merged: Metrics = {}
    for part in parts:
        for name, metric in part.items():
            if name not in merged:
                merged[name] = metric
            elif type(merged[name]) is not type(metric):
                raise TypeError(
                    f"metric {name!r} is a {type(merged[name]).__name__} here and a {type(metric).__name__} there"
                )
            else:
                merged[name] = merged[name] + metric  # type: ignore[operator]
    return merged


def values(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """The plain numbers, for the journal."""
    return {name: metric.value for name, metric in metrics.items()}
