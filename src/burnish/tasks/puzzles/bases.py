"""Arithmetic in base 2 to 16, and from one base to another. Not for judging it (burnish.verify.puzzles.bases)."""

from __future__ import annotations

import random

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.bases import written

_BASES = {1: (2,), 2: (2, 8, 16), 3: (2, 3, 5, 8, 16), 4: (2, 3, 5, 7, 12, 16), 5: (2, 3, 6, 7, 9, 11, 13, 16)}
_LARGEST = {1: 63, 2: 255, 3: 1023, 4: 4095, 5: 65535}


class Bases(Puzzle):
    """ "1011 + 110 in base 2". At levels 2, 4 and 5 the answer is wanted in another base than the numbers are in."""

    name = "base_arithmetic"
    verifier = "base"
    asked = "the digits alone"
    levels = (
        "binary: from or to decimal, and sums below 127",
        "binary, octal, hexadecimal and decimal into one another, below 256",
        "sums and differences in one of five bases, below 2,048",
        "sums, differences and products in one base, the answer in another",
        "three terms, each in a base of its own, the answer in a fourth",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        most = _LARGEST[level]
        numbers = [rng.randint(most // 16 + 2, most) for _ in range({3: 2, 4: 2, 5: 3}.get(level, 1))]
        if level == 1 and rng.random() < 0.5:
            numbers.append(rng.randint(2, most))
        bases = _BASES[level]
        base = rng.choice(bases)
        into = base if len(numbers) == 2 and level != 4 else rng.choice([b for b in (*bases, 10) if b != base])
        if level == 1 and len(numbers) == 1 and rng.random() < 0.5:
            base, into = 10, 2
        value, told = numbers[0], _told(numbers[0], base)
        for number in numbers[1:]:
            own = rng.choice(bases) if level == 5 else base
            operation = rng.choice("+" if level == 1 else "+-" if level in (3, 5) else "+-*")
            if operation == "*":
                number = number % 64 + 2
            value = {"+": value + number, "-": value - number, "*": value * number}[operation]
            told += f" {operation} {_told(number, own)}"
        if value <= 1:
            return None
        ask = f"Write {told} in base {into}." if len(numbers) == 1 else f"What is {told}? Answer in base {into}."
        return Draft((ask,), (ask, value, into))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        question, value, into = draft.plan
        if len(question.split()) > 2 and written(value, into) == question.split()[1]:
            return None  # the same digits in both bases: the question would hold its answer
        return Made(question, {"value": value, "base": into}, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        value, base = problem.reference["value"], problem.reference["base"]
        return f"In decimal it is {value}.", written(value, base)


def _told(value: int, base: int) -> str:
    return f"{written(value, base)} (base {base})"
