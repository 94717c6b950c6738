"""The compiled path against the module it replaces: sampled tokens a second on the same requests, and the ratio.

    python benchmarks/decode.py [--model FOLDER] [--rows 512] [--repeats 5] [--quick] [--json]

Without a model, one of the demo's shape with random weights is made; nearly every completion then runs to max_new. The two take turns.
Then the products of one layer alone, for few and for many rows: our kernel's beside the library's, in microseconds.
Not for: comparing with others (sampling.py).
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.pipelines.ceilings import best
from burnish.policy import fused_layer
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import Product
from burnish.policy.model import Policy, load, tune_allocator
from peers import median
from report import command_of, heading, machine, options, publish, say, shortened, table
from sampling import ours, rate
from shapes import chains, made

NAMES = {"compiled": "compiled kernels", "module": "the module"}
PLACES = (1, 4, 16, 64, 256, 1024)


def layer_products(policy: Policy, seconds: float) -> dict[int, dict[str, float]]:
    """Rows -> seconds of all products of a layer, by whose they are."""
    layer = policy.module.get_decoder().layers[0]
    a, m = layer.self_attn, layer.mlp
    stacks = ((a.q_proj, a.k_proj, a.v_proj), (a.o_proj,), (m.gate_proj, m.up_proj), (m.down_proj,))
    made_by: dict[str, list[Product]] = {}
    found: dict[int, dict[str, float]] = {}
    before = fused_layer.OURS
    try:
        for side in ("ours", "library"):
            fused_layer.OURS = side == "ours"
            made_by[side] = [Product([one.weight for one in stack], [None]) for stack in stacks]
        for rows in PLACES:
            inputs = [torch.randn(rows, product.shape[1]).bfloat16() for product in made_by["ours"]]
            found[rows] = {}
            for side, products in made_by.items():
                fused_layer.OURS = side == "ours"
                pairs = zip(products, inputs, strict=True)
                found[rows][side] = sum(best(lambda by=by, x=x: by(x), seconds) for by, x in pairs)
        return found
    finally:
        fused_layer.OURS = before


def by_rows(products: dict[int, dict[str, float]]) -> list[tuple[str, ...]]:
    """The table's lines of `layer_products`."""
    return [
        (
            f"{count:,}",
            f"{1e6 * side['library']:,.0f}",
            f"{1e6 * side['ours']:,.0f}",
            f"{side['library'] / side['ours']:.2f}",
        )
        for count, side in products.items()
    ]


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
    Fused.serves = staticmethod(serves)  # type: ignore[method-assign]
    with torch.inference_mode():
        alone = layer_products(policy, 0.01 if given.quick else 0.1)
    source = f"The model of {shortened(given.model)}" if given.model else "Shape T, random weights"
    text = (
        f"{heading(command_of('decode.py'), facts)}\n{source}; {work.said}; medians of {given.repeats}.\n\n"
        f"{table(('', 'tokens/s', 'tokens a go', 'the compiled kernels are this times as fast'), cells)}\n\n"
        f"{table(('rows', 'products of a layer, library, us', 'ours, us', 'library / ours'), by_rows(alone))}"
    )
    result = {
        "ratio": {"module": ratio},
        "machine": facts,
        "tokens_per_second": speeds,
        "work": work.said,
        "products": alone,
    }
    publish(given, result, text, "decode")


if __name__ == "__main__":
    main()
