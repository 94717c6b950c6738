"""The fused decode step against the module it replaces."""

from __future__ import annotations

import pytest
import torch

import tiny
from burnish.engine.embedded import EmbeddedEngine
from burnish.policy.fused import FusedDecoder
from burnish.records import Sampling


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_it_serves_the_common_family_in_bfloat16(family: str) -> None:
    assert FusedDecoder.serves(tiny.policy(family, torch.bfloat16))


@pytest.mark.parametrize(
    ("family", "compute"), [("qwen3", torch.float32), ("gemma2", torch.bfloat16), ("olmo2", torch.bfloat16)]
)
def test_it_leaves_other_families_and_precisions_to_the_module(family: str, compute: torch.dtype) -> None:
    assert not FusedDecoder.serves(tiny.policy(family, compute))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_its_log_probabilities_are_the_modules(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(family, torch.bfloat16)
    requests = tiny.requests(tiny.prompts([3, 7, 11]), 4, Sampling(max_new=24, seed=1))
    fused = {c.key: c for c in EmbeddedEngine(policy, rows=5).generate(requests)}
    monkeypatch.setattr(FusedDecoder, "serves", staticmethod(lambda policy: False))
    module = {c.key: c for c in EmbeddedEngine(policy, rows=5).generate(requests)}
    assert fused.keys() == module.keys()
    same = [key for key in fused if fused[key].ids == module[key].ids]
    assert len(same) >= 0.9 * len(fused)  # a draw may fall the other way where the rounding differs
    gaps = [abs(a - b) for key in same for a, b in zip(fused[key].logprobs, module[key].logprobs, strict=True)]
    assert max(gaps) < 0.1
    assert sum(gaps) / len(gaps) < 0.005


def test_new_weights_are_seen_by_the_next_call() -> None:
    policy = tiny.policy("qwen3", torch.bfloat16)
    engine = EmbeddedEngine(policy)
    requests = tiny.requests(tiny.prompts([10]), 4, Sampling(max_new=24, seed=1))
    before = {c.key: c.ids for c in engine.generate(requests)}
    with torch.no_grad():
        policy.module.get_output_embeddings().weight.neg_()
    after = {c.key: c.ids for c in engine.generate(requests)}
    assert before != after
