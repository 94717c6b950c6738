"""Attention over pages where they lie, through torch's flex attention: what a GPU samples with. Not for: the compiled CPU kernels.

Not run on a GPU yet. On a CPU flex attention makes every score and hides what is not seen, so the tests there say whether the mask is
right, and nothing of speed.

Letters: B rows, T new tokens of a row, K key heads, D head width, S positions a page, P pages.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

if TYPE_CHECKING:
    from burnish.engine.cache import Rows

QUERY_BLOCK = 128
"""Queries of a row that flex attention takes together."""


class FlexLayout:
    """Where a pass of the module writes and what its rows may see, over all pages end to end.

    Its tensors stay where they are when it is moved to other rows.

    width  pages a row's table holds; None: as many as these rows need
    """

    def __init__(self, rows: Rows, page: int, spare: int, device: torch.device, width: int | None = None) -> None:
        self._page, self._spare, self._device = page, spare, device
        self._width = width or -(-int((rows.start_B + rows.count_B + rows.gap_B).max()) // page)
        self._tensors = {name: torch.from_numpy(array).to(device) for name, array in self._arrays(rows).items()}
        self._masks: dict[int | None, BlockMask] = {}

    def move(self, rows: Rows) -> None:
        """To as many rows with as many new tokens, whose pages are not more than `width`."""
        for name, array in self._arrays(rows).items():
            self._tensors[name].copy_(torch.from_numpy(array))

    @property
    def page_N(self) -> Tensor:
        return self._tensors["page"].flatten()

    @property
    def offset_N(self) -> Tensor:
        return self._tensors["offset"].flatten()

    @property
    def positions_BT(self) -> Tensor:
        return self._tensors["position"]

    def _arrays(self, rows: Rows) -> dict[str, NDArray[Any]]:
        S = self._page
        position_BT, index_BT, page_BT = rows.written(S, self._spare)
        table_BP = np.zeros((len(rows.start_B), self._width), dtype=np.int64)
        table_BP[:, : rows.table_BP.shape[1]] = rows.table_BP[:, : self._width]
        need_B = (rows.start_B + rows.count_B + rows.gap_B - 1) // S + 1
        live_BP = np.arange(self._width) < need_B[:, None]
        # A page is the same one of its row in every row that has it: prompts are shared from their first page on.
        number_P = np.full(self._spare + 1, -1, dtype=np.int64)
        number_P[table_BP[live_BP]] = np.nonzero(live_BP)[1]
        from_B, to_B = rows.hole_B2(S).T
        return {
            "page": page_BT.astype(np.int64),
            "offset": index_BT % S,
            "position": position_BT,
            "index": index_BT,
            "table": table_BP.astype(np.int32),
            "need": need_B.astype(np.int32),
            "number": number_P,
            "from": from_B.astype(np.int64),
            "to": to_B.astype(np.int64),
            "gap": rows.gap_B.astype(np.int64),
        }

    def mask(self, window: int | None) -> BlockMask:
        """Which pages each row reads, and what of them each new token sees."""
        if window not in self._masks:
            self._masks[window] = self._masked(window)
        return self._masks[window]

    def _masked(self, window: int | None) -> BlockMask:
        held, S = self._tensors, self._page
        number_P, need_B, table_BP, index_BT = (held[name] for name in ("number", "need", "table", "index"))
        from_B, to_B, gap_B = (held[name] for name in ("from", "to", "gap"))

        def seen(b: Tensor, h: Tensor, q: Tensor, place: Tensor) -> Tensor:
            page = place // S
            number = number_P[page]
            at = number * S + place % S
            own = (number >= 0) & (number < need_B[b]) & (table_BP[b, number.clamp(0, table_BP.shape[1] - 1)] == page)
            visible: Tensor = own & (at <= index_BT[b, q]) & ((at < from_B[b]) | (at >= to_B[b]))
            if window is not None:  # of positions, the token's own included
                visible = visible & (at - torch.where(at >= to_B[b], gap_B[b], 0) > index_BT[b, q] - gap_B[b] - window)
            return visible

        B, T = index_BT.shape
        blocks = -(-T // QUERY_BLOCK)
        return BlockMask.from_kv_blocks(  # of one block of queries these are views, and move with the layout
            need_B[:, None, None].expand(B, 1, blocks).contiguous(),
            table_BP[:, None, None].expand(B, 1, blocks, -1).contiguous(),
            BLOCK_SIZE=(QUERY_BLOCK, S),
            mask_mod=seen,
            seq_lengths=(T, (self._spare + 1) * S),
            compute_q_blocks=False,
        )


def flexed(
    query_BHTD: Tensor, keys: Tensor, values: Tensor, mask: BlockMask, scaling: float, softcap: float | None
) -> Tensor:
    """Attention over pages where they lie: keys and values [1, K, pages S, D]. Compiled on a GPU; elsewhere every score is made."""

    attention: Any = _compiled() if query_BHTD.device.type == "cuda" else flex_attention
    capped = None if softcap is None else functools.partial(_capped, softcap)
    return attention(query_BHTD, keys, values, capped, mask, scaling, True)  # type: ignore[no-any-return]


def _capped(softcap: float, score: Tensor, b: Tensor, h: Tensor, q: Tensor, place: Tensor) -> Tensor:
    return torch.tanh(score / softcap) * softcap


@functools.cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)
