"""Taking a response apart, and finding its answer: the conventions, and every way known to cheat them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.verify.format import STYLES, Answer, extract_answer, split_response

GOOD = "<think>12+7=19</think>\n<answer>19</answer>"


def find(text: str, style: str = "any") -> str | None:
    answer = extract_answer(split_response(text), style)  # type: ignore[arg-type]
    return None if answer is None else answer.text


# ---- split_response


def test_a_thought_and_an_answer_are_well_formed() -> None:
    response = split_response(GOOD)
    assert (response.thought, response.thought_closed, response.well_formed) == ("12+7=19", True, True)
    assert response.answer_region == "\n<answer>19</answer>"


def test_an_answer_alone_is_well_formed_but_has_no_thought() -> None:
    response = split_response("<answer>19</answer>")
    assert response.parts == {"format": 1.0, "thought": 0.0}


@pytest.mark.parametrize(
    "text",
    [
        "<think>\n\na\n\n</think>\n\n\n<answer>\n\n19\n\n</answer>\n\n",
        "  <think>a</think><answer>19</answer>  ",
        "a</think><answer>19</answer>",  # the prompt had opened the thought
        "<think>I will write <answer>20</answer> or not</think><answer>19</answer>",
        "<think>a</think><answer>19</answer><|im_end|>",
        "<think>a</think><answer>19</answer></s>\n<pad><pad>",
        "<think>a</think><answer>19</answer><｜end▁of▁sentence｜>",
    ],
)
def test_blank_lines_an_opened_prompt_and_special_tokens_are_no_fault(text: str) -> None:
    assert split_response(text).well_formed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no answer"),
        ("19", "there is no answer"),
        ("<think></think>a", "the thought is empty"),
        ("<think></think><answer>19</answer>", "the thought is empty"),
        ("<think> \n\u200b.\u202e </think><answer>19</answer>", "the thought is empty"),
        ("</think><answer>19</answer>", "the thought is empty"),
        ("<think>a<answer>19</answer>", "the thought was never closed"),
        ("<think>a</think><answer>19</answer><think>b", "the thought was never closed"),
        ("<think>a</think><think>b</think><answer>19</answer>", "there is more than one thought"),
        ("<think>a<think>b</think><answer>19</answer>", "there is more than one thought"),
        ("x<think>a</think><answer>19</answer>", "there is text before the thought"),
        ("<think>a</think>x<answer>19</answer>", "there is text before the answer"),
        ("<think>a</think><answer>19</answer>x", "there is text after the answer"),
        ("<think>a</think><answer>19</answer>\ntrailing\n", "there is text after the answer"),
        ("<think>a</think><answer>19</answer><|im_end|>more", "there is text after the answer"),
        ("<think>a</think><answer>19</answer>\n<answer>20</answer>", "there is more than one answer"),
        ("<think>a</think><answer>19</answer></answer>", "there is more than one answer"),
        ("<think>a</think><answer>19", "the answer was never closed"),
        ("<think>a</think></answer>19<answer>", "the answer was never closed"),
        ("<think>a</think><answer> \n </answer>", "the answer is empty"),
        ("<answer>19</answer><think>a</think>", "there is text before the thought"),
    ],
)
def test_what_is_not_well_formed_is_said_in_words(text: str, why: str) -> None:
    response = split_response(text)
    assert (response.well_formed, response.why) == (False, why)


def test_an_empty_thought_is_no_thought() -> None:
    response = split_response("<think></think>a")
    assert (response.thought, response.thought_closed, response.answer_region) == (None, False, "a")


def test_an_unclosed_thought_has_no_answer_region() -> None:
    response = split_response("<think>it is 19. <answer>19</answer>")
    assert (response.thought_closed, response.answer_region) == (False, None)


# ---- extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (GOOD, Answer("19", "answer_tag")),
        (r"so \boxed{19}", Answer("19", "boxed")),
        ("so\n#### 19", Answer("19", "hash")),
        ("So the answer is 19. I hope it is correct.", Answer("19", "phrase")),
        ("The final answer is: $19$.", Answer("$19$.", "phrase")),
        ("12+7=19\nA: 19", Answer("19", "phrase")),
        (" 19\n", Answer("19", "bare")),
    ],
)
def test_any_knows_each_convention(text: str, answer: Answer) -> None:
    assert extract_answer(split_response(text)) == answer


def test_any_prefers_a_tag_to_a_box_to_a_hash_to_a_phrase() -> None:
    texts = ["<answer>1</answer>", r"\boxed{2}", "#### 3", "A: 4"]
    assert [find("\n".join(texts[i:])) for i in range(4)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_looked_for_in_a_thought(style: str) -> None:
    inside = "<answer>19</answer> \\boxed{19}\n#### 19\nThe answer is 19\n"
    assert find(f"<think>{inside}</think>", style) is None
    assert find(f"<think>{inside}", style) is None


@pytest.mark.parametrize("text", ["<answer>19", r"\boxed{19", r"\boxed{\frac{1}{2}", "####", "#### \n19 apples\nmore"])
def test_half_an_answer_is_no_answer(text: str) -> None:
    assert find(text) is None


@pytest.mark.parametrize(
    ("text", "style", "found"),
    [
        ("<answer>1</answer><answer>2</answer>", "answer_tag", "2"),
        ("<answer>1</answer><answer>2", "answer_tag", "1"),
        ("<answer><answer>1</answer>", "answer_tag", "1"),
        (r"\boxed{1} wait \boxed{2}", "boxed", "2"),
        ("#### 1\n#### 2", "hash", "2"),
        ("The answer is 1. No, the answer is 2.", "any", "2."),
    ],
)
def test_the_last_of_a_kind_wins(text: str, style: str, found: str) -> None:
    assert find(text, style) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"{ \boxed{7}", "7"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{7}}}", "7"),
    ],
)
def test_boxes_are_balanced_by_counting(text: str, found: str) -> None:
    assert find(text, "boxed") == found


def test_a_box_inside_a_tag_is_opened() -> None:
    assert find(r"<answer>\boxed{19}</answer>") == "19"


def test_two_boxes_side_by_side_in_a_tag_stay_as_they_are() -> None:
    assert find(r"<answer>\boxed{1}, \boxed{2}</answer>") == r"\boxed{1}, \boxed{2}"


def test_one_style_does_not_see_the_others() -> None:
    assert find(r"\boxed{19}", "answer_tag") is None
    assert find("<answer>19</answer>", "boxed") is None


def test_prose_is_not_a_bare_answer() -> None:
    assert find("I added them.\nIt must be 19") is None


def test_an_unknown_style_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'box'.*boxed"):
        find("19", "box")


# ---- attacks on the reader itself


# fmt: off
PIECES = [
    "<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "{", "}", "\\", "####", "the answer is ", "\nA", "\t",
    "\n", "</s>", "<|", "<|a|>", " ", "9", "<", "\x00", "\u202e", "</think><think>", "\\boxed{1}", "<answer>1</answer>",
]
# fmt: on


@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_anything_is_read_in_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))  # were any step quadratic, this would take hours
    for prefix in ("", "<think>a</think>", "\\boxed{"):
        response = split_response(prefix + text)
        for style in STYLES:
            extract_answer(response, style)  # type: ignore[arg-type]


TAGS = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "####", "\n", " ", "7", "A: ", "."]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(TAGS, st.text(max_size=4)), max_size=12).map("".join), st.sampled_from(STYLES))
def test_no_text_raises_and_only_the_answer_region_is_read(text: str, style: str) -> None:
    response = split_response(text)
    answer = extract_answer(response, style)  # type: ignore[arg-type]
    assert answer is None or (response.answer_region is not None and answer.text in response.answer_region)
    assert response.well_formed == (response.why == "")


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20), st.text(max_size=20))
def test_a_well_formed_response_gives_back_what_was_put_in(thought: str, answer: str) -> None:
    text = f"<think>a{thought}</think>\n<answer>{answer}b</answer>"
    response = split_response(text)
    if "<" not in thought + answer:
        assert response.well_formed
        assert response.thought == "a" + thought
        assert find(text, "answer_tag") == (answer + "b").strip()
