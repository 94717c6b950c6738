"""Formats and instructions: each check at its edge, and a reference that cannot be checked named in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.records import Problem, Verdict
from burnish.verify import judge, load
from burnish.verify.checks import CHECKS, sentences, words
from burnish.verify.language import evidence
from burnish.verify.schema import BadSchema, NotJson, check_schema, misfit, parse


def say(verifier: str, reference: dict[str, Any], response: str) -> Verdict:
    return judge(load(verifier), Problem("p/0", "p", "?", reference, "train", ""), response)


def follow(name: str, text: str, **args: Any) -> Verdict:
    return say("instructions", {"instructions": [{"name": name, "args": args}]}, text)


FOLLOWED = [
    ("keywords:existence", "The Red  Panda sleeps", {"keywords": ["red panda"]}),
    ("keywords:forbidden_words", "He is a catalogue", {"forbidden_words": ["cat"]}),
    ("keywords:frequency", "No. no, NO", {"keyword": "no", "frequency": 3, "relation": "exactly"}),
    ("keywords:letter_frequency", "Anna", {"letter": "a", "let_frequency": 2, "let_relation": "at least"}),
    ("language:response_language", "Zuerst ist das nicht die Antwort und wir suchen weiter", {"language": "de"}),
    ("length_constraints:number_words", "one two-three don't", {"num_words": 3, "relation": "exactly"}),
    ("length_constraints:number_sentences", "Dr. Who came. He left! Why", {"num_sentences": 3, "relation": "exactly"}),
    ("length_constraints:number_characters", " abc ", {"num_characters": 3, "relation": "exactly"}),
    ("length_constraints:number_lines", "a\n\nb", {"num_lines": 2, "relation": "exactly"}),
    ("length_constraints:number_paragraphs", "a\n***\nb", {"num_paragraphs": 2}),
    ("length_constraints:number_blank_line_paragraphs", "a\nb\n\nc", {"num_paragraphs": 2, "relation": "exactly"}),
    (
        "length_constraints:nth_paragraph_first_word",
        "a\n\nHello, b",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "hello"},
    ),
    ("detectable_content:number_placeholders", "Dear [name], at [place]", {"num_placeholders": 2}),
    ("detectable_content:postscript", "Bye\nP.S. also this", {"postscript_marker": "P.S."}),
    ("detectable_format:number_bullet_lists", "* a\n- b", {"num_bullets": 2}),
    ("detectable_format:numbered_list", "1. a\n2) b", {"num_items": 2}),
    ("detectable_format:constrained_response", "Well. My answer is no.", {}),
    ("detectable_format:number_highlighted_sections", "*a* and **b**", {"num_highlights": 2}),
    (
        "detectable_format:multiple_sections",
        "Section 1\na\nSection 2\nb",
        {"section_spliter": "Section", "num_sections": 2},
    ),
    ("detectable_format:json_format", '```json\n{"a": 1}\n```', {}),
    ("detectable_format:title", "<<On stones>>\ntext", {}),
    ("combination:two_responses", "one\n******\ntwo", {}),
    ("combination:repeat_prompt", "Why is  it so? Because.", {"prompt_to_repeat": "Why is it so?"}),
    ("startend:end_checker", "So. That is ALL.", {"end_phrase": "that is all."}),
    ("startend:start_checker", "Dear all, ...", {"start_phrase": "dear all"}),
    ("startend:quotation", '"a b"', {}),
    (
        "change_case:capital_word_frequency",
        "NASA and ESA flew",
        {"capital_frequency": 2, "capital_relation": "exactly"},
    ),
    ("change_case:english_capital", "LOUD 1!", {}),
    ("change_case:english_lowercase", "quiet 1!", {}),
    ("punctuation:no_comma", "a; b", {}),
]


@pytest.mark.parametrize(("name", "text", "args"), FOLLOWED)
def test_an_instruction_that_is_followed(name: str, text: str, args: dict[str, Any]) -> None:
    verdict = follow(name, text, **args)
    assert (verdict.outcome, verdict.parts[name]) == ("right", 1.0)


BROKEN = [
    ("keywords:existence", "The redpanda", {"keywords": ["red"]}, "red does not occur"),
    ("keywords:forbidden_words", "A CAT.", {"forbidden_words": ["cat"]}, "cat occurs"),
    ("keywords:frequency", "nothing", {"keyword": "no", "frequency": 1}, "0 times"),
    ("keywords:letter_frequency", "bbb", {"letter": "b", "let_frequency": 3, "let_relation": "less than"}, "3 times"),
    ("language:response_language", "This is the answer and we have it", {"language": "de"}, "common ones of 'en'"),
    ("length_constraints:number_words", "a b", {"num_words": 3}, "2 words"),
    ("length_constraints:number_sentences", "One. Two.", {"num_sentences": 2, "relation": "more than"}, "2 sentences"),
    ("length_constraints:number_paragraphs", "a\n***\n***\nb", {"num_paragraphs": 2}, "3 paragraphs"),
    (
        "length_constraints:nth_paragraph_first_word",
        "a",
        {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "a"},
        "1 paragraphs",
    ),
    ("detectable_content:number_placeholders", "Dear []", {"num_placeholders": 1}, "0 placeholders"),
    ("detectable_content:postscript", "and P.S. inside", {"postscript_marker": "P.S."}, "no line begins"),
    ("detectable_format:number_bullet_lists", "*a* is no bullet", {"num_bullets": 1}, "0 bullets"),
    ("detectable_format:numbered_list", "1. a\n3. b", {"num_items": 2}, "[1, 3]"),
    ("detectable_format:constrained_response", "My answer is no. My answer is yes.", {}, "2 of the given"),
    ("detectable_format:number_highlighted_sections", "** ** and * *", {"num_highlights": 1}, "0 highlighted"),
    (
        "detectable_format:multiple_sections",
        "see Section 1 and Section 2",
        {"section_spliter": "Section", "num_sections": 2},
        "0 lines",
    ),
    ("detectable_format:json_format", "{'a': 1}", {}, "not JSON"),
    ("detectable_format:json_format", '{"a": 1}', {"schema": {"required": ["b"]}}, "'b' is missing"),
    ("detectable_format:title", "<< >>", {}, "no title"),
    ("combination:two_responses", "one\n******\none", {}, "the same"),
    ("combination:repeat_prompt", "Why?", {"prompt_to_repeat": "Why?"}, "then go on"),
    ("startend:end_checker", "That is all. Bye", {"end_phrase": "That is all."}, "does not end"),
    ("startend:quotation", '""', {}, "not between"),
    ("change_case:english_capital", "LOUd", {}, "1 letters in the other case"),
    ("change_case:english_capital", "12!", {}, "no letters"),
    ("change_case:english_lowercase", "quieT", {}, "1 letters"),
    ("punctuation:no_comma", "a，b", {}, "1 commas"),
]


@pytest.mark.parametrize(("name", "text", "args", "why"), BROKEN)
def test_an_instruction_that_is_not_followed_says_why(name: str, text: str, args: dict[str, Any], why: str) -> None:
    verdict = follow(name, text, **args)
    assert verdict.outcome == "wrong" and why in verdict.why and verdict.parts[name] == 0.0


def test_every_instruction_is_tried_here() -> None:
    assert {name for name, *_ in FOLLOWED} == set(CHECKS)


def test_all_or_nothing_with_a_part_for_each() -> None:
    listed = [
        {"name": "punctuation:no_comma"},
        {"name": "keywords:existence", "args": {"keywords": ["fox"]}},
        {"name": "keywords:existence", "args": {"keywords": ["dog"]}},
    ]
    verdict = say("instructions", {"instructions": listed}, "the fox")
    assert (verdict.outcome, verdict.score, verdict.parts["followed"]) == ("wrong", 0.0, 2 / 3)
    assert [verdict.parts[name] for name in ("punctuation:no_comma", "keywords:existence", "keywords:existence#2")] == [
        1,
        1,
        0,
    ]


def test_rows_of_ifeval_are_read_as_they_are() -> None:
    row = {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"num_words": 3, "relation": "at least", "keyword": None}],
    }
    assert say("instructions", row, "one two three").outcome == "right"


@pytest.mark.parametrize("text", ["", "  \n", "<think>no comma here</think>", "<think>unfinished"])
def test_nothing_follows_nothing(text: str) -> None:
    assert follow("punctuation:no_comma", text).outcome == "wrong"


def test_what_is_thought_is_not_checked_and_an_answer_tag_is_opened() -> None:
    assert follow("punctuation:no_comma", "<think>a, b</think><answer>a b</answer>").outcome == "right"
    assert follow("punctuation:no_comma", "<think>a b</think>a, b").outcome == "wrong"


FAULTS = [
    ([{"name": "punctuation:no_commas"}], "did you mean 'punctuation:no_comma'"),
    ([{"name": "number_words", "args": {"num_words": 1}}], "did you mean 'length_constraints:number_words'"),
    ([{"name": "length_constraints:number_words"}], "needs the argument 'num_words'"),
    ([{"name": "length_constraints:number_words", "args": {"num_word": 3}}], "did you mean 'num_words'"),
    ([{"name": "length_constraints:number_words", "args": {"num_words": "3"}}], "whole number"),
    ([{"name": "length_constraints:number_words", "args": {"num_words": 3, "relation": "about"}}], "at least, at most"),
    ([{"name": "length_constraints:number_words", "args": {"num_words": 0, "relation": "less than"}}], "never hold"),
    ([{"name": "keywords:letter_frequency", "args": {"letter": "ab", "let_frequency": 1}}], "one character"),
    ([{"name": "keywords:existence", "args": {"keywords": "fox"}}], "list of words"),
    ([{"name": "language:response_language", "args": {"language": "xx"}}], "language must be one of"),
    ([{"name": "detectable_format:json_format", "args": {"schema": {"typ": 1}}}], "schema cannot be used"),
    ([], "a list of 1 to 32"),
    (["punctuation:no_comma"], "must be"),
]


@pytest.mark.parametrize(("listed", "why"), FAULTS)
@pytest.mark.parametrize("text", ["some text", ""])
def test_instructions_that_cannot_be_checked_are_a_fault_of_the_gold(listed: list[Any], why: str, text: str) -> None:
    verdict = say("instructions", {"instructions": listed}, text)
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold") and why in verdict.why


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("...", 0), ("One", 1), ("It is 3.14 now.", 1), ("He asked: why? Because!", 2), ("J. Smith came.", 1),
     ("e.g. this one. That", 2), ("A\n\nB", 2), ("今天很好。明天也好。", 2), ('"Go." He went.', 2)],
)  # fmt: skip
def test_sentences_are_counted(text: str, count: int) -> None:
    assert sentences(text) == count


def test_words_are_counted() -> None:
    assert words("Don't split well-known, it’s 3.5!") == ["Don't", "split", "well-known", "it’s", "3", "5"]


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_text_makes_a_check_fail(text: str) -> None:
    listed = [{"name": name, "args": args} for name, _, args in FOLLOWED]
    assert say("instructions", {"instructions": listed}, text).outcome == "wrong"


@pytest.mark.parametrize(
    "text", ["*" * 100_000, "[" * 100_000, "<<" * 50_000, "a. " * 60_000, "\n " * 90_000, '"' * 100_000]
)
def test_a_long_text_is_checked_in_time_that_grows_with_it(text: str) -> None:
    verdict = say("instructions", {"instructions": [{"name": name, "args": args} for name, _, args in FOLLOWED]}, text)
    assert verdict.outcome == "wrong" and verdict.seconds < 4


# Language.

SAMPLES = {
    "en": "First we add the numbers and then we look at what is left, because that is the answer.",
    "de": "Zuerst addieren wir die Zahlen und dann sehen wir, was nicht mehr passt, also ist das die Antwort.",
    "fr": "On ajoute les nombres et puis on regarde ce qui reste, donc la réponse est dans la somme.",
    "es": "Primero sumamos los números y luego vemos lo que queda, porque esa es la respuesta del problema.",
    "it": "Prima sommiamo i numeri e poi guardiamo che cosa resta, perché questa è la risposta della domanda.",
    "pt": "Primeiro somamos os números e depois vemos o que não fica, então essa é a resposta do problema.",
    "nl": "Eerst tellen we de getallen op en dan zien we wat er niet klopt, dus dat is het antwoord.",
    "pl": "Najpierw dodajemy liczby, a potem patrzymy, co się nie zgadza, więc to jest odpowiedź na pytanie.",
    "vi": "Trước hết chúng ta cộng các số và sau đó xem còn lại bao nhiêu, đó là kết quả của bài toán.",
    "ru": "Сначала мы складываем числа, а потом смотрим, что осталось, и это есть ответ на вопрос.",
    "uk": "Спочатку ми додаємо числа, а потім дивимося, що залишилося, і це є відповідь на питання.",
    "ar": "في البداية نجمع الأعداد ثم ننظر إلى ما بقي من هذا العدد لأن هذا هو الجواب",
    "fa": "ابتدا اعداد را با هم جمع می‌کنیم و بعد می‌بینیم که چه می‌ماند و این پاسخ است",
    "hi": "पहले हम संख्याओं को जोड़ते हैं और फिर देखते हैं कि क्या बचा है, यह उत्तर है।",
    "zh": "首先我们把这些数字加起来，然后看看还剩下多少，所以这就是这个问题的答案了。",
    "ja": "まず数字を足して、それから残りを見ます。これがこの問題の答えになります。",
    "ko": "먼저 숫자를 더하고 나서 남은 것을 봅니다. 이것이 이 문제의 답입니다.",
    "th": "ก่อนอื่นเราบวกตัวเลขแล้วดูว่าเหลือเท่าไร นี่คือคำตอบ",
    "el": "Πρώτα προσθέτουμε τους αριθμούς και μετά βλέπουμε τι μένει από αυτούς.",
}  # fmt: skip


@pytest.mark.parametrize("language", SAMPLES)
def test_a_sentence_is_known_for_its_language_and_no_other(language: str) -> None:
    assert evidence(SAMPLES[language], language)[0] == "yes"
    assert [other for other in SAMPLES if evidence(SAMPLES[language], other)[0] == "yes"] == [language]


def test_formulas_and_code_have_no_language() -> None:
    assert evidence("$a + b = c$ \\frac{1}{2} 12 + 7 = 19", "en")[0] == "unclear"
    assert evidence("```python\nwhile the_of_and: pass\n```", "de")[0] == "unclear"


def test_a_thought_that_falls_into_another_script_is_told() -> None:
    told, why = evidence("First we add. " + SAMPLES["zh"], "en")
    assert told == "no" and "not of the script" in why


def test_a_name_in_another_script_is_forgiven() -> None:
    assert evidence(SAMPLES["en"] * 3 + " 数字", "en")[0] == "yes"


def test_what_is_unclear_is_right_unless_one_must_be_sure() -> None:
    response = "<think>12 + 7 = 19</think><answer>19</answer>"
    assert say("language", {"language": "en"}, response).outcome == "right"
    assert say("language", {"language": "en", "sure": True}, response).outcome == "wrong"
    assert say("language", {"language": "en"}, f"<think>{SAMPLES['de']}</think><answer>19</answer>").outcome == "wrong"


def test_a_language_that_is_not_known_is_a_fault_of_the_gold() -> None:
    assert say("language", {"language": "english"}, "x").fault == "gold"


# Format, length, JSON.


def test_the_format_alone_can_be_judged() -> None:
    assert say("format", {}, "<think>so</think><answer>4</answer>").outcome == "right"
    verdict = say("format", {}, "<answer>4</answer><answer>5</answer>")
    assert (verdict.outcome, verdict.why) == ("wrong", "there is more than one answer")


@pytest.mark.parametrize(
    ("bounds", "outcome"),
    [({"max_words": 3}, "right"), ({"max_words": 2}, "wrong"), ({"min_characters": 5}, "right"), ({"min_characters": 6}, "wrong"),
     ({}, "no_verdict"), ({"min_words": 3, "max_words": 2}, "no_verdict"), ({"max_words": "3"}, "no_verdict"),
     ({"max_words": 3, "of": "all"}, "no_verdict")],
)  # fmt: skip
def test_a_length_has_bounds(bounds: dict[str, Any], outcome: str) -> None:
    assert say("length", bounds, " a b c ").outcome == outcome


def test_the_length_of_a_thought_is_its_own() -> None:
    assert (
        say("length", {"max_words": 1, "of": "thought"}, "<think>one</think><answer>a b c</answer>").outcome == "right"
    )


@pytest.mark.parametrize(
    ("schema", "value", "wrong"),
    [
        ({"type": "integer"}, 3.0, ""),
        ({"type": "integer"}, True, "not integer"),
        ({"type": ["string", "null"]}, None, ""),
        ({"enum": [1, "a"]}, True, "not one of"),
        ({"const": 1}, 1.0, ""),
        ({"required": ["a"]}, {"b": 1}, "'a' is missing"),
        ({"properties": {"a": {"minimum": 2}}}, {"a": 1}, "at $.a: 1 is too small"),
        ({"additionalProperties": False, "properties": {"a": True}}, {"a": 1, "b": 2}, "'b' is not asked for"),
        ({"items": {"type": "string"}, "minItems": 1}, [], "fewer than 1 items"),
        ({"prefixItems": [True], "items": False}, [1, 2], "at $[1]: nothing may stand here"),
        ({"uniqueItems": True}, [1, 1.0], "twice"),
        ({"uniqueItems": True}, [1, True, "1"], ""),
        ({"pattern": "^a+$"}, "aab", "does not match"),
        ({"multipleOf": 0.1}, 0.3, ""),
        ({"exclusiveMaximum": 3}, 3, "too large"),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "fits 2 of oneOf"),
        ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, 1, "none of anyOf"),
        ({"not": {"type": "null"}}, None, "must not"),
    ],
)
def test_a_value_fits_a_schema_or_says_where_not(schema: Any, value: Any, wrong: str) -> None:
    check_schema(schema)
    found = misfit(value, schema)
    assert wrong in found and bool(found) == bool(wrong)


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"typ": "string"}, {"type": "text"}, {"minimum": "1"}, {"pattern": "("}, 3, {"anyOf": []}]
)
def test_a_schema_that_is_not_understood_is_refused(schema: Any) -> None:
    with pytest.raises(BadSchema):
        check_schema(schema)


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", '{"a": 1, "a": 2}', "1e999", "[" * 200 + "]" * 200, "[" * 99_000, "", "1 2", "9" * 5000],
)
def test_what_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        parse(text)


def test_json_may_stand_in_one_fenced_block() -> None:
    schema = {"type": "object", "required": ["x"]}
    assert say("json", {"schema": schema}, '<answer>```json\n{"x": 1}\n```</answer>').outcome == "right"
    assert say("json", {"schema": schema}, '<answer>{"y": 1}</answer>').why == "at $: 'x' is missing"
    assert say("json", {"schema": schema}, 'Here it is: {"x": 1}').outcome == "wrong"
