"""Programming contests: a statement, inputs and the outputs they must give (Li et al. 2022, arXiv:2203.07814).

Not for contests whose problems take several answers: name a checker for those, or leave them out. Where a file carries no Python
solution, the gold answer is a table of the tests: it proves that each output passes, not that it is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.code import CodeTask, table_of_outputs
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT, TRAIN, LeftOut
from burnish.tasks.splits import Overlap
from burnish.verify.programs.compare import OUTPUTS

_SEVERAL = re.compile(
    r"\b(?:any (?:one )?of them|any (?:valid|correct|possible|such|suitable|answer|solution)|multiple (?:answers|solutions|"
    r"possible|valid|correct)|several (?:answers|solutions|possible)|more than one (?:answer|solution|possible))",
    re.IGNORECASE,
)


_STATEMENTS = ("problem", "content", "description")
_PARTS = ("public_tests", "private_tests", "generated_tests")
_PYTHON_3 = 3  # the files' own number of the language


class CodeContests(CodeTask):
    """Rows with "problem" and "tests" {"inputs", "outputs"}, with "content" and "test" (a JSON list in a string), or as their authors
    publish them: "description" and "public_tests", "private_tests" and "generated_tests" {"input", "output"}, and "solutions".

    compare        how outputs are compared: tokens, lines, exact, any_case, unordered_lines, or "my.module:checker"
    several        "drop" leaves out problems whose statement says that any of several answers will do; "keep" keeps them
    """

    name = "code_contests"
    hub = {
        TRAIN: ("deepmind/code_contests@train#802411c3010cb00d1b05bad57ca77365a3c699d6",),
        HELD_OUT: ("deepmind/code_contests@test#802411c3010cb00d1b05bad57ca77365a3c699d6",),
    }
    card = Card(
        "CodeContests",
        "Contest problems of several sites with inputs and the outputs they must give: 13,328 to train on, 117 to develop with, 165 held "
        "out.",
        "problem and tests; or content and test; or description, public_tests, private_tests, generated_tests and solutions",
        "https://github.com/google-deepmind/code_contests",
        "CC BY 4.0, Apache-2.0 for code",
        "Li et al. 2022, arXiv:2203.07814",
        {
            "problem": "Add the two numbers of a line.",
            "tests": {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]},
        },
        "Statements that allow several answers are left out unless a checker is named (option compare), or several is keep. Few tests "
        "a problem: a wrong program may pass.",
    )

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        compare: str = "tokens",
        several: str = "drop",
        seconds: float = 4.0,
        memory_mb: int = 1024,
        require_tier: str | None = None,
        partial: bool = False,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(
            train,
            held_out,
            seconds=seconds,
            memory_mb=memory_mb,
            require_tier=require_tier,
            partial=partial,
            overlap=overlap,
            limit_train=limit_train,
            limit_held_out=limit_held_out,
        )
        if compare not in OUTPUTS and ":" not in compare:
            raise ConfigError(f"compare is {compare!r}, not one of {', '.join(OUTPUTS)} or my.module:checker.")
        if several not in ("drop", "keep"):
            raise ConfigError(f"several is {several!r}, not drop or keep.")
        self._judging["compare"] = compare
        self._keeps_several = several == "keep" or ":" in compare

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        question = text(row, next((name for name in _STATEMENTS if name in row), _STATEMENTS[0]), place)
        tests = _tests(row, place)
        if not self._keeps_several and _SEVERAL.search(question):
            raise LeftOut("their statement says that several answers will do, and no checker is named")
        self._solutions[identity] = _solution(row) or table_of_outputs(tests)
        reference = {"kind": "stdin", "tests": tests, **self._judging}
        return Problem(identity, self.name, question, reference, split, fingerprint(question))

    def wording(self, problem: Problem) -> str:
        return f"{problem.question}\n\nWrite a Python program that reads standard input and prints the answer."


def _tests(row: Mapping[str, Any], place: str) -> list[dict[str, str]]:
    """Raises DataError for tests that are missing or malformed."""
    if "tests" in row:
        given = field(row, "tests", place)
        inputs, outputs = (given.get(name) if isinstance(given, dict) else None for name in ("inputs", "outputs"))
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise DataError(f'{place}: "tests" must hold lists "inputs" and "outputs" of one length; mend the row.')
        pairs = list(zip(inputs, outputs, strict=True))
    elif any(name in row for name in _PARTS):
        parts = [row.get(name) or {} for name in _PARTS]
        try:
            pairs = [pair for part in parts for pair in zip(part.get("input", ()), part.get("output", ()), strict=True)]
        except (ValueError, AttributeError, TypeError) as error:
            raise DataError(
                f'{place}: its tests must hold lists "input" and "output" of one length ({error}).'
            ) from error
    else:
        given = text(row, "test", place)
        try:
            pairs = [(one["input"]["stdin"], one["output"]["stdout"]) for one in json.loads(given)]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f'{place}: "test" must be a list of {{"input": {{"stdin"}}, ...}}: {error!r}.') from error
    if not pairs:
        raise DataError(f"{place}: a problem without tests cannot be judged; remove the row.")
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        raise DataError(f"{place}: an input or output that is not text; mend the row.")
    return [{"input": given, "output": wanted} for given, wanted in pairs]


def _solution(row: Mapping[str, Any]) -> str | None:
    """The first of the row's right programs in Python 3, if it has one."""
    given = row.get("solutions")
    if not isinstance(given, Mapping):
        return None
    pairs = zip(given.get("language") or (), given.get("solution") or (), strict=False)
    return next((str(program) for language, program in pairs if language == _PYTHON_3), None)
