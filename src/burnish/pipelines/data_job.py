"""What the data verbs share: the files they are given, reading with progress, and writing what is kept beside what is removed.

Every input is read once, kept on disk, and never written to. Not for: which rows are removed (data.py).
"""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.output import check_target, chunked, schema_of, writing
from burnish.data.store import Entry, Source, Store, locations
from burnish.data.words import BETWEEN
from burnish.run.display import Display
from burnish.tasks.files import read_rows

SHOWN = 2
"""Removed rows of each reason that a summary shows."""
EVERY = 1000
"""Rows between two looks at the progress."""


@dataclass(frozen=True)
class Files:
    """What every verb that writes is given: the inputs, the file to write, which columns are compared, where the removed rows go."""

    inputs: Sequence[str]
    out: str
    columns: Sequence[str] = ()
    removed: str | None = None
    quiet: bool = False


Why = Mapping[str, Any]
"""Reason and evidence of one removal: {"reason": "near", "jaccard": 0.91, "kept": {"place": ..., "row": {...}}}."""


class Job:
    """One verb at work: its files checked, its inputs read, and at the end both outputs and a report."""

    def __init__(self, verb: str, files: Files, against: Sequence[str] = (), needs_column: bool = True) -> None:
        self.began = time.perf_counter()
        self.verb, self.files = verb, files
        self.inputs, self.against = locations(files.inputs), locations(against)
        read = [*self.inputs, *self.against]
        self.target, self.rest = check_target(files.out, files.removed, read)
        self.folder = self.target.parent
        self.store = Store(self.folder, files.columns, needs_column)
        self.notices: list[str] = []

    def read(self, title: str, seen: Callable[[Entry], None] | None = None) -> None:
        read_all(self.store, self.inputs, title, self.files.quiet, seen)
        empty = sum(source.empty for source in self.store.sources)
        if empty:
            self.notices.append(f"{rows_said(empty)} with nothing in the compared column: compared with nothing.")

    def write(self, reason: Callable[[int, Entry], Why | None], **figures: Any) -> dict[str, Any]:
        """Every row to one of the two files, in order; returns the report."""
        counts: Counter[str] = Counter()
        shown: list[dict[str, Any]] = []
        schema = self.schema()
        total = len(self.store)
        with (
            writing(self.target, self.rest, schema) as (keep, drop),
            Progress("writing", total, self.files.quiet) as progress,
        ):
            for number, entry in enumerate(self.store):
                why = reason(number, entry)
                if why is None:
                    keep(entry.row)
                else:
                    counts[str(why["reason"])] += 1
                    drop({"place": entry.place, **why, "row": entry.row})
                    if counts[str(why["reason"])] <= SHOWN:
                        shown.append({"place": entry.place, "text": entry.text.replace(BETWEEN, "\n"), **why})
                progress(number + 1, counts.total())
        return self.report(counts, shown, **figures)

    def report(self, counts: Counter[str], shown: Sequence[Mapping[str, Any]], **figures: Any) -> dict[str, Any]:
        rows = len(self.store)
        kept = rows - counts.total()
        if not kept:
            self.notices.append("No row is kept.")
        return {
            "verb": f"data {self.verb}",
            "inputs": [
                {"file": source.location, "rows": source.rows, "column": " + ".join(source.columns)}
                for source in self.store.sources
            ],
            "rows": rows,
            "kept": kept,
            "removed": dict(counts.most_common()),
            **figures,
            "out": str(self.target),
            "removed_out": str(self.rest),
            "notices": self.notices,
            "shown": list(shown),
            "seconds": time.perf_counter() - self.began,
        }

    def schema(self, added: Mapping[str, Any] | None = None) -> Any:
        """Of the Parquet file to write, with columns `added` by example; None for JSON lines."""
        if self.target.suffix.lower() != ".parquet":
            return None
        return schema_of(chunked(entry.row for entry in self.store), self.inputs, added)


class Progress:
    """`progress(done, count)` on a display, now and then."""

    def __init__(self, title: str, total: int, quiet: bool, counted: str = "removed") -> None:
        self._display = Display(title, max(1, total), (("count", counted, "{:,.0f}"),), quiet)
        self._total = total

    def __enter__(self) -> Progress:
        self._display.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._display.__exit__(*problem)

    def __call__(self, done: int, count: int) -> None:
        if self._total < EVERY or done % EVERY == 0 or done == self._total:
            self._display.step(done, {"count": count})


def read_all(
    store: Store,
    locations: Sequence[str],
    title: str,
    quiet: bool,
    seen: Callable[[Entry], None] | None = None,
) -> None:
    """Read the files into the store, with progress; the expected number of rows is that of the lines where a file has lines."""
    with Progress(title, sum(map(expected_rows, locations)), quiet, "rows") as progress:
        done = 0

        def tick(entry: Entry) -> None:
            nonlocal done
            if seen is not None:
                seen(entry)
            done += 1
            progress(done, done)

        for location in locations:
            store.read(location, tick)


def expected_rows(location: str) -> int:
    """How many rows reading will give, or a little more: exact but for blank lines, and for cells of CSV with several lines."""
    path = Path(location).expanduser()
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file() or name.endswith(".json"):
        return sum(1 for _ in read_rows(location))
    if name.endswith(".parquet"):
        import pyarrow.lib
        import pyarrow.parquet

        try:
            return int(pyarrow.parquet.read_metadata(path).num_rows)
        except (pyarrow.lib.ArrowException, OSError):
            return 1  # reading it will say what is wrong
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) + 1
    except (OSError, EOFError):
        return 1


def shown_row(entry: Entry) -> dict[str, Any]:
    """The row that another collided with, as it is written beside it: where it stands, what was compared, and all of it."""
    return {"place": entry.place, "text": entry.text.replace(BETWEEN, "\n"), "row": entry.row}


def starts(store: Store) -> list[tuple[Source, int]]:
    """Every file of a store with the number of its first row."""
    found, start = [], 0
    for source in store.sources:
        found.append((source, start))
        start += source.rows
    return found


def rows_said(count: int) -> str:
    """ "1 row", "2,000 rows"."""
    return "1 row" if count == 1 else f"{count:,} rows"
