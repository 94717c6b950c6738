"""eval and scale on families: the template's thinking mode, adapters by what they stand on, and engines that say what they cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import families
from burnish.journal import read_rollouts
from burnish.policy import adapters
from burnish.policy.digest import digest
from burnish.policy.model import load
from terminal import Terminal

CHAIN = ["--task", "chain", "-o", "min_steps=1", "-o", "max_steps=1"]
SMALL = ["-n", 3, "--samples", 4, "--max-new", 8]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def test_eval_without_thinking_closes_the_thought_in_every_prompt(terminal: Terminal, tmp_path: Path) -> None:
    model = families.write("Qwen3", tmp_path / "model")
    said = terminal("eval", model, *CHAIN, *SMALL, "--no-thinking", "--out", "e", "--json")
    assert said.code == 0 and said.json["thinking"] is False
    assert all(row["prompt_text"].endswith("<think>\n\n</think>\n\n") for row in read_rollouts("e/chain"))


def test_answers_with_and_without_thinking_are_not_mixed(terminal: Terminal, tmp_path: Path) -> None:
    model = families.write("Qwen3", tmp_path / "model")
    assert terminal("eval", model, *CHAIN, *SMALL, "--no-thinking", "--out", "e").code == 0
    said = terminal("eval", model, *CHAIN, *SMALL, "--thinking", "--out", "e")
    assert said.code == 2 and "thinking" in said.sentence


def test_scale_tells_answers_with_and_without_thinking_apart(terminal: Terminal, tmp_path: Path) -> None:
    model = families.write("Qwen3", tmp_path / "model")
    given = ["scale", model, *CHAIN, *SMALL, "--method", "vote", "--out", "s", "--workers", 1]
    assert terminal(*given, "--no-thinking").code == 0
    said = terminal(*given, "--resume")
    assert said.code == 2 and "another thinking (false, not null)" in said.sentence


def test_an_endpoint_renders_its_own_prompts(terminal: Terminal) -> None:
    said = terminal("eval", "--endpoint", "http://localhost:1/v1", "--model", "m", *CHAIN, "--thinking")
    assert said.code == 2 and "--thinking has no effect with --endpoint" in said.sentence


@pytest.mark.parametrize("verb", ["eval", "scale"])
def test_measuring_a_family_of_transformers_says_what_it_costs(verb: str, terminal: Terminal, tmp_path: Path) -> None:
    model = families.write("Mamba", tmp_path / "model")
    more = ["--method", "vote", "--workers", 1] if verb == "scale" else []
    said = terminal(verb, model, *CHAIN, *SMALL, *more, "--out", "out")
    assert said.code == 0, said.err
    assert "MambaForCausalLM is sampled by transformers' generate" in " ".join((said.out + said.err).split())


def test_eval_stops_where_the_template_ends_a_turn(terminal: Terminal, tmp_path: Path) -> None:
    """Gemma's <end_of_turn> is no end of sequence by its tokenizer. A model to which every word is as likely says it now and then."""
    model = families.write("Gemma 3", tmp_path / "model")
    policy = load(str(model), "float32")
    with torch.no_grad():
        policy.decoder.norm.weight.fill_(-1.0)  # Gemma's norms multiply by 1 + weight: all logits are 0
    policy.save(model)
    end = policy.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert terminal("eval", model, *CHAIN, "-n", 8, "--samples", 4, "--max-new", 200, "--out", "e").code == 0
    rows = read_rollouts("e/chain")
    assert any(row["completion_ids"][-1] == end and row["stop"] == "eos" for row in rows)
    assert not any(end in row["completion_ids"][:-1] for row in rows)


def test_an_adapter_is_told_apart_by_itself_and_by_the_model_below_it(tmp_path: Path) -> None:
    base = families.write("Mistral", tmp_path / "base")
    policy = adapters.adapted(load(str(base), "float32"), 2, 4.0, 0.0, [], 1)
    adapters.save_adapter(policy, tmp_path / "adapter")
    copied = shutil.copytree(tmp_path / "adapter", tmp_path / "copied")
    first = digest(str(tmp_path / "adapter"))
    assert digest(str(copied)) == first != digest(str(base))
    families.write("Mistral", base, seed=1)
    assert digest(str(tmp_path / "adapter")) != first


def test_an_adapter_is_measured_with_what_it_adds(terminal: Terminal, tmp_path: Path) -> None:
    base = families.write("Mistral", tmp_path / "base")
    policy = adapters.adapted(load(str(base), "float32"), 2, 64.0, 0.0, [], 1)
    with torch.no_grad():
        for name, weight in policy.module.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.3)
    adapters.save_adapter(policy, tmp_path / "adapter")
    texts = []
    for name in ("base", "adapter"):
        said = terminal("eval", tmp_path / name, *CHAIN, *SMALL, "--out", name + "_e", "--json")
        assert said.code == 0, said.err
        texts.append([row["text"] for row in read_rollouts(f"{name}_e/chain")])
    assert texts[0] != texts[1]
    about = json.loads(Path("adapter_e/evaluation.json").read_text())
    assert about["model"]["weights"] == digest(str(tmp_path / "adapter"))
