"""Assertions about calls with literal values, turned into tests whose expected values stay with the judge.

Reads Python with `ast` and never runs it. What it cannot turn (loops, helpers, approximate comparisons of several
calls) is for a "check", which runs apart from the program.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from typing import Any

from burnish.verify.sandbox.plain import NotPlain, encode

_LONGEST = 100_000  # parts of a folded value
_BITS = 4096


class CannotConvert(Exception):
    """There is something in the tests that is no assertion about one call with literal values."""


def call_tests(statements: str | Sequence[ast.stmt], name: str) -> list[dict[str, Any]]:
    """The tests in a body of assertions about `name`. Raises CannotConvert; SyntaxError where it is no Python.

    Takes `assert f(1) == 2`, the same turned round, `is`, `not f(1)`, bare truth, `abs(f(1) - 2.5) < 1e-6`, and
    `math.isclose(f(1), 2.5)`; also names bound to literals before, and assertions of constants, which test nothing.
    """
    body = ast.parse(statements).body if isinstance(statements, str) else statements
    folder = Folder()
    tests: list[dict[str, Any]] = []
    for statement in body:
        if isinstance(statement, ast.Assert):
            if not _always_true(statement.test):
                tests.append(_test(statement.test, name, folder))
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            if len(statement.targets) > 1 or statement.targets[0].id == name:
                raise CannotConvert("an assignment of several names")
            folder.names[statement.targets[0].id] = folder.fold(statement.value)
        elif not isinstance(statement, ast.Pass) and not _is_remark(statement):
            raise CannotConvert(f"a statement {type(statement).__name__}")
    return tests


def checked(source: str, function: str = "check") -> tuple[list[ast.stmt], str]:
    """The body of `def check(candidate)` in a test source, and the name of its parameter. Raises CannotConvert."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function and len(node.args.args) == 1:
            return node.body, node.args.args[0].arg
        if not isinstance(node, ast.Assign) or not _is_metadata(node):
            raise CannotConvert(f"a statement {type(node).__name__} beside {function}")
    raise CannotConvert(f"no function {function} of one argument")


