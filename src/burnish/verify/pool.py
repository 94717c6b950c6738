"""Verifiers in worker processes that can be killed: a deadline for every verdict, exactly one verdict for every key.

Not for sandboxing: a worker has the rights of its parent, so a verifier that runs a model's program needs a sandbox.

A Pool is the caller's side. One supervising thread (`burnish.verify.supervisor`) owns the workers, so deadlines are
kept and answers are read while the caller samples, or does nothing for minutes. No signals: any thread will do.
"""

from __future__ import annotations

import itertools
import json
import queue
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType

from burnish.errors import BurnishError
from burnish.records import Key, Problem, Verdict
from burnish.verify import load
from burnish.verify.supervisor import Inquiry, Item, Limits, Supervisor

_AHEAD = 128  # items given out and not yet answered, for each worker
_PATIENCE_S = 0.5  # how often a caller that waits looks whether the supervisor is still alive


class Pool:
    """Judges with one verifier in `workers` processes. Use it in a `with`; one Pool serves any number of threads.

    verifier      a name `burnish.verify.load` knows, resolved in the workers
    deadline_s    seconds one item may take, from when its worker starts on it; then that worker is killed
    memory_bytes  address space of one worker
    start_s       seconds a worker may take to start; generous, for loaded machines

    Raises ConfigError for a plain name no verifier has, ValueError for limits that make no sense.
    """

    def __init__(
        self,
        verifier: str,
        workers: int = 2,
        deadline_s: float = 5.0,
        memory_bytes: int = 1 << 30,
        start_s: float = 60.0,
    ) -> None:
        if workers < 1 or not deadline_s > 0 or not start_s > 0 or memory_bytes < 1:
            raise ValueError(
                f"a pool needs at least one worker and positive limits, not workers={workers}, "
                f"deadline_s={deadline_s}, memory_bytes={memory_bytes}, start_s={start_s}"
            )
        if ":" not in verifier:  # "my.module:attr" may be heavy to import: its workers do, and report
            load(verifier)
        self._ahead = workers * _AHEAD
        self._numbers = itertools.count()
        self._supervisor = Supervisor(verifier, workers, Limits(deadline_s, start_s, memory_bytes))
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

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        """Judge (key, problem, response) triples; yields (key, verdict) as verdicts come back, in no fixed order.

        `items` is read lazily: each is handed to a worker as it arrives, finished verdicts are yielded before the next
        is asked for, and a bounded number is out at any time. Exactly one verdict comes back for each key:

        - over the deadline: no_verdict, fault "timeout"; what waited behind it goes to another worker
        - killed its worker, and again when tried once more on a fresh one: no_verdict, fault "crashed"
        - a reference that cannot be written as JSON: no_verdict, fault "gold"

        Raises ValueError for a key seen before, ConfigError where the workers cannot load the verifier, BurnishError
        where they cannot be started or the pool was closed. What the caller leaves behind by stopping early is dropped.
        """
        inquiry = Inquiry()
        seen: set[Key] = set()
        answered = 0
        encoder = _Encoder()
        try:
            for key, problem, response in items:
                if key in seen:
                    raise ValueError(f"key {key!r} was given twice")
                seen.add(key)
                number = next(self._numbers)
                try:
                    line = encoder.line(number, problem, response)
                except (TypeError, ValueError) as error:
                    why = f"the problem cannot be written as JSON: {error}"
                    inquiry.answers.put((key, Verdict("no_verdict", None, why=why[:300], fault="gold")))
                else:
                    self._supervisor.submit(Item(number, key, line, inquiry))
                while len(seen) - answered >= self._ahead or not inquiry.answers.empty():
                    answered += 1
                    yield self._next(inquiry)
            while answered < len(seen):
                answered += 1
                yield self._next(inquiry)
        finally:
            inquiry.abandoned = True

    def _next(self, inquiry: Inquiry) -> tuple[Key, Verdict]:
        """The next verdict. Ends: the supervisor answers every item within its limits, or has an error, or is dead."""
        while True:
            try:
                return inquiry.answers.get(timeout=_PATIENCE_S)
            except queue.Empty:
                if self._supervisor.error is not None:
                    raise self._supervisor.error from None
                if not self._supervisor.alive:
                    raise BurnishError("the verifier pool was closed while it was judging") from None


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
