"""Bad input to sft, rm, dpo and select: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from burnish.config import PairRowsConfig, SftRowsConfig
from burnish.errors import DataError
from burnish.pipelines import rows
from burnish.policy.model import load
from burnish.prompts import Renderer
from terminal import Terminal, contents, write_rows, write_toml
from test_supervised import config, verbose


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", *map(verbose, range(40)))
    return tmp_path


def refused(terminal: Terminal, desk: Path, verb: str, *arguments: str, **changes: Any) -> str:
    write_toml(desk / "run.toml", config(verb, **changes))
    before = contents(desk)
    said = terminal(verb, "run.toml", *arguments)
    assert said.code == 2 and contents(desk) == before, said.err
    return said.sentence


GOOD = {"prompt": "a", "chosen": "b", "rejected": "c"}


@pytest.mark.parametrize(
    ("verb", "given", "fragments"),
    [
        ("dpo", [GOOD, {**GOOD, "rejected": "b"}], ["rows.jsonl:2", "are the same", "says nothing"]),
        ("rm", [GOOD, {"prompt": "a", "chosen": "b"}], ["rows.jsonl:2", "no field 'rejected'"]),
        ("dpo", [{"chosen": "b", "rejected": "c"}], ["rows.jsonl:1", "no field 'prompt'"]),
        ("dpo", [{**GOOD, "chosen": ""}], ["rows.jsonl:1", "'chosen' is empty"]),
        ("dpo", [{**GOOD, "prompt": 3}], ["rows.jsonl:1", "'prompt' must be text or a list of chat turns"]),
        ("dpo", [{**GOOD, "prompt": [{"role": "user"}]}], ["rows.jsonl:1", "a turn of 'prompt'"]),
        ("sft", [{"prompt": "a", "completion": "b"}, {"prompt": "a"}], ["rows.jsonl:2", "no field 'completion'"]),
        ("sft", [{"question": "a"}], ["rows.jsonl:1", "none of the fields", "'question'"]),
        ("sft", [{"messages": [{"role": "user", "content": "a"}]}], ["rows.jsonl:1", "no turn", "assistant's"]),
        ("sft", ["{"], ["rows.jsonl:1", "not JSON"]),
        ("sft", [], ["rows.jsonl has no rows"]),
        ("rm", [], ["rows.jsonl has no rows"]),
    ],
)
def test_rows_that_cannot_be_learned(
    terminal: Terminal, desk: Path, verb: str, given: list[Any], fragments: list[str]
) -> None:
    write_rows(desk / "rows.jsonl", *given)
    sentence = refused(terminal, desk, verb)
    for fragment in fragments:
        assert fragment in sentence


@pytest.mark.parametrize(
    ("verb", "overrides", "fragment"),
    [
        ("dpo", ["loss.name=simpo", "reference.path=x"], "reference.path has no effect with simpo"),
        ("dpo", ["loss.name=ppo"], "loss.name is 'ppo'"),
        ("dpo", ["loss.gamma=1.0"], 'gamma has no effect with name = "dpo"'),
        ("dpo", ["loss.label_smoothing=0.2"], "only cdpo reads it"),
        ("dpo", ["reference.path=./none"], "model folder ./none does not exist"),
        ("dpo", ["data.margin=lead"], "data.margin has no effect here"),
        ("dpo", ["data.chosenn=x"], "did you mean 'data.chosen'"),
        ("dpo", ["lora.alpha=8"], "alpha has no effect with rank = 0"),
        ("dpo", ["lora.rank=4", 'lora.targets=["nosuch"]'], "fit no layer"),
        ("rm", ["data.held_out_share=0.0"], "measured on one"),
        ("rm", ["data.held_out=rows.jsonl"], "held_out_share has no effect"),
        ("rm", ["model.path=./none"], "model folder ./none does not exist"),
        ("sft", ["data.max_tokens=2"], "are longer than 2 tokens"),
        ("sft", ["steps.epochs=2.0"], "epochs has no effect where total is given"),
        ("sft", ["data.train=none.jsonl"], "no file none.jsonl"),
        ("sft", ["out=rows.jsonl"], "already holds something"),
    ],
)
def test_settings_that_cannot_work(
    terminal: Terminal, desk: Path, verb: str, overrides: list[str], fragment: str
) -> None:
    assert fragment in refused(terminal, desk, verb, *overrides)


def test_a_held_out_prompt_that_is_learned_too(terminal: Terminal, desk: Path) -> None:
    write_rows(desk / "held.jsonl", verbose(3))
    sentence = refused(terminal, desk, "rm", data={"train": "rows.jsonl", "held_out": "held.jsonl"})
    assert "1 prompts of held.jsonl stand in rows.jsonl too" in sentence


def test_adapters_without_peft_name_the_extra(terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert 'pip install "burnish[lora]"' in refused(terminal, desk, "sft", "lora.rank=4")


def test_resuming_with_another_config(terminal: Terminal, desk: Path) -> None:
    write_toml(desk / "run.toml", config("sft"))
    assert terminal("sft", "run.toml", "--json", "steps.total=2").code == 0
    sentence = refused(terminal, desk, "sft", "--resume", "steps.total=2", "optimizer.lr=0.5")
    assert "started with another config (optimizer.lr: 0.004 there, 0.5 here)" in sentence


# ---- reading rows


def renderer() -> Any:
    return Renderer(tiny.tokenizer())


def test_only_the_assistants_turns_are_learned(tmp_path: Path) -> None:
    turns = [("user", "12"), ("assistant", "3"), ("user", "4"), ("assistant", "5")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    path = write_rows(tmp_path / "chat.jsonl", row)
    one = renderer()
    [document] = rows.documents(str(path), SftRowsConfig(train="x"), one)
    ids, learned = document.tokens.ids, document.tokens.sampled
    assert one._tokenizer.decode(ids) == "<|user|>12<|assistant|>3<|end|><|user|>4<|assistant|>5<|end|>"
    said = [one._tokenizer.decode([i]) for i, own in zip(ids, learned, strict=True) if own]
    assert said == ["3", "<|end|>", "5", "<|end|>"]


def test_the_prompt_is_learned_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"prompt": "12", "completion": "3"})
    [only] = rows.documents(str(path), SftRowsConfig(train="x"), renderer())
    [both] = rows.documents(str(path), SftRowsConfig(train="x", completion_only=False), renderer())
    assert only.tokens.ids == both.tokens.ids
    assert only.tokens.sampled_count == 2 and both.tokens.sampled_count == len(both.tokens.ids) - 1


def test_labelled_solutions_are_crossed_once_each(tmp_path: Path) -> None:
    """Two right ones, of which one stands twice, and one wrong one: two pairs."""
    said = [("x", True), ("y", True), ("x", True), ("z", False)]
    row = {"q": "?", **{f"s{i}": {"solution": text, "is_correct": right} for i, (text, right) in enumerate(said)}}
    path = write_rows(tmp_path / "rows.jsonl", row)
    settings = PairRowsConfig(train="x", prompt="q", solutions=("s0", "s1", "s2", "s3"))
    found = list(rows.pairs(str(path), settings, renderer(), 1))
    assert len(found) == 2 and len({pair.cluster for pair in found}) == 1
    assert len(list(rows.pairs(str(path), settings.model_copy(update={"pairs_per_prompt": 1}), renderer(), 1))) == 1


def test_a_solution_without_a_label_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"q": "?", "s": {"solution": "x"}})
    with pytest.raises(DataError, match=r"rows\.jsonl:1: 's' must be"):
        list(rows.pairs(str(path), PairRowsConfig(train="x", prompt="q", solutions=("s",)), renderer(), 1))


def test_verified_rollouts_of_a_run_make_pairs_of_their_own_ids(finished_run: Path) -> None:
    from burnish.journal.rollouts import as_groups, read_rollouts

    made = list(
        rows.pairs(
            str(finished_run), PairRowsConfig(train="x"), Renderer(load(str(finished_run / "final")).tokenizer), 1
        )
    )
    judged = {
        (rollout.tokens.ids[len(group.prompt.ids) :], rollout.verdict.outcome)
        for group in as_groups(read_rollouts(finished_run))
        for rollout in group.rollouts
    }
    assert made
    for pair in made:
        assert (pair.chosen, "right") in judged and (pair.rejected, "wrong") in judged


def test_a_prompt_falls_on_one_side_only() -> None:
    sides = {f"prompt {i}": rows._share(f"prompt {i}") for i in range(400)}
    assert all(0.0 <= value < 1.0 for value in sides.values())
    assert 0.2 < sum(value < 0.3 for value in sides.values()) / 400 < 0.4


def test_kto_passes_over_completions_that_do_not_fit_behind_a_prompt() -> None:
    """A context of 6: behind the prompt of 4 neither completion of the pair before (3 tokens) fits; that of the first (2) does."""
    from burnish.pipelines.preference import _mismatched
    from burnish.pipelines.rows import Preferred

    made = [
        Preferred("a:1", "a", (1,), (2, 3), (4,)),
        Preferred("a:2", "b", (1,), (2, 3, 4), (5,)),
        Preferred("a:3", "c", (6, 7, 8, 9), (5,), (4,)),
    ]
    assert [one.ids for one in _mismatched(made, 2, 6)] == [(6, 7, 8, 9, 2, 3), (6, 7, 8, 9, 4)]
    with pytest.raises(DataError, match=r"a:3 there is none, or none that fits the model's context of 5"):
        _mismatched(made, 2, 5)
