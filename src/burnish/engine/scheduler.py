"""Who computes next, and in which pages of the cache. Pure bookkeeping: numbers, no tensors. Not for: computing anything.

A page holds the keys and values of S consecutive positions of a row. Requests of one prompt form a family, whose prompt is computed
once, into pages that all its rows share; the last prompt page, where it is only partly filled, is copied for each row that goes on
from it, except for the last one, which takes it. A row gets further pages as it grows. When there are none left, the youngest row
gives all of its own back and waits: it keeps what it has drawn, and only its keys and values are computed again.

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

    left, fresh, waiting   its rows that have not ended, that have drawn nothing yet, and of these the ones that hold no slot
    running                its rows that hold a slot
    pages, filled          where its prompt's keys and values are, and how many tokens of it are there
    """

    prompt: Prompt
    number: int
    left: int = 0
    fresh: int = 0
    waiting: int = 0
    running: int = 0
    pages: list[int] = field(default_factory=list)
    filled: int = 0

    def wanted(self, size: int) -> int:
        """Tokens of the prompt its rows need: rows that have begun compute the last, partly filled page for themselves."""
        length = len(self.prompt.ids)
        return length if self.fresh else length // size * size


@dataclass(eq=False)
class Row:
    """One request. `ids` and `logprobs` are what it had drawn when it last lost its slot; `cached` positions are in its pages."""

    family: Family
    request: Request
    rank: int
    slot: int = -1
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    pages: list[int] = field(default_factory=list)
    cached: int = 0


@dataclass(frozen=True)
class Chunk:
    """Tokens to compute before anyone goes on from them: ids stand at positions start, start + 1, ...; `pages` is where they go.

    prompt   the family whose prompt this chunk completes: the logits of its last token are wanted
    resumes  whether these are tokens that a row had drawn, or the end of its prompt, computed again
    """

    ids: tuple[int, ...]
    start: int
    pages: tuple[int, ...]
    prompt: Family | None = None
    resumes: bool = False


