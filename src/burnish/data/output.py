"""Rows written whole or not at all, as JSON lines or Parquet by the name of the file, beside those that were removed.

Every column and the order of rows are kept. From Parquet to Parquet, so are the types. JSON has no word for NaN (it becomes null), for
bytes (refused) and for dates (ISO 8601 text). Not for: deciding what is kept.
"""

from __future__ import annotations

import datetime
import decimal
import io
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.journal.files import encode, writing_whole
from burnish.tasks.files import Row

KINDS = (".jsonl", ".parquet")
CHUNK_ROWS = 4096
Write = Callable[[Row], None]


def check_target(out: str, removed: str | None, inputs: Iterable[str]) -> tuple[Path, Path]:
    """Where the rows go and where the removed ones go (OUT.removed.jsonl if not said).

    Raises ConfigError for an ending that is not known, and where either is an input or both are one file.
    """
    target = Path(out)
    if target.suffix.lower() not in KINDS:
        raise ConfigError(f"--out {out}: cannot tell the format from the name; it must end in {' or '.join(KINDS)}.")
    rest = Path(removed) if removed is not None else target.with_name(f"{target.stem}.removed.jsonl")
    if rest.suffix.lower() != ".jsonl":
        raise ConfigError(
            f"--removed {removed}: the removed rows are written as JSON lines; the name must end in .jsonl."
        )
    read = {Path(one).resolve() for one in inputs}
    for option, path in (("--out", target), ("--removed", rest)):
        if path.resolve() in read:
            raise ConfigError(f"{option} {path} is one of the files that are read; an input is never overwritten.")
        if path.is_dir():
            raise ConfigError(f"{option} {path} is a directory; name a file in it.")
        if not path.parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no directory {path.parent}; create it first.")
    if target.resolve() == rest.resolve():
        raise ConfigError(f"--out and --removed are both {out}; give them different names.")
    return target, rest


@contextmanager
def writing(target: Path, removed: Path, schema: Any) -> Iterator[tuple[Write, Write]]:
    """(write a kept row, write a removed one). Both files take their names when the block ends, neither if it raises.

    `schema` is pyarrow's, for Parquet; JSON lines need none.
    """
    with ExitStack() as stack:
        keep_bytes = stack.enter_context(writing_whole(target))
        drop_bytes = stack.enter_context(writing_whole(removed))
        if target.suffix.lower() == ".parquet":
            keep: Write = stack.enter_context(_parquet(keep_bytes, schema, target))
        else:
            keep = _lines(keep_bytes, target)
        yield keep, _lines(drop_bytes, removed, loose=True)


def line(row: Mapping[str, Any], place: str, loose: bool = False) -> bytes:
    """A row as a line of JSON. `loose`: bytes become their length in words, for the file of removed rows."""
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_loose if loose else _plain)
    except ValueError:  # NaN or an infinity
        text = encode(json.loads(json.dumps(row, default=_loose if loose else _plain)))
    except TypeError as error:
        raise DataError(f"{place}: {error}; write Parquet instead (--out NAME.parquet).") from error
    # A lone surrogate cannot be UTF-8; its backslash form is also how JSON spells it.
    return (text + "\n").encode("utf-8", "backslashreplace")


def schema_of(chunks: Iterable[Sequence[Row]], locations: Sequence[str], added: Mapping[str, Any] | None = None) -> Any:
    """The columns and types of a Parquet file that holds all the rows: that of the inputs where all are Parquet files of one schema.

    `added` are example values of columns that the rows get besides. Raises DataError where a column has types that do not go together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [
        pq.read_schema(one) for one in locations if Path(one).suffix.lower() == ".parquet" and Path(one).is_file()
    ]
    if len(schemas) == len(locations) and all(one.equals(schemas[0]) for one in schemas):
        schema = schemas[0]
    else:
        schema = pa.schema([])
        for rows in chunks:
            schema = _unified(schema, _inferred(rows))
    if added:
        for name, value in added.items():
            schema = schema.append(pa.field(name, pa.infer_type([value])))
        schema = schema.remove_metadata()  # the hub's description of the columns would lack these
    return schema


def chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Lists of a few thousand rows."""
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk


def _inferred(rows: Sequence[Row]) -> Any:
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    fields = []
    for name in names:
        try:
            fields.append(pa.field(name, pa.infer_type([row.get(name) for row in rows])))
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise _mixed(name, error) from error
    return pa.schema(fields)


def _unified(a: Any, b: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.unify_schemas([a, b], promote_options="permissive")
    except pa.ArrowException as error:
        raise _mixed("", error) from error


def _mixed(name: str, error: Exception) -> DataError:
    column = f"The column {name!r}" if name else "A column"
    said = " ".join(str(error).split())
    return DataError(f"{column} holds what Parquet cannot hold in one column ({said}); write .jsonl instead.")


class _Sink(io.RawIOBase):
    """A file for pyarrow that passes its bytes on."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._write(bytes(data))
        return len(data)


@contextmanager
def _parquet(write: Callable[[bytes], object], schema: Any, target: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[Row] = []
    writer = pq.ParquetWriter(_Sink(write), schema)

    def flush() -> None:
        columns = []
        for column in schema:
            try:
                columns.append(pa.array([row.get(column.name) for row in waiting], column.type))
            except (pa.ArrowException, UnicodeEncodeError) as error:
                raise _mixed(column.name, error) from error
        writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        waiting.clear()

    def keep(row: Row) -> None:
        waiting.append(row)
        if len(waiting) == CHUNK_ROWS:
            flush()

    yield keep
    if waiting:
        flush()
    writer.close()


def _lines(write: Callable[[bytes], object], target: Path, loose: bool = False) -> Write:
    def keep(row: Row) -> None:
        write(line(row, str(target), loose))

    return keep


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} ({value!r:.40}) has no form in JSON")


def _loose(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else _plain(value)
