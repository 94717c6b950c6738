"""Sudoku from 4x4 to 9x9, each with exactly one solution, and the solver that proves it. Not for judging a filled grid."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle

_KINDS = {1: (4, 8), 2: (4, 4), 3: (6, 18), 4: (6, 8), 5: (8, 30), 6: (9, 40), 7: (9, 32), 8: (9, 0)}
"""Level -> (size, clues that are left at the least)."""
_BOXES = {4: (2, 2), 6: (2, 3), 8: (2, 4), 9: (3, 3)}


SEARCHED = 400


class _GivenUp(Exception):
    """A search took too many steps."""


class Sudoku(Puzzle):
    """Fill in the grid. A puzzle is made by filling a grid at random and taking clues away while one solution remains."""

    name = "sudoku"
    verifier = "sudoku"
    asked = "the filled grid, one row of digits a line,"
    levels = (
        "4x4 with 8 clues",
        "4x4 with as few clues as leave one solution",
        "6x6 (boxes of 2 rows and 3 columns) with 18 clues",
        "6x6 with as few clues as leave one solution, 8 at the least",
        "8x8 (boxes of 2 rows and 4 columns) with 30 clues",
        "9x9 with 40 clues",
        "9x9 with 32 clues",
        "9x9 with as few clues as leave one solution, most often 23 to 26",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        size, least = _KINDS[level]
        rules = rules_of(size)
        if size <= 6:  # there are few small solutions, and many puzzles of each
            cells = _puzzle(rules, [0] * (size * size), least, rng)
            return Draft((_relabelled(cells),), cells)
        # To tell the split by the first band of the solution, before the rest is made, is sixteen times as fast for the
        # held-out split; equal puzzles have equal solutions, so they are in the same split.
        top = size * rules.box[0]
        band = fill(rules, [0] * (size * size), rng, stop=top)
        assert band is not None  # an empty grid always has a first band
        return Draft((_relabelled(band[:top]),), band)

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        size, least = _KINDS[level]
        rules = rules_of(size)
        cells = draft.plan if size <= 6 else _puzzle(rules, draft.plan, least, rng)
        rows = [cells[row * size : (row + 1) * size] for row in range(size)]
        shown = "\n".join(" ".join(str(cell) if cell else "." for cell in row) for row in rows)
        deep, wide = rules.box
        question = (
            f"Fill in the sudoku so that every row, every column and every box of {deep} rows and {wide} columns holds each of "
            f"1 to {size} once; a dot is an empty cell.\n{shown}"
        )
        if self.wording == "short":
            question = shown
        return Made(question, {"grid": rows, "box": list(rules.box)}, (_relabelled(cells),))

    def solve(self, problem: Problem) -> tuple[str, str]:
        grid = problem.reference["grid"]
        rules = rules_of(len(grid))
        filled = fill(rules, [cell for row in grid for cell in row], None)
        assert filled is not None  # it has exactly one solution
        size = rules.size
        lines = ["".join(map(str, filled[row * size : (row + 1) * size])) for row in range(size)]
        return "Each empty cell has one digit that fits.", "\n".join(lines)


def _puzzle(rules: Rules, begun: list[int], least: int, rng: random.Random) -> list[int]:
    """Clues of which no other solution is left: a begun grid filled at random, then emptied cell by cell."""
    cells = fill(rules, begun, rng)
    assert cells is not None  # a valid first band, or nothing at all, can always be filled up
    left = len(cells)
    for at in rng.sample(range(len(cells)), len(cells)):
        if left == least:
            break
        if only_with(rules, cells, at):
            cells[at] = 0
            left -= 1
    return cells


class Rules(NamedTuple):
    """A size of sudoku: its box, the three units of each cell, and its peers."""

    size: int
    box: tuple[int, int]
    peers: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=8)
def rules_of(size: int) -> Rules:
    """The rules of a size: 4, 6, 8 or 9."""
    deep, wide = _BOXES[size]
    cells = [(at // size, at % size) for at in range(size * size)]
    peers = tuple(
        tuple(
            other
            for other, (r, c) in enumerate(cells)
            if other != at and (r == row or c == column or (r // deep == row // deep and c // wide == column // wide))
        )
        for at, (row, column) in enumerate(cells)
    )
    return Rules(size, (deep, wide), peers)


def fill(rules: Rules, cells: Sequence[int], rng: random.Random | None, stop: int | None = None) -> list[int] | None:
    """A filled grid that keeps the digits in `cells`, at random where `rng` is given; None where there is none.

    `stop` fills only the cells below it. The cell with the fewest digits that fit is filled first.
    """
    grid = list(cells)
    fits = _candidates(rules, grid)
    return grid if fits is not None and _search(rules, grid, fits, rng, stop or len(grid)) else None


def only_with(rules: Rules, cells: list[int], at: int) -> bool:
    """Whether the grid, which has a solution, has no other one once the digit at `at` is taken away.

    Another solution would have another digit there: so that cell is tried with every digit but its own. A search of more than
    SEARCHED steps is given up, and the answer is no: the clue stays, which is always safe.
    """
    own, cells[at] = cells[at], 0
    fits = _candidates(rules, cells)
    assert fits is not None
    fits[at] &= ~(1 << own)
    grid = list(cells)
    cells[at] = own
    try:
        return not (fits[at] and _search(rules, grid, fits, None, len(grid), [SEARCHED]))
    except _GivenUp:
        return False


def _candidates(rules: Rules, grid: Sequence[int]) -> list[int] | None:
    """For each empty cell, bits of the digits that fit; None where a clue contradicts another."""
    every = (1 << (rules.size + 1)) - 2
    fits = []
    for at, cell in enumerate(grid):
        taken = 0
        for other in rules.peers[at]:
            taken |= 1 << grid[other]
        if cell and taken >> cell & 1:
            return None
        fits.append(0 if cell else every & ~taken)
    return fits


def _search(
    rules: Rules, grid: list[int], fits: list[int], rng: random.Random | None, stop: int, left: list[int] | None = None
) -> bool:
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise _GivenUp
    best, fewest = -1, 99
    for at in range(stop):
        if grid[at]:
            continue
        count = fits[at].bit_count()
        if count < fewest:
            best, fewest = at, count
            if count <= 1:
                break
    if best < 0:
        return True
    digits = [digit for digit in range(1, rules.size + 1) if fits[best] >> digit & 1]
    if rng is not None:
        rng.shuffle(digits)
    for digit in digits:
        bit = 1 << digit
        changed = [other for other in rules.peers[best] if not grid[other] and fits[other] & bit]
        for other in changed:
            fits[other] ^= bit
        grid[best] = digit
        if all(fits[other] for other in changed) and _search(rules, grid, fits, rng, stop, left):
            return True
        grid[best] = 0
        for other in changed:
            fits[other] |= bit
    return False


def _relabelled(cells: Sequence[int]) -> str:
    """The cells with digits renamed in the order they first appear: grids that differ by names alone are one grid."""
    names: dict[int, str] = {0: "."}
    return "".join(names.setdefault(cell, str(len(names))) for cell in cells)
