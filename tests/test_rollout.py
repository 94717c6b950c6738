"""Problem to Group: everything asked for comes back, in order, joined by key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pytest

from burnish.engine.scripted import ScriptedEngine
from burnish.prompts import Renderer
from burnish.records import Completion, Key, Message, Problem, Request, Rollout, Sampling, Verdict
from burnish.rollout import Sampler, greedy
from burnish.verify.pool import Pool
from tiny import tokenizer

SAMPLING = Sampling(max_new=40, stop_ids=(tokenizer().eos_token_id,), seed=1)


class Judge:
    """A pool in this process that answers in reverse: a number in tags is right when it is the reference's."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        for key, problem, said in reversed(list(items)):
            self.heard.append(said)
            right = f"<answer>{problem.reference['answer']}</answer>" in said
            yield key, Verdict("right", 1.0) if right else Verdict("wrong", 0.0)


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", "t", f"say {i}", {"answer": str(i)}, "train", str(i)) for i in range(count)]


def answer(request: Request) -> str:
    """Sample i of problem n says n + i: the first alone is right."""
    return f"<answer>{int(request.key.problem_id[1:]) + request.key.index}</answer>"


def encode(text: str) -> list[int]:
    return list(tokenizer()(text).input_ids)


def sampler(engine: object | None = None, judge: Judge | None = None) -> Sampler:
    return Sampler(
        engine or ScriptedEngine(answer, encode),  # type: ignore[arg-type]
        Renderer(tokenizer()),
        judge or Judge(),  # type: ignore[arg-type]
        lambda problem: (Message("user", problem.question),),
        SAMPLING,
    )


def test_groups_come_in_the_order_of_the_problems_and_rollouts_in_that_of_their_index() -> None:
    groups = sampler().groups(problems(3), 2)
    assert [group.problem.id for group in groups] == ["p0", "p1", "p2"]
    assert [[rollout.index for rollout in group.rollouts] for group in groups] == [[0, 1]] * 3


def test_verdicts_are_joined_by_key() -> None:
    for group in sampler().groups(problems(3), 2):
        assert [rollout.verdict.outcome for rollout in group.rollouts] == ["right", "wrong"]


def test_the_spine_is_the_prompt_and_then_the_completion() -> None:
    (group,) = sampler().groups(problems(1), 1)
    tokens = group.rollouts[0].tokens
    written = (*encode("<answer>0</answer>"), tokenizer().eos_token_id)
    assert tokens.ids == group.prompt.ids + written
    assert tokens.sampled == (False,) * len(group.prompt.ids) + (True,) * len(written)


def test_indices_may_start_later() -> None:
    (group,) = sampler().groups(problems(1), 2, first_index=5)
    assert [rollout.index for rollout in group.rollouts] == [5, 6]


def test_every_rollout_is_shown_once() -> None:
    seen: list[Rollout] = []
    groups = sampler().groups(problems(3), 2, on_rollout=seen.append)
    assert len(seen) == 6
    assert {id(rollout) for rollout in seen} == {id(rollout) for group in groups for rollout in group.rollouts}


def test_the_verifier_reads_an_opened_thought() -> None:
    judge = Judge()
    words = tokenizer()
    before = words.chat_template
    try:
        words.chat_template = f"{before}<think>"
        sampler(judge=judge).groups(problems(1), 1)
    finally:
        words.chat_template = before
    assert judge.heard == ["<think><answer>0</answer>"]


def test_verdicts_come_while_sampling_goes_on() -> None:
    """The engine makes its second completion when the first has been judged by another process, and not before."""
    with Pool("test_verify_misbehaving:obey", workers=1) as pool:

        class Patient(ScriptedEngine):
            def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
                for made, completion in enumerate(super().generate(requests)):
                    end = time.monotonic() + 60
                    while pool.statistics().judged < made:
                        assert time.monotonic() < end, "nothing is judged before sampling has ended"
                        time.sleep(0.005)
                    yield completion

        groups = sampler(Patient(answer, encode), pool).groups(problems(2), 2)  # type: ignore[arg-type]
    assert [rollout.verdict.outcome for group in groups for rollout in group.rollouts] == ["right"] * 4


def test_another_sampling_may_be_given() -> None:
    asked: list[Sampling] = []

    def noting(request: Request) -> str:
        asked.append(request.sampling)
        return ""

    sampler(ScriptedEngine(noting, encode)).groups(problems(1), 1, sampling=greedy(SAMPLING))
    assert [(one.temperature, one.max_new, one.stop_ids) for one in asked] == [(0.0, 40, SAMPLING.stop_ids)]


def test_a_problem_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        sampler().groups([*problems(1), *problems(1)], 1)


def test_a_cut_answer_says_so() -> None:
    (group,) = sampler().groups(problems(1), 1, sampling=Sampling(max_new=2, stop_ids=SAMPLING.stop_ids))
    (rollout,) = group.rollouts
    assert (rollout.stop, rollout.tokens.sampled_count) == ("length", 2)


class Losing(ScriptedEngine):
    """Forgets one request."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        return (one for one in super().generate(requests) if one.key != Key("p1", 1))


def test_an_engine_that_loses_a_request_is_found_out() -> None:
    with pytest.raises(ValueError, match=r"no completion for 1 of 4 requests, first Key\(problem_id='p1', index=1\)"):
        sampler(Losing(answer, encode)).groups(problems(2), 2)
