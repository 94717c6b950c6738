"""The main job: reinforcement learning with verifiable rewards, from a config to better weights and a report.

Measure, train, measure again on the same held-out problems, compare them pair by pair. Not for: the loop itself (burnish.loop).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from burnish.algos import recipes
from burnish.config import RunConfig, differences, dumps, load
from burnish.engine.embedded import EmbeddedEngine
from burnish.errors import ConfigError, DataError, ResumeError
from burnish.evaluate import harness
from burnish.evaluate.statistics import paired_difference
from burnish.journal import Journal, plot_curves, write_report
from burnish.journal.files import storage_error, write_atomic, write_files
from burnish.learner.learner import Learner, Optimization
from burnish.loop import train as run_loop
from burnish.policy.model import Policy, tune_allocator
from burnish.policy.model import load as load_policy
from burnish.policy.sampling import SamplingDistribution
from burnish.prompts import Renderer, check_room
from burnish.records import Group, Problem, Prompt, Report, Sampling, from_json, to_json
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import COLUMNS, Cadence, LocalRun, at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.tasks.splits import check_golds
from burnish.verify.pool import Pool

MEASURING = (("rollouts", "answers judged", "{:.0f}"), ("pass", "right so far", "{:6.1%}"))


@dataclass(frozen=True)
class Setting:
    """What a run and its checks are made of, before anything is trained."""

    config: RunConfig
    policy: Policy
    task: Task
    renderer: Renderer
    recipe: recipes.Recipe
    sampling: Sampling

    def prompt(self, problem: Problem) -> Prompt:
        return self.renderer.prompt(problem, self.task.messages(problem))


def prepare(config: RunConfig, look_at: int = 64, refuse_golds: bool = True) -> Setting:
    """Load everything and refuse what cannot work: InputError, with one sentence.

    look_at       problems of each split whose gold answers are checked
    refuse_golds  False leaves them to the caller, who wants to list all that fail
    """
    _check_device(config.model.device)
    tune_allocator()
    recipe = _recipe(config)
    task = load_task(config.task.name, config.task.options)
    held_out = task.held_out()
    if config.evaluate.problems and not held_out:
        raise DataError(
            "There are no held-out problems to measure on; give the task a held-out split, or set evaluate.problems = 0."
        )
    training = task.train(config.seed).take(task.train_size or look_at)
    some = [*training[:look_at], *held_out[:look_at]]
    failures = check_golds(task, some) if refuse_golds else []
    if failures:
        first = failures[0]
        raise DataError(
            f"{len(failures)} of {len(some)} gold answers do not pass their own verifier, first {first.problem_id} ({first.where}): "
            f"{first.verdict.why}; correct or drop them (burnish check lists them all)."
        )
    leaks = {problem.fingerprint for problem in training} & {problem.fingerprint for problem in held_out}
    if leaks:
        raise DataError(
            f"{len(leaks)} held-out problems stand in the training split too; a score on them would mean nothing. Remove them."
        )
    policy = load_policy(config.model.path, config.model.compute, device=config.model.device)
    renderer = Renderer(policy.tokenizer, config.task.system)
    sampling = Sampling(config.sampling.temperature, 1.0, 0, config.sampling.max_new, policy.stop_ids, config.seed)
    setting = Setting(config, policy, task, renderer, recipe, sampling)
    check_room(
        map(setting.prompt, [*training, *held_out[: config.evaluate.problems]]), sampling.max_new, policy.context
    )
    _check_format(setting, some)
    return setting


def _check_format(setting: Setting, problems: Sequence[Problem]) -> None:
    golds = [(gold, problem.id) for problem in problems if (gold := setting.task.gold(problem)) is not None]
    sizes = [(len(setting.renderer.response_ids(gold)), problem_id) for gold, problem_id in golds]
    shortest, problem_id = min(sizes, default=(0, ""))
    if setting.sampling.max_new < shortest:
        raise ConfigError(
            f"sampling.max_new is {setting.sampling.max_new}, but even the shortest right response ({problem_id}) has {shortest} tokens "
            "in the format asked for; every answer would be cut off. Raise max_new."
        )


def _recipe(config: RunConfig) -> recipes.Recipe:
    """The named recipe with its overrides; Dr. GRPO's constant is the longest completion where none is given, as in its paper."""
    options = dict(config.recipe.options)
    named = recipes.RECIPES.get(config.recipe.name)
    reduction = options.get("reduction", named.reduction if named is not None else None)
    if named is not None and reduction == "constant" and named.constant is None:
        options.setdefault("constant", float(config.sampling.max_new))
    recipe = recipes.recipe(config.recipe.name, **options)
    kl = recipe.objective.kl
    if kl is not None and kl.to == "start_of_step" and config.steps.updates == 1:
        raise ConfigError(
            'recipe.options.kl_to = "start_of_step" has no effect with steps.updates = 1: the policy is still the one the step started '
            "with. Raise steps.updates, or leave the KL out."
        )
    return recipe


@contextmanager
def sampling_with(setting: Setting) -> Iterator[Sampler]:
    """An engine and a verifier pool for the setting."""
    config = setting.config
    engine = EmbeddedEngine(setting.policy, config.sampling.rows)
    with Pool(setting.task.verifier, config.verify.workers, config.verify.deadline_s) as pool:
        yield Sampler(engine, setting.renderer, pool, setting.task.messages, setting.sampling)


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
    recipe = setting.recipe
    needs = recipe.needs(config.steps.updates)
    journal = Journal.open(out) if going_on else Journal.create(out, dumps(config), {"run": config.seed})
    steps = config.steps
    with sampling_with(setting) as sampler, Display("reinforcement learning", steps.total, COLUMNS, quiet) as display:
        for notice in setting.task.notices:
            display.note(notice)
        problems = setting.task.held_out()[: config.evaluate.problems]
        base, before = _measure("base", sampler, problems, setting, out, quiet) if problems else (None, [])
        torch.manual_seed(config.seed)
        optimizer = Optimization(
            total_updates=steps.total * steps.updates, updates_per_step=steps.updates, **config.optimizer.model_dump()
        )
        distribution = SamplingDistribution(config.sampling.temperature)
        learner = Learner(setting.policy, optimizer, distribution, needs, config.seed, out / "not_finite.jsonl")
        source = setting.task.train(config.seed)
        cadence = Cadence(
            steps.total,
            steps.prompts,
            steps.samples,
            steps.checkpoint_every,
            steps.max_flat,
            config.verify.max_no_verdict,
        )
        canary = setting.prompt(setting.task.train(config.seed).take(1)[0]).ids
        run = LocalRun(learner, sampler, source, journal, cadence, needs, canary, config.seed, display)
        if going_on:
            run.resume()
        run_loop(run, recipe)
        write_files(out / "final", setting.policy.save, last="config.json")
        final, after = _measure("final", sampler, problems, setting, out, quiet) if problems else (None, [])
    report = _report(config, run, base, final, before, after, [*phases])
    plot_curves(journal.metrics(), out / "curves.png")
    write_report(out, report)
    return report


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
            sampler, problems, samples, setting.config.evaluate.ks, at_rest(setting.sampling, setting.config.seed), tick
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


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f'model.device is {device!r}, but torch sees {torch.cuda.device_count()} GPUs here; use "cpu".'
        )
