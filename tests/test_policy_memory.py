"""What a step keeps: gradient checkpointing gives the same gradient, and no tensor of all tokens x vocabulary ever exists."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from burnish.engine.choice import engine_for
from burnish.errors import ConfigError
from burnish.learner.learner import Learner, Optimization
from burnish.policy import adapters, fused, kernels, model, sampling
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import Product
from burnish.policy.model import Policy
from burnish.records import Sample, Sampling
from tiny import by_key, joined, prompts, requests

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")
PATHS = {"module": torch.float32, "kernels": torch.bfloat16}
PATH = pytest.mark.parametrize("path", ["module", pytest.param("kernels", marks=needs_kernels)])


def subject(path: str, family: str = "qwen3", **changes: Any) -> Policy:
    shape = {"hidden_size": 64, "head_dim": 32, "initializer_range": 0.1, "tie_word_embeddings": False}
    return tiny.policy(family, PATHS[path], **{**shape, **changes})


def samples_of(policy: Policy, count: int = 4, max_new: int = 12) -> list[Sample]:
    listed = requests(prompts((3, 17, 9)), count, Sampling(max_new=max_new, seed=3))
    rows = joined(listed, by_key(engine_for(policy, rows=16).generate(listed)))
    return [
        Sample(request.key, row, tuple(float(request.key.index - 1) * s for s in row.sampled), 0.0, 0, 0)
        for request, row in zip(listed, rows, strict=True)
    ]


def pull(fields: Any) -> tuple[Any, dict[str, Any]]:
    return -(fields.weight_N * fields.advantage_N * fields.logp_N).sum(), {}


def gradient(policy: Policy, samples: list[Sample], checkpointing: bool) -> dict[str, torch.Tensor]:
    settings = Optimization(1e-3, 1, micro_batch_tokens=64, clip_norm=1e9, gradient_checkpointing=checkpointing)
    learner = Learner(policy, settings)
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        found.update({n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None})
        for parameter in policy.module.parameters():
            parameter.grad = None  # nothing moves: the next gradient is of the same weights

    learner.optimizer.register_step_pre_hook(keep)
    learner.update(samples, pull, lambda part: {sample.origin: 0.1 for sample in part})
    return found


@PATH
def test_checkpointing_gives_the_same_gradient(path: str) -> None:
    policy = subject(path)
    assert Fused.serves(policy) is (path == "kernels")
    samples = samples_of(policy)
    plain, again = gradient(policy, samples, False), gradient(policy, samples, True)
    assert set(plain) == set(again) and float(plain["lm_head.weight"].abs().max()) > 0
    for name, one in plain.items():
        assert torch.equal(one, again[name]), name


@pytest.mark.parametrize("family", ["gemma3_text", "phi3"])
def test_checkpointing_gives_the_same_gradient_in_other_families_and_under_adapters(family: str) -> None:
    policy = subject("module", family)
    samples = samples_of(policy)
    adapted = adapters.adapted(policy, 4, 8.0, 0.0, [], 1)
    with torch.no_grad():
        for name, weight in adapted.module.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    plain, again = gradient(adapted, samples, False), gradient(adapted, samples, True)
    assert len(plain) == len(again) > 8
    for name, one in plain.items():
        assert torch.allclose(one, again[name], atol=1e-6), name


class Stored(torch.autograd.graph.saved_tensors_hooks):
    """Numbers kept for the backward pass, by what holds them."""

    def __init__(self) -> None:
        self.kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            self.kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        super().__init__(pack, lambda tensor: tensor)


@PATH
def test_checkpointing_keeps_less(path: str) -> None:
    policy = subject(path, num_hidden_layers=6)
    samples = samples_of(policy)
    kept = []
    for on in (False, True):
        stored = Stored()
        with stored:
            gradient(policy, samples, on)
        kept.append(sum(stored.kept.values()))
    assert kept[1] < kept[0]


@needs_kernels
def test_a_product_that_has_gone_backward_keeps_its_weight_in_two_layouts_and_no_third() -> None:
    torch.manual_seed(0)
    weight, grad = torch.randn(96, 64), torch.randn(5, 96).to(torch.bfloat16)
    product = Product([weight], [None])
    first = product.back(grad)
    assert product._plain is None
    assert torch.equal(product.back(grad), first)
    assert torch.allclose(first.float(), grad.float() @ weight.to(torch.bfloat16).float(), rtol=2**-7, atol=2**-4)


def test_checkpointing_of_a_family_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = subject("module")
    monkeypatch.setattr(type(policy.module), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="cannot be had with Qwen3ForCausalLM"):
        Learner(policy, Optimization(1e-3, 1, gradient_checkpointing=True))


@PATH
def test_masters_in_float32_take_steps_that_bfloat16_would_lose(path: str) -> None:
    """Products in bfloat16, a rate of a millionth: next to a weight of 0.1 bfloat16 has no smaller step than 0.0002."""
    policy = subject(path)
    policy.compute = torch.bfloat16
    before = policy.module.lm_head.weight.detach().clone()
    learner = Learner(policy, Optimization(1e-6, 1))
    learner.update(samples_of(policy), pull, lambda part: {sample.origin: 0.1 for sample in part})
    after = policy.module.lm_head.weight.detach()
    moved = (after - before).abs()
    assert after.dtype is torch.float32 and 0.0 < float(moved.max()) < 2e-6


# ---- tokens x vocabulary


class Largest(TorchDispatchMode):
    """The most places that any tensor of one row a token and one column a word of the vocabulary has."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.places, self.seen = vocabulary, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.ndim and self.vocabulary in tensor.shape:
                self.seen += 1
                if tensor.shape[-1] == self.vocabulary:
                    self.places = max(self.places, tensor.numel() // self.vocabulary)
        return out


VOCABULARY = 4096 + 8  # like no other width
CHUNK_ROWS = 16


@PATH
def test_no_tensor_of_all_tokens_by_vocabulary_exists(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling and an update: of 36 rows x (up to 17 + 12) tokens, never more than a chunk's rows of logits at once."""
    for holder in (model, fused, sampling):
        monkeypatch.setattr(holder, "LOGITS_CHUNK", CHUNK_ROWS * VOCABULARY)
    policy = subject(path)
    wide = copy.deepcopy(policy.module.config)
    wide.vocab_size = VOCABULARY
    torch.manual_seed(0)
    policy = Policy(
        tiny.AutoModelForCausalLM.from_config(wide, attn_implementation="burnish"), policy.tokenizer, PATHS[path]
    )
    with Largest(VOCABULARY) as sampled:
        samples = samples_of(policy, 12)
    tokens = sum(len(sample.tokens.ids) for sample in samples)
    assert tokens > 36 * 12
    learner = Learner(policy, Optimization(1e-3, 1, micro_batch_tokens=1 << 20))
    with Largest(VOCABULARY) as trained:
        learner.update(samples, pull, lambda part: {sample.origin: 0.1 for sample in part})
    with Largest(VOCABULARY) as scored:
        learner.log_probs([sample.tokens for sample in samples])
    own = policy.module.config.hidden_size  # the gradient of the head is made as [V, E] and [E, V]: its rows are widths
    assert sampled.seen and trained.seen and scored.seen
    assert sampled.places <= CHUNK_ROWS  # 16 rows are decoded at a time
    assert scored.places <= max(CHUNK_ROWS, own) and trained.places <= max(CHUNK_ROWS, own) < tokens // 6
