"""`burnish check --task`: every row loaded, every gold judged, what is left out counted; and its refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    verb = [sys.executable, "-m", "burnish", "check", *arguments]
    return subprocess.run(
        verb, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    lines = [{"question": f"{n}?", "answer": f"#### {n}"} for n in (1, 2, 2)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def test_every_gold_is_judged_and_repeats_are_counted(rows: Path) -> None:
    ended = check(rows, "--task", "gsm8k", "--path", "rows.jsonl")
    assert ended.returncode == 0, ended.stderr
    assert "| gsm8k | number | 3 | 2 | 2 | 1: repeat an earlier held-out row |" in ended.stdout
    assert "gsm8k: 2 of 2 gold answers pass their own verifier." in ended.stdout


def test_a_gold_that_does_not_pass_is_named_and_ends_with_one(rows: Path) -> None:
    with (rows / "rows.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"question": "?", "answer": "#### about four"}))
    ended = check(rows, "--task", "gsm8k", "--path", "rows.jsonl", "--json")
    [said] = map(json.loads, ended.stdout.splitlines())
    assert (ended.returncode, said["rows"], said["judged"], said["passed"]) == (1, 4, 3, 2)
    assert said["left_out"] == {"repeat an earlier held-out row": 1}
    [failure] = said["failures"]
    assert (failure["where"], failure["outcome"]) == ("rows.jsonl:4", "no_verdict") and "not a number" in failure["why"]
    assert said["verifier"].startswith("number@")


def test_a_gold_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"nums": [2, 2], "target": 99}))
    ended = check(tmp_path, "--task", "countdown", "--path", "rows.jsonl")
    assert ended.returncode == 1 and "rows.jsonl:1: no_verdict, the task has no gold response" in ended.stdout


def test_an_endless_task_is_checked_on_some_of_its_problems(tmp_path: Path) -> None:
    ended = check(tmp_path, "--task", "sorting", "-o", "held_out_size=10", "--json")
    said = json.loads(ended.stdout)
    assert (ended.returncode, said["rows"], said["judged"], said["passed"]) == (0, None, 522, 522)


REFUSED = {
    "nothing to check": ((), "Say what to check: a run file, or a task with --task."),
    "two things": (("run.toml", "--task", "gsm8k"), "--task and the run file run.toml are two things to check; give one."),
    "a path without a task": (("run.toml", "--path", "x"), "--path has no effect without --task"),
    "an option without a task": (("run.toml", "-o", "a=1"), "--option has no effect without --task"),
    "a path and files": (("--task", "gsm8k", "--path", "x", "-o", "held_out=y"), "--path names the files, and so does .* 'held_out'"),
    "a path for puzzles": (("--task", "sudoku", "--path", "x"), "'sudoku' makes its problems and reads no files"),
    "no such file": (("--task", "math500", "--path", "none.jsonl"), "There is no file none.jsonl"),
    "no hub": (("--task", "math500"), "could not be loaded: .*; give a file or a folder that holds it"),
    "a misspelt task": (("--task", "mathh"), "There is no task 'mathh'; did you mean 'math'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence_and_ends_with_two(case: str, tmp_path: Path) -> None:
    import re

    arguments, sentence = REFUSED[case]
    ended = check(tmp_path, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.search(sentence, ended.stderr) and ended.stderr.count("\n") == 1
