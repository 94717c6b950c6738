r"""Tokens become expression trees by bounded recursive descent: LaTeX and plain notation, no evaluation of anything.

Not for what an answer is as a whole (units, lists, words): see `answers`. Stops in front of what it cannot continue
with, and raises Unreadable where something begun is not finished. Reads left to right as people do: `1/2x` is half of
x, `-x^2` is minus the square, `3\frac{1}{2}` is three and a half, `\sin 2x` takes the 2x.
"""

from __future__ import annotations

from fractions import Fraction

from burnish.verify.maths.cursor import NESTING, Cursor
from burnish.verify.maths.normalise import Unreadable
from burnish.verify.maths.tokens import Token
from burnish.verify.maths.tree import Tree, number
from burnish.verify.maths.vocabulary import (
    CLOSERS,
    CONSTANTS,
    FUNCTIONS,
    GREEK,
    NAMES,
    NOT_LETTERS,
    RELATIONS,
    SAME,
    SETS,
    UNIT_LIKE,
    UNSUPPORTED,
    WORD_CONSTANTS,
)


class Symbolic(Unreadable):
    """Mathematics that only the symbolic tier can read: integrals, limits."""


class Parser(Cursor):
    """One pass over a list of tokens. `at` is where it stands; recursion is bounded by the nesting that is allowed."""

    # ---- relations, sets, sums

    def relation(self) -> Tree:
        sides, ops = [self.union()], []
        while (token := self.peek()).text in RELATIONS and token.kind in ("op", "cmd"):
            self.at += 1
            ops.append(RELATIONS[token.text])
            sides.append(self.union())
        return ("rel", tuple(ops), tuple(sides)) if ops else sides[0]

    def union(self) -> Tree:
        tree = self.sum()
        while True:
            symbol = self.take(*SETS)
            if symbol or (self.peek().kind == "word" and self.peek().text in ("U", "union")):
                self.at += 0 if symbol else 1
                tree = ("set", SETS.get(symbol, "cup"), tree, self.sum())
            elif (
                self.peek().kind == "letter"
                and self.peek().text in "Uu"
                and self._bracket_next()
                and tree[0] in ("seq", "set")
            ):
                self.at += 1
                tree = ("set", "cup", tree, self.sum())
            else:
                return tree

    def _bracket_next(self) -> bool:
        return self.peek(1).text in ("(", "[", "\\{", "{")

    def sum(self) -> Tree:
        self._depth += 1
        if self._depth > NESTING:
            raise Unreadable(f"nested more than {NESTING} deep")
        parts: list[Tree] = []
        sign = self._signs()
        term = self.term()
        parts.append(_signed(sign, term))
        while (symbol := self.peek()).text in ("+", "-", "\\pm", "\\mp") and symbol.kind in ("op", "cmd"):
            if self.peek().text == "+" and self.peek(1).text == "-" and self.peek(1).kind == "op":
                sign = self._plus_minus()
            else:
                sign = self._signs()
            parts.append(_signed(sign, self.term()))
        self._depth -= 1
        return parts[0] if len(parts) == 1 else ("+", *parts)

    def _plus_minus(self) -> str:
        """ "+-" without a space is a plus or minus; "+ -3" adds a negative number."""
        self.at += 1
        if self.peek().spaced:
            return self._signs()
        self.at += 1
        return "\\pm"

    def _signs(self) -> str:
        """ "", "-", "\\pm" or "\\mp": all the signs that stand here, in one."""
        sign = ""
        while symbol := self.take("+", "-", "\\pm", "\\mp"):
            if symbol == "-":
                sign = {"": "-", "-": "", "\\pm": "\\mp", "\\mp": "\\pm"}[sign]
            elif symbol != "+":
                sign = symbol
        return sign

    def term(self) -> Tree:
        parts = [self.factor()]
        while True:
            symbol = self.take("*", "/", "\\cdot", "\\times", "\\ast", "\\div", "\\mod")
            if symbol:
                sign = self._signs()
                other = _signed(sign, self.factor())
                if symbol in ("/", "\\div"):
                    left = parts[0] if len(parts) == 1 else ("*", *parts)
                    parts = [_quotient(left, other)]
                elif symbol == "\\mod":
                    left = parts[0] if len(parts) == 1 else ("*", *parts)
                    parts = [("f", "mod", left, other)]
                else:
                    parts.append(other)
            elif parts[-1][0] != "seq" and self._starts_factor():
                parts.append(self._juxtaposed(parts))
            else:
                return parts[0] if len(parts) == 1 else ("*", *parts)

    def _juxtaposed(self, parts: list[Tree]) -> Tree:
        """The next factor of a product without a sign; a whole number and a proper fraction are one mixed number."""
        last, previous, token = parts[-1], self.tokens[self.at - 1], self.peek()
        whole = previous.kind == "num" and last[0] == "n" and previous.text.isdigit()
        if token.kind == "num":
            if whole and self.peek(1).text == "/" and self.peek(2).kind == "num" and token.spaced:
                top, bottom = token.text, self.peek(2).text
                if top.isdigit() and bottom.isdigit() and int(top) < int(bottom):
                    self.at += 3
                    parts.pop()
                    return number(last[1] + Fraction(int(top), int(bottom)))
            if previous.kind == "num" or self.peek(1).text != "^":
                raise Unreadable("two numbers side by side")
        factor = self.factor()
        share = factor[1] if factor[0] in ("%", "deg") else factor  # "12 1/2 %" is 12.5 per cent
        if whole and token.text == "\\frac" and share[0] == "/" and share[1][0] == share[2][0] == "n":
            top, bottom = share[1][1], share[2][1]
            if 0 < top < bottom:
                parts.pop()
                mixed = number(last[1] + top / bottom)
                return mixed if share is factor else (factor[0], mixed)
        return factor

    def _starts_factor(self) -> bool:
        token = self.peek()
        if token.kind == "num":
            previous = self.tokens[self.at - 1]
            power = self.peek(1).text == "^"  # n2^n, and not x2
            return previous.kind == "num" or previous.text in (")", "}", "!") or (previous.kind == "letter" and power)
        if token.kind == "letter":
            return True
        if token.kind == "vector":
            return True
        if token.kind == "word":
            return token.text in FUNCTIONS or token.text in WORD_CONSTANTS or self._letters(token)
        if token.kind == "cmd":
            name = token.text[1:]
            return (
                token.text in CONSTANTS
                or name in NAMES
                or name in FUNCTIONS
                or token.text
                in (r"\frac", r"\sqrt", r"\binom", r"\lfloor", r"\lceil", r"\sum", r"\prod", r"\begin", r"\langle")
                or token.text in UNSUPPORTED
            )
        if token.text == "|":
            return self._bars == 0
        return token.text in ("(", "{") or (token.text == "[" and self.tokens[self.at - 1].kind != "num")

    def _letters(self, token: Token) -> bool:
        """Whether a word here is variables side by side: "2ab", "xy"; not "5 apples" or "5 cm"."""
        if len(token.text) > 4 or token.text in UNIT_LIKE or token.text.lower() in NOT_LETTERS:
            return False
        return not token.spaced or len(token.text) == 2

    # ---- factors

    def factor(self) -> Tree:
        base = self._postfix(self.primary())
        while self.take("^"):
            if self.peek().text == "\\circ":
                self.at += 1
                base = ("deg", base)
                continue
            base = self._postfix(("^", base, self._exponent()))
        return base

    def _exponent(self) -> Tree:
        if self.peek().text == "{":
            return self._group()
        sign = self._signs()
        if self.peek().kind == "num" and not self.peek().spaced:
            exponent = self._number()
        else:
            exponent = self.primary()
        if self.take("^"):
            exponent = ("^", exponent, self._exponent())
        if self.peek().text == "!" and exponent[0] == "n":
            exponent = self._postfix(exponent)
        return _signed(sign, exponent)

    def _postfix(self, tree: Tree) -> Tree:
        while True:
            token = self.peek()
            if token.text == "!" and token.kind == "op":
                self.at += 1
                double = self.take("!")
                tree = ("f", "doublefactorial" if double else "factorial", tree)
            elif token.text == "%":
                self.at += 1
                tree = ("%", tree)
            elif token.text == "^" and self.peek(1).text == "\\circ":
                self.at += 2
                tree = ("deg", tree)
            elif token.kind == "word" and token.text in ("deg", "degree", "degrees") and tree[0] != "deg":
                self.at += 1
                tree = ("deg", tree)
            else:
                return tree

    def primary(self) -> Tree:
        token = self.peek()
        self.at += 1
        if token.kind == "num":
            self.at -= 1
            return self._number()
        if token.kind == "letter":
            return self._name(token.text)
        if token.kind == "vector":
            return ("v", f"unit {token.text}")
        if token.kind == "word":
            return self._word(token)
        if token.kind == "cmd":
            return self._command(token.text)
        if token.text == "{":
            self.at -= 1
            return self._group()
        if token.text in ("(", "["):
            return self._brackets(token.text)
        if token.text == "|":
            return self._absolute()
        if token.kind == "end":
            raise Unreadable("it ends where something should follow")
        raise Unreadable(f"{token.text[:20]!r} means nothing here")

    def _name(self, letter: str) -> Tree:
        subscript = self._subscript()
        primes = ""
        while self.take("'"):
            primes += "'"
        if not subscript and not primes:
            if letter == "e":
                return ("c", "e")
            if letter == "i":
                return ("c", "i")
            if letter == "C" and self.peek().text == "(":
                return self._choose()
        name = letter + (f"_{subscript}" if subscript else "") + primes
        if letter in "fghFG" and self.peek().text == "(":
            self.at += 1
            arguments = self._brackets("(")
            return ("abstract", name, arguments[3] if arguments[0] == "seq" else (arguments,))
        return ("v", name)

    def _choose(self) -> Tree:
        start = self.at
        self.at += 1
        pair = self._brackets("(")
        if pair[0] == "seq" and len(pair[3]) == 2:
            return ("f", "binom", *pair[3])
        self.at = start
        return ("v", "C")

    def _word(self, token: Token) -> Tree:
        text = token.text
        lower = text.lower()
        if text in WORD_CONSTANTS or lower in ("pi", "infinity"):
            return ("c", WORD_CONSTANTS[text if text in WORD_CONSTANTS else lower])
        if lower in FUNCTIONS and (text == lower or lower in ("sqrt", "sin", "cos", "tan", "ln", "log")):
            return self._function(SAME.get(lower, lower))
        if text in GREEK:
            return ("v", text)
        return self._split(text)

    def _split(self, text: str) -> Tree:
        """ "ab" as a times b, "xsin" refused: the tokens are put back letter by letter."""
        if len(text) > 4 or text.lower() in NOT_LETTERS:
            raise Unreadable(f"the word {text[:30]!r}")
        self.at -= 1
        self.tokens[self.at : self.at + 1] = [Token("letter", letter, False) for letter in text]
        self.at += 1
        return self._name(text[0])

    # ---- brackets

    def _group(self) -> Tree:
        """{...}: an invisible group; with commas in it a set written without its backslashes."""
        self.expect("{")
        items = self.items(("}",))
        return items[0] if len(items) == 1 else ("seq", "\\{", "\\}", tuple(items))

    def items(self, closers: tuple[str, ...]) -> list[Tree]:
        """Relations with commas between them, to one of the closing brackets, which is taken."""
        self._depth += 1
        if self._depth > NESTING:
            raise Unreadable(f"nested more than {NESTING} deep")
        bars, self._bars = self._bars, 0
        found: list[Tree] = []
        if self.peek().text not in closers:
            found.append(self.item())
            while self.take(",", ";"):
                found.append(self.item())
        if not self.take(*closers):
            raise Unreadable(f"a bracket is not closed before {self.peek().text[:20]!r}")
        self._bars = bars
        self._depth -= 1
        return found

    def item(self) -> Tree:
        if self.take("\\ldots"):
            return ("v", "...")
        return self.relation()

    def _brackets(self, opener: str) -> Tree:
        items = self.items(CLOSERS[opener])
        closer = self.tokens[self.at - 1].text
        if len(items) == 1 and (opener, closer) in (("(", ")"), ("[", "]")):
            return items[0] if opener == "(" or items[0][0] != "seq" else ("seq", "[", "]", tuple(items))
        if not items and opener != "\\{":
            raise Unreadable("empty brackets")
        return ("seq", opener, closer, tuple(items))

    def _absolute(self) -> Tree:
        self._bars += 1
        inner = self.sum()
        if not self.take("|"):
            raise Unreadable("a | is not closed")
        self._bars -= 1
        return ("f", "abs", inner)

    # ---- commands: see `commands`, which completes this class

    def _command(self, command: str) -> Tree:
        from burnish.verify.maths.commands import command_tree  # the two halves of one grammar

        return command_tree(self, command)

    def _function(self, name: str) -> Tree:
        from burnish.verify.maths.commands import function_tree

        return function_tree(self, name)


def _signed(sign: str, tree: Tree) -> Tree:
    if not sign:
        return tree
    if sign == "-":
        return number(-tree[1]) if tree[0] == "n" else ("-", tree)
    return ("pm" if sign == "\\pm" else "mp", tree)


def _quotient(top: Tree, bottom: Tree) -> Tree:
    return ("/", top, bottom)
