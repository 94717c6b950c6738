"""From the rewards of one group to one advantage a rollout: the second axis of a recipe. Pure.

Every function takes one reward per rollout of a group, None where there is no verdict, and gives one advantage per
rollout, None in the same places; a None touches neither the mean nor the deviation of the others. With fewer than two
rewards, or with all rewards the same, every advantage is exactly 0 (no_baseline excepted: its advantage is its reward).

Below, n is the number of rewards r_i that are known, and mean = sum_i r_i / n.

Not for: rewards from verdicts (reward.py), or the spreading of an advantage over tokens (recipes.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from burnish.errors import ConfigError

Rewards = Sequence[float | None]
Advantages = list[float | None]
CreditKind = Literal["group_mean_std", "group_mean", "leave_one_out", "none"]
Deviation = Literal["bessel", "population"]


def group_mean_std(rewards: Rewards, deviation: Deviation = "bessel", epsilon: float = 1e-6) -> Advantages:
    """GRPO: A_i = (r_i - mean) / (s + epsilon) (Shao et al. 2024, arXiv 2402.03300).

    s^2 = sum_i (r_i - mean)^2 / d with d = n - 1 ("bessel") or n ("population"). Which setting is whose:
    bessel 1e-6 verl, SkyRL, slime, NeMo-RL without leave-one-out; bessel 1e-4 TRL; bessel 1e-9 OpenRLHF;
    population 1e-8 TRL's asynchronous trainer. The two deviations differ by sqrt(n / (n - 1)).
    """

    def scaled(known: list[float]) -> list[float]:
        centred = _centred(known)
        degrees = len(known) - 1 if deviation == "bessel" else len(known)
        spread = math.sqrt(math.fsum(c * c for c in centred) / degrees)
        return [c / (spread + epsilon) for c in centred]

    return _compared(rewards, scaled)


def group_mean(rewards: Rewards) -> Advantages:
    """Dr. GRPO: A_i = r_i - mean (Liu et al. 2025, arXiv 2503.20783). prime-rl and tinker-cookbook too."""
    return _compared(rewards, _centred)


def leave_one_out(rewards: Rewards) -> Advantages:
    """RLOO: A_i = r_i - mean of the others = n / (n - 1) (r_i - mean) (Ahmadian et al. 2024, arXiv 2402.14740)."""
    return _compared(rewards, lambda known: [c * len(known) / (len(known) - 1) for c in _centred(known)])


def no_baseline(rewards: Rewards) -> Advantages:
    """REINFORCE: A_i = r_i (Williams 1992), for a group of any size."""
    return list(rewards)


def _compared(rewards: Rewards, rule: Callable[[list[float]], list[float]]) -> Advantages:
    """Apply a rule to the known rewards; exact zeros where there is nothing to compare, None where it was."""
    known = [reward for reward in rewards if reward is not None]
    if not known or min(known) == max(known):  # a mean of equal floats may be off by an ulp: never ask it
        return [None if reward is None else 0.0 for reward in rewards]
    advantages = iter(rule(known))
    return [None if reward is None else next(advantages) for reward in rewards]


def _centred(known: list[float]) -> list[float]:
    mean = math.fsum(known) / len(known)
    return [reward - mean for reward in known]


@dataclass(frozen=True, slots=True)
class Credit:
    """A choice of rule. `deviation` and `epsilon` are read by "group_mean_std" only.

    Raises ConfigError for an epsilon that is negative or not finite.

    >>> Credit("group_mean_std", "population", 1e-8)([1.0, 0.0, None])
    [0.9999999800000003, -0.9999999800000003, None]
    """

    kind: CreditKind = "group_mean_std"
    deviation: Deviation = "bessel"
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0.0):
            raise ConfigError(f"credit_epsilon is {self.epsilon!r}: give a finite number from 0 up, such as 1e-6.")

    @property
    def centred(self) -> bool:
        """Whether the advantages of a group sum to zero."""
        return self.kind != "none"

    def __call__(self, rewards: Rewards) -> Advantages:
        """One advantage per reward of one group."""
        match self.kind:
            case "group_mean_std":
                return group_mean_std(rewards, self.deviation, self.epsilon)
            case "group_mean":
                return group_mean(rewards)
            case "leave_one_out":
                return leave_one_out(rewards)
            case "none":
                return no_baseline(rewards)
