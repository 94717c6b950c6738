"""The value function that is trained beside a policy: on a network of its own, or as a head on the policy's. Scores by reward models.

Not for: advantages and returns (algos), or what a value loss is (it is handed in).

B rows, T tokens, N sampled tokens, E hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from burnish.errors import ModelError
from burnish.learner.batch import Batch, token_batches
from burnish.metrics import Metrics
from burnish.policy.fused import Fused
from burnish.policy.heads import Scorer, head_values
from burnish.policy.model import Policy
from burnish.records import Group, Rollout, Tokens

ValueLoss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Metrics]]
"""(value_N, old_value_N, return_N, weight_N) -> the scalar loss of a micro-batch, its coefficient included, and its metrics."""


@dataclass
class Critic:
    """A value for every sampled token: what is expected from there on, seen from the place that predicts it.

    network      a Scorer (a trunk of its own), or a linear head [E -> 1] on the policy's hidden states
    loss         what the values are pulled by; it is added to the policy's loss
    lr           peak learning rate of its weights; the schedule is the policy's
    """

    network: Scorer | nn.Linear
    loss: ValueLoss
    lr: float = 1e-5

    @property
    def module(self) -> Any:
        """What holds the weights that the policy's module does not."""
        return self.network.module if isinstance(self.network, Scorer) else self.network

    def values(self, hidden_NE: Tensor, batch: Batch, fused: Fused | None, trunk: Fused | None) -> Tensor:
        """Values [N], differentiable. `hidden_NE` are the policy's, read where the trunk is shared.

        fused, trunk  the compiled paths of the policy and of a trunk of its own, whose states are before the last norm
        """
        if isinstance(self.network, Scorer):
            return self.network.values(predicting_states(self.network, batch, trunk))
        return head_values(self.network, hidden_NE if fused is None else fused.normed(hidden_NE))

    @torch.no_grad()
    def score(self, policy: Policy, rows: Sequence[Tokens], budget: int) -> list[tuple[float, ...]]:
        """Values [L] of every row's sampled tokens; 0.0 at the others."""
        trunk = self.network if isinstance(self.network, Scorer) else policy
        head = self.module.score if isinstance(self.network, Scorer) else self.network
        return place_values(trunk, head, rows, budget)


def predicting_states(network: Policy, batch: Batch, fused: Fused | None = None) -> Tensor:
    """The last hidden states [N, E] at the places that predict, with their graph."""
    if fused is not None and batch.end_to_end is not None:
        return fused.normed(fused.hidden(batch.end_to_end, batch.place_N))
    with network.precision():
        hidden_BTE = network.hidden(batch.inputs_BT, **batch.layout())
    return hidden_BTE.flatten(0, 1).index_select(0, batch.place_N)


def shared_head(policy: Policy) -> nn.Linear:
    """A head on the policy's hidden states; it starts at zero, so that the first values are 0."""
    head = nn.Linear(int(policy.module.config.get_text_config().hidden_size), 1, bias=False, device=policy.device)
    nn.init.zeros_(head.weight)
    return head


@torch.no_grad()
def place_values(trunk: Policy, head: Any, rows: Sequence[Tokens], budget: int) -> list[tuple[float, ...]]:
    """What a head says at the places that predict each row's sampled tokens, [L]; 0.0 at the others."""
    results = [[0.0] * len(tokens.ids) for tokens in rows]
    written = [number for number, tokens in enumerate(rows) if any(tokens.sampled[1:])]
    with trunk.evaluating():
        fused = Fused.of(trunk)
        for numbers, batch in token_batches([rows[i] for i in written], budget, fused is not None, not trunk.lays_out):
            hidden_NE = predicting_states(trunk, batch.to(trunk.device), fused)
            flat = iter(head_values(head, hidden_NE).tolist())
            for number in (written[i] for i in numbers):
                for t in range(1, len(rows[number].ids)):
                    if rows[number].sampled[t]:
                        results[number][t] = next(flat)
    return [tuple(result) for result in results]


def reward_row(prompt_ids: tuple[int, ...], completion_ids: tuple[int, ...]) -> Tokens:
    """A row whose last value is the score of the completion: one token more than it has, so that its end is a place that predicts."""
    ids = completion_ids + completion_ids[-1:]
    return Tokens.join(prompt_ids, ids, (0.0,) * len(ids))


def scores(model: Scorer, rows: Sequence[Tokens], budget: int = 8192) -> list[float]:
    """One score for each `reward_row`. Raises ModelError where a row is longer than the model's context."""
    longest = max((len(row.ids) - 1 for row in rows), default=0)
    if longest > model.context:
        raise ModelError(
            f"A row of {longest} tokens is to be scored, but the reward model's context is {model.context}."
        )
    return [values[-1] for values in place_values(model, model.module.score, rows, budget)]


REWARD_PART = "reward_model"
"""The part of a verdict that holds s(score) of a reward model: how likely it holds the rollout to beat one of score 0."""


def annotated(
    model: Scorer,
    groups: Sequence[Group],
    encode: Callable[[Group, Rollout], tuple[tuple[int, ...], tuple[int, ...]]],
    budget: int = 8192,
) -> list[Group]:
    """The groups with s(score) of each rollout among the parts of its verdict: one more fact about it, no reward yet.

    s is the logistic function, so a part is in [0, 1] as all parts are, and its order is that of the scores.

    encode  gives prompt and completion ids in the reward model's own tokenizer
    """
    rows = [reward_row(*encode(group, rollout)) for group in groups for rollout in group.rollouts]
    given = iter(scores(model, rows, budget))

    def judged(rollout: Rollout) -> Rollout:
        parts = {**rollout.verdict.parts, REWARD_PART: _logistic(next(given))}
        return replace(rollout, verdict=replace(rollout.verdict, parts=parts))

    return [replace(group, rollouts=tuple(judged(rollout) for rollout in group.rollouts)) for group in groups]


def _logistic(score: float) -> float:
    return 1.0 / (1.0 + math.exp(-score)) if score >= 0 else math.exp(max(score, -700.0)) / (1.0 + math.exp(score))
