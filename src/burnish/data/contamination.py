"""Which training rows hold a benchmark's questions: shared runs of n normalised words, by the conventions that others report.

A rule has a run length n and a coverage: the share of the benchmark question's words that stand in runs of n words which the training
row holds too. A row is contaminated where the coverage for some question is above the rule's. A question of fewer than n words has no
run; it is found where a training row is the same words from end to end. Normalisation is the field's: case, punctuation and white space
do not count (words.words without symbols).

Not for: paraphrases, translations, or the same question with every number changed; no overlap of words finds those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from burnish.data.words import Hasher, Hashes, grams, words

_FEWEST, _MOST = 8, 13  # of GPT-3's variable n
_COMMON = 0.1
"""A run that stands in more than this share of a benchmark's questions is its wording, not a question."""


class Rule(NamedTuple):
    """`n` None: the 5th percentile of the benchmark's lengths in words, at least 8 and at most 13."""

    n: int | None
    coverage: float
    source: str


RULES: dict[str, Rule] = {
    "gpt3": Rule(None, 0.0, "one shared run; Brown et al. 2020, arXiv:2005.14165, appendix C"),
    "cosmopedia": Rule(
        10, 0.5, "more than half covered by 10-grams; Ben Allal et al. 2024, cosmopedia/decontamination"
    ),
    "tulu3": Rule(8, 0.5, "more than half covered by 8-grams of one row; Lambert et al. 2024, arXiv:2411.15124"),
    "s1": Rule(8, 0.0, "one shared 8-gram; Muennighoff et al. 2025, arXiv:2501.19393, and Open-R1"),
}
DEFAULT_RULE = "tulu3"


@dataclass(frozen=True, slots=True)
class Hit:
    """The benchmark question a text holds most of. `shared` is the longest run of words in both, as normalised."""

    number: int
    coverage: float
    shared: str
    whole: bool
    """Whether the two are the same words from end to end."""
    above: tuple[int, ...]
    """Every question above the rule's coverage, this one among them."""
    wording: bool
    """Whether it is above the rule only by runs that more than a tenth of the questions hold: the benchmark's wording."""


class Benchmark:
    """The questions of one or more files, by every run of n words in them. Memory grows with the benchmark, not with what is searched."""

    def __init__(self, questions: Sequence[str], rule: Rule, numbers: bool = True) -> None:
        self._numbers = numbers
        self._hasher = Hasher()
        self._words = [words(text, symbols=False, numbers=numbers) for text in questions]
        self.coverage = rule.coverage
        self.n = rule.n or usual_length([len(found) for found in self._words])
        self.short = sum(0 < len(found) < self.n for found in self._words)
        self._whole = {tuple(found): number for number, found in reversed(list(enumerate(self._words))) if found}
        lengths = np.array([len(found) for found in self._words], np.int64)
        self._starts = np.concatenate(([0], np.cumsum(lengths)))  # of each question among all the words
        runs = [grams(self._hasher(found), self.n) for found in self._words]
        places = [np.arange(len(one), dtype=np.int64) + start for one, start in zip(runs, self._starts, strict=False)]
        hashes = np.concatenate(runs) if runs else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._hashes: Hashes = hashes[order]
        self._places: npt.NDArray[np.int64] = (np.concatenate(places) if places else np.empty(0, np.int64))[order]

    def find(self, text: str) -> Hit | None:
        """The question with the highest coverage, where that is above the rule's; of several, the first."""
        found = words(text, symbols=False, numbers=self._numbers)
        same = self._whole.get(tuple(found))
        if same is not None:
            return Hit(same, 1.0, " ".join(found), True, (same,), False)
        own = np.unique(grams(self._hasher(found), self.n))
        low = np.searchsorted(self._hashes, own, "left")
        high = np.searchsorted(self._hashes, own, "right")
        if not np.any(high > low):
            return None
        most = max(1.0, _COMMON * len(self._words))
        rare = [self._places[a:b] for a, b in zip(low, high, strict=True) if 0 < b - a <= most]
        common = [self._places[a:b] for a, b in zip(low, high, strict=True) if b - a > most]
        questions, counts = self._covered(np.concatenate([*rare, *common]))
        shares = counts / (self._starts[questions + 1] - self._starts[questions])
        best = int(np.argmax(shares))
        if shares[best] <= self.coverage:
            return None
        number = int(questions[best])
        wording = bool(common) and self._share(number, rare) <= self.coverage
        above = tuple(questions[shares > self.coverage].tolist())
        return Hit(number, float(shares[best]), self._longest(number, found), False, above, wording)

    def _covered(self, places: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The questions that runs beginning at these places stand in, and how many words of each they cover."""
        total = int(self._starts[-1])
        if 4 * self.n * len(places) < total:
            covered = np.unique((places[:, None] + np.arange(self.n)).ravel())
            return np.unique(np.searchsorted(self._starts, covered, "right") - 1, return_counts=True)
        mask = np.zeros(total, bool)  # a wording that all the questions share: sorting its places would cost more
        for k in range(self.n):
            mask[places + k] = True
        sums = np.concatenate(([0], np.cumsum(mask)))
        counts = sums[self._starts[1:]] - sums[self._starts[:-1]]
        questions = np.flatnonzero(counts)
        return questions, counts[questions]

    def _share(self, number: int, places: Sequence[npt.NDArray[np.int64]]) -> float:
        """The share of a question's words that runs beginning at these places cover."""
        if not places:
            return 0.0
        questions, counts = self._covered(np.concatenate(places))
        covered = int(counts[questions == number].sum())
        return covered / len(self._words[number])

    def _longest(self, number: int, found: Sequence[str]) -> str:
        question = self._words[number]
        match = SequenceMatcher(None, question, found, autojunk=False).find_longest_match()
        return " ".join(question[match.a : match.a + match.size])


def usual_length(lengths: Sequence[int]) -> int:
    """GPT-3's n: the 5th percentile of the lengths in words, within 8 and 13."""
    return int(np.clip(np.percentile(lengths, 5), _FEWEST, _MOST)) if lengths else _MOST
