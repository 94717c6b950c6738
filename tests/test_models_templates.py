"""Chat templates as real ones are shaped: what is rendered, where a turn ends, and that the ids sampled from are the ids trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

import families
from burnish.engine.choice import engine_for
from burnish.errors import ConfigError, DataError, ModelError
from burnish.learner.batch import batches
from burnish.policy.model import Policy
from burnish.policy.tokenizer import plain_template
from burnish.prompts import Renderer, response
from burnish.records import Key, Message, Problem, Request, Sample, Sampling, Tokens
from families import TEMPLATES, words

PROBLEM = Problem("p", "t", "Add 3 and 5.", {}, "train", "")
ASKED = (Message("user", "Add 3 and 5."),)
OPENING = ("Qwen3 thinking", "DeepSeek-R1")


@cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """As the policy's loader hands it on: with the plain template where there is none."""
    made = words(TEMPLATES[name])
    if not made.chat_template:
        made.chat_template = plain_template(made)
    return made


def rendered(name: str, **wanted: object) -> str:
    return Renderer(tokenizer(name), **wanted).prompt(PROBLEM, ASKED).text  # type: ignore[arg-type]


# ---- what a prompt is


PROMPTS = {
    "ChatML": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAdd 3 and 5.<|im_end|>\n<|im_start|>assistant\n",
    "Qwen3": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAdd 3 and 5.<|im_end|>\n<|im_start|>assistant\n",
    "Qwen3 thinking": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAdd 3 and 5.<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n",
    "DeepSeek-R1": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Add 3 and 5.<｜Assistant｜><think>\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAdd 3 and 5.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Gemma 3": "<bos><start_of_turn>user\nBe brief.\n\nAdd 3 and 5.<end_of_turn>\n<start_of_turn>model\n",
    "OLMo 2": "<|endoftext|><|system|>\nBe brief.\n<|user|>\nAdd 3 and 5.\n<|assistant|>\n",
    "SmolLM3": "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: 26 July 2024\n"
    "Reasoning Mode: /think\n\n## Custom Instructions\n\nBe brief.\n\n<|im_end|>\n<|im_start|>user\nAdd 3 and 5.<|im_end|>\n"
    "<|im_start|>assistant\n",
    "Mistral": "<s>[INST] Be brief.\n\nAdd 3 and 5.[/INST]",
    "Phi": "<|system|>\nBe brief.<|end|>\n<|user|>\nAdd 3 and 5.<|end|>\n<|assistant|>\n",
    "none": "Be brief.\n\nUser: Add 3 and 5.\nAssistant:",
    "none, with bos": "<bos>Be brief.\n\nUser: Add 3 and 5.\nAssistant:",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_system_message_and_a_question_are_rendered_as_the_family_was_trained(name: str) -> None:
    assert rendered(name, system="Be brief.") == PROMPTS[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_beginning_of_text_stands_once_where_the_family_has_one_and_nowhere_else(name: str) -> None:
    ids, bos = Renderer(tokenizer(name)).prompt(PROBLEM, ASKED).ids, TEMPLATES[name].bos
    assert ids.count(tokenizer(name).convert_tokens_to_ids(bos) if bos else -1) == (1 if bos else 0)


def test_a_prompt_is_the_same_tomorrow() -> None:
    """Llama 3's and SmolLM3's templates ask for the date of the day."""
    assert "Today Date: 26 Jul 2024" in rendered("Llama 3")
    assert "Today Date: 26 July 2024" in rendered("SmolLM3")


def test_a_template_that_refuses_a_system_message_is_answered_in_a_sentence() -> None:
    with pytest.raises(
        ModelError, match=r"refuses the turns system, user: System role not supported\. Leave the system"
    ):
        Renderer(tokenizer("Gemma 2"), system="Be brief.")


def test_a_template_that_drops_a_system_message_is_refused() -> None:
    deaf = PreTrainedTokenizerFast(tokenizer_object=tokenizer("none").backend_tokenizer, eos_token="<|endoftext|>")
    deaf.chat_template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    with pytest.raises(ModelError, match="drops a system message"):
        Renderer(deaf, system="Be brief.")


# ---- where a turn ends


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_turn_ends_with_the_token_that_the_template_puts_there(name: str) -> None:
    template, made = TEMPLATES[name], tokenizer(name)
    assert Renderer(made).end_id == made.convert_tokens_to_ids(template.end or template.eos)


@pytest.mark.parametrize(
    ("name", "ends"), [("Gemma 3", {"<eos>", "<end_of_turn>"}), ("Phi", {"<|endoftext|>", "<|end|>"})]
)
def test_sampling_stops_at_the_end_of_a_turn_that_the_tokenizer_does_not_name(name: str, ends: set[str]) -> None:
    made = tokenizer(name)
    stops = Renderer(made).stop_ids([made.eos_token_id])
    assert set(made.convert_ids_to_tokens(list(stops))) == ends


def test_a_written_response_ends_as_a_sampled_one_does() -> None:
    made = tokenizer("Gemma 3")
    assert made.decode(list(Renderer(made).response_ids("8"))) == "8<end_of_turn>"


# ---- thinking


def test_the_switch_of_a_template_is_found_by_its_name() -> None:
    assert rendered("Qwen3", thinking=False).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert rendered("Qwen3", thinking=True) == rendered("Qwen3") and rendered("Qwen3").endswith("assistant\n")
    assert "Reasoning Mode: /no_think" in rendered("SmolLM3", thinking=False)
    granite = PreTrainedTokenizerFast(tokenizer_object=tokenizer("none").backend_tokenizer, eos_token="<|endoftext|>")
    granite.chat_template = "{{ messages[0].content }}{% if thinking %}<think>{% endif %}"
    assert Renderer(granite, thinking=True).prompt(PROBLEM, ASKED).text == "Add 3 and 5.<think>"


@pytest.mark.parametrize("name", OPENING)
def test_a_template_that_always_thinks_need_not_be_switched_on_and_cannot_be_off(name: str) -> None:
    assert rendered(name, thinking=True) == rendered(name)
    with pytest.raises(ModelError, match=r"task\.thinking is false, but the model's chat template has no switch"):
        Renderer(tokenizer(name), thinking=False)


@pytest.mark.parametrize("name", ["none", "ChatML", "Llama 3", "Mistral"])
def test_thinking_asked_of_a_template_that_has_none_is_refused(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"task\.thinking is true, but the model's chat template has no switch for thinking"
    ):
        Renderer(tokenizer(name), thinking=True)


def test_an_option_the_template_does_not_read_names_its_neighbour() -> None:
    assert rendered("Qwen3", template_options={"enable_thinking": False}).endswith("</think>\n\n")
    with pytest.raises(ConfigError, match="reads no option 'enable_thinkin'; did you mean 'enable_thinking'"):
        Renderer(tokenizer("Qwen3"), template_options={"enable_thinkin": False})


@pytest.mark.parametrize("name", TEMPLATES)
def test_verifiers_read_the_thought_whether_the_prompt_opened_it_or_the_model(name: str) -> None:
    prompt = Renderer(tokenizer(name)).prompt(PROBLEM, ASKED)
    said = "3 + 5</think>8" if name in OPENING else "<think>3 + 5</think>8"
    assert response(prompt, said) == "<think>3 + 5</think>8"


def test_a_thought_that_the_prompt_closed_is_not_opened_again() -> None:
    prompt = Renderer(tokenizer("Qwen3"), thinking=False).prompt(PROBLEM, ASKED)
    assert response(prompt, "8") == "8"


# ---- conversations to learn from


def learned(name: str, *turns: tuple[str, str], **wanted: object) -> list[str]:
    """The pieces the assistant wrote, as text."""
    made = tokenizer(name)
    pieces = Renderer(made, **wanted).conversation([Message(*turn) for turn in turns], "row 1")  # type: ignore[arg-type]
    return [made.decode(list(ids)) for ids, own in pieces if own]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in OPENING])
