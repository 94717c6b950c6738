"""Samples -> micro-batches of tensors; the only place where tokens become predictions (shifted once, here).

Rows are sorted by length and cut by a budget of padded tokens; padding is on the right. What is predicted is flat: N sampled
tokens of a micro-batch, row after row. Not for: losses.

B rows, T columns, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from burnish.records import Key, Sample, Tokens


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    inputs_BT    ids; `field[b, t]` is about predicting token t + 1
    place_N      where the N predictions are in the flattened [B * T]
    targets_N    the ids predicted
    row_N        which row each belongs to
    sampler_N, advantage_N, weight_N, on_policy_N and, if every sample has them, reference_N, proximal_N: see TokenFields
    """

    inputs_BT: Tensor
    place_N: Tensor
    targets_N: Tensor
    row_N: Tensor
    sampler_N: Tensor
    advantage_N: Tensor
    weight_N: Tensor
    on_policy_N: Tensor
    reference_N: Tensor | None = None
    proximal_N: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class TokenFields:
    """What an objective sees: flat tensors over the N sampled tokens of whole rows. (See burnish.algos.losses.)

    logp_N is differentiable; all others are constants. The loss is a sum weighted by weight_N, so any split of the rows of an
    optimizer step into micro-batches adds up to the same gradient.
    """

    logp_N: Tensor
    sampler_N: Tensor
    advantage_N: Tensor
    weight_N: Tensor
    row_N: Tensor
    on_policy_N: Tensor
    reference_N: Tensor | None = None
    proximal_N: Tensor | None = None
    entropy_N: Tensor | None = None


def cut(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Row numbers of each micro-batch: longest first, rows x longest <= budget (a row over the budget goes alone).

    A row of half the length or less begins a new one: padding it would cost more than another pass.

    >>> cut([3, 9, 4, 8], budget=18)
    [[1, 3], [2, 0]]
    """
    parts: list[list[int]] = []
    width = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not parts or (len(parts[-1]) + 1) * width > budget or 2 * lengths[row] <= width:
            parts.append([])
            width = lengths[row]
        parts[-1].append(row)
    return parts


def batches(samples: Sequence[Sample], weights: Mapping[Key, float], version: int, budget: int) -> list[Batch]:
    """Micro-batches of one optimizer step. `weights` holds one weight a sample, by key; `version` is the learner's."""
    kept = [sample for sample in samples if any(sample.tokens.sampled[1:])]
    return [
        _batch([kept[row] for row in rows], weights, version)
        for rows in cut([len(sample.tokens.ids) - 1 for sample in kept], budget)
    ]


def token_batches(rows: Sequence[Tokens], budget: int) -> list[tuple[list[int], Batch]]:
    """Micro-batches for scoring only: (row numbers, batch)."""
    dressed = [Sample(Key("", i), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0) for i, tokens in enumerate(rows)]
    ones = {sample.origin: 1.0 for sample in dressed}
    return [
        (part, _batch([dressed[row] for row in part], ones, 0)) for part in cut([len(t.ids) - 1 for t in rows], budget)
    ]


def _batch(samples: Sequence[Sample], weights: Mapping[Key, float], version: int) -> Batch:
    width = max(len(sample.tokens.ids) for sample in samples) - 1
    inputs_BT = torch.zeros(len(samples), width, dtype=torch.long)
    place: list[int] = []
    target: list[int] = []
    row: list[int] = []
    for b, sample in enumerate(samples):
        ids, sampled = sample.tokens.ids, sample.tokens.sampled
        inputs_BT[b, : len(ids) - 1] = torch.tensor(ids[:-1])
        predicted = [t for t in range(1, len(ids)) if sampled[t]]
        place += [b * width + t - 1 for t in predicted]
        target += [ids[t] for t in predicted]
        row += [b] * len(predicted)

    def flat(read: Callable[[Sample], Sequence[float]]) -> Tensor:
        return torch.tensor(
            [x for s in samples for x, wanted in zip(read(s)[1:], s.tokens.sampled[1:], strict=True) if wanted],
            dtype=torch.float32,
        )

    def noted(name: str) -> Tensor | None:
        if any(getattr(sample.notes, name) is None for sample in samples):
            return None
        return flat(lambda sample: getattr(sample.notes, name))

    row_N = torch.tensor(row)
    return Batch(
        inputs_BT,
        torch.tensor(place),
        torch.tensor(target),
        row_N,
        flat(lambda sample: sample.tokens.logprobs),
        flat(lambda sample: sample.advantages),
        torch.tensor([weights[sample.origin] for sample in samples])[row_N],
        torch.tensor([sample.oldest == sample.newest == version for sample in samples])[row_N],
        noted("reference"),
        noted("proximal"),
    )
