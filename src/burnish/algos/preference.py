"""Losses of learning without sampling: preferences (DPO and its kin), Bradley-Terry rewards, and plain cross entropy. Pure.

Each formula is a function of sums or means over whole completions; the objectives at the end gather those from the flat tokens of
a micro-batch and hand the learner one scalar. Every denominator belongs to the whole optimizer step and is fixed before the first
micro-batch, so any split that keeps a pair together gives the same gradient.

Letters: a = log pi(y | x) summed over a completion's tokens, r the same under the reference, n its number of tokens, w chosen
("winner"), l rejected ("loser"); s = sigmoid. N tokens, B rows and P pairs of a micro-batch.

Not for: making pairs, reading data, or networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.metrics import Mean, Metrics, Share, Sum
from burnish.records import Key

PreferenceKind = Literal["dpo", "ipo", "cdpo", "kto", "orpo", "simpo"]
KINDS: tuple[str, ...] = get_args(PreferenceKind)
WITH_REFERENCE = frozenset({"dpo", "ipo", "cdpo", "kto"})
CHOSEN, REJECTED = 0, 1
"""The index in a row's key: `Key(pair_id, CHOSEN)` is the completion to prefer."""


def cross_entropy(logp_N: Tensor, weight_N: Tensor) -> Tensor:
    """-sum_N weight * log pi(token): supervised fine-tuning. With weight 1 / (tokens of the step) it is the mean a token."""
    return -(weight_N * logp_N).sum()


