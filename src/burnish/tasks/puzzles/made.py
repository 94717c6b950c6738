"""What all made puzzles share: levels, splits that cannot overlap, an endless source. Not for any one puzzle.

A problem is a function of (task, split, seed, i) and the options. Which split it belongs to is decided by what the puzzle is: a
puzzle is held out where the hash of its `kin` says so, for every seed and every level.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.documents import generator
from burnish.tasks.finite import ANSWER_FORMAT, tagged
from burnish.tasks.source import Endless

HELD_OUT_CLASSES = 16
"""One puzzle in sixteen belongs to the held-out split, by its kin."""
_DRAWS = 300  # of one problem: some draws make no puzzle
_PATIENCE = 600  # numbers in a row without a new held-out puzzle, after which there are taken to be no more


class Draft(NamedTuple):
    """The part of a puzzle that says which split it is in, and what `finish` needs to make the rest.

    kin   what makes two puzzles the same one in other clothes: equal puzzles must have equal kin
    plan  anything
    """

    kin: tuple[str, ...]
    plan: Any


class Made(NamedTuple):
    """A puzzle: its wording, its reference, and what it is whatever its wording (its fingerprint)."""

    question: str
    reference: Mapping[str, Any]
    mark: tuple[str, ...]


class Puzzle:
    """A task of made puzzles. A subclass sets the class attributes and writes `draw`, `finish` and `solve`.

    difficulty     the level, from 1; `levels` says what each means
    up_to          also the levels above, up to this one, in equal shares
    held_out_size  how many held-out puzzles; fewer where a level has no more, and a notice says so
    wording        "plain" tells the answer format in words; "short" is the bare question, for small models

    Raises ConfigError for a level there is none of.
    """

    name: ClassVar[str]
    verifier: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    asked: ClassVar[str]
    """What is to stand in the `<answer>`, as in "give {asked} between"."""
    train_size: ClassVar[int | None] = None

    def __init__(
        self,
        difficulty: int = 1,
        up_to: int | None = None,
        held_out_size: int = 200,
        wording: Literal["plain", "short"] = "plain",
    ) -> None:
        top = difficulty if up_to is None else up_to
        if not 1 <= difficulty <= top <= len(self.levels):
            raise ConfigError(
                f"{self.name}: difficulty is {difficulty}{'' if up_to is None else f' and up_to is {up_to}'}, but "
                f"1 <= difficulty <= up_to <= {len(self.levels)} must hold."
            )
        if held_out_size < 1:
            raise ConfigError(f"{self.name}: held_out_size is {held_out_size}, but must be at least 1.")
        self.difficulty, self.up_to, self.held_out_size, self.wording = difficulty, top, held_out_size, wording

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        """Begin a puzzle; None where this draw makes none."""
        raise NotImplementedError

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        """The puzzle a draft makes, proved to have an answer; None where it has none."""
        raise NotImplementedError

    def solve(self, problem: Problem) -> tuple[str, str]:
        """A thought in a sentence or two, and the answer."""
        raise NotImplementedError

    @property
    def notices(self) -> tuple[str, ...]:
        """Whether there are fewer held-out puzzles than asked for."""
        count = len(self._held_out)
        if count == self.held_out_size:
            return ()
        return (f"{self.name}: there are only {count} different held-out puzzles at this difficulty.",)

    def train(self, seed: int) -> Endless:
        """An endless source; problem i is a function of (seed, i) and the options."""
        return Endless(lambda i: self._problem("train", seed, i))

    def held_out(self) -> Sequence[Problem]:
        """The same puzzles for every run, whatever its seed; no two are the same."""
        return self._held_out

    @cached_property
    def _held_out(self) -> tuple[Problem, ...]:
        found: dict[str, Problem] = {}
        i = latest = 0
        while len(found) < self.held_out_size and i - latest < _PATIENCE:
            problem = self._problem("held_out", 0, i)
            i += 1
            if problem is not None and problem.fingerprint not in found:
                found[problem.fingerprint] = problem
                latest = i
        if not found:
            raise DataError(f"{self.name}: no held-out puzzle was found at this difficulty; choose another.")
        return tuple(found.values())

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        told = "" if self.wording == "short" else f"\n{ANSWER_FORMAT.format(what=self.asked)}"
        return (Message("user", problem.question + told),)

    def gold(self, problem: Problem) -> str:
        """A right response: the puzzle is solved anew, from its reference."""
        return tagged(*self.solve(problem))

    def _problem(self, split: str, seed: int, i: int) -> Problem | None:
        """Problem i of a split; None where it is a puzzle of the other split."""
        rng = generator(self.name, split, seed, self.difficulty, self.up_to, i)
        level = rng.randint(self.difficulty, self.up_to)
        for _ in range(_DRAWS):
            draft = self.draw(rng, level)
            if draft is None:
                continue
            held_out = int(fingerprint(self.name, *draft.kin)[:8], 16) % HELD_OUT_CLASSES == 0
            if held_out != (split == "held_out"):
                return None
            made = self.finish(rng, level, draft)
            if made is not None:
                mark = fingerprint(self.name, *made.mark)
                return Problem(
                    f"{self.name}/{split}/{seed}/{i}", self.name, made.question, dict(made.reference), split, mark
                )
        return None
