"""Model folders that are broken end in one sentence at the terminal, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

import families
from terminal import Terminal, contents, run_settings, write_toml


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.write("Qwen2.5", tmp_path_factory.mktemp("broken") / "model", num_hidden_layers=1, layer_types=None)


def edit(file: str, **changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return apply


def cut(file: str, share: float = 0.5) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: int(len(data) * share)])

    return apply


def without(*files: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for file in files:
            (folder / file).unlink(missing_ok=True)

    return apply


def index_without_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


BROKEN = {
    "no config": (without("config.json"), "no config.json in it"),
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), "holds no tokenizer"),
    "half a config": (cut("config.json"), "config.json is no whole JSON file"),
    "half a tokenizer": (cut("tokenizer.json"), "tokenizer.json is no whole JSON file"),
    "half the weights": (cut("model.safetensors"), "cannot be loaded"),
    "no weights": (without("model.safetensors"), "cannot be loaded"),
    "shards missing": (index_without_shards, "cannot be loaded"),
    "weights of another width": (
        edit("config.json", intermediate_size=128),
        "of another shape than its config.json says",
    ),
    "a larger tokenizer": (edit("config.json", vocab_size=200), "of another shape than its config.json says"),
    "weights of fewer layers": (
        edit("config.json", num_hidden_layers=2, layer_types=["full_attention"] * 2),
        "lacks 12 of its weights",
    ),
    "a config at odds with itself": (
        edit("config.json", num_hidden_layers=2),
        "must be equal to the number of `layer_types`",
    ),
    "a family nobody knows": (edit("config.json", model_type="qwen33"), "cannot be loaded"),
    "no language model": (edit("config.json", model_type="vit"), "cannot be loaded"),
    "no end of sequence": (edit("tokenizer_config.json", eos_token=None), "no end-of-sequence token"),
    "a template that is none": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% for m in messages %}"),
        "chat template",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_ends_in_a_sentence(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    breaking, said = BROKEN[name]
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    breaking(folder)
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = Terminal(monkeypatch, capsys)("sample", "model", "What is 1 + 1?")
    assert found.code == 2 and said in found.sentence and len(found.sentence) < 400
    assert contents(tmp_path) == before


def test_a_tokenizer_of_another_model_is_refused(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens([f"word{i}" for i in range(200)])
    tokenizer.save_pretrained(folder)
    found = Terminal(monkeypatch, capsys)("sample", folder, "What is 1 + 1?")
    assert found.code == 2 and "tokens up to number" in found.sentence and "they are no pair" in found.sentence


@pytest.mark.parametrize("verb", ["eval", "sample", "train", "check"])
def test_thinking_asked_of_a_model_without_it_is_refused_by_every_verb(
    verb: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**run_settings(whole), "out": str(tmp_path / "run")}
    settings["task"] = {**settings["task"], "thinking": True}
    arguments: dict[str, list[object]] = {
        "eval": [whole, "--task", "chain", "--thinking"],
        "sample": [whole, "What is 1 + 1?", "--thinking"],
    }
    given = arguments.get(verb) or [write_toml(tmp_path / "run.toml", settings)]
    found = Terminal(monkeypatch, capsys)(verb, *given)
    assert found.code == 2 and "has no switch for thinking" in found.sentence and not (tmp_path / "run").exists()
