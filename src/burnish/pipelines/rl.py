"""The main job: reinforcement learning with verifiable rewards, from a config to better weights and a report.

Measure, train, measure again on the same held-out problems, compare them pair by pair. Not for: the loop itself (burnish.loop).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.algos.steering import Steered
from burnish.config import RunConfig, differences, dumps, load
from burnish.engine.choice import notices
from burnish.errors import ResumeError
from burnish.evaluate import harness
from burnish.evaluate.statistics import paired_difference
from burnish.journal import Behind, Journal, plot_curves, write_report
from burnish.journal.files import storage_error, write_atomic, write_files
from burnish.learner.critic import Critic
from burnish.learner.learner import Learner, Optimization
from burnish.loop import train as run_loop
from burnish.pipelines.setting import (
    Setting,
    adapted,
    annotation_of,
    critic_of,
    following_of,
    prepare,
    sampling_with,
    source_of,
)
from burnish.pipelines.supervised import save
from burnish.policy.heads import Scorer
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Group, Problem, Report, from_json, to_json
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import COLUMNS, Cadence, LocalRun, at_rest
from burnish.run.stored import Stored
from burnish.run.stream import Refill
from burnish.verify import identity

MEASURING = (("rollouts", "answers judged", "{:.0f}"), ("pass", "right so far", "{:6.1%}"))


def train(
    config: RunConfig, resume: bool = False, quiet: bool = False, phases: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The whole run; returns the report that is also in `out`/report.json. `phases` are what went before, for the report."""
    out = Path(config.out)
    going_on = resume and (out / "config.toml").is_file()
    if resume and not going_on and Journal.barely_begun(out):
        shutil.rmtree(out)  # killed before its config was written: there is nothing to go on with
    if going_on:
        _same(load(RunConfig, out / "config.toml"), config, out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} already holds something; add --resume to go on with a run, or choose another out.")
    setting = prepare(config)
    critic = critic_of(setting, setting.recipe.needs(config.steps.updates, config.steps.max_lag > 0))
    annotate, setting = annotation_of(setting), adapted(setting)  # all may refuse, before anything is written
    journal = Journal.open(out) if going_on else Journal.create(out, dumps(config), {"run": config.seed})
    steps = config.steps
    with sampling_with(setting) as sampler, Display("reinforcement learning", steps.total, COLUMNS, quiet) as display:
        for notice in (*setting.notices, *notices(sampler.engine)):
            display.note(notice)
        problems = setting.task.held_out()[: config.evaluate.problems]
        base, before = _measure("base", sampler, problems, setting, out, quiet) if problems else (None, [])
        steered = Steered(setting.recipe)
        with Behind(journal) as behind:
            run = _run(setting, sampler, behind, display, steered, critic, annotate)
            if going_on:
                run.resume()
            elif isinstance(run.source, Stored):
                stored = run.source
                behind.event(
                    "stored_rollouts", run=str(stored.run_dir), rejudged=config.stored.rejudge, files=stored.marks()
                )
            run_loop(run, steered)
        save(setting.policy, out)
        if critic is not None and isinstance(critic.network, Scorer):
            write_files(out / "critic", critic.network.save, last="config.json")
        final, after = _measure("final", sampler, problems, setting, out, quiet) if problems else (None, [])
    report = _report(config, run, base, final, before, after, [*phases])
    plot_curves(journal.metrics(), out / "curves.png")
    write_report(out, report)
    return report


def _run(
    setting: Setting,
    sampler: Sampler,
    journal: Behind,
    display: Display,
    steered: Steered,
    critic: Critic | None,
    annotate: Callable[[list[Group]], list[Group]] | None,
) -> LocalRun:
    """Learner, source and cadence of a config, put together."""
    config, recipe, steps = setting.config, setting.recipe, setting.config.steps
    needs = recipe.needs(steps.updates, steps.max_lag > 0)
    torch.manual_seed(config.seed)
    optimizer = Optimization(
        total_updates=steps.total * steps.updates, updates_per_step=steps.updates, **config.optimizer.model_dump()
    )
    distribution = SamplingDistribution(config.sampling.temperature)
    source, rollouts = source_of(setting, sampler)
    cadence = Cadence(
        *(steps.total, steps.prompts, steps.samples, steps.checkpoint_every),
        *(steps.max_flat, config.verify.max_no_verdict, steps.max_lag),
    )
    learner = Learner(
        *(setting.policy, optimizer, distribution, needs, config.seed, Path(config.out) / "not_finite.jsonl"),
        critic=critic,
        following=following_of(recipe),
    )
    canary = setting.prompt(setting.task.train(config.seed).take(1)[0]).ids
    budget = config.selection.refill
    return LocalRun(
        *(learner, rollouts, source, journal, cadence, needs, canary, config.seed, display),
        steering=steered,
        refill=Refill(budget, recipe.informative) if budget > 1.0 else None,
        stored=isinstance(source, Stored),
        annotate=annotate,
    )


