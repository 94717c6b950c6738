"""The embedded engine against transformers' own generation, and against the learner that trains on its rollouts."""

from __future__ import annotations

import pytest
import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.learner.learner import Learner, Optimization
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Sampling
from tiny import FAMILIES, by_key, eager, joined, policy, prompts, requests

LENGTHS = (3, 17, 1, 9, 12)
TIGHT = Options(rows=4, prefill_tokens=24, page=16)
STOPS = tuple(range(5, 272, 16))  # many, so that rows end at different times and their slots are used again


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_is_transformers_own_token_for_token(family: str) -> None:
    subject = policy(family)
    given = prompts(LENGTHS)
    sampling = Sampling(temperature=0.0, max_new=24, stop_ids=STOPS)
    drawn = by_key(EmbeddedEngine(subject, options=TIGHT).generate(requests(given, 3, sampling)))
    own = eager(subject)
    for one in given:
        ids = torch.tensor([one.ids])
        mask = torch.ones_like(ids)
        kwargs = {"do_sample": False, "max_new_tokens": 24, "eos_token_id": list(STOPS), "pad_token_id": 0}
        expected = own.generate(ids, attention_mask=mask, **kwargs)[0, len(one.ids) :].tolist()
        for i in range(3):
            assert list(drawn[(one.problem_id, i)].ids) == expected, (family, one.problem_id, i)
    assert len({len(completion.ids) for completion in drawn.values()}) > 1, "the rows should end at different times"
    assert max(len(set(completion.ids)) for completion in drawn.values()) > 5, "the traces should say something"


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_the_learners_in_float32(family: str) -> None:
    subject = policy(family)
    listed = requests(prompts(LENGTHS), 3, Sampling(temperature=0.8, max_new=24, stop_ids=STOPS, seed=3))
    drawn = by_key(EmbeddedEngine(subject, options=TIGHT).generate(listed))
    rows = joined(listed, drawn)
    learner = Learner(subject, Optimization(1e-3, 1, micro_batch_tokens=100), SamplingDistribution(0.8))
    scored = learner.log_probs(rows)
    worst = max(
        abs(a - b) for row, own in zip(rows, scored, strict=True) for a, b in zip(row.logprobs, own, strict=True)
    )
    assert worst < 1e-4


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gemma3_text", "mistral", "phi3"])
def test_the_traces_are_long_enough_for_the_window_to_tell(family: str) -> None:
    """The parity above would prove nothing about windows if a model without one said the same."""
    subject = policy(family)
    wide = policy(family, sliding_window=128)
    wide.module.load_state_dict(subject.module.state_dict())
    listed = requests(prompts(LENGTHS), 1, Sampling(temperature=0.0, max_new=24))
    narrow, plain = (by_key(EmbeddedEngine(one).generate(listed)) for one in (subject, wide))
    assert any(narrow[key].ids != plain[key].ids for key in narrow)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_the_gap_to_the_learner_stays_small(family: str) -> None:
    """On average, in nats; the traces are far from certain, so that there is something to be off by."""
    subject = policy(family, torch.bfloat16, initializer_range=0.1, tie_word_embeddings=False)
    listed = requests(prompts(LENGTHS), 8, Sampling(max_new=24, seed=3))
    rows = joined(listed, by_key(EmbeddedEngine(subject, rows=16).generate(listed)))
    scored = Learner(subject, Optimization(1e-3, 1)).log_probs(rows)
    pairs = [
        (row.logprobs[t], own[t]) for row, own in zip(rows, scored, strict=True) for t in range(len(own)) if own[t]
    ]
    assert sum(sampler for sampler, _ in pairs) / len(pairs) < -0.5
    assert 0.0 < sum(abs(sampler - learner) for sampler, learner in pairs) / len(pairs) < 0.02
