"""What the judges of all puzzles share: where the answer is read, and whose fault is what. Not for any one puzzle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from burnish.records import Verdict
from burnish.verify.format import extract_answer, split_response

LONGEST = 2000
"""Characters of an answer that is read at all; a longer one is wrong."""
_SHOWN = 1000
P = TypeVar("P")


class Refused(Exception):
    """The answer does not solve the puzzle; the message says why."""


class BadPuzzle(Exception):
    """The reference makes no puzzle; the message says why."""


def judged(response: str, read: Callable[[], P], check: Callable[[P, str], str]) -> Verdict:
    """The verdict on a response, with the puzzle that `read` gives and the answer in its `<answer>`.

    read   raises BadPuzzle where the reference makes no puzzle: no_verdict, fault "gold"
    check  says why the answer is right, or raises Refused with why it is not

    The response must be well formed; an answer of more than 2,000 characters is wrong ("too long").
    """
    parsed = split_response(response)
    answer = extract_answer(parsed, "answer_tag")
    found = None if answer is None else answer.text[:_SHOWN]
    try:
        puzzle = read()
    except BadPuzzle as fault:
        return Verdict("no_verdict", None, parsed.parts, found, str(fault), fault="gold")
    if answer is None or not parsed.well_formed:
        return Verdict("wrong", 0.0, parsed.parts, found, f"not well formed: {parsed.why}")
    try:
        if len(answer.text) > LONGEST:
            raise Refused(f"too long: more than {LONGEST} characters")
        why = check(puzzle, answer.text)
    except Refused as refusal:
        return Verdict("wrong", 0.0, parsed.parts, found, str(refusal))
    return Verdict("right", 1.0, parsed.parts, found, why)


def require(holds: object, why: str) -> None:
    """Raises BadPuzzle with `why` unless it holds."""
    if not holds:
        raise BadPuzzle(why)


def is_whole(value: object) -> bool:
    """Whether a value is an integer; a bool is one to Python and no number to us."""
    return type(value) is int
