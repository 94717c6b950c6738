"""Reading numbers exactly, and verdicts on them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.records import Verdict
from burnish.verify.format import extract_answer, split_response
from burnish.verify.numbers import parse_number, verify_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("007", 7),
        ("+7", 7),
        ("-7", -7),
        ("- 7", -7),
        ("\u22127", -7),
        ("7.", 7),
        ("7.0", 7),
        (".5", Fraction(1, 2)),
        ("0.1", Fraction(1, 10)),
        ("1,234", 1234),
        ("12,345,678.5", Fraction(24691357, 2)),
        ("1{,}234", 1234),
        ("1 234", 1234),
        ("1\u202f234\u202f567", 1234567),
        ("10\\,000", 10000),
        ("11,\\! 111", 11111),
        ("$18", 18),
        ("-$18", -18),
        ("$-18", -18),
        ("\\$18.90", Fraction(189, 10)),
        ("€20", 20),
        ("20 €", 20),
        ("£1,000", 1000),
        ("20 USD", 20),
        ("18.5 dollars.", Fraction(37, 2)),
        ("50%", 50),
        ("50\\%", 50),
        ("50 percent", 50),
        ("3/4", Fraction(3, 4)),
        ("-3 / 4", Fraction(-3, 4)),
        ("3\u20444", Fraction(3, 4)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("-\\dfrac34", Fraction(-3, 4)),
        ("3 1/2", Fraction(7, 2)),
        ("-3 1/2", Fraction(-7, 2)),
        ("3\\frac{1}{2}", Fraction(7, 2)),
        ("3½", Fraction(7, 2)),
        ("½", Fraction(1, 2)),
        ("1e3", 1000),
        ("1.5E-2", Fraction(3, 200)),
        ("1.5*10^3", 1500),
        ("1.5 × 10^{3}", 1500),
        ("2 \\times 10^{-1}", Fraction(1, 5)),
        ("１２，３４５", 12345),
        ("\u0661\u0662", 12),
        ("$18$", 18),
        ("$\\$18$", 18),
        ("**18**", 18),
        ("\\(18\\)", 18),
        ("18\\text{ dollars}", 18),
    ],
)
def test_a_number_is_read_exactly(text: str, value: int | Fraction) -> None:
    assert parse_number(text) == value


# fmt: off
NOT_NUMBERS = [
    "", " ", "abc", "nan", "inf", "-inf", "1,23", "1,2345", "0,123", "1,2,3,4", "1.234,5", "12 34", "1 2", "1  234",
    "--7", "-$-7", "+-7", "$7%", "1.2.3", "1/2/3", "1/0", "0/0", "3 5/2", "1/-2", "1/2.5", "1.5/2", "10²", "5₂", "①",
    "x=5", "5x", "5 x", "2 pi", "5!", "2^3", "(5)", "0x1F", "1_000", "1e", "e5", "1e1.5", "5 or 6", "5, 6", "5\n6",
    "7 eggs", "5\x00", "\x005", "\u202e21", "5\u200f", "\u200b5", "5 \ud800", "{5}", "\\boxed{5", "$", "-", ".",
    ",", "/", "%",
]
TOO_LARGE = [
    "1e999999999", "1e-999999999", "1e301", "9" * 301, "0." + "1" * 301, "9" * 1_000_000, "1" + ",111" * 10**5,
    "1e" + "9" * 900, "2*10^99999", "9" * 200 + "/" + "9" * 200,
]
# fmt: on


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_not_one_number_is_none(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    "text", ["18 eggs", "18 cubic metres", "18 miles per hour", "$18 each", "18\\text{ cm}", "18°"]
)
def test_unit_words_are_dropped_where_asked(text: str) -> None:
    assert (parse_number(text, units=True), parse_number(text)) == (18, None)


@pytest.mark.parametrize(
    "text", ["5 million", "5 squared", "5 or so", "5 x", "5 y", "5 pi", "5 is not the answer", "5 (6)"]
)
def test_words_that_change_a_number_are_no_units(text: str) -> None:
    assert parse_number(text, units=True) is None


@pytest.mark.parametrize("text", TOO_LARGE, ids=lambda text: text[:12])
def test_numbers_beyond_the_bounds_are_none_and_never_built(text: str) -> None:
    assert parse_number(text) is None


def test_numbers_at_the_bounds_are_read() -> None:
    assert parse_number("9" * 300) == 10**300 - 1
    assert parse_number("1e300") == 10**300


FORMS = [
    lambda n: f"{n}",
    lambda n: f"{n:,}",
    lambda n: f"{n:,}".replace(",", "{,}"),
    lambda n: f"{n:,}".replace(",", " "),
    lambda n: f"{n:,}".replace(",", "\\,"),
    lambda n: f"{n:,}".replace("-", "\u2212"),
    lambda n: f"{n}.",
    lambda n: f"{n}.00",
    lambda n: f"{n}/1",
    lambda n: f"{n}e0",
    lambda n: f"${n}",
    lambda n: f"{n}%",
    lambda n: f"  {n:,} dollars ",
    lambda n: f"**{n}**",
    lambda n: f"\\({n}\\)",
    lambda n: "".join(chr(ord(c) + 0xFEE0) for c in str(n)),
]


@settings(deadline=None, max_examples=200)
@given(st.integers(-(10**20), 10**20), st.sampled_from(FORMS))
def test_every_way_to_write_an_integer_reads_the_same(number: int, form) -> None:
    assert parse_number(form(number)) == number


@settings(deadline=None, max_examples=100)
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_a_ratio_reads_as_written(top: int, bottom: int) -> None:
    assert parse_number(f"{top}/{bottom}") == parse_number(f"\\frac{{{top}}}{{{bottom}}}") == Fraction(top, bottom)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 999), st.integers(1, 999))
def test_a_mixed_number_is_its_whole_and_its_fraction(whole: int, top: int, more: int) -> None:
    bottom = top + more
    assert parse_number(f"{whole} {top}/{bottom}") == whole + Fraction(top, bottom)


@settings(deadline=None, max_examples=100)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_a_decimal_reads_exactly(number) -> None:
    assert parse_number(f"{number:f}") == Fraction(number)


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.text(), st.text("0123456789.,+-/$%eE ×^{}\\!frac½²−٣€", max_size=20)), st.booleans())
def test_no_text_raises(text: str, units: bool) -> None:
    parse_number(text, units)
    verify_number("7", text)


# ---- verify_number


def outcome(gold: str, response: str, style: str = "any", strict: bool = False) -> str:
    return verify_number(gold, response, style, strict=strict).outcome  # type: ignore[arg-type]


def test_a_right_answer_carries_what_was_found_and_its_parts() -> None:
    verdict = verify_number("72", "<think>48+24</think><answer>$72.00</answer>")
    assert verdict == Verdict("right", 1.0, {"format": 1.0, "thought": 1.0}, "$72.00", "equals 72")


def test_a_wrong_answer_scores_nothing() -> None:
    verdict = verify_number("72", "<answer>71</answer>")
    assert (verdict.outcome, verdict.score, verdict.why) == ("wrong", 0.0, "does not equal 72")


def test_equality_is_exact() -> None:
    assert outcome("0.0000001", "0.0000002") == "wrong"
    assert outcome("1/3", "0.3333333333333333") == "wrong"
    assert outcome("0.1", "1/10") == "right"


def test_percent_equals_the_number_before_the_sign_and_never_the_share() -> None:
    assert [outcome("50", "50%"), outcome("50%", "50"), outcome("50%", "0.5")] == ["right", "right", "wrong"]


@pytest.mark.parametrize("gold", ["", "abc", "5 eggs", "1,23", "1e999999999", "x = 5"])
def test_a_gold_that_is_no_number_is_no_verdict(gold: str) -> None:
    verdict = verify_number(gold, f"<answer>{gold}</answer>")
    assert (verdict.outcome, verdict.score, verdict.fault) == ("no_verdict", None, "gold")


@pytest.mark.parametrize(
    "response",
    [
        "",
        "<think>19</think>",
        "<think><answer>19</answer>",
        "<think>it is <answer>19</answer></think>",
        "<think>\\boxed{19}</think> I do not know",
        "<think>the answer is 19",
        "<answer>19",
        "\\boxed{19",
        "<answer>18 or 19</answer>",
        "<answer>19, 20</answer>",
        "<answer>1 to 100</answer>",
        "<answer>not 19</answer>",
        "<answer>19 is wrong</answer>",
        "<answer>19\x00</answer>",
        "<answer>\u202e91</answer>",
        "<answer>18+1</answer>",
        "<answer>__import__('os').system('echo 19')</answer>",
        "<answer>eval('19')</answer>",
        "<answer>19</answer><answer>20</answer>",
        "I counted 19 of them, I think",
    ],
)
def test_nothing_but_an_answer_of_19_is_right(response: str) -> None:
    verdict = verify_number("19", response)
    assert (verdict.outcome, verdict.fault) == ("wrong", None)


def test_a_huge_answer_is_wrong_and_the_verdict_keeps_only_its_beginning() -> None:
    verdict = verify_number("1", "<answer>" + "1" * 10**6 + "</answer>")
    assert (verdict.outcome, verdict.found) == ("wrong", "1" * 1000)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>a</think><answer>19</answer>", "right"),
        ("<answer>19</answer>", "right"),
        ("<think></think><answer>19</answer>", "wrong"),
        ("<think>a</think><answer>19</answer> garbage", "wrong"),
        ("<think>a</think><answer>19</answer><answer>19</answer>", "wrong"),
        ("<think>a</think>\\boxed{19}", "wrong"),
    ],
)
def test_strict_wants_a_well_formed_response_as_well(response: str, expected: str) -> None:
    assert outcome("19", response, "answer_tag", strict=True) == expected


# ---- real answers


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_verdicts_agree_with_all_labelled_gsm8k_solutions(data_dir: Path) -> None:
    checked = 0
    for row in rows(data_dir / "gsm8k" / "example_model_solutions.jsonl"):
        gold = row["ground_truth"].rsplit("A:", 1)[1].strip()
        for solution in (value for value in row.values() if isinstance(value, dict)):
            verdict = verify_number(gold, solution["solution"])
            assert (verdict.outcome == "right") is solution["is_correct"], (gold, solution["solution"][-80:], verdict)
            checked += 1
    assert checked == 5276


@pytest.mark.parametrize(("split", "count"), [("train", 7473), ("test", 1319)])
def test_every_gsm8k_gold_passes_its_own_verifier(data_dir: Path, split: str, count: int) -> None:
    solutions = [row["answer"] for row in rows(data_dir / "gsm8k" / f"{split}.jsonl")]
    golds = [extract_answer(split_response(solution), "hash") for solution in solutions]
    verdicts = [verify_number(gold.text, text, "hash") for gold, text in zip(golds, solutions, strict=True) if gold]
    assert [verdict.outcome for verdict in verdicts] == ["right"] * count
