"""Our losses and gradients are TRL's, on the same ids and weights. Needs a Python with trl: BURNISH_TRL_PYTHON names it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

PYTHON = os.environ.get("BURNISH_TRL_PYTHON")
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "parity_trl.py"


@pytest.mark.slow
@pytest.mark.conformance
@pytest.mark.skipif(PYTHON is None, reason="set BURNISH_TRL_PYTHON to a Python that has trl==1.16.0")
def test_every_loss_and_its_gradient_are_trls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("parity_trl", SCRIPT)
    assert spec is not None and spec.loader is not None
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    rows = {row["loss"]: row for row in parity.compare(tmp_path, PYTHON)}
    assert set(rows) == {"sft", "dpo", "ipo", "orpo", "kto", "reward"}
    for name, row in rows.items():
        assert "failed" not in row, f"{name}: {row.get('failed')}"
        assert row["difference"] < 1e-5 and row["gradient_difference"] < 1e-4, row
