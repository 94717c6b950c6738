"""The named recipes: one choice on each axis (reward, credit, objective, reduction), with the paper it is from. No torch here.

`recipe("grpo", clip_high=0.28)` is how a run file gets one; `burnish explain grpo` prints what it is.

Not for: what a recipe does (choice.py), or sampling until enough groups have a signal (the stream's).
"""

from __future__ import annotations

from typing import Any

from burnish.algos.choice import Recipe
from burnish.algos.credit import Credit
from burnish.algos.objective import KL, Cispo, Clip, Critic, Gspo, Objective, Sapo
from burnish.algos.overrides import OVERRIDES, changed
from burnish.errors import ConfigError, nearest

__all__ = ["OVERRIDES", "RECIPES", "Recipe", "recipe"]

_GROUP = (
    "advantages: verl, SkyRL, slime, NeMo-RL without leave-one-out; TRL with credit_epsilon 1e-4, OpenRLHF 1e-9, TRL's "
    "asynchronous trainer with credit_deviation population and 1e-8; NeMo-RL's default with credit leave_one_out_std; "
    "prime-rl's and tinker-cookbook's with credit group_mean"
)

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
        peers=f"{_GROUP}. loss: TRL loss_type grpo, verl seq-mean-token-mean (verl also has clip_dual 3)",
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
        paper=(
            "Yu et al. 2025, DAPO, arXiv 2503.14476 (its dynamic sampling is selection.refill, its overlong penalty "
            "overlong_buffer: both are the run's to set)"
        ),
        peers=(
            "advantages: as grpo. loss: TRL loss_type dapo, verl token-mean, OpenRLHF ppo, with clip 0.2 and 0.28; verl's own "
            "DAPO script has clip_dual 10. Where groups lack a signal verl samples on or aborts; here the refill has a budget"
        ),
    ),
    "rloo": Recipe(
        name="rloo",
        credit=Credit("leave_one_out"),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="token_mean",
        paper="Ahmadian et al. 2024, Back to basics, arXiv 2402.14740",
        peers=(
            "advantages: the RLOO of verl, SkyRL, OpenRLHF, TRL; in a group of one verl gives the raw reward, this and SkyRL 0. "
            "loss: verl's, a ratio a token (TRL: a sequence's summed). TRL's KL: kl_in reward, kl_to reference"
        ),
    ),
    "reinforce_pp": Recipe(
        name="reinforce_pp",
        credit=Credit("none", whiten="tokens"),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="token_mean",
        paper="Hu 2025, REINFORCE++, arXiv 2501.03262 (with a KL to the reference in the reward)",
        peers=(
            "advantages: verl and SkyRL; OpenRLHF and NeMo-RL with whiten_deviation population. NeMo-RL takes off each token's own "
            "KL only, the others (and this) what is still to come; over several turns SkyRL forgets the reward before a tool's reply"
        ),
    ),
    "reinforce_pp_baseline": Recipe(
        name="reinforce_pp_baseline",
        credit=Credit("group_mean", whiten="tokens"),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="token_mean",
        paper="Hu 2025, REINFORCE++ with a group baseline, arXiv 2501.03262",
        peers="advantages: verl; OpenRLHF and NeMo-RL with whiten_deviation population; in slime the whitening is optional",
    ),
    "gspo": Recipe(
        name="gspo",
        credit=Credit("group_mean_std", "bessel", 1e-6),
        objective=Objective(Gspo(3e-4, 4e-4)),
        reduction="sequence_mean",
        paper="Zheng et al. 2025, Group sequence policy optimization, arXiv 2507.18071",
        peers=(
            "advantages: as grpo. loss: verl gspo (which ignores its loss_agg_mode), OpenRLHF; TRL importance_sampling_level "
            "sequence with loss_type grpo (with its default dapo it weighs by length). GSPO-token: objective gspo_token"
        ),
    ),
    "cispo": Recipe(
        name="cispo",
        credit=Credit("group_mean_std", "bessel", 1e-6),
        objective=Objective(Cispo(1.0, 4.0)),
        reduction="token_mean",
        paper="MiniMax 2025, MiniMax-M1, arXiv 2506.13585",
        peers=(
            "advantages: as grpo. loss: TRL cispo with epsilon_high 5.0, an absolute bound (clip_high counts from 1, so 4); verl, SkyRL, "
            "NeMo-RL, slime and AReaL with their own clip_low and clip_high"
        ),
    ),
    "sapo": Recipe(
        name="sapo",
        credit=Credit("group_mean_std", "bessel", 1e-6),
        objective=Objective(Sapo(1.0, 1.05)),
        reduction="sequence_mean",
        paper="Gao et al. 2025, Soft adaptive policy optimization, arXiv 2511.20347",
        peers="advantages: as grpo. loss: verl sapo, TRL sapo with temperatures 1 and 1.05",
    ),
    "maxrl": Recipe(
        name="maxrl",
        credit=Credit("max_rl", epsilon=0.0),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="token_mean",
        paper="Tajwar et al. 2026, Maximum likelihood reinforcement learning, arXiv 2602.02710",
        peers="advantages: prime-rl; SkyRL with credit_epsilon 1e-6",
    ),
    "gdpo": Recipe(
        name="gdpo",
        credit=Credit("each_mean_std", "bessel", 1e-6, whiten="samples", whiten_epsilon=0.0),
        objective=Objective(Clip(0.2, 0.2)),
        reduction="sequence_mean",
        paper=(
            "Liu et al. 2026, GDPO, arXiv 2601.05242 (for several rewards: give reward_parts, a length or an overlong term; "
            "with the table alone it is grpo with its advantages scaled over the step)"
        ),
        peers=(
            "advantages: NeMo-RL; TRL normalize_then_sum with credit_epsilon and whiten_epsilon 1e-4; verl with whiten tokens "
            "and whiten_epsilon 1e-8"
        ),
    ),
    "ppo": Recipe(
        name="ppo",
        credit=Credit("gae", whiten="tokens", gamma=1.0, decay=0.95),
        objective=Objective(Clip(0.2, 0.2), KL("reference", 0.02, where="reward")),
        reduction="token_mean",
        paper="Schulman et al. 2017, arXiv 1707.06347, with the KL of Ouyang et al. 2022, InstructGPT, arXiv 2203.02155",
        peers=(
            "advantages: verl's GAE, which skips what the policy did not write (SkyRL and OpenRLHF do not), whitened as there. "
            'verl has no KL in the reward by default: kl_to = "none"'
        ),
        critic=Critic(0.5, 0.2),
    ),
}


def recipe(name: str, **overrides: Any) -> Recipe:
    """A named recipe with some of its settings changed; OVERRIDES lists the settings there are.

    Raises ConfigError for an unknown name, setting or choice (naming the nearest), for a value of the wrong type or out
    of range, for a setting that would have no effect, for settings that contradict each other, and for a reduction
    "constant" without its constant: dr_grpo divides by a length, which is the run's to say (usually the sampling's max_new).

    >>> recipe("grpo", clip_high=0.28, kl_to="reference", kl_coefficient=0.001)
    """
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe {name!r}{nearest(name, RECIPES)}. Recipes: {', '.join(RECIPES)}.")
    return changed(RECIPES[name], overrides)
