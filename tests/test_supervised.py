"""sft, rm and dpo end to end on tiny models: they learn, they resume bit for bit, and adapters come off and merge."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from burnish.journal import Journal, comparable
from burnish.learner.learner import Learner
from terminal import Said, Terminal, write_rows, write_toml

SCRATCH = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "vocab_size": 300,
}
ADAPTERS = {"rank": 4, "dropout": 0.1}


def verbose(number: int) -> dict[str, str]:
    """A sum, answered in one word or at length: the short one is to be preferred."""
    one, other = number % 7, number % 5
    return {
        "prompt": f"What is {one}+{other} in round {number}?",
        "completion": f"It is {one + other}.",
        "chosen": f"It is {one + other}.",
        "rejected": f"Well, let me think about {one} and {other}.",
    }


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", *map(verbose, range(60)))
    return tmp_path


def config(verb: str, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "out": verb,
        "model": {"path": "scratch", "compute": "float32"},
        "scratch": SCRATCH,
        "data": {"train": "rows.jsonl", "held_out_share": 0.2},
        "optimizer": {"lr": 4e-3, "micro_batch_tokens": 512},
        "steps": {"rows": 8, "total": 12, "checkpoint_every": 3},
    }
    if verb == "kto":
        settings["loss"] = {"name": "kto"}
    return {**settings, **changes}


def run(terminal: Terminal, desk: Path, verb: str, *arguments: str, **changes: Any) -> Said:
    write_toml(desk / f"{verb}.toml", config(verb, **changes))
    return terminal(verb, f"{verb}.toml", "--json", *arguments)


def test_sft_learns_its_rows(terminal: Terminal, desk: Path) -> None:
    report = run(terminal, desk, "sft").json
    before, after = (report[stage]["loss, nats a token"] for stage in ("base", "final"))
    assert after["high"] < before["low"] and report["change"]["loss"]["high"] < 0
    lines = list(Journal.open(desk / "sft").metrics())
    assert [line["step"] for line in lines] == list(range(1, 13)) and lines[-1]["loss/token"] < lines[0]["loss/token"]
    assert AutoModelForCausalLM.from_pretrained(desk / "sft" / "final").config.hidden_size == 32


def test_packed_rows_learn_what_padded_rows_learn(terminal: Terminal, desk: Path) -> None:
    packed = run(terminal, desk, "sft").json["final"]["loss, nats a token"]["value"]
    padded = run(terminal, desk, "sft", out="padded", packing=False).json["final"]["loss, nats a token"]["value"]
    assert packed == pytest.approx(padded, rel=1e-3)


def test_rm_learns_to_prefer(terminal: Terminal, desk: Path) -> None:
    report = run(terminal, desk, "rm").json
    assert report["final"]["accuracy"]["low"] > 0.5
    assert (
        report["length_baseline"]["prefers"] == "the shorter" and report["length_baseline"]["accuracy"]["value"] == 1.0
    )
    assert report["pairs"]["train"] + report["pairs"]["held_out"] == 60
    assert sum(one["pairs"] for one in report["final"]["reliability"]) == report["pairs"]["held_out"]
    model = AutoModelForSequenceClassification.from_pretrained(desk / "rm" / "final")
    assert model.config.num_labels == 1


@pytest.mark.parametrize("name", ["dpo", "ipo", "cdpo", "kto", "orpo", "simpo"])
def test_every_preference_loss_learns_to_prefer(terminal: Terminal, desk: Path, name: str) -> None:
    report = run(terminal, desk, "dpo", loss={"name": name}).json
    assert report["final"]["accuracy"]["value"] > 0.9
    assert report["final"]["margin"]["low"] > report["base"]["margin"]["value"]


def test_a_reference_that_is_named_is_used(terminal: Terminal, desk: Path) -> None:
    """Against itself every margin starts at zero; against another model it does not."""
    run(terminal, desk, "sft")
    start = {"path": "sft/final", "compute": "float32"}
    itself = run(terminal, desk, "dpo", model=start).json
    named = run(terminal, desk, "dpo", out="named", model=start, reference={"path": "dpo/final"}).json
    assert itself["base"]["margin"]["value"] == 0.0 and named["base"]["margin"]["value"] < 0.0


# ---- adapters


def test_an_adapter_is_saved_and_merged(terminal: Terminal, desk: Path) -> None:
    from peft import PeftModel

    run(terminal, desk, "sft")
    report = run(terminal, desk, "dpo", model={"path": "sft/final", "compute": "float32"}, lora=ADAPTERS).json
    base = AutoModelForCausalLM.from_pretrained("sft/final")
    start = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = PeftModel.from_pretrained(base, report["adapter"])
    ids = torch.arange(20)[None]
    merged = AutoModelForCausalLM.from_pretrained("dpo/final")
    assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4)
    with adapted.disable_adapter():
        original = AutoModelForCausalLM.from_pretrained("sft/final")
        assert torch.equal(adapted(ids).logits, original(ids).logits)
    moved = merged.state_dict()
    assert not torch.equal(moved["model.layers.0.mlp.up_proj.weight"], start["model.layers.0.mlp.up_proj.weight"])
    assert torch.equal(moved["model.embed_tokens.weight"], start["model.embed_tokens.weight"])


def test_a_reward_model_with_adapters_trains_its_head_too(terminal: Terminal, desk: Path) -> None:
    report = run(terminal, desk, "rm", lora={"rank": 4}).json
    assert report["final"]["accuracy"]["low"] > 0.5
    merged = AutoModelForSequenceClassification.from_pretrained("rm/final")
    saved = load_file(desk / "rm" / "adapter" / "adapter_model.safetensors")
    [head] = [tensor for name, tensor in saved.items() if "score" in name]
    assert torch.equal(merged.score.weight, head)


# ---- resuming


class Interruption(BaseException):
    """Not an error anyone would catch."""


def content(out: Path) -> dict[str, Any]:
    """Everything of a run that is not the clock's."""
    report = json.loads((out / "report.json").read_text())
    journal = Journal.open(out)
    weights = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("*/*.safetensors"))
    }
    plain = {key: value for key, value in report.items() if key not in ("phases", "run_dir", "model", "adapter")}
    return {
        "weights": weights,
        "metrics": [comparable(line) for line in journal.metrics()],
        "events": [comparable(line) for line in journal.events()],
        "report": plain,
    }


