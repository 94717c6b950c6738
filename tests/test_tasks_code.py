"""Tasks whose answers are programs: reading, wording, what is left out, and gold answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.tasks import load
from burnish.tasks.splits import check_golds
from burnish.verify.sandbox import Policy, Sandbox

HUMAN = {
    "task_id": "H/0",
    "prompt": 'import math\n\ndef helper(x):\n    return x\n\ndef double(x: int) -> int:\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return helper(2 * x)\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
}
MBPP = {
    "task_id": 20,
    "text": "Write a function to add one.",
    "code": "def inc(x):\r\n  return x + 1",
    "test_list": ["assert inc(1) == 2", "assert inc(2) == 3"],
    "test_setup_code": "",
}
CONTEST = {"problem": "Add two numbers.", "tests": {"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture(scope="module")
def can_run() -> None:
    try:
        Sandbox(Policy.of_environment()).close()
    except ConfigError as error:
        pytest.skip(str(error))


def test_humaneval_asks_for_the_function_and_keeps_the_helpers(tmp_path: Path) -> None:
    task = load("humaneval", {"held_out": write(tmp_path / "h.jsonl", HUMAN)})
    (problem,) = task.held_out()
    assert problem.reference["before"] == "import math\ndef helper(x):\n    return x"
    assert problem.reference["tests"] == [{"args": [2], "expected": 4}, {"args": [-1], "expected": -2}]
    assert '"""Twice x."""' in task.messages(problem)[0].content
    assert "return helper" not in json.dumps(dict(problem.reference)).replace("return x", "")


def test_humaneval_is_not_for_training(tmp_path: Path) -> None:
    task = load("humaneval", {"held_out": write(tmp_path / "h.jsonl", HUMAN)})
    assert task.train_size == 0
    with pytest.raises(ConfigError, match="no training problems"):
        task.train(0)


def test_a_loop_in_the_tests_makes_a_check(tmp_path: Path) -> None:
    row = {**HUMAN, "test": "def check(candidate):\n    for n in range(3):\n        assert candidate(n) == 2 * n\n"}
    (problem,) = load("humaneval", {"held_out": write(tmp_path / "h.jsonl", row)}).held_out()
    assert problem.reference["kind"] == "check"


def test_mbpp_shows_the_first_assertion_and_judges_by_all(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", MBPP, {**MBPP, "task_id": 700, "text": "Add 1."})
    task = load("mbpp", {"train": path, "held_out": path})
    (problem,) = task.held_out()
    asked = task.messages(problem)[0].content
    assert "assert inc(1) == 2" in asked and "inc(2)" not in asked
    assert [problem.id for problem in task.train(0).take(1)] == ["mbpp/train/700"]
    assert len(problem.reference["tests"]) == 2


def test_tests_that_need_the_programs_own_classes_are_left_out_and_counted(tmp_path: Path) -> None:
    odd = {
        **MBPP,
        "task_id": 21,
        "code": "class P: pass\ndef inc(x): return x",
        "test_list": ["assert inc(P()) is not None"],
    }
    path = write(tmp_path / "m.jsonl", MBPP, odd, {**MBPP, "task_id": 700, "text": "Add 1."})
    task = load("mbpp", {"train": path, "held_out": path})
    assert len(task.held_out()) == 1
    assert any(notice.startswith("1 problem left out") for notice in task.notices)


def test_contests_of_several_answers_are_left_out_unless_a_checker_is_named(tmp_path: Path) -> None:
    several = {**CONTEST, "problem": "If there are several answers, print any of them."}
    held_out = write(tmp_path / "t.jsonl", CONTEST)
    train = write(tmp_path / "c.jsonl", {**CONTEST, "problem": "Another."}, several)
    assert load("code_contests", {"train": train, "held_out": held_out}).train_size == 1
    options = {"train": train, "held_out": held_out, "compare": "my.module:checker"}
    assert load("code_contests", options).train_size == 2


def test_contests_as_their_authors_publish_them_bring_their_own_solution(tmp_path: Path) -> None:
    row = {
        "description": "Add two numbers.",
        "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
        "private_tests": {"input": [], "output": []},
        "generated_tests": {"input": ["3 4\n"], "output": ["7\n"]},
        "solutions": {"language": [2, 3], "solution": ["int main() {}", "print(sum(map(int, input().split())))"]},
    }
    task = load("code_contests", {"held_out": write(tmp_path / "c.jsonl", row)})
    [problem] = task.held_out()
    assert [test["output"] for test in problem.reference["tests"]] == ["3\n", "7\n"]
    assert "print(sum(map(int, input().split())))" in (task.gold(problem) or "")


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ({"inputs": [], "outputs": []}, "without tests cannot be judged"),
        ({"inputs": ["1"], "outputs": []}, "of one length"),
        ({"inputs": [1], "outputs": ["1"]}, "not text"),
    ],
)
def test_a_contest_with_bad_tests_is_refused_with_its_place(tmp_path: Path, tests: Any, said: str) -> None:
    path = write(tmp_path / "c.jsonl", {**CONTEST, "tests": tests})
    with pytest.raises(DataError, match=rf"c\.jsonl:1: .*{said}"):
        load("code_contests", {"train": path, "held_out": path}).held_out()


def test_an_unknown_tier_is_refused_when_the_task_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sandbox tier 'docker'"):
        load("humaneval", {"held_out": "h.jsonl", "require_tier": "docker"})


def test_gold_answers_pass(tmp_path: Path, can_run: None) -> None:
    human = load("humaneval", {"held_out": write(tmp_path / "h.jsonl", HUMAN)})
    path = write(tmp_path / "m.jsonl", MBPP, {**MBPP, "task_id": 700, "text": "Add 1."})
    mbpp = load("mbpp", {"train": path, "held_out": path})
    contests = load(
        "code_contests",
        {
            "train": write(tmp_path / "c.jsonl", {**CONTEST, "problem": "Another."}),
            "held_out": write(tmp_path / "t.jsonl", CONTEST),
        },
    )
    for task in (human, mbpp, contests):
        assert check_golds(task, task.held_out()) == []


def test_every_reference_solution_of_humaneval_passes(data_dir: Path, can_run: None) -> None:
    file = data_dir / "humaneval" / "HumanEval.jsonl.gz"
    if not file.exists():
        pytest.skip(f"no {file}")
    task = load("humaneval", {"held_out": str(file)})
    assert len(task.held_out()) == 164
    assert check_golds(task, task.held_out()) == []


@pytest.mark.slow
def test_every_reference_solution_of_mbpp_passes(data_dir: Path, can_run: None) -> None:
    file = data_dir / "mbpp" / "mbpp.jsonl"
    if not file.exists():
        pytest.skip(f"no {file}")
    task = load("mbpp", {"train": str(file), "held_out": str(file)})
    assert check_golds(task, [*task.held_out(), *task.train(0).take(task.train_size or 0)]) == []