def _measure(
    name: str, sampler: Sampler, problems: Sequence[Problem], setting: Setting, out: Path, quiet: bool
) -> tuple[Report, list[Group]]:
    """Measure, or read back what was measured before an interruption: `out`/evaluations/NAME.json."""
    stored, traces = out / "evaluations" / f"{name}.json", out / "evaluations" / f"{name}_traces.jsonl"
    if stored.is_file() and traces.is_file():
        return from_json(Report, stored.read_bytes()), [
            from_json(Group, line) for line in traces.read_text().splitlines()
        ]
    samples = setting.config.evaluate.samples
    with Display(f"measuring the {name} model", len(problems) * samples, MEASURING, quiet) as display:
        right = seen = 0

        def tick(rollout: Any) -> None:
            nonlocal right, seen
            seen, right = seen + 1, right + (rollout.verdict.outcome == "right")
            if seen % 64 == 0 or seen == len(problems) * samples:
                display.step(seen, {"rollouts": seen, "pass": right / seen})

        report, groups = harness.evaluate(
            sampler,
            problems,
            samples,
            setting.config.evaluate.ks,
            at_rest(setting.sampling, setting.config.seed),
            tick,
            identity(setting.task.verifier),
        )
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(stored.parent, error) from error
    write_atomic(traces, "".join(to_json(group) + "\n" for group in groups[:20]))
    write_atomic(stored, to_json(report))
    return report, groups[:20]


def _same(there: RunConfig, here: RunConfig, out: Path) -> None:
    changed = differences(there, here)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ResumeError(
            f"{out} was started with another config ({changed[0]}{more}); resume with the same one, or choose another out."
        )


def _report(
    config: RunConfig,
    run: LocalRun,
    base: Report | None,
    final: Report | None,
    before: list[Group],
    after: list[Group],
    phases: list[Any],
) -> dict[str, Any]:
    report: dict[str, Any] = {"run_dir": config.out, "seed": config.seed, "recipe": config.recipe.name}
    if config.lora.rank:
        report["adapter"] = f"{config.out}/adapter"
    if config.stored.rollouts is not None:
        report["rollouts_of"] = config.stored.rollouts
    if base is not None and final is not None:
        paired = paired_difference(harness.pass_rates(base), harness.pass_rates(final))
        change = paired.difference
        report["base"], report["final"] = harness.as_json(base), harness.as_json(final)
        report["change"] = {
            "pass@1": {"value": change.value, "low": change.low, "high": change.high},
            "won": paired.won,
            "lost": paired.lost,
            "tied": paired.tied,
            "p_value": paired.p_value,
        }
        report["trace"] = _trace(before, after)
    measured = [(f"measure {name}", one) for name, one in (("base", base), ("final", final)) if one is not None]
    phases += [
        {"name": name, **{key: one.cost[key] for key in ("seconds", "tokens", "tokens_per_second")}}
        for name, one in measured[:1]
    ]
    ledger = run.ledger
    for name, tokens in (("sample and verify", ledger.tokens_sampled), ("update", ledger.tokens_trained)):
        seconds = ledger.seconds.get(name, 0.0)
        phases.append(
            {"name": name, "seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / max(seconds, 1e-9)}
        )
    phases += [
        {"name": name, **{key: one.cost[key] for key in ("seconds", "tokens", "tokens_per_second")}}
        for name, one in measured[1:]
    ]
    report["phases"], report["flops"] = phases, ledger.flops
    return report


def _trace(before: list[Group], after: list[Group]) -> dict[str, str]:
    """One problem the base model got wrong and the final model right, where there is one."""

    def turned(pair: tuple[Group, Group]) -> bool:
        return pair[0].rollouts[0].verdict.outcome == "wrong" and pair[1].rollouts[0].verdict.outcome == "right"

    pairs = list(zip(before, after, strict=True))
    old, new = next((pair for pair in pairs if turned(pair)), pairs[0])
    return {"question": old.problem.question, "before": old.rollouts[0].text, "after": new.rollouts[0].text}
