"""A mixture of data sets by weight: how many rows of each, which, and in what order. The same seed gives the same mixture.

Shares are exact: counts are rounded by largest remainders, so each is within one row of its share. Sources are spread evenly: each row
of a source gets a random place in its own stretch of the whole, so every beginning of the mixture has about the shares of the whole.
Rows are drawn without replacement, epoch after epoch, each in an order of its own. Not for: weights that change while training.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Literal, NamedTuple

import numpy as np

from burnish.errors import ConfigError
from burnish.tasks.source import epoch_order

WhenExhausted = Literal["stop", "refill"]


@dataclass(frozen=True, slots=True)
class Quotas:
    """Rows of each source. `wanted` is what the weights asked for; a source that had fewer is in `exhausted`, by its number."""

    counts: tuple[int, ...]
    wanted: tuple[int, ...]
    exhausted: tuple[int, ...]


class Pick(NamedTuple):
    """Row `row` (from 0) of source `source`, the `epoch`-th time round (from 0)."""

    source: int
    row: int
    epoch: int


def quotas(
    sizes: Sequence[int],
    weights: Sequence[float],
    size: int | None = None,
    epochs: float = 1.0,
    when_exhausted: WhenExhausted = "stop",
) -> Quotas:
    """How many rows of each source of `sizes` rows make a mixture of `size` rows.

    A source gives at most floor(epochs * its size) rows. `size` None: as many as there can be at exactly these shares. Where one cannot
    give its share: "stop" makes the whole smaller, so that the shares hold; "refill" lets the others make up for it by their weights.
    Raises ConfigError where nothing can be drawn.
    """
    caps = [floor(epochs * rows) for rows in sizes]
    if min(caps) < 1:
        raise ConfigError(f"{epochs:g} epochs of a source of {min(sizes)} rows are no row; ask for more.")
    exact = [Fraction(weight) for weight in weights]
    most = _most(caps, exact)
    if size is None:
        counts = _apportioned(most, exact)
        return Quotas(counts, counts, ())
    wanted = _apportioned(size, exact)
    exhausted = tuple(i for i, count in enumerate(wanted) if count > caps[i])
    if not exhausted:
        return Quotas(wanted, wanted, ())
    if when_exhausted == "stop":
        return Quotas(_apportioned(most, exact), wanted, exhausted)
    return Quotas(_refilled(size, exact, caps), wanted, tuple(exhausted))


def picks(sizes: Sequence[int], counts: Sequence[int], seed: int) -> Iterator[Pick]:
    """The rows of the mixture in order."""
    places, sources = [], []
    for source, count in enumerate(counts):
        generator = random.Random(_seed(seed, source, "places"))
        places.append(np.array([(k + generator.random()) / count for k in range(count)]))
        sources.append(np.full(count, source))
    if not places:
        return
    order = np.lexsort((np.concatenate(sources), np.concatenate(places)))
    rows = [_rows(size, _seed(seed, source, "rows")) for source, size in enumerate(sizes)]
    for source in np.concatenate(sources)[order].tolist():
        row, epoch = next(rows[source])
        yield Pick(source, row, epoch)


def _rows(size: int, seed: int) -> Iterator[tuple[int, int]]:
    epoch = 0
    while True:
        for row in epoch_order(size, seed, epoch):
            yield row, epoch
        epoch += 1


def _seed(seed: int, source: int, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\x1fmix\x1f{source}\x1f{purpose}".encode(), digest_size=8).digest())


def _apportioned(size: int, weights: Sequence[Fraction]) -> tuple[int, ...]:
    """`size` cut in proportion to the weights, the largest remainders rounded up, the first of equal ones."""
    total = sum(weights)
    shares = [size * weight / total for weight in weights]
    counts = [floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return tuple(counts)


def _most(caps: Sequence[int], weights: Sequence[Fraction]) -> int:
    """The largest size at which no source's share is more than it can give; rounding a share up cannot pass a whole number."""
    total = sum(weights)
    return floor(min(cap * total / weight for cap, weight in zip(caps, weights, strict=True)))


def _refilled(size: int, weights: Sequence[Fraction], caps: Sequence[int]) -> tuple[int, ...]:
    """Counts within the caps that sum to `size`, or to all there is."""
    fixed: dict[int, int] = {}
    while True:
        free = [i for i in range(len(caps)) if i not in fixed]
        left = size - sum(fixed.values())
        if not free:
            return tuple(fixed[i] for i in range(len(caps)))
        counts = dict(zip(free, _apportioned(left, [weights[i] for i in free]), strict=True))
        over = [i for i in free if counts[i] > caps[i]]
        if not over:
            return tuple(fixed.get(i, counts.get(i, 0)) for i in range(len(caps)))
        fixed |= {i: caps[i] for i in over}
