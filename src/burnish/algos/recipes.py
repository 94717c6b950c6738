"""A recipe is one choice on each axis (reward, credit, objective, reduction), with the paper it is from. No torch here.

A recipe decides who is trained on (`select`), by how much (`credit_groups`), and what a token weighs (`weigh`); the
learner calls its `objective`. `recipe("grpo", clip_high=0.28)` is how a run file gets one.

Not for: scoring or updating (the learner's), or sampling until enough groups have a signal (the stream's).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, get_args

from burnish.algos.credit import Credit, CreditKind, Deviation
from burnish.algos.objective import KL, Anchor, Clip, Objective
from burnish.algos.reduce import Reduction, weights
from burnish.algos.reward import RewardTable
from burnish.errors import ConfigError
from burnish.records import Dropped, DropReason, Group, Key, Notes, Rollout, Sample


@dataclass(frozen=True, slots=True)
class Recipe:
    """A frozen choice of four axes.

    `paper` names where it is from, `peers` which settings of other systems give the same numbers. `constant` goes with
    the reduction "constant", and only with it.
    """

    name: str
    credit: Credit
    objective: Objective
    reduction: Reduction
    paper: str
    peers: str
    constant: float | None = None
    reward: RewardTable = field(default_factory=RewardTable)

    def needs(self, updates_per_step: int) -> frozenset[str]:
        """What the learner must score before credit is given: any of "reference" and "proximal".

        The log-probabilities at the start of the step are asked for only where a KL pulls to them and there are several
        updates a step; with one update that KL is to the policy itself, and 0. Raises ValueError below one update.
        """
        if updates_per_step < 1:
            raise ValueError(f"updates_per_step is {updates_per_step}: a step has at least one update")
        kl = self.objective.kl
        if kl is None:
            return frozenset()
        if kl.to == "reference":
            return frozenset({"reference"})
        return frozenset({"proximal"}) if updates_per_step > 1 else frozenset()

    def select(self, groups: Iterable[Group]) -> tuple[list[Group], list[Dropped]]:
        """The groups that carry a signal, holding only rollouts with a reward; and every rollout left out, and why.

        no_verdict  the rollout has no reward (see `RewardTable.reward`); the rest of its group is judged without it
        flat        every advantage of its group is 0: all rewards the same, or fewer than two of them. With credit
                    "none" a group is flat only where every reward is 0.

        The groups given are not changed: keep them for the journal, which records all of them.
        """
        kept: list[Group] = []
        dropped: list[Dropped] = []
        for group in groups:
            rewards = [self.reward.reward(rollout) for rollout in group.rollouts]
            judged = tuple(r for r, reward in zip(group.rollouts, rewards, strict=True) if reward is not None)
            signal = any(self.credit(rewards))  # None and 0.0 are both no signal
            for rollout, reward in zip(group.rollouts, rewards, strict=True):
                reason: DropReason = "no_verdict" if reward is None else "flat"
                if reward is None or not signal:
                    dropped.append(Dropped(group.key(rollout), reason))
            if signal:
                kept.append(replace(group, rollouts=judged))
        return kept, dropped

    def credit_groups(self, groups: Iterable[Group], notes: Mapping[Key, Notes]) -> list[Sample]:
        """One sample per rollout: its advantage on every sampled token, 0.0 on every token of the prompt.

        `notes` are the learner's, joined by key; an empty mapping where `needs` asked for nothing. Raises ValueError
        for a rollout without a reward (`select` first), and for one whose note is missing.
        """
        samples: list[Sample] = []
        for group in groups:
            rewards = [self.reward.reward(rollout) for rollout in group.rollouts]
            advantages = self.credit(rewards)
            for rollout, reward, advantage in zip(group.rollouts, rewards, advantages, strict=True):
                key = group.key(rollout)
                if reward is None or advantage is None:
                    raise ValueError(f"rollout {key} has no reward: select the groups before giving them credit")
                if notes and key not in notes:
                    raise ValueError(f"rollout {key} has no note: score the groups that were selected")
                samples.append(_sample(key, rollout, reward, advantage, notes.get(key, Notes())))
            if self.credit.centred:
                _assert_centred(samples[len(samples) - len(group.rollouts) :])
        return samples

    def weigh(self, samples: Sequence[Sample]) -> dict[Key, float]:
        """What a sampled token of each sample weighs, over all samples of one optimizer step (`reduce.weights`)."""
        return weights(samples, self.reduction, self.constant)


def _sample(key: Key, rollout: Rollout, reward: float, advantage: float, notes: Notes) -> Sample:
    tokens = rollout.tokens
    for noted in (notes.reference, notes.proximal, notes.values):
        assert noted is None or len(noted) == len(tokens.ids), f"a note of rollout {key} is not one number a token"
    spread = tuple(advantage if sampled else 0.0 for sampled in tokens.sampled)
    return Sample(key, tokens, spread, reward, rollout.oldest, rollout.newest, notes)


def _assert_centred(samples: Sequence[Sample]) -> None:
    """The advantages one group ended up with sum to 0: an uneven or a mixed group shows here first."""
    advantages = [max(sample.advantages, key=abs) for sample in samples]  # 0.0 on the prompt, the same on every other
    size = math.fsum(map(abs, advantages))
    assert abs(math.fsum(advantages)) <= 1e-6 * max(1.0, size), f"{samples[0].origin}: advantages do not sum to 0"


RECIPES: dict[str, Recipe] = {
    "reinforce": Recipe(
        name="reinforce",
        credit=Credit("none"),
        objective=Objective(),
        reduction="constant",
        constant=1.0,
        paper="Williams 1992, Simple statistical gradient-following algorithms (Machine Learning 8)",
        peers="loss: verl seq-mean-token-sum without a clip; on policy, the gradient of the expected reward",
    ),
    "grpo": Recipe(
        name="grpo",
        credit=Credit("group_mean_std", "bessel", 1e-6),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="sequence_mean",
        paper="Shao et al. 2024, DeepSeekMath, arXiv 2402.03300 (with a KL to the reference, coefficient 0.04)",
        peers=(
            "advantages: verl, SkyRL, slime, NeMo-RL without leave-one-out; TRL with credit_epsilon 1e-4, OpenRLHF "
            "1e-9, TRL's asynchronous trainer with credit_deviation population and 1e-8. loss: TRL loss_type grpo, "
            "verl seq-mean-token-mean (verl also has clip_dual 3)"
        ),
    ),
    "dr_grpo": Recipe(
        name="dr_grpo",
        credit=Credit("group_mean"),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="constant",  # the length itself is the run's: `recipe` asks for it
        paper="Liu et al. 2025, Understanding R1-Zero-like training, arXiv 2503.20783",
        peers=(
            "advantages: the Dr. GRPO of TRL, verl, OpenRLHF and SkyRL, the default of prime-rl and tinker-cookbook. "
            "loss: TRL loss_type dr_grpo with constant = max_completion_length; verl seq-mean-token-sum-norm so scaled"
        ),
    ),
    "dapo": Recipe(
        name="dapo",
        credit=Credit("group_mean_std", "bessel", 1e-6),
        objective=Objective(Clip(0.2, 0.28)),
        reduction="token_mean",
        paper="Yu et al. 2025, DAPO, arXiv 2503.14476 (its overlong penalty is not part of this recipe)",
        peers="advantages: as grpo. loss: TRL loss_type dapo, verl token-mean, OpenRLHF ppo, with clip 0.2 and 0.28",
    ),
    "rloo": Recipe(
        name="rloo",
        credit=Credit("leave_one_out"),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="token_mean",
        paper="Ahmadian et al. 2024, Back to basics, arXiv 2402.14740",
        peers="advantages: the RLOO of verl, SkyRL, OpenRLHF, TRL. loss: verl's, a ratio a token (TRL: a sequence)",
    ),
}

_REWARD_KEYS = {f"reward_{name}": name for name in ("right", "wrong", "cut_right", "cut_wrong", "format_bonus")}
_CLIP_KEYS = {"clip_low": "low", "clip_high": "high", "clip_dual": "dual"}
_CHOICES = {
    "kl_to": get_args(Anchor),
    "credit": get_args(CreditKind),
    "credit_deviation": get_args(Deviation),
    "reduction": get_args(Reduction),
}
_NUMBERS = (*_REWARD_KEYS, *_CLIP_KEYS, "kl_coefficient", "credit_epsilon", "constant")
_OPTIONAL = ("reward_cut_right", "reward_cut_wrong", "clip_dual")  # may be None: as if left out
OVERRIDES: tuple[str, ...] = (*_NUMBERS, *_CHOICES)


def recipe(name: str, **overrides: Any) -> Recipe:
    """A named recipe with some of its settings changed; OVERRIDES lists the settings there are.

    Raises ConfigError for an unknown name, setting or choice (naming the nearest), for a value of the wrong type or out
    of range, for a setting that would have no effect, and for a reduction "constant" without its constant: dr_grpo
    divides by a length, which is the run's to say (usually the sampling's max_new).

    >>> recipe("grpo", clip_high=0.28, kl_to="reference", kl_coefficient=0.001)
    """
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe {name!r}{_nearest(name, RECIPES)}. Recipes: {', '.join(RECIPES)}.")
    overrides = {key: _checked(key, value) for key, value in overrides.items()}
    base = RECIPES[name]
    reduction: Reduction = overrides.get("reduction", base.reduction)
    inherited = base.constant if reduction == base.reduction else None
    constant = overrides.get("constant", inherited)
    if reduction == "constant" and (constant is None or not 0.0 < constant < math.inf):
        raise ConfigError(
            f"Recipe {name!r} divides by a constant length, and constant is {constant!r}: set it above 0, usually to "
            "the sampling's max_new."
        )
    if reduction != "constant" and constant is not None:
        raise ConfigError(
            f"constant has no effect with reduction {reduction!r}: leave it out, or set reduction to constant."
        )
    return replace(
        base,
        reward=replace(base.reward, **_chosen(_REWARD_KEYS, overrides)),
        credit=_credit(base.credit, overrides),
        objective=Objective(_clip(base, overrides), _kl(base.objective.kl, overrides)),
        reduction=reduction,
        constant=constant,
    )


def _checked(key: str, value: Any) -> Any:
    """The value of one setting, a number always as a float."""
    if key not in OVERRIDES:
        near = _nearest(key, OVERRIDES)
        raise ConfigError(f"A recipe has no setting {key!r}{near}. Settings: {', '.join(OVERRIDES)}.")
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            near = _nearest(str(value), _CHOICES[key])
            raise ConfigError(f"{key} cannot be {value!r}{near}. Choices: {', '.join(_CHOICES[key])}.")
        return value
    if value is None and key in _OPTIONAL:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key} is {value!r}: give a number.")
    return float(value)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}" if near else ""


def _chosen(keys: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {field: overrides[key] for key, field in keys.items() if key in overrides}


def _credit(base: Credit, overrides: Mapping[str, Any]) -> Credit:
    kind: CreditKind = overrides.get("credit", base.kind)
    idle = [key for key in ("credit_deviation", "credit_epsilon") if key in overrides]
    if kind != "group_mean_std" and idle:
        raise ConfigError(f"{idle[0]} has no effect with credit {kind!r}: leave it out, or use group_mean_std.")
    start = base if kind == base.kind else Credit(kind)
    return replace(start, **_chosen({"credit_deviation": "deviation", "credit_epsilon": "epsilon"}, overrides))


def _clip(base: Recipe, overrides: Mapping[str, Any]) -> Clip | None:
    changes = _chosen(_CLIP_KEYS, overrides)
    if base.objective.clip is not None:
        return replace(base.objective.clip, **changes)
    if changes and not {"low", "high"} <= changes.keys():
        raise ConfigError(f"Recipe {base.name!r} does not clip: set both clip_low and clip_high, or neither.")
    return Clip(**changes) if changes else None


def _kl(base: KL | None, overrides: Mapping[str, Any]) -> KL | None:
    changes = _chosen({"kl_to": "to", "kl_coefficient": "coefficient"}, overrides)
    if base is not None:
        return replace(base, **changes)
    if len(changes) == 1:
        given, lacking = ("kl_to", "kl_coefficient") if "to" in changes else ("kl_coefficient", "kl_to")
        raise ConfigError(f"{given} has no effect alone: set {lacking} too, or leave both out for no KL.")
    return KL(**changes) if changes else None
