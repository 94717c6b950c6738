"""Steps over a fixed data set, for what learns without sampling: order, journal, checkpoints, resume, progress.

    for step in course.steps():
        rows = course.rows(step)
        course.done(step, learner.update(...), tokens)

What decides the next step is in a checkpoint (weights, optimizer, generator state, where the journal ends) or follows from the seed
and the step's number (the order of the rows), so a resumed run goes on bit for bit. Not for: losses, or what a row is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from burnish.journal import Journal, Ledger
from burnish.learner import checkpoint
from burnish.learner.learner import Learner
from burnish.metrics import Metrics, values
from burnish.run.display import Display


class Course:
    """`total` steps of `rows` row numbers each, out of `size` rows."""

    def __init__(
        self, learner: Learner, journal: Journal, display: Display, order: Order, total: int, checkpoint_every: int
    ) -> None:
        self._learner, self._journal, self._display, self._order = learner, journal, display, order
        self.total, self._every = total, checkpoint_every
        self.ledger = Ledger(learner.policy.parameters)
        self._next = 0
        self._began = 0.0

    @property
    def _checkpoints(self) -> Path:
        return self._journal.run_dir / "checkpoints"

    def resume(self) -> None:
        """Back to the last whole checkpoint, or to the first step where there is none."""
        found = checkpoint.latest(self._checkpoints)
        for notice in found.notices if found is not None else ():
            self._display.note(notice)
        if found is None or not found.learner:
            self._journal.truncate({"metrics": 0, "events": 0, "step": None})
            return
        self._learner.restore(found.learner)
        self.ledger = Ledger.restore(found.run["ledger"])
        self._journal.truncate(found.run["journal"])
        self._next = found.step
        self._display.note(f"Going on from step {found.step} of {self.total}.")

    def steps(self) -> Iterator[int]:
        """Steps 1..total that are still to do; a checkpoint is written after every `checkpoint_every` of them and the last."""
        for step in range(self._next + 1, self.total + 1):
            self._began = time.perf_counter()
            yield step
            if step % self._every == 0 or step == self.total:
                self._journal.event("checkpoint", step=step)
                run = {"journal": self._journal.offset(), "ledger": self.ledger.state()}
                checkpoint.write(self._checkpoints, step, self._learner.state(), run)

    def rows(self, step: int) -> list[int]:
        """The row numbers of a step."""
        return self._order.rows(step)

    def done(self, step: int, stats: Metrics, tokens: int) -> None:
        """Write a step down. `tokens` are all that went through the network, prompts included."""
        seconds = time.perf_counter() - self._began
        self.ledger.trained(tokens)
        self.ledger.spent("update", seconds)
        self._journal.update(step, stats, {"update": seconds}, self._learner.version)
        self._next = step
        self._display.step(step, {**values(stats), "speed/trained": tokens / max(seconds, 1e-9)})


class Order:
    """A new order for every pass, from the seed and the number of the pass; what is left over at a pass's end is left out."""

    def __init__(self, size: int, rows: int, seed: int) -> None:
        self._size, self._rows, self._seed = size, min(rows, size), seed
        self.steps_a_pass = size // self._rows

    def rows(self, step: int) -> list[int]:
        """The row numbers of a step (1 is the first): no row twice."""
        number, place = divmod(step - 1, self.steps_a_pass)
        order = list(range(self._size))
        random.Random(f"{self._seed}/{number}").shuffle(order)
        return order[place * self._rows : (place + 1) * self._rows]

    def total(self, epochs: float) -> int:
        """Steps of that many passes, at least one."""
        return max(1, round(epochs * self.steps_a_pass))
