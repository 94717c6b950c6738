"""How the cost of sampling and of the update grows: twice the samples, twice the length, four times the vocabulary, and ever longer.

    python benchmarks/growth.py [--shape T] [--quick] [--json]

Linear growth means that a token costs the same however many there are. So the tables say what a token takes, and in brackets how
many times what it took in the first case: 1.00 is linear. Where a token must cost more (a larger vocabulary is a larger product),
the column of FLOP says how much. Each case runs in a process of its own, where its peak of memory is also read: resident bytes above
those before the first go, for each token that is alive at the same time (sampling), and what the update took beyond that.

What a token costs must rise somewhere: a token attends to all before it, so its attention grows with its place. The last table makes
answers longer and longer, says what share of a decode step's work attention is by then, and names the knee: the length at which
a token takes 1.5 times what it took at the shortest. Beside it stand the bytes of the cache and those of this processor's caches,
as the cache is read whole for every token that each row writes.

Every answer runs to its full length here (no stop ids), so lengths are exact. Not for: comparing with others (sampling.py).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from burnish.algos import recipes
from burnish.engine.embedded import EmbeddedEngine
from burnish.learner.learner import Learner, Optimization
from burnish.policy.model import Policy, tune_allocator
from burnish.records import Sample, Tokens
from report import command_of, heading, machine, options, publish, say, table
from shapes import SHAPES, Work, made, tail

KNEE = 1.5
Case = dict[str, int]


def cases(quick: bool) -> dict[str, list[Case]]:
    """Axis -> its cases, smallest first. The base is the first of each."""
    base = {"problems": 4 if quick else 64, "samples": 4, "length": 16 if quick else 64, "vocabulary": 512}
    longest = (16, 32) if quick else (64, 128, 256, 512, 1024)
    few = {**base, "problems": 4 if quick else 16}
    return {
        "samples": [{**base, "samples": base["samples"] * times} for times in (1, 2, 4)],
        "length": [{**base, "length": base["length"] * times} for times in (1, 2)],
        "vocabulary": [{**base, "vocabulary": base["vocabulary"] * times} for times in (1, 4)],
        "longer and longer": [{**few, "length": length} for length in longest],
    }


def resident_mib() -> float:
    """The peak of resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(case: Case, shape: str, repeats: int) -> dict[str, float]:
    """Figures of one case, in this process."""
    context = case["length"] + 128
    policy = made(shape, case["vocabulary"], context)
    work = tail(policy, case["problems"], case["samples"], case["length"], 1e9, longest_prompt=64)
    work = Work(work.prompts, work.samples, work.max_new, (), work.said)  # nothing ends an answer but its length
    before = resident_mib()
    seconds, drawn, engine = [], [], EmbeddedEngine(policy)
    for turn in range(repeats + 1):
        began = time.perf_counter()
        drawn = list(engine.generate(work.requests(turn)))
        seconds.append(time.perf_counter() - began)
    sampled = sum(len(completion.ids) for completion in drawn)
    alive = sampled + sum(map(len, work.prompts))
    sampling = resident_mib()
    samples = []
    for completion in drawn:
        ids = work.prompts[int(completion.key.problem_id[1:])]
        tokens = Tokens.join(ids, completion.ids, completion.logprobs)
        advantage = 1.0 if completion.key.index % 2 else -1.0
        samples.append(Sample(completion.key, tokens, (advantage,) * len(tokens.ids), 0.0, 0, 0))
    learner = Learner(policy, Optimization(lr=1e-9, total_updates=repeats + 1))
    recipe = recipes.recipe("grpo")
    updating = []
    for _ in range(repeats + 1):
        learner.version = 0
        began = time.perf_counter()
        learner.update(samples, recipe.objective, recipe.weigh)
        updating.append(time.perf_counter() - began)
    return {
        "tokens": sampled,
        "sampling_us": 1e6 * statistics.median(seconds[1:]) / sampled,
        "update_us": 1e6 * statistics.median(updating[1:]) / sampled,
        "sampling_bytes": (sampling - before) * 2**20 / alive,
        "update_mib": resident_mib() - sampling,
        "cache_mib": alive * cache_bytes(policy) / 2**20,
        "flop": flop(policy, case["length"]),
        "attention_share": attention(policy, case["length"]) / flop(policy, case["length"]),
    }


