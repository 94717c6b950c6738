"""What all tasks that read two files share: read once, separate the splits, remember where each problem stood.

Not for: endless tasks, or what a row means: a task says that in its `problem`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem
from burnish.tasks.files import read_rows
from burnish.tasks.source import Shuffled
from burnish.tasks.splits import Overlap, Separation, separate

TRAIN, HELD_OUT = "train", "held_out"
ANSWER_FORMAT = "Reason step by step between <think> and </think>, then give {what} between <answer> and </answer>."


class FileTask:
    """A task whose problems stand in two files. Files are read at the first question, once; a leak is not possible.

    A subclass sets `name` and `verifier` and writes `problem`, `messages` and `gold`.
    `train` and `held_out` are locations as files.read_rows takes them. `overlap` is "drop" (problems in both splits
    leave training) or "refuse". The limits keep the first n problems of a split, after separation.
    Raises ConfigError for a limit below 1; reading raises DataError.
    """

    name: str
    verifier: str
    hub_splits: Mapping[str, str] = {TRAIN: "train", HELD_OUT: "test"}

    def __init__(
        self,
        train: str,
        held_out: str,
        *,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        for option, limit in (("limit_train", limit_train), ("limit_held_out", limit_held_out)):
            if limit is not None and limit < 1:
                raise ConfigError(f"{option} = {limit} leaves no problem; give 1 or more, or leave it out.")
        self._locations = {TRAIN: train, HELD_OUT: held_out}
        self._overlap = overlap
        self._limits = {TRAIN: limit_train, HELD_OUT: limit_held_out}
        self._places: dict[str, str] = {}

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        """The problem a row holds, with `identity` for its id. Raises DataError which begins with `place`."""
        raise NotImplementedError

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """What the model is asked."""
        raise NotImplementedError

    def gold(self, problem: Problem) -> str | None:
        """A response that must pass the task's verifier."""
        raise NotImplementedError

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        """E.g. "gsm8k/train/0": `number` counts the rows of the file from 0, so dropping a row renames no other."""
        return f"{self.name}/{split}/{number}"

    @property
    def train_size(self) -> int | None:
        """How many problems there are to train on."""
        return len(self._separation.train)

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence for each thing reading did to the splits; a run shows them."""
        return self._separation.notices

    def train(self, seed: int) -> Shuffled:
        """The training problems as a source, shuffled by `seed`."""
        return Shuffled(self._separation.train, seed)

    def held_out(self) -> tuple[Problem, ...]:
        """The held-out problems in the order of their file."""
        return self._separation.held_out

    def where(self, problem: Problem) -> str:
        """E.g. "train.jsonl:17", the place a problem of this task was read from; its id for any other."""
        return self._places.get(problem.id, problem.id)

    @cached_property
    def _separation(self) -> Separation:
        whole = separate(self._read(TRAIN), self._read(HELD_OUT), self._overlap)
        train, held_out = whole.train[: self._limits[TRAIN]], whole.held_out[: self._limits[HELD_OUT]]
        return Separation(train, held_out, whole.notices)

    def _read(self, split: str) -> list[Problem]:
        problems = []
        taken: dict[str, str] = {}
        for number, (place, row) in enumerate(read_rows(self._locations[split], self.hub_splits[split])):
            identity = self.identity(row, split, number, place)
            if identity in taken:
                raise DataError(f"{place}: the id {identity!r} was already used at {taken[identity]}; make ids unique.")
            taken[identity] = place
            problems.append(self.problem(row, identity, split, place))
        self._places.update(taken)
        return problems


def tagged(thought: str, answer: str) -> str:
    """A response in the format the tasks ask for: `<think>...</think><answer>...</answer>`."""
    return f"<think>{thought}</think><answer>{answer}</answer>"
