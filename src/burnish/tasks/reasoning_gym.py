"""The puzzles of reasoning-gym, by name, as far as they passed our audit. Not for its scorers (burnish.verify.gym).

Needs the extra "puzzles". Problem i of a seed is item i of the library's data set with a seed made from ours; its split follows from
its question, so no seed can train on a held-out one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.documents import generator
from burnish.tasks.finite import ANSWER_FORMAT, tagged
from burnish.tasks.source import Endless
from burnish.verify import gym

HELD_OUT_CLASSES = 16
_PATIENCE = 2000  # items in a row without a new held-out one, after which there are taken to be no more


class ReasoningGym:
    """One data set of the library.

    dataset        its name, such as "chain_sum"
    settings       its own options, such as {max_terms = 4}
    held_out_size  how many held-out problems; fewer where there are no more, and a notice says so

    Raises ConfigError for a data set that is not on the list (with the reason), for settings it does not take, and where the
    library is missing or not the audited version.
    """

    name = "reasoning_gym"
    verifier = "reasoning_gym"
    train_size = None

    def __init__(self, dataset: str, settings: dict[str, Any] | None = None, held_out_size: int = 200) -> None:
        if held_out_size < 1:
            raise ConfigError(f"reasoning_gym: held_out_size is {held_out_size}, but must be at least 1.")
        gym.refuse_unlisted(dataset)
        self.dataset, self.settings, self.held_out_size = dataset, dict(settings or {}), held_out_size
        self._library = gym.installed()
        self._open(0)  # so that wrong settings are told now

    @property
    def notices(self) -> tuple[str, ...]:
        """Whether there are fewer held-out problems than asked for."""
        count = len(self._held_out)
        if count == self.held_out_size:
            return ()
        return (f"reasoning_gym: {self.dataset} has only {count} different held-out problems with these settings.",)

    def train(self, seed: int) -> Endless:
        """An endless source; problem i is a function of (seed, i), the data set and its settings."""
        items = self._open(self._seed("train", seed))
        return Endless(lambda i: self._problem(items, "train", seed, i))

    def held_out(self) -> Sequence[Problem]:
        """The same problems for every run, whatever its seed; no two are the same."""
        return self._held_out

    @cached_property
    def _held_out(self) -> tuple[Problem, ...]:
        items = self._open(self._seed("held_out", 0))
        found: dict[str, Problem] = {}
        i = latest = 0
        while len(found) < self.held_out_size and i - latest < _PATIENCE:
            problem = self._problem(items, "held_out", 0, i)
            i += 1
            if problem is not None and problem.fingerprint not in found:
                found[problem.fingerprint] = problem
                latest = i
        if not found:
            raise DataError(f"reasoning_gym: {self.dataset} gives no held-out problem; change its settings.")
        return tuple(found.values())

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        told = ANSWER_FORMAT.format(what="the answer alone")
        return (Message("user", f"{problem.question}\n{told}"),)

    def gold(self, problem: Problem) -> str:
        """The library's own answer."""
        return tagged("The reference answer follows.", str(problem.reference["entry"]["answer"]))

    def _seed(self, split: str, seed: int) -> int:
        return generator(self.name, self.dataset, split, seed).randrange(1 << 31)

    def _open(self, seed: int) -> Any:
        try:
            # Items are made one by one when asked for; the size is only their claimed number.
            return self._library.create_dataset(self.dataset, seed=seed, size=1 << 30, **self.settings)
        except (TypeError, ValueError, AssertionError) as error:
            why = str(error) or type(error).__name__
            raise ConfigError(
                f"reasoning_gym: {self.dataset} does not take the settings {self.settings}: {why}."
            ) from error

    def _problem(self, items: Any, split: str, seed: int, i: int) -> Problem | None:
        """Item i; None where it belongs to the other split, or its answer is longer than the verifier reads."""
        item = items[i]
        if len(item["answer"]) > gym.LONGEST:
            return None
        mark = fingerprint(self.name, self.dataset, item["question"])
        if (int(mark[:8], 16) % HELD_OUT_CLASSES == 0) != (split == "held_out"):
            return None
        entry = json.loads(json.dumps({key: item[key] for key in ("question", "answer", "metadata")}))
        reference = {"dataset": self.dataset, "entry": entry}
        return Problem(
            f"{self.name}/{self.dataset}/{split}/{seed}/{i}", self.name, item["question"], reference, split, mark
        )
