"""The regression guard: our engine against plain transformers in the same Python, a short ratio beside the one that was recorded.

    python benchmarks/guard.py             # exits 1 where the ratio is under half of the recorded one
    python benchmarks/guard.py --record    # measures again and writes benchmarks/recorded.json

A speed says as much of the machine as of the code; a ratio of two systems in one run says less of the machine. Less, not nothing: so
only half of what was recorded fails, which no noise of a busy machine has brought about and a lost fast path does. Where this
processor has no bfloat16 unit or no compiler, the recorded ratio is not about it, and the guard says so and passes. Not for:
figures (sampling.py, with each peer at its best).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.policy import kernels
from burnish.policy.model import tune_allocator
from peers import Peer, described
from report import command_of, heading, machine, options, publish, say, table
from sampling import START, ours, rate
from shapes import made, tail

RECORDED = Path(__file__).with_name("recorded.json")
LEAST = 0.5
"""Of the recorded ratio."""


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns; {"ratio": {"transformers": ...}, ...}."""
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = made("T")
    problems, samples, max_new, mean = (4, 4, 32, 12.0) if given.quick else (16, 8, 96, 24.0)
    work = tail(policy, problems, samples, max_new, mean)
    chosen = {**START["transformers"], "batch": problems * samples // 2}
    rows: dict[str, list[dict[str, Any]]] = {"ours": [], "transformers": []}
    with tempfile.TemporaryDirectory(prefix="burnish-guard-") as name:
        policy.save(Path(name) / "model")
        settings = {**work.settings(), "model": str(Path(name) / "model"), "threads": given.threads, "seed": 1}
        with Peer(sys.executable, "transformers_side.py", {**settings, **chosen, "mode": "transformers"}) as peer:
            engine = EmbeddedEngine(policy, problems * samples)
            ours(engine, work, 0)
            for turn in range(given.repeats):
                rows["ours"].append(ours(engine, work, turn + 1))
                rows["transformers"].append(peer.step())
    speeds = {side: statistics.median(map(rate, done)) for side, done in rows.items()}
    return {
        "ratio": {"transformers": speeds["ours"] / speeds["transformers"]},
        "tokens_per_second": speeds,
        "work": work.said,
        "settings": chosen,
        "machine": facts,
    }


def applies(facts: dict[str, Any], recorded: dict[str, Any]) -> str | None:
    """Why the recorded ratio is not about this machine; None where it is."""
    if recorded["machine"]["bfloat16"] and not facts["bfloat16"]:
        return "this processor has no bfloat16 unit"
    if kernels.library() is None:
        return "the compiled kernels are not there (no compiler, or BURNISH_KERNELS=off)"
    return None


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--record", action="store_true", help="write what is measured to benchmarks/recorded.json")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    given.repeats = 2 if given.quick else given.repeats
    result = measure(given)
    now = result["ratio"]["transformers"]
    if given.record:
        RECORDED.write_text(json.dumps({"command": command_of("guard.py"), **result}, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())
    then, why = recorded["ratio"]["transformers"], applies(result["machine"], recorded)
    result |= {"recorded": then, "least": LEAST * then, "applies": why is None}
    speeds = result["tokens_per_second"]
    rows = [
        ("Burnish", f"{speeds['ours']:,.0f}", f"{now:.2f}"),
        ("transformers generate", f"{speeds['transformers']:,.0f}", ""),
        ("recorded", "", f"{then:.2f} (on {recorded['machine']['cpu']}, {recorded['machine']['day']})"),
    ]
    text = (
        f"{heading(command_of('guard.py'), result['machine'])}\n{result['work']}; medians of {given.repeats}; "
        f"{described(result['settings'])}.\n\n{table(('', 'tokens/s', 'ratio'), rows)}"
    )
    publish(given, result, text, "guard")
    if why is not None:
        say(f"The recorded ratio says nothing about this machine: {why}.")
        return 0
    if given.quick:
        say("Too little work to compare with the recorded ratio: --quick only shows that the guard runs.")
        return 0
    if now < LEAST * then:
        say(
            f"The ratio is {now:.2f}, under half of the recorded {then:.2f}: sampling has become slower beside transformers."
        )
        return 1
    say(f"The ratio is {now:.2f}; the recorded one is {then:.2f}, and under {LEAST * then:.2f} would fail.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
