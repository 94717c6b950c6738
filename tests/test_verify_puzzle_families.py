"""The judges of the puzzle families: any right answer, however it is written, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.records import Problem, Verdict
from burnish.verify import judge, load
from burnish.verify.puzzles.bases import written

SUDOKU = {"grid": [[1, 0, 0, 4], [0, 4, 1, 0], [2, 0, 4, 0], [0, 3, 0, 1]], "box": [2, 2]}
LOOSE = {"grid": [[1, 2, 3, 4], [3, 4, 1, 2], [0, 0, 0, 0], [0, 0, 0, 0]], "box": [2, 2]}  # more than one solution
KNIGHTS = {"names": ["Ann", "Bob"], "statements": [[0, ["and", ["knave", 0], ["knave", 1]]], [1, ["knave", 0]]]}
SORT = {"items": [30, 4, 100], "by": "ascending"}
LENGTHS = {"items": ["pear", "fig", "plum"], "by": "length"}
PATH = {"edges": [["A", "B", 9], ["A", "C", 2], ["C", "B", 3], ["A", "D", 1], ["D", "B", 4]], "start": "A", "goal": "B"}
DAY = {"kind": "date", "answer": "2024-02-29"}
BINARY = {"value": 11, "base": 2}
METRES = {"value": "3500", "unit": "metre"}


def say(verifier: str, reference: dict[str, Any], answer: str) -> Verdict:
    problem = Problem("p/0", "p", "?", reference, "train", "")
    return judge(load(verifier), problem, f"<think>so</think><answer>{answer}</answer>")


RIGHT = [
    ("sudoku", SUDOKU, "1234\n3412\n2143\n4321"),
    ("sudoku", SUDOKU, "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"),
    ("sudoku", SUDOKU, "[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]"),
    ("sudoku", SUDOKU, "|12|34|\n|34|12|\n+--+--+\n|21|43|\n|43|21|"),
    ("sudoku", LOOSE, "1234 3412 2143 4321"),
    ("sudoku", LOOSE, "1234 3412 4321 2143"),
    ("knights", KNIGHTS, "Ann is a knave, Bob is a knight"),
    ("knights", KNIGHTS, "bob: KNIGHT; ann: knave."),
    ("knights", KNIGHTS, "Bob is a knight and Ann is a knave"),
    ("knights", KNIGHTS, "Ann = knave\nBob = knight"),
    ("sorting", SORT, "4, 30, 100"),
    ("sorting", SORT, "[4, 30, 100]"),
    ("sorting", SORT, "4 30 100"),
    ("sorting", LENGTHS, "fig, pear, plum"),
    ("sorting", LENGTHS, "'fig', 'Plum', 'pear'"),
    ("path", PATH, "A -> C -> B"),
    ("path", PATH, "A, D, B"),
    ("path", PATH, "A→D→B"),
    ("date", DAY, "2024-02-29"),
    ("date", DAY, "29 February 2024"),
    ("date", DAY, "Thursday, February 29th, 2024."),
    ("date", DAY, "Feb 29 2024 (Thursday)"),
    ("date", {"kind": "weekday", "answer": "Tuesday"}, "tue"),
    ("date", {"kind": "days", "answer": 1200}, "1,200 days"),
    ("base", BINARY, "1011"),
    ("base", BINARY, "0b1011"),
    ("base", BINARY, "00001011"),
    ("base", BINARY, "1011_2"),
    ("base", BINARY, "1011 (base 2)"),
    ("base", {"value": 255, "base": 16}, "0xFF"),
    ("base", {"value": 0xB1, "base": 16}, "b1"),
    ("base", {"value": -5, "base": 2}, "-101"),
    ("quantity", METRES, "3500"),
    ("quantity", METRES, "3,500 m"),
    ("quantity", METRES, "3.5e3 metres"),
    ("quantity", METRES, "7000/2"),
]


@pytest.mark.parametrize(("verifier", "reference", "answer"), RIGHT)
def test_a_right_answer_is_right_however_it_is_written(verifier: str, reference: dict[str, Any], answer: str) -> None:
    verdict = say(verifier, reference, answer)
    assert (verdict.outcome, verdict.why) == ("right", verdict.why)


WRONG = [
    ("sudoku", SUDOKU, "1234\n3412\n2143\n432", "15 digits"),
    ("sudoku", SUDOKU, "1234\n3412\n2143\n4321 1", "17 digits"),
    ("sudoku", SUDOKU, "2134\n3412\n1243\n4321", "clue 1 in row 1, column 1 was changed to 2"),
    ("sudoku", LOOSE, "1234\n3412\n2143\n2143", "column 1 holds 2 twice"),
    ("sudoku", LOOSE, "1234\n3412\n2143\n4320", "not one of 1 to 4"),
    ("sudoku", SUDOKU, "1234\n3412\n2143\n432x", "'x' means nothing"),
    ("sudoku", SUDOKU, "1234\n3412\n2143\n432１", "means nothing"),
    ("knights", KNIGHTS, "Ann is a knight, Bob is a knave", "Ann would be a knight who says what is false"),
    ("knights", KNIGHTS, "Ann is a knave", "nothing is said about Bob"),
    ("knights", KNIGHTS, "Ann is a knave, Bob is a knight, Bob is a knave", "named twice"),
    ("knights", KNIGHTS, "Ann is a knave, Bob is a knight, Cid is a knave", "nobody is called"),
    ("knights", KNIGHTS, "Ann is a knave or a knight, Bob is a knight", "not of the form"),
    ("knights", KNIGHTS, "Ann is not a knight, Bob is a knight", "not of the form"),
    ("knights", KNIGHTS, "", "not well formed"),
    ("sorting", SORT, "4, 30", "100 is missing"),
    ("sorting", SORT, "4, 30, 100, 100", "one too many"),
    ("sorting", SORT, "100, 30, 4", "not in the order"),
    ("sorting", SORT, "4, 30, 1e2", "not an integer"),
    ("sorting", SORT, "4 < 30 < 100", "not an integer"),
    ("sorting", LENGTHS, "pear, plum, fig", "not in the order"),
    ("path", PATH, "A -> B", "has length 9, and a path of length 5 exists"),
    ("path", PATH, "A -> C", "does not lead from A to B"),
    ("path", PATH, "C -> B", "does not lead from A to B"),
    ("path", PATH, "A -> E -> B", "no edge leads"),
    ("path", PATH, "A -> C -> A -> C -> B", "has length 9"),
    ("path", PATH, "A -> C -> B (5)", "no edge leads"),
    ("date", DAY, "2024-03-01", "is not 2024-02-29"),
    ("date", DAY, "29/02/2024", "not a date"),
    ("date", DAY, "2023-02-29", "not a date"),
    ("date", DAY, "Friday, 29 February 2024", "is not a Friday"),
    ("date", DAY, "2024-02-29 or 2024-03-01", "not a date"),
    ("date", {"kind": "weekday", "answer": "Tuesday"}, "Tuesday or Wednesday", "not a weekday"),
    ("date", {"kind": "weekday", "answer": "Tuesday"}, "Tues Wed", "not a weekday"),
    ("date", {"kind": "days", "answer": 12}, "-12", "is not 12"),
    ("date", {"kind": "days", "answer": 12}, "12 weeks", "not a whole number"),
    ("base", BINARY, "11", "is not 1011"),
    ("base", BINARY, "1011_3", "is written in base 3"),
    ("base", BINARY, "0xB", "is written in base 16"),
    ("base", BINARY, "1012", "'2' is no digit"),
    ("base", BINARY, "1010+1", "'+' is no digit"),
    ("base", BINARY, "", "not well formed"),
    ("quantity", METRES, "3.5 km", "is given in 'km'"),
    ("quantity", METRES, "3500 km", "is given in 'km'"),
    ("quantity", METRES, "3500%", "not a number"),
    ("quantity", METRES, "$3500", "not a number"),
    ("quantity", METRES, "3500.0001", "does not equal 3500"),
    ("quantity", METRES, "3500 m or 3 m", "not a number"),
    ("quantity", {"value": 5, "unit": "millimetre"}, "5 Mm", "is given in 'Mm'"),
]


@pytest.mark.parametrize(("verifier", "reference", "answer", "why"), WRONG)
def test_anything_else_is_wrong_and_says_why(verifier: str, reference: dict[str, Any], answer: str, why: str) -> None:
    verdict = say(verifier, reference, answer)
    assert verdict.outcome == "wrong" and why in verdict.why


GOLD = [
    ("sudoku", {"grid": [[1, 1], [0, 0]], "box": [1, 2]}, "contradict"),
    ("sudoku", {"grid": [[1, 5], [0, 0]], "box": [1, 2]}, "from 0 to 2"),
    ("sudoku", {**SUDOKU, "box": [3, 2]}, "product is 4"),
    ("sudoku", {"grid": [[True, 0], [0, 0]], "box": [1, 2]}, "integer"),
    ("sudoku", {"grid": SUDOKU["grid"]}, "no 'box'"),
    ("knights", {"names": ["Ann", "ann"], "statements": [[0, ["knight", 1]]]}, "the same"),
    ("knights", {"names": ["Ann"], "statements": [[0, ["knight", 1]]]}, "not a claim"),
    ("knights", {"names": ["Ann"], "statements": [[0, ["sings", 0]]]}, "not a claim"),
    ("sorting", {"items": [1, "b"], "by": "ascending"}, "must be integers"),
    ("sorting", {"items": [1], "by": "size"}, "none of ascending"),
    ("path", {**PATH, "goal": "Z"}, "no path leads"),
    ("path", {**PATH, "edges": [["A", "B", 0]]}, "not an edge"),
    ("date", {"kind": "date", "answer": "2023-02-29"}, "not a date"),
    ("date", {"kind": "hour", "answer": 3}, "none of date"),
    ("base", {"value": 3, "base": 1}, "from 2 to 36"),
    ("quantity", {"value": "many", "unit": "metre"}, "not a number"),
    ("quantity", {"value": 3, "unit": "cubit"}, "none of"),
]


@pytest.mark.parametrize(("verifier", "reference", "why"), GOLD)
def test_a_puzzle_that_is_none_is_a_fault_of_the_gold(verifier: str, reference: dict[str, Any], why: str) -> None:
    verdict = say(verifier, reference, "1")
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold") and why in verdict.why


FAMILIES = [
    ("sudoku", SUDOKU),
    ("knights", KNIGHTS),
    ("sorting", SORT),
    ("path", PATH),
    ("date", DAY),
    ("base", BINARY),
    ("quantity", METRES),
]


@pytest.mark.parametrize(("verifier", "reference"), FAMILIES)
@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_makes_a_judge_fail(verifier: str, reference: dict[str, Any], text: str) -> None:
    assert say(verifier, reference, text).outcome in ("right", "wrong")


@pytest.mark.parametrize(("verifier", "reference"), FAMILIES)
@pytest.mark.parametrize(
    "text", ["1" * 2001, "(" * 1999, "A -> " * 390, "9" * 1990, "-" * 1990, " ".join("1" * 900), "\x00", "‮4‬"]
)
def test_long_and_strange_answers_are_wrong_at_once(verifier: str, reference: dict[str, Any], text: str) -> None:
    verdict = say(verifier, reference, text)
    assert verdict.outcome == "wrong" and verdict.seconds < 0.2


@given(st.integers(-(10**9), 10**9), st.integers(2, 36))
def test_a_number_is_read_as_python_reads_it(value: int, base: int) -> None:
    assert int(written(value, base), base) == value
    assert say("base", {"value": value, "base": base}, written(value, base)).outcome == "right"
    assert say("base", {"value": value + 1, "base": base}, written(value, base)).outcome == "wrong"


@pytest.mark.parametrize(("verifier", "reference", "answer"), RIGHT[::6])
def test_the_answer_counts_only_in_a_well_formed_response(
    verifier: str, reference: dict[str, Any], answer: str
) -> None:
    problem = Problem("p/0", "p", "?", reference, "train", "")
    for response in (
        answer,
        f"<think>{answer}",
        f"<think><answer>{answer}</answer></think>",
        f"<answer>{answer}</answer> So.",
    ):
        assert judge(load(verifier), problem, response).outcome == "wrong"
