"""The verbs that measure: eval, compare, rejudge. Imports stand inside each verb. Not for: what they do (pipelines)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from burnish.cli.given import (
    Deadline,
    Json,
    MaxNew,
    Options,
    Seed,
    System,
    Temperature,
    Thinking,
    TopK,
    TopP,
    Workers,
    as_options,
    print_result,
)
from burnish.errors import ConfigError

Model = Annotated[str | None, typer.Argument(help="A model folder or hub name; with --endpoint or --answers, none.")]
Tasks = Annotated[list[str] | None, typer.Option(help="A task to measure on, or LABEL=TASK; may be repeated.")]
Samples = Annotated[
    int | None,
    typer.Option(help="Answers for each problem; the largest k, and at least 4, if not given; 1 if greedy.", min=1),
]
Ks = Annotated[
    list[int] | None,
    typer.Option("-k", help="Report pass@k, pass^k and maj@k; may be repeated; 1, 2, 4, ... if not given.", min=1),
]


def evaluate(
    model: Model = None,
    task: Tasks = None,
    options: Options = None,
    problems: Annotated[int, typer.Option("-n", "--problems", help="How many held-out problems of each.", min=1)] = 500,
    samples: Samples = None,
    k: Ks = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new: MaxNew = 256,
    seed: Seed = 1,
    system: System = None,
    thinking: Thinking = None,
    out: Annotated[
        str | None, typer.Option(help="Where answers and report go, and are gone on with; runs/eval/... if not given.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Measure a model served at this OpenAI-compatible URL (ending in /v1).")
    ] = None,
    name: Annotated[str | None, typer.Option("--model", help="With --endpoint: the model's name there.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="With --endpoint: the environment variable that holds the key.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="With --endpoint: requests at a time.", min=1)] = 16,
    timeout: Annotated[
        float, typer.Option(help="With --endpoint: seconds for one answer, with every retry.", min=0.1)
    ] = 600.0,
    answers: Annotated[
        str | None, typer.Option(help="Score the labelled answers of this JSONL file instead of drawing any.")
    ] = None,
    verifier: Annotated[str | None, typer.Option(help="With --answers: who judges; the task's if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model on held-out problems of one task or several; every answer is kept, and nothing is drawn twice."""
    if answers is not None:
        _labelled(answers, verifier, task, options, model or endpoint, out, as_json)
        return
    if verifier is not None:
        raise ConfigError("--verifier has no effect without --answers; to judge stored answers again: burnish rejudge.")
    if not task:
        raise ConfigError("Say what to measure on: --task chain, for one.")
    if endpoint is not None and thinking is not None:
        raise ConfigError("--thinking has no effect with --endpoint, which renders its own prompts; leave it out.")
    count, ks = _counts(samples, k, temperature, endpoint is not None)
    asked, who = _asked(task, options), _who(model, endpoint, name, api_key_env, concurrency, timeout)
    from burnish.pipelines import measure
    from burnish.records import Sampling

    sampling = Sampling(temperature, top_p, top_k, max_new, (), seed)
    report = measure.evaluate(who, asked, problems, count, ks, sampling, system, out, as_json, thinking)
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show import show_evaluation

    show_evaluation(report, measure.quotes(report))


def _who(
    model: str | None, endpoint: str | None, name: str | None, key: str | None, concurrency: int, timeout: float
) -> Any:
    """A model's name, or a model at an endpoint. Raises ConfigError where it is not clear which."""
    if endpoint is None:
        if name is not None or key is not None:
            raise ConfigError("--model and --api-key-env have no effect without --endpoint; name a model folder first.")
        if model is None:
            raise ConfigError("Say what to measure: a model folder, a hub name, or --endpoint URL --model NAME.")
        return model
    if name is None or model is not None:
        raise ConfigError("With --endpoint the model is named by --model NAME, and there is no other.")
    from burnish.pipelines.measure import Remote

    return Remote(endpoint, name, key, concurrency, min(120.0, timeout), timeout)


def _counts(samples: int | None, k: list[int] | None, temperature: float, remote: bool) -> tuple[int, list[int]]:
    """How many answers to each problem, and the ks to report."""
    greedy = temperature == 0 and not remote
    count = samples or (max(1, *k) if k else 1) if greedy else samples or max(4, *(k or [1]))
    if greedy and count > 1:
        raise ConfigError(
            f"At temperature 0 all {count} answers to a problem are the same; ask for --samples 1, or sample with a temperature."
        )
    if k and max(k) > count:
        raise ConfigError(f"pass@{max(k)} needs at least {max(k)} samples for each problem, but --samples is {count}.")
    return count, k or [2**i for i in range(count.bit_length()) if 2**i <= count]


def _asked(tasks: list[str], options: list[str] | None) -> list[Any]:
    """The tasks by label; an option is for the only task, or for the one whose label stands before it: LABEL.key=value."""
    from burnish.pipelines.measure import Asked

    named: dict[str, str] = {}
    for given in tasks:
        label, equals, task = given.partition("=")
        label, task = (label, task) if equals else (given.rpartition(":")[2] or given, given)
        if label in named or not label or label in (".", "..") or "/" in label or label == "rejudged":
            raise ConfigError(f"The task {given!r} needs a label of its own, such as other={task}.")
        named[label] = task
    mine: dict[str, dict[str, Any]] = {label: {} for label in named}
    for option, value in as_options(options).items():
        label, dot, rest = option.partition(".")
        if dot and label in named:
            mine[label][rest] = value
        elif len(named) == 1:
            mine[next(iter(named))][option] = value
        else:
            raise ConfigError(
                f"The option {option!r} does not say which task it is for; write {next(iter(named))}.{option}=... or one of "
                f"{', '.join(named)}."
            )
    return [Asked(label, task, mine[label]) for label, task in named.items()]


def _labelled(
    path: str,
    verifier: str | None,
    task: list[str] | None,
    options: list[str] | None,
    model: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    from burnish.pipelines import labelled

    if model is not None:
        raise ConfigError("With --answers nothing is drawn, so there is no model to name; leave it out.")
    if task and len(task) > 1:
        raise ConfigError("With --answers there is one task at most: the one whose problems the answers are to.")
    if options and not task:
        raise ConfigError("--option has no effect without --task; name the task, or leave the option out.")
    result = labelled.score(path, verifier, task[0] if task else None, as_options(options), out, quiet=as_json)
    print_result(result, as_json, "" if as_json else labelled.page(result))


def compare(
    first: Annotated[str, typer.Argument(help="An evaluation or training run directory: what was before.")],
    second: Annotated[
        str | None, typer.Argument(help="Another; a training run alone is compared with its own beginning.")
    ] = None,
    verifier: Annotated[
        str | None, typer.Option(help="Take the verdicts that burnish rejudge --verifier gave, on both sides.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Where the problems differ, compare on those that both have.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether one is better than the other: paired by problem, with an interval and a sentence to quote."""
    from burnish.pipelines import compare as pipeline

    result = pipeline.compare(first, second, verifier, common)
    print_result(result, as_json, "" if as_json else pipeline.page(result))


def rejudge(
    directory: Annotated[str, typer.Argument(help="An evaluation or training run directory.")],
    verifier: Annotated[str, typer.Option(help="Who judges now: math, number, ..., my.module:attr.")],
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    as_json: Json = False,
) -> None:
    """Judge stored answers with another verifier, and say where the two differ; the original stays as it is."""
    from burnish.pipelines import rejudge as pipeline

    result = pipeline.rejudge(directory, verifier, workers, deadline, quiet=as_json)
    print_result(result, as_json, "" if as_json else pipeline.page(result))
