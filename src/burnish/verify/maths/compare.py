"""Whether an answer is the gold answer, by what kind of thing each is.

Not for reading. `same` is a table: one function for each kind of gold, which says what else may stand for it. Raises
Undecided or TooLarge where it cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from burnish.verify.maths import labels, tolerance
from burnish.verify.maths.equal import equal
from burnish.verify.maths.regions import is_interval, is_region, same_region
from burnish.verify.maths.relations import names_match, same_argument, same_equation, same_inequality, value_side
from burnish.verify.maths.shapes import in_unit_vectors
from burnish.verify.maths.tree import (
    Based,
    Choice,
    Conditions,
    Many,
    Matrix,
    Ratio,
    Relation,
    Rules,
    Scalar,
    SetOf,
    Tree,
    Unit,
    Value,
    Words,
    number,
)
from burnish.verify.maths.units import CURRENCIES
from burnish.verify.maths.words import means_nothing

_HUNDRED = number(100)
_POUND = Fraction(45_359_237, 100_000)
_POUNDS = {(("mass", 1),), (("sterling", 1),)}  # "25 pounds" may be money


def same(gold: Value, answer: Value, rules: Rules) -> bool:
    """Whether the answer is the gold answer."""
    if isinstance(answer, Choice) and not isinstance(gold, Choice):
        return labels.against_choice(gold, answer, rules)
    return _TABLE[type(gold)](gold, answer, rules)


# ---- numbers and expressions


def _scalar(gold: Scalar, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Scalar):
        return names_match(gold.name, answer.name) and _scalars(gold, answer, rules)
    if isinstance(answer, Relation):
        return _relation_as_scalar(answer, gold, rules, gold_first=True)
    if isinstance(answer, Many) and answer.kind in ("set", "list") and 1 <= len(answer.items) <= 4:
        different = len(set(answer.items)) == len(answer.items)
        return different and all(same(gold, item, rules) for item in answer.items)  # "1/2 or 0.5" says one value twice
    if isinstance(answer, Matrix) and len(answer.rows) == len(answer.rows[0]) == 1:
        return same(gold, Scalar(answer.rows[0][0]), rules)
    if isinstance(answer, Based):
        value = labels.based_value(answer)
        return answer.base == 10 and value is not None and equal(gold.tree, number(value))
    if isinstance(answer, Ratio) and len(answer.parts) == 2 and not (answer.clock is not None and answer.half):
        return gold.decimals is None and gold.tree[0] in ("n", "/") and equal(gold.tree, ("/", *answer.parts))
    return False


def _scalars(gold: Scalar, answer: Scalar, rules: Rules) -> bool:
    if rules.units == "required" and gold.unit is not None and answer.unit is None:
        return False
    if gold.label and answer.label and not set(gold.label) & set(answer.label):
        return False
    if (gold.label and answer.unit is not None and answer.unit.dimensions) or (
        answer.label and gold.unit is not None and gold.unit.dimensions and not _is_currency(gold.unit)
    ):
        return False
    if (gold.unit is not None and answer.percent) or (gold.percent and answer.unit is not None):
        return False
    factor = _conversion(gold.unit, answer.unit, answer.tree)
    if factor is None:
        return False
    tree = answer.tree if factor == 1 else ("*", number(factor), answer.tree)
    share = answer.percent and not gold.percent and gold.tree[0] == "n" and 0 < abs(gold.tree[1]) < 1
    if not share and _numbers(gold, answer, tree, rules):  # a gold of 0.05 is 5 per cent, and not a twentieth of one
        return True
    if (
        gold.unit is not None
        and answer.unit is None
        and gold.unit.dimensions == (("degree", 1),)
        and _mentions_pi(answer.tree)
    ):
        return equal(("deg", gold.tree), answer.tree)
    if (
        answer.unit is not None
        and gold.unit is None
        and answer.unit.dimensions == (("degree", 1),)
        and _mentions_pi(gold.tree)
    ):
        return equal(gold.tree, ("deg", answer.tree))
    if gold.percent and not answer.percent and answer.unit is None:
        return _numbers(replace(gold, decimals=None), answer, ("*", _HUNDRED, tree), rules)
    if answer.percent and not gold.percent and not _large_integer(gold.tree):
        return equal(("*", _HUNDRED, gold.tree), tree)
    return False


def _large_integer(tree: Tree) -> bool:
    """A gold of 15 is never meant as 1500 per cent; one of 0.25 or 2 may be meant as 25 or 200."""
    return bool(tree[0] == "n" and tree[1].denominator == 1 and abs(tree[1]) > 10)


def _is_currency(unit: Unit) -> bool:
    return any(name in CURRENCIES for name, _ in unit.dimensions)


def _numbers(gold: Scalar, answer: Scalar, tree: Tree, rules: Rules) -> bool:
    if rules.absolute is not None or rules.relative is not None:
        return tolerance.within(gold.tree, tree, rules.absolute, rules.relative)
    if gold.decimals is not None and tolerance.rounds_to(gold, answer, tree):
        return True
    return equal(gold.tree, tree)


def _conversion(gold: Unit | None, answer: Unit | None, tree: Tree) -> Fraction | None:
    """What the answer is multiplied with to be in the gold's unit; None where the units do not go together."""
    if gold is None or answer is None or gold == answer or not gold.dimensions or not answer.dimensions:
        return Fraction(1)
    if gold.dimensions == answer.dimensions:
        return answer.factor / gold.factor
    priced = [dict(unit.dimensions) for unit in (gold, answer)]
    for short, long in (priced, priced[::-1]):
        if len(short) == 1 and set(short) <= CURRENCIES and all(long.get(name) == 1 for name in short):
            return Fraction(1)  # "$2.50" against "$2.50 per pound"
    if {gold.dimensions, answer.dimensions} == _POUNDS and 1 in (gold.factor, answer.factor):
        return Fraction(1) if _POUND in (gold.factor, answer.factor) else None
    angles = {(("degree", 1),), (("radian", 1),)}
    if {gold.dimensions, answer.dimensions} == angles:
        return Fraction(1) if _mentions_pi(tree) else None
    return None


