"""Knights and knaves: knights say what is true, knaves what is false. Who is what? Not for making such puzzles.

reference: names, a list of 1 to 12 different words; statements, a list of [speaker, claim], the speaker an index of names.

    claim := ["knight", i] | ["knave", i] | ["same", i, j] | ["differ", i, j]
           | ["exactly", k] | ["at least", k]                     k knights among all
           | ["not", claim] | ["and", claim, claim] | ["or", claim, claim] | ["if", claim, claim]

The answer says of everyone what they are, once: "Ann is a knight, Bob is a knave", or "Ann: knight; Bob: knave".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

MOST_PEOPLE = 12
_DEEPEST = 6
_ABOUT = {"knight": 1, "knave": 1, "same": 2, "differ": 2}
_COUNTING = ("exactly", "at least")
_JOINING = {"not": 1, "and": 2, "or": 2, "if": 2}
_SAID = re.compile(r"(?P<name>[^\W\d_]+)\s*(?::|=|\bis\b(?:\s+an?\b)?)\s*(?P<kind>knight|knave)", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:[,;\n](?:\s*and\b)?|\band\b)\s*", re.IGNORECASE)

Claim = Sequence[Any]


class Puzzle(NamedTuple):
    """People by index, and who claims what."""

    names: tuple[str, ...]
    statements: tuple[tuple[int, Claim], ...]


def verify_knights(problem: Problem, response: str) -> Verdict:
    """Right where everyone is named once and what each says is true exactly if they are called a knight."""
    return judged(response, lambda: read(problem.reference["names"], problem.reference["statements"]), check)


def read(names: Any, statements: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle."""
    listed = isinstance(names, list | tuple) and 1 <= len(names) <= MOST_PEOPLE
    require(listed, f"the names must be a list of 1 to {MOST_PEOPLE} words")
    require(all(isinstance(name, str) and name.isalpha() for name in names), "every name must be one word of letters")
    require(len({name.casefold() for name in names}) == len(names), "two of the names are the same")
    require(isinstance(statements, list | tuple) and statements, "the statements must be a list of [speaker, claim]")
    for said in statements:
        pair = isinstance(said, list | tuple) and len(said) == 2 and is_whole(said[0]) and 0 <= said[0] < len(names)
        require(pair, f"a statement must be [speaker, claim], not {said!r:.60}")
        require(_is_claim(said[1], len(names), _DEEPEST), f"not a claim: {said[1]!r:.60}")
    return Puzzle(tuple(names), tuple((speaker, claim) for speaker, claim in statements))


def _is_claim(claim: Any, people: int, depth: int) -> bool:
    if not isinstance(claim, list | tuple) or not claim or not depth or not isinstance(claim[0], str):
        return False
    kind, *rest = claim
    if kind in _ABOUT:
        return len(rest) == _ABOUT[kind] and all(is_whole(one) and 0 <= one < people for one in rest)
    if kind in _COUNTING:
        return len(rest) == 1 and is_whole(rest[0]) and 0 <= rest[0] <= people
    return kind in _JOINING and len(rest) == _JOINING[kind] and all(_is_claim(one, people, depth - 1) for one in rest)


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    kinds = _read_answer(puzzle.names, text.strip().removesuffix("."))
    for speaker, claim in puzzle.statements:
        if holds(claim, kinds) != kinds[speaker]:
            name, kind = puzzle.names[speaker], "knight" if kinds[speaker] else "knave"
            raise Refused(f"{name} would be a {kind} who says what is {'false' if kinds[speaker] else 'true'}")
    return "everyone says what their kind says"


def _read_answer(names: tuple[str, ...], text: str) -> tuple[bool, ...]:
    known = {name.casefold(): at for at, name in enumerate(names)}
    kinds: dict[int, bool] = {}
    end = 0
    while True:
        said = _SAID.match(text, end)
        if said is None:
            raise Refused(f"not of the form NAME is a knight, NAME is a knave: {text[end : end + 40]!r}")
        at = known.get(said["name"].casefold())
        if at is None:
            raise Refused(f"nobody is called {said['name'][:40]!r}")
        if at in kinds:
            raise Refused(f"{names[at]} is named twice")
        kinds[at] = said["kind"].casefold() == "knight"
        end = said.end()
        if end == len(text):
            break
        between = _BETWEEN.match(text, end)
        if between is None:
            raise Refused(f"not of the form NAME is a knight, NAME is a knave: {text[end : end + 40]!r}")
        end = between.end()
    if len(kinds) < len(names):
        missing = next(name for at, name in enumerate(names) if at not in kinds)
        raise Refused(f"nothing is said about {missing}")
    return tuple(kinds[at] for at in range(len(names)))


def holds(claim: Claim, kinds: Sequence[bool]) -> bool:
    """Whether a claim is true where `kinds[i]` says that person i is a knight."""
    kind, *rest = claim
    if kind in ("knight", "knave"):
        return bool(kinds[rest[0]] == (kind == "knight"))
    if kind in ("same", "differ"):
        return bool((kinds[rest[0]] == kinds[rest[1]]) == (kind == "same"))
    if kind in _COUNTING:
        return bool(sum(kinds) == rest[0] if kind == "exactly" else sum(kinds) >= rest[0])
    parts = [holds(part, kinds) for part in rest]
    return {"not": not parts[0], "and": all(parts), "or": any(parts), "if": not parts[0] or parts[-1]}[kind]
