"""Sampling that waits for its slowest rollouts against sampling that lets them go on in the next step: seconds for the same problems.

    python benchmarks/lag.py [--shape T|S] [--model FOLDER] [--lags 0,1,2] [--aheads 0.25,0.5,1] [--quick] [--json]

Each side samples `--steps` steps of `--problems` problems, the last one until nothing is under way; new weights arrive between steps (the
same ones, so that the work stays the same). Sides take turns. Lag 0 waits. Prompts and lengths are those of sampling.py. What stopped is
computed again when it goes on, and that is in the seconds. Not for: what lag does to learning (docs/performance.md).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.policy.model import Policy, load, tune_allocator
from burnish.records import Group, Key, Message, Problem, Prompt, Sampling, Verdict
from burnish.rollout import Sampler
from burnish.run.lagging import Lagging
from report import command_of, heading, machine, options, publish, say, shortened, table
from shapes import Work, chains, made, tail

RIGHT = Verdict("right", 1.0)


class Given:
    """The work's prompts as problems, again and again under new names; also what renders them."""

    def __init__(self, work: Work, policy: Policy) -> None:
        self._prompts, self._policy, self._next = work.prompts, policy, 0

    def take(self, n: int) -> list[Problem]:
        self._next += n
        return [Problem(f"p{i}", "given", "", {}, "train", "") for i in range(self._next - n, self._next)]

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt:
        return Prompt(problem.id, messages, "", self._prompts[int(problem.id[1:]) % len(self._prompts)])

    def text(self, ids: Sequence[int]) -> str:
        return str(self._policy.tokenizer.decode(ids))


class Agreeing:
    """A pool whose verdicts cost nothing."""

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        for key, _, _ in items:
            yield key, RIGHT


def side(policy: Policy, work: Work, steps: int, max_lag: int, ahead: float, rows: int) -> dict[str, float]:
    """Seconds and tokens of so many steps, and how old the rollouts were."""
    engine, source, problems = EmbeddedEngine(policy, rows), Given(work, policy), len(work.prompts)
    sampling = Sampling(max_new=work.max_new, stop_ids=work.stop_ids, seed=1)
    sampler = Sampler(engine, source, Agreeing(), lambda problem: (), sampling)  # type: ignore[arg-type]
    lagging = Lagging(source, sampler, work.samples, max_lag, ahead) if max_lag else None
    seen: list[Group] = []
    lags: list[int] = []
    began = time.perf_counter()
    for step in range(steps):
        if lagging is None:
            groups = sampler.groups(source.take(problems), work.samples)
        else:
            groups = lagging.take(problems, more=step + 1 < steps)
            lagging.published += 1
        seen += groups
        lags += [engine.version - rollout.oldest for group in groups for rollout in group.rollouts]
        engine.version += 1
    seconds = time.perf_counter() - began
    tokens = sum(rollout.tokens.sampled_count for group in seen for rollout in group.rollouts)
    assert len(seen) == steps * problems
    return {
        "seconds": seconds,
        "tokens": float(tokens),
        "speed": tokens / seconds,
        "late": sum(lag > 0 for lag in lags) / len(lags),
        "recomputed": engine.tokens_recomputed / tokens,
    }


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=("T", "S"), default="T")
    parser.add_argument("--model", help="a model folder, such as runs/demo/run/final, on the demo's problems")
    parser.add_argument("--lags", default="1,2")
    parser.add_argument("--aheads", default="0.25,0.5,1")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=256)
    parser.add_argument("--mean", type=float, default=48.0, help="mean length where the weights are random")
    parser.add_argument("--rows", type=int, default=512, help="most rows decoded together")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.quick:
        given.problems, given.max_new, given.mean, given.repeats, given.steps = 8, 48, 16.0, 1, 3
    return given


def main() -> None:
    given = arguments()
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = load(given.model, "bfloat16") if given.model else made(given.shape)
    work = (
        chains(policy, given.problems, given.samples, given.max_new)
        if given.model
        else tail(policy, given.problems, given.samples, given.max_new, given.mean)
    )
    pairs = [(int(lag), float(ahead)) for lag in given.lags.split(",") for ahead in given.aheads.split(",")]
    sides: dict[tuple[int, float], list[dict[str, float]]] = {pair: [] for pair in [(0, 0.0), *pairs]}
    for turn in range(given.repeats + 1):  # the first is a warm-up
        for pair, done in sides.items():
            done.append(side(policy, work, given.steps, *pair, given.rows))
        say(f"{turn}/{given.repeats}: " + ", ".join(f"{pair} {done[-1]['speed']:,.0f}" for pair, done in sides.items()))

    def middle(pair: tuple[int, float], name: str) -> float:
        return statistics.median(done[name] for done in sides[pair][1:])

    waits = middle((0, 0.0), "seconds")
    cells = [
        (
            str(pair[0]) if pair[0] else "0: waits",
            f"{pair[1]:g}" if pair[0] else "",
            f"{middle(pair, 'seconds'):.2f}",
            f"{middle(pair, 'speed'):,.0f}",
            f"{waits / middle(pair, 'seconds'):.2f}",
            f"{middle(pair, 'late'):.0%}",
            f"{middle(pair, 'recomputed'):.0%}",
        )
        for pair in sides
    ]
    source = f"The model of {shortened(given.model)}" if given.model else f"Shape {given.shape}"
    columns = ("max_lag", "ahead", "seconds", "tokens/s", "times as fast", "rollouts with an older token", "recomputed")
    text = (
        f"{heading(command_of('lag.py'), facts)}\n{source}; {given.steps} steps of {work.said}; medians of {given.repeats}.\n\n"
        f"{table(columns, cells)}"
    )
    result: dict[str, Any] = {
        "ratio": {f"lag {lag} ahead {ahead:g}": waits / middle((lag, ahead), "seconds") for lag, ahead in pairs},
        "machine": facts,
        "work": work.said,
        "sides": {f"lag {lag} ahead {ahead:g}": done for (lag, ahead), done in sides.items()},
    }
    publish(given, result, text, f"lag {'model' if given.model else given.shape}")


if __name__ == "__main__":
    main()
