"""Bad input at the command line: exit code 2, one sentence on standard error, no traceback, and nothing written."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from terminal import PRETRAIN, Said, Terminal, contents, run_settings, write_rows, write_toml

Q, A = "question", "answer"
SUMS = [{Q: f"What is {i}+{i}?", A: str(2 * i)} for i in range(1, 9)]
"""Eight rows of sums; the first four train, the others are held out."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a run that would work, and rows that would."""
    monkeypatch.chdir(tmp_path)
    write_toml(tmp_path / "run.toml", run_settings(tiny_base))
    write_toml(tmp_path / "base.toml", PRETRAIN)
    write_rows(tmp_path / "train.jsonl", *SUMS[:4])
    write_rows(tmp_path / "test.jsonl", *SUMS[4:])
    return tmp_path


def options(train: str = "train.jsonl", held_out: str = "test.jsonl", **more: Any) -> list[str]:
    """Overrides that take the rows of the desk as the task."""
    given = {"train": f'"{train}"', "held_out": f'"{held_out}"', **more}
    table = ", ".join(f"{key} = {value}" for key, value in given.items())
    return ["task.name=rows", f"task.options={{{table}}}", "sampling.max_new=48"]


def refused(terminal: Terminal, desk: Path, *arguments: object) -> str:
    """Run a command that must be refused; returns its sentence."""
    before = contents(desk)
    said = terminal(*arguments)
    assert said.code == 2, said
    assert said.out == ""
    assert contents(desk) == before
    return said.sentence


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        pytest.param(["optimiser.lr=1"], ["unknown key 'optimiser'", "did you mean 'optimizer'"], id="unknown key"),
        pytest.param(["optimizer.lrr=1"], ["unknown key 'optimizer.lrr'", "'optimizer.lr'"], id="unknown nested key"),
        pytest.param(["steps.total=many"], ["run.toml: steps.total is 'many'", "integer"], id="wrong type"),
        pytest.param(["steps.total"], ["not of the form key.sub=value"], id="override without value"),
        pytest.param(["evaluate.ks=[8]"], ["k = 8", "samples = 2"], id="k above samples"),
        pytest.param(["task.name=chian"], ["no task 'chian'", "did you mean 'chain'"], id="unknown task"),
        pytest.param(["task.name=no.such.module:Task"], ["cannot be imported"], id="task of no module"),
        pytest.param(
            ["task.options.min_step=1"], ["no option 'min_step'", "did you mean 'm"], id="unknown task option"
        ),
        pytest.param(["task.options.min_steps=one"], ["'min_steps'", "'one'"], id="task option of a wrong type"),
        pytest.param(["task.options.min_steps=9"], ["min_steps is 9"], id="task option out of range"),
        pytest.param(["recipe.name=grop"], ["no recipe 'grop'", "'grpo'"], id="unknown recipe"),
        pytest.param(["recipe.options.clip_hihg=1"], ["'clip_hihg'", "'clip_high'"], id="unknown recipe override"),
        pytest.param(["recipe.options.clip_high=wide"], ["clip_high is 'wide'"], id="recipe override of a wrong type"),
        pytest.param(["recipe.options.constant=9"], ["constant has no effect"], id="recipe override without effect"),
        pytest.param(["model.path=./none"], ["model folder ./none does not exist"], id="missing model folder"),
        pytest.param(["model.path=."], ["holds no model", "config.json"], id="folder that is no model"),
        pytest.param(["model.device=tpu"], ["model.device is 'tpu'"], id="unknown device"),
        pytest.param(["sampling.max_new=2"], ["max_new is 2", "cut off"], id="max_new too small for the format"),
        pytest.param(["sampling.max_new=127"], ["prompt of", "context of 128"], id="max_new too large for the context"),
        pytest.param(["out="], ["out is ''"], id="no out"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_run_with_bad_settings(
    terminal: Terminal, desk: Path, verb: str, overrides: list[str], fragments: list[str]
) -> None:
    sentence = refused(terminal, desk, verb, "run.toml", *overrides)
    for fragment in fragments:
        assert fragment in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(terminal: Terminal, desk: Path) -> None:
    assert "torch sees 0 GPUs" in refused(terminal, desk, "train", "run.toml", "model.device=cuda")


@pytest.mark.parametrize("verb", ["train", "check", "pretrain"])
def test_a_missing_run_file(terminal: Terminal, desk: Path, verb: str) -> None:
    assert "The run file none.toml does not exist" in refused(terminal, desk, verb, "none.toml")


@pytest.mark.parametrize("verb", ["train", "check", "pretrain"])
def test_a_run_file_that_is_not_toml(terminal: Terminal, desk: Path, verb: str) -> None:
    (desk / "run.toml").write_text("out = [")
    assert "run.toml is not valid TOML" in refused(terminal, desk, verb, "run.toml")


def malformed(desk: Path) -> None:
    write_rows(desk / "train.jsonl", SUMS[0], '{"question": "What is', SUMS[1])


def without_answer(desk: Path) -> None:
    write_rows(desk / "train.jsonl", SUMS[0], {Q: "What is 2+2?"})


def empty_answer(desk: Path) -> None:
    write_rows(desk / "train.jsonl", SUMS[0], SUMS[1], {Q: "What is 2+2?", A: " "})


def empty(desk: Path) -> None:
    (desk / "train.jsonl").write_text("")


def nothing_held_out(desk: Path) -> None:
    (desk / "test.jsonl").write_text("\n")


def missing(desk: Path) -> None:
    (desk / "train.jsonl").unlink()


def bad_gold(desk: Path) -> None:
    write_rows(desk / "train.jsonl", SUMS[0], {Q: "What is 2+2?", A: "ask again"})


def long_prompt(desk: Path) -> None:
    """The long one stands far down, where a look at the first few problems does not reach."""
    rows = [{Q: f"What is {i}+0?", A: str(i)} for i in range(20, 120)]
    write_rows(desk / "train.jsonl", *rows, {Q: "What is " + "1+" * 80 + "1?", A: "81"})


def same_rows(desk: Path) -> None:
    shutil.copy(desk / "test.jsonl", desk / "train.jsonl")


@pytest.mark.parametrize(
    ("spoil", "fragments"),
    [
        (missing, ["no file train.jsonl"]),
        (malformed, ["train.jsonl:2", "not JSON"]),
        (without_answer, ["train.jsonl:2", "no field 'answer'"]),
        (empty_answer, ["train.jsonl:3", "without an answer"]),
        (empty, ["train.jsonl has no rows"]),
        (nothing_held_out, ["test.jsonl has no rows"]),
        (long_prompt, ["prompt of rows/train/100", "context of 128"]),
        (same_rows, ["All 4 training problems stand in the held-out split"]),
    ],
    ids=lambda part: part.__name__ if callable(part) else "",
)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_a_run_on_bad_rows(
    terminal: Terminal, desk: Path, verb: str, spoil: Callable[[Path], None], fragments: list[str]
) -> None:
    spoil(desk)
    sentence = refused(terminal, desk, verb, "run.toml", *options())
    for fragment in fragments:
        assert fragment in sentence


def test_a_held_out_problem_in_train(terminal: Terminal, desk: Path) -> None:
    write_rows(desk / "train.jsonl", *SUMS[:5])
    sentence = refused(terminal, desk, "train", "run.toml", *options(overlap='"refuse"'))
    assert "1 problem stands in both splits" in sentence and "rows/train/4 is rows/held_out/0" in sentence


def test_a_gold_answer_that_its_verifier_rejects(terminal: Terminal, desk: Path) -> None:
    bad_gold(desk)
    sentence = refused(terminal, desk, "train", "run.toml", *options())
    assert "1 of 6 gold answers do not pass" in sentence and "train.jsonl:2" in sentence


def test_check_lists_the_gold_answers_that_fail_and_says_no(
    terminal: Terminal, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_gold(desk)
    monkeypatch.setattr("burnish.pipelines.check._refuse", lambda *_: None)  # a model of chains adds no numbers
    said = terminal("check", "run.toml", *options(), "--json")
    assert said.code == 1
    assert [failure["where"] for failure in said.json["gold_failures"]] == ["train.jsonl:2"]


def test_a_model_without_a_tokenizer(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    (desk / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_base / name, desk / "bare")
    for arguments in (("train", "run.toml", "model.path=./bare"), ("eval", "./bare", "--task", "chain")):
        assert "holds no tokenizer" in refused(terminal, desk, *arguments)


def test_a_model_whose_weights_are_torn(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    shutil.copytree(tiny_base, desk / "torn")
    weights = desk / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "torn cannot be loaded" in refused(terminal, desk, "train", "run.toml", "model.path=./torn")


def test_out_that_already_holds_a_run(terminal: Terminal, desk: Path, finished_run: Path) -> None:
    shutil.copytree(finished_run, desk / "run")
    assert "run already holds something; add --resume" in refused(terminal, desk, "train", "run.toml")


def test_out_that_is_a_file(terminal: Terminal, desk: Path) -> None:
    assert "run.toml already holds something" in refused(terminal, desk, "train", "run.toml", "out=run.toml")


def test_resuming_with_another_config(terminal: Terminal, desk: Path, finished_run: Path, tiny_base: Path) -> None:
    shutil.copytree(finished_run, desk / "run")
    text = (desk / "run" / "config.toml").read_text().replace(str(finished_run), "run")
    (desk / "run" / "config.toml").write_text(text)
    sentence = refused(terminal, desk, "train", "run.toml", "optimizer.lr=0.5", "--resume")
    assert "started with another config (optimizer.lr: 0.001 there, 0.5 here)" in sentence


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        (["updatess=3"], "did you mean 'updates'"),
        (["scratch.hidden_size=wide"], "scratch.hidden_size is 'wide'"),
        (["scratch.num_key_value_heads=3"], "cannot be shared evenly"),
        (["scratch.model_type=nosuch"], "cannot be made into a config"),
        (["scratch.max_position_embeddings=8"], "max_position_embeddings is 8, but a document"),
        (["corpus.task=chian"], "did you mean 'chain'"),
        (["corpus.documents.think=0.1"], "no option 'think'; did you mean 'think_share'"),
        (["corpus.documents={think_share = 0.3}"], "needs the option 'slip_rate'"),
        (["corpus.documents.slip_rate=often"], "'slip_rate' of the corpus of the task 'chain' is 'often'"),
        (["corpus.documents.slip_rate=20"], "slip_rate is 20.0, but must be between 0 and 1"),
        (["corpus.documents.seed=3"], "seed"),
        (
            ["corpus.task=rows", 'corpus.options={train = "train.jsonl", held_out = "test.jsonl"}'],
            "writes no documents",
        ),
        (["out=run.toml"], "run.toml already holds something"),
        (["out=."], "already holds something"),
    ],
)
def test_a_bad_pretraining(terminal: Terminal, desk: Path, overrides: list[str], fragment: str) -> None:
    assert fragment in refused(terminal, desk, "pretrain", "base.toml", *overrides)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--task", "chain", "-o", "min_steps"], "'min_steps' is not of the form key=value"),
        (["--task", "chain", "-o", "min_stepz=1"], "no option 'min_stepz'"),
        (["--task", "rows", "-o", "train=train.jsonl", "-o", "held_out=none.jsonl"], "no file none.jsonl"),
    ],
)
def test_a_bad_measurement(
    terminal: Terminal, desk: Path, tiny_base: Path, arguments: list[str], fragment: str
) -> None:
    assert fragment in refused(terminal, desk, "eval", tiny_base, *arguments)


