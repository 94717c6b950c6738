"""The compiled path against the module it replaces: sampled tokens a second on the same requests, and the ratio.

    python benchmarks/decode.py [--model FOLDER] [--rows 512] [--repeats 5]

Without a model, one of the demo's shape with random weights is made; every completion then runs to max_new.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from burnish.config import ScratchConfig
from burnish.engine.embedded import EmbeddedEngine
from burnish.policy.fused import Fused
from burnish.policy.model import Policy, from_scratch, load, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.prompts import Renderer
from burnish.records import Key, Request, Sampling
from burnish.tasks.chain import Chain


def made(compute: str = "bfloat16") -> Policy:
    """The demo's shape, random weights."""
    shape = ScratchConfig().model_dump()
    task = Chain()
    texts = [f"{problem.question} {task.gold(problem)}" for problem in task.train(1).take(500)]
    tokenizer = train_tokenizer(texts, shape.pop("vocab_size"), shape["max_position_embeddings"])
    return from_scratch(tokenizer, {**shape, "tie_word_embeddings": True}, compute)


def requests(policy: Policy, problems: int, samples: int, max_new: int) -> list[Request]:
    """A step's worth of chain problems."""
    task, renderer = Chain(), Renderer(policy.tokenizer)
    sampling = Sampling(max_new=max_new, stop_ids=policy.stop_ids, seed=1)
    prompts = [renderer.prompt(problem, task.messages(problem)) for problem in task.held_out()[:problems]]
    return [Request(Key(prompt.problem_id, i), prompt, sampling) for prompt in prompts for i in range(samples)]


def speed(policy: Policy, asked: list[Request], rows: int) -> float:
    """Sampled tokens a second of one call."""
    engine = EmbeddedEngine(policy, rows)
    start = time.perf_counter()
    for _ in engine.generate(asked):
        pass
    return engine.tokens_sampled / (time.perf_counter() - start)


def main() -> None:
    """Alternate the two, print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=96)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    tune_allocator()
    policy = load(str(given.model), "bfloat16") if given.model else made()
    asked = requests(policy, given.problems, given.samples, given.max_new)
    serves = Fused.serves
    sides: dict[str, list[float]] = {"fused": [], "module": []}
    for _ in range(given.repeats + 1):  # the first is a warm-up
        for name, rates in sides.items():
            Fused.serves = staticmethod(serves if name == "fused" else lambda policy: False)  # type: ignore[method-assign]
            rates.append(speed(policy, asked, given.rows))
    medians = {name: statistics.median(rates[1:]) for name, rates in sides.items()}
    for name, rate in medians.items():
        print(f"{name:8} {rate:10,.0f} tokens/s")
    print(f"ratio    {medians['fused'] / medians['module']:10.2f}")


if __name__ == "__main__":
    main()
