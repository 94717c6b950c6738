"""Whether what a program gave is what was expected: outputs as text, values as trees of `sandbox.plain`.

Not for running anything. What a program sent is hostile: no set or dict is built of it, nothing is hashed, and nothing
of it is evaluated. The expected side steers how deep and how long a comparison goes.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from typing import Any

from burnish.errors import ConfigError
from burnish.verify.sandbox.plain import DEPTH, decode

Checker = Callable[[Any, Any, Any], bool]
"""(input, expected, got) -> whether got is right: three texts, or [args, kwargs] and two values."""

_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,320}(?:\.[0-9]{0,320})?|\.[0-9]{1,320})(?:[eE][+-]?[0-9]{1,4})?")
_INTEGER = re.compile(r"[+-]?[0-9]+")


class _NotComparable(Exception):
    pass


# ---- outputs


def same_tokens(expected: str, got: str, tolerance: float = 1e-6) -> bool:
    """The same words in the same order, however they are spaced; decimals within `tolerance`, absolute or relative.

    An integer stays exact: "5" is not "5.0", but where "5.0" is expected, "5" will do.
    """
    wanted, given = expected.split(), got.split()
    return len(wanted) == len(given) and all(
        one == other or _close_words(one, other, tolerance) for one, other in zip(wanted, given, strict=True)
    )


def same_lines(expected: str, got: str, tolerance: float = 1e-6) -> bool:
    """As `same_tokens`, line by line; white space at the ends of lines and empty lines at the end do not count."""
    wanted, given = expected.rstrip().splitlines(), got.rstrip().splitlines()
    return len(wanted) == len(given) and all(
        same_tokens(one, other, tolerance) for one, other in zip(wanted, given, strict=True)
    )


def _close_words(expected: str, got: str, tolerance: float) -> bool:
    if _INTEGER.fullmatch(expected) or not _FLOAT.fullmatch(expected) or not _FLOAT.fullmatch(got):
        return False
    return close(float(expected), float(got), tolerance)


OUTPUTS: dict[str, Callable[[str, str, float], bool]] = {
    "tokens": same_tokens,
    "lines": same_lines,
    "exact": lambda expected, got, _: expected == got,
    "any_case": lambda expected, got, tolerance: same_tokens(expected.casefold(), got.casefold(), tolerance),
    "unordered_lines": lambda expected, got, tolerance: same_lines(
        "\n".join(sorted(" ".join(line.split()) for line in expected.strip().splitlines())),
        "\n".join(sorted(" ".join(line.split()) for line in got.strip().splitlines())),
        tolerance,
    ),
}

# ---- values


def close(expected: float, got: float, tolerance: float) -> bool:
    """|expected - got| <= tolerance * max(1, |expected|); infinities equal themselves, and so does nan."""
    if math.isnan(expected) or math.isnan(got):
        return math.isnan(expected) and math.isnan(got)
    return expected == got or abs(expected - got) <= tolerance * max(1.0, abs(expected)) < math.inf


def same_value(expected: Any, got: Any, tolerance: float = 1e-9, *, loose: bool = False) -> bool:
    """Whether two trees are equal as Python's == has it (1 == 1.0 == True, [1] != (1,)), floats within a tolerance.

    `loose` takes a tuple for a list, as tests that were written in JSON must.
    """
    try:
        return _same(expected, got, tolerance, loose, DEPTH)
    except _NotComparable:
        return False


def _same(expected: Any, got: Any, tolerance: float, loose: bool, depth: int) -> bool:
    if depth < 0:
        raise _NotComparable
    if _is_number(expected) or _is_number(got):
        return _is_number(expected) and _is_number(got) and _same_number(expected, got, tolerance)
    if expected is None or isinstance(expected, str):
        return type(expected) is type(got) and bool(expected == got)
    kind, body = _taken_apart(expected)
    other_kind, other = _taken_apart(got)
    if loose:
        kind, other_kind = ("list" if k == "$tuple" else k for k in (kind, other_kind))
    kind, other_kind = ("$set" if k == "$frozenset" else k for k in (kind, other_kind))
    if kind != other_kind or len(body) != len(other):
        return False
    if kind == "$bytes":
        return bool(body == other)
    if kind == "$set":
        body, other = sorted(body, key=_key), sorted(other, key=_key)
    elif kind == "$dict":
        body, other = (sorted(side, key=lambda pair: _key(pair[0])) for side in (body, other))
    return all(_same(one, two, tolerance, loose, depth - 1) for one, two in zip(body, other, strict=True))


def _is_number(tree: Any) -> bool:
    return isinstance(tree, bool | int | float)


def _same_number(expected: Any, got: Any, tolerance: float) -> bool:
    if expected == got:
        return True
    if isinstance(expected, float) or isinstance(got, float):
        try:
            return close(float(expected), float(got), tolerance)
        except OverflowError:
            return False
    return False


def _taken_apart(tree: Any) -> tuple[str, Any]:
    """("list", [...]), or the tag of a tree and what it holds; an object's items are ["$dict", pairs]."""
    if isinstance(tree, list):
        return "list", tree
    if not isinstance(tree, dict):
        raise _NotComparable
    if len(tree) == 1:
        ((tag, body),) = tree.items()
        if tag == "$bytes" and isinstance(body, str):
            return tag, body
        if tag == "$dict" and isinstance(body, list):
            if not all(isinstance(pair, list) and len(pair) == 2 for pair in body):
                raise _NotComparable
            return tag, body
        if tag in ("$tuple", "$set", "$frozenset", "$complex") and isinstance(body, list):
            return tag, body
        if tag.startswith("$"):
            raise _NotComparable
    return "$dict", [[key, value] for key, value in tree.items()]


def _key(tree: Any, depth: int = DEPTH) -> tuple[Any, ...]:
    """Something to sort by; equal values have equal keys. No hash of what a program sent is ever taken."""
    if depth < 0:
        raise _NotComparable
    if tree is None:
        return (2,)
    if _is_number(tree):
        return (3, "nan") if tree != tree else (0, tree)
    if isinstance(tree, str):
        return (1, tree)
    kind, body = _taken_apart(tree)
    if kind == "$tuple":
        return (4, tuple(_key(part, depth - 1) for part in body))
    if kind == "$frozenset":
        return (5, tuple(sorted(_key(part, depth - 1) for part in body)))
    if kind == "$bytes":
        return (6, body)
    if kind == "$complex":
        return (7, tuple(_key(part, depth - 1) for part in body))
    raise _NotComparable  # a list or a dict in a set: no such value exists


# ---- checkers of one's own


def checker_named(name: str) -> Checker:
    """A special checker "my.module:function". Raises ConfigError where it cannot be had."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        known = ", ".join([*OUTPUTS, "values", "loose"])
        raise ConfigError(
            f"there is no comparison {name!r}: choose one of {known}, or name your own as my.module:function"
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the checker {name!r} cannot be imported ({error})") from error
    if not callable(found):
        raise ConfigError(f"the checker {name!r} is {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def check_values(checker: Checker, call: list[Any], expected: Any, got: Any) -> bool:
    """Ask a special checker about trees: it is given plain values. Raises NotPlain for a tree that is none."""
    return bool(checker([decode(call[0]), decode(call[1])], decode(expected), decode(got)))
