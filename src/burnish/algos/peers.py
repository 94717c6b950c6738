"""Which setting reproduces which system: one row for each thing a peer computes that a recipe of ours claims to.

`tests/test_conformance.py` holds the numbers each row gives on the reference batch and checks all of them; docs/algorithms.md
prints this table. Not for: the formulas (explain.py), or the recipes' own records (recipes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`systems` compute `what` as `recipe` does with `settings`. `name` is the row's, for the test that checks it."""

    name: str
    what: str
    systems: str
    recipe: str
    settings: Mapping[str, Any]
    note: str = ""


def _row(
    name: str, what: str, systems: str, recipe: str, settings: Mapping[str, Any] | None = None, note: str = ""
) -> Row:
    return Row(name, what, systems, recipe, settings or {}, note)


_HIGHER = {"clip_low": 0.2, "clip_high": 0.28}

ROWS: tuple[Row, ...] = (
    _row("A grpo bessel 1e-6", "advantage", "verl, SkyRL, NeMo-RL without leave-one-out, slime", "grpo"),
    _row("A grpo TRL", "advantage", "TRL GRPOTrainer", "grpo", {"credit_epsilon": 1e-4}),
    _row("A grpo OpenRLHF", "advantage", "OpenRLHF group_norm", "grpo", {"credit_epsilon": 1e-9}),
    _row(
        *("A grpo TRL async", "advantage", "TRL asynchronous GRPO", "grpo"),
        {"credit_deviation": "population", "credit_epsilon": 1e-8},
    ),
    _row(
        *("A grpo NeMo-RL", "advantage", "NeMo-RL, its default (leave-one-out)", "grpo"),
        {"credit": "leave_one_out_std"},
        "these advantages do not sum to 0 in a group",
    ),
    _row("A dr_grpo", "advantage", "TRL, verl, OpenRLHF, SkyRL; default of prime-rl, tinker-cookbook", "dr_grpo"),
    _row("A rloo", "advantage", "TRL, verl, SkyRL, OpenRLHF", "rloo"),
    _row("A maxrl", "advantage", "prime-rl; SkyRL with credit_epsilon 1e-6", "maxrl"),
    _row("A reinforce_pp bessel", "advantage", "verl, SkyRL", "reinforce_pp"),
    _row(
        *("A reinforce_pp population", "advantage", "OpenRLHF, NeMo-RL", "reinforce_pp"),
        {"whiten_deviation": "population"},
    ),
    _row("A reinforce_pp_baseline", "advantage", "verl", "reinforce_pp_baseline"),
    _row("A ppo", "advantage", "verl's GAE before whitening", "ppo", {"kl_to": "none", "whiten": "off"}),
    _row(
        *("A reinforce_pp turns", "advantage", "verl, over a tool's reply, before whitening", "reinforce_pp"),
        {"whiten": "off"},
    ),
    _row("L clip token-mean", "loss", "verl vanilla, TRL dapo, OpenRLHF ppo", "dapo"),
    _row("L clip seq-mean", "loss", "verl seq-mean-token-mean, TRL grpo", "grpo", {"clip_high": 0.28}),
    _row("L clip seq-sum", "loss", "verl seq-mean-token-sum", "dr_grpo", {"clip_high": 0.28, "constant": 1}),
    _row(
        *("L clip seq-sum-norm", "loss", "verl seq-mean-token-sum-norm, width 4", "dr_grpo"),
        {"clip_high": 0.28, "constant": 4},
    ),
    _row(
        *("L dr_grpo TRL", "loss", "TRL dr_grpo, max_completion_length 8", "dr_grpo"),
        {"clip_high": 0.28, "constant": 8},
    ),
    _row("L gspo", "loss", "verl gspo, OpenRLHF, TRL sequence with loss_type grpo", "gspo", _HIGHER),
    _row(
        *("L gspo token-mean", "loss", "TRL sequence with loss_type dapo", "gspo"),
        {**_HIGHER, "reduction": "token_mean"},
        "TRL warns about this combination: it weighs sequences by length",
    ),
    _row("L cispo verl", "loss", "verl, SkyRL, NeMo-RL, slime, AReaL", "cispo", _HIGHER),
    _row(
        *("L cispo TRL", "loss", "TRL cispo, epsilon_high 5.0", "cispo"),
        {},
        "TRL's bound is absolute, clip_high counts from 1",
    ),
    _row(*("L dapo + KL", "loss", "TRL dapo, beta 0.1", "dapo"), {"kl_to": "reference", "kl_coefficient": 0.1}),
    _row(
        *("L prime-rl", "loss", "prime-rl's default", "dapo"),
        {"objective": "dppo", "clip_low": 0.2, "clip_high": 0.2, "dppo_drift": 1e-3},
        "the sampler is the old policy",
    ),
    _row(
        *("L tis OpenRLHF", "loss", "OpenRLHF ppo with tis", "dapo"),
        {"correction": "tis", "correction_low": 0.5, "correction_high": 1.5},
        "OpenRLHF and NeMo-RL hold both sides; verl and TRL only the upper one (correction_low 0)",
    ),
    _row(
        *("L icepop OpenRLHF", "loss", "OpenRLHF ppo with icepop", "dapo"),
        {"correction": "icepop", "correction_low": 0.5, "correction_high": 1.5},
    ),
    _row(
        *("L geometric OpenRLHF", "loss", "OpenRLHF ppo with seq-mask-tis", "dapo"),
        {"correction": "geometric_mask", "correction_low": 0.5, "correction_high": 1.5},
        "OpenRLHF's comment promises a clamp of the kept tokens; its code has none, and neither has this",
    ),
    _row(
        *("W tis verl", "weight", "verl token TIS, C = 2; slime; SkyRL", "dapo"),
        {"correction": "tis", "correction_high": 2},
    ),
    _row(
        *("W icepop verl", "weight", "verl token IcePop", "dapo"),
        {"correction": "icepop", "correction_low": 0.5, "correction_high": 1.5},
    ),
    _row(
        *("W sequence_tis verl", "weight", "verl sequence TIS, C = 2", "dapo"),
        {"correction": "sequence_tis", "correction_high": 2},
    ),
    _row(
        *("W sequence_mask verl", "weight", "verl sequence IcePop; TRL's default with correction_high 3", "dapo"),
        {"correction": "sequence_mask", "correction_low": 0.5, "correction_high": 1.5},
    ),
    _row(
        *("KL k1", "kl", "slime's default (in the loss)", "dapo"),
        {"kl_to": "reference", "kl_coefficient": 1.0, "kl_estimator": "k1"},
        "no gradient in expectation",
    ),
    _row(
        *("KL k2", "kl", "verl k1+ and k3+, OpenRLHF k2", "dapo"),
        {"kl_to": "reference", "kl_coefficient": 1.0, "kl_estimator": "k2"},
    ),
    _row(
        *("KL k3", "kl", "verl low_var_kl, SkyRL, OpenRLHF k3", "dapo"),
        {"kl_to": "reference", "kl_coefficient": 1.0, "kl_estimator": "k3"},
        "the gradient of the other KL",
    ),
)
