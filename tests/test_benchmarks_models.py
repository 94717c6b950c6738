"""The scripts behind docs/models.md run to the end, and what they measure is what the page promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *arguments, "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_families_that_are_looked_at_quickly_come_through() -> None:
    found = run("families.py")
    assert found["come_through"] == len(found["families"]) == 3
    assert all(one["gap_float32"] < 1e-4 and one["gap_bfloat16"] < 0.02 for one in found["families"])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", ["tiny", "17M"])
def test_the_memory_estimate_is_within_15_percent_of_what_a_run_takes(size: str) -> None:
    """A model of a million weights, where most is the process; then one of seventeen, where its shapes decide."""
    rows = run("memory.py", "--sizes", size)["runs"]
    assert {row["way"] for row in rows} == {"kernels", "module", "adapters", "checkpointing", "reference", "critic"}
    for row in rows:
        assert 0.85 < row["ratio"] < 1.15, row


@pytest.mark.parametrize("more", [[], ["--checkpointing"]])
def test_the_shape_of_qwen_samples_and_trains(more: list[str]) -> None:
    found = run("qwen_shape.py", "--threads", "1", *more)
    assert found["within"] and found["peak_gib"] <= 16
    for phase in ("sampling", "first_step", "second_step"):
        one = found[phase]
        assert one["tokens_per_second"] == pytest.approx(one["tokens"] / one["seconds"])
    assert found["sampling"]["tokens"] <= 4 * 8 * 128
    assert found["first_step"]["tokens"] == found["sampling"]["tokens"] + 4 * 8 * 128  # prompts of 128, 8 answers each
