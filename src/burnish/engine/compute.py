"""One network over pages: new tokens of rows in, logits out. Not for: which rows and pages (scheduler.py), or what is drawn.

Two ways through, behind one interface: the compiled kernels where they serve the policy (burnish.policy.fused), which read the pages
where they lie, and the module itself for every other family, precision and device (`PagedCache.attend`).

B rows, T most new tokens of a row, N new tokens in all, V vocabulary, P pages of a row, S positions a page.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.engine.cache import Layout, PagedCache, Rows
from burnish.engine.flex import FlexLayout
from burnish.engine.graphs import Graphs
from burnish.engine.scheduler import Chunk, Family
from burnish.policy.fused import Fused, Places
from burnish.policy.fused_layer import Product, ProductInt8
from burnish.policy.model import Policy

TILE = 8
"""Rows of a prompt whose queries meet its pages together; positions of one row, where several of its tokens are new."""
SCRATCH = 1 << 17
"""Scores a tile may hold, in numbers: half a mebibyte, which a core keeps near."""


class Network:
    """A policy's weights of one version, and its pages. Make a new one when the weights change."""

    def __init__(self, policy: Policy, cache: PagedCache, int8: bool = False) -> None:
        self.policy, self.cache = policy, cache
        served = Fused.serves(policy) and cache.page % 16 == 0 and not cache.flex
        self.fused = Fused(policy, ProductInt8 if int8 else Product) if served else None
        config = policy.module.config.get_text_config()
        self.graphs = Graphs(policy, cache) if self.fused is None and cache.flex else None
        self._tiled: tuple[NDArray[np.int64], int, NDArray[np.int32]] | None = None  # of the last decode step's groups
        self._queries_a_key = int(config.num_attention_heads) // int(getattr(config, "num_key_value_heads", None) or 1)

    def after(self, ids_N: NDArray[np.int64], rows: Rows, chosen_B: NDArray[np.int64] | None = None) -> Tensor:
        """Logits [B, V] after new tokens of rows, laid end to end: of the places `chosen_B`, or of all.

        Their keys and values are written to the rows' pages. Call it in inference mode.
        """
        if self.fused is None:
            with self.policy.precision():
                return self._through_module(ids_N, rows, chosen_B)
        self.fused.reach(int((rows.start_B + rows.count_B).max()))
        chosen = None if chosen_B is None else torch.from_numpy(chosen_B)
        return self.fused.step(self._places(ids_N, rows), self.cache.stores, chosen)

    def fill(self, chunks: Sequence[Chunk], most_tokens: int) -> dict[Family, Tensor]:
        """Compute chunks; the logits [V] of the last token of each prompt that one completes.

        most_tokens  padding included, in one pass of the module
        """
        found: dict[Family, Tensor] = {}
        pending = sorted(chunks, key=lambda chunk: len(chunk.ids))
        while pending:
            width = len(pending[-1].ids) if self.fused is None else 1
            count = max(1, most_tokens // width)
            part, pending = pending[-count:], pending[:-count]
            ids_N = np.array([token for chunk in part for token in chunk.ids], dtype=np.int64)
            last_B = np.cumsum([len(chunk.ids) for chunk in part]) - 1
            wanted = [number for number, chunk in enumerate(part) if chunk.prompt is not None]
            logits_BV = self.after(ids_N, _rows_of(part), last_B[wanted])
            for number, logits_V in zip(wanted, logits_BV, strict=True):
                family = part[number].prompt
                assert family is not None
                found[family] = logits_V
        return found

    def _places(self, ids_N: NDArray[np.int64], rows: Rows) -> Places:
        S = self.cache.page
        if rows.single:
            row_N, position_N = np.arange(len(ids_N)), rows.start_B
        else:
            row_N = np.repeat(np.arange(len(rows.start_B)), rows.count_B)
            first_B = np.cumsum(rows.count_B) - rows.count_B
            position_N = rows.start_B[row_N] + np.arange(len(row_N)) - first_B[row_N]
        index_N = position_N + rows.gap_B[row_N]
        place_N = rows.table_BP[row_N, index_N // S] * np.int64(S) + index_N % S
        tiles = self._tiles(rows, int(index_N.max()) + 1)
        row_N, hole = row_N.astype(np.int32), rows.hole_B2(S).astype(np.int32)
        table_BP = np.ascontiguousarray(rows.table_BP)
        arrays = (ids_N, position_N, index_N, place_N, row_N, table_BP, hole, tiles)
        ids, position, index, place, row, table, holes, tiled = (torch.from_numpy(array) for array in arrays)
        return Places(ids, position, index, place, row, table, holes, tiled, rows.single)

    def _tiles(self, rows: Rows, longest: int) -> NDArray[np.int32]:
        """Which places go through their pages together. It decides speed alone: no place's numbers depend on it."""
        room = max(1, SCRATCH // (self._queries_a_key * longest))
        if not rows.single:
            return _tiles_of_rows(rows, min(2 * TILE, room), self.cache.page)
        B = len(rows.start_B)
        most = min(TILE, room, max(1, B // (2 * torch.get_num_threads())))  # every thread should have work
        if self._tiled is None or self._tiled[0] is not rows.group_B or self._tiled[1] != most:
            self._tiled = rows.group_B, most, _tiles_of_groups(rows, most)
        return self._tiled[2]

    def _through_module(self, ids_N: NDArray[np.int64], rows: Rows, chosen_B: NDArray[np.int64] | None) -> Tensor:
        policy, device = self.policy, self.policy.device
        if self.graphs is not None and chosen_B is None and rows.single:
            return self.graphs.after(ids_N, rows)
        kind = FlexLayout if self.cache.flex else Layout
        layout = kind(rows, self.cache.page, self.cache.pages, device)
        B, T = layout.positions_BT.shape
        real_BT = np.arange(T) < rows.count_B[:, None]
        ids_BT = np.zeros((B, T), dtype=np.int64)
        ids_BT[real_BT] = ids_N
        self.cache.reading(layout)
        alone = not rows.start_B.any() and T > 1  # nothing before them: they attend to themselves as in training
        hidden_BTE = policy.hidden(
            torch.from_numpy(ids_BT).to(device),
            position_ids=layout.positions_BT,
            past_key_values=self.cache,
            use_cache=True,
            **({} if alone else {"view": self.cache}),
        )
        at_N = np.flatnonzero(real_BT.reshape(-1))
        wanted = torch.from_numpy(at_N if chosen_B is None else at_N[chosen_B]).to(device)
        return policy.logits(hidden_BTE.flatten(0, 1).index_select(0, wanted))


def _rows_of(chunks: Sequence[Chunk]) -> Rows:
    """Chunks as rows, each a group of its own."""
    table_BP = np.zeros((len(chunks), max(len(chunk.pages) for chunk in chunks)), dtype=np.int32)
    for number, chunk in enumerate(chunks):
        table_BP[number, : len(chunk.pages)] = chunk.pages
    numbers = [(chunk.start, len(chunk.ids), chunk.shared, chunk.gap) for chunk in chunks]
    start_B, count_B, shared_B, gap_B = np.array(numbers, dtype=np.int64).T.copy()
    return Rows(start_B, count_B, table_BP, shared_B, gap_B, np.arange(len(chunks)))


def _tiles_of_groups(rows: Rows, most: int) -> NDArray[np.int32]:
    """One new token a row: up to `most` rows of a group together."""
    B = len(rows.start_B)
    starts = np.flatnonzero(np.diff(rows.group_B, prepend=-1))
    rank_B = np.arange(B) - np.repeat(starts, np.diff(np.append(starts, B)))
    first = np.flatnonzero(rank_B % most == 0)
    return np.stack([first, np.diff(np.append(first, B)), rows.shared_B[first]], axis=1).astype(np.int32)


def _tiles_of_rows(rows: Rows, most: int, page: int) -> NDArray[np.int32]:
    """Several new tokens a row: up to `most` positions of one row together, which share all pages up to the last one's."""
    tiles, place = [], 0
    for start, count in zip((rows.start_B + rows.gap_B).tolist(), rows.count_B.tolist(), strict=True):
        for first in range(0, count, most):
            size = min(most, count - first)
            tiles.append((place + first, size, (start + first + size - 1) // page + 1))
        place += count
    return np.array(tiles, dtype=np.int32)