def test_bad_samples(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    assert "context of 128" in refused(terminal, desk, "sample", tiny_base, "a 3, " * 60, "--max-new", "8")
    assert "no effect without --task" in refused(terminal, desk, "sample", tiny_base, "a 3.", "-o", "min_steps=1")
    assert "does not exist" in refused(terminal, desk, "sample", "./none", "a 3.")


@pytest.mark.parametrize(
    ("rows", "arguments", "fragments"),
    [
        ([{"gold": "4"}], ["--verifier", "number"], ["rows.jsonl:1", "nothing to judge", "gold"]),
        ([{"gold": "4", "response": None}], ["--verifier", "number"], ["rows.jsonl:1", "nothing to judge"]),
        ([{"gold": "4", "answer": "4"}, {"answer": "4"}], ["--verifier", "number"], ["rows.jsonl:2", "what is right"]),
        ([{"gold": None, "answer": "4"}], ["--verifier", "number"], ["rows.jsonl:1", "what is right"]),
        ([{"numbers": 5, "target": 5, "answer": "5"}], ["--verifier", "countdown"], ["what is right"]),
        (["{"], ["--verifier", "number"], ["rows.jsonl:1", "not JSON"]),
        ([], ["--verifier", "number"], ["rows.jsonl has no rows"]),
        ([{"gold": "4", "answer": "4"}], [], ["--task or --verifier"]),
        ([{"gold": "4", "answer": "4"}], ["--verifier", "nmber"], ["'nmber'", "'number'"]),
        ([{"gold": "4", "answer": "4"}], ["--verifier", "number", "-o", "a=1"], ["no effect without --task"]),
        ([{"problem_id": "chain/none", "answer": "4"}], ["--task", "chain"], ["rows.jsonl:1", "'chain/none'"]),
    ],
)
@pytest.mark.parametrize("out", [[], ["--out", "judged.jsonl"]], ids=["printed", "written"])
def test_rows_that_cannot_be_judged(
    terminal: Terminal, desk: Path, rows: list[Any], arguments: list[str], fragments: list[str], out: list[str]
) -> None:
    write_rows(desk / "rows.jsonl", *rows)
    sentence = refused(terminal, desk, "verify", "rows.jsonl", *arguments, *out)
    for fragment in fragments:
        assert fragment in sentence


def test_a_missing_file_of_rows(terminal: Terminal, desk: Path) -> None:
    assert "no file none.jsonl" in refused(terminal, desk, "verify", "none.jsonl", "--verifier", "number")


def test_a_demo_into_a_folder_that_holds_something(terminal: Terminal, desk: Path) -> None:
    assert "already holds something" in refused(terminal, desk, "demo", "--out", ".")


def test_with_json_the_sentence_stands_on_standard_output_too(terminal: Terminal, desk: Path) -> None:
    said = terminal("train", "none.toml", "--json")
    assert said.code == 2
    assert said.sentence == f"burnish: {said.json['error']}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "run.toml", "--no-such-option"],
        ["trian", "run.toml"],
        ["train"],
        ["eval", "model", "--task", "chain", "-n", "0"],
        ["sample", "model", "question", "--temperature", "-1"],
        ["demo", "--seed", "one"],
    ],
)
def test_a_usage_error_ends_with_two_and_no_traceback(terminal: Terminal, desk: Path, arguments: list[str]) -> None:
    before = contents(desk)
    said = terminal(*arguments)
    assert said.code == 2 and said.out == "" and "Traceback" not in said.err and "Error" in said.err
    assert contents(desk) == before


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file may grow beyond `free` bytes: what a writer meets on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def stopped(said: Said) -> str:
    """The sentence of a command that ran out of disk: it is not the user's input that is at fault."""
    assert said.code == 1
    lines = [line for line in said.err.splitlines() if line.startswith("burnish: ")]
    assert len(lines) == 1 and "Traceback" not in said.err
    return lines[0]