def test_what_is_learned_of_a_turn_is_what_would_be_sampled(name: str) -> None:
    (own,) = learned(name, ("user", "Add 3 and 5."), ("assistant", "8"))
    end = TEMPLATES[name].end or TEMPLATES[name].eos
    thought = "<think>\n\n</think>\n\n" if name == "Qwen3" else ""
    assert own.strip() == f"{thought}8{end}" or (name.startswith("none") and own == f" 8\n{end}")


@pytest.mark.parametrize("name", ["Qwen3", "Qwen3 thinking", "DeepSeek-R1", "SmolLM3"])
def test_a_thought_is_learned_though_the_template_takes_it_out_of_later_turns(name: str) -> None:
    (own,) = learned(name, ("user", "Add 3 and 5."), ("assistant", "<think>\n3 + 5\n</think>\n\n8"))
    opened = "" if name in OPENING else "<think>\n"
    assert own == f"{opened}3 + 5\n</think>\n\n8{TEMPLATES[name].end}"


@pytest.mark.parametrize("name", ["Qwen3", "DeepSeek-R1"])
def test_a_later_turn_whose_template_drops_the_thought_before_it_is_refused_and_not_mislearned(name: str) -> None:
    thought = ("assistant", "<think>\n3 + 5\n</think>\n\n8")
    with pytest.raises(DataError, match="row 1: the chat template does not render turn 4 after the turns before it"):
        learned(name, ("user", "Add 3 and 5."), thought, ("user", "Add 1."), thought)


