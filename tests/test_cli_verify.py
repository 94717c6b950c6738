"""`burnish verify` on files of any size: order, memory, atomicity, the math verifier's two ways in, and its sentences."""

from __future__ import annotations

import importlib.util
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from burnish.pipelines import verify as pipeline
from burnish.verify import VERIFIERS, judge
from burnish.verify.rows import read_row
from terminal import Terminal, write_rows
from test_verify_pool import PROBLEM

JUDGE = "test_cli_verify:nobody_there"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def nobody_there(problem: Any, response: str) -> Any:
    """A judge whose endpoint is down."""
    from burnish.verify.llm_judge import Endpoint, Judge

    return Judge(Endpoint("http://127.0.0.1:9/v1", "m", attempts=2, backoff_s=0.01))(problem, response)


def test_rows_come_back_in_their_order(terminal: Terminal, tmp_path: Path) -> None:
    rows = [{"gold": n, "answer": n % 10, "mine": [n]} for n in range(10_000)]
    write_rows(tmp_path / "rows.jsonl", *rows)
    said = terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl", "--json")
    assert said.json["rows"] == 10_000 and said.json["right"] == 10
    assert said.json["rows_per_second"] > 0 and said.json["latency"]["p50"] > 0
    judged = [json.loads(line) for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert [{key: row[key] for key in ("gold", "answer", "mine")} for row in judged] == rows
    assert [row["outcome"] == "right" for row in judged] == [n < 10 for n in range(10_000)]


def test_memory_does_not_grow_with_the_file(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CHUNK_ROWS", 200)
    write_rows(tmp_path / "rows.jsonl", *({"gold": "4", "response": "x" * 5000} for _ in range(3000)))  # 15 MB
    tracemalloc.start()
    pipeline.verify_file(pipeline.Source("rows.jsonl", "number"), "judged.jsonl", 1, 5.0, quiet=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_bad_row_late_in_the_file_writes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", *({"gold": "4", "answer": "4"} for _ in range(9000)), {"answer": "4"})
    (tmp_path / "judged.jsonl").write_text("as it was")
    said = terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl")
    assert said.code == 2 and "rows.jsonl:9001 does not say what is right" in said.sentence
    assert (tmp_path / "judged.jsonl").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "judged.jsonl"}


def test_progress_and_faults_are_told(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "rows.jsonl",
        {"gold": "4", "answer": "4"},
        {"gold": "IV", "answer": "4"},
        {"reference": {}, "answer": "4"},
    )
    said = terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl")
    assert said.out == "judged.jsonl: 1 right, 0 wrong, 2 no_verdict.\n"
    assert "judging 3/3" in said.err and "ETA" in said.err and "at the 99th percentile" in said.err
    assert "2 x gold, first rows.jsonl:2: " in said.err
    assert json.loads((tmp_path / "judged.jsonl").read_text().splitlines()[2])["why"] == "the reference has no 'answer'"


def test_a_deadline_is_kept(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", *({"reference": {}, "response": text} for text in ("hang", "say 1")))
    arguments = ["--verifier", "test_verify_misbehaving:obey", "--deadline", "0.3", "--workers", "1"]
    said = terminal("verify", "rows.jsonl", *arguments, "--out", "judged.jsonl", "--json")
    assert said.json["faults"] == {"timeout": 1} and said.json["right"] == 1
    assert said.json["first_faults"]["timeout"] == "rows.jsonl:1: no verdict within 0.3 s"


def test_a_judge_that_is_down_is_a_sentence_and_no_zero(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", {"gold": "4", "answer": "5"})
    said = terminal("verify", "rows.jsonl", "--verifier", JUDGE, "--out", "judged.jsonl", "--deadline", "30", "--json")
    assert (said.json["no_verdict"], said.json["wrong"], said.json["faults"]) == (1, 0, {"judge": 1})
    assert "the judge at http://127.0.0.1:9/v1 gave no reply" in said.json["first_faults"]["judge"]


def test_text_that_is_no_utf8_goes_through(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"gold": "4", "response": "\\ud800\\nA: 4"}\n')
    said = terminal("verify", "rows.jsonl", "--verifier", "number", "--out", "judged.jsonl", "--json")
    assert said.json["right"] == 1 and json.loads((tmp_path / "judged.jsonl").read_text())["response"] == "\ud800\nA: 4"


@pytest.mark.parametrize("bad", [["--workers", "0"], ["--deadline", "0"], ["--deadline", "soon"]])
def test_limits_that_make_no_sense_are_refused(terminal: Terminal, tmp_path: Path, bad: list[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", {"gold": "4", "answer": "4"})
    said = terminal("verify", "rows.jsonl", "--verifier", "number", *bad)
    assert said.code == 2 and said.out == "" and "Traceback" not in said.err


# ---- how a bare answer reaches a verifier


def test_a_bare_answer_is_flagged_and_put_into_the_verifiers_form() -> None:
    assert read_row({"gold": "4", "answer": 4}, "number", "x") == ({"answer": "4", "bare": True}, "4")
    assert read_row({"gold": "4", "answer": "4"}, "tagged_number", "x")[1] == "<think>given</think><answer>4</answer>"
    assert read_row({"gold": "4", "response": "4"}, "number", "x") == ({"answer": "4"}, "4")
    assert read_row({"gold": "4", "answer": "{4}"}, "math", "x")[1] == "{4}"


@pytest.mark.skipif(importlib.util.find_spec("burnish.verify.maths") is None, reason="there is no burnish.verify.maths")
def test_math_takes_bare_answers_and_responses(terminal: Terminal, tmp_path: Path) -> None:
    rows = [
        {"gold": "1/2", "answer": "\\frac{1}{2}"},
        {"gold": "1/2", "response": "<think>\\boxed{3}</think> so \\boxed{0.5}"},
        {"gold": "1/2", "response": "<think>\\boxed{1/2}"},
    ]
    write_rows(tmp_path / "rows.jsonl", *rows)
    said = terminal("verify", "rows.jsonl", "--verifier", "math", "--out", "judged.jsonl", "--json")
    judged = [json.loads(line)["outcome"] for line in (tmp_path / "judged.jsonl").read_text().splitlines()]
    assert said.code == 0 and judged == ["right", "right", "wrong"]


def test_math_verify_is_a_second_opinion() -> None:
    from dataclasses import replace

    half = replace(PROBLEM, reference={"answer": "1/2", "bare": True})
    assert judge(VERIFIERS["math-verify"], half, "\\frac{1}{2}").outcome == "right"
    assert judge(VERIFIERS["math-verify"], half, "0.6").outcome == "wrong"
    whole = replace(PROBLEM, reference={"answer": "1/2"})
    assert judge(VERIFIERS["math-verify"], whole, "<think>1/2</think>so \\boxed{0.5}").outcome == "right"
    assert judge(VERIFIERS["math-verify"], whole, "<think>\\boxed{1/2}").outcome == "wrong"
