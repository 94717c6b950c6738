"""The embedded engine: what it draws, what it refuses, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.errors import EngineError
from burnish.learner.learner import Learner, Optimization
from burnish.policy.model import Policy
from burnish.records import Completion, Key, Request, Sampling, Tokens
from tiny import by_key, policy, prompt, prompts, requests, tokenizer

FREE = Sampling(max_new=12, stop_ids=tuple(range(5, 272, 16)), seed=5)
LENGTHS = (4, 9, 1, 6)


@pytest.fixture(scope="module")
def subject() -> Policy:
    return policy()


@pytest.fixture(scope="module")
def traces(subject: Policy) -> dict[Key, Completion]:
    """Four prompts, five samples each, all rows at once."""
    return by_key(EmbeddedEngine(subject, rows=64).generate(requests(prompts(LENGTHS), 5, FREE)))


def ids(completions: dict[Key, Completion]) -> dict[Key, tuple[int, ...]]:
    return {key: completion.ids for key, completion in completions.items()}


# ---- a trace is its own


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_a_trace_does_not_depend_on_the_row_slots(subject: Policy, traces: dict[Key, Completion], rows: int) -> None:
    drawn = by_key(EmbeddedEngine(subject, rows=rows).generate(requests(prompts(LENGTHS), 5, FREE)))
    assert ids(drawn) == ids(traces)


def test_a_trace_does_not_depend_on_the_order_of_the_requests(subject: Policy, traces: dict[Key, Completion]) -> None:
    backwards = requests(prompts(LENGTHS), 5, FREE)[::-1]
    assert ids(by_key(EmbeddedEngine(subject, rows=3).generate(backwards))) == ids(traces)


def test_a_trace_does_not_depend_on_interleaved_prompts(subject: Policy, traces: dict[Key, Completion]) -> None:
    listed = sorted(requests(prompts(LENGTHS), 5, FREE), key=lambda request: request.key.index)
    assert ids(by_key(EmbeddedEngine(subject, rows=3).generate(listed))) == ids(traces)


def test_a_trace_does_not_depend_on_who_else_is_in_the_batch(subject: Policy, traces: dict[Key, Completion]) -> None:
    for request in requests(prompts(LENGTHS), 5, FREE)[::3]:
        (alone,) = EmbeddedEngine(subject).generate([request])
        assert alone.ids == traces[request.key].ids


def test_a_trace_does_not_depend_on_the_prefill_budget(subject: Policy, traces: dict[Key, Completion]) -> None:
    engine = EmbeddedEngine(subject, options=Options(rows=64, prefill_tokens=1))
    assert ids(by_key(engine.generate(requests(prompts(LENGTHS), 5, FREE)))) == ids(traces)


def test_samples_of_one_prompt_differ(traces: dict[Key, Completion]) -> None:
    assert len({traces[Key("p1", i)].ids for i in range(5)}) == 5


def test_another_seed_gives_other_traces(subject: Policy, traces: dict[Key, Completion]) -> None:
    other = Sampling(max_new=12, stop_ids=FREE.stop_ids, seed=6)
    drawn = by_key(EmbeddedEngine(subject).generate(requests(prompts(LENGTHS), 5, other)))
    assert sum(drawn[key].ids == traces[key].ids for key in traces) <= 2


def test_another_version_gives_other_traces(subject: Policy, traces: dict[Key, Completion]) -> None:
    engine = EmbeddedEngine(subject)
    engine.load(subject.module, 7)
    drawn = by_key(engine.generate(requests(prompts(LENGTHS), 5, FREE)))
    assert sum(drawn[key].ids == traces[key].ids for key in traces) <= 2
    assert {(completion.oldest, completion.newest) for completion in drawn.values()} == {(7, 7)}


# ---- stops


def test_a_stop_token_ends_a_trace_and_is_its_last_id(traces: dict[Key, Completion]) -> None:
    for completion in traces.values():
        assert not set(completion.ids[:-1]) & set(FREE.stop_ids)
        assert (completion.stop == "eos") == (completion.ids[-1] in FREE.stop_ids)
    assert {completion.stop for completion in traces.values()} == {"eos", "length"}


def test_a_trace_without_a_stop_token_is_cut_at_max_new(traces: dict[Key, Completion]) -> None:
    assert {len(completion.ids) for completion in traces.values() if completion.stop == "length"} == {12}


def test_a_stop_token_drawn_last_of_all_is_an_end_and_no_cut(subject: Policy) -> None:
    sampling = Sampling(max_new=1, stop_ids=tuple(range(len(tokenizer()))))
    (one,) = EmbeddedEngine(subject).generate(requests(prompts([4]), 1, sampling))
    assert (one.stop, len(one.ids)) == ("eos", 1)


def test_one_new_token_needs_no_decoding(subject: Policy) -> None:
    drawn = by_key(EmbeddedEngine(subject, rows=2).generate(requests(prompts(LENGTHS), 5, Sampling(max_new=1))))
    assert [len(completion.ids) for completion in drawn.values()] == [1] * 20


def test_logprobs_are_one_a_token(traces: dict[Key, Completion]) -> None:
    assert all(len(completion.logprobs) == len(completion.ids) for completion in traces.values())
    assert all(value < 0.0 for completion in traces.values() for value in completion.logprobs)


def test_text_leaves_the_stop_token_out(subject: Policy) -> None:
    end = tokenizer().eos_token_id
    everything = Sampling(max_new=30, stop_ids=(end,), seed=1)
    for completion in EmbeddedEngine(subject).generate(requests(prompts([4, 5, 6]), 20, everything)):
        shown = [i for i in completion.ids if i != end]
        assert completion.text == tokenizer().decode(shown, skip_special_tokens=True)


def test_a_prompt_and_its_longest_answer_may_fill_the_context(subject: Policy) -> None:
    (one,) = EmbeddedEngine(subject).generate(requests(prompts([100]), 1, Sampling(temperature=0.0, max_new=28)))
    assert len(one.ids) == 28


# ---- refusals


def refusal(subject: Policy, listed: list[Request]) -> str:
    with pytest.raises(EngineError) as caught:
        list(EmbeddedEngine(subject).generate(listed))
    return str(caught.value)


def test_a_prompt_that_leaves_no_room_is_refused(subject: Policy) -> None:
    said = refusal(subject, requests(prompts([4, 101]), 1, Sampling(max_new=28)))
    assert "p1 has 101 tokens" in said
    assert "max_new = 28" in said
    assert "context of 128" in said


def test_an_empty_prompt_is_refused(subject: Policy) -> None:
    assert "p9 is empty" in refusal(subject, requests([prompt("p9", ())], 1, FREE))


def test_mixed_sampling_is_refused(subject: Policy) -> None:
    (one,), (other,) = requests(prompts([4]), 1, FREE), requests([prompt("q", (20,))], 1, Sampling())
    assert "share their Sampling" in refusal(subject, [one, other])


def test_a_key_given_twice_is_refused(subject: Policy) -> None:
    with pytest.raises(ValueError, match="two requests share the key"):
        list(EmbeddedEngine(subject).generate(requests(prompts([4]), 1, FREE) * 2))


def test_a_refusal_leaves_the_module_training(subject: Policy) -> None:
    subject.module.train()
    with pytest.raises(ValueError):
        list(EmbeddedEngine(subject).generate(requests(prompts([4]), 1, FREE) * 2))
    assert subject.module.training


def test_no_requests_give_no_completions(subject: Policy) -> None:
    assert list(EmbeddedEngine(subject).generate([])) == []


def test_other_weights_cannot_be_loaded(subject: Policy) -> None:
    with pytest.raises(EngineError, match="cannot load other weights"):
        EmbeddedEngine(subject).load(policy().module, 1)


def test_a_family_with_its_own_attention_is_refused() -> None:
    own = policy()
    own.module.config._attn_implementation = "eager"
    with pytest.raises(EngineError, match="Qwen3ForCausalLM"):
        EmbeddedEngine(own)


# ---- what is left behind


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_in_the_mode_it_was_in(subject: Policy, training: bool) -> None:
    subject.module.train(training)
    list(EmbeddedEngine(subject).generate(requests(prompts([4]), 2, FREE)))
    assert subject.module.training is training


@pytest.fixture(scope="module")
def rounded() -> Policy:
    return policy("qwen3", torch.bfloat16)


def unfinished(rounded: Policy) -> Iterator[Completion]:
    rounded.module.train()
    return EmbeddedEngine(rounded, rows=3).generate(requests(prompts(LENGTHS), 5, FREE))


def test_autocast_and_inference_mode_are_off_for_the_consumer(rounded: Policy) -> None:
    for _ in unfinished(rounded):
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()


def test_closing_early_leaves_everything_as_it_was(rounded: Policy) -> None:
    stream = unfinished(rounded)
    next(stream)
    stream.close()
    assert rounded.module.training
    assert not torch.is_autocast_enabled("cpu")


def test_the_consumer_may_train_between_two_completions(rounded: Policy) -> None:
    """Nothing the engine computed for itself, such as a weight cast to bfloat16, may reach another's graph."""
    stream = unfinished(rounded)
    next(stream)
    ids_BT = torch.tensor([[20, 30, 40, 50]])
    rounded.module.zero_grad()
    with rounded.precision():
        rounded.logits(rounded.hidden(ids_BT)[0]).float().logsumexp(-1).sum().backward()
    missing = [name for name, weight in rounded.module.named_parameters() if weight.grad is None]
    rounded.module.zero_grad()
    stream.close()
    assert missing == []


