"""Our losses against TRL's, on the same ids and weights, in one run: values, gradient norms and the gradients themselves.

    python benchmarks/parity_trl.py --trl-python .venv-trl/bin/python [--quick] [--json parity.json]

TRL lives in an environment of its own (pip install trl==1.16.0). Its trainers make the batch and compute loss and gradient; what they
computed on, id by id, is read back, and ours goes through the learner on the very same rows (float32, one thread). Exit code 1 where
a relative difference is above --tolerance. The model is small and random; rows are of random words and differ in length.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from burnish.algos.preference import CHOSEN, REJECTED, Preference, PreferenceStep, RewardStep, cross_entropy
from burnish.learner.critic import reward_row
from burnish.learner.learner import Learner, Optimization
from burnish.policy.heads import load_scorer, scorer_from
from burnish.policy.model import Policy, from_scratch, load
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Key, Notes, Sample, Tokens
from report import add_json, publish

HERE = Path(__file__).resolve().parent
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "tie_word_embeddings": True,
}
SETTINGS = {"beta": 0.3, "orpo_lambda": 0.7}
WORDS = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "add",
    "take",
    "times",
    "so",
    "12",
    "7",
)
LOSSES = ("sft", "dpo", "ipo", "orpo", "kto", "reward")


def prepare(folder: Path, pairs: int) -> None:
    """Write what both sides read."""
    rng = random.Random(3)

    def text(most: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, most)))

    rows = [{"prompt": text(12), "chosen": " " + text(20), "rejected": " " + text(20)} for _ in range(pairs)]
    tokenizer = train_tokenizer([" ".join(row.values()) for row in rows], 320, 512)
    tokenizer.chat_template = None  # rows stand as they are
    for name, seed in (("policy", 1), ("reference", 2)):
        from_scratch(tokenizer, SHAPE, "float32", seed).save(folder / name)
    policy = from_scratch(tokenizer, SHAPE, "float32", 1)
    scorer_from(policy, 5).save(folder / "reward")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "settings.json").write_text(json.dumps(SETTINGS))


def theirs(folder: Path, python: str) -> dict[str, dict[str, Any]]:
    """What TRL computed, by loss."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, str(HERE / "trl_losses.py"), str(folder)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(f"TRL's side does not run: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in LOSSES}


def tokens_of(row: dict[str, Any]) -> Tokens:
    ids = tuple(row["ids"])
    return Tokens(ids, tuple(i >= row["prompt"] for i in range(len(ids))), (0.0,) * len(ids))


