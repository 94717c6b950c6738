"""Problem -> Group: render, sample, judge. Declares the Engine it needs. Not for: rewards, or where things run.

Sampling and verification overlap: completions go to the verifier's workers as they finish, while the engine goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    def generate(
        self, requests: Iterable[Request], *, enough: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Exactly one completion for each request, in any order. Once `enough` says so, what has not ended may come back aborted."""
        ...

    def load(self, weights: object, version: int) -> None:
        """Serve these weights from now on."""
        ...

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """The version served, and the log-probabilities (nats) of `ids` after the first."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """Where an answer begins: behind its prompt, or behind what already stands of it.

    written  prompt [P] and what stands behind it, sampled or inserted; `Start.fresh` has nothing behind it
    """

    problem: Problem
    prompt: Prompt
    index: int
    written: Tokens

    @classmethod
    def fresh(cls, problem: Problem, prompt: Prompt, index: int) -> Start:
        """An answer from its first token on."""
        return cls(problem, prompt, index, Tokens.join(prompt.ids, (), ()))

    @property
    def key(self) -> Key:
        return Key(self.problem.id, self.index)

    @property
    def given(self) -> Prompt:
        """What the engine continues: token ids are the truth, so it is the prompt with more of them."""
        return self.prompt if self.written.ids == self.prompt.ids else replace(self.prompt, ids=self.written.ids)


class Rendering(Protocol):
    """Makes prompts: `prompts.Renderer`, or `prompts.Unrendered` for an endpoint, which has a chat template of its own."""

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt: ...

    def text(self, ids: Sequence[int]) -> str: ...


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
        prompts = self.prompts(problems)
        if len({problem.id for problem in problems}) != len(problems):
            raise ValueError("a problem stands twice among those to sample")
        pairs = list(zip(problems, prompts, strict=True))
        indices = range(first_index, first_index + samples)
        starts = [Start.fresh(problem, prompt, index) for problem, prompt in pairs for index in indices]
        judged = self.answers(starts, sampling, on_rollout)
        return [
            Group(problem, prompt, tuple(judged[Key(problem.id, index)] for index in indices))
            for problem, prompt in pairs
        ]

    def answers(
        self,
        starts: Sequence[Start],
        sampling: Sampling | None = None,
        on_rollout: Callable[[Rollout], None] | None = None,
    ) -> dict[Key, Rollout]:
        """One judged rollout for every start, by key and in their order. What was written is part of the answer that is judged."""
        judged: dict[Key, Rollout] = {}
        for key, rollout in self.draw(starts, sampling):
            judged[key] = rollout
            if on_rollout is not None:
                on_rollout(rollout)
        if lost := [start.key for start in starts if start.key not in judged]:
            raise _lost(lost, len(starts))
        return {start.key: judged[start.key] for start in starts}

    def draw(self, starts: Sequence[Start], sampling: Sampling | None = None) -> Iterator[tuple[Key, Rollout]]:
        """Judged rollouts by key, as verdicts come back; an engine may leave some out."""
        chosen = sampling or self.sampling
        return self._judged(starts, self.engine.generate(_requests(starts, chosen)), chosen)

    def until(
        self, starts: Sequence[Start], begun: Mapping[Key, Completion], enough: Callable[[Sequence[Key]], bool]
    ) -> tuple[dict[Key, Rollout], dict[Key, Completion]]:
        """Judged rollouts by key, and how far the others had come when `enough` said so of the whole ones, in the order they ended.

        begun  how far they had come in an earlier call
        """
        ended: list[Key] = []
        left: dict[Key, Completion] = {}

        def whole() -> Iterator[Completion]:
            asked = _requests(starts, self.sampling, begun)
            for completion in self.engine.generate(asked, enough=lambda: enough(ended)):
                if completion.stop == "aborted":
                    left[completion.key] = completion
                else:
                    ended.append(completion.key)
                    yield completion

        judged = dict(self._judged(starts, whole(), self.sampling))
        if lost := [start.key for start in starts if start.key not in judged and start.key not in left]:
            raise _lost(lost, len(starts))
        return judged, left

    def _judged(
        self, starts: Sequence[Start], completions: Iterator[Completion], chosen: Sampling
    ) -> Iterator[tuple[Key, Rollout]]:
        by_key = {start.key: start for start in starts}
        if len(by_key) != len(starts):
            raise ValueError("two starts share a problem and an index")
        drawn: dict[Key, Rollout] = {}

        def responses() -> Iterator[tuple[Key, Problem, str]]:
            for completion in completions:
                start = by_key[completion.key]
                rollout = drawn[completion.key] = self._joined(start, completion, chosen.stop_ids)
                yield completion.key, start.problem, response(start.prompt, rollout.text)

        for key, verdict in self.pool.judge(responses()):
            yield key, replace(drawn.pop(key), verdict=verdict)

    def _joined(self, start: Start, completion: Completion, stop_ids: tuple[int, ...]) -> Rollout:
        """What was written and what was drawn as one rollout, not judged yet."""
        before, count = start.written, len(completion.ids)
        tokens = Tokens(
            before.ids + completion.ids, before.sampled + (True,) * count, before.logprobs + completion.logprobs
        )
        text = completion.text
        if len(before.ids) > len(start.prompt.ids):  # decoded whole: a character may have tokens on both sides
            shown = [i for i in completion.ids if i not in stop_ids]
            text = self.renderer.text((*before.ids[len(start.prompt.ids) :], *shown))
        return Rollout(
            completion.key.index,
            tokens,
            text,
            completion.stop,
            _UNJUDGED,
            completion.oldest,
            completion.newest,
            completion.usage,
        )

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


def _lost(keys: Sequence[Key], asked: int) -> ValueError:
    return ValueError(f"the engine gave no completion for {len(keys)} of {asked} requests, first {keys[0]}")


def _requests(
    starts: Iterable[Start], sampling: Sampling, begun: Mapping[Key, Completion] | None = None
) -> list[Request]:
    begun = begun or {}
    return [Request(start.key, start.given, sampling, begun.get(start.key)) for start in starts]


_UNJUDGED = Verdict("no_verdict", None, why="not judged yet", fault="lost")


def greedy(sampling: Sampling) -> Sampling:
    """The same stops and length, drawn without noise."""
    return replace(sampling, temperature=0.0)
