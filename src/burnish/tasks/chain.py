"""Our own multi-step arithmetic on the last digit: "a 3, b add 5, c times 7, d take 4." Seeded and endless.

Every step keeps the last digit only (3, 8, 6, 2), so a long chain cannot be guessed in one go, by size or otherwise, while each
step is easy: the smallest task on which thinking before answering pays. Not for: measuring a real model (gsm8k and friends).

Splits cannot overlap: a problem belongs to the held-out split exactly when its fingerprint does, for every seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from burnish.errors import ConfigError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.documents import Document, generator
from burnish.tasks.source import Endless

LABELS = "abcdefghijklmnopqrstuvwxyz"
HELD_OUT_CLASSES = 16
"""One problem in sixteen belongs to the held-out split, by its fingerprint."""


@dataclass(frozen=True)
class Chain:
    """The task. A chain has min_steps..max_steps operations after its start."""

    min_steps: int = 6
    max_steps: int = 8
    held_out_size: int = 1000

    name: ClassVar[str] = "chain"
    verifier: ClassVar[str] = "tagged_number"
    train_size: ClassVar[int | None] = None
    notices: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.min_steps <= self.max_steps < len(LABELS):
            raise ConfigError(
                f"chain: min_steps is {self.min_steps} and max_steps is {self.max_steps}, but 1 <= min_steps <= max_steps <= "
                f"{len(LABELS) - 1} must hold."
            )
        if self.held_out_size < 1:
            raise ConfigError(f"chain: held_out_size is {self.held_out_size}, but must be at least 1.")

    def train(self, seed: int) -> Endless:
        """An endless source; problem i is a function of (seed, i) alone."""
        return Endless(lambda i: self._problem("train", seed, i))

    def held_out(self) -> Sequence[Problem]:
        """The same problems for every run, whatever its seed."""
        return self._held_out

    @cached_property
    def _held_out(self) -> tuple[Problem, ...]:
        return tuple(Endless(lambda i: self._problem("held_out", 0, i)).take(self.held_out_size))

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", problem.question),)

    def level(self, problem: Problem) -> str:
        """What makes one chain harder than another: the number of its steps."""
        return f"{problem.question.count(',')} steps"

    def gold(self, problem: Problem) -> str:
        """The steps written out, and the answer."""
        return _reasoned(work_out(problem.question))

    def ask(self, question: str) -> Problem | None:
        """A problem of one's own; None where the question is not of this form."""
        try:
            answer = str(work_out(question)[-1][1])
        except (ValueError, KeyError, IndexError):
            return None
        return Problem(
            "chain/asked/0", self.name, question, {"answer": answer}, "asked", fingerprint("chain", question)
        )

    def documents(self, seed: int, think_share: float, slip_rate: float, min_steps: int = 1) -> Iterator[Document]:
        """An endless corpus: most documents give the answer at once; a `think_share` of them reason step by step, and a
        `slip_rate` of those make one wrong step and carry it on to a wrong answer. Held-out problems never appear."""
        for name, share in (("think_share", think_share), ("slip_rate", slip_rate)):
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"chain: {name} is {share}, but must be between 0 and 1.")
        mixed = Chain(min_steps, self.max_steps)
        for i in itertools.count():
            problem = mixed._problem("corpus", seed, i)
            if problem is None:
                continue
            rng = generator("document", seed, i)
            if rng.random() >= think_share:
                yield Document(problem.question, f"<answer>{problem.reference['answer']}</answer>", "guess")
            elif rng.random() >= slip_rate:
                yield Document(problem.question, _reasoned(work_out(problem.question)), "thought")
            else:
                yield Document(problem.question, _reasoned(_slip(work_out(problem.question), rng)), "slip")

    def _problem(self, split: str, seed: int, i: int) -> Problem | None:
        rng = generator(split, seed, i)
        start = rng.randrange(10)
        operations = [rng.choice(_OPERATIONS) for _ in range(rng.randint(self.min_steps, self.max_steps))]
        parts = [f"{label} {part}" for label, part in zip(LABELS, [str(start), *operations], strict=False)]
        question = ", ".join(parts) + "."
        mark = fingerprint("chain", question)
        held_out = int(mark[:8], 16) % HELD_OUT_CLASSES == 0
        if held_out != (split == "held_out"):
            return None
        where = "held_out" if held_out else "train"
        answer = str(work_out(question)[-1][1])
        return Problem(f"chain/{split}/{seed}/{i}", self.name, question, {"answer": answer}, where, mark)


def work_out(question: str) -> list[tuple[str, int]]:
    """The steps of a question: "a 3, b add 5, c times 7." -> [("3", 3), ("add 5", 8), ("times 7", 6)]."""
    start, *operations = (part.split(" ", 1)[1] for part in question.removesuffix(".").split(", "))
    steps = [(start, int(start))]
    for operation in operations:
        steps.append((operation, apply(operation, steps[-1][1])))
    return steps


def apply(operation: str, value: int) -> int:
    """One step on the last digit: "add 5", "take 4" or "times 7"."""
    word, _, digit = operation.partition(" ")
    result = {"add": value + int(digit), "take": value - int(digit), "times": value * int(digit)}[word]
    return result % 10


# Multipliers without a common factor with ten: every chain's answer is spread evenly, so no guess beats one in ten.
_OPERATIONS = [f"{word} {digit}" for word in ("add", "take") for digit in range(1, 6)] + [
    f"times {digit}" for digit in (3, 3, 7, 7)
]


def _reasoned(steps: Sequence[tuple[str, int]]) -> str:
    """The question said again with every result: "a 3, b add 5 = 8, c times 7 = 6"."""
    (start, _), *rest = steps
    lines = [f"{label} {operation} = {value}" for label, (operation, value) in zip(LABELS[1:], rest, strict=False)]
    return f"<think>{', '.join([f'a {start}', *lines])}</think><answer>{steps[-1][1]}</answer>"


def _slip(steps: list[tuple[str, int]], rng: random.Random) -> list[tuple[str, int]]:
    """The same operations with one wrong result, carried on: multipliers are invertible, so the answer is wrong too."""
    at = rng.randrange(1, len(steps))
    slipped = steps[:at]
    for place, (operation, _) in enumerate(steps[at:], start=at):
        value = apply(operation, slipped[-1][1])
        slipped.append((operation, (value + rng.randint(1, 9)) % 10 if place == at else value))
    return slipped
