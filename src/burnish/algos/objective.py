"""What a token's loss is made of, as plain settings: the third axis of a recipe. Reads without torch.

An objective is a surrogate (how the ratio and the advantage become a loss), and, each if wanted, a KL, an off-policy
correction, a mask of stale sequences, an entropy bonus and a covariance rule. The mathematics is in losses.py,
surrogates.py and correction.py, which are imported when an objective is first called, so that a run file can be read and
checked in an instant.

Letters: l = log pi_theta, u = log pi of the sampler, o = log pi_old, the policy the ratio is taken to, f = that of the
KL's anchor, rho = exp(l - o), A the advantage, sg = stop gradient.

Not for: rewards, advantages, or what a token weighs in the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from burnish.errors import ConfigError

if TYPE_CHECKING:
    from burnish.algos.losses import Loss, TokenFields

Anchor = Literal["reference", "start_of_step", "moving"]
KLPlace = Literal["loss", "reward"]
Estimator = Literal["k1", "k2", "k3", "ratio_k1", "ratio_k2", "ratio_k3"]
Divergence = Literal["tv", "kl"]
CorrectionKind = Literal["tis", "sequence_tis", "icepop", "sequence_mask", "geometric_mask", "decoupled"]
CovarianceKind = Literal["clip", "kl"]


@dataclass(frozen=True, slots=True)
class Clip:
    """PPO and GRPO: how far the ratio may move before a token stops pushing, [1 - low, 1 + high].

    -min(rho A, clip(rho, 1 - low, 1 + high) A). low = high is PPO (Schulman et al. 2017, arXiv 1707.06347); high > low is
    clip-higher (DAPO, Yu et al. 2025, arXiv 2503.14476). `dual` > 1 bounds the loss of a token with A < 0 by -dual * A
    (Ye et al. 2020, arXiv 1912.09729): verl has it always on at 3, the others off. Raises ConfigError unless
    0 < low <= 1, high > 0 and dual > 1.
    """

    low: float = 0.2
    high: float = 0.28
    dual: float | None = None

    def __post_init__(self) -> None:
        _bounds(self.low, self.high)
        if self.dual is not None and not (math.isfinite(self.dual) and self.dual > 1.0):
            raise ConfigError(f"clip_dual is {self.dual!r}: give a finite number above 1, such as 3, or leave it out.")


@dataclass(frozen=True, slots=True)
class Gspo:
    """GSPO (Zheng et al. 2025, arXiv 2507.18071): one ratio a sequence, s_i = exp(mean_t (l - o)), clipped as a whole.

    `each_token` is GSPO-token: sg(s_i) exp(l - sg l), whose value is the same and whose gradient is too, unless tokens of
    one sequence have different advantages. The paper's bounds are 3e-4 and 4e-4: a mean moves far less than a token. Meant for
    the reduction sequence_mean (verl forces it; TRL only warns). NeMo-RL clips the mean but weighs by the sum.
    """

    low: float = 3e-4
    high: float = 4e-4
    each_token: bool = False

    def __post_init__(self) -> None:
        _bounds(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Cispo:
    """CISPO (MiniMax-M1 2025, arXiv 2506.13585): -sg(clip(rho, 1 - low, 1 + high)) A l; no token's gradient is ever 0.

    low = 1 is no lower bound, the paper's choice and TRL's. `high` is counted from 1, as in verl, SkyRL, NeMo-RL, slime and
    AReaL: 4 here is 5 in TRL, whose bound is absolute.
    """

    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        _bounds(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Sapo:
    """SAPO (Gao et al. 2025, arXiv 2511.20347): -(4 / tau) sigmoid(tau (rho - 1)) A, a soft gate in place of the clip.

    tau is `positive` where A > 0 and `negative` elsewhere; the gradient is weighed by 4 p (1 - p), p the sigmoid: 1 at ratio one,
    fading to 0 on both sides. The paper, TRL and ms-swift use 1 and 1.05.
    """

    positive: float = 1.0
    negative: float = 1.05

    def __post_init__(self) -> None:
        for name, value in (("sapo_positive", self.positive), ("sapo_negative", self.negative)):
            if not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value!r}: give a finite number above 0, such as 1.")


@dataclass(frozen=True, slots=True)
class Dppo:
    """DPPO (Qi et al. 2026, arXiv 2602.04879): a token is dropped when its probability, not its ratio, moved too far.

    -keep min(rho, cap) A, with rho = exp(l - u) to the *sampler* (not to the start of the step). "tv": keep unless A > 0 and
    pi - mu > high, or A <= 0 and pi - mu < -low. "kl": the same with the KL of the two-way choice (this token or another)
    over the bound. `drift` adds drift (l - u)^2. prime-rl: tv, 0.2 and 0.2, no cap, drift 1e-3; verl: cap 20 by default, clip_ratio as
    the bounds, no drift.
    """

    low: float = 0.2
    high: float = 0.2
    divergence: Divergence = "tv"
    cap: float | None = None
    drift: float = 0.0

    def __post_init__(self) -> None:
        _bounds(self.low, self.high)
        if self.cap is not None and not (math.isfinite(self.cap) and self.cap >= 1.0):
            raise ConfigError(f"dppo_cap is {self.cap!r}: give a finite number from 1 up, such as 20, or leave it out.")
        if not (math.isfinite(self.drift) and self.drift >= 0.0):
            raise ConfigError(f"dppo_drift is {self.drift!r}: give a finite number from 0 up.")


Surrogate = Clip | Gspo | Cispo | Sapo | Dppo


@dataclass(frozen=True, slots=True)
class KL:
    """A pull of the policy towards `to`: coefficient * KL(policy || to), the reverse KL.

    to         "reference": the policy the run began with; "start_of_step"; or "moving": a reference that follows the
               policy: every `every` optimizer steps it becomes mix * policy + (1 - mix) * itself (mix 1: a reset)
    where      "loss": a term of the loss; "reward": taken off the reward of every token before credit
    estimator  None is the one whose gradient is that of the KL: ratio_k3 in the loss, k1 in the reward. The others are for
               comparing with systems that use them (`burnish.algos.losses.kl_estimate` says what each really pulls to)

    Raises ConfigError for a coefficient not above 0, a KL that is always 0, or an estimator without a meaning there.
    """

    to: Anchor
    coefficient: float
    where: KLPlace = "loss"
    estimator: Estimator | None = None
    every: int | None = None
    mix: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.coefficient) and self.coefficient > 0.0):
            raise ConfigError(
                f"kl_coefficient is {self.coefficient!r}: give a number above 0, or leave both kl settings out."
            )
        if self.where == "reward" and self.to == "start_of_step":
            raise ConfigError(
                'kl_to = "start_of_step" is always 0 in the reward, which is given at the start of the step: use kl_in = "loss".'
            )
        if self.where == "reward" and self.estimator is not None and self.estimator.startswith("ratio_"):
            raise ConfigError(
                f"kl_estimator {self.estimator!r} is for the loss; in the reward there is no ratio: use k1, or leave it out."
            )
        given = (self.every is not None, self.mix is not None)
        if given != ((True, True) if self.to == "moving" else (False, False)):
            raise ConfigError(
                'kl_every and kl_mix say how a moving reference moves: give both with kl_to = "moving", and neither without.'
            )
        if self.every is not None and self.every < 1:
            raise ConfigError(f"kl_every is {self.every}: give a number of optimizer steps from 1 up.")
        if self.mix is not None and not 0.0 < self.mix <= 1.0:
            raise ConfigError(f"kl_mix is {self.mix!r}: give a number above 0 and at most 1 (1 resets the reference).")

    @property
    def chosen(self) -> Estimator:
        """The estimator used."""
        return self.estimator or ("ratio_k3" if self.where == "loss" else "k1")


@dataclass(frozen=True, slots=True)
class Correction:
    """What a token's loss is multiplied by (detached) because its sampler was another policy, or another program.

    With v = exp(o - u), o being the learner's own log-probability at the start of the step, and row means and sums over the
    sampled tokens of a sequence:

        tis              v held to [low, high]                           token truncated importance sampling (Yao et al. 2025)
        sequence_tis     exp(sum (o - u)), at most high                  sequence truncated
        icepop           v if low <= v <= high, else 0                   IcePop (Ling team 2025, arXiv 2510.18855)
        sequence_mask    exp(sum (o - u)) if in [low, high], else 0      masked importance sampling (TRL's default, high 3)
        geometric_mask   v if low <= exp(mean (o - u)) <= high, else 0   seq-mask-TIS of OpenRLHF and NeMo-RL
        decoupled        v, as it is                                     decoupled PPO (Hilton et al. 2021, arXiv 2110.00641): clip to o

    In all of them the ratio of the surrogate is taken to o. The denominators of the reduction stay those of all tokens.
    Raises ConfigError unless 0 <= low < high.
    """

    kind: CorrectionKind
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.high:
            raise ConfigError(
                f"correction_low {self.low!r} and correction_high {self.high!r} hold nothing between them: "
                "give 0 <= low < high, such as 0.5 and 2."
            )
        if self.kind == "decoupled" and (self.low, self.high) != (0.0, math.inf):
            raise ConfigError('correction = "decoupled" has no bounds: leave them out, or use "tis".')
        if self.kind != "decoupled" and math.isinf(self.high):
            raise ConfigError(f"correction = {self.kind!r} needs correction_high, such as 2.")
        if self.kind == "sequence_tis" and self.low:
            raise ConfigError('correction_low has no effect with correction = "sequence_tis": leave it out.')


@dataclass(frozen=True, slots=True)
class Entropy:
    """A bonus of coefficient * entropy a token. With a `target` (nats) the coefficient follows what is measured:

    it rises by `step` after a step whose mean entropy was at most the target, falls by `step` after one above it, stays in
    [0, most], and applies only after a step at or below the target (Skywork-OR1, He et al. 2025, arXiv 2505.22312; TRL's
    adaptive entropy). `measured` is the last step's, None before the first.
    """

    coefficient: float
    target: float | None = None
    step: float = 0.005
    most: float = 1.0
    measured: float | None = None

    def __post_init__(self) -> None:
        least = self.coefficient >= 0.0 if self.target is not None else self.coefficient > 0.0
        if not (math.isfinite(self.coefficient) and least):
            raise ConfigError(f"entropy_coefficient is {self.coefficient!r}: give a finite number above 0.")
        for name, value in (("entropy_step", self.step), ("entropy_most", self.most), ("entropy_target", self.target)):
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value!r}: give a finite number above 0.")

    @property
    def applied(self) -> float:
        """The coefficient in force."""
        if self.target is not None and self.measured is not None and self.measured > self.target:
            return 0.0
        return self.coefficient


@dataclass(frozen=True, slots=True)
class Covariance:
    """Clip-Cov and KL-Cov (Cui et al. 2025, arXiv 2505.22617): the few tokens that drive the entropy down are held.

    With cov = (A - mean A) (u - mean u) over the tokens of the step: "clip" takes a `share` of the tokens out of the loss, chosen
    among those with low < cov < high; "kl" adds coefficient * |l - o| to the `share` with the largest cov (the paper and verl
    have no clip beside it: objective reinforce). verl measures l within a micro-batch and draws at random; here the means and
    the border are the whole step's, from the sampler's log-probabilities, and the draw is a hash of the token's own, so no split
    of the batch changes the choice. `mean_advantage`,
    `mean_logp` and `border` are those numbers (`burnish.algos.steering` fills them in): `border` is the smallest cov taken ("kl"), or
    the share to draw of those between the bounds ("clip").
    """

    kind: CovarianceKind
    share: float = 2e-4
    low: float = 1.0
    high: float = 5.0
    coefficient: float = 1.0
    mean_advantage: float = 0.0
    mean_logp: float = 0.0
    border: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ConfigError(f"covariance_share is {self.share!r}: give a number above 0 and at most 1, such as 2e-4.")
        if not self.low < self.high:
            raise ConfigError(f"covariance_low {self.low!r} is not below covariance_high {self.high!r}.")
        if not (math.isfinite(self.coefficient) and self.coefficient > 0.0):
            raise ConfigError(f"covariance_coefficient is {self.coefficient!r}: give a finite number above 0.")


@dataclass(frozen=True, slots=True)
class Critic:
    """How a value head is trained: coefficient * max((v - R)^2, (clip(v, v_old +- clip) - R)^2) / 2 (PPO, arXiv 1707.06347).

    `clip` None takes the plain square. See `burnish.algos.losses.value_loss`.
    """

    coefficient: float = 0.5
    clip: float | None = 0.2

    def __post_init__(self) -> None:
        for name, value in (("critic_coefficient", self.coefficient), ("critic_clip", self.clip)):
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} is {value!r}: give a finite number above 0.")


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a token: a surrogate (None: REINFORCE, -rho A), and what goes with it.

    `stale_mask` is off-policy sequence masking (DeepSeek-V3.2 2025, arXiv 2512.02556): a sequence with A < 0 whose
    mean (u - l) is above it is left out. TRL compares with the sampler, as here; slime with the start of the step.
    """

    surrogate: Surrogate | None = None
    kl: KL | None = None
    correction: Correction | None = None
    stale_mask: float | None = None
    entropy: Entropy | None = None
    covariance: Covariance | None = None

    def __post_init__(self) -> None:
        if self.stale_mask is not None and not (math.isfinite(self.stale_mask) and self.stale_mask > 0.0):
            raise ConfigError(f"stale_mask is {self.stale_mask!r}: give a finite number of nats above 0, such as 0.1.")
        if isinstance(self.surrogate, Dppo) and self.correction is not None:
            raise ConfigError(
                "DPPO's ratio is to the sampler already, so a correction would count the gap twice: leave correction out."
            )

    @property
    def clip(self) -> Clip | None:
        """The surrogate, where it is a clip."""
        return self.surrogate if isinstance(self.surrogate, Clip) else None

    @property
    def only_advantage(self) -> bool:
        """Whether a row whose advantages are all 0 has a loss of 0 and no gradient, so that a learner need not go back through it."""
        drifts = isinstance(self.surrogate, Dppo) and self.surrogate.drift > 0.0
        pulled = self.kl is not None and self.kl.where == "loss"
        return not (drifts or pulled or self.entropy is not None or self.covariance is not None)

    def __call__(self, fields: TokenFields) -> Loss:
        """The scalar loss of one micro-batch and its metrics: `burnish.algos.losses.policy_loss`."""
        from burnish.algos.losses import policy_loss  # torch loads here, not when a recipe is read

        return policy_loss(self, fields)


def _bounds(low: float, high: float) -> None:
    if not 0.0 < low <= 1.0:
        raise ConfigError(f"clip_low is {low!r}: give a number above 0 and at most 1, such as 0.2.")
    if not (math.isfinite(high) and high > 0.0):
        raise ConfigError(f"clip_high is {high!r}: give a finite number above 0, such as 0.28.")
