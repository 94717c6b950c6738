"""Quantities in a unit that was asked for: 3.5 km is 3500 m and not 3500 km. Not for questions that leave the unit open.

reference: value, an integer or text that is a number ("3500", "7/2"); unit, a name of UNITS.

The answer is a number, exactly equal (no tolerance: the factors are exact, see UNITS), alone or followed by the unit that was
asked for, by name, plural or symbol. Another unit is wrong even where it makes the quantity right, since it was asked in this.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.numbers import parse_number
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require


class Unit(NamedTuple):
    """What it measures, how many of that measure's base unit it is, exactly, and how it may be written."""

    measure: str
    factor: Fraction
    written: tuple[str, ...]


def _unit(measure: str, factor: str | int, *written: str) -> Unit:
    return Unit(measure, Fraction(factor), written)


# Factors are exact by definition: the inch is 2.54 cm, the pound 0.45359237 kg (international yard and pound agreement of
# 1959); pints and gallons are the United States' liquid ones (231 cubic inches a gallon). Months and years are left out:
# they have no fixed length. Temperatures are left out: they are no factor.
UNITS: dict[str, Unit] = {
    "millimetre": _unit("length", "1/1000", "millimetres", "millimeter", "millimeters", "mm"),
    "centimetre": _unit("length", "1/100", "centimetres", "centimeter", "centimeters", "cm"),
    "metre": _unit("length", 1, "metres", "meter", "meters", "m"),
    "kilometre": _unit("length", 1000, "kilometres", "kilometer", "kilometers", "km"),
    "inch": _unit("length", "254/10000", "inches", "in"),
    "foot": _unit("length", "3048/10000", "feet", "ft"),
    "yard": _unit("length", "9144/10000", "yards", "yd"),
    "mile": _unit("length", "1609344/1000", "miles", "mi"),
    "milligram": _unit("mass", "1/1000", "milligrams", "mg"),
    "gram": _unit("mass", 1, "grams", "g"),
    "kilogram": _unit("mass", 1000, "kilograms", "kg"),
    "tonne": _unit("mass", 1000000, "tonnes", "t"),
    "ounce": _unit("mass", "45359237/1600000", "ounces", "oz"),
    "pound": _unit("mass", "45359237/100000", "pounds", "lb", "lbs"),
    "second": _unit("time", 1, "seconds", "s", "sec"),
    "minute": _unit("time", 60, "minutes", "min"),
    "hour": _unit("time", 3600, "hours", "h", "hr"),
    "day": _unit("time", 86400, "days", "d"),
    "week": _unit("time", 604800, "weeks"),
    "millilitre": _unit("volume", "1/1000", "millilitres", "milliliter", "milliliters", "ml"),
    "litre": _unit("volume", 1, "litres", "liter", "liters", "l"),
    "cubic metre": _unit("volume", 1000, "cubic metres", "cubic meter", "cubic meters", "m^3", "m³"),
    "pint": _unit("volume", "473176473/1000000000", "pints", "pt"),
    "gallon": _unit("volume", "3785411784/1000000000", "gallons", "gal"),
    "square metre": _unit("area", 1, "square metres", "square meter", "square meters", "m^2", "m²"),
    "hectare": _unit("area", 10000, "hectares", "ha"),
    "square kilometre": _unit("area", 1000000, "square kilometres", "square kilometers", "km^2", "km²"),
    "square centimetre": _unit("area", "1/10000", "square centimetres", "square centimeters", "cm^2", "cm²"),
    "metre per second": _unit("speed", 1, "metres per second", "meters per second", "m/s"),
    "kilometre per hour": _unit("speed", "1000/3600", "kilometres per hour", "kilometers per hour", "km/h", "kmh"),
    "mile per hour": _unit("speed", "1609344/3600000", "miles per hour", "mph"),
}
# The number ends where the unit begins: after the last digit, % or closing brace that a letter or nothing follows.
_UNIT = re.compile(r"(?P<number>.*[0-9.}%])\s*(?P<unit>[^\W\d_][^\d]*(?:\^[23]|[²³])?)", re.DOTALL)


class Puzzle(NamedTuple):
    """How many of which unit."""

    value: Fraction
    unit: str


def verify_quantity(problem: Problem, response: str) -> Verdict:
    """Right where the answer is exactly the value, with no unit or with the unit asked for."""
    return judged(response, lambda: read(problem.reference["value"], problem.reference["unit"]), check)


def read(value: Any, unit: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle."""
    require(isinstance(unit, str) and unit in UNITS, f"the unit {unit!r:.40} is none of {', '.join(UNITS)}")
    number = parse_number(value) if isinstance(value, str) else Fraction(value) if is_whole(value) else None
    require(number is not None, f"the value {value!r:.40} is not a number")
    assert number is not None
    return Puzzle(number, unit)


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    plain = text.strip().removesuffix(".")
    said = parse_number(plain) if not any(sign in plain for sign in "%$€£") else None
    if said is None:
        found = _UNIT.fullmatch(plain)
        said = parse_number(found["number"]) if found and "%" not in plain else None
        if found is None or said is None:
            raise Refused("not a number, alone or with its unit")
        unit = UNITS[puzzle.unit]
        name = " ".join(found["unit"].split())
        if not _names(name, (puzzle.unit, *unit.written)):
            raise Refused(f"is given in {name[:40]!r}, but was asked in {unit.written[0]}")
    if said != puzzle.value:
        raise Refused(f"does not equal {shown(puzzle.value)}")
    return f"equals {shown(puzzle.value)} {UNITS[puzzle.unit].written[0]}"


def _names(said: str, written: tuple[str, ...]) -> bool:
    """Case is forgiven but in a symbol's M, which would be mega: Mm is not mm."""
    symbol = len(said) <= 3 and said[0] == "M"
    return said in written or (not symbol and said.casefold() in [one.casefold() for one in written])


def convert(value: Fraction, unit: str, into: str) -> Fraction:
    """The same quantity in another unit of the same measure, exactly."""
    assert UNITS[unit].measure == UNITS[into].measure
    return value * UNITS[unit].factor / UNITS[into].factor


def shown(value: Fraction) -> str:
    """A fraction as a plain decimal where that is exact, else as a/b: "3.5", "1/3"."""
    places, rest = 0, value.denominator
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        places = max(places, count)
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, part = (digits[:-places], digits[-places:]) if places else (digits, "")
    return ("-" if value < 0 else "") + whole + (f".{part}" if part else "")
