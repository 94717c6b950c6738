"""Knights and knaves: who tells the truth? Each puzzle has exactly one answer. Not for judging one (burnish.verify.puzzles)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.knights import Claim, holds

NAMES = (
    *("Ann", "Ben", "Cara", "Dan", "Eve", "Finn", "Gina", "Hugo", "Ivy", "Jack", "Kate", "Liam", "Mia", "Noah", "Olga"),
    *("Paul", "Quinn", "Rosa", "Sam", "Tess", "Uma", "Vera", "Will", "Yara", "Zoe"),
)
_PEOPLE = {1: 3, 2: 4, 3: 5, 4: 6, 5: 8}


class Knights(Puzzle):
    """Everyone says one thing. Chance is one in 2^people: a guess is right once in 8 at level 1, once in 256 at level 5."""

    name = "knights_knaves"
    verifier = "knights"
    asked = 'what everyone is, such as "Ada is a knight, Bob is a knave",'
    levels = (
        "3 people who speak of one another, of two who are the same or different, and of how many knights there are",
        "4 people, with the same claims",
        "5 people, with and, or",
        "6 people, with if and not",
        "8 people, all kinds of claims",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        people = _PEOPLE[level]
        truth = tuple(rng.random() < 0.5 for _ in range(people))
        statements = []
        for speaker in range(people):
            claims = (_claim(rng, level, speaker, people) for _ in range(100))
            fitting = next((claim for claim in claims if holds(claim, truth) == truth[speaker]), None)
            if fitting is None:
                return None
            statements.append([speaker, fitting])
        # Whoever renames or reorders the people has the same puzzle; by index it is close enough to that.
        return Draft((str(statements),), (statements, people))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        statements, people = draft.plan
        if len(list(_solutions(statements, people))) != 1:
            return None
        names = rng.sample(NAMES, people)
        said = " ".join(f'{names[speaker]} says: "{_capital(_words(claim, names))}."' for speaker, claim in statements)
        told = "" if self.wording == "short" else "Knights always tell the truth and knaves always lie. "
        who = f"{', '.join(names[:-1])} and {names[-1]}"
        question = f"{told}{who} are each a knight or a knave. {said} Who is what?"
        return Made(question, {"names": names, "statements": statements}, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        names, statements = problem.reference["names"], problem.reference["statements"]
        [kinds] = _solutions(statements, len(names))
        said = [f"{name} is a {'knight' if kind else 'knave'}" for name, kind in zip(names, kinds, strict=True)]
        return "Only one choice of kinds makes every statement fit its speaker.", ", ".join(said)


def _solutions(statements: list[list[Any]], people: int) -> Iterator[tuple[bool, ...]]:
    for kinds in product((True, False), repeat=people):
        if all(holds(claim, kinds) == kinds[speaker] for speaker, claim in statements):
            yield kinds


def _claim(rng: random.Random, level: int, speaker: int, people: int) -> list[Any]:
    # Claims about one other person alone never settle anything: with every kind turned round they would all fit as well.
    kinds = ["knight", "knave", "exactly", "at least", "same", "differ"]
    if level >= 3:
        kinds += ["and", "or"]
    if level >= 4:
        kinds += ["if", "not"]
    kind = rng.choice(kinds)
    others = [one for one in range(people) if one != speaker]
    if kind in ("knight", "knave"):
        return [kind, rng.choice(others)]
    if kind in ("same", "differ"):
        return [kind, *sorted(rng.sample(range(people), 2))]
    if kind in ("exactly", "at least"):
        return [kind, rng.randint(1, people - 1)]
    if kind == "not":
        return [kind, ["and", *_simple(rng, others)]]
    return [kind, *_simple(rng, others)]


def _simple(rng: random.Random, others: list[int]) -> list[list[Any]]:
    return [[rng.choice(("knight", "knave")), one] for one in rng.sample(others, 2)]


def _words(claim: Claim, names: list[str]) -> str:
    kind, *rest = claim
    if kind in ("knight", "knave"):
        return f"{names[rest[0]]} is a {kind}"
    if kind in ("same", "differ"):
        how = "the same" if kind == "same" else "different"
        return f"{names[rest[0]]} and {names[rest[1]]} are of {how} kind{'' if kind == 'same' else 's'}"
    if kind in ("exactly", "at least"):
        return f"{kind} {rest[0]} of us {'is a knight' if rest[0] == 1 else 'are knights'}"
    if kind == "not":
        return f"it is not so that {_words(rest[0], names)}"
    a, b = _words(rest[0], names), _words(rest[1], names)
    return f"if {a}, then {b}" if kind == "if" else f"{a} {kind} {b}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
