"""What a run file may change of a recipe: every setting's name, its type, and where it goes. Nothing is silently ignored.

Not for: what the settings mean (reward.py, credit.py, objective.py, reduce.py), or the named recipes (recipes.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from burnish.algos.choice import Recipe
from burnish.algos.credit import SCALED, Credit, CreditKind, Deviation, Whiten
from burnish.algos.objective import (
    KL,
    Anchor,
    Cispo,
    Clip,
    Correction,
    CorrectionKind,
    Covariance,
    CovarianceKind,
    Critic,
    Divergence,
    Dppo,
    Entropy,
    Estimator,
    Gspo,
    KLPlace,
    Objective,
    Sapo,
    Surrogate,
)
from burnish.algos.reduce import Reduction
from burnish.algos.reward import Length, LengthKind, Overlong, Part, RewardTable, Term, table_of
from burnish.errors import ConfigError, nearest

SURROGATES: dict[str, Surrogate | None] = {
    "reinforce": None,
    "clip": Clip(0.2, 0.2),
    "gspo": Gspo(),
    "gspo_token": Gspo(each_token=True),
    "cispo": Cispo(),
    "sapo": Sapo(),
    "dppo": Dppo(),
}
"""The surrogates by name, as they come."""

_REWARD = {f"reward_{name}": name for name in ("right", "wrong", "cut_right", "cut_wrong", "format_bonus", "weight")}
_CREDIT = {"credit_deviation": "deviation", "credit_epsilon": "epsilon", "whiten": "whiten", "gamma": "gamma"}
_CREDIT |= {"whiten_deviation": "whiten_deviation", "whiten_epsilon": "whiten_epsilon", "gae_lambda": "decay"}
_CLIP = {"clip_low": "low", "clip_high": "high"}
_OF: dict[str, dict[str, str]] = {
    "clip": {**_CLIP, "clip_dual": "dual"},
    "gspo": _CLIP,
    "gspo_token": _CLIP,
    "cispo": _CLIP,
    "sapo": {"sapo_positive": "positive", "sapo_negative": "negative"},
    "dppo": {**_CLIP, "dppo_divergence": "divergence", "dppo_cap": "cap", "dppo_drift": "drift"},
    "reinforce": {},
}
_SURROGATE = sorted({key for keys in _OF.values() for key in keys})
_KL = {"kl_to": "to", "kl_coefficient": "coefficient", "kl_in": "where", "kl_estimator": "estimator"}
_KL |= {"kl_every": "every", "kl_mix": "mix"}
_CORRECTION = {"correction": "kind", "correction_low": "low", "correction_high": "high"}
_ENTROPY = {f"entropy_{name}": name for name in ("coefficient", "target", "step", "most")}
_COVARIANCE = {"covariance": "kind"} | {f"covariance_{name}": name for name in ("share", "low", "high", "coefficient")}
_CRITIC = {"critic_coefficient": "coefficient", "critic_clip": "clip"}
_LENGTH = {"length": "kind", "length_tokens": "tokens", "length_weight": "weight"}
_OVERLONG = {"overlong_buffer": "buffer", "overlong_penalty": "penalty", "overlong_limit": "limit"}

CHOICES: dict[str, tuple[str, ...]] = {
    "credit": get_args(CreditKind),
    "credit_deviation": get_args(Deviation),
    "whiten": get_args(Whiten),
    "whiten_deviation": get_args(Deviation),
    "objective": tuple(SURROGATES),
    "dppo_divergence": get_args(Divergence),
    "kl_to": (*get_args(Anchor), "none"),
    "kl_in": get_args(KLPlace),
    "kl_estimator": get_args(Estimator),
    "correction": (*get_args(CorrectionKind), "none"),
    "covariance": get_args(CovarianceKind),
    "length": get_args(LengthKind),
    "reduction": get_args(Reduction),
}
_TABLES = ("reward_table", "reward_parts")
_WHOLE = ("kl_every", "length_tokens", "overlong_buffer", "overlong_limit")
_OPTIONAL = ("reward_cut_right", "reward_cut_wrong", "clip_dual", "dppo_cap", "critic_clip")  # None: as if left out
OVERRIDES: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *(*_REWARD, *_TABLES, *_OVERLONG, *_LENGTH, "credit", *_CREDIT, "objective", *_SURROGATE, *_KL),
            *(*_CORRECTION, "stale_mask", *_ENTROPY, *_COVARIANCE, *_CRITIC, "reduction", "constant"),
        )
    )
)


def changed(base: Recipe, given: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings changed. Raises ConfigError as `burnish.algos.recipes.recipe` says."""
    given = {key: _checked(key, value) for key, value in given.items()}
    reduction: Reduction = given.get("reduction", base.reduction)
    inherited = base.constant if reduction == base.reduction else None
    constant = given.get("constant", inherited)
    if reduction == "constant" and (constant is None or not 0.0 < constant < math.inf):
        raise ConfigError(
            f"Recipe {base.name!r} divides by a constant length, and constant is {constant!r}: set it above 0, usually to "
            "the sampling's max_new."
        )
    if reduction != "constant" and constant is not None:
        raise ConfigError(
            f"constant has no effect with reduction {reduction!r}: leave it out, or set reduction to constant."
        )
    credit = _credit(base.credit, given)
    return replace(
        base,
        reward=_reward(base.reward, given),
        credit=credit,
        objective=_objective(base, given),
        reduction=reduction,
        constant=constant,
        critic=_critic(base.critic, credit, given),
    )


