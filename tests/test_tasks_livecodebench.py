"""LiveCodeBench: tests on standard input and of methods, hidden tests that are read and never unpickled, choices by day."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.tasks import livecodebench, load
from burnish.tasks.splits import check_golds
from burnish.verify import judge
from burnish.verify import load as load_verifier
from burnish.verify.sandbox import Policy, Sandbox


def written(*pairs: tuple[str, str], kind: str) -> str:
    return json.dumps([{"input": given, "output": wanted, "testtype": kind} for given, wanted in pairs])


def packed(value: Any) -> str:
    """As the data set packs its hidden tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


METHOD = {
    "question_id": "3000",
    "question_content": "Return the sum of the list times n.",
    "starter_code": "class Solution:\n    def scaled(self, nums: List[int], n: int) -> int:\n        ",
    "public_test_cases": written(("[1, 2]\n3", "9"), kind="functional"),
    "private_test_cases": packed(written(("[]\n5", "0"), ("[4]\n-1", "-4"), kind="functional")),
    "metadata": '{"func_name": "scaled"}',
    "difficulty": "hard",
    "platform": "leetcode",
    "contest_date": "2024-09-01T00:00:00",
}
PROGRAM = {
    "question_id": "abc1",
    "question_content": "Print twice the number.",
    "starter_code": "",
    "public_test_cases": written(("2\n", "4\n"), kind="stdin"),
    "private_test_cases": written(("-3\n", "-6\n"), kind="stdin"),
    "metadata": "{}",
    "difficulty": "easy",
    "platform": "atcoder",
    "contest_date": "2024-01-01T00:00:00",
}


def made(folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load("livecodebench", {"held_out": str(folder / "rows.jsonl"), **options})


@pytest.fixture(scope="module")
def can_run() -> None:
    try:
        Sandbox(Policy.of_environment()).close()
    except ConfigError as error:
        pytest.skip(str(error))


def test_a_method_is_called_with_a_line_for_each_argument(tmp_path: Path) -> None:
    [problem] = made(tmp_path, METHOD).held_out()
    assert (problem.id, problem.reference["kind"], problem.reference["entry"]) == (
        "livecodebench/held_out/3000",
        "call",
        "Solution.scaled",
    )
    assert problem.reference["tests"] == [
        {"args": [[1, 2], 3], "expected": 9},
        {"args": [[], 5], "expected": 0},
        {"args": [[4], -1], "expected": -4},
    ]


def test_starter_code_is_shown_and_a_program_is_told_what_to_read(tmp_path: Path) -> None:
    task = made(tmp_path, METHOD, PROGRAM)
    method, program = (task.messages(problem)[0].content for problem in task.held_out())
    assert "Complete this class.\n\n```python\nclass Solution:\n    def scaled" in method
    assert "Write a Python program that reads standard input and prints the answer." in program


def test_gold_tables_and_right_programs_pass_and_wrong_ones_do_not(tmp_path: Path, can_run: None) -> None:
    task = made(tmp_path, METHOD, PROGRAM)
    method, program = task.held_out()
    assert check_golds(task, task.held_out()) == []
    body = "class Solution:\n    def scaled(self, nums, n):\n        return sum(nums) * {}\n"
    said = {"n": "right", "3": "wrong"}
    for code, outcome in said.items():
        assert judge(load_verifier("programs"), method, f"```python\n{body.format(code)}```").outcome == outcome
    assert judge(load_verifier("programs"), program, "```python\nprint(2 * int(input()))\n```").outcome == "right"


def test_public_tests_alone(tmp_path: Path) -> None:
    [problem] = made(tmp_path, METHOD, tests="public").held_out()
    assert len(problem.reference["tests"]) == 1


def test_days_difficulty_and_platform_choose(tmp_path: Path) -> None:
    def chosen(**options: Any) -> list[str]:
        return [problem.id.rsplit("/", 1)[-1] for problem in made(tmp_path, METHOD, PROGRAM, **options).held_out()]

    assert chosen(since="2024-09-01") == ["3000"] and chosen(until="2024-08-31") == ["abc1"]
    assert chosen(difficulty="Easy") == ["abc1"] and chosen(platform=["leetcode", "atcoder"]) == ["3000", "abc1"]
    with pytest.raises(ConfigError, match="since is 'September', not a day"):
        chosen(since="September")
    with pytest.raises(DataError, match="2 problems left out: their difficulty is not medium"):
        chosen(difficulty="medium")


class Harmful:
    """Unpickling it would raise an error of its own kind."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemError('it was run')",)


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        (packed(Harmful()), "a pickle of something else than one text, and is not opened"),
        (packed(["a", "b"]), "a pickle of something else than one text, and is not opened"),
        (packed(7), "a pickle of something else than one text"),
        ("no such thing!", "neither JSON nor packed JSON"),
        (base64.b64encode(b"not zlib").decode(), "neither JSON nor packed JSON"),
        (packed("not JSON"), "private_test_cases is not JSON"),
        ('[{"input": 1, "output": "2"}]', 'must be a list of tests with the texts "input" and "output"'),
    ],
)
def test_hidden_tests_that_are_anything_but_text_are_refused(tmp_path: Path, hidden: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{said}"):
        made(tmp_path, {**METHOD, "private_test_cases": hidden}).held_out()


def test_hidden_tests_have_a_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livecodebench, "LARGEST", 1 << 20)
    with pytest.raises(DataError, match="more than 1 MiB once unpacked"):
        made(tmp_path, {**METHOD, "private_test_cases": packed("x" * (2 << 20))}).held_out()


@pytest.mark.parametrize("metadata", ["{}", '{"func_name": "a b"}', "not JSON"])
def test_a_method_without_a_name_is_refused(tmp_path: Path, metadata: str) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: .*metadata"):
        made(tmp_path, {**METHOD, "metadata": metadata}).held_out()
