"""Which rows repeat another: exactly, or nearly; and which of each cluster is removed because of which that is kept.

Exact: equal but for case, Unicode form and white space (records.fingerprint). Near: burnish.data.near. A row whose text is empty repeats
nothing. Not for: reading or writing rows; here a row is its number and its text.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from burnish.data.near import Bands, NearIndex, choose_bands
from burnish.data.words import BETWEEN, Hasher, digest64, numbers_of, shingles, words
from burnish.records import fingerprint

Numbers = Literal["equal", "any-order", "count", "ignore"]


@dataclass(frozen=True, slots=True)
class Likeness:
    """What counts as nearly the same.

    threshold      the least Jaccard similarity of two rows' sets of word runs
    shingle        words a run
    numbers        equal: rows whose numbers differ, or their order, are different problems; any-order: the order within a column does
                   not matter; count: a number is a word like any other; ignore: all numbers are the same word, so problems made from
                   one template are the same
    permutations   values a signature, at most: more find more and take longer
    most_missed    how often a pair right at the threshold may be missed
    """

    threshold: float = 0.8
    shingle: int = 3
    numbers: Numbers = "equal"
    permutations: int = 128
    most_missed: float = 0.01
    seed: int = 1

    @property
    def bands(self) -> Bands:
        return choose_bands(self.threshold, self.permutations, self.most_missed)


@dataclass(frozen=True, slots=True)
class Removal:
    """Row `row` goes because `kept` stays.

    `jaccard` is of these two (1.0 for exact copies). Where it is below the threshold, the two are in one cluster through others:
    `like` is then the row most similar to `row`, and `like_jaccard` how similar.
    """

    row: int
    kept: int
    reason: Literal["exact", "near"]
    jaccard: float
    like: int | None = None
    like_jaccard: float | None = None


class Duplicates:
    """`add` every row in order, then ask for `removals`. The first `anchors` rows are never removed, nor compared with each other."""

    def __init__(self, folder: Path, likeness: Likeness | None, anchors: int = 0) -> None:
        self._likeness, self._anchors = likeness, anchors
        self._index = NearIndex(likeness.bands, folder, likeness.seed) if likeness is not None else None
        self._hasher = Hasher()
        self._first: dict[bytes, int] = {}
        self._copies: dict[int, list[int]] = {}
        self._rows = array("Q")  # of the index: the number of its i-th row
        self._indexed_anchors = 0
        self.verified = 0
        self.clusters: list[int] = []
        """The size of every cluster, anchors among them."""

    def add(self, number: int, text: str) -> None:
        """A row by its number; numbers rise."""
        if not text.strip():
            return
        first = self._first.setdefault(bytes.fromhex(fingerprint(text)), number)
        if first != number:
            self._copies.setdefault(first, []).append(number)
            return
        if self._index is None or self._likeness is None:
            return
        found = words(text, numbers=self._likeness.numbers != "ignore")
        self._index.add(shingles(self._hasher(found), self._likeness.shingle), self._group(text, found))
        self._rows.append(number)
        self._indexed_anchors += number < self._anchors

    def _group(self, text: str, found: Sequence[str]) -> int:
        """A number that two rows share which may be compared."""
        assert self._likeness is not None
        if self._likeness.numbers == "equal":
            return digest64(" ".join(numbers_of(found)))
        if self._likeness.numbers == "any-order":
            return digest64(BETWEEN.join(" ".join(sorted(numbers_of(words(part)))) for part in text.split(BETWEEN)))
        return 0

    def removals(
        self, choose: Callable[[Sequence[int]], int], progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Removal]:
        """Every row that goes, cluster by cluster. `choose` names the one of a cluster that stays, where no anchor is in it."""
        clustered: set[int] = set()
        found = None
        if self._index is not None and self._likeness is not None:
            found = self._index.clusters(self._likeness.threshold, self._indexed_anchors, progress)
            self.verified = found.verified
        for members in found.members if found is not None else ():
            places = {self._rows[place]: place for place in members}
            clustered.update(places)
            of = {row: first for first in places for row in (first, *self._copies.get(first, ()))}
            kept = self._kept(sorted(of), choose)
            for row in sorted(of):
                if row == kept or row < self._anchors:
                    continue
                if of[row] == of[kept]:
                    yield Removal(row, kept, "exact", 1.0)
                    continue
                assert self._index is not None and self._likeness is not None and found is not None
                similarity = self._index.similarity(places[of[row]], places[of[kept]])
                if similarity >= self._likeness.threshold - 1e-12:
                    yield Removal(row, kept, "near", similarity)
                else:
                    match = found.matches[places[of[row]]]
                    yield Removal(row, kept, "near", similarity, self._rows[match.row], match.jaccard)
        for first, copies in self._copies.items():
            if first in clustered:
                continue
            kept = self._kept([first, *copies], choose)
            rows = [row for row in (first, *copies) if row != kept and row >= self._anchors]
            yield from (Removal(row, kept, "exact", 1.0) for row in rows)

    def _kept(self, cluster: Sequence[int], choose: Callable[[Sequence[int]], int]) -> int:
        self.clusters.append(len(cluster))
        return cluster[0] if cluster[0] < self._anchors else choose(cluster)
