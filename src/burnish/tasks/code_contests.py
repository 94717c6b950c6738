"""Programming contests: a statement, inputs and the outputs they must give (Li et al. 2022, arXiv:2203.07814).

Not for contests whose problems take several answers: name a checker for those, or leave them out. The files carry no
solutions, so the gold answer is a table of the tests: it proves that each output passes, not that it is right.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.code import CodeTask, LeftOut
from burnish.tasks.files import field, text
from burnish.tasks.splits import Overlap
from burnish.verify.programs.compare import OUTPUTS

_SEVERAL = re.compile(
    r"\b(?:any (?:one )?of them|any (?:valid|correct|possible|such|suitable|answer|solution)|multiple (?:answers|solutions|"
    r"possible|valid|correct)|several (?:answers|solutions|possible)|more than one (?:answer|solution|possible))",
    re.IGNORECASE,
)


class CodeContests(CodeTask):
    """Rows with "problem" and "tests" {"inputs", "outputs"}, or with "content" and "test" (a JSON list in a string).

    compare        how outputs are compared: tokens, lines, exact, any_case, unordered_lines, or "my.module:checker"
    several        "drop" leaves out problems whose statement says that any of several answers will do; "keep" keeps them
    """

    name = "code_contests"

    def __init__(
        self,
        train: str,
        held_out: str,
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
        question = text(row, "problem" if "problem" in row else "content", place)
        tests = _tests(row, place)
        if not self._keeps_several and _SEVERAL.search(question):
            raise LeftOut("their statement says that several answers will do, and no checker is named")
        self._solutions[identity] = _table(tests)
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


def _table(tests: list[dict[str, str]]) -> str:
    """A program that knows the outputs by heart."""
    known = {hashlib.sha256(test["input"].encode()).hexdigest(): test["output"] for test in tests}
    packed = base64.b85encode(zlib.compress(json.dumps(known).encode(), 9)).decode()
    return (
        "import base64, hashlib, json, sys, zlib\n"
        f"known = json.loads(zlib.decompress(base64.b85decode({packed!r})))\n"
        "sys.stdout.write(known[hashlib.sha256(sys.stdin.buffer.read()).hexdigest()])"
    )
