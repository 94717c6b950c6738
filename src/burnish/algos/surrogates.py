"""How the ratio and the advantage of a token become its loss: one function for each surrogate of objective.py.

Shapes: N sampled tokens, whole rows, flat. A choice between two values is `torch.where`, never a product with zeros and ones.
Letters: l = log pi_theta, u = log pi of the sampler, o = log pi_old, rho = exp(l - o), A the advantage, sg = stop gradient.

Not for: KL, corrections, entropy, or what a token weighs.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from burnish.algos.objective import Cispo, Clip, Covariance, Dppo, Gspo, Sapo, Surrogate

LARGEST_LOG_RATIO = 20.0  # verl's bound on an exponent: exp(20) is 5e8, and no overflow can make 0 * inf


class TokenFields(Protocol):
    """What is known about each of N sampled tokens, each field [N]; whole rows only. (burnish.learner.batch.TokenFields)

    logp_N       l, with its graph
    sampler_N    u, as recorded when the token was drawn
    advantage_N  A
    weight_N     what the token weighs, from `burnish.algos.reduce.weights`: the loss is sum_N weight * loss
    row_N        int64, which row of the micro-batch the token is in
    on_policy_N  bool, the version that sampled is the version that trains: the ratio is one by construction
    reference_N  log-probability under the reference policy, if the recipe needs it
    proximal_N   log-probability under the policy at the start of the step, if the recipe needs it
    entropy_N    entropy (nats) of the distribution the token was drawn from under theta, detached, if known
    """

    @property
    def logp_N(self) -> Tensor: ...
    @property
    def sampler_N(self) -> Tensor: ...
    @property
    def advantage_N(self) -> Tensor: ...
    @property
    def weight_N(self) -> Tensor: ...
    @property
    def row_N(self) -> Tensor: ...
    @property
    def on_policy_N(self) -> Tensor: ...
    @property
    def reference_N(self) -> Tensor | None: ...
    @property
    def proximal_N(self) -> Tensor | None: ...
    @property
    def entropy_N(self) -> Tensor | None: ...


FIELDS = ("logp", "sampler", "advantage", "weight", "row", "on_policy", "reference", "proximal", "entropy")


def check_shapes(fields: TokenFields) -> None:
    """Raises ValueError where a field is not flat or not N long."""
    for name in FIELDS:
        value = getattr(fields, f"{name}_N")
        if value is not None and (value.dim() != 1 or value.shape != fields.logp_N.shape):
            shapes = f"{tuple(value.shape)}, logp_N {tuple(fields.logp_N.shape)}"
            raise ValueError(f"{name}_N has shape {shapes}: every field is [N]")


def log_ratio(fields: TokenFields, recorded_N: Tensor) -> Tensor:
    """l - o, where on policy o is l itself, detached; else what is recorded. Held to 20 nats either way."""
    old_N = torch.where(fields.on_policy_N, fields.logp_N.detach(), recorded_N)
    return (fields.logp_N - old_N).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)


def row_mean(values_N: Tensor, row_N: Tensor) -> Tensor:
    """The mean of each row, at every token of it."""
    return row_sum(values_N, row_N) / row_sum(torch.ones_like(values_N), row_N)


def row_sum(values_N: Tensor, row_N: Tensor) -> Tensor:
    """The sum of each row, at every token of it."""
    rows = int(row_N.max()) + 1 if row_N.numel() else 0
    return values_N.new_zeros(rows).index_add(0, row_N, values_N)[row_N]


def clipped_surrogate(ratio_N: Tensor, advantage_N: Tensor, clip: Clip | Gspo | None) -> Tensor:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) (Schulman et al. 2017, arXiv 1707.06347); -rho A without a clip.

    With `dual`, where A < 0 it is at most -dual * A (Ye et al. 2020, arXiv 1912.09729).
    """
    plain_N = ratio_N * advantage_N
    if clip is None:
        return -plain_N
    lower_N = torch.minimum(plain_N, ratio_N.clamp(1.0 - clip.low, 1.0 + clip.high) * advantage_N)
    if isinstance(clip, Clip) and clip.dual is not None:
        lower_N = torch.where(advantage_N < 0, torch.maximum(lower_N, clip.dual * advantage_N), lower_N)
    return -lower_N


def sequence_ratio(log_ratio_N: Tensor, row_N: Tensor, each_token: bool) -> Tensor:
    """s_i = exp(mean_t (l - o)) at every token; with `each_token` sg(s_i) exp(l - sg l), the same number."""
    mean_N = row_mean(log_ratio_N.detach() if each_token else log_ratio_N, row_N)
    return torch.exp(mean_N + (log_ratio_N - log_ratio_N.detach()) if each_token else mean_N)


def cispo_surrogate(ratio_N: Tensor, logp_N: Tensor, advantage_N: Tensor, bounds: Cispo) -> Tensor:
    """-sg(clip(rho, 1 - low, 1 + high)) A l."""
    return -ratio_N.detach().clamp(1.0 - bounds.low, 1.0 + bounds.high) * advantage_N * logp_N


