"""One GRPO step of ours and of TRL's, on the same weights, the same prompts and so the same lengths, taking turns in one run.

    python benchmarks/step.py --model runs/demo/run/final --trl-python .venv-trl/bin/python
    python benchmarks/step.py --shape S --trl-python .venv-trl/bin/python
    python benchmarks/step.py --quick --json

Ours runs here, TRL's in a Python of its own (benchmarks/trl_side.py). TRL gets its best settings first: attention, precision,
batch, generation and allocator are tried one after the other, and the fastest of each is kept. The step is as in the demo: 64
problems of the chain task, 8 samples of at most 96 tokens each, recipe grpo, one update on all 512 rows. Both sides sample at
temperature 1 with the weights as they are, so their lengths are draws of one distribution; both means are printed.

Without --model the weights are runs/demo/run/final for shape T where that is there; otherwise a model of the shape that was
pretrained on the demo's documents for a while, made once and kept in runs/benchmarks. --quick takes a random one.

Not for: what is learned (the learning rate is too low for that, so that lengths stay what they are).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from burnish.algos import recipes
from burnish.config import OptimizerConfig
from burnish.engine.embedded import EmbeddedEngine
from burnish.learner.learner import Learner, Optimization
from burnish.pipelines.stopwatch import Watched
from burnish.policy.model import Policy, load, tune_allocator
from burnish.policy.sampling import SamplingDistribution
from burnish.prompts import Renderer
from burnish.records import Problem, Sampling
from burnish.rollout import Sampler
from burnish.tasks import load as load_task
from burnish.verify.pool import Pool
from peers import described, fixed, found, median
from report import command_of, heading, machine, options, publish, say, shortened, table
from shapes import made, pretrained
from trl_peer import LEGEND, START, fastest, trl

FINAL = "runs/demo/run/final"
KEPT = Path("runs/benchmarks")
LEARNING_RATE = 1e-6
PARTS = (
    ("sampling (verifying beside it)", "sampling"),
    ("verifying (what is left of it)", "verifying"),
    ("updating (all rows)", "updating"),
    ("publishing", "publishing"),
    ("whole step", "whole"),
    ("updating, flat groups left out as a run does", "updating_kept"),
    ("whole step, as a run takes it", "whole_kept"),
)
BESIDE = {"updating_kept": "updating", "whole_kept": "whole"}
"""What of TRL's, which leaves nothing out, stands beside a part of ours that TRL has none of."""


# --- ours ---


class Ours:
    """Engine, verifiers and learner as `burnish train` puts them together, with the defaults of its config."""

    def __init__(self, policy: Policy, renderer: Renderer, task: Any, pool: Pool, args: argparse.Namespace) -> None:
        self._engine = Watched(EmbeddedEngine(policy))
        sampling = Sampling(1.0, 1.0, 0, args.max_new, policy.stop_ids, args.seed)
        self._sampler = Sampler(self._engine, renderer, pool, task.messages, sampling)
        self._recipe = recipes.recipe("grpo")
        optimizer = OptimizerConfig(lr=LEARNING_RATE)
        optimization = Optimization(total_updates=args.steps + 1, **optimizer.model_dump())
        self._learner = Learner(policy, optimization, SamplingDistribution(), seed=args.seed)
        self._samples = args.samples

    def step(self, problems: Sequence[Problem]) -> dict[str, Any]:
        """One whole step: seconds of its parts, and what was sampled.

        sampling    until the last completion; verdicts that came meanwhile are inside
        verifying   until the last verdict
        updating    credit, and one optimizer step on every row
        publishing  the engine is told, and proves what it serves on a canary prompt
        """
        learner, recipe = self._learner, self._recipe
        began = time.perf_counter()
        groups = self._sampler.groups(problems, self._samples)
        judged = time.perf_counter()
        samples = recipe.credit_groups(groups, {})
        learner.update(samples, recipe.objective, recipe.weigh)
        updated = time.perf_counter()
        self._engine.load(learner.weights(), learner.version)
        canary = groups[0].rollouts[0].tokens
        self._engine.prove(canary.ids)
        learner.log_probs([canary])
        ended = time.perf_counter()
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        row: dict[str, Any] = {
            "sampling": self._engine.ended - began,
            "verifying": judged - self._engine.ended,
            "updating": updated - judged,
            "publishing": ended - updated,
            "whole": ended - began,
            "lengths": [rollout.tokens.sampled_count for rollout in rollouts],
            "right": sum(rollout.verdict.outcome == "right" for rollout in rollouts) / len(rollouts),
            "verifier_seconds": sum(rollout.verdict.seconds for rollout in rollouts),
        }
        kept, _ = recipe.select(groups)
        row["kept_rows"] = sum(len(group.rollouts) for group in kept)
        learner.version -= 1  # the same rollouts once more, as if they had just been drawn
        began = time.perf_counter()
        learner.update(recipe.credit_groups(kept, {}), recipe.objective, recipe.weigh)
        row["updating_kept"] = time.perf_counter() - began
        row["whole_kept"] = row["whole"] - row["updating"] + row["updating_kept"]
        learner.version = self._engine.version
        return row


