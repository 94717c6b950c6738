"""One process: the engine and the learner share a module, verifiers run in worker processes. Not for: what is learned.

Exact resume: everything that decides the next step (weights, optimizer, generator state, where the problem source stands, where the
journal ends) is in a checkpoint, and nothing else decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from burnish.errors import TrainingError
from burnish.journal import Behind, Journal, Ledger
from burnish.journal.observe import observe
from burnish.learner import checkpoint
from burnish.learner.learner import Learner
from burnish.metrics import Max, Mean, Metric, Metrics, merge, values
from burnish.records import Dropped, Group, Sample, Sampling
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.stream import Annotate, Clock, LocalStream, Refill, Source

MOST_REMOVED = 0.1
"""A correction that takes out more of the tokens than this is worth a sentence."""

COLUMNS = (
    ("verdict/pass_rate", "pass rate", "{:6.1%}"),
    ("reward/mean", "reward (kept groups)", "{:6.3f}"),
    ("share/thought", "thinks first", "{:6.1%}"),
    ("length/mean", "length, tokens", "{:6.1f}"),
    ("policy/entropy", "entropy, nats", "{:6.3f}"),
    ("share/flat_groups", "groups without signal", "{:6.1%}"),
    ("gap/abs_mean", "sampler-learner gap, nats", "{:8.5f}"),
    ("speed/sampled", "sampled, tokens/s", "{:8.0f}"),
    ("speed/trained", "trained, tokens/s", "{:8.0f}"),
)


@runtime_checkable
class Observing(Protocol):
    """A source that chooses by what was measured. (burnish.tasks.curriculum.Curriculum)"""

    def observe(self, groups: Sequence[Group]) -> Mapping[str, float]: ...


class Steering(Protocol):
    """What follows the run's metrics from step to step. (burnish.algos.steering.Steered)"""

    def observe(self, stats: Mapping[str, Metric]) -> Mapping[str, float]: ...

    def state(self) -> Mapping[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Cadence:
    """How much and how often; see burnish.config.StepsConfig and VerifyConfig."""

    total: int
    prompts: int
    samples: int
    checkpoint_every: int
    max_flat: int
    max_no_verdict: float
    max_lag: int = 0


class TimedLearner:
    """The learner, with its seconds noted."""

    def __init__(self, learner: Learner, clock: Clock) -> None:
        self._learner, self._clock = learner, clock

    @property
    def version(self) -> int:
        return self._learner.version

    def score(self, groups: Sequence[Group], needs: frozenset[str]) -> Any:
        if not needs:
            return {}
        with self._clock.timing("score"):
            return self._learner.score(groups, needs)

    def update(self, samples: Sequence[Sample], objective: Callable[[Any], Any], weigh: Callable[..., Any]) -> Metrics:
        with self._clock.timing("update"):
            return self._learner.update(samples, objective, weigh)

    def weights(self) -> object:
        return self._learner.weights()


class LocalRun:
    """Everything the loop asks for, in one process; also the journal it writes to.

    notify    called with the metrics of every finished step (a display)
    annotate  adds facts to judged groups before they are trained on (the scores of a reward model)
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        source: Source,
        journal: Journal | Behind,
        cadence: Cadence,
        needs: frozenset[str],
        canary: Sequence[int],
        seed: int,
        display: Display,
        steering: Steering | None = None,
        refill: Refill | None = None,
        stored: bool = False,
        annotate: Annotate | None = None,
    ) -> None:
        self.source, self.steering, self._stored = source, steering, stored
        self._learner, self._journal, self._cadence = learner, journal, cadence
        self.needs, self._display = needs, display
        self._clock = Clock(Ledger(learner.policy.parameters))
        sampler = replace(sampler, sampling=replace(sampler.sampling, seed=seed))
        self.stream = LocalStream(
            *(source, sampler, cadence.samples, learner, canary, self._clock, refill, annotate, cadence.max_lag)
        )
        self.learner = TimedLearner(learner, self._clock)
        self.journal = self
        self.prompts_per_step = cadence.prompts
        self._next = 0
        self._flat = 0

    @property
    def ledger(self) -> Ledger:
        return self._clock.ledger

    @property
    def checkpoints(self) -> Path:
        return self._journal.run_dir / "checkpoints"

    def resume(self) -> None:
        """Go back to the last whole checkpoint, or to the first step where there is none."""
        found = checkpoint.latest(self.checkpoints)
        for notice in found.notices if found is not None else ():
            self._display.note(notice)
        if found is None or not found.learner:
            self._journal.truncate({"metrics": 0, "events": 0, "step": None})
            return
        self._learner.restore(found.learner)
        self.source.restore(found.run["source"])
        self.stream.restore(found.run.get("stream", {}))
        if self.steering is not None:
            self.steering.restore(found.run.get("steering", {}))
        self._clock.ledger = Ledger.restore(found.run["ledger"])
        self._journal.truncate(found.run["journal"])
        self._next, self._flat = found.step, int(found.run["flat"])
        self._display.note(f"Going on from step {found.step} of {self._cadence.total}.")

    def steps(self) -> Iterator[int]:
        """Steps 1..total that are still to do; a checkpoint is written after every `checkpoint_every` of them and the last."""
        self.stream.publish(self._learner.weights(), self._learner.version)
        for step in range(self._next + 1, self._cadence.total + 1):
            self._clock.seconds = {}
            self.stream.last = step == self._cadence.total
            yield step
            if step % self._cadence.checkpoint_every == 0 or step == self._cadence.total:
                self._checkpoint(step)

    def _checkpoint(self, step: int) -> None:
        with self._clock.timing("checkpoint"):
            self._journal.event("checkpoint", step=step)  # before the offset: a resumed run has the same events
            run = {
                "source": self.source.state(),
                "stream": self.stream.state(),
                "journal": self._journal.offset(),
                "flat": self._flat,
                "ledger": self.ledger.state(),
                "steering": self.steering.state() if self.steering is not None else {},
            }
            checkpoint.write(self.checkpoints, step, self._learner.state(), run)

    def step(
        self, step: int, groups: Sequence[Group], dropped: Sequence[Dropped], samples: Sequence[Sample], stats: Metrics
    ) -> None:
        """Write a step down; stop the run where going on is pointless."""
        seen = observe(groups, dropped, samples)
        merged = merge(seen, stats, self._observed(groups, stats), self._lag(groups))
        sampled, trained = (
            0 if self._stored else int(seen["tokens/sampled"].value),
            sum(len(sample.tokens.ids) for sample in samples),
        )
        self.ledger.sampled(sampled)
        self.ledger.trained(trained)
        self.ledger.forwarded(sum(len(group.prompt.ids) for group in groups))
        with self._clock.timing("journal"):
            self._journal.step(step, groups, dropped, samples, merged, dict(self._clock.seconds), self._learner.version)
        seconds = self._clock.seconds
        self._display.step(
            step,
            {
                **values(merged),
                "speed/sampled": sampled / max(seconds.get("sample and verify", 0.0), 1e-9),
                "speed/trained": trained / max(seconds.get("update", 0.0), 1e-9),
            },
        )
        self._next = step
        self._remark(step, merged)
        missing = seen["verdict/none"].value
        if missing > self._cadence.max_no_verdict:
            faults = sorted(
                {str(r.verdict.fault) for g in groups for r in g.rollouts if r.verdict.outcome == "no_verdict"}
            )
            self._journal.event("stopped", step=step, reason="no_verdict", share=missing)
            raise TrainingError(
                f"Step {step}: {missing:.0%} of the rollouts have no verdict ({', '.join(faults)}), more than "
                f"verify.max_no_verdict = {self._cadence.max_no_verdict:.0%}; mend the verifier or its deadline before training on."
            )
        self._flat = 0 if samples else self._flat + 1
        if not samples:
            self._journal.event("no_signal", step=step)
        if self._flat >= self._cadence.max_flat:
            rate = seen["verdict/pass_rate"].value
            why = (
                "every answer was wrong"
                if rate == 0
                else "every answer was right"
                if rate == 1
                else "every problem was all right or all wrong"
            )
            raise TrainingError(
                f"{self._flat} steps in a row had no signal ({why} in the last one), so there is nothing to learn from; "
                "take easier or harder problems, more samples a problem, or a longer max_new."
            )

    def _lag(self, groups: Sequence[Group]) -> Metrics:
        """How many versions behind the newest one rollouts were begun, where they may be."""
        if not self._cadence.max_lag:
            return {}
        lags = [float(self.stream.sampled_with - rollout.oldest) for group in groups for rollout in group.rollouts]
        return {"lag/mean": Mean.of(lags), "lag/max": Max(max(lags))}

    def _observed(self, groups: Sequence[Group], stats: Metrics) -> Metrics:
        """Tell those who follow the run what happened; what they made of it."""
        found = dict(self.steering.observe(stats)) if self.steering is not None else {}
        if isinstance(self.source, Observing):
            found |= self.source.observe(groups)
        return {name: Mean(value, 1.0) for name, value in found.items()}

    def _remark(self, step: int, merged: Metrics) -> None:
        """Say what a person should look at."""
        removed = merged["correction/masked"].value if "correction/masked" in merged else 0.0
        if removed > MOST_REMOVED:
            self._journal.event("removed", step=step, share=removed)
            self._display.note(
                f"Step {step}: the off-policy correction took out {removed:.0%} of the tokens; sampler and learner are far apart "
                f"(effective share {merged['gap/effective'].value:.0%}). Fewer updates a step, or wider bounds, keep more."
            )
        if self.stream.short > 0:
            self._journal.event("refill_spent", step=step, short=self.stream.short)
            self._display.note(
                f"Step {step}: {self.stream.short} of {self.prompts_per_step} groups with signal are missing and selection.refill is "
                "spent; the step trains on the others."
            )


def at_rest(sampling: Sampling, seed: int) -> Sampling:
    """The sampling of a measurement: its seeds never coincide with training's."""
    return replace(sampling, seed=(1 << 32) + seed)
