"""One worker process as its supervisor sees it, and what passes through it: items, the callers they belong to, limits.

Not for: deciding anything (supervisor), or what runs inside the process (worker).
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
from collections import deque
from dataclasses import dataclass, field

from burnish.records import Key, Verdict
from burnish.verify.worker import OUT_OF_MEMORY

QUEUED_S = 0.02  # a worker holds no more items than it works off in this time, so slow verdicts spread over the workers
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Inquiry:
    """One call of `Pool.judge`: where its verdicts go, and whether anybody still wants them."""

    answers: queue.SimpleQueue[tuple[Key, Verdict]] = field(default_factory=queue.SimpleQueue)
    abandoned: bool = False


@dataclass(slots=True)
class Item:
    """One response to judge. `line` is what the worker is sent; `retried` once a worker died on it."""

    number: int
    key: Key
    line: bytes
    inquiry: Inquiry
    retried: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one item, seconds for a worker to start, bytes of address space of a worker.

    A worker is replaced, once it has answered what it holds, when it has answered `items`, is `age_s` old, or has grown
    by `growth_bytes` since it was ready; None is never.
    """

    deadline_s: float
    start_s: float
    memory_bytes: int
    items: int | None = None
    age_s: float | None = None
    growth_bytes: int | None = None


class Worker:
    """A process, what it was sent and has not answered (oldest first), and what is still on its way in and out."""

    def __init__(self, process: subprocess.Popen[bytes], now: float) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.inward, self.outward = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self.inward, False)
        os.set_blocking(self.outward, False)
        self.flight: deque[Item] = deque()
        self.since = self.born = now  # when it began to start, or began on flight[0]; when it began to start
        self.ready = self.used = self.gone = self.retiring = False
        self.answered = self.resident = 0  # items so far; bytes in memory when it was ready
        self.unsent, self.unread = bytearray(), b""
        self.pace = QUEUED_S  # seconds a verdict takes lately; as slow to begin with as holds one item in flight


def resident(pid: int) -> int:
    """Bytes of a process that are in memory; 0 where the system does not say so in /proc."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, as the end of a sentence."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)  # its pipe is closed, so it is on its way
    if process.returncode is None:
        return ""
    if process.returncode == OUT_OF_MEMORY:
        return ": out of memory"
    return f": signal {-process.returncode}" if process.returncode < 0 else f": exit status {process.returncode}"
