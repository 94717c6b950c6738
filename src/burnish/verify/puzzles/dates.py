"""Calendar questions: an answer that is a date, a weekday or a number of days. Not for times of day.

reference: kind, "date", "weekday" or "days"; answer, an ISO date ("2024-02-29"), an English weekday, or an integer.

A date may be written 2024-02-29, 29 February 2024, February 29, 2024 or Feb 29 2024, with or without its weekday, which must
then be the right one. 2/3/2024 is refused: it means two dates. A weekday may be cut to three letters. A number of days may be
followed by "day" or "days".
"""

from __future__ import annotations

import datetime
import re
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)
_ISO = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_DAY_FIRST = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]+)\.?,? ([0-9]{4})")
_MONTH_FIRST = re.compile(r"([a-z]+)\.? ([0-9]{1,2})(?:st|nd|rd|th)?,? ([0-9]{4})")
_WEEKDAY_BEFORE = re.compile(r"([a-z]+)\.?,? (?=[0-9a-z])")
_WEEKDAY_AFTER = re.compile(r"(.+?),? \(?([a-z]+)\)?")
_DAYS = re.compile(r"([-−+]?)([0-9]{1,7}|[0-9]{1,3}(?:,[0-9]{3})+)(?: days?)?")


class Puzzle(NamedTuple):
    """What kind of answer, and which."""

    kind: str
    answer: datetime.date | int


def verify_date(problem: Problem, response: str) -> Verdict:
    """Right where the answer is the same date, the same weekday, or the same number of days."""
    return judged(response, lambda: read(problem.reference["kind"], problem.reference["answer"]), check)


def read(kind: Any, answer: Any) -> Puzzle:
    """The puzzle of a reference; a weekday is 0 (Monday) to 6. Raises BadPuzzle."""
    require(kind in ("date", "weekday", "days"), f"the kind {kind!r:.40} is none of date, weekday, days")
    if kind == "days":
        require(is_whole(answer), f"the number of days must be an integer, not {answer!r:.40}")
        return Puzzle(kind, answer)
    require(isinstance(answer, str), f"the answer must be text, not {answer!r:.40}")
    if kind == "weekday":
        require(answer in WEEKDAYS, f"{answer!r:.40} is not the English name of a weekday")
        return Puzzle(kind, WEEKDAYS.index(answer))
    found = _ISO.fullmatch(answer)
    day = _date(found[1], found[2], found[3]) if found else None
    require(day, f"{answer!r:.40} is not a date of the form 2024-02-29")
    assert day is not None
    return Puzzle(kind, day)


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    plain = " ".join(text.casefold().split()).removesuffix(".")
    if puzzle.kind == "days":
        said = _DAYS.fullmatch(plain)
        if said is None:
            raise Refused("not a whole number of days")
        days = int(said[2].replace(",", ""))
        return _compare(-days if said[1] in ("-", "−") and said[1] else days, puzzle.answer, str(puzzle.answer))
    if puzzle.kind == "weekday":
        weekday = _weekday(plain)
        if weekday is None:
            raise Refused("not a weekday")
        assert isinstance(puzzle.answer, int)
        return _compare(weekday, puzzle.answer, WEEKDAYS[puzzle.answer])
    return _compare(_read_date(plain), puzzle.answer, str(puzzle.answer))


def _compare(said: object, wanted: object, shown: str) -> str:
    if said != wanted:
        raise Refused(f"is not {shown}")
    return f"is {shown}"


def _read_date(plain: str) -> datetime.date:
    claimed = None
    if (before := _WEEKDAY_BEFORE.match(plain)) and (claimed := _weekday(before[1])) is not None:
        plain = plain[before.end() :]
    elif (after := _WEEKDAY_AFTER.fullmatch(plain)) and (claimed := _weekday(after[2])) is not None:
        plain = after[1]
    day = None
    if found := _ISO.fullmatch(plain):
        day = _date(found[1], found[2], found[3])
    elif found := _DAY_FIRST.fullmatch(plain):
        day = _date(found[3], _month(found[2]), found[1])
    elif found := _MONTH_FIRST.fullmatch(plain):
        day = _date(found[3], _month(found[1]), found[2])
    if day is None:
        raise Refused("not a date such as 2024-02-29 or 29 February 2024")
    if claimed is not None and claimed != day.weekday():
        raise Refused(f"{day} is not a {WEEKDAYS[claimed]}")
    return day


def _weekday(word: str) -> int | None:
    return _named(word, WEEKDAYS)


def _month(word: str) -> int | None:
    at = _named(word, MONTHS)
    return None if at is None else at + 1


def _named(word: str, names: tuple[str, ...]) -> int | None:
    whole = [at for at, name in enumerate(names) if word == name.casefold() or word == name[:3].casefold()]
    return whole[0] if whole else None


def _date(year: str, month: str | int | None, day: str) -> datetime.date | None:
    try:
        return None if month is None else datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None
