"""The verbs of the command line on input that is right: what they print, what they write, how they end."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from burnish.cli import app
from burnish.config import PretrainConfig, RunConfig, load, validate
from burnish.journal import read_rollouts
from burnish.pipelines import check as check_pipeline
from burnish.pipelines import demo as demo_pipeline
from burnish.pipelines import measure
from burnish.records import Sampling
from terminal import CHAINS, PRETRAIN, Terminal, contents, run_settings, write_rows, write_toml

CHAIN_OPTIONS = ["-o", "min_steps=1", "-o", "max_steps=1"]
QUESTION = "a 3, b add 5."
RIGHT = "<think>a 3, b add 5 = 8</think><answer>8</answer>"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a run file."""
    monkeypatch.chdir(tmp_path)
    write_toml(tmp_path / "run.toml", run_settings(tiny_base))
    write_toml(tmp_path / "base.toml", PRETRAIN)
    return tmp_path


def can_be_loaded(folder: Path) -> bool:
    """transformers alone loads it, and it gives finite logits."""
    module = AutoModelForCausalLM.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)(QUESTION, return_tensors="pt").input_ids
    with torch.inference_mode():
        return bool(torch.isfinite(module(ids).logits).all())


def test_pretrain_writes_a_model_that_transformers_loads(terminal: Terminal, desk: Path) -> None:
    said = terminal("pretrain", "base.toml", "updates=3")
    assert said.code == 0 and said.out.startswith("base: ") and "tokens in" in said.out
    assert can_be_loaded(desk / "base")
    assert load(PretrainConfig, desk / "base" / "pretrain.toml") == load(PretrainConfig, "base.toml", ["updates=3"])
    assert len((desk / "base" / "pretrain.jsonl").read_text().splitlines()) == 3
    assert not [path for path in (desk / "base").iterdir() if path.name.startswith(".")]


def test_pretrain_as_json(terminal: Terminal, desk: Path) -> None:
    said = terminal("pretrain", "base.toml", "updates=2", "--json")
    assert said.err == ""
    assert said.json.keys() == {"model", "parameters", "loss", "tokens", "seconds"}
    assert said.json["model"] == "base" and 0.0 < said.json["loss"] < 10.0


def test_pretrain_twice_gives_the_same_weights(terminal: Terminal, desk: Path) -> None:
    for out in ("one", "two"):
        assert terminal("pretrain", "base.toml", "updates=2", f"out={out}").code == 0
    weights = [(desk / out / "model.safetensors").read_bytes() for out in ("one", "two")]
    assert weights[0] == weights[1]


def test_train_writes_everything_and_prints_the_comparison(terminal: Terminal, desk: Path) -> None:
    said = terminal("train", "run.toml")
    assert said.code == 0
    for shown in (
        "before",
        "after",
        "pass@1",
        "pass@1 changed by",
        "what it cost",
        "One problem",
        "Everything is in run",
    ):
        assert shown in said.out
    assert "reinforcement learning 3/3" in said.err
    run = desk / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.toml",
        "versions.json",
        "metrics.jsonl",
        "events.jsonl",
        "rollouts",
        "checkpoints",
        "final",
    }
    assert names >= {"report.json", "report.md", "curves.png", "evaluations"}
    assert not [name for name in names if name.startswith(".")]
    assert load(RunConfig, run / "config.toml") == load(RunConfig, "run.toml")


