"""Sets of real numbers, written as intervals or as conditions on one variable: are two of them the same set?

Decided at points: every end of every interval, just beside it, between the ends, and a fixed spread. Not for sets whose
ends are not numbers.
"""

from __future__ import annotations

from typing import Any

from burnish.verify.maths.equal import close
from burnish.verify.maths.evaluate import Budget, TooLarge, Undecided, Undefined, context, numeric, variables
from burnish.verify.maths.tree import Conditions, Many, Relation, Scalar, SetOf, Tree, Value

_INFINITE = {("c", "inf"): 1, ("-", ("c", "inf")): -1, ("+", ("c", "inf")): 1}
_SPREAD = (
    -1_000_003.7,
    -997.13,
    -51.3,
    -7.77,
    -3.3,
    -2.6,
    -1.57,
    -0.71,
    -0.13,
    0.17,
    0.62,
    1.41,
    2.29,
    3.37,
    5.81,
    13.9,
    101.7,
    1009.3,
    1_000_033.1,
)
_MOST_POINTS = 120


def is_region(value: Value) -> bool:
    """Whether a value is a set of numbers given by intervals, operations or inequalities."""
    if isinstance(value, SetOf | Conditions):
        return True
    if isinstance(value, Relation):
        return value.ops != ("=",) and "=" not in value.ops
    return isinstance(value, Many) and (is_interval(value) or value.kind == "set")


def is_interval(value: Value) -> bool:
    return isinstance(value, Many) and value.kind == "bracketed" and len(value.items) == 2 and value.open in ("(", "[")


def same_region(one: Value, two: Value) -> bool:
    """Whether two regions hold the same numbers. Raises Undecided where they depend on more than one variable."""
    trees = (as_tree(one), as_tree(two))
    names = [_names(tree) for tree in trees]
    if any(len(found) > 1 for found in names):
        raise Undecided("a region in several variables")
    mp = context()
    ends: list[Any] = []
    for tree in trees:
        _ends(tree, ends)
    ends = sorted(ends)[:_MOST_POINTS]
    points = [mp.mpf(point) for point in _SPREAD]
    small = mp.mpf(10) ** -12
    for index, end in enumerate(ends):
        points += [end, end - small * max(1, abs(end)), end + small * max(1, abs(end))]
        if index + 1 < len(ends):
            points.append((end + ends[index + 1]) / 2)
    budget = Budget()
    return all(_holds(trees[0], point, budget) == _holds(trees[1], point, budget) for point in points)


def as_tree(value: Value) -> Tree:
    """A region as one tree: sequences, set operations, relations, and ("all", ...) or ("any", ...) of relations."""
    if isinstance(value, SetOf):
        return value.tree
    if isinstance(value, Relation):
        return ("rel", value.ops, value.sides)
    if isinstance(value, Conditions):
        return ("any" if value.any else "all", *(("rel", part.ops, part.sides) for part in value.parts))
    if isinstance(value, Many):
        items = []
        for item in value.items:
            if not isinstance(item, Scalar):
                raise Undecided("a set of things that are no numbers")
            items.append(item.tree)
        return ("seq", value.open or "\\{", value.close or "\\}", tuple(items))
    raise Undecided("no region")


def _names(tree: Any) -> frozenset[str]:
    return frozenset(name for name in variables(tree) if not name.startswith("set "))


def _ends(tree: Any, found: list[Any]) -> None:
    """The numbers written in a region: ends of intervals, members of sets, constant sides of relations."""
    if not isinstance(tree, tuple) or not tree:
        return
    if tree[0] in ("seq", "rel"):
        for part in tree[3] if tree[0] == "seq" else tree[2]:
            if part[0] in ("seq", "set"):
                _ends(part, found)
            elif not variables(part) and part not in _INFINITE:
                found.append(_real(part))
        if tree[0] == "rel":
            found.extend(_zeros(tree))
        return
    for part in tree[1:]:
        _ends(part, found)


