"""Equations and inequalities: the same line written differently, a side turned round, both sides scaled.

Not for inequalities against intervals: see `regions`.
"""

from __future__ import annotations

from typing import Any

from burnish.verify.maths.equal import close, equal, points
from burnish.verify.maths.evaluate import Budget, TooLarge, Undecided, Undefined, context, numeric, variables
from burnish.verify.maths.shapes import name_of
from burnish.verify.maths.tree import Relation, Tree

_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!=", "~": "~"}
_POINTS = 5


def difference(relation: Relation) -> Tree:
    """Left side minus right side."""
    return ("+", relation.sides[0], ("-", relation.sides[1]))


def same_equation(one: Relation, two: Relation) -> bool:
    """Whether two equations hold for the same values: a constant ratio, or the same solution for a linear variable."""
    for first, second in ((0, 1), (1, 0)):
        if len(one.sides) == len(two.sides) == 2 and one.sides[0] == two.sides[first]:
            return equal(one.sides[1], two.sides[second])
    left, right = difference(one), difference(two)
    names = sorted(variables(left) | variables(right))
    if variables(left) != variables(right) and not variables(left) & variables(right):
        return False
    if ratio(left, right, names) is not None:
        return True
    return any(_same_solution(left, right, name, names) for name in names)


def same_argument(one: Relation, two: Relation) -> Relation:
    """`two`, with the variable of "f(x) = ..." named as in `one`: which letter a function's argument has means nothing."""
    left, right = one.sides[0], two.sides[0]
    if left[0] != "abstract" or right[0] != "abstract" or left[1] != right[1] or left[2] == right[2]:
        return two
    if len(left[2]) != len(right[2]) or any(part[0] != "v" for part in (*left[2], *right[2])):
        return two
    if set(left[2]) & set(right[2]) or variables(two.sides[1]) & {part[1] for part in left[2]}:
        return two
    renamed = dict(zip(right[2], left[2], strict=True))
    return Relation(two.ops, tuple(_renamed(side, renamed) for side in two.sides))


def _renamed(tree: Any, meant: dict[Tree, Tree]) -> Any:
    if not isinstance(tree, tuple):
        return tree
    return meant[tree] if tree in meant else tuple(_renamed(part, meant) for part in tree)


def same_inequality(one: Relation, two: Relation) -> bool:
    """Whether two inequalities of two sides are the same but for order and scale."""
    if len(one.sides) != 2 or len(two.sides) != 2:
        if len(one.sides) != len(two.sides):
            return False
        for ops, sides in ((two.ops, two.sides), (tuple(_TURNED[op] for op in reversed(two.ops)), two.sides[::-1])):
            if one.ops == ops and all(equal(a, b) for a, b in zip(one.sides, sides, strict=True)):
                return True
        return False
    left, right = difference(one), difference(two)
    share = ratio(left, right, sorted(variables(left) | variables(right)))
    if share is None:
        return False
    op = two.ops[0] if share > 0 else _TURNED[two.ops[0]]
    return one.ops[0] == op


def ratio(one: Tree, two: Tree, names: list[str]) -> Any | None:
    """The real constant that the quotient of two trees is at every point; None where it is not constant."""
    mp = context()
    budget = Budget()
    constant: Any = None
    seen = 0
    for values in points(names, False):
        try:
            left, right = numeric(one, values, budget), numeric(two, values, budget)
        except Undefined:
            continue
        if abs(left) < mp.mpf(2) ** -200 or abs(right) < mp.mpf(2) ** -200:
            if abs(left) < mp.mpf(2) ** -200 and abs(right) < mp.mpf(2) ** -200:
                continue
            return None
        share = left / right
        if constant is not None and not close(share, constant):
            return None
        constant = share
        seen += 1
        if seen == _POINTS:
            break
    if seen < 3:
        if seen:
            raise Undecided("too few points at which both sides have a value")
        return None
    if mp.im(constant) and abs(mp.im(constant)) > abs(constant) * mp.mpf(2) ** -180:
        return None
    return mp.re(constant)


def _same_solution(one: Tree, two: Tree, name: str, names: list[str]) -> bool:
    """Both are linear in `name`, and solved for it they agree: y = 1/x and xy = 1."""
    others = [other for other in names if other != name]
    budget = Budget()
    seen = 0
    for values in points(others, False):
        try:
            first, second = _solved(one, name, values, budget), _solved(two, name, values, budget)
        except Undefined:
            continue
        if first is None or second is None or not close(first, second):
            return False
        seen += 1
        if seen == _POINTS or not others:
            return True
    return seen >= 3


def _solved(tree: Tree, name: str, values: dict[str, Any], budget: Budget) -> Any | None:
    mp = context()
    low, middle, high = (numeric(tree, {**values, name: mp.mpf(at)}, budget) for at in (1, 2, 4))
    slope = middle - low
    if abs(slope) < mp.mpf(2) ** -150 or not close(high - low, 3 * slope):
        return None
    return 1 - low / slope


def value_side(relation: Relation) -> tuple[str, list[Tree]] | None:
    """The name and the values of "x = 5" or "x = 2 + 3 = 5"; the name is "" where there is none. None for inequalities."""
    if any(op not in ("=", "~") for op in relation.ops):
        return None
    name = name_of(relation.sides[0])
    sides = list(relation.sides)
    if name:
        return name, sides[1:]
    if len(sides) == 2 and variables(sides[0]) and not variables(sides[1]) and not _has_numbers(sides[0]):
        return "", sides[1:]  # "a + b = 12", and not "2x = 12"
    if len(sides) == 2 and (other := name_of(sides[1])) and not variables(sides[0]):
        return other, sides[:1]  # "5 = x"
    return "", sides


def _has_numbers(tree: Any) -> bool:
    return isinstance(tree, tuple) and (tree[:1] == ("n",) or any(_has_numbers(part) for part in tree))


def names_match(one: str, two: str) -> bool:
    """Whether two names of the left side may stand for the same thing: f(x) and y may, x and y may not."""
    if one == two or not one or not two:
        return True
    first, second = one.split("_")[0], two.split("_")[0]
    if len(one) > 1 and len(two) > 1 and first == second and ("_" in one) != ("_" in two):
        return True
    functions = {"y", "f", "g", "h", "F", "P", "p", "z"}
    return {first, second} <= functions and "y" in (first, second) and first != second


__all__ = [
    "TooLarge",
    "difference",
    "names_match",
    "ratio",
    "same_argument",
    "same_equation",
    "same_inequality",
    "value_side",
]
