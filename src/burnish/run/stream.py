"""Where a step's groups come from in one process, and where its weights go. Not for: the run around it (local.py).

What is sampled across updates is in lagging.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from burnish.errors import EngineError
from burnish.journal import Ledger
from burnish.learner.learner import Learner
from burnish.records import Group, Tokens
from burnish.rollout import Sampler
from burnish.run.lagging import Lagging, Taking

CANARY_TOLERANCE, CANARY_SHARE = 0.05, 0.02
"""Nats, and nats a nat: logits in bfloat16 stand in steps of 1/16 from 8 on, and products of other shapes may differ by some of them."""

Annotate = Callable[[list[Group]], list[Group]]


class Source(Taking, Protocol):
    """Problems to train on, resumable. (burnish.tasks.source.Source)"""

    def state(self) -> Mapping[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Refill:
    """Dynamic sampling: problems without signal are replaced until a step is full or `budget` times its prompts are used up.

    Each round asks for as many problems as are missing, so nothing that was sampled is thrown away.
    """

    budget: float
    informative: Callable[[Group], bool]


class LocalStream:
    """Samples on demand with the newest weights: the version that samples is the version that trains, but for what may lag."""

    def __init__(
        self,
        source: Source,
        sampler: Sampler,
        samples: int,
        learner: Learner,
        canary: Sequence[int],
        clock: Clock,
        refill: Refill | None = None,
        annotate: Annotate | None = None,
        max_lag: int = 0,
    ) -> None:
        self._refill, self._annotate = refill, annotate
        self._lagging = Lagging(source, sampler, samples, max_lag) if max_lag else None
        self._served: int | None = None
        self.sampled_with = 0  # the version that the last take ended with
        self.last = False  # whether nothing is taken after the next take, so that nothing need be begun for later
        self.short = 0  # groups with signal that the last take lacked when its budget was spent
        self._source, self._sampler, self._samples, self._learner, self._clock = (
            source,
            sampler,
            samples,
            learner,
            clock,
        )
        ids = tuple(canary)
        self._canary = Tokens(ids, (False, *(True for _ in ids[1:])), (0.0,) * len(ids))

    def take(self, prompts: int) -> list[Group]:
        """The next problems, sampled and judged. Seeds come from (run seed, problem id, index, version)."""
        self.sampled_with = self._sampler.engine.version
        with self._clock.timing("sample and verify"):
            seen: set[str] = set()
            groups = self._next(prompts, seen)
            return groups if self._refill is None else self._filled(groups, seen, prompts, self._refill)

    def _next(self, count: int, seen: set[str]) -> list[Group]:
        """Groups of so many more problems; a small split comes round again, and what was `seen` in this step is left out."""
        if self._lagging is not None:
            groups = [group for group in self._lagging.take(count, not self.last) if group.problem.id not in seen]
        else:
            problems = [problem for problem in self._source.take(count) if problem.id not in seen]
            groups = self._sampler.groups(problems, self._samples) if problems else []
        seen |= {group.problem.id for group in groups}
        return groups if self._annotate is None else self._annotate(groups)

    def _filled(self, groups: list[Group], seen: set[str], prompts: int, refill: Refill) -> list[Group]:
        left = int(refill.budget * prompts) - prompts
        self.short = prompts - sum(map(refill.informative, groups))
        while self.short > 0 and left > 0:
            asked = min(self.short, left)
            left -= asked
            more = self._next(asked, seen)
            self.short -= sum(map(refill.informative, more))
            groups = [*groups, *more]
        return groups

    def state(self) -> dict[str, Any]:
        """What is under way from one step to the next; nothing without a lag."""
        return {} if self._lagging is None else self._lagging.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on as the one that gave `state` would have."""
        if self._lagging is not None and state:
            self._lagging.restore(state)

    def publish(self, weights: object, version: int) -> None:
        """Hand the engine its weights and compare its answer to a canary prompt with the learner's. Raises EngineError."""
        with self._clock.timing("publish"):
            self._sampler.engine.load(weights, version)
            served, logp = self._sampler.engine.prove(self._canary.ids)
            own = self._learner.log_probs([self._canary])[0][1:]
        if self._lagging is not None and self._served is not None and version != self._served:
            self._lagging.published += 1
        self._served = version
        if served != version:
            raise EngineError(f"The engine serves version {served} after version {version} was published to it.")
        gaps = [abs(a - b) for a, b in zip(logp, own, strict=True)]
        allowed = [CANARY_TOLERANCE + CANARY_SHARE * abs(logp) for logp in own]
        if not all(gap <= most for gap, most in zip(gaps, allowed, strict=True)):  # a NaN is not within it either
            raise EngineError(
                f"The weights of version {version} did not arrive whole: the engine's log-probabilities of the canary prompt are "
                f"{max(gaps, key=lambda gap: math.inf if math.isnan(gap) else gap):.3g} nats off."
            )


class Clock:
    """Seconds by phase of the step under way, and the run's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.seconds: dict[str, float] = {}

    def timing(self, phase: str) -> _Timing:
        return _Timing(self, phase)

    def spent(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.ledger.spent(phase, seconds)


class _Timing:
    def __init__(self, clock: Clock, phase: str) -> None:
        self._clock, self._phase = clock, phase

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.spent(self._phase, time.perf_counter() - self._start)
