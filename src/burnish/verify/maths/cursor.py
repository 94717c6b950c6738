"""A place in a list of tokens, and the small things that are read without recursion: numbers, subscripts.

Not for grammar: see `grammar`.
"""

from __future__ import annotations

from fractions import Fraction

from burnish.verify.maths.normalise import Unreadable
from burnish.verify.maths.tokens import Token
from burnish.verify.maths.tree import Tree, number

NESTING = 128
DIGITS = 400
_EXPONENT = 400


class Cursor:
    """Tokens and where reading stands in them."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0
        self._end = Token("end", "", False)
        self._depth = 0
        self._bars = 0

    # ---- tokens

    def peek(self, ahead: int = 0) -> Token:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else self._end

    def take(self, *texts: str) -> str:
        token = self.peek()
        if token.text in texts and token.kind in ("op", "cmd"):
            self.at += 1
            return token.text
        return ""

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise Unreadable(f"{text!r} is missing before {self.peek().text[:20]!r}")

    def _number(self) -> Tree:
        text = self.peek().text
        self.at += 1
        digits, _, power = text.lower().partition("e")
        if len(digits) > DIGITS or len(power) > 5 or abs(int(power or 0)) > _EXPONENT:
            raise Unreadable(f"a number of more than {DIGITS} digits")
        whole, _, part = digits.partition(".")
        exponent = int(power or 0) - len(part)
        value = int(whole + part)
        return number(value * 10**exponent if exponent >= 0 else Fraction(value, 10**-exponent))

    def _subscript(self) -> str:
        if not self.take("_"):
            return ""
        if self.take("{"):
            return self._flat_group()
        token = self.peek()
        self.at += 1
        if token.kind not in ("num", "letter", "word", "cmd", "text"):
            raise Unreadable("a subscript is missing")
        if token.kind == "word" and len(token.text) > 1:  # x_ab is x_a b
            rest = token.text[1:]
            self.at -= 1
            self.tokens[self.at] = Token("letter" if len(rest) == 1 else "word", rest, False)
            return token.text[0]
        return token.text

    def _flat_group(self) -> str:
        """The content of a group that was just opened, as it stands: names are compared, not computed."""
        depth, parts = 1, []
        while depth:
            token = self.peek()
            self.at += 1
            if token.kind == "end":
                raise Unreadable("a group is not closed")
            depth += (token.text == "{") - (token.text == "}")
            if depth:
                parts.append(token.text)
        return "".join(parts)
