"""Rows from a file or from the hub, each with the place it stands at, so that an error can point to it.

Not for: what a row means; each task reads its own fields (`field` and `text` here only fetch them and complain well).

Local: .jsonl, .json (a list of rows, or one row a line), .csv, .tsv, each also with .gz, and .parquet; or a folder in the layout of a
       repository of the hub, read as the hub's own are: folder, folder:config, folder@split.
Hub:   owner/name, owner/name:config@split#revision (each of the three may be left out), or one file of a repository as it lies there:
       hf://datasets/owner/name@revision/path/in/it.jsonl. Without a revision it is the newest, which may change.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from burnish.errors import DataError

Row = dict[str, Any]
KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
REPOSITORY = re.compile(r"(?P<name>[^:@#]+)(:(?P<config>[^:@#/]+))?(@(?P<split>[^:@#/]+))?(#(?P<revision>[\w./-]+))?")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILE = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(@(?P<revision>[\w.-]+))?/(?P<path>.+)")


def read_rows(location: str, split: str | None = None, header: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
    """Yield ("file.jsonl:17", row): the number is a line of a text file, and else the row, counted from 1.

    `split` is for folders and the hub, where the location names none (default "train"). A local file of that name goes first.
    `header` names the fields of a .tsv file that has no header of its own.
    Raises DataError, while iterating, where there is no such file, it is empty, or a row is malformed.
    """
    path = Path(location).expanduser()
    found = REPOSITORY.fullmatch(location)
    if path.is_file():
        rows = _read_file(path, location, header)
    elif (file := HUB_FILE.fullmatch(location)) is not None:
        rows = _read_file(_hub_file(location, file), location, header)
    elif found and Path(found["name"]).expanduser().is_dir():
        rows = _read_folder(location, found, split or "train")
    elif found and HUB_NAME.fullmatch(found["name"]) and _kind(path) not in KINDS:
        rows = _read_hub(location, found, split or "train")
    else:
        raise DataError(f"There is no file {location}; {_suggestion(path)}")
    empty = True
    for place, row in rows:
        empty = False
        yield place, row
    if empty:
        raise DataError(f"{location} has no rows; give a file with at least one.")


def is_unpinned(location: str) -> bool:
    """Whether a location is read from the hub at whatever its newest revision is then."""
    found, file = REPOSITORY.fullmatch(location), HUB_FILE.fullmatch(location)
    if Path(location).expanduser().exists() or (found and Path(found["name"]).expanduser().is_dir()):
        return False
    return (file or found or {"revision": ""})["revision"] is None


def field(row: Mapping[str, Any], name: str, place: str) -> Any:
    """row[name]. Raises DataError which names the place, the field, and the fields the row does have."""
    if name not in row:
        near = difflib.get_close_matches(name, list(row), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; name the field in the task's options."
        raise DataError(f"{place}: the row has no field {name!r}, it has {', '.join(map(repr, row)) or 'none'}{hint}")
    return row[name]


def text(row: Mapping[str, Any], name: str, place: str) -> str:
    """The non-empty string row[name], stripped. Raises DataError where it is none."""
    value = field(row, name, place)
    if not isinstance(value, str):
        raise DataError(f"{place}: {name!r} must be text, not {type(value).__name__} ({value!r:.60}).")
    if not value.strip():
        raise DataError(f"{place}: {name!r} is empty; fill it in or remove the row.")
    return value.strip()


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [".gz"] and suffixes[0] != ".parquet":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_file(path: Path, location: str, header: Sequence[str]) -> Iterator[tuple[str, Row]]:
    read: dict[str, Callable[[Path, str], Iterator[tuple[str, Row]]]] = {
        ".jsonl": _read_json_lines,
        ".json": _read_json,
        ".csv": _read_csv,
        ".tsv": partial(_read_tsv, header=header),
        ".parquet": _read_parquet,
    }
    kind = _kind(path)
    if kind not in KINDS:
        raise DataError(f"{location}: cannot tell its format from its name; it must end in {', '.join(KINDS)}.")
    try:
        yield from read[kind](path, location)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{location} is not a whole gzip file ({error}); copy or download it again.") from error
    except OSError as error:
        raise DataError(f"{location} cannot be read: {error.strerror or error}.") from error


def _lines(path: Path, location: str) -> Iterator[tuple[int, str]]:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{location}:{number}: byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8."
                ) from error


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{place}: a row must be an object of named fields, not {type(value).__name__}.")
    return value


def _parse(source: str, location: str, number: int) -> Any:
    """One JSON text which begins at line `number` of the file."""
    try:
        return json.loads(source)
    except json.JSONDecodeError as error:
        line_number = number + error.lineno - 1
        raise DataError(f"{location}:{line_number}: not JSON ({error.msg}, column {error.colno}).") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or brackets nested as deep
        raise DataError(f"{location}:{number}: JSON that cannot be read ({error}).") from error


def _read_json_lines(path: Path, location: str) -> Iterator[tuple[str, Row]]:
    for number, line in _lines(path, location):
        if line.strip():
            place = f"{location}:{number}"
            yield place, _row(_parse(line.strip(), location, number), place)


def _read_json(path: Path, location: str) -> Iterator[tuple[str, Row]]:
    first = next((line for _, line in _lines(path, location) if line.strip()), "")
    if not first.lstrip().startswith("["):
        yield from _read_json_lines(path, location)  # many published .json files hold one row a line
        return
    rows = _parse("".join(line for _, line in _lines(path, location)), location, 1)
    for number, value in enumerate(rows, start=1):
        place = f"{location}:{number}"
        yield place, _row(value, place)


def _read_csv(path: Path, location: str) -> Iterator[tuple[str, Row]]:
    reader = csv.reader((line for _, line in _lines(path, location)), strict=True)
    names: list[str] | None = None
    while True:
        place = f"{location}:{reader.line_num + 1}"
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{place}: not a CSV row ({error}).") from error
        if values is None:
            return
        if not values:
            continue  # a blank line
        if names is None:
            names = values
            if len(set(names)) < len(names):
                raise DataError(f"{place}: the header names a field twice; rename one.")
        elif len(values) != len(names):
            raise DataError(f"{place}: the row has {len(values)} fields but the header names {len(names)}.")
        else:
            yield place, dict(zip(names, values, strict=True))


def _read_tsv(path: Path, location: str, header: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Fields between tabs, as they stand: a quotation mark is a character like any other, so a field holds no tab or line end."""
    names = list(header)
    for number, line in _lines(path, location):
        values = line.rstrip("\r\n").split("\t")
        if not line.strip():
            continue
        if not names:
            names = values
        elif len(values) != len(names):
            raise DataError(
                f"{location}:{number}: the row has {len(values)} fields, not {len(names)} ({', '.join(names)})."
            )
        else:
            yield f"{location}:{number}", dict(zip(names, values, strict=True))


