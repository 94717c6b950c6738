"""Made puzzles: every gold passes, splits never meet, problems are the same in every process, levels mean something."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from fractions import Fraction
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import ConfigError
from burnish.records import Problem
from burnish.tasks import TASKS, load
from burnish.tasks.puzzles.arithmetic import Arithmetic
from burnish.tasks.puzzles.expressions import TwentyFour
from burnish.tasks.puzzles.knights import Knights
from burnish.tasks.puzzles.made import Puzzle
from burnish.tasks.puzzles.sudoku import Sudoku, fill, rules_of
from burnish.tasks.splits import check_golds
from burnish.verify import judge
from burnish.verify import load as load_verifier
from burnish.verify.puzzles.knights import holds

NAMES = sorted(name for name, target in TASKS.items() if ".puzzles." in target)
LEVELS = [(name, level) for name in NAMES for level in range(1, len(load(name, {}).levels) + 1)]  # type: ignore[attr-defined]


def made(name: str, **options: Any) -> Puzzle:
    task = load(name, options)
    assert isinstance(task, Puzzle)
    return task


def outcome(task: Puzzle, problem: Problem, answer: str) -> str:
    response = f"<think>so</think><answer>{answer}</answer>"
    return judge(load_verifier(task.verifier), problem, response).outcome


def test_all_ten_families_are_in_the_registry() -> None:
    assert [
        *("arithmetic", "base_arithmetic", "calendar", "countdown_endless", "counting", "graph_path", "knights_knaves"),
        *("sorting", "sudoku", "twenty_four", "unit_conversion"),
    ] == NAMES


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_every_gold_passes_its_own_verifier(name: str, level: int) -> None:
    task = made(name, difficulty=level)
    problems = [problem for seed in range(4) for problem in task.train(seed).take(8)]
    assert check_golds(task, problems) == []


@given(seed=st.integers(0, 2**32), name=st.sampled_from(NAMES))
@settings(max_examples=60, deadline=None)
def test_the_gold_of_any_seed_passes(seed: int, name: str) -> None:
    task = made(name, difficulty=1, up_to=4)
    assert check_golds(task, task.train(seed).take(2)) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_training_problem_is_held_out(name: str) -> None:
    task = made(name, difficulty=1, up_to=2, held_out_size=40)
    held_out = {problem.fingerprint for problem in task.held_out()}
    training = {problem.fingerprint for seed in range(3) for problem in task.train(seed).take(150)}
    assert len(held_out) > 30 and not held_out & training


@pytest.mark.parametrize("name", NAMES)
def test_a_puzzle_of_one_level_is_in_the_same_split_at_every_other(name: str) -> None:
    narrow, wide = made(name, difficulty=2, held_out_size=30), made(name, difficulty=1, up_to=2)
    held_out = {problem.fingerprint for problem in narrow.held_out()}
    assert not held_out & {problem.fingerprint for problem in wide.train(5).take(300)}


@pytest.mark.parametrize("name", NAMES)
def test_the_held_out_problems_are_different_and_do_not_depend_on_a_seed(name: str) -> None:
    one, other = made(name, held_out_size=20).held_out(), made(name, held_out_size=20).held_out()
    assert one == other and len({problem.fingerprint for problem in one}) == len(one)


@pytest.mark.parametrize("name", NAMES)
def test_a_source_goes_on_where_it_stood(name: str) -> None:
    task = made(name)
    source = task.train(3)
    source.take(5)
    state, wanted = source.state(), source.take(5)
    resumed = task.train(3)
    resumed.restore(state)
    assert resumed.take(5) == wanted


def test_problems_are_the_same_in_every_process() -> None:
    code = (
        "from burnish.tasks import load\nfrom burnish.records import fingerprint\n"
        f"print([fingerprint(str(load(n, {{'up_to': 3}}).train(7).take(6))) for n in {NAMES}])"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] and said[0].count(b"'") == 2 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_of_another_problem_is_wrong(name: str) -> None:
    task = made(name, difficulty=3)
    problems = task.train(1).take(30)
    golds = [task.solve(problem)[1] for problem in problems]
    pairs = [(problem, gold) for problem, own in zip(problems, golds, strict=True) for gold in golds if gold != own]
    assert sum(outcome(task, problem, gold) == "right" for problem, gold in pairs) <= len(pairs) // 100


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_tells_the_format_and_the_short_one_does_not(name: str) -> None:
    plain, short = made(name), made(name, wording="short")
    [one], [other] = plain.train(1).take(1), short.train(1).take(1)
    assert "between <answer> and </answer>" in plain.messages(one)[0].content
    assert short.messages(other)[0].content == other.question


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"difficulty": 0}, "difficulty is 0"),
        ({"difficulty": 9}, "<= 8 must hold"),
        ({"difficulty": 3, "up_to": 2}, "difficulty is 3 and up_to is 2"),
        ({"held_out_size": 0}, "must be at least 1"),
        ({"dificulty": 1}, "did you mean 'difficulty'"),
        ({"difficulty": "hard"}, "'difficulty'"),
    ],
)
def test_a_level_there_is_none_of_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load("sudoku", options)


def test_a_mixture_holds_every_level() -> None:
    sizes = {len(problem.reference["grid"]) for problem in made("sudoku", up_to=5).train(1).take(40)}
    assert sizes == {4, 6, 8}


def test_too_few_held_out_puzzles_are_told() -> None:
    task = made("twenty_four", difficulty=2, held_out_size=1000)
    [notice] = task.notices
    assert (
        notice == f"twenty_four: there are only {len(task.held_out())} different held-out puzzles at this difficulty."
    )


# One fact a family that a reader can check.


def count_solutions(size: int, cells: list[int]) -> int:
    """The slow way: try every digit in the first empty cell."""
    if 0 not in cells:
        return 1
    at, rules = cells.index(0), rules_of(size)
    used = {cells[other] for other in rules.peers[at]}
    return sum(
        count_solutions(size, [*cells[:at], digit, *cells[at + 1 :]])
        for digit in range(1, size + 1)
        if digit not in used
    )


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_sudoku_has_one_solution(level: int) -> None:
    for problem in Sudoku(level).train(level).take(5):
        grid = problem.reference["grid"]
        assert count_solutions(len(grid), [cell for row in grid for cell in row]) == 1


def test_a_9x9_sudoku_has_one_solution_and_is_made_fast() -> None:
    began = time.process_time()
    problems = Sudoku(8).train(1).take(12)
    seconds = (time.process_time() - began) / 12
    for problem in problems[:3]:
        cells = [cell for row in problem.reference["grid"] for cell in row]
        assert 20 <= sum(map(bool, cells)) <= 30
        filled = fill(rules_of(9), cells, None)
        assert filled is not None
        for at in [at for at, cell in enumerate(cells) if not cell]:  # no cell can hold another digit
            for digit in set(range(1, 10)) - {filled[at]}:
                trial = [*cells[:at], digit, *cells[at + 1 :]]
                assert fill(rules_of(9), trial, None) is None
    assert seconds < 0.25  # about 0.03 where nothing else runs


def test_a_renamed_sudoku_is_the_same_problem() -> None:
    from burnish.tasks.puzzles.sudoku import _relabelled

    assert _relabelled([3, 0, 1, 3]) == _relabelled([2, 0, 4, 2]) == "1.21"


@pytest.mark.parametrize("level", [1, 3, 5])
def test_knights_have_one_answer(level: int) -> None:
    for problem in Knights(level).train(1).take(5):
        people, statements = len(problem.reference["names"]), problem.reference["statements"]
        kinds = [[bool(bits >> at & 1) for at in range(people)] for bits in range(2**people)]
        fitting = [one for one in kinds if all(holds(claim, one) == one[speaker] for speaker, claim in statements)]
        assert len(fitting) == 1


def test_a_fraction_is_needed_at_the_top_of_24() -> None:
    def whole(numbers: tuple[int, ...]) -> bool:
        if len(numbers) == 1:
            return numbers[0] == 24
        for a, b, *rest in permutations(numbers):
            for result in (a + b, a - b, a * b, *([a // b] if b and a % b == 0 else [])):
                if whole((result, *rest)):
                    return True
        return False

    for problem in TwentyFour(4).train(1).take(4):
        assert not whole(tuple(problem.reference["numbers"]))


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_a_chain_is_worked_out_alike_by_another_reader(seed: int, level: int) -> None:
    [problem] = Arithmetic(level).train(seed).take(1)
    values: list[int] = []
    for told in problem.question.removesuffix(". What is the result?").split(". Then "):
        words = told.split()
        if words[0] == "Start":
            values.append(int(words[-1]))
        elif told.startswith("add the number"):
            values.append(values[-1] + values[-2])
        else:
            n, v = int(words[-1]), values[-1]
            results = {"add": v + n, "subtract": v - n, "multiply": v * n, "divide": Fraction(v, n)}
            values.append(int(n - v if told.startswith("subtract it") else results[words[0]]))
    assert str(values[-1]) == problem.reference["answer"]