def test_a_finished_run_can_be_read(finished_run: Path) -> None:
    steps = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["rollouts/sampled"] == 36 for line in steps)
    assert len(read_rollouts(finished_run)) == 3 * 36
    assert (finished_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (finished_run / "report.md").read_text().startswith("# Report")
    assert can_be_loaded(finished_run / "final")


def test_the_report_of_a_run(finished_run: Path) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    for stage in ("base", "final"):
        figure = report[stage]["pass@1"]
        assert 0.0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1.0
        assert (report[stage]["problems"], report[stage]["samples"]) == (8, 2)
    change = report["change"]
    assert change["pass@1"]["value"] == pytest.approx(
        report["final"]["pass@1"]["value"] - report["base"]["pass@1"]["value"]
    )
    assert change["won"] + change["lost"] + change["tied"] == 8
    assert [phase["name"] for phase in report["phases"]] == [
        "measure base",
        "sample and verify",
        "update",
        "measure final",
    ]
    assert report["trace"].keys() == {"question", "before", "after"}


def test_train_as_json_prints_the_report(terminal: Terminal, desk: Path) -> None:
    said = terminal("train", "run.toml", "steps.total=1", "--json")
    assert said.code == 0 and said.err == ""
    assert said.json == json.loads((desk / "run" / "report.json").read_text())


def test_train_without_measuring(terminal: Terminal, desk: Path) -> None:
    said = terminal("train", "run.toml", "steps.total=1", "evaluate.problems=0", "--json")
    assert said.code == 0 and "base" not in said.json and "change" not in said.json


def test_resuming_a_finished_run_changes_no_figure(terminal: Terminal, desk: Path) -> None:
    first = terminal("train", "run.toml", "--json").json
    metrics = (desk / "run" / "metrics.jsonl").read_bytes()
    weights = (desk / "run" / "final" / "model.safetensors").read_bytes()
    again = terminal("train", "run.toml", "--resume", "--json").json
    assert (again["base"], again["final"], again["change"]) == (first["base"], first["final"], first["change"])
    assert (desk / "run" / "metrics.jsonl").read_bytes() == metrics
    assert (desk / "run" / "final" / "model.safetensors").read_bytes() == weights


def test_resume_where_there_is_nothing_yet_starts_the_run(terminal: Terminal, desk: Path) -> None:
    assert terminal("train", "run.toml", "steps.total=1", "--resume").code == 0
    assert (desk / "run" / "report.json").is_file()


def test_sample_shows_the_answer_and_the_verdict(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    arguments = ["sample", tiny_base, QUESTION, "--task", "chain", "--max-new", "32"]
    said = terminal(*arguments)
    result = terminal(*arguments, "--json").json
    assert said.code == 0 and said.err == ""
    assert result.keys() == {"text", "outcome", "found"} and result["outcome"] in ("right", "wrong")
    assert said.out.startswith(result["text"] + "\n" + result["outcome"] + ": ")


def test_sample_without_a_task(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    said = terminal("sample", tiny_base, QUESTION, "--max-new", "32")
    assert said.code == 0 and "Nobody knows the right answer here; give --answer" in said.out
    judged = terminal("sample", tiny_base, QUESTION, "--max-new", "32", "--answer", "8", "--json").json
    assert judged["outcome"] in ("right", "wrong")


def test_sample_streams_its_text_piece_by_piece(tiny_base: Path) -> None:
    pieces: list[str] = []
    sampling = Sampling(1.0, 1.0, 0, 32, (), 1)
    text, verdict = measure.sample(str(tiny_base), QUESTION, "chain", CHAINS, None, sampling, None, pieces.append)
    assert "".join(pieces) == text and sum(map(bool, pieces)) > 1
    assert verdict is not None and verdict.outcome in ("right", "wrong")


def test_check_says_what_it_found(terminal: Terminal, desk: Path) -> None:
    before = contents(desk)
    said = terminal("check", "run.toml")
    assert said.code == 0 and said.out.rstrip().endswith("This run can learn.")
    assert "chain: endless training and 16 held-out problems" in said.out and "GiB of memory" in said.out
    found = terminal("check", "run.toml", "--json").json
    assert found["golds_checked"] == 512 + 16 and found["gold_failures"] == []
    assert found["memory_gib"]["total"] >= found["memory_gib"]["weights"] >= 0.0
    assert found["probe"]["answers"] == 16 * 6 and 0.0 < found["probe"]["pass_rate"] < 1.0
    assert contents(desk) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"no_verdict": 0.5}, "50% of 96 sampled answers have no verdict"),
        ({"cut_off": 0.95}, "95% of 96 sampled answers were cut off at sampling.max_new = 32"),
        ({"pass_rate": 0.0}, "None of 96 sampled answers was right"),
        ({"pass_rate": 1.0}, "All of 96 sampled answers were right already"),
        ({"no_signal": 1.0}, "no group has a signal"),
    ],
)
def test_check_refuses_a_run_that_cannot_learn(
    terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, float], reason: str
) -> None:
    usual = {"answers": 96.0, "no_verdict": 0.0, "cut_off": 0.0, "pass_rate": 0.5, "no_signal": 0.0}
    monkeypatch.setattr(check_pipeline, "probe", lambda *_: {**usual, **change})
    said = terminal("check", "run.toml")
    assert said.code == 1 and reason in said.sentence


