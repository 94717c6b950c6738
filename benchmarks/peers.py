"""Our end of a comparison: a peer's process that takes turns, and the search for its fastest settings. Not for: use alone."""

from __future__ import annotations

import json
import os
import select
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from report import say

HERE = Path(__file__).resolve().parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}


class PeerFailed(Exception):
    """The peer's side ended, or said nothing until the deadline."""


@dataclass
class Peer:
    """A peer's process: `step` lets it take one go and returns the row it noted. Use it in a `with`.

    python       the Python that has the peer
    script       its side, a file beside this one
    settings     what it is told, besides where to write
    deadline_s   the longest it may take to start, or for one go
    """

    python: str
    script: str
    settings: dict[str, Any]
    deadline_s: float = 600.0
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: Any = field(init=False, default=None)

    def __enter__(self) -> Peer:
        self._folder = Path(tempfile.mkdtemp(prefix="burnish-peer-"))
        written = {
            **self.settings,
            "timings": str(self._folder / "timings.json"),
            "scratch": str(self._folder / "scratch"),
        }
        (self._folder / "settings.json").write_text(json.dumps(written, indent=1))
        environment = {**os.environ, **OFFLINE, **self.environment}
        environment.pop("PYTHONPATH", None)  # the peer's own packages, not ours
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [self.python, str(HERE / self.script), str(self._folder / "settings.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        try:
            self._hear("ready")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.stdin.close()  # its side takes that for the end, and may have processes of its own to end
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def step(self) -> dict[str, Any]:
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the next line says what it said last
        self._hear("done")
        row: dict[str, Any] = self.timings["steps"][-1]
        return row

    @property
    def timings(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self._folder / "timings.json").read_text())
        return read

    def _hear(self, word: str) -> None:
        ready, _, _ = select.select([self._process.stdout], [], [], self.deadline_s)
        heard = self._process.stdout.readline().decode().strip() if ready else "nothing in time"
        if heard != word:
            said = (self._folder / "log").read_text().strip().splitlines()
            raise PeerFailed(said[-1] if said else f"no word but {heard!r}")


def search(
    start: dict[str, Any], axes: Mapping[str, Sequence[Any]], attempt: Callable[[dict[str, Any]], float]
) -> list[dict[str, Any]]:
    """Settings and their seconds, fastest first: one axis after the other, each from the best so far.

    attempt  settings -> seconds; raises PeerFailed where the peer cannot run so

    Raises SystemExit where no settings work.
    """
    tried: list[dict[str, Any]] = []

    def one(settings: dict[str, Any]) -> None:
        row: dict[str, Any] = {"settings": settings}
        try:
            row["seconds"] = attempt(settings)
            said = f"{row['seconds']:8.3f} s"
        except PeerFailed as error:
            row["failed"] = str(error)[:200]
            said = f"failed: {row['failed'][:80]}"
        tried.append(row)
        say(f"  {described(settings):66} {said}")

    def best() -> dict[str, Any]:
        done = [row for row in tried if "failed" not in row]
        if not done:
            raise SystemExit(f"The peer does not run: {tried[0]['failed']}")
        found: dict[str, Any] = min(done, key=lambda row: row["seconds"])
        return found

    one(start)
    for axis, values in axes.items():
        before = best()["settings"]
        for value in values:
            if value != before[axis]:
                one({**before, axis: value})
    first = best()
    return [first, *(row for row in tried if row is not first)]


def fixed(start: Mapping[str, Any], given: Sequence[str] | None) -> dict[str, Any]:
    """The settings with KEY=VALUE pairs of the command line put in. Raises SystemExit for a key there is not."""
    chosen = dict(start)
    for pair in given or ():
        key, _, value = pair.partition("=")
        if key not in start:
            raise SystemExit(f"The peer has no setting {key!r}; it has {', '.join(start)}.")
        chosen[key] = int(value) if value.isdigit() else {"true": True, "false": False}.get(value.lower(), value)
    return chosen


def median(rows: Sequence[Mapping[str, Any]], part: str) -> float:
    return statistics.median(row[part] for row in rows)


def described(choice: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} {value}" for axis, value in choice.items())