# --- both ---


def prepare(args: argparse.Namespace, folder: Path) -> tuple[Policy, Renderer, Any, list[list[Problem]], str]:
    """Write the folder both sides read (model, prompts.jsonl); returns what our side needs and where the model is from."""
    if args.model or (args.shape == "T" and not args.quick and Path(FINAL).is_dir()):
        name = args.model or FINAL
        policy, source = load(name), f"the model of {shortened(name)}"
    elif args.quick:
        policy, source = made(args.shape, uniform=False), f"shape {args.shape}, random weights"
    else:
        place = KEPT / args.shape
        say(f"the model of {place} (pretrained first, where it is not there)")
        policy = pretrained(args.shape, place)
        source = f"shape {args.shape}, pretrained on the demo's documents for a while ({place})"
    policy.save(folder / "model")
    renderer, task = Renderer(policy.tokenizer), load_task("chain", {})
    source_of = task.train(args.seed)
    problems = [source_of.take(args.problems) for _ in range(args.steps + 1)]
    with (folder / "prompts.jsonl").open("w") as file:
        for problem in (problem for part in problems for problem in part):
            prompt = renderer.prompt(problem, task.messages(problem))
            row = {"id": problem.id, "prompt": prompt.text, "ids": prompt.ids, "answer": problem.reference["answer"]}
            file.write(json.dumps(row) + "\n")
    return policy, renderer, task, problems, f"{source}, {policy.parameters / 1e6:.1f} M weights"


