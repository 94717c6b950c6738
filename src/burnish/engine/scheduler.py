"""Who computes next, and in which pages of the cache. Pure bookkeeping: numbers, no tensors. Not for: computing anything.

A page holds the keys and values of S consecutive tokens. Requests of one prompt form a family, whose prompt is computed once, into
pages that all its rows read and none writes: what a row draws stands on pages of its own, so the last prompt page may stay partly
filled, and nothing is ever copied. A row gets further pages as it grows. When there are none left, the youngest row gives all of its
own back and waits: it keeps what it has drawn, and only its keys and values are computed again.

The order is first come, first served, so the oldest row always gets on, and whatever fits alone is served in the end.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from burnish.errors import EngineError
from burnish.records import Key, Prompt, Request


class Pages:
    """The pages that nobody has. The lowest is taken first, so memory that was never needed is never touched."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._untouched = 0  # pages from here on were never taken
        self._back: list[int] = []

    @property
    def free(self) -> int:
        return self.count - self._untouched + len(self._back)

    def take(self, count: int) -> list[int]:
        assert count <= self.free
        taken = [heapq.heappop(self._back) for _ in range(min(count, len(self._back)))]
        fresh = range(self._untouched, self._untouched + count - len(taken))
        self._untouched = fresh.stop
        return [*taken, *fresh]

    def give(self, pages: list[int]) -> None:
        for page in pages:
            heapq.heappush(self._back, page)
        pages.clear()


@dataclass(eq=False)
class Family:
    """All requests of one prompt.

    left, fresh, running   its rows that have not ended, that have drawn nothing yet, and that hold a slot
    pages, filled          where its prompt's keys and values are, and how many tokens of it are there
    """

    prompt: Prompt
    number: int
    left: int = 0
    fresh: int = 0
    running: int = 0
    pages: list[int] = field(default_factory=list)
    filled: int = 0

    @property
    def whole(self) -> bool:
        return self.filled == len(self.prompt.ids)


@dataclass(eq=False)
class Row:
    """One request.

    ids, logprobs  what it had drawn when it last lost its slot, or before this call
    pages, cached  its own pages, and how many of its drawn tokens are there, of those it goes on from
    """

    family: Family
    request: Request
    rank: int
    slot: int = -1
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    pages: list[int] = field(default_factory=list)
    cached: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Chunk:
    """Tokens to compute before anyone goes on from them: ids stand at positions start, start + 1, ...; `pages` is what they may read.

    prompt       the family whose prompt this chunk completes: the logits of its last token are wanted
    shared, gap  for tokens that a row had drawn, which are computed again: its first pages are its prompt's, the last of which lacks
                 `gap` tokens; otherwise 0
    """

    ids: tuple[int, ...]
    start: int
    pages: tuple[int, ...]
    prompt: Family | None = None
    shared: int = 0
    gap: int = 0


@dataclass(frozen=True)
class Running:
    """The slots of the live rows, the pages of their prompts and how many places of them stay empty, and their families, which stand
    together.
    """

    slots_B: NDArray[np.int64]
    shared_B: NDArray[np.int64]
    gap_B: NDArray[np.int64]
    family_B: NDArray[np.int64]


