"""docs/algorithms.md, made from the recipes, the table of peers and the docstrings of the settings. Not for: what a terminal shows.

python -c "from burnish.algos.page import page; print(page(), end='')" > docs/algorithms.md
"""

from __future__ import annotations

import inspect

from burnish.algos import credit, objective, reward
from burnish.algos.explain import explain
from burnish.algos.peers import ROWS
from burnish.algos.recipes import RECIPES

RENEW = "python -c \"from burnish.algos.page import page; print(page(), end='')\" > docs/algorithms.md"

INTRODUCTION = """# Algorithms

Generated from the code by the command `{renew}`; a test keeps it in step.

A recipe is one choice on each of four axes: what a verdict is worth (reward), what a rollout is compared with (credit), what the loss
of a token is (objective), and what a token weighs (reduction). `burnish explain` lists the recipes, `burnish explain grpo clip_high=0.28`
says what one is with a setting changed. [Add a recipe](add-a-recipe.md) lists the settings.

Letters: r reward, A advantage, l = log π of the policy in training, u = log π of the policy that sampled, o = log π_old, the policy a
ratio is taken to, f = log π of a KL's anchor, ρ = e^(l−o), sg = stop gradient, G = rollouts of a group. Log-probabilities are in nats.

## Which setting reproduces which system

Each row is checked on one small batch against what that system gives there, to six digits (four for credit over turns), by
`tests/test_conformance.py`: advantages, losses, correction weights and KL estimates, and gradients for the clip, GSPO, CISPO and the KLs.
The numbers of verl, OpenRLHF, NeMo-RL, SkyRL and prime-rl were made by running their own functions; TRL's, OpenRLHF's group_norm, the
population variances and MaxRL's by evaluating their formulas; a system named beside one of these has the same formula and was not run.
Systems: TRL 1.16.0, verl 0.10 dev, OpenRLHF 0.11.0, prime-rl 0.8.0, SkyRL, NeMo-RL, slime 0.3.1, AReaL 2.0.0 and tinker-cookbook, as
of August 2026.

| what | system | recipe | settings | |
|---|---|---|---|---|
"""

BIAS = """## What is exact, and what is biased

`tests/test_algos_exact.py` writes down every sequence over seven symbols and compares expected gradients to 1e-10.

| | on policy its expected gradient is |
|---|---|
| every objective, with the reward as the advantage | that of the expected reward |
| credit `none`, `leave_one_out` | that of the expected reward |
| credit `group_mean` | (G − 1)/G of it |
| credit `group_mean_std` | for rewards of 0 and 1 along it, scaled by a factor that depends on the pass rate; for graded ones bent |
| credit `leave_one_out_std` | along it, scaled by a factor that depends on the problem |
| credit `max_rl`, rewards of 0 and 1 | Σ (1 − p)^(k−1) ∇p over k < G: the first G − 1 terms of ∇ log p |
| KL in the loss: `ratio_k3` (the default), `ratio_k1`, `k2` | that of KL(π ‖ reference), choice by choice |
| KL in the loss: `k3` | **wrong**: that of KL(reference ‖ π) |
| KL in the loss: `ratio_k2` | **wrong**: off by the policy gradient of k2 |
| KL in the loss: `k1` | **none at all**: it regularises nothing |
| KL in the reward: `k1` (the default) | that of the KL of whole sequences |
| KL in the reward: `k2`, `k3` | **biased**: their own derivative is left out |
| the entropy bonus | that of the entropy of each choice |
| off policy: `decoupled` | exact for one-token traces; over longer ones the states stay the sampler's |
| off policy: `tis` and the masks | off by what they cut or take out |

"""


def page() -> str:
    """The page as Markdown."""
    text = INTRODUCTION.format(renew=RENEW)
    for row in ROWS:
        given = ", ".join(f"`{key} = {_toml(value)}`" for key, value in row.settings.items()) or "as it comes"
        text += f"| {row.what} | {row.systems} | `{row.recipe}` | {given} | {row.note} |\n"
    text += "\n" + BIAS + "## The recipes\n\n"
    for name, each in RECIPES.items():
        text += f"### {name}\n\n```text\n{explain(each)}\n```\n\n"
    text += "## The settings in full\n\n"
    for module, names in (
        (reward, ("RewardTable", "Overlong", "Length", "Part")),
        (credit, ("Credit", "whitened", "gae")),
        (
            objective,
            (
                "Clip",
                "Gspo",
                "Cispo",
                "Sapo",
                "Dppo",
                "KL",
                "Correction",
                "Objective",
                "Entropy",
                "Covariance",
                "Critic",
            ),
        ),
    ):
        for name in names:
            text += f"### {name}\n\n```text\n{inspect.getdoc(getattr(module, name))}\n```\n\n"
    return text.rstrip("\n") + "\n"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
