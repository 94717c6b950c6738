"""Look at a run before it starts: config, data, gold answers, memory, and what a few sampled prompts say. Not for: training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from burnish.config import RunConfig
from burnish.errors import TrainingError
from burnish.pipelines.rl import Setting, prepare, sampling_with
from burnish.run.local import at_rest
from burnish.tasks.splits import check_golds

ENDLESS = 512
"""Problems of an endless task whose gold answers are checked."""


def check(config: RunConfig, prompts: int = 16) -> dict[str, Any]:
    """What is known about the run. Raises InputError for what is wrong with the input, TrainingError where it cannot learn."""
    setting = prepare(config, refuse_golds=False)
    task = setting.task
    problems = [*task.held_out(), *task.train(config.seed).take(task.train_size or ENDLESS)]
    failures = check_golds(task, problems)
    findings: dict[str, Any] = {
        "task": config.task.name,
        "train_problems": task.train_size,
        "held_out_problems": len(task.held_out()),
        "golds_checked": len(problems),
        "gold_failures": [
            {"problem": failure.problem_id, "where": failure.where, "why": failure.verdict.why} for failure in failures
        ],
        "notices": list(task.notices),
        "parameters": setting.policy.parameters,
        "memory_gib": {name: round(size / 2**30, 3) for name, size in memory(setting).items()},
    }
    findings["probe"] = probe(setting, prompts)
    _refuse(findings["probe"], config)
    return findings


def memory(setting: Setting) -> dict[str, float]:
    """Estimated bytes: float32 weights, gradients and AdamW moments, bfloat16 casts, cache, one micro-batch's activations."""
    config, steps = setting.policy.module.config.get_text_config(), setting.config.steps
    weights = setting.policy.parameters
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    rows = min(setting.config.sampling.rows, steps.prompts * steps.samples)
    cache = 2 * config.num_hidden_layers * heads * head_dim * rows * setting.config.sampling.max_new * 2
    wide = getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_token = config.num_hidden_layers * (14 * config.hidden_size + 5 * wide) * 3.0
    reference = 4.0 * weights if "reference" in setting.recipe.needs(steps.updates) else 0.0
    parts = {
        "weights": 4.0 * weights,
        "gradients": 4.0 * weights,
        "optimizer": 8.0 * weights,
        "casts": 2.0 * weights,
        "reference": reference,
        "cache": float(cache),
        "activations": per_token * setting.config.optimizer.micro_batch_tokens,
    }
    return {**parts, "total": sum(parts.values())}


def probe(setting: Setting, prompts: int) -> dict[str, float]:
    """Sample a few training problems as the run would, and say what came of it."""
    config = setting.config
    count = min(prompts, setting.task.train_size or prompts)
    problems = setting.task.train(config.seed).take(count)
    with sampling_with(setting) as sampler:
        sampler = replace(sampler, sampling=at_rest(setting.sampling, config.seed))
        groups = sampler.groups(problems, config.steps.samples)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    kept, _ = setting.recipe.select(groups)
    judged = [rollout for rollout in rollouts if rollout.verdict.outcome != "no_verdict"]
    return {
        "prompts": float(len(groups)),
        "answers": float(len(rollouts)),
        "pass_rate": sum(rollout.verdict.outcome == "right" for rollout in judged) / max(1, len(judged)),
        "cut_off": sum(rollout.stop == "length" for rollout in rollouts) / len(rollouts),
        "no_verdict": 1.0 - len(judged) / len(rollouts),
        "no_signal": 1.0 - len(kept) / len(groups),
        "mean_length": sum(rollout.tokens.sampled_count for rollout in rollouts) / len(rollouts),
        "longest_prompt": float(max(len(group.prompt.ids) for group in groups)),
    }


def _refuse(probe: dict[str, float], config: RunConfig) -> None:
    answers = f"{probe['answers']:.0f} sampled answers"
    if probe["no_verdict"] > config.verify.max_no_verdict:
        raise TrainingError(
            f"{probe['no_verdict']:.0%} of {answers} have no verdict; mend the verifier or raise verify.deadline_s."
        )
    if probe["cut_off"] > 0.9:
        raise TrainingError(
            f"{probe['cut_off']:.0%} of {answers} were cut off at sampling.max_new = {config.sampling.max_new}; raise it, or start from a "
            "model that ends its answers."
        )
    if probe["pass_rate"] == 0.0:
        raise TrainingError(
            f"None of {answers} was right, so no answer can be told to be better than another; take easier problems, a better starting "
            "model, or more samples a problem."
        )
    if probe["pass_rate"] == 1.0:
        raise TrainingError(f"All of {answers} were right already, so there is nothing to learn; take harder problems.")
    if probe["no_signal"] == 1.0:
        raise TrainingError(
            f"Every problem's answers were all right or all wrong ({answers}), so no group has a signal; raise steps.samples "
            f"(now {config.steps.samples}) or take problems of middling difficulty."
        )