def _mentions_pi(tree: Any) -> bool:
    return isinstance(tree, tuple) and (tree == ("c", "pi") or any(_mentions_pi(part) for part in tree))


def _relation_as_scalar(relation: Relation, scalar: Scalar, rules: Rules, gold_first: bool) -> bool:
    """ "x = 5" and "x = 2 + 3 = 5" against 5: every side but the name must be that value."""
    sides = value_side(relation)
    if sides is None:
        return False
    name, trees = sides
    if scalar.name and not names_match(scalar.name, name):
        return False
    if not name and not gold_first:
        return False
    last = Scalar(trees[-1])
    pair = (scalar, last) if gold_first else (last, scalar)
    if not _scalars(*pair, rules):
        return False
    return all(equal(tree, trees[-1]) for tree in trees[:-1])


# ---- several values


def _many(gold: Many, answer: Value, rules: Rules) -> bool:
    if gold.kind == "set" and not gold.items:
        return (isinstance(answer, Many) and not answer.items) or (
            isinstance(answer, Words) and means_nothing(answer.text)
        )
    if isinstance(answer, Many):
        return _collections(gold, answer, rules)
    if (
        (is_interval(gold) or gold.kind == "set")
        and isinstance(answer, Relation | Conditions | SetOf)
        and is_region(answer)
    ):
        return same_region(gold, answer)
    if isinstance(answer, Matrix):
        return (
            len(answer.rows[0]) == 1 and _ordered(gold.items, _vector(answer), rules)
            if gold.kind == "bracketed" and gold.open in "(["
            else False
        )
    if gold.kind in ("set", "list") and len(gold.items) == 1:
        return same(gold.items[0], answer, rules)
    if gold.kind == "list" and isinstance(answer, SetOf | Conditions):
        return _all_relations(gold) and same_region(Conditions(gold.items, any=False), answer)
    return False


def _all_relations(many: Many) -> bool:
    return all(isinstance(item, Relation) for item in many.items)


def _collections(gold: Many, answer: Many, rules: Rules) -> bool:
    kinds = {gold.kind, answer.kind}
    if kinds == {"bracketed"}:
        if len(gold.items) != len(answer.items) or (
            len(gold.items) == 2 and (gold.open, gold.close) != (answer.open, answer.close)
        ):
            return False
        return _closed(gold) == _closed(answer) and _ordered(gold.items, answer.items, rules)
    if kinds == {"bracketed", "list"}:
        bracketed, listed = (gold, answer) if gold.kind == "bracketed" else (answer, gold)
        if len(bracketed.items) == 2 and (bracketed.open, bracketed.close) != ("(", ")"):
            return False  # an interval
        if all(isinstance(item, Many) and item.kind == "bracketed" for item in (*bracketed.items, *listed.items)):
            return _unordered(gold.items, answer.items, rules, False)
        values = _assigned(listed)
        return (
            _ordered(bracketed.items, values if values is not None else listed.items, rules)
            if gold is bracketed
            else _ordered(values if values is not None else listed.items, bracketed.items, rules)
        )
    if kinds == {"list"}:
        named = _named(gold), _named(answer)
        if named[0] is not None and named[1] is not None:
            return named[0].keys() == named[1].keys() and all(
                same(value, named[1][name], rules) for name, value in named[0].items()
            )
        return _unordered(_unnamed(gold), _unnamed(answer), rules, False)
    if "bracketed" in kinds:  # a point is not a set
        return False
    return _unordered(_unnamed(gold), _unnamed(answer), rules, True)


def _closed(many: Many) -> bool:
    """Whether the brackets are a pair: "(1, 2, 3]" is nothing."""
    return (many.open, many.close) not in (("(", "]"), ("[", ")"))


def _ordered(gold: tuple[Any, ...], answer: tuple[Any, ...], rules: Rules) -> bool:
    return len(gold) == len(answer) and all(same(one, two, rules) for one, two in zip(gold, answer, strict=True))


