"""All 5,276 stored answers to GSM8K's test questions get the verdict that their label says: benchmarks/judge_gsm8k.py, run and read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "judge_gsm8k.py"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_every_stored_answer_agrees_with_its_label(data_dir: Path) -> None:
    ended = run("--data", str(data_dir / "gsm8k"), "--json")
    assert ended.returncode == 0, ended.stdout
    said = json.loads(ended.stdout)
    assert (said["questions"], said["answers"], said["labelled_right"], said["judged_right"]) == (
        1319,
        5276,
        2001,
        2001,
    )
    assert (said["agree"], said["disagree"]) == (5276, [])


def test_a_verdict_that_disagrees_is_named_and_ends_with_one(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}))
    answers = dict(zip(MODELS, ("A: 2", "A: 3", "A: 2", "A: 2"), strict=True))
    stored = {model: {"solution": text, "is_correct": text == "A: 2"} for model, text in answers.items()}
    stored["175b_finetuning"]["is_correct"] = False
    (tmp_path / "example_model_solutions.jsonl").write_text(json.dumps({"question": "1+1?", **stored}))
    ended = run("--data", str(tmp_path))
    assert ended.returncode == 1
    assert "3 of 4 verdicts agree" in ended.stdout
    assert "gsm8k/held_out/0 by 175b_finetuning: labelled wrong, right: equals 2 (found '2')" in ended.stdout