def _lengths(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    lengths = [length for step in steps for length in step["lengths"]]
    right = statistics.mean(step["right"] for step in steps)
    return {"mean": statistics.mean(lengths), "max": max(lengths), "right": right}


def speed(steps: Sequence[dict[str, Any]]) -> float:
    """Sampled tokens a second, the median of the steps."""
    return statistics.median(sum(step["lengths"]) / step["sampling"] for step in steps)


def shown(result: dict[str, Any]) -> str:
    """The result as a page takes it."""
    ours, theirs = result["ours"]["steps"], result["trl"]["steps"]
    rows: list[tuple[str, ...]] = []
    for name, part in PARTS:
        other = BESIDE.get(part, part)
        here, there = median(ours, part), median(theirs, other) if theirs and other in theirs[0] else None
        ratio = "" if there is None or part == "verifying" else f"{there / here:.2f}"
        rows.append((name, f"{here:.3f}", "" if there is None else f"{there:.3f}", ratio))
    sides = [_lengths(steps) for steps in (ours, theirs) if steps]
    rows.append(("sampled, tokens/s", *(f"{speed(s):,.0f}" for s in (ours, theirs) if s)))
    rows.append(("mean length, tokens", *(f"{side['mean']:.1f}" for side in sides)))
    rows.append(("longest", *(f"{side['max']:.0f}" for side in sides)))
    rows.append(("share right", *(f"{side['right']:.3f}" for side in sides)))
    rows = [(*row, *("" for _ in range(4 - len(row)))) for row in rows]
    facts = result["trl"]["facts"]
    return "\n".join(
        (
            heading(command_of("step.py"), result["machine"], trl=facts.get("trl")),
            f"{result['source']}; {result['problems']} problems x {result['samples']} samples of at most {result['max_new']} tokens.\n",
            table((f"seconds, medians of {len(ours)} steps", "ours", "TRL", "TRL / ours"), rows),
            "",
            *_remarks(result),
        )
    )


def _remarks(result: dict[str, Any]) -> list[str]:
    """What the table does not say: TRL's settings, and what the two sides do differently."""
    ours, theirs = result["ours"]["steps"], result["trl"]
    said = []
    if theirs["steps"]:
        tried = (
            f"the fastest of {len(theirs['tried'])}" if theirs["tried"] else "given and not searched for in this run"
        )
        said.append(f"TRL's settings, {tried}: {described(theirs['settings'])}.")
    whole = [one for one in theirs["tried"] if "failed" not in one and one["settings"]["precision"] != "bfloat16"]
    if whole and theirs["settings"]["precision"] == "bfloat16":
        like = min(whole, key=lambda one: one["whole"])
        said.append(
            f"Its fastest with float32 weights, as ours are, when tried: {like['whole']:.3f} s (sampling {like['sampling']:.3f}, "
            f"updating {like['updating']:.3f}; {described(like['settings'])})."
        )
    said.append(
        f"Ours leaves flat groups out, TRL does not: {median(ours, 'kept_rows'):.0f} of {result['problems'] * result['samples']} "
        f"rows are left. Our verifiers worked {1000 * median(ours, 'verifier_seconds'):.1f} ms a step, in processes of their own."
    )
    return [*said, "", "```", LEGEND, "```"] if theirs["steps"] else said


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=("T", "S"), default="T")
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final, in place of the shape's")
    parser.add_argument("--trl-python", help="the Python that has TRL (default: .venv-trl/bin/python where it is)")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after one to warm up")
    parser.add_argument("--search-steps", type=int, default=2, help="measured steps for each of TRL's settings tried")
    parser.add_argument("--trl", action="append", metavar="KEY=VALUE", help=f"fix TRL's settings instead: {[*START]}")
    parser.add_argument("--settings", type=Path, help="take TRL's from an earlier run's --json FILE; no search")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=1200.0, help="seconds TRL may take to start, or for a step")
    given = parser.parse_args()
    if given.quick:
        given.steps, given.problems, given.samples, given.max_new = 2, 8, 4, 32
    there = ".venv-trl/bin/python"
    if given.trl_python is None and Path(there).exists():
        given.trl_python = there
    if given.trl_python is not None and shutil.which(given.trl_python) is None:
        sys.exit(
            f"There is no {given.trl_python}. TRL wants an environment of its own; make one with\n"
            f'  python -m venv .venv-trl\n  .venv-trl/bin/pip install "torch==2.13.*" trl==1.16.0'
        )
    if given.trl_python is None:
        say("TRL is left out: no --trl-python. docs/performance.md says how to install it.")
    return given


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Both sides, in turns: the result object."""
    facts = machine(args.threads)
    torch.set_num_threads(args.threads)
    tune_allocator()
    with tempfile.TemporaryDirectory(prefix="burnish-step-") as name, ExitStack() as stack:
        folder = Path(name)
        policy, renderer, task, problems, source = prepare(args, folder)
        common = {key: getattr(args, key) for key in ("problems", "samples", "max_new", "threads", "seed")}
        common["lr"] = LEARNING_RATE
        chosen: dict[str, Any] = {**START, "batch": args.problems * args.samples}
        tried: list[dict[str, Any]] = []
        peer = None
        if args.trl_python is not None:
            if args.settings:
                chosen = found(args.settings, "trl", "settings")
            if args.trl or args.quick or args.settings:
                chosen = fixed(chosen, args.trl)
            else:
                say("TRL's settings, each a run of its own:")
                tried = fastest(args, folder, common)
                chosen = tried[0]["settings"]
            peer = stack.enter_context(trl(args, folder, {**common, **chosen, "steps": args.steps + 1}))
        say("measuring, in turns")
        rows: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        with Pool(task.verifier) as pool:
            ours = Ours(policy, renderer, task, pool, args)
            for part in problems:
                rows.append(ours.step(part))
                if peer is not None:
                    theirs.append(peer.step())
        there = peer.timings["facts"] if peer is not None else {}
    rows, theirs = rows[1:], theirs[1:]
    return {
        "ratio": {
            name: median(theirs, "whole") / median(rows, part)
            for name, part in (("trl", "whole"), ("trl, flat groups left out", "whole_kept"))
            if theirs
        },
        "machine": facts,
        "source": source,
        "problems": args.problems,
        "samples": args.samples,
        "max_new": args.max_new,
        "ours": {"steps": rows},
        "trl": {"settings": chosen, "tried": tried, "facts": there, "steps": theirs},
    }


def main() -> None:
    given = arguments()
    result = measure(given)
    publish(given, result, shown(result), f"step {'model' if given.model else given.shape}")


if __name__ == "__main__":
    main()
