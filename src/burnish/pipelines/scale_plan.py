"""What `burnish scale` is asked for, and what of it cannot be. Not for: doing it (burnish.pipelines.scale)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from burnish.errors import ConfigError
from burnish.evaluate.methods import METHODS, WITH_REWARD_MODEL
from burnish.records import Sampling

MEND = (
    "Look at your answer again, step by step. If there is a mistake in it, mend it. Then give the whole answer once more, in "
    "the same form."
)
"""What self-refinement asks (Madaan et al. 2023, arXiv 2303.17651), where nothing else is given."""
WAIT = "Wait"
"""What is written in place of the end of a thought (s1, Muennighoff et al. 2025, arXiv 2501.19393)."""


@dataclass(frozen=True)
class Pooled:
    """What is made of a pool of `samples` answers to each of `problems` held-out problems.

    ns          how many are voted or chosen among; none: 1, 2, 3, 4, 6, 8, 12, ... up to the pool
    confidence  at which vote_sure stops
    """

    problems: int = 200
    samples: int = 32
    ns: tuple[int, ...] = ()
    reward_model: str | None = None
    confidence: float = 0.95

    @property
    def counts(self) -> tuple[int, ...]:
        """How many answers are voted or chosen among."""
        steps = [base << power for power in range(self.samples.bit_length()) for base in (1, 3)]
        return tuple(sorted({*self.ns} or {1, self.samples, *(n for n in steps if n <= self.samples)}))


@dataclass(frozen=True)
class Chained:
    """What is done to the first `count` answers to each problem: mended for some rounds, cut short, made to go on.

    thoughts  tokens after which a thought is ended; none: one, two and three quarters of the median thought
    """

    count: int = 4
    rounds: int = 2
    ask: str = MEND
    thoughts: tuple[int, ...] = ()
    waits: int = 2
    wait: str = WAIT


@dataclass(frozen=True)
class Compared:
    """Which methods (none: all that are possible), at which mean tokens a problem (none: 1, 2, 4, ... answers' worth), with which
    one of them, and beside which other model's single answers."""

    methods: tuple[str, ...] = ()
    budgets: tuple[float, ...] = ()
    against: str = "vote"
    beside: str | None = None


@dataclass(frozen=True)
class Judged:
    """What stands before every problem, whether the chat template's thinking mode is on, and who judges the answers."""

    system: str | None = None
    workers: int = 2
    deadline_s: float = 5.0
    thinking: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What is asked for. `sampling` lacks the stop tokens, which are the model's own; its temperature is above 0."""

    model: str
    task: str
    options: Mapping[str, Any]
    out: str
    sampling: Sampling
    pooled: Pooled = Pooled()
    chained: Chained = Chained()
    compared: Compared = Compared()
    judged: Judged = Judged()


def check(plan: Plan) -> None:
    """Raises ConfigError for what cannot be, and for what would have no effect, before anything is loaded."""
    pooled, chained, compared = plan.pooled, plan.chained, plan.compared
    for name in (*compared.methods, compared.against):
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}" if near else f"there are {', '.join(METHODS)}"
            raise ConfigError(f"There is no method {name!r}; {hint}.")
    if compared.methods and compared.against not in compared.methods:
        raise ConfigError(
            f"Methods are compared with {compared.against}, which is not among those asked for; add --method "
            f"{compared.against}, or name another with --against."
        )
    if over := [n for n in pooled.ns if n > pooled.samples]:
        raise ConfigError(f"-k {over[0]} needs {over[0]} answers to each problem, but --samples is {pooled.samples}.")
    if chained.count > pooled.samples:
        raise ConfigError(
            f"--chains {chained.count} is more than the pool has: --samples is {pooled.samples} answers to each problem."
        )
    if plan.sampling.temperature == 0.0:
        raise ConfigError("At --temperature 0 all answers to a problem are the same; sample the pool above 0.")
    if not 0.5 < pooled.confidence < 1.0:
        raise ConfigError(f"--confidence is {pooled.confidence}, but must lie between 0.5 and 1.")
    asked = [name for name in (*compared.methods, compared.against) if name in WITH_REWARD_MODEL]
    if pooled.reward_model is None and asked:
        raise ConfigError(f"{asked[0]} needs a reward model; name one with --reward-model (burnish rm makes them).")
    if compared.methods:
        _check_effect(plan)


def _check_effect(plan: Plan) -> None:
    """A setting that none of the methods asked for reads is an error, not something to be passed over."""
    pooled, chained, asked = plan.pooled, plan.chained, plan.compared.methods
    votes = tuple(name for name in METHODS if name.startswith(("vote", "best")))
    alone = Chained()
    readers: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
        ("-k", bool(pooled.ns), votes),
        ("--reward-model", pooled.reward_model is not None, WITH_REWARD_MODEL),
        ("--confidence", pooled.confidence != Pooled().confidence, ("vote_sure",)),
        ("--chains", chained.count != alone.count and plan.compared.beside is None, ("mended", "forced", "thinking")),
        ("--rounds", chained.rounds != alone.rounds, ("mended",)),
        ("--ask", chained.ask != alone.ask, ("mended",)),
        ("--think", bool(chained.thoughts), ("forced",)),
        ("--waits", chained.waits != alone.waits, ("forced",)),
        ("--wait", chained.wait != alone.wait, ("forced",)),
    )
    for option, given, methods in readers:
        if given and not set(asked) & set(methods):
            raise ConfigError(
                f"{option} has no effect without --method {' or '.join(methods)}; add one, or leave it out."
            )
