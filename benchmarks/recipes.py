"""Learning curves of every recipe on the same base model and task: pass rate by step, over seeds, with bands.

    burnish demo --out runs/demo                       # makes the base model, runs/demo/base
    python benchmarks/recipes.py --model runs/demo/base [--recipes grpo,ppo] [--seeds 1,2,3] [--steps 40] [--out runs/recipes]
    python benchmarks/recipes.py --quick               # a tiny model of its own, two recipes, a few steps: does it work?

One (recipe, seed) is run at a time, into OUT/NAME_SEED; what is finished is not run again, what was interrupted goes on from its
last checkpoint. Then OUT/recipes.json, OUT/recipes.png and a table: the steps and seconds until the mean pass rate of 5 steps is at
80 %, and the change of the held-out pass rate for each seed. All recipes have the same problems, learning rate, samples and length, and
nothing was tuned for one of them; a recipe that is worse looks worse. A step is two optimizer updates: with one, every ratio is one, and
recipes that differ in their surrogate alone (grpo, gspo, sapo) are the same. What a recipe cannot do without is said below the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.algos.recipes import RECIPES
from burnish.config import PretrainConfig, RunConfig, differences, load, validate
from burnish.journal import Journal
from burnish.pipelines import pretrain, rl
from report import add_json, publish

GOAL, WINDOW = 0.8, 5
OWN = (
    "gdpo has a second reward, the format with weight 0.1; dr_grpo's constant is max_new; ppo's critic has a trunk of its own and the "
    "common learning rate, and its KL to the reference is in the reward. All else is the same."
)


def config(
    model: str, out: Path, name: str, seed: int, steps: int, lr: float, quick: bool, updates: int = 1
) -> RunConfig:
    """The demo's run with another recipe. GDPO, made for several rewards, gets a second one; a critic learns as fast as the policy."""
    options = {"gdpo": {"reward_parts": {"format": 0.1}}}.get(name, {})
    small = {"prompts": 6, "samples": 6, "checkpoint_every": 2} if quick else {"prompts": 32, "samples": 8}
    return validate(
        RunConfig,
        {
            "out": str(out / f"{name}_{seed}"),
            "seed": seed,
            "model": {"path": model},
            "task": {
                "name": "chain",
                "options": {"min_steps": 1, "max_steps": 1, "held_out_size": 16} if quick else {},
            },
            "sampling": {"max_new": 32 if quick else 96},
            "recipe": {"name": name, "options": options},
            "optimizer": {"lr": 1e-3 if quick else lr, "warmup_updates": 1 if quick else 5},
            "steps": {"total": steps, "max_flat": steps, "updates": updates, **small},
            **({"critic": {"lr": 1e-3 if quick else lr}} if RECIPES[name].critic is not None else {}),
            "evaluate": {"problems": 8, "samples": 2} if quick else {"problems": 200, "samples": 4},
        },
    )


def curve(run: Path) -> dict[str, Any]:
    """What one finished run has to show."""
    lines = list(Journal.open(run).metrics())
    report = json.loads((run / "report.json").read_text())
    seconds, elapsed = [], 0.0
    for line in lines:
        elapsed += sum(value for name, value in line.items() if name.startswith("seconds/") and value)
        seconds.append(elapsed)
    return {
        "pass_rate": [line["verdict/pass_rate"] for line in lines],
        "entropy": [line.get("policy/entropy") for line in lines],
        "seconds": seconds,
        "change": report["change"]["pass@1"],
    }


def reached(found: dict[str, Any]) -> tuple[int, float] | None:
    """(steps, seconds) until the mean pass rate of WINDOW steps is at the goal; None where it never was."""
    rates = found["pass_rate"]
    for step in range(WINDOW, len(rates) + 1):
        if statistics.fmean(rates[step - WINDOW : step]) >= GOAL:
            return step, found["seconds"][step - 1]
    return None


def run_one(chosen: RunConfig) -> dict[str, Any]:
    """Run it, or go on with it, or read what it left. A failure of ours is a result too."""
    from burnish.errors import TrainingError

    place = Path(chosen.out)
    finished = (place / "report.json").is_file()
    if finished and (changed := differences(load(RunConfig, place / "config.toml"), chosen)):
        raise SystemExit(f"{place} was run with other settings ({changed[0]}); choose another --out.")
    try:
        if not finished:
            rl.train(chosen, resume=place.exists(), quiet=True)
    except TrainingError as error:
        return {"stopped": str(error)}
    return curve(place)


