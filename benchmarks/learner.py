"""The learner's update: tokens a second beside TRL's on the same rows and weights, what its products reach, and the peak of memory.

    python benchmarks/learner.py [--trl-python .venv-trl/bin/python] [--models T S] [--quick] [--json]

One supervised optimizer step on rows of uneven length, for two models with random weights: T has the demo's shape, S 25 million
parameters. The two sides take turns in one run. TRL's SFTTrainer gets its fastest settings first: attention, precision, order of the
rows, split of the batch and allocator are tried one after the other. Its clock leaves out the making of batches, ours does not.

Efficiency is the arithmetic of our matrix products over the whole update's time, as a share of what the same products reach alone, one
after the other, in the same run. Memory is the peak of a process of its own for each case, above that before its first update.

TRL lives in an environment of its own:

    python -m venv .venv-trl && .venv-trl/bin/pip install "torch==2.13.*" trl==1.16.0

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from burnish.learner.learner import Learner, Optimization
from burnish.pipelines.sft import objective
from burnish.policy import attention
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import Product
from burnish.policy.model import Policy, load, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Key, Sample, Tokens
from trl_peer import Peer, PeerFailed

LEARNING_RATE = 1e-6
COMMON = {"model_type": "qwen3", "max_position_embeddings": 512, "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    "T": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "S": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 7,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
}
VOCABULARY = {"T": 308, "S": 6144}
ROWS = {"T": 128, "S": 64}
GOAL = {"T": 3.0, "S": 2.0}
START = {"attention": "sdpa", "precision": "autocast", "order": "random", "parts": 1, "allocator": "kept"}
AXES: dict[str, tuple[Any, ...]] = {
    "attention": ("eager",),
    "precision": ("bfloat16", "float32"),
    "order": ("group_by_length",),
    "parts": (2, 4, 8),
    "allocator": ("default",),
}


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


def made(shape: dict[str, Any], vocabulary: int) -> Policy:
    """Random weights; the tokenizer is smaller than the vocabulary, whose other ids it never makes."""
    words = train_tokenizer(["a b c"], 272, 512)
    named = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = AutoConfig.for_model(**COMMON, **shape, vocab_size=vocabulary, **named)
    torch.manual_seed(1)
    module = AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
    compute = torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
    return Policy(module, words, compute)


class Ours:
    """Our side, one optimizer step at a time."""

    def __init__(self, folder: Path, given: list[Tokens], steps: int) -> None:
        self.learner = Learner(load(str(folder / "model")), Optimization(lr=LEARNING_RATE, total_updates=steps))
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
    each = [(stack, places, len(layers)) for stack in stacks]
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


# --- TRL ---


def described(choice: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {choice[axis]}" for axis in START)


def search(python: str, folder: Path, common: dict[str, Any], quick: bool) -> list[dict[str, Any]]:
    """TRL's settings with the median of two steps each, fastest first: one axis after the other, from the best so far."""
    tried: list[dict[str, Any]] = []

    def attempt(choice: dict[str, Any]) -> None:
        one: dict[str, Any] = {"settings": choice}
        try:
            with Peer(python, folder, {**common, **choice, "steps": 3}, "trl_update.py") as peer:
                one["seconds"] = statistics.median([peer.step()["whole"] for _ in range(3)][1:])
        except PeerFailed as error:
            one["failed"] = str(error)[:200]
        tried.append(one)
        print(f"  {described(choice):88} {one.get('seconds', one.get('failed'))}", file=sys.stderr, flush=True)

    def best() -> dict[str, Any]:
        done = [one for one in tried if "failed" not in one]
        if not done:
            raise SystemExit(f"TRL's side does not run: {tried[0]['failed']}")
        found: dict[str, Any] = min(done, key=lambda one: one["seconds"])
        return found

    attempt(dict(START))
    for axis, values in {} if quick else AXES.items():
        start = best()["settings"]
        for value in values:
            attempt({**start, axis: value})
    first = best()
    return [first, *(one for one in tried if one is not first)]


