"""Our end of a comparison: a peer's process that takes turns, and the search for its fastest settings. Not for: use alone."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from report import say

HERE = Path(__file__).resolve().parent
HOPELESS, ONCE_S = 2.0, 5.0
"""Settings that take so many times as long as the best so far, and these seconds for what a first go does once, are given up."""
REST_S = 10.0
"""The longest we wait for a peer to come to rest after a go."""

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
                start_new_session=True,  # so that what it started ends with it
            )
        try:
            self._hear("ready")
        except BaseException:  # whatever came between: its process must not stay
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(0.0 if isinstance(error, PeerFailed) else 20.0)

    def _end(self, patience_s: float = 0.0) -> None:
        self._process.stdin.close()  # its side takes that for the end, and may have processes of its own to end
        try:
            self._process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def step(self, most_s: float | None = None) -> dict[str, Any]:
        """One go; raises PeerFailed where it takes longer than most_s (not given: than deadline_s), and is then of no more use."""
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the next line says what it said last
        self._hear("done", most_s)
        self._come_to_rest()
        row: dict[str, Any] = self.timings["steps"][-1]
        return row

    def _come_to_rest(self) -> None:
        """Waits until its processes are idle: a worker that goes on polling after a go takes a core from whoever goes next."""
        ends = time.monotonic() + REST_S
        spent, before = self._cpu_ticks(), -1
        while spent - before > 1 and time.monotonic() < ends:
            time.sleep(0.2)
            spent, before = self._cpu_ticks(), spent

    def _cpu_ticks(self) -> int:
        """Processor time of every process of its session so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()  # from the state on: field 3 of proc(5)
            except OSError:
                continue  # it has ended
            if int(fields[3]) == self._process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks

    @property
    def timings(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self._folder / "timings.json").read_text())
        return read

    def _hear(self, word: str, most_s: float | None = None) -> None:
        ready, _, _ = select.select([self._process.stdout], [], [], most_s or self.deadline_s)
        if not ready:
            raise PeerFailed(f"more than {most_s or self.deadline_s:.1f} s")
        heard = self._process.stdout.readline().decode().strip()
        if heard != word:
            said = (self._folder / "log").read_text().strip().splitlines()
            raise PeerFailed(said[-1] if said else f"no word but {heard!r}")


def search(
    start: dict[str, Any], axes: Mapping[str, Sequence[Any]], attempt: Callable[[dict[str, Any], float | None], float]
) -> list[dict[str, Any]]:
    """Settings and their seconds, fastest first: one axis after the other, each from the best so far.

    attempt  (settings, the seconds after which to give up, None at first) -> seconds; raises PeerFailed where the peer cannot run
             so, and may where it takes longer than that

    Raises SystemExit where no settings work.
    """
    tried: list[dict[str, Any]] = []

    def one(settings: dict[str, Any]) -> None:
        row: dict[str, Any] = {"settings": settings}
        try:
            done = [one["seconds"] for one in tried if "failed" not in one]
            row["seconds"] = attempt(settings, HOPELESS * min(done) + ONCE_S if done else None)
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


def found(file: Path, *keys: str) -> dict[str, Any]:
    """The settings in the result of an earlier run (what its --json FILE wrote), under these keys. SystemExit where they are not there."""
    try:
        inner: Any = json.loads(file.read_text())
        for key in keys:
            inner = inner[key]
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(
            f"{file} holds no settings under {'.'.join(keys)}; give what --json FILE of an earlier run wrote."
        ) from None
    settings: dict[str, Any] = inner
    return settings


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
