"""Measure a model on a task, sample one answer and watch it, judge given answers. Not for: training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.engine.embedded import EmbeddedEngine
from burnish.errors import DataError
from burnish.evaluate import harness
from burnish.policy.model import load as load_policy
from burnish.policy.model import tune_allocator
from burnish.prompts import Renderer, check_room, response
from burnish.records import Key, Message, Problem, Request, Sampling, Verdict
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import at_rest
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.tasks.files import read_rows
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
) -> dict[str, Any]:
    """Figures of `model` on the first `problems` held-out problems; `sampling` lacks its stop tokens, which are the model's own."""
    task = load_task(task_name, options)
    chosen = task.held_out()[:problems]
    if not chosen:
        raise DataError(f"The task {task_name!r} has no held-out problems to measure on.")
    tune_allocator()
    policy = load_policy(model)
    renderer = Renderer(policy.tokenizer, system)
    prompts = [renderer.prompt(problem, task.messages(problem)) for problem in chosen]
    check_room(prompts, sampling.max_new, policy.context)
    total = len(chosen) * samples
    with (
        Pool(task.verifier) as pool,
        Display("measuring", total, (("pass", "right so far", "{:6.1%}"),), quiet) as display,
    ):
        sampler = Sampler(EmbeddedEngine(policy), renderer, pool, task.messages, sampling)
        right = seen = 0

        def tick(rollout: Any) -> None:
            nonlocal right, seen
            seen, right = seen + 1, right + (rollout.verdict.outcome == "right")
            if seen % 64 == 0 or seen == total:
                display.step(seen, {"pass": right / seen})

        drawn = at_rest(replace(sampling, stop_ids=policy.stop_ids), sampling.seed)
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
) -> tuple[str, Verdict | None]:
    """Draw one answer, handing its text to `show` piece by piece; the verdict is None where nobody knows the right answer."""
    task = load_task(task_name, options) if task_name is not None else None
    problem = _problem(question, task, answer)
    policy = load_policy(model)
    messages = task.messages(problem) if task is not None else (Message("user", question),)
    prompt = Renderer(policy.tokenizer, system).prompt(problem, messages)
    check_room([prompt], sampling.max_new, policy.context)
    ids: list[int] = []
    shown = ""

    def stream(_: Key, token: int) -> None:
        nonlocal shown
        if token not in policy.stop_ids:
            ids.append(token)
        text = policy.tokenizer.decode(ids, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # half of a character
            show(text[len(shown) :])
            shown = text

    request = Request(Key(problem.id, 0), prompt, replace(sampling, stop_ids=policy.stop_ids))
    completion = next(iter(EmbeddedEngine(policy, rows=1).generate([request], on_token=stream)))
    show(completion.text[len(shown) :])
    if not problem.reference:
        return completion.text, None
    verifier = task.verifier if task is not None else "number"
    return completion.text, judge(load(verifier), problem, response(prompt, completion.text))


def judge_file(
    path: str, task_name: str | None, verifier: str | None, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Each row of a JSONL file with its verdict: outcome, score, found, why, fault.

    A row holds `response` (a whole completion) or `answer` (bare), and what is right: `reference` (what the verifier takes), `gold`
    (one answer), `numbers`/`nums` and `target` (countdown), or `problem_id` (of the task's held-out or training problems).
    """
    task = load_task(task_name, options) if task_name is not None else None
    name = verifier or (task.verifier if task is not None else "number")
    known: dict[str, Problem] | None = None
    rows = list(read_rows(path))
    items = []
    for number, (place, row) in enumerate(rows):
        if "problem_id" in row and task is not None:
            known = {problem.id: problem for problem in _all(task)} if known is None else known
            if row["problem_id"] not in known:
                raise DataError(f"{place}: the task {task_name!r} has no problem {row['problem_id']!r}.")
            reference = known[row["problem_id"]].reference
        else:
            reference = _reference(row, place)
        problem = Problem(place, task_name or name, "", reference, "given", str(number))
        items.append((Key(place, 0), problem, _said(row, name, place)))
    with Pool(name) as pool:
        verdicts = dict(pool.judge(items))
    for (_, row), (key, _, _) in zip(rows, items, strict=True):
        verdict = verdicts[key]
        yield {
            **row,
            "outcome": verdict.outcome,
            "score": verdict.score,
            "found": verdict.found,
            "why": verdict.why,
            "fault": verdict.fault,
        }


def _said(row: Mapping[str, Any], verifier: str, place: str) -> str:
    """The response to judge; a bare answer is put into the format that the verifier asks for."""
    if isinstance(row.get("response"), str):
        return str(row["response"])
    answer = row.get("answer")
    if row.get("response") is not None or isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise DataError(
            f"{place} holds neither a response (text) nor an answer (text or a number), so there is nothing to judge; it has "
            f"{', '.join(map(str, row)) or 'no field'}."
        )
    return (
        f"<think>given</think><answer>{answer}</answer>" if verifier in ("tagged_number", "countdown") else str(answer)
    )


def _reference(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    if isinstance(row.get("reference"), Mapping):
        return dict(row["reference"])
    if row.get("gold") is not None:
        return {"answer": row["gold"]}
    numbers = row.get("numbers", row.get("nums"))
    if row.get("target") is not None and isinstance(numbers, list):
        return {"numbers": numbers, "target": row["target"]}
    raise DataError(
        f"{place} does not say what is right: give gold, or reference, or numbers and target, or problem_id with --task; it has "
        f"{', '.join(map(str, row)) or 'no field'}."
    )


def _all(task: Task) -> list[Problem]:
    train = task.train(0).take(task.train_size) if task.train_size else []
    return [*task.held_out(), *train]


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


def as_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Rows as JSON lines."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def write_lines(rows: Iterator[dict[str, Any]], out: Path) -> dict[str, int]:
    """Write judged rows whole; returns how often each outcome came."""
    from burnish.journal.files import write_atomic

    counts = {"right": 0, "wrong": 0, "no_verdict": 0}
    lines = []
    for row in rows:
        counts[row["outcome"]] += 1
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_atomic(out, "".join(lines))
    return counts
