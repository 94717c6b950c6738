"""Decode steps of a few fixed numbers of rows, each recorded once and then replayed: a GPU does not wait for Python between kernels.

On a CPU nothing can be recorded; a replay then is the same pass over the same buffers, which is how the tests see that what is replayed
reads what it should. Not for: chunks of prompts, whose lengths differ, or the compiled CPU kernels (burnish.policy.fused).

B rows, V vocabulary.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.engine.cache import PagedCache, Rows
from burnish.engine.flex import FlexLayout
from burnish.policy.model import Policy

log = logging.getLogger(__name__)

WARM_UPS = 2
"""Passes before one is recorded, in which kernels are compiled and chosen."""


@dataclass
class Recorded:
    """One number of rows: what a pass reads, what it leaves, and how it is done again."""

    ids_B1: Tensor
    layout: FlexLayout
    logits_BV: Tensor
    again: Callable[[], None]


class Graphs:
    """The decode steps of a policy over the pages of a cache. Weights may change in place; what was recorded reads them anew."""

    def __init__(self, policy: Policy, cache: PagedCache) -> None:
        self._policy, self._cache = policy, cache

    def after(self, ids_B: NDArray[np.int64], rows: Rows) -> Tensor:
        """Logits [B, V] after one new token a row. They hold until the next step."""
        B = len(ids_B)
        padded = _padded(rows, size_of(B), self._cache.pages)
        ids = np.pad(ids_B, (0, len(padded.start_B) - B))[:, None]
        key = (len(ids), _width(rows, self._cache.page))
        known: Recorded | None = self._cache.graphs.get(key)
        if known is None:
            began = time.perf_counter()
            known = self._cache.graphs[key] = self._record(
                torch.from_numpy(ids).to(self._policy.device), padded, key[1]
            )
            log.info("recorded a decode step of %d rows in %.1f s", key[0], time.perf_counter() - began)
        else:
            known.ids_B1.copy_(torch.from_numpy(ids))
            known.layout.move(padded)
            known.again()
        return known.logits_BV[:B]

    def _record(self, ids_B1: Tensor, rows: Rows, width: int) -> Recorded:
        cache, policy = self._cache, self._policy
        layout = FlexLayout(rows, cache.page, cache.pages, policy.device, width)

        def run() -> Tensor:
            cache.reading(layout)
            hidden_B1E = policy.hidden(
                ids_B1, position_ids=layout.positions_BT, past_key_values=cache, use_cache=True, view=cache
            )
            return policy.logits(hidden_B1E[:, 0])

        if policy.device.type != "cuda":
            recorded = Recorded(ids_B1, layout, run(), lambda: None)

            def again() -> None:
                recorded.logits_BV.copy_(run())

            recorded.again = again
            return recorded
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits_BV = run()
        graph.replay()
        return Recorded(ids_B1, layout, logits_BV, graph.replay)


def size_of(rows: int) -> int:
    """The number of rows that a step of so many is padded to: few sizes recur, at most a fourth is padding beyond 4.

    >>> [size_of(rows) for rows in (1, 2, 3, 5, 9, 33, 129, 500)]
    [1, 2, 4, 6, 10, 40, 160, 512]
    """
    if rows <= 2:
        return rows
    step = max(2, (1 << (rows - 1).bit_length()) // 8)
    return -(-rows // step) * step


def _width(rows: Rows, page: int) -> int:
    """Pages in a row's table, doubled from 8 on: what is recorded serves until rows are twice as long."""
    need = -(-int((rows.start_B + rows.count_B + rows.gap_B).max()) // page)
    return max(8, 1 << (need - 1).bit_length())


def _padded(rows: Rows, size: int, spare: int) -> Rows:
    """With rows of one token on the spare page behind them, which nobody reads."""
    more = size - len(rows.start_B)
    zeros = np.zeros(more, dtype=np.int64)
    table_BP = np.concatenate(
        [rows.table_BP, np.full((more, rows.table_BP.shape[1]), spare, dtype=rows.table_BP.dtype)]
    )
    start_B, shared_B, gap_B = (np.concatenate([part, zeros]) for part in (rows.start_B, rows.shared_B, rows.gap_B))
    count_B, group_B = np.concatenate([rows.count_B, zeros + 1]), np.concatenate([rows.group_B, zeros - 1])
    return Rows(start_B, count_B, table_BP, shared_B, gap_B, group_B)
