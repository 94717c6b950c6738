"""MBPP: short Python functions from one sentence, three assertions each (Austin et al. 2021, arXiv:2108.07732).

Not for other question-and-test files: their columns differ. The first assertion is shown in the question, because it is
what says the function's name; all are judged by, so an answer that knows one value by heart does not pass.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.code import CodeTask, parsed
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT, TRAIN, LeftOut
from burnish.verify.programs.convert import CannotConvert, call_tests

_OFFICIAL_TEST = range(11, 511)  # by task_id; 1 to 10 are for prompting, the rest is to train on
_MODULES = frozenset(("math", "re", "collections", "itertools", "sys"))


class Mbpp(CodeTask):
    """Rows with task_id, text, code, test_list and test_setup_code. One file for both splits is cut as its authors do."""

    name = "mbpp"
    hub = {
        TRAIN: ("google-research-datasets/mbpp:full@train#4bb6404fdc6cacfda99d4ac4205087b89d32030c",),
        HELD_OUT: ("google-research-datasets/mbpp:full@test#4bb6404fdc6cacfda99d4ac4205087b89d32030c",),
    }

    card = Card(
        "MBPP",
        "Short functions from one sentence, with three assertions each: 464 to train on, 500 held out; task_id 1 to 10 show the format.",
        "task_id; text; code; test_list; test_setup_code",
        "https://github.com/google-research/google-research/tree/master/mbpp",
        "CC BY 4.0",
        "Austin et al. 2021, arXiv:2108.07732",
        {
            "task_id": 20, "text": "Write a function to add one.", "code": "def inc(x):\n  return x + 1",
            "test_list": ["assert inc(1) == 2", "assert inc(2) == 3"], "test_setup_code": "", "challenge_test_list": [],
        },
        "The first assertion is shown, because it says the function's name; all are judged by.",
    )  # fmt: skip

    def belongs(self, row: Mapping[str, Any], split: str, place: str) -> bool:
        number = field(row, "task_id", place)
        if not isinstance(number, int):
            raise DataError(f"{place}: task_id is {number!r}, not a number.")
        if self._locations[TRAIN] != self._locations[HELD_OUT]:
            return True
        return number > _OFFICIAL_TEST[-1] if split == TRAIN else number in _OFFICIAL_TEST

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        return f"{self.name}/{split}/{row['task_id']}"

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        question, code = text(row, "text", place), text(row, "code", place).replace("\r\n", "\n")
        tests = field(row, "test_list", place)
        if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
            raise DataError(
                f"{place}: test_list must be a list of assertions with at least one; mend or remove the row."
            )
        setup = str(row.get("test_setup_code") or "").replace("\r\n", "\n")
        suite = _suite("\n".join(tests), setup, code, place)
        self._solutions[identity] = code
        shown = f"{question}\n\nFor example: {tests[0]}"
        return Problem(identity, self.name, shown, {**suite, **self._judging}, split, fingerprint(question, *tests))

    def wording(self, problem: Problem) -> str:
        return problem.question


def _suite(tests: str, setup: str, code: str, place: str) -> dict[str, Any]:
    """Raises LeftOut where the tests use more of the program than one function that is called with plain values."""
    body = parsed(tests, "test_list", place).body
    defined = {node.name for node in parsed(code, "code", place).body if isinstance(node, ast.FunctionDef)}
    called = [
        node.func.id
        for node in ast.walk(ast.Module(body, []))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined
    ]
    if not called:
        raise LeftOut("their tests call no function of the program")
    entry = called[0]
    try:
        if setup.strip():
            raise CannotConvert("a setup")
        return {"kind": "call", "entry": entry, "tests": call_tests(body, entry)}
    except CannotConvert:
        source = "import math, re, collections, itertools, sys\n" + f"{setup}\n{tests}\n"
    passed = [node for call in ast.walk(ast.Module(body, [])) if isinstance(call, ast.Call) for node in call.args]
    if any(isinstance(node, ast.Name) and isinstance(getattr(builtins, node.id, None), type) for node in passed):
        raise LeftOut("their tests pass a type or a function to the program")
    bound = {entry, *dir(builtins), *_MODULES, *_bound(parsed(setup, "test_setup_code", place))}
    whole = [*parsed(setup, "test_setup_code", place).body, *body]
    foreign = {node.id for node in ast.walk(ast.Module(whole, [])) if isinstance(node, ast.Name)} - bound - _bound(body)
    if foreign:
        raise LeftOut("their tests make objects of the program's own classes, or call several of its functions")
    return {"kind": "check", "entry": entry, "source": source}


def _bound(tree: ast.AST | list[ast.stmt]) -> set[str]:
    """Names that are bound anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.Module(tree, []) if isinstance(tree, list) else tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names
