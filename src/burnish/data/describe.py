"""What a data set holds, column by column: types, lengths, repeats, kinds of answers, scripts, and characters that look like damage.

Not for: judging whether an answer is right (burnish.verify), or removing rows.
"""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import regex

from burnish.data.words import digest64, text_of, words

_BINS = 12

_ODD: tuple[tuple[str, Any], ...] = (
    ("replacement character", regex.compile("\ufffd")),
    ("wrongly decoded UTF-8", regex.compile(r"â€|Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|ï»¿")),
    ("control character", regex.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")),
    ("invisible character", regex.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")),
    ("private use character", regex.compile(r"\p{Co}")),
    ("half of a character pair", regex.compile(r"[\ud800-\udfff]")),
    ("Latin and Cyrillic in one word", regex.compile(r"\p{Latin}\p{Cyrillic}|\p{Cyrillic}\p{Latin}")),
    ("HTML", regex.compile(r"&(?:amp|lt|gt|quot|nbsp|#\d+);|</?(?:br|p|div|span|img|table)\b[^>]*>", regex.I)),
)
_SCRIPTS = (
    "Latin",
    "Cyrillic",
    "Greek",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Arabic",
    "Hebrew",
    "Devanagari",
    "Thai",
)
_LETTERS = [(name, regex.compile(rf"\p{{{name}}}")) for name in _SCRIPTS]
_LETTER = regex.compile(r"\p{L}")

_BOXED = regex.compile(r"\\boxed\s*(\{(?:[^{}]|(?1))*\})")
_TAGGED = regex.compile(r"<answer>(.*?)</answer>", regex.S)
_KINDS: tuple[tuple[str, Any], ...] = (
    ("whole number", regex.compile(r"[-+−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)\.?")),
    ("decimal", regex.compile(r"[-+−]?\$?(?:\d{1,3}(?:,\d{3})+|\d*)\.\d+(?:e[-+]?\d+)?", regex.I)),
    ("percentage", regex.compile(r"[-+−]?\d[\d.,]*\s*\\?%")),
    ("fraction", regex.compile(r"[-+−]?(?:\d+\s*/\s*\d+|\\[dt]?frac\s*\{[-\d]+\}\s*\{[-\d]+\})")),
    ("choice letter", regex.compile(r"\(?[A-J]\)?\.?")),
    ("yes or no", regex.compile(r"yes|no|true|false", regex.I)),
    ("tuple, set or interval", regex.compile(r"(?:\\left)?[\[({\\].*,.*[\])}]", regex.S)),
    ("formula", regex.compile(r"(?:(?=.*[\\^=_+*/$-]).*)", regex.S)),
)


@dataclass
class Column:
    """What was seen of one column. `tokens_of` counts a text's tokens where a model's tokenizer was given."""

    name: str
    tokens_of: Callable[[str], int] | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    characters: array[int] = field(default_factory=lambda: array("Q"))
    words: array[int] = field(default_factory=lambda: array("Q"))
    tokens: array[int] = field(default_factory=lambda: array("Q"))
    odd: dict[str, tuple[int, str]] = field(default_factory=dict)
    scripts: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    _digests: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, value: Any, place: str, answer: bool = False) -> None:
        """One row's value; `answer` where the column holds gold answers."""
        self.kinds[kind_of(value)] += 1
        text = text_of(value)
        if answer:
            self.answers[answer_kind(text)] += 1
        if not text.strip():
            self.empty += 1
            return
        plain = " ".join(text.split())
        self._digests.append(digest64(plain))
        if not isinstance(value, str | list | tuple):
            return
        self.characters.append(len(text))
        self.words.append(len(words(text)))
        if self.tokens_of is not None:
            self.tokens.append(self.tokens_of(text))
        self.scripts[script_of(text)] += 1
        for name in oddities(text):
            count, first = self.odd.get(name, (0, place))
            self.odd[name] = (count + 1, first)

    def report(self, rows: int) -> dict[str, Any]:
        """Plain values for JSON. `missing` counts rows without the column, `repeats` rows that say what an earlier one said."""
        lengths = {"characters": self.characters, "words": self.words, "tokens": self.tokens}
        distinct = len(np.unique(np.frombuffer(self._digests, np.uint64))) if self._digests else 0
        return {
            "kinds": dict(self.kinds.most_common()),
            "missing": rows - self.kinds.total(),
            "empty": self.empty,
            "distinct": distinct,
            "repeats": len(self._digests) - distinct,
            "lengths": {name: summary(values) for name, values in lengths.items() if values},
            "scripts": dict(self.scripts.most_common()),
            "odd": {name: {"rows": count, "first": first} for name, (count, first) in self.odd.items()},
            "answers": dict(self.answers.most_common()),
        }


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {
        str: "text",
        int: "whole number",
        float: "decimal",
        list: "list",
        tuple: "list",
        dict: "object",
        bytes: "bytes",
    }
    return names.get(type(value), type(value).__name__)


def answer_kind(text: str) -> str:
    """What form a gold answer has: that after "####", in the last \\boxed{}, in <answer> tags, or the whole of a short one.

    >>> answer_kind("She has 3 + 4 = 7.\\n#### 7"), answer_kind("1/2"), answer_kind("Paris")
    ('whole number', 'fraction', 'text')
    """
    final = _final(text)
    if not final:
        return "empty"
    for name, pattern in _KINDS[:-1]:
        if pattern.fullmatch(final):
            return name
    if len(final.split()) > 12:
        return "long text"
    return _KINDS[-1][0] if _KINDS[-1][1].fullmatch(final) else "text"


def _final(text: str) -> str:
    if "####" in text:
        return text.rpartition("####")[2].strip()
    for pattern in (_BOXED, _TAGGED):
        found = pattern.findall(text)
        if found:
            return str(found[-1]).strip().removeprefix("{").removesuffix("}").strip()
    return text.strip().strip("$").strip()


def oddities(text: str) -> list[str]:
    """Which kinds of damage or trickery a text seems to have."""
    if text.isascii():
        if text.isprintable() and "&" not in text and "<" not in text:
            return []
        return [name for name, pattern in (_ODD[2], _ODD[-1]) if pattern.search(text)]
    found = [name for name, pattern in _ODD if pattern.search(text)]
    if not unicodedata.is_normalized("NFC", text):
        found.append("not in Unicode's composed form")
    return found


def script_of(text: str) -> str:
    """The script most of its letters are of; "none" without letters."""
    if text.isascii():
        return "Latin" if any(character.isalpha() for character in text) else "none"
    letters = len(_LETTER.findall(text))
    if not letters:
        return "none"
    counts = {name: len(pattern.findall(text)) for name, pattern in _LETTERS}
    best = max(counts, key=lambda name: counts[name])
    return best if 2 * counts[best] >= letters else "mixed or other"


def summary(values: Sequence[int]) -> dict[str, Any]:
    """Least, 5 %, median, mean, 95 %, most; and a histogram."""
    numbers = np.array(values, np.float64)
    p5, median, p95 = np.percentile(numbers, (5, 50, 95))
    return {
        "least": int(numbers.min()),
        "p5": float(p5),
        "median": float(median),
        "mean": float(numbers.mean()),
        "p95": float(p95),
        "most": int(numbers.max()),
        "total": int(numbers.sum()),
        "histogram": histogram(numbers),
    }


def histogram(numbers: Any) -> list[dict[str, int]]:
    """Counts in at most a dozen bins of a round width; the last holds everything above the 99th percentile too.

    A bin is {"from": first value, "to": last value, "rows": how many}.
    """
    low, high = int(np.min(numbers)), int(np.percentile(numbers, 99))
    width = _round_up((high - low + 1) / _BINS)
    start = low // width * width
    bins = min(_BINS, (high - start) // width + 1)
    which = np.minimum((np.asarray(numbers, np.int64) - start) // width, bins - 1)
    counts = np.bincount(which, minlength=bins)
    ends = [
        *range(start + width - 1, start + width * bins - 1, width),
        max(int(np.max(numbers)), start + width * bins - 1),
    ]
    return [{"from": start + i * width, "to": ends[i], "rows": int(counts[i])} for i in range(bins)]


def _round_up(value: float) -> int:
    """1, 2, 5, 10, 20, ...: the least that is not below the value."""
    if value <= 1:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= value - 1e-9))
