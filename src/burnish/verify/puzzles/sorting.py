"""Putting things in order: is this list the given one, sorted as asked? Not for counting: that answer is a number.

reference: items, a list of integers or of words; by, one of ORDERS. Where two items tie (words of the same length), any
order of the two is right.

The answer is the items with commas or white space between them; brackets around the whole and quotes around a word are
forgiven, and so is the case of a word unless two items differ by nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

MOST_ITEMS = 64
_LARGEST = 10**12
_NUMBER = re.compile(r"[-−]?[0-9]{1,13}")
_WORD = re.compile(r"[^\W\d_]+")


class Order(NamedTuple):
    """What is sorted, by which key, and in which direction."""

    kind: type
    key: Callable[[Any], Any]
    falling: bool = False


ORDERS: dict[str, Order] = {
    "ascending": Order(int, lambda n: n),
    "descending": Order(int, lambda n: n, True),
    "digit sum": Order(int, lambda n: sum(map(int, str(abs(n))))),
    "absolute": Order(int, abs),
    "alphabetical": Order(str, str.casefold),
    "reverse alphabetical": Order(str, str.casefold, True),
    "length": Order(str, len),
    "last letter": Order(str, lambda word: word.casefold()[-1]),
}


class Puzzle(NamedTuple):
    """The items and the name of their order."""

    items: tuple[int | str, ...]
    by: str


def verify_sorting(problem: Problem, response: str) -> Verdict:
    """Right where the answer holds exactly the items, in an order the key allows."""
    return judged(response, lambda: read(problem.reference["items"], problem.reference["by"]), check)


def read(items: Any, by: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle."""
    require(isinstance(by, str) and by in ORDERS, f"the order {by!r:.40} is none of {', '.join(ORDERS)}")
    listed = isinstance(items, list | tuple) and 1 <= len(items) <= MOST_ITEMS
    require(listed, f"the items must be a list of 1 to {MOST_ITEMS}")
    if ORDERS[by].kind is int:
        fit = all(is_whole(item) and abs(item) <= _LARGEST for item in items)
        require(fit, f"to be sorted by {by}, items must be integers of at most {_LARGEST} in size")
    else:
        fit = all(isinstance(item, str) and _WORD.fullmatch(item) for item in items)
        require(fit, f"to be sorted by {by}, items must be words of letters")
    return Puzzle(tuple(items), by)


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    order = ORDERS[puzzle.by]
    said = [_item(part, order.kind) for part in _parts(text)]
    wanted = list(puzzle.items)
    if order.kind is str and len({str(item).casefold() for item in wanted}) == len(set(wanted)):
        said, wanted = [str(item).casefold() for item in said], [str(item).casefold() for item in wanted]
    if Counter(said) != Counter(wanted):
        more, less = Counter(said) - Counter(wanted), Counter(wanted) - Counter(said)
        what = f"{next(iter(more))!r} is one too many" if more else f"{next(iter(less))!r} is missing"
        raise Refused(f"not the given items: {what}")
    keys = [order.key(item) for item in said]
    for first, second, left, right in zip(said, said[1:], keys, keys[1:], strict=False):
        if (left < right) if order.falling else (left > right):
            raise Refused(f"not in the order asked for: {first} stands before {second}")
    return f"the given items, {puzzle.by}"


def _parts(text: str) -> list[str]:
    text = text.strip()
    for left, right in ("[]", "()", "{}"):
        if text.startswith(left) and text.endswith(right) and len(text) > 1:
            text = text[1:-1]
            break
    if "," in text:
        return [part.strip() for part in text.split(",")]
    return text.split()


def _item(part: str, kind: type) -> int | str:
    if kind is int:
        if not _NUMBER.fullmatch(part):
            raise Refused(f"not an integer: {part[:40]!r}")
        return int(part.replace("−", "-"))
    if len(part) > 2 and part[0] == part[-1] and part[0] in "\"'":
        part = part[1:-1]
    if not _WORD.fullmatch(part):
        raise Refused(f"not a word: {part[:40]!r}")
    return part
