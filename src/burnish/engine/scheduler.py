"""Who is admitted when, and into which slot. Pure bookkeeping: no tensors. Not for: computing anything.

Requests of one prompt form a family: its prompt is prefilled once, into one prompt slot, which is freed when its last row ends.
Live rows occupy row slots 0..live-1; when one ends, the last live row moves into its place and the next request is admitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from burnish.records import Key, Prompt, Request


@dataclass
class Family:
    """All requests of one prompt that still wait or run."""

    prompt: Prompt
    waiting: deque[Request] = field(default_factory=deque)
    slot: int | None = None
    running: int = 0


@dataclass(frozen=True)
class Admission:
    """What to do before the next decode step: prefill `families` and start `requests` (in row slot order, after the live ones)."""

    families: list[Family]
    requests: list[tuple[Family, Request]]


class Scheduler:
    """First come, first served, whole families together where there is room."""

    def __init__(self, requests: Iterable[Request], row_slots: int, prompt_slots: int) -> None:
        families: dict[tuple[str, tuple[int, ...]], Family] = {}
        keys: set[Key] = set()
        for request in requests:
            if request.key in keys:
                raise ValueError(f"two requests share the key {request.key}")
            keys.add(request.key)
            name = (request.prompt.problem_id, request.prompt.ids)
            families.setdefault(name, Family(request.prompt)).waiting.append(request)
        self._queue = deque(families.values())
        self._free_prompts = list(range(prompt_slots))
        self._row_slots = row_slots
        # A prefill costs a pass of its own: small refills wait until a sixteenth of the rows is free.
        self._least = max(1, row_slots // 16)
        self.live: list[tuple[Family, Request]] = []

    @property
    def busy(self) -> bool:
        return bool(self.live or self._queue)

    def admit(self) -> Admission:
        """Fill free rows from the queue."""
        free = self._row_slots - len(self.live)
        new_families: list[Family] = []
        started: list[tuple[Family, Request]] = []
        if self.live and free < self._least:
            return Admission([], [])
        while free and self._queue:
            family = self._queue[0]
            if family.slot is None:
                if not self._free_prompts:
                    break
                family.slot = min(self._free_prompts)
                self._free_prompts.remove(family.slot)
                new_families.append(family)
            while free and family.waiting:
                started.append((family, family.waiting.popleft()))
                family.running += 1
                free -= 1
            if not family.waiting:
                self._queue.popleft()
        self.live.extend(started)
        return Admission(new_families, started)

    def finish(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """End these live rows; returns the (source, target) moves that close the holes, to be done in order."""
        moves = []
        for row in sorted(rows, reverse=True):
            family, _ = self.live[row]
            family.running -= 1
            if not family.running and not family.waiting:
                assert family.slot is not None
                self._free_prompts.append(family.slot)
            last = len(self.live) - 1
            if row != last:
                self.live[row] = self.live[last]
                moves.append((last, row))
            self.live.pop()
        return moves
