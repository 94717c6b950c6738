r"""The LaTeX half of the grammar: what stands after a backslash, and functions with or without brackets.

Not for use on its own: `grammar.Parser` calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from burnish.verify.maths.normalise import Unreadable
from burnish.verify.maths.tree import Tree, number

if TYPE_CHECKING:
    from burnish.verify.maths.grammar import Parser

_STOPS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "lg", "exp"))
_SETS = {"R": "R", "Z": "Z", "N": "N", "Q": "Q", "C": "C"}
_ROWS, _CELLS = 40, 400


def command_tree(parser: Parser, command: str) -> Tree:
    """The tree of a command that was just taken."""
    from burnish.verify.maths import grammar, vocabulary

    name = command[1:]
    if command in vocabulary.CONSTANTS:
        return ("c", vocabulary.CONSTANTS[command])
    if command == "\\frac":
        top = argument(parser)
        return ("/", top, argument(parser))
    if command == "\\sqrt":
        return _root(parser)
    if command == "\\binom":
        top = argument(parser)
        return ("f", "binom", top, argument(parser))
    if command in ("\\lfloor", "\\lceil"):
        inner = parser.sum()
        parser.expect("\\rfloor" if command == "\\lfloor" else "\\rceil")
        return ("f", "floor" if command == "\\lfloor" else "ceil", inner)
    if command in ("\\sum", "\\prod"):
        return _series(parser, name)
    if command == "\\begin":
        return _environment(parser)
    if command in ("\\{", "\\langle"):
        items = parser.items(vocabulary.CLOSERS[command])
        return ("seq", command, "\\}" if command == "\\{" else "\\rangle", tuple(items))
    if command == "\\emptyset":
        return ("seq", "\\{", "\\}", ())
    if command == "\\mathbb":
        return _named_set(parser)
    if command == "\\|":
        raise Unreadable("a norm")
    if command in vocabulary.UNSUPPORTED:
        raise grammar.Symbolic(f"{command} is not evaluated here")
    if name in vocabulary.FUNCTIONS or name in ("arcsinh", "Pr"):
        return parser._function(vocabulary.SAME.get(name, name))
    if command in ("\\overline", "\\bar", "\\tilde", "\\widehat", "\\overrightarrow"):
        return ("v", f"{name} {_raw(parser)}")
    if command in ("\\angle", "\\triangle"):
        letters = ""
        while parser.peek().kind in ("letter", "word") and parser.peek().text.isupper():
            letters += parser.peek().text
            parser.at += 1
            letters += parser._subscript()
        return ("v", f"{name} {letters}" if letters else name)
    if name in vocabulary.NAMES:
        return ("v", name + (f"_{subscript}" if (subscript := parser._subscript()) else ""))
    raise Unreadable(f"the command {command[:20]}")


def argument(parser: Parser) -> Tree:
    r"""One argument of a command: a group, or a single token, and `\frac12` takes one digit at a time."""
    from burnish.verify.maths.tokens import Token

    token = parser.peek()
    if token.text == "{" and token.kind == "op":
        return parser._group()
    if token.kind == "num" and len(token.text) > 1:
        if not token.text.isdigit():
            raise Unreadable("a decimal without braces as an argument")
        parser.tokens[parser.at] = Token("num", token.text[1:], False)
        return number(int(token.text[0]))
    if token.kind == "word" and len(token.text) > 1:
        parser.tokens[parser.at] = Token("letter" if len(token.text) == 2 else "word", token.text[1:], False)
        return _letter(token.text[0])
    if token.kind in ("num", "letter", "cmd"):
        return parser.primary()
    raise Unreadable("an argument is missing")


def _letter(letter: str) -> Tree:
    return ("c", letter) if letter in "ei" else ("v", letter)


def function_tree(parser: Parser, name: str) -> Tree:
    """A function that was just named: its powers, its base, its argument with or without brackets."""
    from burnish.verify.maths import vocabulary

    if name == "sqrt":
        return _root(parser)
    power: Tree | None = None
    base: Tree | None = None
    for _ in range(2):
        if power is None and parser.take("^"):
            power = parser._exponent()
        if base is None and parser.take("_"):
            base = argument(parser)
    inner = _arguments(parser, name)
    if power is not None and power == number(-1) and name in vocabulary.INVERSE:
        return ("f", vocabulary.INVERSE[name], *inner)
    tree: Tree
    if name == "log" and base is not None:
        tree = ("f", "logbase", base, *inner)
    elif name == "cis":
        tree = ("+", ("f", "cos", *inner), ("*", ("c", "i"), ("f", "sin", *inner)))
    elif name == "det":
        if inner[0][0] != "matrix":
            raise Unreadable("the determinant of something that is no matrix")
        tree = ("det", inner[0][1])
    else:
        tree = ("f", name, *inner)
    return tree if power is None else ("^", tree, power)


def _arguments(parser: Parser, name: str) -> tuple[Tree, ...]:
    if parser.peek().text == "(":
        parser.at += 1
        items = parser.items((")",))
        if not items:
            raise Unreadable(f"{name} of nothing")
        return tuple(items)
    if parser.peek().text == "\\{" and name in ("max", "min", "gcd", "lcm"):
        parser.at += 1
        return tuple(parser.items(("\\}",)))
    sign = parser._signs()
    parts = [parser.factor()]
    while parser._starts_factor() and parser.peek().text.lstrip("\\") not in _STOPS and parser.peek().text != "(":
        parts.append(parser.factor())
    tree: Tree = parts[0] if len(parts) == 1 else ("*", *parts)
    return (("-", tree) if sign == "-" else tree,)


def _root(parser: Parser) -> Tree:
    index: Tree | None = None
    if parser.take("["):
        inside = parser.items(("]",))
        index = inside[0] if len(inside) == 1 else None
        if index is None:
            raise Unreadable("a root without its index")
    token = parser.peek()
    if token.text == "(" and token.kind == "op":
        parser.at += 1
        items = parser.items((")",))
        if len(items) != 1:
            raise Unreadable("a root of several things")
        inner = items[0]
    elif token.kind == "num":  # \sqrt 12 and √12 are meant as the root of 12
        inner = parser._number()
    else:
        inner = argument(parser)
    return ("f", "sqrt", inner) if index is None else ("f", "root", inner, index)


def _series(parser: Parser, name: str) -> Tree:
    low: Tree | None = None
    high: Tree | None = None
    variable = ""
    for _ in range(2):
        if parser.take("_"):
            parser.expect("{")
            items = parser.items(("}",))
            relation = items[0] if len(items) == 1 else ("?",)
            if relation[0] != "rel" or relation[1] != ("=",) or relation[2][0][0] not in ("v", "c"):
                raise Unreadable(f"a {name} without plain limits")
            variable, low = str(relation[2][0][1]), relation[2][1]
        elif parser.take("^"):
            high = parser._exponent()
    if low is None or high is None:
        raise Unreadable(f"a {name} without its limits")
    body = parser.term()
    return (name, variable, low, high, body)


def _named_set(parser: Parser) -> Tree:
    name = _raw(parser)
    if name not in _SETS:
        raise Unreadable("an unknown set")
    suffix = ""
    if parser.take("^", "_"):
        if parser.take("{"):
            suffix = parser._flat_group()
        else:
            suffix = parser.peek().text
            parser.at += 1
    return ("v", f"set {name}{suffix}")


def _raw(parser: Parser) -> str:
    if parser.take("{"):
        return parser._flat_group()
    token = parser.peek()
    parser.at += 1
    if token.kind not in ("letter", "word", "num"):
        raise Unreadable("an argument is missing")
    return token.text


def _cases(parser: Parser) -> Tree:
    """A function by cases: rows of an expression and where it holds, compared in their order."""
    rows: list[Tree] = []
    while not parser.take("\\end"):
        cells: list[Tree] = []
        while not parser.take("\\\\"):
            while parser.take("&", ",") or parser.peek().text.lower() in ("if", "for", "when", "otherwise", "else"):
                parser.at += parser.peek().kind in ("word", "text")
            if parser.peek().text in ("\\\\", "\\end"):
                if parser.peek().text == "\\end":
                    break
                continue
            cells.append(parser.relation())
        rows.append(("seq", "row", "row", tuple(cells)))
        if len(rows) > _ROWS or parser.peek().kind == "end":
            raise Unreadable("cases that do not end")
    if _raw(parser) != "cases":
        raise Unreadable("an environment ends under another name")
    return ("seq", "cases", "cases", tuple(rows))


def _environment(parser: Parser) -> Tree:
    kind = _raw(parser)
    from burnish.verify.maths import vocabulary

    if kind == "cases":
        return _cases(parser)
    if kind not in vocabulary.MATRICES:
        raise Unreadable(f"the environment {kind[:20]}")
    if kind == "array" and parser.peek().text == "{":
        parser.at += 1
        parser._flat_group()
    rows: list[tuple[Tree, ...]] = []
    row: list[Tree] = []
    cells = 0
    while True:
        if parser.take("\\end"):
            if _raw(parser) != kind:
                raise Unreadable("an environment ends under another name")
            break
        if parser.take("\\\\"):
            rows.append(tuple(row))
            row = []
            continue
        if parser.take("&"):
            continue
        row.append(parser.relation())
        cells += 1
        if cells > _CELLS or len(rows) > _ROWS:
            raise Unreadable("a matrix of more cells than are read")
        if parser.peek().text not in ("&", "\\\\", "\\end"):
            raise Unreadable(f"{parser.peek().text[:20]!r} in a matrix")
    if row:
        rows.append(tuple(row))
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise Unreadable("a matrix whose rows differ in length")
    return ("det", tuple(rows)) if kind == "vmatrix" else ("matrix", tuple(rows))
