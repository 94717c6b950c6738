"""What docs/evaluation.md says of the intervals and tests, by simulation at moderate size (benchmarks/coverage.py has more)."""

from __future__ import annotations

import pytest

from scripts import FOLDER, script

simulation = script("coverage")
RUNS = 2000
ERROR = 3 * (0.95 * 0.05 / RUNS) ** 0.5  # three standard errors of a simulated coverage: 1.5 points
HELD = [
    (truth, problems, samples)
    for truth in simulation.TRUTHS
    for problems, samples in ((30, 1), (30, 16), (100, 16), (500, 1))
    if problems * min(truth.mean, 1 - truth.mean) >= simulation.ENOUGH
]
ROUGH = [
    (truth, problems, 16)
    for truth in simulation.TRUTHS
    for problems in (30, 100)
    if problems * min(truth.mean, 1 - truth.mean) < 0.8 * simulation.ENOUGH
]


@pytest.mark.parametrize(("truth", "problems", "samples"), HELD, ids=str)
def test_the_interval_covers_the_truth_as_often_as_it_says(truth: object, problems: int, samples: int) -> None:
    found = simulation.coverage(truth, problems, samples, RUNS, seed=1)
    assert 0.93 - ERROR <= found["burnish"] <= 0.97 + ERROR


@pytest.mark.parametrize(("truth", "problems", "samples"), ROUGH, ids=str)
def test_a_rough_interval_errs_on_the_wide_side(truth: object, problems: int, samples: int) -> None:
    assert simulation.coverage(truth, problems, samples, RUNS, seed=2)["burnish"] >= 0.93


def test_the_plain_interval_fails_where_ours_holds() -> None:
    skewed = next(truth for truth in simulation.TRUTHS if truth.name.startswith("skewed: mean 99%"))
    found = simulation.coverage(skewed, 100, 16, RUNS, seed=3)
    assert found["t"] < 0.87 and found["burnish"] >= 0.95


def test_estimators_are_the_mean_over_all_subsets() -> None:
    assert max(simulation.biases(8).values()) < 1e-12


@pytest.mark.parametrize("k", [1, 4, 16])
def test_pass_at_k_is_unbiased(k: int) -> None:
    assert abs(simulation.expectation_bias(0.3, 16, k)) < 1e-12


@pytest.mark.parametrize("samples", [1, 16])
def test_the_paired_test_cries_wolf_in_one_of_twenty(samples: int) -> None:
    found = simulation.false_alarms(simulation.TRUTHS[0], 60, samples, 600, seed=4)
    assert found["test"] <= 0.05 + 3 * found["error"] and found["interval"] <= 0.05 + 3 * found["error"]
    assert (
        samples == 1 or found["test"] >= 0.05 - 3 * found["error"]
    )  # of few sizes of moves, an exact test is on the safe side


def test_the_paired_interval_covers_gains_that_are_all_one_way() -> None:
    import numpy as np

    from burnish.evaluate.statistics import paired_difference

    generator = np.random.default_rng(5)
    held = 0
    for _ in range(RUNS):  # one greedy answer a problem, 5 % of which turn right: mean +- t se covers 88 %
        second = (generator.random(100) < 0.05).astype(float).tolist()
        first = dict.fromkeys(map(str, range(100)), 0.0)
        found = paired_difference(first, dict(zip(first, second, strict=True)), draws=1).difference
        held += found.low <= 0.05 <= found.high
    assert 0.93 <= held / RUNS <= 0.98


def test_the_bootstrap_covers_as_the_closed_form_does() -> None:
    assert 0.92 <= simulation.bootstrap_coverage(simulation.TRUTHS[0], 100, 16, 500, seed=6) <= 0.98


def test_the_page_has_a_row_for_every_simulation() -> None:
    page = (FOLDER.parent / "docs" / "evaluation.md").read_text()
    for truth in simulation.TRUTHS:
        for problems, samples in simulation.SIZES:
            rarer = problems * min(truth.mean, 1 - truth.mean)
            mark = "" if rarer >= simulation.ENOUGH else " *"
            assert f"| {truth.name} | {problems} x {samples} | {rarer:.1f}{mark} | " in page