VERIFIED: list[tuple[str, list[str], dict[str, Any], str]] = [
    ("chain", ["--task", "chain"], {"response": RIGHT, "gold": "8"}, "right"),
    ("chain, wrong", ["--task", "chain"], {"response": RIGHT, "gold": 7}, "wrong"),
    ("chain, bare answer", ["--task", "chain"], {"answer": 8, "gold": "8"}, "right"),
    ("chain, by its id", ["--task", "chain"], {"answer": "", "problem_id": ""}, "right"),  # filled in below
    ("number", ["--verifier", "number"], {"response": "The answer is 1,234.", "gold": "1234"}, "right"),
    ("number, in a reference", ["--verifier", "number"], {"answer": "0.5", "reference": {"answer": "1/2"}}, "right"),
    ("number, no gold to speak of", ["--verifier", "number"], {"answer": "5", "gold": "five?"}, "no_verdict"),
    ("countdown", ["--verifier", "countdown"], {"answer": "44+19+35", "nums": [44, 19, 35], "target": 98}, "right"),
    (
        "countdown, a number twice",
        ["--verifier", "countdown"],
        {"answer": "44+44", "numbers": [44, 19], "target": 88},
        "wrong",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "row", "outcome"), [case[1:] for case in VERIFIED], ids=[case[0] for case in VERIFIED]
)
def test_verify_judges_a_row(
    terminal: Terminal, desk: Path, arguments: list[str], row: dict[str, Any], outcome: str
) -> None:
    if row.get("problem_id") == "":
        from burnish.tasks.chain import Chain

        problem = Chain().held_out()[0]
        row = {"answer": problem.reference["answer"], "problem_id": problem.id}
    write_rows(desk / "rows.jsonl", row)
    said = terminal("verify", "rows.jsonl", *arguments)
    assert said.code == 0 and said.err == ""
    judged = said.json
    assert judged["outcome"] == outcome, judged
    assert judged.keys() == row.keys() | {"outcome", "score", "found", "why", "seconds", "fault"}
    assert {key: judged[key] for key in row} == row


def test_verify_into_a_file_counts_the_outcomes(terminal: Terminal, desk: Path) -> None:
    write_rows(desk / "rows.jsonl", *({"gold": "4", "answer": answer} for answer in ("4", "4.0", "5")))
    said = terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl", "--json")
    assert {"out": "judged.jsonl", "rows": 3, "right": 2, "wrong": 1, "no_verdict": 0}.items() <= said.json.items()
    rows = [json.loads(line) for line in (desk / "judged.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == ["right", "right", "wrong"]


def test_a_demo_from_end_to_end(terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def configs(out: str, seed: int) -> tuple[PretrainConfig, RunConfig]:
        base = validate(PretrainConfig, {**PRETRAIN, "out": f"{out}/base", "seed": seed, "updates": 40})
        return base, validate(RunConfig, {**run_settings(f"{out}/base"), "out": f"{out}/run", "seed": seed})

    monkeypatch.setattr(demo_pipeline, "configs", configs)
    said = terminal("demo", "--out", "here/demo", "--seed", "3", "--json")
    assert said.code == 0 and said.err == ""
    report = said.json
    assert report["phases"][0]["name"] == "pretrain" and report["seconds"] > 0.0 and report["seed"] == 3
    assert report == json.loads((desk / "here" / "demo" / "report.json").read_text())
    assert can_be_loaded(Path(report["model"])) and can_be_loaded(Path(report["base_model"]))
    assert all(line.startswith("burnish ") for line in demo_pipeline.advice(report))


def test_the_demo_takes_the_first_free_place(desk: Path) -> None:
    assert demo_pipeline.free_place() == "runs/demo"
    for name in ("demo", "demo-2"):
        (desk / "runs" / name).mkdir(parents=True)
    assert demo_pipeline.free_place() == "runs/demo-3"


def test_json_holds_no_nan(terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.pipelines.rl.train", lambda *_, **__: {"run_dir": "run", "seconds": math.nan})
    said = terminal("train", "run.toml", "--json")
    assert said.json == {"run_dir": "run", "seconds": None} and "NaN" not in said.out


def test_an_interruption_ends_with_130_and_a_sentence(
    terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("burnish.pipelines.rl.train", interrupted)
    said = terminal("train", "run.toml")
    assert said.code == 130 and "interrupted" in said.sentence and "--resume" in said.sentence


@pytest.mark.parametrize("verb", ["demo", "train", "pretrain", "eval", "scale", "sample", "check", "verify", "audit"])
def test_every_verb_has_help_and_json(terminal: Terminal, verb: str) -> None:
    said = terminal(verb, "--help")
    assert said.code == 0 and "--json" in said.out
    assert verb in [
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    ]
