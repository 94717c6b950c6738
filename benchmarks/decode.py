"""The compiled path against the module it replaces: sampled tokens a second on the same requests, and the ratio.

    python benchmarks/decode.py [--model FOLDER] [--rows 512] [--repeats 5] [--quick] [--json]

Without a model, one of the demo's shape with random weights is made; nearly every completion then runs to max_new. The two take turns.
Not for: comparing with others (sampling.py).
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.policy.fused import Fused
from burnish.policy.model import load, tune_allocator
from peers import median
from report import command_of, heading, machine, options, publish, say, shortened, table
from sampling import ours, rate
from shapes import chains, made

NAMES = {"compiled": "compiled kernels", "module": "the module"}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=96)
    parser.add_argument("--rows", type=int, default=512, help="most rows decoded together")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.quick:
        given.problems, given.max_new, given.repeats = 8, 32, 2
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = load(given.model, "bfloat16") if given.model else made("T", uniform=False)
    serves = Fused.serves
    if not serves(policy):
        raise SystemExit("The compiled kernels do not serve this model here, so that there is nothing to compare.")
    work = chains(policy, given.problems, given.samples, given.max_new)
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in NAMES}
    for turn in range(given.repeats + 1):  # the first is a warm-up
        for side, done in rows.items():
            Fused.serves = staticmethod(serves if side == "compiled" else lambda policy: False)  # type: ignore[method-assign]
            done.append(ours(EmbeddedEngine(policy, given.rows), work, turn))
        say(f"{turn}/{given.repeats}: " + ", ".join(f"{side} {rate(done[-1]):,.0f}" for side, done in rows.items()))
    speeds = {side: statistics.median(map(rate, done[1:])) for side, done in rows.items()}
    ratio = speeds["compiled"] / speeds["module"]
    cells = [
        (
            NAMES[side],
            f"{speed:,.0f}",
            f"{median(rows[side][1:], 'tokens'):,.0f}",
            f"{ratio:.2f}" if side == "module" else "",
        )
        for side, speed in speeds.items()
    ]
    source = f"The model of {shortened(given.model)}" if given.model else "Shape T, random weights"
    text = (
        f"{heading(command_of('decode.py'), facts)}\n{source}; {work.said}; medians of {given.repeats}.\n\n"
        f"{table(('', 'tokens/s', 'tokens a go', 'the compiled kernels are this times as fast'), cells)}"
    )
    result = {"ratio": {"module": ratio}, "machine": facts, "tokens_per_second": speeds, "work": work.said}
    publish(given, result, text, "decode")


if __name__ == "__main__":
    main()
