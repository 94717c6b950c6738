"""What the tasks that ask for a program share: one wording, limits and sandbox tier, solutions, problems left out.

Not for a task by itself: see humaneval, mbpp, code_contests and livecodebench. Judging is `burnish.verify.programs`.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import zlib
from typing import Any

from burnish.errors import DataError
from burnish.records import Message, Problem
from burnish.tasks.finite import FileTask
from burnish.tasks.splits import Overlap
from burnish.verify.programs.convert import CannotConvert, call_tests, checked
from burnish.verify.sandbox import tier_named

FORMAT = "Reason step by step between <think> and </think>, then give the whole program in one block of ```python."


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
        train: str | list[str] = "",
        held_out: str | list[str] = "",
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

    def wording(self, problem: Problem) -> str:
        """What is asked, without the format of the answer."""
        raise NotImplementedError

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", f"{self.wording(problem)}\n\n{FORMAT}"),)

    def gold(self, problem: Problem) -> str | None:
        self._separation  # noqa: B018 - reads the files, and with them the solutions
        solution = self._solutions.get(problem.id)
        return None if solution is None else f"<think>The reference solution.</think>\n```python\n{solution}\n```"


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


def table_of_outputs(tests: list[dict[str, str]]) -> str:
    """A program that knows by heart what to print for each input: a gold answer where a file has no solution."""
    known = {hashlib.sha256(test["input"].encode()).hexdigest(): test["output"] for test in tests}
    return (
        "import base64, hashlib, json, sys, zlib\n"
        f"known = json.loads(zlib.decompress(base64.b85decode({_packed(known)!r})))\n"
        "sys.stdout.write(known[hashlib.sha256(sys.stdin.buffer.read()).hexdigest()])"
    )


def table_of_calls(entry: str, known: list[tuple[list[Any], Any]]) -> str:
    """The same for a function, or the method of a class ("Solution.twice"): plain JSON values by the arguments that give them."""
    owner, _, method = entry.rpartition(".")
    own = "self, " if owner else ""
    body = [
        f"def {method}({own}*given):",
        "    return next(value for arguments, value in known if arguments == list(given))",
    ]
    body = [f"class {owner}:", *(f"    {line}" for line in body)] if owner else body
    return "\n".join(
        [
            "import base64, json, zlib",
            f"known = json.loads(zlib.decompress(base64.b85decode({_packed(known)!r})))",
            *body,
        ]
    )


def _packed(value: Any) -> str:
    return base64.b85encode(zlib.compress(json.dumps(value).encode(), 9)).decode()
