"""What the tasks that ask for a program share: one wording, limits and sandbox tier, solutions, problems left out.

Not for a task by itself: see humaneval, mbpp and code_contests. Judging is `burnish.verify.programs`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from burnish.errors import DataError
from burnish.records import Message, Problem
from burnish.tasks.files import read_rows
from burnish.tasks.finite import FileTask
from burnish.tasks.splits import Overlap, Separation
from burnish.verify.programs.convert import CannotConvert, call_tests, checked
from burnish.verify.sandbox import tier_named

FORMAT = "Reason step by step between <think> and </think>, then give the whole program in one block of ```python."


class LeftOut(Exception):
    """A problem that cannot be judged from outside the program; the message says why, in a few words."""


class CodeTask(FileTask):
    """Problems whose answers are programs.

    seconds       a test may take; must fit in the deadline of a verdict (`verify.deadline_s`) with room to spare
    memory_mb     of address space
    require_tier  the weakest sandbox that will do: seccomp, landlock, bubblewrap or remote
    partial       the score is the share of tests that pass; else it is all or nothing

    Raises ConfigError for a tier that does not exist.
    """

    verifier = "programs"

    def __init__(
        self,
        train: str,
        held_out: str,
        *,
        seconds: float = 3.0,
        memory_mb: int = 512,
        require_tier: str | None = None,
        partial: bool = False,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(train, held_out, overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out)
        self._judging: dict[str, Any] = {"seconds": seconds, "memory_mb": memory_mb}
        if require_tier is not None:
            tier_named(require_tier)
            self._judging["require_tier"] = require_tier
        if partial:
            self._judging["score"] = "share"
        self._solutions: dict[str, str] = {}
        self._left_out: dict[str, int] = {}

    def belongs(self, row: Mapping[str, Any], split: str, place: str) -> bool:
        """Whether a row of the file of that split is in it."""
        return True

    def wording(self, problem: Problem) -> str:
        """What is asked, without the format of the answer."""
        raise NotImplementedError

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", f"{self.wording(problem)}\n\n{FORMAT}"),)

    def gold(self, problem: Problem) -> str | None:
        self._separation  # noqa: B018 - reads the files, and with them the solutions
        solution = self._solutions.get(problem.id)
        return None if solution is None else f"<think>The reference solution.</think>\n```python\n{solution}\n```"

    @property
    def notices(self) -> tuple[str, ...]:
        separation = self._separation
        left_out = (f"{_problems(count)} left out: {why}." for why, count in sorted(self._left_out.items()))
        return (*separation.notices, *left_out)

    @cached_property
    def _separation(self) -> Separation:
        self._left_out.clear()
        return super()._separation

    def _read(self, split: str) -> list[Problem]:
        problems = []
        for number, (place, row) in enumerate(read_rows(self._locations[split], self.hub_splits[split])):
            if not self.belongs(row, split, place):
                continue
            identity = self.identity(row, split, number, place)
            if identity in self._places:
                raise DataError(f"{place}: the id {identity!r} was already used at {self._places[identity]}.")
            try:
                problems.append(self.problem(row, identity, split, place))
            except LeftOut as reason:
                self._left_out[str(reason)] = self._left_out.get(str(reason), 0) + 1
            self._places[identity] = place
        if not problems:
            raise DataError(f"{self._locations[split]} has no problem for the {split} split; give another file.")
        return problems


def suite_of_check(test: str, entry: str, before: str) -> dict[str, Any]:
    """The reference of tests in a `def check(candidate)`: calls where they all are literal, else a check that runs apart."""
    try:
        body, candidate = checked(test)
        tests = call_tests(body, candidate)
    except CannotConvert:
        return {"kind": "check", "entry": entry, "source": f"{before}\n{test}\ncheck({entry})\n", "before": before}
    return {"kind": "call", "entry": entry, "tests": tests, "before": before}


def parsed(source: str, what: str, place: str) -> ast.Module:
    """Raises DataError which says what could not be read."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise DataError(f"{place}: {what} is not Python ({error}); mend or remove the row.") from error


def _problems(count: int) -> str:
    return "1 problem" if count == 1 else f"{count} problems"
