"""Values of expression trees: exactly as rationals, or as complex numbers of 60 digits at points.

Not for deciding equality: see `equal`. Nothing is computed before its size is bounded on the tree, and every evaluation
has a budget of operations, so that no tree takes long or much memory, in C code or out of it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from burnish.verify.maths.tree import Tree

BITS = 40_000
"""Bits of the largest exact integer that is made: 12,000 digits."""
PRECISION = 240
"""Bits of the numeric evaluation: 72 digits."""
_FACTORIAL = 3_000
_TERMS = 3_000
_BUDGET = 30_000
_MAGNITUDE = 10.0**7  # the logarithm of what is made numerically
_ARGUMENT = 10.0**25  # of a periodic function


class TooLarge(Exception):
    """Nothing is wrong with the tree but its size."""


class Undefined(Exception):
    """The tree has no value here: a division by zero, a logarithm of zero, a set where a number should be."""


class Undecided(Exception):
    """Neither equal nor different, as far as can be told here: for the symbolic tier."""


class NotRational(Exception):
    """The value is not a rational number that can be had exactly."""


class Budget:
    """Operations that are left."""

    __slots__ = ("left",)

    def __init__(self, left: int = _BUDGET) -> None:
        self.left = left

    def spend(self, amount: int = 1) -> None:
        self.left -= amount
        if self.left < 0:
            raise TooLarge("too many operations")


def variables(tree: Tree) -> frozenset[str]:
    """The names that a tree depends on; functions nobody defined are named with their arguments."""
    found: set[str] = set()
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple) and node:
            if node[0] == "v":
                found.add(node[1])
            elif node[0] == "abstract":
                found.add(f"{node[1]}{node[2]}")
            elif node[0] in ("sum", "prod"):
                found |= (variables(node[4]) | variables(node[2]) | variables(node[3])) - {node[1]}
            else:
                stack.extend(node)
    return frozenset(found)


# ---- exactly


def exact(tree: Tree, env: Mapping[str, Fraction], budget: Budget) -> Fraction:
    """The rational value of a tree. Raises NotRational, TooLarge or Undefined."""
    budget.spend()
    kind = tree[0]
    if kind == "n":
        return _sized(tree[1])
    if kind == "v":
        if tree[1] in env:
            return env[tree[1]]
        raise NotRational
    if kind == "+":
        return _sized(sum((exact(part, env, budget) for part in tree[1:]), Fraction(0)))
    if kind == "*":
        product = Fraction(1)
        for part in tree[1:]:
            product = _sized(product * exact(part, env, budget))
        return product
    if kind == "-":
        return -exact(tree[1], env, budget)
    if kind == "/":
        top, bottom = exact(tree[1], env, budget), exact(tree[2], env, budget)
        if not bottom:
            raise Undefined("a division by zero")
        return _sized(top / bottom)
    if kind == "^":
        return _power(exact(tree[1], env, budget), exact(tree[2], env, budget))
    if kind == "%":
        return exact(tree[1], env, budget) / 100
    if kind == "f":
        return _exact_function(tree, [exact(part, env, budget) for part in tree[2:]])
    if kind in ("sum", "prod"):
        return _exact_series(tree, env, budget)
    raise NotRational


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _sized(value: Fraction) -> Fraction:
    if _bits(value) > BITS:
        raise TooLarge("a number of too many digits")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0 or exponent.denominator > 60:
            raise NotRational
        root = _exact_root(base, exponent.denominator)
        base, exponent = root, Fraction(exponent.numerator)
    if base in (0, 1):
        if not base and exponent < 0:
            raise Undefined("a division by zero")
        if not base and not exponent:
            raise Undefined("zero to the power of zero")
        return base
    if base == -1:
        return Fraction(-1 if exponent.numerator % 2 else 1)
    if abs(exponent) * _bits(base) > 2 * BITS:
        raise TooLarge("a power of too many digits")
    return _sized(base**exponent.numerator)


def _exact_root(value: Fraction, index: int) -> Fraction:
    top, bottom = _integer_root(value.numerator, index), _integer_root(value.denominator, index)
    return Fraction(top, bottom)


def _integer_root(value: int, index: int) -> int:
    if value < 0:
        if index % 2 == 0:
            raise NotRational
        return -_integer_root(-value, index)
    if index == 2:
        root = math.isqrt(value)
    else:
        if value.bit_length() > 2_000:
            raise NotRational
        low, high = 0, 1 << (value.bit_length() // index + 1)
        while low < high:
            middle = (low + high + 1) // 2
            if middle**index <= value:
                low = middle
            else:
                high = middle - 1
        root = low
    if root**index != value:
        raise NotRational
    return root


def _whole(value: Fraction, most: int) -> int:
    if value.denominator != 1:
        raise NotRational
    if abs(value) > most:
        raise TooLarge("a number too large for this function")
    return value.numerator


def _exact_function(tree: Tree, values: list[Fraction]) -> Fraction:  # Long because it is a table of small cases
    """Long because it is a table: one case for each function that can have a rational value."""
    name = tree[1]
    if name == "sqrt":
        return _exact_root(values[0], 2)
    if name in ("cbrt", "root"):
        index = 3 if name == "cbrt" else _whole(values[1], 60)
        if index < 1:
            raise NotRational
        return _exact_root(values[0], index)
    if name == "abs":
        return abs(values[0])
    if name == "sgn":
        return Fraction((values[0] > 0) - (values[0] < 0))
    if name in ("factorial", "doublefactorial"):
        if values[0] > _FACTORIAL:
            raise TooLarge("a factorial of too many digits")
        count = _whole(values[0], _FACTORIAL)
        if count < 0:
            raise Undefined("the factorial of a negative number")
        return Fraction(math.factorial(count) if name == "factorial" else math.prod(range(count, 0, -2)))
    if name == "binom":
        if values[0].denominator == 1 and values[0] > 20_000 and 2 < values[1] < values[0] - 2:
            raise TooLarge("a binomial of too many digits")
        top, bottom = _whole(values[0], 10**18), _whole(values[1], 10**18)
        if bottom < 0 or top < 0:
            raise NotRational
        if bottom > top:
            return Fraction(0)
        return _sized(Fraction(math.comb(top, bottom)))
    if name in ("floor", "ceil"):
        return Fraction(math.floor(values[0]) if name == "floor" else math.ceil(values[0]))
    if name in ("gcd", "lcm"):
        whole = [_whole(value, 1 << 2_000) for value in values]
        return _sized(Fraction(math.gcd(*whole) if name == "gcd" else math.lcm(*whole)))
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name == "mod" and len(values) == 2:
        if not values[1]:
            raise Undefined("a division by zero")
        return values[0] % values[1]
    raise NotRational


def _exact_series(tree: Tree, env: Mapping[str, Fraction], budget: Budget) -> Fraction:
    kind, name, low, high, body = tree
    first = _whole(exact(low, env, budget), 10**9)
    if high == ("c", "inf"):
        raise Undecided("an infinite series")
    last = _whole(exact(high, env, budget), 10**15)
    if last - first > _TERMS:
        raise TooLarge(f"a {kind} of too many terms")
    total = Fraction(0 if kind == "sum" else 1)
    for index in range(first, last + 1):
        value = exact(body, {**env, name: Fraction(index)}, budget)
        total = _sized(total + value if kind == "sum" else total * value)
    return total


# ---- numerically

_local = threading.local()  # an mpmath context changes its own precision while it works, so each thread has one


def context() -> Any:
    """This thread's own mpmath context at PRECISION bits."""
    made = getattr(_local, "context", None)
    if made is None:
        import mpmath  # type: ignore[import-untyped]  # only where an expression is not rational

        made = mpmath.MPContext()
        made.prec = PRECISION
        _local.context = made
    return made


