"""Every family from its folder to a trained model and back: loaded, prompted, sampled, trained, saved, loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import families
from burnish.engine.choice import engine_for, notices
from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.fallback import FallbackEngine
from burnish.errors import EngineError, ModelError
from burnish.learner.learner import Learner, Optimization
from burnish.policy import kernels
from burnish.policy.model import Policy, load
from burnish.prompts import Renderer
from burnish.records import Key, Message, Problem, Sample, Sampling, Tokens
from tiny import by_key, joined, requests

FAMILIES = list(families.FAMILIES)
TRANSFORMERS = ("gpt-oss", "DeepSeek V3", "Qwen3-Next", "Qwen3.5", "Falcon-H1", "Bamba", "Granite 4", "Jamba", "LFM2")
TRANSFORMERS += ("OLMo hybrid", "Mamba", "Mamba 2", "RecurrentGemma", "RWKV")
QUESTIONS = ("Add 3 and 5.", "What is 12 times 7?", "Add 3 and 6.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = families.write(name, tmp_path_factory.mktemp("families") / "model")
        return made[name]

    return find


def problem(number: int, question: str) -> Problem:
    return Problem(f"p{number}", "t", question, {}, "train", "")


def asked(policy: Policy, samples: int, max_new: int = 10) -> list[Any]:
    renderer = Renderer(policy.tokenizer)
    given = [renderer.prompt(problem(i, text), (Message("user", text),)) for i, text in enumerate(QUESTIONS)]
    return requests(given, samples, Sampling(max_new=max_new, stop_ids=renderer.stop_ids(policy.stop_ids), seed=5))


def pull(fields: Any) -> tuple[Any, dict[str, Any]]:
    return -(fields.weight_N * fields.advantage_N * fields.logp_N).sum(), {}


def train(policy: Policy, rows: list[Any], keys: list[Key]) -> Learner:
    """One optimizer step that makes every second row likelier and the others less likely."""
    learner = Learner(policy, Optimization(1e-2, 1, micro_batch_tokens=256))
    signs = [1.0 if number % 2 else -1.0 for number in range(len(rows))]
    samples = [
        Sample(key, tokens, tuple(sign * s for s in tokens.sampled), sign, 0, 0)
        for key, tokens, sign in zip(keys, rows, signs, strict=True)
    ]
    learner.update(samples, pull, lambda part: {sample.origin: 0.1 for sample in part})
    return learner


def worst_gap(rows: list[Any], scored: list[tuple[float, ...]]) -> float:
    return max(
        abs(a - b) for row, own in zip(rows, scored, strict=True) for a, b in zip(row.logprobs, own, strict=True)
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_from_its_folder_to_a_trained_model_and_back(name: str, folder: Any, tmp_path: Path) -> None:
    policy = load(str(folder(name)), "float32")
    engine = engine_for(policy, rows=4)
    assert isinstance(engine, FallbackEngine if name in TRANSFORMERS else EmbeddedEngine)
    listed = asked(policy, 2)
    drawn = by_key(engine.generate(listed))
    rows = joined(listed, drawn)
    before = Learner(policy, Optimization(1e-2, 1)).log_probs(rows)
    assert worst_gap(rows, before) < 1e-4  # what was sampled is what is scored
    assert [row.ids[: len(request.prompt.ids)] for row, request in zip(rows, listed, strict=True)] == [
        request.prompt.ids for request in listed
    ]
    learner = train(policy, rows, [request.key for request in listed])
    after = learner.log_probs(rows)
    moved = [sum(late) - sum(early) for early, late in zip(before, after, strict=True)]
    assert sum(moved[1::2]) > sum(moved[::2])  # towards what was asked for
    engine.load(policy.module, 1)
    version, proved = engine.prove(listed[0].prompt.ids)
    ids = listed[0].prompt.ids
    canary = Tokens(ids, (False, *(True,) * (len(ids) - 1)), (0.0,) * len(ids))
    assert version == 1 and proved == pytest.approx(learner.log_probs([canary])[0][1:], abs=1e-4)
    again = joined(listed, by_key(engine.generate(listed)))
    assert worst_gap(again, learner.log_probs(again)) < 1e-4  # and so it is with the new weights
    policy.save(tmp_path / "saved")
    reloaded = load(str(tmp_path / "saved"), "float32")
    row_1L = torch.tensor([rows[0].ids])
    with torch.inference_mode(), policy.evaluating():
        assert torch.equal(policy.logits(policy.hidden(row_1L)[0]), reloaded.logits(reloaded.hidden(row_1L)[0]))
    assert reloaded.tokenizer.chat_template == policy.tokenizer.chat_template
    assert reloaded.stop_ids == policy.stop_ids


@pytest.mark.parametrize("name", FAMILIES)
def test_in_bfloat16_the_gap_to_the_learner_stays_small(name: str, folder: Any) -> None:
    policy = load(str(folder(name)), "bfloat16")
    listed = asked(policy, 4)
    rows = joined(listed, by_key(engine_for(policy, rows=16).generate(listed)))
    scored = Learner(policy, Optimization(1e-3, 1)).log_probs(rows)
    gaps = [
        abs(row.logprobs[t] - own[t])
        for row, own in zip(rows, scored, strict=True)
        for t in range(len(own))
        if row.sampled[t]
    ]
    assert sum(gaps) / len(gaps) < 0.02
    train(policy, rows, [request.key for request in listed])


@pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_of_the_page_says_what_is_chosen(name: str, folder: Any) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "models.md"
    assert families.row(name, load(str(folder(name)), "bfloat16")) in page.read_text().splitlines()


@pytest.mark.parametrize("name", ["Qwen3", "Gemma 3", "Falcon-H1", "RWKV"])
def test_a_trace_depends_on_its_own_seed_alone(name: str, folder: Any) -> None:
    """The same request gives the same trace, whoever else is sampled beside it."""
    policy = load(str(folder(name)), "float32")
    listed = asked(policy, 3)
    together = by_key(engine_for(policy, rows=8).generate(listed))
    for request in listed[::4]:
        (alone,) = engine_for(policy, rows=2).generate([request])
        assert alone.ids == together[request.key].ids


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_family_that_transformers_samples_says_what_it_costs(name: str, folder: Any) -> None:
    policy = load(str(folder(name)), "float32")
    (sentence,) = notices(engine_for(policy))
    assert policy.family in sentence and "computed once for each of its answers" in sentence
    assert ("one by one" in sentence) is (name == "RWKV")


def test_the_embedded_engine_costs_nothing_to_speak_of(folder: Any) -> None:
    assert notices(engine_for(load(str(folder("Qwen3")), "float32"))) == ()


def test_a_model_that_does_not_say_the_same_twice_is_refused(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import MambaForCausalLM

    real, calls = MambaForCausalLM.forward, []

    def drifting(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = real(self, *args, **kwargs)
        calls.append(None)
        output.logits = output.logits + 0.01 * len(calls)
        return output

    monkeypatch.setattr(MambaForCausalLM, "forward", drifting)
    with pytest.raises(ModelError, match="does not say the same twice"):
        load(str(folder("Mamba")), "float32")


def test_a_family_whose_cached_pass_is_wrong_is_refused(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NemotronH's is in transformers 5.23: the engine's draws are compared with one pass of the module."""
    policy = load(str(folder("Mamba")), "float32")
    real = type(policy.module).forward

    def wrong(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = real(self, *args, **kwargs)
        output.logits = output.logits * 1.5
        return output

    monkeypatch.setattr(type(policy.module), "forward", wrong)
    with pytest.raises(EngineError, match=r"MambaForCausalLM cannot be sampled: .* nats off"):
        engine_for(policy)


def test_a_family_whose_layers_pass_our_attention_by_is_given_its_own(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its classes claim the interface, but the window never reaches us: its own attention, one row a sequence, transformers' generate."""
    from transformers.models.mistral import modeling_mistral

    real = modeling_mistral.MistralAttention.forward

    def windowless(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation != "burnish":
            return real(self, *args, **kwargs)
        window, self.config.sliding_window = self.config.sliding_window, None
        try:
            return real(self, *args, **kwargs)
        finally:
            self.config.sliding_window = window

    monkeypatch.setattr(modeling_mistral.MistralAttention, "forward", windowless)
    policy = load(str(folder("Mistral")), "float32")
    assert not policy.lays_out and isinstance(engine_for(policy), FallbackEngine)