def test_an_answer_without_a_thought_where_the_prompt_opens_one_is_refused() -> None:
    with pytest.raises(DataError, match="begin the answer with <think>"):
        learned("DeepSeek-R1", ("user", "Add 3 and 5."), ("assistant", "8"))


def test_turns_are_learned_one_by_one_and_the_rest_is_not() -> None:
    turns = [("system", "Be brief."), ("user", "3 + 5"), ("assistant", "8"), ("user", "1 + 1"), ("assistant", "2")]
    assert learned("ChatML", *turns) == ["8<|im_end|>", "2<|im_end|>"]
    assert learned("Gemma 3", *turns) == ["8<end_of_turn>", "2<end_of_turn>"]


# ---- the ids sampled from are the ids trained on


@cache
def policy(name: str) -> Policy:
    made = tokenizer(name)
    config = AutoConfig.for_model(
        "qwen3",
        **{**families.WIDTHS, "hidden_size": 32, "intermediate_size": 32, "head_dim": 8, "num_hidden_layers": 1},
        vocab_size=len(made) + 7,
    )
    import torch

    torch.manual_seed(0)
    return Policy(AutoModelForCausalLM.from_config(config, attn_implementation="burnish"), made, torch.float32)


SPECIAL = [
    "<think>",
    "</think>",
    "<|im_start|>",
    "<|im_end|>",
    "<eos>",
    "<bos>",
    "[INST]",
    "<|eot_id|>",
    "{{ 1 + 1 }}",
    "\n",
]
TEXT = st.lists(
    st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.sampled_from(SPECIAL)), max_size=4
).map("".join)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(question=TEXT, system=st.none() | st.just("Be brief."), seed=st.integers(0, 1000))
def test_the_ids_sampled_from_are_the_ids_trained_on(name: str, question: str, system: str | None, seed: int) -> None:
    """Whatever is asked: two rows of one prompt, drawn by the engine, in each of the layouts a learner lays them in."""
    subject = policy(name)
    renderer = Renderer(subject.tokenizer, system if TEMPLATES[name].system else None)
    problem = replace(PROBLEM, question=question)
    prompt = renderer.prompt(problem, (Message("user", question),))
    listed = [
        Request(Key("p", i), prompt, Sampling(max_new=5, stop_ids=renderer.stop_ids(subject.stop_ids), seed=seed))
        for i in range(2)
    ]
    drawn = sorted(engine_for(subject).generate(listed), key=lambda one: one.key.index)
    spines = [Tokens.join(prompt.ids, one.ids, one.logprobs) for one in drawn]
    samples = [
        Sample(one.key, tokens, (1.0,) * len(tokens.ids), 1.0, 0, 0) for one, tokens in zip(drawn, spines, strict=True)
    ]
    ones = {sample.origin: 1.0 for sample in samples}
    read, said = list(prompt.ids), [one.ids for one in drawn]
    [whole] = batches(samples, ones, 0, 100_000, alone=True)
    order = [key.index for key in whole.origins]
    for row, index in enumerate(order):
        row_ids = [*read, *said[index][:-1]]
        assert whole.inputs_BT[row].tolist()[: len(row_ids)] == row_ids
    assert whole.targets_N.tolist() == [token for index in order for token in said[index]]
    [laid] = batches(samples, ones, 0, 100_000, fused=True)
    order = [key.index for key in laid.origins]
    assert laid.inputs_BT[0].tolist() == [*read, *(token for index in order for token in said[index][:-1])]
    assert laid.targets_N.tolist() == [token for index in order for token in said[index]]
    [shared] = batches(samples, ones, 0, 100_000)
    order = [key.index for key in shared.origins]
    assert shared.targets_N.tolist() == [token for index in order for token in said[index]]
    assert shared.inputs_BT.flatten().tolist()[: len(read)] == read
