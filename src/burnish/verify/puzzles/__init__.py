"""Puzzles whose answer a program can check completely. Not for making puzzles: tasks do that.

One module a family. Each reads the puzzle from the problem's reference (a fault in it is no_verdict, fault "gold"), the
answer from the `<answer>` of a well-formed response, and accepts any answer that solves the puzzle and nothing else.
Answers are read by small grammars of our own, character by character; nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.bases import verify_base
from burnish.verify.puzzles.dates import verify_date
from burnish.verify.puzzles.expressions import verify_countdown
from burnish.verify.puzzles.knights import verify_knights
from burnish.verify.puzzles.paths import verify_path
from burnish.verify.puzzles.sorting import verify_sorting
from burnish.verify.puzzles.sudoku import verify_sudoku
from burnish.verify.puzzles.units import verify_quantity

__all__ = ["PUZZLES", "verify_countdown"]

PUZZLES: dict[str, Callable[[Problem, str], Verdict]] = {
    "sudoku": verify_sudoku,
    "knights": verify_knights,
    "sorting": verify_sorting,
    "date": verify_date,
    "path": verify_path,
    "quantity": verify_quantity,
    "base": verify_base,
}
