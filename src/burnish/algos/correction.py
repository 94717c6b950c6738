"""What a token's loss is multiplied by because it was drawn by another policy or another program. Detached, always.

Shapes: N sampled tokens, whole rows, flat. With log v = o - u: o is the learner's own log-probability at the start of the
step (l itself, detached, where a step is one update), u the sampler's.

Not for: the ratio of the surrogate, l - o.
"""

from __future__ import annotations

import torch
from torch import Tensor

from burnish.algos.objective import Correction
from burnish.algos.surrogates import LARGEST_LOG_RATIO, TokenFields, row_mean, row_sum


@torch.no_grad()
def correction_weights(chosen: Correction, fields: TokenFields) -> tuple[Tensor, Tensor, Tensor]:
    """(weights, removed, held): what each token is multiplied by, which are taken out whole, which are cut to a bound.

    The formulas and their papers are in `burnish.algos.objective.Correction`.
    """
    start_N = fields.logp_N.detach() if fields.proximal_N is None else fields.proximal_N
    gap_N = start_N - fields.sampler_N
    raw_N = torch.exp(gap_N.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    nothing_N = torch.zeros_like(raw_N, dtype=torch.bool)
    if chosen.kind == "decoupled":
        return raw_N, nothing_N, nothing_N
    if chosen.kind == "tis":
        return raw_N.clamp(chosen.low, chosen.high), nothing_N, (raw_N < chosen.low) | (raw_N > chosen.high)
    if chosen.kind in ("sequence_tis", "sequence_mask"):
        whole_N = torch.exp(row_sum(gap_N, fields.row_N).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
        if chosen.kind == "sequence_tis":
            return whole_N.clamp(max=chosen.high), nothing_N, whole_N > chosen.high
        judged_N, weight_N = whole_N, whole_N
    elif chosen.kind == "geometric_mask":
        judged_N, weight_N = torch.exp(row_mean(gap_N, fields.row_N).clamp(-20.0, 20.0)), raw_N
    else:
        judged_N, weight_N = raw_N, raw_N
    kept_N = (judged_N >= chosen.low) & (judged_N <= chosen.high)
    return torch.where(kept_N, weight_N, 0.0), ~kept_N, nothing_N


@torch.no_grad()
def stale_rows(bound: float, fields: TokenFields) -> Tensor:
    """bool: tokens of sequences with A < 0 whose mean (u - l) is above the bound (off-policy sequence masking)."""
    drift_N = row_mean(fields.sampler_N - fields.logp_N.detach(), fields.row_N)
    return (fields.advantage_N < 0) & (drift_N > bound)
