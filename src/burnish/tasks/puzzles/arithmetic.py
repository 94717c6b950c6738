"""Chain arithmetic: a running value, changed step by step, exactly. Not for the last-digit chains of small models (chain)."""

from __future__ import annotations

import random

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle

_STEPS = {1: (2, 3), 2: (4, 6), 3: (5, 8), 4: (8, 12), 5: (12, 16)}
_LARGEST = {1: 20, 2: 50, 3: 100, 4: 100, 5: 1000}
_BOUND = {1: 500, 2: 5_000, 3: 100_000, 4: 1_000_000, 5: 10_000_000}
_WORDS = {
    "add": "add {0}",
    "take": "subtract {0}",
    "times": "multiply by {0}",
    "over": "divide by {0}",
    "from": "subtract it from {0}",
    "again": "add the number before the last step to it",
}


class Arithmetic(Puzzle):
    """ "Start with 7. Then add 5. Then multiply by 3. What is the result?" The answer is an integer, and so is every step's."""

    name = "arithmetic"
    verifier = "tagged_number"
    asked = "the final number alone"
    levels = (
        "2 to 3 steps: add, subtract, and multiply by at most 5; numbers to 20",
        "4 to 6 steps, multiply by at most 9; numbers to 50",
        "5 to 8 steps, with division that leaves no remainder; numbers to 100",
        "8 to 12 steps, with steps that subtract from a number or use the value before last",
        "12 to 16 steps of all kinds; numbers to 1,000, results below ten million",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        value = start = rng.randint(2, _LARGEST[level])
        before = 0
        steps: list[tuple[str, int]] = []
        for _ in range(rng.randint(*_STEPS[level])):
            step = _step(rng, level, value, bool(steps))
            value, before = apply(step, value, before), value
            if abs(value) > _BOUND[level]:
                return None
            steps.append(step)
        told = " ".join(f"Then {_WORDS[kind].format(number)}." for kind, number in steps)
        question = f"Start with {start}. {told} What is the result?"
        return Draft((question,), (question, start, value))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        question, start, value = draft.plan
        # A result that stands in the question, or is tiny, could be had by pointing.
        if value == start or abs(value) < 10:
            return None
        return Made(question, {"answer": str(value)}, (question,))

    def solve(self, problem: Problem) -> tuple[str, str]:
        start, *rest = problem.question.removesuffix(" What is the result?").removesuffix(".").split(". Then ")
        value, before = int(start.removeprefix("Start with ")), 0
        values = [value]
        for told in rest:
            value, before = apply(_read(told), value, before), value
            values.append(value)
        return f"The values are {', '.join(map(str, values))}.", str(value)


def _step(rng: random.Random, level: int, value: int, later: bool) -> tuple[str, int]:
    kinds = ["add", "take", "times"]
    if level >= 3:
        kinds.append("over")
    if level >= 4:
        kinds += ["from", "again"] if later else ["from"]
    kind = rng.choice(kinds)
    if kind == "times":
        return kind, rng.randint(2, 5 if level == 1 else 9)
    if kind == "over":
        divisors = [n for n in range(2, 13) if value % n == 0 and value]
        return (kind, rng.choice(divisors)) if divisors else ("add", rng.randint(1, _LARGEST[level]))
    return (kind, 0) if kind == "again" else (kind, rng.randint(1, _LARGEST[level]))


def apply(step: tuple[str, int], value: int, before: int) -> int:
    """One step on the running value; `before` is the value before the last step."""
    kind, number = step
    if kind == "over":
        assert value % number == 0
        return value // number
    return {
        "add": value + number,
        "take": value - number,
        "times": value * number,
        "from": number - value,
        "again": value + before,
    }[kind]


def _read(told: str) -> tuple[str, int]:
    for kind, words in _WORDS.items():
        front = words.removesuffix("{0}")
        if told.startswith(front):
            number = told.removeprefix(front)
            if number.isdigit() or not number:
                return kind, int(number or 0)
    raise ValueError(f"not a step: {told!r}")
