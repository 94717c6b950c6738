"""Unit conversion with exact factors and answers that are short decimals. Not for judging one (burnish.verify.puzzles.units)."""

from __future__ import annotations

import random
from fractions import Fraction

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.units import UNITS, convert, shown

_GROUPS: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (
        ("millimetre", "centimetre", "metre", "kilometre"),
        ("milligram", "gram", "kilogram", "tonne"),
        ("millilitre", "litre"),
    ),
    2: (("second", "minute", "hour", "day", "week"), ("inch", "foot", "yard", "mile"), ("pound", "ounce")),
    3: (
        ("square centimetre", "square metre", "hectare", "square kilometre"),
        ("millilitre", "litre", "cubic metre"),
        ("metre per second", "kilometre per hour"),
    ),
    4: (
        ("inch", "centimetre", "foot", "metre", "yard", "mile", "kilometre"),
        ("pound", "gram", "kilogram", "ounce"),
        ("gallon", "pint", "litre"),
        ("mile per hour", "kilometre per hour", "metre per second"),
    ),
}
_GROUPS[5] = _GROUPS[4]
_LONGEST = {1: 7, 2: 6, 3: 9, 4: 9, 5: 12}  # characters of the answer


class Units(Puzzle):
    """Convert a quantity. The factors are exact (an inch is 2.54 cm), so the answer is exact too."""

    name = "unit_conversion"
    verifier = "quantity"
    asked = "the number alone, exactly,"
    levels = (
        "metric lengths, masses and volumes",
        "times, and lengths and masses within the imperial system",
        "areas, volumes and speeds",
        "between the metric and the imperial system, with an exact answer",
        "a sum of two quantities in different units, into a third one",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        group = rng.choice(_GROUPS[level])
        if level == 5:
            if len(group) < 3:
                return None
            one, other, into = rng.sample(group, 3)
            parts = [(_amount(rng, level), one), (_amount(rng, level), other)]
        else:
            one, into = rng.sample(group, 2)
            parts = [(_amount(rng, level), one)]
        answer = sum((convert(value, unit, into) for value, unit in parts), Fraction(0))
        text = shown(answer)
        if "/" in text or len(text) > _LONGEST[level] or answer < Fraction(1, 1000):
            return None
        told = " and ".join(f"{shown(value)} {_named(value, unit)}" for value, unit in parts)
        verb = "are" if len(parts) > 1 or parts[0][0] != 1 else "is"
        question = f"How many {UNITS[into].written[0]} {verb} {told}{' together' if len(parts) > 1 else ''}?"
        return Draft((question,), (question, text, into))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        question, text, into = draft.plan
        return Made(question, {"value": text, "unit": into}, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        value, unit = problem.reference["value"], problem.reference["unit"]
        return f"It is {value} {UNITS[unit].written[0]}.", str(value)


def _amount(rng: random.Random, level: int) -> Fraction:
    if rng.random() < 0.5 or level == 2:
        return Fraction(rng.randint(2, 500))
    return Fraction(rng.randint(11, 9999), rng.choice((10, 100)))


def _named(value: Fraction, unit: str) -> str:
    return unit if value == 1 else UNITS[unit].written[0]
