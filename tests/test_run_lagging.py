"""Groups sampled across updates: nothing drawn is lost or drawn twice, nothing grows too old, and the same seed gives the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from burnish.algos.overrides import changed
from burnish.algos.recipes import recipe
from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.fallback import FallbackEngine
from burnish.engine.scripted import ScriptedEngine
from burnish.errors import ConfigError
from burnish.journal import Journal
from burnish.learner.learner import Learner
from burnish.pipelines import rl
from burnish.prompts import Renderer
from burnish.records import Completion, Group, Key, Message, Problem, Request, Sampling
from burnish.rollout import Sampler
from burnish.run.lagging import Lagging
from test_loop import Judge, Numbered, encode
from test_resume import Interruption, assert_the_same
from test_run_selection import settings
from tiny import by_key, policy, prompts, requests, tokenizer

torch.set_num_threads(1)
LONG = Sampling(max_new=40, stop_ids=tuple(range(5, 272, 24)), seed=5)
ENGINES = {
    "as it is": Options(),
    "few rows and pages": Options(rows=5, page=4, cache_bytes=40 * 4 * 256 * 2),
    "guesses": Options(lookup=True),
    "flex attention": Options(page=16, flex=True),
}


def after(completions: int) -> tuple[list[Completion], Callable[[], bool]]:
    """A list to put completions into, and whether so many are there."""
    seen: list[Completion] = []
    return seen, lambda: len(seen) >= completions


# ---- the engines stop, and go on


@pytest.mark.parametrize("name", ENGINES)
def test_what_was_stopped_goes_on_as_if_it_had_not_been(name: str) -> None:
    """Under the same weights the same tokens follow, with the same log-probabilities: the noise belongs to the place."""
    one, options = policy("qwen3"), ENGINES[name]
    asked = requests(prompts((3, 17, 9)), 6, LONG)
    wanted = by_key(EmbeddedEngine(one, options=options).generate(asked))
    engine = EmbeddedEngine(one, options=options)
    found: dict[Key, Completion] = {}
    rounds = 0
    while len(found) < len(asked):
        seen, enough = after(4)
        left = [replace(request, begun=begun) for request, begun in _left(asked, found)]
        for completion in engine.generate(left, enough=enough):
            found[completion.key] = completion
            if completion.stop != "aborted":
                seen.append(completion)
        rounds += 1
        begun = {key: found.pop(key) for key in list(found) if found[key].stop == "aborted"}
        assert all(completion.logprobs for completion in begun.values() if completion.ids)
        asked = [replace(request, begun=begun.get(request.key)) for request in asked]
    assert rounds > 2
    assert {key: one.ids for key, one in found.items()} == {key: one.ids for key, one in wanted.items()}
    assert {key: one.stop for key, one in found.items()} == {key: one.stop for key, one in wanted.items()}
    for key, completion in found.items():
        assert completion.logprobs == pytest.approx(wanted[key].logprobs, abs=2e-5)


def _left(asked: Iterable[Request], found: dict[Key, Completion]) -> Iterator[tuple[Request, Completion | None]]:
    return ((request, request.begun) for request in asked if request.key not in found)


def test_a_completion_keeps_the_oldest_version_and_takes_the_newest() -> None:
    one = policy("qwen3")
    engine = EmbeddedEngine(one)
    asked = requests(prompts((3, 9)), 4, LONG)
    seen, enough = after(2)
    engine.load(one.module, 3)
    first = list(_noting(engine.generate(asked, enough=enough), seen))
    begun = {completion.key: completion for completion in first if completion.stop == "aborted"}
    assert begun
    assert {(one.oldest, one.newest) for one in first} == {(3, 3)}
    engine.load(one.module, 4)
    rest = [replace(request, begun=begun[request.key]) for request in asked if request.key in begun]
    ended = list(engine.generate(rest))
    assert {(one.oldest, one.newest) for one in ended} == {(3, 4)}
    assert all(one.ids[: len(begun[one.key].ids)] == begun[one.key].ids for one in ended)


def test_what_had_no_token_yet_is_as_new_as_what_begins_it() -> None:
    engine = EmbeddedEngine(policy("qwen3"), options=Options(rows=2))
    asked = requests(prompts((3, 9)), 4, LONG)
    seen, enough = after(1)
    first = list(_noting(engine.generate(asked, enough=enough), seen))
    waiting = [completion for completion in first if not completion.ids]
    assert waiting
    engine.version = 7
    rest = [Request(one.key, asked[0].prompt, LONG, one) for one in waiting]
    assert {(one.oldest, one.newest) for one in engine.generate(rest)} == {(7, 7)}


@pytest.mark.parametrize("kind", ["fallback", "scripted"])
def test_engines_that_cannot_stop_in_the_middle_give_back_what_they_have_not_begun(kind: str) -> None:
    asked = requests(prompts((3, 9, 4)), 2, Sampling(max_new=6, stop_ids=(0,)))
    engine: Any = (
        FallbackEngine(policy("qwen3"), rows=2) if kind == "fallback" else ScriptedEngine(lambda _: "a", encode)
    )
    seen, enough = after(2)
    found = list(_noting(engine.generate(asked, enough=enough), seen))
    assert [one.stop == "aborted" for one in found] == [False] * 2 + [True] * 4
    assert {one.key for one in found} == {request.key for request in asked}
    assert all(one.ids == () for one in found[2:])


def _noting(completions: Iterable[Completion], seen: list[Completion]) -> Iterator[Completion]:
    for completion in completions:
        if completion.stop != "aborted":
            seen.append(completion)
        yield completion


# ---- who is begun, and who is handed over


class Slow:
    """An engine of counted decode steps: sample i of problem n takes lengths(n, i) tokens."""

    def __init__(self, length: Callable[[int, int], int]) -> None:
        self._length = length
        self.version, self.steps = 0, 0
        self.drawn: dict[Key, list[int]] = {}  # the version of every token

    def generate(self, asked: Iterable[Request], *, enough: Callable[[], bool] | None = None) -> Iterator[Completion]:
        live = {one.key: list(one.begun.ids) if one.begun else [] for one in asked}
        oldest = {one.key: one.begun.oldest if one.begun and one.begun.ids else self.version for one in asked}
        while live and not (enough is not None and enough()):
            self.steps += 1
            for key, ids in list(live.items()):
                ids.append(20)
                self.drawn.setdefault(key, []).append(self.version)
                if len(ids) == self._length(int(key.problem_id[1:]), key.index):
                    yield self._said(key, live.pop(key), oldest[key], "eos")
        for key, ids in live.items():
            yield self._said(key, ids, oldest[key], "aborted")

    def _said(self, key: Key, ids: Sequence[int], oldest: int, stop: Any) -> Completion:
        return Completion(key, tuple(ids), (-1.0,) * len(ids), "right", stop, oldest, self.version)


def lagging(engine: Slow, source: Any, max_lag: int, samples: int = 2, ahead: float = 0.5) -> Lagging:
    sampler = Sampler(
        engine,  # type: ignore[arg-type]
        Renderer(tokenizer()),
        Judge(),  # type: ignore[arg-type]
        lambda problem: (Message("user", problem.question),),
        Sampling(max_new=1000),
    )
    return Lagging(source, sampler, samples, max_lag, ahead)


def names(groups: Iterable[Group]) -> list[str]:
    return [group.problem.id for group in groups]


def stepped(taken: Lagging, engine: Slow, groups: int, more: bool = True) -> list[Group]:
    found = taken.take(groups, more)
    engine.version += 1
    taken.published += 1
    return found


def test_a_step_does_not_wait_for_its_slowest_group() -> None:
    """By hand: six groups under way for four; p1 takes 50 steps, the others 10, so p1 ends in the second step, 40 more in."""
    engine = Slow(lambda problem, index: 50 if (problem, index) == (1, 1) else 10)
    taken = lagging(engine, Numbered(), max_lag=2)
    assert names(stepped(taken, engine, 4)) == ["p0", "p2", "p3", "p4"]
    assert engine.steps == 10
    assert names(stepped(taken, engine, 4)) == ["p5", "p6", "p7", "p8"]  # p5 was whole before
    assert engine.steps == 20
    found = stepped(taken, engine, 4)  # p1 is as old as it may be, so this step waits for it
    assert names(found)[0] == "p1"
    assert engine.steps == 50
    assert engine.drawn[Key("p1", 1)] == [0] * 10 + [1] * 10 + [2] * 30
    slow = found[0].rollouts[1]
    assert (slow.oldest, slow.newest, slow.tokens.sampled_count) == (0, 2, 50)


def test_with_nothing_to_come_every_group_is_waited_for_and_none_is_left() -> None:
    engine = Slow(lambda problem, index: 10 + 10 * (problem == 1))
    taken = lagging(engine, Numbered(), max_lag=1)
    first = names(stepped(taken, engine, 4))
    last = names(stepped(taken, engine, 4, more=False))
    assert sorted(first + last) == [f"p{i}" for i in range(8)]
    assert taken.state()["open"] == []


@tried(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 5), st.integers(5, 40), st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_no_group_is_too_old_lost_or_handed_over_twice(
    data: st.DataObject, max_lag: int, groups: int, split: int, ahead: float
) -> None:
    """Whatever takes how long, in a split that comes round again; and a run that is stored and read back goes on alike."""

    class Round(Numbered):
        """A split of that many problems, again and again."""

        def take(self, n: int) -> list[Problem]:
            assert n <= split
            numbers = range(self.next, self.next + n)
            self.next += n
            return [Problem(f"p{i % split}", "t", "say", {}, "train", "f") for i in numbers]

    seconds = data.draw(st.lists(st.integers(1, 30), min_size=split * 2, max_size=split * 2))

    def length(problem: int, index: int) -> int:
        return seconds[problem * 2 + index]

    engine, source = Slow(length), Round()
    taken = lagging(engine, source, max_lag, ahead=ahead)
    seen: list[str] = []
    for step in range(8):
        found = taken.take(groups, more=step < 7)
        assert len(found) >= groups
        assert len(set(names(found))) == len(found)
        for group in found:
            assert [rollout.index for rollout in group.rollouts] == [0, 1]
            for rollout in group.rollouts:
                assert engine.version - rollout.oldest <= max_lag
                assert rollout.tokens.sampled_count == length(int(group.problem.id[1:]), rollout.index)
        seen += names(found)
        engine.version, taken.published = engine.version + 1, taken.published + 1
        again = lagging(engine, source, max_lag, ahead=ahead)
        again.restore(json.loads(json.dumps(taken.state())))
        assert again.state() == taken.state()
        taken = again
    waiting = [one["problem"]["id"] for one in taken.state()["open"]] + [one["id"] for one in taken.state()["later"]]
    assert sorted(seen + waiting) == sorted(f"p{i % split}" for i in range(source.next))


# ---- in a run

LATE = {
    "recipe": {"name": "grpo", "options": {}},
    "sampling": {"max_new": 32, "rows": 10},  # so that some are in the middle when a step has enough
    "steps": {"total": 6, "prompts": 8, "samples": 4, "checkpoint_every": 2, "max_lag": 2},
}


def _lags(out: Path) -> list[tuple[float, float]]:
    return [(line["lag/mean"], line["lag/max"]) for line in Journal.open(out).metrics()]


def test_a_run_whose_rollouts_lag_says_by_how_much_and_goes_on_as_if_it_had_never_stopped(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rl.train(settings(tiny_base, tmp_path / "whole", **LATE), quiet=True)
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        result = real(self, *args)
        if self.version == 3:
            raise Interruption
        return result

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(settings(tiny_base, tmp_path / "run", **LATE), quiet=True)
    rl.train(settings(tiny_base, tmp_path / "run", **LATE), resume=True, quiet=True)
    assert_the_same(tmp_path / "run", tmp_path / "whole")
    lags = _lags(tmp_path / "whole")
    assert max(most for _, most in lags) in (1.0, 2.0)
    assert lags[0] == (0.0, 0.0)
    rollouts = list(Journal.open(tmp_path / "whole").rollouts())
    assert len(rollouts) == 6 * 8 * 4
    assert any(row["oldest"] < row["newest"] for row in rollouts)


def test_problems_without_signal_are_replaced_across_updates_too(tiny_base: Path, tmp_path: Path) -> None:
    rl.train(settings(tiny_base, tmp_path / "run", **{**LATE, "selection": {"refill": 2.0}}), quiet=True)
    sampled = [line["rollouts/sampled"] for line in Journal.open(tmp_path / "run").metrics()]
    assert all(32 <= count <= 64 for count in sampled)
    assert max(sampled) > 32


def test_stored_rollouts_cannot_lag(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"steps\.max_lag has no effect with stored\.rollouts"):
        settings(tiny_base, tmp_path, stored={"rollouts": "runs/x"}, steps__max_lag=1)


def test_a_kl_in_the_reward_is_the_policys_own_where_another_sampled() -> None:
    """With one update a step the sampler is the policy, unless rollouts lag."""
    chosen = changed(recipe("reinforce"), {"kl_to": "reference", "kl_coefficient": 0.01, "kl_in": "reward"})
    assert chosen.needs(1) == {"reference"}
    assert chosen.needs(1, lagging=True) == {"reference", "proximal"}
    assert recipe("grpo").needs(1, lagging=True) == frozenset()
