"""The pages about puzzles and instructions show what the code makes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from burnish.verify import VERIFIERS
from burnish.verify.checks import CHECKS
from burnish.verify.language import LANGUAGES

ROOT = Path(__file__).resolve().parents[1]


def test_the_examples_are_the_ones_the_tasks_make(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "docs/puzzle_examples.py"), run_name="__main__")
    page = (ROOT / "docs/puzzles.md").read_text()
    shown = page.partition("<!-- made by docs/puzzle_examples.py -->\n\n")[2].partition("<!-- end -->")[0]
    assert shown == capsys.readouterr().out


def test_every_instruction_and_language_is_on_its_page() -> None:
    page = (ROOT / "docs/formats-and-instructions.md").read_text()
    assert [name for name in CHECKS if f"`{name}`" not in page] == []
    assert ", ".join(LANGUAGES) in page.replace("\n", " ")
    assert [name for name in ("format", "language", "length", "json", "instructions") if f"`{name}`" not in page] == []
    assert {"format", "language", "length", "json", "instructions"} <= set(VERIFIERS)
