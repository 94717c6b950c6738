"""The table of docs/models.md, measured: every family from its folder to a trained model and back, in a line.

    python benchmarks/families.py [--quick] [--json] [--page docs/models.md]

Every family is made at small width with random weights and its own chat template (tests/families.py), sampled, trained for a step,
sampled again, saved and loaded (tests/family_round.py). The gaps are nats between what the sampler says of the tokens it drew and what
the learner says: the largest in float32, the mean in bfloat16. Ends with 1 where a family does not come through.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import families
from burnish.policy import kernels
from burnish.policy.model import load
from family_round import mean_gap, round_trip
from report import command_of, heading, machine, options, publish, say

QUICK = ["Qwen3", "Gemma 3", "Mamba"]
"""One for each way there is."""
NEAR = 0.02
"""Nats of the mean gap in bfloat16."""


def measure(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = str(families.write(name, Path(place) / "model"))
        rounded = load(folder, "bfloat16")
        row = families.row(name, rounded)
        found, gap = round_trip(load(folder, "float32"), Path(place) / "saved"), mean_gap(rounded)
    return {
        "family": name,
        "row": row,
        "gap_float32": max(found.gap, found.proof_gap, found.gap_after),
        "gap_bfloat16": gap,
        "learned": found.learned,
        "same_logits": found.same_logits,
        "comes_through": found.whole and gap < NEAR,
    }


def shown(found: list[dict[str, Any]]) -> str:
    """The table of the page: its rows, and what was measured."""
    title, line = families.HEAD.splitlines()
    rows = [
        f"{one['row']} {one['gap_float32']:.1e} | {one['gap_bfloat16']:.1e} | "
        f"{'same logits' if one['same_logits'] else 'OTHER LOGITS'} |"
        for one in found
    ]
    return "\n".join(
        [f"{title} largest gap, float32 | mean gap, bfloat16 | saved and loaded |", f"{line}---:|---:|---|", *rows]
    )


def main() -> None:
    given = options(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if kernels.library() is None:
        say("There is no C++ compiler here: every family goes through its module.")
    names = QUICK if given.quick else list(families.FAMILIES)
    found = []
    for number, name in enumerate(names, 1):
        found.append(measure(name))
        say(
            f"{number} of {len(names)}: {name} {'comes through' if found[-1]['comes_through'] else 'DOES NOT COME THROUGH'}"
        )
    through, facts = sum(one["comes_through"] for one in found), machine(given.threads)
    command = command_of("families.py")
    result = {"command": command, "machine": facts, "families": found, "come_through": through, "ratio": {}}
    sentence = f"{through} of {len(found)} families come through."
    publish(given, result, f"{heading(command, facts)}\n{shown(found)}\n\n{sentence}", "families")
    sys.exit(0 if through == len(found) else 1)


if __name__ == "__main__":
    main()
