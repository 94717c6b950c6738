"""Samples -> micro-batches of tensors; the only place where tokens become predictions (shifted once, here).

Rows of one prompt share it: it stands once in a micro-batch, followed by their continuations (`SharedPrompts`). Where that saves
little, or rows are long, every row stands whole. Either way rows are sorted by length and cut by a budget of places, padding on the
right included, and what is predicted is flat: N sampled tokens, row after row. Not for: losses.

B rows, T columns, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from burnish.policy.attention import EXPLICIT_MAX_TOKENS, SharedPrompts
from burnish.records import Key, Sample, Tokens

SHARED_MOST = 0.8
"""Prompts are shared where that leaves at most this share of the places."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    inputs_BT    ids; `field[b, t]` is about predicting the token after it. With shared prompts B is 1 and T is every place
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
    positions_BT: Tensor | None = None
    shared: SharedPrompts | None = None

    def layout(self) -> dict[str, Any]:
        """What the decoder must be told beside the ids."""
        return {} if self.shared is None else {"position_ids": self.positions_BT, "view": self.shared}

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        if self.shared is not None:
            prompt_of_B, length_B = self.shared.prompt_of_B.to(device), self.shared.prompt_length_B.to(device)
            moved["shared"] = replace(self.shared, prompt_of_B=prompt_of_B, prompt_length_B=length_B, _biases={})
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


def cut(lengths: Sequence[int], budget: int, heads: Sequence[tuple[int, ...]] | None = None) -> list[list[int]]:
    """Row numbers of each micro-batch: longest first, rows x longest <= budget (a row over the budget goes alone).

    A row of half the length or less begins a new one: padding it would cost more than another pass. `heads` are prompts that
    stand once for all their rows and count towards the budget too.

    >>> cut([3, 9, 4, 8], budget=18)
    [[1, 3], [2, 0]]
    """
    parts: list[list[int]] = []
    width = most = 0
    seen: set[tuple[int, ...]] = set()
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        extra = 0
        if heads is not None:
            most = max(most, len(heads[row]))
            extra = len(seen | {heads[row]}) * most
        if not parts or (len(parts[-1]) + 1) * width + extra > budget or 2 * lengths[row] <= width:
            parts.append([])
            width, seen, most = lengths[row], set(), len(heads[row]) if heads is not None else 0
        parts[-1].append(row)
        if heads is not None:
            seen.add(heads[row])
    return parts


def batches(samples: Sequence[Sample], weights: Mapping[Key, float], version: int, budget: int) -> list[Batch]:
    """Micro-batches of one optimizer step. `weights` holds one weight a sample, by key; `version` is the learner's."""
    kept = [sample for sample in samples if any(sample.tokens.sampled[1:])]
    return [
        _batch([kept[row] for row in rows], weights, version, shared)
        for rows, shared in _cut([sample.tokens for sample in kept], budget)
    ]


def token_batches(rows: Sequence[Tokens], budget: int) -> list[tuple[list[int], Batch]]:
    """Micro-batches for scoring only: (row numbers, batch)."""
    dressed = [Sample(Key("", i), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0) for i, tokens in enumerate(rows)]
    ones = {sample.origin: 1.0 for sample in dressed}
    return [(part, _batch([dressed[row] for row in part], ones, 0, shared)) for part, shared in _cut(rows, budget)]


def _cut(rows: Sequence[Tokens], budget: int) -> list[tuple[list[int], bool]]:
    """Row numbers of each micro-batch, and whether its rows share their prompts."""
    whole = cut([len(tokens.ids) - 1 for tokens in rows], budget)
    if not rows or max(len(tokens.ids) for tokens in rows) > EXPLICIT_MAX_TOKENS:
        return [(part, False) for part in whole]
    heads = [_head(tokens) for tokens in rows]
    parts = cut(
        [max(1, len(tokens.ids) - 1 - len(head)) for tokens, head in zip(rows, heads, strict=True)], budget, heads
    )
    places = sum(len({heads[row] for row in part}) * max(len(heads[row]) for row in part) for part in parts)
    places += sum(len(part) * max(len(rows[row].ids) - len(heads[row]) for row in part) for part in parts)
    alone = sum(len(part) * max(len(rows[row].ids) for row in part) for part in whole)
    return [(part, True) for part in parts] if places <= SHARED_MOST * alone else [(part, False) for part in whole]


