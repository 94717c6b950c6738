"""Choosing problems by what was measured: the window, the replay of hard problems, and that a resumed one goes on the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import ResumeError
from burnish.records import Group, Outcome, Problem, Prompt, Rollout, Tokens, Verdict
from burnish.tasks.curriculum import Choosing, Curriculum
from burnish.tasks.source import Endless, Shuffled


def problem(i: int) -> Problem:
    """Problem i has level i mod 4."""
    return Problem(f"t/{i}", "t", f"{i}", {}, "train", str(i))


def level(one: Problem) -> str:
    return str(int(one.question) % 4)


def judged(one: Problem, right: int, of: int = 4) -> Group:
    outcomes: list[Outcome] = ["right"] * right + ["wrong"] * (of - right)
    rollouts = tuple(
        Rollout(i, Tokens.join((1,), (2,), (-1.0,)), "", "eos", Verdict(o, float(o == "right")), 0, 0)
        for i, o in enumerate(outcomes)
    )
    return Group(one, Prompt(one.id, (), "", (1,)), rollouts)


def curriculum(**settings: float) -> Curriculum:
    return Curriculum(Endless(problem), 1, Choosing(**settings), level)  # type: ignore[arg-type]


def solved(one: Problem) -> int:
    """How many of four are right: level 0 all, level 1 and 2 half, level 3 none."""
    return (4, 2, 2, 0)[int(level(one))]


def advance(source: Curriculum, steps: int, n: int = 8) -> list[list[str]]:
    """The ids handed out in each step; each is judged."""
    seen = []
    for _ in range(steps):
        taken = source.take(n)
        seen.append([one.id for one in taken])
        source.observe([judged(one, solved(one)) for one in taken])
    return seen


def levels(ids: list[str]) -> set[str]:
    return {str(int(one.removeprefix("t/")) % 4) for one in ids}


def test_before_anything_is_measured_every_problem_is_taken_in_order() -> None:
    assert [one.id for one in curriculum(low=0.2, high=0.8).take(3)] == ["t/0", "t/1", "t/2"]


def test_levels_outside_the_window_are_passed_over() -> None:
    first, *later = advance(curriculum(low=0.2, high=0.8, explore=0.0), 3)
    assert levels(first) == {"0", "1", "2", "3"}
    assert all(levels(step) == {"1", "2"} for step in later)


def test_some_of_the_others_are_looked_at_again() -> None:
    _, *later = advance(curriculum(low=0.2, high=0.8, explore=0.3), 12)
    assert set().union(*map(levels, later)) == {"0", "1", "2", "3"}


def test_a_level_that_is_learned_comes_into_the_window() -> None:
    source = curriculum(low=0.2, high=0.8, explore=0.0)
    advance(source, 1)
    source.observe([judged(problem(3), 4)] * 1)
    assert source.rate("3") == pytest.approx(4 / (4 + 0.5 * 8))  # two problems of none right, faded by half
    assert "3" in levels([one.id for one in source.take(8)])


def test_a_window_that_nothing_fits_does_not_starve_a_step() -> None:
    source = curriculum(low=0.9, high=0.95, explore=0.0)
    advance(source, 1)
    assert len({one.id for one in source.take(8)}) == 8


def test_hard_problems_come_back_until_they_are_not() -> None:
    source = curriculum(replay_share=0.5, replay_below=0.5)
    first = source.take(4)
    source.observe([judged(one, right) for one, right in zip(first, (0, 1, 2, 4), strict=True)])
    again = source.take(4)
    assert [one.id for one in again[:2]] == ["t/1", "t/0"]  # solved now and then before never solved
    source.observe([judged(one, 4) for one in again])
    assert all(one.id not in ("t/0", "t/1") for one in source.take(4))


def test_a_problem_that_is_never_solved_is_given_up_in_the_end() -> None:
    source = curriculum(replay_share=1.0, replay_below=0.5, replay_most=2)
    tries = 0
    for _ in range(6):
        taken = source.take(1)
        tries += taken[0].id == "t/0"
        source.observe([judged(one, 0 if one.id == "t/0" else 4) for one in taken])
    assert tries == 3  # once, and two replays


def test_a_problem_is_not_handed_out_twice_before_it_was_judged() -> None:
    source = curriculum(replay_share=0.5, replay_below=1.0)
    advance(source, 1)
    both = [one.id for one in [*source.take(8), *source.take(8)]]
    assert len(set(both)) == 16


def test_a_small_split_gives_what_it_has_even_within_a_step() -> None:
    """Six problems, two takes of four before anything is judged: the second gives some of them again."""
    source = Curriculum(Shuffled([problem(i) for i in range(6)], 1), 1, Choosing(low=0.2), level)
    first, second = source.take(4), source.take(4)
    assert len({one.id for one in first}) == len({one.id for one in second}) == 4
    assert len({one.id for one in [*first, *second]}) == 6


def test_a_rollout_without_a_verdict_measures_nothing() -> None:
    source = curriculum(low=0.2)
    one = problem(0)
    lost = Rollout(0, Tokens.join((1,), (2,), (-1.0,)), "", "eos", Verdict("no_verdict", None, fault="timeout"), 0, 0)
    source.observe([Group(one, Prompt(one.id, (), "", (1,)), (lost,))])
    assert source.rate("0") is None


def test_what_it_did_is_reported() -> None:
    source = curriculum(replay_share=0.5, replay_below=0.5)
    advance(source, 1)
    source.take(4)
    assert source.observe([]) == {"curriculum/levels": 4.0, "curriculum/hard_problems": 2.0, "curriculum/replayed": 2.0}


@given(before=st.integers(0, 5), after=st.integers(1, 4), share=st.sampled_from([0.0, 0.25, 0.5]), finite=st.booleans())
def test_restored_it_hands_out_what_it_would_have(before: int, after: int, share: float, finite: bool) -> None:
    def make() -> Curriculum:
        source = Shuffled([problem(i) for i in range(40)], 3) if finite else Endless(problem)
        return Curriculum(source, 1, Choosing(0.2, 0.8, 0.2, share, 0.6), level)

    one, other = make(), make()
    advance(one, before)
    one.take(2)  # in the middle of a step
    other.restore(json.loads(json.dumps(one.state())))
    assert advance(one, after) == advance(other, after)


def test_a_state_of_another_source_is_refused() -> None:
    with pytest.raises(ResumeError, match="a run without a curriculum"):
        curriculum().restore({"next": 3})
