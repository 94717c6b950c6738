"""Auditing a verifier: rates by hand, intervals against another library, and the verb on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.evaluate.audit import Case, by_class, compare, rates, wilson
from burnish.records import Verdict
from burnish.verify import identity
from terminal import Terminal, write_rows

SAID = {"right": Verdict("right", 1.0), "wrong": Verdict("wrong", 0.0), "no_verdict": Verdict("no_verdict", None)}


def cases(*rows: tuple[bool, str], kind: str = "all") -> list[Case]:
    return [Case(f"rows:{i}", kind, label, SAID[outcome]) for i, (label, outcome) in enumerate(rows)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def test_errors_are_counted_over_all_of_their_label() -> None:
    found = rates(cases((True, "right"), (True, "wrong"), (True, "no_verdict"), (False, "right"), (False, "wrong")))
    assert (found.n, found.positives, found.false_positives, found.false_negatives, found.no_verdict) == (5, 3, 1, 1, 1)
    assert found.false_positive_rate is not None and found.false_positive_rate.value == 0.5
    assert found.false_negative_rate is not None and found.false_negative_rate.value == pytest.approx(1 / 3)
    assert found.no_verdict_share.value == 0.2


def test_a_label_that_does_not_occur_has_no_rate() -> None:
    found = rates(cases((True, "right")))
    assert found.false_positive_rate is None and found.false_negative_rate is not None


def test_classes_are_kept_apart() -> None:
    found = by_class(cases((True, "wrong"), kind="a") + cases((True, "right"), kind="b"))
    assert [(kind, one.n, one.false_negatives) for kind, one in found.items()] == [("a", 1, 1), ("b", 1, 0)]


@settings(deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(pair: tuple[int, int]) -> None:
    from scipy.stats import binomtest

    successes, n = pair
    ours, theirs = wilson(successes, n), binomtest(successes, n).proportion_ci(0.95, "wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (2, 1), (-1, 5)])
def test_what_is_no_share_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(successes, n)


def test_two_verifiers_are_compared_case_by_case() -> None:
    first = cases(*[(True, "right")] * 10, *[(True, "wrong")] * 2, (False, "no_verdict"), (False, "right"))
    second = cases(*[(True, "wrong")] * 8, *[(True, "right")] * 4, (False, "wrong"), (False, "right"))
    found = compare(first, second[::-1])
    assert (found.both_miss, found.only_first, found.only_second, found.neither) == (1, 3, 8, 2)
    assert found.difference.value == pytest.approx(-5 / 14)
    assert found.difference.low < found.difference.value < found.difference.high
    # 2 * (C(11,0) + C(11,1) + C(11,2) + C(11,3)) / 2^11 = 2 * (1 + 11 + 55 + 165) / 2048
    assert found.p == pytest.approx(464 / 2048)


def test_verifiers_that_agree_give_p_one() -> None:
    same = cases((True, "right"), (False, "wrong"))
    assert compare(same, same).p == 1.0


def test_other_answers_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="the same answers"):
        compare(cases((True, "right")), cases((True, "right"), (True, "right")))


LABELLED: list[dict[str, Any]] = [
    {"gold": "4", "answer": "4.0", "label": True, "class": "same"},
    {"gold": "4", "answer": "5", "label": False, "class": "other"},
    {"gold": "4", "answer": "4", "expected": False, "class": "other", "note": "a slip of the labeller"},
    {"gold": "4", "response": "<think>4</think> I do not know", "label": True, "class": "same"},
    {"gold": "four", "answer": "4", "label": True, "class": "words"},
]


def test_an_audit_counts_and_lists(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "labelled.jsonl", *LABELLED)
    said = terminal("audit", "number", "labelled.jsonl", "--json", "--out", "audit.json")
    assert said.code == 0 and said.err == ""
    result = said.json
    assert result["verifier"] == identity("number") and result["data"]["n"] == 5
    assert (result["all"]["false_positives"], result["all"]["false_negatives"], result["all"]["no_verdict"]) == (
        1,
        1,
        1,
    )
    assert [one["place"] for one in result["disagreements"]] == [f"labelled.jsonl:{line}" for line in (3, 4, 5)]
    assert result["disagreements"][2]["fault"] == "gold"
    assert set(result["classes"]) == {"same", "other", "words"}
    written = json.loads((tmp_path / "audit.json").read_text())
    assert written == {key: value for key, value in result.items() if key != "out"}


def test_the_hash_is_of_the_file(terminal: Terminal, tmp_path: Path) -> None:
    hashes = []
    for rows in (LABELLED, LABELLED, LABELLED[:4]):
        write_rows(tmp_path / "labelled.jsonl", *rows)
        hashes.append(terminal("audit", "number", "labelled.jsonl", "--json").json["data"]["blake2b"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_audit_as_a_page(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "labelled.jsonl", *LABELLED)
    said = terminal("audit", "number", "labelled.jsonl", "--against", "tagged_number")
    assert said.code == 0
    assert "5 labelled answers of labelled.jsonl" in said.out and "3 disagreements of number@" in said.out
    assert "McNemar p" in said.out and "tagged_number@" in said.out
    assert "labelled.jsonl:3 other: labelled wrong, right: '4' against '4'" in said.out


def test_a_second_verifier_is_compared(terminal: Terminal, tmp_path: Path) -> None:
    rows = [
        {"gold": "1/2", "answer": "\\frac{1}{2}", "label": True},
        {"gold": "(0,1]", "answer": "(0, 1]", "label": True},
    ]
    write_rows(tmp_path / "labelled.jsonl", *rows)
    result = terminal(
        "audit", "number", "labelled.jsonl", "--against", "math-verify", "--deadline", "30", "--json"
    ).json
    assert result["against"]["all"]["false_negatives"] == 0
    assert (result["comparison"]["only_first"], result["comparison"]["neither"]) == (1, 1)
    assert [one["place"] for one in result["apart"]] == ["labelled.jsonl:2"]


@pytest.mark.parametrize(
    ("verifier", "rows", "fragments"),
    [
        ("nubmer", LABELLED, ["'nubmer'", "did you mean 'number'"]),
        ("number", [{"gold": "4", "answer": "4"}], ["labelled.jsonl:1 has no label", "gold, answer"]),
        ("number", [{"gold": "4", "answer": "4", "label": "yes"}], ["labelled.jsonl:1 has no label"]),
        ("number", [LABELLED[0], {"answer": "4", "label": True}], ["labelled.jsonl:2", "what is right"]),
        ("number", [LABELLED[0], {"gold": "4", "label": True}], ["labelled.jsonl:2", "nothing to judge"]),
        ("number", [LABELLED[0], "{"], ["labelled.jsonl:2", "not JSON"]),
        ("number", [], ["labelled.jsonl has no rows"]),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    terminal: Terminal, tmp_path: Path, verifier: str, rows: list[Any], fragments: list[str]
) -> None:
    write_rows(tmp_path / "labelled.jsonl", *rows)
    said = terminal("audit", verifier, "labelled.jsonl", "--out", "audit.json")
    assert said.code == 2
    for fragment in fragments:
        assert fragment in said.sentence
    assert not (tmp_path / "audit.json").exists()


def test_an_unknown_second_verifier_is_refused_before_the_work(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "labelled.jsonl", *LABELLED)
    assert (
        "did you mean 'math-verify'"
        in terminal("audit", "number", "labelled.jsonl", "--against", "math-verfy").sentence
    )
    assert "no file none.jsonl" in terminal("audit", "number", "none.jsonl").sentence


@pytest.mark.slow
def test_math_verify_on_the_labelled_cases(data_dir: Path, terminal: Terminal) -> None:
    """The second opinion is judged in killable workers: all are answered, whatever is in them."""
    result = terminal("audit", "math-verify", data_dir / "math_cases" / "cases.jsonl", "--workers", "1", "--json").json
    assert result["all"]["n"] == 180 == sum(one["n"] for one in result["classes"].values())
    assert 0 < result["all"]["no_verdict"] < 20
