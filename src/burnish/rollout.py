"""Problem -> Group: render, sample, judge. Declares the Engine it needs. Not for: rewards, or where things run.

Sampling and verification overlap: completions go to the verifier's workers as they finish, while the engine goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from burnish.prompts import response
from burnish.records import (
    Completion,
    Group,
    Key,
    Message,
    Problem,
    Prompt,
    Request,
    Rollout,
    Sampling,
    Tokens,
    Verdict,
)
from burnish.verify.pool import Pool


class Engine(Protocol):
    """Prompts in, completions out."""

    version: int

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Exactly one completion for each request, in any order."""
        ...

    def load(self, weights: object, version: int) -> None:
        """Serve these weights from now on."""
        ...

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """The version served, and the log-probabilities (nats) of `ids` after the first."""
        ...


class Rendering(Protocol):
    """Makes prompts: `prompts.Renderer`, or `prompts.Unrendered` for an endpoint, which has a chat template of its own."""

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt: ...


@dataclass(frozen=True)
class Sampler:
    """Everything needed to turn problems into judged groups.

    messages   the task's wording
    on_rollout called once for each judged rollout (progress); its exceptions are the caller's own
    """

    engine: Engine
    renderer: Rendering
    pool: Pool
    messages: Callable[[Problem], tuple[Message, ...]]
    sampling: Sampling

    def prompts(self, problems: Iterable[Problem]) -> list[Prompt]:
        """Rendered prompts, in order."""
        return [self.renderer.prompt(problem, self.messages(problem)) for problem in problems]

    def groups(
        self,
        problems: Sequence[Problem],
        samples: int,
        first_index: int = 0,
        sampling: Sampling | None = None,
        on_rollout: Callable[[Rollout], None] | None = None,
    ) -> list[Group]:
        """`samples` judged rollouts of every problem, indices first_index.., groups in the order of `problems`.

        A rollout whose verdict is missing is kept as no_verdict; none is lost or reordered: all are joined by key.
        """
        chosen = sampling or self.sampling
        prompts = self.prompts(problems)
        if len({problem.id for problem in problems}) != len(problems):
            raise ValueError("a problem stands twice among those to sample")
        pairs = list(zip(problems, prompts, strict=True))
        asked = [(*pair, first_index + i) for pair in pairs for i in range(samples)]
        judged: dict[Key, Rollout] = {}
        for key, rollout in self.draw(asked, chosen):
            judged[key] = rollout
            if on_rollout is not None:
                on_rollout(rollout)
        if lost := [Key(problem.id, index) for problem, _, index in asked if Key(problem.id, index) not in judged]:
            raise ValueError(f"the engine gave no completion for {len(lost)} of {len(asked)} requests, first {lost[0]}")
        return [
            Group(problem, prompt, tuple(judged[Key(problem.id, first_index + i)] for i in range(samples)))
            for problem, prompt in pairs
        ]

    def draw(self, asked: Sequence[tuple[Problem, Prompt, int]], sampling: Sampling) -> Iterator[tuple[Key, Rollout]]:
        """One judged rollout for each (problem, its prompt, index), as verdicts come back; an engine may leave some out."""
        by_id = {problem.id: (problem, prompt) for problem, prompt, _ in asked}
        requests = [Request(Key(problem.id, index), prompt, sampling) for problem, prompt, index in asked]
        drawn: dict[Key, Completion] = {}

        def answers() -> Iterator[tuple[Key, Problem, str]]:
            for completion in self.engine.generate(requests):
                drawn[completion.key] = completion
                problem, prompt = by_id[completion.key.problem_id]
                yield completion.key, problem, response(prompt, completion.text)

        for key, verdict in self.pool.judge(answers()):
            yield key, _rollout(by_id[key.problem_id][1], drawn.pop(key), verdict)

    def judged_again(self, groups: Sequence[Group]) -> list[Group]:
        """The same rollouts with the verdicts that the pool gives now."""
        verdicts: dict[Key, Verdict] = dict(
            self.pool.judge(
                (group.key(rollout), group.problem, response(group.prompt, rollout.text))
                for group in groups
                for rollout in group.rollouts
            )
        )
        return [
            replace(group, rollouts=tuple(replace(r, verdict=verdicts[group.key(r)]) for r in group.rollouts))
            for group in groups
        ]


def _rollout(prompt: Prompt, completion: Completion, verdict: Verdict) -> Rollout:
    return Rollout(
        completion.key.index,
        Tokens.join(prompt.ids, completion.ids, completion.logprobs),
        completion.text,
        completion.stop,
        verdict,
        completion.oldest,
        completion.newest,
        completion.usage,
    )


def greedy(sampling: Sampling) -> Sampling:
    """The same stops and length, drawn without noise."""
    return replace(sampling, temperature=0.0)
