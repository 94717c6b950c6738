"""How often the 95 % intervals hold the truth, whether pass@k is unbiased, and how often the paired test cries wolf: by simulation.

    python benchmarks/coverage.py [--quick] [--json]

Truths are distributions of problem difficulties: each problem has a chance of being answered right, each sample is right with that
chance. `rarer` is how many problems' worth of the rarer outcome are expected: the interval is said to hold where that is at least
five and there are at least 30 problems, and errs on the wide side below (mean_interval). Coverage is given with the error of the
simulation. `t` and `normal` are what is commonly printed: mean +- t or z times the standard error.

tests/test_coverage.py asserts what the page says, at moderate size.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from burnish.evaluate.statistics import (
    ENOUGH,
    bootstrap_interval,
    mean_interval,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    t_quantile,
)
from report import add_json, publish

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


@dataclass(frozen=True)
class Truth:
    """Difficulties of problems: `draw(generator, n)` gives n chances, whose mean over all problems is `mean`."""

    name: str
    mean: float
    draw: Draw


def beta(a: float, b: float, name: str) -> Truth:
    return Truth(name, a / (a + b), lambda generator, n: generator.beta(a, b, n))


def coins(chance: float, name: str) -> Truth:
    """Problems that are always or never solved."""
    return Truth(name, chance, lambda generator, n: (generator.random(n) < chance).astype(float))


def same(chance: float, name: str) -> Truth:
    return Truth(name, chance, lambda generator, n: np.full(n, chance))


TRUTHS = (
    beta(2, 3, "spread out, mean 40%"),
    beta(0.2, 0.2, "mostly all or nothing, mean 50%"),
    same(0.5, "all alike, 50%"),
    coins(0.05, "5% always solved, the others never"),
    beta(0.1, 1.9, "skewed: mean 5%, most near nought"),
    beta(1, 20, "hard, mean 4.8%"),
    beta(9, 1, "easy, mean 90%"),
    beta(3, 0.03, "skewed: mean 99%, a few hard ones"),
    same(0.01, "all alike, 1%"),
)
SIZES = ((30, 1), (30, 16), (100, 1), (100, 16), (500, 1), (500, 16))


def coverage(truth: Truth, problems: int, samples: int, runs: int, seed: int) -> dict[str, object]:
    """How often each interval holds the truth."""
    generator = np.random.default_rng(seed)
    held = dict.fromkeys(("burnish", "t", "normal"), 0)
    width = 0.0
    t = t_quantile(0.975, problems - 1)
    for _ in range(runs):
        values = generator.binomial(samples, truth.draw(generator, problems)) / samples
        interval = mean_interval(values.tolist())
        held["burnish"] += interval.low <= truth.mean <= interval.high
        width += interval.high - interval.low
        error = values.std(ddof=1) / math.sqrt(problems)
        for name, factor in (("t", t), ("normal", 1.959964)):
            held[name] += abs(values.mean() - truth.mean) <= factor * error
    rarer = problems * min(truth.mean, 1 - truth.mean)
    shares = {name: count / runs for name, count in held.items()}
    mistake = math.sqrt(0.95 * 0.05 / runs)
    return {
        "truth": truth.name,
        "problems": problems,
        "samples": samples,
        "rarer": rarer,
        "claimed": rarer >= ENOUGH,
        **shares,
        "width": width / runs,
        "error": mistake,
    }


def bootstrap_coverage(truth: Truth, problems: int, samples: int, runs: int, seed: int) -> float:
    """The same of the percentile cluster bootstrap."""
    generator = np.random.default_rng(seed)
    held = 0
    for run in range(runs):
        values = generator.binomial(samples, truth.draw(generator, problems)) / samples
        interval = bootstrap_interval(values.tolist(), seed=run, draws=400)
        held += interval.low <= truth.mean <= interval.high
    return held / runs


def false_alarms(truth: Truth, problems: int, samples: int, runs: int, seed: int) -> dict[str, float]:
    """Two policies that are equally good: how often p <= 0.05, and how often the interval leaves out nought."""
    generator = np.random.default_rng(seed)
    small = out = 0
    for run in range(runs):
        chances = truth.draw(generator, problems)
        first, second = (
            {str(i): float(x) for i, x in enumerate(generator.binomial(samples, chances) / samples)} for _ in range(2)
        )
        paired = paired_difference(first, second, seed=run, draws=999)
        small += paired.p_value <= 0.05
        out += not paired.difference.low <= 0.0 <= paired.difference.high
    return {"test": small / runs, "interval": out / runs, "error": math.sqrt(0.05 * 0.95 / runs)}


def biases(most: int = 10) -> dict[str, float]:
    """The largest difference between the estimators and the mean over all subsets, for all n, c and k up to `most`."""
    worst = {"pass@k": 0.0, "pass^k": 0.0}
    for n in range(1, most + 1):
        for c in range(n + 1):
            rights = [True] * c + [False] * (n - c)
            for k in range(1, n + 1):
                subsets = list(combinations(rights, k))
                for name, of, exact in (("pass@k", pass_at_k, any), ("pass^k", pass_hat_k, all)):
                    worst[name] = max(worst[name], abs(of(n, c, k) - sum(map(exact, subsets)) / len(subsets)))
    return worst


def expectation_bias(chance: float, n: int, k: int) -> float:
    """E[pass@k] - (1 - (1 - p)^k), summed over every possible number of right answers: nought but for rounding."""
    mean = math.fsum(math.comb(n, c) * chance**c * (1 - chance) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    return mean - (1 - (1 - chance) ** k)


@dataclass(frozen=True)
class Results:
    runs: int
    coverage: list[dict[str, object]]
    bootstrap: dict[str, float]
    false_alarms: dict[str, dict[str, float]]
    biases: dict[str, float]
    expectation_bias: float


def measure(runs: int) -> Results:
    rows = [
        coverage(truth, problems, samples, runs, 100 * place + problems + samples)
        for place, truth in enumerate(TRUTHS)
        for problems, samples in SIZES
    ]
    some = (TRUTHS[0], TRUTHS[1], TRUTHS[6])
    few = max(200, runs // 10)
    return Results(
        runs,
        rows,
        {truth.name: bootstrap_coverage(truth, 100, 16, few, 7) for truth in some},
        {
            f"{truth.name}, 100 x {samples}": false_alarms(truth, 100, samples, few, 8)
            for truth in some
            for samples in (1, 16)
        },
        biases(),
        max(abs(expectation_bias(chance, 16, k)) for chance in (0.01, 0.3, 0.9) for k in (1, 4, 16)),
    )


def page(results: Results) -> str:
    """The tables as Markdown."""
    lines = [f"{results.runs:,} simulations a row.", ""]
    lines += [
        "| truth | problems x samples | rarer | Burnish | t | normal | mean width |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results.coverage:
        mark = "" if row["claimed"] else " *"
        lines.append(
            f"| {row['truth']} | {row['problems']} x {row['samples']} | {row['rarer']:.1f}{mark} | {row['burnish']:.1%} | {row['t']:.1%} | "
            f"{row['normal']:.1%} | {100 * float(str(row['width'])):.1f} points |"
        )
    lines += ["", f"\\* fewer than {ENOUGH} problems' worth of the rarer outcome: no claim of 95 %.", ""]
    lines += ["| cluster bootstrap, 100 x 16 | covers |", "|---|---:|"]
    lines += [f"| {name} | {share:.1%} |" for name, share in results.bootstrap.items()]
    lines += ["", "| two equal policies | p <= 0.05 | interval without 0 |", "|---|---:|---:|"]
    lines += [f"| {name} | {one['test']:.1%} | {one['interval']:.1%} |" for name, one in results.false_alarms.items()]
    worst = ", ".join(f"{name} {value:.1e}" for name, value in results.biases.items())
    lines += ["", f"Largest difference from the mean over all subsets, n up to 10: {worst}."]
    lines.append(f"Largest bias of pass@k over all outcomes, n = 16: {results.expectation_bias:.1e}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulations")
    add_json(parser)
    given = parser.parse_args()
    results = measure(500 if given.quick else 5000)
    publish(given, {"ratio": {}, **asdict(results)}, page(results))


if __name__ == "__main__":
    main()
