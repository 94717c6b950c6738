"""Whole runs from folders of families: train, check and select choose the engine by one function, and the settings reach the prompt."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

import families
from burnish.config import RunConfig, SelectConfig, validate
from burnish.journal import Journal
from burnish.pipelines import rl
from burnish.pipelines.check import check
from burnish.pipelines.memory import memory
from burnish.pipelines.select import select
from burnish.pipelines.setting import adapted, prepare
from burnish.policy.model import load
from terminal import Terminal, write_rows, write_toml


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def task(folder: Path) -> dict[str, Any]:
    """Sums whose answer never comes up, judged by a coin."""
    train = write_rows(
        folder / "train.jsonl", *({"question": f"What is {i} + {i}?", "answer": "42!"} for i in range(24))
    )
    held_out = write_rows(folder / "held_out.jsonl", {"question": "What is 99 + 99?", "answer": "42!"})
    return {
        "name": "rows",
        "options": {
            "train": str(train),
            "held_out": str(held_out),
            "verifier": "coin:coin",
            "gold_wording": "{answer}",
        },
    }


def settings(name: str, folder: Path, **changes: Any) -> dict[str, Any]:
    model = folder / "model"
    if not model.exists():
        families.write(name, model)
    whole: dict[str, Any] = {
        "out": str(folder / "run"),
        "model": {"path": str(model)},
        "task": task(folder),
        "sampling": {"max_new": 10},
        "verify": {"workers": 1},
        "optimizer": {"lr": 1e-3},
        "steps": {"total": 2, "prompts": 3, "samples": 6},
        "evaluate": {"problems": 0},
    }
    for section, keys in changes.items():
        whole[section] = {**whole.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return whole


@pytest.mark.parametrize("name", ["Falcon-H1", "Mamba", "Gemma 3", "Qwen3, mixture of experts"])
def test_a_run_trains_the_family_and_its_final_model_loads(name: str, tmp_path: Path) -> None:
    rl.train(validate(RunConfig, settings(name, tmp_path)), quiet=True)
    lines = list(Journal.open(tmp_path / "run").metrics())
    assert lines[-1]["version"] == 2 and all(line["gap/abs_mean"] < 0.02 for line in lines)
    first, final = (load(str(tmp_path / place), "float32").module.state_dict() for place in ("model", "run/final"))
    assert any(not torch.equal(first[key], final[key]) for key in first)


def test_a_run_on_a_family_of_transformers_says_so_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Terminal(monkeypatch, capsys)("train", write_toml(tmp_path / "run.toml", settings("Mamba", tmp_path)))
    assert said.code == 0
    assert "MambaForCausalLM is sampled by transformers' generate" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("name", "engine", "path"),
    [("Mamba", "transformers", "module"), ("Gemma 3", "embedded engine", "module")],
)
def test_check_says_which_engine_and_path_a_run_will_have(
    name: str, engine: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for refusal in ("_refuse", "_refuse_hacks"):  # random answers to a coin: of course it cannot learn
        monkeypatch.setattr(f"burnish.pipelines.check.{refusal}", lambda *_: None)
    found = check(validate(RunConfig, settings(name, tmp_path)), prompts=4)
    assert (found["sampled_by"], found["path"]) == (engine, path)
    assert bool(found["notices"]) is (engine == "transformers")
    assert found["memory_gib"]["total"] == pytest.approx(
        sum(size for part, size in found["memory_gib"].items() if part != "total"), abs=0.01
    )


def test_select_samples_such_a_family_too(tmp_path: Path) -> None:
    whole = settings("Mamba", tmp_path)
    source = {
        "model": whole["model"]["path"],
        "task": "rows",
        "options": whole["task"]["options"],
        "problems": 4,
        "samples": 8,
    }
    kept = {"out": str(tmp_path / "kept"), "source": source, "sampling": {"max_new": 10}, "verify": {"workers": 1}}
    made = select(validate(SelectConfig, kept), quiet=True)
    assert made["completions"] == 32 and made["kept"] + sum(made["removed"].values()) == 32


@pytest.mark.parametrize("thinking", [False, True, None])
def test_thinking_reaches_the_prompts_of_a_run(thinking: bool | None, tmp_path: Path) -> None:
    wanted = {"thinking": thinking, "system": "Be brief."} if thinking is not None else {"system": "Be brief."}
    setting = prepare(validate(RunConfig, settings("Qwen3", tmp_path, task=wanted)))
    text = setting.prompt(setting.task.held_out()[0]).text
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert text.endswith("</think>\n\n") is (thinking is False)


def test_stop_tokens_of_a_run_are_the_models_and_its_templates(tmp_path: Path) -> None:
    setting = prepare(validate(RunConfig, settings("Gemma 3", tmp_path)))
    names = setting.policy.tokenizer.convert_ids_to_tokens(list(setting.sampling.stop_ids))
    assert set(names) == {"<eos>", "<end_of_turn>"}


def test_a_run_may_start_from_an_adapter(tmp_path: Path) -> None:
    """Merged first: all of it can be trained, or a new adapter put on."""
    lora = {"rank": 2, "alpha": 4.0}
    rl.train(validate(RunConfig, settings("Mistral", tmp_path, lora=lora)), quiet=True)
    second = settings(
        "Mistral", tmp_path, out=str(tmp_path / "second"), model={"path": str(tmp_path / "run" / "adapter")}, lora=lora
    )
    setting = prepare(validate(RunConfig, second))
    assert setting.policy.family == "MistralForCausalLM" and not hasattr(setting.policy.module, "peft_config")
    rl.train(validate(RunConfig, second), quiet=True)
    assert load(str(tmp_path / "second" / "final"), "float32").parameters == setting.policy.parameters


def test_checkpointing_lowers_the_estimate_and_so_does_a_smaller_micro_batch(tmp_path: Path) -> None:
    def parts(**optimizer: Any) -> dict[str, float]:
        changed = settings("Gemma 3", tmp_path, optimizer=optimizer, steps={"prompts": 16, "samples": 16})
        return memory(adapted(prepare(validate(RunConfig, changed))))

    plain = parts(micro_batch_tokens=2048)
    assert parts(micro_batch_tokens=2048, gradient_checkpointing=True)["activations"] < plain["activations"]
    assert parts(micro_batch_tokens=512)["activations"] == pytest.approx(plain["activations"] / 4)


def test_nobody_makes_an_engine_but_the_one_function() -> None:
    sources = Path(rl.__file__).resolve().parents[1]
    makers = {
        file.relative_to(sources).as_posix()
        for file in sources.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("EmbeddedEngine", "FallbackEngine")
    }
    assert makers == {"engine/choice.py"}
