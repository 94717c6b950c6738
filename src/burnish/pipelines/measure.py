"""Measure a model on a task, sample one answer and watch it. Not for: training, or answers that are there (verify)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from burnish.engine.choice import engine_for, notices
from burnish.errors import DataError
from burnish.evaluate import harness
from burnish.policy.adapters import load as load_policy
from burnish.policy.model import tune_allocator
from burnish.prompts import Renderer, check_room, response
from burnish.records import Key, Message, Problem, Request, Sampling, Verdict
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.verify import identity, judge, load
from burnish.verify.pool import Pool


def evaluate(
    model: str,
    task_name: str,
    options: Mapping[str, Any],
    problems: int,
    samples: int,
    ks: Sequence[int],
    sampling: Sampling,
    system: str | None = None,
    quiet: bool = False,
    thinking: bool | None = None,
) -> dict[str, Any]:
    """Figures of `model` on the first `problems` held-out problems; `sampling` lacks its stop tokens, which are the model's own."""
    task = load_task(task_name, options)
    chosen = task.held_out()[:problems]
    if not chosen:
        raise DataError(f"The task {task_name!r} has no held-out problems to measure on.")
    tune_allocator()
    policy = load_policy(model)
    renderer = Renderer(policy.tokenizer, system, thinking=thinking)
    prompts = [renderer.prompt(problem, task.messages(problem)) for problem in chosen]
    check_room(prompts, sampling.max_new, policy.context)
    total = len(chosen) * samples
    with (
        Pool(task.verifier) as pool,
        Display("measuring", total, (("pass", "right so far", "{:6.1%}"),), quiet) as display,
    ):
        engine = engine_for(policy)
        for notice in notices(engine):
            display.note(notice)
        sampler = Sampler(engine, renderer, pool, task.messages, sampling)
        right = seen = 0

        def tick(rollout: Any) -> None:
            nonlocal right, seen
            seen, right = seen + 1, right + (rollout.verdict.outcome == "right")
            if seen % 64 == 0 or seen == total:
                display.step(seen, {"pass": right / seen})

        drawn = at_rest(replace(sampling, stop_ids=renderer.stop_ids(policy.stop_ids)), sampling.seed)
        report, _ = harness.evaluate(sampler, chosen, samples, ks, drawn, tick)
    return {"model": model, "verifier": identity(task.verifier), **harness.as_json(report)}


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
