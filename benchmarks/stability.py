"""Does a run stay where it got to? Five times the demo's steps, with and without a KL, and with the KL that pulls nowhere.

    burnish demo --out runs/demo                       # makes the base model, runs/demo/base
    python benchmarks/stability.py --model runs/demo/base [--steps 200] [--seed 1] [--out runs/stability]
    python benchmarks/stability.py --quick

Known from elsewhere: GRPO with k1 as a KL in the loss, which fell from 33 % to under 1 % by step 100. The four runs here differ only
in their KL to the reference: none; ratio_k3 in the loss (the library's choice); k1 in the reward; and k1 in the loss, whose expected
gradient is zero. OUT/stability.json and OUT/stability.png hold pass rate, entropy, KL, gradient norm and length by step; the table
says the best and the last pass rate (means of 10 steps) and what the health metrics were at the end. Resumable, one run at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from burnish.config import RunConfig, validate
from burnish.errors import TrainingError
from burnish.journal import Journal
from burnish.pipelines import rl
from recipes import Eta, config, tiny_model
from report import add_json, publish

PULL = {"kl_to": "reference", "kl_coefficient": 0.02}
RUNS: dict[str, dict[str, Any]] = {
    "no KL": {},
    "ratio_k3 in the loss": PULL,
    "k1 in the reward": {**PULL, "kl_in": "reward"},
    "k1 in the loss": {**PULL, "kl_estimator": "k1"},
}
WATCHED = {
    "verdict/pass_rate": "pass rate",
    "policy/entropy": "entropy, nats",
    "kl/reference": "KL to the reference, nats",
    "optim/grad_norm": "gradient norm",
    "length/mean": "length, tokens",
    "gap/abs_mean": "sampler-learner gap, nats",
}
MEAN_OF = 10


def run_one(chosen: RunConfig) -> dict[str, Any]:
    """The watched numbers by step; and the sentence a run was stopped with."""
    place, stopped = Path(chosen.out), None
    try:
        if not (place / "report.json").is_file():
            rl.train(chosen, resume=place.exists(), quiet=True)
    except TrainingError as error:
        stopped = str(error)
    lines = list(Journal.open(place).metrics())
    return {"stopped": stopped, **{name: [line.get(name) for line in lines] for name in WATCHED}}


def means(values: list[float | None]) -> list[float]:
    """Running means of MEAN_OF steps, or of all where there are fewer."""
    known = [value for value in values if value is not None]
    width = min(MEAN_OF, len(known))
    return [statistics.fmean(known[i : i + width]) for i in range(len(known) - width + 1)] if known else []


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """A panel for each number, a line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), sharex=True, layout="constrained")
    for axis, (name, title) in zip(axes.flat, WATCHED.items(), strict=True):
        for label, found in results.items():
            values = [float("nan") if value is None else value for value in found[name]]
            axis.plot(range(1, len(values) + 1), values, label=label, linewidth=1)
        axis.set_title(title, fontsize=10)
        if name == "kl/reference":  # one token that the reference all but excludes is worth more than all others
            axis.set_yscale("symlog", linthresh=1.0)
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("step")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the base model: the demo's, runs/demo/base")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--out", type=Path, default=Path("runs/stability"))
    parser.add_argument("--quick", action="store_true")
    add_json(parser)
    given = parser.parse_args()
    if given.model is None and not given.quick:
        parser.error("give --model, such as runs/demo/base, or --quick")
    given.out.mkdir(parents=True, exist_ok=True)
    model, steps = given.model or tiny_model(given.out), 6 if given.quick else given.steps
    results: dict[str, dict[str, Any]] = {}
    eta = Eta(len(RUNS))
    for number, (label, options) in enumerate(RUNS.items()):
        plain = config(model, given.out, "grpo", given.seed, steps, given.lr, given.quick).model_dump(mode="json")
        plain["out"], plain["recipe"]["options"] = str(given.out / f"run_{number}"), options
        chosen = validate(RunConfig, without_nothing(plain))
        with eta.timing(chosen):
            results[label] = run_one(chosen)
        print(f"{label}: {results[label]['stopped'] or 'ran to the end'}; {eta}", file=sys.stderr, flush=True)
        (given.out / "stability.json").write_text(json.dumps(results, indent=1))
    draw(results, given.out / "stability.png")
    lines = [
        "| KL | best pass rate | last pass rate | entropy at the end | KL to the reference | gradient norm, median |",
        "|---|---|---|---|---|---|",
    ]
    for label, found in results.items():
        rates, entropy, kl = (means(found[name]) for name in ("verdict/pass_rate", "policy/entropy", "kl/reference"))
        norms = [value for value in found["optim/grad_norm"] if value is not None]
        shown = f"{kl[-1]:.4f}" if kl else "not scored"
        last = f"{entropy[-1]:.3f}" if entropy else "-"
        norm = f"{statistics.median(norms):.3f}" if norms else "-"
        lines.append(f"| {label} | {max(rates):.1%} | {rates[-1]:.1%} | {last} | {shown} | {norm} |")
    lines += ["", f"{given.out}/stability.json, {given.out}/stability.png"]
    publish(given, {"ratio": {}, "runs": results}, "\n".join(lines))


def without_nothing(plain: Any) -> Any:
    """A dumped config without its Nones: a run file cannot hold them."""
    if isinstance(plain, dict):
        return {key: without_nothing(value) for key, value in plain.items() if value is not None}
    return plain


if __name__ == "__main__":
    main()
