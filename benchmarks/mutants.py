"""Programs with one small change each: what a wrong solution looks like. For verify_programs.py.

Not for running them. Each operator changes one place of a syntax tree: a comparison, an arithmetic or boolean operator, a
constant, a negated condition, a returned value, a dropped statement, a shifted index.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


def _comparison(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        node.ops[0] = _COMPARISONS[type(node.ops[0])]()
        return node
    return None


def _arithmetic(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        node.op = _ARITHMETIC[type(node.op)]()
        return node
    return None


def _boolean(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node
    return None


def _constant(node: ast.AST) -> ast.AST | None:
    if not isinstance(node, ast.Constant):
        return None
    if isinstance(node.value, bool):
        return ast.Constant(not node.value)
    if isinstance(node.value, int | float):
        return ast.Constant(node.value + 1)
    if isinstance(node.value, str):
        return ast.Constant(node.value + "x")
    return None


def _condition(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return node
    return None


def _returned(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Return) and node.value is not None:
        return ast.Return(ast.Constant(None))
    return None


def _dropped(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Assign | ast.AugAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        return ast.Pass()
    return None


def _shifted(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load):
        node.slice = ast.BinOp(node.slice, ast.Sub(), ast.Constant(1))
        return node
    return None


OPERATORS: dict[str, Callable[[ast.AST], ast.AST | None]] = {
    "comparison": _comparison,
    "arithmetic": _arithmetic,
    "and/or": _boolean,
    "constant": _constant,
    "condition": _condition,
    "return": _returned,
    "dropped": _dropped,
    "index": _shifted,
}


class _OnePlace(ast.NodeTransformer):
    """Applies an operator at the n-th place it fits."""

    def __init__(self, operator: Callable[[ast.AST], ast.AST | None], place: int) -> None:
        self._operator, self._left, self.done = operator, place, False

    def visit(self, node: ast.AST) -> Any:
        if not self.done and self._operator(copy.deepcopy(node)) is not None:
            if self._left == 0:
                self.done = True
                return ast.copy_location(self._operator(node), node)  # type: ignore[type-var]
            self._left -= 1
        return self.generic_visit(node)


def mutants(source: str, entry: str) -> Iterator[tuple[str, str]]:
    """(operator, source) for every single change in the functions of a program; docstrings are left alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    seen = {ast.unparse(tree)}
    for name, operator in OPERATORS.items():
        for place in range(200):
            changed = copy.deepcopy(tree)
            visitor = _OnePlace(operator, place)
            for index, node in enumerate(changed.body):
                if isinstance(node, ast.FunctionDef) and not visitor.done:
                    body = [visitor.visit(statement) for statement in node.body]
                    changed.body[index].body = body  # type: ignore[attr-defined]
            if not visitor.done:
                break
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text not in seen:
                seen.add(text)
                yield name, text
