"""LiveCodeBench: contest problems by the day they were set, on standard input or as a method (Jain et al. 2024, arXiv:2403.07974).

Not for training, unless files are given for it. The files carry no solutions, so the gold answer is a table of the tests: it proves
that each output passes its own comparison, not that it is right. Nothing is ever unpickled.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import re
import zlib
from collections.abc import Mapping
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.code import CodeTask, table_of_calls, table_of_outputs
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT, LeftOut
from burnish.tasks.splits import Overlap
from burnish.verify.sandbox.plain import NotPlain, encode

LARGEST = 256 << 20
"""Bytes that the hidden tests of one problem may have once they are unpacked."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_OF_A_TEXT = frozenset(("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"))
_TEXT = frozenset(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"))
_HUB = "hf://datasets/livecodebench/code_generation_lite@0fe84c3912ea0c4d4a78037083943e8f0c4dd505/{}.jsonl"


class LiveCodeBench(CodeTask):
    """Rows with question_content, starter_code, public_test_cases, private_test_cases and metadata.

    difficulty, platform   only problems of this one, or of these: easy, medium, hard; leetcode, atcoder, codeforces
    since, until           only problems of a contest from this day on, up to this day ("2024-08-01"): later than a model was made
    tests                  "all", or "public" for those the statement shows

    Raises ConfigError for a day that is none.
    """

    name = "livecodebench"
    hub = {HELD_OUT: tuple(_HUB.format(f"test{number}") for number in ("", 2, 3, 4, 5, 6))}
    card = Card(
        "LiveCodeBench",
        "Problems of LeetCode, AtCoder and Codeforces with the day they were set, 1,055 in release 6. Programs read standard input, or "
        "complete a method where there is starter code. For evaluation: choose days after a model was made.",
        "question_content; starter_code; public_test_cases; private_test_cases, JSON as it is or packed; metadata, with func_name; "
        "question_id; difficulty; platform; contest_date",
        "https://github.com/LiveCodeBench/LiveCodeBench",
        "CC (version not stated) for the collection; the problems are those of the three sites",
        "Jain et al. 2024, arXiv:2403.07974",
        {
            "question_title": "Twice", "question_content": "Return twice the number.", "platform": "leetcode", "question_id": "1",
            "contest_date": "2024-09-01T00:00:00", "starter_code": "class Solution:\n    def twice(self, n: int) -> int:\n        ",
            "difficulty": "easy", "public_test_cases": '[{"input": "2", "output": "4", "testtype": "functional"}]',
            "private_test_cases": '[{"input": "-1", "output": "-2", "testtype": "functional"}]', "metadata": '{"func_name": "twice"}',
        },
        "Hidden tests are packed with pickle; they are read without unpickling, and a row that holds anything but text there is refused.",
    )  # fmt: skip

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        difficulty: str | list[str] | None = None,
        platform: str | list[str] | None = None,
        since: str | None = None,
        until: str | None = None,
        tests: str = "all",
        seconds: float = 6.0,
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
        for option, day in (("since", since), ("until", until)):
            if day is not None and not _DAY.fullmatch(day):
                raise ConfigError(f"{option} is {day!r}, not a day such as 2024-08-01.")
        if tests not in ("all", "public"):
            raise ConfigError(f"tests is {tests!r}, not all or public.")
        self._wanted = {"difficulty": _texts(difficulty), "platform": _texts(platform)}
        self._days = since or "", until or "9999"
        self._hidden = tests == "all"

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        own = row.get("question_id")
        return super().identity(row, split, number, place) if own is None else f"{self.name}/{split}/{own}"

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        for name, wanted in self._wanted.items():
            if wanted and str(field(row, name, place)).casefold() not in wanted:
                raise LeftOut(f"their {name} is not {' or '.join(wanted)}")
        if (
            self._days != ("", "9999")
            and not self._days[0] <= str(field(row, "contest_date", place))[:10] <= self._days[1]
        ):
            raise LeftOut("they were set on another day")
        question, starter = text(row, "question_content", place), str(row.get("starter_code") or "").rstrip()
        given = _public(field(row, "public_test_cases", place), place)
        if self._hidden:
            given = [*given, *_private(field(row, "private_test_cases", place), place)]
        functional = [test.get("testtype") == "functional" for test in given]
        if not given or any(functional) != all(functional):
            raise DataError(f"{place}: its tests must be at least one and all of one kind; mend or remove the row.")
        reference = _calls(row, given, place) if functional[0] else _outputs(given, place)
        known = [(test["args"], test["expected"]) for test in reference["tests"]] if functional[0] else []
        self._solutions[identity] = (
            table_of_calls(reference["entry"], known) if functional[0] else table_of_outputs(reference["tests"])
        )
        asked = f"{question}\n\nComplete this class.\n\n```python\n{starter}\n```" if functional[0] else question
        return Problem(identity, self.name, asked, {**reference, **self._judging}, split, fingerprint(question))

    def wording(self, problem: Problem) -> str:
        if problem.reference["kind"] == "call":
            return problem.question
        return f"{problem.question}\n\nWrite a Python program that reads standard input and prints the answer."


def _texts(given: str | list[str] | None) -> tuple[str, ...]:
    return tuple(one.casefold() for one in ([given] if isinstance(given, str) else given or []))


def _public(given: Any, place: str) -> list[dict[str, Any]]:
    return _tests(given, "public_test_cases", place)


def _private(given: Any, place: str) -> list[dict[str, Any]]:
    """The hidden tests: JSON, or base64 of zlib of a pickle of that JSON text, of which the text is read and nothing run."""
    if isinstance(given, str) and given.strip() and not given.lstrip().startswith("["):
        given = _unpacked(given, place)
    return _tests(given, "private_test_cases", place)


def _unpacked(packed: str, place: str) -> str:
    try:
        inflate = zlib.decompressobj()
        pickled = inflate.decompress(base64.b64decode(packed, validate=True), LARGEST)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise DataError(f"{place}: private_test_cases is neither JSON nor packed JSON ({error}).") from error
    if inflate.unconsumed_tail:
        raise DataError(f"{place}: private_test_cases has more than {LARGEST >> 20} MiB once unpacked; remove the row.")
    found: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name in _TEXT:
                found.append(str(argument))
            elif code.name not in _OF_A_TEXT:
                raise ValueError(f"it has the step {code.name}")
    except ValueError as error:
        raise DataError(
            f"{place}: private_test_cases is a pickle of something else than one text, and is not opened ({error}); give its tests as JSON."
        ) from error
    if len(found) != 1:
        raise DataError(
            f"{place}: private_test_cases is a pickle of {len(found)} texts, not of one; give its tests as JSON."
        )
    return found[0]


def _tests(given: Any, name: str, place: str) -> list[dict[str, Any]]:
    try:
        tests = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: {name} is not JSON ({error}).") from error
    good = isinstance(tests, list) and all(
        isinstance(test, dict) and isinstance(test.get("input"), str) and isinstance(test.get("output"), str)
        for test in tests
    )
    if not good:
        raise DataError(f'{place}: {name} must be a list of tests with the texts "input" and "output".')
    return list(tests)


def _outputs(given: list[dict[str, Any]], place: str) -> dict[str, Any]:
    tests = [{"input": test["input"], "output": test["output"]} for test in given]
    return {"kind": "stdin", "tests": tests}


def _calls(row: Mapping[str, Any], given: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """A line of the input for each argument, and the output, all JSON. A tuple will do for a list, as JSON has none."""
    try:
        metadata = row.get("metadata")
        named = json.loads(metadata) if isinstance(metadata, str) and metadata.strip() else metadata
        method = str((named or {}).get("func_name") or "")
        tests = [
            {
                "args": [encode(json.loads(line)) for line in test["input"].split("\n") if line.strip()],
                "expected": encode(json.loads(test["output"])),
            }
            for test in given
        ]
    except (ValueError, RecursionError, AttributeError, NotPlain) as error:
        raise DataError(f"{place}: a test of a method, or its metadata, that is not JSON ({error}).") from error
    if not method.isidentifier():
        raise DataError(
            f"{place}: metadata names no func_name, so nobody knows which method to call; mend or remove the row."
        )
    entry = f"Solution.{method}" if "class Solution" in str(row.get("starter_code") or "") else method
    return {"kind": "call", "entry": entry, "tests": tests, "compare": "loose"}
