"""A recipe in words: its formula, its settings, its paper, and where other systems differ. Plain text, made from the recipe itself.

`explain(recipe)` is what `burnish explain` prints; `page()` is docs/algorithms.md. Not for: choosing a recipe.
"""

from __future__ import annotations

import math
from dataclasses import fields

from burnish.algos.choice import Recipe
from burnish.algos.objective import KL, Cispo, Clip, Correction, Dppo, Entropy, Gspo, Objective, Sapo
from burnish.algos.overrides import kind_of
from burnish.algos.peers import ROWS
from burnish.algos.recipes import RECIPES
from burnish.algos.reward import Length, Overlong

CREDIT = {
    "group_mean_std": "Aᵢ = (rᵢ − mean r) / (std r + ε)",
    "group_mean": "Aᵢ = rᵢ − mean r",
    "leave_one_out": "Aᵢ = rᵢ − mean of the others = G/(G−1) (rᵢ − mean r)",
    "leave_one_out_std": "Aᵢ = (rᵢ − mean of the others) / (std of the others + ε)",
    "max_rl": "Aᵢ = (rᵢ − mean r) / (mean r + ε)",
    "each_mean_std": "Aᵢ = Σₖ wₖ (rᵢₖ − mean rₖ) / (std rₖ + ε), each reward k compared on its own",
    "gae": "δₜ = rₜ + γ Vₜ₊₁ − Vₜ,  Aₜ = δₜ + γ λ Aₜ₊₁, over the tokens the policy wrote",
    "none": "Aₜ = Σₛ₌ₜ… γˢ⁻ᵗ rₛ, the reward still to come (the whole reward, where only the last token has one)",
}
REDUCTION = {
    "token_mean": "loss = Σ over tokens / all tokens of the step",
    "sequence_mean": "loss = mean over sequences of their mean over tokens",
    "constant": "loss = mean over sequences of their sum over tokens / {constant}",
    "prompt_mean": "loss = mean over prompts of the mean over all their tokens",
}


def explain(recipe: Recipe) -> str:
    """What a recipe is, line by line."""
    lines = [recipe.name, "", f"  paper      {recipe.paper}", ""]
    lines += [f"  reward     {line}" for line in _reward(recipe)]
    lines += [f"  credit     {line}" for line in _credit(recipe)]
    lines += [f"  objective  {line}" for line in _objective(recipe.objective)]
    if recipe.critic is not None:
        clip = f"max((v − R)², (clip(v, v_old ± {recipe.critic.clip:g}) − R)²)" if recipe.critic.clip else "(v − R)²"
        lines.append(f"  critic     {recipe.critic.coefficient:g} · ½ {clip}, R = A + V")
    constant = "L, the longest completion" if recipe.constant is None else f"{recipe.constant:g}"
    lines.append(f"  reduction  {REDUCTION[recipe.reduction].format(constant=constant)}")
    needs = sorted(recipe.needs(1) | recipe.needs(2))
    lines.append(f"  needs      {', '.join(needs) if needs else 'nothing but the rollouts'}{_when(recipe)}")
    lines += ["", "  settings   " + ", ".join(f"{key} = {value}" for key, value in settings_of(recipe).items())]
    lines += ["", "  peers      " + recipe.peers]
    rows = [row for row in ROWS if row.recipe == recipe.name]
    for row in rows:
        given = ", ".join(f"{key} = {_value(value)}" for key, value in row.settings.items()) or "as it comes"
        lines.append(f"    {row.what:9} {row.systems}: {given}{f' ({row.note})' if row.note else ''}")
    return "\n".join(lines)


def catalogue() -> str:
    """Every recipe, a line each."""
    width = max(map(len, RECIPES))
    lines = [f"{name:{width}}  {recipe.paper}" for name, recipe in RECIPES.items()]
    return "\n".join(
        [*lines, "", "burnish explain NAME [KEY=VALUE]... says what one is, with settings changed if wanted."]
    )