VERBS = [
    pytest.param("sft", {}, id="sft"),
    pytest.param("sft", {"lora": ADAPTERS}, id="sft with adapters and dropout"),
    pytest.param("rm", {}, id="rm"),
    pytest.param("dpo", {"lora": ADAPTERS}, id="dpo with adapters"),
    pytest.param("dpo", {"loss": {"name": "kto"}}, id="kto"),
]


@pytest.mark.parametrize(("verb", "changes"), VERBS)
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(
    terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch, verb: str, changes: dict[str, Any]
) -> None:
    run(terminal, desk, verb, **changes)
    whole = content(desk / verb)
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        result = real(self, *args)
        if self.version == 5:
            raise Interruption
        return result

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        run(terminal, desk, verb, "out=again", **changes)
    torch.manual_seed(99)
    assert run(terminal, desk, verb, "out=again", "--resume", **changes).code == 0
    assert content(desk / "again") == whole


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("verb", "changes"), [VERBS[1], VERBS[2], VERBS[3]])
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(
    terminal: Terminal, desk: Path, verb: str, changes: dict[str, Any]
) -> None:
    """SIGKILL at seeded moments after the run got somewhere, in processes of their own; then --resume to the end."""
    steps = {"rows": 8, "total": 60, "checkpoint_every": 4}
    write_toml(desk / "run.toml", config(verb, **changes, steps=steps))
    command = [sys.executable, "-m", "burnish", verb, "run.toml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = subprocess.run([*command, "out=whole", "--json"], capture_output=True, env=environment, timeout=240)
    assert whole.returncode == 0, whole.stderr
    rng = random.Random(5)
    for number, lines in enumerate((0, 7, 30)):
        process = subprocess.Popen(
            [*command, "out=killed", *(["--resume"] if number else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        deadline = time.monotonic() + 120
        log = desk / "killed" / "metrics.jsonl"
        while not (log.exists() and len(log.read_bytes().splitlines()) >= lines):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(
        [*command, "out=killed", "--resume", "--json"], capture_output=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert content(desk / "killed") == content(desk / "whole")


# ---- real data


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_small_reward_model_tells_right_from_wrong_solutions_beyond_chance(
    terminal: Terminal, data_dir: Path, tmp_path: Path
) -> None:
    """The two examples, on labelled solutions to GSM8K: held-out problems, the problem as the unit."""
    examples = Path(__file__).resolve().parents[1] / "examples"
    gsm8k = data_dir / "gsm8k"
    base = terminal(
        "sft",
        examples / "reward_base.toml",
        f"out={tmp_path / 'base'}",
        f"data.train={gsm8k / 'train.jsonl'}",
        "--json",
    )
    assert base.code == 0, base.err
    report = terminal(
        "rm",
        examples / "reward_model.toml",
        f"out={tmp_path / 'rm'}",
        f"model.path={tmp_path / 'base' / 'final'}",
        f"data.train={gsm8k / 'example_model_solutions.jsonl'}",
        "--json",
    ).json
    assert report["final"]["accuracy"]["low"] > 0.5
    assert report["length_baseline"]["model where the rule is wrong"]["low"] > 0.5
