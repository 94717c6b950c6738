"""The run files in examples/, end to end on small models and the real data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from burnish.config import PretrainConfig, RunConfig, load
from burnish.pipelines import pretrain, rl
from burnish.policy.model import from_scratch
from burnish.policy.tokenizer import train_tokenizer
from burnish.tasks.files import read_rows

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def test_gsm8k_runs_on_a_random_small_model(data_dir: Path, tmp_path: Path) -> None:
    train, held_out = (str(data_dir / "gsm8k" / f"{name}.jsonl") for name in ("train", "test"))
    texts = [row["question"] for _, row in zip(range(400), (row for _, row in read_rows(train)), strict=False)]
    from_scratch(train_tokenizer(texts, 1000, 1024), SMALL).save(tmp_path / "model")
    changes = [
        f"out={tmp_path / 'run'}",
        f"model.path={tmp_path / 'model'}",
        f"task.options.train={train}",
        f"task.options.held_out={held_out}",
        "sampling.max_new=40",
        "steps.total=2",
        "steps.prompts=4",
        "steps.samples=2",
        "evaluate.problems=8",
        "evaluate.samples=4",
    ]
    report = rl.train(load(RunConfig, EXAMPLES / "gsm8k.toml", changes), quiet=True)
    assert report["final"]["problems"] == 8
    assert json.loads((tmp_path / "run" / "report.json").read_text())["base"]["pass@1"]["low"] == 0.0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final").config.hidden_size == 32


@pytest.mark.slow
def test_countdown_runs_from_its_own_base(data_dir: Path, tmp_path: Path) -> None:
    files = [
        f"options.{name}={data_dir / 'countdown' / file}"
        for name, file in (("train", "train.parquet"), ("held_out", "test.parquet"))
    ]
    base = load(
        PretrainConfig,
        EXAMPLES / "countdown_base.toml",
        [f"out={tmp_path / 'base'}", *(f"corpus.{each}" for each in files), "updates=60", "scratch.hidden_size=64"],
    )
    pretrain.pretrain(base, quiet=True)
    changes = [
        f"out={tmp_path / 'run'}",
        f"model.path={tmp_path / 'base'}",
        *(f"task.{each}" for each in files),
        "steps.total=2",
        "steps.prompts=8",
        "evaluate.problems=16",
    ]
    report = rl.train(load(RunConfig, EXAMPLES / "countdown.toml", changes), quiet=True)
    assert report["final"]["samples"] == 4
