"""From a verdict (a fact) to a reward (a choice): the first axis of a recipe.

Not for: judging text (verify does that), or comparing the rollouts of a group (credit does that).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from burnish.errors import ConfigError
from burnish.records import Rollout

MOST_FORMAT_BONUS = 0.1  # above this, a policy can earn more by dressing wrong answers well than by being right


@dataclass(frozen=True, slots=True)
class RewardTable:
    """What each verdict is worth, for a trace that finished (wrote its stop token) or was cut at `max_new`.

                 finished   cut
        right    right      cut_right  (None: as `right`)
        wrong    wrong      cut_wrong  (None: as `wrong`)

    `format_bonus` (0 to 0.1) is added in proportion to the verdict's part "format". Raises ConfigError for a number
    that is not finite, a bonus out of range, or `right` not above `wrong`.

    >>> RewardTable(right=1.0, wrong=0.0, cut_wrong=-0.5)
    """

    right: float = 1.0
    wrong: float = 0.0
    cut_right: float | None = None
    cut_wrong: float | None = None
    format_bonus: float = 0.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"reward_{setting.name} is {value!r}: give a finite number.")
        if self.right <= self.wrong:
            raise ConfigError(f"reward_right {self.right!r} is not above reward_wrong {self.wrong!r}: raise it.")
        if not 0.0 <= self.format_bonus <= MOST_FORMAT_BONUS:
            raise ConfigError(f"reward_format_bonus is {self.format_bonus!r}: keep it from 0 to {MOST_FORMAT_BONUS}.")

    def reward(self, rollout: Rollout) -> float | None:
        """The reward of one rollout, or None where nothing is known about it.

        None for no_verdict (a checker that failed is not a wrong answer), for a trace that was aborted (the machinery
        stopped it, not the policy), and for one in which the policy wrote no token. Raises ValueError where the
        verdict's part "format" is outside [0, 1].
        """
        verdict = rollout.verdict
        if verdict.outcome == "no_verdict" or rollout.stop == "aborted" or not any(rollout.tokens.sampled):
            return None
        cut = rollout.stop == "length"
        if verdict.outcome == "right":
            value = self.cut_right if cut and self.cut_right is not None else self.right
        else:
            value = self.cut_wrong if cut and self.cut_wrong is not None else self.wrong
        if not self.format_bonus:
            return value
        well_formed = verdict.parts.get("format", 0.0)
        if not 0.0 <= well_formed <= 1.0:
            raise ValueError(f"the verdict's part 'format' is {well_formed!r}: a verifier must give a number in [0, 1]")
        return value + self.format_bonus * well_formed
