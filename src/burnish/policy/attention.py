"""The attention Burnish registers with transformers, for training rows, prefill and decode. Not for: cache bookkeeping.

One name, "burnish", in transformers' attention interface. What it computes depends on the `view` a caller passes through the
module's keyword arguments: none means rows that attend to themselves (training, scoring, prefill); `SharedPrompts` means rows
laid end to end that share their prompts; `Packed` means rows laid end to end, each on its own; a `PagedView` means new tokens of
rows whose earlier ones the view holds.

Short rows use explicit products: on a CPU the library's fused kernel spends most of its time outside the arithmetic there
(`benchmarks/attention.py` prints both sides; the crossing is beyond 512 tokens in bfloat16 and near 200 in float32). Long rows use the
library's.

Shapes: B rows, T tokens, H query heads, K key heads, R = H / K, D head width; for shared prompts U prompts of P places, B
continuations of C places, N = U * P + B * C places in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from burnish.errors import ModelError

NAME = "burnish"
EXPLICIT_MAX_TOKENS = 512
"""Rows up to this length use explicit products on a CPU (measured; see benchmarks/attention.py)."""
EXPLICIT_MAX_TOKENS_FLOAT32 = 192
"""The same in float32, where the library gains sooner."""


class PagedView(Protocol):
    """What new tokens of rows attend to; the engine's cache implements it."""

    def attend(
        self, layer: int, query_BHTD: Tensor, scaling: float, sliding_window: int | None, softcap: float | None
    ) -> Tensor:
        """Attend from the new tokens to all that is cached, themselves included: [B, H, T, D] -> [B, T, H, D]."""


