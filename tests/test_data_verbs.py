"""The data verbs at a terminal: what is kept, what is removed and why, refusals, and that nothing is half-written or overwritten."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.data.duplicates import Likeness
from burnish.journal.rollouts import write_rollouts
from burnish.pipelines import data as pipeline
from burnish.pipelines.data_job import Files
from burnish.records import Group, Message, Problem, Prompt, Rollout, Tokens, Verdict, fingerprint
from burnish.tasks import load
from terminal import Terminal, contents, write_rows

APPLES = "Tom has 10 red apples and gives half of them to his sister Ann on Monday"
PEARS = "A farmer sells 3 crates of pears to the shop at the corner for 12 dollars each"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capsys)


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


# --- dedup ---


def test_dedup_keeps_one_of_each_and_says_why_the_rest_went(terminal: Terminal, tmp_path: Path) -> None:
    near = APPLES.replace("Monday", "Friday")
    rows = [{"id": n, "question": text} for n, text in enumerate([APPLES, PEARS, near, APPLES.upper()])]
    write_rows(tmp_path / "in.jsonl", *rows)
    said = terminal("data", "dedup", "in.jsonl", "--out", "out.jsonl", "--json").json
    assert (said["rows"], said["kept"], said["removed"]) == (4, 2, {"near": 1, "exact": 1})
    assert said["clusters"] == {"count": 1, "largest": 3}
    assert rows_of(tmp_path / "out.jsonl") == rows[:2]
    second, third = rows_of(tmp_path / "out.removed.jsonl")
    assert (second["place"], second["reason"], second["row"]) == ("in.jsonl:3", "near", rows[2])
    assert second["kept"] == {"place": "in.jsonl:1", "text": APPLES, "row": rows[0]}
    assert second["jaccard"] == pytest.approx(13 / 15)  # 14 runs of 3 words each, the last differs
    assert (third["reason"], third["jaccard"]) == ("exact", 1.0)


def test_the_summary_says_the_curve_the_counts_and_an_example(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"problem": APPLES}, {"problem": APPLES})
    out = terminal("data", "dedup", "in.jsonl", "--out", "out.jsonl").out
    assert "in.jsonl: 2 rows, compared by problem" in out
    assert "21 bands of 6 MinHash values. A pair at the threshold is missed with probability 0.0017" in out
    assert "0.80: 99.83%" in out and "removed: exact" in out and f"kept      in.jsonl:1  {APPLES}" in out


@pytest.mark.parametrize(("keep", "left"), [("first", 0), ("longest", 1), ("gold", 2)])
def test_who_stays_is_a_choice(terminal: Terminal, tmp_path: Path, keep: str, left: int) -> None:
    texts, answers = (APPLES, APPLES + "  please", APPLES), ("", " ", "5")
    write_rows(
        tmp_path / "in.jsonl",
        *({"question": text, "answer": answer} for text, answer in zip(texts, answers, strict=True)),
    )
    terminal("data", "dedup", "in.jsonl", "--out", "out.jsonl", "--keep", keep, "--threshold", 0.7)
    assert [row["answer"] for row in rows_of(tmp_path / "out.jsonl")] == [answers[left]]


def test_rows_of_another_file_are_removed_and_that_file_is_not_written(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", {"question": PEARS}, {"question": APPLES})
    write_rows(tmp_path / "b.jsonl", {"text": "other"}, {"text": APPLES})
    said = terminal("data", "dedup", "a.jsonl", "--against", "b.jsonl", "--out", "out.jsonl", "--json").json
    assert said["removed"] == {"exact": 1} and said["against"] == ["b.jsonl"]
    assert rows_of(tmp_path / "out.removed.jsonl")[0]["kept"]["place"] == "b.jsonl:2"


def test_the_file_compared_against_may_have_another_column(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", {"body": PEARS}, {"body": APPLES})
    write_rows(tmp_path / "b.jsonl", {"asked": APPLES})
    arguments = ("data", "dedup", "a.jsonl", "--column", "body", "--against", "b.jsonl", "--against-column", "asked")
    assert terminal(*arguments, "--out", "out.jsonl", "--json").json["removed"] == {"exact": 1}


def test_repeats_across_files_of_a_pattern_are_found(terminal: Terminal, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_rows(tmp_path / f"part-{name}.jsonl", {"question": APPLES, "from": name})
    said = terminal("data", "dedup", "part-*.jsonl", "--out", "out.jsonl", "--exact", "--json").json
    assert [one["file"] for one in said["inputs"]] == ["part-a.jsonl", "part-b.jsonl"]
    assert rows_of(tmp_path / "out.jsonl") == [{"question": APPLES, "from": "a"}]


def test_the_repeats_of_countdown_have_their_numbers_in_any_order(
    terminal: Terminal, tmp_path: Path, data_dir: Path
) -> None:
    rows = [
        {"nums": row["nums"], "target": row["target"]}
        for row in pq.read_table(data_dir / "countdown" / "train.parquet", columns=["nums", "target"]).to_pylist()
    ]
    write_rows(tmp_path / "in.jsonl", *rows)
    problems = [(tuple(sorted(row["nums"])), row["target"]) for row in rows]
    first: dict[Any, Any] = {}
    for problem, row in zip(problems, rows, strict=True):
        first.setdefault(problem, row)
    columns = ("--column", "nums", "--column", "target", "--shingle", 1, "--threshold", 1, "--numbers", "any-order")
    said = terminal("data", "dedup", "in.jsonl", "--out", "out.jsonl", *columns, "--json").json
    assert said["removed"] == {"near": 22}
    assert rows_of(tmp_path / "out.jsonl") == list(first.values())


def test_prompts_that_differ_in_their_numbers_are_different_problems(
    terminal: Terminal, tmp_path: Path, data_dir: Path
) -> None:
    source = data_dir / "countdown" / "test.parquet"
    said = terminal("data", "dedup", source, "--out", "out.parquet", "--json").json
    assert said["kept"] == 1024
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(source))
    counted = terminal("data", "dedup", source, "--out", "out.parquet", "--numbers", "count", "--json").json
    assert counted["clusters"]["largest"] > 1000


def test_two_parts_of_svamp_share_no_problem_when_both_columns_are_compared(
    terminal: Terminal, tmp_path: Path, data_dir: Path
) -> None:
    rows = json.loads((data_dir / "svamp" / "SVAMP.json").read_text())
    write_rows(tmp_path / "train.jsonl", *rows[:700])
    write_rows(tmp_path / "test.jsonl", *rows[700:])
    base = ("data", "dedup", "test.jsonl", "--against", "train.jsonl", "--exact", "--json")
    asked = terminal(*base, "--out", "a.jsonl", "--column", "Question").json
    whole = terminal(*base, "--out", "b.jsonl", "--column", "Body", "--column", "Question").json
    train = {(row["Body"] + row["Question"]).casefold() for row in rows[:700]}
    assert whole["removed"].get("exact", 0) == sum((r["Body"] + r["Question"]).casefold() in train for r in rows[700:])
    assert asked["removed"]["exact"] > whole["removed"].get("exact", 0)


LINES = st.lists(
    st.fixed_dictionaries(
        {"question": st.text(st.characters(exclude_categories=()), max_size=12), "n": st.floats(allow_nan=False)}
    ),
    min_size=1,
    max_size=8,
)


@given(LINES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_and_removed_are_the_input(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_rows(tmp_path / "in.jsonl", *rows)
    given_rows = rows_of(tmp_path / "in.jsonl")
    pipeline.dedup(Files([str(tmp_path / "in.jsonl")], str(tmp_path / "out.jsonl"), quiet=True), Likeness(0.5, 1))
    removed = {row["place"].rpartition(":")[2]: row["row"] for row in rows_of(tmp_path / "out.removed.jsonl")}
    kept = iter(rows_of(tmp_path / "out.jsonl"))
    together = [removed[str(n)] if str(n) in removed else next(kept) for n in range(1, len(rows) + 1)]
    assert json.dumps(together) == json.dumps(given_rows).replace("Infinity", "null").replace("-null", "null")
    assert next(kept, None) is None


# --- decontaminate ---


def test_a_row_that_holds_a_question_goes_and_both_are_shown(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", {"question": f"Think hard. {APPLES}?"}, {"question": PEARS})
    write_rows(tmp_path / "bench.jsonl", {"problem": APPLES, "id": 7}, {"problem": "What is it?"})
    arguments = ("data", "decontaminate", "train.jsonl", "--against", "bench.jsonl", "--out", "out.jsonl")
    said = terminal(*arguments, "--json").json
    assert said["removed"] == {"contaminated": 1}
    assert said["benchmarks"] == [{"file": "bench.jsonl", "column": "problem", "questions": 2, "found": 1}]
    assert said["rule"]["n"] == 8 and "2411.15124" in said["rule"]["source"]
    [row] = rows_of(tmp_path / "out.removed.jsonl")
    assert row["benchmark"]["place"] == "bench.jsonl:1" and row["benchmark"]["row"]["id"] == 7
    assert row["coverage"] == 1.0 and row["shared"] == APPLES.lower()
    out = terminal(*arguments).out
    assert f"shared    {APPLES.lower()}" in out and "1 of 2 questions found" in out
    assert "Benchmark questions of fewer than 8 words" in out


def test_the_rule_can_be_changed_and_says_so(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", {"question": "red apples and gives"}, {"question": PEARS})
    write_rows(tmp_path / "bench.jsonl", {"question": APPLES})
    said = terminal(
        *("data", "decontaminate", "train.jsonl", "--against", "bench.jsonl", "--out", "out.jsonl"),
        *("--ngram", 4, "--coverage", 0, "--json"),
    ).json
    assert said["rule"]["name"] == "tulu3, changed" and said["kept"] == 1


# --- filter ---


def test_a_column_of_rates_keeps_the_band(terminal: Terminal, tmp_path: Path) -> None:
    rates = [0.0, 0.1, 0.5, 0.9, 1.0, None]
    write_rows(tmp_path / "in.jsonl", *({"question": f"q{n}", "rate": rate} for n, rate in enumerate(rates)))
    base = ("data", "filter", "in.jsonl", "--rates", "rate", "--json")
    said = terminal(*base, "--out", "out.jsonl").json
    assert [row["rate"] for row in rows_of(tmp_path / "out.jsonl")] == [0.1, 0.5, 0.9]
    assert said["removed"] == {"too_hard": 1, "too_easy": 1, "unmeasured": 1}
    assert (said["measured"], said["unmeasured"]) == (5, 1)
    kept = terminal(*base, "--out", "all.jsonl", "--unmeasured", "keep").json
    assert kept["kept"] == 4 and kept["unmeasured"] == 1


def rollouts(question: str, number: int, outcomes: str) -> Group:
    """r right, w wrong, n no verdict."""
    names = {"r": ("right", 1.0), "w": ("wrong", 0.0), "n": ("no_verdict", None)}
    problem = Problem(f"rows/train/{number}", "rows", question, {"answer": "1"}, "train", fingerprint(question))
    prompt = Prompt(problem.id, (Message("user", question),), question, (1, 2))
    tokens = Tokens((1, 2, 3), (False, False, True), (0.0, 0.0, -0.5))
    made = tuple(
        Rollout(index, tokens, "1", "eos", Verdict(*names[outcome]), 0, 0)  # type: ignore[arg-type]
        for index, outcome in enumerate(outcomes)
    )
    return Group(problem, prompt, made)


@pytest.fixture
def measured_run(tmp_path: Path) -> Path:
    """Questions q0 (never solved), q1 (half), q2 (always), q3 (no verdict at all); over two steps."""
    folder = tmp_path / "run" / "rollouts"
    folder.mkdir(parents=True)
    write_rollouts(folder, 1, [rollouts("q0", 0, "ww"), rollouts("q1", 1, "rw"), rollouts("q2", 2, "rr")])
    write_rollouts(folder, 2, [rollouts("q1", 1, "rwn"), rollouts("q3", 3, "nn")])
    return tmp_path / "run"


def test_stored_rollouts_measure_problems_by_their_question(
    terminal: Terminal, tmp_path: Path, measured_run: Path
) -> None:
    write_rows(tmp_path / "in.jsonl", *({"question": f"Q{n} "} for n in range(5)))
    said = terminal("data", "filter", "in.jsonl", "--measured", "run", "--out", "out.jsonl", "--json").json
    assert rows_of(tmp_path / "out.jsonl") == [{"question": "Q1 "}]
    assert said["removed"] == {"unmeasured": 2, "too_hard": 1, "too_easy": 1}
    assert said["answers"] == {"judged": 8, "without": 3}
    hard = rows_of(tmp_path / "out.removed.jsonl")[0]
    assert (hard["reason"], hard["pass_rate"], hard["answers"]) == ("too_hard", 0.0, 2)


def test_answers_are_joined_by_id_where_one_is_named(terminal: Terminal, tmp_path: Path, measured_run: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "worded anew", "n": 1}, {"question": "so too", "n": 2})
    terminal("data", "filter", "in.jsonl", "--measured", "run", "--id", "n", "--out", "out.jsonl")
    assert [row["n"] for row in rows_of(tmp_path / "out.jsonl")] == [1]


def test_too_few_verdicts_are_no_measurement(terminal: Terminal, tmp_path: Path, measured_run: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "q1"}, {"question": "q0"})
    base = ("data", "filter", "in.jsonl", "--measured", "run", "--out", "out.jsonl", "--json")
    assert terminal(*base, "--least-answers", 4).json["removed"] == {"unmeasured": 1}


def test_judged_answers_of_a_file_measure_too(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    verdicts = [("a", "right"), ("a", "wrong"), ("b", "right"), ("b", "no_verdict")]
    write_rows(tmp_path / "judged.jsonl", *({"question": q, "outcome": outcome} for q, outcome in verdicts))
    said = terminal("data", "filter", "in.jsonl", "--measured", "judged.jsonl", "--out", "out.jsonl", "--json").json
    assert said["kept"] == 1 and said["removed"] == {"too_easy": 1}


def test_answers_to_other_problems_are_refused(terminal: Terminal, tmp_path: Path, measured_run: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "another"})
    said = terminal("data", "filter", "in.jsonl", "--measured", "run", "--out", "out.jsonl")
    assert said.code == 2 and "None of the 1 rows has a pass rate" in said.err.splitlines()[-1]
    assert not (tmp_path / "out.jsonl").exists()


# --- mix ---


def test_a_mixture_says_where_each_row_comes_from(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "easy.jsonl", *({"question": f"e{n}", "answer": n} for n in range(30)))
    write_rows(tmp_path / "hard.jsonl", *({"question": f"h{n}", "level": 5} for n in range(30)))
    arguments = ("data", "mix", "easy.jsonl=1", "hard.jsonl=3", "--size", 20, "--seed", 4, "--json")
    said = terminal(*arguments, "--out", "mix.jsonl").json
    rows = rows_of(tmp_path / "mix.jsonl")
    assert [one["rows"] for one in said["mixture"]] == [5, 15] and len(rows) == 20
    for row in rows:
        number = row["source_row"] - 1
        assert row["question"] == f"{row['source'][0]}{number}" and row["source_epoch"] == 1
    assert len(rows_of(tmp_path / "mix.removed.jsonl")) == 40
    assert "Not every file has the columns 'answer', 'level'." in said["notices"]
    terminal(*arguments, "--out", "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "mix.jsonl").read_bytes()


def test_an_exhausted_source_is_said(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", *({"question": f"a{n}"} for n in range(4)))
    write_rows(tmp_path / "b.jsonl", *({"question": f"b{n}"} for n in range(40)))
    arguments = ("data", "mix", "a.jsonl=1", "b.jsonl=1", "--size", 20, "--out", "mix.parquet", "--json")
    said = terminal(*arguments).json
    assert [one["exhausted"] for one in said["mixture"]] == [True, False] and said["kept"] == 8
    assert said["notices"][0] == "a.jsonl is exhausted: its share is 10 rows, and it has 4 to go through 1 times."
    assert terminal(*arguments, "--when-exhausted", "refill").json["kept"] == 20
    table = pq.read_table(tmp_path / "mix.parquet")
    assert table.column_names == ["question", "source", "source_row", "source_epoch"] and table.num_rows == 20


def test_a_mixture_is_what_the_task_rows_reads(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", *({"question": f"What is {n} + 1?", "answer": n + 1} for n in range(20)))
    write_rows(tmp_path / "held.jsonl", {"question": "What is 1 + 0?", "answer": "1"})
    terminal("data", "mix", "a.jsonl=1", "--size", 10, "--out", "train.parquet")
    task = load("rows", {"train": "train.parquet", "held_out": "held.jsonl"})
    assert {problem.reference["answer"] for problem in task.train(1).take(10)} <= {str(n + 1) for n in range(20)}


def test_mixing_and_known_rates_need_no_question(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", {"x": 1, "rate": 0.5}, {"x": 2, "rate": 1})
    assert terminal("data", "mix", "a.jsonl=1", "--out", "o.jsonl", "--json").json["kept"] == 2
    assert terminal("data", "filter", "a.jsonl", "--rates", "rate", "--out", "p.jsonl", "--json").json["kept"] == 1


# --- formats ---


def test_parquet_types_survive_and_json_gets_what_it_can_hold(terminal: Terminal, tmp_path: Path) -> None:
    when = datetime.datetime(2024, 5, 6, 7, 8, 9)
    table = pa.table({"question": ["a", "b"], "when": [when, None], "x": pa.array([1.5, float("nan")], pa.float32())})
    pq.write_table(table, tmp_path / "in.parquet")
    terminal("data", "dedup", "in.parquet", "--out", "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").equals(table.schema)
    terminal("data", "dedup", "in.parquet", "--out", "out.jsonl")
    assert rows_of(tmp_path / "out.jsonl") == [
        {"question": "a", "when": "2024-05-06T07:08:09", "x": 1.5},
        {"question": "b", "when": None, "x": None},
    ]


def test_json_rows_with_different_columns_become_one_parquet_table(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "a", "n": 1}, {"question": "b", "n": 2.5, "tags": ["x"]})
    terminal("data", "dedup", "in.jsonl", "--out", "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"question": "a", "n": 1.0, "tags": None},
        {"question": "b", "n": 2.5, "tags": ["x"]},
    ]


def test_a_column_of_two_kinds_is_refused_for_parquet(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "a", "n": 1}, {"question": "b", "n": ["x"]})
    said = terminal("data", "dedup", "in.jsonl", "--out", "out.parquet")
    assert said.code == 2 and "'n' holds what Parquet cannot hold in one column" in said.err.splitlines()[-1]
    assert not list(tmp_path.glob("*out*"))


# --- refusals ---


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dedup", "in.jsonl", "--out", "in.jsonl"), "an input is never overwritten"),
        (("dedup", "in.jsonl", "--out", "./../{here}/in.jsonl"), "an input is never overwritten"),
        (("dedup", "in.jsonl", "--out", "o.jsonl", "--removed", "in.jsonl"), "an input is never overwritten"),
        (("dedup", "in.jsonl", "--out", "o.csv"), "it must end in .jsonl or .parquet"),
        (("dedup", "in.jsonl", "--out", "no/o.jsonl"), "there is no directory no; create it first"),
        (("dedup", "in.jsonl", "in.jsonl", "--out", "o.jsonl"), "in.jsonl is named twice"),
        (("dedup", "x*.jsonl", "--out", "o.jsonl"), "No file matches x*.jsonl"),
        (("dedup", "im.jsonl", "--out", "o.jsonl"), "did you mean in.jsonl?"),
        (
            ("dedup", "in.jsonl", "--out", "o.jsonl", "--column", "questoin"),
            "in.jsonl:1: the row has no column 'questoin'",
        ),
        (("dedup", "in.jsonl", "--out", "o.jsonl", "--column", "questoin"), "did you mean 'question'?"),
        (("dedup", "odd.jsonl", "--out", "o.jsonl"), "none of the columns 'a', 'b' is known for a question"),
        (("dedup", "bad.jsonl", "--out", "o.jsonl"), "bad.jsonl:2: not JSON"),
        (("dedup", "in.jsonl", "--out", "o.jsonl", "--keep", "gold"), "no column that is known for an answer"),
        (("dedup", "in.jsonl", "--out", "o.jsonl", "--answer", "a"), "--answer has no effect without --keep gold"),
        (
            ("dedup", "in.jsonl", "--out", "o.jsonl", "--exact", "--shingle", "2"),
            "--shingle has no effect with --exact",
        ),
        (("dedup", "in.jsonl", "--out", "o.jsonl", "--against-column", "a"), "no effect without --against"),
        (("filter", "in.jsonl", "--out", "o.jsonl", "--rates", "x", "--column", "x"), "--column has no effect"),
        (("filter", "in.jsonl", "--out", "o.jsonl"), "Say where the pass rates are"),
        (("filter", "in.jsonl", "--out", "o.jsonl", "--rates", "question"), "a pass rate is a number from 0 to 1"),
        (("filter", "in.jsonl", "--out", "o.jsonl", "--rates", "x", "--band", "0.9..0.1"), "is no band of pass rates"),
        (("filter", "in.jsonl", "--out", "o.jsonl", "--measured", "."), "is no run directory with stored rollouts"),
        (("filter", "in.jsonl", "--out", "o.jsonl", "--measured", "odd.jsonl"), "'outcome' is None"),
        (("mix", "in.jsonl", "--out", "o.jsonl"), "write FILE=WEIGHT"),
        (("mix", "in.jsonl=0", "--out", "o.jsonl"), "weight above 0"),
        (("mix", "in.jsonl=1", "--out", "o.jsonl", "--provenance", "question"), "has a column 'question' already"),
        (("mix", "*.jsonl=1", "--out", "o.jsonl"), "each source needs a weight of its own"),
        (("stats", "in.jsonl", "--plot", "x.pdf"), "the name must end in .png"),
        (("stats", "in.jsonl", "--answer", "questio"), "did you mean 'question'?"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    terminal: Terminal, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    write_rows(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    write_rows(tmp_path / "bad.jsonl", {"question": "a"}, '{"question": ')
    write_rows(tmp_path / "odd.jsonl", {"a": 1, "b": 2})
    before = contents(tmp_path)
    said = terminal("data", *(one.format(here=tmp_path.name) for one in arguments))
    assert said.code == 2 and sentence in said.err.splitlines()[-1] and "Traceback" not in said.err
    assert contents(tmp_path) == before


def test_a_wrong_verb_of_data_names_the_nearest(terminal: Terminal) -> None:
    assert "did you mean burnish data dedup?" in terminal("data", "dedpu").sentence
    assert "stats, dedup, decontaminate, filter, mix" in terminal("data").sentence


def test_a_row_that_lacks_the_column_late_in_the_file_writes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    write_rows(tmp_path / "in.jsonl", *({"question": f"q{n}"} for n in range(5000)), {"problem": "x"})
    (tmp_path / "out.jsonl").write_text("as it was")
    said = terminal("data", "dedup", "in.jsonl", "--exact", "--out", "out.jsonl", "--json")
    assert said.code == 2 and "in.jsonl:5001: the row has no column 'question'" in said.json["error"]
    assert (tmp_path / "out.jsonl").read_text() == "as it was" and not (tmp_path / "out.removed.jsonl").exists()
