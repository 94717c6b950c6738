"""The loop: what a step of reinforcement learning is, in eight statements. Not for: anything else.

Timing, cadence, metrics, checkpoints and resume live behind the verbs; where things run lives in the `run` object. Declares the
protocols it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from burnish.algos.recipes import Recipe
from burnish.algos.steering import Steered
from burnish.metrics import Metrics
from burnish.records import Dropped, Group, Key, Notes, Sample


class Stream(Protocol):
    """Where sampled and judged groups come from, and where new weights go."""

    def take(self, prompts: int) -> list[Group]:
        """The next groups, sampled by a policy no older than the run allows."""
        ...

    def publish(self, weights: object, version: int) -> None:
        """Serve these weights from now on, and prove that they arrived."""
        ...


class Learner(Protocol):
    """Samples in, new weights out."""

    @property
    def version(self) -> int:
        """How many optimizer steps its weights have had."""
        ...

    def score(self, groups: Sequence[Group], needs: frozenset[str]) -> dict[Key, Notes]:
        """What the recipe asked for, by key; empty where it asked for nothing."""
        ...

    def update(
        self,
        samples: Sequence[Sample],
        objective: Callable[[Any], Any],
        weigh: Callable[[Sequence[Sample]], Mapping[Key, float]],
    ) -> Metrics:
        """The optimizer steps of one step; no samples, no step."""
        ...

    def weights(self) -> object:
        """What `Stream.publish` takes."""
        ...


class Journal(Protocol):
    """Writes a step down."""

    def step(
        self, step: int, groups: Sequence[Group], dropped: Sequence[Dropped], samples: Sequence[Sample], stats: Metrics
    ) -> None:
        """`groups` are all that were sampled, dropped ones included."""
        ...


class Run(Protocol):
    """One run, wherever it runs."""

    @property
    def stream(self) -> Stream: ...

    @property
    def learner(self) -> Learner: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def prompts_per_step(self) -> int: ...

    @property
    def needs(self) -> frozenset[str]: ...

    def steps(self) -> Iterator[int]:
        """The steps still to do; resumable."""
        ...


def train(run: Run, recipe: Recipe | Steered) -> None:
    """Run every step there is."""
    for step in run.steps():
        groups = run.stream.take(run.prompts_per_step)
        kept, dropped = recipe.select(groups)
        notes = run.learner.score(kept, run.needs)
        samples = recipe.credit_groups(kept, notes)
        stats = run.learner.update(samples, recipe.objective, recipe.weigh)
        run.stream.publish(run.learner.weights(), run.learner.version)
        run.journal.step(step, groups, dropped, samples, stats)
