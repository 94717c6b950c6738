"""Where keys and values live while sampling, and attention over them. Not for: deciding who is admitted (scheduler.py).

A prompt's keys and values are stored once and shared by all samples of its group; each row owns a slot for what it writes.
A decode step attends to both under one softmax: the rows of a group are folded into one product against the shared prompt
(Juravsky et al. 2024, "Hydragen"), each row's own part is one product against its slot.

Letters: B live rows, U prompts in use, M most live rows of one prompt, W prompt width, C own width, H query heads, K key heads,
R = H / K, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache


@dataclass(frozen=True)
class Shape:
    """How much room: prompt slots x width, row slots x width."""

    prompt_slots: int
    prompt_width: int
    row_slots: int
    row_width: int


class SlotCache(Cache):  # type: ignore[misc]
    """transformers' cache interface over preallocated slots; tensors are made at the first write, when their shape is known.

    The caller says what the next forward pass is: `prefilling(slots, lengths)` or `decoding(layout)`.
    """

    def __init__(self, shape: Shape, layers: int) -> None:
        self.shape = shape
        self.layers: list[Any] = []  # transformers looks into it for layer kinds; ours are all the same
        self._prompt: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._rows: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._prefill: Tensor | None = None
        self._layout: Layout | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always given

    def prefilling(self, slots: Tensor) -> None:
        """The next pass holds whole prompts; row i is stored in prompt slot slots[i]."""
        self._prefill, self._layout = slots, None

    def decoding(self, layout: Layout) -> None:
        """The next pass holds one token for each live row."""
        self._prefill, self._layout = None, layout

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store; the tensors are handed back as they came (the attention function reads the slots itself)."""
        if self._prefill is not None:
            stores = self._store(self._prompt, layer_idx, key_states, self.shape.prompt_slots, self.shape.prompt_width)
            width = key_states.shape[2]
            for store, new in zip(stores, (key_states, value_states), strict=True):
                store[self._prefill, :, :width] = new.to(store.dtype)
        elif self._layout is not None:
            self.write(layer_idx, key_states[:, :, 0], value_states[:, :, 0])
        return key_states, value_states

    def write(self, layer: int, key_BKD: Tensor, value_BKD: Tensor) -> None:
        """One token of every live row, at the place its row has reached."""
        assert self._layout is not None
        dtype = self._prompt[layer][0].dtype  # type: ignore[index]  # a row's prompt was prefilled before it
        stores = self._store(
            self._rows, layer, key_BKD.unsqueeze(2).to(dtype), self.shape.row_slots, self.shape.row_width
        )
        for store, new_BKD in zip(stores, (key_BKD, value_BKD), strict=True):
            store[self._layout.rows_B, :, self._layout.written_B] = new_BKD.to(dtype)

    def store_prompts(self, layer: int, slot_N: Tensor, position_N: Tensor, key_NKD: Tensor, value_NKD: Tensor) -> None:
        """Prompts laid end to end: place n is at position_N[n] of prompt slot slot_N[n]. Makes room for their rows too."""
        if self._prompt[layer] is None:
            (_, K, D), shape = key_NKD.shape, self.shape
            for stores, slots, width in (
                (self._prompt, shape.prompt_slots, shape.prompt_width),
                (self._rows, shape.row_slots, shape.row_width),
            ):
                # Not cleared: the kernels read live places only.
                key, value = (torch.empty(slots, K, width, D, dtype=key_NKD.dtype) for _ in range(2))
                stores[layer] = (key, value)
        for store, new_NKD in zip(self._prompt[layer], (key_NKD, value_NKD), strict=True):  # type: ignore[arg-type]
            store[slot_N, :, position_N] = new_NKD

    def stores(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys and values of the prompts [slots, K, W, D] and of the rows [rows, K, C, D]."""
        prompt, rows = self._prompt[layer], self._rows[layer]
        assert prompt is not None and rows is not None
        return *prompt, *rows

    def _store(
        self, stores: list[tuple[Tensor, Tensor] | None], layer: int, like: Tensor, slots: int, width: int
    ) -> tuple[Tensor, Tensor]:
        pair = stores[layer]
        if pair is None:
            size = (slots, like.shape[1], width, like.shape[3])
            dtype = torch.bfloat16 if torch.is_autocast_enabled(like.device.type) else like.dtype
            pair = (
                torch.zeros(size, dtype=dtype, device=like.device),
                torch.zeros(size, dtype=dtype, device=like.device),
            )
            stores[layer] = pair
        return pair

    def move(self, source: int, target: int, length: int) -> None:
        """Row slot `source` takes the place of `target`: live rows stay contiguous."""
        for pair in self._rows:
            if pair is not None:
                for store in pair:
                    store[target, :, :length] = store[source, :, :length]

    def attend(
        self, layer: int, query_BHD: Tensor, scaling: float, sliding_window: int | None, softcap: float | None
    ) -> Tensor:
        """One query a row against its prompt and its own tokens: [B, H, D] -> [B, H, D]. (burnish.policy.attention.DecodeView)"""
        layout, prompt, rows = self._layout, self._prompt[layer], self._rows[layer]
        assert layout is not None and prompt is not None and rows is not None
        with torch.autocast(query_BHD.device.type, enabled=False):
            query_BHD = (query_BHD * scaling).to(prompt[0].dtype)
            key_UKWD, value_UKWD = (layout.prompts(store) for store in prompt)
            key_BKCD, value_BKCD = (store[: layout.live, :, : layout.own_width] for store in rows)
            (B, H, D), K, W = query_BHD.shape, key_BKCD.shape[1], layout.prompt_width
            shared_BKRW = layout.by_row(layout.by_prompt(query_BHD.view(B, K, H // K, D)) @ key_UKWD.transpose(2, 3))
            own_BKRC = query_BHD.view(B, K, H // K, D) @ key_BKCD.transpose(2, 3)
            scores = torch.cat([shared_BKRW, own_BKRC], dim=-1)
            if softcap is not None:
                scores = torch.tanh(scores / softcap) * softcap
            weights = torch.softmax(scores + layout.bias(sliding_window, scores.dtype), dim=-1)
            shared_BKRD = layout.by_row(layout.by_prompt(weights[..., :W]) @ value_UKWD)
            return (shared_BKRD + weights[..., W:] @ value_BKCD).view(B, H, D)


class Layout:
    """Which row reads which prompt and how far, for one or more decode steps with the same membership.

    prompt_slot_B, prompt_length_B and written_B (tokens in the row's own slot before this step) are of the live rows, which
    occupy row slots 0..B-1.
    """

    def __init__(
        self,
        prompt_slot_B: NDArray[np.int64],
        prompt_length_B: NDArray[np.int64],
        written_B: NDArray[np.int64],
        device: torch.device,
    ) -> None:
        self.live = len(prompt_slot_B)
        self.rows_B = torch.arange(self.live, device=device)
        self.prompt_length_B = torch.from_numpy(prompt_length_B).to(device)
        self.written_B = torch.from_numpy(written_B).to(device)
        self._table(prompt_slot_B, device)
        self.prompt_width = int(prompt_length_B.max())
        self._refresh()

    def _table(self, prompt_slot_B: NDArray[np.int64], device: torch.device) -> None:
        """Row numbers by (prompt, rank among its live rows) [U, M], padded with row 0; U counts the prompts in use."""
        order = np.argsort(prompt_slot_B, kind="stable")
        used_U, first_U, count_U = np.unique(prompt_slot_B[order], return_index=True, return_counts=True)
        prompt_of = np.repeat(np.arange(len(used_U)), count_U)
        rank = np.arange(self.live) - first_U[prompt_of]
        table_UM = np.zeros((len(used_U), int(count_U.max())), dtype=np.int64)
        table_UM[prompt_of, rank] = order
        place_B = np.empty(self.live, dtype=np.int64)
        place_B[order] = prompt_of * table_UM.shape[1] + rank
        self.table_UM = torch.from_numpy(table_UM).to(device)
        self.place_B = torch.from_numpy(place_B).to(device)
        self.used_U = torch.from_numpy(used_U.astype(np.int64)).to(device)
        # Prompts 0..U-1 all in use is the common case: then their store is sliced, not gathered.
        self.contiguous = bool((used_U == np.arange(len(used_U))).all())

    def advance(self) -> None:
        """Every live row has written one more token."""
        self.written_B = self.written_B + 1
        self._refresh()

    def _refresh(self) -> None:
        self.positions_B = self.prompt_length_B + self.written_B
        self.own_width = int(self.written_B.max()) + 1
        self._biases: dict[int | None, Tensor] = {}

    def prompts(self, store: Tensor) -> Tensor:
        """The keys or values [U, K, W, D] of the prompts in use."""
        chosen = store[: len(self.used_U)] if self.contiguous else store[self.used_U]
        return chosen[:, :, : self.prompt_width]

    def by_prompt(self, field_BKRX: Tensor) -> Tensor:
        """Rows folded under their prompt: [B, K, R, X] -> [U, K, M * R, X]; places without a row repeat another."""
        (U, M), (_, K, R, X) = self.table_UM.shape, field_BKRX.shape
        return field_BKRX[self.table_UM].transpose(1, 2).reshape(U, K, M * R, X)

    def by_row(self, field_UKQX: Tensor) -> Tensor:
        """The inverse of `by_prompt`: [U, K, M * R, X] -> [B, K, R, X]."""
        (U, M), (_, K, Q, X) = self.table_UM.shape, field_UKQX.shape
        return field_UKQX.view(U, K, M, Q // M, X).transpose(1, 2).reshape(U * M, K, Q // M, X)[self.place_B]

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a row may look and -inf where not, [B, 1, 1, W + C]: beyond its prompt, beyond itself, or too long ago."""
        if window not in self._biases:
            device = self.written_B.device
            shared_W, own_C = (
                torch.arange(self.prompt_width, device=device),
                torch.arange(self.own_width, device=device),
            )
            hidden = torch.cat([shared_W >= self.prompt_length_B[:, None], own_C > self.written_B[:, None]], dim=1)
            if window is not None:
                own_BC = own_C + self.prompt_length_B[:, None]
                place = torch.cat([shared_W.expand(self.live, -1), own_BC], dim=1)
                hidden |= (
                    place <= (self.positions_B - window)[:, None]
                )  # a row sees `window` positions, its own included
            bias = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))
            self._biases[window] = bias[:, None, None]
        return self._biases[window]
