"""When a decimal is close enough.

The rule, where the task gives no tolerance of its own:
- A gold that is exact (an integer, a fraction, a root) is met by equal values only: 0.33 is not a third.
- A gold written as a decimal is met by an equal value; by a value with more digits that rounds to it, if the gold has at
  least four significant digits; and by a decimal of fewer digits that the gold rounds to, if that one has at least six.
Nothing is absolute: 0.0000002 is never close to 0.0000001.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from burnish.verify.maths.evaluate import Budget, NotRational, TooLarge, Undefined, context, exact, numeric
from burnish.verify.maths.tree import Scalar, Tree

GOLD_DIGITS = 4
ANSWER_DIGITS = 6


def significant(value: Fraction, decimals: int) -> int:
    """How many digits of a decimal count: those after its leading zeros."""
    return len(str(abs(int(value * 10**decimals))).lstrip("0"))


def rounds_to(gold: Scalar, answer: Scalar, tree: Tree) -> bool:
    """Whether the decimal of fewer digits is the other one rounded, and has digits enough."""
    if gold.tree[0] != "n" or gold.decimals is None:
        return False
    wanted: Fraction = gold.tree[1]
    if answer.decimals is not None and tree == answer.tree and tree[0] == "n":
        found: Fraction = tree[1]
        if answer.decimals >= gold.decimals:
            return _near(found, wanted, gold.decimals) and significant(wanted, gold.decimals) >= GOLD_DIGITS
        return _near(wanted, found, answer.decimals) and significant(found, answer.decimals) >= ANSWER_DIGITS
    if significant(wanted, gold.decimals) < GOLD_DIGITS:
        return False
    value = _value(tree)
    return value is not None and _near(value, wanted, gold.decimals)


def _near(value: Fraction, rounded: Fraction, decimals: int) -> bool:
    return abs(value - rounded) <= Fraction(1, 2 * 10**decimals)


def _value(tree: Tree) -> Fraction | None:
    """The value of a closed tree as a fraction, to many more digits than any answer is written with."""
    try:
        return exact(tree, {}, Budget())
    except NotRational:
        pass
    except (Undefined, TooLarge):
        return None
    try:
        value: Any = numeric(tree, {}, Budget())
    except (Undefined, TooLarge):
        return None
    mp = context()
    if mp.im(value) or abs(mp.mag(value)) > 1_000:
        return None
    return Fraction(int(mp.floor(value * mp.mpf(2) ** 150)), 2**150)


def within(gold: Tree, answer: Tree, absolute: Fraction | None, relative: Fraction | None) -> bool:
    """Whether two closed values differ by no more than the task allows."""
    one, two = _value(gold), _value(answer)
    if one is None or two is None:
        from burnish.verify.maths.equal import equal

        return equal(gold, answer)
    allowed = max(absolute or Fraction(0), (relative or Fraction(0)) * abs(one))
    return abs(one - two) <= allowed