def settings_of(recipe: Recipe) -> dict[str, str]:
    """The settings in force, by the names a run file uses for them."""
    reward, credit, objective = recipe.reward, recipe.credit, recipe.objective
    found: dict[str, object] = {"reward_right": reward.right, "reward_wrong": reward.wrong}
    found |= {"reward_cut_right": reward.cut_right, "reward_cut_wrong": reward.cut_wrong}
    if reward.format_bonus:
        found["reward_format_bonus"] = reward.format_bonus
    found["credit"] = credit.kind
    if credit.kind in ("group_mean_std", "leave_one_out_std", "each_mean_std"):
        found |= {"credit_deviation": credit.deviation, "credit_epsilon": credit.epsilon}
    elif credit.kind == "max_rl":
        found["credit_epsilon"] = credit.epsilon
    if credit.kind in ("none", "gae"):
        found["gamma"] = credit.gamma
    if credit.kind == "gae":
        found["gae_lambda"] = credit.decay
    found["whiten"] = credit.whiten
    if credit.whiten != "off":
        found |= {"whiten_deviation": credit.whiten_deviation, "whiten_epsilon": credit.whiten_epsilon}
    found["objective"] = kind_of(objective.surrogate)
    names = {"low": "clip_low", "high": "clip_high", "dual": "clip_dual", "positive": "sapo_positive"}
    names |= {"negative": "sapo_negative", "divergence": "dppo_divergence", "cap": "dppo_cap", "drift": "dppo_drift"}
    if objective.surrogate is not None:
        for part in fields(objective.surrogate):
            if part.name in names:
                found[names[part.name]] = getattr(objective.surrogate, part.name)
    if objective.kl is not None:
        kl = objective.kl
        found |= {"kl_to": kl.to, "kl_coefficient": kl.coefficient, "kl_in": kl.where, "kl_estimator": kl.chosen}
    found |= _further(objective) | {"reduction": recipe.reduction}
    if recipe.reduction == "constant":
        found["constant"] = recipe.constant if recipe.constant is not None else "sampling.max_new"
    if recipe.critic is not None:
        found |= {"critic_coefficient": recipe.critic.coefficient, "critic_clip": recipe.critic.clip}
    return {key: _value(value) for key, value in found.items() if value is not None}


def _further(objective: Objective) -> dict[str, object]:
    """The settings of the parts that most recipes do without."""
    found: dict[str, object] = {}
    if (kl := objective.kl) is not None and kl.to == "moving":
        found |= {"kl_every": kl.every, "kl_mix": kl.mix}
    if (correction := objective.correction) is not None:
        found["correction"] = correction.kind
        if correction.kind != "decoupled":
            found |= {"correction_low": correction.low, "correction_high": correction.high}
    found["stale_mask"] = objective.stale_mask
    if (entropy := objective.entropy) is not None:
        found |= {"entropy_coefficient": entropy.coefficient, "entropy_target": entropy.target}
    if (rule := objective.covariance) is not None:
        found |= {"covariance": rule.kind, "covariance_share": rule.share}
    return found


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _when(recipe: Recipe) -> str:
    late = recipe.needs(2) - recipe.needs(1)
    return f" ({', '.join(sorted(late))} only with several updates a step)" if late else ""


def _reward(recipe: Recipe) -> list[str]:
    table = recipe.reward
    cells = [
        ("right", table.right, table.cut_right),
        ("wrong", table.wrong, table.cut_wrong),
    ]
    lines = [f"{name}: {_value(done)}, cut {_value(done if cut is None else cut)}" for name, done, cut in cells]
    line = "; ".join(lines) + "; no verdict: not trained on"
    if table.format_bonus:
        line += f"; + {table.format_bonus:g} · format"
    found = [line]
    for term in table.terms:
        if isinstance(term, Overlong):
            start = term.limit - term.buffer
            found.append(f"+ −{term.penalty:g} · min(1, max(0, n − {start}) / {term.buffer})")
        elif isinstance(term, Length):
            shape = "n" if term.kind == "linear" else f"|n − {term.tokens}|"
            found.append(f"+ −{term.weight:g} · {shape} / {term.tokens}")
        else:
            found.append(f"+ {term.weight:g} · {term.name}")
    kl = recipe.objective.kl
    if kl is not None and kl.where == "reward":
        found.append(
            f"− {kl.coefficient:g} · ({_ESTIMATORS[kl.chosen]}) at every token, f = log π of {_ANCHORS[kl.to]}"
        )
    return found


def _credit(recipe: Recipe) -> list[str]:
    credit = recipe.credit
    line = CREDIT[credit.kind]
    if "ε" in line:
        line += f", ε = {credit.epsilon:g}"
    if "std" in line:
        line += ", std over G − 1 (Bessel)" if credit.deviation == "bessel" else ", std over G (population)"
    found = [line]
    if credit.whiten != "off":
        over = "all tokens of the step" if credit.whiten == "tokens" else "all samples of the step"
        found.append(f"then (A − mean) / std over {over} ({credit.whiten_deviation})")
    if credit.compares:
        found.append("a rollout without a verdict leaves the others as they are; a group of one gets 0")
    return found


