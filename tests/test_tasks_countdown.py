"""Countdown: reading, wording, and the solver that proves each problem has an answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import DataError
from burnish.records import Message
from burnish.tasks.countdown import Countdown, solve
from burnish.tasks.splits import check_golds


def task(folder: Path, train: list[object], held_out: list[object] | None = None, **options: object) -> Countdown:
    for name, rows in (("train", train), ("test", held_out or [{"nums": [1, 2], "target": 3}])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Countdown(str(folder / "train.jsonl"), str(folder / "test.jsonl"), **options)  # type: ignore[arg-type]


def value(expression: str) -> Fraction:
    """Our own solver's text only: digits, + - * / and parentheses."""
    assert re.fullmatch(r"[\d+\-*/() ]+", expression)
    return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression), {"Fraction": Fraction})  # type: ignore[no-any-return]


def can_make(numbers: tuple[Fraction, ...], target: int) -> bool:
    """The slow way: replace any two numbers by any result of them, until one is left."""
    if len(numbers) == 1:
        return numbers[0] == target
    for a, b, *rest in permutations(numbers):
        results = [a + b, a - b, a * b] + ([a / b] if b else [])
        if any(can_make((result, *rest), target) for result in results):
            return True
    return False


def test_plain_wording_asks_in_words_and_tells_the_format(tmp_path: Path) -> None:
    plain = task(tmp_path, [{"nums": [44, 19, 35], "target": 98}])
    question = (
        "Using the numbers 44, 19, 35, make an expression that equals 98. "
        "Use each number once, with + - * / and parentheses."
    )
    told = " Reason between <think> and </think>, then give the expression alone between <answer> and </answer>."
    [problem] = plain.train(1).take(1)
    assert problem.question == question
    assert plain.messages(problem) == (Message("user", question + told),)


def test_short_wording_is_the_bare_sum(tmp_path: Path) -> None:
    short = task(tmp_path, [{"nums": [44, 19, 35], "target": 98}], wording="short")
    assert short.messages(short.train(1).take(1)[0]) == (Message("user", "44 19 35 = 98"),)


def test_the_reference_holds_no_solution(tmp_path: Path) -> None:
    reading = task(tmp_path, [{"nums": [44, 19, 35], "target": 98, "answer": "44+(19+35)", "hint": "..."}])
    assert reading.train(1).take(1)[0].reference == {"numbers": [44, 19, 35], "target": 98}


def test_numbers_may_be_called_numbers(tmp_path: Path) -> None:
    reading = task(tmp_path, [{"numbers": [3, 5], "target": 8}])
    assert reading.train(1).take(1)[0].reference["numbers"] == [3, 5]


def test_the_order_of_the_numbers_makes_no_new_problem(tmp_path: Path) -> None:
    reading = task(tmp_path, [{"nums": [3, 5, 7], "target": 15}], [{"nums": [5, 7, 3], "target": 15}])
    with pytest.raises(DataError, match="All 1 training problems stand in the held-out split"):
        reading.train(1)


def test_the_gold_response_shows_the_expression_in_its_tags(tmp_path: Path) -> None:
    reading = task(tmp_path, [{"nums": [3, 5], "target": 8}])
    assert reading.gold(reading.train(1).take(1)[0]) == "<think>3+5 = 8</think><answer>3+5</answer>"


def test_a_problem_without_solution_is_a_gold_failure_with_its_place(tmp_path: Path) -> None:
    reading = task(tmp_path, [{"nums": [3, 5], "target": 8}, {"nums": [3, 5], "target": 9}])
    [failure] = check_golds(reading, reading.train(1).take(2))
    assert failure.problem_id == "countdown/train/1"
    assert failure.where.endswith("train.jsonl:2")
    assert failure.verdict.outcome == "no_verdict"


