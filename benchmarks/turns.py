"""The peer's end of a comparison: waits for "go", answers "done". Runs in the peer's Python, so it imports nothing but Python's own.

A side script is told everything by a settings file. Each line "go" on standard input lets one go happen; each is answered by "done"
on standard output and a row in the settings' `timings` file. So several systems can take turns on one machine. Not for: use alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any


def keep_freed_memory() -> None:
    """What burnish's own pipelines ask of glibc (burnish.policy.model.tune_allocator), so that both sides have it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform == "linux" and mallopt is not None:
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 << 20)


class Turns:
    """Waits for "go", answers "done", keeps the rows; owns the real standard output, which nothing else may print to."""

    def __init__(self, timings: Path) -> None:
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._timings = timings
        self.rows: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}

    def say(self, word: str) -> None:
        self._timings.write_text(json.dumps({"facts": self.facts, "steps": self.rows}))
        print(word, file=self._answers)

    def wait(self) -> None:
        if sys.stdin.readline().strip() != "go":
            raise SystemExit("no more steps are wanted")


def settings_of(arguments: list[str]) -> tuple[dict[str, Any], Turns]:
    """The settings file named on the command line, and the turns it asks for."""
    settings: dict[str, Any] = json.loads(Path(arguments[1]).read_text())
    turns = Turns(Path(settings["timings"]))
    if settings.get("allocator", "kept") == "kept":
        keep_freed_memory()
    return settings, turns
