"""Near-duplicates: MinHash signatures in bands find candidates, the exact Jaccard similarity of shingle sets decides.

Two texts are near-duplicates where |A & B| / |A | B| >= threshold, A and B their sets of word runs (words.shingles). The signatures are
`datasketch`'s (Broder 1997; the banding is Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4). Its own LSH
index keeps a Python set for every band of every row; here bands are columns of 64-bit keys on disk, sorted one at a time, so memory
grows by a few numbers a row.

Clusters are transitive: a ~ b and b ~ c puts a, b and c together, however unlike a and c are. Not for: which row of a cluster to keep.

Letters: N rows, B bands, R values a band, S shingles of a row.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from burnish.data.words import Hashes, mixed

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut: `count` bands of `rows` values. P(candidate) = 1 - (1 - J^rows)^count."""

    count: int
    rows: int

    def found(self, jaccard: float) -> float:
        """The probability that a pair of this similarity becomes a candidate."""
        return 1.0 - self.missed(jaccard)

    def missed(self, jaccard: float) -> float:
        """The probability that it does not: of a pair at or above the threshold, a false negative."""
        return float((1.0 - jaccard**self.rows) ** self.count)


def choose_bands(threshold: float, permutations: int, most_missed: float) -> Bands:
    """The longest bands, so the fewest candidates to verify, that miss a pair at the threshold at most so often.

    Bands of one value, the most thorough there are, where even those miss more.
    """
    for rows in range(permutations, 1, -1):
        bands = Bands(permutations // rows, rows)
        if bands.missed(threshold) <= most_missed:
            return bands
    return Bands(permutations, 1)


def jaccard(a: Hashes, b: Hashes) -> float:
    """|A & B| / |A | B| of two sorted sets; 0 where both are empty."""
    shared = _shared(a, b)
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


def _shared(a: Hashes, b: Hashes) -> int:
    if not len(a) or not len(b):
        return 0
    places = np.searchsorted(a, b)
    places[places == len(a)] = 0
    return int(np.count_nonzero(a[places] == b))


@dataclass(frozen=True, slots=True)
class Match:
    """The most similar row that was compared with this one, at or above the threshold."""

    row: int
    jaccard: float


@dataclass
class Clusters:
    """What was found. `members` lists every cluster of two or more rows, each in order; `matches` has an entry for each such row."""

    members: list[list[int]] = field(default_factory=list)
    matches: dict[int, Match] = field(default_factory=dict)
    verified: int = 0
    """How many pairs were compared exactly."""


class NearIndex:
    """Rows are added once, in order; `clusters` then compares them. Signatures and shingles are on disk, in a file without a name.

    `folder` is where; `seed` chooses the permutations. The same rows give the same clusters.
    """

    def __init__(self, bands: Bands, folder: Path, seed: int = 1) -> None:
        from datasketch import MinHash  # slow to import

        self.bands = bands
        self._empty = MinHash(bands.count * bands.rows, seed, hashfunc=_same, scheme="affine32")
        self._keys = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the index
        self._shingles = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._ends = array("Q", [0])
        self._sets: _Sets | None = None
        power = np.cumprod(np.full(bands.rows, 0x9E3779B97F4A7C15, np.uint64), dtype=np.uint64)
        self._power_R = power
        self._band_B = mixed(np.arange(1, bands.count + 1, dtype=np.uint64))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, shingles: Hashes, group: int = 0) -> None:
        """A row by its sorted shingles. Only rows of one group are compared. A row without shingles is like no other."""
        self._sets = None  # it looks into what grows here
        self._ends.append(self._ends[-1] + len(shingles))
        self._shingles.write(shingles.tobytes())
        if not len(shingles):
            alone = mixed(np.array([len(self)], np.uint64)) ^ np.uint64(0xA5A5A5A5A5A5A5A5)
            self._keys.write(np.broadcast_to(alone, self.bands.count).tobytes())
            return
        sketch = self._empty.copy()
        # The sketch takes 32-bit values; the shingles keep their 64 for the exact comparison.
        sketch.update_batch((shingles & np.uint64(0xFFFFFFFF)).tolist())
        values_BR = sketch.hashvalues.reshape(self.bands.count, self.bands.rows).astype(np.uint64)
        keys_B = (values_BR * self._power_R).sum(axis=1, dtype=np.uint64)
        self._keys.write(mixed(keys_B + self._band_B ^ np.uint64(group)).tobytes())

    def clusters(
        self, threshold: float, anchors: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> Clusters:
        """Every candidate pair compared exactly, and the connected rows together.

        The first `anchors` rows are not compared with each other. `progress(bands done, pairs compared)`.
        """
        found = Clusters()
        if len(self) < 2:
            return found
        self._keys.flush()
        keys_NB: Keys = np.memmap(self._keys, np.uint64, "r", shape=(len(self), self.bands.count))
        search = _Search(threshold, anchors, keys_NB, self._opened(), found)
        for band in range(self.bands.count):
            for run in _runs(np.array(keys_NB[:, band])):
                search.join(run, band)
            if progress is not None:
                progress(band + 1, found.verified)
        together: dict[int, list[int]] = {}
        for row in range(len(self)):
            together.setdefault(search.root(row), []).append(row)
        found.members = [rows for rows in together.values() if len(rows) > 1]
        return found

    def similarity(self, a: int, b: int) -> float:
        """The exact Jaccard similarity of two rows."""
        sets = self._opened()
        return jaccard(sets[a], sets[b])

    def _opened(self) -> _Sets:
        if self._sets is None:
            self._shingles.flush()
            self._sets = _Sets(self._shingles, self._ends)
        return self._sets


def _same(value: int) -> int:
    return value


def _runs(keys_N: Keys) -> Iterator[npt.NDArray[np.int64]]:
    """The row numbers, in order, of every key that two or more rows have."""
    order = np.argsort(keys_N, kind="stable")
    sorted_keys = keys_N[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))
    lengths = np.diff(np.append(starts, len(keys_N)))
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        yield order[start : start + length]


