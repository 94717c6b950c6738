"""Figures of sampled answers, against hand numbers."""

from __future__ import annotations

import json

import pytest

from burnish.evaluate import page, verifiers
from burnish.evaluate.figures import figures, pass_rates, summary
from burnish.evaluate.scores import TaskScores, convention
from burnish.records import Judged, Key, Outcome


def rows(**outcomes: str) -> list[Judged]:
    """rows(a="rw?") is problem a with a right, a wrong and a missing verdict; answer i has i + 1 tokens."""
    named: dict[str, Outcome] = {"r": "right", "w": "wrong", "?": "no_verdict"}
    return [
        Judged(Key(name, i), named[letter], letter, i + 1, "eos", False)
        for name, letters in outcomes.items()
        for i, letter in enumerate(letters)
    ]


def test_the_figures_by_hand() -> None:
    found = figures(rows(a="rrww", b="rwww"), [2])
    assert {name: one.interval.value for name, one in found.items()} == pytest.approx(
        {
            "pass@1": (2 / 4 + 1 / 4) / 2,
            "pass@2": (5 / 6 + 3 / 6) / 2,
            "pass^2": (1 / 6 + 0) / 2,
            # a: {r, r} wins, the four {r, w} are ties, {w, w} loses; b: the three {r, w} are ties.
            "maj@2": ((1 + 4 / 2) / 6 + (3 / 2) / 6) / 2,
        }
    )


def test_the_order_of_answers_is_of_no_consequence() -> None:
    listed = rows(a="rrww", b="rwww")
    assert figures(listed, [2, 4]) == figures(list(reversed(listed)), [2, 4])


def test_an_answer_without_a_verdict_counts_for_nothing() -> None:
    assert pass_rates(rows(a="r?", b="??", c="w")) == {"a": 1.0, "c": 0.0}


def test_a_figure_says_over_how_many_problems_it_is() -> None:
    found = figures(rows(a="rr", b="r?", c="??"), [2])
    assert (found["pass@1"].problems, found["pass@2"].problems) == (2, 1)


def test_nothing_judged_has_no_figures() -> None:
    assert figures(rows(a="??"), [1, 2]) == {}


def test_lengths_are_over_the_answers_whose_length_is_known() -> None:
    listed = [*rows(a="rw"), Judged(Key("a", 2), "right", "r", None, "length", True)]
    whole = summary(listed, 1, 4)
    assert (whole.tokens, whole.length, whole.length_right, whole.length_wrong) == (3, 1.5, 1.0, 2.0)
    assert (whole.missing, whole.cut_off, whole.thinks, whole.without_count) == (1, 1, 1, 1)


def test_a_rough_interval_says_so() -> None:
    few = figures(rows(**{f"p{i}": "w" for i in range(97)}, a="r", b="r", c="r"), [])
    many = figures(rows(**{f"p{i}": "rw" for i in range(10)}), [])
    assert few["pass@1"].rough and not many["pass@1"].rough


def scores(listed: list[Judged], problems: int, samples: int, parameters: int | None = 1000) -> TaskScores:
    return TaskScores(listed, problems, samples, 2.0, 10, parameters, "number@1")


def test_flops_are_two_for_each_parameter_and_token() -> None:
    found = scores(rows(a="rw"), 1, 2).scored([1])
    assert found["cost"] == {"tokens": 3, "prompt_tokens": 10, "seconds": 2.0, "flops": 2 * 1000 * (3 + 10)}


def test_nobody_knows_the_flops_of_an_endpoint() -> None:
    assert scores(rows(a="rw"), 1, 2, None).scored([1])["cost"]["flops"] is None


def test_what_a_reader_must_know_is_said() -> None:
    notes = " ".join(scores(rows(a="rr", b="r?"), 2, 3).scored([2])["notes"])
    assert "2 of 6 answers did not come" in notes and "1 of 4 answers have no verdict" in notes
    assert "pass@2, pass^2, maj@2: over as few as 1 of 2 problems" in notes


def test_the_names_of_pass_at_1() -> None:
    assert convention(64, greedy=False) == "avg@64" and convention(1, greedy=True) == "greedy"


def report() -> dict[str, object]:
    one = scores(rows(**{f"p{i}": "rw" for i in range(20)}), 20, 2).scored([1, 2])
    return {
        "out": "runs/eval/x",
        "model": {"path": "runs/m", "weights": "abc", "parameters": 1000},
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new": 64, "seed": 1},
        "system": None,
        "tasks": {"chain": {"task": "chain", "verifier": "number@1", **one}},
    }


def test_the_page_has_a_sentence_to_quote_and_both_intervals() -> None:
    text = page.markdown(json.loads(json.dumps(report())))
    assert "> runs/m answers 50.0% of chain right (95% interval" in text
    assert "| pass@1 (avg@2) | 50.0% |" in text and "| pass^2 | 0.0% |" in text
    assert "number@1 on gsm8k example_model_solutions.jsonl: 0 of 3,275 wrong answers held right" in text


def test_the_picture_is_a_png() -> None:
    assert page.picture(json.loads(json.dumps(report()))).startswith(b"\x89PNG")


def test_a_verifier_nobody_measured_says_so() -> None:
    assert "Nobody has measured how often my:own@1" in verifiers.sentences("my:own@1", verifiers.as_json("my:own@1"))[0]
