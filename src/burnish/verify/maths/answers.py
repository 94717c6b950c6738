r"""A whole answer becomes a typed value: what kind of thing it is, its units, its parts.

Not for expressions (see `grammar`) or comparison (see `compare`). Readings are cached: the rollouts of one problem share
their gold answer, and often their answers.
"""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from burnish.verify.maths import shapes
from burnish.verify.maths.grammar import Parser, Symbolic
from burnish.verify.maths.normalise import Unreadable, plain
from burnish.verify.maths.tokens import Token, tokens
from burnish.verify.maths.tree import Many, Reading, Relation, Scalar, Tree, Unit, Value, number
from burnish.verify.maths.units import CURRENCIES, is_shape, is_single, known, unit_of
from burnish.verify.maths.vocabulary import RELATIONS
from burnish.verify.maths.words import CHANGES_THE_NUMBER, SCALES, singular

Units = Literal["", "spaced", "any"]
ITEMS = 64
_LABEL = 6

_NUMBER = re.compile(r"[+-]?(?:\d{1,300}(?:\.(\d{1,300}))?|\.(\d{1,300}))")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_OPEN, _CLOSE = frozenset(("(", "[", "\\{", "{", "\\langle")), frozenset((")", "]", "\\}", "}", "\\rangle"))
_AND, _OR = frozenset(("and", "\\land", "&")), frozenset(("or", "\\lor", "\\vee"))
_TAIL = re.compile(
    r"(?:,\s*)?(?:\\(?:text|mathrm)\s*\{\s*)?\b(?:where|for (?:all|any|every|each|some)|for \$?[a-z]\$? ?(?:\\in|=|>|<|\\ge)"
    r"|with [a-z] ?\\in|as the|in the interval)\b.*",
    re.DOTALL,
)
_TEXT_FRACTION = re.compile(
    r"\\frac\s*\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}\s*\}"
)
_UNIT_LETTER = re.compile(r"\d\s*[mgshLlANVJWK]\b")
_PERCENT = (["percent"], ["per", "cent"], ["percentage"], ["pct"], ["percents"])
_DEGREE = Unit((("degree", 1),), Fraction(1))


@lru_cache(maxsize=8192)
def read(text: str, lists: bool = False, units: Units = "") -> Reading:
    """What a text is. Never raises; a Reading without a value says why.

    lists  commas separate values even where they could stand in a number: "100,200" is two numbers
    units  whether one letter after a number may be a unit: never, where a space stands between, or always
    """
    try:
        return Reading(text, _value(plain(text), lists, units))
    except Symbolic as error:
        return Reading(text, None, str(error), symbolic=True)
    except Unreadable as error:
        return Reading(text, None, str(error))
    except RecursionError:
        return Reading(text, None, "nested too deep")


def ambiguous(text: str) -> bool:
    """Whether commas in this text may stand in numbers or between them."""
    return _THOUSANDS.search(text) is not None


def _value(text: str, lists: bool, units: Units) -> Value:
    if not text:
        raise Unreadable("empty")
    if found := _NUMBER.fullmatch(text):
        part = found[1] or found[2]
        return Scalar(number(Fraction(text)), len(part) if part else None)
    for form in (shapes.choice, shapes.words, shapes.based, shapes.ratio):
        if (value := form(text)) is not None:
            return value
    text = shapes.interval_brackets(shapes.builder(text))
    text = _TEXT_FRACTION.sub(r"\\text{\1}/\\text{\2}", _TAIL.sub("", text)).strip().rstrip(",;")
    if not lists:
        text = _joined(text)
    try:
        return _many(tokens(text), units)
    except Symbolic:
        raise
    except Unreadable:
        if not units and _UNIT_LETTER.search(text):
            with contextlib.suppress(Unreadable):  # "17 m/sec", "3m 60cm": letters that can only be units
                return _many(tokens(text), "any")
        value = shapes.sentence(text)
        if value is None:
            raise
        return value


def _joined(text: str) -> str:
    """Without the commas in numbers: "1,234" is one number at the top; in brackets, or beside ", ", only if so spaced."""
    if "," not in text or not _THOUSANDS.search(text):
        return text
    joined = _THOUSANDS.sub(lambda found: found.group().replace(",", ""), text)
    rest = joined.count(",")
    if rest and joined.count(", ") < rest:
        return text
    bracketed = any(bracket in text for bracket in ("(", "[", "\\{"))
    return text if bracketed and not rest else joined


# ---- several values


