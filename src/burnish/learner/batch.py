"""Samples -> micro-batches of tensors; the only place where tokens become predictions (shifted once, here).

Rows of one prompt share it: it stands once in a micro-batch, followed by their continuations. Where the compiled kernels serve the
policy they are laid end to end without padding (`PackedRows`). For the module they are padded on the right and sorted by length
(`SharedPrompts`), and where sharing saves little, or rows are long, every row stands whole. Either way micro-batches are cut by a
budget of places, and what is predicted is flat: N sampled tokens, row after row. Not for: losses.

B rows, T columns, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from burnish.policy.attention import EXPLICIT_MAX_TOKENS, Packed, SharedPrompts
from burnish.policy.fused_layer import PackedRows
from burnish.records import Key, Sample, Tokens

Layout = Literal["auto", "pairs", "packed"]
Lay = Callable[[Sequence[Tokens]], tuple[Tensor, list[int], dict[str, Any]]]
SHARED_MOST = 0.8
"""Prompts are shared where that leaves at most this share of the places."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    inputs_BT    ids; `field[b, t]` is about predicting the token after it. With shared prompts B is 1 and T is every place
    place_N      where the N predictions are in the flattened [B * T]
    targets_N    the ids predicted
    row_N        which row each belongs to
    sampler_N, advantage_N, weight_N, on_policy_N and, if every sample has them, reference_N, proximal_N, old_value_N,
    return_N: see TokenFields
    origins      the key of each row, by row_N
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
    packed: Packed | None = None
    end_to_end: PackedRows | None = None
    origins: tuple[Key, ...] = ()
    old_value_N: Tensor | None = None
    return_N: Tensor | None = None

    def layout(self) -> dict[str, Any]:
        """What the decoder must be told beside the ids."""
        view = self.shared if self.packed is None else self.packed
        return {} if view is None else {"position_ids": self.positions_BT, "view": view}

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {n: value.to(device) for n, value in vars(self).items() if isinstance(value, Tensor)}
        if self.shared is not None:
            prompt_of_B, length_B = self.shared.prompt_of_B.to(device), self.shared.prompt_length_B.to(device)
            moved["shared"] = replace(self.shared, prompt_of_B=prompt_of_B, prompt_length_B=length_B, _biases={})
        if self.packed is not None:
            moved["packed"] = replace(self.packed, place_N=self.packed.place_N.to(device))
        return replace(self, **moved)


@dataclass(frozen=True)
class TokenFields:
    """What an objective sees: flat tensors over the N sampled tokens of whole rows. (See burnish.algos.losses.)

    logp_N is differentiable, and value_N where there is a critic or the network is a scorer; all others are constants. `origins`
    are the keys of the rows that row_N counts; old_value_N and return_N are what was recorded and what it led to. The loss is a sum
    weighted by weight_N, so any split of the rows of an optimizer step into micro-batches adds up to the same gradient.
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
    value_N: Tensor | None = None
    old_value_N: Tensor | None = None
    return_N: Tensor | None = None
    origins: tuple[Key, ...] = ()


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


def batches(
    samples: Sequence[Sample],
    weights: Mapping[Key, float],
    version: int,
    budget: int,
    layout: Layout = "auto",
    fused: bool = False,
    alone: bool = False,
) -> list[Batch]:
    """Micro-batches of one optimizer step. `weights` holds one weight a sample, by key; `version` is the learner's.

    layout  "auto" shares prompts where that pays; "pairs" does too and keeps the samples of one problem in one micro-batch, side by
            side; "packed" lays rows end to end, each attending to itself alone
    fused   the compiled kernels take it: nothing is padded, prompts are shared always, and of the layouts only "pairs" differs
    alone   the network can do none of that (`Policy.lays_out`): every row stands whole
    """
    kept = [sample for sample in samples if any(sample.tokens.sampled[1:])]
    rows = [sample.tokens for sample in kept]
    parts: list[tuple[list[int], Lay]]
    if fused:
        units = [sample.origin.problem_id for sample in kept] if layout == "pairs" else None
        parts = [(part, _end_to_end) for part in _cut_end_to_end(rows, budget, units)]
    elif layout == "packed" and not alone:
        parts = [(part, _packed) for part in cut_packed([len(tokens.ids) - 1 for tokens in rows], budget)]
    else:
        cuts = _cut_pairs(kept, budget) if layout == "pairs" else _cut(rows, budget, alone)
        parts = [(part, _shared if shared and not alone else _whole) for part, shared in cuts]
    return [_batch([kept[row] for row in part], weights, version, lay) for part, lay in parts]


def token_batches(
    rows: Sequence[Tokens], budget: int, fused: bool = False, alone: bool = False
) -> list[tuple[list[int], Batch]]:
    """Micro-batches for scoring only: (row numbers, batch). `fused`, `alone`: see `batches`."""
    dressed = [Sample(Key("", i), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0) for i, tokens in enumerate(rows)]
    ones = {sample.origin: 1.0 for sample in dressed}
    parts: list[tuple[list[int], Lay]]
    if fused:
        parts = [(part, _end_to_end) for part in _cut_end_to_end(rows, budget)]
    else:
        parts = [(part, _shared if shared else _whole) for part, shared in _cut(rows, budget, alone)]
    return [(part, _batch([dressed[row] for row in part], ones, 0, lay)) for part, lay in parts]


def cut_packed(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Row numbers of each pack: longest first, so that rows of a pack are of about one length, sum of lengths <= budget.

    >>> cut_packed([3, 9, 4, 8], budget=12)
    [[1], [3, 2], [0]]
    """
    parts: list[list[int]] = []
    filled = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not parts or filled + lengths[row] > budget:
            parts.append([])
            filled = 0
        parts[-1].append(row)
        filled += lengths[row]
    return parts


