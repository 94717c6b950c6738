"""A recipe whose objective follows what was measured: the adaptive entropy coefficient, the borders of a covariance rule.

`Steered` stands where a Recipe stands; what it remembers between steps is its `state`, which a checkpoint keeps. A recipe
with nothing to steer costs nothing more this way.

Not for: anything that is the same in every step (choice.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from burnish.algos.choice import Recipe
from burnish.algos.objective import Covariance, Entropy, Objective
from burnish.metrics import Metric
from burnish.records import Dropped, Group, Key, Notes, Sample


@dataclass
class Steered:
    """A recipe and what was measured so far."""

    recipe: Recipe
    entropy: Entropy | None = None
    covariance: Covariance | None = None

    def __post_init__(self) -> None:
        self.entropy = self.entropy or self.recipe.objective.entropy

    @property
    def objective(self) -> Objective:
        """The recipe's, with the entropy coefficient and the covariance borders of this step."""
        plain = self.recipe.objective
        if plain.entropy is None and plain.covariance is None:
            return plain
        return replace(plain, entropy=self.entropy, covariance=self.covariance or plain.covariance)

    def select(self, groups: Iterable[Group]) -> tuple[list[Group], list[Dropped]]:
        """See `Recipe.select`."""
        return self.recipe.select(groups)

    def credit_groups(self, groups: Iterable[Group], notes: Mapping[Key, Notes]) -> list[Sample]:
        """See `Recipe.credit_groups`; a covariance rule is measured over these samples, the whole step's."""
        samples = self.recipe.credit_groups(groups, notes)
        if self.recipe.objective.covariance is not None:
            self.covariance = measured(self.recipe.objective.covariance, samples)
        return samples

    def weigh(self, samples: Sequence[Sample]) -> dict[Key, float]:
        """See `Recipe.weigh`."""
        return self.recipe.weigh(samples)

    def observe(self, stats: Mapping[str, Metric]) -> dict[str, float]:
        """Take note of a finished step; what is in force for the next one, for the journal."""
        found = stats.get("policy/entropy")
        if self.entropy is None or found is None:
            return {}
        if self.entropy.target is not None:
            self.entropy = followed(self.entropy, found.value)
        return {"policy/entropy_coefficient": self.entropy.applied}

    def state(self) -> dict[str, Any]:
        """What the next step depends on, for a checkpoint; JSON-able."""
        if self.entropy is None:
            return {}
        return {"entropy": [self.entropy.coefficient, self.entropy.measured]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a `state()`."""
        if self.entropy is not None and "entropy" in state:
            coefficient, seen = state["entropy"]
            self.entropy = replace(self.entropy, coefficient=coefficient, measured=seen)


def followed(entropy: Entropy, seen: float) -> Entropy:
    """The setting after a step of mean entropy `seen`: up by `step` at or below the target, else down, within [0, most].

    >>> followed(Entropy(0.01, target=0.3), 0.2).coefficient
    0.015
    """
    assert entropy.target is not None, "only an entropy with a target follows what is measured"
    if math.isnan(seen):
        return entropy
    change = entropy.step if seen <= entropy.target else -entropy.step
    return replace(entropy, coefficient=min(entropy.most, max(0.0, entropy.coefficient + change)), measured=seen)


def measured(rule: Covariance, samples: Sequence[Sample]) -> Covariance:
    """A covariance rule with its means and its border over the sampled tokens of a step."""
    pairs = [
        (sample.advantages[t], sample.tokens.logprobs[t])
        for sample in samples
        for t, sampled in enumerate(sample.tokens.sampled)
        if sampled
    ]
    if not pairs:
        return replace(rule, border=math.inf if rule.kind == "kl" else 0.0)
    mean_a = math.fsum(a for a, _ in pairs) / len(pairs)
    mean_u = math.fsum(u for _, u in pairs) / len(pairs)
    covs = sorted(((a - mean_a) * (u - mean_u) for a, u in pairs), reverse=True)
    count = max(1, int(rule.share * len(covs)))
    if rule.kind == "kl":
        below = covs[count] if count < len(covs) else covs[-1] - 1.0
        border = (covs[count - 1] + below) / 2.0  # between two tokens, so that rounding cannot move it over one
    else:
        inside = sum(rule.low < cov < rule.high for cov in covs)
        border = min(1.0, count / inside) if inside else 0.0
    return replace(rule, mean_advantage=mean_a, mean_logp=mean_u, border=border)
