"""Where keys and values live while sampling, and attention over them. Not for: deciding who is admitted (scheduler.py).

A prompt's keys and values are stored once and shared by all samples of its group; each row owns a slot for what it writes.
A decode step attends to both: the rows of a group are folded into one product against the shared prompt (Juravsky et al. 2024,
"Hydragen"), each row's own part is one product against its slot, and the two are merged by their log-sum-exps.

Letters: P prompt slots, W prompt width, S row slots, C completion width, B live rows, M most live rows of one prompt,
H query heads, K key heads, R = H / K, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache

NEG = float("-inf")


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
            stores = self._store(self._rows, layer_idx, key_states, self.shape.row_slots, self.shape.row_width)
            live = self._layout.live
            for store, new in zip(stores, (key_states, value_states), strict=True):
                store[self._layout.rows_B, :, self._layout.written_B] = new[:live, :, 0].to(store.dtype)
        return key_states, value_states

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
        dtype = prompt[0].dtype
        with torch.autocast(query_BHD.device.type, enabled=False):
            query_BHD = (query_BHD * scaling).to(dtype)
            window = sliding_window if sliding_window is not None and sliding_window < layout.longest else None
            shared_BHD, shared_BH1 = layout.attend_prompt(query_BHD, prompt, window, softcap)
            own_BHD, own_BH1 = layout.attend_own(query_BHD, rows, window, softcap)
            top_BH1 = torch.maximum(shared_BH1, own_BH1)
            shared_BH1, own_BH1 = (shared_BH1 - top_BH1).exp(), (own_BH1 - top_BH1).exp()
            total_BH1 = shared_BH1 + own_BH1
            return (shared_BHD * (shared_BH1 / total_BH1) + own_BHD * (own_BH1 / total_BH1)).to(dtype)


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
        self._table(prompt_slot_B, prompt_length_B, device)
        self._own_bias: Tensor | None = None
        self._refresh()

    def _table(
        self, prompt_slot_B: NDArray[np.int64], prompt_length_B: NDArray[np.int64], device: torch.device
    ) -> None:
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
        length_U = np.empty(len(used_U), dtype=np.int64)
        length_U[prompt_of] = prompt_length_B[order]
        self.prompt_width = int(length_U.max())
        beyond_UW = torch.arange(self.prompt_width)[None] >= torch.from_numpy(length_U)[:, None]
        self.prompt_bias_UW = torch.zeros(beyond_UW.shape).masked_fill_(beyond_UW, NEG).to(device)

    def advance(self) -> None:
        """Every live row has written one more token."""
        self.written_B = self.written_B + 1
        self._refresh()

    def _refresh(self) -> None:
        self.positions_B = self.prompt_length_B + self.written_B
        self.own_width = int(self.written_B.max()) + 1
        self.longest = int(self.positions_B.max()) + 1
        beyond_BC = torch.arange(self.own_width, device=self.written_B.device)[None] > self.written_B[:, None]
        self._own_bias = (
            torch.zeros(beyond_BC.shape, device=beyond_BC.device).masked_fill_(beyond_BC, NEG)
            if bool(beyond_BC.any())
            else None
        )

    def attend_prompt(
        self, query_BHD: Tensor, store: tuple[Tensor, Tensor], window: int | None, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Against the shared prompts: (outputs [B, H, D], log-sum-exps [B, H, 1])."""
        (U, M), (H, D) = self.table_UM.shape, query_BHD.shape[1:]
        key, value = (part[:U] if self.contiguous else part[self.used_U] for part in store)
        key_UKWD, value_UKWD = key[:, :, : self.prompt_width], value[:, :, : self.prompt_width]
        K = key_UKWD.shape[1]
        query_UKQD = query_BHD[self.table_UM].view(U, M, K, H // K, D).transpose(1, 2).reshape(U, K, M * (H // K), D)
        scores_UKQW = query_UKQD @ key_UKWD.transpose(2, 3)
        bias = self.prompt_bias_UW[:, None, None].to(scores_UKQW.dtype)
        if window is not None:
            # A row sees the last `window` positions, its own included.
            too_old_UMW = (
                torch.arange(self.prompt_width, device=bias.device)
                <= (self.positions_B - window)[self.table_UM][..., None]
            )
            bias = bias + torch.zeros(too_old_UMW.shape, dtype=bias.dtype, device=bias.device).masked_fill_(
                too_old_UMW, NEG
            )[:, None].repeat_interleave(H // K, dim=2)
        out_UKQD, lse_UKQ1 = _weigh(scores_UKQW, value_UKWD, bias, softcap)
        flat_BHD = out_UKQD.view(U, K, M, H // K, D).transpose(1, 2).reshape(U * M, H, D)
        flat_BH1 = lse_UKQ1.view(U, K, M, H // K, 1).transpose(1, 2).reshape(U * M, H, 1)
        return flat_BHD[self.place_B], flat_BH1[self.place_B]

    def attend_own(
        self, query_BHD: Tensor, store: tuple[Tensor, Tensor], window: int | None, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """Against what each row wrote itself, this step's token included."""
        B, H, D = query_BHD.shape
        key_BKCD, value_BKCD = (part[:B, :, : self.own_width] for part in store)
        K = key_BKCD.shape[1]
        scores_BKRC = query_BHD.view(B, K, H // K, D) @ key_BKCD.transpose(2, 3)
        bias = None if self._own_bias is None else self._own_bias[:, None, None].to(scores_BKRC.dtype)
        if window is not None:
            too_old_BC = (
                torch.arange(self.own_width, device=self.written_B.device) <= (self.written_B - window)[:, None]
            )
            old = torch.zeros(too_old_BC.shape, dtype=scores_BKRC.dtype, device=too_old_BC.device).masked_fill_(
                too_old_BC, NEG
            )[:, None, None]
            bias = old if bias is None else bias + old
        out_BKRD, lse_BKR1 = _weigh(scores_BKRC, value_BKCD, bias, softcap)
        return out_BKRD.view(B, H, D), lse_BKR1.view(B, H, 1)


def _weigh(scores: Tensor, values: Tensor, bias: Tensor | None, softcap: float | None) -> tuple[Tensor, Tensor]:
    """softmax(scores + bias) @ values with its log-sum-exp (float32); a row that sees nothing gives 0 and -inf."""
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    lse = scores.float().logsumexp(-1, keepdim=True)
    seen = torch.where(lse == NEG, torch.zeros_like(lse), lse)
    weights = (scores.float() - seen).exp().to(values.dtype)
    return (weights @ values).float(), lse
