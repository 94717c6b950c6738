"""The page of tasks shows what the tasks declare, and every declaration holds for its own example."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from burnish.errors import ConfigError
from burnish.tasks import TASKS, load
from burnish.tasks.splits import check_golds
from burnish.verify.sandbox import Policy, Sandbox

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs/task_pages.py"))
CARDS = {name: card for name, _, card in SCRIPT["declared"]()}


def test_the_page_is_the_one_the_tasks_make(capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPT["main"]()
    page = (ROOT / "docs/tasks.md").read_text()
    shown = page.partition("<!-- made by docs/task_pages.py -->\n\n")[2].partition("<!-- end -->")[0]
    assert shown == capsys.readouterr().out


def test_every_published_task_is_on_the_page() -> None:
    ours = {name for name, target in TASKS.items() if ".puzzles." in target} | {
        "chain",
        "rows",
        "composed",
        "reasoning_gym",
    }
    assert set(CARDS) | ours == set(TASKS) and not set(CARDS) & ours


@pytest.mark.parametrize("name", CARDS)
def test_the_example_of_a_page_loads_and_its_gold_passes(name: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(CARDS[name].example))
    task = load(name, {"held_out": str(tmp_path / "rows.jsonl")})
    if task.verifier == "programs":
        try:
            Sandbox(Policy.of_environment()).close()
        except ConfigError as error:
            pytest.skip(str(error))
    assert len(task.held_out()) == 1
    assert check_golds(task, task.held_out()) == []


@pytest.mark.parametrize("name", CARDS)
def test_what_comes_from_the_hub_is_pinned_or_said_to_be_loose(name: str) -> None:
    places = [place for places in getattr(load(name, {"held_out": "f.jsonl"}), "hub").values() for place in places]  # noqa: B009
    loose = [place for place in places if "#" not in place and not place.startswith("hf://")]
    assert not loose or name in ("gsm_hard", "mgsm")
