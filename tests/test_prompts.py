"""Messages to ids: made once, from the template's text, and the same all the way to the learner."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from burnish.engine.embedded import EmbeddedEngine
from burnish.errors import ModelError
from burnish.learner.batch import batches
from burnish.policy.tokenizer import PLAIN_TEMPLATE
from burnish.prompts import Renderer, check_room, response
from burnish.records import Key, Message, Problem, Prompt, Sample, Sampling, Tokens
from tiny import by_key, policy, requests, tokenizer

PROBLEM = Problem("chain/train/0", "chain", "a 3, b add 5.", {"answer": "8"}, "train", "f")
ASKED = (Message("user", PROBLEM.question),)


def with_template(template: str) -> PreTrainedTokenizerFast:
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, eos_token="<|end|>")
    words.chat_template = template
    return words


def test_the_text_is_the_template_with_the_assistants_turn_opened() -> None:
    prompt = Renderer(tokenizer()).prompt(PROBLEM, ASKED)
    assert prompt.text == "<|user|>a 3, b add 5.<|assistant|>"
    assert (prompt.problem_id, prompt.messages) == (PROBLEM.id, ASKED)


def test_ids_are_the_text_tokenised_once_with_nothing_added() -> None:
    prompt = Renderer(tokenizer()).prompt(PROBLEM, ASKED)
    assert list(prompt.ids) == tokenizer()(prompt.text, add_special_tokens=False).input_ids
    assert tokenizer().decode(list(prompt.ids)) == prompt.text


def test_turns_are_single_tokens() -> None:
    first, *_, last = Renderer(tokenizer()).prompt(PROBLEM, ASKED).ids
    assert tokenizer().convert_ids_to_tokens([first, last]) == ["<|user|>", "<|assistant|>"]


def test_a_beginning_of_text_token_is_not_doubled() -> None:
    """Many templates write it, and many tokenizers would put it in front once more."""
    words = with_template("<|system|>" + str(tokenizer().chat_template))
    words.bos_token = "<|system|>"
    words.add_bos_token = True
    start = words.convert_tokens_to_ids("<|system|>")
    assert list(Renderer(words).prompt(PROBLEM, ASKED).ids).count(start) == 1


def test_a_system_message_comes_first() -> None:
    prompt = Renderer(tokenizer(), system="Be brief.").prompt(PROBLEM, ASKED)
    assert prompt.text == "<|system|>Be brief.<|user|>a 3, b add 5.<|assistant|>"
    assert prompt.messages == (Message("system", "Be brief."), *ASKED)


def test_template_options_reach_the_template() -> None:
    words = with_template("{% if thinking %}yes{% else %}no{% endif %}")
    assert Renderer(words, template_options={"thinking": True}).prompt(PROBLEM, ASKED).text == "yes"


def test_the_plain_template_reads_like_a_transcript() -> None:
    prompt = Renderer(with_template(PLAIN_TEMPLATE), system="Be brief.").prompt(PROBLEM, ASKED)
    assert prompt.text == "Be brief.\n\nUser: a 3, b add 5.\nAssistant:"


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="no chat template"):
        Renderer(with_template(""))


def test_a_written_response_is_closed_by_the_end_token() -> None:
    ids = Renderer(tokenizer()).response_ids("<answer>8</answer>")
    assert tokenizer().decode(list(ids)) == "<answer>8</answer><|end|>"


# ---- what verifiers read


@pytest.mark.parametrize("ending", ["<think>", "<think>\n", "<think>\n\n "])
def test_a_thought_the_template_opened_is_put_back_in_front(ending: str) -> None:
    prompt = Renderer(with_template(f"Q{ending}")).prompt(PROBLEM, ASKED)
    assert response(prompt, "3 + 5</think><answer>8</answer>") == "<think>3 + 5</think><answer>8</answer>"


@pytest.mark.parametrize("ending", ["", "</think>", "<think> and so on"])
def test_where_no_thought_was_left_open_nothing_is_added(ending: str) -> None:
    prompt = Renderer(with_template(f"Q{ending}")).prompt(PROBLEM, ASKED)
    assert response(prompt, "<answer>8</answer>") == "<answer>8</answer>"


# ---- one spine


def test_the_ids_of_the_prompt_are_what_the_engine_reads_and_the_learner_trains_on() -> None:
    """The engine's request, the rollout's spine and the learner's inputs begin with the very same ids."""
    prompt = Renderer(tokenizer()).prompt(PROBLEM, ASKED)
    listed = requests([prompt], 1, Sampling(max_new=4))
    assert listed[0].prompt.ids == prompt.ids
    engine = EmbeddedEngine(policy())
    (drawn,) = by_key(engine.generate(listed)).values()
    assert engine.tokens_prefilled == len(prompt.ids)
    tokens = Tokens.join(prompt.ids, drawn.ids, drawn.logprobs)
    sample = Sample(Key(PROBLEM.id, 0), tokens, (1.0,) * len(tokens.ids), 1.0, 0, 0)
    (batch,) = batches([sample], {sample.origin: 1.0}, 0, 1000)
    assert tuple(batch.inputs_BT[0].tolist()) == (*prompt.ids, *drawn.ids[:-1])
    assert tuple(batch.targets_N.tolist()) == drawn.ids


def test_text_that_tokenises_back_otherwise_does_not_reach_the_learner() -> None:
    """A policy may write "8" as its bytes or tags in pieces; the spine keeps what was drawn."""
    pieces = tuple(i for word in ("<", "think", ">") for i in tokenizer()(word).input_ids)
    text = tokenizer().decode(list(pieces))
    assert text == "<think>"
    assert tuple(tokenizer()(text).input_ids) != pieces
    assert Tokens.join((20, 30), pieces, (-1.0,) * len(pieces)).ids == (20, 30, *pieces)


# ---- room


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused() -> None:
    short, long = Prompt("short", (), "", (1,) * 5), Prompt("long", (), "", (1,) * 9)
    check_room([short, long], max_new=7, context=16)
    with pytest.raises(ModelError, match=r"The prompt of long has 9 tokens; with max_new = 8 .* context of 16"):
        check_room([short, long], max_new=8, context=16)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<think>a 3</think><answer>3</answer>", "</think>"),
        ("so, add 5 = 8", ", add"),
        ("so, add 5 = 8", "dd 5"),
        ("<think>é, 日本</think>", "本"),
        ("<think>a", "<think>"),
    ],
)
def test_a_mark_is_found_by_the_fewest_tokens_that_hold_it(text: str, mark: str) -> None:
    renderer = Renderer(tokenizer())
    ids = renderer.plain_ids(text)
    found = renderer.find(ids, mark)
    assert found is not None
    first, end = found
    assert mark in renderer.text(ids[:end]) and mark not in renderer.text(ids[: end - 1])
    assert mark in renderer.text(ids[first:end]) and mark not in renderer.text(ids[first + 1 : end])


def test_a_mark_that_is_not_there_is_not_found() -> None:
    renderer = Renderer(tokenizer())
    assert renderer.find(renderer.plain_ids("a 3, b add 5."), "</think>") is None
    assert renderer.find((), "</think>") is None