@dataclass(frozen=True)
class SharedPrompts:
    """U prompts of P places end to end, then B continuations of C places, each attending to its prompt and to itself.

    prompt_of_B and prompt_length_B say which prompt a continuation goes on from and how many places of it are filled; padding
    is on the right of every prompt and continuation.
    """

    prompts: int
    prompt_width: int
    rows: int
    row_width: int
    prompt_of_B: Tensor
    prompt_length_B: Tensor
    _biases: dict[int | None, Tensor] = field(default_factory=dict)

    def split(self, field_1XND: Tensor) -> tuple[Tensor, Tensor]:
        """[1, X, N, D] -> the prompts' [U, X, P, D] and the continuations' [B, X, C, D]."""
        flat_NXD = field_1XND[0].transpose(0, 1)
        cut = self.prompts * self.prompt_width
        shared = flat_NXD[:cut].unflatten(0, (self.prompts, self.prompt_width))  # type: ignore[no-untyped-call]
        own = flat_NXD[cut:].unflatten(0, (self.rows, self.row_width))  # type: ignore[no-untyped-call]
        return shared.transpose(1, 2), own.transpose(1, 2)

    def join(self, shared_UHPD: Tensor, own_BHCD: Tensor) -> Tensor:
        """The inverse of `split`: [1, N, H, D]."""
        return torch.cat([shared_UHPD.transpose(1, 2).flatten(0, 1), own_BHCD.transpose(1, 2).flatten(0, 1)])[None]

    def bias(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """0 where a continuation's place may look and -inf where not: [B, 1, 1, C, P + C]."""
        if window not in self._biases:
            device = self.prompt_length_B.device
            length_B11 = self.prompt_length_B[:, None, None]
            shared_P, own_C = (
                torch.arange(self.prompt_width, device=device),
                torch.arange(self.row_width, device=device),
            )
            ahead = torch.cat(
                [
                    (shared_P >= length_B11).expand(-1, self.row_width, -1),
                    (own_C[None] > own_C[:, None]).expand(self.rows, -1, -1),
                ],
                dim=-1,
            )
            if window is not None:
                place = torch.cat([shared_P.expand(self.rows, 1, -1), own_C + length_B11], dim=-1)
                ahead = ahead | (place <= own_C[:, None] + length_B11 - window)
            bias = torch.zeros(ahead.shape, dtype=dtype, device=device).masked_fill_(ahead, float("-inf"))
            self._biases[window] = bias[:, None, None]
        return self._biases[window]


@dataclass(frozen=True)
class Packed:
    """Rows laid end to end without padding, each attending to itself alone.

    place_N says where each of the N places stands in a grid of `rows` x `width`; only attention pays for the grid's padding.
    """

    rows: int
    width: int
    place_N: Tensor

    def spread(self, field_1XND: Tensor) -> Tensor:
        """[1, X, N, D] -> [rows, X, width, D], zero where there is padding."""
        flat_NXD = field_1XND[0].transpose(0, 1)
        grid = flat_NXD.new_zeros(self.rows * self.width, *flat_NXD.shape[1:]).index_copy(0, self.place_N, flat_NXD)
        return grid.view(self.rows, self.width, *flat_NXD.shape[1:]).transpose(1, 2)

    def gather(self, output_BHTD: Tensor) -> Tensor:
        """The inverse: [1, N, H, D]."""
        return output_BHTD.transpose(1, 2).flatten(0, 1).index_select(0, self.place_N)[None]


def attention(
    module: torch.nn.Module,
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    view: PagedView | SharedPrompts | Packed | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: returns ([B, T, H, D], None). Rows are padded on the right, so causality is mask enough."""
    if kwargs.get("s_aux") is not None:
        raise ModelError(
            "The model uses attention sinks, which Burnish's attention does not compute; its answers would be wrong. Use another model."
        )
    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(view, SharedPrompts):
        return _continue(query_BHTD, key_BKTD, value_BKTD, view, scale, sliding_window, softcap), None
    if isinstance(view, Packed):
        query, key, value = view.spread(query_BHTD), view.spread(key_BKTD), view.spread(value_BKTD)
        return view.gather(causal(query, key, value, scale, sliding_window, softcap)), None
    if view is not None:
        return view.attend(int(module.layer_idx), query_BHTD, scale, sliding_window, softcap), None  # type: ignore[arg-type]
    return causal(query_BHTD, key_BKTD, value_BKTD, scale, sliding_window, softcap).transpose(1, 2), None


def causal(
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    scale: float,
    sliding_window: int | None,
    softcap: float | None,
) -> Tensor:
    """Causal self-attention, grouped heads folded into the product: [B, H, T, D]."""
    T = query_BHTD.shape[2]
    windowed = sliding_window is not None and sliding_window < T
    with torch.autocast(query_BHTD.device.type, enabled=False):
        query_BHTD = query_BHTD.to(value_BKTD.dtype)
        key_BKTD = key_BKTD.to(value_BKTD.dtype)
        longest = EXPLICIT_MAX_TOKENS_FLOAT32 if value_BKTD.dtype is torch.float32 else EXPLICIT_MAX_TOKENS
        short = query_BHTD.device.type == "cpu" and longest >= T
        if short or windowed or softcap is not None:
            return _explicit(query_BHTD, key_BKTD, value_BKTD, scale, sliding_window if windowed else None, softcap)
        return F.scaled_dot_product_attention(
            query_BHTD, key_BKTD, value_BKTD, is_causal=T > 1, scale=scale, enable_gqa=True
        )


def _explicit(
    query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    B, H, T, D = query_BHTD.shape
    K = key_BKTD.shape[1]
    scores = ((query_BHTD * scale).reshape(B, K, H // K * T, D) @ key_BKTD.transpose(2, 3)).view(B, K, H // K, T, T)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    ahead_TT = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
    if window is not None:
        ahead_TT |= torch.ones_like(ahead_TT).tril(-window)
    bias_TT = torch.zeros(T, T, dtype=scores.dtype, device=scores.device).masked_fill_(ahead_TT, float("-inf"))
    weights = torch.softmax(scores + bias_TT, dim=-1)
    return (weights.view(B, K, H // K * T, T) @ value_BKTD).view(B, H, T, D)


def _continue(
    query_1HND: Tensor,
    key_1KND: Tensor,
    value_1KND: Tensor,
    view: SharedPrompts,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Prompts attend to themselves, continuations to their prompt and to themselves under one softmax: [1, N, H, D]."""
    if window is not None and window >= view.prompt_width + view.row_width:
        window = None
    with torch.autocast(query_1HND.device.type, enabled=False):
        dtype = value_1KND.dtype
        (shared_q, own_q), (shared_k, own_k) = view.split(query_1HND.to(dtype)), view.split(key_1KND.to(dtype))
        shared_v, own_v = view.split(value_1KND)
        shared_UHPD = causal(shared_q, shared_k, shared_v, scale, window, softcap)
        (B, H, C, D), K, P = own_q.shape, own_k.shape[1], view.prompt_width
        query_BKQD = (own_q * scale).reshape(B, K, H // K * C, D)
        before_k, before_v = (part.index_select(0, view.prompt_of_B) for part in (shared_k, shared_v))
        scores = torch.cat([query_BKQD @ before_k.transpose(2, 3), query_BKQD @ own_k.transpose(2, 3)], dim=-1)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        weights = torch.softmax(scores.view(B, K, H // K, C, P + C) + view.bias(window, dtype), dim=-1)
        weights = weights.view(B, K, H // K * C, P + C)
        own_BHCD = (weights[..., :P] @ before_v + weights[..., P:] @ own_v).view(B, H, C, D)
        return view.join(shared_UHPD, own_BHCD)


AttentionInterface.register(NAME, attention)
