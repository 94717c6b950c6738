"""Rollouts of an earlier run in place of sampling: judged and rewarded again if wanted, and trained on again.

Another policy wrote them, so nothing of them is on policy: their versions become -1, and every ratio is to the
log-probabilities that were recorded. Not for: sampling (LocalStream), or what a rollout earns (a recipe).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.errors import DataError
from burnish.journal import rollouts
from burnish.records import Group, Problem, Rollout, Sampling
from burnish.rollout import Sampler

ELSEWHERE = -1
"""The version of a policy that is not this run's."""


class Stored:
    """The groups of a run directory in the order they were sampled, as a source of problems; resumable.

    Raises DataError where the directory holds no rollouts.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self._files = rollouts.rollouts_files(self.run_dir / "rollouts")
        if not self._files:
            raise DataError(f"{run_dir} holds no rollouts; give the directory of a run that was trained.")
        sql = "select distinct step, problem_id from rollouts"
        self.size = len(rollouts.query(self.run_dir, sql))
        self._read = 0  # groups read from the files
        self._passed: list[tuple[int, Group]] = []  # those among them that still wait, by their number
        self._reading = self._numbered()
        self._current: dict[str, Group] = {}

    def _numbered(self) -> Iterator[tuple[int, Group]]:
        number = 0
        for step in self._files:
            for group in rollouts.as_groups(rollouts.read_rollouts(self.run_dir, step)):
                if any(rollout.text_only for rollout in group.rollouts):
                    raise DataError(
                        f"{self.run_dir} holds text without token ids for {group.problem.id}, as an endpoint gives it; nothing can "
                        "be trained on that. Sample with a model's own weights."
                    )
                yield number, group
                number += 1

    def take(self, n: int) -> list[Problem]:
        """The problems of the next n groups, all different; one that came up already waits for the next take."""
        self._current, later = {}, []
        waiting = iter(self._passed)
        while len(self._current) < n:
            found = next(waiting, None)
            if found is None:
                found = next(self._reading, None)
                if found is None:
                    raise DataError(
                        f"{self.run_dir} holds {self.size} groups, and too few are left for a step of {n} different problems; set "
                        "steps.total or steps.prompts lower."
                    )
                self._read += 1
            if found[1].problem.id in self._current:
                later.append(found)
            else:
                self._current[found[1].problem.id] = found[1]
        self._passed = [*later, *waiting]
        return [group.problem for group in self._current.values()]

    def group(self, problem: Problem) -> Group:
        """The stored group of a problem of the last take."""
        return self._current[problem.id]

    def state(self) -> dict[str, Any]:
        """E.g. {"read": 64, "passed": [62]}: how many groups were read, and which of them still wait."""
        return {"read": self._read, "passed": [number for number, _ in self._passed]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly as the one that gave `state` would have."""
        self._reading, self._read, self._passed = self._numbered(), state["read"], []
        for number, group in itertools.islice(self._reading, self._read):
            if number in state["passed"]:
                self._passed.append((number, group))
        self._passed.sort(key=lambda found: state["passed"].index(found[0]))

    def marks(self) -> dict[str, str]:
        """The SHA-256 of each file of rollouts, for the record of where a run's data came from."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files.values()}


@dataclass(frozen=True)
class StoredSampler(Sampler):
    """A Sampler that finds its groups in a run directory. `rejudge` asks the verifier again."""

    stored: Stored | None = None
    rejudge: bool = False

    def groups(
        self,
        problems: Sequence[Problem],
        samples: int,
        first_index: int = 0,
        sampling: Sampling | None = None,
        on_rollout: Callable[[Rollout], None] | None = None,
    ) -> list[Group]:
        """The first `samples` stored rollouts of every problem. Raises DataError where a group has fewer."""
        assert self.stored is not None
        found = []
        for problem in problems:
            group = self.stored.group(problem)
            if len(group.rollouts) < samples:
                raise DataError(
                    f"The stored group of {problem.id} has {len(group.rollouts)} rollouts, and steps.samples is {samples}; lower it."
                )
            kept = tuple(replace(r, oldest=ELSEWHERE, newest=ELSEWHERE) for r in group.rollouts[:samples])
            found.append(replace(group, rollouts=kept))
        return self.judged_again(found) if self.rejudge else found
