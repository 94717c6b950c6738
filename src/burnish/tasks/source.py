"""Seeded, resumable problem sources: which problems a step trains on, and where to go on after a resume.

Not for: reading files (files.py), deciding which problems are in a split (splits.py), or wording.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from burnish.errors import DataError, ResumeError
from burnish.records import Problem

LONGEST_SKIP = 100_000  # problems an Endless source may skip in a row before it is taken to be exhausted


class Source(Protocol):
    """Hands out training problems. One take never holds an id twice, because rollouts are joined by problem id."""

    def take(self, n: int) -> list[Problem]:
        """The next n problems. Raises DataError where n different problems cannot be had."""
        ...

    def state(self) -> dict[str, int]:
        """Where the source stands: JSON-able, small."""
        ...

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on exactly as the source that gave `state` would have. Raises ResumeError where that is not possible."""
        ...


class Shuffled:
    """A finite split, epoch after epoch without replacement, each epoch in an order of its own.

    Epoch e's order comes from blake2b(seed, "epoch", e) alone. A take that crosses the border of two epochs passes over
    the problems it already holds; they come first in the next take, so an epoch still visits every problem once.
    Raises DataError where `problems` is empty or two of them share an id.
    """

    def __init__(self, problems: Sequence[Problem], seed: int) -> None:
        if not problems:
            raise DataError("The training split has no problems; give a file with at least one row.")
        self._problems = problems
        self._seed = seed
        digest = hashlib.blake2b(digest_size=6)  # 48 bits: every JSON reader keeps such an integer exact
        seen: set[str] = set()
        for problem in problems:
            if problem.id in seen:
                raise DataError(f"Two training problems share the id {problem.id!r}; give each row an id of its own.")
            seen.add(problem.id)
            digest.update(f"{problem.id}\x1f{problem.fingerprint}\x1e".encode())
        self._digest = int.from_bytes(digest.digest())
        self._epoch = 0
        self._at = 0  # positions below this were taken in this epoch, but for the passed-over ones
        self._passed: list[int] = []  # positions passed over at the last border, still owed to this epoch
        self._order = epoch_order(len(problems), seed, 0)

    def take(self, n: int) -> list[Problem]:
        """The next n problems, all different. Raises DataError where the split has fewer than n."""
        size = len(self._problems)
        if n < 0:
            raise ValueError(f"cannot take {n} problems")
        if n > size:
            raise DataError(
                f"The run asks for {n} problems a step but the training split has only {size}; "
                f"ask for at most {size}, or give more rows."
            )
        taken: dict[int, None] = {}  # row indices, in the order they are handed out
        passed = self._passed
        self._passed = []
        while len(taken) < n:
            if passed:
                taken[self._order[passed.pop(0)]] = None
            elif self._at == size:
                self._epoch, self._at = self._epoch + 1, 0
                self._order = epoch_order(size, self._seed, self._epoch)
            else:
                row = self._order[self._at]
                if row in taken:
                    self._passed.append(self._at)
                else:
                    taken[row] = None
                self._at += 1
        self._passed = passed + self._passed
        return [self._problems[row] for row in taken]

    def state(self) -> dict[str, int]:
        """E.g. {"seed": 1, "size": 10, "digest": 9..., "epoch": 2, "at": 4, "passed.0": 1}; `digest` names the data."""
        here = {"seed": self._seed, "size": len(self._problems), "digest": self._digest}
        passed = {f"passed.{i}": position for i, position in enumerate(self._passed)}
        return {**here, "epoch": self._epoch, "at": self._at, **passed}

    def restore(self, state: Mapping[str, int]) -> None:
        """Raises ResumeError where the state belongs to another seed, other data, or no Shuffled source at all."""
        epoch, at = _whole(state, "epoch"), _whole(state, "at")
        passed = [_whole(state, f"passed.{i}") for i in range(len([k for k in state if k.startswith("passed.")]))]
        if state.get("seed") != self._seed:
            raise ResumeError(
                f"The saved source was shuffled with seed {state.get('seed')}, this run has seed {self._seed}; "
                "resume with the seed it began with."
            )
        if (state.get("size"), state.get("digest")) != (len(self._problems), self._digest):
            raise ResumeError(
                f"The training split has changed since the run began (it had {state.get('size')} problems, now "
                f"{len(self._problems)}); put the old data back or start a new run."
            )
        if at > len(self._problems) or any(position >= at for position in passed):
            raise ResumeError(f"The saved source is at {at} of {len(self._problems)} problems; the state is damaged.")
        self._epoch, self._at, self._passed = epoch, at, passed
        self._order = epoch_order(len(self._problems), self._seed, epoch)


class Endless:
    """Problems made on demand: problem i is `make(i)`, a pure function of i; None means skip it.

    `make` returns None for an i that belongs to the held-out split or repeats an earlier problem. The cursor is i.
    """

    def __init__(self, make: Callable[[int], Problem | None]) -> None:
        self._make = make
        self._next = 0

    def take(self, n: int) -> list[Problem]:
        """The next n problems. Raises DataError after 100,000 skips in a row, or where two of one take share an id."""
        if n < 0:
            raise ValueError(f"cannot take {n} problems")
        taken: dict[str, Problem] = {}
        cursor = self._next
        skipped = 0
        while len(taken) < n:
            problem = self._make(cursor)
            cursor += 1
            skipped = skipped + 1 if problem is None else 0
            if skipped >= LONGEST_SKIP:
                raise DataError(
                    f"No new training problem among the {LONGEST_SKIP:,} from number {cursor - skipped}; "
                    "the task has run out: make its problems harder or longer, so that there are more of them."
                )
            if problem is None:
                continue
            if problem.id in taken:
                raise DataError(f"Problem number {cursor - 1} has the id {problem.id!r} of another one in this step.")
            taken[problem.id] = problem
        self._next = cursor  # only now: a take that raises leaves the source where it was
        return list(taken.values())

    def state(self) -> dict[str, int]:
        """E.g. {"next": 128}: the i to go on from."""
        return {"next": self._next}

    def restore(self, state: Mapping[str, int]) -> None:
        """Raises ResumeError where the state is not an Endless source's."""
        self._next = _whole(state, "next")


def epoch_order(size: int, seed: int, epoch: int) -> list[int]:
    """The permutation of range(size) for one epoch. It depends on the three numbers only, in any Python version."""
    name = "\x1f".join((str(seed), "epoch", str(epoch)))
    generator = random.Random(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest()))
    # Sorting by random() and not shuffle(): of the two, only random() promises the same numbers in later versions.
    keys = [generator.random() for _ in range(size)]
    return sorted(range(size), key=keys.__getitem__)


def _whole(state: Mapping[str, int], key: str) -> int:
    value = state.get(key)
    if type(value) is not int or value < 0:
        raise ResumeError(f"The saved source has {key} = {value!r}, which is not a whole number; the state is damaged.")
    return value
