"""Rows of any number of files, read once and kept on disk, to be looked at again by number; and which text of a row is compared.

The store is a file without a name, gone with the process. So files that change meanwhile, streams of the hub and compressed files are
all read exactly once, and memory holds eight bytes a row. Not for: file formats (burnish.tasks.files), or writing results (output.py).
"""

from __future__ import annotations

import difflib
import glob
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.words import BETWEEN, text_of
from burnish.errors import ConfigError, DataError
from burnish.journal.files import storage_error
from burnish.tasks.files import Row, read_rows

QUESTIONS = ("question", "problem", "prompt", "messages", "conversations", "instruction", "input", "query", "text")
"""Columns that are taken for the question, the first that a file has, whatever their case."""
ANSWERS = ("answer", "gold", "solution", "target", "final_answer", "expected", "label", "output", "reference")
"""Columns that are taken for the gold answer, likewise."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: where it stands, which file it is of, what it holds, and the text that is compared."""

    place: str
    source: int
    row: Row
    text: str


@dataclass(slots=True)
class Source:
    """A file as it was read."""

    location: str
    columns: tuple[str, ...]
    """Those compared, in order; their texts are joined."""
    names: tuple[str, ...]
    """All that its rows have, in the order in which they were first seen."""
    rows: int = 0
    empty: int = 0
    """Rows in which the compared text is empty."""


class Store:
    """`read` files one after another; then `store[17]`, `len(store)`, and iteration in order.

    `columns` are those to compare; none: each file's own question column, or, where
    none is needed, nothing. `folder` is where the file without a name lies.
    """

    def __init__(self, folder: Path, columns: Sequence[str] = (), needs_column: bool = True) -> None:
        self.sources: list[Source] = []
        self._columns, self._needs_column = tuple(columns), needs_column
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the store
        except OSError as error:
            raise storage_error(folder, error) from error
        self._ends = array("Q", [0])
        self._at_end = True

    def read(self, location: str, seen: Callable[[Entry], None] | None = None) -> Source:
        """Add the rows of a file; `seen` is called with each. Raises DataError for a file, row or column that is not there."""
        source: Source | None = None
        names: dict[str, None] = {}
        for place, row in read_rows(location):
            if source is None:
                source = Source(location, self._columns or self._question(row, place), ())
                self.sources.append(source)
            names.update(dict.fromkeys(row))
            text = compared(row, source.columns, place)
            source.rows += 1
            source.empty += bool(source.columns) and not text.strip()
            entry = Entry(place, len(self.sources) - 1, row, text)
            self._add(entry)
            if seen is not None:
                seen(entry)
        assert source is not None, "read_rows raises for a file without rows"
        source.names = tuple(names)
        return source

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> Entry:
        start, end = self._ends[number], self._ends[number + 1]
        self._at_end = False
        self._file.seek(start)
        place, source, row = pickle.loads(self._file.read(end - start))
        return Entry(place, source, row, compared(row, self.sources[source].columns, place))

    def __iter__(self) -> Iterator[Entry]:
        return (self[number] for number in range(len(self)))

    def _question(self, row: Row, place: str) -> tuple[str, ...]:
        return (question_column(row, place),) if self._needs_column else ()

    def _add(self, entry: Entry) -> None:
        data = pickle.dumps((entry.place, entry.source, entry.row), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            if not self._at_end:
                self._file.seek(0, 2)
                self._at_end = True
            self._file.write(data)
        except OSError as error:
            raise storage_error(self._folder, error) from error
        self._ends.append(self._ends[-1] + len(data))


def locations(given: Sequence[str]) -> list[str]:
    """The files named, a pattern (*, ?, [...]) being all that match it, sorted. Raises for a pattern of none and a file named twice."""
    found: list[str] = []
    for one in given:
        matches = [one]
        if glob.has_magic(one) and not Path(one).exists():
            matches = sorted(path for path in glob.glob(one, recursive=True) if Path(path).is_file())
            if not matches:
                raise DataError(f"No file matches {one}; check the folder, and quote the pattern.")
        found += matches
    twice = [one for number, one in enumerate(found) if one in found[:number]]
    if twice:
        raise ConfigError(f"{twice[0]} is named twice; its rows would all be repeats of themselves.")
    return found


def question_column(row: Mapping[str, Any], place: str) -> str:
    """The first of QUESTIONS that a row has. Raises DataError which lists its columns."""
    return _one_of(row, QUESTIONS) or _refuse(
        f"{place}: none of the columns {', '.join(map(repr, row))} is known for a question; name it with --column."
    )


def known_question(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The question's column, if there is one."""
    name = _one_of(row, QUESTIONS)
    return (name,) if name is not None else ()


def answer_column(names: Sequence[str]) -> str | None:
    """The first of ANSWERS among the names."""
    return _one_of(dict.fromkeys(names), ANSWERS)


def compared(row: Mapping[str, Any], columns: Sequence[str], place: str) -> str:
    """The texts of the columns, joined. Raises DataError for a column that the row has not, and names the nearest."""
    texts = []
    for name in columns:
        if name not in row:
            near = difflib.get_close_matches(name, list(row), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "name another with --column."
            _refuse(f"{place}: the row has no column {name!r}, it has {', '.join(map(repr, row)) or 'none'}; {hint}")
        texts.append(text_of(row[name]))
    return BETWEEN.join(texts)


def _one_of(row: Mapping[str, Any], known: Sequence[str]) -> str | None:
    folded = {name.casefold(): name for name in reversed(list(row))}
    return next((folded[name] for name in known if name in folded), None)


def _refuse(sentence: str) -> str:
    raise DataError(sentence)
