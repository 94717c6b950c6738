"""The loss of a micro-batch and its metrics: what an Objective computes. On tensors, as surrogates.py and correction.py.

Shapes: N sampled tokens of a micro-batch, row after row. Flat and without padding: there is no mask here, so nothing a
masked slot holds can leak, and a choice between two values is `torch.where`, never a product with zeros and ones.

Letters: l = log pi_theta (trained), u = log pi of the sampler, o = the old log-probability in the ratio, f = that of
the KL's anchor, A the advantage, w the weight of the reduction; rho = exp(l - o). Log-probabilities are in nats.

Not for: rewards or advantages (reward.py, credit.py), the weights (reduce.py), or networks (the learner's).
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from burnish.algos.correction import correction_weights, stale_rows
from burnish.algos.objective import KL, Critic, Entropy, Estimator, Objective
from burnish.algos.surrogates import (
    LARGEST_LOG_RATIO,
    TokenFields,
    check_shapes,
    clipped_surrogate,
    covariance_picks,
    log_ratio,
    stopped,
    surrogate_loss,
)
from burnish.metrics import EffectiveShare, Max, Mean, Metrics, Share, Sum

__all__ = [
    "TokenFields",
    "clipped_surrogate",
    "critic_loss",
    "k3",
    "kl_estimate",
    "policy_loss",
    "policy_ratio",
    "reverse_kl",
    "value_loss",
]

Loss: TypeAlias = tuple[Tensor, Metrics]


def policy_ratio(fields: TokenFields, corrected: bool = False) -> Tensor:
    """rho_N = exp(l - o), where on policy o is l itself, detached; else the proximal log-probability, else u.

    On policy the ratio is exactly one and its gradient is that of l, whatever the sampler reported. With a correction
    (`corrected`) the ratio is never to u: without a proximal log-probability the step has one update, and o is l.
    """
    return torch.exp(_log_ratio(fields, corrected))


def _log_ratio(fields: TokenFields, corrected: bool) -> Tensor:
    if fields.proximal_N is not None:
        return log_ratio(fields, fields.proximal_N)
    return log_ratio(fields, fields.logp_N.detach() if corrected else fields.sampler_N)


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


def kl_estimate(name: Estimator, logp_N: Tensor, anchor_N: Tensor, ratio_N: Tensor) -> Tensor:
    """An estimator of KL(pi || anchor) by its name. All but k2 and ratio_k2 have the right value in expectation; as a loss:

    ratio_k3   rho k3           the gradient of KL(pi || anchor). The library's own choice; TRL 1.16, NeMo-RL k3, DeepSeek-V3.2
    ratio_k1   rho (l - f)      the same in expectation, with more noise. NeMo-RL k1
    k2         (l - f)^2 / 2    the same on policy. verl k1+ and k3+, OpenRLHF k2
    k3         see `k3`         WRONG: the gradient of KL(anchor || pi). verl low_var_kl, SkyRL, OpenRLHF k3
    ratio_k2   rho k2           WRONG: near the right one, and not it. NeMo-RL k2
    k1         l - f            WRONG: no gradient in expectation, only noise: it regularises nothing. slime's default
    """
    apart_N = logp_N - anchor_N
    match name:
        case "k1":
            return apart_N
        case "k2":
            return 0.5 * apart_N.square()
        case "k3":
            return k3(logp_N, anchor_N)
        case "ratio_k1":
            return ratio_N * apart_N
        case "ratio_k2":
            return ratio_N * 0.5 * apart_N.square()
        case "ratio_k3":
            return reverse_kl(logp_N, anchor_N, ratio_N)


def entropy_loss(chosen: Entropy, fields: TokenFields, ratio_N: Tensor) -> Tensor:
    """coefficient * rho * sg(l + H): on policy its expected gradient is that of -coefficient * H, exactly.

    The gradient of H is -E[grad l (l + H)], so the tokens that were drawn are enough: H needs no graph through the whole
    vocabulary, and as a baseline it takes most of the noise away. Its value is 0 in expectation and says nothing.
    Raises ValueError where the entropy is not known.
    """
    if fields.entropy_N is None:
        raise ValueError("an entropy bonus needs entropy_N")
    return chosen.applied * ratio_N * (fields.logp_N + fields.entropy_N).detach()


def policy_loss(objective: Objective, fields: TokenFields) -> Loss:
    """sum_N w (c * surrogate + coefficient * KL + entropy), and the metrics of the micro-batch (see `_metrics`).

    c is the off-policy correction, 1 without one; it does not touch KL and entropy. Raises ValueError where a field is
    not [N], or the objective's KL has no anchor to pull to.
    """
    check_shapes(fields)
    log_ratio_N = _log_ratio(fields, objective.correction is not None)
    loss_N, ratio_N = surrogate_loss(objective.surrogate, fields, log_ratio_N)
    if objective.covariance is not None:
        picked_N = covariance_picks(objective.covariance, fields)
        if objective.covariance.kind == "kl":
            loss_N = loss_N + torch.where(picked_N, objective.covariance.coefficient * log_ratio_N.abs(), 0.0)
        else:
            loss_N = torch.where(picked_N, 0.0, loss_N)
    weights_N = removed_N = held_N = None
    if objective.correction is not None:
        weights_N, removed_N, held_N = correction_weights(objective.correction, fields)
        loss_N = torch.where(removed_N, 0.0, loss_N) * weights_N
    if objective.stale_mask is not None:
        stale_N = stale_rows(objective.stale_mask, fields)
        loss_N = torch.where(stale_N, 0.0, loss_N)
        removed_N = stale_N if removed_N is None else removed_N | stale_N
    if objective.kl is not None and objective.kl.where == "loss":
        anchor_N = _anchor(objective.kl, fields)
        if anchor_N is not None:
            token_ratio_N = torch.exp(log_ratio_N)
            term_N = kl_estimate(objective.kl.chosen, fields.logp_N, anchor_N, token_ratio_N)
            loss_N = loss_N + objective.kl.coefficient * term_N
    if objective.entropy is not None:
        loss_N = loss_N + entropy_loss(objective.entropy, fields, torch.exp(log_ratio_N))
    loss = (fields.weight_N * loss_N).sum()
    corrected = (weights_N, removed_N, held_N)
    return loss, _metrics(objective, fields, ratio_N.detach(), loss.detach(), corrected)


def _anchor(kl: KL, fields: TokenFields) -> Tensor | None:
    """The log-probabilities KL pulls to; None where the policy is itself the start of its step (KL 0)."""
    anchor_N = fields.proximal_N if kl.to == "start_of_step" else fields.reference_N
    if anchor_N is not None:
        return anchor_N
    if kl.to == "start_of_step" and bool(fields.on_policy_N.all()):
        return None
    name = "proximal_N" if kl.to == "start_of_step" else "reference_N"
    raise ValueError(
        f"a KL to the {kl.to} policy needs {name}: ask Recipe.needs what to score. With one update a step a KL to the "
        "start of the step is always 0: turn it off."
    )


@torch.no_grad()
def _metrics(
    objective: Objective,
    fields: TokenFields,
    ratio_N: Tensor,
    loss: Tensor,
    corrected: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> Metrics:
    """What one micro-batch says about itself; merge them with `burnish.metrics.merge`.

    policy/loss          Sum    its part of the step's loss
    policy/ratio_mean    Mean   rho, before the clip
    policy/clip_low      Share  tokens that stopped pushing: A < 0 and rho < 1 - low (0 without a clip)
    policy/clip_high     Share  tokens that stopped pushing: A > 0 and rho > 1 + high
    policy/entropy       Mean   if entropy_N is known
    gap/abs_mean         Mean   |l - u|, the distance between sampler and learner
    gap/max              Max    the same, at its largest
    gap/weight           Mean   v = exp(l - u), the raw ratio of learner to sampler
    gap/weight_square    Mean   v^2
    gap/effective        EffectiveShare   the share of the sample that the raw weights leave
    gap/kl               Mean   v - 1 - (l - u), not negative: KL(sampler || learner)
    kl/reference         Mean   k3 to the reference, if reference_N is known
    kl/start_of_step     Mean   k3 to the start of the step, if proximal_N is known
    correction/weight    Mean   what the losses were multiplied by, after masks (1 without a correction)
    correction/masked    Share  tokens taken out by a correction or a mask (0 without one)
    correction/held      Share  tokens whose weight was cut to a bound
    correction/effective EffectiveShare   the share of the sample that the effective weights leave
    """
    log_gap_N = fields.logp_N - fields.sampler_N
    weight_N = torch.exp(log_gap_N.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    low_N, high_N = stopped(objective.surrogate, fields, ratio_N)
    means = {
        "policy/ratio_mean": ratio_N,
        "gap/abs_mean": log_gap_N.abs(),
        "gap/weight": weight_N,
        "gap/weight_square": weight_N.square(),
        "gap/kl": weight_N - 1.0 - log_gap_N,
    }
    shares = {"policy/clip_low": low_N, "policy/clip_high": high_N}
    if fields.entropy_N is not None:
        means["policy/entropy"] = fields.entropy_N
    for name, anchor_N in (("reference", fields.reference_N), ("start_of_step", fields.proximal_N)):
        if anchor_N is not None:
            means[f"kl/{name}"] = k3(fields.logp_N, anchor_N)
    if corrected[1] is not None:
        more = _corrected(ratio_N, *corrected)
        means, shares = means | more[0], shares | more[1]
    most = torch.cat([log_gap_N.abs(), log_gap_N.new_zeros(1)]).max()  # the zero is for a micro-batch without tokens
    totals = [value_N.sum().to(loss.dtype) for value_N in (*means.values(), *shares.values())]
    loss_sum, gap_max, *sums = torch.stack([loss, most.to(loss.dtype), *totals]).tolist()  # one wait for the device
    count = float(ratio_N.numel())
    metrics: Metrics = {"policy/loss": Sum(loss_sum), "gap/max": Max(gap_max)}
    found = dict(zip(means, sums[: len(means)], strict=True))
    metrics["gap/effective"] = EffectiveShare(found["gap/weight"], found["gap/weight_square"], count)
    effective = (found.get("correction/weight", count), found.pop("correction/square", count))
    metrics["correction/effective"] = EffectiveShare(*effective, count)
    metrics |= {"correction/weight": Mean(count, count), "correction/masked": Share(0.0, count)}
    metrics |= {"correction/held": Share(0.0, count)}  # these three are replaced where something was corrected
    metrics |= {name: Mean(total, count) for name, total in found.items()}
    metrics |= {name: Share(total, count) for name, total in zip(shares, sums[len(means) :], strict=True)}
    return metrics


def _corrected(
    ratio_N: Tensor, applied_N: Tensor | None, removed_N: Tensor | None, held_N: Tensor | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a correction or a mask did: its means and its shares."""
    assert removed_N is not None
    nothing_N = torch.zeros_like(removed_N)
    kept_N = torch.where(removed_N, 0.0, torch.ones_like(ratio_N) if applied_N is None else applied_N)
    shares = {"correction/masked": removed_N, "correction/held": nothing_N if held_N is None else held_N}
    return {"correction/weight": kept_N, "correction/square": kept_N.square()}, shares