def _unordered(gold: tuple[Any, ...], answer: tuple[Any, ...], rules: Rules, as_sets: bool) -> bool:
    if not as_sets and len(gold) != len(answer):
        return False
    if len(gold) == len(answer) and _ordered(gold, answer, rules):
        return True
    if as_sets:
        return all(any(same(one, two, rules) for two in answer) for one in gold) and all(
            any(same(one, two, rules) for one in gold) for two in answer
        )
    left = list(answer)
    for one in gold:
        found = next((index for index, two in enumerate(left) if same(one, two, rules)), None)
        if found is None:
            return False
        del left[found]
    return True


def _named(many: Many) -> dict[str, Value] | None:
    """{"x": 1, "y": 2} for "x = 1, y = 2"; None where that is not what the list is."""
    found: dict[str, Value] = {}
    for item in many.items:
        if isinstance(item, Scalar) and item.name:
            found[item.name] = replace(item, name="")
            continue
        sides = value_side(item) if isinstance(item, Relation) else None
        if sides is None or not sides[0] or len(sides[1]) != 1:
            return None
        found[sides[0]] = Scalar(sides[1][0])
    return found if len(found) == len(many.items) > 1 else None


def _assigned(many: Many) -> tuple[Any, ...] | None:
    named = _named(many)
    return None if named is None else tuple(named.values())


def _unnamed(many: Many) -> tuple[Any, ...]:
    """The values of "x = 1 or x = -2" and of "x = 1, -2": one name for all of them is no more than a name."""
    values: list[Any] = []
    names: set[str] = set()
    for item in many.items:
        sides = value_side(item) if isinstance(item, Relation) else None
        if sides is not None and sides[0] and len(sides[1]) == 1:
            names.add(sides[0])
            values.append(Scalar(sides[1][0]))
        else:
            values.append(item)
    return tuple(values) if len(names) == 1 else many.items


def _vector(matrix: Matrix) -> tuple[Any, ...]:
    return tuple(Scalar(cell) for row in matrix.rows for cell in row)


def _matrix(gold: Matrix, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Matrix):
        if len(gold.rows) != len(answer.rows) or len(gold.rows[0]) != len(answer.rows[0]):
            return False
        return _ordered(_vector(gold), _vector(answer), rules)
    flat = 1 in (len(gold.rows), len(gold.rows[0]))
    if isinstance(answer, Many) and flat and answer.kind in ("bracketed", "list") and answer.open in ("", "(", "["):
        return _ordered(_vector(gold), answer.items, rules)
    if isinstance(answer, Scalar) and flat and not answer.label and answer.unit is None:
        spelled = in_unit_vectors(answer.tree)
        return spelled is not None and _ordered(_vector(gold), _vector(spelled), rules)
    if len(gold.rows) == len(gold.rows[0]) == 1:
        return same(Scalar(gold.rows[0][0]), answer, rules)
    return False


# ---- relations and regions


def _relation(gold: Relation, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Scalar):
        return _relation_as_scalar(gold, answer, rules, gold_first=False)
    if isinstance(answer, Relation):
        if "=" in gold.ops or "=" in answer.ops:
            return (
                gold.ops == ("=",) * len(gold.ops)
                and answer.ops == ("=",) * len(answer.ops)
                and _equations(gold, answer, rules)
            )
        if gold.ops == answer.ops and gold.sides == answer.sides:
            return True
        if same_inequality(gold, answer):
            return True
        return _one_variable(gold, answer) and same_region(gold, answer)
    if is_region(gold) and is_region(answer):
        return same_region(gold, answer)
    if isinstance(answer, Many) and len(answer.items) == 1 and answer.kind in ("set", "list"):
        return same(gold, answer.items[0], rules)
    return False


def _one_variable(*relations: Relation) -> bool:
    from burnish.verify.maths.evaluate import variables

    names = [variables(("rel", one.ops, one.sides)) for one in relations]
    return len(names[0]) == 1 and names[0] == names[1]


def _equations(gold: Relation, answer: Relation, rules: Rules) -> bool:
    first, second = value_side(gold), value_side(answer)
    assert first is not None and second is not None
    if first[0] and second[0] and names_match(first[0], second[0]):
        value = Scalar(first[1][-1])
        if _relation_as_scalar(answer, value, rules, gold_first=True):
            return True
    if len(gold.sides) != 2 or len(answer.sides) != 2:
        return False
    return same_equation(gold, same_argument(gold, answer))


def _conditions(gold: Conditions, answer: Value, rules: Rules) -> bool:
    alike = isinstance(answer, Conditions) and gold.any == answer.any and len(gold.parts) == len(answer.parts)
    if alike and isinstance(answer, Conditions) and _unordered(gold.parts, answer.parts, rules, False):
        return True
    return is_region(answer) and same_region(gold, answer)


def _set_of(gold: SetOf, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, SetOf) and answer.tree == gold.tree:
        return True
    return is_region(answer) and same_region(gold, answer)


_TABLE: dict[type, Callable[[Any, Value, Rules], bool]] = {
    Scalar: _scalar,
    Many: _many,
    Matrix: _matrix,
    Relation: _relation,
    Conditions: _conditions,
    SetOf: _set_of,
    Words: labels.words,
    Choice: labels.choice,
    Based: labels.based,
    Ratio: labels.ratio,
}
