"""Our own multi-step arithmetic: "Start with 3, add 5, double, take 4." Seeded, endless, answers checked by a program.

Long chains cannot be guessed in one step by a small model, but each single step is easy: the smallest task on which thinking
before answering pays. Not for: measuring a real model (use gsm8k and friends).

Splits cannot overlap: a problem belongs to the held-out split exactly when its fingerprint does, for every seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from burnish.errors import ConfigError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.source import Endless

LABELS = "abcdefghijklmnopqrstuvwxyz"
HELD_OUT_CLASSES = 16
"""One problem in sixteen belongs to the held-out split, by its fingerprint."""


@dataclass(frozen=True)
class Document:
    """One text to learn language from: a question and a response to it, and what kind of response it is."""

    question: str
    response: str
    kind: str


@dataclass(frozen=True)
class Chain:
    """The task. A chain has min_steps..max_steps operations on values in 0..top."""

    min_steps: int = 6
    max_steps: int = 8
    top: int = 99
    held_out_size: int = 1000

    name = "chain"
    verifier = "tagged_number"
    train_size: int | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.min_steps <= self.max_steps:
            raise ConfigError(f"chain: min_steps {self.min_steps} and max_steps {self.max_steps} must satisfy 1 <= min <= max")
        if not 19 <= self.top <= 99:
            raise ConfigError(f"chain: top is {self.top}, but must be between 19 and 99")
        if self.held_out_size < 1:
            raise ConfigError(f"chain: held_out_size is {self.held_out_size}, but must be at least 1")

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

    def gold(self, problem: Problem) -> str:
        """The steps written out, and the answer."""
        steps = work_out(problem.question)
        return f"<think>{narrate(steps)}</think><answer>{steps[-1][1]}</answer>"

    def documents(self, seed: int, think_share: float, slip_rate: float, min_steps: int = 1) -> Iterator[Document]:
        """An endless corpus: most documents give the answer at once; a `think_share` of them reason step by step, and a
        `slip_rate` of those make one wrong step and carry it on to a wrong answer. Held-out problems never appear."""
        mixed = Chain(min_steps, self.max_steps, self.top)
        i = 0
        while True:
            problem = mixed._problem("corpus", seed, i)
            rng = _rng("document", seed, i)
            i += 1
            if problem is None:
                continue
            if rng.random() >= think_share:
                yield Document(problem.question, f"<answer>{problem.reference['answer']}</answer>", "guess")
                continue
            steps, kind = work_out(problem.question), "thought"
            if rng.random() < slip_rate:
                steps, kind = _slip(steps, rng, self.top), "slip"
            yield Document(problem.question, f"<think>{narrate(steps)}</think><answer>{steps[-1][1]}</answer>", kind)

    def _problem(self, split: str, seed: int, i: int) -> Problem | None:
        rng = _rng(split, seed, i)
        count = rng.randint(self.min_steps, self.max_steps)
        value = rng.randint(1, min(9, self.top))
        steps: list[tuple[str, int]] = [("", value)]
        for _ in range(count):
            operation = rng.choice(_choices(value, self.top, rng))
            value = apply(operation, value)
            steps.append((operation, value))
        question = ", ".join(f"{label} {step}" for label, step in zip(LABELS, [str(steps[0][1])] + [op for op, _ in steps[1:]]))+"."
        mark = fingerprint("chain", question)
        held_out = int(mark[:8], 16) % HELD_OUT_CLASSES == 0
        if held_out != (split == "held_out"):
            return None
        where = "held_out" if held_out else "train"
        return Problem(f"chain/{split}/{seed}/{i}", self.name, question, {"answer": str(value)}, where, mark)


def work_out(question: str) -> list[tuple[str, int]]:
    """The steps of a question: "a 3, b add 5, c double." -> [("", 3), ("add 5", 8), ("double", 16)]."""
    start, *operations = (part.split(" ", 1)[1] for part in question.removesuffix(".").split(", "))
    steps = [("", int(start))]
    for operation in operations:
        steps.append((operation, apply(operation, steps[-1][1])))
    return steps


def narrate(steps: Sequence[tuple[str, int]]) -> str:
    """`[("", 3), ("add 5", 8), ("double", 16)]` -> "a 3, b add 5 = 8, c double = 16"."""
    first, *rest = steps
    return ", ".join([f"a {first[1]}", *(f"{label} {operation} = {value}" for label, (operation, value) in zip(LABELS[1:], rest))])


def apply(operation: str, value: int) -> int:
    """One step: "add 5", "take 4", "double" or "triple"."""
    word, _, digit = operation.partition(" ")
    if word == "add":
        return value + int(digit)
    if word == "take":
        return value - int(digit)
    return value * {"double": 2, "triple": 3}[word]


def _choices(value: int, top: int, rng: random.Random) -> list[str]:
    """What may come next, so that the value stays in 0..top; multiplications as likely as sums where they fit."""
    fits = []
    up, down = min(9, top - value), min(9, value)
    if up >= 1:
        fits.append(f"add {rng.randint(1, up)}")
    if down >= 1:
        fits.append(f"take {rng.randint(1, down)}")
    if value >= 2 and value * 2 <= top:
        fits.append("double")
    if value >= 2 and value * 3 <= top:
        fits.append("triple")
    return fits


def _slip(steps: list[tuple[str, int]], rng: random.Random, top: int) -> list[tuple[str, int]]:
    """The same operations with one wrong result, carried on; a carried value outside 0..top is kept inside it."""
    at = rng.randrange(1, len(steps))
    slipped = steps[:at]
    for place, (operation, _) in enumerate(steps[at:], start=at):
        value = apply(operation, slipped[-1][1])
        if place == at:
            value += rng.choice([-10, -2, -1, 1, 2, 10])
        slipped.append((operation, max(0, min(top, value))))
    return slipped


def _rng(*parts: object) -> random.Random:
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))
