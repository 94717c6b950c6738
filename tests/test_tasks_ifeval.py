"""IFEval: its rows as they are published, strict and loose, and the four levels that are reported for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from burnish.cli import app
from burnish.errors import DataError
from burnish.records import Problem
from burnish.tasks import load
from burnish.tasks.splits import check_golds
from burnish.verify import judge
from burnish.verify import load as load_verifier
from burnish.verify.instructions import levels

COMMAS = {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
BOTH = {
    "key": 2,
    "prompt": "No commas, end with bye.",
    "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
    "kwargs": [{"num_words": None}, {"end_phrase": "bye", "num_words": None}],
}


def made(folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return load("ifeval", {"held_out": str(folder / "rows.jsonl"), **options})


def verdict(problem: Problem, response: str) -> Any:
    return judge(load_verifier("instructions"), problem, response)


def test_the_prompt_is_asked_as_it_stands(tmp_path: Path) -> None:
    task = made(tmp_path, COMMAS)
    [problem] = task.held_out()
    assert (problem.id, task.messages(problem)[0].content) == ("ifeval/held_out/1", "No commas.")


def test_arguments_of_other_instructions_are_dropped_and_counts_are_whole(tmp_path: Path) -> None:
    words = {
        **COMMAS,
        "instruction_id_list": ["length_constraints:number_words"],
        "kwargs": [{"num_words": 3.0, "letter": None}],
    }
    [problem] = made(tmp_path, words).held_out()
    assert problem.reference["kwargs"] == [{"num_words": 3}]
    assert verdict(problem, "one two three").outcome == "right"


def test_rows_pass_where_their_instructions_can_be_read(tmp_path: Path) -> None:
    unknown = {**COMMAS, "key": 3, "prompt": "?", "instruction_id_list": ["punctuation:no_coma"]}
    task = made(tmp_path, COMMAS, BOTH, unknown)
    [failure] = check_golds(task, task.held_out())
    assert failure.problem_id == "ifeval/held_out/3" and "did you mean 'punctuation:no_comma'" in failure.verdict.why


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: .* lists of one length"):
        made(tmp_path, {**COMMAS, "kwargs": []}).held_out()


LOOSE = "Sure, here it is:\nAll well bye"


def test_a_preface_breaks_an_instruction_strictly_and_not_loosely(tmp_path: Path) -> None:
    for loose, outcome in ((False, "wrong"), (True, "right")):
        [problem] = made(tmp_path, BOTH, loose=loose).held_out()
        said = verdict(problem, LOOSE)
        assert said.outcome == outcome
        assert (said.parts["followed"], said.parts["loose"]) == (0.5, 1.0)
        assert (said.parts["punctuation:no_comma"], said.parts["loose/punctuation:no_comma"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("response", "follows"),
    [
        ("bye\nok, bye", True),
        ("*bye*", True),
        ("bye\nx", True),
        ("x\nbye\nx", True),
        ("x\nx\nbye\nx", True),
        ("bye x", False),
    ],
)
def test_what_may_be_left_out_loosely(tmp_path: Path, response: str, follows: bool) -> None:
    ends = {**COMMAS, "instruction_id_list": ["startend:end_checker"], "kwargs": [{"end_phrase": "bye"}]}
    [problem] = made(tmp_path, ends, loose=True).held_out()
    assert (verdict(problem, response).outcome == "right") is follows


def test_nothing_follows_no_instruction_loosely_either(tmp_path: Path) -> None:
    [problem] = made(tmp_path, BOTH, loose=True).held_out()
    said = verdict(problem, " \n")
    assert said.outcome == "wrong" and said.parts["loose"] == said.parts["followed"] == 0.0
    assert levels([said.parts])["instruction_strict"] == (0, 2)


def test_levels_count_prompts_and_instructions_both_ways(tmp_path: Path) -> None:
    commas, both = made(tmp_path, COMMAS, BOTH).held_out()
    parts = [verdict(commas, "Fine").parts, verdict(both, LOOSE).parts, {}]
    assert levels(parts) == {
        "prompt_strict": (1, 2),
        "prompt_loose": (2, 2),
        "instruction_strict": (2, 3),
        "instruction_loose": (3, 3),
    }


def test_the_verb_verify_tells_the_four_levels(tmp_path: Path) -> None:
    made(tmp_path, COMMAS, BOTH)
    answers = [
        {"problem_id": "ifeval/held_out/1", "response": "Fine"},
        {"problem_id": "ifeval/held_out/2", "response": LOOSE},
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    rows, out = str(tmp_path / "rows.jsonl"), str(tmp_path / "judged.jsonl")
    verb = ["verify", str(tmp_path / "answers.jsonl"), "--task", "ifeval", "-o", f"held_out={rows}", "--out", out]
    told = CliRunner().invoke(app, [*verb, "--json"])
    assert told.exit_code == 0
    assert json.loads(told.stdout.splitlines()[-1])["levels"]["instruction_loose"] == [3, 3]
    assert "instruction strict: 2 of 3 (66.7%)." in CliRunner().invoke(app, verb).stderr