class Scheduler:
    """First come, first served, whole families together where there is room.

    rows            most rows that hold a slot
    page            S, positions a page
    prefill_tokens  most tokens in the chunks of one pass

    By slot: table_SP (its pages in order, the prompt's first), length_S (tokens drawn), prompt_S (tokens of the prompt).
    """

    def __init__(self, requests: Iterable[Request], rows: int, pages: Pages, page: int, prefill_tokens: int) -> None:
        families: dict[tuple[str, tuple[int, ...]], list[Row]] = {}
        keys: set[Key] = set()
        for request in requests:
            if request.key in keys:
                raise ValueError(f"two requests share the key {request.key}")
            keys.add(request.key)
            name = (request.prompt.problem_id, request.prompt.ids)
            listed = families.setdefault(name, [])
            family = listed[0].family if listed else Family(request.prompt, len(families) - 1)
            begun = request.begun
            row = Row(family, request, 0) if begun is None else Row(family, request, 0, -1, begun.ids, begun.logprobs)
            family.left, family.fresh = family.left + 1, family.fresh + (not row.ids)
            listed.append(row)
        self._queue = deque(row for listed in families.values() for row in listed)
        for rank, row in enumerate(self._queue):
            row.rank = rank
        self.pages, self.page, self.prefill_tokens = pages, page, prefill_tokens
        _refuse_what_never_fits(self._queue, pages, page)
        self._slots = list(range(min(rows, len(self._queue))))
        # A prefill costs a pass of its own: small refills wait until a sixteenth of the rows is free.
        self._least = max(1, len(self._slots) // 16)
        self._filling: list[Row] = []
        self.live: list[Row] = []
        self._running: Running | None = None
        count = len(self._slots)
        self.length_S, self.prompt_S, self._family_S = (np.zeros(count, dtype=np.int64) for _ in range(3))
        self._room_S = np.zeros(count, dtype=np.int64)  # drawn tokens its own pages have room for
        self.table_SP = np.zeros((count, 8), dtype=np.int32)

    @property
    def busy(self) -> bool:
        return bool(self.live or self._filling or self._queue)

    def left(self) -> list[Row]:
        """The rows that have not ended; what those with a slot have drawn is at `Row.slot`."""
        return [*self.live, *self._filling, *self._queue]

    # ---- who runs

    def admit(self) -> list[Row]:
        """Give slots and pages to waiting rows while there are some. Each running row that may still grow could get one more page
        after that.
        """
        admitted: list[Row] = []
        running = len(self.live) + len(self._filling)
        if not self._queue or (running and len(self._slots) < self._least):
            return admitted
        growing = sum(len(row.pages) < self._most(row) for row in (*self.live, *self._filling))
        while self._slots and self._queue:
            row = self._queue[0]
            for_prompt, own = self._needs(row)
            if not running:  # then nothing may be held back
                self._reclaim(for_prompt + own, row)
            if for_prompt + own + growing > self.pages.free and running:
                break
            self._queue.popleft()
            self._take_up(row, for_prompt, own)
            admitted.append(row)
            running, growing = running + 1, growing + (own < self._most(row))
        return admitted

    def _most(self, row: Row) -> int:
        return own_pages(row.request.sampling.max_new, self.page)

    def _needs(self, row: Row) -> tuple[int, int]:
        """Pages to take for the family's prompt and for the row itself, up to the position it writes next."""
        for_prompt = 0 if row.family.pages else -(-len(row.family.prompt.ids) // self.page)
        return for_prompt, max(0, len(row.ids) - 1) // self.page + 1

    def _take_up(self, row: Row, for_prompt: int, own: int) -> None:
        family = row.family
        family.pages += self.pages.take(for_prompt)
        family.running += 1
        row.slot = heapq.heappop(self._slots)
        row.pages, row.cached = self.pages.take(own), 0
        self.length_S[row.slot], self.prompt_S[row.slot] = len(row.ids), len(family.prompt.ids)
        self._family_S[row.slot] = family.number
        self._filling.append(row)

    def make_room(self, ahead: int = 1) -> tuple[list[Row], list[int]]:
        """A page for every live row whose next token needs a new one; the youngest rows give theirs back where there are none.

        Room for `ahead` tokens is made where pages are left over. Returns the rows that lost their slots, and the pages that were
        taken. The tokens of a row that lost its slot are still at `Row.slot`, and are to be put into the row before anyone is admitted.
        """
        lost: list[Row] = []
        taken: list[int] = []
        slots_B, order = self.running().slots_B, list(self.live)
        stored_S = self.length_S - 1  # the last token drawn is written by the step that it goes into
        for number in np.flatnonzero(stored_S[slots_B] + ahead > self._room_S[slots_B]):
            row = order[number]
            while row not in lost and stored_S[row.slot] >= self._room_S[row.slot]:
                if self.pages.free or self._evict_idle(row.family):
                    taken += self._grow(row)
                else:
                    lost.append(self._preempt())
            if row in lost:
                continue
            spare = self.pages.free - len(self.live) - len(self._filling)
            while spare > 0 and stored_S[row.slot] + ahead > self._room_S[row.slot]:
                taken += self._grow(row)
                spare -= 1
        return lost, taken

    def _grow(self, row: Row) -> list[int]:
        page = self.pages.take(1)
        row.pages += page
        self._write_table(row)
        return page

    def _reclaim(self, wanted: int, row: Row) -> None:
        while self.pages.free < wanted and self._evict_idle(row.family):
            pass

    def _evict_idle(self, besides: Family) -> bool:
        """Take the prompt pages back of a family that has rows, but none that runs; whether there was one."""
        holding = [row.family for row in self._queue if row.family.pages and not row.family.running]
        idle = [family for family in holding if family is not besides]
        if idle:
            self._release(idle[-1])
        return bool(idle)

    def _preempt(self) -> Row:
        """The youngest row loses its slot and its pages, and waits at the head of the queue."""
        row = max((*self.live, *self._filling), key=lambda one: one.rank)
        (self._filling if row in self._filling else self.live).remove(row)
        self._running = None
        self._queue.appendleft(row)
        self._leave(row)
        if not row.family.running:
            self._release(row.family)
        return row

    def _leave(self, row: Row) -> None:
        heapq.heappush(self._slots, row.slot)
        self.pages.give(row.pages)
        self._room_S[row.slot] = 0
        row.family.running -= 1

    def _release(self, family: Family) -> None:
        self.pages.give(family.pages)
        family.filled = 0

    def finish(self, rows: Sequence[Row]) -> None:
        """These live rows have ended."""
        for row in rows:
            self._leave(row)
            row.ended = True
            row.family.left -= 1
            if not row.family.left:
                self._release(row.family)
        self.live = [row for row in self.live if not row.ended]
        self._running = None

    # ---- what is computed before a row goes on

    def chunks(self) -> list[Chunk]:
        """The next tokens of prompts, and of rows that lost their pages; they count as computed from here on."""
        left, found = self.prefill_tokens, []
        moved: set[int] = set()  # families with a chunk in this pass: what goes on from them waits for the next one
        for row in self._filling:
            family, prompt = row.family, row.family.prompt.ids
            if not family.whole and left:
                start, stop = family.filled, min(len(prompt), family.filled + left)
                left, family.filled = left - (stop - start), stop
                completed = family if family.whole and family.fresh else None
                found.append(Chunk(prompt[start:stop], start, tuple(family.pages), completed))
                moved.add(family.number)
            wanted = max(0, len(row.ids) - 1)
            if family.whole and family.number not in moved and row.cached < wanted and left:
                start, stop = row.cached, min(wanted, row.cached + left)
                left, row.cached = left - (stop - start), stop
                shared = len(family.pages)
                place = (tuple(family.pages + row.pages), None, shared, shared * self.page - len(prompt))
                found.append(Chunk(row.ids[start:stop], len(prompt) + start, *place))
        return found

    def begin(self) -> list[Row]:
        """Rows whose wait is over are live from here on; those of them that have drawn nothing yet."""
        ready = [row for row in self._filling if row.family.whole and row.cached == max(0, len(row.ids) - 1)]
        if not ready:
            return []
        chosen = set(map(id, ready))
        self._filling = [row for row in self._filling if id(row) not in chosen]
        self.live = sorted((*self.live, *ready), key=lambda row: row.rank)
        self._running = None
        fresh = [row for row in ready if not row.ids]
        for row in fresh:
            row.family.fresh -= 1
        for row in ready:
            self._write_table(row)
        return fresh

    def _write_table(self, row: Row) -> None:
        pages = row.family.pages + row.pages
        if len(pages) > self.table_SP.shape[1]:
            wider = np.zeros((len(self.table_SP), 2 * len(pages)), dtype=np.int32)
            wider[:, : self.table_SP.shape[1]] = self.table_SP
            self.table_SP = wider
        self.table_SP[row.slot, : len(pages)] = pages
        self._room_S[row.slot] = len(row.pages) * self.page

    def room(self, slots_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """For how many tokens after the one that is written next there is room on the pages they have."""
        return self._room_S[slots_B] - self.length_S[slots_B]

    def running(self) -> Running:
        """The live rows in their order. The same object while they are the same rows."""
        if self._running is None:
            slots_B = np.array([row.slot for row in self.live], dtype=np.int64)
            shared_B = -(-self.prompt_S[slots_B] // self.page)
            gap_B = shared_B * self.page - self.prompt_S[slots_B]
            self._running = Running(slots_B, shared_B, gap_B, self._family_S[slots_B])
        return self._running


def most_pages(prompt: int, max_new: int, page: int) -> int:
    """The pages of a row of so many prompt tokens at its longest; the last token it draws is not stored."""
    return -(-prompt // page) + own_pages(max_new, page)


def own_pages(max_new: int, page: int) -> int:
    """Those of them that hold what it draws."""
    return max(0, max_new - 2) // page + 1


def _refuse_what_never_fits(rows: Iterable[Row], pages: Pages, page: int) -> None:
    for row in rows:
        prompt, max_new = len(row.request.prompt.ids), row.request.sampling.max_new
        most = most_pages(prompt, max_new, page)
        if most > pages.count:
            raise EngineError(
                f"The request {row.request.key.problem_id} needs {most} pages of {page} tokens (a prompt of {prompt}, max_new = "
                f"{max_new}), and the whole cache has {pages.count}; raise sampling.cache_gib, or lower max_new."
            )