class Scheduler:
    """First come, first served, whole families together where there is room.

    rows            most rows that hold a slot
    page            S, positions a page
    prefill_tokens  most tokens in the chunks of one pass

    By slot: table_SP (entry p is the page of positions p S ...), length_S (tokens drawn), prompt_S (tokens of the prompt),
    shared_S (pages shared with the family), family_S (its number).
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
            family.left, family.fresh, family.waiting = family.left + 1, family.fresh + 1, family.waiting + 1
            listed.append(Row(family, request, 0))
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
        count = len(self._slots)
        self.length_S, self.prompt_S, self.shared_S, self.family_S = (np.zeros(count, dtype=np.int64) for _ in range(4))
        self.covered_S = np.zeros(count, dtype=np.int64)  # positions its pages have room for
        self.table_SP = np.zeros((count, 8), dtype=np.int32)

    @property
    def busy(self) -> bool:
        return bool(self.live or self._filling or self._queue)

    # ---- who runs

    def admit(self) -> list[Row]:
        """Give slots and pages to waiting rows while there are some. Each running row could still get one more page after that."""
        admitted: list[Row] = []
        running = len(self.live) + len(self._filling)
        if running and len(self._slots) < self._least:
            return admitted
        while self._slots and self._queue:
            row = self._queue[0]
            for_prompt, own = self._needs(row)
            if not running:  # then nothing may be held back
                self._reclaim(for_prompt + own, row)
            if for_prompt + own + running > self.pages.free and running:
                break
            self._queue.popleft()
            self._take_up(row, for_prompt, own)
            admitted.append(row)
            running += 1
        return admitted

    def _needs(self, row: Row) -> tuple[int, int]:
        """Pages to take for the family's prompt and for the row itself, up to the position it writes next."""
        family, length = row.family, len(row.family.prompt.ids)
        for_prompt = 0 if family.pages else -(-family.wanted(self.page) // self.page)
        if row.ids:
            return for_prompt, (length + len(row.ids) - 1) // self.page - length // self.page + 1
        heir = family.waiting == 1 and length % self.page
        return for_prompt, 0 if heir else 1

    def _take_up(self, row: Row, for_prompt: int, own: int) -> None:
        family, length = row.family, len(row.family.prompt.ids)
        family.pages += self.pages.take(for_prompt)
        family.running += 1
        family.waiting -= int(not row.ids)
        row.slot = heapq.heappop(self._slots)
        row.pages = self.pages.take(own)
        row.cached = length // self.page * self.page
        self.length_S[row.slot], self.prompt_S[row.slot] = len(row.ids), length
        self.shared_S[row.slot], self.family_S[row.slot] = length // self.page, family.number
        self._filling.append(row)

    def make_room(self, ahead: int = 1) -> list[Row]:
        """A page for every live row whose next token needs a new one; the youngest rows give theirs back where there are none.

        Room for `ahead` tokens is made where pages are left over. Returns the rows that lost their slots; their tokens are still at
        `Row.slot`, and are to be put into the row before anyone is admitted.
        """
        lost: list[Row] = []
        next_S = self.prompt_S + self.length_S - 1
        for row in [row for row in self.live if next_S[row.slot] + ahead > self.covered_S[row.slot]]:
            while row.slot >= 0 and row not in lost and next_S[row.slot] >= self.covered_S[row.slot]:
                if self.pages.free or self._evict_idle(row.family):
                    self._grow(row)
                else:
                    lost.append(self._preempt())
            if row in lost:
                continue
            spare = self.pages.free - len(self.live) - len(self._filling)
            while spare > 0 and next_S[row.slot] + ahead > self.covered_S[row.slot]:
                self._grow(row)
                spare -= 1
        return lost

    def _grow(self, row: Row) -> None:
        row.pages += self.pages.take(1)
        self._write_table(row)

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
        self._queue.appendleft(row)
        row.family.waiting += int(self.length_S[row.slot] == 0)
        self._leave(row)
        if not row.family.running:
            self._release(row.family)
        return row

    def _leave(self, row: Row) -> None:
        heapq.heappush(self._slots, row.slot)
        self.pages.give(row.pages)
        self.covered_S[row.slot] = 0
        row.family.running -= 1

    def _release(self, family: Family) -> None:
        self.pages.give(family.pages)
        family.filled = 0

    def finish(self, rows: Sequence[Row]) -> None:
        """These live rows have ended."""
        ended = set(map(id, rows))
        self.live = [row for row in self.live if id(row) not in ended]
        for row in rows:
            self._leave(row)
            row.family.left -= 1
            if not row.family.left:
                self._release(row.family)

    # ---- what is computed before a row goes on

    def chunks(self) -> list[Chunk]:
        """The next tokens of prompts, and of rows that lost their pages; they count as computed from here on."""
        left, found = self.prefill_tokens, []
        moved: set[int] = set()  # families with a chunk in this pass: what goes on from them waits for the next one
        for row in self._filling:
            family, prompt = row.family, row.family.prompt.ids
            wanted = family.wanted(self.page)
            if family.filled < wanted and left:
                stop = min(wanted, family.filled + left)
                completes = family if stop == len(prompt) and family.fresh else None
                found.append(Chunk(prompt[family.filled : stop], family.filled, tuple(family.pages), completes))
                left, family.filled = left - (stop - family.filled), stop
                moved.add(family.number)
            whole = len(prompt) + len(row.ids) - 1
            ready = family.filled >= wanted and family.number not in moved
            if row.ids and ready and row.cached < whole and left:
                stop = min(whole, row.cached + left)
                ids = (prompt + row.ids)[row.cached : stop]
                found.append(Chunk(ids, row.cached, self._pages_of(row), resumes=True))
                left, row.cached = left - (stop - row.cached), stop
        return found

    def begin(self) -> tuple[list[Row], list[tuple[int, int]]]:
        """Rows that go on from here: (those with nothing drawn yet, the page copies (source, target) to make before they do)."""
        ready = [row for row in self._filling if self._is_ready(row)]
        fresh = [row for row in ready if not row.ids]
        copies = []
        for row in fresh:
            family, tail = row.family, len(row.family.prompt.ids) // self.page
            family.fresh -= 1
            if row.pages and len(family.pages) > tail:
                copies.append((family.pages[tail], row.pages[0]))
            elif not row.pages:
                row.pages.append(family.pages.pop())
        if ready:
            chosen = set(map(id, ready))
            self._filling = [row for row in self._filling if id(row) not in chosen]
            self.live = sorted((*self.live, *ready), key=lambda row: row.rank)
            for row in ready:
                self._write_table(row)
        return fresh, copies

    def _is_ready(self, row: Row) -> bool:
        length = len(row.family.prompt.ids)
        there = row.family.filled >= row.family.wanted(self.page)
        return there and (not row.ids or row.cached == length + len(row.ids) - 1)

    def _pages_of(self, row: Row) -> tuple[int, ...]:
        return (*row.family.pages[: len(row.family.prompt.ids) // self.page], *row.pages)

    def _write_table(self, row: Row) -> None:
        pages = self._pages_of(row)
        if len(pages) > self.table_SP.shape[1]:
            wider = np.zeros((len(self.table_SP), 2 * len(pages)), dtype=np.int32)
            wider[:, : self.table_SP.shape[1]] = self.table_SP
            self.table_SP = wider
        self.table_SP[row.slot, : len(pages)] = pages
        self.covered_S[row.slot] = len(pages) * self.page

    def slots(self) -> NDArray[np.int64]:
        """The slots of the live rows, in their order: rows of a family stand together."""
        return np.array([row.slot for row in self.live], dtype=np.int64)


def most_pages(prompt: int, max_new: int, page: int, alone: bool) -> int:
    """The pages of a row of so many prompt tokens at its longest; not `alone`, the page its siblings go on from is kept beside it."""
    return (prompt + max_new - 1) // page + 1 + (0 if alone or prompt % page == 0 else 1)


def _refuse_what_never_fits(rows: Iterable[Row], pages: Pages, page: int) -> None:
    for row in rows:
        prompt, max_new = len(row.request.prompt.ids), row.request.sampling.max_new
        most = most_pages(prompt, max_new, page, row.family.left == 1)
        if most > pages.count:
            raise EngineError(
                f"The request {row.request.key.problem_id} needs {most} pages of {page} tokens (a prompt of {prompt}, max_new = {max_new}), "
                f"and the whole cache has {pages.count}; raise sampling.cache_gib, or lower max_new."
            )
