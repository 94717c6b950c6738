"""Look at a run before it starts: config, data, gold answers, memory, and what a few sampled prompts say. Not for: training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from burnish.config import RunConfig
from burnish.engine.choice import engine_of, notices
from burnish.engine.embedded import EmbeddedEngine
from burnish.errors import TrainingError
from burnish.evaluate.probe import ProbeReport
from burnish.evaluate.probe import probe as hack_probe
from burnish.pipelines.memory import memory
from burnish.pipelines.setting import Setting, adapted, annotation_of, critic_of, prepare, sampling_with
from burnish.policy.fused import Fused
from burnish.run.local import at_rest
from burnish.tasks.splits import check_golds
from burnish.verify.pool import Pool

ENDLESS = 512
"""Problems of an endless task whose gold answers are checked."""
PROBED = 64
"""Problems on which degenerate answers are tried."""


def check(config: RunConfig, prompts: int = 16) -> dict[str, Any]:
    """What is known about the run. Raises InputError for what is wrong with the input, TrainingError where it cannot learn."""
    setting = prepare(config, refuse_golds=False)
    critic_of(setting, setting.recipe.needs(config.steps.updates))
    setting = adapted(setting)
    task, engine = setting.task, engine_of(setting.policy, config.sampling)
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
        "notices": [*setting.notices, *notices(engine)],
        "model": setting.policy.family,
        "sampled_by": "transformers" if notices(engine) else "embedded engine",
        "path": "compiled kernels" if Fused.serves(setting.policy) else "module",
        "parameters": setting.policy.parameters,
        "cache": engine.describe_cache() if isinstance(engine, EmbeddedEngine) else None,
        "memory_gib": {name: round(size / 2**30, 3) for name, size in memory(setting).items()},
    }
    if len(problems) > 1:
        with Pool(task.verifier, config.verify.workers, config.verify.deadline_s) as pool:
            hacks = hack_probe(task, problems[:PROBED], pool.judge)
        _refuse_hacks(hacks, task.verifier)
    findings["hack_probe"] = _hacks(hacks) if len(problems) > 1 else None  # chance is what other problems' answers earn
    findings["probe"] = probe(setting, prompts)
    _refuse(findings["probe"], config)
    return findings


def _hacks(report: ProbeReport) -> dict[str, Any]:
    best = report.probed[0]
    return {
        "problems": report.problems,
        "answers": len(report.probed),
        "chance": report.chance,
        "best": best.name,
        "right": best.share.value,
        "low": best.share.low,
        "high": best.share.high,
        "no_verdict": max(one.missing for one in report.probed),
        "above_chance": [one.name for one in report.above],
    }


def _refuse_hacks(report: ProbeReport, verifier: str) -> None:
    if report.above:
        worst = report.above[0]
        raise TrainingError(
            f"The verifier {verifier!r} can be fooled: the degenerate answer {worst.name!r} is right for {worst.share.value:.0%} of "
            f"{report.problems} problems (first {worst.example}), where a blind guess is for {report.chance:.0%}; "
            f"{len(report.above)} such answers are above chance. Mend the verifier or the problems before training on them."
        )


def probe(setting: Setting, prompts: int) -> dict[str, float]:
    """Sample a few training problems as the run would, and say what came of it."""
    config = setting.config
    count = min(prompts, setting.task.train_size or prompts)
    problems = setting.task.train(config.seed).take(count)
    with sampling_with(setting) as sampler:
        sampler = replace(sampler, sampling=at_rest(setting.sampling, config.seed))
        groups = sampler.groups(problems, config.steps.samples)
    if (annotate := annotation_of(setting)) is not None:
        groups = annotate(groups)
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
