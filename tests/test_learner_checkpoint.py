"""Checkpoints: whole or not there, torn ones found out, and a full disk that leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.errors import StorageError
from burnish.learner import checkpoint

RUN = {"source": {"next": 8}, "flat": 0}


def state(number: float) -> dict[str, Any]:
    return {"module": {"w": torch.full((5,), number)}, "version": int(number)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def two(tmp_path: Path) -> Path:
    checkpoint.write(tmp_path, 3, state(3), RUN)
    checkpoint.write(tmp_path, 6, state(6), RUN)
    return tmp_path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    place = checkpoint.write(tmp_path, 3, state(3), RUN)
    found = checkpoint.latest(tmp_path)
    assert place == tmp_path / "step_000003"
    assert found is not None
    assert (found.step, found.run, found.notices) == (3, RUN, ())
    assert torch.equal(found.learner["module"]["w"], torch.full((5,), 3.0))


def test_a_checkpoint_is_three_files_and_nothing_else(two: Path) -> None:
    assert names(two) == ["step_000003", "step_000006"]
    assert names(two / "step_000006") == ["learner.pt", "manifest.json", "run.json"]


def test_the_newest_is_taken(two: Path) -> None:
    found = checkpoint.latest(two)
    assert found is not None and found.step == 6


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nowhere") is None


def test_the_last_two_are_kept(two: Path) -> None:
    checkpoint.write(two, 9, state(9), RUN)
    assert names(two) == ["step_000006", "step_000009"]


def test_a_step_written_again_takes_the_place_of_the_old(two: Path) -> None:
    checkpoint.write(two, 6, state(7), RUN)
    found = checkpoint.latest(two)
    assert found is not None and found.learner["version"] == 7


@pytest.mark.parametrize("name", ["learner.pt", "run.json"])
@pytest.mark.parametrize("where", [0, -1])
def test_one_flipped_byte_sends_us_to_the_one_before(two: Path, name: str, where: int) -> None:
    path = two / "step_000006" / name
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(bytes(data))
    found = checkpoint.latest(two)
    assert found is not None and found.step == 3
    assert found.notices == (f"The checkpoint step_000006 is torn ({name}); the one before it is used.",)


@pytest.mark.parametrize("name", ["manifest.json", "learner.pt", "run.json"])
def test_a_file_that_is_gone_sends_us_to_the_one_before(two: Path, name: str) -> None:
    (two / "step_000006" / name).unlink()
    found = checkpoint.latest(two)
    assert found is not None and found.step == 3
    (notice,) = found.notices
    assert "step_000006 cannot be read" in notice


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"learner.pt": "0"}'])
def test_a_manifest_that_says_too_little_sends_us_to_the_one_before(two: Path, text: str) -> None:
    (two / "step_000006" / "manifest.json").write_text(text)
    found = checkpoint.latest(two)
    assert found is not None and found.step == 3
    assert len(found.notices) == 1


def test_when_none_is_whole_the_run_starts_again(two: Path) -> None:
    for place in two.iterdir():
        (place / "manifest.json").unlink()
    found = checkpoint.latest(two)
    assert found is not None
    assert (found.step, found.learner, len(found.notices)) == (0, {}, 3)
    assert "starts again" in found.notices[-1]


def test_what_a_kill_left_half_written_is_passed_over_and_cleared(two: Path) -> None:
    part = two / ".step_000009.part"
    part.mkdir()
    (part / "learner.pt").write_bytes(b"half")
    found = checkpoint.latest(two)
    assert found is not None and (found.step, found.notices) == (6, ())
    checkpoint.write(two, 9, state(9), RUN)
    assert names(two) == ["step_000006", "step_000009"]


def test_the_manifest_is_not_there_before_the_rest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names appear in this order, each flushed before the next, and the folder last."""
    seen: list[str] = []
    real = os.fsync

    def noting(descriptor: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    checkpoint.write(tmp_path, 3, state(3), RUN)
    assert seen[:3] == ["learner.pt", "run.json", "manifest.json"]
    assert seen[-1] == tmp_path.name


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_a_full_disk_is_said_and_leaves_nothing_behind(two: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path if call == "mkdir" else os, call, full)
    with pytest.raises(StorageError, match=r"step_000009 cannot be written: the disk is full\. .*--resume"):
        checkpoint.write(two, 9, state(9), RUN)
    assert names(two) == ["step_000003", "step_000006"]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_disk_that_fills_up_in_any_file_leaves_nothing_behind(
    two: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = 0
    real = os.fsync

    def filling(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(StorageError):
        checkpoint.write(two, 9, state(9), RUN)
    monkeypatch.undo()
    assert names(two) == ["step_000003", "step_000006"]
    found = checkpoint.latest(two)
    assert found is not None and (found.step, found.notices) == (6, ())


def test_another_fault_is_said_as_the_system_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        checkpoint.write(tmp_path, 3, state(3), RUN)


def test_a_place_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(StorageError):
        checkpoint.write(tmp_path / "checkpoints", 3, state(3), RUN)


WRITER = """
import sys, torch
from pathlib import Path
from burnish.learner import checkpoint
print("ready", flush=True)
for step in range(1, 10_000):
    learner = {"module": {"w": torch.full((200_000,), float(step))}, "version": step}
    checkpoint.write(Path(sys.argv[1]), step, learner, {"step": step})
"""


def test_a_kill_at_any_moment_leaves_a_whole_one(tmp_path: Path) -> None:
    """A process that does nothing but write them is killed three times, at odd moments."""
    for number, delay in enumerate((0.11, 0.23, 0.37)):
        folder = tmp_path / str(number)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        found = checkpoint.latest(folder)
        assert found is not None and found.notices == ()
        assert found.run == {"step": found.step}
        assert bool((found.learner["module"]["w"] == found.step).all())


def test_the_manifest_holds_the_hash_of_each_file(tmp_path: Path) -> None:
    import hashlib

    place = checkpoint.write(tmp_path, 3, state(3), RUN)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest == {
        name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("learner.pt", "run.json")
    }
