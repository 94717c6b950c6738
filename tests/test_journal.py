"""The run directory: rollouts joined by key, one line of metrics a step, and the exact way back to a checkpoint."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, InputError, ResumeError, StorageError
from burnish.journal import Journal, as_groups, comparable, query, read_rollouts, write_rollouts
from burnish.metrics import Mean, Metric, Sum
from burnish.records import Dropped, Group, Key, Message, Problem, Prompt, Rollout, Sample, Tokens, Verdict

RIGHT = Verdict("right", 1.0, {"format": 1.0}, "2", "equals 2", 0.25)
WRONG = Verdict("wrong", 0.0, {"format": 0.0}, None, "no answer")
LOST = Verdict("no_verdict", None, {}, None, "took too long", 2.0, "timeout")


def rollout(index: int, verdict: Verdict = RIGHT) -> Rollout:
    """Prompt [7, 8], then [9, 10]; the log-probabilities are whole in float32."""
    return Rollout(index, Tokens.join((7, 8), (9, 10), (-0.5, -0.25)), f"answer {index}", "eos", verdict, 4, 5)


def group(name: str, *rollouts: Rollout) -> Group:
    problem = Problem(name, "chain", "1+1=?", {"answer": "2", "also": [1, 2]}, "train", "ab12")
    return Group(problem, Prompt(name, (Message("user", "1+1=?"),), "<user>1+1=?", (7, 8)), rollouts)


def sample(name: str, index: int, reward: float, advantages: tuple[float, ...]) -> Sample:
    return Sample(Key(name, index), rollout(index).tokens, advantages, reward, 4, 5)


GROUPS = [group("a", rollout(0), rollout(1, WRONG)), group("b", rollout(0, LOST))]
SAMPLES = [sample("a", 1, -1.0, (9.0, 9.0, -0.5, -1.5)), sample("a", 0, 1.0, (9.0, 9.0, 0.5, 1.0))]
DROPPED = [Dropped(Key("b", 0), "no_verdict")]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "run", "seed = 1\n", {"run": 1})


def write(journal: Journal, step: int, **values: float) -> None:
    stats = {name: Mean.of([value]) for name, value in values.items()}
    journal.step(step, GROUPS, DROPPED, SAMPLES, stats, {"sample": 0.5}, version=step + 1)


# ---- rollouts


def test_a_row_holds_what_was_sampled_judged_and_credited(tmp_path: Path) -> None:
    path = write_rollouts(tmp_path, 1, GROUPS, SAMPLES, DROPPED)
    assert path == tmp_path / "step_000001.parquet"
    (tmp_path / "rollouts").mkdir()
    path.rename(tmp_path / "rollouts" / path.name)
    assert read_rollouts(tmp_path, 1)[0] == {
        "step": 1,
        "problem_id": "a",
        "task": "chain",
        "split": "train",
        "fingerprint": "ab12",
        "question": "1+1=?",
        "reference": {"answer": "2", "also": [1, 2]},
        "index": 0,
        "messages": [{"role": "user", "content": "1+1=?"}],
        "prompt_text": "<user>1+1=?",
        "prompt_ids": [7, 8],
        "completion_ids": [9, 10],
        "sampled": [True, True],
        "logprobs": [-0.5, -0.25],
        "text": "answer 0",
        "stop": "eos",
        "outcome": "right",
        "score": 1.0,
        "found": "2",
        "why": "equals 2",
        "fault": None,
        "parts": {"format": 1.0},
        "verify_seconds": 0.25,
        "reward": 1.0,
        "advantage": 0.75,
        "advantages": [0.5, 1.0],
        "oldest": 4,
        "newest": 5,
        "dropped": None,
        "usage_prompt": None,
        "usage_completion": None,
    }


def test_rewards_are_joined_by_key_and_not_by_position(journal: Journal) -> None:
    write(journal, 1)  # SAMPLES are in the opposite order of the rollouts
    rows = {(row["problem_id"], row["index"]): row for row in journal.rollouts(1)}
    assert (rows["a", 0]["reward"], rows["a", 0]["advantage"]) == (1.0, 0.75)
    assert (rows["a", 1]["reward"], rows["a", 1]["advantage"]) == (-1.0, -1.0)


def test_a_dropped_rollout_has_a_reason_and_no_reward(journal: Journal) -> None:
    write(journal, 1)
    row = journal.rollouts(1)[2]
    assert (row["dropped"], row["reward"], row["advantage"], row["advantages"]) == ("no_verdict", None, None, None)
    assert (row["outcome"], row["score"], row["fault"]) == ("no_verdict", None, "timeout")


@pytest.mark.parametrize(
    ("samples", "dropped", "sentence"),
    [
        ([sample("z", 0, 1.0, (0.0,) * 4)], [], r"step 1: a sample names \('z', 0\), which is not among the groups"),
        ([], [Dropped(Key("a", 7), "flat")], r"step 1: a dropped names \('a', 7\), which is not among the groups"),
        (SAMPLES, [Dropped(Key("a", 0), "flat")], r"\('a', 0\) is both a sample and dropped \(flat\)"),
        ([SAMPLES[0], SAMPLES[0]], [], r"sample \('a', 1\) occurs twice"),
        ([replace(SAMPLES[0], advantages=(1.0, 1.0))], [], r"sample \('a', 1\) has 2 advantages for 4 tokens"),
    ],
)
def test_what_does_not_join_is_refused_and_nothing_is_written(
    tmp_path: Path, samples: list[Sample], dropped: list[Dropped], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_rollouts(tmp_path, 1, GROUPS, samples, dropped)
    assert os.listdir(tmp_path) == []


def test_two_rollouts_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rollout \('a', 0\) occurs twice"):
        write_rollouts(tmp_path, 1, [group("a", rollout(0)), group("a", rollout(0))])


def test_a_rollout_of_another_prompt_is_refused(tmp_path: Path) -> None:
    stray = replace(rollout(0), tokens=Tokens.join((1, 2), (9,), (-0.5,)))
    with pytest.raises(ValueError, match=r"rollout \('a', 0\) does not begin with the tokens of its prompt"):
        write_rollouts(tmp_path, 1, [group("a", stray)])


def test_groups_come_back_as_they_were_written(journal: Journal) -> None:
    tool = Tokens((7, 8, 9, 3, 9), (False, False, True, False, True), (0.0, 0.0, -0.5, 0.0, -2.0))
    groups = [*GROUPS, group("c", replace(rollout(2), tokens=tool))]
    journal.step(1, groups, [], [], {})
    assert as_groups(journal.rollouts(1)) == groups


def test_an_advantage_is_the_mean_over_sampled_tokens_only(journal: Journal) -> None:
    tool = Tokens((7, 8, 9, 3, 9), (False, False, True, False, True), (0.0,) * 5)
    credited = Sample(Key("c", 0), tool, (0.0, 0.0, 1.0, 100.0, 2.0), 1.0, 0, 0)
    journal.step(1, [group("c", replace(rollout(0), tokens=tool))], [], [credited], {})
    assert journal.rollouts(1)[0]["advantage"] == 1.5


def test_a_step_without_rollouts_can_be_read(journal: Journal) -> None:
    journal.step(1, [], [], [], {})
    assert journal.rollouts(1) == []
    assert journal.query("select count(*) as n from rollouts") == [{"n": 0}]


def test_text_that_is_not_unicode_is_shown_with_a_question_mark(journal: Journal) -> None:
    journal.step(1, [group("a", replace(rollout(0), text="a\udc80b"))], [], [], {})
    assert journal.rollouts(1)[0]["text"] == "a?b"


def test_reading_all_steps_goes_in_order(journal: Journal) -> None:
    for step in (2, 10):
        write(journal, step)
    assert [row["step"] for row in journal.rollouts()] == [2, 2, 2, 10, 10, 10]


def test_a_step_that_was_not_written_is_an_error(journal: Journal) -> None:
    write(journal, 2)
    with pytest.raises(DataError, match=r"no rollouts of step 3; it holds steps 2 to 2"):
        journal.rollouts(3)


def test_a_damaged_file_is_named(journal: Journal) -> None:
    (journal.run_dir / "rollouts" / "step_000001.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"Cannot read .*step_000001\.parquet"):
        journal.rollouts()


@pytest.mark.parametrize("name", ["run", "a[1]*?", "it's", "k=v"])
def test_sql_sees_all_steps_whatever_the_directory_is_called(tmp_path: Path, name: str) -> None:
    journal = Journal.create(tmp_path / name, "", {})
    for step in (1, 2):
        write(journal, step)
    rows = journal.query("select step, sum(reward) as total, count(*) as n from rollouts group by step order by step")
    assert rows == [{"step": 1, "total": 0.0, "n": 3}, {"step": 2, "total": 0.0, "n": 3}]
    assert len(journal.rollouts()) == 6


def test_sql_sees_whole_files_only(journal: Journal) -> None:
    write(journal, 1)
    (journal.run_dir / "rollouts" / ".step_000002.parquet.ab.tmp").write_bytes(b"half")
    assert journal.query("select max(step) as last from rollouts") == [{"last": 1}]


def test_sql_reaches_into_the_parts(journal: Journal) -> None:
    write(journal, 1)
    rows = journal.query("select avg((parts->>'format')::double) as share from rollouts where outcome <> 'no_verdict'")
    assert rows == [{"share": 0.5}]


def test_sql_that_is_wrong_is_the_fault_of_who_wrote_it(journal: Journal) -> None:
    write(journal, 1)
    with pytest.raises(InputError, match=r"The query could not be run: .*nonsense"):
        journal.query("select nonsense from rollouts")


def test_sql_without_rollouts_says_so(journal: Journal) -> None:
    with pytest.raises(DataError, match="holds no rollouts yet"):
        query(journal.run_dir, "select 1")


# ---- the directory


def test_a_new_run_holds_its_config_and_versions(journal: Journal) -> None:
    assert journal.config_text == "seed = 1\n"
    versions = json.loads((journal.run_dir / "versions.json").read_text())
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["seeds"] == {"run": 1}
    assert versions["processors"] == os.cpu_count()
    assert {"burnish", "torch", "transformers"} <= set(versions["packages"])


def test_a_directory_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResumeError, match="already holds a run; add --resume to go on or choose another directory"):
        Journal.create(tmp_path, "", {})
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_an_empty_directory_may_be_used(tmp_path: Path) -> None:
    assert list(Journal.create(tmp_path, "", {}).metrics()) == []


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Cannot write .*/file/run"):
        Journal.create(tmp_path / "file" / "run", "", {})


def test_a_directory_without_a_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"holds no run \(it has no config\.toml\)"):
        Journal.open(tmp_path)


def test_a_step_is_one_line_of_plain_numbers(journal: Journal) -> None:
    stats: dict[str, Metric] = {"reward/mean": Mean.of([1.0, 0.0]), "tokens": Sum(12.0), "gap/abs_mean": Mean.of([])}
    journal.step(3, GROUPS, DROPPED, SAMPLES, stats, {"sample": 0.5, "seconds/train": 0.25}, version=4)
    (line,) = journal.metrics()
    assert isinstance(line.pop("time"), float)
    assert line == {
        "step": 3,
        "version": 4,
        "reward/mean": 0.5,
        "tokens": 12.0,
        "gap/abs_mean": None,
        "seconds/sample": 0.5,
        "seconds/train": 0.25,
    }


def test_a_step_is_not_counted_twice(journal: Journal) -> None:
    write(journal, 3)
    with pytest.raises(ValueError, match="step 3 was already written; the last one is 3"):
        write(journal, 3)
    with pytest.raises(ValueError, match="step 3 was already written"):
        write(Journal.open(journal.run_dir), 3)


def test_a_metric_cannot_take_the_name_of_the_step(journal: Journal) -> None:
    with pytest.raises(ValueError, match="a metric may not be called 'step'"):
        journal.step(1, [], [], [], {"step": Sum(1.0)})


def test_a_step_whose_keys_do_not_join_leaves_no_line(journal: Journal) -> None:
    with pytest.raises(ValueError, match="not among the groups"):
        journal.step(1, [], DROPPED, [], {})
    assert list(journal.metrics()) == []
    assert journal.last_step is None


def test_an_event_keeps_its_kind_and_fields(journal: Journal) -> None:
    journal.event("lost", problem_id="a", index=3, share=math.nan)
    (line,) = journal.events()
    assert comparable(line) == {"kind": "lost", "problem_id": "a", "index": 3, "share": None}


def test_a_second_reader_sees_the_run_while_it_goes_on(journal: Journal) -> None:
    reader = Journal.open(journal.run_dir)
    assert reader.last_step is None
    write(journal, 1)
    assert [line["step"] for line in reader.metrics()] == [1]
    assert len(reader.rollouts(1)) == 3


def test_opening_changes_nothing(journal: Journal) -> None:
    write(journal, 1)
    with open(journal.run_dir / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2')
    before = (journal.run_dir / "metrics.jsonl").read_bytes()
    assert Journal.open(journal.run_dir).last_step == 1
    assert (journal.run_dir / "metrics.jsonl").read_bytes() == before


def test_equal_runs_differ_only_in_what_the_clock_says(tmp_path: Path) -> None:
    lines: list[list[dict[str, Any]]] = []
    for name, seconds in (("one", 0.5), ("two", 0.75)):
        journal = Journal.create(tmp_path / name, "", {})
        journal.step(1, GROUPS, DROPPED, SAMPLES, {"speed/tokens": Sum(1 / seconds)}, {"sample": seconds})
        lines.append(list(journal.metrics()))
    assert lines[0] != lines[1]
    assert list(map(comparable, lines[0])) == list(map(comparable, lines[1])) == [{"step": 1, "version": None}]


def test_comparable_keeps_a_name_that_only_begins_like_a_clock() -> None:
    assert comparable({"timeouts": 1, "seconds": 2.0, "speedup/x": 3}) == {"timeouts": 1, "speedup/x": 3}


# ---- the way back


def test_going_back_and_on_again_gives_the_same_run(journal: Journal) -> None:
    for step in (1, 2):
        write(journal, step, loss=step / 2)
    journal.event("checkpoint", step=2)
    offset = json.loads(json.dumps(journal.offset()))  # a checkpoint keeps it as JSON
    metrics = (journal.run_dir / "metrics.jsonl").read_bytes()
    for step in (3, 4):
        write(journal, step, loss=9.0)
    journal.event("crash")

    resumed = Journal.open(journal.run_dir)
    resumed.truncate(offset)
    assert resumed.last_step == 2
    assert (journal.run_dir / "metrics.jsonl").read_bytes() == metrics
    assert [event["kind"] for event in resumed.events()] == ["checkpoint"]
    assert [row["step"] for row in resumed.rollouts()] == [1, 1, 1, 2, 2, 2]
    write(resumed, 3, loss=1.5)
    assert [(line["step"], line["loss"]) for line in resumed.metrics()] == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_going_back_cuts_a_torn_line_and_a_half_written_file(journal: Journal) -> None:
    write(journal, 1)
    offset = journal.offset()
    with open(journal.run_dir / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2')
    (journal.run_dir / "rollouts" / ".step_000002.parquet.ab.tmp").write_bytes(b"half")
    journal.truncate(offset)
    assert journal.offset() == offset
    assert os.listdir(journal.run_dir / "rollouts") == ["step_000001.parquet"]


def test_going_back_to_the_very_beginning(journal: Journal) -> None:
    offset = journal.offset()
    assert offset == {"metrics": 0, "events": 0, "step": None}
    write(journal, 0)
    journal.truncate(offset)
    assert list(journal.metrics()) == []
    assert os.listdir(journal.run_dir / "rollouts") == []
    write(journal, 0)


def test_going_back_twice_is_going_back_once(journal: Journal) -> None:
    write(journal, 1)
    offset = journal.offset()
    write(journal, 2)
    journal.truncate(offset)
    journal.truncate(offset)
    assert journal.offset() == offset


@pytest.mark.parametrize("size", [10_000, 5])
def test_a_journal_that_was_changed_since_is_not_cut(journal: Journal, size: int) -> None:
    write(journal, 1)
    before = (journal.run_dir / "metrics.jsonl").read_bytes()
    with pytest.raises(ResumeError, match=rf"does not have the {size} bytes the checkpoint was taken at"):
        journal.truncate({"metrics": size, "events": 0, "step": 0})
    assert (journal.run_dir / "metrics.jsonl").read_bytes() == before
    assert len(journal.rollouts(1)) == 3


def test_importing_the_journal_loads_nothing_heavy() -> None:
    code = (
        "import sys, burnish.journal; print(set(sys.modules) & {'torch', 'numpy', 'pyarrow', 'duckdb', 'matplotlib'})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
