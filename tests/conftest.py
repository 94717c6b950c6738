"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the models of the tests are too small to share, and threads get in each other's way
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets: $BURNISH_DATA, else shared/data beside the repository. Skips where there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BURNISH_DATA", default)).resolve()  # tests change the working directory
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set BURNISH_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model that answers one-step chains in the format, and right now and then. Not to be written to."""
    from burnish.config import PretrainConfig, validate
    from burnish.pipelines.pretrain import pretrain
    from terminal import PRETRAIN

    out = tmp_path_factory.mktemp("models") / "base"
    pretrain(validate(PretrainConfig, {**PRETRAIN, "out": str(out)}), quiet=True)
    return out


@pytest.fixture(scope="session")
def finished_run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a training run of three steps. Not to be written to: copy it."""
    from burnish.config import RunConfig, validate
    from burnish.pipelines.rl import train
    from terminal import run_settings

    out = tmp_path_factory.mktemp("runs") / "run"
    train(validate(RunConfig, {**run_settings(tiny_base), "out": str(out)}), quiet=True)
    return out
