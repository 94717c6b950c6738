"""Units and currencies: their names, what they measure, and how many base units each is.

Not for dimensional algebra beyond products, quotients and powers of units. Temperatures are not converted into each
other, and currencies have no rates.
"""

from __future__ import annotations

from fractions import Fraction

from burnish.verify.maths.tokens import Token
from burnish.verify.maths.tree import Unit, names

_LENGTH: dict[str, Fraction] = {
    "m": Fraction(1),
    "inch": Fraction(254, 10_000),
    "foot": Fraction(3_048, 10_000),
    "yard": Fraction(9_144, 10_000),
    "mile": Fraction(1_609_344, 1_000),
}
_BASE: dict[str, tuple[dict[str, int], Fraction]] = {
    **{name: ({"length": 1}, factor) for name, factor in _LENGTH.items()},
    "g": ({"mass": 1}, Fraction(1)),
    "tonne": ({"mass": 1}, Fraction(10**6)),
    "pound": ({"mass": 1}, Fraction(45_359_237, 100_000)),
    "ounce": ({"mass": 1}, Fraction(45_359_237, 1_600_000)),
    "s": ({"time": 1}, Fraction(1)),
    "minute": ({"time": 1}, Fraction(60)),
    "hour": ({"time": 1}, Fraction(3_600)),
    "day": ({"time": 1}, Fraction(86_400)),
    "week": ({"time": 1}, Fraction(604_800)),
    "month": ({"month": 1}, Fraction(1)),
    "year": ({"month": 1}, Fraction(12)),
    "decade": ({"month": 1}, Fraction(120)),
    "L": ({"length": 3}, Fraction(1, 1_000)),
    "gallon": ({"gallon": 1}, Fraction(1)),
    "quart": ({"gallon": 1}, Fraction(1, 4)),
    "pint": ({"gallon": 1}, Fraction(1, 8)),
    "hectare": ({"length": 2}, Fraction(10_000)),
    "acre": ({"length": 2}, Fraction(40_468_564_224, 10_000_000)),
    "dollar": ({"dollar": 1}, Fraction(1)),
    "cent": ({"dollar": 1}, Fraction(1, 100)),
    "euro": ({"euro": 1}, Fraction(1)),
    "sterling": ({"sterling": 1}, Fraction(1)),
    "pence": ({"sterling": 1}, Fraction(1, 100)),
    "rupee": ({"rupee": 1}, Fraction(1)),
    "yen": ({"yen": 1}, Fraction(1)),
    "won": ({"won": 1}, Fraction(1)),
    "degree": ({"degree": 1}, Fraction(1)),
    "radian": ({"radian": 1}, Fraction(1)),
    "celsius": ({"celsius": 1}, Fraction(1)),
    "fahrenheit": ({"fahrenheit": 1}, Fraction(1)),
    "K": ({"kelvin": 1}, Fraction(1)),
    "N": ({"mass": 1, "length": 1, "time": -2}, Fraction(1_000)),
    "J": ({"mass": 1, "length": 2, "time": -2}, Fraction(1_000)),
    "W": ({"mass": 1, "length": 2, "time": -3}, Fraction(1_000)),
    "Pa": ({"mass": 1, "length": -1, "time": -2}, Fraction(1_000)),
    "Hz": ({"time": -1}, Fraction(1)),
    "A": ({"current": 1}, Fraction(1)),
    "V": ({"mass": 1, "length": 2, "time": -3, "current": -1}, Fraction(1_000)),
    "ohm": ({"mass": 1, "length": 2, "time": -3, "current": -2}, Fraction(1_000)),
    "mol": ({"mole": 1}, Fraction(1)),
    "unit": ({}, Fraction(1)),
}
_ALIASES = {
    "m": "metre metres meter meters",
    "inch": "inches in ins",
    "foot": "feet ft",
    "yard": "yards yd yds",
    "mile": "miles mi",
    "g": "gram grams gm gms gramme grammes",
    "tonne": "tonnes ton tons",
    "pound": "pounds lb lbs",
    "ounce": "ounces oz",
    "s": "second seconds sec secs",
    "minute": "minutes min mins",
    "hour": "hours hr hrs h",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "decade": "decades",
    "L": "litre litres liter liters l",
    "gallon": "gallons gal",
    "quart": "quarts qt",
    "pint": "pints",
    "hectare": "hectares ha",
    "acre": "acres",
    "dollar": "dollars USD usd bucks",
    "cent": "cents ¢ c",
    "euro": "euros EUR eur",
    "sterling": "GBP gbp quid",
    "pence": "penny",
    "rupee": "rupees Rs rs Rupees INR",
    "degree": "degrees deg °",
    "radian": "radians rad rads",
    "celsius": "C Celsius",
    "fahrenheit": "F Fahrenheit",
    "K": "kelvin kelvins",
    "N": "newton newtons",
    "J": "joule joules",
    "W": "watt watts",
    "Pa": "pascal pascals",
    "Hz": "hertz",
    "A": "ampere amperes amp amps",
    "V": "volt volts",
    "ohm": "ohms",
    "mol": "mole moles",
    "unit": "units",
}
_PREFIXES = {"k": 3, "c": -2, "m": -3, "d": -1, "M": 6, "n": -9}
_LONG_PREFIXES = {"kilo": 3, "centi": -2, "milli": -3, "deci": -1, "mega": 6, "nano": -9, "micro": -6, "giga": 9}
_SHAPES = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_SINGLE = frozenset(names("m g s h L l A V N J W K C F c"))
"""One letter, so a unit only where it is set apart as text, or where the other side has a unit too."""
CURRENCIES = frozenset(("dollar", "euro", "sterling", "rupee", "yen", "won"))

