"""Two measurements side by side: what is compared, what is refused, and what a sentence says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from burnish.errors import DataError
from burnish.evaluate.sides import Side, compared, sentence
from burnish.records import Judged, Key


def side(name: str, **letters: str) -> Side:
    """side("a", p="rw"): problem p was answered right once and wrong once."""
    outcomes = {"r": "right", "w": "wrong", "?": "no_verdict"}
    rows = [
        Judged(Key(problem, i), outcomes[letter], letter, 1, "eos", False)  # type: ignore[arg-type]
        for problem, given in letters.items()
        for i, letter in enumerate(given)
    ]
    return Side(name, rows, "number@1", {"temperature": 1.0, "seed": 1}, dict.fromkeys(letters, "mark"))


BOTH = side("old", p="ww", q="rw", s="rr"), side("new", p="rw", q="rr", s="rr")


def test_a_comparison_by_hand() -> None:
    found = compared("t", *BOTH)
    assert found["difference"]["value"] == pytest.approx(1 / 3)  # (1/2 + 1/2 + 0) / 3
    assert (found["won"], found["lost"], found["tied"], found["notes"]) == (2, 0, 1, [])
    assert found["won_most"][0] == {"problem": "p", "first": 0.0, "second": 0.5}
    assert found["p_value"] == 0.5  # two moved the same way: 2 of 4 sign patterns are as extreme


def test_the_sentence_of_too_few_problems() -> None:
    assert sentence(compared("t", *BOTH)) == (
        "On the same 3 problems of t (2 answers each), old has 50.0% right and new 83.3%: a change of +33.3 points (95% interval "
        f"{_ends()}, p = 0.5, paired by problem); 2 problems won, 0 lost, 1 as before: no difference beyond chance."
    )


def _ends() -> str:
    change = compared("t", *BOTH)["difference"]
    return f"{100 * change['low']:+.1f} to {100 * change['high']:+.1f}"


def test_the_sentence_of_a_sure_rise() -> None:
    names = [f"p{i}" for i in range(40)]
    old, new = side("old", **dict.fromkeys(names, "w")), side("new", **dict.fromkeys(names, "r"))
    assert "p < 0.001" in sentence(compared("t", old, new)) and sentence(compared("t", old, new)).endswith(
        "new is better, beyond chance."
    )
    assert sentence(compared("t", new, old)).endswith("old is worse, beyond chance.")


def test_another_version_of_the_verifier_is_refused() -> None:
    with pytest.raises(DataError, match=r"judged by number@1 and new by number@2.*burnish rejudge"):
        compared("t", BOTH[0], replace(BOTH[1], verifier="number@2"))


def test_an_unknown_verifier_is_said() -> None:
    assert "not written down" in compared("t", BOTH[0], replace(BOTH[1], verifier=""))["notes"][0]


def test_other_problems_under_the_same_id_are_refused() -> None:
    with pytest.raises(DataError, match="same id on both sides and are not the same, first q"):
        compared("t", BOTH[0], replace(BOTH[1], marks={"p": "mark", "q": "other", "s": "mark"}))


def test_other_problems_are_refused_or_left_out() -> None:
    more = side("new", p="rw", q="rr", s="rr", u="r")
    with pytest.raises(DataError, match=r"0 only in old, 1 only in new, 3 in both.*--common"):
        compared("t", BOTH[0], more)
    assert compared("t", BOTH[0], more, common=True)["problems"] == 3
    with pytest.raises(DataError, match="no problem is on both sides"):
        compared("t", BOTH[0], side("new", z="r"), common=True)


def test_other_counts_and_other_sampling_are_said() -> None:
    other = replace(side("new", p="rwrw", q="rr", s="rr"), sampling={"temperature": 0.6, "seed": 2})
    notes = compared("t", BOTH[0], other)["notes"]
    assert notes[0] == "The answers were drawn differently (temperature 1.0 and 0.6)."
    assert notes[1].startswith("2 answers a problem on one side and 4 on the other")


def test_a_problem_without_a_verdict_on_one_side_is_left_out() -> None:
    found = compared("t", BOTH[0], side("new", p="??", q="rr", s="rr"))
    assert found["problems"] == 2 and "1 problems have no verdict on one side" in found["notes"][0]
