"""Countdown: combine the given numbers, each once, into an expression that equals the target.

Not for: judging an expression; that is the `countdown` verifier. `solve` exists to prove that a problem has an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from itertools import combinations
from typing import Any, Literal

from burnish.errors import DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks import search_traces
from burnish.tasks.cards import Card
from burnish.tasks.documents import Document
from burnish.tasks.files import field
from burnish.tasks.finite import FileTask, tagged
from burnish.tasks.splits import Overlap

MOST_NUMBERS = 6
PLAIN = (
    "Using the numbers {numbers}, make an expression that equals {target}. "
    "Use each number once, with + - * / and parentheses."
)
PLAIN_FORMAT = "Reason between <think> and </think>, then give the expression alone between <answer> and </answer>."
Value = int | Fraction


class Countdown(FileTask):
    """Rows with "nums" (or "numbers") and "target"; any worked solution in a row is left alone.

    `wording` "plain" asks in words and tells the answer format; "short" is "44 19 35 = 98", for small models.
    """

    name = "countdown"
    verifier = "countdown"

    card = Card(
        "Countdown",
        "Combine all given numbers into an expression that equals a target; any right expression will do. For endless ones of our own see "
        "countdown_endless.",
        "nums or numbers; target",
        "https://github.com/Jiayi-Pan/TinyZero",
        "as your file states it; the puzzles are made by a program",
        "Gandhi et al. 2024, arXiv:2404.03683",
        {"nums": [44, 19, 35], "target": 98},
        "Two rows with the same numbers in another order are one problem.",
    )

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        wording: Literal["plain", "short"] = "plain",
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(train, held_out, overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out)
        self._wording = wording

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        numbers = field(row, "numbers" if "numbers" in row else "nums", place)
        target = field(row, "target", place)
        if not isinstance(numbers, list) or not 1 <= len(numbers) <= MOST_NUMBERS or not all(map(_is_count, numbers)):
            wanted = f"a list of 1 to {MOST_NUMBERS} whole numbers, none below 0"
            raise DataError(f"{place}: the numbers must be {wanted}, not {numbers!r:.80}.")
        if type(target) is not int:
            raise DataError(f"{place}: the target must be a whole number, not {target!r:.80}.")
        spaced = " ".join(map(str, numbers))
        if self._wording == "short":
            question = f"{spaced} = {target}"
        else:
            question = PLAIN.format(numbers=", ".join(map(str, numbers)), target=target)
        name = fingerprint(" ".join(map(str, sorted(numbers))), str(target))  # whatever their order
        return Problem(identity, self.name, question, {"numbers": list(numbers), "target": target}, split, name)

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        told = "" if self._wording == "short" else f" {PLAIN_FORMAT}"
        return (Message("user", problem.question + told),)

    def documents(
        self, seed: int, give_up_share: float = 0.3, most_attempts: int = 5, sizes: tuple[int, ...] = (3, 4)
    ) -> Iterator[Document]:
        """Search traces on random problems that are not held out; see `burnish.tasks.search_traces.documents`."""
        held_out = {problem.fingerprint for problem in self.held_out()}
        return search_traces.documents(seed, held_out.__contains__, give_up_share, most_attempts, sizes)

    def level(self, problem: Problem) -> str:
        """What makes one problem harder than another: how many numbers there are to combine."""
        return f"{len(problem.reference['numbers'])} numbers"

    def gold(self, problem: Problem) -> str | None:
        """A right response found by `solve`; None where the problem has no solution."""
        numbers, target = problem.reference["numbers"], problem.reference["target"]
        expression = solve(tuple(numbers), target)
        return None if expression is None else tagged(f"{expression} = {target}", expression)


def solve(numbers: tuple[int, ...], target: int) -> str | None:
    """An expression that uses each number exactly once and equals the target, e.g. (44, 19, 35), 98 -> "19+(35+44)".

    Exhaustive and exact, fractions on the way allowed; None means there is none. Raises DataError above 6 numbers.
    """
    if len(numbers) > MOST_NUMBERS:
        raise DataError(f"Cannot solve a countdown of {len(numbers)} numbers; at most {MOST_NUMBERS}.")
    return _solve(tuple(sorted(numbers)), target)


@lru_cache(maxsize=1 << 15)
def _solve(numbers: tuple[int, ...], target: int) -> str | None:
    # Nearly every published problem can be solved in whole numbers, and those are several times as fast as fractions.
    return _Search(numbers, whole=True).find(target) or _Search(numbers, whole=False).find(target)


class _Search:
    """Subsets of the numbers are bit masks. A set is cut in two; one side's values say what the other must be."""

    def __init__(self, numbers: tuple[int, ...], whole: bool) -> None:
        self._numbers = numbers
        self._whole = whole  # leave out divisions with a remainder
        self._reach: dict[int, dict[Value, str]] = {}

    def find(self, target: int) -> str | None:
        found = self._make((1 << len(self._numbers)) - 1, target)
        return found and (found[1:-1] if found.startswith("(") else found)

    def _make(self, mask: int, goal: Value) -> str | None:
        """An expression over exactly the numbers in `mask` that equals `goal`."""
        if mask.bit_count() <= 3:
            return self._values(mask).get(goal)
        for part in _parts(mask):
            for left, expression in self._values(part).items():
                if left == goal == 0:  # 0 times anything
                    return f"({expression}*({'+'.join(str(n) for n in self._chosen(mask ^ part))}))"
                for operation, right, swapped in self._needs(left, goal):
                    other = self._make(mask ^ part, right)
                    if other is not None:
                        a, b = (other, expression) if swapped else (expression, other)
                        return f"({a}{operation}{b})"
        return None

    def _values(self, mask: int) -> dict[Value, str]:
        """Every value the numbers in `mask` can make (for three of them about a hundred), with an expression."""
        known = self._reach.get(mask)
        if known is not None:
            return known
        values: dict[Value, str] = {}
        if mask.bit_count() == 1:
            number = self._numbers[mask.bit_length() - 1]
            values[number] = str(number)
        for part in _parts(mask):
            for left, a in self._values(part).items():
                for right, b in self._values(mask ^ part).items():
                    for operation, value, swapped in self._results(left, right):
                        values.setdefault(value, f"({b}{operation}{a})" if swapped else f"({a}{operation}{b})")
        self._reach[mask] = values
        return values

    def _chosen(self, mask: int) -> list[int]:
        return [number for i, number in enumerate(self._numbers) if mask >> i & 1]

    def _results(self, left: Value, right: Value) -> list[tuple[str, Value, bool]]:
        """(operation, value, swapped) for all that two values make; swapped: the right one stands first."""
        results = [
            ("+", left + right, False),
            ("-", left - right, False),
            ("-", right - left, True),
            ("*", left * right, False),
        ]
        results += [("/", value, False) for value in self._quotient(left, right)]
        results += [("/", value, True) for value in self._quotient(right, left)]
        return results

    def _needs(self, left: Value, goal: Value) -> list[tuple[str, Value, bool]]:
        """(operation, right, swapped) for every right that makes the goal together with left."""
        needs = [("+", goal - left, False), ("-", left - goal, False), ("-", goal + left, True)]
        needs += [("*", right, False) for right in self._quotient(goal, left)]
        if left != 0:
            needs.append(("/", goal * left, True))
            needs += [("/", right, False) for right in self._quotient(left, goal)]
        return needs

    def _quotient(self, a: Value, b: Value) -> tuple[Value, ...]:
        """a / b, or nothing where b is 0, or where it has a remainder and only whole numbers are looked at."""
        if b == 0:
            return ()
        if isinstance(a, int) and isinstance(b, int) and a % b == 0:
            return (a // b,)
        return () if self._whole else (Fraction(a) / b,)


@cache
def _parts(mask: int) -> tuple[int, ...]:
    """One side of every cut of the set in two. Even cuts come first: they leave the least to search."""
    bits = [1 << i for i in range(mask.bit_length()) if mask >> i & 1]
    sides = []
    for size in range(len(bits) // 2, 0, -1):
        halves = 2 * size == len(bits)  # then each cut would come twice, once from either side
        sides += [sum(chosen) for chosen in combinations(bits, size) if not halves or bits[0] in chosen]
    return tuple(sides)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
