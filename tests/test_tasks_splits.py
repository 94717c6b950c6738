"""Separating the splits, limits, and the check of gold answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.records import Problem
from burnish.tasks.rows import Rows
from burnish.tasks.splits import check_golds, separate


def problems(split: str, *questions: str) -> list[Problem]:
    return [Problem(f"t/{split}/{i}", "t", q, {}, split, q) for i, q in enumerate(questions)]


def questions(split: tuple[Problem, ...]) -> list[str]:
    return [problem.question for problem in split]


def test_splits_apart_pass_unchanged_and_without_a_word() -> None:
    separation = separate(problems("train", "a", "b"), problems("held_out", "c"))
    assert (questions(separation.train), questions(separation.held_out), separation.notices) == (["a", "b"], ["c"], ())


def test_what_is_held_out_leaves_training() -> None:
    separation = separate(problems("train", "a", "b", "c"), problems("held_out", "b"))
    assert questions(separation.train) == ["a", "c"]
    assert questions(separation.held_out) == ["b"]
    assert separation.notices == ("1 problem stands in both splits; dropped from training.",)


def test_of_repeats_the_first_stays() -> None:
    separation = separate(problems("train", "a", "b", "a", "a"), problems("held_out", "c", "d", "c"))
    assert [problem.id for problem in separation.train] == ["t/train/0", "t/train/1"]
    assert [problem.id for problem in separation.held_out] == ["t/held_out/0", "t/held_out/1"]
    assert separation.notices == (
        "2 training rows repeat an earlier one; dropped.",
        "1 held-out row repeats an earlier one; dropped.",
    )


def test_refuse_names_the_held_out_problem_in_train() -> None:
    with pytest.raises(DataError, match=r"a held-out problem in train: t/train/1 is t/held_out/0; remove"):
        separate(problems("train", "a", "b"), problems("held_out", "b"), overlap="refuse")


def test_refuse_names_the_first_three() -> None:
    with pytest.raises(DataError, match=r"5 problems .*: t/train/0 .*, t/train/1 .*, t/train/2 is [^,]*, \.\.\.;"):
        separate(problems("train", *"abcdef"), problems("held_out", *"abcde"), overlap="refuse")


def test_refuse_lets_repeats_within_a_split_pass_with_a_notice() -> None:
    assert len(separate(problems("train", "a", "a"), problems("held_out", "b"), overlap="refuse").notices) == 1


def test_training_on_the_held_out_file_is_refused() -> None:
    with pytest.raises(DataError, match="All 2 training problems stand in the held-out split"):
        separate(problems("train", "a", "b"), problems("held_out", "a", "b"))


def rows(folder: Path, **options: Any) -> Rows:
    for name, first, count in (("train", 0, 6), ("test", 2, 3)):  # questions 0 to 5; 2 to 4 are held out
        lines = [json.dumps({"question": f"{i}?", "answer": i}) for i in range(first, first + count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return Rows(str(folder / "train.jsonl"), str(folder / "test.jsonl"), **options)


def test_limits_apply_after_separation(tmp_path: Path) -> None:
    limited = rows(tmp_path, limit_train=3, limit_held_out=1)
    assert sorted(problem.question for problem in limited.train(1).take(3)) == ["0?", "1?", "5?"]
    assert questions(limited.held_out()) == ["2?"]


def test_a_problem_held_out_beyond_the_limit_is_not_trained_on_either(tmp_path: Path) -> None:
    assert rows(tmp_path, limit_held_out=1).train_size == 3


@pytest.mark.parametrize("option", ["limit_train", "limit_held_out"])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} = 0 leaves no problem"):
        rows(tmp_path, **{option: 0})


def test_files_are_read_at_the_first_question() -> None:
    reading = Rows("nowhere/train.jsonl", "nowhere/test.jsonl")
    with pytest.raises(DataError, match=r"There is no file nowhere/train\.jsonl"):
        reading.held_out()


def test_where_is_the_place_a_problem_was_read_from(tmp_path: Path) -> None:
    reading = rows(tmp_path)
    assert [Path(reading.where(p)).name for p in reading.held_out()] == ["test.jsonl:1", "test.jsonl:2", "test.jsonl:3"]


def test_a_gold_that_is_wrong_is_reported_with_place_and_verdict(tmp_path: Path) -> None:
    lying = rows(tmp_path, gold_wording="<think>I add one.</think><answer>1{answer}</answer>")
    failures = check_golds(lying, lying.held_out())
    assert [failure.problem_id for failure in failures] == ["rows/held_out/0", "rows/held_out/1", "rows/held_out/2"]
    assert failures[0].where.endswith("test.jsonl:1")
    assert failures[0].verdict.found == "12"
