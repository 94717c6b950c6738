"""Stored answers that somebody labelled: the verifier's figure beside the labels', and every disagreement explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError, DataError
from burnish.pipelines.labelled import page, score
from terminal import Terminal, write_rows


def test_gsm8k_solutions_get_the_verdicts_of_their_labels(data_dir: Path) -> None:
    folder = data_dir / "gsm8k"
    options: dict[str, Any] = {"train": str(folder / "train.jsonl"), "held_out": str(folder / "test.jsonl")}
    result = score(str(folder / "example_model_solutions.jsonl"), None, "gsm8k", options, quiet=True)
    assert result["all"]["answers"] == 5276 and result["all"]["disagreements"] == []
    assert result["all"]["rates"]["positives"] == 2001
    assert result["all"]["by_verifier"]["value"] == pytest.approx(2001 / 5276)
    assert list(result["models"]) == ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    assert all(one["by_verifier"] == one["by_label"] for one in result["models"].values())


def rows(path: Path) -> str:
    return str(
        write_rows(
            path,
            {"gold": "1/2", "answer": "0.5", "label": True},
            {"gold": "12", "answer": "twelve", "label": True},
            {"gold": "3", "answer": "4", "label": False},
            {"gold": "3", "answer": "3", "label": False},
        )
    )


def test_a_disagreement_is_explained(tmp_path: Path) -> None:
    whole = score(rows(tmp_path / "a.jsonl"), "math", quiet=True)["all"]
    assert whole["by_verifier"]["value"] == 0.75 and whole["by_label"]["value"] == 0.5
    [one] = whole["disagreements"]
    assert (one["label"], one["outcome"], one["found"], one["gold"]) == (False, "right", "3", "3")
    assert one["why"] and one["place"].endswith("a.jsonl:4")


def test_the_page_says_who_judged_and_where_they_differ(tmp_path: Path) -> None:
    text = page(score(rows(tmp_path / "a.jsonl"), "math", quiet=True))
    assert "judged by math@" in text and "agree on 3 of 4 answers" in text
    assert "a.jsonl:4 (answers): labelled wrong, judged right" in text


def test_at_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "a.jsonl")
    terminal = Terminal(monkeypatch, capsys)
    said = terminal("eval", "--answers", "a.jsonl", "--verifier", "math", "--out", "r.json", "--json")
    assert said.code == 0 and said.json["all"]["answers"] == 4 and Path("r.json").is_file()
    assert terminal("eval", "m", "--answers", "a.jsonl", "--verifier", "math").code == 2


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Say who judges"):
        score(rows(tmp_path / "a.jsonl"), None)
    bare = write_rows(tmp_path / "b.jsonl", {"gold": "3", "answer": "3"})
    with pytest.raises(DataError, match=r"b\.jsonl:1 has no label"):
        score(str(bare), "math")
    strange = write_rows(tmp_path / "c.jsonl", {"question": "?", "answer": "3", "label": True})
    with pytest.raises(DataError, match="nobody knows what is right"):
        score(str(strange), None, "chain")