def value_loss(value_N: Tensor, old_N: Tensor, return_N: Tensor, clip: float | None) -> Tensor:
    """max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2) / 2 a token; (v - R)^2 / 2 without a clip (arXiv 1707.06347)."""
    plain_N = (value_N - return_N).square()
    if clip is None:
        return 0.5 * plain_N
    near_N = torch.minimum(torch.maximum(value_N, old_N - clip), old_N + clip)
    return 0.5 * torch.maximum(plain_N, (near_N - return_N).square())


def critic_loss(critic: Critic, value_N: Tensor, old_N: Tensor, return_N: Tensor, weight_N: Tensor) -> Loss:
    """sum_N w coefficient value_loss, and its metrics. The interface to whoever holds a value head.

    value_N   the head's values now, with their graph; place t is the value of the state in which token t was drawn
    old_N     the same at the start of the step: the `values` of the sample's notes
    return_N  the sample's `returns`
    weight_N  the weights of the reduction, as for the policy

    critic/loss Sum; critic/clipped Share (the clip decides); critic/error Mean of |v - R|; critic/return and
    critic/return_square, critic/residual_square Mean: explained variance is 1 - residual_square / (return_square - return^2).
    """
    token_N = value_loss(value_N, old_N, return_N, critic.clip)
    loss = critic.coefficient * (weight_N * token_N).sum()
    with torch.no_grad():
        residual_N = value_N - return_N
        clipped_N = token_N > 0.5 * residual_N.square()
        columns = (residual_N.abs(), return_N, return_N.square(), residual_N.square())
        names = ("critic/error", "critic/return", "critic/return_square", "critic/residual_square")
        totals = torch.stack([loss.detach(), *(c.sum() for c in (clipped_N, *columns))]).tolist()
    count = float(value_N.numel())
    metrics: Metrics = {"critic/loss": Sum(totals[0]), "critic/clipped": Share(totals[1], count)}
    return loss, metrics | {name: Mean(total, count) for name, total in zip(names, totals[2:], strict=True)}
