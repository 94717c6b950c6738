"""Every gold answer of every data set at hand passes its own verifier: benchmarks/gold_check.py, run and read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gold_check.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_a_gold_that_fails_is_named_and_ends_with_one(tmp_path: Path) -> None:
    (tmp_path / "svamp").mkdir()
    rows = [{"ID": n, "Body": "b", "Question": f"q{n}", "Answer": a} for n, a in enumerate((51.0, "five or six", 3.5))]
    (tmp_path / "svamp" / "SVAMP.json").write_text(json.dumps(rows))
    ended = run("--data", str(tmp_path))
    assert ended.returncode == 1
    assert "| svamp | number | 3 | 3 | 2 | - |" in ended.stdout
    assert "svamp by number" in ended.stdout and "SVAMP.json:2: no_verdict" in ended.stdout


def test_an_empty_folder_is_no_pass(tmp_path: Path) -> None:
    assert run("--data", str(tmp_path)).returncode == 1
    ended = run("--data", str(tmp_path / "none"))
    assert ended.returncode == 2 and "there is no folder of data sets" in ended.stderr


@pytest.mark.slow
def test_every_gold_of_the_data_folder_passes(data_dir: Path, tmp_path: Path) -> None:
    ended = run("--data", str(data_dir), "--json", str(tmp_path / "golds.json"))
    assert ended.returncode == 0, ended.stdout
    for one in json.loads((tmp_path / "golds.json").read_text())["golds"]:
        assert one["judged"] == one["passed"] > 0
        if one["data"] != "aqua, the option's text":  # two golds a row
            assert one["judged"] + sum(one["left_out"].values()) == one["rows"]