class _Sets:
    """Shingle sets by row number, read from the file."""

    def __init__(self, file: Any, ends: array[int]) -> None:
        self._ends = np.frombuffer(ends, np.uint64)
        self._all: Hashes = (
            np.memmap(file, np.uint64, "r", shape=(int(self._ends[-1]),)) if ends[-1] else np.empty(0, np.uint64)
        )

    def __getitem__(self, row: int) -> Hashes:
        return np.asarray(self._all[int(self._ends[row]) : int(self._ends[row + 1])])

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return (self._ends[rows + 1] - self._ends[rows]).astype(np.int64)

    def joined(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Hashes:
        return np.concatenate([self[int(row)] for row in rows])


class _Search:
    """Joins the rows of one bucket after another, exactly: a pair of two clusters is compared once in all, a pair of one is not."""

    def __init__(self, threshold: float, anchors: int, keys_NB: Keys, sets: _Sets, found: Clusters) -> None:
        self._threshold, self._anchors, self._keys_NB, self._sets, self._found = (
            threshold,
            anchors,
            keys_NB,
            sets,
            found,
        )
        self._parent = array("q", range(len(keys_NB)))

    def root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(self, run: npt.NDArray[np.int64], band: int) -> None:
        """Compare the rows of a bucket until they are one cluster or every pair across clusters was looked at."""
        pool: dict[int, list[int]] = {}
        for row in run.tolist():
            pool.setdefault(self.root(row), []).append(row)
        while len(pool) > 1:
            first = next(iter(pool))
            queue = pool.pop(first)
            while queue and pool:
                row = queue.pop()
                others = np.array([one for rows in pool.values() for one in rows], np.int64)
                before = list(pool)
                for other, similarity in self._like(row, others, band):
                    self._link(row, other, similarity)
                for root in before:
                    if self.root(root) == self.root(row):
                        queue += pool.pop(root)

    def _like(self, row: int, others: npt.NDArray[np.int64], band: int) -> list[tuple[int, float]]:
        """The others at or above the threshold, of those that no earlier band has compared with this row."""
        if row < self._anchors:
            others = others[others >= self._anchors]
        if band:
            others = others[~(self._keys_NB[others, :band] == self._keys_NB[row, :band]).any(axis=1)]
        own = self._sets[row]
        sizes = self._sets.sizes(others)
        # Sets of sizes s < l share at most s of l.
        possible = np.minimum(sizes, len(own)) >= self._threshold * np.maximum(sizes, len(own)) - 1e-9
        others, sizes = others[possible], sizes[possible]
        if not len(others):
            return []
        self._found.verified += len(others)
        joined = self._sets.joined(others)
        places = np.searchsorted(own, joined)
        places[places == len(own)] = 0
        shared = np.add.reduceat(own[places] == joined, np.concatenate(([0], np.cumsum(sizes)[:-1])), dtype=np.int64)
        similarity = shared / (sizes + len(own) - shared)
        return [(int(others[i]), float(similarity[i])) for i in np.flatnonzero(similarity >= self._threshold - 1e-12)]

    def _link(self, row: int, other: int, similarity: float) -> None:
        for one, its in ((row, other), (other, row)):
            known = self._found.matches.get(one)
            if known is None or similarity > known.jaccard:
                self._found.matches[one] = Match(its, similarity)
        low, high = sorted((self.root(row), self.root(other)))
        self._parent[high] = low
