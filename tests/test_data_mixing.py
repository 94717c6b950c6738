"""Mixtures: exact shares, exhaustion, the same order for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.mixing import picks, quotas
from burnish.errors import ConfigError

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=4)


def test_counts_follow_the_weights_by_largest_remainders() -> None:
    assert quotas([100, 100, 100], [1, 1, 1], 10).counts == (4, 3, 3)
    assert quotas([100, 100], [0.3, 0.7], 10).counts == (3, 7)


def test_without_a_size_the_smallest_source_sets_it() -> None:
    assert quotas([10, 1000], [1, 3]).counts == (10, 30)
    assert quotas([10, 1000], [1, 3], epochs=2).counts == (20, 60)


def test_an_exhausted_source_makes_the_mixture_smaller_or_the_others_larger() -> None:
    stopped = quotas([10, 1000], [1, 1], 100)
    assert (stopped.wanted, stopped.counts, stopped.exhausted) == ((50, 50), (10, 10), (0,))
    assert quotas([10, 1000], [1, 1], 100, when_exhausted="refill").counts == (10, 90)
    assert quotas([10, 20], [1, 1], 100, when_exhausted="refill").counts == (10, 20)


def test_less_than_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="no row"):
        quotas([5, 100], [1, 1], epochs=0.1)


@given(SIZES, st.data(), st.integers(1, 200), st.sampled_from(["stop", "refill"]))
def test_counts_are_within_what_there_is_and_a_row_of_their_share(
    sizes: list[int], data: st.DataObject, size: int, when: str
) -> None:
    weights = [data.draw(st.integers(1, 9)) for _ in sizes]
    found = quotas(sizes, weights, size, 2.0, when)  # type: ignore[arg-type]
    assert all(count <= 2 * rows for count, rows in zip(found.counts, sizes, strict=True))
    assert sum(found.counts) <= size
    if when == "stop":
        total = sum(found.counts)
        assert all(abs(n - total * w / sum(weights)) < 1 for n, w in zip(found.counts, weights, strict=True))


@given(SIZES, st.data(), st.integers(0, 5))
def test_every_row_comes_once_an_epoch_and_the_same_for_a_seed(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    counts = [data.draw(st.integers(0, 3 * rows)) for rows in sizes]
    drawn = list(picks(sizes, counts, seed))
    assert drawn == list(picks(sizes, counts, seed))
    for source, (rows, count) in enumerate(zip(sizes, counts, strict=True)):
        own = [pick for pick in drawn if pick.source == source]
        assert len(own) == count
        assert [pick.epoch for pick in own] == [k // rows for k in range(count)]
        assert max(Counter((pick.row, pick.epoch) for pick in own).values(), default=1) == 1


def test_another_seed_draws_others_in_another_order() -> None:
    assert list(picks([50, 50], [20, 20], 1)) != list(picks([50, 50], [20, 20], 2))


def test_every_beginning_has_about_the_shares_of_the_whole() -> None:
    drawn = list(picks([300, 100], [300, 100], 5))
    for end in range(1, 401):
        # A source's k-th row of n stands within [k/n, (k+1)/n) of the whole, so it is never two rows from its share.
        assert abs(sum(pick.source for pick in drawn[:end]) - end / 4) < 2
