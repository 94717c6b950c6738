"""Measure a model, here or at an endpoint, on tasks: draw what is missing, keep every answer, report. And watch one answer.

Not for: training, or answers that are there (verify, labelled).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from burnish.chat import Client
from burnish.engine.choice import engine_for
from burnish.engine.choice import notices as engine_notices
from burnish.engine.endpoint import EndpointEngine
from burnish.errors import DataError, EngineError
from burnish.evaluate import page, verifiers
from burnish.evaluate.collect import Answers, collect, opened
from burnish.evaluate.scores import TaskScores
from burnish.journal.files import encode
from burnish.policy.adapters import load as load_policy
from burnish.policy.digest import digest
from burnish.policy.model import tune_allocator
from burnish.prompts import Renderer, Unrendered, check_room, response
from burnish.records import Key, Message, Problem, Request, Rollout, Sampling, Verdict
from burnish.rollout import Engine, Rendering, Sampler
from burnish.run.display import Display
from burnish.run.local import at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.verify import identity, judge, load, readiness
from burnish.verify.pool import Pool

MOST_MISSING = 0.1
"""Share of answers that may be missing before a measurement says no."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One task of an evaluation: `Asked("chain", "chain", {"max_steps": 4})`; the label names its column and its folder."""

    label: str
    task: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remote:
    """A model behind an OpenAI-compatible endpoint; the key is in the environment variable, and nowhere else."""

    url: str
    model: str
    api_key_env: str | None = None
    concurrency: int = 16
    attempt_s: float = 120.0
    deadline_s: float = 600.0


@dataclass(frozen=True)
class _Model:
    """Who answers, ready to."""

    about: dict[str, Any]
    engine: Engine
    renderer: Rendering
    sampling: Sampling
    parameters: int | None
    context: int | None


def evaluate(
    model: str | Remote,
    asked: Sequence[Asked],
    problems: int,
    samples: int,
    ks: Sequence[int],
    sampling: Sampling,
    system: str | None = None,
    out: str | None = None,
    quiet: bool = False,
    thinking: bool | None = None,
) -> dict[str, Any]:
    """Figures of `model` on the first `problems` held-out problems of each task; everything is kept in `out`.

    `sampling` lacks its stop tokens, which are the model's own. `out` may hold an earlier evaluation of the same things, with
    fewer or more problems and samples: what is there is not drawn again. Raises ResumeError where it is of something else.
    """
    tasks = {one.label: load_task(one.task, one.options) for one in asked}
    chosen = {label: task.held_out()[:problems] for label, task in tasks.items()}
    for one in asked:
        if not chosen[one.label]:
            raise DataError(f"The task {one.task!r} has no held-out problems to measure on.")
    notices = {
        label: (*task.notices, *readiness(task.verifier, (problem.reference for problem in chosen[label])))
        for label, task in tasks.items()
    }
    ready = _remote(model, sampling, system) if isinstance(model, Remote) else _local(model, sampling, system, thinking)
    if ready.context is not None:
        for label, task in tasks.items():
            prompts = [ready.renderer.prompt(problem, task.messages(problem)) for problem in chosen[label]]
            check_room(prompts, sampling.max_new, ready.context)
    about = _about(ready, asked, tasks, sampling, {"system": system, "thinking": thinking})
    place = Path(out) if out is not None else _place(about)
    scores: dict[str, dict[str, Any]] = {}
    with opened(place, about):
        for label, task in tasks.items():
            found = _measure(ready, label, task, chosen[label], samples, place / label, quiet, notices[label])
            scores[label] = found.scored(ks)
        report = {
            "out": str(place),
            **about,
            "tasks": {label: about["tasks"][label] | scores[label] for label in scores},
        }
        page.write(place, report)
    _check_enough(report)
    return report


def _measure(
    model: _Model,
    label: str,
    task: Task,
    problems: Sequence[Problem],
    samples: int,
    folder: Path,
    quiet: bool,
    notices: Sequence[str],
) -> TaskScores:
    """Draw what one task lacks, then read back all of it."""
    answers = Answers(folder)
    there = answers.rows(problems, samples)
    total = len(problems) * samples
    columns = (("pass", "right so far", "{:6.1%}"), ("length", "mean length", "{:6.0f}"))
    seen, right = len(there), sum(row.outcome == "right" for row in there)
    tokens = sum(row.tokens or 0 for row in there)
    lost: list[str] = []
    with (
        Pool(task.verifier) as pool,
        Display(f"measuring {label}", total, columns, quiet, done=seen) as display,
    ):
        for notice in (*notices, *engine_notices(model.engine)):
            display.note(notice)
        if there:
            display.note(f"{label}: {seen:,} of {total:,} answers are there already.")
        sampler = Sampler(model.engine, model.renderer, pool, task.messages, model.sampling)

        def tick(rollout: Rollout) -> None:
            nonlocal right, seen, tokens
            seen, right = seen + 1, right + (rollout.verdict.outcome == "right")
            tokens += rollout.length or 0
            if seen % 64 == 0 or seen == total:
                display.step(seen, {"pass": right / seen, "length": tokens / seen})

        collect(sampler, answers, problems, samples, model.sampling, tick)
        if isinstance(model.engine, EndpointEngine):
            lost = model.engine.lost
    return TaskScores(
        *(answers.rows(problems, samples), len(problems), samples, *answers.cost(), model.parameters),
        identity=identity(task.verifier),
        lost=tuple(lost),
    )


