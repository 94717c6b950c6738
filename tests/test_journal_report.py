"""What a run says about itself: the ledger, the curves and the report."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import StorageError
from burnish.journal import Ledger, plot_curves, write_report
from burnish.journal.plots import LEARNED, PANELS, _draw, _running_mean, recorded
from burnish.journal.report import markdown

# ---- ledger


def test_flops_are_two_a_forward_token_and_six_a_trained_one() -> None:
    ledger = Ledger(parameters=1000)
    ledger.sampled(10)
    ledger.forwarded(5)
    ledger.trained(10)
    assert ledger.flops == 1000 * (2 * 10 + 2 * 5 + 6 * 10)


def test_seconds_add_up_by_phase() -> None:
    ledger = Ledger(parameters=1)
    ledger.spent("sample", 1.5, tokens=300)
    ledger.spent("train", 1.0)
    ledger.spent("sample", 0.5, tokens=100)
    assert ledger.phases() == [
        {"name": "sample", "seconds": 2.0, "tokens": 400, "tokens_per_second": 200.0},
        {"name": "train", "seconds": 1.0, "tokens": 0, "tokens_per_second": None},
    ]


def test_a_phase_that_raises_is_counted_too() -> None:
    ledger = Ledger(parameters=1)
    with pytest.raises(KeyError), ledger.timing("verify"):
        time.sleep(0.01)
        raise KeyError
    assert 0.01 <= ledger.seconds["verify"] < 10


def test_a_ledger_comes_back_from_json_equal_and_independent() -> None:
    ledger = Ledger(parameters=7)
    ledger.sampled(3)
    ledger.spent("sample", 0.5, tokens=3)
    state = json.loads(json.dumps(ledger.state()))
    restored = Ledger.restore(state)
    assert restored == ledger
    restored.spent("sample", 1.0)
    assert state == ledger.state()


@pytest.mark.parametrize("count", ["sampled", "trained", "forwarded"])
def test_a_count_of_tokens_is_not_negative(count: str) -> None:
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        getattr(Ledger(parameters=1), count)(-1)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match=r"'sample' cannot have taken -0\.5 seconds"):
        Ledger(parameters=1).spent("sample", -0.5)


# ---- curves


def metrics_lines(steps: int) -> list[dict[str, Any]]:
    keys = [key for panel in PANELS for key, _ in panel.curves]
    return [{"step": step, **{key: step / (i + 1) for i, key in enumerate(keys)}} for step in range(1, steps + 1)]


@pytest.mark.parametrize("steps", [0, 1, 5, 100])
def test_curves_are_a_picture_of_readable_size(tmp_path: Path, steps: int) -> None:
    plot_curves(metrics_lines(steps), tmp_path / "curves.png")
    data = (tmp_path / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1320, 900)


def test_a_picture_has_the_panels_that_were_recorded(tmp_path: Path) -> None:
    """Two of four: one row, half as high."""
    lines = [{"step": 1, "loss/token": 2.0, "optim/grad_norm": 1.0, "accuracy": None}]
    panels = recorded(lines, LEARNED)
    assert [panel.title for panel in panels] == ["Loss", "Gradient norm"]
    plot_curves(lines, tmp_path / "curves.png", panels)
    assert struct.unpack(">II", (tmp_path / "curves.png").read_bytes()[16:24]) == (1320, 450)


def test_the_length_rule_stands_in_the_report(tmp_path: Path) -> None:
    rule = {"prefers": "the shorter", "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    write_report(tmp_path, {"length_baseline": rule})
    text = (tmp_path / "report.md").read_text()
    assert "a rule that prefers the shorter" in text and "| accuracy | 0.500 (0.400 to 0.600) |" in text


def drawn(panel: int, lines: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    _draw(axes, PANELS[panel], [line["step"] for line in lines], lines, 1)
    return axes


def test_a_panel_shows_what_was_recorded_under_its_names() -> None:
    axes = drawn(1, [{"step": 1, "length/right": 5.0, "length/wrong": 9.0}, {"step": 2, "length/wrong": 8.0}])
    assert [line.get_label() for line in axes.get_lines()] == ["right answers", "wrong answers"]
    assert list(axes.get_lines()[1].get_ydata()) == [9.0, 8.0]
    assert math.isnan(axes.get_lines()[0].get_ydata()[1])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "tokens")


@pytest.mark.parametrize("panel", range(4))
def test_a_panel_without_data_says_so(panel: int) -> None:
    axes = drawn(panel, [{"step": 1}, {"step": 2, "policy/entropy": None}])
    assert [text.get_text() for text in axes.texts] == ["not recorded"]
    assert len(axes.get_lines()) == 0


def test_a_running_mean_skips_gaps_and_has_no_lag() -> None:
    means = _running_mean([1.0, 2.0, math.nan, 4.0, 6.0], 3)
    assert means[:2] == [1.5, 1.5]
    assert math.isnan(means[2])
    assert means[3:] == [5.0, 5.0]


def test_curves_that_cannot_be_written_say_where(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/curves\.png"):
        plot_curves([], tmp_path / "nowhere" / "curves.png")


def test_drawing_keeps_out_of_global_state(tmp_path: Path) -> None:
    code = (
        "import sys; from burnish.journal import plot_curves; "
        f"plot_curves([{{'step': 1, 'reward/mean': 0.5}}], {str(tmp_path / 'c.png')!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- report

BASE = {"pass@1": {"value": 0.1, "low": 0.05, "high": 0.15}, "means": {"tokens": 90.5}, "cost": {"seconds": 12}}
FINAL = {"pass@1": {"value": 0.5, "low": 0.45, "high": 0.55}, "maj@8": {"value": 0.7, "low": 0.6, "high": 0.8}}


def test_before_and_after_stand_side_by_side() -> None:
    assert markdown({"base": BASE, "final": FINAL}).splitlines()[2:6] == [
        "| figure (95 % interval) | before | after |",
        "| --- | ---: | ---: |",
        "| pass@1 | 0.100 (0.050 to 0.150) | 0.500 (0.450 to 0.550) |",
        "| maj@8 | - | 0.700 (0.600 to 0.800) |",
    ]


def test_one_measurement_has_one_column() -> None:
    assert "| figure (95 % interval) | value |" in markdown({"base": BASE})


def test_means_and_cost_have_tables_of_their_own() -> None:
    page = markdown({"base": BASE, "final": FINAL})
    assert "| tokens | 90.500 | - |" in page
    assert "| seconds | 12 | - |" in page


def test_phases_show_their_speed() -> None:
    ledger = Ledger(parameters=1)
    ledger.spent("sample", 2.0, tokens=24_690)
    ledger.spent("publish", 0.001)
    page = markdown({"phases": ledger.phases()})
    assert "| sample | 2.000 | 24,690 | 12,345 |" in page
    assert "| publish | 0.001 | 0 | - |" in page


def test_a_trace_is_fenced_whatever_it_holds() -> None:
    page = markdown({"trace": {"question": "1+1=?", "before": "```\nx\n```", "after": "2"}})
    assert "Before:\n\n````text\n```\nx\n```\n````" in page


def test_a_name_cannot_break_the_table() -> None:
    assert "| a\\|b c | 1 |" in markdown({"base": {"cost": {"a|b\nc": 1}}})


def test_an_empty_report_is_a_page() -> None:
    assert markdown({}) == "# Report\n"


def test_both_files_are_written_and_agree(tmp_path: Path) -> None:
    write_report(tmp_path, {"base": {"pass@1": {"value": math.nan, "low": 0.0, "high": 1.0}}, "seed": 3})
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "base": {"pass@1": {"value": None, "low": 0.0, "high": 1.0}},
        "seed": 3,
    }
    assert "| pass@1 | - (0.000 to 1.000) |" in (tmp_path / "report.md").read_text()


def test_the_page_names_the_run_and_its_seed() -> None:
    assert markdown({"run_dir": "runs/a", "seed": 3}).splitlines()[2] == "Run: `runs/a`, seed: `3`"
