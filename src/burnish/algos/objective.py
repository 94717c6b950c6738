"""What a token's loss is made of, as plain settings: the third axis of a recipe. Reads without torch.

The mathematics is in losses.py, which is imported when an objective is first called, so that a run file can be read and
checked in an instant.

Not for: rewards, advantages, or what a token weighs in the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from burnish.errors import ConfigError

if TYPE_CHECKING:
    from burnish.algos.losses import Loss, TokenFields

Anchor = Literal["reference", "start_of_step"]


@dataclass(frozen=True, slots=True)
class Clip:
    """How far the ratio may move before a token stops pushing: [1 - low, 1 + high].

    low = high is PPO (Schulman et al. 2017, arXiv 1707.06347); high > low is clip-higher (DAPO, Yu et al. 2025,
    arXiv 2503.14476). `dual` > 1 bounds the loss of a token with A < 0 by -dual * A (Ye et al. 2020, arXiv 1912.09729):
    verl has it always on at 3, the others off. Raises ConfigError unless 0 < low <= 1, high > 0 and dual > 1.
    """

    low: float = 0.2
    high: float = 0.28
    dual: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.low <= 1.0:
            raise ConfigError(f"clip_low is {self.low!r}: give a number above 0 and at most 1, such as 0.2.")
        if not (math.isfinite(self.high) and self.high > 0.0):
            raise ConfigError(f"clip_high is {self.high!r}: give a finite number above 0, such as 0.28.")
        if self.dual is not None and not (math.isfinite(self.dual) and self.dual > 1.0):
            raise ConfigError(f"clip_dual is {self.dual!r}: give a finite number above 1, such as 3, or leave it out.")


@dataclass(frozen=True, slots=True)
class KL:
    """A pull of the policy towards `to`: coefficient * KL(policy || to), the reverse KL, with its exact gradient.

    `to` is the "reference" policy, or the policy at the "start_of_step". The estimator is not a setting: see
    `burnish.algos.losses.reverse_kl`. Raises ConfigError unless the coefficient is finite and above 0.
    """

    to: Anchor
    coefficient: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.coefficient) and self.coefficient > 0.0):
            raise ConfigError(
                f"kl_coefficient is {self.coefficient!r}: give a number above 0, or leave both kl settings out."
            )


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a token: a surrogate (the ratio times the advantage, clipped or not), and a KL or none."""

    clip: Clip | None = None
    kl: KL | None = None

    def __call__(self, fields: TokenFields) -> Loss:
        """The scalar loss of one micro-batch and its metrics: `burnish.algos.losses.policy_loss`."""
        from burnish.algos.losses import policy_loss  # torch loads here, not when a recipe is read

        return policy_loss(self, fields)
