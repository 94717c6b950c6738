"""Rows of one's own: fields, templates, references, ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem
from burnish.tasks.rows import Rows
from burnish.tasks.splits import check_golds

HELD_OUT = {"question": "1+1?", "answer": "2", "q": "1+1?", "a": "2", "n": "first", "tests": ["t"]}


def task(folder: Path, *rows: dict[str, Any], **options: Any) -> Rows:
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "test.jsonl").write_text(json.dumps(HELD_OUT))
    return Rows(str(folder / "train.jsonl"), str(folder / "test.jsonl"), **options)


def only(rows: Rows) -> Problem:
    [problem] = rows.train(1).take(1)
    return problem


def test_fields_have_the_names_the_options_give(tmp_path: Path) -> None:
    problem = only(task(tmp_path, {"q": "3+4?", "a": "7"}, question="q", answer="a"))
    assert (problem.question, problem.reference) == ("3+4?", {"answer": "7", "style": "any"})


def test_a_row_that_lacks_the_field_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: .* no field 'question', it has 'prompt', 'answer'; name"):
        task(tmp_path, {"prompt": "3+4?", "answer": "7"}).train(1)


@pytest.mark.parametrize(("answer", "text"), [(7, "7"), (7.5, "7.5"), (" 7 ", "7")])
def test_an_answer_becomes_text(tmp_path: Path, answer: object, text: str) -> None:
    assert only(task(tmp_path, {"question": "?", "answer": answer})).reference["answer"] == text


@pytest.mark.parametrize("answer", ["", "  ", None])
def test_a_row_without_an_answer_is_refused_with_its_place(tmp_path: Path, answer: object) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:2: a row without an answer, 'answer' is empty"):
        task(tmp_path, {"question": "?", "answer": "7"}, {"question": "??", "answer": answer}).train(1)


def test_an_answer_that_is_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:1: 'answer' is a list"):
        task(tmp_path, {"question": "?", "answer": ["7"]}).train(1)


def test_the_wording_surrounds_the_question(tmp_path: Path) -> None:
    rows = task(tmp_path, {"question": "{3+4}?", "answer": "7"}, wording="{question} Use \\boxed{{}}.")
    assert rows.messages(only(rows)) == (Message("user", "{3+4}? Use \\boxed{}."),)


@pytest.mark.parametrize("wording", ["{q}", "{question} \\boxed{}", "{question} {", "{question.x}"])
def test_a_wording_with_another_field_is_refused(tmp_path: Path, wording: str) -> None:
    with pytest.raises(ConfigError, match=r"wording = .* knows only the field \{question\}"):
        task(tmp_path, HELD_OUT, wording=wording)


def test_a_wording_without_the_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wording = 'Answer!' does not contain \{question\}"):
        task(tmp_path, HELD_OUT, wording="Answer!")


def test_the_gold_wording_can_follow_ones_own_verifier(tmp_path: Path) -> None:
    rows = task(tmp_path, {"question": "?", "answer": "7"}, gold_wording="\\boxed{{{answer}}}")
    assert rows.gold(only(rows)) == "\\boxed{7}"


def test_a_named_field_gives_the_id(tmp_path: Path) -> None:
    rows = task(tmp_path, {"question": "?", "answer": "7", "n": "seven"}, id="n", name="mine")
    assert only(rows).id == "mine/train/seven"


def test_two_rows_with_one_id_are_refused(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": "7", "n": "seven"} for i in range(2)]
    with pytest.raises(DataError, match=r"train\.jsonl:2: the id 'rows/train/seven' was already used at .*:1;"):
        task(tmp_path, *rows, id="n").train(1)


def test_kept_fields_go_into_the_reference(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "7", "tests": ["assert f(1) == 7"], "other": 1}
    problem = only(task(tmp_path, row, keep=["tests"], verifier="my.module:judge"))
    assert problem.reference == {"answer": "7", "tests": ["assert f(1) == 7"]}


def test_keeping_the_answer_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep names 'answer'"):
        task(tmp_path, HELD_OUT, keep=["answer"])


def test_case_and_white_space_make_no_new_problem(tmp_path: Path) -> None:
    rows = task(tmp_path, *({"question": q, "answer": "7"} for q in ("What is 3 + 4?", "what  is 3 + 4? ")))
    assert rows.notices == ("1 training row repeats an earlier one; dropped.",)


@pytest.mark.parametrize("verifier", ["number", "tagged_number"])
def test_golds_pass_the_verifiers_for_numbers(tmp_path: Path, verifier: str) -> None:
    rows = task(tmp_path, {"question": "?", "answer": 7}, {"question": "??", "answer": "1,080"}, verifier=verifier)
    assert check_golds(rows, [*rows.train(1).take(2), *rows.held_out()]) == []


def test_svamp_reads_and_its_golds_pass(data_dir: Path, tmp_path: Path) -> None:
    svamp = json.loads((data_dir / "svamp" / "SVAMP.json").read_text())
    joined = [{"question": f"{row['Body']} {row['Question']}", "answer": row["Answer"]} for row in svamp]
    for name, part in (("train", joined[:700]), ("test", joined[700:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    rows = Rows(str(tmp_path / "train.json"), str(tmp_path / "test.json"))
    assert rows.train_size is not None
    assert check_golds(rows, [*rows.train(1).take(rows.train_size), *rows.held_out()]) == []
