"""One GRPO step of ours and of TRL's, on the same weights, the same prompts and so the same lengths, taking turns in one run.

    python benchmarks/step.py --model runs/demo/run/final [--json step.json]

Ours runs here, TRL's in a Python of its own (benchmarks/trl_side.py). TRL gets its best settings first: attention, precision,
batch, generation and allocator are tried one after the other, and the fastest of each is kept. The step is as in the demo: 64
problems of the chain task, 8 samples of at most 96 tokens each, recipe grpo, one update on all 512 rows. Both sides sample at
temperature 1 with the weights as they are, so their lengths are draws of one distribution; both means are printed.

Not for: what is learned (the learning rate is too low for that, so that lengths stay what they are).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from burnish.algos import recipes
from burnish.config import CorpusConfig, OptimizerConfig, PretrainConfig, PretrainOptimizerConfig
from burnish.engine.embedded import EmbeddedEngine
from burnish.learner.learner import Learner, Optimization
from burnish.pipelines.pretrain import pretrain
from burnish.policy.model import Policy, load, tune_allocator
from burnish.policy.sampling import SamplingDistribution
from burnish.prompts import Renderer
from burnish.records import Completion, Problem, Sampling
from burnish.rollout import Sampler
from burnish.tasks import load as load_task
from burnish.verify.pool import Pool
from trl_peer import LEGEND, START, Peer, described, median, search, seconds_of

HERE = Path(__file__).resolve().parent
FINAL = "runs/demo/run/final"
LEARNING_RATE = 1e-6
# --- ours ---


class Timed:
    """The engine, noting when its last completion came."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self.version = 0
        self.ended = 0.0

    def generate(self, requests: Any) -> Iterator[Completion]:
        yield from self._engine.generate(requests)
        self.ended = time.perf_counter()

    def load(self, weights: object, version: int) -> None:
        self._engine.load(weights, version)
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        return self._engine.prove(ids)


class Ours:
    """Engine, verifiers and learner as `burnish train` puts them together, with the defaults of its config."""

    def __init__(self, policy: Policy, renderer: Renderer, task: Any, pool: Pool, args: argparse.Namespace) -> None:
        self._engine = Timed(EmbeddedEngine(policy))
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
        learner.version = self._engine.version
        return row


# --- both ---


def prepare(args: argparse.Namespace, folder: Path) -> tuple[Policy, Renderer, Any, list[list[Problem]], str]:
    """Write the folder both sides read (model, prompts.jsonl); returns what our side needs and where the model is from."""
    name, source = args.model, f"the model of {args.model}"
    if name is None and Path(FINAL).is_dir():
        name, source = FINAL, f"the model of {FINAL}"
    if name is None:
        name = str(folder / "pretrained")
        source = "a model pretrained here on worked documents (no --model given)"
        documents = CorpusConfig(task="chain", documents={"think_share": 1.0, "slip_rate": 0.2})
        optimizer = PretrainOptimizerConfig(warmup_updates=20, schedule="cosine", micro_batch_tokens=2048)
        print("pretraining a model", flush=True)
        pretrain(PretrainConfig(out=name, corpus=documents, optimizer=optimizer, updates=150), quiet=True)
    policy = load(name)
    policy.save(folder / "model")
    renderer, task = Renderer(policy.tokenizer), load_task("chain", {})
    source_of = task.train(args.seed)
    problems = [source_of.take(args.problems) for _ in range(args.steps + 1)]
    with (folder / "prompts.jsonl").open("w") as file:
        for problem in (problem for part in problems for problem in part):
            prompt = renderer.prompt(problem, task.messages(problem))
            row = {"id": problem.id, "prompt": prompt.text, "ids": prompt.ids, "answer": problem.reference["answer"]}
            file.write(json.dumps(row) + "\n")
    return policy, renderer, task, problems, source


