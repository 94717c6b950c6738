"""Checkpoints: a folder a step, written whole or not at all, each file's hash in its manifest. Not for: what is in them.

    checkpoints/step_000040/{learner.pt, run.json, manifest.json}

A folder is renamed into place when every byte of it is on the disk, so a kill at any moment leaves the last whole one. A torn or
altered file is found by its hash, and the newest whole checkpoint before it is used.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from burnish.errors import StorageError

KEEP = 2
"""Whole checkpoints kept; the one before the newest is there for the day the newest is torn."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, read back. `notices` says in sentences which newer ones were passed over."""

    step: int
    learner: dict[str, Any]
    run: dict[str, Any]
    notices: tuple[str, ...]


def write(folder: Path, step: int, learner: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    """Write the checkpoint of `step`. Raises StorageError where the disk is full or cannot be written; nothing is left behind."""
    final = folder / f"step_{step:06d}"
    part = folder / f".step_{step:06d}.part"
    hashes: dict[str, str] = {}
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in ("learner.pt", "run.json", "manifest.json"):
            with open(part / name, "wb") as file:
                if name == "learner.pt":  # straight to the disk: a copy of it would not fit beside a large model
                    _save(learner, file)
                else:
                    file.write(json.dumps(run if name == "run.json" else hashes).encode())
                file.flush()
                os.fsync(file.fileno())
            hashes[name] = _hash(part / name)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        _sync(folder)
        for old in sorted(folder.glob("step_*"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
        raise StorageError(
            f"The checkpoint {final} cannot be written: {reason}. Free some space and go on with --resume; the last whole one is kept."
        ) from error
    return final


def latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None."""
    notices: list[str] = []
    for place in sorted(folder.glob("step_*"), reverse=True):
        try:
            manifest = json.loads((place / "manifest.json").read_text())
            torn = [name for name in ("learner.pt", "run.json") if _hash(place / name) != manifest[name]]
            run = (place / "run.json").read_text()
        except (OSError, ValueError, KeyError, TypeError) as error:
            notices.append(f"The checkpoint {place.name} cannot be read ({error}); the one before it is used.")
            continue
        if torn:
            notices.append(f"The checkpoint {place.name} is torn ({', '.join(torn)}); the one before it is used.")
            continue
        learner = torch.load(place / "learner.pt", weights_only=True, map_location="cpu")
        return Checkpoint(int(place.name.removeprefix("step_")), learner, json.loads(run), tuple(notices))
    if notices:
        return Checkpoint(
            0, {}, {}, (*notices, "No whole checkpoint is left; the run starts again from its first step.")
        )
    return None


def _save(learner: Mapping[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(dict(learner), file)
    except RuntimeError as error:  # torch closes its archive all the same, and complains of that over the full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