def test_a_stream_left_open_does_not_make_later_weights_stale() -> None:
    own = policy("qwen3", torch.bfloat16)
    stream = unfinished(own)
    next(stream)
    learner = Learner(own, Optimization(1e-2, 1))
    row = Tokens((20, 30, 40), (False, True, True), (0.0, 0.0, 0.0))
    learner.log_probs([row])
    with torch.no_grad():
        for weight in own.module.parameters():
            weight.mul_(0.5)
    meanwhile = learner.log_probs([row])
    stream.close()
    assert meanwhile == learner.log_probs([row])


def test_the_global_generator_is_not_touched(subject: Policy) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(EmbeddedEngine(subject).generate(requests(prompts([4]), 2, FREE)))
    assert torch.equal(before, torch.get_rng_state())


# ---- prompts are prefilled once


def test_a_prompt_is_prefilled_once_for_all_its_samples(subject: Policy) -> None:
    engine = EmbeddedEngine(subject, rows=3)
    drawn = list(engine.generate(requests(prompts(LENGTHS), 5, FREE)))
    assert engine.tokens_prefilled == sum(LENGTHS) == 20
    assert engine.tokens_sampled == sum(len(completion.ids) for completion in drawn)


def test_on_token_sees_every_token_of_its_key(subject: Policy) -> None:
    said: dict[Key, list[int]] = {}
    engine = EmbeddedEngine(subject, rows=3)
    listed = requests(prompts(LENGTHS), 3, FREE)
    drawn = by_key(engine.generate(listed, lambda key, token: said.setdefault(key, []).append(token)))
    assert {key: tuple(tokens) for key, tokens in said.items()} == ids(drawn)


def test_proof_is_the_version_and_the_learners_log_probabilities(subject: Policy) -> None:
    engine = EmbeddedEngine(subject)
    engine.load(subject.module, 4)
    canary = (20, 30, 40, 50)
    version, logp = engine.prove(canary)
    (own,) = Learner(subject, Optimization(1e-3, 1)).log_probs([Tokens(canary, (False, True, True, True), (0.0,) * 4)])
    assert version == 4
    assert logp == pytest.approx(own[1:], abs=1e-5)
