"""The table of docs/models.md, measured: every family from its folder to a trained model and back, in a line.

    python benchmarks/families.py [--quick] [--json]

Every family is made at small width with random weights and its own chat template (tests/families.py), sampled, trained for a step,
sampled again, saved and loaded (tests/family_round.py). The gaps are nats between what the sampler says of the tokens it drew and what
the learner says: the largest in float32, the mean in bfloat16. Ends with 1 where a family does not come through.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import families
from burnish.policy import kernels
from burnish.policy.model import load
from family_round import mean_gap, round_trip

QUICK = ["Qwen3", "Gemma 3", "Mamba"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} only")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if kernels.library() is None:
        sys.stderr.write("There is no C++ compiler here: every family goes through its module.\n")
    names = QUICK if given.quick else list(families.FAMILIES)
    found = []
    if not given.json:
        title, line = families.HEAD.splitlines()
        print(f"{title} largest gap, float32 | mean gap, bfloat16 | saved and loaded |\n{line}---:|---:|---|")
    for name in names:
        one = measure(name)
        found.append(one)
        if not given.json:
            said = "same logits" if one["same_logits"] else "OTHER LOGITS"
            print(f"{one['row']} {one['gap_float32']:.1e} | {one['gap_bfloat16']:.1e} | {said} |", flush=True)
    through = sum(one["comes_through"] for one in found)
    if given.json:
        print(json.dumps({"families": found, "come_through": through}))
    else:
        print(f"\n{through} of {len(found)} families come through.")
    sys.exit(0 if through == len(found) else 1)


if __name__ == "__main__":
    main()
