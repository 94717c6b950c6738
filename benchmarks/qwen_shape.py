"""A model in the shape of Qwen3-0.6B, random weights: samples and takes a GRPO step; tokens a second of both, and peak memory.

    python benchmarks/qwen_shape.py [--quick] [--json] [--threads 2] [--checkpointing]

28 layers, hidden 1024, inner 3072, 16 query and 8 key heads of 128, 151,936 words of vocabulary, tied: 596 million parameters. Needs 16
GiB of main memory and no disk. Rewards are made by a coin, so that there is a gradient; what is learned means nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from burnish.algos.recipes import recipe as named
from burnish.engine.choice import engine_for
from burnish.learner.learner import Learner, Optimization
from burnish.policy.attention import NAME
from burnish.policy.fused import Fused
from burnish.policy.model import Policy, _compute_dtype, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Group, Key, Problem, Prompt, Request, Rollout, Sampling, Tokens, Verdict

FULL = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
}
QUICK = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 8192,
}
LIMIT_GIB = 16


def make(shape: dict[str, int], words: PreTrainedTokenizerFast) -> Policy:
    config = AutoConfig.for_model(
        "qwen3",
        **shape,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        rope_theta=1e6,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(config, attn_implementation=NAME)
    return Policy(module, words, _compute_dtype("auto", "cpu"))


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def measure(given: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    tune_allocator()
    words = train_tokenizer(["What is 3 + 5? The answer is 8."] * 4, 400, 4096)
    policy = make(QUICK if given.quick else FULL, words)
    found: dict[str, Any] = {
        "parameters": policy.parameters,
        "compute": str(policy.compute).removeprefix("torch."),
        "threads": given.threads,
        "kernels": Fused.serves(policy),
        "checkpointing": given.checkpointing,
        "made_gib": peak_gib(),
    }
    prompts = [Prompt(f"p{i}", (), "", tuple(range(100 + i, 100 + i + given.prompt))) for i in range(given.prompts)]
    sampling = Sampling(max_new=given.max_new, seed=1)
    listed = [Request(Key(one.problem_id, i), one, sampling) for one in prompts for i in range(given.samples)]
    engine = engine_for(policy, rows=len(listed))
    start = time.perf_counter()
    drawn = {one.key: one for one in engine.generate(listed)}
    seconds = time.perf_counter() - start
    count = sum(len(one.ids) for one in drawn.values())
    found["sampling"] = {
        "tokens": count,
        "seconds": seconds,
        "tokens_per_second": count / seconds,
        "peak_gib": peak_gib(),
    }
    groups = [group(one, [drawn[Key(one.problem_id, i)] for i in range(given.samples)]) for one in prompts]
    recipe = named("grpo")
    kept, _ = recipe.select(groups)
    samples = recipe.credit_groups(kept, {})
    settings = Optimization(
        1e-6, 2, micro_batch_tokens=given.micro_batch_tokens, gradient_checkpointing=given.checkpointing
    )
    learner = Learner(policy, settings)
    tokens = sum(len(sample.tokens.ids) for sample in samples)
    for step in ("first_step", "second_step"):  # the second finds the optimizer's moments there: it is the run's peak
        start = time.perf_counter()
        learner.update(samples, recipe.objective, recipe.weigh)
        seconds = time.perf_counter() - start
        found[step] = {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "peak_gib": peak_gib(),
        }
    found["peak_gib"], found["within"] = peak_gib(), peak_gib() <= LIMIT_GIB
    return found


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a much smaller shape")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of a prompt")
    parser.add_argument("--max-new", type=int, default=128)
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    given = parser.parse_args()
    found = measure(given)
    if given.json:
        print(json.dumps(found))
        return
    print(
        f"{found['parameters']:,} parameters, {found['compute']}, {'kernels' if found['kernels'] else 'module'}, {given.threads} threads"
    )
    for name in ("sampling", "first_step", "second_step"):
        one = found[name]
        print(
            f"{name.replace('_', ' '):>12}: {one['tokens']:,} tokens in {one['seconds']:.1f} s, {one['tokens_per_second']:,.0f} tokens/s, "
            f"peak so far {one['peak_gib']:.2f} GiB"
        )
    print(f"peak {found['peak_gib']:.2f} GiB, {'within' if found['within'] else 'OVER'} {LIMIT_GIB} GiB")


if __name__ == "__main__":
    main()
