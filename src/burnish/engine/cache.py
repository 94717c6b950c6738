"""Where keys and values live while sampling, and attention over them. Not for: deciding who gets which page (scheduler.py).

A page holds S consecutive positions of a row, in every layer; the page table of a row says which pages, in order. Rows of one
prompt name the same pages for it, so it is stored once. On a CPU the pages are memory that is reserved and only taken when first
written, so a large budget costs nothing until it is used.

The compiled kernels read the pages where they lie. On a GPU torch's flex attention does (`PagedCache(flex=True)`). Every other
family and precision goes through `PagedCache.attend`: the pages that are live are gathered, and a decode step attends to the
prompt's and to the row's own under one softmax, with the rows of a prompt folded into one product (Juravsky et al. 2024,
"Hydragen").

Letters: B rows, T new tokens of a row, U prompts in use, M most rows of one prompt, S positions a page, W positions of the shared
pages, C of a row's own, J of all its pages, H query heads, K key heads, R = H / K, D head width, P pages of a row.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache

from burnish.engine.flex import FlexLayout, flexed

if TYPE_CHECKING:
    from burnish.engine.graphs import Recorded

SHARE_OF_AVAILABLE = 0.5
"""Of the memory that is available when an engine is made: its cache's budget, where none is given."""


class PagedCache(Cache):  # type: ignore[misc]
    """Keys and values of `pages` pages, behind transformers' cache interface; a layer's tensors are made at its first write.

    dtype  what is stored; None: what the first write brings
    flex   the pages are read by flex attention, and lie as it wants them: those of a head end to end

    The caller says what the next forward pass through the module is: `reading(layout)`. One page more than `pages` takes what
    padding writes.
    """

    def __init__(
        self, pages: int, page: int, device: torch.device, dtype: torch.dtype | None = None, flex: bool = False
    ) -> None:
        self.flex = flex
        self.layers: list[Any] = []  # transformers looks into it for layer kinds; ours are all the same
        self.pages, self.page, self.device, self.dtype = pages, page, device, dtype
        self._stores: dict[int, tuple[Tensor, Tensor]] = {}
        self._layout: Layout | FlexLayout | None = None
        self.graphs: dict[tuple[int, int], Recorded] = {}  # by rows and table width

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always given

    def reading(self, layout: Layout | FlexLayout) -> None:
        """What the next pass holds, and what it attends to."""
        self._layout = layout

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store; the tensors are handed back as they came (the attention function reads the pages itself)."""
        assert self._layout is not None
        if layer_idx not in self._stores:
            autocast = torch.is_autocast_enabled(key_states.device.type)
            dtype = self.dtype or (torch.bfloat16 if autocast else key_states.dtype)
            self._make(layer_idx, key_states.shape[1], key_states.shape[3], value_states.shape[3], dtype)
        page_N, offset_N = self._layout.page_N, self._layout.offset_N
        for store, new_BKTD in zip(self._stores[layer_idx], (key_states, value_states), strict=True):
            store[page_N, :, offset_N] = new_BKTD.transpose(1, 2).flatten(0, 1).to(store.dtype)
        return key_states, value_states

    def stores(self, layer: int, K: int, D: int) -> tuple[Tensor, Tensor]:
        """Keys and values [pages + 1, K, S, D] of a layer, for the kernels, which lay out the keys of a page their own way."""
        if layer not in self._stores:
            self._make(layer, K, D, D, torch.bfloat16)
        return self._stores[layer]

    def _make(self, layer: int, K: int, key_width: int, value_width: int, dtype: torch.dtype) -> None:
        def store(width: int) -> Tensor:
            if self.flex:
                return _reserved((K, self.pages + 1, self.page, width), dtype, self.device).transpose(0, 1)
            return _reserved((self.pages + 1, K, self.page, width), dtype, self.device)

        self._stores[layer] = store(key_width), store(value_width)

    def clear(self, pages: list[int]) -> None:
        """Forget the values of pages that change hands: `attend` multiplies what is not live by 0, which NaN survives."""
        chosen = torch.tensor(pages, device=self.device)
        for _, value in self._stores.values():
            value[chosen] = 0

    def attend(
        self, layer: int, query_BHTD: Tensor, scaling: float, sliding_window: int | None, softcap: float | None
    ) -> Tensor:
        """New tokens against all before them: [B, H, T, D] -> [B, T, H, D]. (burnish.policy.attention.PagedView)"""
        layout, (keys, values) = self._layout, self._stores[layer]
        assert layout is not None
        with torch.autocast(query_BHTD.device.type, enabled=False):
            precision, query_BHTD = query_BHTD.dtype, query_BHTD.to(keys.dtype)
            if isinstance(layout, FlexLayout):
                key_1KJD, value_1KJD = (store.transpose(0, 1).flatten(1, 2)[None] for store in (keys, values))  # views
                out_BHTD = flexed(query_BHTD, key_1KJD, value_1KJD, layout.mask(sliding_window), scaling, softcap)
                return out_BHTD.transpose(1, 2).to(precision)
            if query_BHTD.shape[2] == 1:
                one_BHD = layout.decode(query_BHTD[:, :, 0] * scaling, keys, values, sliding_window, softcap)
                return one_BHD[:, None].to(precision)
            key_BKJD, value_BKJD = (gathered(store, layout.table_BP) for store in (keys, values))
            hidden_B1TJ = layout.hidden(sliding_window)
            if softcap is None:
                several_BHTD = F.scaled_dot_product_attention(
                    query_BHTD, key_BKJD, value_BKJD, attn_mask=~hidden_B1TJ, scale=scaling, enable_gqa=True
                )
                return several_BHTD.transpose(1, 2).to(precision)
            B, H, T, D = query_BHTD.shape
            K = keys.shape[1]
            scores = (query_BHTD * scaling).reshape(B, K, H // K * T, D) @ key_BKJD.transpose(2, 3)
            scores = (torch.tanh(scores / softcap) * softcap).view(B, H, T, -1)
            weights = scores.masked_fill_(hidden_B1TJ, float("-inf")).softmax(-1)
            several_BHTD = (weights.view(B, K, H // K * T, -1) @ value_BKJD).view(B, H, T, -1)
            return several_BHTD.transpose(1, 2).to(precision)


def gathered(store: Tensor, table_BP: Tensor) -> Tensor:
    """The pages of each row, end to end: [B, K, P * S, D]."""
    return store[table_BP].transpose(1, 2).flatten(2, 3)


@dataclass(frozen=True)
class Rows:
    """New tokens of rows whose earlier ones are in the pages: count_B tokens from position start_B on.

    A row's prompt fills its first shared_B pages but for the last gap_B places; what follows stands on pages of its own, so a token
    at position p after the prompt stands at index p + gap_B of the row's pages. The rows of a group_B have one prompt and stand
    together. Chunks of a prompt itself have neither shared pages nor a gap.
    """

    start_B: NDArray[np.int64]
    count_B: NDArray[np.int64]
    table_BP: NDArray[np.int32]
    shared_B: NDArray[np.int64]
    gap_B: NDArray[np.int64]
    group_B: NDArray[np.int64]

    @property
    def single(self) -> bool:
        """One new token a row."""
        return int(self.count_B.max()) == 1

    def written(self, page: int, spare: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Of new tokens, padded on the right: (positions, indices in their row's pages, the pages they go to), each [B, T].

        Padding has position 0 and goes to the `spare` page.
        """
        T = int(self.count_B.max())
        real_BT = np.arange(T) < self.count_B[:, None]
        positions_BT = self.start_B[:, None] + np.arange(T)
        index_BT = positions_BT + self.gap_B[:, None]
        at_BT = np.minimum(index_BT // page, self.table_BP.shape[1] - 1)
        page_BT = np.where(real_BT, np.take_along_axis(self.table_BP, at_BT, axis=1), spare)
        return np.where(real_BT, positions_BT, 0), index_BT, page_BT

    def hole_B2(self, page: int) -> NDArray[np.int64]:
        """The indices [from, to) that hold nothing."""
        to_B = np.where(self.gap_B > 0, self.shared_B * page, 0)
        return np.stack([to_B - self.gap_B, to_B], axis=1)


class Layout:
    """Where a pass of the module writes and what its rows may see. Rows are padded on the right; padding goes to the `spare` page."""

    def __init__(self, rows: Rows, page: int, spare: int, device: torch.device) -> None:
        self._rows, self._page, self._device = rows, page, device
        positions_BT, self._index_BT, page_BT = rows.written(page, spare)
        self._last_page = -(-int((rows.start_B + rows.count_B + rows.gap_B).max()) // page)
        self.page_N = self._tensor(page_BT.reshape(-1))
        self.offset_N = self._tensor((self._index_BT % page).reshape(-1))
        self.positions_BT = self._tensor(positions_BT)
        self._hidden: dict[int | None, Tensor] = {}
        self._fold: _Fold | None = None

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self._device)

    @property
    def table_BP(self) -> Tensor:
        """The pages of each row that the pass may touch; those a shorter row does not have are any page."""
        return self._tensor(self._rows.table_BP[:, : self._last_page])

    def hidden(self, window: int | None) -> Tensor:
        """True where a new token may not look, [B, 1, T, J]."""
        if window not in self._hidden:
            at_1J = torch.arange(self._last_page * self._page, device=self._device)[None]
            hidden_BTJ = _hidden(at_1J, self._tensor(self._index_BT), self._rows, self._page, window)
            self._hidden[window] = hidden_BTJ[:, None]
        return self._hidden[window]

    def decode(
        self, query_BHD: Tensor, keys: Tensor, values: Tensor, window: int | None, softcap: float | None
    ) -> Tensor:
        """One scaled query a row against its group's pages, gathered once, and its own: [B, H, D]."""
        if self._fold is None:
            self._fold = _Fold(self._rows, self._page, self._last_page, self._device)
        fold, (B, H, D), K = self._fold, query_BHD.shape, keys.shape[1]
        query_BKRD = query_BHD.view(B, K, H // K, D)
        key_UKWD, value_UKWD = (gathered(store, fold.shared_UP) for store in (keys, values))
        key_BKCD, value_BKCD = (gathered(store, fold.own_BP) for store in (keys, values))
        shared_BKRW = fold.by_row(fold.by_group(query_BKRD) @ key_UKWD.transpose(2, 3))
        scores = torch.cat([shared_BKRW, query_BKRD @ key_BKCD.transpose(2, 3)], dim=-1)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        weights = torch.softmax(scores + fold.bias(window, scores.dtype), dim=-1)
        W = key_UKWD.shape[2]
        shared_BKRD = fold.by_row(fold.by_group(weights[..., :W]) @ value_UKWD)
        return (shared_BKRD + weights[..., W:] @ value_BKCD).view(B, H, -1)


def _hidden(at_BJ: Tensor, index_BT: Tensor, rows: Rows, page: int, window: int | None) -> Tensor:
    """True where a token at index_BT may not look at index at_BJ: after itself, in the hole, or too long ago; [B, T, J]."""
    from_B11, to_B11, gap_B11 = (
        torch.from_numpy(part).to(at_BJ.device)[:, None, None] for part in (*rows.hole_B2(page).T.copy(), rows.gap_B)
    )
    at_B1J, self_BT1 = at_BJ[:, None], index_BT[:, :, None]
    hidden_BTJ = (at_B1J > self_BT1) | ((at_B1J >= from_B11) & (at_B1J < to_B11))
    if window is not None:  # of positions, the token's own included
        position_B1J = at_B1J - torch.where(at_B1J >= to_B11, gap_B11, 0)
        hidden_BTJ |= position_B1J <= self_BT1 - gap_B11 - window
    return hidden_BTJ


class _Fold:
    """The rows of a decode step folded under their groups."""

    def __init__(self, rows: Rows, page: int, last_page: int, device: torch.device) -> None:
        self._rows, self._page = rows, page
        B, shared_B = len(rows.start_B), rows.shared_B
        first_U = np.flatnonzero(np.diff(rows.group_B, prepend=-1))
        count_U = np.diff(np.append(first_U, B))
        U, M = len(first_U), int(count_U.max())
        group_B = np.repeat(np.arange(U), count_U)
        rank_B = np.arange(B) - first_U[group_B]
        table_UM = first_U[:, None] + np.minimum(
            np.arange(M), count_U[:, None] - 1
        )  # places without a row repeat another
        wide = int(shared_B.max())
        own = shared_B[:, None] + np.arange(max(1, last_page - int(shared_B.min())))
        at_W = np.arange(wide * page)
        # What a narrower group's row has beyond its shared pages is counted among its own.
        at_BW = np.where(at_W < shared_B[:, None] * page, at_W, np.iinfo(np.int64).max)
        at_BC = shared_B[:, None] * page + np.arange(own.shape[1] * page)
        self._at_BJ = torch.from_numpy(np.concatenate([at_BW, at_BC], axis=1)).to(device)
        self._index_B1 = torch.from_numpy((rows.start_B + rows.gap_B)[:, None]).to(device)
        self.shared_UP = torch.from_numpy(rows.table_BP[first_U, :wide].astype(np.int64)).to(device)
        own_pages = np.take_along_axis(rows.table_BP, np.minimum(own, rows.table_BP.shape[1] - 1), axis=1)
        self.own_BP = torch.from_numpy(own_pages.astype(np.int64)).to(device)
        self._table_UM = torch.from_numpy(table_UM).to(device)
        self._place_B = torch.from_numpy(group_B * M + rank_B).to(device)
        self._biases: dict[int | None, Tensor] = {}

    def by_group(self, field_BKRX: Tensor) -> Tensor:
        """Rows under their group: [B, K, R, X] -> [U, K, M * R, X]."""
        (U, M), (_, K, R, X) = self._table_UM.shape, field_BKRX.shape
        return field_BKRX[self._table_UM].transpose(1, 2).reshape(U, K, M * R, X)

    def by_row(self, field_UKQX: Tensor) -> Tensor:
        """The inverse of `by_group`: [U, K, M * R, X] -> [B, K, R, X]."""
        (U, M), (_, K, Q, X) = self._table_UM.shape, field_UKQX.shape
        return field_UKQX.view(U, K, M, Q // M, X).transpose(1, 2).reshape(U * M, K, Q // M, X)[self._place_B]

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a row may look and -inf where not, [B, 1, 1, W + C]."""
        if window not in self._biases:
            hidden_B1J = _hidden(self._at_BJ, self._index_B1, self._rows, self._page, window)
            bias_B1J = torch.zeros(hidden_B1J.shape, dtype=dtype, device=hidden_B1J.device)
            self._biases[window] = bias_B1J.masked_fill_(hidden_B1J, float("-inf"))[:, None]
        return self._biases[window]


def _reserved(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros. On a CPU the system gives the memory page by page, when it is first written, and takes all of it back in the end."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = int(np.prod(shape)) * dtype.itemsize
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    memory = mmap.mmap(-1, size, **private)
    # A decode step goes through all of it: with small pages it waits for their addresses.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without large ones
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def bytes_a_token(config: Any, itemsize: int) -> int:
    """Of keys and values in all layers, for a transformers config."""
    config = config.get_text_config()
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return 2 * int(config.num_hidden_layers) * heads * width * itemsize


def available_bytes(device: torch.device) -> int:
    """Memory that could be taken now: the GPU's, or the system's within this process's control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    except (OSError, StopIteration):
        free = int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES")) // 2
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, max(0, limit - used))
    except (OSError, ValueError):  # no control group, or one without a limit
        pass
    return free