def _zeros(tree: Tree) -> list[Any]:
    """Where a relation that is linear or quadratic in its variable changes: the zeros of the difference of its sides."""
    mp = context()
    names = _names(tree)
    if len(names) != 1:
        return []
    (name,) = names
    budget = Budget()
    zeros: list[Any] = []
    for left, right in zip(tree[2], tree[2][1:], strict=False):
        try:
            low, middle, high = (
                numeric(("+", left, ("-", right)), {name: mp.mpf(point)}, budget) for point in (-1, 0, 1)
            )
        except (Undefined, TooLarge):
            continue
        a, b, c = (high + low) / 2 - middle, (high - low) / 2, middle
        if any(mp.im(value) for value in (a, b, c)):
            continue
        if a:
            root = b * b - 4 * a * c
            if root >= 0:
                zeros += [(-b - mp.sqrt(root)) / (2 * a), (-b + mp.sqrt(root)) / (2 * a)]
        elif b:
            zeros.append(-c / b)
    return [mp.re(zero) for zero in zeros]


def _real(tree: Tree) -> Any:
    mp = context()
    try:
        value = numeric(tree, {}, Budget())
    except Undefined as error:
        raise Undecided(str(error)) from None
    if mp.im(value):
        raise Undecided("a bound that is not real")
    return mp.re(value)


def _holds(tree: Tree, point: Any, budget: Budget) -> bool:
    kind = tree[0]
    if kind == "seq":
        return _inside(tree, point)
    if kind == "set":
        left, right = _holds(tree[2], point, budget), _holds(tree[3], point, budget)
        return {"cup": left or right, "cap": left and right, "minus": left and not right}[tree[1]]
    if kind in ("any", "all"):
        return (any if kind == "any" else all)(_holds(part, point, budget) for part in tree[1:])
    if kind == "v" and tree[1].startswith("set "):
        return _in_named(tree[1][4:], point)
    if kind == "rel":
        return _relation_holds(tree, point, budget)
    raise Undecided(f"no region: {kind}")


def _in_named(name: str, point: Any) -> bool:
    mp = context()
    if name in ("R", "C"):
        return True
    if name in ("R+", "R>0"):
        return bool(point > 0)
    if name in ("R-", "R<0"):
        return bool(point < 0)
    if name in ("Z", "N"):
        return bool(mp.isint(point)) and (name == "Z" or point > 0)
    raise Undecided(f"the set {name}")


def _inside(tree: Tree, point: Any) -> bool:
    opener, closer, items = tree[1], tree[2], tree[3]
    if opener == "\\{":
        return any(close(_real(item), point) for item in items)
    if len(items) != 2:
        raise Undecided("not an interval")
    low, high = items
    if low in _INFINITE:
        above = _INFINITE[low] < 0
    else:
        bound = _real(low)
        above = (point > bound and not close(point, bound)) or (opener == "[" and close(point, bound))
    if high in _INFINITE:
        below = _INFINITE[high] > 0
    else:
        bound = _real(high)
        below = (point < bound and not close(point, bound)) or (closer == "]" and close(point, bound))
    return bool(above and below)


def _relation_holds(tree: Tree, point: Any, budget: Budget) -> bool:
    mp = context()
    names = _names(tree)
    values = dict.fromkeys(names, point)
    sides = []
    for side in tree[2]:
        if side in _INFINITE:
            sides.append(mp.inf * _INFINITE[side])
            continue
        try:
            value = numeric(side, values, budget)
        except Undefined:
            return False
        if mp.im(value):
            return False
        sides.append(mp.re(value))
    for op, left, right in zip(tree[1], sides, sides[1:], strict=False):
        same = (
            not mp.isinf(left) and not mp.isinf(right) and (close(left, right) or abs(left - right) < mp.mpf(2) ** -200)
        )
        if op in ("=", "~"):
            good = same
        elif op == "!=":
            good = not same
        elif op in ("<", "<="):
            good = (left < right and not same) or (op == "<=" and same)
        else:
            good = (left > right and not same) or (op == ">=" and same)
        if not good:
            return False
    return True
