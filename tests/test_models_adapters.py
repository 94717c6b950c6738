"""An adapter folder as people use it: measured and sampled live, merged, trained on from, and refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import families
from burnish.engine.choice import engine_for
from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.fallback import FallbackEngine
from burnish.errors import ModelError
from burnish.learner.learner import Learner, Optimization
from burnish.policy import adapters
from burnish.policy.model import Policy, load
from burnish.records import Sampling
from terminal import Terminal, contents
from tiny import by_key, joined, prompts, requests

IDS = torch.arange(40, 60)[None]


def with_adapter(folder: Path, name: str = "Qwen2.5") -> tuple[Policy, Path]:
    """A base in `folder`/base, and in `folder`/adapter an adapter on it that says something."""
    base = families.write(name, folder / "base")
    policy = adapters.adapted(load(str(base), "float32"), 4, 8.0, 0.0, [], 1)
    torch.manual_seed(2)
    with torch.no_grad():
        for key, weight in policy.module.named_parameters():
            if "lora_B" in key:
                weight.add_(torch.randn_like(weight) * 0.2)
    adapters.save_adapter(policy, folder / "adapter")
    return policy, folder / "adapter"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Policy, Path]:
    return with_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def copy(made: tuple[Policy, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "adapter"))


def logits(policy: Policy) -> torch.Tensor:
    with torch.inference_mode(), policy.evaluating():
        return policy.logits(policy.hidden(IDS)[0])


def test_an_adapter_folder_loads_as_its_model_with_the_adapter_live(made: tuple[Policy, Path]) -> None:
    policy, folder = made
    found = adapters.load(str(folder), "float32")
    assert adapters.is_adapted(found)
    assert torch.equal(logits(found), logits(policy))
    assert not torch.allclose(logits(found), logits(load(str(folder.parent / "base"), "float32")), atol=0.1)


@pytest.mark.parametrize("name", ["Qwen2.5", "Gemma 3", "Mistral", "Phi 3 and 4", "Falcon-H1"])
def test_the_engine_samples_through_the_live_adapter(name: str, tmp_path: Path) -> None:
    """What was drawn is what the learner scores, in every family, and what the merged model says."""
    policy, folder = with_adapter(tmp_path, name)
    engine = engine_for(policy, rows=4)
    assert isinstance(engine, FallbackEngine if name == "Falcon-H1" else EmbeddedEngine)
    listed = requests(prompts((3, 9, 5)), 2, Sampling(max_new=8, seed=1))
    rows = joined(listed, by_key(engine.generate(listed)))
    whole = adapters.start(str(folder), "float32")
    assert not adapters.is_adapted(whole)
    for scorer in (policy, whole):
        scored = Learner(scorer, Optimization(1e-3, 1)).log_probs(rows)
        for row, own in zip(rows, scored, strict=True):
            assert row.logprobs == pytest.approx(own, abs=1e-3)


def test_merge_writes_a_plain_model(
    made: tuple[Policy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, folder = made
    said = Terminal(monkeypatch, capsys)("merge", folder, "--out", tmp_path / "merged", "--json")
    assert said.code == 0 and said.json["base"] == str(folder.parent / "base")
    whole = load(str(tmp_path / "merged"), "float32")
    assert torch.allclose(logits(whole), logits(policy), atol=1e-4)
    assert whole.tokenizer.chat_template == policy.tokenizer.chat_template
    assert whole.parameters == said.json["parameters"] < policy.parameters


@pytest.mark.parametrize("verb", ["eval", "sample"])
def test_verbs_take_an_adapter_folder(
    verb: str, made: tuple[Policy, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made[1]
    given = {
        "eval": ["--task", "chain", "-n", 4, "--samples", 2, "--max-new", 8],
        "sample": ["What is 1 + 1?", "--max-new", 8],
    }[verb]
    said = Terminal(monkeypatch, capsys)(verb, folder, *given, "--json")
    assert said.code == 0, said.err
    again = Terminal(monkeypatch, capsys)(verb, folder.parent / "base", *given, "--json")
    if verb == "sample":
        assert said.json["text"] != again.json["text"]


def test_a_model_that_has_moved_is_named(copy: Path, tmp_path: Path, made: tuple[Policy, Path]) -> None:
    path = copy / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(
        ModelError, match=r"was made for the model .*gone: The model folder .* does not exist.*burnish merge --base"
    ):
        adapters.load(str(copy))
    assert adapters.is_adapted(adapters.load(str(copy), "float32", base=str(made[1].parent / "base")))


def test_an_adapter_of_another_model_is_refused(copy: Path, tmp_path: Path) -> None:
    other = families.write("Qwen2.5", tmp_path / "other", intermediate_size=128)
    with pytest.raises(ModelError, match="does not go on this model"):
        adapters.load(str(copy), base=str(other))


@pytest.mark.parametrize("breaking", ["half", "fewer", "none", "config"])
def test_a_broken_adapter_ends_in_a_sentence(
    breaking: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = copy / "adapter_model.safetensors"
    if breaking == "half":
        weights.write_bytes(weights.read_bytes()[:500])
    elif breaking == "fewer":
        kept = dict(list(load_file(weights).items())[2:])
        save_file(kept, weights)
    elif breaking == "none":
        weights.unlink()
    else:
        (copy / "adapter_config.json").write_text("{")
    before = contents(copy.parent)
    found = Terminal(monkeypatch, capsys)("merge", copy, "--out", copy.parent / "merged")
    said = {
        "half": "does not go on",
        "fewer": "2 of its weights are missing",
        "none": "has no weights",
        "config": "no whole JSON",
    }
    assert found.code == 2 and said[breaking] in found.sentence and contents(copy.parent) == before


def test_what_is_no_adapter_is_not_merged(
    made: tuple[Policy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made[1].parent / "base"
    found = Terminal(monkeypatch, capsys)("merge", base, "--out", tmp_path / "merged")
    assert found.code == 2 and "holds no adapter" in found.sentence
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    found = Terminal(monkeypatch, capsys)("merge", made[1], "--out", tmp_path / "full")
    assert found.code == 2 and "already holds something" in found.sentence
