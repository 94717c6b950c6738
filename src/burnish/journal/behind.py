"""The journal written by a thread of its own: the same calls, in the same order, while the run goes on.

What was asked for and not yet written is lost by a kill, as what was not yet asked for is: a checkpoint asks for the `offset`, which
waits for all that came before it, and a resumed run goes back to that. Not for: several writers (a run has one).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from burnish.journal.journal import Journal

MOST_WAITING = 4
"""Writes that may wait; a disk slower than that holds the run up, so that memory does not fill with rollouts."""


class Behind:
    """A `Journal` whose `step` and `event` return at once. What a write raises is raised by the next call, and nothing is written
    after it: the journal ends where it is whole.

    Use it in a `with`: leaving it waits until all is written.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: deque[Future[None]] = deque()

    @property
    def run_dir(self) -> Path:
        return self._journal.run_dir

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()

    def step(self, *args: Any) -> None:
        """As `Journal.step`, later."""
        self._ask(lambda: self._journal.step(*args))

    def event(self, kind: str, **fields: Any) -> None:
        """As `Journal.event`, later."""
        self._ask(lambda: self._journal.event(kind, **fields))

    def offset(self) -> dict[str, Any]:
        """As `Journal.offset`, when all that was asked for is written."""
        self.wait()
        return self._journal.offset()

    def truncate(self, offset: Mapping[str, Any]) -> None:
        """As `Journal.truncate`, when all that was asked for is written."""
        self.wait()
        self._journal.truncate(offset)

    def wait(self) -> None:
        """Until all that was asked for is written. Raises what a write raised."""
        while self._waiting:
            self._waiting[0].result()  # one that failed stays, and every later call fails as it did
            self._waiting.popleft()

    def _ask(self, write: Callable[[], None]) -> None:
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= MOST_WAITING):
            self._waiting[0].result()
            self._waiting.popleft()
        before = self._waiting[-1] if self._waiting else None

        def after() -> None:
            if before is not None:
                before.result()  # done: one thread takes them in order
            write()

        self._waiting.append(self._thread.submit(after))
