"""The running account of a run: tokens, seconds and estimated FLOPs so far; a checkpoint keeps it.

Not for: metrics of one step (those are `burnish.metrics` values), or for predicting cost (the plan does).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

FLOPS_PER_FORWARD_TOKEN = 2  # per parameter: one multiply and one add
FLOPS_PER_TRAINED_TOKEN = 6  # per parameter: forward 2, backward 4


@dataclass(slots=True)
class Ledger:
    """Cumulative cost of a run of a network with `parameters` weights.

    FLOPs are the usual estimate C = 2ND for a forward pass over D tokens and C = 6ND for training on them (Kaplan et
    al. 2020, arXiv 2001.08361, section 2.1; the convention of Hoffmann et al. 2022, arXiv 2203.15556, is the same
    6ND). It leaves out attention over the context, so it is low for contexts much longer than the width of the
    network.

    >>> ledger = Ledger(parameters=1_000_000)
    >>> ledger.sampled(10)
    >>> ledger.trained(5)
    >>> ledger.flops
    50000000
    """

    parameters: int
    tokens_sampled: int = 0
    tokens_trained: int = 0
    tokens_forwarded: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def sampled(self, tokens: int) -> None:
        """The engine drew `tokens` tokens."""
        self.tokens_sampled += _count(tokens)

    def trained(self, tokens: int) -> None:
        """The learner went forward and backward over `tokens` tokens (prompts included, as they cost the same)."""
        self.tokens_trained += _count(tokens)

    def forwarded(self, tokens: int) -> None:
        """`tokens` tokens went forward only and were not drawn: prompts, reference and proximal log-probabilities."""
        self.tokens_forwarded += _count(tokens)

    def spent(self, phase: str, seconds: float, tokens: int = 0) -> None:
        """`seconds` of wall time went to `phase`, over `tokens` tokens where that is worth a rate."""
        if seconds < 0:
            raise ValueError(f"phase {phase!r} cannot have taken {seconds} seconds")
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.tokens[phase] = self.tokens.get(phase, 0) + _count(tokens)

    @contextmanager
    def timing(self, phase: str) -> Iterator[None]:
        """Count the wall time of a `with` block towards `phase`, also where it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent(phase, time.perf_counter() - start)

    @property
    def flops(self) -> int:
        """Estimated floating-point operations so far."""
        forward = self.tokens_sampled + self.tokens_forwarded
        per_parameter = FLOPS_PER_FORWARD_TOKEN * forward + FLOPS_PER_TRAINED_TOKEN * self.tokens_trained
        return self.parameters * per_parameter

    def phases(self) -> list[dict[str, Any]]:
        """One row a phase, as they first came: name, seconds, tokens, tokens_per_second (None without tokens)."""
        rows: list[dict[str, Any]] = []
        for name, seconds in self.seconds.items():
            tokens = self.tokens[name]
            rate = tokens / seconds if tokens and seconds else None
            rows.append({"name": name, "seconds": seconds, "tokens": tokens, "tokens_per_second": rate})
        return rows

    def state(self) -> dict[str, Any]:
        """Everything, as JSON would have it; `Ledger.restore` gives an equal ledger back."""
        return {
            "parameters": self.parameters,
            "tokens_sampled": self.tokens_sampled,
            "tokens_trained": self.tokens_trained,
            "tokens_forwarded": self.tokens_forwarded,
            "seconds": dict(self.seconds),
            "tokens": dict(self.tokens),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Ledger:
        """The ledger that `state` was taken from. Raises TypeError for a key it does not know."""
        return cls(**{**state, "seconds": dict(state["seconds"]), "tokens": dict(state["tokens"])})


def _count(tokens: int) -> int:
    if tokens < 0:
        raise ValueError(f"a count of tokens cannot be negative: {tokens}")
    return tokens
