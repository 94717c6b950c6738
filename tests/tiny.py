"""Tiny networks with random weights, one a family, and the records that tests hand around."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from burnish.policy.model import Policy
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import (
    Completion,
    Group,
    Key,
    Outcome,
    Problem,
    Prompt,
    Request,
    Rollout,
    Sampling,
    Tokens,
    Verdict,
)

torch.set_num_threads(1)  # these networks are too small to share

WIDTHS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # wide: greedy choices must not hang on rounding
}
WINDOW = 6
MIXED = ["sliding_attention", "full_attention"]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {
        "use_sliding_window": True,
        "sliding_window": WINDOW,
        "max_window_layers": 1,
        "tie_word_embeddings": True,
    },
    "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "gemma": {"head_dim": 16},
    "gemma2": {
        "head_dim": 8,
        "query_pre_attn_scalar": 16,
        "sliding_window": WINDOW,
        "layer_types": MIXED,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 8.0,
        "tie_word_embeddings": False,  # tied, a random Gemma says its last token again
    },
    "gemma3_text": {
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": WINDOW,
        "layer_types": MIXED,
        "tie_word_embeddings": False,
    },
    "olmo2": {"num_key_value_heads": 4, "tie_word_embeddings": False},
    "mistral": {"sliding_window": WINDOW, "tie_word_embeddings": False},
    "phi3": {"sliding_window": WINDOW, "num_key_value_heads": 1, "tie_word_embeddings": False},
}
"""Between them: sliding windows in all and in half of the layers, one, two and all key heads, tied and untied, softcaps."""


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """272 tokens: the bytes, the named ones, and a few words."""
    return train_tokenizer(["a 3, b add 5, c times 7, d take 4."] * 4, 272, 128)


def policy(family: str = "qwen3", compute: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Policy:
    """A fresh policy; the same arguments give the same weights."""
    words = tokenizer()
    config = AutoConfig.for_model(
        family,
        **{**WIDTHS, **FAMILIES[family], **changes},
        vocab_size=len(words),
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(seed)
    return Policy(AutoModelForCausalLM.from_config(config, attn_implementation="burnish"), words, compute)


def eager(policy: Policy) -> Any:
    """The same weights with the family's own attention, to compare with."""
    config = copy.deepcopy(policy.module.config)
    module = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    module.load_state_dict(policy.module.state_dict())
    return module.eval()


def prompt(problem_id: str, ids: Iterable[int]) -> Prompt:
    return Prompt(problem_id, (), "", tuple(ids))


def prompts(lengths: Sequence[int], seed: int = 0) -> list[Prompt]:
    """Prompts "p0", "p1", ... of random ids."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = len(tokenizer())
    return [
        prompt(f"p{i}", torch.randint(9, vocabulary, (length,), generator=generator).tolist())
        for i, length in enumerate(lengths)
    ]


def requests(given: Iterable[Prompt], samples: int, sampling: Sampling) -> list[Request]:
    return [Request(Key(one.problem_id, i), one, sampling) for one in given for i in range(samples)]


def by_key(completions: Iterable[Completion]) -> dict[Key, Completion]:
    listed = list(completions)
    found = {completion.key: completion for completion in listed}
    assert len(found) == len(listed), "a key came back twice"
    return found


def joined(requests: Sequence[Request], drawn: dict[Key, Completion]) -> list[Tokens]:
    """The spine of every request, as the learner gets it."""
    return [Tokens.join(r.prompt.ids, drawn[r.key].ids, drawn[r.key].logprobs) for r in requests]


def group(problem_id: str, rows: Sequence[tuple[Sequence[int], Sequence[int], Outcome]], version: int = 0) -> Group:
    """Rollouts (prompt ids, completion ids, outcome) with made-up log-probabilities of -1."""
    scores = {"right": 1.0, "wrong": 0.0, "no_verdict": None}
    rollouts = tuple(
        Rollout(
            i,
            Tokens.join(tuple(before), tuple(after), (-1.0,) * len(after)),
            "",
            "eos",
            Verdict(outcome, scores[outcome]),
            version,
            version,
        )
        for i, (before, after, outcome) in enumerate(rows)
    )
    problem = Problem(problem_id, "t", "?", {}, "train", "f")
    return Group(problem, prompt(problem_id, rows[0][0]), rollouts)
