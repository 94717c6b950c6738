"""Verifiers in worker processes that can be killed: a deadline for every verdict, exactly one verdict for every key.

Not for sandboxing: a worker has the rights of its parent, so a verifier that runs a model's program needs a sandbox.

A Pool is the caller's side. One supervising thread (`burnish.verify.supervisor`) owns the workers, so deadlines are
kept and answers are read while the caller samples, or does nothing for minutes. No signals: any thread will do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import time
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType

from burnish.errors import BurnishError
from burnish.records import Key, Problem, Verdict
from burnish.verify import load
from burnish.verify.process import Inquiry, Item, Limits
from burnish.verify.supervisor import Supervisor
from burnish.verify.tally import Statistics, Tally

_AHEAD = 128  # items given out and not yet answered, for each worker
_PATIENCE_S = 0.5  # how often a caller that waits looks whether the supervisor is still alive


class Pool:
    """Judges with one verifier in `workers` processes. Use it in a `with`; one Pool serves any number of threads.

    verifier      a name `burnish.verify.load` knows, resolved in the workers
    deadline_s    seconds one item may take, from when its worker starts on it; then that worker is killed
    memory_bytes  address space of one worker
    start_s       seconds a worker may take to start; generous, for loaded machines
    recycle_items, recycle_s, recycle_bytes
                  a worker is replaced, without losing an item, once it has answered so many items, is so old, or has grown
                  by so many bytes since it was ready (half of memory_bytes if not given: a leak is ended before it is
                  a fault; read from /proc, so on Linux only)
    alarm_share   share of the last thousand verdicts that may be missing before `statistics().alarm` says so and the
                  logger "burnish.verify" warns, once

    Raises ConfigError for a plain name no verifier has, ValueError for limits that make no sense.
    """

    def __init__(
        self,
        verifier: str,
        workers: int = 2,
        deadline_s: float = 5.0,
        memory_bytes: int = 1 << 30,
        start_s: float = 60.0,
        recycle_items: int | None = None,
        recycle_s: float | None = None,
        recycle_bytes: int | None = None,
        alarm_share: float = 0.1,
    ) -> None:
        growth = memory_bytes // 2 if recycle_bytes is None else recycle_bytes
        given = {"recycle_items": recycle_items, "recycle_s": recycle_s, "recycle_bytes": growth}
        limits = {"workers": workers, "deadline_s": deadline_s, "memory_bytes": memory_bytes, "start_s": start_s}
        limits |= {name: limit for name, limit in given.items() if limit is not None}
        if workers < 1 or memory_bytes < 1 or not all(limit > 0 for limit in limits.values()):
            shown = ", ".join(f"{name}={limit}" for name, limit in limits.items())
            raise ValueError(f"a pool needs at least one worker and positive limits, not {shown}")
        if ":" not in verifier:  # "my.module:attr" may be heavy to import: its workers do, and report
            load(verifier)
        self._ahead = workers * _AHEAD
        self._numbers = itertools.count()
        self._tally = Tally(verifier, alarm_share)
        bounds = Limits(deadline_s, start_s, memory_bytes, recycle_items, recycle_s, growth)
        self._supervisor = Supervisor(verifier, workers, bounds, self._tally)
        self._supervisor.start()
        # Not a method of ours: the finalizer must not keep the pool alive. Also runs when the interpreter ends.
        self._finalizer = weakref.finalize(self, self._supervisor.stop)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill and reap the workers. Safe to call twice; a `judge` in progress in another thread raises."""
        self._finalizer()

    def statistics(self) -> Statistics:
        """What this pool has done so far. Any thread may ask, at any time."""
        return self._tally.snapshot(*self._supervisor.load)

    @property
    def fault(self) -> str | None:
        """Why this pool judges no more, as a sentence; None while it is in order."""
        if self._supervisor.error is not None:
            return str(self._supervisor.error)
        return None if self._supervisor.alive else "the verifier pool was closed"

    def judge(
        self, items: Iterable[tuple[Key, Problem, str]], within_s: float | None = None
    ) -> Iterator[tuple[Key, Verdict]]:
        """Judge (key, problem, response) triples; yields (key, verdict) as verdicts come back, in no fixed order.

        `items` is read lazily: each is handed to a worker as it arrives, finished verdicts are yielded before the next
        is asked for, and a bounded number is out at any time. Exactly one verdict comes back for each key:

        - over the deadline: no_verdict, fault "timeout"; what waited behind it goes to another worker
        - killed its worker, and again when tried once more on a fresh one: no_verdict, fault "crashed"
        - a reference that cannot be written as JSON: no_verdict, fault "gold"
        - not judged `within_s` seconds from the first `next` (if given): no_verdict, fault "timeout"

        Raises ValueError for a key seen before, ConfigError where the workers cannot load the verifier, BurnishError
        where they cannot be started or the pool was closed. What the caller leaves behind by stopping early is dropped.
        """
        inquiry = Inquiry()
        end = None if within_s is None else time.monotonic() + within_s
        seen: set[Key] = set()
        waiting: dict[Key, None] = {}  # in the order given
        encoder = _Encoder()
        try:
            for key, problem, response in items:
                if key in seen:
                    raise ValueError(f"key {key!r} was given twice")
                seen.add(key)
                waiting[key] = None
                if end is not None and time.monotonic() >= end:
                    continue
                number = next(self._numbers)
                try:
                    line = encoder.line(number, problem, response)
                except (TypeError, ValueError, RecursionError) as error:
                    why = f"the problem cannot be written as JSON: {error}"
                    verdict = Verdict("no_verdict", None, why=why[:300], fault="gold")
                    self._tally.verdict(verdict)
                    inquiry.answers.put((key, verdict))
                else:
                    self._supervisor.submit(Item(number, key, line, inquiry))
                while len(waiting) >= self._ahead or not inquiry.answers.empty():
                    answer = self._next(inquiry, end)
                    if answer is None:
                        break
                    del waiting[answer[0]]
                    yield answer
            while waiting and (answer := self._next(inquiry, end)) is not None:
                del waiting[answer[0]]
                yield answer
            inquiry.abandoned = True  # what comes back from here on is nobody's, and counted once: as missing
            for answer in _left(inquiry):
                del waiting[answer[0]]
                yield answer
            why = f"not judged within the {within_s} s that all items had together"
            for key in waiting:
                verdict = Verdict("no_verdict", None, why=why, fault="timeout")
                self._tally.verdict(verdict)
                yield key, verdict
        finally:
            inquiry.abandoned = True

    def _next(self, inquiry: Inquiry, end: float | None) -> tuple[Key, Verdict] | None:
        """The next verdict; None where `end` comes first. Ends: the supervisor answers every item within its limits, or has
        an error, or is dead."""
        while True:
            left = _PATIENCE_S if end is None else min(_PATIENCE_S, end - time.monotonic())
            try:
                return inquiry.answers.get(timeout=max(0.0, left))
            except queue.Empty:
                if self._supervisor.error is not None:
                    raise self._supervisor.error from None
                if not self._supervisor.alive:
                    raise BurnishError("the verifier pool was closed while it was judging") from None
                if end is not None and time.monotonic() >= end:
                    return None


def _left(inquiry: Inquiry) -> Iterator[tuple[Key, Verdict]]:
    """What has come back and was not read yet."""
    with contextlib.suppress(queue.Empty):
        while True:
            yield inquiry.answers.get_nowait()


class _Encoder:
    """Items as lines for a worker. The rollouts of one problem come together, so its JSON is made once."""

    def __init__(self) -> None:
        self._problem: Problem | None = None
        self._fields = ""

    def line(self, number: int, problem: Problem, response: str) -> bytes:
        if problem is not self._problem:
            reference = dict(problem.reference)
            fields = [problem.id, problem.task, problem.question, reference, problem.split, problem.fingerprint]
            self._fields = json.dumps(fields)
            self._problem = problem
        return f"[{number},{self._fields},{json.dumps(response)}]\n".encode()
