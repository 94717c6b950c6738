"""Inference-time scaling: what votes, choices, second looks and longer thoughts buy, at equal numbers of tokens generated.

Nearly everything is computed from one pool of answers to each problem (burnish.evaluate.scaling). Not for: training on them, or
drawing them (burnish.pipelines.draws).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low as median
from typing import Any

from burnish.engine.choice import engine_for
from burnish.engine.choice import notices as engine_notices
from burnish.errors import ConfigError, DataError, InputError, ModelError, ResumeError
from burnish.evaluate import methods as measured
from burnish.evaluate.methods import METHODS, WITH_REWARD_MODEL
from burnish.evaluate.scaling import Point
from burnish.journal.files import encode, storage_error, write_atomic
from burnish.journal.scaling import markdown, plot_scaling
from burnish.learner.critic import REWARD_PART, annotated
from burnish.pipelines.draws import ANSWERS_AT_ONCE, Drawn, Draws
from burnish.pipelines.rows import encoder
from burnish.pipelines.scale_plan import Plan, check
from burnish.policy.adapters import load as load_policy
from burnish.policy.heads import Scorer, load_scorer
from burnish.policy.model import Policy, tune_allocator, weights_mark
from burnish.prompts import Renderer, check_room
from burnish.records import Group, Key, Problem
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.verify import identity
from burnish.verify.pool import Pool


@dataclass
class Gathered:
    """All answers of one model; `series` holds, by method, the settings and the answers of what is not made of the pool."""

    pool: Drawn
    greedy: Drawn = field(default_factory=dict)
    series: dict[str, list[tuple[str, Drawn]]] = field(default_factory=dict)

    def parts(self) -> list[Drawn]:
        return [self.pool, self.greedy, *(part for steps in self.series.values() for _, part in steps)]


def scale(plan: Plan, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Draw what is missing, measure, write report.json, report.md and scaling.png; returns the report. Raises InputError."""
    began = time.perf_counter()
    check(plan)
    task, problems = _problems(plan)
    tune_allocator()
    policy = load_policy(plan.model)
    other = load_policy(plan.compared.beside) if plan.compared.beside is not None else None
    scorer = load_scorer(plan.pooled.reward_model) if plan.pooled.reward_model is not None else None
    notices: list[str] = []
    methods = _possible(plan, problems, notices)
    scored_with = _reader(policy, scorer, notices)
    place = Path(plan.out)
    _check_room(plan, task, problems, [policy, *([other] if other is not None else [])])
    _begin(place, _source(plan, task, policy), resume)
    with Pool(task.verifier, plan.judged.workers, plan.judged.deadline_s) as judges:
        draws = [_draws(plan, task, problems, policy, judges, place, quiet)]
        notices += engine_notices(draws[0].sampler.engine)
        gathered = _gather(plan, methods, draws[0], notices)
        beside = None
        if other is not None:
            marked = place / f"beside_{weights_mark(other)[:8]}"
            draws.append(_draws(plan, task, problems, other, judges, marked, quiet))
            beside = Gathered(draws[1].pool(plan.chained.count), draws[1].greedy())
    if scorer is not None:
        gathered.pool = _scored(scorer, gathered.pool, scored_with, quiet)
    counted = _counted(problems, [*gathered.parts(), *(beside.parts() if beside is not None else [])], notices)
    points = _points(plan, methods, gathered, counted, quiet)
    report = _report(plan, task, points, counted, len(problems))
    if beside is not None:
        report["beside"] = {"model": plan.compared.beside, **measured.beside(_single(beside, counted), points)}
    report["notices"] = notices
    report["cost"] = {name: sum(getattr(one, name) for one in draws) for name in ("sampled", "kept", "read")}
    report["cost"]["seconds"] = time.perf_counter() - began
    return _written(report, place)