def _read_parquet(path: Path, location: str) -> Iterator[tuple[str, Row]]:
    import pyarrow  # only where Parquet is read
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{location}:{number}", row
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{location}:{number + 1}: not a readable Parquet file ({error}).") from error


def _read_folder(location: str, found: re.Match[str], split: str) -> Iterator[tuple[str, Row]]:
    split, folder = found["split"] or split, Path(found["name"]).expanduser()
    if found["revision"]:
        raise DataError(f"{location} is a folder here, which has no revisions; leave #{found['revision']} out.")
    try:
        yield from _load(str(folder), location, found["config"], split, None)
    except _failures() as error:
        raise DataError(
            f"{location} is a folder, but no {split!r} split can be read from it as from a repository of the hub "
            f"({_in_one_line(error)}); name one file in it ({_some_files(folder)})."
        ) from error


def _read_hub(location: str, found: re.Match[str], split: str) -> Iterator[tuple[str, Row]]:
    config, split = found["config"], found["split"] or split
    try:
        yield from _load(found["name"], location, config, split, found["revision"])
    except _failures() as error:
        raise DataError(
            f"{location} is no file here, and the hub's data set {found['name']} (config {config or 'default'}, split {split}) "
            f"could not be loaded: {_in_one_line(error)}; give a file or a folder that holds it."
        ) from error


def _load(name: str, location: str, config: str | None, split: str, revision: str | None) -> Iterator[tuple[str, Row]]:
    import datasets  # slow to import, and needed by those who name a repository only

    datasets.disable_progress_bars()  # a row of them for each split; what is downloaded has its own
    pinned = {} if revision is None else {"revision": revision}
    whole = location if "@" in location else f"{location}@{split}"
    for number, row in enumerate(datasets.load_dataset(name, config, split=split, **pinned), start=1):
        yield f"{whole}:{number}", row


def _hub_file(location: str, found: re.Match[str]) -> Path:
    import huggingface_hub  # as above

    try:
        return Path(
            huggingface_hub.hf_hub_download(
                found["name"], found["path"], repo_type="dataset", revision=found["revision"] or None
            )
        )
    except (OSError, ValueError) as error:  # all of the library's own errors are one or the other
        raise DataError(
            f"{location} could not be had from the hub: {_in_one_line(error)}; give the file itself."
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    import datasets

    return OSError, ValueError, datasets.exceptions.DatasetsError


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _some_files(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and _kind(path) in KINDS)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "it holds no data file"


def _suggestion(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no directory {folder} either (a data set of the hub is written owner/name)."
    near = difflib.get_close_matches(path.name, [file.name for file in folder.iterdir()], n=1)
    return f"did you mean {folder / near[0]}?" if near else f"look in {folder} ({_some_files(folder)})."
