"""Whether torch.compile pays in sampling on this CPU: what it saves in a layer, and after how many decode steps it has paid for itself.

    python benchmarks/compile.py [--shape T] [--rows 8 64 512] [--quick] [--json]

Compiled is everything of a decoder layer but attention over the cache, which no compiler sees through: norms, projections, rotation,
feed-forward. Rows come in fixed sizes, each compiled on its own, as recompiling in the middle of a run would have to be avoided. Beside it
stands the whole layer with its attention on Burnish's own kernels, which are compiled once for a machine. Not for: GPUs.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from burnish.engine.cache import PagedCache, Rows
from burnish.engine.compute import Network
from burnish.policy.model import Policy, tune_allocator
from report import command_of, heading, machine, options, publish, say, table
from shapes import SHAPES, made


def between(layer: Any, hidden_BTE: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """A layer whose attention hands the queries back."""
    attention = layer.self_attn
    normed_BTE = layer.input_layernorm(hidden_BTE)
    heads = (*hidden_BTE.shape[:2], -1, attention.head_dim)
    query = attention.q_norm(attention.q_proj(normed_BTE).view(heads)).transpose(1, 2)
    key = attention.k_norm(attention.k_proj(normed_BTE).view(heads)).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cosine, sine)
    value_sum = attention.v_proj(normed_BTE).sum() + key.sum()
    out = attention.o_proj(query.transpose(1, 2).flatten(2)) + 0.0 * value_sum
    middle_BTE = hidden_BTE + out
    return middle_BTE + layer.mlp(layer.post_attention_layernorm(middle_BTE))


def quickest(call: Any, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def own(policy: Policy, rows: int, repeats: int) -> float:
    """Seconds a layer of a whole pass, attention and head included, on the compiled kernels."""
    cache = PagedCache(2 * rows, 32, policy.device)
    network = Network(policy, cache)
    if network.fused is None:
        return float("nan")
    zeros, ones = np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=np.int64)
    table_BP = np.arange(2 * rows, dtype=np.int32).reshape(rows, 2)
    given = Rows(40 * ones, ones, table_BP, zeros, zeros, np.arange(rows))
    network.after(20 * ones, given)
    return quickest(lambda: network.after(20 * ones, given), repeats) / policy.module.config.num_hidden_layers


def measure(policy: Policy, counts: list[int], repeats: int) -> list[dict[str, float]]:
    layer, found = policy.module.get_decoder().layers[0], []
    layers = policy.module.config.num_hidden_layers
    with torch.inference_mode(), policy.precision():
        for rows in counts:
            hidden = torch.randn(rows, 1, policy.module.config.hidden_size)
            cosine, sine = policy.module.get_decoder().rotary_emb(hidden, torch.full((rows, 1), 40))
            compiled = torch.compile(between, dynamic=False)
            start = time.perf_counter()
            try:
                compiled(layer, hidden, cosine, sine)
            except RuntimeError as error:  # every one of the compiler's is one
                raise SystemExit(f"torch.compile does not work here: {error}") from None
            spent = time.perf_counter() - start
            plain = quickest(lambda h=hidden, c=cosine, s=sine: between(layer, h, c, s), repeats)
            quick = quickest(lambda h=hidden, c=cosine, s=sine, f=compiled: f(layer, h, c, s), repeats)
            saved = layers * (plain - quick)
            one = {"rows": rows, "compile_s": spent, "plain_s": plain, "compiled_s": quick}
            one["steps_to_pay"] = spent / saved if saved > 0 else float("inf")
            found.append({**one, "kernels_s": own(policy, rows, repeats)})
            say(f"{rows} rows")
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    if given.quick:
        given.rows, given.repeats = [8], 10
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    found = measure(made(given.shape, uniform=False), given.rows, given.repeats)
    cells = [
        (
            one["rows"],
            f"{one['compile_s']:.1f}",
            *(f"{1e6 * one[field]:,.0f}" for field in ("plain_s", "compiled_s")),
            f"{one['steps_to_pay']:,.0f}",
            f"{1e6 * one['kernels_s']:,.0f}",
        )
        for one in found
    ]
    headings = (
        "rows",
        "compiling, s",
        "module, µs",
        "compiled, µs",
        "steps until it has paid",
        "kernels, attention included, µs",
    )
    text = f"{heading(command_of('compile.py'), facts)}\nShape {given.shape}, one layer.\n\n{table(headings, cells)}"
    publish(given, {"ratio": {}, "machine": facts, "layers": found}, text, "compile")


if __name__ == "__main__":
    main()
