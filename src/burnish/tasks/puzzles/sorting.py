"""Sorting and counting: small jobs done to a list, without a slip. Not for judging them (burnish.verify.puzzles.sorting)."""

from __future__ import annotations

import random
from typing import Any

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.sorting import ORDERS

_LISTED = """
    anchor apple arrow autumn badge barrel basket beacon blanket bottle branch bridge bronze bucket butter button cabin camera
    candle canvas carpet castle cellar chain cherry circle clover cobalt copper cotton cradle crystal desert dinner dragon drawer
    eagle ember engine falcon feather fiddle finger flannel forest fountain garden garlic ginger glacier goblet hammer harbor
    harvest helmet hollow honey island ivory jacket jungle kettle kitten ladder lantern lemon letter library lizard magnet
    mantle maple marble market meadow mirror monkey mountain napkin needle nutmeg orange orchid oyster paddle palace paper
    pebble pencil pepper pigeon pillow planet pocket pony quarry quilt rabbit raven ribbon river rocket saddle sailor salmon
    scissors shadow silver spider spoon squirrel station stone summer table tailor teapot temple thunder ticket timber tulip
    tunnel turtle umbrella valley velvet village violin walnut whisper window winter yarn zebra
"""
WORDS = tuple(_LISTED.split())
_SORTED = {
    1: (("ascending", "descending"), 5, 99),
    2: (("alphabetical", "reverse alphabetical"), 6, 0),
    3: (("ascending", "descending", "absolute"), 10, 999),
    4: (("length", "last letter", "digit sum"), 10, 999),
    5: (("alphabetical", "ascending", "digit sum", "last letter"), 20, 9999),
}
_TOLD = {
    "ascending": "from the smallest to the largest",
    "descending": "from the largest to the smallest",
    "digit sum": "by the sum of their digits, smallest first",
    "absolute": "by absolute value, smallest first",
    "alphabetical": "in alphabetical order",
    "reverse alphabetical": "in reverse alphabetical order",
    "length": "by length, shortest first",
    "last letter": "by their last letter, from a to z",
}


class Sorting(Puzzle):
    """Put a list in order. Where two items tie, both orders of them are right."""

    name = "sorting"
    verifier = "sorting"
    asked = "the sorted list, separated by commas,"
    levels = (
        "5 numbers to 99, rising or falling",
        "6 words, from a to z or back",
        "10 numbers of up to three digits, some below zero, also by absolute value",
        "10 items by length, last letter or digit sum, where items may tie",
        "20 items by various orders",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        orders, count, largest = _SORTED[level]
        by = rng.choice(orders)
        items: list[Any]
        if ORDERS[by].kind is str:
            items = rng.sample(WORDS, count)
        else:
            low = -largest if by in ("absolute",) or (level == 3 and rng.random() < 0.5) else 1
            items = [rng.randint(low, largest) for _ in range(count)]
        keys = [ORDERS[by].key(item) for item in items]
        if sorted(keys) in (keys, keys[::-1]):  # as it stands, or read backwards, it would be an answer already
            return None
        return Draft((by, " ".join(sorted(map(str, items)))), (items, by))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        items, by = draft.plan
        listed = ", ".join(map(str, items))
        what = "words" if ORDERS[by].kind is str else "numbers"
        question = f"Sort these {what} {_TOLD[by]}: {listed}"
        return Made(question, {"items": items, "by": by}, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        order = ORDERS[problem.reference["by"]]
        done = sorted(problem.reference["items"], key=order.key, reverse=order.falling)
        return f"Sorted {_TOLD[problem.reference['by']]}.", ", ".join(map(str, done))


_COUNTED = {1: 8, 2: 12, 3: 16, 4: 25, 5: 40}


class Counting(Puzzle):
    """How many are there? Chance is what the commonest count gives, about one in five at level 1."""

    name = "counting"
    verifier = "tagged_number"
    asked = "the number alone"
    levels = (
        "8 items: one word, or numbers above a bound",
        "12 items; also a letter in all the words",
        "16 items, two conditions joined by and",
        "25 items, two conditions joined by and or or",
        "40 items, two conditions joined by and or or",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        count = _COUNTED[level]
        if rng.random() < 0.5:
            items: list[Any] = [rng.randint(1, 99) for _ in range(count)]
            told, answer = _count_numbers(rng, level, items)
        else:
            pool = rng.sample(WORDS, max(4, count // 2))
            items = [rng.choice(pool) for _ in range(count)]
            told, answer = _count_words(rng, level, items)
        question = f"{told} {', '.join(map(str, items))}"
        if answer == 0:
            return None
        return Draft((question,), (question, answer))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        question, answer = draft.plan
        return Made(question, {"answer": str(answer)}, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        return "Counted one by one.", str(problem.reference["answer"])


def _count_numbers(rng: random.Random, level: int, items: list[int]) -> tuple[str, int]:
    bound, divisor = rng.randint(20, 80), rng.choice((2, 3, 5))
    if level <= 2:
        return f"How many of these numbers are above {bound}?", sum(n > bound for n in items)
    joined = "and" if level == 3 else rng.choice(("and", "or"))
    fit = [(n > bound) + (n % divisor == 0) for n in items]
    told = f"How many of these numbers are above {bound} {joined} divisible by {divisor}?"
    return told, sum(n == 2 if joined == "and" else n >= 1 for n in fit)


def _count_words(rng: random.Random, level: int, items: list[str]) -> tuple[str, int]:
    word, letter = rng.choice(items), rng.choice("aeinorst")
    if level == 1:
        return f'How many times does "{word}" stand in this list?', items.count(word)
    if level == 2:
        return f'How many letters "{letter}" are there in all these words?', "".join(items).count(letter)
    joined = "and" if level == 3 else rng.choice(("and", "or"))
    length = rng.choice((5, 6))
    fit = [(letter in one) + (len(one) > length) for one in items]
    told = f'How many of these words have a letter "{letter}" {joined} more than {length} letters?'
    return told, sum(n == 2 if joined == "and" else n >= 1 for n in fit)
