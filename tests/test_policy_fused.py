"""The compiled path over rows and over decode steps, against the module it replaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from burnish.algos.recipes import recipe
from burnish.engine.embedded import EmbeddedEngine
from burnish.learner.learner import Learner, Optimization
from burnish.policy import fused_layer, kernels
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import PackedRows
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Key, Sample, Sampling, Tokens

COMMON = ["llama", "mistral", "qwen2", "qwen3"]
WIDE = {"hidden_size": 64, "head_dim": 32, "initializer_range": 0.1}

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")


def wide(family: str, compute: torch.dtype = torch.bfloat16, **changes: Any) -> Policy:
    """With biases and norms that matter: transformers starts them at 0 and 1."""
    one = tiny.policy(family, compute, **{**WIDE, **changes})
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in one.module.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.3)
    return one


def rows(seed: int, shapes: list[tuple[int, list[int]]]) -> list[Sample]:
    """Samples of problems with a prompt of so many tokens and completions of so many each."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = len(tiny.tokenizer())
    made = []
    for p, (prompt, lengths) in enumerate(shapes):
        head = torch.randint(9, vocabulary, (prompt,), generator=generator).tolist()
        for i, length in enumerate(lengths):
            own = torch.randint(9, vocabulary, (length,), generator=generator).tolist()
            tokens = Tokens.join(tuple(head), tuple(own), (-3.0,) * length)
            weight = 1.0 - 1.7 * i / max(1, len(lengths) - 1)
            advantages = tuple(weight if sampled else 0.0 for sampled in tokens.sampled)
            made.append(Sample(Key(f"p{p}", i), tokens, advantages, 0.0, 0, 0))
    return made


SHAPES = [(9, [3, 1, 12, 8]), (4, [5, 20]), (13, [2]), (1, [40, 1, 1])]


def gradients(policy: Policy, samples: list[Sample], budget: int, patch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The gradient of one update, before it is clipped."""
    learner = Learner(policy, Optimization(1e-3, 1, clip_norm=1e9, micro_batch_tokens=budget))
    taken: dict[str, Tensor] = {}

    def note() -> None:
        taken.update({n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None})

    patch.setattr(learner.optimizer, "step", note)
    learner.update(samples, recipe("grpo").objective, recipe("grpo").weigh)
    return taken


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    assert one.keys() == other.keys()
    return {name: float((one[name] - other[name]).norm() / (other[name].norm() + 1e-12)) for name in one}


@needs_kernels
@pytest.mark.parametrize("family", COMMON)
def test_it_serves_the_common_family_in_bfloat16(family: str) -> None:
    assert Fused.serves(wide(family))


@needs_kernels
@pytest.mark.parametrize(
    ("family", "compute", "changes"),
    [
        ("qwen3", torch.float32, {}),
        ("gemma2", torch.bfloat16, {}),
        ("olmo2", torch.bfloat16, {}),
        ("llama", torch.bfloat16, {"hidden_act": "gelu"}),
        ("llama", torch.bfloat16, {"mlp_bias": True}),
        ("llama", torch.bfloat16, {"attention_dropout": 0.1}),
        ("llama", torch.bfloat16, {"head_dim": 8}),
        ("qwen3", torch.bfloat16, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    ],
)
def test_what_it_does_not_know_is_left_to_the_module(
    family: str, compute: torch.dtype, changes: dict[str, Any]
) -> None:
    assert not Fused.serves(tiny.policy(family, compute, **{**WIDE, **changes}))


@needs_kernels
def test_without_kernels_the_module_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = wide("qwen3")
    monkeypatch.setattr(kernels, "library", lambda: None)
    assert not Fused.serves(policy)


@needs_kernels
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        *((family, {}) for family in COMMON),
        ("llama", {"attention_bias": True}),
        ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ("qwen3", {"attention_bias": True, "num_key_value_heads": 4}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    ],
)
def test_its_gradients_are_as_near_the_exact_ones_as_the_modules(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact is the module in float32. The bound is the module's own error in bfloat16, and half as much again."""
    samples = rows(0, SHAPES)
    fused = gradients(wide(family, **changes), samples, 4096, monkeypatch)
    exact = gradients(wide(family, torch.float32, **changes), samples, 4096, monkeypatch)
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    module = gradients(wide(family, **changes), samples, 4096, monkeypatch)
    ours, theirs = distance(fused, exact), distance(module, exact)
    worse = {name: (ours[name], theirs[name]) for name in ours if ours[name] > 1.5 * theirs[name] + 2e-3}
    assert not worse
    assert max(ours.values()) < 0.05


@needs_kernels
@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 15), min_size=1, max_size=5)), min_size=1, max_size=4
    ),
    st.integers(20, 400),
)
def test_any_split_gives_the_same_gradient(shapes: list[tuple[int, list[int]]], budget: int) -> None:
    samples = rows(1, shapes)
    with pytest.MonkeyPatch.context() as patch:
        split = gradients(wide("qwen3"), samples, budget, patch)
        whole = gradients(wide("qwen3"), samples, 1 << 20, patch)
    # The parts of a split are rounded to bfloat16 apart, so the sums differ by that much.
    assert max(distance(split, whole).values()) < 0.03


