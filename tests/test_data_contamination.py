"""Contamination: coverage by hand, the rules, short questions, and GSM-Hard against the questions it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.data.contamination import RULES, Benchmark, Rule, usual_length
from burnish.tasks.files import read_rows

QUESTION = "one two three four five six seven eight nine ten"


def rule(n: int, coverage: float) -> Rule:
    return Rule(n, coverage, "a test")


def test_coverage_is_the_share_of_the_questions_words_in_shared_runs() -> None:
    found = Benchmark([QUESTION], rule(3, 0.0)).find("so TWO, three; four! and seven eight nine ten too")
    assert found is not None
    assert found.coverage == pytest.approx(7 / 10)  # two three four, seven eight nine ten
    assert found.shared == "seven eight nine ten"


def test_a_row_at_the_coverage_is_clean_and_one_above_it_is_not() -> None:
    text = "one two three four five and then other words"  # 5 of 10
    assert Benchmark([QUESTION], rule(5, 0.5)).find(text) is None
    assert Benchmark([QUESTION], rule(5, 0.4)).find(text) is not None


def test_words_of_two_questions_do_not_add_up() -> None:
    halves = Benchmark([QUESTION, "a b c d e f g h i j"], rule(3, 0.5))
    assert halves.find("one two three four and a b c d") is None


def test_a_run_does_not_reach_from_one_question_into_the_next() -> None:
    assert Benchmark(["one two", "three four"], rule(3, 0.0)).find("one two three four") is None


def test_the_question_covered_most_is_named_and_all_above_are_counted() -> None:
    found = Benchmark(["a b c d x y", "a b c d e f"], rule(3, 0.0)).find("a b c d e f g")
    assert found is not None
    assert (found.number, found.coverage, found.above) == (1, 1.0, (0, 1))


def test_a_short_question_is_found_only_as_a_whole() -> None:
    benchmark = Benchmark(["What is 2 + 2?"], RULES["tulu3"])
    assert benchmark.short == 1
    assert benchmark.find("Tell me what is 2 + 2 please") is None
    found = benchmark.find("what is 2 + 2")
    assert found is not None and found.whole


def test_numbers_may_be_left_out_of_account() -> None:
    text = QUESTION.replace("five", "77").replace("eight", "88")
    asked = QUESTION.replace("five", "5").replace("eight", "8")
    assert Benchmark([asked], rule(8, 0.5)).find(text) is None
    found = Benchmark([asked], rule(8, 0.5), numbers=False).find(text)
    assert found is not None and found.whole


def test_an_empty_question_contaminates_nothing() -> None:
    benchmark = Benchmark(["", QUESTION], rule(3, 0.0))
    assert benchmark.find("") is None
    found = benchmark.find(QUESTION + " eleven")
    assert found is not None and found.number == 1


def test_the_wording_of_a_benchmark_is_told_from_a_question() -> None:
    questions = [f"Answer the following question with a number please: {word}" for word in "abcdefghijklmnopqrst"]
    found = Benchmark(questions, rule(5, 0.5)).find("Answer the following question with a number please: zz")
    assert found is not None and found.wording


def test_a_question_with_words_of_its_own_is_not_wording() -> None:
    questions = [
        f"Answer the following question please: what do {word * 3} {word} {word} {word} mean here"
        for word in "abcdefghijkl"
    ]
    found = Benchmark(questions, rule(3, 0.5)).find("Now: " + questions[3])
    assert found is not None and found.number == 3 and not found.wording


def test_gpt3_takes_the_5th_percentile_within_8_and_13() -> None:
    assert [usual_length(lengths) for lengths in ([3] * 20, [10] * 20, [50] * 20)] == [8, 10, 13]


def test_nearly_all_of_gsm8k_is_found_in_gsm_hard(data_dir: Path) -> None:
    hard = [row["input"] for _, row in read_rows(str(data_dir / "gsm_hard" / "gsmhardv2.jsonl"))]
    asked = [row["question"] for _, row in read_rows(str(data_dir / "gsm8k" / "test.jsonl"))]
    benchmark = Benchmark(hard, RULES["tulu3"])
    assert sum(benchmark.find(question) is not None for question in asked) >= 0.99 * len(asked)


def test_the_training_questions_of_gsm8k_are_not_its_test_questions(data_dir: Path) -> None:
    asked = [row["question"] for _, row in read_rows(str(data_dir / "gsm8k" / "test.jsonl"))]
    train = [row["question"] for _, row in read_rows(str(data_dir / "gsm8k" / "train.jsonl"))]
    benchmark = Benchmark(asked, RULES["tulu3"])
    assert sum(benchmark.find(question) is not None for question in train) < 0.01 * len(train)
