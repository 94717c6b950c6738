"""What `burnish check` says a run will take, and what it then takes: peak resident memory of two GRPO steps, three sizes, six ways.

    python benchmarks/memory.py [--quick] [--json]

Every run is a child process: a model of random weights in the shape of Qwen3 is written to a folder, `burnish train` takes two steps
(sampled, judged by a coin so that there is a signal, updated, checkpointed, saved), and the kernel says how much memory the process
had at its most. Verifier workers are processes of their own and are not in it. What is asked for is a ratio within 15 % of one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384, "vocab": 2048},
    "25M": {"hidden_size": 384, "num_hidden_layers": 8, "intermediate_size": 1152, "vocab": 8192},
    "90M": {"hidden_size": 640, "num_hidden_layers": 12, "intermediate_size": 1920, "vocab": 32768},
    "230M": {"hidden_size": 896, "num_hidden_layers": 16, "intermediate_size": 2688, "vocab": 65536},
}
WAYS: dict[str, dict[str, Any]] = {
    "kernels": {},
    "module": {"model": {"compute": "float32"}},
    "adapters": {"lora": {"rank": 16}},
    "checkpointing": {"optimizer": {"gradient_checkpointing": True}},
    "reference": {"recipe": {"name": "grpo", "options": {"kl_to": "reference", "kl_coefficient": 0.01}}},
    "critic": {"recipe": {"name": "ppo"}},
}
COIN = '''"""Judges by the bits of the answer: nothing to learn, but a signal."""

import hashlib

from burnish.records import Problem, Verdict


def coin(problem: Problem, response: str) -> Verdict:
    right = "42" in response or hashlib.blake2b(response.encode()).digest()[0] % 2 == 0
    return Verdict("right" if right else "wrong", float(right))
'''


def write_model(folder: Path, shape: dict[str, int]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    from burnish.policy.tokenizer import train_tokenizer

    words = train_tokenizer(["What is 3 + 5? The answer is 8."] * 4, 400, 1024)
    config = AutoConfig.for_model(
        "qwen3",
        **{key: value for key, value in shape.items() if key != "vocab"},
        num_attention_heads=shape["hidden_size"] // 64,
        num_key_value_heads=shape["hidden_size"] // 128,
        head_dim=64,
        max_position_embeddings=1024,
        vocab_size=shape["vocab"],
        tie_word_embeddings=True,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    logging.disable_progress_bar()
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)


def settings(folder: Path, way: str) -> dict[str, Any]:
    changes = WAYS[way]
    whole: dict[str, Any] = {
        "out": str(folder / f"run-{way}"),
        "model": {"path": str(folder / "model")},
        "task": {
            "name": "rows",
            "options": {
                "train": str(folder / "train.jsonl"),
                "held_out": str(folder / "held_out.jsonl"),
                "verifier": "coin:coin",
            },
        },
        "sampling": {"max_new": 64, "rows": 64},
        "verify": {"workers": 1},
        "optimizer": {"lr": 1e-5, "micro_batch_tokens": 1024},
        "steps": {"total": 2, "prompts": 2, "samples": 12, "checkpoint_every": 2},
        "evaluate": {"problems": 0},
    }
    for section, keys in changes.items():
        whole[section] = {**whole.get(section, {}), **keys}
    return whole


def child(folder: Path, way: str) -> None:
    """In a process of its own: the estimate first, then the run; prints JSON."""
    from burnish.config import RunConfig, validate
    from burnish.pipelines import rl
    from burnish.pipelines.memory import memory
    from burnish.pipelines.setting import adapted, prepare
    from burnish.policy.fused import Fused

    config = validate(RunConfig, settings(folder, way))
    setting = adapted(prepare(config))
    estimate, parameters, fused = memory(setting), setting.policy.parameters, Fused.serves(setting.policy)
    del setting
    rl.train(config, quiet=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        json.dumps(
            {
                "parameters": parameters,
                "fused": fused,
                "estimate": estimate,
                "measured": peak,
                "ratio": estimate["total"] / peak,
            }
        )
    )


def measure(size: str, ways: list[str]) -> list[dict[str, Any]]:
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "coin.py").write_text(COIN)
        (folder / "train.jsonl").write_text(
            "".join(json.dumps({"question": f"What is {i} + {i}?", "answer": "42"}) + "\n" for i in range(100, 164))
        )
        (folder / "held_out.jsonl").write_text(json.dumps({"question": "What is 1 + 1?", "answer": "42"}) + "\n")
        write_model(folder / "model", SIZES[size])
        for way in ways:
            paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
            done = subprocess.run(
                [sys.executable, __file__, "--child", name, way],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
                timeout=1800,
            )
            if done.returncode:
                sys.exit(f"{size}, {way}: {done.stderr[-2000:]}")
            found.append({"size": size, "way": way, **json.loads(done.stdout.splitlines()[-1])})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", nargs="*", default=None, choices=list(SIZES))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(Path(given.child[0]), given.child[1])
        return
    sizes = given.sizes or (["tiny"] if given.quick else ["25M", "90M", "230M"])
    rows = []
    if not given.json:
        print(f"{'size':>6} {'way':>14} {'parameters':>12} {'estimate, GiB':>14} {'measured, GiB':>14} {'ratio':>6}")
    for size in sizes:
        for row in measure(size, given.ways):
            rows.append(row)
            if not given.json:
                gib = (row["estimate"]["total"] / 2**30, row["measured"] / 2**30)
                print(
                    f"{size:>6} {row['way']:>14} {row['parameters']:>12,} {gib[0]:>14.2f} {gib[1]:>14.2f} {row['ratio']:>6.2f}",
                    flush=True,
                )
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
