"""The records: what they refuse, and that each survives JSON."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from burnish import records
from burnish.records import (
    Completion,
    Dropped,
    Group,
    Interval,
    Judged,
    Key,
    Message,
    Notes,
    Pair,
    Problem,
    Prompt,
    Report,
    Request,
    Rollout,
    Sample,
    Sampling,
    Tokens,
    Usage,
    Verdict,
    fingerprint,
    from_json,
    to_json,
)

TEXT = st.text(max_size=12)  # hypothesis leaves out lone surrogates, which no tokenizer decodes to
REAL = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**40)
IDS = st.lists(st.integers(0, 300_000), max_size=5).map(tuple)
REALS = st.lists(REAL, max_size=5).map(tuple)
STOP = st.sampled_from(["eos", "length", "aborted"])
OUTCOME = st.sampled_from(["right", "wrong", "no_verdict"])
NAMED = st.dictionaries(TEXT, REAL, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | REAL | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)

KEY = st.builds(Key, TEXT, COUNT)
MESSAGE = st.builds(Message, TEXT, TEXT)
PROBLEM = st.builds(Problem, TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3), TEXT, TEXT)
PROMPT = st.builds(Prompt, TEXT, st.lists(MESSAGE, max_size=3).map(tuple), TEXT, IDS)
SAMPLING = st.builds(Sampling, REAL, REAL, COUNT, COUNT, IDS, COUNT)
TOKENS = st.lists(st.tuples(st.integers(0, 300_000), st.booleans(), REAL), max_size=5).map(
    lambda rows: Tokens(*(tuple(column) for column in (zip(*rows, strict=True) if rows else ((), (), ()))))
)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    outcome: Any = draw(OUTCOME)
    score = None if outcome == "no_verdict" else draw(st.floats(0.0, 1.0))
    found, fault = draw(st.none() | TEXT), draw(st.none() | TEXT)
    return Verdict(outcome, score, draw(NAMED), found, draw(TEXT), draw(REAL), fault)


USAGE = st.builds(Usage, st.none() | COUNT, st.none() | COUNT)
ROLLOUT = st.builds(Rollout, COUNT, TOKENS, TEXT, STOP, verdicts(), COUNT, COUNT, st.none() | USAGE)
NOTES = st.builds(Notes, st.none() | REALS, st.none() | REALS, st.none() | REALS)
INTERVAL = st.builds(Interval, REAL, REAL, REAL)
JUDGED = st.builds(Judged, KEY, OUTCOME, st.none() | TEXT, st.none() | COUNT, STOP, st.booleans())
RECORDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Key: KEY,
    Message: MESSAGE,
    Problem: PROBLEM,
    Prompt: PROMPT,
    Sampling: SAMPLING,
    Request: st.builds(Request, KEY, PROMPT, SAMPLING),
    Completion: st.builds(Completion, KEY, IDS, REALS, TEXT, STOP, COUNT, COUNT, st.none() | USAGE),
    Tokens: TOKENS,
    Usage: USAGE,
    Verdict: verdicts(),
    Rollout: ROLLOUT,
    Group: st.builds(Group, PROBLEM, PROMPT, st.lists(ROLLOUT, max_size=3).map(tuple)),
    Dropped: st.builds(Dropped, KEY, st.sampled_from(["flat", "no_verdict", "stale", "overlong", "budget"])),
    Notes: NOTES,
    Sample: st.builds(Sample, KEY, TOKENS, REALS, REAL, COUNT, COUNT, NOTES, st.none() | REALS),
    Pair: st.builds(Pair, PROMPT, TOKENS, TOKENS),
    Interval: INTERVAL,
    Judged: JUDGED,
    Report: st.builds(
        Report,
        TEXT,
        COUNT,
        COUNT,
        st.dictionaries(TEXT, INTERVAL, max_size=3),
        NAMED,
        NAMED,
        st.lists(JUDGED, max_size=3).map(tuple),
        TEXT,
    ),
}


def test_every_record_has_a_round_trip_below() -> None:
    made = {thing for thing in vars(records).values() if isinstance(thing, type) and dataclasses.is_dataclass(thing)}
    assert made | {Key} == set(RECORDS)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_record_comes_back_from_json_equal(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    line = to_json(record)
    assert "\n" not in line
    assert from_json(kind, line) == record


@pytest.mark.parametrize("kind", [kind for kind in RECORDS if kind is not Key], ids=lambda kind: kind.__name__)
def test_a_record_is_frozen(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen


def test_reading_a_record_refuses_what_the_record_refuses() -> None:
    with pytest.raises(ValidationError, match="differ in length: 2, 1, 1"):
        from_json(Tokens, '{"ids": [1, 2], "sampled": [true], "logprobs": [0.0]}')


def test_reading_a_record_refuses_a_word_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="'flat'"):
        from_json(Dropped, '{"origin": ["p", 0], "reason": "boring"}')


@pytest.mark.parametrize(
    ("ids", "sampled", "logprobs"),
    [((1,), (), ()), ((), (True,), ()), ((), (), (0.0,)), ((1, 2), (True, True), (0.0,))],
)
def test_tokens_refuse_fields_that_differ_in_length(
    ids: tuple[int, ...], sampled: tuple[bool, ...], logprobs: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Tokens(ids, sampled, logprobs)


def test_joining_marks_the_completion_as_sampled_and_the_prompt_as_not() -> None:
    tokens = Tokens.join((7, 8), (9,), (-0.5,))
    assert tokens == Tokens((7, 8, 9), (False, False, True), (0.0, 0.0, -0.5))
    assert tokens.sampled_count == 1


def test_joining_refuses_a_logprob_too_few() -> None:
    with pytest.raises(ValueError, match="differ in length: 3, 3, 2"):
        Tokens.join((7,), (8, 9), (-0.5,))


def test_no_verdict_has_no_score() -> None:
    with pytest.raises(ValueError, match=r"'no_verdict' does not go with score 0\.0"):
        Verdict("no_verdict", 0.0)


@pytest.mark.parametrize("outcome", ["right", "wrong"])
def test_a_verdict_has_a_score(outcome: Any) -> None:
    with pytest.raises(ValueError, match="does not go with score None"):
        Verdict(outcome, None)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_lies_between_nought_and_one(score: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        Verdict("wrong", score)


def test_a_group_names_its_rollouts_by_problem_and_index() -> None:
    problem = Problem("chain/train/17", "chain", "1+1=?", {"answer": "2"}, "train", "ab")
    rollout = Rollout(3, Tokens((), (), ()), "2", "eos", Verdict("right", 1.0), 0, 0)
    assert Group(problem, Prompt(problem.id, (), "", ()), (rollout,)).key(rollout) == Key("chain/train/17", 3)


def test_a_fingerprint_is_128_bits_in_hexadecimal() -> None:
    assert len(fingerprint("1+1=?")) == 32


@pytest.mark.parametrize("same", ["what is 1+1?", "  What\n is  1+1? ", "WHAT IS 1+1?", "What is \uff11+1?"])
def test_a_fingerprint_is_blind_to_case_space_and_unicode_form(same: str) -> None:
    assert fingerprint(same) == fingerprint("What is 1+1?")


def test_a_fingerprint_tells_its_parts_apart() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")


def test_a_fingerprint_does_not_depend_on_the_process() -> None:
    code = "from burnish.records import fingerprint; print(fingerprint('1+1=?', 'x'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint("1+1=?", "x")