def ours(folder: Path, name: str, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step of our learner, on the ids TRL computed on."""
    policy: Policy = (
        load_scorer(str(folder / "reward"), "float32") if name == "reward" else load(str(folder / "policy"), "float32")
    )
    learner = Learner(
        policy, Optimization(lr=1e-9, total_updates=1, clip_norm=1e9, micro_batch_tokens=400, layout="pairs")
    )
    samples, objective, weights = step_of(folder, name, batch, learner)
    losses: list[float] = []
    gradients: dict[str, torch.Tensor] = {}

    def noted(fields: Any) -> Any:
        loss, metrics = objective(fields)
        losses.append(float(loss.detach()))
        return loss, metrics

    def keep(*_: Any) -> None:
        gradients.update({n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None})

    learner.optimizer.register_step_pre_hook(keep)
    learner.update(samples, noted, lambda part: weights)
    return sum(losses), gradients


def step_of(
    folder: Path, name: str, batch: dict[str, Any], learner: Learner
) -> tuple[list[Sample], Any, dict[Key, float]]:
    """(samples, objective, weights) of the loss."""
    rows = batch["rows"]
    half = len(rows) // 2
    if name == "sft":
        tokens = [tokens_of(row) for row in rows]
        keys = [Key(str(i), 0) for i in range(len(rows))]
        count = sum(each.sampled_count for each in tokens)

        def supervised(fields: Any) -> Any:
            return cross_entropy(fields.logp_N, fields.weight_N), {}

        return _samples(keys, tokens), supervised, dict.fromkeys(keys, 1.0 / count)
    if name == "kto":
        keys = [Key(str(i), CHOSEN if label else REJECTED) for i, label in enumerate(batch["labels"])]
    else:
        keys = [Key(str(i % half), CHOSEN if i < half else REJECTED) for i in range(len(rows))]
    ones = dict.fromkeys(keys, 1.0)
    if name == "reward":
        return _samples(keys, [reward_row((), tuple(row["ids"])) for row in rows]), RewardStep(half), ones
    loss = Preference(name, beta=SETTINGS["beta"], orpo_lambda=SETTINGS["orpo_lambda"])
    tokens = [tokens_of(row) for row in rows]
    reference = load(str(folder / "reference"), "float32") if loss.needs_reference else None
    scored = learner.log_probs(tokens, reference) if reference is not None else [None] * len(tokens)
    kl = 0.0
    if name == "kto":
        apart = [tokens_of(row) for row in batch["mismatched"]]
        both = zip(learner.log_probs(apart), learner.log_probs(apart, reference), strict=True)
        kl = max(0.0, sum(sum(a) - sum(b) for a, b in both) / len(apart))
    compared = [tuple(map(float, each.sampled)) for each in tokens]
    if name == "orpo":  # TRL's cross entropy is over the prompts too
        tokens = [
            Tokens(each.ids, (False, *(True for _ in each.ids[1:])), each.logprobs) if i < half else each
            for i, each in enumerate(tokens)
        ]
    chosen = sum(each.sampled_count for each, key in zip(tokens, keys, strict=True) if key.index == CHOSEN)
    step = PreferenceStep(loss, half if loss.paired else len(rows), chosen, kl)
    return _samples(keys, tokens, compared, scored), step, ones


def _samples(
    keys: Sequence[Key], tokens: Sequence[Tokens], compared: Any = None, reference: Sequence[Any] | None = None
) -> list[Sample]:
    zeros = [(0.0,) * len(each.ids) for each in tokens]
    return [
        Sample(key, each, (compared or zeros)[i], 0.0, 0, 0, Notes(reference=reference[i] if reference else None))
        for i, (key, each) in enumerate(zip(keys, tokens, strict=True))
    ]


def compare(folder: Path, python: str, pairs: int = 6) -> list[dict[str, Any]]:
    """One row a loss: both values and gradient norms, and how far apart they are."""
    prepare(folder, pairs)
    found = []
    for name, batch in theirs(folder, python).items():
        if "failed" in batch:
            found.append({"loss": name, "failed": batch["failed"]})
            continue
        value, gradients = ours(folder, name, batch)
        other = load_file(folder / f"{name}.safetensors")
        assert gradients.keys() == other.keys(), f"{name}: the two sides have gradients of different weights"
        norm, norm_there = (
            float(torch.cat([g.flatten() for g in side.values()]).norm()) for side in (gradients, other)
        )
        apart = float(torch.cat([(gradients[n] - other[n]).flatten() for n in gradients]).norm())
        found.append(
            {
                "loss": name,
                "ours": value,
                "trl": batch["loss"],
                "difference": abs(value - batch["loss"]) / abs(batch["loss"]),
                "gradient_ours": norm,
                "gradient_trl": norm_there,
                "gradient_difference": apart / norm_there,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True, help="a Python that has trl==1.16.0")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--quick", action="store_true", help="two pairs")
    add_json(parser)
    args = parser.parse_args()
    args.pairs = 2 if args.quick else args.pairs
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        rows = compare(Path(place), args.trl_python, args.pairs)
        versions = json.loads((Path(place) / "versions.json").read_text())
    lines = [
        f"TRL {versions['trl']}, torch {versions['torch']} there and {torch.__version__} here; {args.pairs} pairs, float32",
        f"{'loss':8}{'ours':>12}{'TRL':>12}{'apart':>10}{'|gradient|':>13}{'TRL':>12}{'apart':>10}",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"{row['loss']:8}TRL's side failed: {row['failed']}")
            continue
        lines.append(
            f"{row['loss']:8}{row['ours']:12.7f}{row['trl']:12.7f}{row['difference']:10.1e}"
            f"{row['gradient_ours']:13.7f}{row['gradient_trl']:12.7f}{row['gradient_difference']:10.1e}"
        )
    lines.append("apart: |ours - TRL's| / |TRL's|; of gradients, over all weights together")
    ratio = {f"trl {row['loss']}": row["ours"] / row["trl"] for row in rows if "failed" not in row}
    publish(args, {"ratio": ratio, "versions": versions, "rows": rows}, "\n".join(lines))
    if any("failed" in row or max(row["difference"], row["gradient_difference"]) > args.tolerance for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
