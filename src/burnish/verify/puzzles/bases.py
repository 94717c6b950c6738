"""Numbers written in a base from 2 to 36: is this that number, in that base? Not for decimals: see burnish.verify.numbers.

reference: value, an integer; base, 2 to 36.

The answer is the digits, case forgiven, leading zeros allowed, `_`, white space or nothing between groups. A mark of a base,
0b, 0o or 0x in front, `_2`, `_{2}` or "(base 2)" behind, must name the base asked for.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PREFIXES = {"0b": 2, "0o": 8, "0x": 16}
_SUFFIX = re.compile(r"(.*?)(?:_\{?([0-9]{1,2})\}?|\s*\(?\bbase[\s-]([0-9]{1,2})\)?)")
_LARGEST = 1 << 256


class Puzzle(NamedTuple):
    """A number and the base it is wanted in."""

    value: int
    base: int


def verify_base(problem: Problem, response: str) -> Verdict:
    """Right where the answer is the value, written in the base."""
    return judged(response, lambda: read(problem.reference["value"], problem.reference["base"]), check)


def read(value: Any, base: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle."""
    require(is_whole(base) and 2 <= base <= 36, f"the base must be an integer from 2 to 36, not {base!r:.40}")
    require(is_whole(value) and abs(value) < _LARGEST, "the value must be an integer of at most 256 bits")
    return Puzzle(value, base)


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    plain = text.strip().casefold().replace("−", "-").removesuffix(".")
    negative = plain.startswith("-")
    plain = plain.removeprefix("-").strip()
    named = _SUFFIX.fullmatch(plain)
    if named:
        plain = named[1].strip()
        _same_base(int(named[2] or named[3]), puzzle.base)
    mark = _PREFIXES.get(plain[:2]) if len(plain) > 2 else None
    # In a base above eleven "0b1" is also plain digits, so there the mark must be the base's own to be one.
    if mark is not None and (mark == puzzle.base or DIGITS.index(plain[1]) >= puzzle.base):
        _same_base(mark, puzzle.base)
        plain = plain[2:]
    digits = re.sub(r"(?<=\w)[ _](?=\w)", "", plain)
    allowed = DIGITS[: puzzle.base]
    strange = next((c for c in digits if c not in allowed), None)
    if not digits or strange is not None:
        raise Refused(f"not a number in base {puzzle.base}" + (f": {strange!r} is no digit of it" if strange else ""))
    value = int(digits, puzzle.base)
    if (-value if negative else value) != puzzle.value:
        raise Refused(f"is not {written(puzzle.value, puzzle.base)}")
    return f"is {written(puzzle.value, puzzle.base)}"


def _same_base(said: int, wanted: int) -> None:
    if said != wanted:
        raise Refused(f"is written in base {said}, not {wanted}")


def written(value: int, base: int) -> str:
    """The digits of an integer: written(11, 2) is "1011"."""
    digits = []
    rest = abs(value)
    while rest:
        rest, digit = divmod(rest, base)
        digits.append(DIGITS[digit])
    return ("-" if value < 0 else "") + ("".join(reversed(digits)) or "0")
