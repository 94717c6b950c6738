"""The learner's benchmarks run to the end and print what they say they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments, "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
def test_rounded_places_make_fewer_primitives_and_less_memory() -> None:
    cases = run("memory_growth.py")["cases"]
    last = {case: rows[-1] for case, rows in cases.items()}
    assert last["rounded"]["primitives"] < last["as they come"]["primitives"]
    assert all(row["resident_mib"] > 100 for row in last.values())


@pytest.mark.slow
def test_the_update_is_timed_and_its_memory_measured() -> None:
    result = run("learner.py", "--shape", "T")
    assert result["parameters"] == pytest.approx(2.44e6, rel=0.01)
    assert result["tokens_per_second"]["ours"] == pytest.approx(result["tokens"] / result["seconds"]["ours"])
    assert result["efficiency"] > 0 and result["ratio"] == {}
    peaks = run("learner.py", "--memory")["memory"]
    assert [row["vocabulary"] for row in peaks] == [16_000, 16_000, 64_000, 64_000]
