"""Which problems are worth a step, from what was measured: a window of pass rates, and replay of hard problems. Resumable.

A `Curriculum` stands where a Source stands and asks one for its problems. It keeps a pass rate for each level: a level is
what the task says (`task.level`, e.g. the number of steps of a chain), or the problem itself. Everything it decides follows
from its state and the run's seed, so a resumed run is handed the same problems.

Not for: dropping groups once they are sampled (a recipe's `select`), or sampling more where a step lacks signal (the stream).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.errors import ResumeError
from burnish.records import Group, Problem, from_json, to_json
from burnish.tasks.source import Source

FADES = 0.5
"""What earlier measurements of a level still count when it is measured again."""
PATIENCE = 8
"""How many problems may be passed over for each that is wanted; after that the first passed over are taken all the same."""


@dataclass(frozen=True)
class Choosing:
    """The settings.

    low, high      a problem whose level's pass rate lies outside is passed over ((0, 1) passes none over)
    explore        the share of those that is taken all the same, so that a level that changed is noticed
    replay_share   the share of a take that comes from the hard problems met before
    replay_below   a problem is hard while its pass rate is below this
    replay_most    and for so many replays, whether it was solved by then or not
    """

    low: float = 0.0
    high: float = 1.0
    explore: float = 0.1
    replay_share: float = 0.0
    replay_below: float = 0.5
    replay_most: int = 8


@dataclass
class _Hard:
    """A problem to come back to, its pass rate when it was last sampled, and how often it was replayed."""

    problem: Problem
    rate: float
    tries: int


class Curriculum:
    """A source that chooses by measured pass rates. `observe` must be told every step's groups."""

    def __init__(self, source: Source, seed: int, choosing: Choosing, level: Callable[[Problem], str]) -> None:
        self._source, self._seed, self._choosing, self._level = source, seed, choosing, level
        self._rates: dict[str, list[float]] = {}  # level -> [right, judged], faded
        self._hard: dict[str, _Hard] = {}
        self._out: set[str] = set()  # handed out since the last observe: none of them twice in a step
        self._replayed: set[str] = set()
        self._looked = 0

    def rate(self, level: str) -> float | None:
        """The pass rate of a level; None where it was never measured."""
        right, judged = self._rates.get(level, (0.0, 0.0))
        return right / judged if judged else None

    def take(self, n: int) -> list[Problem]:
        """The next n problems, all different: first replays, then new ones inside the window."""
        taken = {one.id: one for one in self._replays(int(n * self._choosing.replay_share))}
        passed: list[Problem] = []
        looked = 0
        while len(taken) < n:
            patient = looked < PATIENCE * n
            if not patient and passed:
                candidates = [passed.pop(0)]
            else:
                candidates = self._source.take(n - len(taken))
                looked, self._looked = looked + len(candidates), self._looked + len(candidates)
            for problem in candidates:
                if problem.id in taken or (patient and problem.id in self._out):
                    continue
                if patient and not self._wanted(problem):
                    passed.append(problem)
                else:
                    taken[problem.id] = problem
        self._out |= taken.keys()
        return list(taken.values())

    def _replays(self, most: int) -> list[Problem]:
        """The hard problems whose turn it is: those solved now and then before those never solved, the least tried first."""
        ready = [hard for key, hard in self._hard.items() if key not in self._out]
        ready.sort(key=lambda hard: (hard.tries, hard.rate == 0.0, hard.rate, hard.problem.id))
        for hard in ready[:most]:
            hard.tries += 1
            self._replayed.add(hard.problem.id)
        return [hard.problem for hard in ready[:most]]

    def _wanted(self, problem: Problem) -> bool:
        rate, choosing = self.rate(self._level(problem)), self._choosing
        if rate is None or choosing.low <= rate <= choosing.high:
            return True
        mark = f"{self._seed}\x1fexplore\x1f{self._looked}\x1f{problem.id}".encode()
        return int.from_bytes(hashlib.blake2b(mark, digest_size=8).digest()) / 2.0**64 < choosing.explore

    def observe(self, groups: Sequence[Group]) -> dict[str, float]:
        """Take note of a step's verdicts; what they changed, for the journal."""
        counts: dict[str, list[int]] = {}
        for group in groups:
            judged = [r.verdict.outcome for r in group.rollouts if r.verdict.outcome != "no_verdict"]
            if not judged:
                continue
            right = judged.count("right")
            here = counts.setdefault(self._level(group.problem), [0, 0])
            here[0], here[1] = here[0] + right, here[1] + len(judged)
            self._remember(group.problem, right / len(judged))
        for level, (right, total) in counts.items():
            old = self._rates.get(level, [0.0, 0.0])
            self._rates[level] = [FADES * old[0] + right, FADES * old[1] + total]
        found = {"curriculum/levels": float(len(self._rates)), "curriculum/hard_problems": float(len(self._hard))}
        found["curriculum/replayed"] = float(len(self._replayed))
        self._out, self._replayed = set(), set()
        return found

    def _remember(self, problem: Problem, rate: float) -> None:
        if not self._choosing.replay_share:
            return
        hard = self._hard.get(problem.id)
        tries = hard.tries if hard is not None else 0
        if rate < self._choosing.replay_below and tries < self._choosing.replay_most:
            self._hard[problem.id] = _Hard(problem, rate, tries)
        else:
            self._hard.pop(problem.id, None)

    def state(self) -> dict[str, Any]:
        """Where it stands, its source included; JSON-able."""
        hard = [[to_json(each.problem), each.rate, each.tries] for each in self._hard.values()]
        out = {"out": sorted(self._out), "replayed": sorted(self._replayed)}
        return {"source": self._source.state(), "rates": self._rates, "hard": hard, "looked": self._looked, **out}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a `state()`. Raises ResumeError where it is not a curriculum's."""
        if "source" not in state or "rates" not in state:
            raise ResumeError(
                "The saved source is of a run without a curriculum; resume with the settings it began with."
            )
        self._source.restore(state["source"])
        self._rates = {level: list(counts) for level, counts in state["rates"].items()}
        restored = [_Hard(from_json(Problem, text), rate, tries) for text, rate, tries in state["hard"]]
        self._hard = {hard.problem.id: hard for hard in restored}
        self._out, self._replayed, self._looked = set(state["out"]), set(state["replayed"]), state["looked"]
