"""Every family from its folder to a trained model and back: loaded, prompted, sampled, trained, saved, loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import families
from burnish.engine.choice import engine_for, notices
from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.fallback import FallbackEngine
from burnish.errors import EngineError, ModelError
from burnish.policy import kernels
from burnish.policy.model import load
from family_round import asked, mean_gap, round_trip
from tiny import by_key

FAMILIES = list(families.FAMILIES)
TRANSFORMERS = ("gpt-oss", "DeepSeek V3", "Qwen3-Next", "Qwen3.5", "Falcon-H1", "Bamba", "Granite 4", "Jamba", "LFM2")
TRANSFORMERS += ("OLMo hybrid", "Mamba", "Mamba 2", "RecurrentGemma", "RWKV")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = families.write(name, tmp_path_factory.mktemp("families") / "model")
        return made[name]

    return find


@pytest.mark.parametrize("name", FAMILIES)
def test_from_its_folder_to_a_trained_model_and_back(name: str, folder: Any, tmp_path: Path) -> None:
    found = round_trip(load(str(folder(name)), "float32"), tmp_path / "saved")
    assert isinstance(found.engine, FallbackEngine if name in TRANSFORMERS else EmbeddedEngine)
    assert found.prompts_kept
    assert found.gap < 1e-4  # what was sampled is what is scored
    assert found.learned > 0  # towards what was asked for
    assert found.version == 1 and found.proof_gap < 1e-4
    assert found.gap_after < 1e-4  # and so it is with the new weights
    assert found.same_logits and found.same_words and found.whole


@pytest.mark.parametrize("name", FAMILIES)
def test_in_bfloat16_the_gap_to_the_learner_stays_small(name: str, folder: Any) -> None:
    assert mean_gap(load(str(folder(name)), "bfloat16")) < 0.02


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
