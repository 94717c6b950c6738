"""Writing whole or not at all: against a crash, a full disk, and a reader who looks while the writer writes."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.errors import DataError, StorageError
from burnish.journal import files
from burnish.journal.files import append_line, encode, read_lines, write_atomic


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A real refusal by the system: the first write takes what fits, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def failing(code: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fail


# ---- write_atomic


def test_text_is_written_as_utf8(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "né")
    assert (tmp_path / "a.txt").read_bytes() == b"n\xc3\xa9"


def test_writing_replaces_what_was_there(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old and long")
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_atomic(tmp_path / "a", b"x")
    finally:
        os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_atomic(tmp_path / "a", b"old")
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(StorageError, match=r"Cannot write .*/a: the disk is full; free some space there or choose"):
        write_atomic(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_real_refusal_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old")
    with files_no_larger_than(1000), pytest.raises(StorageError, match="larger than this system allows"):
        write_atomic(tmp_path / "a", b"x" * 100_000)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_used_up_quota_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EDQUOT))
    with pytest.raises(StorageError, match="the disk quota is used up"):
        write_atomic(tmp_path / "a", b"x")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a: there is no such directory; create it first"):
        write_atomic(tmp_path / "nowhere" / "a", b"x")


def test_any_other_fault_of_the_system_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error; check that the directory can be written"):
        write_atomic(tmp_path / "a", b"x")


# ---- append_line and read_lines


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    for i in range(3):
        append_line(tmp_path / "log", {"i": i})
    assert list(read_lines(tmp_path / "log")) == [{"i": 0}, {"i": 1}, {"i": 2}]


def test_what_is_not_finite_is_written_as_null(tmp_path: Path) -> None:
    append_line(tmp_path / "log", {"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5})
    assert (tmp_path / "log").read_text() == '{"a": null, "b": [null, {"c": null}], "d": 1.5}\n'


def test_scalars_of_array_libraries_and_paths_are_written_plainly() -> None:
    line = {"a": np.float32(0.5), "b": np.int64(3), "c": np.float64("nan"), "d": np.float32("nan"), "e": Path("x/y")}
    assert encode(line) == '{"a": 0.5, "b": 3, "c": null, "d": null, "e": "x/y"}'


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cannot write \{1\} \(set\) as JSON"):
        encode({"a": {1}})


@given(st.dictionaries(st.text(), st.text(st.characters()), max_size=3))
@settings(deadline=None)
def test_any_text_survives_even_lone_surrogates(tmp_path_factory: pytest.TempPathFactory, obj: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("text") / "log"
    append_line(path, obj | {"lone": "\udc80"})
    append_line(path, {"next": 1})
    assert list(read_lines(path)) == [obj | {"lone": "\udc80"}, {"next": 1}]


@pytest.mark.parametrize("torn", [b'{"i": 1', b'{"i": 1}', b"\0\0\0", b'{"i": 1\n', b"3\n"])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "log").write_bytes(b'{"i": 0}\n' + torn)
    assert list(read_lines(tmp_path / "log")) == [{"i": 0}]


def test_a_torn_last_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"i": 0}\n{"i":' + b" " * 100_000)
    append_line(tmp_path / "log", {"i": 2})
    assert (tmp_path / "log").read_bytes() == b'{"i": 0}\n{"i": 2}\n'


def test_a_file_that_is_one_torn_line_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"i"')
    append_line(tmp_path / "log", {"i": 0})
    assert (tmp_path / "log").read_bytes() == b'{"i": 0}\n'


def test_a_broken_line_in_the_middle_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"i": 0}\n{"i": \n{"i": 2}\n')
    with pytest.raises(DataError, match=r"log:2 is not a JSON object"):
        list(read_lines(tmp_path / "log"))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="log: No such file"):
        list(read_lines(tmp_path / "log"))


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    append_line(tmp_path / "log", {"i": 0})
    with files_no_larger_than(50), pytest.raises(StorageError, match="Cannot write"):
        append_line(tmp_path / "log", {"i": "x" * 200})
    assert (tmp_path / "log").read_bytes() == b'{"i": 0}\n'


def test_a_line_that_cannot_be_flushed_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path / "log", {"i": 0})
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(StorageError, match="the disk is full"):
        append_line(tmp_path / "log", {"i": 1})
    assert (tmp_path / "log").read_bytes() == b'{"i": 0}\n'


class Growing(io.RawIOBase):
    """A file that another process goes on writing: an end is seen, and then there is more."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = [*parts]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._parts.pop(0) if self._parts else b""
        buffer[: len(part)] = part
        return len(part)


def test_a_line_whose_end_comes_while_it_is_read_is_left_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BufferedReader(Growing(b'{"i": 0}\n{"i"', b"", b': 1}\n{"i": 2}\n'))
    monkeypatch.setattr(files, "open", lambda *_: file, raising=False)
    assert [line["i"] for line in read_lines("log")] == [0]


WRITER = """
import sys
from burnish.journal.files import append_line
for i in range(10**9):
    append_line(sys.argv[1], {"i": i, "text": "x" * 5000})
"""


def test_a_killed_writer_leaves_whole_lines_and_readers_never_see_less(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        deadline = time.monotonic() + 60
        seen = 0
        while seen < 40 and time.monotonic() < deadline:
            lines = list(read_lines(path))  # raises if any line but the last were torn
            assert len(lines) >= seen
            seen = len(lines)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert seen >= 40
    append_line(path, {"i": "resumed"})
    kept = [json.loads(line)["i"] for line in path.read_bytes().splitlines()]
    assert kept == [*range(len(kept) - 1), "resumed"]