def table(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """The figures as Markdown."""
    lines = [
        f"| recipe | steps to {GOAL:.0%} | seconds to {GOAL:.0%} | change of held-out pass@1 (each seed) "
        "| lowest end of its 95% intervals |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in results.items():
        done = [found for found in seeds.values() if "stopped" not in found]
        marks = [reached(found) for found in done]
        steps = ", ".join("-" if mark is None else str(mark[0]) for mark in marks)
        seconds = ", ".join("-" if mark is None else f"{mark[1]:.0f}" for mark in marks)
        change = ", ".join(f"{found['change']['value']:+.3f}" for found in done)
        stopped = f"; {len(seeds) - len(done)} stopped" if len(done) < len(seeds) else ""
        lowest = f"{min(found['change']['low'] for found in done):+.3f}" if done else "-"
        lines.append(f"| {name} | {steps} | {seconds} | {change}{stopped} | {lowest} |")
    return lines


def draw(results: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """A panel for each recipe: the mean over seeds and the band from the lowest to the highest, grpo's mean behind it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def band(name: str) -> tuple[list[float], list[float], list[float]]:
        curves = [found["pass_rate"] for found in results[name].values() if "stopped" not in found]
        columns = list(zip(*curves, strict=False))
        return [statistics.fmean(c) for c in columns], [min(c) for c in columns], [max(c) for c in columns]

    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(3.2 * columns, 2.4 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, name in zip(axes.flat, results, strict=False):
        if "grpo" in results and name != "grpo":
            axis.plot(range(1, len(band("grpo")[0]) + 1), band("grpo")[0], color="0.7", linewidth=1)
        mean, low, high = band(name)
        steps = range(1, len(mean) + 1)
        axis.fill_between(steps, low, high, alpha=0.25)
        axis.plot(steps, mean)
        axis.axhline(GOAL, color="0.8", linewidth=0.8, linestyle="--")
        axis.set_title(name, fontsize=10)
        axis.set_ylim(0, 1)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    figure.supxlabel("step")
    figure.supylabel("pass rate of the step's rollouts")
    figure.savefig(path, dpi=120)


class Eta:
    """Seconds of the runs so far, and what that makes for those to come. A run that was only read back is no measure."""

    def __init__(self, runs: int) -> None:
        self._left, self._seconds = runs, list[float]()

    @contextmanager
    def timing(self, chosen: RunConfig) -> Iterator[None]:
        fresh, began = not (Path(chosen.out) / "report.json").is_file(), time.monotonic()
        yield
        self._left -= 1
        if fresh:
            self._seconds.append(time.monotonic() - began)

    def __str__(self) -> str:
        if not self._seconds:
            return f"{self._left} runs to go"
        each = statistics.fmean(self._seconds)
        return f"{self._seconds[-1]:.0f} s; {self._left} runs to go, about {self._left * each / 60:.0f} min"


def tiny_model(out: Path) -> str:
    """A base model in a few seconds, for --quick."""
    place = out / "base"
    if not (place / "config.json").is_file():
        scratch = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
        scratch |= {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128, "vocab_size": 320}
        corpus = {"task": "chain", "options": {"min_steps": 1, "max_steps": 1}, "tokenizer_documents": 200}
        corpus["documents"] = {"think_share": 0.3, "slip_rate": 0.2}
        made = {"out": str(place), "updates": 200, "documents": 24, "scratch": scratch, "corpus": corpus}
        pretrain.pretrain(
            validate(PretrainConfig, {**made, "optimizer": {"lr": 8e-3, "warmup_updates": 10}}), quiet=True
        )
    return str(place)


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the base model: the demo's, runs/demo/base")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--updates", type=int, default=2, help="optimizer updates a step")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--quick", action="store_true")
    add_json(parser)
    given = parser.parse_args()
    if given.model is None and not given.quick:
        parser.error("give --model, such as runs/demo/base, or --quick")
    names, seeds, steps = given.recipes.split(","), [int(seed) for seed in given.seeds.split(",")], given.steps
    if given.quick:
        names, seeds, steps = names if given.recipes != ",".join(RECIPES) else ["grpo", "gdpo"], seeds[:1], 6
    given.out.mkdir(parents=True, exist_ok=True)
    model = given.model or tiny_model(given.out)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    eta = Eta(len(seeds) * len(names))
    for seed in seeds:  # all recipes of a seed before the next: what is there early compares
        for name in names:
            chosen = config(model, given.out, name, seed, steps, given.lr, given.quick, given.updates)
            with eta.timing(chosen):
                found = run_one(chosen)
            results.setdefault(name, {})[str(seed)] = found
            rates = found.get("pass_rate", [])
            said = found.get("stopped") or f"last pass rate {statistics.fmean(rates[-WINDOW:]):.1%}"
            print(f"{name} seed {seed}: {said}; {eta}", file=sys.stderr, flush=True)
            (given.out / "recipes.json").write_text(json.dumps(results, indent=1))
    draw(results, given.out / "recipes.png")
    said = f"lr {given.lr:g}, {steps} steps of {given.updates} updates. {OWN}"
    text = "\n".join([*table(results), "", said, "", f"{given.out}/recipes.json, {given.out}/recipes.png"])
    publish(given, {"ratio": {}, "recipes": results}, text)


if __name__ == "__main__":
    main()