def _cut_pairs(samples: Sequence[Sample], budget: int) -> list[tuple[list[int], bool]]:
    """As `_cut`, with all samples of a problem in one micro-batch; a problem over the budget goes alone."""
    units: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        units.setdefault(sample.origin.problem_id, []).append(number)
    size = [len(sample.tokens.ids) - 1 for sample in samples]
    parts: list[list[int]] = []
    width = 0
    for unit in sorted(units.values(), key=lambda unit: (-max(size[row] for row in unit), unit)):
        longest = max(size[row] for row in unit)
        if not parts or (len(parts[-1]) + len(unit)) * width > budget or 2 * longest <= width:
            parts.append([])
            width = longest
        parts[-1] += unit
    return [(part, _sharing_pays([samples[row].tokens for row in part])) for part in parts]


def _sharing_pays(rows: Sequence[Tokens]) -> bool:
    """Whether these rows stand in at most SHARED_MOST of the places when each prompt stands once."""
    longest = max(len(tokens.ids) for tokens in rows)
    if longest > EXPLICIT_MAX_TOKENS:
        return False
    heads = [_head(tokens) for tokens in rows]
    own = max(1, max(len(tokens.ids) - 1 - len(head) for tokens, head in zip(rows, heads, strict=True)))
    return len(set(heads)) * max(map(len, heads)) + len(rows) * own <= SHARED_MOST * len(rows) * (longest - 1)


def _cut_end_to_end(rows: Sequence[Tokens], budget: int, units: Sequence[str] | None = None) -> list[list[int]]:
    """`cut_families` of rows: what they start with, and how many places of their own they have."""
    heads = [_head(tokens) for tokens in rows]
    own = [len(tokens.ids) - 1 - len(head) for tokens, head in zip(rows, heads, strict=True)]
    return cut_families(heads, own, budget, units)


def cut_families(
    heads: Sequence[tuple[int, ...]], lengths: Sequence[int], budget: int, units: Sequence[str] | None = None
) -> list[list[int]]:
    """Row numbers of each micro-batch of rows laid end to end: a prompt's places count once, each row's own always.

    Rows of one prompt stay together, and prompts with the most places go first. Rows of one unit are never parted.

    >>> cut_families([(1, 2), (3,), (1, 2)], [4, 1, 2], budget=8)
    [[0, 2], [1]]
    """
    families: dict[Any, list[int]] = {}
    for row, name in enumerate(heads if units is None else units):
        families.setdefault(name, []).append(row)
    parts: list[list[int]] = []
    seen: set[tuple[int, ...]] = set()
    room = 0
    for family in sorted(families.values(), key=lambda rows: -sum(lengths[row] for row in rows)):
        for chunk in [family] if units is not None else [[row] for row in family]:
            own = sum(lengths[row] for row in chunk)
            cost = own + sum(map(len, {heads[row] for row in chunk} - seen))
            if not parts or cost > room:
                parts.append([])
                seen, room = set(), budget
                cost = own + sum(map(len, {heads[row] for row in chunk}))
            parts[-1] += chunk
            seen |= {heads[row] for row in chunk}
            room -= cost
    return parts


def _cut(rows: Sequence[Tokens], budget: int, alone: bool = False) -> list[tuple[list[int], bool]]:
    """Row numbers of each micro-batch, and whether its rows share their prompts."""
    whole = cut([len(tokens.ids) - 1 for tokens in rows], budget)
    if alone or not rows or max(len(tokens.ids) for tokens in rows) > EXPLICIT_MAX_TOKENS:
        return [(part, False) for part in whole]
    heads = [_head(tokens) for tokens in rows]
    parts = cut(
        [max(1, len(tokens.ids) - 1 - len(head)) for tokens, head in zip(rows, heads, strict=True)], budget, heads
    )
    places = sum(len({heads[row] for row in part}) * max(len(heads[row]) for row in part) for part in parts)
    places += sum(len(part) * max(len(rows[row].ids) - len(heads[row]) for row in part) for part in parts)
    padded = sum(len(part) * max(len(rows[row].ids) for row in part) for part in whole)
    return [(part, True) for part in parts] if places <= SHARED_MOST * padded else [(part, False) for part in whole]


def _head(tokens: Tokens) -> tuple[int, ...]:
    """What comes before the first token the policy wrote: the prompt."""
    return tokens.ids[: max(1, tokens.sampled.index(True))]