def _written(report: Mapping[str, Any], place: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(encode(report))
    write_atomic(place / "report.json", json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    write_atomic(place / "report.md", markdown(plain))
    plot_scaling(plain, place / "scaling.png")
    return plain


def _problems(plan: Plan) -> tuple[Task, list[Problem]]:
    task = load_task(plan.task, plan.options)
    problems = list(task.held_out()[: plan.pooled.problems])
    if not problems:
        raise DataError(f"The task {plan.task!r} has no held-out problems to measure on.")
    return task, problems


def _possible(plan: Plan, problems: Sequence[Problem], notices: list[str]) -> list[str]:
    """The methods to measure; those that cannot be are left out with a notice, or refused where they were asked for."""
    methods = [name for name in METHODS if name in (plan.compared.methods or METHODS)]
    if plan.pooled.reward_model is None:
        methods = [name for name in methods if name not in WITH_REWARD_MODEL]
    if "best_verifier" in methods and not all(problem.reference for problem in problems):
        sentence = f"best_verifier needs gold answers, and the held-out problems of {plan.task!r} have none."
        if plan.compared.methods:
            raise DataError(sentence)
        notices.append(sentence)
        methods.remove("best_verifier")
    return methods


def _reader(policy: Policy, scorer: Scorer | None, notices: list[str]) -> Any:
    """How the reward model reads an answer: by the ids that were sampled where the words are the same, else through its template."""
    if scorer is None:
        return None
    same = scorer.tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    if not same and not scorer.tokenizer.chat_template:
        raise ModelError(
            "The reward model has another tokenizer than the model, and no chat template to read its answers through; use one "
            "that was trained from this model, or add a chat template to its tokenizer."
        )
    if not same:
        notices.append(
            "The reward model has another tokenizer: it reads the text of the answers through its own template."
        )
    return encoder(Renderer(scorer.tokenizer), same)


def _scored(scorer: Scorer, pool: Drawn, encode: Any, quiet: bool) -> Drawn:
    """The pool with the reward model's score among the parts of every verdict."""
    keys, made = list(pool), list[Group]()
    with Display("scoring", len(keys), (), quiet) as display:
        for first in range(0, len(keys), ANSWERS_AT_ONCE):
            made += annotated(scorer, [pool[key] for key in keys[first : first + ANSWERS_AT_ONCE]], encode)
            display.step(len(made), {})
    return dict(zip(keys, made, strict=True))


def _check_room(plan: Plan, task: Task, problems: Sequence[Problem], policies: Sequence[Policy]) -> None:
    """Before anything is written: the prompts and one answer fit each model."""
    for policy in policies:
        renderer = Renderer(policy.tokenizer, plan.judged.system, thinking=plan.judged.thinking)
        prompts = [renderer.prompt(problem, task.messages(problem)) for problem in problems]
        check_room(prompts, plan.sampling.max_new, policy.context)


def _source(plan: Plan, task: Task, policy: Policy) -> dict[str, Any]:
    """All that the kept answers depend on, besides what their folders are named after."""
    sampling = {name: getattr(plan.sampling, name) for name in ("temperature", "top_p", "top_k", "max_new", "seed")}
    return {
        "model": weights_mark(policy),
        "task": plan.task,
        "options": dict(plan.options),
        "verifier": identity(task.verifier),
        "system": plan.judged.system,
        "thinking": plan.judged.thinking,
        **sampling,
    }


def _begin(place: Path, source: Mapping[str, Any], resume: bool) -> None:
    """Make the folder, or find the answers of the same model there. Raises ResumeError where it holds something else."""
    note, text = place / "scale.json", encode(source) + "\n"
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        if not resume:
            raise ResumeError(
                f"{place} already holds something; add --resume to go on with it, or choose another --out."
            )
        if not note.is_file():
            raise ResumeError(f"{place} holds no answers of burnish scale to go on with; choose another --out.")
        try:
            before, now = json.loads(note.read_text()), json.loads(text)
        except ValueError as error:
            raise ResumeError(f"{note} cannot be read ({error}); choose another --out.") from error
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            was, is_now = (encode(one.get(changed[0])) for one in (before, now))
            raise ResumeError(
                f"The answers in {place} were drawn with another {changed[0]} ({was}, not {is_now}); choose another --out."
            )
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(place, error) from error
    write_atomic(note, text)


def _draws(
    plan: Plan, task: Task, problems: Sequence[Problem], policy: Policy, judges: Pool, place: Path, quiet: bool
) -> Draws:
    renderer = Renderer(policy.tokenizer, plan.judged.system, thinking=plan.judged.thinking)
    stops = renderer.stop_ids(policy.stop_ids)
    sampling = at_rest(replace(plan.sampling, stop_ids=stops), plan.sampling.seed)
    sampler = Sampler(engine_for(policy), renderer, judges, task.messages, sampling)
    return Draws(sampler, renderer, problems, policy.context, place, quiet)


def _gather(plan: Plan, methods: list[str], draws: Draws, notices: list[str]) -> Gathered:
    """All answers that the methods need. A method that turns out to be impossible leaves `methods`, or raises if asked for."""
    gathered = Gathered(draws.pool(plan.pooled.samples))
    _check_budgets(plan, gathered.pool)
    first = {key: group for key, group in gathered.pool.items() if key.index < plan.chained.count}
    if "greedy" in methods:
        gathered.greedy = draws.greedy()
    kinds: dict[str, Callable[[], list[tuple[str, Drawn]]]] = {
        "mended": lambda: _mended(plan, draws, first),
        "forced": lambda: _forced(plan, draws, first),
        "thinking": lambda: [("opened", draws.thinking(plan.chained.count))],
    }
    for name, draw in kinds.items():
        if name not in methods:
            continue
        try:
            gathered.series[name] = draw()
        except InputError as error:
            if plan.compared.methods:
                raise type(error)(f"{name}: {error}") from error
            notices.append(f"{name} is left out: {error}")
            methods.remove(name)
    return gathered


def _check_budgets(plan: Plan, pool: Drawn) -> None:
    """Raises ConfigError for a budget that no sampled answer fits; what was sampled is kept."""
    one = math.fsum(measured.spent(group) for group in pool.values()) / len(pool)
    if plan.compared.budgets and min(plan.compared.budgets) < one:
        raise ConfigError(
            f"A budget of {min(plan.compared.budgets):g} tokens is smaller than one answer, which takes {one:.1f} on average here; give at "
            f"least {math.ceil(one)} (what was sampled is kept: go on with --resume)."
        )


def _mended(plan: Plan, draws: Draws, first: Drawn) -> list[tuple[str, Drawn]]:
    steps = [("first answer", first)]
    for turn in range(1, plan.chained.rounds + 1):
        steps.append((f"{turn} round{'s' if turn > 1 else ''}", draws.mended(steps[-1][1], turn, plan.chained.ask)))
    return steps


def _forced(plan: Plan, draws: Draws, first: Drawn) -> list[tuple[str, Drawn]]:
    """From the shortest thoughts to the longest: cut, as they are, made to go on."""
    thoughts = [thought for group in first.values() if (thought := draws.thought(group)) is not None]
    if not thoughts:
        raise DataError(
            f"none of {len(first)} answers thinks (<think> ... </think>), so there is no thought to end or to prolong; take a "
            "model and a task that think."
        )
    lengths = sorted(thought.ends for thought in thoughts if thought.ends is not None)
    quarters = {max(1, median(lengths) * part // 4) for part in (1, 2, 3)} if lengths else set()
    opener = draws.opener(first)
    steps = [
        (f"thought cut at {limit}", draws.cut(first, limit, opener))
        for limit in sorted({*plan.chained.thoughts} or quarters)
    ]
    steps.append(("as it is", first))
    for turn in range(1, plan.chained.waits + 1):
        steps.append((f"{turn} wait{'s' if turn > 1 else ''}", draws.waited(steps[-1][1], turn, plan.chained.wait)))
    return steps


def _counted(problems: Sequence[Problem], drawn: Sequence[Drawn], notices: list[str]) -> list[str]:
    """The problems all of whose answers got a verdict: every method is measured on the same ones."""
    out = {key.problem_id for part in drawn for key, group in part.items() if _missing(group.rollouts[0])}
    counted = [problem.id for problem in problems if problem.id not in out]
    if not counted:
        raise DataError("No problem has a verdict for each of its answers; mend the verifier first.")
    if out:
        notices.append(f"{len(out)} of {len(problems)} problems are left out: an answer to each got no verdict.")
    return counted


def _missing(rollout: Any) -> bool:
    return bool(rollout.verdict.outcome == "no_verdict")


def _points(
    plan: Plan, methods: Sequence[str], gathered: Gathered, counted: Sequence[str], quiet: bool
) -> dict[str, list[Point]]:
    """The points of every method, in the order of METHODS."""
    ones = {
        name: measured.One.of([gathered.pool[Key(name, i)] for i in range(plan.pooled.samples)], REWARD_PART)
        for name in counted
    }

    def measure(name: str) -> list[Point]:
        if name == "greedy":
            return [measured.chained("greedy", [gathered.greedy], counted)]
        if name == "sample":
            return measured.pooled("vote", [1], ones)
        if name in gathered.series:
            return measured.series(name, gathered.series[name], counted)
        return measured.pooled(name, plan.pooled.counts, ones, plan.pooled.confidence)

    found: dict[str, list[Point]] = {}
    with Display("measuring", len(methods), (), quiet) as display:
        for name in methods:
            found[name] = measure(name)
            display.step(len(found), {})
    return found


def _report(
    plan: Plan, task: Task, points: Mapping[str, list[Point]], counted: Sequence[str], problems: int
) -> dict[str, Any]:
    """Everything but what needs another model, and what it cost."""
    reference = plan.compared.against if plan.compared.against in points else next(iter(points))
    single = points.get("sample", points[reference])[0].cost
    most = max(point.cost for part in points.values() for point in part)
    doubled = [single * 2**power for power in range(64) if single * 2**power <= most * (1 + 1e-9)]
    budgets = sorted({*plan.compared.budgets}) or doubled
    return {
        "model": plan.model,
        "task": plan.task,
        "verifier": identity(task.verifier),
        "problems": len(counted),
        "left_out": problems - len(counted),
        "samples": plan.pooled.samples,
        "chains": plan.chained.count,
        "temperature": plan.sampling.temperature,
        "max_new": plan.sampling.max_new,
        "seed": plan.sampling.seed,
        "confidence": plan.pooled.confidence,
        "reward_model": plan.pooled.reward_model,
        "methods": {
            name: {"about": METHODS[name], "points": [measured.row(point) for point in part]}
            for name, part in points.items()
        },
        "against": reference,
        "budgets": measured.compared(points, budgets, reference),
        "out": plan.out,
    }


def _single(gathered: Gathered, counted: Sequence[str]) -> dict[str, Point]:
    return {
        "greedy": measured.chained("greedy", [gathered.greedy], counted),
        "sample": measured.chained("sampled", [gathered.pool], counted),
    }
