"""Metrics carry their own reduction: any split of the same values, merged in any grouping, has the same value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.metrics import EffectiveShare, Max, Mean, Metric, Min, Share, Sum, merge, values

# Whole numbers add without rounding, so that "the same" can mean equal.
WHOLE = st.integers(-(10**6), 10**6).map(float)
MAKERS: dict[str, Callable[[Sequence[float]], Metric]] = {
    "mean": Mean.of,
    "share": lambda xs: Share.of(x > 0 for x in xs),
    "sum": lambda xs: Sum(math.fsum(xs)),
    "max": lambda xs: Max(max(xs)),
    "min": lambda xs: Min(min(xs)),
}


def every(xs: Sequence[float]) -> dict[str, Metric]:
    return {name: make(xs) for name, make in MAKERS.items()}


def test_merging_means_weighs_them_by_how_many_values_they_hold() -> None:
    assert (Mean.of([1.0, 3.0]) + Mean.of([5.0])).value == 3.0  # not (2 + 5) / 2


def test_a_mean_of_nothing_is_not_a_number() -> None:
    assert math.isnan(Mean.of([]).value)


def test_a_mean_of_nothing_merges_as_nothing() -> None:
    assert Mean.of([]) + Mean.of([4.0]) == Mean.of([4.0])


def test_a_mean_may_have_weights_that_are_not_counts() -> None:
    assert (Mean(3.0, 1.5) + Mean(1.0, 0.5)).value == 2.0


def test_a_share_counts_what_is_true() -> None:
    assert Share.of([True, False, False, True, 1.0]).value == 0.6


def test_a_share_merges_to_a_share() -> None:
    merged = Share.of([True]) + Share.of([False, False, False])
    assert merged == Share(1.0, 4.0)
    assert type(merged) is Share


def test_sum_max_and_min() -> None:
    assert (Sum(2.0) + Sum(3.0)).value == 5.0
    assert (Max(2.0) + Max(3.0)).value == 3.0
    assert (Min(2.0) + Min(3.0)).value == 2.0


def test_merge_keeps_a_name_that_only_one_part_has() -> None:
    assert merge({"a": Sum(1.0)}, {"b": Max(2.0)}) == {"a": Sum(1.0), "b": Max(2.0)}


def test_merge_refuses_a_name_with_two_reductions() -> None:
    with pytest.raises(TypeError, match="'loss' is a Mean here and a Sum there"):
        merge({"loss": Mean.of([1.0])}, {"loss": Sum(1.0)})


def test_merge_refuses_a_share_under_the_name_of_a_mean() -> None:
    with pytest.raises(TypeError, match="'x' is a Mean here and a Share there"):
        merge({"x": Mean.of([1.0])}, {"x": Share.of([True])})


def test_merge_of_nothing_is_empty() -> None:
    assert merge() == {}


def test_merge_leaves_its_parts_as_they_were() -> None:
    part = {"a": Sum(1.0)}
    merge(part, {"a": Sum(2.0)})
    assert part == {"a": Sum(1.0)}


def test_values_are_the_plain_numbers() -> None:
    assert values({"a": Mean.of([1.0, 2.0]), "b": Sum(3.0)}) == {"a": 1.5, "b": 3.0}


@given(st.lists(WHOLE, min_size=1), st.lists(WHOLE, min_size=1), st.lists(WHOLE, min_size=1))
@settings(deadline=None)
def test_merge_is_associative(xs: list[float], ys: list[float], zs: list[float]) -> None:
    a, b, c = every(xs), every(ys), every(zs)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b, c)


@given(st.lists(WHOLE, min_size=1), st.lists(WHOLE, min_size=1))
@settings(deadline=None)
def test_merge_is_commutative(xs: list[float], ys: list[float]) -> None:
    assert merge(every(xs), every(ys)) == merge(every(ys), every(xs))


@given(st.lists(WHOLE, min_size=1, max_size=30), st.lists(st.integers(1, 29), max_size=6))
@settings(deadline=None)
def test_any_split_of_the_values_merges_to_the_same(xs: list[float], cuts: list[int]) -> None:
    ends = sorted({0, len(xs), *(cut for cut in cuts if cut < len(xs))})
    pieces = [xs[start:end] for start, end in pairwise(ends)]
    assert merge(*map(every, pieces)) == every(xs)


def test_weights_that_are_all_zero_leave_nothing_of_a_sample() -> None:
    assert EffectiveShare(0.0, 0.0, 5).value == 0.0
    assert EffectiveShare(6.0, 12.0, 3).value == 1.0  # three weights of 2
    assert math.isnan(EffectiveShare(0.0, 0.0, 0).value)
