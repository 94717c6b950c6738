"""Compositions: gates before parts, weights, agreement, and a missing verdict that never becomes a zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.records import Key, Problem, Verdict
from burnish.tasks import load as load_task
from burnish.tasks.splits import check_golds
from burnish.verify import identity, judge, load
from burnish.verify.compose import Composed, Part, from_name, part_of
from burnish.verify.pool import Pool

HERE = __name__


def right(problem: Problem, response: str) -> Verdict:
    return Verdict("right", 1.0, {"format": 1.0}, "r", "it is right")


def half(problem: Problem, response: str) -> Verdict:
    return Verdict("wrong", 0.5, {}, "h", "it is half")


def wrong(problem: Problem, response: str) -> Verdict:
    return Verdict("wrong", 0.0, {}, "w", "it is wrong")


def missing(problem: Problem, response: str) -> Verdict:
    return Verdict("no_verdict", None, {}, None, "it was slow", fault="timeout")


def crashing(problem: Problem, response: str) -> Verdict:
    raise RuntimeError("boom")


def part(name: str, **settings: Any) -> Part:
    return Part(name, f"{HERE}:{name}", **settings)


PROBLEM = Problem("p/0", "p", "2+2?", {"answer": "4"}, "train", "")


def run(composed: Composed, response: str = "<answer>4</answer>") -> Verdict:
    return judge(composed, PROBLEM, response)


def test_the_score_is_the_weighted_mean() -> None:
    verdict = run(Composed((part("right", weight=3.0), part("half", decides=False))))
    assert (verdict.outcome, verdict.score) == ("right", (3 * 1.0 + 1 * 0.5) / 4)


def test_the_whole_is_right_only_where_every_part_that_decides_is() -> None:
    verdict = run(Composed((part("right", weight=3.0), part("half"))))
    assert (verdict.outcome, verdict.score, verdict.why) == ("wrong", 0.875, "half: it is half")


def test_a_part_without_weight_is_recorded_and_no_more() -> None:
    verdict = run(Composed((part("right"), part("wrong", weight=0.0))))
    assert (verdict.outcome, verdict.score, verdict.parts["wrong"]) == ("right", 1.0, 0.0)


def test_a_gate_that_is_shut_ends_it() -> None:
    verdict = run(Composed((part("right"),), gates=(part("half"),)))
    assert (verdict.outcome, verdict.score, verdict.why) == ("wrong", 0.0, "half: it is half")
    assert "right" not in verdict.parts  # nothing after the gate was judged


def test_an_open_gate_adds_nothing_to_the_score() -> None:
    verdict = run(Composed((part("half"),), gates=(part("right"),)))
    assert (verdict.outcome, verdict.score) == ("wrong", 0.5)


@pytest.mark.parametrize("name", ["missing", "crashing"])
def test_a_part_without_a_verdict_is_never_a_zero(name: str) -> None:
    verdict = run(Composed((part("right"), part(name))))
    assert (verdict.outcome, verdict.score) == ("no_verdict", None)
    assert verdict.fault == {"missing": "timeout", "crashing": "crashed"}[name]


def test_a_part_without_a_verdict_leaves_even_a_wrong_whole_without_one() -> None:
    assert run(Composed((part("wrong"), part("missing")))).outcome == "no_verdict"  # its score is not known


def test_a_missing_verdict_without_weight_does_no_harm() -> None:
    verdict = run(Composed((part("right"), part("missing", weight=0.0))))
    assert verdict.outcome == "right" and "missing" not in verdict.parts


def test_a_gate_without_a_verdict_leaves_the_whole_without_one() -> None:
    verdict = run(Composed((part("wrong"),), gates=(part("right"), part("missing"))))
    assert (verdict.outcome, verdict.fault, verdict.why) == ("no_verdict", "timeout", "missing: it was slow")


@pytest.mark.parametrize("order", [("missing", "wrong"), ("wrong", "missing")])
def test_a_shut_gate_is_wrong_whatever_another_could_not_tell(order: tuple[str, str]) -> None:
    verdict = run(Composed((part("right"),), gates=(part(order[0]), part(order[1]))))
    assert (verdict.outcome, verdict.score) == ("wrong", 0.0)


@pytest.mark.parametrize(
    ("first", "second", "outcome", "agreement"),
    [
        ("right", "right", "right", 1.0),
        ("wrong", "wrong", "wrong", 1.0),
        ("wrong", "half", "wrong", 1.0),
        ("right", "wrong", "no_verdict", 0.0),
        ("wrong", "right", "no_verdict", 0.0),
        ("right", "missing", "no_verdict", None),
        ("missing", "wrong", "no_verdict", None),
    ],
)
def test_two_verifiers_must_agree(first: str, second: str, outcome: str, agreement: float | None) -> None:
    verdict = run(Composed((Part("pair", f"{HERE}:{first}", also=f"{HERE}:{second}"),)))
    assert (verdict.outcome, verdict.parts.get("pair/agreement")) == (outcome, agreement)


def test_a_disagreement_says_what_each_said_and_names_its_fault() -> None:
    verdict = run(Composed((Part("pair", f"{HERE}:right", also=f"{HERE}:wrong"),)))
    assert verdict.fault == "disagreement"
    assert f"{HERE}:right says right (it is right), {HERE}:wrong says wrong (it is wrong)" in verdict.why


def test_a_disagreement_may_count_as_wrong_where_that_is_asked_for() -> None:
    pair = Part("pair", f"{HERE}:right", also=f"{HERE}:wrong", on_disagreement="wrong")
    assert run(Composed((pair,))).outcome == "wrong"


def test_disagreements_are_logged_and_agreements_are_not(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    run(Composed((Part("pair", f"{HERE}:right", also=f"{HERE}:wrong", log=str(log)),)))
    run(Composed((Part("pair", f"{HERE}:right", also=f"{HERE}:right", log=str(log)),)))
    [line] = log.read_text().splitlines()
    row = json.loads(line)
    assert (row["problem"], row["part"], row["response"]) == ("p/0", "pair", "<answer>4</answer>")
    assert row["verdicts"][f"{HERE}:wrong"]["outcome"] == "wrong"


def test_a_composition_has_a_name_that_makes_an_equal_one() -> None:
    made = Composed((Part("n", "number", {"style": "boxed"}, 2.0), part("half", decides=False)), (Part("f", "format"),))
    assert from_name(made.name) == made
    assert load(made.name)(PROBLEM, "x").outcome == "wrong"


def test_a_part_reads_its_own_keys_over_those_of_the_problem() -> None:
    made = Composed((Part("answer", "number"), Part("short", "length", {"max_characters": 8}, decides=False)))
    verdict = run(made, "The answer is 4")
    assert (verdict.parts["answer"], verdict.parts["short"], verdict.score) == (1.0, 0.0, 0.5)


def test_a_pool_judges_with_a_composition() -> None:
    made = Composed((Part("answer", "number"),), (Part("format", "format"),))
    with Pool(made.name, workers=1) as pool:
        items = [(Key("p/0", 0), PROBLEM, "<answer>4</answer>"), (Key("p/0", 1), PROBLEM, "4")]
        found = {key.index: verdict.outcome for key, verdict in pool.judge(items)}
    assert found == {0: "right", 1: "wrong"}


def test_the_format_is_told_under_its_plain_name_too() -> None:
    verdict = run(Composed((Part("answer", "number"),), (Part("gate", "format"),)))
    assert verdict.parts["format"] == verdict.parts["gate/format"] == 1.0


def test_the_identity_of_a_composition_is_that_of_what_it_is_made_of() -> None:
    name = Composed((part("right"),)).name
    assert identity(name).startswith(name + "@") and len(identity(name)) == len(name) + 13


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"verifier": "nubmer"}, "did you mean 'number'"),
        ({"name": "x"}, "names no verifier"),
        ({"verifier": "number", "wieght": 1}, "no key 'wieght'"),
        ({"verifier": "number", "weight": -1}, "weight -1"),
        ({"verifier": "number", "weight": True}, "weight True"),
        ({"verifier": "number", "log": "x.jsonl"}, "have no effect"),
        ({"verifier": "number", "also": "countdown", "on_disagreement": "right"}, "choose no_verdict or wrong"),
        ({"verifier": "number", "reference": [1]}, "must be a table"),
        ({"verifier": "number", "name": "a/b"}, "without a slash"),
        (7, "must be a verifier's name or a table"),
    ],
)
def test_a_part_that_cannot_be_is_refused_in_a_sentence(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        part_of(given)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "no part with a weight"),
        ([Part("a", "number", weight=0.0)], "no part with a weight"),
        ([Part("a", "number", decides=False)], "No part of the composition decides"),
        ([Part("a", "number"), Part("a", "format")], "Two parts of the composition are called 'a'"),
    ],
)
def test_a_composition_that_could_say_nothing_is_refused(parts: list[Part], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Composed(tuple(parts))


@pytest.mark.parametrize(("name", "told"), [("{", "is not JSON"), ('{"gate": []}', "no key 'gate'")])
def test_a_name_that_is_no_composition_is_refused(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(name)


def test_a_run_file_composes_by_a_task() -> None:
    english = {"name": "english", "verifier": "language", "reference": {"language": "en"}, "weight": 0.1}
    task = load_task(
        "composed", {"task": "sorting", "options": {"difficulty": 2}, "gates": ["format"], "parts": [english]}
    )
    problems = task.train(1).take(4)
    assert check_golds(task, problems) == []
    verdict = judge(load(task.verifier), problems[0], str(task.gold(problems[0])))
    assert verdict.score == pytest.approx(1.0) and {"answer", "english", "format"} <= set(verdict.parts)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "sorting"}, "neither gates nor parts"),
        ({"task": "sortign", "gates": ["format"]}, "did you mean 'sorting'"),
        ({"task": "sorting", "gates": ["fromat"]}, "did you mean 'format'"),
        ({"task": "composed", "gates": ["format"]}, "made of a composed task"),
    ],
)
def test_a_composed_task_that_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_task("composed", options)
