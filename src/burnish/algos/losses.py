"""The loss of a micro-batch and its metrics: what an Objective computes. The only file of this room that imports torch.

Shapes: N sampled tokens of a micro-batch, row after row. Flat and without padding: there is no mask here, so nothing a
masked slot holds can leak, and a choice between two values is `torch.where`, never a product with zeros and ones.

Letters: l = log pi_theta (trained), u = log pi of the sampler, o = the old log-probability in the ratio, f = that of
the KL's anchor, A the advantage, w the weight of the reduction; rho = exp(l - o). Log-probabilities are in nats.

Not for: rewards or advantages (reward.py, credit.py), the weights (reduce.py), or networks (the learner's).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from burnish.algos.objective import KL, Clip, Objective
from burnish.metrics import Max, Mean, Metrics, Share, Sum

Loss: TypeAlias = tuple[Tensor, Metrics]
LARGEST_LOG_RATIO = 20.0  # verl's bound on an exponent: exp(20) is 5e8, and no overflow can make 0 * inf


@dataclass(frozen=True, slots=True, eq=False)
class TokenFields:
    """What is known about each of N sampled tokens, each field [N]; whole rows only.

    logp_N       l, with its graph
    sampler_N    u, as recorded when the token was drawn
    advantage_N  A
    weight_N     w, from `burnish.algos.reduce.weights`: the loss is sum_N w * loss
    row_N        int64, which row of the micro-batch the token is in
    on_policy_N  bool, the version that sampled is the version that trains: the ratio is one by construction
    reference_N  log-probability under the reference policy, if the recipe needs it
    proximal_N   log-probability under the policy at the start of the step, if the recipe needs it
    entropy_N    entropy (nats) of the distribution the token was drawn from under theta, detached, if known

    Raises ValueError where a field is not flat or not N long.
    """

    logp_N: Tensor
    sampler_N: Tensor
    advantage_N: Tensor
    weight_N: Tensor
    row_N: Tensor
    on_policy_N: Tensor
    reference_N: Tensor | None = None
    proximal_N: Tensor | None = None
    entropy_N: Tensor | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and (value.dim() != 1 or value.shape != self.logp_N.shape):
                shapes = f"{tuple(value.shape)}, logp_N {tuple(self.logp_N.shape)}"
                raise ValueError(f"{field.name} has shape {shapes}: every field is [N]")


def policy_ratio(fields: TokenFields) -> Tensor:
    """rho_N = exp(l - o), where on policy o is l itself, detached; else the proximal log-probability, else u.

    On policy the ratio is exactly one and its gradient is that of l, whatever the sampler reported.
    """
    own_N = fields.logp_N.detach()
    recorded_N = fields.sampler_N if fields.proximal_N is None else fields.proximal_N
    old_N = torch.where(fields.on_policy_N, own_N, recorded_N)
    return torch.exp((fields.logp_N - old_N).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))


def clipped_surrogate(ratio_N: Tensor, advantage_N: Tensor, clip: Clip | None) -> Tensor:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) (Schulman et al. 2017, arXiv 1707.06347); -rho A without a clip.

    With `dual`, where A < 0 it is at most -dual * A (Ye et al. 2020, arXiv 1912.09729).
    """
    plain_N = ratio_N * advantage_N
    if clip is None:
        return -plain_N
    lower_N = torch.minimum(plain_N, ratio_N.clamp(1.0 - clip.low, 1.0 + clip.high) * advantage_N)
    if clip.dual is not None:
        lower_N = torch.where(advantage_N < 0, torch.maximum(lower_N, clip.dual * advantage_N), lower_N)
    return -lower_N


def k3(logp_N: Tensor, anchor_N: Tensor) -> Tensor:
    """exp(f - l) - (f - l) - 1: not negative, and in expectation KL(pi || anchor) (Schulman 2020, Approximating KL)."""
    apart_N = anchor_N - logp_N
    return torch.exp(apart_N.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)) - apart_N - 1.0


def reverse_kl(logp_N: Tensor, anchor_N: Tensor, ratio_N: Tensor) -> Tensor:
    """rho * k3, whose expected value and expected gradient are those of KL(pi || anchor), exactly.

    d(rho * k3)/dl = rho (l - f). rho is the ratio to the policy the token was drawn from, one on policy; off policy it
    is what keeps the gradient exact. k3 alone has the gradient of KL(anchor || pi), and k1 = l - f none at all.
    TRL 1.16 and DeepSeek-V3.2 use the same estimator.
    """
    return ratio_N * k3(logp_N, anchor_N)