def _many(parts: list[Token], units: Units) -> Value:
    segments, joints = _split(parts)
    if len(segments) == 1:
        return _item(segments[0], units)
    if len(segments) > ITEMS:
        raise Unreadable(f"a list of more than {ITEMS} values")
    values: list[Value] = []
    for segment in segments:
        if not segment:
            raise Unreadable("an empty place in a list")
        if [token.text for token in segment] == ["\\ldots"]:
            values.append(Scalar(("v", "...")))
            continue
        values.append(_item(segment, units))
    return shapes.together(values, joints)


def _split(parts: list[Token]) -> tuple[list[list[Token]], set[str]]:
    """The segments between the commas, semicolons, "and" and "or" that stand in no brackets; and which there were."""
    depth = 0
    segments: list[list[Token]] = [[]]
    joints: set[str] = set()
    for token in parts:
        structural = token.kind in ("op", "cmd")
        if structural and token.text in _OPEN:
            depth += 1
        elif structural and token.text in _CLOSE:
            depth -= 1
        joint = ""
        if depth == 0:
            if structural and token.text in (",", ";"):
                joint = ","
            elif token.text in _AND and token.kind != "op":
                joint = "and"
            elif token.text in _OR:
                joint = "or"
        if not joint:
            segments[-1].append(token)
            continue
        joints.add(joint)
        if segments[-1] or joint == ",":  # "1, 2, and 3": the comma and the word are one joint
            segments.append([])
    if not segments[-1] and len(segments) > 1:
        raise Unreadable("a list that ends in the middle")
    return segments, joints


# ---- one value


def _item(parts: list[Token], units: Units) -> Value:
    parts, currency = _currency(_right_side(parts))
    if not parts:
        raise Unreadable("empty")
    cut = _unit_cut(parts, units)
    parser = Parser(list(parts[:cut]))
    tree = parser.relation()
    rest = parser.tokens[parser.at :] + parts[cut:]
    decimals = _decimals(parts[: len(parts) - len(rest)])
    while rest and rest[0].text.lower() in SCALES and tree[0] == "n":
        tree = number(tree[1] * SCALES[rest[0].text.lower()])
        rest, decimals = rest[1:], None
    unit, label, percent, more = _tail(rest)
    if more:
        return _compound(tree, unit, more, units)
    if currency is not None:
        if unit is None and not label:
            unit = currency
        elif unit is not None and (unit.dimensions != currency.dimensions):
            unit = Unit(tuple(sorted({**dict(unit.dimensions), **dict(currency.dimensions)}.items())), unit.factor)
    if unit is None and not label and not percent:
        return shapes.from_tree(tree, decimals)
    name = ""
    if tree[0] == "rel":
        if tree[1][-1] != "=" or len(tree[1]) != 1:
            raise Unreadable("a relation with a unit")
        name, tree = shapes.name_of(tree[2][0]), tree[2][1]
    if tree[0] == "seq":
        return shapes.from_tree(tree, None)  # "(3, 4) cm": points carry no unit here
    if percent or tree[0] == "%":
        return Scalar(tree[1] if tree[0] == "%" else tree, decimals, None, label, True, name)
    if shapes.has_sign(tree):
        return shapes.both_signs(Scalar(tree, None, unit, label, False, name))
    return Scalar(tree, decimals, unit, label, False, name)


def _right_side(parts: list[Token]) -> list[Token]:
    """Without what only names the answer: "Area = ", "x \\in ", "\\approx " at the start."""
    if parts and parts[0].text in ("\\approx", "=", "\\implies", "\\to", ":", "\\therefore", "\\Rightarrow"):
        parts = parts[1:]
    depth = 0
    for index, token in enumerate(parts):
        if token.kind in ("op", "cmd"):
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
            if depth == 0 and token.text == "\\in" and index:
                return parts[index + 1 :]
            if depth == 0 and token.text in ("=", "\\approx") and index:
                left = parts[:index]
                wordy = any(one.kind == "text" or (one.kind == "word" and len(one.text) > 3) for one in left)
                if wordy and not any(one.kind in ("num",) or one.text.startswith("\\frac") for one in left):
                    return _right_side(parts[index + 1 :])
                break
            if depth == 0 and token.text in RELATIONS:
                break
    return parts