def numeric(tree: Tree, env: Mapping[str, Any], budget: Budget) -> Any:
    """The value of a tree as a real or complex mpmath number. Raises TooLarge or Undefined."""
    budget.spend()
    mp = context()
    kind = tree[0]
    if kind == "n":
        return (
            mp.mpf(tree[1].numerator) / tree[1].denominator if tree[1].denominator != 1 else mp.mpf(tree[1].numerator)
        )
    if kind == "v" or kind == "abstract":
        name = tree[1] if kind == "v" else f"{tree[1]}{tree[2]}"
        if name not in env:
            raise Undefined(f"{name} has no value")
        return env[name]
    if kind == "c":
        return _constant(mp, tree[1])
    if kind == "+":
        return sum((numeric(part, env, budget) for part in tree[2:]), numeric(tree[1], env, budget))
    if kind == "*":
        product = numeric(tree[1], env, budget)
        for part in tree[2:]:
            product = product * numeric(part, env, budget)
        return _finite(mp, product)
    if kind == "-":
        return -numeric(tree[1], env, budget)
    if kind == "/":
        top, bottom = numeric(tree[1], env, budget), numeric(tree[2], env, budget)
        if not bottom:
            raise Undefined("a division by zero")
        return _finite(mp, top / bottom)
    if kind == "^":
        return _numeric_power(mp, tree, env, budget)
    if kind == "%":
        return numeric(tree[1], env, budget) / 100
    if kind == "deg":
        return numeric(tree[1], env, budget) * mp.pi / 180
    if kind == "f":
        from burnish.verify.maths.functions import function_value

        return function_value(mp, tree[1], [numeric(part, env, budget) for part in tree[2:]])
    if kind in ("sum", "prod"):
        return _numeric_series(tree, env, budget)
    if kind == "det":
        return _determinant(mp, [[numeric(cell, env, budget) for cell in row] for row in tree[1]])
    raise Undefined(f"no number: {kind}")


