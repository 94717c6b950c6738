"""GSM8K: reading, wording, and gold answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.records import Message
from burnish.tasks import load
from burnish.tasks.published import Published
from burnish.tasks.splits import check_golds


def gsm8k(train: str, held_out: str) -> Published:
    task = load("gsm8k", {"train": train, "held_out": held_out})
    assert isinstance(task, Published)
    return task


def task(folder: Path, *rows: dict[str, str]) -> Published:
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "test.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "It is 2.\n#### 2"}))
    return gsm8k(str(folder / "train.jsonl"), str(folder / "test.jsonl"))


SEVENTY_TWO = {"question": "48+24?", "answer": "48+24 = <<48+24=72>>72 clips.\n#### 72"}


def test_the_question_is_followed_by_the_answer_format(tmp_path: Path) -> None:
    reading = task(tmp_path, SEVENTY_TWO)
    told = (
        "Reason step by step between <think> and </think>, then give the final number between <answer> and </answer>."
    )
    assert reading.messages(reading.train(1).take(1)[0]) == (Message("user", f"48+24?\n{told}"),)


def test_the_reference_is_the_text_after_the_marks(tmp_path: Path) -> None:
    assert task(tmp_path, SEVENTY_TWO).train(1).take(1)[0].reference == {"answer": "72", "style": "any"}


def test_a_thousands_comma_stays_as_written(tmp_path: Path) -> None:
    reading = task(tmp_path, {"question": "?", "answer": "#### 1,080"})
    assert reading.train(1).take(1)[0].reference["answer"] == "1,080"


def test_the_gold_response_is_the_answer_in_its_tags(tmp_path: Path) -> None:
    reading = task(tmp_path, SEVENTY_TWO)
    assert reading.gold(reading.train(1).take(1)[0]) == "<think>The reference answer is 72.</think><answer>72</answer>"


def test_ids_number_the_rows_of_the_file_from_0(tmp_path: Path) -> None:
    reading = task(tmp_path, SEVENTY_TWO, SEVENTY_TWO, {"question": "?", "answer": "#### 3"})
    assert sorted(p.id for p in reading.train(1).take(2)) == ["gsm8k/train/0", "gsm8k/train/2"]


@pytest.mark.parametrize("answer", ["It is 72.", "It is 72. ####", "####  \n"])
def test_a_row_without_an_answer_is_refused_with_its_place(tmp_path: Path, answer: str) -> None:
    with pytest.raises(DataError, match=r'train\.jsonl:2: a row without an answer, "answer" must end in "#### 72"'):
        task(tmp_path, SEVENTY_TWO, {"question": "?", "answer": answer}).train(1)


def test_without_files_both_splits_come_from_the_hub_at_one_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, config: str | None, *, split: str, revision: str) -> list[dict[str, str]]:
        asked.append((name, config, split, len(revision)))
        return [{"question": split, "answer": "#### 1"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = load("gsm8k", {})
    assert (task.train_size, task.notices) == (1, ())
    assert asked == [("openai/gsm8k", "main", "train", 40), ("openai/gsm8k", "main", "test", 40)]


@pytest.fixture(scope="module")
def published(data_dir: Path) -> Published:
    return gsm8k(str(data_dir / "gsm8k" / "train.jsonl"), str(data_dir / "gsm8k" / "test.jsonl"))


def test_every_published_row_loads_and_none_repeats(published: Published) -> None:
    assert (published.train_size, len(published.held_out()), published.notices) == (7473, 1319, ())


def test_published_golds_all_pass_their_verifier(published: Published) -> None:
    assert check_golds(published, [*published.train(1).take(7473), *published.held_out()]) == []
