"""Countdown: exactly these numbers, exactly this target, and nothing that is not arithmetic."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.verify.puzzles import verify_countdown

NUMBERS, TARGET = [44, 19, 35], 98


def judge(answer: str, numbers: object = NUMBERS, target: object = TARGET):
    return verify_countdown(numbers, target, f"<think>a</think>\n<answer> {answer} </answer>")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "numbers", "target"),
    [
        ("44 + (19 + 35)", [44, 19, 35], 98),
        ("35+44+19", [44, 19, 35], 98),
        ("44 + 19 + 35 = 98", [44, 19, 35], 98),
        ("((((44))))+(19+35)", [44, 19, 35], 98),
        ("2 * 3 + 4", [2, 3, 4], 10),
        ("4 + 2 * 3", [2, 3, 4], 10),
        ("2 × 3 · 4", [2, 3, 4], 24),
        ("2 x 3 * 4", [2, 3, 4], 24),
        ("8 ÷ 4 / 2", [8, 4, 2], 1),
        ("10 − 2 - 3", [10, 2, 3], 5),
        ("8 / (3 - 8 / 3)", [8, 3, 8, 3], 24),
        ("2 - 5 = -3", [2, 5], -3),
        ("0 * 7", [7, 0], 0),
        ("5", [5], 5),
        ("3\n+\n4", [3, 4], 7),
    ],
)
def test_an_expression_of_the_numbers_that_equals_the_target_is_right(answer, numbers, target) -> None:
    assert judge(answer, numbers, target).outcome == "right"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("44 + 19", "does not use exactly 44, 19, 35"),
        ("44 + 19 + 35 + 0", "does not use exactly 44, 19, 35"),
        ("98", "does not use exactly 44, 19, 35"),
        ("49 + 49", "does not use exactly 44, 19, 35"),
        ("44 + 19 + 19 + 35 - 19", "does not use exactly 44, 19, 35"),
        ("44 + 19 - 35", "does not equal 98"),
        ("44 + 19 - 35 = 28", "does not equal 98"),
        ("44 + 19 - 35 = 98", "what stands after = is not what stands before it"),
        ("44 / (19 - 19) + 35", "divides by zero"),
        ("44 + 19 + 35 = 98 = 98", "not an expression: '=' was not expected"),
        ("", "not well formed: the answer is empty"),
        ("44 19 35", "not an expression: '19' was not expected"),
        ("44 + 19 + 3 5", "not an expression: '5' was not expected"),
        ("-44 + 19 + 35", "not an expression: '-' where a number was expected"),
        ("44 + +19 + 35", "not an expression: '+' where a number was expected"),
        ("44 ** 19", "not an expression: '*' where a number was expected"),
        ("(44 + 19 + 35", "not an expression: a parenthesis is not closed"),
        ("44 + 19 + 35)", "not an expression: ')' was not expected"),
        ("44 + 19 +", "not an expression: the end where a number was expected"),
        ("44.0 + 19 + 35", "not an expression: '.' means nothing here"),
        ("044 + 19 + 35", "not an expression: '44' was not expected"),
        ("44 + 19 + 35 # yes", "not an expression: '# yes' means nothing here"),
        ("__import__('os').system('true') + 98", "not an expression: '__import__' means nothing here"),
        ("[44,19,35][0] + 54", "not an expression: '[' means nothing here"),
        ("44 + 19 + 35\x00", "not an expression: '\\x00' means nothing here"),
        ("\u202e44 + 19 + 35", "not an expression: '\\u202e' means nothing here"),
        ("44 + 19 + ३५", "not an expression: '३५' means nothing here"),
        ("1" * 513, "too long: more than 512 characters"),
        pytest.param("9" * 1_000_000, "too long: more than 512 characters", id="a megabyte"),
        ("(" * 256 + "44" + ")" * 254, "too long: nested more than 20 deep"),
        ("(" * 21 + "44" + ")" * 21 + "+19+35", "too long: nested more than 20 deep"),
    ],
)
def test_what_is_wrong_says_why(answer: str, why: str) -> None:
    verdict = judge(answer)
    assert (verdict.outcome, verdict.score, verdict.why) == ("wrong", 0.0, why)


def test_twenty_parentheses_are_allowed() -> None:
    assert judge("(" * 20 + "44" + ")" * 20 + "+19+35").outcome == "right"


@pytest.mark.parametrize(
    "response",
    [
        "<think>44+19+35</think>",
        "<think><answer>44+19+35</answer></think>",
        "<think>a<answer>44+19+35</answer>",
        "<think></think><answer>44+19+35</answer>",
        "<think>a</think><answer>44+19+35</answer> or so",
        "<think>a</think><answer>44+19+35</answer><answer>44+19+35</answer>",
        "<think>a</think><answer>44+19+35",
        "<think>a</think>\\boxed{44+19+35}",
    ],
)
def test_only_a_well_formed_response_counts(response: str) -> None:
    verdict = verify_countdown(NUMBERS, TARGET, response)
    assert verdict.outcome == "wrong"
    assert verdict.parts["format"] == 0.0


@pytest.mark.parametrize(
    ("numbers", "target"),
    [
        ([], 5),
        ([1] * 33, 5),
        ([1.5, 2], 5),
        ([-1, 6], 5),
        ([True, 4], 5),
        (["1", 4], 5),
        ([10**19], 5),
        ("14", 5),
        (None, 5),
        ([1, 4], "5"),
        ([1, 4], 5.0),
        ([1, 4], None),
        ([1, 4], True),
        ([1, 4], 10**19),
    ],
)
def test_a_puzzle_that_is_none_is_no_verdict(numbers: object, target: object) -> None:
    verdict = judge("1 + 4", numbers, target)
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")


Tree = int | tuple  # a number, or (operator, left, right)
TREES = st.recursive(st.integers(0, 99), lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner), max_leaves=8)


def value(tree: Tree) -> Fraction:
    if isinstance(tree, int):
        return Fraction(tree)
    operator, left, right = tree[0], value(tree[1]), value(tree[2])
    return {"+": left + right, "-": left - right, "*": left * right}[operator] if operator != "/" else left / right


def leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else leaves(tree[1]) + leaves(tree[2])


def written(tree: Tree, outer: int = 0) -> str:
    """With only the parentheses that are needed, so that precedence and associativity are tested."""
    if isinstance(tree, int):
        return str(tree)
    strength = 1 if tree[0] in "+-" else 2
    text = f"{written(tree[1], strength)} {tree[0]} {written(tree[2], strength + 1)}"
    return f"({text})" if strength < outer else text


@settings(deadline=None, max_examples=300)
@given(TREES, st.randoms(use_true_random=False))
def test_a_random_expression_is_right_exactly_where_it_equals_the_target(tree: Tree, random) -> None:
    numbers = leaves(tree)
    random.shuffle(numbers)
    try:
        exact = value(tree)
    except ZeroDivisionError:
        assert judge(written(tree), numbers, 1).why == "divides by zero"
        return
    target = exact.numerator // exact.denominator
    assert (judge(written(tree), numbers, target).outcome == "right") is (exact == target)
    assert judge(written(tree), numbers, target + 1).outcome == "wrong"


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.text("0123456789+-*/()=x ", max_size=30)))
def test_no_text_raises(text: str) -> None:
    assert judge(text, [1], 10**9).outcome == "wrong"


@pytest.mark.parametrize(("split", "count"), [("test", 1024), ("train", 10240)])
def test_every_gold_answer_passes(data_dir: Path, split: str, count: int) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(data_dir / "countdown" / f"{split}.parquet", columns=["nums", "target", "answer"])
    # The prompt of this data set ends in "<think> ": the caller puts it back.
    outcomes = [
        verify_countdown(row["nums"], row["target"], "<think> " + row["answer"]).outcome for row in table.to_pylist()
    ]
    assert outcomes == ["right"] * count
