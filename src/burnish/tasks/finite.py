"""What all tasks that read files share: read once, separate the splits, remember where each problem stood and what was left out.

Not for: endless tasks, or what a row means: a task says that in its `problem`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem
from burnish.tasks.files import is_unpinned, read_rows
from burnish.tasks.source import Shuffled
from burnish.tasks.splits import Overlap, Separation, separate

TRAIN, HELD_OUT = "train", "held_out"
ANSWER_FORMAT = "Reason step by step between <think> and </think>, then give {what} between <answer> and </answer>."


class LeftOut(Exception):
    """A row that cannot be asked or judged; the message says why, in a few words: "their answer is a picture"."""


class FileTask:
    """A task whose problems stand in files. Files are read at the first question, once; a leak is not possible.

    A subclass sets `name` and `verifier` and writes `problem`, `messages` and `gold`.
    `train` and `held_out` are locations as files.read_rows takes them, one or several. Without `train` the task is for evaluation
    alone; without both, the files are those of `hub`, if it has any. `overlap` is "drop" (problems in both splits leave training) or
    "refuse". The limits keep the first n problems of a split, after separation.
    Raises ConfigError for a limit below 1 and for want of a held-out file; reading raises DataError.
    """

    name: str
    verifier: str
    hub: Mapping[str, tuple[str, ...]] = {}
    """Where the splits come from when no file is named: locations of the hub, pinned where a revision is known."""
    hub_splits: Mapping[str, str] = {TRAIN: "train", HELD_OUT: "test"}
    """The split of a folder or of the hub that is meant where a location names none."""
    header: tuple[str, ...] = ()
    """The fields of a .tsv file of this task, which has no header."""

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        for option, limit in (("limit_train", limit_train), ("limit_held_out", limit_held_out)):
            if limit is not None and limit < 1:
                raise ConfigError(f"{option} = {limit} leaves no problem; give 1 or more, or leave it out.")
        given = {TRAIN: _several(train), HELD_OUT: _several(held_out)}
        self._locations = given if any(given.values()) else {TRAIN: (), HELD_OUT: (), **self.hub}
        if not self._locations[HELD_OUT]:
            hub = ", ".join(self.hub.get(HELD_OUT, ()))
            raise ConfigError(
                f"The task {self.name!r} needs the option 'held_out', a file to measure on"
                + (f"; or leave out train too, and it is {hub} of the hub." if hub else ".")
            )
        self._overlap = overlap
        self._limits = {TRAIN: limit_train, HELD_OUT: limit_held_out}
        self._places: dict[str, str] = {}
        self._rows: set[str] = set()
        self._left_out: Counter[str] = Counter()

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        """The problem a row holds, with `identity` for its id.

        Raises DataError which begins with `place` for a row that is malformed, LeftOut for one that cannot be used.
        """
        raise NotImplementedError

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """What the model is asked."""
        raise NotImplementedError

    def gold(self, problem: Problem) -> str | None:
        """A response that must pass the task's verifier."""
        raise NotImplementedError

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        """E.g. "gsm8k/train/0": `number` counts the rows of the split from 0, so dropping a row renames no other."""
        return f"{self.name}/{split}/{number}"

    def belongs(self, row: Mapping[str, Any], split: str, place: str) -> bool:
        """Whether a row of the files of that split is in it."""
        return True

    @property
    def train_size(self) -> int | None:
        """How many problems there are to train on."""
        return len(self._separation.train)

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence for each thing reading did to the splits; a run shows them."""
        separation = self._separation
        loose = [place for places in self._locations.values() for place in places if is_unpinned(place)]
        unpinned = [
            f"{place} is read at its newest revision, which may change; pin it with #REVISION." for place in loose
        ]
        left_out = [f"{_problems(count)} left out: {why}." for why, count in sorted(self._left_out.items())]
        return (*unpinned, *separation.notices, *left_out)

    @property
    def rows(self) -> int:
        """How many rows the files have."""
        self._separation  # noqa: B018 - reads them
        return len(self._rows)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Why rows are no problems, and how many: what could not be used, repeats, and what stands in both splits."""
        separation = self._separation
        return {**self._left_out, **separation.dropped}

    def train(self, seed: int) -> Shuffled:
        """The training problems as a source, shuffled by `seed`. Raises ConfigError where there are none."""
        if not self._locations[TRAIN]:
            raise ConfigError(
                f"{self.name} has no training problems, it is for evaluation here; name files to train on in the option train."
            )
        return Shuffled(self._separation.train, seed)

    def held_out(self) -> tuple[Problem, ...]:
        """The held-out problems in the order of their file."""
        return self._separation.held_out

    def where(self, problem: Problem) -> str:
        """E.g. "train.jsonl:17", the place a problem of this task was read from; its id for any other."""
        return self._places.get(problem.id, problem.id)

    @cached_property
    def _separation(self) -> Separation:
        self._rows.clear()
        self._left_out.clear()
        train = self._read(TRAIN) if self._locations[TRAIN] else []
        whole = separate(train, self._read(HELD_OUT), self._overlap)
        kept = whole.train[: self._limits[TRAIN]], whole.held_out[: self._limits[HELD_OUT]]
        limited = len(whole.train) + len(whole.held_out) - sum(map(len, kept))
        dropped = {**whole.dropped, "beyond the limit": limited} if limited else whole.dropped
        return Separation(*kept, whole.notices, dropped)

    def _read(self, split: str) -> list[Problem]:
        problems: list[Problem] = []
        taken: dict[str, str] = {}
        files = (read_rows(place, self.hub_splits[split], self.header) for place in self._locations[split])
        for number, (place, row) in enumerate(chain.from_iterable(files)):
            self._rows.add(place)  # by place, because one file may hold both splits
            if not self.belongs(row, split, place):
                continue
            identity = self.identity(row, split, number, place)
            if identity in taken:
                raise DataError(f"{place}: the id {identity!r} was already used at {taken[identity]}; make ids unique.")
            taken[identity] = place
            try:
                problems.append(self.problem(row, identity, split, place))
            except LeftOut as reason:
                self._left_out[str(reason)] += 1
        if not problems:
            raise DataError(f"{self._no_problem(split)}; give another file.")
        self._places.update(taken)
        return problems

    def _no_problem(self, split: str) -> str:
        reasons = "; ".join(f"{_problems(count)} left out: {why}" for why, count in self._left_out.items())
        return f"{', '.join(self._locations[split])} has no problem for the {split} split" + (
            reasons and f" ({reasons})"
        )


def _several(location: str | list[str]) -> tuple[str, ...]:
    return tuple(location) if isinstance(location, list) else (location,) * bool(location)


def _problems(count: int) -> str:
    return "1 problem" if count == 1 else f"{count:,} problems"


def tagged(thought: str, answer: str) -> str:
    """A response in the format the tasks ask for: `<think>...</think><answer>...</answer>`."""
    return f"<think>{thought}</think><answer>{answer}</answer>"