def cache_bytes(policy: Policy) -> int:
    """Bytes of one token's keys and values."""
    config = policy.module.config
    itemsize = 2 if policy.compute is torch.bfloat16 else 4
    return 2 * int(config.num_hidden_layers) * int(config.num_key_value_heads) * int(config.head_dim) * itemsize


def attention(policy: Policy, length: int) -> float:
    """FLOP of attention for the mean token of a row, without its prompt."""
    config = policy.module.config
    return 4.0 * float(config.num_hidden_layers * config.num_attention_heads * config.head_dim) * length / 2


def flop(policy: Policy, length: int) -> float:
    """FLOP of the mean sampled token; the embedding's weights are the head's too, and are multiplied once."""
    return attention(policy, length) + 2.0 * policy.parameters


def caches() -> str:
    """The processor's data caches, from the system: "L1 32K, L2 1024K, L3 32768K"."""
    found = []
    for place in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((place / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or "unknown"


def run(case: Case, given: argparse.Namespace) -> dict[str, float]:
    """Figures of one case, from a process of its own."""
    command = [sys.executable, __file__, "--case", json.dumps(case), "--shape", given.shape]
    command += ["--threads", str(given.threads), "--repeats", str(given.repeats)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        sys.exit(f"{case} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(found: dict[str, list[dict[str, Any]]], knee: str) -> str:
    """A table for each axis."""
    texts = []
    for axis, rows in found.items():
        cells = []
        first = rows[0]["figures"]
        for row in rows:
            case, figures = row["case"], row["figures"]
            cells.append(
                (
                    case.get(axis, case["length"]),
                    f"{figures['tokens']:,.0f}",
                    f"{figures['sampling_us']:.1f} ({figures['sampling_us'] / first['sampling_us']:.2f})",
                    f"{figures['update_us']:.1f} ({figures['update_us'] / first['update_us']:.2f})",
                    f"{figures['sampling_bytes']:,.0f}",
                    f"{figures['update_mib']:.0f}",
                    f"{figures['cache_mib']:.1f}",
                    f"{figures['flop'] / first['flop']:.2f}",
                    f"{figures['attention_share']:.0%}",
                )
            )
        name = "length" if axis not in ("samples", "length", "vocabulary") else axis
        headings = (
            *(name, "tokens", "sampling, us a token (to the first)", "update, us a token (to the first)"),
            *(
                "sampling, bytes a live token",
                "update, MiB more",
                "cache, MiB",
                "FLOP a token (to the first)",
                "attention's share of FLOP",
            ),
        )
        texts += [f"{axis.capitalize()}:\n", table(headings, cells), ""]
    return "\n".join([*texts, knee])


def knee_of(rows: list[dict[str, Any]]) -> tuple[int | None, str]:
    """Where a token first takes KNEE times what it took at the shortest length, and what is known about why."""
    first = rows[0]["figures"]["sampling_us"]
    for row in rows:
        figures = row["figures"]
        if figures["sampling_us"] > KNEE * first:
            return row["case"]["length"], (
                f"The knee: at {row['case']['length']} tokens a sampled one takes {figures['sampling_us'] / first:.2f} times what it "
                f"took at {rows[0]['case']['length']}. Attention is {figures['attention_share']:.0%} of its FLOP by then, and every "
                f"decode step reads up to {figures['cache_mib']:.0f} MiB of keys and values (processor caches: {caches()})."
            )
    return None, (
        f"No knee up to {rows[-1]['case']['length']} tokens: a sampled one takes at most {KNEE} times what it took at the shortest "
        f"(processor caches: {caches()})."
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.repeats = 1 if given.quick else given.repeats
    torch.set_num_threads(given.threads)
    if given.case is not None:
        tune_allocator()
        print(json.dumps(one(given.case, given.shape, given.repeats)))
        return
    facts = machine(given.threads)
    found: dict[str, list[dict[str, Any]]] = {}
    measured: dict[str, dict[str, float]] = {}
    for axis, listed in cases(given.quick).items():
        say(axis)
        found[axis] = []
        for case in listed:
            name = json.dumps(case)
            if name not in measured:
                measured[name] = run(case, given)
            found[axis].append({"case": case, "figures": measured[name]})
    length, sentence = knee_of(found["longer and longer"])
    result = {"ratio": {}, "machine": facts, "shape": given.shape, "growth": found, "knee": length, "caches": caches()}
    text = f"{heading(command_of('growth.py'), facts)}\nShape {given.shape}.\n\n{shown(found, sentence)}"
    publish(given, result, text, f"growth {given.shape}")


if __name__ == "__main__":
    main()
