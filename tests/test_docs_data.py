"""The page on data tells the truth: its commands, run one after another, print what it shows, and the task `rows` reads the result."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from burnish.tasks import load
from terminal import Terminal
from test_docs import ROOT, blocks, run_there, write_named

SECONDS = re.compile(r"\d+\.\d s\.")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def test_the_commands_of_the_page_print_what_it_shows(terminal: Terminal, tmp_path: Path) -> None:
    write_named("data.md", tmp_path)
    run_there(tmp_path, "make_data.py")
    listed = blocks(ROOT / "docs" / "data.md")
    shown = 0
    for command, printed in pairwise(listed):
        if command.language == "sh" and printed.language == "text":
            said = terminal(*shlex.split(command.text)[1:])
            assert said.code == 0, said.err
            assert SECONDS.sub("", said.out) == SECONDS.sub("", printed.text)
            shown += 1
    assert shown == 5
    task = load("rows", {"train": "train.jsonl", "held_out": "benchmark.jsonl"})
    assert task.train_size == 400 and len(task.held_out()) == 50
