"""Published data sets: columns as they are published, choices, overlap, golds that are no good."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.records import Problem
from burnish.tasks import load
from burnish.tasks.sets import SETS
from burnish.tasks.splits import check_golds
from burnish.verify import judge
from burnish.verify import load as load_verifier


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def held_out(folder: Path, name: str, *rows: dict[str, Any], **options: Any) -> tuple[Problem, ...]:
    task = load(name, {"held_out": write(folder / "rows.jsonl", *rows), **options})
    return tuple(task.held_out())


def outcome(name: str, problem: Problem, answer: str) -> str:
    return judge(load_verifier(SETS[name].verifier), problem, f"<answer>{answer}</answer>").outcome


def math_row(number: int, **more: Any) -> dict[str, Any]:
    return {"problem": f"What is {number}?", "solution": f"First \\boxed{{0}}, then $\\boxed{{{number}}}$.", **more}


# ---- columns


def test_maths_golds_are_the_last_box_unless_an_answer_stands_beside(tmp_path: Path) -> None:
    first, second = held_out(tmp_path, "math500", math_row(7), math_row(8, answer="\\frac{1}{2}"))
    assert first.reference == {"answer": "7"}
    assert second.reference == {"answer": "\\frac{1}{2}"}


def test_nested_braces_of_a_box_are_kept(tmp_path: Path) -> None:
    row = {"problem": "?", "solution": "So $\\boxed{\\frac{\\sqrt{3}}{2}}$."}
    [problem] = held_out(tmp_path, "math500", row)
    assert problem.reference["answer"] == "\\frac{\\sqrt{3}}{2}"


def test_a_row_of_maths_without_an_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [math_row(1), {"problem": "a", "solution": "It is 7."}, {"problem": "b", "answer": ""}]
    task: Any = load("math500", {"held_out": write(tmp_path / "rows.jsonl", *rows)})
    assert task.left_out == {"their solution has no \\boxed answer": 1, "they have no answer": 1}


def test_a_file_of_other_columns_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the row has no field 'solution', it has 'question'"):
        held_out(tmp_path, "math500", {"question": "?"})


def test_a_problem_is_named_by_the_data_sets_own_id(tmp_path: Path) -> None:
    [problem] = held_out(tmp_path, "math500", math_row(1, unique_id="test/algebra/1.json"))
    assert problem.id == "math500/held_out/test/algebra/1.json"


@pytest.mark.parametrize(("answer", "gold"), [("033", "33"), (7, "7"), (0, "0"), ("999", "999"), (33.0, "33")])
def test_an_answer_of_the_aime_is_a_whole_number(tmp_path: Path, answer: Any, gold: str) -> None:
    [problem] = held_out(tmp_path, "aime24", {"problem": "?", "answer": answer})
    assert problem.reference["answer"] == gold


@pytest.mark.parametrize("answer", ["1000", -1, "12.5", "n/a", None, True])
def test_any_other_answer_of_the_aime_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
        held_out(tmp_path, "aime24", {"problem": "?", "answer": answer})


@pytest.mark.parametrize(
    "told", [{"year": 2023}, {"Year": "2023"}, {"ID": "2023-I-4"}, {"url": "https://x.org/2023_AIME_I"}]
)
def test_the_year_of_an_aime_problem_may_stand_in_several_places(tmp_path: Path, told: dict[str, Any]) -> None:
    other = {"Problem": "other", "Answer": 2, "ID": "2024-I-4"}
    [problem] = held_out(tmp_path, "aime24", {"Problem": "this", "Answer": 1, **told}, other, year=2023)
    assert problem.question == "this"


def test_an_amc_answer_is_read_as_the_whole_number_it_is(tmp_path: Path) -> None:
    first, second = held_out(tmp_path, "amc", {"problem": "a", "answer": 142.0}, {"question": "b", "answer": 0.5})
    assert (first.reference["answer"], second.reference["answer"]) == ("142", "0.5")


OLYMPIAD = {"question": "q", "final_answer": ["2"], "answer_type": "Numerical", "error": None, "unit": None}


def test_olympiad_problems_tell_context_unit_and_how_many_answers(tmp_path: Path) -> None:
    row = {**OLYMPIAD, "context": "c", "unit": "km", "is_multiple_answer": True, "final_answer": ["1", "3"]}
    [problem] = held_out(tmp_path, "olympiadbench", row)
    assert (
        problem.question
        == "c\nq\nThere are several answers; give them all, separated by commas.\nGive the answer in km."
    )
    assert [outcome("olympiadbench", problem, said) for said in ("1, 3", "3, 1", "1")] == ["right", "right", "wrong"]


def test_a_tolerance_of_olympiadbench_is_kept(tmp_path: Path) -> None:
    [problem] = held_out(tmp_path, "olympiadbench", {**OLYMPIAD, "final_answer": ["4.2"], "error": "1e-1"})
    assert [outcome("olympiadbench", problem, said) for said in ("4.25", "4.35")] == ["right", "wrong"]


def test_what_cannot_be_compared_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        OLYMPIAD,
        {**OLYMPIAD, "question": "proof", "final_answer": None},
        {**OLYMPIAD, "question": "person", "answer_type": "Need_human_evaluate"},
        {**OLYMPIAD, "question": "see <image_1>"},
        {**OLYMPIAD, "question": "two tolerances", "error": "1,0.01"},
    ]
    task: Any = load("olympiadbench", {"held_out": write(tmp_path / "rows.jsonl", *rows)})
    assert (task.rows, len(task.held_out()), sum(task.left_out.values())) == (5, 1, 4)
    assert "1 problem left out: they show a picture." in task.notices


def test_svamp_asks_body_and_question(tmp_path: Path) -> None:
    [problem] = held_out(tmp_path, "svamp", {"ID": "chal-1", "Body": "b.", "Question": "q?", "Answer": 51.0})
    assert (problem.question, problem.reference["answer"], problem.id) == ("b. q?", "51", "svamp/held_out/chal-1")


def test_aqua_takes_the_letter_and_the_text_of_its_option(tmp_path: Path) -> None:
    row = {"question": "q", "options": ["A)12", "B)(a + b)c", "C)C) 3"], "correct": "B"}
    [problem] = held_out(tmp_path, "aqua", row)
    assert problem.question == "q\nA) 12\nB) (a + b)c\nC) C) 3"
    assert [outcome("aqua", problem, said) for said in ("B", "(B)", "(a+b)c", "A", "12")] == ["right"] * 3 + [
        "wrong"
    ] * 2


@pytest.mark.parametrize("row", [{"options": ["x"], "correct": "A"}, {"options": ["x", "y"], "correct": "C"}])
def test_options_that_do_not_hold_the_right_one_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: "):
        held_out(tmp_path, "aqua", {"question": "q", **row})


def test_gsm_hard_takes_what_is_within_a_thousandth(tmp_path: Path) -> None:
    rows = [{"input": "a", "target": -9867630.0}, {"input": "b", "target": 14053029.666666666}]
    whole, part = held_out(tmp_path, "gsm_hard", *rows)
    assert [outcome("gsm_hard", whole, said) for said in ("-9867630", "9867630", "-9,867,630")] == [
        "right",
        "wrong",
        "right",
    ]
    assert [outcome("gsm_hard", part, said) for said in ("14053029.6667", "14053029.66", "14053030")] == [
        "right",
        "wrong",
        "wrong",
    ]


def gpqa_row(number: int) -> dict[str, Any]:
    wrong = {f"Incorrect Answer {one}": f"no {one}" for one in (1, 2, 3)}
    return {"Record ID": f"r{number}", "Question": f"Which, of {number}?", "Correct Answer": "yes", **wrong}


def test_gpqa_shuffles_by_the_question_alone(tmp_path: Path) -> None:
    rows = [gpqa_row(number) for number in range(200)]
    problems = held_out(tmp_path, "gpqa", *rows)
    again = held_out(tmp_path, "gpqa", *reversed(rows))
    assert {one.question: one.reference for one in problems} == {one.question: one.reference for one in again}
    places = Counter(problem.reference["answer"] for problem in problems)
    assert set(places) == set("ABCD") and all(
        30 <= count <= 70 for count in places.values()
    )  # 50 each, 3 deviations and a bit
    for problem in problems:
        assert problem.reference["choices"]["ABCD".index(problem.reference["answer"])] == "yes"


def test_gpqa_leaves_out_a_right_option_that_stands_twice(tmp_path: Path) -> None:
    double = {**gpqa_row(1), "Incorrect Answer 2": "yes"}
    task: Any = load("gpqa", {"held_out": write(tmp_path / "rows.jsonl", gpqa_row(0), double)})
    assert task.left_out == {"a wrong option of theirs is the right one again": 1}


def test_mgsm_takes_its_language_from_the_file_and_asks_in_it(tmp_path: Path) -> None:
    (tmp_path / "mgsm_de.tsv").write_text('Wie viele "Eier"?\t5,600\n')
    (tmp_path / "mgsm_fr.tsv").write_text("Combien ?\t3\n")
    files = [str(tmp_path / f"mgsm_{language}.tsv") for language in ("de", "fr")]
    task = load("mgsm", {"held_out": files})
    german, french = task.held_out()
    assert german.reference == {"answer": "5600", "style": "any", "language": "de"}
    assert task.messages(german)[0].content.startswith(
        'Wie viele "Eier"?\nÜberlege Schritt für Schritt zwischen <think>'
    )
    assert "puis donne le nombre final" in task.messages(french)[0].content
    assert [one.question for one in load("mgsm", {"held_out": files, "language": "fr"}).held_out()] == ["Combien ?"]


def test_mgsm_of_an_unknown_language_says_how_to_tell(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot tell which language this is; call the file mgsm_de\.tsv"):
        held_out(tmp_path, "mgsm", {"question": "?", "answer_number": 3})


def test_a_chosen_language_reads_only_its_own_configuration_of_the_hub() -> None:
    assert load("mgsm", {"language": ["de", "sw"]}).hub["held_out"] == (
        "juletxara/mgsm:de@test",
        "juletxara/mgsm:sw@test",
    )  # type: ignore[attr-defined]
    assert len(load("mgsm", {}).hub["held_out"]) == 11  # type: ignore[attr-defined]


# ---- choices


LEVELS = [
    math_row(1, level="Level 1", type="Counting & Probability"),
    math_row(5, level=5, subject="Algebra"),
    math_row(0, level="Level ?", type="Algebra"),
]


def test_problems_are_chosen_by_level_and_subject(tmp_path: Path) -> None:
    assert [one.reference["answer"] for one in held_out(tmp_path, "math500", *LEVELS, level=5)] == ["5"]
    assert [one.reference["answer"] for one in held_out(tmp_path, "math500", *LEVELS, level=[1, 5])] == ["1", "5"]
    chosen = held_out(tmp_path, "math500", *LEVELS, subject="counting_and_probability")
    assert [one.reference["answer"] for one in chosen] == ["1"]


def test_what_is_not_chosen_is_counted(tmp_path: Path) -> None:
    task: Any = load("math500", {"held_out": write(tmp_path / "rows.jsonl", *LEVELS), "level": 5})
    assert task.left_out == {"their level is not 5": 2}


def test_a_choice_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"no problem for the held_out split \(3 problems left out: their level is not 9\); there is the level 1, 5; ",
    ):
        held_out(tmp_path, "math500", *LEVELS, level=9)


def test_a_choice_the_data_set_cannot_make_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"The rows of gsm8k have no level, .* nothing to choose by"):
        load("gsm8k", {"level": 3})
    with pytest.raises(ConfigError, match=r"The rows of math have no year, .* it has level and subject"):
        load("math", {"year": 2024})


def test_a_curriculum_knows_the_level(tmp_path: Path) -> None:
    task: Any = load("math500", {"held_out": write(tmp_path / "rows.jsonl", *LEVELS[:2])})
    assert [task.level(problem) for problem in task.held_out()] == ["1", "5"]


# ---- splits


def test_what_is_held_out_leaves_the_training_split_of_math(tmp_path: Path) -> None:
    train = [
        write(tmp_path / "a.jsonl", *map(math_row, range(6))),
        write(tmp_path / "b.jsonl", *map(math_row, range(6, 10))),
    ]
    test = write(tmp_path / "t.jsonl", {**math_row(3), "problem": " what  is 3? "}, math_row(8))
    task = load("math", {"train": train, "held_out": test})
    assert (task.train_size, len(task.held_out())) == (8, 2)
    assert task.notices == ("2 problems stand in both splits; dropped from training.",)
    asked = {one.fingerprint for one in task.train(1).take(8)}
    assert not asked & {one.fingerprint for one in task.held_out()}
    with pytest.raises(DataError, match="2 problems stand in both splits, a held-out problem in train"):
        load("math", {"train": train, "held_out": test, "overlap": "refuse"}).held_out()


def test_rows_are_counted_over_all_files(tmp_path: Path) -> None:
    train = [write(tmp_path / "a.jsonl", math_row(1), math_row(1)), write(tmp_path / "b.jsonl", math_row(2))]
    task: Any = load("math", {"train": train, "held_out": write(tmp_path / "t.jsonl", math_row(2)), "limit_train": 1})
    assert (task.rows, task.train_size) == (4, 1)
    assert task.left_out == {"repeat an earlier training row": 1, "stand in both splits, dropped from training": 1}


def test_a_task_for_evaluation_does_not_train(tmp_path: Path) -> None:
    task = load("math500", {"held_out": write(tmp_path / "t.jsonl", math_row(2))})
    assert task.train_size == 0
    with pytest.raises(ConfigError, match="math500 has no training problems, it is for evaluation here"):
        task.train(0)


def test_golds_that_do_not_pass_can_be_dropped_and_are_counted(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.jsonl", {"question": "a", "answer": "#### 3"}, {"question": "b", "answer": "#### three or so"}
    )
    kept = load("gsm8k", {"held_out": file})
    assert [failure.where.rsplit("/", 1)[-1] for failure in check_golds(kept, kept.held_out())] == ["t.jsonl:2"]
    task: Any = load("gsm8k", {"held_out": file, "bad_golds": "drop"})
    assert check_golds(task, task.held_out()) == [] and task.left_out == {"their gold answer does not pass number": 1}


def test_a_place_of_the_hub_without_a_revision_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **more: [{"input": "a", "target": 1.0}])
    assert load("gsm_hard", {}).notices == (
        "reasoning-machines/gsm-hard@train is read at its newest revision, which may change; pin it with #REVISION.",
    )


# ---- the files at hand

FILES = {
    "svamp": (["svamp/SVAMP.json"], 1000),
    "aqua": (["aqua/test.json", "aqua/dev.json"], 508),
    "gsm_hard": (["gsm_hard/gsmhardv2.jsonl"], 1319),
    "olympiadbench": (["olympiadbench/test.jsonl"], 675),
}


@pytest.mark.parametrize("name", FILES)
def test_every_row_at_hand_loads_and_every_gold_passes(name: str, data_dir: Path) -> None:
    files, count = FILES[name]
    task: Any = load(name, {"held_out": [str(data_dir / file) for file in files]})
    assert (task.rows, len(task.held_out()), dict(task.left_out)) == (count, count, {})
    assert check_golds(task, task.held_out()) == []
