"""Sudoku of any size up to 9x9: is this grid filled in rightly? Not for solving or making one (burnish.tasks).

reference: grid, n rows of n integers with 0 for an empty cell; box, [rows, columns] of a box, whose product is n.

The answer is the n x n digits in reading order. White space, commas, semicolons, brackets and the lines of a drawn grid
(`|`, `+`, `-`) may stand between them; any other character makes it no grid. Every clue must be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

_BETWEEN = frozenset(" \t\r\n,;|+-[]")


class Puzzle(NamedTuple):
    """n x n cells row by row, 0 where empty, and the size of a box."""

    size: int
    box: tuple[int, int]
    cells: tuple[int, ...]


def verify_sudoku(problem: Problem, response: str) -> Verdict:
    """Right where every row, column and box holds each digit once and every clue is kept; so any solution is right."""
    return judged(response, lambda: read(problem.reference["grid"], problem.reference["box"]), check)


def read(grid: Any, box: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle."""
    require(isinstance(grid, list | tuple) and 2 <= len(grid) <= 9, "the grid must be a list of 2 to 9 rows")
    size = len(grid)
    rows = all(isinstance(row, list | tuple) and len(row) == size for row in grid)
    require(rows, f"every row of the grid must be a list of {size} numbers")
    cells = tuple(cell for row in grid for cell in row)
    require(
        all(is_whole(c) and 0 <= c <= size for c in cells), f"a cell of the grid must be an integer from 0 to {size}"
    )
    pair = isinstance(box, list | tuple) and len(box) == 2 and all(map(is_whole, box)) and min(box) > 0
    require(pair and box[0] * box[1] == size, f"the box must be two sizes whose product is {size}")
    puzzle = Puzzle(size, (box[0], box[1]), cells)
    clash = clashing(puzzle, cells)
    require(not clash, f"the clues contradict each other: {clash}")
    return puzzle


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    strange = next((c for c in text if c not in _BETWEEN and not (c.isascii() and c.isdigit())), None)
    if strange is not None:
        raise Refused(f"not a grid: {strange!r} means nothing here")
    cells = [int(c) for c in text if c not in _BETWEEN]
    size = puzzle.size
    if len(cells) != size * size:
        raise Refused(f"{len(cells)} digits where {size * size} were expected")
    if not all(1 <= cell <= size for cell in cells):
        raise Refused(f"a digit is not one of 1 to {size}")
    for at, (clue, cell) in enumerate(zip(puzzle.cells, cells, strict=True)):
        if clue not in (0, cell):
            raise Refused(f"the clue {clue} in row {at // size + 1}, column {at % size + 1} was changed to {cell}")
    clash = clashing(puzzle, cells)
    if clash:
        raise Refused(clash)
    return "every row, column and box holds each digit once"


def clashing(puzzle: Puzzle, cells: Sequence[int]) -> str:
    """The first two equal digits in a row, column or box, in words; "" where there are none. Zeros do not clash."""
    seen: set[tuple[str, int, int]] = set()
    for at, cell in enumerate(cells):
        for kind, number in units_of(puzzle.size, puzzle.box, at):
            if cell and (kind, number, cell) in seen:
                return f"{kind} {number + 1} holds {cell} twice"
            seen.add((kind, number, cell))
    return ""


def units_of(size: int, box: tuple[int, int], at: int) -> tuple[tuple[str, int], tuple[str, int], tuple[str, int]]:
    """The row, column and box of a cell, numbered from 0."""
    row, column = divmod(at, size)
    return ("row", row), ("column", column), ("box", (row // box[0]) * (size // box[1]) + column // box[1])
