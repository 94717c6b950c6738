"""Countdown search traces: documents that try, compare and try again, for pretraining a small model. Not for: solving.

A document's thought is a list of attempts, each the numbers combined one after another ("44+19=63 63-35=28"), and its answer is the
last attempt as one expression. Many give up on a wrong one: a model of them searches, and does not always find.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from burnish.records import fingerprint
from burnish.tasks.documents import Document, generator

MOST_TRIES = 400
LARGEST = 400
"""Results on the way stay in 1..LARGEST."""
_OPERATIONS = "++++----*/"


class Attempt(NamedTuple):
    """The steps as text, the expression, and its value."""

    steps: str
    expression: str
    value: int


def documents(
    seed: int,
    held_out: Callable[[str], bool],
    give_up_share: float = 0.3,
    most_attempts: int = 5,
    sizes: tuple[int, ...] = (3, 4),
) -> Iterator[Document]:
    """An endless corpus on random problems; one whose fingerprint `held_out` knows never appears.

    give_up_share  how many documents end on an attempt that misses the target
    most_attempts  the most attempts in one document
    sizes          how many numbers a problem has
    """
    rng = generator("countdown", seed)
    while True:
        numbers = [rng.randint(1, 99) for _ in range(rng.choice(sizes))]
        target = _attempt(numbers, rng).value
        name = fingerprint(" ".join(map(str, sorted(numbers))), str(target))
        if not 10 <= target <= 100 or held_out(name):
            continue
        tries = [_attempt(numbers, rng) for _ in range(rng.randint(1, most_attempts))]
        misses = [one for one in tries if one.value != target]
        if rng.random() >= give_up_share:
            hit = next(
                (one for one in (_attempt(numbers, rng) for _ in range(MOST_TRIES)) if one.value == target), None
            )
            if hit is None:
                continue
            misses = [*misses[: most_attempts - 1], hit]
        elif not misses:
            continue
        thought = "; ".join(one.steps for one in misses)
        kind = "found" if misses[-1].value == target else "gave up"
        question = f"{' '.join(map(str, numbers))} = {target}"
        yield Document(question, f"<think>{thought}</think><answer>{misses[-1].expression}</answer>", kind)


def _attempt(numbers: list[int], rng: random.Random) -> Attempt:
    """The numbers in a random order, folded from the left with random operations that stay whole and in range."""
    left = list(numbers)
    rng.shuffle(left)
    value, expression = left[0], str(left[0])
    steps = []
    for number in left[1:]:
        operation = rng.choice([each for each in _OPERATIONS if _fits(value, each, number)] or ["+"])
        if operation == "-" and value < number:
            result, step, expression = number - value, f"{number}-{value}", f"{number}-({expression})"
        else:
            result = {"+": value + number, "-": value - number, "*": value * number, "/": value // number}[operation]
            step, expression = f"{value}{operation}{number}", f"({expression}){operation}{number}"
        steps.append(f"{step}={result}")
        value = result
    return Attempt(" ".join(steps), expression, value)


def _fits(value: int, operation: str, number: int) -> bool:
    if operation == "+":
        return value + number <= LARGEST
    if operation == "-":
        return value != number
    if operation == "*":
        return value * number <= LARGEST and min(value, number) > 1
    return number > 1 and value % number == 0
