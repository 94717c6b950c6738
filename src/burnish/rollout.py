"""Problem -> Group: render, sample, judge. Declares the Engine it needs. Not for: rewards, or where things run.

Sampling and verification overlap: completions go to the verifier's workers as they finish, while the engine goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from burnish.prompts import Renderer, response
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


@dataclass(frozen=True)
class Sampler:
    """Everything needed to turn problems into judged groups.

    messages   the task's wording
    on_rollout called once for each judged rollout (progress); its exceptions are the caller's own
    """

    engine: Engine
    renderer: Renderer
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
        by_id = {prompt.problem_id: (problem, prompt) for problem, prompt in zip(problems, prompts, strict=True)}
        if len(by_id) != len(problems):
            raise ValueError("a problem stands twice among those to sample")
        requests = [
            Request(Key(prompt.problem_id, first_index + i), prompt, chosen)
            for prompt in prompts
            for i in range(samples)
        ]
        drawn: dict[Key, Completion] = {}

        def answers() -> Iterator[tuple[Key, Problem, str]]:
            for completion in self.engine.generate(requests):
                drawn[completion.key] = completion
                problem, prompt = by_id[completion.key.problem_id]
                yield completion.key, problem, response(prompt, completion.text)

        judged: dict[Key, Rollout] = {}
        for key, verdict in self.pool.judge(answers()):
            rollout = _rollout(by_id[key.problem_id][1], drawn[key], verdict)
            judged[key] = rollout
            if on_rollout is not None:
                on_rollout(rollout)
        if lost := [request.key for request in requests if request.key not in judged]:
            raise ValueError(
                f"the engine gave no completion for {len(lost)} of {len(requests)} requests, first {lost[0]}"
            )
        return [
            Group(problem, prompt, tuple(judged[Key(problem.id, first_index + i)] for i in range(samples)))
            for problem, prompt in by_id.values()
        ]

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
    )


def greedy(sampling: Sampling) -> Sampling:
    """The same stops and length, drawn without noise."""
    return replace(sampling, temperature=0.0)
