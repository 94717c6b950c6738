"""TRL's side of benchmarks/step.py and learner.py: its process, and the search for its fastest settings. Not for running by itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import Peer, median, search

START = {"precision": "autocast", "attention": "sdpa", "batch": 0, "generation": "dynamic", "allocator": "kept"}
OTHERS: dict[str, Sequence[Any]] = {
    "attention": ("eager",),
    "precision": ("bfloat16", "float32"),
    "batch": (2, 4, 8),  # parts of a step
    "generation": ("static", "continuous"),
    "allocator": ("default",),
}
LEGEND = """\
precision   autocast: bfloat16 products over float32 weights (as ours); bfloat16: the weights too,
            which loses updates smaller than their rounding; float32: everything
generation  dynamic, static: transformers' generate with that cache; continuous: its continuous batching
allocator   kept: glibc keeps freed memory (as ours); default: it gives it back"""


def trl(args: argparse.Namespace, folder: Path, settings: dict[str, Any]) -> Peer:
    """TRL's process; a go is one step."""
    places = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl")}
    return Peer(args.trl_python, "trl_side.py", {**settings, **places}, args.deadline)


def fastest(args: argparse.Namespace, folder: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings of TRL and their medians, fastest first: one axis after the other, from the best so far."""
    rows = args.problems * args.samples
    parts: dict[str, dict[str, float]] = {}

    def attempt(choice: dict[str, Any]) -> float:
        with trl(args, folder, {**common, **choice, "steps": args.search_steps + 1}) as peer:
            steps = [peer.step() for _ in range(args.search_steps + 1)][1:]
        parts[str(choice)] = {part: median(steps, part) for part in ("sampling", "verifying", "updating", "whole")}
        return parts[str(choice)]["whole"]

    axes = {**OTHERS, "batch": [rows // count for count in OTHERS["batch"] if rows % count == 0]}
    return [row | parts.get(str(row["settings"]), {}) for row in search({**START, "batch": rows}, axes, attempt)]
