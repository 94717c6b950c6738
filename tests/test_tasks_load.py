"""Naming a task and its options: what fits, and a sentence for what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.tasks import TASKS, load
from burnish.tasks.countdown import Countdown

FILES = {"train": "a.jsonl", "held_out": "b.jsonl"}

OWN = """
from burnish.records import Message

class Mine:
    name, verifier, train_size, notices = "mine", "number", None, ()
    def __init__(self, sizes: tuple[int, ...] = (), share: float = 0.5, anything=None):
        self.given = (sizes, share, anything)
    def train(self, seed): ...
    def held_out(self): return []
    def messages(self, problem): return (Message("user", problem.question),)
    def gold(self, problem): return None

class Half:
    name, verifier, train_size = "half", "number", None
    def train(self, seed): ...

def make(**options):
    return Mine(anything=options)

limit = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "burnish_own_tasks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "burnish_own_tasks", raising=False)
    return "burnish_own_tasks"


def given(name: str, **options: Any) -> Any:
    task: Any = load(name, options)
    return task.given


@pytest.mark.parametrize("name", ["countdown", "gsm8k", "rows"])
def test_a_task_of_files_loads_without_reading_them(name: str) -> None:
    assert load(name, FILES).name == name


def test_every_listed_task_can_be_found() -> None:
    for name in TASKS:
        with pytest.raises(ConfigError, match="has no option 'no_such_option'"):
            load(name, {"no_such_option": 1})


def test_options_arrive() -> None:
    task = load("countdown", {**FILES, "wording": "short"})
    assert isinstance(task, Countdown)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="There is no task 'gms8k'; did you mean 'gsm8k'"):
        load("gms8k", FILES)


def test_an_unknown_task_near_none_lists_them() -> None:
    with pytest.raises(
        ConfigError, match=r"there are aime24, .*chain, code_contests, .*unit_conversion; or name your own"
    ):
        load("xyz", FILES)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="The task 'gsm8k' has no option 'heldout'; did you mean 'held_out'"):
        load("gsm8k", {"train": "a", "heldout": "b"})


def test_a_missing_option_is_named() -> None:
    hub = "or leave out train too, and it is openai/gsm8k:main@test#[0-9a-f]{40} of the hub"
    with pytest.raises(ConfigError, match=f"'gsm8k' needs the option 'held_out', a file to measure on; {hub}"):
        load("gsm8k", {"train": "a"})
    with pytest.raises(ConfigError, match=r"'countdown' needs the option 'held_out', a file to measure on\.$"):
        load("countdown", {})


WRONG_TYPES = {
    "text for a number": ("limit_train", "3", "input should be a valid integer"),
    "true for a number": ("limit_train", True, "input should be a valid integer"),
    "a fraction for a number": ("limit_train", 2.5, "input should be a valid integer"),
    "a number for text": ("train", 3, "input should be a valid string"),
    "a list of numbers for texts": ("train", [1], "input should be a valid string"),
    "a choice that is none": ("overlap", "keep", "input should be 'drop' or 'refuse'"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_an_option_of_the_wrong_type_is_refused(case: str) -> None:
    option, value, message = WRONG_TYPES[case]
    with pytest.raises(ConfigError, match=f"The option '{option}' of the task 'gsm8k' is .*: {message}"):
        load("gsm8k", {**FILES, option: value})


def test_an_own_class_is_loaded_with_its_options(own: str) -> None:
    assert given(f"{own}:Mine", sizes=[1, 2], share=1, anything={3}) == ((1, 2), 1.0, {3})


def test_an_own_function_may_take_any_option(own: str) -> None:
    assert given(f"{own}:make", depth=3) == ((), 0.5, {"depth": 3})


def test_an_own_class_that_is_no_task_says_what_it_lacks(own: str) -> None:
    with pytest.raises(ConfigError, match=f"{own}:Half is no task: it lacks notices, held_out, messages, gold"):
        load(f"{own}:Half", {})


def test_an_own_module_without_the_attribute_names_the_nearest(own: str) -> None:
    with pytest.raises(ConfigError, match="has no class or function 'Mien'; did you mean 'Mine'"):
        load(f"{own}:Mien", {})


def test_an_own_attribute_that_cannot_be_called_is_refused(own: str) -> None:
    with pytest.raises(ConfigError, match="has no class or function 'limit'"):
        load(f"{own}:limit", {})


def test_an_own_module_that_is_not_there_says_so() -> None:
    with pytest.raises(ConfigError, match="cannot be imported from no_such_module: No module named 'no_such_module'"):
        load("no_such_module:Mine", {})


def test_tasks_load_no_torch_and_no_data_library() -> None:
    heavy = "{'torch', 'datasets', 'pyarrow', 'pydantic', 'transformers'}"
    script = f"import burnish.tasks, burnish.tasks.rows, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
