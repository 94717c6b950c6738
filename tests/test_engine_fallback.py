"""The engine over transformers' generate: our draws, our seeds, our stops, and nothing of the model's own sampling settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.fallback import FallbackEngine
from burnish.errors import EngineError
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Completion, Key, Sampling
from tiny import by_key, policy, prompts, requests

LENGTHS = (3, 9, 3, 12)
STOPS = tuple(range(5, 272, 16))
FREE = Sampling(max_new=12, stop_ids=STOPS, seed=3)


@pytest.fixture(scope="module")
def subject() -> Policy:
    """A family both engines serve, so that one can be held to the other."""
    return policy("qwen3", initializer_range=0.1, tie_word_embeddings=False)


def both(subject: Policy, sampling: Sampling) -> tuple[dict[Key, Completion], dict[Key, Completion]]:
    listed = requests(prompts(LENGTHS), 3, sampling)
    return by_key(FallbackEngine(subject).generate(listed)), by_key(EmbeddedEngine(subject).generate(listed))


@pytest.mark.parametrize(
    "changes",
    [{}, {"temperature": 0.7}, {"temperature": 0.0}, {"top_p": 0.8}, {"top_k": 5}],
    ids=lambda changes: next(iter(changes), "plain"),
)
def test_it_draws_what_the_embedded_engine_draws(subject: Policy, changes: dict[str, Any]) -> None:
    fallback, embedded = both(subject, Sampling(max_new=12, stop_ids=STOPS, seed=3, **changes))
    assert {key: (one.ids, one.stop, one.text) for key, one in fallback.items()} == {
        key: (one.ids, one.stop, one.text) for key, one in embedded.items()
    }
    for key, one in fallback.items():
        assert one.logprobs == pytest.approx(embedded[key].logprobs, abs=1e-4)
    assert {one.stop for one in fallback.values()} == {"eos", "length"}


def test_log_probabilities_are_of_the_distribution_sampled(subject: Policy) -> None:
    """By hand: of the cut and tempered softmax, for every token of a row."""
    sampling = Sampling(temperature=0.8, top_k=4, max_new=6, seed=1)
    ((given,), (one,)) = (prompts([7]), FallbackEngine(subject).generate(requests(prompts([7]), 1, sampling)))
    with torch.inference_mode(), subject.evaluating():
        logits_CV = subject.logits(subject.hidden(torch.tensor([given.ids + one.ids]))[0, 6:-1])
    expected = SamplingDistribution(0.8, 1.0, 4).log_probs(logits_CV).gather(-1, torch.tensor(one.ids)[:, None])[:, 0]
    assert one.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_settings_that_came_with_the_model_do_not_reach_a_rollout(subject: Policy) -> None:
    plain, _ = both(subject, FREE)
    own = subject.module.generation_config
    subject.module.generation_config = GenerationConfig(
        do_sample=True, top_k=1, repetition_penalty=9.0, min_new_tokens=12, suppress_tokens=[40], eos_token_id=7
    )
    try:
        assert both(subject, FREE)[0] == plain
        assert subject.module.generation_config.top_k == 1  # and stay with the model
    finally:
        subject.module.generation_config = own


def test_its_own_attention_is_back_when_it_is_done(subject: Policy) -> None:
    both(subject, FREE)
    assert subject.lays_out


def test_every_token_is_shown_as_it_is_drawn_and_none_after_the_end(subject: Policy) -> None:
    seen: dict[Key, list[int]] = {}
    listed = requests(prompts(LENGTHS), 3, FREE)
    drawn = by_key(FallbackEngine(subject).generate(listed, lambda key, token: seen.setdefault(key, []).append(token)))
    assert {key: tuple(ids) for key, ids in seen.items()} == {key: one.ids for key, one in drawn.items()}


def test_versions_and_counts(subject: Policy) -> None:
    engine = FallbackEngine(subject, rows=2)
    engine.load(subject.module, 7)
    drawn = by_key(engine.generate(requests(prompts(LENGTHS), 3, FREE)))
    assert {(one.oldest, one.newest) for one in drawn.values()} == {(7, 7)}
    assert engine.tokens_sampled == sum(len(one.ids) for one in drawn.values())
    assert engine.tokens_prefilled == 3 * sum(LENGTHS)  # the cost its notice speaks of


def test_another_version_draws_other_noise(subject: Policy) -> None:
    first, _ = both(subject, FREE)
    engine = FallbackEngine(subject)
    engine.load(subject.module, 1)
    second = by_key(engine.generate(requests(prompts(LENGTHS), 3, FREE)))
    assert any(first[key].ids != second[key].ids for key in first)


def test_other_weights_cannot_be_loaded(subject: Policy) -> None:
    with pytest.raises(EngineError, match="cannot load other weights"):
        FallbackEngine(subject).load(policy().module, 1)


def test_mixed_settings_and_prompts_without_room_are_refused(subject: Policy) -> None:
    engine = FallbackEngine(subject)
    mixed = [*requests(prompts([4]), 1, FREE), *requests(prompts([5, 6])[1:], 1, Sampling(max_new=3))]
    with pytest.raises(EngineError, match="share their Sampling"):
        list(engine.generate(mixed))
    with pytest.raises(EngineError, match="does not fit the model's context of 128"):
        list(engine.generate(requests(prompts([120]), 1, FREE)))
    with pytest.raises(ValueError, match="two requests share the key"):
        list(engine.generate(requests(prompts([4]), 1, FREE) * 2))
    assert list(engine.generate([])) == []
