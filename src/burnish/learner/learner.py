"""The learner: micro-batches, forward, backward, one optimizer step. Not for: what the loss means (an objective is handed in).

N sampled tokens of a micro-batch.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import ConfigError, TrainingError
from burnish.learner.batch import Batch, Layout, TokenFields, batches, token_batches
from burnish.learner.critic import Critic, predicting_states
from burnish.metrics import Max, Mean, Metrics, Sum, merge
from burnish.policy.adapters import is_adapted, switched_off
from burnish.policy.fused import Fused
from burnish.policy.heads import Scorer
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Group, Key, Notes, Sample, Tokens, to_json

Objective = Callable[[Any], tuple[Tensor, Metrics]]
Weigh = Callable[[Sequence[Sample]], Mapping[Key, float]]


@dataclass(frozen=True)
class Optimization:
    """AdamW and its schedule; `total_updates` is what "cosine" and "linear" decay over (down to final_lr_share * lr).

    layout                  how rows stand in a micro-batch; see `burnish.learner.batch.batches`
    gradient_checkpointing  keep only what goes into each layer, and compute the rest again in the backward pass
    """

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
    layout: Layout = "auto"
    gradient_checkpointing: bool = False

    def lr_at(self, update: int) -> float:
        """The learning rate of the update-th optimizer step (0 is the first)."""
        if update < self.warmup_updates:
            return self.lr * (update + 1) / self.warmup_updates
        if self.schedule == "constant":
            return self.lr
        done = min(1.0, (update - self.warmup_updates) / max(1, self.total_updates - self.warmup_updates))
        shape = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.lr * (self.final_lr_share + (1.0 - self.final_lr_share) * shape)


@dataclass(frozen=True)
class Following:
    """A reference that moves: after every `every` optimizer steps it becomes mix * policy + (1 - mix) * itself."""

    every: int
    mix: float


class Learner:
    """Holds the policy's weights and its optimizer; `version` is the number of optimizer steps taken.

    policy      a Scorer too (a reward model): its objective reads value_N, and there are no log-probabilities
    needs       what `score` will be asked for; a frozen copy of the policy is kept when "reference" is among it (none is needed
                of a policy with adapters: the reference is the base, with the adapters switched off)
    critic      trained beside the policy, with its own loss
    following   how the reference moves; None: it does not
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
        critic: Critic | None = None,
        following: Following | None = None,
    ) -> None:
        self.policy, self.optimization, self.seed, self.evidence = policy, optimization, seed, evidence
        self._following = following
        for network in (policy, critic.network if critic is not None else None):
            if isinstance(network, Policy):
                network.recompute_layers(optimization.gradient_checkpointing)
        self.distribution = distribution or SamplingDistribution()
        self.distribution.check_trainable()
        self.version = 0
        self.tokens_trained = 0
        self.critic = critic
        self._reference: Policy | None = None
        if following is not None and is_adapted(policy):
            raise ConfigError(
                'kl_to = "moving" needs a copy of the reference that can move, but with adapters the reference is the base below '
                'them; use kl_to = "reference", or train all weights.'
            )
        if "reference" in needs and not is_adapted(policy):
            frozen = copy.deepcopy(policy.module).eval().requires_grad_(False)
            self._reference = Policy(frozen, policy.tokenizer, policy.compute)
        groups = _decayed(policy.module, optimization.weight_decay, 1.0)
        if critic is not None:
            groups += _decayed(critic.module, optimization.weight_decay, critic.lr / optimization.lr)
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=optimization.lr,
            betas=(optimization.beta1, optimization.beta2),
            fused=True,
        )

    def weights(self) -> object:
        """The module itself: an embedded engine shares it."""
        return self.policy.module

    def score(self, groups: Sequence[Group], needs: frozenset[str]) -> dict[Key, Notes]:
        """What was asked for, by key: log-probabilities under "reference" (the frozen start) and "proximal" (the policy as it is
        now), and the critic's "values".

        Raises ConfigError where that needs a reference or a critic which this learner was not given.
        """
        if unknown := needs - {"reference", "proximal", "values"}:
            raise ValueError(f"the learner cannot compute {sorted(unknown)}")
        keys = [group.key(rollout) for group in groups for rollout in group.rollouts]
        rows = [rollout.tokens for group in groups for rollout in group.rollouts]
        columns: dict[str, list[tuple[float, ...]]] = {}
        if "reference" in needs:
            columns["reference"] = self.reference_log_probs(rows)
        if "proximal" in needs:
            columns["proximal"] = self.log_probs(rows)
        if "values" in needs:
            if self.critic is None:
                raise ConfigError("Values were asked for, but this learner has no critic; build it with one.")
            columns["values"] = self.critic.score(self.policy, rows, self.optimization.micro_batch_tokens)
        return {key: Notes(**{name: column[i] for name, column in columns.items()}) for i, key in enumerate(keys)}

    def reference_log_probs(self, rows: Sequence[Tokens]) -> list[tuple[float, ...]]:
        """As `log_probs`, under the reference: the frozen start, or the base below the adapters. Raises ConfigError without one."""
        if is_adapted(self.policy):
            with switched_off(self.policy) as base:
                return self.log_probs(rows, base)
        if self._reference is None:
            raise ConfigError(
                'A reference policy was asked for, but none is kept; build the learner with needs = {"reference"}, or leave out what '
                "compares with a reference."
            )
        return self.log_probs(rows, self._reference)

    @torch.no_grad()
    def log_probs(self, rows: Sequence[Tokens], policy: Policy | None = None) -> list[tuple[float, ...]]:
        """Log-probabilities [L] (nats) of every row's sampled tokens; 0.0 at the others."""
        policy = policy or self.policy
        results = [[0.0] * len(tokens.ids) for tokens in rows]
        written = [number for number, tokens in enumerate(rows) if any(tokens.sampled[1:])]
        fused, budget = Fused.of(policy), self.optimization.micro_batch_tokens
        with policy.evaluating():
            for numbers, batch in token_batches(
                [rows[i] for i in written], budget, fused is not None, not policy.lays_out
            ):
                (logp_N, _), _ = self._forward(policy, batch.to(policy.device), fused)
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
        before = self.version
        for part in self._parts(samples):
            metrics.append(self._step(part, objective, weigh(part)))
        self._follow(before)
        return merge(*metrics)

    @torch.no_grad()
    def _follow(self, before: int) -> None:
        """Move the reference, once for every `every` versions passed since `before`."""
        if self._following is None or self._reference is None:
            return
        for _ in range(self.version // self._following.every - before // self._following.every):
            own = self.policy.module.parameters()
            for reference, parameter in zip(self._reference.module.parameters(), own, strict=True):
                if self._following.mix == 1.0:
                    reference.copy_(parameter)  # a reset is exact
                else:
                    reference.lerp_(parameter, self._following.mix)

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
            group["lr"] = self.optimization.lr_at(self.version) * group["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        parts: list[Metrics] = []
        settings = self.optimization
        fused, trunk = self._fused()
        tokens = sum(len(sample.tokens.ids) for sample in samples)
        budget, layout, alone = settings.micro_batch_tokens, settings.layout, not self._lays_out()
        for learned, rows in self._told_apart(samples, objective):
            for batch in batches(rows, weights, self.version, budget, layout, fused is not None, alone):
                with torch.set_grad_enabled(learned):
                    fields = self._see(batch.to(self.policy.device), fused, trunk)
                    loss, metrics = objective(fields)
                    if self.critic is not None:
                        value_loss, value_metrics = self._value_loss(self.critic, fields)
                        loss, metrics = loss + value_loss, merge(metrics, value_metrics)
                if not torch.isfinite(loss):
                    raise self._not_finite("loss", samples)
                if learned:
                    loss.backward()  # type: ignore[no-untyped-call]
                parts.append(metrics)
        norm = float(nn.utils.clip_grad_norm_(self.policy.module.parameters(), self.optimization.clip_norm))
        if self.critic is not None:  # clipped apart: neither may shrink the other's step
            own = float(nn.utils.clip_grad_norm_(self.critic.module.parameters(), self.optimization.clip_norm))
            parts.append({"value/grad_norm": Mean.of([own])})
            norm = norm if math.isfinite(own) else own
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

    def _told_apart(self, samples: Sequence[Sample], objective: Objective) -> list[tuple[bool, Sequence[Sample]]]:
        """(whether they are learned from, the rows): rows without a gradient go forward only, for the metrics' sake."""
        if (
            self.critic is not None
            or isinstance(self.policy, Scorer)
            or not getattr(objective, "only_advantage", False)
        ):
            return [(True, samples)]
        loud = [sample for sample in samples if any(compress(sample.advantages, sample.tokens.sampled))]
        if not loud or len(loud) == len(samples):  # a gradient of zeros is still a step of the optimizer
            return [(True, samples)]
        heard = {sample.origin for sample in loud}
        return [(True, loud), (False, [sample for sample in samples if sample.origin not in heard])]

    def _lays_out(self) -> bool:
        """Whether rows may stand otherwise than whole: both networks can do it."""
        critic = self.critic.network if self.critic is not None else None
        return self.policy.lays_out and (not isinstance(critic, Scorer) or critic.lays_out)

    def _fused(self) -> tuple[Fused | None, Fused | None]:
        """The compiled path of the policy and of a critic's own trunk; neither where one of the two needs the module's layout."""
        fused = Fused.of(self.policy)
        if fused is None or self.critic is None or not isinstance(self.critic.network, Scorer):
            return fused, None
        trunk = Fused.of(self.critic.network)
        return (None, None) if trunk is None else (fused, trunk)

    def _see(self, batch: Batch, fused: Fused | None, trunk: Fused | None) -> TokenFields:
        """What the objective is shown of a micro-batch, with its graph."""
        policy = self.policy
        if isinstance(policy, Scorer):
            value_N = policy.values(predicting_states(policy, batch, fused))
            nothing_N = torch.zeros_like(value_N, requires_grad=False)
            return replace(_fields(batch, nothing_N, nothing_N), value_N=value_N)
        fields, hidden_NE = self._forward(policy, batch, fused)
        if self.critic is None:
            return _fields(batch, *fields)
        return replace(_fields(batch, *fields), value_N=self.critic.values(hidden_NE, batch, fused, trunk))

    @staticmethod
    def _value_loss(critic: Critic, fields: TokenFields) -> tuple[Tensor, Metrics]:
        if fields.value_N is None or fields.old_value_N is None or fields.return_N is None:
            raise ConfigError(
                "The critic has nothing to learn from: the samples carry no values and returns; use a recipe that needs values, such "
                "as ppo, or build the learner without a critic."
            )
        return critic.loss(fields.value_N, fields.old_value_N, fields.return_N, fields.weight_N)

    def _forward(self, policy: Policy, batch: Batch, fused: Fused | None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """(log-probabilities_N and entropies_N, the states [N, E] that predict them; before the last norm on the compiled path)."""
        if fused is not None and batch.end_to_end is not None:
            hidden_NE = fused.hidden(batch.end_to_end, batch.place_N)
            return fused.log_probs_of(hidden_NE, batch.targets_N, self.distribution.temperature), hidden_NE
        with policy.precision():
            hidden_NE = predicting_states(policy, batch)
            return policy.log_probs_of(hidden_NE, batch.targets_N, self.distribution), hidden_NE

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
        module = {
            name: tensor.detach() for name, tensor in self.policy.module.named_parameters() if tensor.requires_grad
        }
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
            "critic": None if self.critic is None else dict(self.critic.module.state_dict()),
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
        if self.critic is not None:
            self.critic.module.load_state_dict(state["critic"])
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
        old_value_N=batch.old_value_N,
        return_N=batch.return_N,
        origins=batch.origins,
    )


def _decayed(module: nn.Module, weight_decay: float, scale: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay, vectors do not; `scale` multiplies the schedule's learning rate."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay, "scale": scale},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0, "scale": scale},
    ]
