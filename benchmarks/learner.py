"""The learner's update: tokens a second beside TRL's on the same rows and weights, what its products reach, and the peak of memory.

    python benchmarks/learner.py --shape S --trl-python .venv-trl/bin/python
    python benchmarks/learner.py --shape M
    python benchmarks/learner.py --memory
    python benchmarks/learner.py --quick --json

One supervised optimizer step on rows of uneven length, for a shape of benchmarks/shapes.py with random weights. The two sides take turns
in one run. TRL's SFTTrainer gets its fastest settings first: attention, precision, order of the rows, split of the batch and allocator
are tried one after the other; --trl fixes them instead, --settings takes those of an earlier run. Its clock leaves out the making of
batches, ours does not. M is for our side alone: two learners of that size do not fit into 24 GiB.

Efficiency is the arithmetic of our matrix products over the whole update's time, as a share of what the same products reach alone, one
after the other, in the same run. --memory measures peaks instead, in a process of its own for each case, above that before its first
update, at one and at four times the vocabulary.

Not for: what is learned; a whole step (step.py).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.learner.learner import Learner, Optimization
from burnish.pipelines.sft import objective
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import Product
from burnish.policy.model import Policy, from_scratch, load, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Key, Sample, Tokens
from peers import Peer, described, fixed, found, search
from report import command_of, heading, machine, options, publish, say, table
from shapes import COMMON, SHAPES, made

LEARNING_RATE = 1e-6
ROWS = {"T": 128, "S": 64, "M": 12}
START = {"attention": "sdpa", "precision": "autocast", "order": "random", "parts": 1, "allocator": "kept"}
AXES: dict[str, Sequence[Any]] = {
    "attention": ("eager",),
    "precision": ("bfloat16", "float32"),
    "order": ("group_by_length",),
    "parts": (2, 4, 8),
    "allocator": ("default",),
}
SMALL = {**COMMON, **SHAPES["T"], "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
"""The model of the memory cases: nearly all of it is its vocabulary."""


def rows(count: int, vocabulary: int) -> list[Tokens]:
    """Prompts of 16 to 64 tokens, completions of 8 to 160."""
    rng = random.Random(1)
    made = []
    for _ in range(count):
        prompt, length = rng.randint(16, 64), rng.randint(8, 160)
        ids = tuple(rng.randrange(9, vocabulary) for _ in range(prompt + length))
        made.append(Tokens(ids, (False,) * prompt + (True,) * length, (0.0,) * len(ids)))
    return made


def samples_of(given: list[Tokens]) -> tuple[list[Sample], dict[Key, float]]:
    total = sum(tokens.sampled_count for tokens in given)
    made = [Sample(Key(str(i), 0), each, (0.0,) * len(each.ids), 0.0, 0, 0) for i, each in enumerate(given)]
    return made, {sample.origin: 1.0 / total for sample in made}


class Ours:
    """Our side, one optimizer step at a time."""

    def __init__(self, policy: Policy, given: list[Tokens], steps: int) -> None:
        self.learner = Learner(policy, Optimization(lr=LEARNING_RATE, total_updates=steps))
        self._samples, self._weights = samples_of(given)

    def step(self) -> float:
        began = time.perf_counter()
        self.learner.update(self._samples, objective, lambda part: self._weights)
        return time.perf_counter() - began


# --- what the products reach ---


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def products(policy: Policy, places: int, predicted: int, repeats: int) -> dict[str, float]:
    """TFLOP of one update's products (forward, and two for each backward), and the seconds they take alone in its precision."""
    fused = Fused(policy) if Fused.serves(policy) else None
    dtype = policy.compute
    flops = alone = 0.0
    layers = policy.module.get_decoder().layers
    a, m = layers[0].self_attn, layers[0].mlp
    stacks = [
        [a.q_proj.weight, a.k_proj.weight, a.v_proj.weight],
        [a.o_proj.weight],
        [m.gate_proj.weight, m.up_proj.weight],
        [m.down_proj.weight],
    ]
    # Ours computes of the last layer, behind its attention, the places alone whose states are read.
    each = [(stack, places, len(layers) - (number > 0)) for number, stack in enumerate(stacks)]
    each += [(stack, predicted if fused is not None else places, 1) for stack in stacks[1:]]
    each.append(([policy.module.get_output_embeddings().weight], predicted, 1))
    for stack, count, times in each:
        weight = torch.cat([one.detach().to(dtype) for one in stack])
        wide, narrow = weight.shape
        x, grad = (torch.randn(count, width).to(dtype) for width in (narrow, wide))
        held = Product([weight], [None]) if fused is not None else None
        calls: list[Callable[[], object]] = [
            (lambda held=held, x=x, weight=weight: x @ weight.t() if held is None else held(x)),
            (lambda held=held, grad=grad, weight=weight: grad @ weight if held is None else held.back(grad)),
            (lambda grad=grad, x=x: grad.t() @ x),
        ]
        alone += times * sum(seconds_of(call, repeats) for call in calls)
        flops += times * 3 * 2 * count * wide * narrow
    return {"tflop": flops / 1e12, "alone_s": alone, "reached_tflops": flops / alone / 1e12}