def _local(name: str, sampling: Sampling, system: str | None, thinking: bool | None) -> _Model:
    tune_allocator()
    policy = load_policy(name)
    about = {"path": name, "weights": digest(name), "parameters": policy.parameters}
    renderer = Renderer(policy.tokenizer, system, thinking=thinking)
    drawn = at_rest(replace(sampling, stop_ids=renderer.stop_ids(policy.stop_ids)), sampling.seed)
    return _Model(about, engine_for(policy), renderer, drawn, policy.parameters, policy.context)


def _remote(remote: Remote, sampling: Sampling, system: str | None) -> _Model:
    client = Client(
        *(remote.url, "the endpoint", remote.api_key_env, remote.attempt_s),
        concurrency=remote.concurrency,
        longest_reply=16 << 20,
        thoughts=True,
    )
    about = {"endpoint": client.url, "name": remote.model, "text_only": True}
    engine = EndpointEngine(client, remote.model, remote.deadline_s)
    return _Model(about, engine, Unrendered(system), at_rest(sampling, sampling.seed), None, None)


def _about(
    model: _Model, asked: Sequence[Asked], tasks: Mapping[str, Task], sampling: Sampling, shown: Mapping[str, Any]
) -> dict[str, Any]:
    """What an evaluation is of: everything that decides an answer or its verdict, but for how many there are."""
    drawn = {name: value for name, value in asdict(sampling).items() if name != "stop_ids"}
    return {
        "model": model.about,
        "sampling": drawn,
        **shown,
        "tasks": {
            one.label: {"task": one.task, "options": dict(one.options), "verifier": identity(tasks[one.label].verifier)}
            for one in asked
        },
    }


def _place(about: Mapping[str, Any]) -> Path:
    """runs/eval/NAME-DIGEST: the same model, measured the same way, is gone on with; tasks and counts may grow."""
    model = about["model"]
    given = str(model.get("path") or model["name"])
    name = "-".join(part for part in Path(given).parts if part not in ("/", ".", "..", "~"))[-60:]
    same = {
        "model": {k: v for k, v in model.items() if k != "path"},
        **{k: about[k] for k in ("sampling", "system", "thinking")},
    }
    mark = hashlib.blake2b(encode([same, about["tasks"]]).encode(), digest_size=4).hexdigest()
    return Path("runs/eval") / f"{name or 'model'}-{mark}"


def quotes(report: Mapping[str, Any]) -> list[str]:
    """What a person may quote, and what to know first: a sentence each."""
    greedy, name = report["sampling"]["temperature"] == 0, page.name_of(report["model"])
    found = []
    for label, one in report["tasks"].items():
        found += [page.sentence(label, one, name, greedy), *one["notes"]]
        found += verifiers.sentences(one["verifier"], one["verifier_rates"])
    return list(dict.fromkeys(found))


def _check_enough(report: Mapping[str, Any]) -> None:
    for label, one in report["tasks"].items():
        if one["missing"] > MOST_MISSING * one["problems"] * one["samples"]:
            why = f" The last: {one['lost'][-1]}." if one["lost"] else ""
            raise EngineError(
                f"{one['missing']:,} of {one['problems'] * one['samples']:,} answers to {label} did not come, so its figures stand on "
                f"the others alone.{why} What came is in {report['out']}; give the same command again to ask for the rest."
            )
        if not one["figures"]:
            raise DataError(
                f"None of the {one['answers']:,} answers to {label} got a verdict; mend the verifier first ({report['out']})."
            )


def sample(
    model: str,
    question: str,
    task_name: str | None,
    options: Mapping[str, Any],
    answer: str | None,
    sampling: Sampling,
    system: str | None,
    show: Callable[[str], None],
    thinking: bool | None = None,
) -> tuple[str, Verdict | None]:
    """Draw one answer, handing its text to `show` piece by piece; the verdict is None where nobody knows the right answer."""
    task = load_task(task_name, options) if task_name is not None else None
    problem = _problem(question, task, answer)
    policy = load_policy(model)
    messages = task.messages(problem) if task is not None else (Message("user", question),)
    renderer = Renderer(policy.tokenizer, system, thinking=thinking)
    prompt, stops = renderer.prompt(problem, messages), renderer.stop_ids(policy.stop_ids)
    check_room([prompt], sampling.max_new, policy.context)
    ids: list[int] = []
    shown = ""

    def stream(_: Key, token: int) -> None:
        nonlocal shown
        if token not in stops:
            ids.append(token)
        text = policy.tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # half of a character
            show(text[len(shown) :])
            shown = text

    request = Request(Key(problem.id, 0), prompt, replace(sampling, stop_ids=stops))
    completion = next(iter(engine_for(policy, rows=1).generate([request], on_token=stream)))
    show(completion.text[len(shown) :])
    if not problem.reference:
        return completion.text, None
    verifier = task.verifier if task is not None else "number"
    return completion.text, judge(load(verifier), problem, response(prompt, completion.text))


def _problem(question: str, task: Task | None, answer: str | None) -> Problem:
    reference: Mapping[str, Any] = {}
    if answer is not None:
        reference = {"answer": answer}
    elif task is not None:
        ask = getattr(task, "ask", None)
        found = ask(question) if ask is not None else next((p for p in task.held_out() if p.question == question), None)
        if found is not None:
            return found
    return Problem("asked/0", "asked", question, reference, "asked", "")