def _checked(key: str, value: Any) -> Any:
    """The value of one setting, a number always as a float unless it counts tokens or steps."""
    if key not in OVERRIDES:
        near = nearest(key, OVERRIDES)
        raise ConfigError(f"A recipe has no setting {key!r}{near}. Settings: {', '.join(OVERRIDES)}.")
    if key in CHOICES:
        if value not in CHOICES[key]:
            near = nearest(str(value), CHOICES[key])
            raise ConfigError(f"{key} cannot be {value!r}{near}. Choices: {', '.join(CHOICES[key])}.")
        return value
    if key in _TABLES:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} is {value!r}: give a table.")
        return value
    if value is None and key in _OPTIONAL:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key} is {value!r}: give a number.")
    if key in _WHOLE:
        if value != int(value):
            raise ConfigError(f"{key} is {value!r}: give a whole number.")
        return int(value)
    return float(value)


def _chosen(keys: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    return {field: given[key] for key, field in keys.items() if key in given}


def _reward(base: RewardTable, given: Mapping[str, Any]) -> RewardTable:
    changes = _chosen(_REWARD, given)
    if "reward_table" in given:
        cells = table_of(given["reward_table"])
        if both := sorted(cells.keys() & changes.keys()):
            raise ConfigError(f"reward_table says what reward_{both[0]} says: give one of the two.")
        changes |= cells
    terms: list[Term] = list(base.terms)
    if "overlong_buffer" in given:
        if "overlong_limit" not in given:
            raise ConfigError("overlong_buffer needs overlong_limit, the longest completion: set it to max_new.")
        terms.append(Overlong(**_chosen(_OVERLONG, given)))
    elif idle := [key for key in _OVERLONG if key in given]:
        raise ConfigError(f"{idle[0]} has no effect without overlong_buffer: set that too, or leave both out.")
    length = _chosen(_LENGTH, given)
    if length:
        if len(length) != len(_LENGTH):
            raise ConfigError("A length term needs length, length_tokens and length_weight: set all three, or none.")
        terms.append(Length(**length))
    for name, weight in given.get("reward_parts", {}).items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(f"reward_parts.{name} is {weight!r}: give a number, its weight.")
        terms.append(Part(name, float(weight)))
    if "reward_weight" in given and not terms:
        raise ConfigError("reward_weight has no effect without another reward beside the table: leave it out.")
    return replace(base, **changes, terms=tuple(terms))


def _credit(base: Credit, given: Mapping[str, Any]) -> Credit:
    kind: CreditKind = given.get("credit", base.kind)
    useless = {
        "credit_deviation": kind not in SCALED,
        "credit_epsilon": kind not in (*SCALED, "max_rl"),
        "gamma": kind not in ("none", "gae"),
        "gae_lambda": kind != "gae",
    }
    for key in given:
        if useless.get(key):
            other = "ppo's gae" if key.startswith("ga") else "group_mean_std"
            raise ConfigError(f"{key} has no effect with credit {kind!r}: leave it out, or use {other}.")
    start = base if kind == base.kind else Credit(kind, epsilon=0.0 if kind == "max_rl" else 1e-6, whiten=base.whiten)
    made = replace(start, **_chosen(_CREDIT, given))
    if made.whiten == "off" and (idle := [key for key in ("whiten_deviation", "whiten_epsilon") if key in given]):
        raise ConfigError(f"{idle[0]} has no effect without whitening: set whiten to tokens or samples.")
    return made


def _objective(base: Recipe, given: Mapping[str, Any]) -> Objective:
    plain = base.objective
    return Objective(
        surrogate=_surrogate(base, given),
        kl=_kl(plain.kl, given),
        correction=_correction(plain.correction, given),
        stale_mask=given.get("stale_mask", plain.stale_mask),
        entropy=_optional(Entropy, plain.entropy, _ENTROPY, "entropy_coefficient", given),
        covariance=_optional(Covariance, plain.covariance, _COVARIANCE, "covariance", given),
    )


def kind_of(surrogate: Surrogate | None) -> str:
    """The name of a surrogate in SURROGATES."""
    if isinstance(surrogate, Gspo):
        return "gspo_token" if surrogate.each_token else "gspo"
    return next(name for name, known in SURROGATES.items() if type(known) is type(surrogate))


def _surrogate(base: Recipe, given: Mapping[str, Any]) -> Surrogate | None:
    own = kind_of(base.objective.surrogate)
    name = given.get("objective", own)
    wanted = [key for key in _SURROGATE if key in given]
    if name == "reinforce" and "objective" not in given and set(wanted) & set(_OF["clip"]):
        if not {"clip_low", "clip_high"} <= set(wanted):
            raise ConfigError(f"Recipe {base.name!r} does not clip: set both clip_low and clip_high, or neither.")
        name = "clip"
    if idle := [key for key in wanted if key not in _OF[name]]:
        raise ConfigError(
            f"{idle[0]} has no effect with objective {name!r}: leave it out, or choose another objective."
        )
    start = base.objective.surrogate if name == own else SURROGATES[name]
    return None if start is None else replace(start, **_chosen(_OF[name], given))


def _kl(base: KL | None, given: Mapping[str, Any]) -> KL | None:
    changes = _chosen(_KL, given)
    if changes.get("to") == "none":
        if len(changes) > 1:
            raise ConfigError(
                'kl_to = "none" turns the KL off, so the other kl settings have no effect: leave them out.'
            )
        return None
    if base is not None:
        if changes.get("to", base.to) != "moving" and base.to == "moving":
            changes = {"every": None, "mix": None, **changes}
        return replace(base, **changes)
    if changes and not {"to", "coefficient"} <= changes.keys():
        given_key = next(key for key in _KL if key in given)
        lacking = "kl_coefficient" if "to" in changes else "kl_to"
        raise ConfigError(f"{given_key} has no effect alone: set {lacking} too, or leave both out for no KL.")
    return KL(**changes) if changes else None


def _correction(base: Correction | None, given: Mapping[str, Any]) -> Correction | None:
    changes = _chosen(_CORRECTION, given)
    if changes.get("kind") == "none":
        if len(changes) > 1:
            raise ConfigError('correction = "none" has no bounds: leave correction_low and correction_high out.')
        return None
    if base is None and changes and "kind" not in changes:
        bound = next(key for key in _CORRECTION if key in given)
        raise ConfigError(f"{bound} has no effect alone: set correction too, such as tis, or leave it out.")
    if base is not None and changes.get("kind", base.kind) == base.kind:
        return replace(base, **changes)
    return Correction(**changes) if changes else None


def _optional(kind: Any, base: Any, keys: Mapping[str, str], first: str, given: Mapping[str, Any]) -> Any:
    """A part of the objective that is there if its first setting is."""
    changes = _chosen(keys, given)
    if base is None and changes and first not in given:
        idle = next(key for key in keys if key in given)
        raise ConfigError(f"{idle} has no effect alone: set {first} too, or leave it out.")
    idle_with = {"coefficient": ("clip", "covariance_coefficient"), "low": ("kl", "covariance_low")}
    idle_with["high"] = ("kl", "covariance_high")
    for field, (choice, key) in idle_with.items():
        if kind is Covariance and changes.get("kind") == choice and field in changes:
            raise ConfigError(f"{key} has no effect with covariance = {choice!r}: leave it out.")
    if kind is Entropy and changes and "target" not in changes and (base is None or base.target is None):
        for name in ("step", "most"):
            if name in changes:
                raise ConfigError(
                    f"entropy_{name} has no effect without entropy_target: set that too, or leave it out."
                )
    if base is not None:
        return replace(base, **changes)
    return kind(**changes) if changes else None


def _critic(base: Critic | None, credit: Credit, given: Mapping[str, Any]) -> Critic | None:
    changes = _chosen(_CRITIC, given)
    if credit.kind != "gae":
        if changes:
            key = next(key for key in _CRITIC if key in given)
            raise ConfigError(
                f"{key} asks for a critic, and credit {credit.kind!r} has none: leave it out, or use the recipe ppo."
            )
        return None
    return replace(base or Critic(), **changes)
