"""The attention Burnish registers with transformers, for training rows, prefill and decode. Not for: cache bookkeeping.

One name, "burnish", in transformers' attention interface. What it computes depends on the `view` a caller passes through the
module's keyword arguments: none means rows that attend to themselves (training, scoring, prefill); a `DecodeView` means one
new token a row that attends to what the view holds.

Short rows use explicit products: on a CPU the library's fused kernel spends most of its time outside the arithmetic there
(`benchmarks/attention.py` prints both sides; the crossing is near 512 tokens). Long rows use the library's.

Shapes: B rows, T tokens, H query heads, K key heads, R = H / K, D head width.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

NAME = "burnish"
EXPLICIT_MAX_TOKENS = 512
"""Rows up to this length use explicit products on a CPU (measured; see benchmarks/attention.py)."""


class DecodeView(Protocol):
    """What a decode step attends to; the engine's cache implements it."""

    def attend(
        self, layer: int, query_BHD: Tensor, scaling: float, sliding_window: int | None, softcap: float | None
    ) -> Tensor:
        """Attend from one query a row to the live cache: [B, H, D] -> [B, H, D]."""


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
    view: DecodeView | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: returns ([B, T, H, D], None). Rows are padded on the right, so causality is mask enough."""
    if kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention sinks are not supported by the burnish attention")
    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling
    if view is not None:
        output_BHD = view.attend(int(module.layer_idx), query_BHTD[:, :, 0], scale, sliding_window, softcap)  # type: ignore[arg-type]
        return output_BHD[:, None], None
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
        short = query_BHTD.device.type == "cpu" and T <= EXPLICIT_MAX_TOKENS
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


AttentionInterface.register(NAME, attention)
