"""The run directory: what is written there, in what order, and the offset that an exact resume returns to.

    config.toml      the resolved configuration, as text
    versions.json    Python, platform, package versions, processors, seeds
    metrics.jsonl    one line a step
    events.jsonl     one line for each thing that happened: a lost rollout, a checkpoint, a warning
    rollouts/        one Parquet file a step
    checkpoints/     the learner's; this file never touches it
    report.json, report.md, curves.png

Every file is whole at every moment, so a run can be read while it goes on. One process writes, any number read.

Not for: tracking services, the console, or what a metric means.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from burnish.errors import ResumeError
from burnish.journal import rollouts
from burnish.journal.files import append_line, read_lines, storage_error, sync_directory, write_atomic
from burnish.metrics import Metric, values
from burnish.records import Dropped, Group, Sample

CLOCKS = frozenset({"time", "seconds", "speed"})
_RESERVED = frozenset({"step", "version", "time"})
_PACKAGES = (
    *("burnish", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pydantic", "pyarrow", "duckdb"),
    *("datasets", "math-verify", "reasoning-gym", "peft", "vllm", "ray"),
)


class Journal:
    """What a run writes. Make one with `Journal.create` (a new run) or `Journal.open` (to go on, or to read)."""

    def __init__(self, run_dir: Path, last_step: int | None) -> None:
        self.run_dir = run_dir
        self.last_step = last_step

    @classmethod
    def create(cls, run_dir: str | os.PathLike[str], config_text: str, seeds: Mapping[str, int]) -> Journal:
        """Start a run in a new or empty directory. `seeds` is e.g. `{"run": 1}`.

        Raises ResumeError where the directory already holds something, StorageError where it cannot be written.
        """
        place = Path(run_dir)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ResumeError(f"{place} already holds a run; add --resume to go on or choose another directory.")
        try:
            (place / "rollouts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(place, error) from error
        write_atomic(place / "versions.json", json.dumps(_versions(seeds), indent=2) + "\n")
        write_atomic(place / "metrics.jsonl", "")
        write_atomic(place / "events.jsonl", "")
        write_atomic(place / "config.toml", config_text)  # last: a directory with a config is a whole one
        return cls(place, None)

    @staticmethod
    def barely_begun(run_dir: str | os.PathLike[str]) -> bool:
        """Whether `create` was killed half-way there: its own first files and no config, nothing of anyone else's."""
        place = Path(run_dir)
        if not place.is_dir() or (place / "config.toml").exists():
            return False
        own = {"rollouts", "versions.json", "metrics.jsonl", "events.jsonl"}
        return all(each.name in own or each.name.startswith(".") for each in place.iterdir())

    @classmethod
    def open(cls, run_dir: str | os.PathLike[str]) -> Journal:
        """A run that exists; changes nothing in it. Raises ResumeError where the directory holds no run."""
        place = Path(run_dir)
        if not (place / "config.toml").is_file():
            raise ResumeError(f"{place} holds no run (it has no config.toml); check the directory.")
        last = None
        for line in read_lines(place / "metrics.jsonl"):
            last = line["step"]
        return cls(place, last)

    @property
    def config_text(self) -> str:
        return (self.run_dir / "config.toml").read_text()

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl, one a step."""
        return read_lines(self.run_dir / "metrics.jsonl")

    def events(self) -> Iterator[dict[str, Any]]:
        """The lines of events.jsonl."""
        return read_lines(self.run_dir / "events.jsonl")

    def rollouts(self, step: int | None = None) -> list[dict[str, Any]]:
        """The rows of one step, or of all; see `rollouts.read_rollouts`."""
        return rollouts.read_rollouts(self.run_dir, step)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """SQL over the view `rollouts`; see `rollouts.query`."""
        return rollouts.query(self.run_dir, sql)

    def step(
        self,
        step: int,
        groups: Sequence[Group],
        dropped: Sequence[Dropped],
        samples: Sequence[Sample],
        stats: Mapping[str, Metric],
        timings: Mapping[str, float] | None = None,
        version: int | None = None,
    ) -> None:
        """Write one step: its rollouts, then its line of metrics.

        `groups` are all that were sampled, those of which nothing was kept included. `timings` (seconds) are written
        under "seconds/", `version` is the policy version after the step's update. A value that is not finite is
        written as null. Raises ValueError where the step is not after the last one, a metric takes a reserved name,
        or the keys do not join.
        """
        self._check(step, stats)
        rollouts.write_rollouts(self.run_dir / "rollouts", step, groups, samples, dropped)
        self._line(step, stats, timings, version)  # last: a step with a line is a whole one

    def update(
        self,
        step: int,
        stats: Mapping[str, Metric],
        timings: Mapping[str, float] | None = None,
        version: int | None = None,
    ) -> None:
        """Write the line of a step that sampled nothing; as `step` otherwise."""
        self._check(step, stats)
        self._line(step, stats, timings, version)

    def _check(self, step: int, stats: Mapping[str, Metric]) -> None:
        if self.last_step is not None and step <= self.last_step:
            raise ValueError(f"step {step} was already written; the last one is {self.last_step}")
        if taken := sorted(_RESERVED & set(stats)):
            raise ValueError(f"a metric may not be called {taken[0]!r}: the journal writes that itself")

    def _line(
        self, step: int, stats: Mapping[str, Metric], timings: Mapping[str, float] | None, version: int | None
    ) -> None:
        line: dict[str, Any] = {"step": step, "version": version, "time": time.time(), **values(stats)}
        for name, seconds in (timings or {}).items():
            line[f"seconds/{name.removeprefix('seconds/')}"] = seconds
        append_line(self.run_dir / "metrics.jsonl", line)
        self.last_step = step

    def event(self, kind: str, **fields: Any) -> None:
        """Write that something happened: `journal.event("lost", problem_id="chain/train/17", index=3)`."""
        append_line(self.run_dir / "events.jsonl", {"time": time.time(), "kind": kind, **fields})

    def offset(self) -> dict[str, Any]:
        """Where the journal is, for a checkpoint to keep: bytes of metrics.jsonl and events.jsonl, and the last step.

        >>> {"metrics": 812, "events": 96, "step": 3}  # doctest: +SKIP
        """
        sizes = {name: (self.run_dir / f"{name}.jsonl").stat().st_size for name in ("metrics", "events")}
        return {**sizes, "step": self.last_step}

    def truncate(self, offset: Mapping[str, Any]) -> None:
        """Go back to an `offset()`: what was written after it is cut off, and rollouts of later steps are deleted.

        Doing it twice is doing it once. Raises ResumeError, and changes nothing, where the files do not reach that far.
        """
        paths = {name: self.run_dir / f"{name}.jsonl" for name in ("metrics", "events")}
        for name, path in paths.items():
            _check_reaches(path, offset[name])
        last = offset["step"]
        folder = self.run_dir / "rollouts"
        try:
            for step, path in rollouts.rollouts_files(folder).items():
                if last is None or step > last:
                    path.unlink()
            for leftover in folder.glob(".step_*.tmp"):  # of a process that was killed while writing
                leftover.unlink()
            sync_directory(folder)
            for name, path in paths.items():
                with open(path, "r+b") as file:
                    file.truncate(offset[name])
                    os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self.run_dir, error) from error
        self.last_step = last


def comparable(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics or events without what the clock says; two equal runs have equal comparable lines.

    What is dropped: keys whose first part (before "/") is "time", "seconds" or "speed".

    >>> comparable({"step": 1, "time": 1.7e9, "seconds/sample": 0.4, "speed/tokens": 900.0, "reward/mean": 0.5})
    {'step': 1, 'reward/mean': 0.5}
    """
    return {name: value for name, value in line.items() if name.partition("/")[0] not in CLOCKS}


def _check_reaches(path: Path, size: int) -> None:
    """That the first `size` bytes of a JSON-lines file are there and are whole lines."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, size - 1))
            whole = size == 0 or file.read(1) == b"\n"
    except OSError as error:
        raise ResumeError(f"Cannot resume: {path} cannot be read ({error.strerror}).") from error
    if not whole:
        raise ResumeError(
            f"Cannot resume: {path} does not have the {size} bytes the checkpoint was taken at; it was changed since."
        )


def _versions(seeds: Mapping[str, int]) -> dict[str, Any]:
    packages = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": packages,
        "seeds": dict(seeds),
    }