def machine(threads: int) -> dict[str, Any]:
    cpu, flags = platform.processor() or platform.machine(), ""
    place = Path("/proc/cpuinfo")
    if place.is_file():
        lines = dict(line.split(":", 1) for line in place.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        cpu, flags = named.get("model name", cpu), named.get("flags", "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "bfloat16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags.split()],
        "load_average_at_start": os.getloadavg()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _lengths(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    lengths = [length for step in steps for length in step["lengths"]]
    right = statistics.mean(step["right"] for step in steps)
    return {"mean": statistics.mean(lengths), "max": max(lengths), "right": right}


def show(result: dict[str, Any]) -> None:
    ours, theirs, facts = result["ours"], result["trl"], result["machine"]
    print(f"\n{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, torch {facts['torch']}, ", end="")
    print(f"bfloat16 by {', '.join(facts['bfloat16']) or 'no unit'}; load average {facts['load_average_at_start']:.1f}")
    print(f"{result['source']}; {result['problems']} problems x {result['samples']} samples")
    print(f"TRL {theirs['facts']['trl']}: {described(theirs['settings'])}\n{LEGEND}\n")
    print(f"{'seconds, medians of ' + str(len(ours['steps'])) + ' steps':36}{'ours':>9}{'TRL':>9}{'TRL/ours':>10}")
    for name, part in (
        ("sampling (verifying beside it)", "sampling"),
        ("verifying (what is left of it)", "verifying"),
        ("updating (all rows)", "updating"),
        ("publishing", "publishing"),
        ("whole step", "whole"),
    ):
        here = median(ours["steps"], part)
        there = median(theirs["steps"], part) if part in theirs["steps"][0] else None
        ratio = "" if there is None or part == "verifying" else f"{there / here:10.2f}"
        print(f"{name:36}{here:9.3f}{'-' if there is None else f'{there:.3f}':>9}{ratio}")
    mine, other = _lengths(ours["steps"]), _lengths(theirs["steps"])
    print(f"{'mean length, tokens':36}{mine['mean']:9.2f}{other['mean']:9.2f}")
    print(f"{'longest':36}{mine['max']:9.0f}{other['max']:9.0f}")
    print(f"{'share right':36}{mine['right']:9.3f}{other['right']:9.3f}")
    speed = [
        statistics.median(sum(step["lengths"]) / step["sampling"] for step in side["steps"]) for side in (ours, theirs)
    ]
    print(f"{'sampled, tokens/s':36}{speed[0]:9.0f}{speed[1]:9.0f}{speed[0] / speed[1]:10.2f}")
    whole = [one for one in theirs["tried"] if "failed" not in one and one["settings"]["precision"] != "bfloat16"]
    if whole and theirs["settings"]["precision"] == "bfloat16":
        like = min(whole, key=lambda one: one["whole"])
        print(f"\nTRL's fastest with float32 weights, as ours are, when tried: {seconds_of(like).strip()}")
        print(f"  {described(like['settings'])}")
    print(
        f"\nours leaves flat groups out, TRL does not: on {median(ours['steps'], 'kept_rows'):.0f} of "
        f"{result['problems'] * result['samples']} rows our update takes {median(ours['steps'], 'updating_kept'):.3f} s. "
        f"Our verifiers worked {1000 * median(ours['steps'], 'verifier_seconds'):.1f} ms a step, in processes of their own."
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help=f"a model folder (default: {FINAL}; where there is none, one is pretrained)")
    parser.add_argument("--trl-python", default=".venv-trl/bin/python", help="the Python that has TRL")
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after one to warm up")
    parser.add_argument("--search-steps", type=int, default=2, help="measured steps for each of TRL's settings tried")
    parser.add_argument("--trl", action="append", metavar="KEY=VALUE", help=f"fix TRL's settings instead: {[*START]}")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=96)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write everything here")
    return parser.parse_args()


def main() -> None:
    args = options()
    if shutil.which(args.trl_python) is None:
        folder = Path(args.trl_python).parent.parent
        sys.exit(
            f"There is no {args.trl_python}. TRL wants an environment of its own; make one with\n"
            f'  python -m venv {folder}\n  {folder}/bin/pip install "torch==2.13.*" trl==1.16.0\n'
            "or name one with --trl-python."
        )
    facts = machine(args.threads)
    torch.set_num_threads(args.threads)
    tune_allocator()
    with tempfile.TemporaryDirectory(prefix="burnish-step-") as name:
        folder = Path(name)
        policy, renderer, task, problems, source = prepare(args, folder)
        common = {
            "problems": args.problems,
            "samples": args.samples,
            "max_new": args.max_new,
            "lr": LEARNING_RATE,
            "threads": args.threads,
            "seed": args.seed,
        }
        chosen: dict[str, Any] = {**START, "batch": args.problems * args.samples}
        tried: list[dict[str, Any]] = []
        if args.trl:
            chosen |= {key: int(value) if value.isdigit() else value for key, value in (s.split("=") for s in args.trl)}
        else:
            print("TRL's settings, each a run of its own:", flush=True)
            tried = search(args, folder, common)
            chosen = tried[0]["settings"]
        rows: list[dict[str, Any]] = []
        print("measuring, in turns", flush=True)
        with (
            Peer(args.trl_python, folder, {**common, **chosen, "steps": args.steps + 1}) as peer,
            Pool(task.verifier) as pool,
        ):
            ours = Ours(policy, renderer, task, pool, args)
            for part in problems:
                rows.append(ours.step(part))
                peer.step()
            timings = peer.timings
    result = {
        "machine": facts,
        "source": source,
        "problems": args.problems,
        "samples": args.samples,
        "max_new": args.max_new,
        "ours": {"steps": rows[1:]},
        "trl": {"settings": chosen, "tried": tried, "facts": timings["facts"], "steps": timings["steps"][1:]},
    }
    show(result)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
