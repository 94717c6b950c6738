"""The one SamplingDistribution: what the engine draws from is what the scorer scores under. Not for: noise or seeds.

B rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.errors import EngineError
from burnish.policy import kernels

LOGITS_CHUNK = 1 << 24
"""Logits worked on at once, in numbers: 64 MiB in float32."""


@dataclass(frozen=True, slots=True)
class SamplingDistribution:
    """softmax(logits / temperature), cut to the top_k most likely tokens, then to the smallest set with mass >= top_p.

    temperature 0 is the point mass on the most likely token; top_p 1 and top_k 0 cut nothing. Log-probabilities are of the
    distribution after the cut: that is what was sampled. A truncated distribution cannot be scored again from the weights
    alone (its support moves with them), so `log_probs_of` refuses it: train with top_p = 1 and top_k = 0.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def truncated(self) -> bool:
        return self.top_p < 1.0 or self.top_k > 0 or self.temperature == 0.0

    def log_probs(self, logits_BV: Tensor) -> Tensor:
        """Log-probabilities [B, V] of the distribution sampled from; -inf outside its support."""
        logits_BV = logits_BV.float()
        if self.temperature == 0.0:
            point = torch.full_like(logits_BV, float("-inf"))
            return point.scatter_(-1, logits_BV.argmax(-1, keepdim=True), 0.0)
        if self.temperature != 1.0:
            logits_BV = logits_BV / self.temperature
        if 0 < self.top_k < logits_BV.shape[-1]:
            kth = logits_BV.topk(self.top_k, dim=-1).values[..., -1:]
            logits_BV = logits_BV.masked_fill(logits_BV < kth, float("-inf"))
        if self.top_p < 1.0:
            ordered, order = logits_BV.softmax(-1).sort(-1, descending=True)
            before = ordered.cumsum(-1) - ordered  # mass of everything more likely: the token that crosses top_p stays
            cut = before >= self.top_p
            cut[..., 0] = False  # the most likely token stays even with top_p = 0
            outside = torch.zeros_like(logits_BV, dtype=torch.bool).scatter_(-1, order, cut)
            logits_BV = logits_BV.masked_fill(outside, float("-inf"))
        return logits_BV.log_softmax(-1)

    def draw(self, logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        """Draw by inverting the distribution function at `uniform_B` (float64, in [0, 1)): (ids_B, their log-probabilities_B).

        One uniform number a token, so a trace depends on its own seed alone.
        """
        if self.temperature == 0.0:
            ids_B = logits_BV.argmax(-1)
            return ids_B, torch.zeros(ids_B.shape, dtype=torch.float32, device=ids_B.device)
        call = kernels.library() if logits_BV.dtype is torch.bfloat16 and logits_BV.device.type == "cpu" else None
        if call is not None and not self.truncated:
            (B, V), logits_BV = logits_BV.shape, logits_BV.contiguous()
            ids_B, logp_B = torch.empty(B, dtype=torch.long), torch.empty(B)
            call.draw(B, V, logits_BV, self.temperature, uniform_B.double().contiguous(), ids_B, logp_B)
            return ids_B, logp_B
        rows = max(1, LOGITS_CHUNK // logits_BV.shape[1])
        parts = [self._draw(*part) for part in zip(logits_BV.split(rows), uniform_B.split(rows), strict=True)]  # type: ignore[no-untyped-call]
        return torch.cat([ids_B for ids_B, _ in parts]), torch.cat([logp_B for _, logp_B in parts])

    def _draw(self, logits_BV: Tensor, uniform_B: Tensor) -> tuple[Tensor, Tensor]:
        if self.truncated:
            logits_BV = self.log_probs(logits_BV)
        else:
            logits_BV = logits_BV.float() / self.temperature if self.temperature != 1.0 else logits_BV.float()
        # One pass of exponentials: the running sum's end is the normaliser, so there is no softmax before and none after.
        logits_BV = logits_BV - logits_BV.amax(-1, keepdim=True)
        mass_BV = logits_BV.exp().cumsum(-1, dtype=torch.float64)
        total_B = mass_BV[:, -1]
        # Rounding may not lead beyond the last token with any mass.
        below_B = torch.nextafter(total_B, torch.zeros_like(total_B))
        threshold_B1 = torch.minimum(uniform_B.to(mass_BV.device) * total_B, below_B)[:, None]
        ids_B1 = torch.searchsorted(mass_BV, threshold_B1, right=True).clamp_(max=mass_BV.shape[-1] - 1)
        return ids_B1[:, 0], logits_BV.gather(-1, ids_B1)[:, 0] - total_B.log().float()

    def check_trainable(self) -> None:
        """Raises EngineError where rollouts of this distribution cannot be trained on."""
        if self.truncated:
            raise EngineError(
                f"Cannot train on temperature={self.temperature}, top_p={self.top_p}, top_k={self.top_k}: the learner cannot score "
                "a truncated distribution; use a temperature above 0, top_p = 1 and top_k = 0 for training."
            )