BAD_ROWS = {
    "no numbers": ({"target": 3}, "no field 'nums', it has 'target'"),
    "no target": ({"nums": [3]}, "no field 'target', it has 'nums'"),
    "numbers as text": ({"nums": "3 5", "target": 8}, "numbers must be a list of 1 to 6 whole numbers.*not '3 5'"),
    "no number at all": ({"nums": [], "target": 8}, r"not \[\]"),
    "seven numbers": ({"nums": [1] * 7, "target": 7}, "1 to 6"),
    "a fraction": ({"nums": [1.5, 2], "target": 3}, "whole numbers"),
    "true": ({"nums": [True, 2], "target": 3}, "whole numbers"),
    "below zero": ({"nums": [-1, 2], "target": 1}, "none below 0"),
    "target as text": ({"nums": [1, 2], "target": "3"}, "target must be a whole number, not '3'"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    row, message = BAD_ROWS[case]
    with pytest.raises(DataError, match=r"train\.jsonl:2: .*" + message):
        task(tmp_path, [{"nums": [3, 5], "target": 8}, row]).train(1)


SOLVABLE = {
    "a sum": ((44, 19, 35), 98),
    "through a fraction: 8 / (3 - 8/3)": ((3, 3, 8, 8), 24),
    "nothing times anything: (5 - 5) * (3 + 7)": ((5, 5, 3, 7), 0),
    "zero times the rest": ((0, 13, 17, 19), 0),
    "a target below nothing: 3 - 5": ((3, 5), -2),
    "one number": ((7,), 7),
    "six numbers": ((25, 50, 75, 100, 3, 6), 952),
}


@pytest.mark.parametrize("case", SOLVABLE)
def test_a_solution_is_found_and_is_right(case: str) -> None:
    numbers, target = SOLVABLE[case]
    expression = solve(numbers, target)
    assert expression is not None
    assert value(expression) == target
    assert Counter(map(int, re.findall(r"\d+", expression))) == Counter(numbers)


@pytest.mark.parametrize(("numbers", "target"), [((7,), 8), ((3, 5), 9), ((1, 1, 1, 1), 9), ((1, 1, 1, 1, 1, 1), 997)])
def test_no_solution_is_none(numbers: tuple[int, ...], target: int) -> None:
    assert solve(numbers, target) is None


def test_more_than_six_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="countdown of 7 numbers; at most 6"):
        solve((1,) * 7, 7)


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=4), target=st.integers(0, 30))
def test_the_solver_agrees_with_trying_everything(numbers: list[int], target: int) -> None:
    expression = solve(tuple(numbers), target)
    assert (expression is not None) == can_make(tuple(map(Fraction, numbers)), target)
    if expression is not None:
        assert value(expression) == target
        assert Counter(map(int, re.findall(r"\d+", expression))) == Counter(numbers)


@pytest.fixture(scope="module")
def published(data_dir: Path) -> Countdown:
    return Countdown(str(data_dir / "countdown" / "train.parquet"), str(data_dir / "countdown" / "test.parquet"))


def test_published_repeats_and_overlaps_are_found_and_dropped(published: Countdown) -> None:
    assert published.notices == (
        "22 training rows repeat an earlier one; dropped.",  # 10,240 rows, 10,218 of them different
        "5 problems stand in both splits; dropped from training.",
    )
    assert published.train_size == 10_240 - 22 - 5


def test_published_held_out_split_stays_whole(published: Countdown) -> None:
    assert len(published.held_out()) == 1024


def test_published_splits_share_no_problem(published: Countdown) -> None:
    train = {problem.fingerprint for problem in published.train(1).take(10_213)}
    assert len(train) == 10_213
    assert train.isdisjoint(problem.fingerprint for problem in published.held_out())


def test_published_golds_all_pass_their_verifier(published: Countdown) -> None:
    assert check_golds(published, [*published.train(1).take(10_213), *published.held_out()]) == []


def test_refuse_names_the_overlapping_problems(data_dir: Path) -> None:
    folder = data_dir / "countdown"
    refusing = Countdown(str(folder / "train.parquet"), str(folder / "test.parquet"), overlap="refuse")
    with pytest.raises(DataError, match=r"5 problems .* a held-out problem in train: countdown/train/\d+ is"):
        refusing.train(1)
