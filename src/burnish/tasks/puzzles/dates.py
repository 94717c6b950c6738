"""Calendar questions, in the Gregorian calendar. Not for times of day, time zones or holidays."""

from __future__ import annotations

import datetime
import random
from typing import Any

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.dates import MONTHS, WEEKDAYS

_NTH = ("first", "second", "third", "fourth")


class Calendar(Puzzle):
    """Dates, weekdays and spans. A weekday can be guessed once in seven; most questions ask for a date or a number of days."""

    name = "calendar"
    verifier = "date"
    asked = "the date as YYYY-MM-DD, the weekday, or the number of days"
    levels = (
        "a few days later in the same year; the weekday up to 30 days from a given one",
        "up to 100 days before or after, across months and years; days between two dates of one year",
        "the weekday of a date near one whose weekday is given; days between dates some years apart",
        "the nth weekday of a month; a number of weeks and days from a date; leap years",
        "up to 20,000 days from a date; working days (Monday to Friday) after a date; weekdays of dates with nothing given",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        kind = rng.choice(_KINDS[level])
        question, reference = kind(rng, level)
        return Draft((question,), (question, reference))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        question, reference = draft.plan
        return Made(question, reference, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        return "Counted on the calendar.", str(problem.reference["answer"])


def _day(rng: random.Random, level: int) -> datetime.date:
    first = {1: 2020, 2: 2000, 3: 1950, 4: 1900}.get(level, 1700)
    return datetime.date(rng.randint(first, 2060), 1, 1) + datetime.timedelta(rng.randrange(365))


def told(day: datetime.date) -> str:
    """E.g. "29 February 2024"."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _later(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day = _day(rng, level)
    most = {1: 20, 2: 100, 3: 400, 4: 2000}.get(level, 20_000)
    days = rng.randint(2, most)
    before = level >= 2 and rng.random() < 0.5
    answer = day + datetime.timedelta(-days if before else days)
    question = f"Which date is {days} days {'before' if before else 'after'} {told(day)}?"
    return question, {"kind": "date", "answer": answer.isoformat()}


def _weeks(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day, weeks, days = _day(rng, level), rng.randint(2, 60), rng.randint(1, 6)
    answer = day + datetime.timedelta(7 * weeks + days)
    question = f"Which date is {weeks} weeks and {days} day{'s' if days > 1 else ''} after {told(day)}?"
    return question, {"kind": "date", "answer": answer.isoformat()}


def _weekday(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day = _day(rng, level)
    if level >= 5:
        return f"Which weekday is {told(day)}?", {"kind": "weekday", "answer": WEEKDAYS[day.weekday()]}
    days = rng.randint(2, {1: 30, 2: 100}.get(level, 400))
    other = day + datetime.timedelta(days)
    asked = f"{days} days later" if level <= 2 else told(other)
    question = f"{told(day)} is a {WEEKDAYS[day.weekday()]}. Which weekday is {asked}?"
    return question, {"kind": "weekday", "answer": WEEKDAYS[other.weekday()]}


def _between(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day = _day(rng, level)
    days = rng.randint(2, 300 if level <= 2 else 4000)
    other = day + datetime.timedelta(days)
    return f"How many days is it from {told(day)} to {told(other)}?", {"kind": "days", "answer": days}


def _nth(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day = _day(rng, level).replace(day=1)
    weekday, nth = rng.randrange(7), rng.randrange(4)
    answer = day + datetime.timedelta((weekday - day.weekday()) % 7 + 7 * nth)
    question = f"Which date is the {_NTH[nth]} {WEEKDAYS[weekday]} of {MONTHS[day.month - 1]} {day.year}?"
    return question, {"kind": "date", "answer": answer.isoformat()}


def _working(rng: random.Random, level: int) -> tuple[str, dict[str, Any]]:
    day = start = _day(rng, level)
    count = rng.randint(5, 60)
    for _ in range(count):
        day += datetime.timedelta(1)
        while day.weekday() >= 5:
            day += datetime.timedelta(1)
    question = (
        f"Which date is {count} working days (Monday to Friday) after {told(start)}, a {WEEKDAYS[start.weekday()]}?"
    )
    return question, {"kind": "date", "answer": day.isoformat()}


_KINDS = {
    1: (_later, _later, _weekday),
    2: (_later, _between, _between, _weekday),
    3: (_later, _between, _weekday),
    4: (_nth, _weeks, _later),
    5: (_later, _later, _working, _between, _weekday),
}
