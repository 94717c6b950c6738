"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets: $BURNISH_DATA, else shared/data beside the repository. Skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BURNISH_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set BURNISH_DATA")
    return folder
