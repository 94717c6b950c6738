"""The verb that measures this machine: bench. Not for: measuring a model (eval)."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from burnish.cli.given import Json, Options, as_options, print_result

READING = (
    "'at limit' is the least time the part could take on this machine: what it must compute or read at the least, at the speeds of the "
    "first table. The last column says which of them it is.",
    "'reached' is that time over the time it took. A part with a large share and little reached is where there is something to win.",
    "Verifying runs in other processes while the model samples; its line is what is left to wait for afterwards.",
    "Over 100% means that the data lay in a nearer cache than the one its ceiling was measured in.",
)


def bench(
    model: Annotated[
        str | None, typer.Argument(help="A model folder or hub name; none: the demo's shape with random weights.")
    ] = None,
    task: Annotated[str, typer.Option(help="The task whose problems are sampled.")] = "chain",
    options: Options = None,
    problems: Annotated[int, typer.Option("-n", "--problems", help="Problems a step.", min=1)] = 64,
    samples: Annotated[int, typer.Option(help="Answers for each problem.", min=2)] = 8,
    max_new: Annotated[int, typer.Option(help="Most tokens in one answer.", min=2)] = 96,
    repeats: Annotated[int, typer.Option(help="Steps that are timed; the medians are shown.", min=1)] = 3,
    threads: Annotated[int | None, typer.Option(help="Threads of this process; all cores if not given.", min=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small step, once, in well under a minute.")] = False,
    as_json: Json = False,
) -> None:
    """Show what this machine can do at most, and where the time of a training step goes."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # torch's profiler says on standard error when it starts
    from burnish.pipelines import bench as pipeline
    from burnish.pipelines.stopwatch import Size

    size = Size(problems, samples, max_new, repeats)
    result = pipeline.bench(model, task, as_options(options), size, threads=threads, quick=quick, quiet=as_json)
    if as_json:
        print_result(result, True, "")
    else:
        show_bench(result)


def show_bench(result: dict[str, Any]) -> None:
    """The ceilings, then the step, then what to make of it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    machine, step, reached = result["machine"], result["step"], result["products"]
    ceilings = Table(title="what this machine can do at most")
    for heading in ("", "shape", "at most"):
        ceilings.add_column(heading, justify="left" if not heading else "right")
    for one in machine["products"]:
        shape = f"[{one['rows']} x {one['inner']}] x [{one['inner']} x {one['outer']}]"
        shape = shape.replace("[", r"\[")
        ceilings.add_row(f"matrix product, {one['dtype']}", shape, f"{one['tflops']:.3f} TFLOP/s")
    for one in machine["bandwidth"]:
        ceilings.add_row("reading memory", f"{one['mib']} MiB again and again", f"{one['gb_per_second']:.1f} GB/s")
    console.print(ceilings)
    console.print(
        f"\nOne step of {result['model']} ({result['parameters'] / 1e6:.1f} M weights, products in {result['compute']}, "
        f"{result['threads']} threads):\n{step['problems']} problems x {step['samples']} samples, {step['tokens_sampled']:,} tokens "
        f"sampled; medians of {step['repeats']}.",
        soft_wrap=True,
    )
    table = Table(title="where its time goes")
    for heading in ("part", "seconds", "share", "at limit", "reached", "the limit"):
        table.add_column(heading, justify="left" if heading in ("part", "the limit") else "right", no_wrap=True)
    for part in result["parts"]:
        table.add_row(*_cells(part, ""), style="bold" if part["inside"] else "")
        for one in part["inside"]:
            table.add_row(*_cells(one, "  "))
    table.add_row("the whole step", f"{step['seconds']:.4f}", "100%", "", "", "", end_section=True)
    console.print(table)
    for name, one in reached.items():
        console.print(
            f"Matrix products of {name}: {one['while_running']:.0%} of their ceiling while they run, {one['of_the_whole']:.0%} over "
            "the whole of it.",
            soft_wrap=True,
        )
    console.print("\nHow to read it:")
    for line in READING:
        console.print(f"- {line}")


def _cells(part: dict[str, Any], indent: str) -> tuple[str, ...]:
    limit, reached = part["seconds_at_limit"], part["reached"]
    return (
        f"{indent}{part['part']}",
        f"{part['seconds']:.4f}",
        f"{part['share']:.1%}",
        "" if limit is None else f"{limit:.4f}",
        "" if reached is None else f"{reached:.0%}",
        part["bound"],
    )
