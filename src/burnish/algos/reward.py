"""From a verdict (a fact) to a reward (a choice): the first axis of a recipe.

A table says what each verdict is worth; further rewards, each with a name and a weight, may stand beside it: the verdict's
own parts (form, thought), the soft overlong penalty, and terms of length. `RewardTable.reward` is their weighted sum,
`RewardTable.rewards` gives them one by one for a credit that normalises each on its own (GDPO).

Not for: judging text (verify does that), or comparing the rollouts of a group (credit does that).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from burnish.errors import ConfigError, nearest
from burnish.records import Rollout

MOST_FORMAT_BONUS = 0.1  # above this, a policy can earn more by dressing wrong answers well than by being right
LengthKind = Literal["linear", "target"]


@dataclass(frozen=True, slots=True)
class Overlong:
    """The soft overlong penalty of DAPO (Yu et al. 2025, arXiv 2503.14476, Eq. 13), n being the sampled tokens:

        0                                     n <= limit - buffer
        -penalty (n - (limit - buffer)) / buffer     up to the limit, -penalty from there on

    verl, AReaL, TRL and OpenRLHF give the same up to the limit; beyond it verl goes on falling, TRL and OpenRLHF stop at -penalty,
    and so does this. Raises ConfigError unless 0 < buffer <= limit and penalty > 0.
    """

    limit: int
    buffer: int
    penalty: float = 1.0
    name: str = "overlong"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise ConfigError(
                f"overlong_buffer is {self.buffer}: give a number of tokens from 1 to the limit, {self.limit}."
            )
        _positive("overlong_penalty", self.penalty)

    def __call__(self, rollout: Rollout) -> float:
        over = rollout.tokens.sampled_count - (self.limit - self.buffer)
        return -self.penalty * min(1.0, max(0.0, over / self.buffer))


@dataclass(frozen=True, slots=True)
class Length:
    """A term of length, n being the sampled tokens and `tokens` the setting:

        linear   -n / tokens              shorter is always better; the shape of L1-Max and of length-penalised RL
        target   -|n - tokens| / tokens   as near to a length as can be: L1-Exact (Aggarwal & Welleck 2025, arXiv 2503.04697),
                                          whose alpha is weight / tokens

    Both apply to right and wrong alike: a term for right answers only would reward long wrong ones by comparison.
    Raises ConfigError unless `tokens` and `weight` are above 0.
    """

    kind: LengthKind
    tokens: int
    weight: float
    name: str = "length"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ConfigError(f"length_tokens is {self.tokens}: give a number of tokens from 1 up.")
        _positive("length_weight", self.weight)

    def __call__(self, rollout: Rollout) -> float:
        count = rollout.tokens.sampled_count
        return -(count if self.kind == "linear" else abs(count - self.tokens)) / self.tokens


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the verdict as a reward of its own: `Part("format", 0.1)`. Parts are in [0, 1].

    Calling it raises ConfigError where the verifier gives no such part: a reward that is always 0 would have no effect.
    """

    name: str
    weight: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or self.weight == 0.0:
            raise ConfigError(f"reward_parts.{self.name} is {self.weight!r}: give a finite weight other than 0.")

    def __call__(self, rollout: Rollout) -> float:
        parts = rollout.verdict.parts
        if self.name not in parts:
            there = ", ".join(sorted(parts)) or "none"
            raise ConfigError(
                f"reward_parts names {self.name!r}, but the verifier gives no such part (it gives: {there})."
            )
        return _unit(self.name, parts[self.name])


Term = Overlong | Length | Part


