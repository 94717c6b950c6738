"""A policy: its logits and log-probabilities, made from scratch, saved and loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from burnish.errors import ConfigError, EngineError, ModelError
from burnish.policy import model
from burnish.policy.model import Policy, from_scratch, load
from burnish.policy.sampling import SamplingDistribution
from burnish.policy.tokenizer import PLAIN_TEMPLATE
from tiny import FAMILIES, eager, policy, tokenizer

IDS = torch.tensor([[20, 30, 40, 50, 60, 70, 80, 90, 100, 110]])
SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def logits(one: Policy) -> torch.Tensor:
    with torch.inference_mode():
        return one.logits(one.hidden(IDS)[0])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_models_own(family: str, tied: bool) -> None:
    """Decoder, head and the family's scalings, with our attention, against the family's own forward pass."""
    subject = policy(family, tie_word_embeddings=tied)
    with torch.inference_mode():
        own = eager(subject)(input_ids=IDS).logits[0]
    assert torch.allclose(logits(subject), own, atol=1e-4)


def test_padding_on_the_right_changes_nothing() -> None:
    subject = policy()
    padded = torch.cat([IDS, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    with torch.inference_mode():
        first = subject.logits(subject.hidden(padded)[0, :10])
    assert torch.allclose(first, logits(subject), atol=1e-5)


# ---- log-probabilities


def scored(subject: Policy, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = subject.hidden(IDS)[0, :-1]
    return subject.log_probs_of(hidden, IDS[0, 1:], SamplingDistribution(temperature))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_tempered_softmax(temperature: float) -> None:
    subject = policy()
    expected = (logits(subject)[:-1].double() / temperature).log_softmax(-1)
    logp, _ = scored(subject, temperature)
    assert torch.allclose(logp.double(), expected.gather(-1, IDS[0, 1:, None])[:, 0], atol=1e-5)


def test_entropies_are_in_nats_and_carry_no_gradient() -> None:
    subject = policy()
    spread = logits(subject)[:-1].double().log_softmax(-1)
    _, entropy = scored(subject)
    assert torch.allclose(entropy.double(), -(spread.exp() * spread).sum(-1), atol=1e-5)
    assert not entropy.requires_grad


@pytest.mark.parametrize("rows", [1, 2, 4, 9])
def test_log_probabilities_in_chunks_are_the_same_with_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Nine predictions in chunks of `rows`."""
    subject = policy()
    whole, whole_entropy = scored(subject)
    subject.module.zero_grad()
    whole.sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in subject.module.named_parameters()}
    monkeypatch.setattr(model, "LOGITS_CHUNK", rows * len(tokenizer()))
    parts, parts_entropy = scored(subject)
    subject.module.zero_grad()
    parts.sum().backward()
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.allclose(whole_entropy, parts_entropy, atol=1e-6)
    for name, weight in subject.module.named_parameters():
        assert torch.allclose(weight.grad, gradients[name], atol=1e-5), name


def test_a_truncated_distribution_is_not_scored() -> None:
    subject = policy()
    with pytest.raises(EngineError, match="truncated"):
        subject.log_probs_of(subject.hidden(IDS)[0], IDS[0], SamplingDistribution(top_p=0.9))


# ---- from scratch


def weights(one: Policy) -> dict[str, torch.Tensor]:
    return dict(one.module.state_dict())


