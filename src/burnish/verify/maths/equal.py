"""Whether two expressions are equal: by their trees, by exact rationals, or at points chosen by a fixed seed.

Not for units, lists or relations: see `compare`. Two expressions that agree to 55 digits, relative to their size, at
several points are taken as equal. At points where both are real they must agree; where one is not real (the logarithm
of a negative number) the point decides nothing, unless they are real nowhere.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from burnish.verify.maths.evaluate import (
    Budget,
    NotRational,
    TooLarge,
    Undecided,
    Undefined,
    context,
    exact,
    numeric,
    variables,
)
from burnish.verify.maths.tree import Tree, names

_WANTED = 6
_TRIED = 18
_SIZES = (1, 40, 2, 7, 150, 1, 4)
_MOST_VARIABLES = 12
_WHOLE_NAMES = frozenset(names("n k m N K M"))


def log_base_ten(tree: Any) -> Any:
    """The tree with `log` read as the logarithm to base ten."""
    if not isinstance(tree, tuple):
        return tree
    if len(tree) > 1 and tree[0] == "f" and tree[1] == "log":
        return ("f", "lg", *(log_base_ten(part) for part in tree[2:]))
    return tuple(log_base_ten(part) for part in tree)


def uses_log(tree: Any) -> bool:
    return isinstance(tree, tuple) and (tree[:2] == ("f", "log") or any(uses_log(part) for part in tree))


def equal(one: Tree, two: Tree) -> bool:
    """Whether two trees have the same value wherever they have one. Raises Undecided or TooLarge."""
    if one == two:
        return True
    if one[0] == "n" and two[0] == "n":
        return bool(one[1] == two[1])
    if ("c", "inf") in (one, two):
        return False
    if one in (("-", ("c", "inf")), ("+", ("c", "inf"))) or two in (("-", ("c", "inf")), ("+", ("c", "inf"))):
        return False
    if _apart(one, two):
        return False
    if agree(one, two):
        return True
    if uses_log(one) or uses_log(two):  # \log is ln to some and to base ten to others
        return agree(log_base_ten(one), log_base_ten(two))
    return False


@lru_cache(maxsize=8192)
def sketch(tree: Tree) -> float | None:
    """The value at one fixed point as a float, where it is real there; to tell most different trees apart at once."""
    names = variables(tree)
    if needs_whole(tree):
        return None
    mp = context()
    values = {name: mp.mpf(2 + zlib.crc32(name.encode()) % 99_991) / 100_003 + 1 for name in names}
    try:
        value = numeric(tree, values, Budget())
    except Undefined:
        return None
    if mp.im(value) or abs(mp.mag(value)) > 900:
        return None
    return float(mp.re(value))


def _apart(one: Tree, two: Tree) -> bool:
    """Whether the sketches of two trees show that they differ."""
    if uses_log(one) or uses_log(two) or needs_whole(one) or needs_whole(two):
        return False
    left, right = sketch(one), sketch(two)
    if left is None or right is None or (0.0 in (left, right) and abs(left - right) < 1e-60):
        return False  # zero, or the rounding error that stands for it
    return abs(left - right) > 1e-9 * max(abs(left), abs(right), 1e-300)


def computable(value: Any) -> bool:
    """Whether every tree in a value can be computed at some point, within the limits. Raises TooLarge where one cannot."""
    stack: list[Any] = [value]
    while stack:
        one = stack.pop()
        for name in ("tree", "sides", "rows", "parts", "items"):
            found = getattr(one, name, None)
            if name == "tree" and found is not None:
                _try(found)
            elif name in ("sides", "parts") and found and isinstance(found[0], tuple):
                for side in found:
                    _try(side)
            elif name == "rows" and found:
                for row in found:
                    for cell in row:
                        _try(cell)
            elif found:
                stack.extend(found)
    return True


def _try(tree: Tree) -> None:
    with contextlib.suppress(Undecided):
        agree(tree, ("+", tree, ("n", Fraction(1))))


def agree(one: Tree, two: Tree) -> bool:
    """`equal` for one meaning of every function."""
    names = sorted(variables(one) | variables(two))
    if not names:
        try:
            return exact(one, {}, Budget()) == exact(two, {}, Budget())
        except (NotRational, TooLarge):
            pass
        except Undefined:
            return False
    if len(names) > _MOST_VARIABLES:
        raise TooLarge("too many variables")
    return _agree_at_points(one, two, names)


def points(names: list[str], whole: bool, tries: int = _TRIED) -> Iterator[dict[str, Any]]:
    """Values for the names: some in (0, 1), some larger, some negative; whole numbers where only those make sense."""
    mp = context()
    generator = random.Random(20_231)
    for attempt in range(tries):
        values = {}
        for name in names:
            share = Fraction(generator.randrange(10**6, 10**7), 10**7 + 19)
            if whole:
                values[name] = mp.mpf(generator.randrange(2, 9) + attempt % 3)
                continue
            size = _SIZES[attempt % len(_SIZES)] * share
            if attempt % 3 == 2 and generator.random() < 0.6:
                size = -size
            if name in _WHOLE_NAMES:
                size = abs(size) + 2
            values[name] = mp.mpf(size.numerator) / size.denominator
        yield values


def needs_whole(tree: Any) -> bool:
    """Whether a tree means something only at whole numbers: factorials, binomials, (-1)^n, series up to n."""
    if not isinstance(tree, tuple) or not tree:
        return False
    if tree[0] == "f" and tree[1] in ("factorial", "doublefactorial", "binom", "floor", "ceil", "gcd", "lcm", "mod"):
        return bool(variables(tree))
    if tree[0] in ("sum", "prod"):
        return bool(variables(tree[2]) | variables(tree[3]))
    if tree[0] == "^" and tree[1][0] in ("n", "-") and variables(tree[2]) and _negative(tree[1]):
        return True
    return any(needs_whole(part) for part in tree[1:])


def _negative(tree: Tree) -> bool:
    return bool(tree[0] == "-" or (tree[0] == "n" and tree[1] < 0))


def close(one: Any, two: Any) -> bool:
    """Equal to 55 digits, relative to the larger."""
    mp = context()
    size = max(abs(one), abs(two))
    return bool(size == 0 or abs(one - two) <= size * mp.mpf(2) ** -185)


def _agree_at_points(one: Tree, two: Tree, names: list[str]) -> bool:
    mp = context()
    whole = needs_whole(one) or needs_whole(two)
    budget = Budget()
    real = complex_points = complex_differ = lopsided = 0
    for values in points(names, whole, _TRIED if names else 1):
        try:
            left = numeric(one, values, budget)
        except Undefined:
            left = None
        try:
            right = numeric(two, values, budget)
        except Undefined:
            right = None
        if left is None or right is None:
            lopsided += (left is None) != (right is None)
            continue
        left, right = _chopped(mp, left), _chopped(mp, right)
        if mp.im(left) == 0 and mp.im(right) == 0:
            if not close(mp.re(left), mp.re(right)) and not _tiny(one, two, left, right):
                return False
            real += 1
            if real >= (_WANTED if names else 1):
                return True
        else:
            complex_points += 1
            complex_differ += not close(left, right)
            if not names:
                return not complex_differ
    if real:
        return True
    if complex_points:
        return not complex_differ
    if lopsided:
        return False
    raise Undecided("no point at which both have a value")


def _chopped(mp: Any, value: Any) -> Any:
    """Without an imaginary part that is rounding error."""
    if isinstance(value, mp.mpc) and abs(value.imag) <= abs(value) * mp.mpf(2) ** -190:
        return value.real
    if isinstance(value, mp.mpc) and abs(value.real) <= abs(value) * mp.mpf(2) ** -190:
        return mp.mpc(0, value.imag)
    return value


def _tiny(one: Tree, two: Tree, left: Any, right: Any) -> bool:
    """One is written as zero and the other is zero but for cancellation: sin^2 + cos^2 - 1."""
    mp = context()
    zero = ("n", Fraction(0))
    bound = mp.mpf(2) ** -215
    return bool(one == zero and abs(right) < bound and right != 0 and _cancels(two)) or bool(
        two == zero and abs(left) < bound and left != 0 and _cancels(one)
    )


def _cancels(tree: Tree) -> bool:
    """Whether a tree holds a sum or an angle: only those cancel. A power of a tenth that is small is not zero."""
    return isinstance(tree, tuple) and (
        tree[:1] in (("+",), ("deg",))
        or tree == ("c", "pi")
        or any(_cancels(part) for part in tree if isinstance(part, tuple))
    )
