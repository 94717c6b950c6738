"""Whole-or-nothing writing: a file is the old one or the new one, a line is there or it is not.

A crash or a full disk at any moment leaves nothing half-written that a reader would take for whole.

Not for: knowing what the files mean (`journal.py` and `rollouts.py` do), or for several writers of one file: each
file of a run has one writer and any number of readers.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from burnish.errors import DataError, StorageError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space there or choose a directory on another disk",
    errno.EDQUOT: "the disk quota is used up; free some space there or choose a directory on another disk",
    errno.EFBIG: "the file would be larger than this system allows; choose a directory on another disk",
    errno.ENOENT: "there is no such directory; create it first",
    errno.EACCES: "permission was denied; make the directory writable or choose another one",
    errno.EROFS: "the disk is read-only; choose a directory on another disk",
}


def storage_error(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """One sentence that names the file, what the system said, and the way out."""
    said = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, f"{said}; check that the directory can be written")
    return StorageError(f"Cannot write {os.fspath(path)}: {remedy}.")


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Replace `path` by `data` (text as UTF-8), or leave it exactly as it was.

    The bytes go to a hidden temporary file of the same folder, are flushed to the disk, and take the name in one
    rename. Raises StorageError where any of that fails; no temporary file is left behind.
    """
    with writing_whole(path) as write:
        write(data.encode() if isinstance(data, str) else data)


@contextmanager
def writing_whole(path: str | os.PathLike[str]) -> Iterator[Callable[[bytes], object]]:
    """The same for what is made piece by piece: the file takes its name when the block ends, and not if it raises."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _Writing(target):
            # Not tempfile.mkstemp: its files are private to the user, and a run is often read by others.
            file = open(temporary, "xb")  # noqa: SIM115 - what the block raises must pass as it is

        def write(data: bytes) -> None:
            with _Writing(target):
                file.write(data)

        try:
            yield write
            with _Writing(target):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with suppress(OSError):  # it would try once more to write what did not fit
                file.close()
        with _Writing(target):
            os.replace(temporary, target)
            sync_directory(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_files(folder: str | os.PathLike[str], fill: Callable[[Path], None], last: str) -> None:
    """Let `fill` write files into a hidden folder, then move them into `folder`; none arrives before all are written.

    `last` names the file without which a reader takes the folder for empty: it leaves first and arrives at the end.
    Raises StorageError where any of that fails; no hidden folder is left behind.
    """
    place = Path(folder)
    part = place / f".{secrets.token_hex(4)}.part"
    try:
        with _Writing(place):
            part.mkdir(parents=True)
            fill(part)
            (place / last).unlink(missing_ok=True)
            for file in sorted(part.iterdir(), key=lambda file: file.name == last):
                os.replace(file, place / file.name)
            sync_directory(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):
            place.rmdir()  # only where nothing arrived in it


class _Writing:
    """Turns what writers raise into StorageError: OSError, and the types of Rust's ("... (os error 28)")."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise storage_error(self._path, error) from error
        if isinstance(error, Exception) and (number := re.search(r"\(os error (\d+)\)", str(error))):
            raise storage_error(self._path, OSError(int(number[1]), os.strerror(int(number[1])))) from error


def sync_directory(directory: str | os.PathLike[str]) -> None:
    """Flush a folder's list of names to the disk, so that a rename survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def encode(value: Any) -> str:
    """`value` as one line of strict JSON: NaN and infinities become null, since JSON has no word for them."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """What json does not know: paths, and the one-number scalars of array libraries."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return _finite(value.item())
    raise TypeError(f"cannot write {value!r} ({type(value).__name__}) as JSON")


def append_line(path: str | os.PathLike[str], obj: Mapping[str, Any]) -> None:
    """Add `obj` as one JSON line, whole or not at all, and flush it to the disk.

    A torn line that an earlier crash left at the end is cut off first, so that it cannot swallow this one.
    Raises StorageError where the line could not be written; the file is then as long as before.
    """
    # A lone surrogate cannot be UTF-8; its backslash form is also how JSON spells it.
    line = (encode(obj) + "\n").encode("utf-8", "backslashreplace")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = _whole_length(descriptor)
            if end != os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, end)
            try:
                written = os.write(descriptor, line)
                if written != len(line):  # a disk that fills up mid-line writes what fits and reports no error
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(path, error) from error


def _whole_length(descriptor: int) -> int:
    """How many bytes of an open file are whole lines, that is, end in a newline."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, in order; safe while the file is being written.

    The last line is passed over when it is torn (no newline yet, or not a JSON object). Raises DataError, with file and
    line number, where a line before the last is broken or the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            broken = 0
            for number, line in enumerate(file, start=1):
                if broken:
                    raise DataError(f"{os.fspath(path)}:{broken} is not a JSON object; mend or delete that line.")
                if not line.endswith(b"\n"):
                    return  # being written: what comes next would be the rest of this line
                parsed = _parse(line)
                if parsed is None:
                    broken = number
                else:
                    yield parsed
    except OSError as error:
        raise DataError(f"Cannot read {os.fspath(path)}: {error.strerror}.") from error


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
