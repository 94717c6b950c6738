"""TRL's side of benchmarks/step.py and learner.py: its process, and the search for its fastest settings. Not for running by itself."""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent
DEADLINE_S = 600.0
"""The longest TRL may take to start, or for one step."""

START = {"precision": "autocast", "attention": "sdpa", "batch": 0, "generation": "dynamic", "allocator": "kept"}
OTHERS: dict[str, Sequence[Any]] = {
    "attention": ("eager",),
    "precision": ("bfloat16", "float32"),
    "batch": (2, 4, 8),  # parts of a step
    "generation": ("static", "continuous"),
    "allocator": ("default",),
}
LEGEND = """\
precision   autocast: bfloat16 products over float32 weights (as ours); bfloat16: the weights too,
            which loses updates smaller than their rounding; float32: everything
generation  dynamic, static: transformers' generate with that cache; continuous: its continuous batching
allocator   kept: glibc keeps freed memory (as ours); default: it gives it back"""


class PeerFailed(Exception):
    """TRL's side ended, or said nothing for DEADLINE_S."""


@dataclass
class Peer:
    """TRL's process: `step` lets it take one step. Use it in a `with`.

    script  which side it plays; the file is beside this one
    """

    python: str
    folder: Path
    settings: dict[str, Any]
    script: str = "trl_side.py"
    _process: Any = field(init=False, default=None)

    def __enter__(self) -> Peer:
        written = {
            **self.settings,
            "model": str(self.folder / "model"),
            "prompts": str(self.folder / "prompts.jsonl"),
            "timings": str(self.folder / "timings.json"),
            "scratch": str(self.folder / "scratch"),
        }
        (self.folder / "settings.json").write_text(json.dumps(written, indent=1))
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
        with (self.folder / "trl.log").open("w") as log:
            self._process = subprocess.Popen(
                [self.python, str(HERE / self.script), str(self.folder / "settings.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **offline},
            )
        try:
            self._hear("ready")
        except PeerFailed:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def step(self) -> dict[str, Any]:
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()
        self._hear("done")
        row: dict[str, Any] = self.timings["steps"][-1]
        return row

    @property
    def timings(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.folder / "timings.json").read_text())
        return read

    def _hear(self, word: str) -> None:
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        heard = self._process.stdout.readline().decode().strip() if ready else "nothing in time"
        if heard != word:
            said = (self.folder / "trl.log").read_text().strip().splitlines()
            raise PeerFailed(said[-1] if said else f"no word but {heard!r}")


def search(args: argparse.Namespace, folder: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings of TRL and their medians, fastest first: one axis after the other, from the best so far."""
    rows = args.problems * args.samples
    tried: list[dict[str, Any]] = []

    def attempt(choice: dict[str, Any]) -> None:
        one: dict[str, Any] = {"settings": choice}
        try:
            with Peer(args.trl_python, folder, {**common, **choice, "steps": args.search_steps + 1}) as peer:
                steps = [peer.step() for _ in range(args.search_steps + 1)][1:]
            one |= {part: median(steps, part) for part in ("sampling", "verifying", "updating", "whole")}
        except PeerFailed as error:
            one["failed"] = str(error)[:200]
        tried.append(one)
        print(f"  {described(choice):66} {seconds_of(one)}", flush=True)

    def best() -> dict[str, Any]:
        done = [one for one in tried if "failed" not in one]
        if not done:
            raise SystemExit(f"TRL's side does not run: {tried[0]['failed']}")
        found: dict[str, Any] = min(done, key=lambda one: one["whole"])
        return found

    attempt({**START, "batch": rows})
    for axis, values in OTHERS.items():
        start = best()["settings"]
        for value in values:
            changed = rows // value if axis == "batch" else value
            if axis != "batch" or rows % value == 0:
                attempt({**start, axis: changed})
    first = best()
    return [first, *(one for one in tried if one is not first)]


def median(steps: Sequence[dict[str, Any]], part: str) -> float:
    return statistics.median(step[part] for step in steps)


def described(choice: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {choice[axis]}" for axis in START)


def seconds_of(one: dict[str, Any]) -> str:
    if "failed" in one:
        return f"failed: {one['failed'][:60]}"
    return f"{one['whole']:7.3f} s (sampling {one['sampling']:.3f}, updating {one['updating']:.3f})"
