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
    Thinking,
    TopK,
    TopP,
    Workers,
    as_options,
    print_result,
)

Model = Annotated[str, typer.Argument(help="A model folder or hub name.")]
TaskName = Annotated[str, typer.Option("--task", help="The task to measure on.")]
Out = Annotated[str | None, typer.Option(help="Where to write and to keep the answers; runs/scale if free.")]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="Measure this method; may be repeated. All that are possible if none."),
]
Problems = Annotated[int, typer.Option("-n", "--problems", help="How many held-out problems.", min=1)]
Samples = Annotated[int, typer.Option(help="The pool: sampled answers to each problem.", min=1)]
Counts = Annotated[
    list[int] | None,
    typer.Option("-k", help="Vote or choose among this many; may be repeated. 1, 2, 3, 4, 6, 8, ... if none.", min=1),
]
Budgets = Annotated[
    list[float] | None,
    typer.Option(
        "--budget", help="Compare at this many tokens a problem; may be repeated. 1, 2, 4, ... answers if none.", min=1
    ),
]
Against = Annotated[str, typer.Option(help="The method that all others are compared with.")]
RewardModel = Annotated[str | None, typer.Option(help="A reward model to choose and to weigh votes by.")]
Chains = Annotated[int, typer.Option(help="Answers to each problem that are mended, forced or set beside.", min=1)]
Rounds = Annotated[int, typer.Option(help="How often an answer is shown to the model to be mended.", min=1)]
Ask = Annotated[str | None, typer.Option(help="What the model is asked then.")]
Think = Annotated[
    list[int] | None,
    typer.Option(
        help="End the thought after this many tokens; may be repeated. Quarters of the median if none.", min=1
    ),
]
Waits = Annotated[int, typer.Option(help="How often the end of the thought is taken back.", min=0)]
Wait = Annotated[str, typer.Option(help="What is written in its place.")]
Confidence = Annotated[float, typer.Option(help="vote_sure stops when the leader is the likelier answer this surely.")]
Beside = Annotated[str | None, typer.Option(help="Set another model's single answers beside them.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the answers that are kept in --out.")]
Warmth = Annotated[float, typer.Option(help="Temperature of the pool, above 0.", min=0.0)]


def scale(
    model: Model,
    task: TaskName,
    options: Options = None,
    out: Out = None,
    methods: Methods = None,
    problems: Problems = 200,
    samples: Samples = 32,
    k: Counts = None,
    budgets: Budgets = None,
    against: Against = "vote",
    reward_model: RewardModel = None,
    chains: Chains = 4,
    rounds: Rounds = 2,
    ask: Ask = None,
    think: Think = None,
    waits: Waits = 2,
    wait: Wait = "Wait",
    confidence: Confidence = 0.95,
    beside: Beside = None,
    resume: Resume = False,
    temperature: Warmth = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new: MaxNew = 256,
    seed: Seed = 1,
    system: System = None,
    thinking: Thinking = None,
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    as_json: Json = False,
) -> None:
    """Measure accuracy against tokens: votes, best of n, second looks, longer thoughts."""
    from burnish.pipelines import demo
    from burnish.pipelines import scale as pipeline
    from burnish.pipelines import scale_plan as asked
    from burnish.records import Sampling

    place = out or ("runs/scale" if resume else demo.free_place(name="scale"))
    sampling = Sampling(temperature, top_p, top_k, max_new, (), seed)
    pooled = asked.Pooled(problems, samples, tuple(k or ()), reward_model, confidence)
    chained = asked.Chained(chains, rounds, ask or asked.MEND, tuple(think or ()), waits, wait)
    compared = asked.Compared(tuple(methods or ()), tuple(budgets or ()), against, beside)
    judged = asked.Judged(system, workers, deadline, thinking)
    plan = asked.Plan(model, task, as_options(options), place, sampling, pooled, chained, compared, judged)
    report = pipeline.scale(plan, resume, quiet=as_json)
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show import show_scaling

    show_scaling(report)