def compared(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One model: both sides in turns, and what our products reach."""
    count, steps = (16, 2) if args.quick else (ROWS[name], args.steps)
    with tempfile.TemporaryDirectory(prefix="burnish-learner-") as place:
        folder = Path(place)
        policy = made(SHAPES[name], VOCABULARY[name])
        policy.save(folder / "model")
        given = rows(count, VOCABULARY[name])
        lines = [json.dumps({"ids": each.ids, "mask": [int(own) for own in each.sampled]}) for each in given]
        (folder / "prompts.jsonl").write_text("".join(line + "\n" for line in lines))
        tokens = sum(len(each.ids) for each in given)
        result: dict[str, Any] = {"model": name, "shape": {**COMMON, **SHAPES[name], "vocab_size": VOCABULARY[name]}}
        result |= {"parameters": policy.parameters, "rows": count, "tokens": tokens, "steps": steps}
        ours, mine, theirs = Ours(folder, given, steps + 1), [], []
        result["fused"] = Fused.serves(ours.learner.policy)
        if args.trl_python:
            common = {"rows": count, "lr": LEARNING_RATE, "threads": args.threads}
            print(f"{name}: TRL's settings, each a run of its own", file=sys.stderr, flush=True)
            tried = search(args.trl_python, folder, common, args.quick)
            chosen = {**common, **tried[0]["settings"], "steps": steps + 1}
            with Peer(args.trl_python, folder, chosen, "trl_update.py") as peer:
                for _ in range(steps + 1):
                    mine.append(ours.step())
                    theirs.append(peer.step()["whole"])
                result["trl_facts"] = peer.timings["facts"]
            result |= {"trl_settings": tried[0]["settings"], "trl_tried": tried}
        else:
            mine = [ours.step() for _ in range(steps + 1)]
        result["ours_s"] = statistics.median(mine[1:])
        result["ours"] = tokens / result["ours_s"]
        if theirs:
            result["trl_s"] = statistics.median(theirs[1:])
            result |= {"trl": tokens / result["trl_s"], "ratio": result["trl_s"] / result["ours_s"]}
            alike = [
                one for one in result["trl_tried"] if one["settings"]["precision"] == "autocast" and "seconds" in one
            ]
            result["trl_autocast_s"] = min((one["seconds"] for one in alike), default=None)
        predicted = sum(each.sampled_count for each in given)
        result |= products(ours.learner.policy, tokens - count, predicted, 2 if args.quick else 5)
        result["efficiency"] = result["alone_s"] / result["ours_s"]
        return result


# --- memory ---


def peak(vocabulary: int, count: int) -> None:
    """Print by how many MiB the first update raises the peak. (In a process of its own.)"""
    shape = {**SHAPES["T"], "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128, "head_dim": 32}
    learner = Learner(made(shape, vocabulary), Optimization(lr=1e-6, total_updates=1, micro_batch_tokens=1 << 20))
    samples, weights = samples_of(rows(count, vocabulary))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learner.update(samples, objective, lambda part: weights)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def memory(quick: bool) -> list[dict[str, float]]:
    """Peaks at one and at four times the vocabulary, for batches of several sizes; and what the logits of the whole batch would take."""
    found = []
    for vocabulary in (16_000, 64_000):
        for count in (16, 32) if quick else (32, 64, 128):
            command = [sys.executable, __file__, "--peak", str(vocabulary), str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            places = sum(tokens.sampled_count for tokens in rows(count, vocabulary))
            whole = 2 * places * vocabulary / 2**20
            found.append(
                {"vocabulary": vocabulary, "rows": count, "peak_mib": float(done.stdout), "all_logits_mib": whole}
            )
    return found


def show(result: dict[str, Any]) -> None:
    for one in result["models"]:
        print(
            f"{one['model']}: {one['parameters']:,} parameters, {one['rows']} rows, {one['tokens']:,} tokens, "
            f"{result['threads']} threads, torch {result['torch']}, {'compiled kernels' if one['fused'] else 'the module'}; "
            f"medians of {one['steps']}"
        )
        print(f"  ours  {one['ours_s']:8.3f} s {one['ours']:10.0f} tokens/s")
        if "trl" in one:
            print(f"  TRL   {one['trl_s']:8.3f} s {one['trl']:10.0f} tokens/s   {described(one['trl_settings'])}")
            if one["trl_autocast_s"] is not None:
                print(f"        {one['trl_autocast_s']:8.3f} s when searched, its fastest in our precision (autocast)")
            print(f"  ratio {one['ratio']:8.2f}   (goal {GOAL[one['model']]:.0f})")
        print(
            f"  products: {one['tflop']:.3f} TFLOP, {one['alone_s']:.3f} s alone ({one['reached_tflops']:.3f} TFLOP/s): "
            f"{one['efficiency']:.0%} of the update"
        )
    if result["memory"]:
        print("peak of memory above the start, MiB (logits of all places at once would take, in bfloat16)")
    for one in result["memory"]:
        print(
            f"  vocabulary {one['vocabulary']:6.0f}, {one['rows']:4.0f} rows {one['peak_mib']:8.0f} ({one['all_logits_mib']:.0f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", help="a Python that has trl==1.16.0; without it only our side is timed")
    parser.add_argument("--models", nargs="+", choices=[*SHAPES], default=[*SHAPES])
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after one to warm up")
    parser.add_argument("--quick", action="store_true", help="16 rows, two steps, TRL's first settings only")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the tables")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(*args.peak)
        return
    if args.trl_python and shutil.which(args.trl_python) is None:
        sys.exit(f"There is no {args.trl_python}; --help says how to make an environment with TRL.")
    tune_allocator()
    result: dict[str, Any] = {"threads": args.threads, "torch": torch.__version__}
    result["models"] = [compared(name, args) for name in args.models]
    result["memory"] = memory(args.quick)
    print(json.dumps(result)) if args.json else show(result)


if __name__ == "__main__":
    main()
