"""Countdown and 24: an expression of the given numbers that equals the target. Not for finding one (burnish.tasks).

The grammar, in full, with the ordinary precedence and everything left-associative:

    answer  := sum [ "=" ["-"] number ]
    sum     := product { ("+" | "-") product }
    product := factor { ("*" | "/") factor }
    factor  := number | "(" sum ")"

`×`, `·` and `x` are `*`, `÷` is `/`, `−` is `-`. A sign before a number or a parenthesis is refused: the puzzle has no
such operation. So are decimals, leading zeros, powers and letters. Values are exact fractions; nothing is evaluated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from burnish.records import Verdict
from burnish.verify.format import extract_answer, split_response

_LENGTH = 512  # characters of an expression
_NESTING = 20
_MOST_NUMBERS = 32
_LARGEST = 10**18
_SHOWN = 1000

_TOKEN = re.compile(r"0|[1-9][0-9]*|[-+*/()=]")
_SYNONYMS = str.maketrans({"×": "*", "·": "*", "⋅": "*", "x": "*", "÷": "/", "−": "-"})


class _Refused(Exception):
    """The expression is not one of this puzzle; the message says why."""


def verify_countdown(numbers: Sequence[int], target: int, response: str) -> Verdict:
    """Right where the response's answer uses exactly `numbers`, each once, and equals `target`.

    The response must be well formed, with the expression in its `<answer>`. An expression longer than 512 characters or
    nested deeper than 20 is wrong ("too long"); so is one that divides by zero. A trailing "= n" must be true. Numbers
    or a target that make no puzzle are no_verdict, fault "gold". Never raises.
    """
    parsed = split_response(response)
    answer = extract_answer(parsed, "answer_tag")
    found = None if answer is None else answer.text[:_SHOWN]
    fault = _gold_fault(numbers, target)
    if fault:
        return Verdict("no_verdict", None, parsed.parts, found, fault, fault="gold")
    if answer is None or not parsed.well_formed:
        return Verdict("wrong", 0.0, parsed.parts, found, f"not well formed: {parsed.why}")
    try:
        value, used = _evaluate(answer.text)
    except _Refused as refusal:
        return Verdict("wrong", 0.0, parsed.parts, found, str(refusal))
    if Counter(used) != Counter(numbers):
        return Verdict("wrong", 0.0, parsed.parts, found, f"does not use exactly {_listed(numbers)}")
    if value != target:
        return Verdict("wrong", 0.0, parsed.parts, found, f"does not equal {target}")
    return Verdict("right", 1.0, parsed.parts, found, f"uses {_listed(numbers)} and equals {target}")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _gold_fault(numbers: object, target: object) -> str:
    """Why these make no puzzle; "" where they do. A bool is an int to Python and no number to us."""
    if not isinstance(numbers, list | tuple) or not 1 <= len(numbers) <= _MOST_NUMBERS:
        return f"the numbers of the puzzle must be a list of 1 to {_MOST_NUMBERS}"
    if not all(type(number) is int and 0 <= number <= _LARGEST for number in numbers):
        return f"the numbers of the puzzle must be integers between 0 and {_LARGEST}"
    if type(target) is not int or abs(target) > _LARGEST:
        return f"the target of the puzzle must be an integer of at most {_LARGEST} in size"
    return ""


def _evaluate(text: str) -> tuple[Fraction, list[int]]:
    """The value of an answer and the numbers it uses, in order. Raises _Refused."""
    if len(text) > _LENGTH:
        raise _Refused(f"too long: more than {_LENGTH} characters")
    reader = _Reader(text.translate(_SYNONYMS))
    value = reader.sum(0)
    used = list(reader.used)
    if reader.take("="):
        sign = -1 if reader.take("-") else 1
        if sign * reader.number() != value:
            raise _Refused("what stands after = is not what stands before it")
    if reader.peek():
        raise _Refused(f"not an expression: {reader.peek()!r} was not expected")
    return value, used


class _Reader:
    """Recursive descent over the tokens of one expression; recursion is bounded by the nesting that is allowed."""

    def __init__(self, text: str) -> None:
        self.used: list[int] = []
        self._tokens: list[str] = []
        self._at = 0
        end = 0
        for match in _TOKEN.finditer(text):
            self._refuse_between(text[end : match.start()])
            self._tokens.append(match.group())
            end = match.end()
        self._refuse_between(text[end:])

    @staticmethod
    def _refuse_between(gap: str) -> None:
        if gap.strip():
            raise _Refused(f"not an expression: {gap.strip()[:20]!r} means nothing here")

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self, *symbols: str) -> str:
        """The next token if it is one of these, and past it; else ""."""
        token = self.peek()
        if token not in symbols:
            return ""
        self._at += 1
        return token

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while symbol := self.take("+", "-"):
            other = self._product(depth)
            value = value + other if symbol == "+" else value - other
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._factor(depth)
        while symbol := self.take("*", "/"):
            other = self._factor(depth)
            if symbol == "/" and not other:
                raise _Refused("divides by zero")
            value = value * other if symbol == "*" else value / other
        return value

    def _factor(self, depth: int) -> Fraction:
        if not self.take("("):
            return Fraction(self.number())
        if depth == _NESTING:
            raise _Refused(f"too long: nested more than {_NESTING} deep")
        value = self.sum(depth + 1)
        if not self.take(")"):
            raise _Refused("not an expression: a parenthesis is not closed")
        return value

    def number(self) -> int:
        token = self.peek()
        if not token.isdigit():
            raise _Refused(f"not an expression: {repr(token) if token else 'the end'} where a number was expected")
        self._at += 1
        self.used.append(int(token))
        return self.used[-1]
