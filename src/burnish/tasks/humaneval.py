"""HumanEval: 164 functions to complete from a signature and a docstring (Chen et al. 2021, arXiv:2107.03374).

Not for training, unless files of further rows of the same form are given: it is what others measure with.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.code import CodeTask, parsed, suite_of_check
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT


class HumanEval(CodeTask):
    """Rows with task_id, prompt, entry_point, canonical_solution and test; for evaluation unless `train` is given."""

    name = "humaneval"
    hub = {HELD_OUT: ("openai/openai_humaneval@test#7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",)}

    card = Card(
        "HumanEval",
        "164 functions to complete from a signature and a docstring; for evaluation.",
        "task_id; prompt; entry_point; canonical_solution; test, with a def check(candidate)",
        "https://github.com/openai/human-eval",
        "MIT",
        "Chen et al. 2021, arXiv:2107.03374",
        {
            "task_id": "HumanEval/0", "prompt": 'def double(x: int) -> int:\n    """Twice x."""\n', "entry_point": "double",
            "canonical_solution": "    return 2 * x\n",
            "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
        },
    )  # fmt: skip

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        seconds: float = 3.0,
        memory_mb: int = 512,
        require_tier: str | None = None,
        partial: bool = False,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(
            train,
            held_out,
            seconds=seconds,
            memory_mb=memory_mb,
            require_tier=require_tier,
            partial=partial,
            limit_held_out=limit_held_out,
        )

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        prompt, entry, test = (
            str(field(row, "prompt", place)),
            text(row, "entry_point", place),
            text(row, "test", place),
        )
        solution = prompt + str(field(row, "canonical_solution", place))
        before = _preamble(prompt, entry, place)
        parsed(test, "the test", place)
        suite = suite_of_check(test, entry, before)
        if suite["kind"] == "call" and not suite["tests"]:
            raise DataError(f"{place}: the test asserts nothing; mend or remove the row.")
        self._solutions[identity] = solution
        return Problem(identity, self.name, prompt, {**suite, **self._judging}, split, fingerprint(prompt))

    def wording(self, problem: Problem) -> str:
        return f"Complete this Python function.\n\n```python\n{problem.question.rstrip()}\n```"


def _preamble(prompt: str, entry: str, place: str) -> str:
    """Imports and helpers of a prompt, without the function that is asked for: an answer need not repeat them."""
    tree = parsed(f"{prompt.rstrip()}\n    pass\n", "the prompt", place)
    kept = [node for node in tree.body if getattr(node, "name", None) != entry]
    if len(kept) == len(tree.body):
        raise DataError(f"{place}: the prompt does not begin a function {entry!r}; mend or remove the row.")
    return "\n".join(ast.unparse(node) for node in kept)
