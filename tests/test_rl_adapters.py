"""Reinforcement learning of low-rank adapters: the base stays, the reference is the base, and a run resumes exactly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from burnish.config import RunConfig, validate
from burnish.errors import ConfigError
from burnish.journal import Journal
from burnish.learner.learner import Learner, Optimization
from burnish.pipelines import rl
from burnish.pipelines.memory import memory
from burnish.pipelines.setting import adapted, prepare
from burnish.policy.model import load
from terminal import Terminal, run_settings, write_toml
from test_resume import Interruption, assert_the_same

LORA = {"rank": 4, "alpha": 32.0, "targets": ["q_proj", "v_proj", "up_proj", "down_proj"]}
KL = {"name": "grpo", "options": {"kl_to": "reference", "kl_coefficient": 0.01}}


def config(base: Path, out: Path, **changes: Any) -> RunConfig:
    whole = {**run_settings(base), "out": str(out), "lora": LORA, "recipe": KL, **changes}
    whole["optimizer"] = {"lr": 1e-2}
    return validate(RunConfig, whole)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "run"
    torch.set_num_threads(1)
    rl.train(config(tiny_base, out), quiet=True)
    return out


def test_the_adapter_is_saved_and_final_is_base_and_adapter_together(tiny_base: Path, whole: Path) -> None:
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    start = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    final = AutoModelForCausalLM.from_pretrained(whole / "final")
    moved = {name for name, tensor in final.state_dict().items() if not torch.equal(tensor, start[name])}
    assert moved and all(any(target in name for target in LORA["targets"]) for name in moved)  # type: ignore[union-attr]
    ids = torch.arange(20)[None]
    together = PeftModel.from_pretrained(base, str(whole / "adapter"))(ids).logits
    assert torch.allclose(together, final(ids).logits, atol=1e-4)


def test_the_engine_samples_from_base_and_adapter_together(whole: Path) -> None:
    """The adapter moved, and what was sampled with it on is what the learner scores: the gap stays that of roundings."""
    lines = list(Journal.open(whole).metrics())
    assert lines[-1]["version"] >= 2 and all(line["gap/abs_mean"] < 0.02 for line in lines)
    norm = sum(float(one.norm()) for name, one in load_file(whole / "adapter" / "adapter_model.safetensors").items())
    assert norm > 0


def test_the_reference_is_the_base(tiny_base: Path, tmp_path: Path) -> None:
    setting = adapted(prepare(config(tiny_base, tmp_path / "run")))
    setting.policy.compute = torch.float32  # so that a wrong reference and a rounding cannot be confused
    learner = Learner(setting.policy, Optimization(lr=1e-3, total_updates=1), needs=frozenset({"reference"}))
    assert learner._reference is None  # no second model in memory
    with torch.no_grad():
        for name, weight in setting.policy.module.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight))
    rows = [learner_row(setting)]
    [own], [reference] = learner.log_probs(rows), learner.reference_log_probs(rows)
    base = load(str(tiny_base), "float32")
    [expected] = Learner(base, Optimization(lr=1e-3, total_updates=1)).log_probs(rows)
    assert reference == pytest.approx(expected, abs=1e-4)
    assert max(abs(a - b) for a, b in zip(own, reference, strict=True)) > 0.5


def learner_row(setting: Any) -> Any:
    from burnish.records import Tokens

    ids = setting.prompt(setting.task.held_out()[0]).ids
    return Tokens(ids, (False, *(True,) * (len(ids) - 1)), (0.0,) * len(ids))


def test_an_interrupted_run_goes_on_as_if_it_had_never_stopped(
    tiny_base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        if self.version == 2:
            raise Interruption
        return real(self, *args)

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(config(tiny_base, out), quiet=True)
    torch.manual_seed(99)
    rl.train(config(tiny_base, out), resume=True, quiet=True)
    assert_the_same(out, whole)
    one, other = (load_file(place / "adapter" / "adapter_model.safetensors") for place in (out, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_ppo_has_a_critic_of_its_own_beside_adapters(tiny_base: Path, tmp_path: Path) -> None:
    """The critic copies the bare base, and is trained whole."""
    rl.train(config(tiny_base, tmp_path / "run", recipe={"name": "ppo"}), quiet=True)
    saved = load_file(tmp_path / "run" / "critic" / "model.safetensors")
    assert not [name for name in saved if "lora" in name] and float(saved["score.weight"].abs().max()) > 0


def test_what_is_not_trained_needs_no_gradients_and_no_reference(tiny_base: Path, tmp_path: Path) -> None:
    bare, lean = (prepare(config(tiny_base, tmp_path / "run", lora=lora)) for lora in ({}, LORA))
    whole, adapters = memory(adapted(bare)), memory(adapted(lean))
    trained = sum(one.numel() for name, one in lean.policy.module.named_parameters() if "lora" in name)
    assert adapters["optimizer"] == 8 * trained < whole["optimizer"]
    assert adapters["reference"] == 0 < whole["reference"]


def test_a_reference_that_would_have_to_move_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    moving = {"name": "grpo", "options": {"kl_to": "moving", "kl_coefficient": 0.01, "kl_every": 2, "kl_mix": 0.5}}
    with pytest.raises(ConfigError, match="needs a copy of the reference that can move"):
        rl.train(config(tiny_base, tmp_path / "run", recipe=moving), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("targets", "peft", "said"), [(["nosuch"], True, "fit no layer"), ([], False, "burnish[lora]")]
)
def test_adapters_that_cannot_be_had_are_refused_before_anything_is_written(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    targets: list[str],
    peft: bool,
    said: str,
) -> None:
    if not peft:
        monkeypatch.setitem(sys.modules, "peft", None)
    settings = {**run_settings(tiny_base), "out": str(tmp_path / "run"), "lora": {"rank": 4, "targets": targets}}
    for verb in ("train", "check"):
        found = Terminal(monkeypatch, capsys)(verb, write_toml(tmp_path / "run.toml", settings))
        assert found.code == 2 and said in found.sentence and not (tmp_path / "run").exists()
