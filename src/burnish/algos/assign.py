"""From judged groups to samples: rewards, a KL in them if asked for, the rule of credit, whitening, one number a token. Pure.

Not for: the rules themselves (credit.py, reward.py), or which groups are trained on (choice.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from burnish.algos.credit import Credit, gae, returns_to_go, whitened
from burnish.algos.objective import KL
from burnish.algos.reward import RewardTable
from burnish.records import Group, Key, Notes, Rollout, Sample


@dataclass(slots=True)
class _Row:
    """A rollout on its way to a sample. `advantage` is of every sampled token, unless `each` holds one a token."""

    key: Key
    rollout: Rollout
    notes: Notes
    reward: float
    penalty: list[float] | None  # [L], the KL's cost of each token
    advantage: float = 0.0
    each: list[float] | None = None
    returns: tuple[float, ...] | None = None


def assign(
    groups: Sequence[Group], notes: Mapping[Key, Notes], reward: RewardTable, credit: Credit, kl: KL | None
) -> list[Sample]:
    """One sample per rollout. Raises ValueError for one without a reward, and for one whose note is missing."""
    rows: list[_Row] = []
    for group in groups:
        made = _rows(group, notes, reward, kl)
        if credit.each_token:
            _credit_tokens(made, credit)
        else:
            _credit_group(made, group, reward, credit)
        rows += made
    if credit.whiten != "off":
        _whiten(rows, credit)
    return [_sample(row) for row in rows]


def kl_costs(rollout: Rollout, notes: Notes, kl: KL) -> list[float]:
    """coefficient * KL estimate of every token, 0.0 where the policy did not write; l is the learner's if it was scored.

    k1 = l - f is the choice: as a reward its gradient is that of the KL, where k2 and k3 keep only a part of theirs.
    """
    if notes.reference is None:
        raise ValueError("a KL in the reward needs the reference's log-probabilities: ask Recipe.needs what to score")
    own = notes.proximal if notes.proximal is not None else rollout.tokens.logprobs
    estimate = _ESTIMATES[kl.chosen]
    return [
        kl.coefficient * estimate(l - f) if sampled else 0.0
        for l, f, sampled in zip(own, notes.reference, rollout.tokens.sampled, strict=True)
    ]


_ESTIMATES: dict[str, Callable[[float], float]] = {
    "k1": lambda apart: apart,
    "k2": lambda apart: 0.5 * apart * apart,
    "k3": lambda apart: math.expm1(min(-apart, 20.0)) + apart,
}


def _rows(group: Group, notes: Mapping[Key, Notes], reward: RewardTable, kl: KL | None) -> list[_Row]:
    rows = []
    for rollout in group.rollouts:
        key, value = group.key(rollout), reward.reward(rollout)
        if value is None:
            raise ValueError(f"rollout {key} has no reward: select the groups before giving them credit")
        if notes and key not in notes:
            raise ValueError(f"rollout {key} has no note: score the groups that were selected")
        note = notes.get(key, Notes())
        for noted in (note.reference, note.proximal, note.values):
            assert noted is None or len(noted) == len(rollout.tokens.ids), (
                f"a note of rollout {key} is not one number a token"
            )
        penalty = kl_costs(rollout, note, kl) if kl is not None and kl.where == "reward" else None
        rows.append(_Row(key, rollout, note, value, penalty))
    return rows


def _credit_group(rows: list[_Row], group: Group, reward: RewardTable, credit: Credit) -> None:
    """One advantage a rollout, from comparing whole rollouts; a KL in the reward counts with its sum."""
    if credit.kind == "each_mean_std":
        advantages = each_on_its_own(group, reward, credit)
    else:
        totals = [row.reward - math.fsum(row.penalty) if row.penalty else row.reward for row in rows]
        advantages = [0.0 if value is None else value for value in credit(totals)]
    for row, advantage in zip(rows, advantages, strict=True):
        row.advantage = advantage
    if credit.centred:
        size = math.fsum(map(abs, advantages))
        assert abs(math.fsum(advantages)) <= 1e-6 * max(1.0, size), f"{rows[0].key}: advantages do not sum to 0"


def each_on_its_own(group: Group, reward: RewardTable, credit: Credit) -> list[float]:
    """GDPO's first half: every reward compared in the group alone, then their weighted sum; a rollout each."""
    found = [reward.rewards(rollout) for rollout in group.rollouts]
    columns = [credit([None if values is None else values[i] for values in found]) for i in range(len(reward.names))]
    return [
        math.fsum(w * (column[i] or 0.0) for w, column in zip(reward.weights, columns, strict=True))
        for i in range(len(found))
    ]


def _credit_tokens(rows: list[_Row], credit: Credit) -> None:
    """The reward at the last token the policy wrote, less each token's KL: what is still to come, or GAE."""
    for row in rows:
        sampled = row.rollout.tokens.sampled
        if credit.kind == "none" and row.penalty is None and credit.gamma == 1.0:
            row.advantage = row.reward
            continue
        last = max(t for t, written in enumerate(sampled) if written)
        token_rewards = [-cost for cost in row.penalty] if row.penalty is not None else [0.0] * len(sampled)
        token_rewards[last] += row.reward
        if credit.kind == "none":
            row.each = returns_to_go(token_rewards, sampled, credit.gamma)
            continue
        if row.notes.values is None:
            raise ValueError(
                f"rollout {row.key} has no values: GAE needs a critic (ask Recipe.needs); without one use another credit"
            )
        row.each, returns = gae(token_rewards, row.notes.values, sampled, credit.gamma, credit.decay)
        row.returns = tuple(returns)


def _whiten(rows: list[_Row], credit: Credit) -> None:
    if any(row.each is not None for row in rows):
        flat: list[tuple[int, int]] = []
        values: list[float] = []
        for number, row in enumerate(rows):
            each = row.each or [row.advantage] * len(row.rollout.tokens.ids)
            row.each = list(each)
            for t, written in enumerate(row.rollout.tokens.sampled):
                if written:
                    flat.append((number, t))
                    values.append(each[t])
        for (number, t), value in zip(
            flat,
            whitened(values, [1] * len(values), "tokens", credit.whiten_deviation, credit.whiten_epsilon),
            strict=True,
        ):
            spread = rows[number].each
            assert spread is not None
            spread[t] = value
        return
    counts = [row.rollout.tokens.sampled_count for row in rows]
    values = [row.advantage for row in rows]
    made = whitened(values, counts, credit.whiten, credit.whiten_deviation, credit.whiten_epsilon)
    for row, value in zip(rows, made, strict=True):
        row.advantage = value


def _sample(row: _Row) -> Sample:
    tokens, rollout = row.rollout.tokens, row.rollout
    if row.each is None:
        spread = tuple(map((0.0, row.advantage).__getitem__, tokens.sampled))  # a bool is the index: no loop in Python
    else:
        spread = tuple(row.each)
    return Sample(row.key, tokens, spread, row.reward, rollout.oldest, rollout.newest, row.notes, row.returns)
