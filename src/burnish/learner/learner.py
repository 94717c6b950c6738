"""The learner: micro-batches, forward, backward, one optimizer step. Not for: what the loss means (an objective is handed in).

N sampled tokens of a micro-batch.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import TrainingError
from burnish.learner.batch import Batch, TokenFields, batches, token_batches
from burnish.metrics import Max, Mean, Metrics, Sum, merge
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Group, Key, Notes, Sample, Tokens, to_json

Objective = Callable[[Any], tuple[Tensor, Metrics]]
Weigh = Callable[[Sequence[Sample]], Mapping[Key, float]]


@dataclass(frozen=True)
class Optimization:
    """AdamW and its schedule; `total_updates` is what "cosine" and "linear" decay over (down to final_lr_share * lr)."""

    lr: float
    total_updates: int
    warmup_updates: int = 0
    schedule: str = "constant"
    final_lr_share: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    micro_batch_tokens: int = 8192
    updates_per_step: int = 1

    def lr_at(self, update: int) -> float:
        """The learning rate of the update-th optimizer step (0 is the first)."""
        if update < self.warmup_updates:
            return self.lr * (update + 1) / self.warmup_updates
        if self.schedule == "constant":
            return self.lr
        done = min(1.0, (update - self.warmup_updates) / max(1, self.total_updates - self.warmup_updates))
        shape = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.lr * (self.final_lr_share + (1.0 - self.final_lr_share) * shape)


class Learner:
    """Holds the policy's weights and its optimizer; `version` is the number of optimizer steps taken.

    needs       what `score` will be asked for; a frozen copy of the policy is kept when "reference" is among it
    evidence    where the samples of an update that went non-finite are written
    """

    def __init__(
        self,
        policy: Policy,
        optimization: Optimization,
        distribution: SamplingDistribution | None = None,
        needs: frozenset[str] = frozenset(),
        seed: int = 0,
        evidence: Path | None = None,
    ) -> None:
        self.policy, self.optimization, self.seed, self.evidence = policy, optimization, seed, evidence
        self.distribution = distribution or SamplingDistribution()
        self.distribution.check_trainable()
        self.version = 0
        self.tokens_trained = 0
        self._reference: Policy | None = None
        if "reference" in needs:
            frozen = copy.deepcopy(policy.module).eval().requires_grad_(False)
            self._reference = Policy(frozen, policy.tokenizer, policy.compute)
        trained = [parameter for parameter in policy.module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim >= 2], "weight_decay": optimization.weight_decay},
                {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=optimization.lr,
            betas=(optimization.beta1, optimization.beta2),
            fused=True,
        )

    def weights(self) -> object:
        """The module itself: an embedded engine shares it."""
        return self.policy.module

    def score(self, groups: Sequence[Group], needs: frozenset[str]) -> dict[Key, Notes]:
        """Log-probabilities asked for, by key: "reference" (the frozen start) and "proximal" (the policy as it is now)."""
        if unknown := needs - {"reference", "proximal"}:
            raise ValueError(f"the learner cannot compute {sorted(unknown)}")
        keys = [group.key(rollout) for group in groups for rollout in group.rollouts]
        rows = [rollout.tokens for group in groups for rollout in group.rollouts]
        columns: dict[str, list[tuple[float, ...]]] = {}
        if "reference" in needs:
            assert self._reference is not None, "score was asked for a reference that the learner was not told to keep"
            columns["reference"] = self.log_probs(rows, self._reference)
        if "proximal" in needs:
            columns["proximal"] = self.log_probs(rows)
        return {key: Notes(**{name: column[i] for name, column in columns.items()}) for i, key in enumerate(keys)}

    @torch.no_grad()
    def log_probs(self, rows: Sequence[Tokens], policy: Policy | None = None) -> list[tuple[float, ...]]:
        """Log-probabilities [L] (nats) of every row's sampled tokens; 0.0 at the others."""
        policy = policy or self.policy
        results = [[0.0] * len(tokens.ids) for tokens in rows]
        written = [number for number, tokens in enumerate(rows) if any(tokens.sampled[1:])]
        with policy.evaluating():
            for numbers, batch in token_batches([rows[i] for i in written], self.optimization.micro_batch_tokens):
                logp_N, _ = self._forward(policy, batch.to(policy.device))
                flat = iter(logp_N.tolist())
                for number in (written[i] for i in numbers):
                    for t in range(1, len(rows[number].ids)):
                        if rows[number].sampled[t]:
                            results[number][t] = next(flat)
        return [tuple(result) for result in results]

    def update(self, samples: Sequence[Sample], objective: Objective, weigh: Weigh) -> Metrics:
        """`updates_per_step` optimizer steps on `samples` (split by problem, order from (seed, version)).

        Raises TrainingError on a loss or gradient that is not finite, with the weights as they were and the samples saved.
        """
        if not samples:
            return {}
        metrics: list[Metrics] = []
        for part in self._parts(samples):
            metrics.append(self._step(part, objective, weigh(part)))
        return merge(*metrics)

    def _parts(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        count = self.optimization.updates_per_step
        if count == 1:
            return [list(samples)]
        problems = sorted({sample.origin.problem_id for sample in samples})
        random.Random(f"{self.seed}/{self.version}").shuffle(problems)
        which = {problem: i * count // len(problems) for i, problem in enumerate(problems)}
        parts: list[list[Sample]] = [[] for _ in range(count)]
        for sample in samples:
            parts[which[sample.origin.problem_id]].append(sample)
        return [part for part in parts if part]

    def _step(self, samples: Sequence[Sample], objective: Objective, weights: Mapping[Key, float]) -> Metrics:
        self.policy.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.optimization.lr_at(self.version)
        self.optimizer.zero_grad(set_to_none=True)
        parts: list[Metrics] = []
        tokens = 0
        for batch in batches(samples, weights, self.version, self.optimization.micro_batch_tokens):
            batch = batch.to(self.policy.device)
            logp_N, entropy_N = self._forward(self.policy, batch)
            loss, metrics = objective(_fields(batch, logp_N, entropy_N))
            if not torch.isfinite(loss):
                raise self._not_finite("loss", samples)
            loss.backward()  # type: ignore[no-untyped-call]
            parts.append(metrics)
            tokens += sum(len(sample.tokens.ids) for sample in samples) if not parts[1:] else 0
        norm = float(nn.utils.clip_grad_norm_(self.policy.module.parameters(), self.optimization.clip_norm))
        if not math.isfinite(norm):
            raise self._not_finite("gradient", samples)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        lr = self.optimization.lr_at(self.version)
        self.version += 1
        self.tokens_trained += tokens
        return merge(
            *parts,
            {
                "optim/grad_norm": Mean.of([norm]),
                "optim/grad_norm_max": Max(norm),
                "optim/lr": Mean.of([lr]),
                "optim/updates": Sum(1.0),
            },
        )

    def _forward(self, policy: Policy, batch: Batch) -> tuple[Tensor, Tensor]:
        with policy.precision():
            hidden_BTE = policy.hidden(batch.inputs_BT, **batch.layout())
            hidden_NE = hidden_BTE.flatten(0, 1).index_select(0, batch.place_N)
            return policy.log_probs_of(hidden_NE, batch.targets_N, self.distribution)

    def _not_finite(self, what: str, samples: Sequence[Sample]) -> TrainingError:
        self.optimizer.zero_grad(set_to_none=True)
        where = ""
        if self.evidence is not None:
            try:
                self.evidence.parent.mkdir(parents=True, exist_ok=True)
                self.evidence.write_text("".join(to_json(sample) + "\n" for sample in samples))
                where = f" Its samples are in {self.evidence}."
            except OSError as error:  # this must not hide why training stopped
                where = f" Its samples could not be written to {self.evidence} ({error.strerror})."
        return TrainingError(
            f"The {what} of update {self.version} is not finite; the weights are as they were before it.{where} "
            "A lower learning rate, a longer warm-up or float32 compute usually helps."
        )

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs, as tensors and plain numbers."""
        module = {name: tensor.detach() for name, tensor in self.policy.module.named_parameters()}
        buffers = {
            name: tensor
            for name, tensor in self.policy.module.state_dict().items()
            if name in dict(self.policy.module.named_buffers())
        }
        return {
            "module": {**module, **buffers},
            "optimizer": self.optimizer.state_dict(),
            "reference": None
            if self._reference is None
            else {n: t.detach() for n, t in self._reference.module.named_parameters()},
            "version": self.version,
            "tokens_trained": self.tokens_trained,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a `state()`."""
        self.policy.module.load_state_dict(state["module"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self._reference is not None:
            self._reference.module.load_state_dict(state["reference"], strict=False)
        self.version = int(state["version"])
        self.tokens_trained = int(state["tokens_trained"])
        torch.set_rng_state(state["rng"])


def _fields(batch: Batch, logp_N: Tensor, entropy_N: Tensor) -> TokenFields:
    return TokenFields(
        logp_N,
        batch.sampler_N,
        batch.advantage_N,
        batch.weight_N,
        batch.row_N,
        batch.on_policy_N,
        batch.reference_N,
        batch.proximal_N,
        entropy_N,
    )
