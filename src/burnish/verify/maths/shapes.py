"""The forms an answer can take besides an expression: choices, words, bases, ratios and times, sets; and what a tree is.

Not for reading expressions. Each form is tried on the plain text before the grammar is, and says None where it is not.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

from burnish.verify.maths.grammar import Parser
from burnish.verify.maths.normalise import Unreadable
from burnish.verify.maths.tokens import tokens
from burnish.verify.maths.tree import (
    Based,
    Choice,
    Conditions,
    Many,
    Matrix,
    Ratio,
    Relation,
    Scalar,
    SetOf,
    Tree,
    Unit,
    Value,
    Words,
    number,
)
from burnish.verify.maths.words import bare, means_nothing, number_in_words, singular

_TEXT_COMMANDS = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mbox|emph|boldsymbol|bf|rm)(?![A-Za-z])\s*"
)
_LETTER = re.compile(r"[(\[]?\s*([A-J])\s*[)\]]?[.:]?")
_LETTER_AND_TEXT = re.compile(r"(?:[(\[]\s*([A-J])\s*[)\]][.:]?|([A-J])\s*[).:\]])\s*(\S.*)", re.DOTALL)
_OPTION = re.compile(
    r"(?:i (?:pick|choose|select|chose|picked) )?"
    r"(?:the )?(?:correct |right |best )?(?:option|choice|answer)(?: is)?:?\s*[(\[]?\s*([A-Ja-j])\s*[)\]]?(?:[.:]\s*(.*))?",
    re.IGNORECASE,
)
_ALL_LETTERS = re.compile(r"[A-Za-z](?:[A-Za-z'.,!?;:\"-]|\s)*")
_BASED = re.compile(
    r"\(?\s*([0-9A-Za-z]{1,200})\s*\)?\s*(?:_\s*\(?\s*([0-9]{1,2}|[a-z]{3,11})\s*\)?"
    r"|\(?\s*(?:_\s*)?(?:in )?base[ -]{1,3}([0-9]{1,2}|[a-z]{3,11})\s*\)?)"
)
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(?:([ap])\.?\s*m\b\.?)?(?:\s*o'?clock)?", re.IGNORECASE)
_BUILDER = re.compile(
    r"(?:\\?\{)?\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\s*\{R\}\s*)?(?:\||:)\s*([^|]*(?:<|>|\\[lg]e|\\ne)[^|]*?)\s*(?:\\?\})?",
    re.DOTALL,
)
_EUROPEAN = re.compile(r"([\[\]])\s*([^\[\](),;]+)\s*[,;]\s*([^\[\](),;]+)\s*([\[\]])")
_SENTENCE = re.compile(r"[\w\s.,;:'\"!?()<>=+*/%-]+")
_FUNCTION_WORDS = frozenset(("pi", "infinity", "inf", "infty", "oo", "xy", "yz", "xz", "yx", "zx", "zy", "xyz"))
_INTERVALS = {("(", ")"), ("(", "]"), ("[", ")"), ("[", "]")}


def _unmarked(text: str) -> str:
    if "\\" not in text:
        return text
    return _TEXT_COMMANDS.sub("", text).replace("{", "").replace("}", "").replace("\\ ", " ").strip()


def choice(text: str) -> Choice | None:
    """ "B", "(B)", "B. 12", "(B) twelve", "option B"."""
    if len(text) > 400:
        return None
    text = _unmarked(text)
    if found := _LETTER.fullmatch(text):
        return Choice(found[1])
    if found := _LETTER_AND_TEXT.fullmatch(text):
        if found[2] and text[1:2] == ":" and found[3][:1].isupper() and len(found[3]) == 1:
            return None  # "A:B" is a ratio of letters
        return Choice(found[1] or found[2], found[3].strip())
    if found := _OPTION.fullmatch(text):
        return Choice(found[1].upper(), (found[2] or "").strip())
    return None


def words(text: str) -> Value | None:
    """Text of letters alone, if it is not mathematics: names, yes and no, numbers in words, no solution."""
    text = _unmarked(text)
    if not _ALL_LETTERS.fullmatch(text) or len(text) < 2:
        return None
    if text in _FUNCTION_WORDS or text.lower() in ("pi", "infinity"):
        return None
    pieces = re.findall(r"[A-Za-z]+", text)
    if all(len(piece) == 1 or piece in ("and", "or") for piece in pieces) and len(pieces) > 1:
        return None
    plain = bare(text)
    if means_nothing(plain):
        return Many("set", ())
    if plain in ("all real numbers", "all reals", "real numbers", "any real number", "set of all real numbers"):
        return SetOf(("v", "set R"))
    value = number_in_words(plain)
    if value is None and len(pieces) > 1:
        value = number_in_words(" ".join(plain.split()[:-1]))
        if value is not None and len(pieces) <= 4 and plain.split()[-1] not in ("half", "third"):
            return Scalar(number(value), None, None, (singular(plain.split()[-1]),))
        return Words(plain)
    return Words(plain) if value is None else Scalar(number(value))


def sentence(text: str) -> Words | None:
    """What the grammar could not read, if it is prose: letters mostly, and no mathematics in LaTeX."""
    text = _unmarked(text)
    if not _SENTENCE.fullmatch(text):
        return None
    letters = sum(character.isalpha() for character in text)
    if letters < 3 or letters * 2 < len(text.replace(" ", "")):
        return None
    return Words(bare(text))


def based(text: str) -> Based | None:
    """ "1010_2", "52_{\\text{eight}}", "1010 (base 2)": digits that exist in that base."""
    if "_" not in text and "base" not in text:
        return None
    found = _BASED.fullmatch(_unmarked(text).replace("{", "").replace("}", ""))
    if found is None:
        return None
    digits, named = found[1].upper(), found[2] or found[3]
    base = int(named) if named.isdigit() else _BASES.get(named, 0)
    if not 2 <= base <= 36 or (not any(character.isdigit() for character in digits) and len(digits) < 2):
        return None
    if not digits[0].isdigit() and not (base > 10 and found[1].isalnum()):
        return None
    if any(int(character, 36) >= base for character in digits):
        return None
    return Based(digits.lstrip("0") or "0", base)


def ratio(text: str) -> Ratio | None:
    """ "2:3", "1:2:3", "12:30", "3:30 pm", "3 to 4"."""
    plain = _unmarked(text)
    half = ""
    if (found := _CLOCK.fullmatch(plain)) and (found[2] or found[4]):
        hours, minutes, half = int(found[1]), int(found[2] or 0), (found[4] or "").lower()
        if hours <= 24 and minutes < 60 and not (half and hours > 12):
            clock = hours % 12 + (12 if half == "p" else 0) if half else hours
            parts = (number(hours), number(minutes))
            return Ratio(parts, Fraction(clock * 60 + minutes) + Fraction(int(found[3] or 0), 60), half)
    pieces = text.split(":") if ":" in text else re.split(r"\s+to\s+|\\text\s*\{\s*to\s*\}", text)
    if not 2 <= len(pieces) <= 6 or "\\{" in text:
        return None
    trees = []
    for piece in pieces:
        try:
            parser = Parser(tokens(piece.strip()))
            trees.append(parser.sum())
        except Unreadable:
            return None
        if parser.at != len(parser.tokens):
            return None
    return Ratio(tuple(trees))


def builder(text: str) -> str:
    """The condition of a set written with one: {x | x > 0} is x > 0."""
    if "|" not in text and ":" not in text:
        return text
    found = _BUILDER.fullmatch(text)
    return found[2] if found else text


def interval_brackets(text: str) -> str:
    """Intervals with outward brackets, ]1,2[ and [1,2[, in the other notation."""
    if not (text.startswith("]") or text.endswith("[")):
        return text
    return _EUROPEAN.sub(
        lambda found: f"{'[' if found[1] == '[' else '('}{found[2]},{found[3]}{']' if found[4] == ']' else ')'}", text
    )


# ---- what a tree is


def from_tree(tree: Tree, decimals: int | None) -> Value:
    """The value of a tree that stands alone."""
    kind = tree[0]
    if kind == "rel":
        return _relation(tree)
    if kind == "seq" and (tree[1] == "\\{" or not has_sign(tree)):
        return _sequence(tree)
    if has_sign(tree):
        return both_signs(Scalar(tree))
    if kind == "set":
        return SetOf(tree)
    if kind == "v" and tree[1].startswith("set "):
        return SetOf(tree)
    matrix = _matrix(tree)
    if matrix is not None:
        return matrix
    if kind == "%":
        return Scalar(tree[1], decimals, None, (), True)
    if kind == "-" and tree[1][0] == "%":
        return Scalar(("-", tree[1][1]), decimals, None, (), True)
    if kind == "deg":
        return Scalar(tree[1], decimals, DEGREE)
    if kind == "-" and tree[1][0] == "deg":
        inner = tree[1][1]
        return Scalar(number(-inner[1]) if inner[0] == "n" else ("-", inner), decimals, DEGREE)
    return Scalar(tree, decimals)


DEGREE = Unit((("degree", 1),), Fraction(1))


def _relation(tree: Tree) -> Value:
    ops, sides = tree[1], tree[2]
    if "~" in ops:  # "\sqrt{2} \approx 1.41": what stands before is meant
        at = ops.index("~")
        if at == 0:
            named = name_of(sides[0])
            return from_tree(sides[1] if named else sides[0], None)
        ops, sides = ops[:at], sides[: at + 1]
    if any(has_sign(side) for side in sides):
        pair = [Relation(ops, tuple(resolved(side, sign) for side in sides)) for sign in (1, -1)]
        return Many("list", tuple(pair))
    if ops == ("=",) and name_of(sides[0]) and sides[1][0] == "deg":
        return Scalar(sides[1][1], None, DEGREE, (), False, name_of(sides[0]))
    if ops == ("=",) and name_of(sides[0]) and sides[1][0] in ("seq", "set"):
        return from_tree(sides[1], None)  # "D = (0, 1)"
    if ops == ("=",) and name_of(sides[0]) and _matrix(sides[1]) is not None:
        return from_tree(sides[1], None)
    if ops == ("=",) and sides[0][0] == "seq" and sides[1][0] == "seq":
        return from_tree(sides[1], None)  # "(x, y) = (1, 2)"
    return Relation(ops, sides)


def _sequence(tree: Tree) -> Value:
    opener, closer, items = tree[1], tree[2], tree[3]
    if opener == "\\{" and closer == "\\}":
        if any(has_sign(item) for item in items):
            items = tuple(resolved(item, sign) for item in items for sign in ((1, -1) if has_sign(item) else (1,)))
        return Many("set", spread(tuple(from_tree(item, None) for item in items)))
    if opener == "\\langle":
        return Matrix(tuple((item,) for item in items))
    if opener == "[" and items and all(item[0] == "seq" and item[1] == "[" for item in items):
        width = {len(item[3]) for item in items}
        if len(width) == 1 and width != {0}:
            return Matrix(tuple(tuple(item[3]) for item in items))
    return Many("bracketed", spread(tuple(from_tree(item, None) for item in items)), opener, closer)


def _matrix(tree: Tree) -> Matrix | None:
    """A matrix, a multiple of one, its transpose, or a sum of unit vectors i, j, k."""
    kind = tree[0]
    if kind == "matrix":
        return Matrix(tree[1])
    if kind == "-" and (inner := _matrix(tree[1])):
        return Matrix(tuple(tuple(("-", cell) for cell in row) for row in inner.rows))
    if kind == "^" and tree[2] == ("v", "T") and tree[1][0] == "seq" and tree[1][1] in "([":
        return Matrix(tuple((item,) for item in tree[1][3]))
    if kind == "^" and tree[2] == ("v", "T") and (inner := _matrix(tree[1])):
        return Matrix(tuple(zip(*inner.rows, strict=True)))
    if kind == "*":
        inside = [
            (part, found) for part in tree[1:] if (found := _matrix(part)) is not None and part[0] in ("matrix", "seq")
        ]
        if len(inside) == 1:
            others = tuple(part for part in tree[1:] if part is not inside[0][0])
            return Matrix(tuple(tuple(("*", *others, cell) for cell in row) for row in inside[0][1].rows))
    if kind in ("+", "*", "-", "v") and _mentions_vectors(tree):
        names = ("unit i", "unit j", "unit k")
        size = 3 if _mentions(tree, "unit k") else 2
        cells = [_substituted(tree, {name: number(int(name == wanted)) for name in names}) for wanted in names[:size]]
        return Matrix(tuple((cell,) for cell in cells))
    return None


def in_unit_vectors(tree: Tree) -> Matrix | None:
    """i + 2j + 3k in plain letters, as a vector; None without a j or k in it."""
    if not (_mentions(tree, "j") or _mentions(tree, "k")):
        return None
    return _matrix(_as_unit_vectors(tree))


def _as_unit_vectors(tree: Any) -> Any:
    if tree in (("c", "i"), ("v", "j"), ("v", "k")):
        return ("v", f"unit {tree[1]}")
    return tuple(_as_unit_vectors(part) for part in tree) if isinstance(tree, tuple) else tree


def _mentions_vectors(tree: Any) -> bool:
    return any(_mentions(tree, name) for name in ("unit i", "unit j", "unit k"))


def _mentions(tree: Any, name: str) -> bool:
    return isinstance(tree, tuple) and (tree == ("v", name) or any(_mentions(part, name) for part in tree))


def _substituted(tree: Any, values: dict[str, Tree]) -> Any:
    if not isinstance(tree, tuple):
        return tree
    if len(tree) == 2 and tree[0] == "v" and tree[1] in values:
        return values[tree[1]]
    return tuple(_substituted(part, values) for part in tree)


def has_sign(tree: Any) -> bool:
    """Whether a plus or minus stands in a tree."""
    return isinstance(tree, tuple) and (tree[:1] in (("pm",), ("mp",)) or any(has_sign(part) for part in tree))


def resolved(tree: Any, sign: int) -> Any:
    """A tree with every plus or minus taken as plus (1) or as minus (-1)."""
    if not isinstance(tree, tuple):
        return tree
    if tree[:1] in (("pm",), ("mp",)):
        inner = resolved(tree[1], sign)
        return inner if (sign if tree[0] == "pm" else -sign) > 0 else ("-", inner)
    return tuple(resolved(part, sign) for part in tree)


def both_signs(value: Scalar) -> Value:
    """The two values of an expression with a plus or minus in it."""
    pair = []
    for sign in (1, -1):
        one = from_tree(resolved(value.tree, sign), None)
        pair.append(
            Scalar(one.tree, None, value.unit or one.unit, value.label, one.percent, value.name)
            if isinstance(one, Scalar)
            else one
        )
    return Many("list", tuple(pair))


def name_of(tree: Tree) -> str:
    """The name that the left side of "x = 5" or "f(x) = 5" is, or ""."""
    if tree[0] in ("v", "abstract"):
        return str(tree[1])
    if tree[0] == "c" and tree[1] in ("e", "i"):
        return str(tree[1])
    if tree[0] == "*" and len(tree) == 3 and tree[1][0] == "v" and tree[2][0] in ("v", "n", "seq"):
        return str(tree[1][1])  # "P(x)": a letter beside brackets
    return ""


def _apart(relations: list[Relation]) -> bool:
    """ "x <= -3, x >= 3": with only a comma between, two conditions that cannot both hold are meant as either."""
    if len(relations) != 2 or any(len(one.ops) != 1 or one.sides[1][0] != "n" for one in relations):
        return False
    first, second = sorted(relations, key=lambda one: one.sides[1][1])
    return first.sides[0] == second.sides[0] and first.ops[0] in ("<", "<=") and second.ops[0] in (">", ">=")


def spread(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """1, 2, ..., 10 written out, where the step is plain; as it stands otherwise."""
    dots = Scalar(("v", "..."))
    if items.count(dots) != 1 or not 2 <= items.index(dots) == len(items) - 2:
        return items
    values = [item.tree[1] for item in items if isinstance(item, Scalar) and item.tree[0] == "n"]
    if len(values) != len(items) - 1:
        return items
    step = values[1] - values[0]
    steps = {b - a for a, b in itertools.pairwise(values[:-1])}
    count = (values[-1] - values[0]) / step + 1 if step else 0
    if steps != {step} or count != int(count) or not len(values) <= count <= 64:
        return items
    return tuple(Scalar(number(values[0] + index * step)) for index in range(int(count)))


def together(values: list[Any], joints: set[str]) -> Value:
    """Several values at the top: a list of numbers, conditions, or a union of sets."""
    flat: list[Any] = []
    for value in values:
        flat.extend(value.items if isinstance(value, Many) and value.kind == "list" else [value])
    if all(isinstance(value, Relation) and value.ops != ("=",) for value in flat):
        if all(value.ops == ("!=",) for value in flat):
            return Conditions(tuple(flat), any=False)
        return Conditions(tuple(flat), any="or" in joints or (joints == {","} and _apart(flat)))
    if len(flat) == 2 and all(isinstance(value, Scalar) and value.unit is not None for value in flat):
        first, second = flat  # "1 hour and 30 minutes" is one quantity; "90 degrees and 60 degrees" are two
        if (
            first.unit.dimensions == second.unit.dimensions
            and first.unit.factor > second.unit.factor
            and "or" not in joints
        ):
            share = number(second.unit.factor / first.unit.factor)
            return Scalar(("+", first.tree, ("*", second.tree, share)), None, first.unit)
    return Many("list", spread(tuple(flat)))