@needs_kernels
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_rows_that_share_a_prompt_are_those_of_rows_alone(temperature: float) -> None:
    learner = Learner(wide("qwen3"), Optimization(1e-3, 1), SamplingDistribution(temperature))
    listed = [sample.tokens for sample in rows(2, SHAPES)]
    together = learner.log_probs(listed)
    alone = [learner.log_probs([tokens])[0] for tokens in listed]
    gaps = [abs(a - b) for one, other in zip(together, alone, strict=True) for a, b in zip(one, other, strict=True)]
    assert max(gaps) < 1e-3  # products of other shapes may round differently; the kernels do not


@needs_kernels
def test_logits_too_many_to_keep_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = rows(3, SHAPES)
    kept = gradients(wide("qwen3"), samples, 4096, monkeypatch)
    monkeypatch.setattr("burnish.policy.fused.LOGITS_CHUNK", 7 * len(tiny.tokenizer()))
    chunked = gradients(wide("qwen3"), samples, 4096, monkeypatch)
    assert max(distance(chunked, kept).values()) < 0.01


def test_few_sizes_stand_for_all_and_waste_little() -> None:
    sizes = [fused_layer.rounded_up(count) for count in range(1, 8193)]
    assert (
        len(set(sizes)) == 31 + 16 + 16 + 1
    )  # multiples of 64, of 128 from 2,048 on, of 256 from 4,096 on, and 8,192 itself
    assert all(0 <= size - count < max(64, count / 16) for count, size in enumerate(sizes, 1))


