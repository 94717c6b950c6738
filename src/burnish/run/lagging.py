"""Groups that are sampled across updates, so that no step waits for its slowest rollouts. Not for: what they are trained with.

A step takes as many whole groups as it wants, and is handed them as soon as they are there; the rollouts of the others stop where they
are, and go on in the next step under the next weights (Kimi k1.5, arXiv 2501.12599, section 2.6.2: partial rollouts; AReaL, arXiv
2505.24298: interruptible generation). What a rollout has drawn stands, with the log-probabilities it was drawn with and its oldest
version; its keys and values are computed again, so that the next token is wholly the new weights' choice. A step waits all the same for
groups that would otherwise be older than the run allows: nothing that was sampled is thrown away for its age.

Short rollouts end first, so a step's groups are not quite a sample of all; but each problem is trained on once, at most `max_lag` steps
late. What is begun when, and what is whole, follows from the tokens and not from the clock: the same seed gives the same run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from burnish.records import Completion, Group, Key, Problem, Prompt, Rollout, from_json, to_json
from burnish.rollout import Sampler, Start

AHEAD = 0.25
"""How many groups more than a step takes are under way, as a share of the step: benchmarks/lag.py prints what others would bring."""


class Taking(Protocol):
    """Hands out problems. (burnish.tasks.source.Source)"""

    def take(self, n: int) -> list[Problem]: ...


@dataclass
class _Open:
    """A group under way: since how many weights, its judged rollouts by index, and how far the others have come."""

    problem: Problem
    prompt: Prompt
    since: int
    rollouts: dict[int, Rollout] = field(default_factory=dict)
    begun: dict[int, Completion] = field(default_factory=dict)


class Lagging:
    """`samples` rollouts of every problem; a group is handed over at most `max_lag` weights after the ones it began with.

    published  how many weights have been served; a group's age is counted in them
    """

    def __init__(self, source: Taking, sampler: Sampler, samples: int, max_lag: int, ahead: float = AHEAD) -> None:
        self._source, self._sampler, self._samples, self._max_lag = source, sampler, samples, max_lag
        self._ahead = ahead
        self._open: list[_Open] = []  # the oldest first
        self._later: list[Problem] = []  # handed out again while their last group was still under way
        self.published = 0

    def take(self, groups: int, more: bool = True) -> list[Group]:
        """So many whole groups, in the order they were begun; `more` have been begun beside them, unless it is the last take."""
        self._begin(groups, groups + (max(1, int(self._ahead * groups)) if more else 0))
        indices = range(self._samples)
        starts = [
            Start.fresh(one.problem, one.prompt, i) for one in self._open for i in indices if i not in one.rollouts
        ]
        begun = {Key(one.problem.id, i): drawn for one in self._open for i, drawn in one.begun.items()}
        judged, left = self._sampler.until(starts, begun, _Enough(starts, self._due(), groups, len(self._open)))
        by_id = {one.problem.id: one for one in self._open}
        for one in self._open:
            one.begun = {}
        for key, rollout in judged.items():
            by_id[key.problem_id].rollouts[key.index] = rollout
        for key, completion in left.items():
            by_id[key.problem_id].begun[key.index] = completion
        whole = [one for one in self._open if len(one.rollouts) == self._samples]
        taken = whole[: max(groups, len(self._due()))]
        gone = {id(one) for one in taken}
        self._open = [one for one in self._open if id(one) not in gone]
        return [Group(one.problem, one.prompt, tuple(one.rollouts[i] for i in indices)) for one in taken]

    def _due(self) -> list[_Open]:
        """Those that would be too old after this step."""
        return [one for one in self._open if self.published - one.since >= self._max_lag]

    def _begin(self, least: int, wanted: int) -> None:
        """Have at least so many groups under way, and as many as wanted where the split has so many problems; none twice."""
        offered, self._later = self._later, []
        while True:
            under_way = {one.problem.id for one in self._open}
            fresh: dict[str, Problem] = {}
            for problem in offered:
                if problem.id in under_way or problem.id in fresh or len(under_way) + len(fresh) >= wanted:
                    self._later.append(problem)
                else:
                    fresh[problem.id] = problem
            prompts = self._sampler.prompts(fresh.values())
            self._open += [_Open(*pair, self.published) for pair in zip(fresh.values(), prompts, strict=True)]
            missing = wanted - len(self._open)
            if missing <= 0 or (offered and not fresh and len(self._open) >= least):
                return
            offered = self._source.take(min(missing, least))  # a split need not have more than a step takes

    def state(self) -> dict[str, Any]:
        """Everything that is under way, JSON-able; its size is that of the rollouts in it."""
        return {
            "published": self.published,
            "later": [json.loads(to_json(problem)) for problem in self._later],
            "open": [
                {
                    "problem": json.loads(to_json(one.problem)),
                    "since": one.since,
                    "rollouts": [json.loads(to_json(rollout)) for rollout in one.rollouts.values()],
                    "begun": [json.loads(to_json(completion)) for completion in one.begun.values()],
                }
                for one in self._open
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly as the one that gave `state` would have."""
        self.published = state["published"]
        self._later = [from_json(Problem, json.dumps(problem)) for problem in state["later"]]
        self._open = []
        for stored in state["open"]:
            problem = from_json(Problem, json.dumps(stored["problem"]))
            rollouts = [from_json(Rollout, json.dumps(one)) for one in stored["rollouts"]]
            begun = [from_json(Completion, json.dumps(one)) for one in stored["begun"]]
            self._open.append(
                _Open(
                    *(problem, self._sampler.prompts([problem])[0], stored["since"]),
                    {rollout.index: rollout for rollout in rollouts},
                    {completion.key.index: completion for completion in begun},
                )
            )


class _Enough:
    """Whether so many groups are whole, those that are due among them; told of the rollouts that ended, in their order."""

    def __init__(self, starts: Sequence[Start], due: Sequence[_Open], groups: int, under_way: int) -> None:
        self._missing = Counter(start.problem.id for start in starts)
        self._due = {one.problem.id for one in due} & set(self._missing)
        self._wanted = groups - (under_way - len(self._missing))  # some were whole before
        self._seen = 0

    def __call__(self, ended: Sequence[Key]) -> bool:
        for key in ended[self._seen :]:
            self._missing[key.problem_id] -= 1
            if self._missing[key.problem_id] == 0:
                self._wanted -= 1
                self._due.discard(key.problem_id)
        self._seen = len(ended)
        return self._wanted <= 0 and not self._due