def _is_metadata(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == "METADATA"


def _is_remark(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _always_true(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


def _test(test: ast.expr, name: str, folder: Folder) -> dict[str, Any]:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return {**_call(test.operand, name, folder), "how": "false"}
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, operator, right = test.left, test.ops[0], test.comparators[0]
        if isinstance(operator, ast.Eq | ast.Is):
            return _equality(left, right, name, folder, tolerance=0.0)
        if isinstance(operator, ast.Lt | ast.LtE) and (inner := _absolute_difference(left)) is not None:
            return _equality(inner.left, inner.right, name, folder, tolerance=_bound(folder.fold(right)))
    if _is_isclose(test):
        assert isinstance(test, ast.Call)
        given = {word.arg: folder.fold(word.value) for word in test.keywords if word.arg}
        if set(given) <= {"rel_tol", "abs_tol"} and len(test.args) == 2:
            tolerance = max(given.get("rel_tol", 1e-9), given.get("abs_tol", 0.0))
            return _equality(test.args[0], test.args[1], name, folder, tolerance=_bound(tolerance))
    return {**_call(test, name, folder), "how": "true"}


def _equality(left: ast.expr, right: ast.expr, name: str, folder: Folder, tolerance: float) -> dict[str, Any]:
    if not _is_call_of(left, name):
        left, right = right, left
    test = {**_call(left, name, folder), "expected": _plain(folder.fold(right))}
    return {**test, "tolerance": tolerance} if tolerance else test


def _bound(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise CannotConvert("a tolerance that is none")
    return float(value)


def _absolute_difference(node: ast.expr) -> ast.BinOp | None:
    """The difference in `abs(a - b)` and `math.fabs(a - b)`."""
    if not isinstance(node, ast.Call) or len(node.args) != 1 or ast.unparse(node.func) not in ("abs", "math.fabs"):
        return None
    inner = node.args[0]
    return inner if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub) else None


def _is_isclose(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("math.isclose", "isclose")


def _is_call_of(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _call(node: ast.expr, name: str, folder: Folder) -> dict[str, Any]:
    if not _is_call_of(node, name):
        raise CannotConvert(f"an assertion that is not about one call: {ast.unparse(node)[:80]}")
    assert isinstance(node, ast.Call)
    if any(word.arg is None for word in node.keywords) or any(isinstance(one, ast.Starred) for one in node.args):
        raise CannotConvert("a call with unpacked arguments")
    test: dict[str, Any] = {"args": [_plain(folder.fold(one)) for one in node.args]}
    if node.keywords:
        test["kwargs"] = {str(word.arg): _plain(folder.fold(word.value)) for word in node.keywords}
    return test


def _plain(value: Any) -> Any:
    try:
        return encode(value)
    except NotPlain as error:
        raise CannotConvert(str(error)) from error


class Folder:
    """Values of literal expressions, bounded; nothing is executed. `names` are those bound to a value before."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def fold(self, node: ast.expr) -> Any:
        """Raises CannotConvert for what is no literal."""
        if isinstance(node, ast.Constant) and node.value is not ...:
            return node.value
        if isinstance(node, ast.Name) and node.id in self.names:
            return self.names[node.id]
        if isinstance(node, ast.List):
            return self._several(node.elts)
        if isinstance(node, ast.Tuple):
            return tuple(self._several(node.elts))
        try:
            if isinstance(node, ast.Set):
                return set(self._several(node.elts))
            if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
                keys = self._several([key for key in node.keys if key is not None])
                return dict(zip(keys, self._several(node.values), strict=True))
            if isinstance(node, ast.UnaryOp):
                return self._unary(node.op, self.fold(node.operand))
            if isinstance(node, ast.BinOp):
                return self._binary(node.op, self.fold(node.left), self.fold(node.right))
            if isinstance(node, ast.Call) and not node.keywords and isinstance(node.func, ast.Name):
                return self._made(node.func.id, [self.fold(one) for one in node.args])
        except (TypeError, ValueError, ArithmeticError) as error:
            raise CannotConvert(f"{ast.unparse(node)[:80]}: {error}") from error
        raise CannotConvert(f"not a literal: {ast.unparse(node)[:80]}")

    def _several(self, nodes: Iterable[ast.expr]) -> list[Any]:
        return [self.fold(node) for node in nodes]

    def _unary(self, operator: ast.unaryop, value: Any) -> Any:
        if isinstance(operator, ast.Not):
            return not value
        if isinstance(operator, ast.USub) and isinstance(value, int | float | complex):
            return -value
        if isinstance(operator, ast.UAdd) and isinstance(value, int | float | complex):
            return +value
        raise CannotConvert(f"the operator {type(operator).__name__}")

    def _binary(self, operator: ast.operator, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float | complex) and isinstance(right, int | float | complex)
        if isinstance(operator, ast.Mult) and not numbers:
            sequence, times = (left, right) if isinstance(right, int) else (right, left)
            if not isinstance(sequence, str | list | tuple) or len(sequence) * max(times, 0) > _LONGEST:
                raise CannotConvert("a repetition that is too long")
            return sequence * times
        if isinstance(operator, ast.Add) and type(left) is type(right) and isinstance(left, str | list | tuple):
            return left + right
        if not numbers:
            raise CannotConvert(f"the operator {type(operator).__name__} on what is no number")
        if isinstance(operator, ast.Pow):
            size = left.bit_length() if isinstance(left, int) else 64
            if isinstance(right, int) and size * abs(right) > _BITS:
                raise CannotConvert("a power that is too large")
            return left**right
        if isinstance(operator, ast.Add | ast.Sub):
            return left + right if isinstance(operator, ast.Add) else left - right
        if isinstance(operator, ast.Mult | ast.Div):
            return left * right if isinstance(operator, ast.Mult) else left / right
        if (
            isinstance(operator, ast.FloorDiv | ast.Mod)
            and not isinstance(left, complex)
            and not isinstance(right, complex)
        ):
            return left // right if isinstance(operator, ast.FloorDiv) else left % right
        raise CannotConvert(f"the operator {type(operator).__name__}")

    def _made(self, kind: str, values: list[Any]) -> Any:
        """What a call of a plain builtin makes: float("inf"), set(), tuple([1, 2]), ..."""
        kinds = {"float": float, "complex": complex, "set": set, "frozenset": frozenset, "tuple": tuple, "list": list}
        if kind == "float" and len(values) == 1 and isinstance(values[0], str) and len(values[0]) < 40:
            return float(values[0])
        if kind == "dict" and not values:
            return {}
        if kind in kinds and not isinstance(values[0] if values else [], str | float | bytes) and len(values) <= 2:
            return kinds[kind](*values)
        if kind == "range" or not math.isfinite(len(values)):
            raise CannotConvert("a range")
        raise CannotConvert(f"a call of {kind}")
