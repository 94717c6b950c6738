"""The models and the work that several benchmarks share: three shapes, and prompts whose answers have a long tail of lengths.

    T   the demo's, about 2.5 million weights
    S   25 million
    M   the shape of Qwen3-0.6B with its vocabulary

Weights are random, of one seed. A random model says nonsense of a fixed length, and that is not what a trained one does: many of its
answers are short and some are very long, and an engine that waits for the longest pays for it. So the last norm of these models is
scaled down until every next token is about equally likely, and the ids that end an answer are one `mean`-th of the vocabulary: lengths
are then geometric with that mean, cut at max_new, on every system alike, with nothing forced on any row. Not for: quality.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from burnish.config import CorpusConfig, PretrainConfig, PretrainOptimizerConfig, ScratchConfig
from burnish.pipelines.pretrain import pretrain
from burnish.policy.model import Policy, from_scratch, load
from burnish.policy.tokenizer import train_tokenizer
from burnish.prompts import Renderer
from burnish.records import Key, Prompt, Request, Sampling
from burnish.tasks.chain import Chain

NORM = 0.01
"""What the last norm's weights are set to: logits within a few hundredths of each other."""

COMMON: dict[str, Any] = {"model_type": "qwen3", "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    "T": {name: value for name, value in ScratchConfig().model_dump().items() if name != "vocab_size"},
    "S": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 512,
    },
    "M": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    },
}
VOCABULARY: dict[str, int | None] = {"T": None, "S": None, "M": 151_936}
"""None: as many tokens as the tokenizer trained here has (the demo's, at most 384)."""

PROBLEMS = {"T": 64, "S": 64, "M": 16}
"""At eight samples each; M's is a quarter, as its full work takes the better part of an hour for a system."""


def made(name: str, vocabulary: int | None = None, context: int | None = None, uniform: bool = True) -> Policy:
    """A policy of the shape with random weights, in float32 with products in bfloat16 where the processor has it.

    uniform  every next token about equally likely
    """
    shape = {**COMMON, **SHAPES[name], **({"max_position_embeddings": context} if context else {})}
    task = Chain()
    texts = [f"{problem.question} {task.gold(problem)}" for problem in task.train(1).take(500)]
    tokenizer = train_tokenizer(texts, ScratchConfig().vocab_size, shape["max_position_embeddings"])
    policy = from_scratch(tokenizer, shape, seed=1)
    if wanted := vocabulary or VOCABULARY[name]:
        state = torch.get_rng_state()
        torch.manual_seed(2)
        policy.module.resize_token_embeddings(wanted, mean_resizing=False)
        torch.set_rng_state(state)
    if uniform:
        policy.module.get_decoder().norm.weight.data.fill_(NORM)
    return policy


@dataclass(frozen=True)
class Work:
    """What every side samples: ids of the prompts, how many answers to each, and what ends one."""

    prompts: tuple[tuple[int, ...], ...]
    samples: int
    max_new: int
    stop_ids: tuple[int, ...]
    said: str

    def requests(self, seed: int = 1) -> list[Request]:
        sampling = Sampling(max_new=self.max_new, stop_ids=self.stop_ids, seed=seed)
        prompts = [Prompt(f"p{number}", (), "", ids) for number, ids in enumerate(self.prompts)]
        return [Request(Key(prompt.problem_id, i), prompt, sampling) for prompt in prompts for i in range(self.samples)]

    def settings(self) -> dict[str, Any]:
        """As the other sides' settings file holds it."""
        return {
            "prompts": self.prompts,
            "samples": self.samples,
            "max_new": self.max_new,
            "stop_ids": self.stop_ids,
        }


def tail(policy: Policy, problems: int, samples: int, max_new: int, mean: float, longest_prompt: int = 200) -> Work:
    """Prompts of 30 to 200 random tokens for a model of `made`; lengths are geometric with this mean, cut at max_new."""
    rng = random.Random(1)
    vocabulary = int(policy.module.config.vocab_size)
    stop_ids = tuple(sorted(rng.sample(range(vocabulary), max(1, round(vocabulary / mean)))))
    prompts = tuple(
        tuple(rng.randrange(vocabulary) for _ in range(rng.randint(min(30, longest_prompt), longest_prompt)))
        for _ in range(problems)
    )
    said = (
        f"{problems} problems x {samples} samples, prompts of 30 to {longest_prompt} tokens, lengths geometric with mean "
        f"{vocabulary / len(stop_ids):.0f} cut at {max_new}"
    )
    return Work(prompts, samples, max_new, stop_ids, said)


def chains(policy: Policy, problems: int, samples: int, max_new: int) -> Work:
    """Problems of the demo's task for a model that was trained on it; it ends its answers itself."""
    task, renderer = Chain(), Renderer(policy.tokenizer)
    prompts = tuple(renderer.prompt(one, task.messages(one)).ids for one in task.held_out()[:problems])
    widths = [len(ids) for ids in prompts]
    said = (
        f"{problems} problems x {samples} samples of the chain task, prompts of {min(widths)} to {max(widths)} tokens, lengths "
        f"as the model ends its answers, cut at {max_new}"
    )
    return Work(prompts, samples, max_new, policy.stop_ids, said)


def pretrained(name: str, place: Path, updates: int = 100) -> Policy:
    """A model of the shape that has seen some of the demo's documents; made once, then read from `place`."""
    if not (place / "config.json").is_file():
        shape = ScratchConfig(**{key: value for key, value in SHAPES[name].items() if key != "rope_parameters"})
        config = PretrainConfig(
            out=str(place),
            scratch=shape,
            corpus=CorpusConfig(task="chain", documents={"think_share": 0.36, "slip_rate": 0.2}),
            optimizer=PretrainOptimizerConfig(warmup_updates=20, schedule="cosine", micro_batch_tokens=4096),
            updates=updates,
        )
        pretrain(config, quiet=True)
    return load(str(place))
