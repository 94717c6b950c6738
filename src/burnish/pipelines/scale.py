"""Inference-time scaling: what votes, choices, second looks and longer thoughts buy, at equal numbers of tokens generated.

Nearly everything is computed from one pool of answers to each problem (burnish.evaluate.scaling). Not for: training on them, or
drawing them (burnish.pipelines.draws).
"""

from __future__ import annotations

import difflib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low as median
from typing import Any

from burnish.engine.embedded import EmbeddedEngine
from burnish.errors import ConfigError, DataError, InputError, ModelError, ResumeError
from burnish.evaluate import methods as measured
from burnish.evaluate.methods import METHODS, WITH_REWARD_MODEL
from burnish.evaluate.scaling import Point
from burnish.journal.files import encode, storage_error, write_atomic
from burnish.journal.scaling import markdown, plot_scaling
from burnish.learner.critic import REWARD_PART, annotated
from burnish.pipelines.draws import MEND, WAIT, Drawn, Draws
from burnish.pipelines.rows import encoder
from burnish.policy.heads import Scorer, load_scorer
from burnish.policy.model import Policy, tune_allocator, weights_mark
from burnish.policy.model import load as load_policy
from burnish.prompts import Renderer, check_room
from burnish.records import Key, Problem, Sampling
from burnish.rollout import Sampler
from burnish.run.local import at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.verify import identity
from burnish.verify.pool import Pool


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    sampling    without stop tokens, which are the model's own; its temperature is above 0
    methods     none: all that are possible
    ns          how many answers are voted or chosen among; none: 1, 2, 3, 4, 6, 8, 12, ... up to the pool
    chains      answers of each problem that are mended or forced
    budgets     mean tokens a problem at which methods are compared; none: 1, 2, 4, ... answers' worth
    thoughts    tokens after which a thought is ended; none: one, two and three quarters of the median thought
    """

    model: str
    task: str
    options: Mapping[str, Any]
    out: str
    sampling: Sampling
    methods: tuple[str, ...] = ()
    problems: int = 200
    samples: int = 32
    ns: tuple[int, ...] = ()
    chains: int = 4
    budgets: tuple[float, ...] = ()
    against: str = "vote"
    reward_model: str | None = None
    rounds: int = 2
    ask: str = MEND
    thoughts: tuple[int, ...] = ()
    waits: int = 2
    wait: str = WAIT
    confidence: float = 0.95
    beside: str | None = None
    system: str | None = None
    workers: int = 2
    deadline_s: float = 5.0

    @property
    def counts(self) -> tuple[int, ...]:
        """How many answers are voted or chosen among."""
        steps = [base << power for power in range(self.samples.bit_length()) for base in (1, 3)]
        return tuple(sorted({*self.ns} or {1, self.samples, *(n for n in steps if n <= self.samples)}))


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
    other = load_policy(plan.beside) if plan.beside is not None else None
    scorer = load_scorer(plan.reward_model) if plan.reward_model is not None else None
    notices: list[str] = []
    methods = _possible(plan, problems, notices)
    scored_with = _reader(policy, scorer, notices)
    place = Path(plan.out)
    _check_room(plan, task, problems, [policy, *([other] if other is not None else [])])
    _begin(place, _source(plan, task, policy), resume)
    with Pool(task.verifier, plan.workers, plan.deadline_s) as judges:
        draws = [_draws(plan, task, problems, policy, judges, place, quiet)]
        gathered = _gather(plan, methods, draws[0], notices)
        beside = None
        if other is not None:
            marked = place / f"beside_{weights_mark(other)[:8]}"
            draws.append(_draws(plan, task, problems, other, judges, marked, quiet))
            beside = Gathered(draws[1].pool(plan.chains), draws[1].greedy())
    if scorer is not None:
        groups = annotated(scorer, list(gathered.pool.values()), scored_with)
        gathered.pool = dict(zip(gathered.pool, groups, strict=True))
    counted = _counted(problems, [*gathered.parts(), *(beside.parts() if beside is not None else [])], notices)
    points = _points(plan, methods, gathered, counted)
    report = _report(plan, task, points, counted, len(problems))
    if beside is not None:
        report["beside"] = {"model": plan.beside, **measured.beside(_single(beside, counted), points)}
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


def check(plan: Plan) -> None:
    """Raises ConfigError for what cannot be, before anything is loaded."""
    for name in (*plan.methods, plan.against):
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}" if near else f"there are {', '.join(METHODS)}"
            raise ConfigError(f"There is no method {name!r}; {hint}.")
    if plan.methods and plan.against not in plan.methods:
        raise ConfigError(
            f"Methods are compared with {plan.against}, which is not among those asked for; add --method {plan.against}, or name "
            "another with --against."
        )
    if over := [n for n in plan.ns if n > plan.samples]:
        raise ConfigError(
            f"-k {over[0]} needs at least {over[0]} answers to each problem, but --samples is {plan.samples}."
        )
    if plan.chains > plan.samples:
        raise ConfigError(
            f"--chains {plan.chains} is more than the pool of --samples {plan.samples} answers to each problem."
        )
    if plan.sampling.temperature == 0.0:
        raise ConfigError(
            "At temperature 0 all answers to a problem are the same; sample the pool at a temperature above 0."
        )
    if not 0.5 < plan.confidence < 1.0:
        raise ConfigError(f"--confidence is {plan.confidence}, but must lie between 0.5 and 1.")
    if plan.reward_model is None and (asked := [name for name in plan.methods if name in WITH_REWARD_MODEL]):
        raise ConfigError(f"{asked[0]} needs a reward model; name one with --reward-model (burnish rm makes them).")
    if plan.reward_model is not None and plan.methods and not set(plan.methods) & set(WITH_REWARD_MODEL):
        raise ConfigError(f"--reward-model has no effect without {' or '.join(WITH_REWARD_MODEL)}.")


def _problems(plan: Plan) -> tuple[Task, list[Problem]]:
    task = load_task(plan.task, plan.options)
    problems = list(task.held_out()[: plan.problems])
    if not problems:
        raise DataError(f"The task {plan.task!r} has no held-out problems to measure on.")
    return task, problems


def _possible(plan: Plan, problems: Sequence[Problem], notices: list[str]) -> list[str]:
    """The methods to measure; those that cannot be are left out with a notice, or refused where they were asked for."""
    methods = [name for name in METHODS if name in (plan.methods or METHODS)]
    if plan.reward_model is None:
        methods = [name for name in methods if name not in WITH_REWARD_MODEL]
    if "best_verifier" in methods and not all(problem.reference for problem in problems):
        sentence = f"best_verifier needs gold answers, and the held-out problems of {plan.task!r} have none."
        if plan.methods:
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


def _check_room(plan: Plan, task: Task, problems: Sequence[Problem], policies: Sequence[Policy]) -> None:
    """Before anything is written: the prompts and one answer fit each model."""
    for policy in policies:
        renderer = Renderer(policy.tokenizer, plan.system)
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
        "system": plan.system,
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
        before, now = json.loads(note.read_text()), json.loads(text)
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
    sampling = at_rest(replace(plan.sampling, stop_ids=policy.stop_ids), plan.sampling.seed)
    sampler = Sampler(EmbeddedEngine(policy), Renderer(policy.tokenizer, plan.system), judges, task.messages, sampling)
    return Draws(sampler, problems, policy.context, place, quiet)


def _gather(plan: Plan, methods: list[str], draws: Draws, notices: list[str]) -> Gathered:
    """All answers that the methods need. A method that turns out to be impossible leaves `methods`, or raises if asked for."""
    gathered = Gathered(draws.pool(plan.samples))
    _check_budgets(plan, gathered.pool)
    first = {key: group for key, group in gathered.pool.items() if key.index < plan.chains}
    if "greedy" in methods:
        gathered.greedy = draws.greedy()
    kinds: dict[str, Callable[[], list[tuple[str, Drawn]]]] = {
        "mended": lambda: _mended(plan, draws, first),
        "forced": lambda: _forced(plan, draws, first),
        "thinking": lambda: [("opened", draws.thinking(plan.chains))],
    }
    for name, draw in kinds.items():
        if name not in methods:
            continue
        try:
            gathered.series[name] = draw()
        except InputError as error:
            if plan.methods:
                raise type(error)(f"{name}: {error}") from error
            notices.append(f"{name} is left out: {error}")
            methods.remove(name)
    return gathered


def _check_budgets(plan: Plan, pool: Drawn) -> None:
    """Raises ConfigError for a budget that no sampled answer fits; what was sampled is kept."""
    one = math.fsum(measured.spent(group) for group in pool.values()) / len(pool)
    if plan.budgets and min(plan.budgets) < one:
        raise ConfigError(
            f"A budget of {min(plan.budgets):g} tokens is smaller than one answer, which takes {one:.1f} on average here; give at "
            f"least {math.ceil(one)} (what was sampled is kept: go on with --resume)."
        )


def _mended(plan: Plan, draws: Draws, first: Drawn) -> list[tuple[str, Drawn]]:
    steps = [("first answer", first)]
    for turn in range(1, plan.rounds + 1):
        steps.append((f"{turn} round{'s' if turn > 1 else ''}", draws.mended(steps[-1][1], turn, plan.ask)))
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
        (f"thought cut at {limit}", draws.cut(first, limit, opener)) for limit in sorted({*plan.thoughts} or quarters)
    ]
    steps.append(("as it is", first))
    for turn in range(1, plan.waits + 1):
        steps.append((f"{turn} wait{'s' if turn > 1 else ''}", draws.waited(steps[-1][1], turn, plan.wait)))
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


def _points(plan: Plan, methods: Sequence[str], gathered: Gathered, counted: Sequence[str]) -> dict[str, list[Point]]:
    """The points of every method, in the order of METHODS."""
    ones = {
        name: measured.One.of([gathered.pool[Key(name, i)] for i in range(plan.samples)], REWARD_PART)
        for name in counted
    }
    found: dict[str, list[Point]] = {}
    for name in methods:
        if name == "greedy":
            found[name] = [measured.chained("greedy", [gathered.greedy], counted)]
        elif name == "sample":
            found[name] = measured.pooled("vote", [1], ones)
        elif name in gathered.series:
            found[name] = measured.series(name, gathered.series[name], counted)
        else:
            found[name] = measured.pooled(name, plan.counts, ones, plan.confidence)
    return found


def _report(
    plan: Plan, task: Task, points: Mapping[str, list[Point]], counted: Sequence[str], problems: int
) -> dict[str, Any]:
    """Everything but what needs another model, and what it cost."""
    reference = plan.against if plan.against in points else next(iter(points))
    single = points.get("sample", points[reference])[0].cost
    most = max(point.cost for part in points.values() for point in part)
    doubled = [single * 2**power for power in range(64) if single * 2**power <= most * (1 + 1e-9)]
    budgets = sorted({*plan.budgets}) or doubled
    return {
        "model": plan.model,
        "task": plan.task,
        "verifier": identity(task.verifier),
        "problems": len(counted),
        "left_out": problems - len(counted),
        "samples": plan.samples,
        "chains": plan.chains,
        "temperature": plan.sampling.temperature,
        "max_new": plan.sampling.max_new,
        "seed": plan.sampling.seed,
        "confidence": plan.confidence,
        "reward_model": plan.reward_model,
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