def policy_loss(objective: Objective, fields: TokenFields) -> Loss:
    """sum_N w (surrogate + coefficient * KL), and the metrics of the micro-batch (see `_metrics`).

    Raises ValueError where the objective's KL has no anchor to pull to.
    """
    ratio_N = policy_ratio(fields)
    loss_N = clipped_surrogate(ratio_N, fields.advantage_N, objective.clip)
    if objective.kl is not None:
        anchor_N = _anchor(objective.kl, fields)
        if anchor_N is not None:
            loss_N = loss_N + objective.kl.coefficient * reverse_kl(fields.logp_N, anchor_N, ratio_N)
    loss = (fields.weight_N * loss_N).sum()
    return loss, _metrics(objective.clip, fields, ratio_N.detach(), loss.detach())


def _anchor(kl: KL, fields: TokenFields) -> Tensor | None:
    """The log-probabilities KL pulls to; None where the policy is itself the start of its step (KL 0)."""
    anchor_N = fields.reference_N if kl.to == "reference" else fields.proximal_N
    if anchor_N is not None:
        return anchor_N
    if kl.to == "start_of_step" and bool(fields.on_policy_N.all()):
        return None
    name = "reference_N" if kl.to == "reference" else "proximal_N"
    raise ValueError(
        f"a KL to the {kl.to} policy needs {name}: ask Recipe.needs what to score. With one update a step a KL to the "
        "start of the step is always 0: turn it off."
    )


@torch.no_grad()
def _metrics(clip: Clip | None, fields: TokenFields, ratio_N: Tensor, loss: Tensor) -> Metrics:
    """What one micro-batch says about itself; merge them with `burnish.metrics.merge`.

    policy/loss        Sum    its part of the step's loss
    policy/ratio_mean  Mean   rho, before the clip
    policy/clip_low    Share  tokens that stopped pushing: A < 0 and rho < 1 - low (0 without a clip)
    policy/clip_high   Share  tokens that stopped pushing: A > 0 and rho > 1 + high
    policy/entropy     Mean   if entropy_N is known
    gap/abs_mean       Mean   |l - u|, the distance between sampler and learner
    gap/max            Max    the same, at its largest
    gap/weight         Mean   v = exp(l - u)
    gap/weight_square  Mean   v^2; the effective share of the sample is weight^2 / weight_square
    kl/reference       Mean   k3 to the reference, if reference_N is known
    kl/start_of_step   Mean   k3 to the start of the step, if proximal_N is known
    """
    log_gap_N = fields.logp_N - fields.sampler_N
    weight_N = torch.exp(log_gap_N.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    low, high = (1.0 - clip.low, 1.0 + clip.high) if clip else (-torch.inf, torch.inf)
    means = {
        "policy/ratio_mean": ratio_N,
        "gap/abs_mean": log_gap_N.abs(),
        "gap/weight": weight_N,
        "gap/weight_square": weight_N.square(),
    }
    shares = {
        "policy/clip_low": (fields.advantage_N < 0) & (ratio_N < low),
        "policy/clip_high": (fields.advantage_N > 0) & (ratio_N > high),
    }
    if fields.entropy_N is not None:
        means["policy/entropy"] = fields.entropy_N
    for name, anchor_N in (("reference", fields.reference_N), ("start_of_step", fields.proximal_N)):
        if anchor_N is not None:
            means[f"kl/{name}"] = k3(fields.logp_N, anchor_N)
    most = torch.cat([log_gap_N.abs(), log_gap_N.new_zeros(1)]).max()  # the zero is for a micro-batch without tokens
    totals = [value_N.sum().to(loss.dtype) for value_N in (*means.values(), *shares.values())]
    loss_sum, gap_max, *sums = torch.stack([loss, most.to(loss.dtype), *totals]).tolist()  # one wait for the device
    count = float(ratio_N.numel())
    metrics: Metrics = {"policy/loss": Sum(loss_sum), "gap/max": Max(gap_max)}
    metrics |= {name: Mean(total, count) for name, total in zip(means, sums[: len(means)], strict=True)}
    metrics |= {name: Share(total, count) for name, total in zip(shares, sums[len(means) :], strict=True)}
    return metrics
