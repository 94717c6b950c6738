"""Countdown and 24 without end: numbers, a target, and the certainty that an expression exists. Not for Countdown from files."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import lru_cache

from burnish.records import Problem
from burnish.tasks.countdown import PLAIN, solve
from burnish.tasks.puzzles.made import Draft, Made, Puzzle

_NUMBERS = {1: (3, 20), 2: (3, 99), 3: (4, 99), 4: (5, 99), 5: (6, 99)}  # how many, and the largest
_TARGETS = {1: (5, 60), 2: (10, 100), 3: (10, 100), 4: (50, 300), 5: (100, 999)}


class _Expressions(Puzzle):
    """What both have in common: the wording, the reference and the solver."""

    verifier = "countdown"
    asked = "the expression alone"

    def solve(self, problem: Problem) -> tuple[str, str]:
        numbers, target = problem.reference["numbers"], problem.reference["target"]
        expression = solve(tuple(numbers), target)
        assert expression is not None  # it was solved when it was made
        return f"{expression} = {target}", expression

    def _made(self, numbers: list[int], target: int) -> Made:
        spaced, listed = " ".join(map(str, numbers)), ", ".join(map(str, numbers))
        question = f"{spaced} = {target}" if self.wording == "short" else PLAIN.format(numbers=listed, target=target)
        mark = (" ".join(map(str, sorted(numbers))), str(target))
        return Made(question, {"numbers": numbers, "target": target}, mark)


class EndlessCountdown(_Expressions):
    """Combine the given numbers, each once, into the target. Made from a random expression, so that there is an answer."""

    name = "countdown_endless"
    levels = (
        "3 numbers to 20, target 5 to 60",
        "3 numbers to 99, target 10 to 100",
        "4 numbers to 99, target 10 to 100",
        "5 numbers to 99, target 50 to 300, with a product or a quotient in the expression it was made from",
        "6 numbers to 99, target 100 to 999, with a product or a quotient in the expression it was made from",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        count, largest = _NUMBERS[level]
        numbers = [rng.randint(1, largest) for _ in range(count)]
        values = list(numbers)
        scaled = False
        while len(values) > 1:
            a, b = (values.pop(rng.randrange(len(values))) for _ in range(2))
            operation = rng.choice("++--**/")
            if operation == "/" and (b == 0 or a % b or b == 1):
                operation = "-"
            scaled |= operation in "*/"
            values.append({"+": a + b, "-": a - b, "*": a * b, "/": a // (b or 1)}[operation])
            if abs(values[-1]) > 10**6:
                return None
        low, high = _TARGETS[level]
        target = values[0]
        if not low <= target <= high or target in numbers or (level >= 4 and not scaled):
            return None
        return Draft((" ".join(map(str, sorted(numbers))), str(target)), (numbers, target))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        return self._made(*draft.plan)


class TwentyFour(_Expressions):
    """The game of 24, and of other targets at the higher levels. A puzzle's level follows from how it can be solved."""

    name = "twenty_four"
    levels = (
        "four numbers to 40, solved by adding and subtracting alone",
        "four numbers to 13 that need a product or a quotient",
        "four numbers to 40 that need a product or a quotient",
        "four numbers to 60 that cannot be solved without a fraction on the way",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        numbers = _fractional(rng) if level == 4 else [rng.randint(1, 13 if level == 2 else 40) for _ in range(4)]
        if numbers is None:
            return None
        return Draft((" ".join(map(str, sorted(numbers))), "24"), numbers)

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        return self._made(draft.plan, 24) if _level(tuple(sorted(draft.plan)), level) else None


def _fractional(rng: random.Random) -> list[int] | None:
    """Numbers that make 24 with a fraction on the way, which random draws seldom meet; None where this draw makes none.

    The forms are a * (b +- c/d), a / (b +- c/d) and a/b +- c/d.
    """
    c, d = rng.randint(1, 60), rng.randint(2, 13)
    b = rng.randint(1, 40)
    part = rng.choice((1, -1)) * Fraction(c, d)
    if part.denominator == 1 or b + part == 0:
        return None
    a = rng.choice((24 / (b + part), 24 * (b + part), b * (24 - part)))
    if a.denominator != 1 or not 1 <= a <= 60:
        return None
    numbers = [int(a), b, c, d]
    rng.shuffle(numbers)
    return numbers


@lru_cache(maxsize=1 << 14)
def _level(numbers: tuple[int, ...], level: int) -> bool:
    signs = [numbers[0] + sum(s * n for s, n in zip(which, numbers[1:], strict=True)) for which in _SIGNS]
    plain = 24 in signs or any(-total == 24 for total in signs)
    if level == 1:
        return plain
    if plain:
        return False
    found = solve(numbers, 24)
    return found is not None and (level < 4 or _needs_fraction(numbers))


_SIGNS = [(a, b, c) for a in (1, -1) for b in (1, -1) for c in (1, -1)]


def _needs_fraction(numbers: tuple[int, ...]) -> bool:
    """Whether no expression that stays in whole numbers makes 24."""
    return not _whole(numbers, 24)


def _whole(values: tuple[int, ...], target: int) -> bool:
    if len(values) == 1:
        return values[0] == target
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            if i == j:
                continue
            rest = tuple(v for k, v in enumerate(values) if k not in (i, j))
            results = {a - b} | ({a + b, a * b} if i < j else set()) | ({a // b} if b and a % b == 0 else set())
            if any(_whole((*rest, result), target) for result in results):
                return True
    return False
