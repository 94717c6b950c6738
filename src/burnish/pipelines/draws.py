"""The answers that inference-time methods need: a pool, a greedy one, answers mended, cut short, or made to go on thinking.

All are kept in a folder, a part for each kind, so that what is there is not sampled again, whoever asks. The tokens a method
inserts are marked as not sampled; they count like any other. Not for: what the answers are worth (burnish.pipelines.scale).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from burnish.errors import DataError
from burnish.evaluate.methods import DISCARDED, discarded
from burnish.journal.kept import Kept
from burnish.prompts import CLOSE_THOUGHT, OPEN_THOUGHT, Renderer, check_room, response
from burnish.records import Group, Key, Message, Problem, Prompt, Rollout, Sampling, Tokens
from burnish.rollout import Sampler, Start, greedy
from burnish.run.display import Display
from burnish.verify.format import OPENERS, How, extract_answer, split_response

ANSWERS_AT_ONCE = 512
"""Answers sampled and written down together: what an interruption can cost."""
Drawn = dict[Key, Group]
"""Answers by (problem, index), each a group of one: those to one problem need not share their prompt."""


@dataclass
class Draws:
    """Draws answers of one model to `problems` and keeps them in `folder`.

    sampler   with the stop tokens of the model; its sampling is that of the pool
    renderer  the sampler's own: it also finds marks among tokens
    context   most tokens the model can hold
    sampled, kept, read   tokens generated, tokens found in the folder, tokens of prompts and beginnings read, so far
    """

    sampler: Sampler
    renderer: Renderer
    problems: Sequence[Problem]
    context: int
    folder: Path
    quiet: bool = False
    sampled: int = field(default=0, init=False)
    kept: int = field(default=0, init=False)
    read: int = field(default=0, init=False)

    def pool(self, samples: int) -> Drawn:
        """`samples` answers to each problem."""
        return self._draw("pool", "answers", self._fresh(samples), self.sampler.sampling)

    def greedy(self) -> Drawn:
        """The most likely token at every place."""
        return self._draw("greedy", "greedy answers", self._fresh(1), greedy(self.sampler.sampling))

    def thinking(self, chains: int) -> Drawn:
        """Answers whose thought was opened for the model. Raises DataError where its prompts do that themselves."""
        starts = self._fresh(chains)
        if any(_opened(start.prompt) for start in starts):
            raise DataError("The chat template of this model opens the thought itself, so there is none to open.")
        inserted = self.renderer.plain_ids(OPEN_THOUGHT)
        return self._draw("thinking", "opened thoughts", [_followed(start, 0, inserted) for start in starts])

    def mended(self, before: Drawn, turn: int, ask: str) -> Drawn:
        """A new answer to each problem and earlier answer, with that answer shown and the model asked to mend it."""
        starts = []
        for key, group in before.items():
            [rollout] = group.rollouts
            said = Message("assistant", response(group.prompt, rollout.text))
            turns = (*self.sampler.messages(group.problem), said, Message("user", ask))
            prompt = self.renderer.prompt(group.problem, turns)
            starts.append(Start.fresh(group.problem, prompt, key.index))
        return self._draw(
            _named("mended", ask, str(turn)), f"mended {turn} times" if turn > 1 else "mended once", starts
        )

    def cut(self, before: Drawn, tokens: int, opener: str) -> Drawn:
        """The same answers with every thought ended after `tokens` tokens: the closing tag and `opener` are written there.

        The beginning of an answer is what a sampler with that limit would have drawn, so only what follows is drawn anew.
        Answers whose thought ends sooner, or that do not think, stay as they are.
        """
        inserted = self.renderer.plain_ids(CLOSE_THOUGHT + opener)
        starts = []
        for group in before.values():
            thought = self.thought(group)
            at = max(tokens, thought.begins) if thought is not None else 0
            [rollout] = group.rollouts
            over = thought is not None and (thought.ends is None or at < thought.ends)
            if over and at < len(rollout.tokens.ids) - len(group.prompt.ids):
                starts.append(_followed(_again(group), at, inserted))
        drawn = self._draw(_named("cut", opener, str(tokens)), f"thoughts of {tokens}", starts)
        return {**before, **drawn}

    def waited(self, before: Drawn, turn: int, word: str) -> Drawn:
        """The same answers with the end of the thought taken back: `word` is written in its place, and the model goes on."""
        inserted = self.renderer.plain_ids(word)
        starts, taken = [], {}
        for key, group in before.items():
            thought = self.thought(group)
            if thought is not None and thought.ends is not None and thought.closed is not None:
                starts.append(_followed(_again(group), thought.ends, inserted))
                taken[key] = discarded(group) + thought.closed - thought.ends
        name = _named("waited", word, str(turn))
        return {
            **before,
            **self._draw(name, f"waited {turn} times" if turn > 1 else "waited once", starts, None, taken),
        }

    def thought(self, group: Group) -> Thought | None:
        """Where the thought of an answer stands among the tokens behind its prompt; None where it has none."""
        [rollout] = group.rollouts
        ids, find = rollout.tokens.ids[len(group.prompt.ids) :], self.renderer.find
        opening = (0, 0) if _opened(group.prompt) else find(ids, OPEN_THOUGHT)
        closing = find(ids, CLOSE_THOUGHT)
        if opening is None or (closing is not None and closing[0] < opening[1]):
            return None
        return Thought(opening[1], *(closing or (None, None)))

    def opener(self, answers: Drawn) -> str:
        """What stands in front of most of these answers: `<answer>`, a box, ...; "" where they have no such thing."""
        hows: Counter[How] = Counter()
        for group in answers.values():
            found = extract_answer(split_response(response(group.prompt, group.rollouts[0].text)))
            hows.update([] if found is None else [found.how])
        return OPENERS[hows.most_common(1)[0][0]] if hows else ""

    def _fresh(self, samples: int) -> list[Start]:
        prompts = self.sampler.prompts(self.problems)
        return [
            Start.fresh(problem, prompt, index)
            for problem, prompt in zip(self.problems, prompts, strict=True)
            for index in range(samples)
        ]

    def _draw(
        self,
        kind: str,
        title: str,
        starts: Sequence[Start],
        sampling: Sampling | None = None,
        taken: Mapping[Key, int] | None = None,
    ) -> Drawn:
        """One answer for every start, in their order: those the folder holds, and the others drawn and added to it."""
        store = Kept(self.folder / kind)
        held = store.read()
        wanted = [start for start in starts if start.key not in held]
        chosen = sampling or _seeded(self.sampler.sampling, kind)
        if wanted:
            check_room([start.given for start in wanted], chosen.max_new, self.context)
            held |= self._add(store, title, wanted, chosen, taken, len(starts) - len(wanted))
        made = {start.key: held[start.key] for start in starts}
        new = {start.key for start in wanted}
        for start in starts:
            drawn = len(made[start.key].rollouts[0].tokens.ids) - len(start.written.ids)
            self.sampled += drawn if start.key in new else 0
            self.kept += 0 if start.key in new else drawn
        self.read += sum(map(len, {start.written.ids for start in wanted}))
        return made

    def _add(
        self,
        store: Kept,
        title: str,
        wanted: Sequence[Start],
        sampling: Sampling,
        taken: Mapping[Key, int] | None,
        already: int,
    ) -> Drawn:
        """Draw these and write them down, a part at a time."""
        columns = (("right", "right so far", "{:6.1%}"), ("tokens", "tokens sampled for one", "{:7.1f}"))
        done = right = tokens = 0
        made: Drawn = {}
        with Display(title, already + len(wanted), columns, self.quiet, done=already) as display:

            def tick(rollout: Rollout) -> None:
                nonlocal done, right, tokens
                done, right = done + 1, right + (rollout.verdict.outcome == "right")
                tokens += rollout.tokens.sampled_count
                if done % 64 == 0 or done == len(wanted):
                    display.step(already + done, {"right": right / done, "tokens": tokens / done})

            for first in range(0, len(wanted), ANSWERS_AT_ONCE):
                part = wanted[first : first + ANSWERS_AT_ONCE]
                answers = self.sampler.answers(part, sampling, tick)
                groups = [_group(start, answers[start.key], taken) for start in part]
                store.add(groups)
                made |= {start.key: group for start, group in zip(part, groups, strict=True)}
        return made


@dataclass(frozen=True, slots=True)
class Thought:
    """Places among the tokens behind a prompt: where the thought begins, where it ends, and where its closing tag does.

    The last two are None where it was never closed.
    """

    begins: int
    ends: int | None = None
    closed: int | None = None


def _opened(prompt: Prompt) -> bool:
    return response(prompt, "") == OPEN_THOUGHT


def _again(group: Group) -> Start:
    [rollout] = group.rollouts
    return Start(group.problem, group.prompt, rollout.index, rollout.tokens)


def _followed(start: Start, at: int, inserted: Sequence[int]) -> Start:
    """What stands up to `at` tokens behind the prompt, and then the inserted ones."""
    end, count = len(start.prompt.ids) + at, len(inserted)
    before = start.written
    written = Tokens(
        (*before.ids[:end], *inserted),
        (*before.sampled[:end], *(False,) * count),
        (*before.logprobs[:end], *(0.0,) * count),
    )
    return replace(start, written=written)


def _group(start: Start, rollout: Rollout, taken: Mapping[Key, int] | None) -> Group:
    if taken is not None:
        parts = {**rollout.verdict.parts, DISCARDED: float(taken[start.key])}
        rollout = replace(rollout, verdict=replace(rollout.verdict, parts=parts))
    return Group(start.problem, start.prompt, (rollout,))


def _named(kind: str, text: str, turn: str) -> str:
    """The folder of answers that depend on a text: another text, other answers."""
    return f"{kind}_{turn}_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def _seeded(sampling: Sampling, kind: str) -> Sampling:
    """A seed for each kind of draw: answers of one problem and index must not share their noise."""
    own = hashlib.blake2b(f"{sampling.seed}/{kind}".encode(), digest_size=7).digest()
    return replace(sampling, seed=int.from_bytes(own, "little"))
