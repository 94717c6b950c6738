"""Every error Burnish raises on purpose, in one tree. Not for: assertions about our own invariants.

    BurnishError                 exit code 1: something went wrong while running
    ├── InputError               exit code 2: what the user gave us is at fault; nothing was written
    │   ├── ConfigError          an unknown key, a wrong type, a key that can have no effect
    │   ├── DataError            a missing, empty or malformed data file, an overlap of splits
    │   ├── ModelError           a model folder that cannot be used, or a context that is too short
    │   └── ResumeError          a run directory that cannot be continued with this config
    ├── StorageError             the disk is full or a file cannot be written
    ├── TrainingError            non-finite loss, no signal for too long, too many verdicts missing
    └── EngineError              the engine was asked for something it cannot do, or served stale weights

A message is one sentence (or two): what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BurnishError(Exception):
    """Root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(BurnishError):
    """What the user gave is at fault: a config, a file, an argument."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key or value is wrong."""


class DataError(InputError):
    """A data file is missing, empty, malformed, or overlaps another split."""


class ModelError(InputError):
    """A model or tokenizer cannot be used."""


class ResumeError(InputError):
    """A run directory cannot be continued."""


class StorageError(BurnishError):
    """A file could not be written (most often: the disk is full)."""


class TrainingError(BurnishError):
    """Training was stopped because going on would be pointless or harmful."""


class EngineError(BurnishError):
    """The rollout engine refused a request or failed its own checks."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The tail of a message: "; did you mean 'grpo'", or nothing where none is near."""
    near = get_close_matches(word, list(known), n=3, cutoff=0.5)
    near.sort(key=lambda name: sorted(name) != sorted(word))  # two letters that changed places are the likeliest slip
    return f"; did you mean {near[0]!r}" if near else ""