_ANCHORS = {"reference": "the reference", "start_of_step": "the start of the step", "moving": "the moving reference"}
_ESTIMATORS = {
    "k1": "l − f",
    "k2": "½ (l − f)²",
    "k3": "e^(f−l) − (f−l) − 1",
    "ratio_k1": "ρ (l − f)",
    "ratio_k2": "ρ ½ (l − f)²",
    "ratio_k3": "ρ (e^(f−l) − (f−l) − 1)",
}
_WRONG = {
    "k1": "no gradient in expectation",
    "k3": "the gradient of KL(reference ‖ π)",
    "ratio_k2": "a biased gradient",
}


def _objective(objective: Objective) -> list[str]:
    found = [_surrogate(objective)]
    if objective.correction is not None:
        found.append(f"times {_correction(objective.correction)} (u: the sampler, o: the start of the step)")
    if objective.stale_mask is not None:
        found.append(f"without the sequences with A < 0 and mean (u − l) > {objective.stale_mask:g}")
    if objective.kl is not None and objective.kl.where == "loss":
        found.append(_kl(objective.kl))
    if objective.entropy is not None:
        found.append(_entropy(objective.entropy))
    if objective.covariance is not None:
        rule = objective.covariance
        held = "are left out" if rule.kind == "clip" else f"have {rule.coefficient:g} |l − o| added"
        found.append(f"the {rule.share:g} of the tokens with the largest (A − mean A)(u − mean u) {held}")
    return found


def _surrogate(objective: Objective) -> str:
    match objective.surrogate:
        case Clip() as clip:
            dual = f", at most {clip.dual:g} |A| where A < 0" if clip.dual is not None else ""
            return f"−min(ρ A, clip(ρ, {1 - clip.low:g}, {1 + clip.high:g}) A), ρ = e^(l−o){dual}"
        case Gspo() as clip:
            ratio = "sg(e^mean(l−o)) e^(l − sg l)" if clip.each_token else "e^mean(l−o)"
            return f"−min(s A, clip(s, {1 - clip.low:g}, {1 + clip.high:g}) A), s = {ratio} of the sequence"
        case Cispo() as clip:
            low = "0" if clip.low == 1.0 else f"{1 - clip.low:g}"
            return f"−sg(clip(ρ, {low}, {1 + clip.high:g})) A l, ρ = e^(l−o)"
        case Sapo() as gate:
            return f"−(4/τ) σ(τ (ρ − 1)) A, τ = {gate.positive:g} where A > 0, else {gate.negative:g}"
        case Dppo() as bounds:
            moved = "π − μ" if bounds.divergence == "tv" else "the two-way KL, signed as π − μ,"
            cap = f"min(ρ, {bounds.cap:g})" if bounds.cap is not None else "ρ"
            drift = f" + {bounds.drift:g} (l − u)²" if bounds.drift else ""
            return (
                f"−keep {cap} A{drift}, ρ = e^(l−u); dropped where A > 0 and {moved} > {bounds.high:g}, or A ≤ 0 and {moved} < "
                f"−{bounds.low:g}"
            )
    return "−ρ A, ρ = e^(l−o): on policy −sg(1) A ∇l"


def _kl(kl: KL) -> str:
    warning = f"; its gradient is wrong: {_WRONG[kl.chosen]}" if kl.chosen in _WRONG else ""
    moves = f", which every {kl.every} updates takes in {kl.mix:g} of the policy" if kl.to == "moving" else ""
    return f"+ {kl.coefficient:g} · {_ESTIMATORS[kl.chosen]}, f = log π of {_ANCHORS[kl.to]}{moves}{warning}"


def _correction(correction: Correction) -> str:
    low, high = f"{correction.low:g}", "∞" if math.isinf(correction.high) else f"{correction.high:g}"
    return {
        "tis": f"clip(e^(o−u), {low}, {high})",
        "sequence_tis": f"min(e^Σ(o−u), {high})",
        "icepop": f"e^(o−u) if in [{low}, {high}], else 0",
        "sequence_mask": f"e^Σ(o−u) if in [{low}, {high}], else 0",
        "geometric_mask": f"e^(o−u) if e^mean(o−u) in [{low}, {high}], else 0",
        "decoupled": "e^(o−u)",
    }[correction.kind]


def _entropy(entropy: Entropy) -> str:
    line = f"− {entropy.coefficient:g} · entropy"
    if entropy.target is not None:
        line += f", the coefficient moving by {entropy.step:g} a step to hold {entropy.target:g} nats"
    return line
