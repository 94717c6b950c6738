"""Problem sources: order, epochs, resuming."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import DataError, ResumeError
from burnish.records import Problem, fingerprint
from burnish.tasks.source import Endless, Shuffled, Source, epoch_order


def problem(i: int) -> Problem:
    return Problem(f"t/train/{i}", "t", f"{i}?", {"answer": str(i)}, "train", fingerprint(str(i)))


def ids(problems: list[Problem]) -> list[int]:
    return [int(p.id.rsplit("/", 1)[1]) for p in problems]


TEN = [problem(i) for i in range(10)]


def test_an_epoch_visits_every_problem_once() -> None:
    source = Shuffled(TEN, seed=1)
    assert sorted(ids(source.take(5)) + ids(source.take(5))) == list(range(10))


def test_epochs_have_different_orders() -> None:
    source = Shuffled(TEN, seed=1)
    assert ids(source.take(10)) != ids(source.take(10))


def test_seeds_have_different_orders() -> None:
    assert ids(Shuffled(TEN, seed=1).take(10)) != ids(Shuffled(TEN, seed=2).take(10))


def test_the_order_is_the_same_in_every_process_and_version() -> None:
    assert epoch_order(5, seed=1, epoch=0) == [4, 3, 0, 2, 1]


def test_the_order_does_not_touch_or_read_global_random_state() -> None:
    random.seed(7)
    before = random.getstate()
    first = ids(Shuffled(TEN, seed=1).take(10))
    assert random.getstate() == before
    random.seed(8)
    assert ids(Shuffled(TEN, seed=1).take(10)) == first


def test_a_take_crosses_the_border_of_epochs() -> None:
    source = Shuffled(TEN, seed=1)
    source.take(8)
    tail = epoch_order(10, 1, 0)[8:]
    crossing = ids(source.take(5))
    assert crossing[:2] == tail
    assert crossing[2:] == [row for row in epoch_order(10, 1, 1) if row not in tail][:3]


def test_a_problem_passed_over_at_the_border_comes_first_in_the_next_take() -> None:
    for seed in range(50):  # find an order whose second epoch begins with a problem of the first one's end
        last, first = epoch_order(3, seed, 0)[2], epoch_order(3, seed, 1)[0]
        if last == first:
            break
    source = Shuffled(TEN[:3], seed)
    source.take(2)
    assert ids(source.take(2)) == [last, epoch_order(3, seed, 1)[1]]
    assert ids(source.take(1)) == [last]


@given(
    size=st.integers(1, 12),
    seed=st.integers(-3, 2**64),
    shares=st.lists(st.floats(0, 1), max_size=20),
)
def test_no_take_repeats_a_problem_and_every_epoch_visits_each_once(size: int, seed: int, shares: list[float]) -> None:
    source = Shuffled(TEN[:size] if size <= 10 else [problem(i) for i in range(size)], seed)
    counts: Counter[int] = Counter()
    for share in shares:
        taken = ids(source.take(round(share * size)))
        assert len(set(taken)) == len(taken)
        counts.update(taken)
        visits = [counts[row] for row in range(size)]
        assert max(visits) - min(visits) <= 1


@given(
    seed=st.integers(0, 1000),
    before=st.lists(st.integers(0, 10), max_size=8),
    after=st.lists(st.integers(0, 10), min_size=1, max_size=8),
)
def test_a_restored_source_continues_identically(seed: int, before: list[int], after: list[int]) -> None:
    source = Shuffled(TEN, seed)
    for n in before:
        source.take(n)
    state = json.loads(json.dumps(source.state()))
    resumed = Shuffled(TEN, seed)
    resumed.take(3)  # whatever it did before must not show
    resumed.restore(state)
    assert [resumed.take(n) for n in after] == [source.take(n) for n in after]
    assert resumed.state() == source.state()


def test_more_problems_a_step_than_there_are_is_refused_with_both_numbers() -> None:
    with pytest.raises(DataError, match="asks for 64 problems a step but the training split has only 10"):
        Shuffled(TEN, seed=1).take(64)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="has no problems"):
        Shuffled([], seed=1)


def test_two_problems_with_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="share the id 't/train/3'"):
        Shuffled([*TEN, problem(3)], seed=1)


def test_a_state_of_another_seed_is_refused() -> None:
    with pytest.raises(ResumeError, match="seed 1, this run has seed 2"):
        Shuffled(TEN, seed=2).restore(Shuffled(TEN, seed=1).state())


def test_a_state_of_other_data_is_refused() -> None:
    with pytest.raises(ResumeError, match="had 10 problems, now 9"):
        Shuffled(TEN[:9], seed=1).restore(Shuffled(TEN, seed=1).state())


def test_a_state_of_as_many_but_different_problems_is_refused() -> None:
    with pytest.raises(ResumeError, match="has changed"):
        Shuffled([*TEN[:9], problem(99)], seed=1).restore(Shuffled(TEN, seed=1).state())


@pytest.mark.parametrize("damage", [{"at": 11}, {"at": -1}, {"epoch": "2"}, {"passed.0": 9}, {"passed.1": 0}])
def test_a_damaged_state_is_refused(damage: dict[str, int]) -> None:
    source = Shuffled(TEN, seed=1)
    with pytest.raises(ResumeError, match="damaged"):
        source.restore({**source.state(), **damage})


def even(i: int) -> Problem | None:
    return problem(i) if i % 2 == 0 else None


def test_an_endless_source_skips_what_is_none() -> None:
    assert ids(Endless(even).take(4)) == [0, 2, 4, 6]


def test_an_endless_cursor_stands_after_the_last_problem() -> None:
    source = Endless(even)
    source.take(2)
    assert source.state() == {"next": 3}


@given(before=st.integers(0, 30), n=st.integers(0, 30))
def test_a_restored_endless_source_continues_identically(before: int, n: int) -> None:
    source, resumed = Endless(even), Endless(even)
    source.take(before)
    resumed.restore(json.loads(json.dumps(source.state())))
    assert resumed.take(n) == source.take(n)


def test_an_endless_source_which_only_skips_ends_with_a_sentence() -> None:
    source = Endless(lambda i: problem(i) if i < 3 else None)
    with pytest.raises(DataError, match=r"No new training problem among the 100,000 from number 3"):
        source.take(4)
    assert ids(source.take(3)) == [0, 1, 2]


def test_an_endless_source_which_repeats_an_id_is_refused() -> None:
    with pytest.raises(DataError, match="Problem number 1 has the id 't/train/5'"):
        Endless(lambda i: problem(5)).take(2)


@pytest.mark.parametrize("source", [Shuffled(TEN, seed=1), Endless(even)])
def test_a_negative_take_is_an_error(source: Source) -> None:
    with pytest.raises(ValueError, match="cannot take -1"):
        source.take(-1)
