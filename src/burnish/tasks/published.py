"""Published questions with one answer each: one loader, told by a declaration what a row of a data set means.

The declarations are in sets.py. Not for programs (code.py), instructions (ifeval.py) or files of one's own (rows.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from burnish.errors import ConfigError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.files import Row
from burnish.tasks.finite import ANSWER_FORMAT, HELD_OUT, TRAIN, FileTask, LeftOut, tagged
from burnish.tasks.splits import Overlap, Separation
from burnish.verify import judge
from burnish.verify import load as load_verifier

Facet = str | int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks: `reference` is the verifier's, `facets` what one may choose by, e.g. {"level": 5}."""

    question: str
    reference: Mapping[str, Any]
    facets: Mapping[str, Facet | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set, declared. Calling it makes its task.

    read      (row, place) -> Asked; raises DataError for a malformed row, LeftOut for one that cannot be used
    told      what stands after the question: the format of the answer, by the problem's reference
    names     columns that name a row for good, the first that is there; else rows are counted
    facets    what one may choose problems by: "level", "subject", "year", "language"
    train, held_out   locations of the hub
    splits    the split of a folder or of the hub that is meant where a location names none
    header    the fields of a .tsv file, which has no header
    """

    name: str
    verifier: str
    read: Callable[[Row, str], Asked]
    told: Callable[[Mapping[str, Any]], str]
    card: Card
    held_out: tuple[str, ...]
    train: tuple[str, ...] = ()
    splits: tuple[str, str] = ("train", "test")
    names: tuple[str, ...] = ()
    facets: tuple[str, ...] = ()
    header: tuple[str, ...] = ()

    def __call__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        level: int | list[int] | None = None,
        subject: str | list[str] | None = None,
        year: int | list[int] | None = None,
        language: str | list[str] | None = None,
        bad_golds: Literal["keep", "drop"] = "keep",
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> Published:
        """The task of this data set; its options are told in `Published`."""
        given = {"level": level, "subject": subject, "year": year, "language": language}
        chosen = {facet: value for facet, value in given.items() if value is not None}
        return Published(self, train, held_out, chosen, bad_golds, overlap, limit_train, limit_held_out)


def told(what: str) -> Callable[[Mapping[str, Any]], str]:
    """The usual format of an answer, which is `what`."""
    return lambda reference: ANSWER_FORMAT.format(what=what)


class Published(FileTask):
    """The task of a declared data set.

    train, held_out   files, folders or names of the hub, one or several; neither: what the declaration says
    level, subject, year, language   only problems of this one, or of these; where the data set tells
    bad_golds         "drop" leaves out, and counts, problems whose gold answer its own verifier does not accept; "keep" leaves
                      them to the check of a run, which refuses them

    Raises ConfigError for a choice that the data set cannot make.
    """

    def __init__(
        self,
        data: DataSet,
        train: str | list[str],
        held_out: str | list[str],
        chosen: Mapping[str, Any],
        bad_golds: str,
        overlap: Overlap,
        limit_train: int | None,
        limit_held_out: int | None,
    ) -> None:
        for facet in chosen:
            if facet not in data.facets:
                there = f"it has {' and '.join(data.facets)}" if data.facets else "there is nothing to choose by"
                raise ConfigError(
                    f"The rows of {data.name} have no {facet}, so the option can have no effect; {there}."
                )
        self.name, self.verifier, self.card, self.header = data.name, data.verifier, data.card, data.header
        self._data, self._drops_bad_golds = data, bad_golds == "drop"
        self._chosen = {facet: _all(value) for facet, value in chosen.items()}
        self._seen: dict[str, set[Facet]] = {facet: set() for facet in chosen}
        self._levels: dict[str, str] = {}
        self.hub = {TRAIN: data.train, HELD_OUT: self._of_language(data.held_out)}
        self.hub_splits = dict(zip((TRAIN, HELD_OUT), data.splits, strict=True))
        super().__init__(train, held_out, overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out)

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        own = next((str(row[name]).strip() for name in self._data.names if row.get(name) not in (None, "")), None)
        return super().identity(row, split, number, place) if own is None else f"{self.name}/{split}/{own}"

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        asked = self._data.read(dict(row), place)
        for facet, wanted in self._chosen.items():
            value = asked.facets.get(facet)
            if value is not None:
                self._seen[facet].add(value)
            if value is None or plain(value) not in map(plain, wanted):
                raise LeftOut(f"their {facet} is not {' or '.join(map(str, wanted))}")
        hardness = asked.facets.get("level", asked.facets.get("subject"))
        if hardness is not None:
            self._levels[identity] = str(hardness)
        options = asked.reference.get("choices", ())  # two problems may ask the same, of other options
        mark = fingerprint(asked.question, *options) if options else fingerprint(asked.question)
        return Problem(identity, self.name, asked.question, asked.reference, split, mark)

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", f"{problem.question}\n{self._data.told(problem.reference)}"),)

    def gold(self, problem: Problem) -> str | None:
        answer = str(problem.reference["answer"])
        return tagged(f"The reference answer is {answer}.", answer)

    def level(self, problem: Problem) -> str:
        """What makes one problem harder than another, for a curriculum: its level, else its subject, else itself."""
        return self._levels.get(problem.id, problem.id)

    @cached_property
    def _separation(self) -> Separation:
        for seen in self._seen.values():
            seen.clear()
        return super()._separation

    def _read(self, split: str) -> list[Problem]:
        problems = super()._read(split)
        if not self._drops_bad_golds:
            return problems
        verifier = load_verifier(self.verifier)
        good = [one for one in problems if judge(verifier, one, self.gold(one) or "").outcome == "right"]
        if len(good) < len(problems):
            self._left_out[f"their gold answer does not pass {self.verifier}"] += len(problems) - len(good)
        return good

    def _no_problem(self, split: str) -> str:
        there = [
            f"; there is the {facet} {', '.join(map(str, sorted(seen, key=str)))}" for facet, seen in self._seen.items()
        ]
        return super()._no_problem(split) + "".join(there)

    def _of_language(self, locations: tuple[str, ...]) -> tuple[str, ...]:
        """Of a data set with a repository's configuration for each language, those that are chosen."""
        wanted = self._chosen.get("language")
        return tuple(one for one in locations if not wanted or any(f":{language}@" in one for language in wanted))


def plain(value: Facet) -> Facet:
    """ "Counting & Probability" and "counting_and_probability" are one subject."""
    return (
        value if isinstance(value, int) else " ".join(value.casefold().replace("&", " and ").replace("_", " ").split())
    )


def _all(value: Any) -> tuple[Facet, ...]:
    return tuple(value) if isinstance(value, list) else (value,)
