"""burnish eval, compare and rejudge at a terminal: a model here, a model at an endpoint, and what is refused."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.journal import read_rollouts
from chat_server import KEY, MODEL, serving
from terminal import Said, Terminal, contents

CHAIN = ["--task", "chain", "-o", "min_steps=1", "-o", "max_steps=1"]
SMALL = ["-n", "6", "--max-new", "24"]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def answers(folder: str) -> dict[tuple[str, int], str]:
    return {(row["problem_id"], row["index"]): row["text"] for row in read_rollouts(folder)}


def refused(said: Said) -> str:
    assert said.code == 2, said.err
    return said.sentence


# ---- a model here


def test_eval_of_two_tasks_writes_a_report_and_keeps_every_answer(terminal: Terminal, tiny_base: Path) -> None:
    tasks = ["--task", "easy=chain", "--task", "hard=chain", "-o", "easy.max_steps=1", "-o", "easy.min_steps=1"]
    said = terminal("eval", tiny_base, *tasks, *SMALL, "--samples", "4", "--out", "e")
    assert said.code == 0 and "pass@4" in said.out and "answers" in said.out and "estimated FLOPs" in said.out
    assert "95% interval" in said.out and "Every answer and the report are in e" in said.out
    report = json.loads(Path("e/report.json").read_text())
    assert list(report["tasks"]) == ["easy", "hard"]
    assert {"pass@1", "pass@2", "pass^2", "maj@2", "pass@4", "pass^4", "maj@4"} == report["tasks"]["easy"][
        "figures"
    ].keys()
    assert len(answers("e/easy")) == len(answers("e/hard")) == 24
    assert Path("e/report.md").is_file() and Path("e/figures.png").read_bytes().startswith(b"\x89PNG")


def test_asking_for_more_samples_draws_only_those_and_they_are_the_ones_a_single_call_draws(
    terminal: Terminal, tiny_base: Path
) -> None:
    base = ["eval", tiny_base, *CHAIN, *SMALL, "--json"]
    first = terminal(*base, "--samples", "2", "--out", "grown").json
    files = contents(Path("grown/chain/rollouts"))
    grown = terminal(*base, "--samples", "4", "--out", "grown").json
    whole = terminal(*base, "--samples", "4", "--out", "whole").json
    assert answers("grown/chain") == answers("whole/chain")
    assert grown["tasks"]["chain"]["figures"] == whole["tasks"]["chain"]["figures"]
    assert files.items() <= contents(Path("grown/chain/rollouts")).items()
    again = terminal(*base, "--samples", "2", "--out", "grown").json
    assert again["tasks"]["chain"]["figures"] == first["tasks"]["chain"]["figures"]


def test_the_same_command_goes_on_where_it_was(terminal: Terminal, tiny_base: Path) -> None:
    one = terminal("eval", tiny_base, *CHAIN, *SMALL, "--json")
    two = terminal("eval", tiny_base, *CHAIN, *SMALL, "--json")
    assert one.err == two.err == ""
    assert one.json == two.json and one.json["out"].startswith("runs/eval/")
    assert len(list(Path("runs/eval").iterdir())) == 1


def test_another_seed_is_another_evaluation(terminal: Terminal, tiny_base: Path) -> None:
    one, two = (terminal("eval", tiny_base, *CHAIN, *SMALL, "--seed", seed, "--json").json for seed in (1, 2))
    assert one["out"] != two["out"] and answers(f"{one['out']}/chain") != answers(f"{two['out']}/chain")


def test_greedy_is_one_answer_a_problem(terminal: Terminal, tiny_base: Path) -> None:
    said = terminal("eval", tiny_base, *CHAIN, *SMALL, "--temperature", "0", "--out", "g", "--json").json
    assert said["tasks"]["chain"]["samples"] == 1 and list(said["tasks"]["chain"]["figures"]) == ["pass@1"]
    assert "pass@1 (greedy)" in Path("g/report.md").read_text()


def test_the_verifier_and_its_measured_errors_travel_with_the_score(terminal: Terminal, tiny_base: Path) -> None:
    one = terminal("eval", tiny_base, *CHAIN, *SMALL, "--json").json["tasks"]["chain"]
    assert one["verifier"].startswith("tagged_number@")
    assert one["verifier_rates"][0]["false_positives"] == 0 and one["verifier_rates"][0]["wrong"] == 3275
    assert "python benchmarks/verifier_rates.py" in one["verifier_rates"][0]["command"]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--task", "chian"], "did you mean 'chain'"),
        ([], "Say what to measure on: --task chain"),
        ([*CHAIN, "-k", "8", "--samples", "4"], "pass@8 needs at least 8 samples"),
        ([*CHAIN, "--temperature", "0", "--samples", "4"], "At temperature 0 all 4 answers"),
        (["--task", "chain", "--task", "chain"], "needs a label of its own, such as other=chain"),
        (["--task", "chain", "--task", "b=chain", "-o", "max_steps=1"], "write chain.max_steps=... or one of chain, b"),
        ([*CHAIN, "--model", "x"], "no effect without --endpoint"),
        ([*CHAIN, "--verifier", "math"], "no effect without --answers"),
        ([*CHAIN, "--max-new", "126"], "context of 128"),
    ],
)
def test_a_bad_measurement(terminal: Terminal, tiny_base: Path, arguments: list[str], fragment: str) -> None:
    assert fragment in refused(terminal("eval", tiny_base, *arguments))
    assert not Path("runs").exists()


def test_a_model_that_is_not_there(terminal: Terminal) -> None:
    assert "The model folder ./none does not exist" in refused(terminal("eval", "./none", *CHAIN))


def test_a_directory_of_another_sampling_says_what_differs(terminal: Terminal, tiny_base: Path) -> None:
    terminal("eval", tiny_base, *CHAIN, *SMALL, "--samples", "1", "--out", "e")
    before = contents(Path("e"))
    said = refused(terminal("eval", tiny_base, *CHAIN, *SMALL, "--temperature", "0.5", "--out", "e"))
    assert "sampling.temperature is 1.0 there, 0.5 here" in said
    said = refused(terminal("eval", tiny_base, "--task", "chain", *SMALL, "--out", "e"))
    assert "tasks.chain.options.min_steps is 1 there, None here" in said
    assert contents(Path("e")) == before


def test_a_disk_that_fills_up_half_way(terminal: Terminal, tiny_base: Path) -> None:
    command = ["eval", tiny_base, *CHAIN, *SMALL, "--samples", "2", "--out", "e"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # evaluation.json fits, the answers do not
    try:
        said = terminal(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said.code == 1 and "Cannot write" in said.err.splitlines()[-1] and "Traceback" not in said.err
    assert terminal(*command).code == 0 and len(answers("e/chain")) == 12


def test_a_kill_loses_only_what_was_not_written(tiny_base: Path, tmp_path: Path) -> None:
    arguments = [str(tiny_base), *CHAIN, "-n", "40", "--max-new", "24", "--samples", "8", "--out", "e"]
    code = (
        "import sys; from burnish.evaluate import collect; collect.FLUSH_ANSWERS = 8; "
        "from burnish.cli import main; sys.argv = ['burnish', 'eval', *sys.argv[1:]]; main()"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(burnish.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    )
    folder, end = tmp_path / "e" / "chain" / "rollouts", time.monotonic() + 100
    while len(list(folder.glob("step_*.parquet")) if folder.is_dir() else []) < 3:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = answers(str(tmp_path / "e" / "chain"))
    for out in ("e", "whole"):
        done = subprocess.run(
            [sys.executable, "-m", "burnish", "eval", *arguments[:-1], out, "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout)["tasks"]["chain"]["answers"] == 320
    whole = answers(str(tmp_path / "whole" / "chain"))
    assert kept.items() <= whole.items() and answers(str(tmp_path / "e" / "chain")) == whole


# ---- a model at an endpoint


def remote(url: str, *more: str) -> list[str]:
    return ["eval", "--endpoint", url, "--model", MODEL, *CHAIN, "-n", "6", "--samples", "4", "--out", "e", *more]


@pytest.mark.parametrize("behaviour", ["fine", "busy", "broken", "cut", "refuses_n", "slow"])
def test_an_endpoint_is_measured_whatever_it_does(terminal: Terminal, behaviour: str) -> None:
    with serving(behaviour) as server:
        one = terminal(*remote(server.url, "--json")).json["tasks"]["chain"]
        seeds = {(body["messages"][-1]["content"], body["seed"]) for body in server.bodies}
        assert all(body.get("n", 1) == 1 for body in server.bodies)
    assert (one["answers"], one["missing"], one["no_verdict"]) == (24, 0, 0)
    right = sum(seed % 2 == 0 for _, seed in seeds)
    assert len(seeds) == 24 and one["figures"]["pass@1"]["value"] == pytest.approx(right / 24)
    assert one["cost"]["tokens"] == 24 * 9 and one["cost"]["prompt_tokens"] == 24 * 20 and one["cost"]["flops"] is None


def test_an_endpoint_gives_text_only_and_the_record_says_so(terminal: Terminal) -> None:
    with serving() as server:
        terminal(*remote(server.url))
    about = json.loads(Path("e/evaluation.json").read_text())
    assert about["model"] == {"endpoint": server.url, "name": MODEL, "text_only": True}
    assert all(row["completion_ids"] == [] and row["usage_completion"] == 9 for row in read_rollouts("e/chain"))
    assert "text only, without token ids" in Path("e/report.md").read_text()


def test_a_thought_beside_the_text_is_put_back(terminal: Terminal) -> None:
    with serving("thoughts") as server:
        one = terminal(*remote(server.url, "--json")).json["tasks"]["chain"]
    assert one["shares"]["thinks"] == 1.0
    assert all(row["text"].startswith("<think>so</think><answer>") for row in read_rollouts("e/chain"))


def test_without_usage_lengths_are_unknown_and_not_nought(terminal: Terminal) -> None:
    with serving("no_usage") as server:
        one = terminal(*remote(server.url, "--json")).json["tasks"]["chain"]
    assert one["cost"]["tokens"] is None and one["lengths"]["all"] is None
    assert any("without a token count" in note for note in one["notes"])


def test_an_endpoint_that_dies_is_gone_on_with(terminal: Terminal) -> None:
    with serving("dies") as server:
        said = terminal(*remote(server.url, "--timeout", "0.3", "--concurrency", "4"))
    assert said.code == 1 and "What came" in said.err
    assert len(answers("e/chain")) == 12
    with serving() as server:
        said = terminal(*remote(server.url, "--json"))
    assert said.code == 2 and "model.endpoint is" in said.json["error"]  # another port is another endpoint


def test_answers_that_are_missing_are_asked_for_again(terminal: Terminal) -> None:
    with serving("fine") as server:
        terminal(*[word if word != "4" else "2" for word in remote(server.url)])
        asked = len(server.bodies)
        terminal(*remote(server.url))
        assert len(server.bodies) == asked + 12


@pytest.mark.parametrize(
    ("behaviour", "more", "fragment"),
    [
        ("other_model", [], "answers as 'other'; give --model other"),
        ("key", [], "--api-key-env"),
        ("key", ["--api-key-env", "NO_SUCH_KEY"], "needs a key in the environment variable NO_SUCH_KEY"),
    ],
)
def test_an_endpoint_that_refuses(terminal: Terminal, behaviour: str, more: list[str], fragment: str) -> None:
    with serving(behaviour) as server:
        assert fragment in refused(terminal(*remote(server.url, *more)))


def test_a_model_the_endpoint_does_not_know_names_the_nearest(terminal: Terminal) -> None:
    with serving() as server:
        command = [word if word != MODEL else "tiny-chart" for word in remote(server.url)]
        assert f"did you mean --model {MODEL}?" in refused(terminal(*command))


def test_a_key_is_sent_and_never_written_down(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    with serving("key") as server:
        said = terminal(*remote(server.url, "--api-key-env", "THE_KEY"))
    assert said.code == 0
    assert not [path for path in Path("e").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in said.out + said.err


@pytest.mark.parametrize(
    ("url", "fragment"),
    [
        ("localhost:8000", "must begin with http"),
        ("http://user:secret@127.0.0.1:9/v1", "holds a password"),
    ],
)
def test_a_bad_url(terminal: Terminal, url: str, fragment: str) -> None:
    said = refused(terminal(*remote(url)))
    assert fragment in said and "secret" not in said


# ---- compare and rejudge


def test_compare_two_evaluations(terminal: Terminal, tiny_base: Path, finished_run: Path) -> None:
    for out, model in (("a", tiny_base), ("b", finished_run / "final")):
        terminal("eval", model, *CHAIN, *SMALL, "--samples", "2", "--out", out)
    said = terminal("compare", "a", "b")
    assert said.code == 0 and "On the same 6 problems of chain (2 answers each), a has" in said.out
    result = terminal("compare", "a", "b", "--json").json["tasks"]["chain"]
    back = terminal("compare", "b", "a", "--json").json["tasks"]["chain"]
    assert result["difference"]["value"] == pytest.approx(-back["difference"]["value"])
    assert result["won"] + result["lost"] + result["tied"] == 6


def test_compare_a_training_run_with_its_beginning(terminal: Terminal, finished_run: Path) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    result = terminal("compare", finished_run, "--json").json["tasks"]["chain"]
    assert result["difference"]["value"] == pytest.approx(report["change"]["pass@1"]["value"])
    assert result["verifier"].startswith("tagged_number@") and result["notes"] == []


def test_compare_refuses_other_problems_unless_told(terminal: Terminal, tiny_base: Path) -> None:
    for out, count in (("a", "4"), ("b", "6")):
        terminal("eval", tiny_base, *CHAIN, "--max-new", "24", "-n", count, "--samples", "1", "--out", out)
    said = refused(terminal("compare", "a", "b"))
    assert "0 only in a, 2 only in b, 4 in both" in said and "--common" in said
    result = terminal("compare", "a", "b", "--common", "--json").json["tasks"]["chain"]
    assert result["problems"] == 4 and "Compared on the problems that both have" in result["notes"][0]


def test_compare_refuses_what_is_no_measurement(terminal: Terminal, finished_run: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(terminal("compare", "none", "nor_this"))
    (tmp_path / "empty").mkdir()
    assert "neither evaluation.json nor" in refused(terminal("compare", "empty", finished_run))
    assert "not a training run" in refused(terminal("compare", "empty"))


def test_rejudge_writes_its_own_file_and_leaves_the_rest(terminal: Terminal, tiny_base: Path) -> None:
    terminal("eval", tiny_base, *CHAIN, *SMALL, "--samples", "2", "--out", "e")
    before = contents(Path("e"))
    result = terminal("rejudge", "e", "--verifier", "number", "--json").json["tasks"]["chain"]
    after = contents(Path("e"))
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"chain/rejudged", "chain/rejudged/number.jsonl"}
    assert sum(sum(row.values()) for row in result["confusion"].values()) == result["answers"] == 12
    lines = [json.loads(line) for line in Path("e/chain/rejudged/number.jsonl").read_text().splitlines()]
    assert lines[0]["verifier"].startswith("number@") and lines[0]["was"].startswith("tagged_number@")
    confusion: dict[Any, int] = {}
    for line in lines[1:]:
        confusion[line["was"], line["outcome"]] = confusion.get((line["was"], line["outcome"]), 0) + 1
    assert all(result["confusion"][was][now] == count for (was, now), count in confusion.items())


def test_rejudge_says_where_two_verifiers_differ(terminal: Terminal, tiny_base: Path) -> None:
    terminal("eval", tiny_base, *CHAIN, *SMALL, "--samples", "2", "--out", "e")
    said = terminal("rejudge", "e", "--verifier", "countdown")  # which needs numbers that these problems lack
    assert said.code == 0 and "tagged_number@" in said.out and "They agree on 0.00%" in said.out
    assert "now no_verdict (the reference has no" in said.out and "the stored answers are as they were" in said.out


def test_compare_by_the_verdicts_of_another_verifier(terminal: Terminal, tiny_base: Path) -> None:
    for out, seed in (("a", "1"), ("b", "2")):
        terminal("eval", tiny_base, *CHAIN, *SMALL, "--samples", "2", "--seed", seed, "--out", out)
    assert "first: burnish rejudge a --verifier number" in refused(
        terminal("compare", "a", "b", "--verifier", "number")
    )
    for out in ("a", "b"):
        terminal("rejudge", out, "--verifier", "number")
    result = terminal("compare", "a", "b", "--verifier", "number", "--json").json["tasks"]["chain"]
    assert result["verifier"].startswith("number@")


def test_rejudge_refuses_an_unknown_verifier_and_an_empty_place(terminal: Terminal, tmp_path: Path) -> None:
    assert "did you mean 'number'" in refused(terminal("rejudge", ".", "--verifier", "numbr"))
    assert "holds no answers" in refused(terminal("rejudge", ".", "--verifier", "number"))
    assert contents(tmp_path) == {}


def test_rejudge_of_a_training_run(terminal: Terminal, finished_run: Path) -> None:
    import shutil

    shutil.copytree(finished_run, "run")
    result = terminal("rejudge", "run", "--verifier", "tagged_number", "--json").json["tasks"]["run"]
    assert result["answers"] == 3 * 36 and result["agreement"] == 1.0 and result["disagreements"] == 0