def test_the_same_seed_gives_the_same_weights() -> None:
    one, other = (weights(from_scratch(tokenizer(), SHAPE, seed=3)) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_other_weights() -> None:
    one, other = (weights(from_scratch(tokenizer(), SHAPE, seed=seed)) for seed in (3, 4))
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    from_scratch(tokenizer(), SHAPE, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_vocabulary_and_named_tokens_come_from_the_tokenizer() -> None:
    config = from_scratch(tokenizer(), SHAPE).module.config
    assert (config.vocab_size, config.eos_token_id, config.pad_token_id) == (
        len(tokenizer()),
        tokenizer().eos_token_id,
        tokenizer().pad_token_id,
    )


def test_a_shape_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.shape"):
        from_scratch(tokenizer(), {**SHAPE, "model_type": "qwen33"})


def test_context_parameters_and_stops() -> None:
    subject = from_scratch(tokenizer(), SHAPE)
    assert subject.context == 64
    assert subject.parameters == sum(weight.numel() for weight in subject.module.parameters())
    assert subject.stop_ids == (tokenizer().eos_token_id,)


def test_every_stop_token_of_the_generation_config_counts() -> None:
    subject = from_scratch(tokenizer(), SHAPE)
    subject.module.generation_config.eos_token_id = [7, 3]
    assert subject.stop_ids == tuple(sorted({3, 7, tokenizer().eos_token_id}))


# ---- saved and loaded


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    from_scratch(tokenizer(), SHAPE, "float32", seed=3).save(folder)
    return folder


def test_transformers_reads_back_what_was_saved(saved: Path) -> None:
    subject = from_scratch(tokenizer(), SHAPE, "float32", seed=3)
    with torch.inference_mode():
        read = AutoModelForCausalLM.from_pretrained(saved)(input_ids=IDS).logits[0]
    assert torch.allclose(read, logits(subject), atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_policy_loads_as_it_was_saved(tmp_path: Path, tied: bool) -> None:
    subject = from_scratch(tokenizer(), {**SHAPE, "tie_word_embeddings": tied}, "float32")
    subject.save(tmp_path)
    read = load(str(tmp_path), "float32")
    assert torch.equal(logits(read), logits(subject))
    assert (
        read.tokenizer("a 3, b add 5.<answer>8</answer>").input_ids
        == tokenizer()("a 3, b add 5.<answer>8</answer>").input_ids
    )
    assert read.tokenizer.chat_template == tokenizer().chat_template
    assert (read.stop_ids, read.context, read.compute) == (subject.stop_ids, 64, torch.float32)


def test_saving_says_nothing_on_the_console(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(str(saved))
    assert capfd.readouterr() == ("", "")


def refusal(name: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(name)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(str(tmp_path / "nowhere"))


def test_a_folder_without_a_config(damaged: Path) -> None:
    (damaged / "config.json").unlink()
    assert "no config.json" in refusal(str(damaged))


def test_a_folder_without_a_tokenizer(damaged: Path) -> None:
    for file in damaged.glob("tokenizer*"):
        file.unlink()
    assert "holds no tokenizer" in refusal(str(damaged))


def test_a_tokenizer_without_an_end_token(damaged: Path) -> None:
    path = damaged / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
    assert "no end-of-sequence token" in refusal(str(damaged))


def test_a_folder_without_weights(damaged: Path) -> None:
    (damaged / "model.safetensors").unlink()
    assert "cannot be loaded" in refusal(str(damaged))


def test_weights_that_were_cut_off(damaged: Path) -> None:
    path = damaged / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "cannot be loaded" in refusal(str(damaged))


def test_weights_that_do_not_fill_the_network(damaged: Path) -> None:
    path = damaged / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}))
    said = refusal(str(damaged))
    assert "lacks 11 of its weights" in said
    assert "model.layers.2." in said


def test_a_config_that_is_not_json(damaged: Path) -> None:
    (damaged / "config.json").write_text("{")
    assert "config.json is no whole JSON file" in refusal(str(damaged))


def test_a_config_of_a_family_nobody_knows(damaged: Path) -> None:
    path = damaged / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "qwen33"}))
    assert "cannot be loaded" in refusal(str(damaged))


def test_a_model_without_a_chat_template_gets_the_plain_one(damaged: Path) -> None:
    (damaged / "chat_template.jinja").unlink()
    assert load(str(damaged)).tokenizer.chat_template == PLAIN_TEMPLATE


# ---- the tokenizer


@pytest.mark.parametrize("text", ["a 3, b add 5.", "<think>x</think><answer>-12</answer>", "naïve ∑ 日本 \n\t  end"])
def test_any_text_round_trips(text: str) -> None:
    assert tokenizer().decode(tokenizer()(text).input_ids) == text


def test_digits_stand_alone_and_tags_are_single_tokens() -> None:
    ids = tokenizer()("<answer>123</answer>").input_ids
    assert [tokenizer().decode([i]) for i in ids] == ["<answer>", "1", "2", "3", "</answer>"]


def test_the_vocabulary_is_at_most_as_large_as_asked() -> None:
    assert len(tokenizer()) <= 272


def test_a_missing_folder_beside_others_is_not_taken_for_a_hub_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="runs/missing does not exist"):
        load("runs/missing")