def sapo_surrogate(ratio_N: Tensor, advantage_N: Tensor, gate: Sapo) -> Tensor:
    """-(4 / tau) sigmoid(tau (rho - 1)) A."""
    tau_N = torch.where(advantage_N > 0, gate.positive, gate.negative).to(ratio_N.dtype)
    return -(4.0 / tau_N) * torch.sigmoid(tau_N * (ratio_N - 1.0)) * advantage_N


def dppo_keep(logp_N: Tensor, old_N: Tensor, advantage_N: Tensor, bounds: Dppo) -> Tensor:
    """bool: the tokens whose probability has not moved too far in the direction they were told."""
    p_N, q_N = logp_N.detach().exp(), old_N.exp()
    moved_N = p_N - q_N
    if bounds.divergence == "tv":
        far_up_N, far_down_N = moved_N > bounds.high, moved_N < -bounds.low
    else:
        tiny = 1e-8  # verl's
        others_N = (1.0 - q_N) * torch.log((1.0 - q_N + tiny) / (1.0 - p_N + tiny))
        binary_N = q_N * (old_N - logp_N.detach()) + others_N
        far_up_N = (binary_N > bounds.high) & (moved_N > 0)
        far_down_N = (binary_N > bounds.low) & (moved_N < 0)
    return ~torch.where(advantage_N > 0, far_up_N, far_down_N)


def dppo_surrogate(log_ratio_N: Tensor, keep_N: Tensor, advantage_N: Tensor, bounds: Dppo) -> Tensor:
    """-keep min(rho, cap) A + drift (l - u)^2. The capped ratio keeps the gradient of l, as in verl."""
    ratio_N = torch.exp(log_ratio_N)
    if bounds.cap is not None:
        ratio_N = ratio_N.detach().clamp(max=bounds.cap) * torch.exp(log_ratio_N - log_ratio_N.detach())
    loss_N = torch.where(keep_N, -ratio_N * advantage_N, 0.0)
    return loss_N + bounds.drift * log_ratio_N.square() if bounds.drift else loss_N


def surrogate_loss(chosen: Surrogate | None, fields: TokenFields, log_ratio_N: Tensor) -> tuple[Tensor, Tensor]:
    """(loss a token, the ratio it was made of). `log_ratio_N` is l - o; DPPO takes its own, to the sampler."""
    advantage_N = fields.advantage_N
    match chosen:
        case Gspo():
            ratio_N = sequence_ratio(log_ratio_N, fields.row_N, chosen.each_token)
            return clipped_surrogate(ratio_N, advantage_N, chosen), ratio_N
        case Cispo():
            ratio_N = torch.exp(log_ratio_N)
            return cispo_surrogate(ratio_N, fields.logp_N, advantage_N, chosen), ratio_N
        case Sapo():
            ratio_N = torch.exp(log_ratio_N)
            return sapo_surrogate(ratio_N, advantage_N, chosen), ratio_N
        case Dppo():
            log_ratio_N = log_ratio(fields, fields.sampler_N)
            old_N = torch.where(fields.on_policy_N, fields.logp_N.detach(), fields.sampler_N)
            keep_N = dppo_keep(fields.logp_N, old_N, advantage_N, chosen)
            return dppo_surrogate(log_ratio_N, keep_N, advantage_N, chosen), torch.exp(log_ratio_N)
    ratio_N = torch.exp(log_ratio_N)
    return clipped_surrogate(ratio_N, advantage_N, chosen), ratio_N


@torch.no_grad()
def stopped(chosen: Surrogate | None, fields: TokenFields, ratio_N: Tensor) -> tuple[Tensor, Tensor]:
    """bool: the tokens that the bounds hold, (below, above). CISPO: whose weight is cut; others: that stopped pushing."""
    advantage_N = fields.advantage_N
    if isinstance(chosen, Dppo):
        old_N = torch.where(fields.on_policy_N, fields.logp_N, fields.sampler_N)
        keep_N = dppo_keep(fields.logp_N, old_N, advantage_N, chosen)
        return ~keep_N & (advantage_N <= 0), ~keep_N & (advantage_N > 0)
    if chosen is None or isinstance(chosen, Sapo):
        nothing_N = torch.zeros_like(advantage_N, dtype=torch.bool)
        return nothing_N, nothing_N
    below_N, above_N = ratio_N < 1.0 - chosen.low, ratio_N > 1.0 + chosen.high
    if isinstance(chosen, Cispo):
        return below_N, above_N
    return (advantage_N < 0) & below_N, (advantage_N > 0) & above_N


@torch.no_grad()
def covariance_picks(chosen: Covariance, fields: TokenFields) -> Tensor:
    """bool: the tokens a covariance rule holds. Raises ValueError where its border was not measured over the step."""
    if chosen.border is None:
        raise ValueError("a covariance rule is measured over the step first: use burnish.algos.steering.Steered")
    cov_N = (fields.advantage_N - chosen.mean_advantage) * (fields.sampler_N - chosen.mean_logp)
    if chosen.kind == "kl":
        return cov_N >= chosen.border
    bits_N = fields.sampler_N.to(torch.float32).view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    drawn_N = ((bits_N * 2654435761) & 0xFFFFFFFF).to(torch.float64) / 2.0**32  # Knuth's multiplicative hash
    return (cov_N > chosen.low) & (cov_N < chosen.high) & (drawn_N < chosen.border)
