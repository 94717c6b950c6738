"""The thread behind a Pool: starts workers, feeds them, reads their answers, keeps deadlines, kills and replaces.

Not for use on its own. Everything here but `submit`, `stop`, `error` and `alive` runs in the one supervising thread, so
there are no locks: callers append to a deque and read from a queue of their own, both of which are safe to share.

Time. Workers answer in order, so the item a worker is on is the oldest it was sent and has not answered, and it began
when that item became the oldest, as seen from here. Three things keep a busy parent from being taken for a slow
verifier: what lies in a pipe is read before any deadline is judged; the clock of the next item starts when the answer
before it is *read*; and time in which this thread itself was not run is not charged to anyone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from burnish.errors import BurnishError, ConfigError
from burnish.records import Verdict
from burnish.verify.process import QUEUED_S, Item, Limits, Worker, ending, resident
from burnish.verify.tally import Tally

_LONGEST_WAIT_S = 1.0
_REAPING_S = 0.05  # how often to look whether a killed process is gone
_STALL_S = 0.1  # a round that took this much longer than it meant to: this thread was not run
_MOST_IN_FLIGHT = 64  # items one worker may hold: enough to hide the pipe when verdicts take microseconds
_BAD_STARTS = 3
_LOOK_S = 0.2  # how often the memory of the workers is looked at
_CHUNK = 1 << 20  # more than a pipe holds, so one read takes all there is


class Supervisor:
    """Owns the workers of one Pool. See the module's docstring for which methods other threads may call."""

    def __init__(self, verifier: str, workers: int, limits: Limits, tally: Tally) -> None:
        self.error: BurnishError | None = None
        self.tally = tally
        self._look = 0.0
        self._verifier, self._size, self._limits = verifier, workers, limits
        self._inbox: deque[Item] = deque()
        self._suspects: deque[Item] = deque()  # their worker died on them; each waits for a fresh worker of its own
        self._workers: list[Worker] = []
        self._dead: list[subprocess.Popen[bytes]] = []
        self._bad_starts = 0
        self._closing = self._hungry = False
        self._seen = time.monotonic()
        self._owner = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()  # the bell is heard here, the rope pulled by others
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="burnish-verify", daemon=True)

    # ---- what other threads may call

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    @property
    def load(self) -> tuple[int, int]:
        """(workers alive, items waiting or given out), as seen from another thread: exact only where nothing happens."""
        workers = list(self._workers)
        return len(workers), len(self._inbox) + len(self._suspects) + sum(len(worker.flight) for worker in workers)

    def submit(self, item: Item) -> None:
        """Hand over one item; its verdict will be put in its inquiry."""
        self._inbox.append(item)
        if self._hungry:  # otherwise it will look by itself before it sleeps, or when the next answer comes
            self._ring()

    def stop(self) -> None:
        """Kill and reap every worker. Takes a few seconds at the very worst."""
        if os.getpid() != self._owner:
            return  # a fork of the owner is ending: the workers are not its own
        self._closing = True
        self._ring()
        if threading.current_thread() is not self._thread:  # a finalizer runs wherever the garbage was collected
            self._thread.join(timeout=10.0)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it has been rung; closed: nobody is there to hear it
            self._rope.send(b"!")

    # ---- the supervising thread

    def _run(self) -> None:
        try:
            for _ in range(self._size):
                self._spawn()
            while not self._closing and self.error is None:
                self._round()
        # Broad on purpose: callers wait for this thread, so whatever ends it must be theirs to see.
        except BaseException as error:  # noqa: BLE001
            self.error = BurnishError(f"the verifier pool failed: {type(error).__name__}: {error}")
        finally:
            for worker in list(self._workers):
                self._bury(worker)
            for process in self._dead:
                with contextlib.suppress(subprocess.TimeoutExpired):  # killed, but held up in the kernel
                    process.wait(timeout=2.0)
            self._selector.close()
            self._bell.close()
            self._rope.close()

    def _round(self) -> None:
        """Wait for something to happen, but not past the next deadline; then see to all of it."""
        # In this order: who hands over an item appends it and then looks at `_hungry`, so one of us two sees the other.
        self._hungry = any(self._room(worker) > 0 for worker in self._workers)
        wait = 0.0 if self._hungry and self._inbox else self._wait(time.monotonic())
        events = self._selector.select(wait)
        now = time.monotonic()
        stall = now - self._seen - wait
        if stall > _STALL_S:
            for worker in self._workers:
                worker.since += stall
        if self._inbox or self._suspects or any(worker.flight for worker in self._workers):
            self.tally.busy_s += now - self._seen
        self._seen = now
        for key, mask in events:
            worker = key.data
            if worker is None:
                self._bell.recv(1 << 16)
            elif not worker.gone and mask & selectors.EVENT_READ:
                self._read(worker, now)
            elif not worker.gone:
                self._write(worker)
        self._enforce(now)
        self._retire(now)
        self._dispatch(now)
        self._dead = [process for process in self._dead if process.poll() is None]

    def _wait(self, now: float) -> float:
        ends = [worker.since + self._allowed(worker) for worker in self._workers if worker.flight or not worker.ready]
        longest = _REAPING_S if self._dead else _LONGEST_WAIT_S
        return max(0.0, min([longest, *(end - now for end in ends)]))

    def _allowed(self, worker: Worker) -> float:
        return self._limits.deadline_s if worker.ready else self._limits.start_s

    def _spawn(self) -> None:
        # The parent's module search path, so a "my.module:attr" that it can import can be imported there; -P keeps the
        # working directory out unless the parent has it. A session of its own: a kill takes what the verifier started
        # with it, and Ctrl-C in a terminal is the parent's business only.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            "BURNISH_DEADLINE_S": str(self._limits.deadline_s),  # a verifier that runs programs gives up before that
        }
        command = [sys.executable, "-P", "-m", "burnish.verify.worker", self._verifier, str(self._limits.memory_bytes)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment, start_new_session=True
        )
        worker = Worker(process, time.monotonic())
        self._workers.append(worker)
        self._selector.register(worker.outward, selectors.EVENT_READ, worker)

    def _bury(self, worker: Worker) -> None:
        """Kill a worker and everything in its session, and forget it. Its items are the caller's to save first."""
        worker.gone = True
        self._workers.remove(worker)
        self._selector.unregister(worker.outward)
        if worker.unsent:
            self._selector.unregister(worker.inward)
        try:
            os.killpg(worker.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            worker.process.kill()
        assert worker.process.stdin is not None and worker.process.stdout is not None
        worker.process.stdin.close()
        worker.process.stdout.close()
        self._dead.append(worker.process)

    # ---- answers

    def _read(self, worker: Worker, now: float) -> None:
        """Take in all that a worker has said; where it has hung up or talks nonsense, see to what it leaves behind."""
        try:
            chunk = os.read(worker.outward, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._lost(worker)
            return
        *lines, rest = (worker.unread + chunk).split(b"\n")
        worker.unread = rest
        try:
            for line in lines:
                self._hear(worker, json.loads(line), now)
        except (ValueError, TypeError, LookupError, OverflowError):
            self._lost(worker)  # something else wrote into its channel

    def _hear(self, worker: Worker, message: list[Any], now: float) -> None:
        worker.since = now
        if not worker.ready:
            if message[0] != "ready":
                self.error = ConfigError(f"a worker could not load verifier {self._verifier!r}: {message[1]}")
            worker.ready = True
            worker.resident = resident(worker.process.pid)
            return
        number, outcome, score, parts, found, why, seconds, fault = message
        if not worker.flight or number != worker.flight[0].number:
            raise ValueError(f"a worker answered {number!r}, which it was not on")
        verdict = Verdict(outcome, score, parts, found, why, seconds, fault)
        self._give(worker.flight.popleft(), verdict)
        worker.answered += 1
        worker.pace += 0.2 * (seconds - worker.pace)
        self._bad_starts = 0

    def _give(self, item: Item, verdict: Verdict) -> None:
        if item.inquiry.abandoned:
            return  # whoever asked has gone, or has counted it as late
        self.tally.verdict(verdict)
        item.inquiry.answers.put((item.key, verdict))

    def _lost(self, worker: Worker) -> None:
        """A worker died by itself: suspect the item it was on, send the others elsewhere, start another worker."""
        self.tally.restart("crashed" if worker.used else "start")
        if not worker.used and not worker.retiring:
            self._bad_start("ended before it was sent anything")
        elif worker.flight:
            item = worker.flight.popleft()
            if item.retried:
                why = f"the verifier's process died on this response, twice{ending(worker.process)}"
                self._give(item, Verdict("no_verdict", None, why=why, fault="crashed"))
            else:
                item.retried = True
                self._suspects.append(item)
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        self._inbox.extendleft(reversed(worker.flight))
        self._bury(worker)
        if not worker.retiring:  # it has its successor already
            self._spawn()

    def _retire(self, now: float) -> None:
        """Let workers that have answered enough, aged or grown end in peace, each with its successor on the way."""
        looking = now >= self._look
        if looking:
            self._look = now + _LOOK_S
        for worker in list(self._workers):
            if not worker.retiring and worker.ready and (reason := self._spent(worker, now, looking)):
                worker.retiring = True
                self.tally.restart(reason)
                self._spawn()
            if worker.retiring and not worker.flight:
                self._bury(worker)

    def _spent(self, worker: Worker, now: float, looking: bool) -> str | None:
        """Why a worker is to be replaced: items, age, memory; None where it may go on."""
        limits = self._limits
        if limits.items is not None and worker.answered >= limits.items:
            return "items"
        if limits.age_s is not None and now - worker.born >= limits.age_s:
            return "age"
        if looking and worker.used and limits.growth_bytes is not None:
            grown = resident(worker.process.pid) - worker.resident
            return "memory" if grown >= limits.growth_bytes else None
        return None

    def _bad_start(self, what: str) -> None:
        self._bad_starts += 1
        if self._bad_starts >= _BAD_STARTS:
            self.error = BurnishError(
                f"a worker of verifier {self._verifier!r} {what}, {_BAD_STARTS} times in a row: run "
                f"{sys.executable} -m burnish.verify.worker {self._verifier} {self._limits.memory_bytes} to see why"
            )

    def _enforce(self, now: float) -> None:
        for worker in list(self._workers):
            if worker.gone or not (worker.flight or not worker.ready) or now - worker.since < self._allowed(worker):
                continue
            before = worker.since
            self._read(worker, now)  # what came in since the last look counts as in time
            if worker.gone or worker.since != before:
                continue
            if not worker.ready:
                self.tally.restart("start")
                self._bad_start(f"was not ready within {self._limits.start_s:g} s")
                self._replace(worker)
            elif worker.process.poll() is not None:  # dead, while a child of its own keeps the pipe open
                self._lost(worker)
            else:
                item = worker.flight.popleft()
                why = f"no verdict within {self._limits.deadline_s:g} s"
                self._give(item, Verdict("no_verdict", None, why=why, seconds=now - worker.since, fault="timeout"))
                self.tally.restart("timeout")
                self._replace(worker)

    # ---- requests

    def _room(self, worker: Worker) -> int:
        """How many more items a worker may be sent."""
        if not worker.ready or worker.gone or worker.retiring:
            return 0
        window = min(_MOST_IN_FLIGHT, int(QUEUED_S / max(worker.pace, 1e-6)))
        return max(1, window) - len(worker.flight)

    def _dispatch(self, now: float) -> None:
        ready = [worker for worker in self._workers if worker.ready and not worker.retiring]
        for worker in sorted(ready, key=lambda worker: len(worker.flight)):
            items: list[Item] = []
            if self._suspects and not worker.used:
                items = self._wanted(self._suspects, 1)
            elif (room := self._room(worker)) > 0:
                items = self._wanted(self._inbox, min(room, max(1, len(self._inbox) // len(ready))))
            if items:
                self._send(worker, items, now)

    @staticmethod
    def _wanted(source: deque[Item], most: int) -> list[Item]:
        items: list[Item] = []
        while source and len(items) < most:
            item = source.popleft()
            if not item.inquiry.abandoned:
                items.append(item)
        return items

    def _send(self, worker: Worker, items: list[Item], now: float) -> None:
        if not worker.flight:
            worker.since = now
        worker.used = True
        worker.flight.extend(items)
        if not worker.unsent:
            self._selector.register(worker.inward, selectors.EVENT_WRITE, worker)
        for item in items:
            worker.unsent += item.line
        self._write(worker)

    def _write(self, worker: Worker) -> None:
        """Push as much as the pipe takes; the selector calls again for the rest."""
        try:
            while worker.unsent:
                sent = os.write(worker.inward, worker.unsent)
                del worker.unsent[:sent]
        except BlockingIOError:
            return
        except BrokenPipeError:
            worker.unsent.clear()  # it is dying: its end of the other pipe will say so
        self._selector.unregister(worker.inward)
