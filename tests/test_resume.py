"""A run that is interrupted at any moment and resumed is the run that never stopped, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.cli import main
from burnish.config import PretrainConfig, RunConfig, dumps, validate
from burnish.errors import ResumeError, StorageError
from burnish.journal import Journal, comparable
from burnish.learner import checkpoint
from burnish.learner.learner import Learner
from burnish.pipelines import pretrain, rl

STEPS = 6
CLOCKED = ("verify_seconds",)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned the format of chains of one or two steps, and guesses the digit."""
    out = tmp_path_factory.mktemp("base") / "model"
    torch.set_num_threads(1)
    settings = {
        "out": str(out),
        "scratch": {
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 24,
            "max_position_embeddings": 96,
            "vocab_size": 288,
        },
        "corpus": {
            "options": {"min_steps": 1, "max_steps": 2},
            "documents": {"think_share": 0.1, "slip_rate": 0.0},
            "tokenizer_documents": 200,
        },
        "optimizer": {"lr": 5e-3},
        "updates": 60,
        "documents": 24,
    }
    pretrain.pretrain(validate(PretrainConfig, settings), quiet=True)
    return out


def config(base: Path, out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "out": str(out),
        "model": {"path": str(base)},
        "task": {"name": "chain", "options": {"min_steps": 1, "max_steps": 2}},
        "sampling": {"max_new": 32},
        "verify": {"workers": 1},
        "recipe": {"name": "grpo", "options": {"kl_to": "reference", "kl_coefficient": 0.01}},
        "optimizer": {"lr": 1e-3, "warmup_updates": 3},
        "steps": {"total": STEPS, "prompts": 4, "samples": 4, "checkpoint_every": 2},
        "evaluate": {"problems": 8, "samples": 2, "ks": [1]},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        settings[section] = {**settings[section], key: value} if key else value
    return validate(RunConfig, settings)


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    torch.set_num_threads(1)
    rl.train(config(base, out), quiet=True)
    return out


def content(out: Path) -> dict[str, Any]:
    """Everything of a run that is not the clock's."""
    journal = Journal.open(out)
    rows = [{name: value for name, value in row.items() if name not in CLOCKED} for row in journal.rollouts()]
    newest = checkpoint.latest(out / "checkpoints")
    assert newest is not None
    report = json.loads((out / "report.json").read_text())
    return {
        "model": hashlib.sha256((out / "final" / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": [comparable(line) for line in journal.metrics()],
        "events": [comparable(line) for line in journal.events()],
        "rollouts": json.dumps(rows, default=str),
        "checkpoints": sorted(path.name for path in (out / "checkpoints").iterdir()),
        "step": newest.step,
        "source": newest.run["source"],
        "final": {**report["final"], "cost": None},
        "change": report["change"],
        "flops": report["flops"],
    }


def assert_the_same(out: Path, whole: Path) -> None:
    found, expected = content(out), content(whole)
    for name in expected:
        assert found[name] == expected[name], name


def test_the_run_is_worth_interrupting(whole: Path) -> None:
    """Most steps train on something, so that there is something to be lost."""
    lines = list(Journal.open(whole).metrics())
    assert len(lines) == STEPS
    assert sum(line["rollouts/trained"] > 0 for line in lines) >= 4
    assert lines[-1]["version"] >= 4


def test_the_same_config_gives_the_same_run(base: Path, whole: Path, tmp_path: Path) -> None:
    rl.train(config(base, tmp_path / "run"), quiet=True)
    assert_the_same(tmp_path / "run", whole)


class Interruption(BaseException):
    """Not an error anyone would catch."""


@pytest.mark.parametrize("updates", [0, 1, 4])
def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(
    base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, updates: int
) -> None:
    """In the middle of the step after that many updates: sampled, and the weights already changed."""
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        result = real(self, *args)
        if self.version == updates + 1:
            raise Interruption
        return result

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(config(base, tmp_path / "run"), quiet=True)
    torch.manual_seed(99)  # another process would have other generators
    rl.train(config(base, tmp_path / "run"), resume=True, quiet=True)
    assert_the_same(tmp_path / "run", whole)


def test_an_interruption_while_a_checkpoint_is_written(
    base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up in the middle of the second one."""
    real, calls = os.fsync, 0

    def filling(descriptor: int) -> None:
        nonlocal calls
        if ".step_000004.part" in os.readlink(f"/proc/self/fd/{descriptor}"):
            calls += 1
            if calls == 2:
                raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="the disk is full"):
        patch.setattr(os, "fsync", filling)
        rl.train(config(base, tmp_path / "run"), quiet=True)
    rl.train(config(base, tmp_path / "run"), resume=True, quiet=True)
    assert_the_same(tmp_path / "run", whole)


def test_a_torn_checkpoint_costs_time_and_nothing_else(
    base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        if (out / "checkpoints" / "step_000004").exists():
            raise Interruption
        return real(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(config(base, out), quiet=True)
    path = out / "checkpoints" / "step_000004" / "learner.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    rl.train(config(base, out), resume=True)
    said = capfd.readouterr().err
    assert "step_000004 is torn (learner.pt); the one before it is used" in said
    assert f"Going on from step 2 of {STEPS}" in said
    assert_the_same(out, whole)


def command(run: Path, *arguments: str) -> tuple[int, str, str]:
    """`burnish train RUN.toml ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "burnish", "train", str(run), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr


def test_resuming_with_another_config_names_the_key_and_exits_with_2(
    base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(whole)
    run = tmp_path / "run.toml"
    run.write_text(dumps(config(base, whole)))
    monkeypatch.setattr(sys, "argv", ["burnish", "train", str(run), "optimizer.lr=0.5", "--resume"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "optimizer.lr: 0.001 there, 0.5 here" in capsys.readouterr().err
    assert content(whole) == before


def test_a_run_is_not_started_over_another(base: Path, whole: Path) -> None:
    with pytest.raises(ResumeError, match="--resume"):
        rl.train(config(base, whole), quiet=True)


def test_resuming_a_finished_run_changes_nothing_and_prints_its_report(
    base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, report = content(whole), json.loads((whole / "report.json").read_text())
    run = tmp_path / "run.toml"
    run.write_text(dumps(config(base, whole)))
    monkeypatch.setattr(sys, "argv", ["burnish", "train", str(run), "--resume", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == report
    assert content(whole) == before


# ---- killed, in processes of their own

Reached = Callable[[Path], bool]


def started(out: Path) -> bool:
    return (out / "config.toml").exists()


def after(steps: int) -> Reached:
    return lambda out: started(out) and len((out / "metrics.jsonl").read_bytes().splitlines()) >= steps


def writing(step: int) -> Reached:
    """The checkpoint of that step is being written, or was a moment ago."""
    return lambda out: any(out.glob(f"checkpoints/*step_{step:06d}*"))


KILLS: tuple[tuple[str, Reached], ...] = (
    ("measuring the base model", started),
    ("in the second step", after(1)),
    ("writing the first checkpoint", writing(2)),
    ("in the fourth step", after(3)),
    ("writing the second checkpoint", writing(4)),
    ("saving or measuring the final model", after(STEPS)),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(base: Path, tmp_path: Path) -> None:
    """SIGKILL again and again, each time a seeded moment after the run got somewhere; then --resume to the end."""
    files = {}
    for name in ("whole", "killed"):
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(dumps(config(base, tmp_path / name)))
    assert command(files["whole"], "--json")[0] == 0
    rng = random.Random(7)
    for number, (where, reached) in enumerate(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "burnish", "train", str(files["killed"]), *(["--resume"] if number else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 120
        while not reached(tmp_path / "killed"):
            assert process.poll() is None, f"the run ended before it was killed {where}"
            assert time.monotonic() < deadline, f"the run never got to where it was to be killed {where}"
            time.sleep(0.0005)
        if not where.startswith("writing"):
            time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, out, said = command(files["killed"], "--resume", "--json")
    assert code == 0, said
    assert json.loads(out)["change"] == content(tmp_path / "whole")["change"]
    assert_the_same(tmp_path / "killed", tmp_path / "whole")


def test_a_run_killed_before_its_config_was_written_starts_again(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "rollouts").mkdir(parents=True)
    (out / "versions.json").write_text("{}")
    report = rl.train(config(base, out), resume=True, quiet=True)
    assert report["final"]["problems"] == 8


def test_a_folder_of_something_else_is_left_alone(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("x")
    with pytest.raises(ResumeError, match="already holds something"):
        rl.train(config(base, out), resume=True, quiet=True)
    assert (out / "chapter.tex").read_text() == "x"