# --- beside TRL ---


def trl(args: argparse.Namespace, folder: Path, settings: dict[str, Any]) -> Peer:
    """TRL's process; a go is one optimizer step."""
    places = {"model": str(folder / "model"), "examples": str(folder / "examples.jsonl")}
    return Peer(args.trl_python, "trl_update.py", {**settings, **places}, args.deadline)


def settings_for(args: argparse.Namespace, folder: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """TRL's settings, fastest first, each with the median of two steps; just one, untried, where they are fixed."""
    start = found(args.settings, "trl_settings") if args.settings else START
    if args.trl or args.quick or args.settings:
        return [{"settings": fixed(start, args.trl)}]
    say("TRL's settings, each a run of its own:")

    def attempt(choice: dict[str, Any], most: float | None) -> float:
        with trl(args, folder, {**common, **choice, "steps": 3}) as peer:
            return statistics.median([peer.step(most)["whole"] for _ in range(3)][1:])

    return search(START, AXES, attempt)


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns, and what our products reach: the result object."""
    facts = machine(args.threads)
    torch.set_num_threads(args.threads)
    tune_allocator()
    count, steps = (2 if args.shape == "M" else 16, 2) if args.quick else (ROWS[args.shape], args.steps)
    result: dict[str, Any] = {"ratio": {}, "machine": facts, "shape": args.shape, "rows": count, "steps": steps}
    with tempfile.TemporaryDirectory(prefix="burnish-learner-") as place:
        folder = Path(place)
        policy = made(args.shape, uniform=False)
        given = rows(count, int(policy.module.config.vocab_size))
        tokens, predicted = sum(len(each.ids) for each in given), sum(each.sampled_count for each in given)
        result |= {"parameters": policy.parameters, "tokens": tokens, "fused": Fused.serves(policy)}
        theirs: list[float] = []
        if args.trl_python:
            policy.save(folder / "model")
            policy = load(str(folder / "model"))
            lines = [json.dumps({"ids": each.ids, "mask": [int(own) for own in each.sampled]}) for each in given]
            (folder / "examples.jsonl").write_text("".join(line + "\n" for line in lines))
            common = {"rows": count, "lr": LEARNING_RATE, "threads": args.threads}
            tried = settings_for(args, folder, common)
        ours = Ours(policy, given, steps + 1)
        say("measuring, in turns")
        if args.trl_python:
            mine = []
            with trl(args, folder, {**common, **tried[0]["settings"], "steps": steps + 1}) as peer:
                for _ in range(steps + 1):
                    mine.append(ours.step())
                    theirs.append(peer.step()["whole"])
                result["trl_facts"] = peer.timings["facts"]
            result |= {"trl_settings": tried[0]["settings"], "trl_tried": tried}
        else:
            mine = [ours.step() for _ in range(steps + 1)]
    result["seconds"] = {"ours": statistics.median(mine[1:])}
    if theirs:
        result["seconds"]["trl"] = statistics.median(theirs[1:])
        result["ratio"] = {"trl": result["seconds"]["trl"] / result["seconds"]["ours"]}
        alike = [one for one in tried if one["settings"]["precision"] == "autocast" and "seconds" in one]
        result["trl_autocast_seconds"] = min((one["seconds"] for one in alike), default=None)
    result["tokens_per_second"] = {side: tokens / seconds for side, seconds in result["seconds"].items()}
    result |= products(policy, tokens - count, predicted, 2 if args.quick else 5)
    result["efficiency"] = result["alone_s"] / result["seconds"]["ours"]
    return result


def shown(result: dict[str, Any]) -> str:
    """The result of `compared` as a page takes it."""
    cells = []
    for side, name in (("ours", "Burnish"), ("trl", "TRL")):
        if side in result["seconds"]:
            said = (
                described(result["trl_settings"])
                if side == "trl"
                else "compiled kernels"
                if result["fused"]
                else "module"
            )
            ratio = f"{result['ratio']['trl']:.2f}" if side == "trl" else ""
            speed = f"{result['tokens_per_second'][side]:,.0f}"
            cells.append((name, f"{result['seconds'][side]:.3f}", speed, ratio, said))
    headings = ("", "seconds", "tokens/s", "TRL / ours", "settings")
    tried = [one for one in result.get("trl_tried", ()) if "seconds" in one]
    remarks = [
        f"Our matrix products are {result['tflop']:.3f} TFLOP and take {result['alone_s']:.3f} s alone "
        f"({result['reached_tflops']:.3f} TFLOP/s), which is {result['efficiency']:.0%} of the update's time."
    ]
    if tried:
        remarks.append(f"TRL's settings are the fastest of {len(tried)}.")
    if tried and result["trl_settings"]["precision"] != "autocast":
        remarks.append(
            f"Its fastest with float32 weights and bfloat16 products, as ours, took {result['trl_autocast_seconds']:.3f} s when tried."
        )
    return "\n".join(
        (
            heading(command_of("learner.py"), result["machine"], trl=result.get("trl_facts", {}).get("trl")),
            f"Shape {result['shape']}, {result['parameters'] / 1e6:.1f} M weights; {result['rows']} rows, {result['tokens']:,} tokens; "
            f"medians of {result['steps']} updates.\n",
            table(headings, cells),
            "",
            " ".join(remarks),
        )
    )


# --- memory ---


def peak(vocabulary: int, count: int) -> None:
    """Print by how many MiB the first update raises the peak. (In a process of its own.)"""
    policy = from_scratch(train_tokenizer(["a b c"], 272, 512), SMALL, seed=1)
    policy.module.resize_token_embeddings(vocabulary, mean_resizing=False)
    learner = Learner(policy, Optimization(lr=1e-6, total_updates=1, micro_batch_tokens=1 << 20))
    samples, weights = samples_of(rows(count, vocabulary))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learner.update(samples, objective, lambda part: weights)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def memory(quick: bool) -> list[dict[str, float]]:
    """Peaks at one and at four times the vocabulary, for batches of several sizes; and what the logits of the whole batch would take."""
    peaks = []
    for vocabulary in (16_000, 64_000):
        for count in (16, 32) if quick else (32, 64, 128):
            command = [sys.executable, __file__, "--peak", str(vocabulary), str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{count} rows at a vocabulary of {vocabulary} failed: {done.stderr.strip()[-500:]}")
            places = sum(tokens.sampled_count for tokens in rows(count, vocabulary))
            whole = 2 * places * vocabulary / 2**20
            peaks.append(
                {"vocabulary": vocabulary, "rows": count, "peak_mib": float(done.stdout), "all_logits_mib": whole}
            )
    return peaks


def publish_memory(given: argparse.Namespace) -> None:
    facts = machine(given.threads)
    peaks = memory(given.quick)
    headings = ("vocabulary", "rows", "peak above the start, MiB", "bfloat16 logits of all places at once, MiB")
    cells = [
        (f"{one['vocabulary']:,}", one["rows"], f"{one['peak_mib']:,.0f}", f"{one['all_logits_mib']:,.0f}")
        for one in peaks
    ]
    text = f"{heading(command_of('learner.py'), facts)}\n{table(headings, cells)}"
    publish(given, {"ratio": {}, "machine": facts, "memory": peaks}, text, "update memory")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--memory", action="store_true", help="measure peaks of memory instead")
    parser.add_argument("--trl-python", help="a Python that has TRL; without it only our side is timed")
    parser.add_argument("--trl", action="append", metavar="KEY=VALUE", help=f"fix TRL's settings instead: {[*START]}")
    parser.add_argument("--settings", type=Path, help="take TRL's from an earlier run's --json FILE; no search")
    parser.add_argument("--steps", type=int, default=5, help="measured updates, after one to warm up")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds TRL may take to start, or for an update")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        torch.set_num_threads(given.threads)
        peak(*given.peak)
        return
    if given.memory:
        publish_memory(given)
        return
    if given.trl_python is not None and shutil.which(given.trl_python) is None:
        sys.exit(f"There is no {given.trl_python}. docs/performance.md says how the peers are installed.")
    if given.trl_python is not None and given.shape == "M":
        sys.exit("Shape M is for our side alone; leave --trl-python out.")
    result = compared(given)
    publish(given, result, shown(result), f"update {given.shape}")


if __name__ == "__main__":
    main()
