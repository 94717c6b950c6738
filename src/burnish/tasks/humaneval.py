"""HumanEval: 164 functions to complete from a signature and a docstring (Chen et al. 2021, arXiv:2107.03374).

Not for training, unless a file of further rows of the same form is given: it is what others measure with.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.code import CodeTask, parsed, suite_of_check
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT
from burnish.tasks.source import Shuffled
from burnish.tasks.splits import Separation

HUB_NAME = "openai/openai_humaneval"


class HumanEval(CodeTask):
    """Rows with task_id, prompt, entry_point, canonical_solution and test; a file, or "openai/openai_humaneval"."""

    name = "humaneval"

    def __init__(
        self,
        held_out: str,
        train: str = "",
        *,
        seconds: float = 3.0,
        memory_mb: int = 512,
        require_tier: str | None = None,
        partial: bool = False,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(
            train,
            f"{HUB_NAME}@test" if held_out == HUB_NAME else held_out,
            seconds=seconds,
            memory_mb=memory_mb,
            require_tier=require_tier,
            partial=partial,
            limit_held_out=limit_held_out,
        )
        self._trains = bool(train)

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

    def train(self, seed: int) -> Shuffled:
        """Raises ConfigError where no file to train on was given."""
        if not self._trains:
            raise ConfigError(
                "humaneval has no training problems, it is for evaluation: train on mbpp, or name a file of rows in train."
            )
        return super().train(seed)

    @cached_property
    def _separation(self) -> Separation:
        if self._trains:
            return super()._separation
        problems = self._read(HELD_OUT)
        return Separation((), tuple(problems[: self._limits[HELD_OUT]]), ())


def _preamble(prompt: str, entry: str, place: str) -> str:
    """Imports and helpers of a prompt, without the function that is asked for: an answer need not repeat them."""
    tree = parsed(f"{prompt.rstrip()}\n    pass\n", "the prompt", place)
    kept = [node for node in tree.body if getattr(node, "name", None) != entry]
    if len(kept) == len(tree.body):
        raise DataError(f"{place}: the prompt does not begin a function {entry!r}; mend or remove the row.")
    return "\n".join(ast.unparse(node) for node in kept)
