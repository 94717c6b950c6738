"""What a file holds: lengths, repeats, kinds of answers, scripts and damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.describe import answer_kind, histogram, oddities, script_of, summary
from terminal import Terminal, write_rows


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Half is 36.\n#### 1,036", "whole number"),
        ("so \\boxed{\\frac{3}{4}} it is", "fraction"),
        ("<answer>-2.5</answer>", "decimal"),
        ("50\\%", "percentage"),
        ("(B)", "choice letter"),
        ("yes", "yes or no"),
        ("(1, 2)", "tuple, set or interval"),
        ("x^2 + 1", "formula"),
        ("Paris", "text"),
        (" ", "empty"),
        ("a word " * 20, "long text"),
    ],
)
def test_answers_have_kinds(text: str, kind: str) -> None:
    assert answer_kind(text) == kind


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("plain, 2 < 3 & 4", []),
        ("line\nbreaks\tare fine", []),
        ("na\ufffdve", ["replacement character"]),
        ("itâ€™s", ["wrongly decoded UTF-8"]),
        ("a\x07b", ["control character"]),
        ("in\u200bvisible", ["invisible character"]),
        ("p\u0430y", ["Latin and Cyrillic in one word"]),
        ("a &amp; b<br>", ["HTML"]),
        ("e\u0301", ["not in Unicode's composed form"]),
        ("\ud800", ["half of a character pair"]),
    ],
)
def test_damage_is_named(text: str, odd: list[str]) -> None:
    assert oddities(text) == odd


def test_the_script_is_that_of_most_letters() -> None:
    assert [script_of(text) for text in ("Wort", "слово и x", "小明有3个苹果", "12 + 3")] == [
        "Latin",
        "Cyrillic",
        "Han",
        "none",
    ]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    bins = histogram(np.array(values))
    assert sum(one["rows"] for one in bins) == len(values) and len(bins) <= 12
    for one in bins:
        assert one["rows"] == sum(one["from"] <= value <= one["to"] for value in values)


def test_a_summary_is_what_numpy_says() -> None:
    said = summary([1, 2, 3, 4, 100])
    assert (said["least"], said["median"], said["mean"], said["most"], said["total"]) == (1, 3.0, 22.0, 100, 110)


def test_stats_counts_columns_repeats_and_oddities(terminal: Terminal, tmp_path: Path) -> None:
    rows = [
        {"question": "One two?", "answer": "1"},
        {"question": "one  TWO?", "answer": "a\ufffd"},
        {"question": "", "n": None},
    ]
    write_rows(tmp_path / "in.jsonl", *rows)
    said = terminal("data", "stats", "in.jsonl", "--json").json
    assert said["questions"] == {"empty": 1, "repeats": 1, "distinct": 1}
    assert said["columns"]["answer"]["missing"] == 1
    assert said["columns"]["answer"]["answers"] == {"whole number": 1, "text": 1}
    assert said["columns"]["answer"]["odd"] == {"replacement character": {"rows": 1, "first": "in.jsonl:2"}}
    assert said["columns"]["question"]["lengths"]["words"]["median"] == 2.0


def test_stats_are_readable_and_can_be_drawn(terminal: Terminal, tmp_path: Path, data_dir: Path) -> None:
    said = terminal("data", "stats", data_dir / "gsm8k" / "test.jsonl", "--plot", "lengths.png")
    assert "1,319 rows; questions: 1,319 distinct, 0 repeats, 0 empty." in said.out
    assert "Answers in answer: 1,319 whole number." in said.out
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")


def test_tokens_are_counted_with_a_models_tokenizer(terminal: Terminal, tmp_path: Path) -> None:
    import tiny

    tiny.tokenizer().save_pretrained(tmp_path / "model")
    write_rows(tmp_path / "in.jsonl", {"question": "12"}, {"question": "123"})
    said = terminal("data", "stats", "in.jsonl", "--model", "model", "--json").json
    expected = [len(tiny.tokenizer()(text)["input_ids"]) for text in ("12", "123")]
    assert said["columns"]["question"]["lengths"]["tokens"]["total"] == sum(expected)


def test_a_file_without_a_question_has_columns_all_the_same(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"x": 1}, {"x": 2.5})
    said = terminal("data", "stats", "in.jsonl", "--json").json
    assert said["questions"] is None and said["columns"]["x"]["kinds"] == {"whole number": 1, "decimal": 1}
    assert "questions: none found" in terminal("data", "stats", "in.jsonl").out
