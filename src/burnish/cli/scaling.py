"""The verb that measures what more tokens at inference buy. Imports stand inside it. Not for: what it does (pipelines)."""

from __future__ import annotations

from typing import Annotated

import typer

from burnish.cli.given import (
    Deadline,
    Json,
    MaxNew,
    Options,
    Seed,
    System,
    TopK,
    TopP,
    Workers,
    as_options,
    print_result,
)


def scale(
    model: Annotated[str, typer.Argument(help="A model folder or hub name.")],
    task: Annotated[str, typer.Option(help="The task to measure on.")],
    options: Options = None,
    out: Annotated[str | None, typer.Option(help="Where to write and to keep the answers; runs/scale if free.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Measure this method; may be repeated. All that are possible if not given.")
    ] = None,
    problems: Annotated[int, typer.Option("-n", "--problems", help="How many held-out problems.", min=1)] = 200,
    samples: Annotated[int, typer.Option(help="The pool: sampled answers to each problem.", min=1)] = 32,
    k: Annotated[
        list[int] | None,
        typer.Option(
            "-k", help="Vote or choose among this many; may be repeated. 1, 2, 3, 4, 6, 8, ... if not given.", min=1
        ),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            help="Compare at this many tokens a problem; may be repeated. 1, 2, 4, ... answers' worth if not given.",
            min=1,
        ),
    ] = None,
    against: Annotated[str, typer.Option(help="The method that all others are compared with.")] = "vote",
    reward_model: Annotated[str | None, typer.Option(help="A reward model to choose and to weigh votes by.")] = None,
    chains: Annotated[int, typer.Option(help="Answers to each problem that are mended or forced.", min=1)] = 4,
    rounds: Annotated[int, typer.Option(help="How often an answer is shown to the model to be mended.", min=1)] = 2,
    ask: Annotated[str | None, typer.Option(help="What the model is asked then.")] = None,
    think: Annotated[
        list[int] | None,
        typer.Option(
            help="End the thought after this many tokens; may be repeated. Quarters of the median if not given.", min=1
        ),
    ] = None,
    waits: Annotated[int, typer.Option(help="How often the end of the thought is taken back.", min=0)] = 2,
    wait: Annotated[str, typer.Option(help="What is written in its place.")] = "Wait",
    confidence: Annotated[float, typer.Option(help="vote_sure stops at this probability of the leader.")] = 0.95,
    beside: Annotated[str | None, typer.Option(help="Set another model's single answers beside them.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the answers that are kept in --out.")] = False,
    temperature: Annotated[float, typer.Option(help="Of the pool.", min=0.0)] = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new: MaxNew = 256,
    seed: Seed = 1,
    system: System = None,
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    as_json: Json = False,
) -> None:
    """Measure accuracy against tokens: votes, best of n, second looks, longer thoughts."""
    from burnish.pipelines import demo, draws
    from burnish.pipelines import scale as pipeline
    from burnish.records import Sampling

    plan = pipeline.Plan(
        model,
        task,
        as_options(options),
        out or ("runs/scale" if resume else demo.free_place(name="scale")),
        Sampling(temperature, top_p, top_k, max_new, (), seed),
        tuple(method or ()),
        problems,
        samples,
        tuple(k or ()),
        chains,
        tuple(budget or ()),
        against,
        reward_model,
        rounds,
        ask or draws.MEND,
        tuple(think or ()),
        waits,
        wait,
        confidence,
        beside,
        system,
        workers,
        deadline,
    )
    report = pipeline.scale(plan, resume, quiet=as_json)
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show import show_scaling

    show_scaling(report)
