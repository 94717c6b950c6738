"""The learner's update: tokens a second beside TRL's on the same rows and model, and the peak of memory at four times the vocabulary.

    python benchmarks/learner.py --trl-python .venv-trl/bin/python [--quick] [--json learner.json]

One supervised optimizer step on rows of uneven length, packed and padded here; TRL's SFTTrainer gets its fastest split of the batch.
Memory is the peak resident size of a process of its own for each case, above that of the same process before its first update. Not
for: what is learned.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from burnish.learner.learner import Learner, Optimization
from burnish.pipelines.sft import objective
from burnish.policy.model import from_scratch, load, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Key, Sample, Tokens

HERE = Path(__file__).resolve().parent
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
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


def seconds(folder: Path, given: list[Tokens], layout: Any, steps: int) -> float:
    """The median of `steps` updates after a first one."""
    learner = Learner(load(str(folder / "model")), Optimization(lr=1e-6, total_updates=steps + 1, layout=layout))
    samples, weights = samples_of(given)
    taken = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        learner.update(samples, objective, lambda part: weights)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def peak(vocabulary: int, count: int) -> None:
    """Print by how many MiB the first update raises the peak. (In a process of its own.)"""
    tokenizer = train_tokenizer(["a b"], 272, 4096)
    shape = {**SHAPE, "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    policy = from_scratch(tokenizer, shape)
    policy.module.resize_token_embeddings(vocabulary)
    learner = Learner(policy, Optimization(lr=1e-6, total_updates=1, micro_batch_tokens=1 << 20))
    samples, weights = samples_of(rows(count, vocabulary))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learner.update(samples, objective, lambda part: weights)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def memory(quick: bool) -> list[dict[str, float]]:
    """Peaks at one and at four times the vocabulary, for a batch and one twice as large; and the logits of the whole batch."""
    found = []
    for vocabulary in (16_000, 64_000):
        for count in (16, 32) if quick else (32, 64, 128):
            done = subprocess.run(
                [sys.executable, __file__, "--peak", str(vocabulary), str(count)],
                capture_output=True,
                text=True,
                check=True,
            )
            places = sum(tokens.sampled_count for tokens in rows(count, vocabulary))
            whole = 4 * places * vocabulary / 2**20
            found.append(
                {"vocabulary": vocabulary, "rows": count, "peak_mib": float(done.stdout), "all_logits_mib": whole}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", help="a Python that has trl==1.16.0; without it only our side is timed")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--peak", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        peak(*args.peak)
        return
    tune_allocator()
    count, steps = (32, 3) if args.quick else (128, 7)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer = train_tokenizer(["a b c"], 1024, 4096)
        policy = from_scratch(tokenizer, SHAPE)
        policy.save(folder / "model")
        given = rows(count, policy.module.config.vocab_size)
        lines = [json.dumps({"ids": each.ids, "mask": [int(own) for own in each.sampled]}) for each in given]
        (folder / "rows.jsonl").write_text("".join(line + "\n" for line in lines))
        autocast = policy.compute is torch.bfloat16
        settings = {"threads": args.threads, "steps": steps, "parts": [1, 2, 4, 8], "autocast": autocast}
        (folder / "settings.json").write_text(json.dumps(settings))
        tokens = sum(len(each.ids) for each in given)
        result: dict[str, Any] = {"rows": count, "tokens": tokens, "threads": args.threads, "torch": torch.__version__}
        for layout in ("packed", "auto"):
            result[f"ours_{layout}"] = tokens / seconds(folder, given, layout, steps)
        if args.trl_python:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(args.threads)}
            environment.pop("PYTHONPATH", None)
            subprocess.run(
                [args.trl_python, str(HERE / "trl_update.py"), place],
                check=True,
                env=environment,
                stderr=subprocess.DEVNULL,
            )
            theirs = json.loads((folder / "trl.json").read_text())
            result |= {"trl": tokens / theirs["seconds"], "trl_settings": theirs}
    result["memory"] = memory(args.quick)
    print(
        f"{count} rows, {tokens} tokens, {args.threads} threads, torch {torch.__version__}, medians of {steps}; tokens a second"
    )
    for name in ("ours_packed", "ours_auto", "trl"):
        if name in result:
            print(f"  {name:12}{result[name]:10.0f}")
    print("peak of memory above the start, MiB (logits of all places at once would take)")
    for one in result["memory"]:
        print(
            f"  vocabulary {one['vocabulary']:6.0f}, {one['rows']:4.0f} rows {one['peak_mib']:8.0f} ({one['all_logits_mib']:.0f})"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