def dpo(delta_P: Tensor, beta: float) -> Tensor:
    """-log s(beta delta), delta = (a_w - r_w) - (a_l - r_l) (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    return -F.logsigmoid(beta * delta_P)


def cdpo(delta_P: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """-(1 - e) log s(beta delta) - e log s(-beta delta): a share e of the labels is taken to be wrong.

    Conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences"); with e = 0 it is DPO.
    """
    return -(1.0 - label_smoothing) * F.logsigmoid(beta * delta_P) - label_smoothing * F.logsigmoid(-beta * delta_P)


def ipo(delta_P: Tensor, beta: float) -> Tensor:
    """(delta - 1 / (2 beta))^2 (Azar et al. 2023, arXiv 2310.12036, eq. 17; beta is its tau).

    The paper's delta is of sums, as DPO's; with means a token instead, (a_w - r_w) / n_w - (a_l - r_l) / n_l, the target does not
    drift with the length, which is what the authors' code and TRL 1.16 do.
    """
    return (delta_P - 1.0 / (2.0 * beta)).square()


def simpo(mean_chosen_P: Tensor, mean_rejected_P: Tensor, beta: float, gamma: float) -> Tensor:
    """-log s(beta (a_w / n_w - a_l / n_l) - gamma), without a reference (Meng et al. 2024, arXiv 2405.14734, eq. 6)."""
    return -F.logsigmoid(beta * (mean_chosen_P - mean_rejected_P) - gamma)


def odds_ratio(mean_chosen_P: Tensor, mean_rejected_P: Tensor) -> Tensor:
    """-log s(log(odds_w / odds_l)), odds = p / (1 - p), p = exp(a / n) (Hong et al. 2024, arXiv 2403.07691, eq. 7).

    ORPO is the cross entropy of the chosen completions plus lambda times this (eq. 6).
    """
    return -F.logsigmoid(_log_odds(mean_chosen_P) - _log_odds(mean_rejected_P))


def _log_odds(mean_P: Tensor) -> Tensor:
    """log(p / (1 - p)) of p = exp(mean); log(1 - p) as log(-expm1(mean)), which keeps its digits for p near one."""
    below_P = mean_P.clamp(max=-1e-7)  # p = 1 has no odds
    return below_P - torch.log(-torch.expm1(below_P))


def kto(gain_B: Tensor, desirable_B: Tensor, kl: float, beta: float, weights: tuple[float, float]) -> Tensor:
    """weight_d (1 - s(beta (gain - z))) where desirable, weight_u (1 - s(beta (z - gain))) where not; gain = a - r.

    z = max(0, mean of a - r over prompts with the completion of another prompt), a constant without gradient, estimates
    KL(pi || reference) (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8). `kl` is z, over the whole step.
    """
    good_B = weights[0] * (1.0 - torch.sigmoid(beta * (gain_B - kl)))
    bad_B = weights[1] * (1.0 - torch.sigmoid(beta * (kl - gain_B)))
    return torch.where(desirable_B, good_B, bad_B)


def bradley_terry(chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor | None = None) -> Tensor:
    """-log s(R_w - R_l - margin) of two scores (Bradley and Terry 1952; the margin: Touvron et al. 2023, arXiv 2307.09288)."""
    apart_P = chosen_P - rejected_P
    return -F.logsigmoid(apart_P if margin_P is None else apart_P - margin_P)


@dataclass(frozen=True, slots=True)
class Preference:
    """A loss and its settings; those that a kind does not read are left at their defaults (the config sees to that).

    ipo_mean     ipo on means a token (as published code does) and not on sums (as the paper writes)
    orpo_lambda  weight of the odds ratio beside the cross entropy
    weights      kto: of desirable and of undesirable rows
    """

    kind: PreferenceKind = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    gamma: float = 0.5
    orpo_lambda: float = 0.1
    ipo_mean: bool = True
    weights: tuple[float, float] = (1.0, 1.0)

    @property
    def needs_reference(self) -> bool:
        return self.kind in WITH_REFERENCE

    @property
    def paired(self) -> bool:
        """Whether a row is compared with its partner; KTO judges each alone."""
        return self.kind != "kto"


@dataclass(frozen=True, slots=True)
class PreferenceStep:
    """The objective of one optimizer step.

    units          pairs of the whole step; rows for kto
    chosen_tokens  orpo: tokens of the whole step that its cross entropy is a mean over
    kl             kto: z

    A row is named by `Key(id, CHOSEN)` or `Key(id, REJECTED)`. A token with advantage 0 is learned by ORPO's cross entropy (a
    prompt's, where that is asked for) and is no part of the completion.
    """

    loss: Preference
    units: int
    chosen_tokens: int = 0
    kl: float = 0.0

    def __call__(self, fields: Any) -> tuple[Tensor, Metrics]:
        """The part of this micro-batch in the step's loss, and its metrics. (`fields` is burnish.learner.batch.TokenFields.)"""
        origins: Sequence[Key] = fields.origins
        compared_N = fields.advantage_N != 0
        count_B = _by_row(torch.ones_like(fields.logp_N), compared_N, fields.row_N, len(origins)).clamp(min=1.0)
        logp_B = _by_row(fields.logp_N, compared_N, fields.row_N, len(origins))
        reference_B = None
        if self.loss.needs_reference:
            if fields.reference_N is None:
                raise ValueError(f"{self.loss.kind} needs reference_N: score the samples with the reference first")
            reference_B = _by_row(fields.reference_N, compared_N, fields.row_N, len(origins))
        if not self.loss.paired:
            return self._single(logp_B, reference_B, count_B, origins)
        chosen_P, rejected_P = pair_rows(origins, fields.logp_N.device)
        loss_P, reward_B = self._paired(logp_B, reference_B, count_B, chosen_P, rejected_P)
        loss = loss_P.sum() / self.units
        metrics = _pair_metrics(loss_P, reward_B[chosen_P], reward_B[rejected_P], count_B, chosen_P, rejected_P)
        metrics |= {
            "logp/chosen": _mean((logp_B / count_B)[chosen_P]),
            "logp/rejected": _mean((logp_B / count_B)[rejected_P]),
        }
        if self.loss.kind == "orpo":
            chosen_N = torch.isin(fields.row_N, chosen_P)
            nll = -torch.where(chosen_N, fields.logp_N, 0.0).sum()
            loss = self.loss.orpo_lambda * loss + nll / self.chosen_tokens
            metrics["loss/token"] = Mean(float(nll.detach()), float(chosen_N.sum()))
        metrics["loss/total"] = Sum(float(loss.detach()))
        return loss, metrics

    def _paired(
        self, logp_B: Tensor, reference_B: Tensor | None, count_B: Tensor, chosen_P: Tensor, rejected_P: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(losses [P], implicit rewards [B])."""
        one, mean_B = self.loss, logp_B / count_B
        if reference_B is None:
            chosen, rejected = mean_B[chosen_P], mean_B[rejected_P]
            if one.kind == "simpo":
                return simpo(chosen, rejected, one.beta, one.gamma), one.beta * mean_B.detach()
            return odds_ratio(chosen, rejected), mean_B.detach()
        gain_B = logp_B - reference_B
        if one.kind == "ipo":
            gain_B = gain_B / count_B if one.ipo_mean else gain_B
            return ipo(gain_B[chosen_P] - gain_B[rejected_P], one.beta), one.beta * gain_B.detach()
        delta_P = gain_B[chosen_P] - gain_B[rejected_P]
        loss_P = dpo(delta_P, one.beta) if one.kind == "dpo" else cdpo(delta_P, one.beta, one.label_smoothing)
        return loss_P, one.beta * gain_B.detach()

    def _single(
        self, logp_B: Tensor, reference_B: Tensor | None, count_B: Tensor, origins: Sequence[Key]
    ) -> tuple[Tensor, Metrics]:
        assert reference_B is not None
        desirable_B = torch.tensor([origin.index == CHOSEN for origin in origins], device=logp_B.device)
        gain_B = logp_B - reference_B
        loss_B = kto(gain_B, desirable_B, self.kl, self.loss.beta, self.loss.weights)
        reward_B = self.loss.beta * gain_B.detach()
        loss = loss_B.sum() / self.units
        good, bad = reward_B[desirable_B], reward_B[~desirable_B]
        return loss, {
            "loss/preference": _mean(loss_B.detach()),
            "loss/total": Sum(float(loss.detach())),
            "reward/chosen": _mean(good),
            "reward/rejected": _mean(bad),
            "kl/estimate": Mean(self.kl, 1.0),
            "length/mean": _mean(count_B),
        }


@dataclass(frozen=True, slots=True)
class RewardStep:
    """The Bradley-Terry objective of one optimizer step: the score of a row is its last place in `fields.value_N`.

    units    pairs of the whole step
    margins  by pair id; none where empty
    centre   weight of mean((R_w + R_l)^2), which keeps scores near zero (Eisenstein et al. 2023, arXiv 2312.09244)
    """

    units: int
    margins: Mapping[str, float] = field(default_factory=dict)
    centre: float = 0.0

    def __call__(self, fields: Any) -> tuple[Tensor, Metrics]:
        chosen_P, rejected_P = pair_rows(fields.origins, fields.value_N.device)
        last_B = torch.bincount(fields.row_N, minlength=len(fields.origins)).cumsum(0) - 1
        score_B = fields.value_N[last_B]
        margin_P = None
        if self.margins:
            named = [self.margins[fields.origins[row].problem_id] for row in chosen_P.tolist()]
            margin_P = torch.tensor(named, dtype=score_B.dtype, device=score_B.device)
        loss_P = bradley_terry(score_B[chosen_P], score_B[rejected_P], margin_P)
        loss = loss_P.sum() / self.units
        if self.centre:
            loss = loss + self.centre * (score_B[chosen_P] + score_B[rejected_P]).square().sum() / self.units
        kept_B = score_B.detach()
        count_B = torch.ones_like(kept_B)
        metrics = _pair_metrics(loss_P, kept_B[chosen_P], kept_B[rejected_P], count_B, chosen_P, rejected_P)
        metrics.pop("length/chosen"), metrics.pop("length/rejected")
        metrics["loss/total"] = Sum(float(loss.detach()))
        return loss, metrics


def pair_rows(origins: Sequence[Key], device: torch.device) -> tuple[Tensor, Tensor]:
    """(rows of the chosen, rows of the rejected), pair by pair. Raises ValueError where a partner is in another micro-batch."""
    rows = {key: row for row, key in enumerate(origins)}
    ids = [key.problem_id for key in origins if key.index == CHOSEN]
    alone = [key for key in origins if Key(key.problem_id, 1 - key.index) not in rows]
    if alone:
        raise ValueError(f"the partner of {alone[0]} is in another micro-batch: pairs must be kept together")
    chosen = torch.tensor([rows[Key(name, CHOSEN)] for name in ids], dtype=torch.long, device=device)
    rejected = torch.tensor([rows[Key(name, REJECTED)] for name in ids], dtype=torch.long, device=device)
    return chosen, rejected


def _by_row(value_N: Tensor, compared_N: Tensor, row_N: Tensor, rows: int) -> Tensor:
    """Sums [B] over the compared tokens of each row."""
    return value_N.new_zeros(rows).index_add(0, row_N, torch.where(compared_N, value_N, 0.0))


def _mean(values: Tensor) -> Mean:
    return Mean(float(values.detach().sum()), float(values.numel()))


def _pair_metrics(
    loss_P: Tensor, chosen_P: Tensor, rejected_P: Tensor, count_B: Tensor, rows_w: Tensor, rows_l: Tensor
) -> Metrics:
    """Metrics of P pairs; `chosen_P` and `rejected_P` are their rewards. A tie is no success."""
    return {
        "loss/preference": _mean(loss_P),
        "accuracy": Share(float((chosen_P > rejected_P).sum()), float(chosen_P.numel())),
        "reward/chosen": _mean(chosen_P),
        "reward/rejected": _mean(rejected_P),
        "reward/margin": _mean(chosen_P - rejected_P),
        "length/chosen": _mean(count_B[rows_w]),
        "length/rejected": _mean(count_B[rows_l]),
    }