_TABLE: dict[str, Unit] = {}


def _fill() -> None:
    for name, (dimensions, factor) in _BASE.items():
        unit = Unit(tuple(sorted(dimensions.items())), factor)
        for alias in (name, *_ALIASES.get(name, "").split()):
            _TABLE[alias] = unit
    for symbol in ("m", "g", "L", "l", "s", "N", "J", "W", "Pa", "Hz", "A", "V", "mol"):
        for prefix, power in _PREFIXES.items():
            unit = _TABLE[symbol]
            _TABLE.setdefault(prefix + symbol, Unit(unit.dimensions, unit.factor * Fraction(10) ** power))
    for word in (
        "metre",
        "metres",
        "meter",
        "meters",
        "gram",
        "grams",
        "litre",
        "litres",
        "liter",
        "liters",
        "seconds",
    ):
        for prefix, power in _LONG_PREFIXES.items():
            unit = _TABLE[word]
            _TABLE[prefix + word] = Unit(unit.dimensions, unit.factor * Fraction(10) ** power)
    for alias, meant in (("cc", "cm"), ("kph", "km"), ("kmph", "km"), ("kmh", "km"), ("mph", "mile")):
        length = _TABLE[meant]
        if alias == "cc":
            _TABLE[alias] = Unit((("length", 3),), length.factor**3)
        else:
            _TABLE[alias] = Unit((("length", 1), ("time", -1)), length.factor / 3_600)
    _TABLE["kilo"] = _TABLE["kilos"] = _TABLE["kgs"] = _TABLE["kg"]
    _TABLE["kms"], _TABLE["cms"] = _TABLE["km"], _TABLE["cm"]


_fill()


def known(word: str) -> Unit | None:
    """The unit of that name; capitals are forgiven in words of more than two letters."""
    found = _TABLE.get(word)
    if found is None and len(word) > 2:
        found = _TABLE.get(word.lower())
    return found


def is_shape(word: str) -> bool:
    """Whether a word makes areas and volumes of the unit after it: square, cubic."""
    return word in _SHAPES


def is_single(word: str) -> bool:
    """Whether this is a unit of one letter."""
    return word in _SINGLE


def unit_of(tokens: list[Token]) -> Unit | None:
    """The unit that these tokens are, all of them; None where they are not one.

    cm, cm^2, square feet, km/h, miles per hour, m/s^2, m s^{-1}, cubic centimetres.
    """
    dimensions: dict[str, int] = {}
    factor = Fraction(1)
    sign, shape, last = 1, 1, None
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        word = token.text
        if word in ("/", "per", "an") or (word == "a" and last):
            sign = -1
            continue
        if word in ("*", "\\cdot", "(", ")", "{", "}"):
            continue
        if word in _SHAPES and not (word in ("squared", "cubed") and last is None):
            if word in ("squared", "cubed") and last is not None:
                factor = _multiplied(dimensions, factor, last, (_SHAPES[word] - 1) * sign)
            else:
                shape = _SHAPES[word]
            continue
        unit = known(word)
        if unit is None or token.kind not in ("word", "text", "letter"):
            return None
        power, at = _power(tokens, at)
        if power is None:
            return None
        factor = _multiplied(dimensions, factor, unit, power * shape * sign)
        shape, last = 1, unit
    if last is None or shape != 1:
        return None
    return Unit(tuple(sorted((name, power) for name, power in dimensions.items() if power)), factor)


def _power(tokens: list[Token], at: int) -> tuple[int | None, int]:
    """The power after a unit and where reading goes on: ^2, ^{-1}, or nothing."""
    if at >= len(tokens) or tokens[at].text != "^":
        return 1, at
    rest = [token for token in tokens[at + 1 : at + 5] if token.text not in ("{", "}")]
    negative = bool(rest) and rest[0].text == "-"
    digits = rest[1] if negative and len(rest) > 1 else rest[0] if rest else None
    if digits is None or digits.text not in ("1", "2", "3", "4"):
        return None, at
    end = at + 1
    while end < len(tokens) and tokens[end] is not digits:
        end += 1
    end += 1
    if end < len(tokens) and tokens[end].text == "}":
        end += 1
    return (-1 if negative else 1) * int(digits.text), end


def _multiplied(dimensions: dict[str, int], factor: Fraction, unit: Unit, power: int) -> Fraction:
    for name, own in unit.dimensions:
        dimensions[name] = dimensions.get(name, 0) + own * power
    return factor * unit.factor**power