@needs_kernels
@pytest.mark.parametrize("chunk", [1 << 24, 7 * 272, 80 * 272])
def test_padding_of_places_changes_no_gradient(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.policy.fused.LOGITS_CHUNK", chunk)
    samples = rows(3, SHAPES)
    padded = gradients(wide("qwen2"), samples, 60, monkeypatch)
    monkeypatch.setattr(fused_layer, "rounded_up", lambda count: count)
    bare = gradients(wide("qwen2"), samples, 60, monkeypatch)
    assert max(distance(padded, bare).values()) < 0.01  # products of other shapes may round differently


@needs_kernels
def test_what_stood_in_fresh_memory_reaches_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deterministic torch fills what it has not initialised with NaN."""
    samples = rows(3, SHAPES)
    plain = gradients(wide("qwen3"), samples, 60, monkeypatch)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        poisoned = gradients(wide("qwen3"), samples, 60, monkeypatch)
    finally:
        torch.use_deterministic_algorithms(False)
    assert max(distance(poisoned, plain).values()) < 1e-3


@needs_kernels
def test_padding_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding of an id that no row holds, 0 among them, touches nothing."""
    policy = wide("llama")
    with torch.no_grad():
        policy.module.get_input_embeddings().weight[0] = float("nan")
    taken = gradients(policy, rows(3, SHAPES), 60, monkeypatch)
    assert all(bool(grad.isfinite().all()) for grad in taken.values())


@needs_kernels
def test_nan_in_the_weights_reaches_the_loss() -> None:
    policy = wide("qwen3")
    with torch.no_grad():
        policy.module.model.layers[0].mlp.down_proj.weight[3, 3] = float("nan")
    scored = Learner(policy, Optimization(1e-3, 1)).log_probs([rows(4, [(3, [5])])[0].tokens])
    assert all(value != value for value in scored[0][3:])


@needs_kernels
@pytest.mark.parametrize("family", COMMON)
def test_its_samples_and_their_log_probabilities_are_the_modules(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = wide(family)
    requests = tiny.requests(tiny.prompts([3, 7, 11]), 8, Sampling(max_new=24, seed=1))
    fused = {c.key: c for c in EmbeddedEngine(policy, rows=5).generate(requests)}
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    module = {c.key: c for c in EmbeddedEngine(policy, rows=5).generate(requests)}
    assert fused.keys() == module.keys()
    gaps = []
    for key, one in fused.items():  # a draw may fall the other way where the rounding differs, and then the texts part
        other = module[key]
        until = next((i for i, pair in enumerate(zip(one.ids, other.ids, strict=False)) if pair[0] != pair[1]), 24)
        gaps += [abs(a - b) for a, b in zip(one.logprobs[:until], other.logprobs[:until], strict=True)]
    assert len(gaps) > 100
    assert max(gaps) < 0.1
    assert sum(gaps) / len(gaps) < 0.01


@needs_kernels
def test_new_weights_are_seen_by_the_next_call() -> None:
    policy = wide("qwen3")
    engine = EmbeddedEngine(policy)
    requests = tiny.requests(tiny.prompts([10]), 4, Sampling(max_new=24, seed=1))
    before = {c.key: c.ids for c in engine.generate(requests)}
    with torch.no_grad():
        policy.module.get_output_embeddings().weight.neg_()
    after = {c.key: c.ids for c in engine.generate(requests)}
    assert before != after


@needs_kernels
@pytest.mark.parametrize("length", [2, 3, 30, 100])
def test_the_engine_proves_its_weights_with_what_it_samples_with(length: int) -> None:
    """One path and one layout, so not even a rounding apart: a logit of 10 in bfloat16 stands 1/16 from the next."""
    policy = wide("qwen3")
    with torch.no_grad():
        policy.module.get_decoder().norm.weight.mul_(8.0)
    learner, engine = Learner(policy, Optimization(1e-3, 1)), EmbeddedEngine(policy)
    for one in tiny.prompts([length] * 20):
        canary = Tokens(one.ids, (False, *(True,) * (length - 1)), (0.0,) * length)
        version, logp = engine.prove(one.ids)
        assert version == 0
        assert tuple(logp) == learner.log_probs([canary])[0][1:]


@needs_kernels
@pytest.mark.parametrize("places", [[5], [11, 3, 3, 20, 0], [2] * 4 + list(range(24)), []])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_last_layer_computes_what_is_read_and_nothing_changes(places: list[int], checkpointing: bool) -> None:
    """States of some places, in any order and again, and the gradients of everything before them: as if all had been computed."""
    policy = wide("qwen2")
    policy.recompute_layers(checkpointing)
    ids = torch.tensor(tiny.prompts([24])[0].ids)
    spans = torch.tensor([[0, 0, 0, 9], [0, 9, 9, 10], [0, 9, 19, 5]], dtype=torch.int32)  # a prompt and two rows
    position = torch.cat([torch.arange(19), torch.arange(9, 14)])
    laid = PackedRows(ids, position, spans, torch.tensor([0, 3], dtype=torch.int32))
    chosen = torch.tensor(places, dtype=torch.int64)
    weight = torch.randn(len(places), 64, generator=torch.Generator().manual_seed(2))
    found = []
    for read in (True, False):
        policy.module.zero_grad()
        fused = Fused(policy)
        states = fused.hidden(laid, chosen) if read else fused.hidden(laid).index_select(0, chosen)
        (states * weight).sum().backward()  # type: ignore[no-untyped-call]
        found.append((states.detach(), [one.grad for one in policy.module.parameters()]))
    (ours, grads), (whole, expected) = found
    torch.testing.assert_close(ours, whole, rtol=0, atol=0 if fused_layer.OURS else 0.02)
    for one, other in zip(grads, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(other.abs().max()) + 1e-6)
