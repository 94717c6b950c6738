"""Ballots on disk, so that the same question is not paid for twice. One SQLite file, shared by any number of processes.

Only ballots that could be read are kept: a failure is tried again the next time. Not for: deciding what the same question is.
"""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from burnish.errors import ConfigError, StorageError
from burnish.verify.llm_judge.rubric import Ballot

_BUSY_S = 10.0


class Cache:
    """A mapping from a key (hex) to a ballot. Raises ConfigError where the file is no such cache."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        if not self._path.parent.is_dir():
            raise ConfigError(f"the judge's cache {self._path} is in a directory that does not exist; create it first")
        self._do("CREATE TABLE IF NOT EXISTS ballots (key TEXT PRIMARY KEY, marks TEXT NOT NULL, reason TEXT NOT NULL)")

    def get(self, key: str) -> Ballot | None:
        """The ballot of that key, None where there is none."""
        for marks, reason in self._do("SELECT marks, reason FROM ballots WHERE key = ?", key):
            return Ballot(tuple(bool(mark) for mark in json.loads(marks)), reason)
        return None

    def put(self, key: str, ballot: Ballot) -> None:
        """Keep a ballot; what is there already stays."""
        marks = json.dumps([int(mark) for mark in ballot.marks])
        self._do("INSERT OR IGNORE INTO ballots VALUES (?, ?, ?)", key, marks, ballot.reason)

    def _do(self, statement: str, *values: str) -> list[tuple[str, str]]:
        # A connection for each statement: half a millisecond beside a judge's seconds, and safe across threads and forks.
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            try:
                return connection.execute(statement, values).fetchall()
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            raise StorageError(f"the judge's cache {self._path} cannot be used: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self._path} is no cache of a judge ({error}); name another file") from error
