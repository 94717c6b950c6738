"""Answers kept in a folder, so that none is sampled twice: what a measurement draws, as Parquet files of rollouts.

Unlike the rollouts of a run, the answers to one problem may follow different prompts (an earlier answer shown again), and
their number may grow from one visit to the next. Not for: deciding whether they are still the answers wanted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from burnish.errors import StorageError
from burnish.journal.files import storage_error
from burnish.journal.rollouts import as_groups, read_rollouts, rollouts_files, write_rollouts
from burnish.records import Group, Key


class Kept:
    """The answers in `folder`, each a group of one by its key. One writer, any number of readers."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def read(self) -> dict[Key, Group]:
        """All that is there; nothing where the folder is not. Raises DataError where a file cannot be read."""
        found: dict[Key, Group] = {}
        for row in read_rollouts(self._folder):
            [group] = as_groups([row])  # one by one: rows of a problem need not share their prompt
            found[group.key(group.rollouts[0])] = group
        return found

    def add(self, groups: Sequence[Group]) -> None:
        """Write these as one more file, whole or not at all. Raises StorageError where the disk would not take it."""
        directory = self._folder / "rollouts"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refused: StorageError = storage_error(directory, error)
            raise refused from error
        write_rollouts(directory, max(rollouts_files(directory), default=0) + 1, groups)