def _constant(mp: Any, name: str) -> Any:
    if name == "inf":
        raise Undefined("infinity is not a number")
    return {"pi": +mp.pi, "e": +mp.e, "i": mp.mpc(0, 1)}[name]


def _finite(mp: Any, value: Any) -> Any:
    if not mp.isfinite(value):
        raise Undefined("not a finite number")
    if value and abs(mp.mag(value)) > _MAGNITUDE:
        raise TooLarge("a number of too many digits")
    return value


def _numeric_power(mp: Any, tree: Tree, env: Mapping[str, Any], budget: Budget) -> Any:
    base, exponent = numeric(tree[1], env, budget), numeric(tree[2], env, budget)
    if not exponent and base:
        return mp.mpf(1)
    if not base:
        if exponent == 0 or mp.re(exponent) <= 0:
            raise Undefined("a power of zero")
        return base
    if abs(mp.mag(exponent)) > 60 or abs(exponent) * (abs(mp.mag(base)) + 2) > _MAGNITUDE:
        raise TooLarge("a power of too many digits")
    try:
        if mp.im(base) == 0 and mp.re(base) < 0 and mp.im(exponent) == 0 and mp.re(exponent) != int(mp.re(exponent)):
            share = _odd_root(tree[2], env, budget)  # (-8)^(1/3) is -2 to those who write it
            if share is not None:
                root = (-mp.re(base)) ** mp.re(exponent)
                return -root if share.numerator % 2 else root
        return _finite(mp, base**exponent)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise Undefined(str(error)) from None


def _odd_root(exponent: Tree, env: Mapping[str, Any], budget: Budget) -> Fraction | None:
    try:
        value = exact(exponent, {}, budget)
    except (NotRational, Undefined):
        return None
    return value if value.denominator % 2 else None


def _numeric_series(tree: Tree, env: Mapping[str, Any], budget: Budget) -> Any:
    kind, name, low, high, body = tree
    mp = context()
    if high == ("c", "inf"):
        raise Undecided("an infinite series")
    first, last = numeric(low, env, budget), numeric(high, env, budget)
    if mp.im(first) or mp.im(last) or not mp.isint(first) or not mp.isint(last):
        raise Undefined("limits that are not whole")
    if abs(first) > 1e9 or last - first > _TERMS:
        raise TooLarge(f"a {kind} of too many terms")
    total = mp.mpf(0 if kind == "sum" else 1)
    for index in range(int(first), int(last) + 1):
        value = numeric(body, {**env, name: mp.mpf(index)}, budget)
        total = total + value if kind == "sum" else total * value
    return _finite(mp, total)


def _determinant(mp: Any, rows: list[list[Any]]) -> Any:
    """By elimination with the largest pivot."""
    size = len(rows)
    if any(len(row) != size for row in rows) or size > 12:
        raise Undefined("a determinant that is not square")
    result = mp.mpf(1)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if not rows[pivot][column]:
            return mp.mpf(0)
        if pivot != column:
            rows[pivot], rows[column] = rows[column], rows[pivot]
            result = -result
        result = result * rows[column][column]
        for row in range(column + 1, size):
            share = rows[row][column] / rows[column][column]
            for index in range(column, size):
                rows[row][index] = rows[row][index] - share * rows[column][index]
    return result
