"""reasoning-gym by name: only what was audited, full score or nothing, and nothing evaluated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.records import Key, Problem
from burnish.tasks import load
from burnish.tasks.splits import check_golds
from burnish.verify import gym, judge
from burnish.verify import load as load_verifier
from burnish.verify.pool import Pool

pytest.importorskip("reasoning_gym")
ALLOWED = [name for name, found in gym.audit()["datasets"].items() if found["allowed"]]


def task(**options: Any) -> Any:
    return load("reasoning_gym", {"dataset": "chain_sum", **options})


def answered(problem: Problem, answer: str) -> str:
    return judge(load_verifier("reasoning_gym"), problem, f"<think>so</think><answer>{answer}</answer>").outcome


def test_the_list_is_of_the_version_that_is_installed() -> None:
    assert version("reasoning-gym") == gym.audit()["version"] and gym.installed().create_dataset


def test_every_data_set_there_is_was_looked_at() -> None:
    from reasoning_gym.factory import DATASETS

    assert set(gym.audit()["datasets"]) == set(DATASETS) and len(ALLOWED) >= 20


@pytest.mark.parametrize(
    "name",
    [
        *(
            "binary_matrix",
            "spiral_matrix",
            "n_queens",
            "string_insertion",
            "countdown",
            "puzzle24",
            "simple_integration",
        ),
        *(
            "intermediate_integration",
            "polynomial_multiplication",
            "game_of_life_halting",
            "complex_arithmetic",
            "coin_flip",
        ),
        *(
            "codeio",
            "ransom_note",
            "word_ladder",
            "isomorphic_strings",
            "knight_swap",
            "prime_factorization",
            "composite",
        ),
    ],
)
def test_what_is_known_to_be_unsafe_is_refused_with_its_reason(name: str) -> None:
    why = gym.audit()["datasets"][name]["why"]
    with pytest.raises(ConfigError) as refusal:
        task(dataset=name)
    assert why and why in str(refusal.value) and str(refusal.value).count("\n") == 0


def test_a_name_there_is_none_of_gets_its_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'chain_sum'"):
        task(dataset="chain_sums")


def test_settings_that_are_not_taken_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not take the settings"):
        task(settings={"terms": 3})


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym, "version", lambda _: "0.2.0")
    with pytest.raises(ConfigError, match=r"reasoning-gym 0.2.0 is installed, but 0.1.25 is the version"):
        task()


@pytest.mark.parametrize("name", ALLOWED)
def test_golds_pass_and_no_training_problem_is_held_out(name: str) -> None:
    made = task(dataset=name, held_out_size=4)
    training, held_out = made.train(1).take(4), made.held_out()
    assert check_golds(made, [*training, *held_out]) == []
    assert not {one.fingerprint for one in training} & {one.fingerprint for one in held_out}


def test_a_gold_that_is_longer_than_most_answers_may_be_passes() -> None:
    [problem] = task(dataset="palindrome_partitioning").train(1).take(1)
    entry = dict(problem.reference["entry"])
    entry["metadata"] = {**entry["metadata"], "solution": [["a"] * 3000]}
    long = replace(problem, reference={**problem.reference, "entry": {**entry, "answer": json.dumps([["a"] * 3000])}})
    assert len(long.reference["entry"]["answer"]) > gym.LONGEST
    assert answered(long, long.reference["entry"]["answer"]) == "right"
    assert answered(long, long.reference["entry"]["answer"] * 3) == "wrong"


def test_only_full_score_counts() -> None:
    [problem] = task().train(1).take(1)
    gold = problem.reference["entry"]["answer"]
    assert answered(problem, f" {gold}\n") == "right"
    assert answered(problem, f"{gold} or so") == "wrong"  # the library gives this a part of the score
    assert answered(problem, gold + " " * 5 + "0" * 4000) == "wrong"


def test_a_source_goes_on_where_it_stood() -> None:
    source = task().train(3)
    source.take(3)
    state, wanted = source.state(), source.take(3)
    resumed = task().train(3)
    resumed.restore(state)
    assert resumed.take(3) == wanted


def test_problems_are_the_same_in_every_process() -> None:
    code = "from burnish.tasks import load; print([p.fingerprint for p in load('reasoning_gym', {'dataset': 'sudoku'}).train(1).take(3)])"
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] != b""


@pytest.mark.parametrize("name", ALLOWED)
def test_code_in_an_answer_is_not_run(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    problems = task(dataset=name).train(1).take(2)
    for problem in problems:
        for call in (f"open('{mark}','w')", f"__import__('os').system('touch {mark}')", f"[[open('{mark}','w')]]"):
            assert answered(problem, call) == "wrong"
    assert not mark.exists()


def test_the_scorer_runs_in_a_worker() -> None:
    [problem] = task().train(1).take(1)
    with Pool("reasoning_gym", workers=1) as pool:
        [(_, verdict)] = pool.judge([(Key(problem.id, 0), problem, task().gold(problem))])
    assert verdict.outcome == "right"


def test_a_reference_off_the_list_is_a_fault_of_the_gold() -> None:
    problem = Problem("p/0", "p", "?", {"dataset": "n_queens", "entry": {}}, "train", "")
    verdict = judge(load_verifier("reasoning_gym"), problem, "<answer>1</answer>")
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")