def _head(tokens: Tokens) -> tuple[int, ...]:
    """What comes before the first token the policy wrote: the prompt."""
    return tokens.ids[: max(1, tokens.sampled.index(True))]


def _batch(samples: Sequence[Sample], weights: Mapping[Key, float], version: int, shared: bool) -> Batch:
    inputs, place, layout = (_shared if shared else _whole)([sample.tokens for sample in samples])
    target: list[int] = []
    row: list[int] = []
    for b, sample in enumerate(samples):
        predicted = _predicted(sample.tokens)
        target += [sample.tokens.ids[t] for t in predicted]
        row += [b] * len(predicted)

    def flat(read: Callable[[Sample], Sequence[float]]) -> Tensor:
        return torch.tensor([read(s)[t] for s in samples for t in _predicted(s.tokens)], dtype=torch.float32)

    def noted(name: str) -> Tensor | None:
        if any(getattr(sample.notes, name) is None for sample in samples):
            return None
        return flat(lambda sample: getattr(sample.notes, name))

    row_N = torch.tensor(row)
    return Batch(
        inputs,
        torch.tensor(place),
        torch.tensor(target),
        row_N,
        flat(lambda sample: sample.tokens.logprobs),
        flat(lambda sample: sample.advantages),
        torch.tensor([weights[sample.origin] for sample in samples])[row_N],
        torch.tensor([sample.oldest == sample.newest == version for sample in samples])[row_N],
        noted("reference"),
        noted("proximal"),
        **layout,
    )


def _predicted(tokens: Tokens) -> list[int]:
    return [t for t in range(1, len(tokens.ids)) if tokens.sampled[t]]


def _whole(rows: Sequence[Tokens]) -> tuple[Tensor, list[int], dict[str, Any]]:
    """Every row stands whole: (inputs [B, T], places of the predictions, layout)."""
    width = max(len(tokens.ids) for tokens in rows) - 1
    inputs_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for b, tokens in enumerate(rows):
        inputs_BT[b, : len(tokens.ids) - 1] = torch.tensor(tokens.ids[:-1])
    return inputs_BT, [b * width + t - 1 for b, tokens in enumerate(rows) for t in _predicted(tokens)], {}


def _shared(rows: Sequence[Tokens]) -> tuple[Tensor, list[int], dict[str, Any]]:
    """Prompts once, then what follows them: (inputs [1, N], places of the predictions, layout)."""
    heads = [_head(tokens) for tokens in rows]
    number = {head: u for u, head in enumerate(dict.fromkeys(heads))}
    U, P, B = len(number), max(map(len, heads)), len(rows)
    C = max(1, max(len(tokens.ids) - 1 - len(head) for tokens, head in zip(rows, heads, strict=True)))
    prompts_UP, own_BC = torch.zeros(U, P, dtype=torch.long), torch.zeros(B, C, dtype=torch.long)
    for head, u in number.items():
        prompts_UP[u, : len(head)] = torch.tensor(head)
    place: list[int] = []
    for b, (tokens, head) in enumerate(zip(rows, heads, strict=True)):
        own = tokens.ids[len(head) : -1]
        own_BC[b, : len(own)] = torch.tensor(own, dtype=torch.long)
        start = U * P + b * C - len(head)
        # The token after the prompt is predicted from the prompt's last place, which all its rows share.
        place += [start + t - 1 if t > len(head) else number[head] * P + t - 1 for t in _predicted(tokens)]
    length_B = torch.tensor([len(head) for head in heads])
    positions = torch.cat([torch.arange(P).expand(U, P).flatten(), (length_B[:, None] + torch.arange(C)).flatten()])
    view = SharedPrompts(U, P, B, C, torch.tensor([number[head] for head in heads]), length_B)
    inputs_1N = torch.cat([prompts_UP.flatten(), own_BC.flatten()])[None]
    return inputs_1N, place, {"positions_BT": positions[None], "shared": view}