def _currency(parts: list[Token]) -> tuple[list[Token], Unit | None]:
    """Takes a currency off that stands before its number: "$5", "-$5", "USD 5"."""
    for index, token in enumerate(parts[:4]):
        if token.kind in ("word", "text") and index + 1 < len(parts):
            unit = known(token.text)
            following = parts[index + 1]
            if (
                unit is not None
                and unit.dimensions
                and unit.dimensions[0][0] in CURRENCIES
                and following.kind in ("num", "cmd", "op")
            ):
                before_number = following.kind == "num" or following.text in ("-", "\\frac", "{", "(")
                if (
                    before_number
                    and all(one.kind in ("op", "letter") for one in parts[:index])
                    and not (index == 1 and parts[0].kind == "letter")
                ):
                    return parts[:index] + parts[index + 1 :], unit
    return parts, None


def _unit_cut(parts: list[Token], units: Units) -> int:
    """Where the unit begins that letters at the end may be; the length where they are none."""
    start = len(parts)
    while start > 1 and (
        parts[start - 1].kind in ("letter", "word", "text")
        or parts[start - 1].text in ("^", "/", "{", "}", "-", "2", "3", "1")
    ):
        start -= 1
    for index in range(max(start, 1), len(parts)):
        token, previous = parts[index], parts[index - 1]
        if token.kind not in ("letter", "word", "text") or previous.text in ("^", "/", "_", "{", "*", "\\cdot"):
            continue
        if previous.kind in ("letter", "word") and units != "any":
            continue
        named = known(token.text) is not None or is_shape(token.text)
        clear = token.kind == "text" or (token.kind == "word" and named and not is_single(token.text))
        letter = is_single(token.text) and (units == "any" or (units == "spaced" and token.spaced))
        if (clear or letter) and unit_of(parts[index:]) is not None:
            return index
    return len(parts)


def _tail(rest: list[Token]) -> tuple[Unit | None, tuple[str, ...], bool, list[Token]]:
    """What stands after a value: its unit, a label, whether per cent, and the rest of a compound ("6 inches")."""
    if not rest:
        return None, (), False, []
    spelled = [token.text.lower() for token in rest]
    if spelled in _PERCENT:
        return None, (), True, []
    following = next(
        (
            index
            for index, token in enumerate(rest)
            if token.kind == "num" and rest[index - 1].text not in ("^", "{", "-")
        ),
        0,
    )
    if following:
        unit = unit_of([token for token in rest[:following] if token.text != ","])
        if unit is None:
            raise Unreadable(f"{rest[0].text[:20]!r} after a number")
        return unit, (), False, rest[following:]
    if len(rest) > 2 and rest[0].text == "(" and rest[-1].text == ")":
        rest = rest[1:-1]
    unit = unit_of(rest)
    if unit is not None:
        return unit, (), False, []
    allowed = all(token.kind in ("word", "text", "letter") or token.text in ("-", "/", "'", "(", ")") for token in rest)
    texts = [token.text.lower() for token in rest if token.kind in ("word", "text", "letter")]
    if not allowed or not texts or len(texts) > _LABEL or CHANGES_THE_NUMBER & set(texts) or rest[0].kind == "letter":
        raise Unreadable(f"{rest[0].text[:20]!r} after a value")
    for cut in range(len(rest) - 1, 0, -1):  # "5 cm long": the unit counts, the words after it do not
        if (unit := unit_of(rest[:cut])) is not None:
            return unit, (), False, []
    return None, tuple(singular(word) for word in texts), False, []


def _compound(tree: Tree, unit: Unit | None, more: list[Token], units: Units) -> Value:
    """ "5 feet 6 inches": a sum of quantities of one dimension, each smaller than the one before."""
    rest = _item(more, units)
    if unit is None or not isinstance(rest, Scalar) or rest.unit is None or rest.unit.dimensions != unit.dimensions:
        raise Unreadable("quantities that do not add up")
    if rest.unit.factor >= unit.factor:
        raise Unreadable("quantities in the wrong order")
    share = number(rest.unit.factor / unit.factor)
    return Scalar(("+", tree, ("*", rest.tree, share)), None, unit)


def _decimals(parts: list[Token]) -> int | None:
    """Digits after the point where this is a plain decimal, with or without a sign."""
    while parts and parts[0].text in ("-", "+"):
        parts = parts[1:]
    if not parts or parts[0].kind != "num" or "." not in parts[0].text or "e" in parts[0].text.lower():
        return None
    return len(parts[0].text.partition(".")[2]) if len(parts) == 1 or parts[1].text in ("%", "^") else None


__all__ = ["ITEMS", "Many", "Relation", "ambiguous", "read"]