def _batch(samples: Sequence[Sample], weights: Mapping[Key, float], version: int, lay: Lay) -> Batch:
    inputs, place, layout = lay([sample.tokens for sample in samples])
    written = [(False, *sample.tokens.sampled[1:]) for sample in samples]
    counts = torch.tensor([sum(mask) for mask in written])

    def picked(columns: Iterable[Sequence[float]], dtype: type) -> Tensor:
        """The numbers of the predicted tokens, row after row. (Token by token in Python this costs more than the kernels' work.)"""
        values = chain.from_iterable(map(compress, columns, written))
        return torch.from_numpy(np.fromiter(values, dtype, count=len(place)))

    def flat(read: Callable[[Sample], Sequence[float]]) -> Tensor:
        return picked(map(read, samples), np.float32)

    def noted(name: str) -> Tensor | None:
        if any(getattr(sample.notes, name) is None for sample in samples):
            return None
        return flat(lambda sample: getattr(sample.notes, name))

    def given(read: Callable[[Sample], Sequence[float] | None]) -> Tensor | None:
        return None if any(read(sample) is None for sample in samples) else flat(lambda sample: read(sample) or ())

    row_N = torch.repeat_interleave(counts)
    return Batch(
        inputs,
        torch.from_numpy(np.fromiter(place, np.int64, count=len(place))),
        picked((sample.tokens.ids for sample in samples), np.int64),
        row_N,
        flat(lambda sample: sample.tokens.logprobs),
        flat(lambda sample: sample.advantages),
        torch.tensor([weights[sample.origin] for sample in samples])[row_N],
        torch.tensor([sample.oldest == sample.newest == version for sample in samples])[row_N],
        noted("reference"),
        noted("proximal"),
        **layout,
        origins=tuple(sample.origin for sample in samples),
        old_value_N=noted("values"),
        return_N=given(lambda sample: sample.returns),
    )


def _predicted(tokens: Tokens) -> list[int]:
    return list(compress(range(1, len(tokens.ids)), tokens.sampled[1:]))


def _whole(rows: Sequence[Tokens]) -> tuple[Tensor, list[int], dict[str, Any]]:
    """Every row stands whole: (inputs [B, T], places of the predictions, layout)."""
    width = max(len(tokens.ids) for tokens in rows) - 1
    inputs_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for b, tokens in enumerate(rows):
        inputs_BT[b, : len(tokens.ids) - 1] = torch.tensor(tokens.ids[:-1])
    return inputs_BT, [b * width + t - 1 for b, tokens in enumerate(rows) for t in _predicted(tokens)], {}


def _packed(rows: Sequence[Tokens]) -> tuple[Tensor, list[int], dict[str, Any]]:
    """Rows end to end without padding: (inputs [1, N], places of the predictions, layout)."""
    sizes = [len(tokens.ids) - 1 for tokens in rows]
    width = max(sizes)
    starts = [sum(sizes[:b]) for b in range(len(sizes))]
    inputs_1N = torch.tensor([[token for tokens in rows for token in tokens.ids[:-1]]])
    positions = torch.cat([torch.arange(size) for size in sizes])
    grid = torch.cat([b * width + torch.arange(size) for b, size in enumerate(sizes)])
    place = [starts[b] + t - 1 for b, tokens in enumerate(rows) for t in _predicted(tokens)]
    return inputs_1N, place, {"positions_BT": positions[None], "packed": Packed(len(rows), width, grid)}


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


def _end_to_end(rows: Sequence[Tokens]) -> tuple[Tensor, list[int], dict[str, Any]]:
    """Prompts once, each followed by what goes on from it, nothing padded: (inputs [1, N], places of the predictions, layout)."""
    heads = [_head(tokens) for tokens in rows]
    families: dict[tuple[int, ...], list[int]] = {}
    for b, head in enumerate(heads):
        families.setdefault(head, []).append(b)
    ids: list[int] = []
    position: list[int] = []
    spans: list[tuple[int, int, int, int]] = []
    groups = [0]
    place_of: dict[int, list[int]] = {}
    for head, members in families.items():
        shared = len(head) > 0  # by one row too: what follows a prompt then has the same bits whoever else follows it
        start = len(ids)
        if shared:
            ids += head
            position += range(len(head))
            spans.append((0, 0, start, len(head)))
        for b in members:
            tokens, skip = rows[b], len(head) if shared else 0
            own, count = len(ids), len(tokens.ids) - 1 - skip
            ids += tokens.ids[skip:-1]
            position += range(skip, skip + count)
            if count:
                spans.append((start, skip, own, count) if shared else (0, 0, own, count))
            # Token t is predicted from the place of token t - 1, which may be the prompt's last.
            place_of[b] = [own + t - 1 - skip if t > skip else start + t - 1 for t in _predicted(tokens)]
        groups.append(len(spans))
    packed = PackedRows(
        torch.tensor(ids),
        torch.tensor(position),
        torch.tensor(spans, dtype=torch.int32),
        torch.tensor(groups, dtype=torch.int32),
    )
    return packed.ids_N[None], [place for b in range(len(rows)) for place in place_of[b]], {"end_to_end": packed}
