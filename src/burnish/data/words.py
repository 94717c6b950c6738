"""A text as normalised words, and runs of words as 64-bit numbers that can be compared a million at a time.

Normalised: Unicode NFKC and casefold; a number is one word ("1,000" is "1000"), a word keeps its marks and loses its apostrophes, and a
character of a script that is written without spaces is a word of its own. Punctuation is dropped. With `symbols`, what changes the
meaning of a formula stays, each sign a word: + - * / = < ^ % $ and every Unicode symbol; a hyphen between two letters is punctuation.

Not for: tokens of a model, or equality of two whole texts (records.fingerprint).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

Hashes = npt.NDArray[np.uint64]

NUMBER_WORD = "0"
"""What every number reads as where numbers do not count."""

BETWEEN = "\x1f"
"""Stands between the texts of two columns; white space to everything here."""

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_NUMBER = r"\p{Nd}{1,3}(?:,\p{Nd}{3})+(?!\p{Nd})(?:\.\p{Nd}+)?|\p{Nd}+(?:\.\p{Nd}+)?"
_LETTERS = rf"[[\p{{L}}\p{{M}}\p{{N}}_]--[{_SPACELESS}]]+(?:['’][[\p{{L}}\p{{M}}]--[{_SPACELESS}]]+)*"
_WORD = rf"{_NUMBER}|{_LETTERS}|[{_SPACELESS}]\p{{M}}*"
_SIGN = r"[\p{S}/*%\\#&@!]|(?<!\p{L})[-‐‑–−]|[-‐‑–−](?!\p{L})"
_ASCII_WORD = r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\w+(?:'[a-z]+)*"
_ASCII_SIGN = r"[$+<=>^`|~/*%\\#&@!]|(?<![a-z])-|-(?![a-z])"
_WORDS = regex.compile(_WORD, regex.V1)
_WORDS_AND_SIGNS = regex.compile(f"{_WORD}|{_SIGN}", regex.V1)
# The same for ASCII, which most text is, by a quicker engine.
_ASCII_WORDS = re.compile(_ASCII_WORD, re.ASCII)
_ASCII_WORDS_AND_SIGNS = re.compile(f"{_ASCII_WORD}|{_ASCII_SIGN}", re.ASCII)
_PLAIN = str.maketrans({"'": None, "’": None, ",": None, "‐": "-", "‑": "-", "–": "-", "−": "-"})

_MULTIPLIER = 0x9E3779B97F4A7C15
_REMEMBERED = 400_000


def words(text: str, symbols: bool = True, numbers: bool = True) -> list[str]:
    """The normalised words of a text, in order. Without `numbers`, every number is the same word.

    >>> words("Janet’s 1,000 eggs: 3-4 = $x^2$?")
    ['janets', '1000', 'eggs', '3', '-', '4', '=', '$', 'x', '^', '2', '$']
    >>> words("Janet’s 1,000 eggs: 3-4 = $x^2$?", symbols=False, numbers=False)
    ['janets', '0', 'eggs', '0', '0', 'x', '0']
    """
    if text.isascii():
        raw = (_ASCII_WORDS_AND_SIGNS if symbols else _ASCII_WORDS).findall(text.lower())
    else:
        plain = unicodedata.normalize("NFKC", text).casefold()
        raw = (_WORDS_AND_SIGNS if symbols else _WORDS).findall(plain)
    found = [word if word.isalnum() else word.translate(_PLAIN) for word in raw]
    return found if numbers else [NUMBER_WORD if is_number(word) else word for word in found]


def is_number(word: str) -> bool:
    """Whether a normalised word is a number: it begins with a decimal digit."""
    return word[:1].isdecimal()


def numbers_of(found: Sequence[str]) -> tuple[str, ...]:
    """The numbers among the words, in order: "from 28 and 43 make 91" is not "from 28 and 91 make 43"."""
    return tuple(word for word in found if is_number(word))


class _Known(dict[str, int]):
    """Hashes of words, made when first asked for."""

    def __missing__(self, word: str) -> int:
        value = self[word] = digest64(word)
        return value


class Hasher:
    """Words as 64-bit numbers, the same in every process. Remembers what it has seen, up to a bound."""

    def __init__(self) -> None:
        self._known = _Known()

    def __call__(self, found: Sequence[str]) -> Hashes:
        """One number for each word. [L]"""
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        return np.array([self._known[word] for word in found], dtype=np.uint64)


def digest64(text: str) -> int:
    """64 bits of blake2b."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def grams(hashes: Hashes, n: int) -> Hashes:
    """A number for every run of n words, in order; empty where there are fewer. [max(0, L - n + 1)]

    sum over k < n of hash[i + k] * m^(k+1) mod 2^64 with odd m, then mixed. Two different runs share a number with probability
    about 2^-64.
    """
    count = len(hashes) - n + 1
    if count < 1:
        return np.empty(0, np.uint64)
    total = np.zeros(count, np.uint64)
    power = 1
    for k in range(n):
        power = power * _MULTIPLIER % (1 << 64)
        total += hashes[k : k + count] * np.uint64(power)
    return mixed(total)


def shingles(hashes: Hashes, n: int) -> Hashes:
    """The set of runs of n words, sorted; of a shorter text, the whole as its only member; of none, the empty set."""
    return np.unique(grams(hashes, min(n, len(hashes)))) if len(hashes) else np.empty(0, np.uint64)


def mixed(values: Hashes) -> Hashes:
    """The 64-bit finalizer of MurmurHash3: every bit of the result depends on every bit given."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed_values: Hashes = values ^ (values >> np.uint64(33))
    return mixed_values


def text_of(value: Any) -> str:
    """What a field says: text as it is, the user's turns of a conversation, nothing for None, and else its plain form."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        turns = [turn for turn in value if isinstance(turn, dict)]
        if turns and len(turns) == len(value):
            asked = [turn for turn in turns if (turn.get("role") or turn.get("from")) in _ASKS]
            said = (text_of(turn.get("content", turn.get("value", turn.get("text")))) for turn in asked or turns)
            return "\n".join(part for part in said if part)
        return " ".join(text_of(item) for item in value)
    if isinstance(value, dict):
        return " ".join(text_of(item) for item in value.values())
    return str(value)


_ASKS = ("user", "human", "prompter")
