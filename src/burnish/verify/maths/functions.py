"""Functions of one or a few complex numbers, as people write them: real roots of negative numbers, degrees apart.

Not for exact values. Arguments are bounded before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from burnish.verify.maths.evaluate import _ARGUMENT, _MAGNITUDE, TooLarge, Undefined

_PERIODIC = frozenset(("sin", "cos", "tan", "cot", "sec", "csc"))
_GROWING = frozenset(("exp", "sinh", "cosh", "tanh", "coth"))
_GAMMA = 5_000
_PLAIN = {
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "cot": "cot",
    "sec": "sec",
    "csc": "csc",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arccot": "acot",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "coth": "coth",
    "asinh": "asinh",
    "exp": "exp",
    "ln": "log",
    "log": "log",
    "abs": "fabs",
    "sqrt": "sqrt",
}


def function_value(mp: Any, name: str, values: list[Any]) -> Any:
    """The value of a function. Raises TooLarge or Undefined."""
    first = values[0]
    if name in _PERIODIC and abs(first) > _ARGUMENT:
        raise TooLarge("an angle too large")
    if (name in _GROWING or name in _PERIODIC) and max(abs(mp.re(first)), abs(mp.im(first))) > (
        _MAGNITUDE if name in _GROWING else _ARGUMENT
    ):
        raise TooLarge("an exponent too large")
    if name in _PERIODIC and abs(mp.im(first)) > _MAGNITUDE:
        raise TooLarge("an exponent too large")
    try:
        if name in _PLAIN:
            if len(values) != 1:
                raise Undefined(f"{name} of several things")
            value = getattr(mp, _PLAIN[name])(first)
        else:
            value = _OTHERS[name](mp, values) if name in _OTHERS else _missing(name)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
        raise Undefined(f"{name}: {error}") from None
    if not mp.isfinite(value):
        raise Undefined(f"{name} has no value here")
    return value


def _missing(name: str) -> Any:
    raise Undefined(f"{name} is not evaluated")


def _real(mp: Any, value: Any) -> Any:
    if mp.im(value):
        raise Undefined("a real number is needed")
    return mp.re(value)


def _root(mp: Any, values: list[Any]) -> Any:
    base, index = values
    if mp.im(base) == 0 and mp.re(base) < 0 and mp.isint(index) and int(index) % 2:
        return -((-mp.re(base)) ** (1 / index))
    if not base:
        return base
    return base ** (1 / index)


def _gamma(mp: Any, value: Any) -> Any:
    if abs(value) > _GAMMA:
        raise TooLarge("a factorial of too many digits")
    return mp.gamma(value + 1)


def _binomial(mp: Any, values: list[Any]) -> Any:
    if max(abs(value) for value in values) > _GAMMA:
        raise TooLarge("a binomial of too many digits")
    return mp.binomial(values[0], values[1])


def _nearest(mp: Any, value: Any, down: bool) -> Any:
    """Floor or ceiling; what is a whole number but for rounding is taken as that number."""
    value = _real(mp, value)
    near = mp.nint(value)
    if abs(value - near) < mp.mpf(2) ** -150:
        return near
    return mp.floor(value) if down else mp.ceil(value)


_OTHERS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "logbase": lambda mp, values: mp.log(values[1]) / mp.log(values[0]),
    "lg": lambda mp, values: mp.log(values[0]) / mp.log(10),
    "cbrt": lambda mp, values: _root(mp, [values[0], mp.mpf(3)]),
    "root": _root,
    "factorial": lambda mp, values: _gamma(mp, values[0]),
    "binom": _binomial,
    "floor": lambda mp, values: _nearest(mp, values[0], True),
    "ceil": lambda mp, values: _nearest(mp, values[0], False),
    "max": lambda mp, values: max(_real(mp, value) for value in values),
    "min": lambda mp, values: min(_real(mp, value) for value in values),
    "sgn": lambda mp, values: mp.sign(_real(mp, values[0])),
    "mod": lambda mp, values: _real(mp, values[0]) % _real(mp, values[1]),
}
