"""What a recipe is and does: who is trained on, by how much, and what a token weighs. No torch here.

Not for: the named recipes (recipes.py), or what a run file may change of one (overrides.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

from burnish.algos.assign import assign, each_on_its_own
from burnish.algos.credit import Credit
from burnish.algos.objective import Critic, Objective
from burnish.algos.reduce import Reduction, weights
from burnish.algos.reward import RewardTable
from burnish.errors import ConfigError
from burnish.records import Dropped, DropReason, Group, Key, Notes, Sample


@dataclass(frozen=True, slots=True)
class Recipe:
    """A frozen choice of four axes: reward, credit, objective, reduction.

    `paper` names where it is from, `peers` which settings of other systems give the same numbers. `constant` goes with
    the reduction "constant", and only with it; `critic` with credit "gae", and only with it. Raises ConfigError where two
    of the choices contradict each other.

    What a learner with a value head does for "gae": `needs` holds "values", so `score` puts the head's values into
    `Notes.values` [L] (place t: the state in which token t was drawn, so the head's output at the token before it);
    `credit_groups` puts `returns` [L] into the sample; `burnish.algos.losses.critic_loss` is the head's loss.
    """

    name: str
    credit: Credit
    objective: Objective
    reduction: Reduction
    paper: str
    peers: str
    constant: float | None = None
    reward: RewardTable = field(default_factory=RewardTable)
    critic: Critic | None = None

    def __post_init__(self) -> None:
        kl, kind = self.objective.kl, self.credit.kind
        in_reward = kl is not None and kl.where == "reward"
        if (kind == "gae") != (self.critic is not None):
            raise ConfigError(
                f"Recipe {self.name!r} asks for a critic, and its credit {kind!r} has no use for one: use credit gae."
                if self.critic is not None
                else f"Recipe {self.name!r} has credit gae, which needs a critic: start from the recipe ppo."
            )
        if kind == "max_rl" and (self.reward.least < 0.0 or self.reward.terms or in_reward):
            raise ConfigError(
                "credit max_rl divides by the mean reward, so no reward may be below 0: leave out negative cells, length and "
                "overlong terms, and a KL in the reward."
            )
        if kind == "each_mean_std" and in_reward:
            raise ConfigError(
                'credit each_mean_std compares each reward on its own, and a KL is none of them: use kl_in = "loss".'
            )
        if self.credit.each_token and self.credit.whiten == "samples":
            raise ConfigError(f"credit {kind!r} gives each token its own advantage: whiten over tokens, or not at all.")

    def needs(self, updates_per_step: int, lagging: bool = False) -> frozenset[str]:
        """What the learner must score before credit is given: any of "reference", "proximal" and "values".

        "reference" is the frozen start, or the moving one. The log-probabilities at the start of the step ("proximal") are
        asked for only where something is measured from there (a KL, an off-policy correction) and there are several updates
        a step; with one update the policy is still the start of its step. A KL in the reward is the policy's own, which is not
        who sampled where rollouts lag behind (`lagging`). Raises ValueError below one update.
        """
        if updates_per_step < 1:
            raise ValueError(f"updates_per_step is {updates_per_step}: a step has at least one update")
        kl, wanted = self.objective.kl, set()
        if kl is not None and kl.to != "start_of_step":
            wanted.add("reference")
        from_start = (kl is not None and kl.to == "start_of_step") or self.objective.correction is not None
        in_reward = kl is not None and kl.where == "reward"
        if (from_start and updates_per_step > 1) or (in_reward and lagging):
            wanted.add("proximal")
        if self.credit.kind == "gae":
            wanted.add("values")
        return frozenset(wanted)

    def informative(self, group: Group) -> bool:
        """Whether the known rewards of a group differ: what dynamic sampling fills a step with (DAPO, arXiv 2503.14476)."""
        weighed = [weight != 0.0 for weight in self.reward.weights]
        rewards = map(self.reward.rewards, group.rollouts)
        known = [list(compress(values, weighed)) for values in rewards if values is not None]
        return any(values != known[0] for values in known)

    def select(self, groups: Iterable[Group]) -> tuple[list[Group], list[Dropped]]:
        """The groups that carry a signal, holding only rollouts with a reward; and every rollout left out, and why.

        no_verdict  the rollout has no reward (see `RewardTable.reward`); the rest of its group is judged without it
        flat        every advantage of its group is 0: all rewards the same, or fewer than two of them. With credit
                    "none" a group is flat only where every reward is 0; with "gae", with a KL in the reward and with
                    whitening a group of equal rewards says something too, and is kept (whitening: unless the whole step is
                    the same).

        The groups given are not changed: keep them for the journal, which records all of them.
        """
        groups = list(groups)
        signals = [self._signal(group) for group in groups]
        if self.credit.whiten != "off" and not self._step_differs(groups):
            signals = [False] * len(groups)
        kept: list[Group] = []
        dropped: list[Dropped] = []
        for group, signal in zip(groups, signals, strict=True):
            known = [self.reward.reward(rollout) is not None for rollout in group.rollouts]
            for rollout, judged in zip(group.rollouts, known, strict=True):
                reason: DropReason = "flat" if judged else "no_verdict"
                if not (judged and signal):
                    dropped.append(Dropped(group.key(rollout), reason))
            if signal:
                rollouts = tuple(r for r, judged in zip(group.rollouts, known, strict=True) if judged)
                kept.append(replace(group, rollouts=rollouts))
        return kept, dropped

    def _signal(self, group: Group) -> bool:
        rewards = [self.reward.reward(rollout) for rollout in group.rollouts]
        judged = sum(reward is not None for reward in rewards)
        kl = self.objective.kl
        if self.credit.kind == "gae" or self.credit.whiten != "off":
            return judged > 0
        if kl is not None and kl.where == "reward":
            return judged > (1 if self.credit.compares else 0)
        if self.credit.kind == "each_mean_std":
            return any(each_on_its_own(group, self.reward, self.credit))
        return any(self.credit(rewards))  # None and 0.0 are both no signal

    def _step_differs(self, groups: Sequence[Group]) -> bool:
        """Whether whitening has anything to tell apart: a KL in the reward and a critic always do."""
        if self.credit.kind == "gae" or (self.objective.kl is not None and self.objective.kl.where == "reward"):
            return True
        seen: set[float] = set()
        for group in groups:
            if self.credit.kind == "each_mean_std":
                seen.update(each_on_its_own(group, self.reward, self.credit))
            else:
                rewards = [self.reward.reward(rollout) for rollout in group.rollouts]
                seen.update(value for value in self.credit(rewards) if value is not None)
        return len(seen) > 1

    def credit_groups(self, groups: Iterable[Group], notes: Mapping[Key, Notes]) -> list[Sample]:
        """One sample per rollout: its advantage on every sampled token, 0.0 on every token of the prompt.

        `notes` are the learner's, joined by key; an empty mapping where `needs` asked for nothing. Raises ValueError
        for a rollout without a reward (`select` first), and for one whose note is missing.
        """
        return assign(list(groups), notes, self.reward, self.credit, self.objective.kl)

    def weigh(self, samples: Sequence[Sample]) -> dict[Key, float]:
        """What a sampled token of each sample weighs, over all samples of one optimizer step (`reduce.weights`)."""
        return weights(samples, self.reduction, self.constant)
