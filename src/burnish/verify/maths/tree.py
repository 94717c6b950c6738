"""What an answer can be: the typed values a text is read into, and the expression trees inside them.

Not for reading or comparing. A tree is nested tuples, so that equal texts give equal (and hashable) trees:

    ("n", Fraction)               a number                 ("v", name)         a variable
    ("c", "pi" | "e" | "i" | "inf")  a constant            ("+", a, b, ...)    a sum
    ("*", a, b, ...)              a product                ("/", a, b)         a quotient
    ("^", a, b)                   a power                  ("-", a)            negation
    ("f", name, a, ...)           a function               ("pm", a) ("mp", a) plus or minus
    ("%", a)  ("deg", a)          percent, degrees         ("seq", open, close, (items))  anything in brackets
    ("sum", name, low, high, body)  ("prod", ...)          ("matrix", (rows))  ("det", (rows))
    ("rel", (ops), (sides))       a relation, maybe a chain
    ("set", op, a, b)             union, intersection, difference
    ("abstract", name, args)      a function nobody defined: f(x)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Tree = tuple[Any, ...]

ZERO: Tree = ("n", Fraction(0))
ONE: Tree = ("n", Fraction(1))


def names(text: str) -> tuple[str, ...]:
    """The words of a text: for tables that are easier to read in lines."""
    return tuple(text.split())


def number(value: int | Fraction) -> Tree:
    return ("n", Fraction(value))


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that was recognised: base dimensions with their powers, and how many base units one of it is."""

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number or expression: `5`, `\\frac{1}{2}`, `x^2+1`, `5 cm`, `12 apples`, `x = 5`.

    decimals  digits after the point where it was written as a plain decimal, else None
    name      the left side where it was written as `x = ...`, else ""
    label     words after the number that are no known unit
    """

    tree: Tree
    decimals: int | None = None
    unit: Unit | None = None
    label: tuple[str, ...] = ()
    percent: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Many:
    """Several values. kind: "list" (bare, commas or "and"), "set", "tuple", or "bracketed" with its two brackets."""

    kind: str
    items: tuple[Any, ...]
    open: str = ""
    close: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of trees; a vector is one row or one column."""

    rows: tuple[tuple[Tree, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation or inequality, maybe a chain: sides a, b, c with ops between them."""

    ops: tuple[str, ...]
    sides: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Relations joined: "x < 1 or x > 3" (any) or "x > 1 and x < 3" (all)."""

    parts: tuple[Relation, ...]
    any: bool


@dataclass(frozen=True, slots=True)
class SetOf:
    """A set by operations: union, intersection and difference of intervals, finite sets and named sets."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Words:
    """Text: what is left when case, articles, punctuation and markup are taken off."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple choice, and what stood beside it."""

    letter: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with the base they are in: 1010_2."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """a : b : c. `clock` holds minutes after midnight where it can also be a time of day, `half` is am, pm or ""."""

    parts: tuple[Tree, ...]
    clock: Fraction | None = None
    half: str = ""


Value = Scalar | Many | Matrix | Relation | Conditions | SetOf | Words | Choice | Based | Ratio


@dataclass(frozen=True, slots=True)
class Rules:
    """What the task allows: a tolerance of its own (None for the usual rule), whether units must be there."""

    absolute: Fraction | None = None
    relative: Fraction | None = None
    units: str = "optional"


@dataclass(frozen=True, slots=True)
class Reading:
    """A text and what it was read as; `value` None and `why` where it could not be."""

    text: str
    value: Value | None
    why: str = ""
    symbolic: bool = field(default=False)
