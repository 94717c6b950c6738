"""From rewards to advantages: the second axis of a recipe. Pure.

A rule for a group takes one reward per rollout, None where there is no verdict, and gives one advantage per rollout,
None in the same places; a None touches neither the mean nor the deviation of the others. With fewer than two rewards, or
with all rewards the same, every advantage is exactly 0 (no_baseline excepted: its advantage is its reward).

Below, n is the number of rewards r_i that are known, mean = sum_i r_i / n, and s their deviation,
s^2 = sum_i (r_i - mean)^2 / d with d = n - 1 ("bessel") or n ("population").

Rules for tokens (`returns_to_go`, `gae`) take one number per token of one rollout and skip the tokens the policy did not
write: what comes after them is carried over them unchanged.

Not for: rewards from verdicts (reward.py), or which rule meets which sample (assign.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from burnish.errors import ConfigError

Rewards = Sequence[float | None]
Advantages = list[float | None]
CreditKind = Literal[
    "group_mean_std", "group_mean", "leave_one_out", "leave_one_out_std", "max_rl", "each_mean_std", "gae", "none"
]
Deviation = Literal["bessel", "population"]
Whiten = Literal["off", "tokens", "samples"]


def group_mean_std(rewards: Rewards, deviation: Deviation = "bessel", epsilon: float = 1e-6) -> Advantages:
    """GRPO: A_i = (r_i - mean) / (s + epsilon) (Shao et al. 2024, arXiv 2402.03300).

    Which setting is whose: bessel 1e-6 verl, SkyRL, slime, NeMo-RL without leave-one-out; bessel 1e-4 TRL; bessel 1e-9
    OpenRLHF; population 1e-8 TRL's asynchronous trainer. The two deviations differ by sqrt(n / (n - 1)).
    """

    def scaled(known: list[float]) -> list[float]:
        centred = _centred(known)
        spread = _deviation(known, deviation)
        return [c / (spread + epsilon) for c in centred]

    return _compared(rewards, scaled)


def group_mean(rewards: Rewards) -> Advantages:
    """Dr. GRPO: A_i = r_i - mean (Liu et al. 2025, arXiv 2503.20783). prime-rl and tinker-cookbook too."""
    return _compared(rewards, _centred)


def leave_one_out(rewards: Rewards) -> Advantages:
    """RLOO: A_i = r_i - mean of the others = n / (n - 1) (r_i - mean) (Ahmadian et al. 2024, arXiv 2402.14740)."""
    return _compared(rewards, lambda known: [c * len(known) / (len(known) - 1) for c in _centred(known)])


def leave_one_out_std(rewards: Rewards, deviation: Deviation = "bessel", epsilon: float = 1e-6) -> Advantages:
    """NeMo-RL's default GRPO: A_i = (r_i - m_i) / (s_i + epsilon), m_i and s_i of the others, unscaled where s_i is 0.

    These do not sum to 0 in a group, and the lone right answer of a group is not scaled at all.
    """

    def scaled(known: list[float]) -> list[float]:
        found = []
        for i, reward in enumerate(known):
            others = known[:i] + known[i + 1 :]
            apart = reward - math.fsum(others) / len(others)
            spread = 0.0 if min(others) == max(others) else _deviation(others, deviation)
            found.append(apart / (spread + epsilon) if spread > 0.0 else apart)
        return found

    return _compared(rewards, scaled)


def max_rl(rewards: Rewards, epsilon: float = 0.0) -> Advantages:
    """MaxRL: A_i = (r_i - mean) / (mean + epsilon) (Tajwar et al. 2026, arXiv 2602.02710). prime-rl; SkyRL adds 1e-6.

    For rewards of 0 and 1: the gradient then estimates that of the log-probability of being right, up to the order that
    n samples can see, where GRPO's follows the probability itself. Raises ValueError for a negative reward.
    """

    def scaled(known: list[float]) -> list[float]:
        if min(known) < 0.0:
            raise ValueError(f"max_rl divides by the mean reward: {min(known)!r} is below 0")
        mean = math.fsum(known) / len(known)
        return [(reward - mean) / (mean + epsilon) for reward in known]

    return _compared(rewards, scaled)


def no_baseline(rewards: Rewards) -> Advantages:
    """REINFORCE: A_i = r_i (Williams 1992), for a group of any size."""
    return list(rewards)


def returns_to_go(rewards: Sequence[float], sampled: Sequence[bool], gamma: float = 1.0) -> list[float]:
    """G_t = r_t + gamma G_next for the tokens the policy wrote, "next" being the next one it wrote; 0.0 elsewhere."""
    found, following = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        if sampled[t]:
            following = found[t] = rewards[t] + gamma * following
    return found


def gae(
    rewards: Sequence[float], values: Sequence[float], sampled: Sequence[bool], gamma: float = 1.0, decay: float = 0.95
) -> tuple[list[float], list[float]]:
    """Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438): (advantages [L], returns [L]).

        delta_t = r_t + gamma V_next - V_t,   A_t = delta_t + gamma decay A_next,   return_t = A_t + V_t

    values[t] is the value of the state in which token t was drawn; "next" is the next token that the policy wrote, and
    after the last both V and A are 0. Tokens it did not write are skipped: their values are never read, and nothing decays
    over them. verl does the same; SkyRL reads the critic there, OpenRLHF lets the sum decay. 0.0 at skipped tokens.
    """
    advantages, returns = [0.0] * len(rewards), [0.0] * len(rewards)
    value_next = advantage_next = 0.0
    for t in reversed(range(len(rewards))):
        if not sampled[t]:
            continue
        delta = rewards[t] + gamma * value_next - values[t]
        advantage_next = advantages[t] = delta + gamma * decay * advantage_next
        value_next, returns[t] = values[t], advantages[t] + values[t]
    return advantages, returns


def whitened(
    values: Sequence[float], counts: Sequence[int], over: Whiten, deviation: Deviation = "bessel", epsilon: float = 1e-8
) -> list[float]:
    """Values made to have mean 0 and deviation 1 over the whole step; value i stands for `counts`[i] tokens.

        tokens    (x - mean) / sqrt(var + epsilon) with "bessel", / sqrt(max(var, epsilon)) with "population"; mean and
                  variance over all tokens. REINFORCE++ (Hu 2025, arXiv 2501.03262): bessel verl and SkyRL, population
                  OpenRLHF and NeMo-RL
        samples   (x - mean) / (s + epsilon), every sample the same. GDPO: TRL (1e-4), NeMo-RL (0)

    Values that are all the same become 0.
    """
    if over == "off":
        return list(values)
    if not values or min(values) == max(values):
        return [0.0] * len(values)
    many = counts if over == "tokens" else [1] * len(values)
    total = sum(many)
    mean = math.fsum(value * n for value, n in zip(values, many, strict=True)) / total
    square = math.fsum((value - mean) ** 2 * n for value, n in zip(values, many, strict=True))
    variance = square / (total - 1 if deviation == "bessel" else total)
    if over == "samples":
        return [(value - mean) / (math.sqrt(variance) + epsilon) for value in values]
    scale = math.sqrt(variance + epsilon) if deviation == "bessel" else math.sqrt(max(variance, epsilon))
    return [(value - mean) / scale for value in values]


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


def _deviation(known: list[float], deviation: Deviation) -> float:
    degrees = len(known) - 1 if deviation == "bessel" else len(known)
    return math.sqrt(math.fsum(c * c for c in _centred(known)) / degrees)


SCALED: tuple[CreditKind, ...] = ("group_mean_std", "leave_one_out_std", "each_mean_std")
"""The kinds that divide by a deviation, and so have `deviation` and `epsilon`; max_rl has the epsilon alone."""


@dataclass(frozen=True, slots=True)
class Credit:
    """A choice of rule, and whether its advantages are whitened over the step.

    kind              a rule above; "each_mean_std" is group_mean_std of each reward on its own, then their weighted sum
                      (GDPO, Liu et al. 2026, arXiv 2601.05242); "gae" needs values; "none" is the reward still to come
    deviation         of group_mean_std, leave_one_out_std, each_mean_std
    epsilon           of those and of max_rl
    whiten, whiten_deviation, whiten_epsilon    see `whitened`
    gamma             discount of "none" and "gae"
    decay             lambda of "gae"

    Raises ConfigError for an epsilon that is negative or not finite, or a gamma or decay outside [0, 1].

    >>> Credit("group_mean_std", "population", 1e-8)([1.0, 0.0, None])
    [0.9999999800000003, -0.9999999800000003, None]
    """

    kind: CreditKind = "group_mean_std"
    deviation: Deviation = "bessel"
    epsilon: float = 1e-6
    whiten: Whiten = "off"
    whiten_deviation: Deviation = "bessel"
    whiten_epsilon: float = 1e-8
    gamma: float = 1.0
    decay: float = 0.95

    def __post_init__(self) -> None:
        for name, value in (("credit_epsilon", self.epsilon), ("whiten_epsilon", self.whiten_epsilon)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ConfigError(f"{name} is {value!r}: give a finite number from 0 up, such as 1e-6.")
        for name, value in (("gamma", self.gamma), ("gae_lambda", self.decay)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} is {value!r}: give a number from 0 to 1.")

    @property
    def centred(self) -> bool:
        """Whether the advantages of a group sum to zero (before whitening)."""
        return self.kind in ("group_mean_std", "group_mean", "leave_one_out", "max_rl", "each_mean_std")

    @property
    def compares(self) -> bool:
        """Whether a rollout is compared with others of its group, so that a group of one says nothing."""
        return self.kind not in ("gae", "none")

    @property
    def each_token(self) -> bool:
        """Whether tokens of one rollout may have different advantages."""
        return self.kind in ("gae", "none")

    def __call__(self, rewards: Rewards) -> Advantages:
        """One advantage per reward of one group, before whitening; with "gae" the reward itself, as with "none"."""
        match self.kind:
            case "group_mean_std" | "each_mean_std":
                return group_mean_std(rewards, self.deviation, self.epsilon)
            case "group_mean":
                return group_mean(rewards)
            case "leave_one_out":
                return leave_one_out(rewards)
            case "leave_one_out_std":
                return leave_one_out_std(rewards, self.deviation, self.epsilon)
            case "max_rl":
                return max_rl(rewards, self.epsilon)
            case "none" | "gae":
                return no_baseline(rewards)