@dataclass(frozen=True, slots=True)
class RewardTable:
    """What each verdict is worth, for a trace that finished (wrote its stop token) or was cut at `max_new`.

                     finished   cut
        right        right      cut_right  (None: as `right`)
        wrong        wrong      cut_wrong  (None: as `wrong`)
        no_verdict   nothing, ever: a checker that failed is not a wrong answer

    `format_bonus` (0 to 0.1) is added in proportion to the verdict's part "format". `terms` are further rewards; `weight`
    is the table's own among them (0: they take its place). Raises ConfigError for a number that is not finite, a bonus out of
    range, `right` not above `wrong`, or two terms of one name.

    >>> RewardTable(right=1.0, wrong=0.0, cut_wrong=-0.5)
    """

    right: float = 1.0
    wrong: float = 0.0
    cut_right: float | None = None
    cut_wrong: float | None = None
    format_bonus: float = 0.0
    weight: float = 1.0
    terms: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, float | int) and not math.isfinite(value):
                raise ConfigError(f"reward_{setting.name} is {value!r}: give a finite number.")
        if self.right <= self.wrong:
            raise ConfigError(f"reward_right {self.right!r} is not above reward_wrong {self.wrong!r}: raise it.")
        if not 0.0 <= self.format_bonus <= MOST_FORMAT_BONUS:
            raise ConfigError(f"reward_format_bonus is {self.format_bonus!r}: keep it from 0 to {MOST_FORMAT_BONUS}.")
        if self.weight != 0.0 or not self.terms:  # 0: another reward takes the verdict's place
            _positive("reward_weight", self.weight)
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"Two rewards have the same name among {', '.join(self.names)}: give each its own.")

    @property
    def names(self) -> tuple[str, ...]:
        """The rewards by name, the table's own first: ("verdict", "overlong")."""
        return ("verdict", *(term.name for term in self.terms))

    @property
    def weights(self) -> tuple[float, ...]:
        """What each is multiplied by."""
        return (self.weight, *(term.weight for term in self.terms))

    @property
    def least(self) -> float:
        """The smallest cell of the table."""
        cells = (self.right, self.wrong, self.cut_right, self.cut_wrong)
        return min(cell for cell in cells if cell is not None)

    def rewards(self, rollout: Rollout) -> tuple[float, ...] | None:
        """Each reward of one rollout, before its weight, in the order of `names`; None where nothing is known about it.

        None for no_verdict, for a trace that was aborted (the machinery stopped it, not the policy), and for one in
        which the policy wrote no token. Raises ValueError where a part of the verdict is outside [0, 1].
        """
        verdict = rollout.verdict
        if verdict.outcome == "no_verdict" or rollout.stop == "aborted" or not any(rollout.tokens.sampled):
            return None
        cut = rollout.stop == "length"
        if verdict.outcome == "right":
            value = self.cut_right if cut and self.cut_right is not None else self.right
        else:
            value = self.cut_wrong if cut and self.cut_wrong is not None else self.wrong
        if self.format_bonus:
            value += self.format_bonus * _unit("format", verdict.parts.get("format", 0.0))
        return (value, *(term(rollout) for term in self.terms))

    def reward(self, rollout: Rollout) -> float | None:
        """The reward of one rollout, the weighted sum of `rewards`; None where nothing is known about it."""
        found = self.rewards(rollout)
        if found is None:
            return None
        if len(found) == 1:
            return self.weight * found[0]
        return math.fsum(weight * value for weight, value in zip(self.weights, found, strict=True))


TABLE_SHAPE = "rows right and wrong, columns finished and cut."


def table_of(cells: Mapping[str, Any]) -> dict[str, float]:
    """The fields of a RewardTable from a whole table, as a run file writes it:

        reward_table = {right = {finished = 1.0, cut = 0.5}, wrong = {finished = 0.0, cut = -0.5}}

    Raises ConfigError where a cell is missing, unknown or no number, and for a row "no_verdict": that has no number.
    """
    names = {("right", "finished"): "right", ("right", "cut"): "cut_right"}
    names |= {("wrong", "finished"): "wrong", ("wrong", "cut"): "cut_wrong"}
    if "no_verdict" in cells:
        raise ConfigError(
            "reward_table has a row no_verdict: a rollout without a verdict is never trained on, so it has no number; leave the row out."
        )
    for row, columns in cells.items():  # before what is missing: a misspelt row is both
        if row not in ("right", "wrong"):
            raise ConfigError(f"reward_table has no cell {row!r}{nearest(row, ('right', 'wrong'))}: {TABLE_SHAPE}")
        for column in columns if isinstance(columns, Mapping) else ():
            if (row, column) not in names:
                near = nearest(column, ("finished", "cut"))
                raise ConfigError(f"reward_table has no cell {f'{row}.{column}'!r}{near}: {TABLE_SHAPE}")
    found: dict[str, float] = {}
    for row, column in names:
        given = cells.get(row)
        if not isinstance(given, Mapping) or column not in given:
            raise ConfigError(f"reward_table has no number for {row} x {column}: give all four cells.")
        value = given[column]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"reward_table.{row}.{column} is {value!r}: give a number.")
        found[names[row, column]] = float(value)
    return found


def _unit(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"the verdict's part {name!r} is {value!r}: a verifier must give a number in [0, 1]")
    return value


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ConfigError(f"{name} is {value!r}: give a finite number above 0.")
