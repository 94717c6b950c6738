"""A task whose answers are judged by a composition: another task, with gates before its verifier and parts beside it.

    [task]
    name = "composed"

    [task.options]
    task = "sudoku"
    options = { difficulty = 3 }
    gates = ["format"]
    parts = [{ name = "english", verifier = "language", reference = { language = "en" }, weight = 0.1 }]

The task's own verifier is the part "answer", with weight 1. Not for: how verdicts are joined (burnish.verify.compose).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Message, Problem
from burnish.tasks.source import Source
from burnish.verify.compose import Composed, Part, part_of


class ComposedTask:
    """`task` with `options`, judged by its own verifier and the given gates and parts.

    gates, parts     verifiers by name, or tables of the settings of `burnish.verify.compose.Part`
    answer           further settings of the part "answer", such as {also = "my.module:attr"} for a second verifier that must agree

    Raises ConfigError for what any of them is wrong with.
    """

    name = "composed"

    def __init__(
        self,
        task: str,
        options: dict[str, Any] | None = None,
        gates: list[Any] | None = None,
        parts: list[Any] | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        from burnish.tasks import load  # here, because the list of tasks names this module

        if task == self.name:
            raise ConfigError("A composed task cannot be made of a composed task; list all gates and parts in one.")
        if not (gates or parts or answer):
            raise ConfigError(f"The composed task has neither gates nor parts; name the task {task!r} itself.")
        self._task = load(task, options or {})
        own = part_of({"name": "answer", "verifier": self._task.verifier, **(answer or {})})
        self.composition = Composed((own, *_parts(parts)), _parts(gates))
        self.verifier = self.composition.name

    @property
    def train_size(self) -> int | None:
        """As the task has it."""
        return self._task.train_size

    @property
    def notices(self) -> tuple[str, ...]:
        """As the task has them."""
        return self._task.notices

    def train(self, seed: int) -> Source:
        """The task's own problems."""
        return self._task.train(seed)

    def held_out(self) -> Sequence[Problem]:
        """The task's own."""
        return self._task.held_out()

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """What the task asks; say in run files' `system` what else is wanted."""
        return self._task.messages(problem)

    def gold(self, problem: Problem) -> str | None:
        """The task's gold response; a check of a run says where it does not pass the gates."""
        return self._task.gold(problem)


def _parts(given: list[Any] | None) -> tuple[Part, ...]:
    return tuple(map(part_of, given or []))
