"""A model in the shape of Qwen3-0.6B, random weights: samples and takes a GRPO step; tokens a second of both, and peak memory.

    python benchmarks/qwen_shape.py [--checkpointing] [--quick] [--json] [--page docs/models.md]

Shape M of benchmarks/shapes.py: 28 layers, hidden 1024, inner 3072, 16 query and 8 key heads of 128, 151,936 words of vocabulary, tied:
596 million parameters. Needs 16 GiB of main memory and no disk. Rewards are made by a coin, so that there is a gradient; what is
learned means nothing. Beside other systems: sampling.py and step.py, with --shape M.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from typing import Any

import torch

from burnish.algos.recipes import recipe as named
from burnish.engine.choice import engine_for
from burnish.learner.learner import Learner, Optimization
from burnish.policy.fused import Fused
from burnish.policy.model import tune_allocator
from burnish.records import Group, Key, Problem, Prompt, Request, Rollout, Sampling, Tokens, Verdict
from report import command_of, heading, machine, options, publish, say, table
from shapes import made

LIMIT_GIB = 16


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def measure(given: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    tune_allocator()
    context = given.prompt + given.max_new
    policy = made("T", 8192, context, False) if given.quick else made("M", None, context, False)
    found: dict[str, Any] = {
        "parameters": policy.parameters,
        "compute": str(policy.compute).removeprefix("torch."),
        "kernels": Fused.serves(policy),
        "checkpointing": given.checkpointing,
        "made_gib": peak_gib(),
    }
    prompts = [Prompt(f"p{i}", (), "", tuple(range(100 + i, 100 + i + given.prompt))) for i in range(given.prompts)]
    sampling = Sampling(max_new=given.max_new, seed=1)
    listed = [Request(Key(one.problem_id, i), one, sampling) for one in prompts for i in range(given.samples)]
    start = time.perf_counter()
    drawn = {one.key: one for one in engine_for(policy, rows=len(listed)).generate(listed)}
    found["sampling"] = phase(sum(len(one.ids) for one in drawn.values()), start)
    say(f"sampled {found['sampling']['tokens']:,} tokens")
    groups = [group(one, [drawn[Key(one.problem_id, i)] for i in range(given.samples)]) for one in prompts]
    recipe = named("grpo")
    kept, _ = recipe.select(groups)
    samples = recipe.credit_groups(kept, {})
    budget = given.micro_batch_tokens
    learner = Learner(
        policy, Optimization(1e-6, 2, micro_batch_tokens=budget, gradient_checkpointing=given.checkpointing)
    )
    tokens = sum(len(sample.tokens.ids) for sample in samples)
    for step in ("first_step", "second_step"):  # the second finds the optimizer's moments there: it is the run's peak
        start = time.perf_counter()
        learner.update(samples, recipe.objective, recipe.weigh)
        found[step] = phase(tokens, start)
        say(f"{step.replace('_', ' ')}: {found[step]['seconds']:.1f} s")
    return {**found, "peak_gib": peak_gib(), "within": peak_gib() <= LIMIT_GIB}


def phase(tokens: int, start: float) -> dict[str, float]:
    seconds = time.perf_counter() - start
    return {"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds, "peak_gib": peak_gib()}


def group(prompt: Prompt, completions: list[Any]) -> Group:
    """Judged by a coin: every second answer is right."""
    rollouts = tuple(
        Rollout(
            *(i, Tokens.join(prompt.ids, one.ids, one.logprobs), one.text, one.stop),
            *(Verdict("right", 1.0) if i % 2 else Verdict("wrong", 0.0), one.oldest, one.newest),
        )
        for i, one in enumerate(completions)
    )
    return Group(Problem(prompt.problem_id, "shape", "?", {}, "train", ""), prompt, rollouts)


def shown(found: dict[str, Any]) -> str:
    rows = []
    for name in ("sampling", "first_step", "second_step"):
        one = found[name]
        figures = (f"{one['tokens']:,}", f"{one['seconds']:.1f}", f"{one['tokens_per_second']:,.0f}")
        rows.append((name.replace("_", " "), *figures, f"{one['peak_gib']:.2f}"))
    through = "the compiled kernels" if found["kernels"] else "the module"
    checkpointing = ", with gradient checkpointing" if found["checkpointing"] else ""
    sentence = (
        f"{found['parameters']:,} parameters, products in {found['compute']}, through {through}{checkpointing}: "
        f"{found['peak_gib']:.2f} GiB at most, {'within' if found['within'] else 'OVER'} {LIMIT_GIB} GiB."
    )
    return table(("", "tokens", "seconds", "tokens/s", "peak so far, GiB"), rows) + f"\n\n{sentence}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--max-new", type=int, default=128, help="tokens of an answer; none ends before")
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    given = parser.parse_args()
    command, facts = command_of("qwen_shape.py"), machine(given.threads)
    found = {"command": command, "machine": facts, **measure(given), "ratio": {}}
    mark = "qwen shape, checkpointing" if given.checkpointing else "qwen shape"
    publish(given, found, f"{heading(command, facts)}\n{shown(found)}", mark)


if __name__ == "__main__":
    main()
