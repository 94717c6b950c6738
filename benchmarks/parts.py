"""Where a step's time goes for the shapes T, S and M: what `burnish bench` measures, on random weights, as the page takes it.

    python benchmarks/parts.py --shape S [--quick] [--json]
    python benchmarks/parts.py --model runs/demo/run/final

The model is made and saved, then `burnish bench` runs on it as on anybody's. M takes a smaller step, as its own would take half an hour.
Not for: comparing with others (sampling.py, step.py, learner.py).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # torch's profiler says on standard error when it starts

import torch

from burnish.pipelines.bench import bench
from burnish.pipelines.stopwatch import Size
from report import command_of, heading, machine, options, publish, say, shortened, table
from shapes import SHAPES, made

SIZES = {"T": Size(64, 8, 96, 5), "S": Size(64, 8, 96, 3), "M": Size(4, 8, 48, 2)}


def cells_of(part: dict[str, Any], inside: bool = False) -> list[tuple[str, ...]]:
    """The table's lines of a part: its own, then those of its kinds of work."""
    limit, reached = part["seconds_at_limit"], part["reached"]
    name = f"&nbsp;&nbsp;{part['part']}" if inside else f"**{part['part']}**"
    own = (
        name,
        f"{part['seconds']:.4f}",
        f"{part['share']:.1%}",
        "" if limit is None else f"{limit:.4f}",
        "" if reached is None else f"{reached:.0%}",
        part["bound"],
    )
    return [own, *(line for one in part["inside"] for line in cells_of(one, True))]


def shown(result: dict[str, Any], facts: dict[str, Any], source: str) -> str:
    """The result of `burnish bench` as a page takes it."""
    step, ceilings = result["step"], result["machine"]
    at_most = [
        (
            f"product, {one['dtype']}, [{one['rows']} x {one['inner']}] x [{one['inner']} x {one['outer']}]",
            f"{one['tflops']:.3f} TFLOP/s",
        )
        for one in ceilings["products"]
    ]
    at_most += [
        (f"reading {one['mib']} MiB again and again", f"{one['gb_per_second']:.1f} GB/s")
        for one in ceilings["bandwidth"]
    ]
    lines = [line for part in result["parts"] for line in cells_of(part)]
    lines.append(("**the whole step**", f"{step['seconds']:.4f}", "100%", "", "", ""))
    remarks = [
        f"Matrix products of {name}: {one['while_running']:.0%} of their ceiling while they run, {one['of_the_whole']:.0%} over the "
        "whole of it."
        for name, one in result["products"].items()
    ]
    return "\n".join(
        (
            heading(command_of("parts.py"), facts),
            f"{source}, {result['parameters'] / 1e6:.1f} M weights, products in {result['compute']}; {step['problems']} problems x "
            f"{step['samples']} samples, {step['tokens_sampled']:,} tokens sampled; medians of {step['repeats']}.\n",
            table(("this machine", "at most"), at_most),
            "",
            table(("part", "seconds", "share", "at limit", "reached", "the limit"), lines),
            "",
            *remarks,
        )
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final, in place of the shape's")
    given = parser.parse_args()
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    size = SIZES["T" if given.model else given.shape]
    with tempfile.TemporaryDirectory(prefix="burnish-parts-") as place:
        if not given.model:
            say("making the model")
            made(given.shape, uniform=False).save(Path(place) / "model")
        result = bench(
            given.model or str(Path(place) / "model"), size=size, threads=given.threads, quick=given.quick, quiet=True
        )
    source = f"The model of {shortened(given.model)}" if given.model else f"Shape {given.shape}, random weights"
    result["model"] = source
    mark = f"parts {'model' if given.model else given.shape}"
    publish(
        given, {"ratio": {}, **result, "machine": {**facts, **result["machine"]}}, shown(result, facts, source), mark
    )


if __name__ == "__main__":
    main()