def test_a_disk_that_fills_up_while_a_model_is_saved(terminal: Terminal, desk: Path) -> None:
    with full_disk(20_000):
        sentence = stopped(terminal("pretrain", "base.toml", "updates=2"))
    assert "Cannot write base" in sentence
    assert set(contents(desk / "base")) == {"pretrain.toml", "pretrain.jsonl"}  # no half of a model


def test_a_disk_that_fills_up_while_a_run_goes_on(terminal: Terminal, desk: Path) -> None:
    with full_disk(60_000):
        sentence = stopped(terminal("train", "run.toml", "evaluate.problems=0"))
    assert "checkpoint" in sentence and "--resume" in sentence
    assert list((desk / "run" / "checkpoints").iterdir()) == []


def test_a_disk_that_is_full_from_the_start(terminal: Terminal, desk: Path) -> None:
    with full_disk(0):
        assert "Cannot write run" in stopped(terminal("train", "run.toml"))


def test_a_disk_that_fills_up_while_verdicts_are_written(terminal: Terminal, desk: Path) -> None:
    write_rows(desk / "rows.jsonl", {"gold": "4", "answer": "4"})
    with full_disk(10):
        sentence = stopped(terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl"))
    assert "Cannot write judged.jsonl" in sentence
    assert not (desk / "judged.jsonl").exists()


@pytest.mark.parametrize("out", ["none/judged.jsonl", "train.jsonl/judged.jsonl"])
def test_a_place_that_cannot_be_written(terminal: Terminal, desk: Path, out: str) -> None:
    write_rows(desk / "rows.jsonl", {"gold": "4", "answer": "4"})
    assert "Cannot write" in stopped(terminal("verify", "rows.jsonl", "--verifier", "number", "--out", out))
    assert "Cannot write" in stopped(terminal("train", "run.toml", "out=train.jsonl/run"))


def test_a_process_of_its_own_says_the_same(desk: Path) -> None:
    """The whole of it once, from the outside: nothing of a library's stands on standard error either."""
    long_prompt(desk)
    command = [sys.executable, "-m", "burnish", "train", "run.toml", *options()]
    before = contents(desk)
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, timeout=120)
    assert "prompt of rows/train/100" in Said(done.returncode, done.stdout, done.stderr).sentence
    assert (done.returncode, done.stdout) == (2, "")
    assert contents(desk) == before
