"""Pages: who gets which, and that nobody's trace shows it."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.scheduler import Pages, Row, Scheduler, most_pages
from burnish.errors import EngineError
from burnish.policy import kernels
from burnish.policy.model import Policy
from burnish.records import Completion, Key, Request, Sampling
from tiny import by_key, policy, prompt, prompts, requests

FREE = Sampling(max_new=12, stop_ids=tuple(range(5, 272, 16)), seed=5)
LONG = Sampling(max_new=40, stop_ids=tuple(range(5, 272, 64)), seed=5)
LENGTHS = (4, 9, 1, 6)


# ---- the scheduler alone


def asked(lengths: list[int], samples: list[int], max_new: int = 12) -> list[Request]:
    sampling = Sampling(max_new=max_new)
    return [
        Request(Key(f"p{i}", j), prompt(f"p{i}", range(i * 100, i * 100 + length)), sampling)
        for i, (length, count) in enumerate(zip(lengths, samples, strict=True))
        for j in range(count)
    ]


def scheduler(
    lengths: list[int], samples: list[int], rows: int = 8, pages: int = 100, page: int = 4, prefill: int = 1000
) -> Scheduler:
    return Scheduler(asked(lengths, samples), rows, Pages(pages), page, prefill)


def start(one: Scheduler) -> list[Row]:
    """Admit, compute what is to be computed, begin, and draw a first token."""
    one.admit()
    one.chunks()
    fresh = one.begin()
    for row in fresh:
        one.length_S[row.slot] = 1
    return fresh


def live(one: Scheduler) -> list[tuple[str, int]]:
    return [(row.request.key.problem_id, row.request.key.index) for row in one.live]


def test_the_lowest_free_page_is_taken_first() -> None:
    pages = Pages(6)
    first = pages.take(3)
    assert first == [0, 1, 2]
    pages.give([1])
    assert pages.take(2) == [1, 3]
    assert pages.free == 2


def test_admission_is_first_come_first_served_and_fills_the_rows() -> None:
    one = scheduler([3, 3], [2, 2], rows=3)
    start(one)
    assert live(one) == [("p0", 0), ("p0", 1), ("p1", 0)]


def test_prompt_pages_are_shared_and_what_a_row_draws_stands_on_its_own() -> None:
    """Ten tokens on pages of four: three pages for all rows, with two places of the last one empty, and one of its own for each."""
    one = scheduler([10], [3])
    start(one)
    assert [list(one.table_SP[row.slot, :4]) for row in one.live] == [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]]
    running = one.running()
    assert running.shared_B.tolist() == [3, 3, 3]
    assert running.gap_B.tolist() == [2, 2, 2]


def test_a_row_gets_a_page_when_it_needs_one() -> None:
    """Its first page has room for four drawn tokens; the fifth is written when there are five."""
    one = scheduler([3], [1])
    (row,) = start(one)
    one.length_S[row.slot] = 4
    assert one.make_room() == ([], [])
    one.length_S[row.slot] = 5
    assert one.make_room() == ([], [2])
    assert row.pages == [1, 2]


def test_everything_is_given_back() -> None:
    one = scheduler([10, 3], [3, 2])
    rows = start(one)
    one.finish(rows)
    assert one.pages.free == 100
    assert not one.busy


def test_a_family_admitted_in_two_parts_is_computed_once() -> None:
    one = scheduler([3], [3], rows=2)
    one.admit()
    assert len(one.chunks()) == 1
    one.begin()
    one.finish([one.live[1]])
    (second,) = one.admit()
    assert one.chunks() == []
    assert second.request.key.index == 2


def test_a_long_prompt_is_computed_in_chunks_while_others_go_on() -> None:
    one = scheduler([2, 10], [1, 1], prefill=4)
    one.admit()
    sizes = []
    while one.busy and len(one.live) < 2:
        sizes.append([(chunk.start, len(chunk.ids), chunk.prompt is not None) for chunk in one.chunks()])
        one.begin()
    assert sizes == [[(0, 2, True), (0, 2, False)], [(2, 4, False)], [(6, 4, True)]]


def test_a_small_refill_waits_until_a_sixteenth_of_the_rows_is_free() -> None:
    one = scheduler([3], [64], rows=32, pages=1000)
    start(one)
    one.finish(one.live[:1])
    assert one.admit() == []
    one.finish(one.live[:1])
    assert len(one.admit()) == 2


def test_each_running_row_could_still_get_a_page_after_an_admission() -> None:
    """A row takes a page for its prompt and one of its own. With three running, the fourth leaves three more, or waits."""
    assert len(scheduler([4] * 4, [1] * 4, pages=11).admit()) == 4
    assert len(scheduler([4] * 4, [1] * 4, pages=10).admit()) == 3


def test_the_youngest_row_gives_its_pages_back_and_waits_at_the_head() -> None:
    one = scheduler([4, 4], [1, 1], pages=5)
    first, second = start(one)
    one.length_S[first.slot] = 5  # the fifth needs a page, and nobody has one
    one.length_S[second.slot] = 2
    one.pages.take(1)
    (lost,), _ = one.make_room()
    assert lost is second
    assert live(one) == [("p0", 0)]
    assert one.pages.free == 1  # its two, less the one the first has got


def test_a_row_that_lost_its_pages_computes_its_own_tokens_again() -> None:
    """A prompt of five on two pages of four, three places empty; of three drawn tokens the last goes into the next step."""
    one = scheduler([5], [2], pages=100)
    first, second = start(one)
    one.length_S[second.slot] = 3
    lost = one._preempt()
    assert lost is second
    second.ids = (7, 8, 9)
    one.admit()
    (chunk,) = one.chunks()
    assert (chunk.ids, chunk.start, chunk.shared, chunk.gap) == ((7, 8), 5, 2, 3)
    assert one.begin() == []
    assert live(one) == [("p0", 0), ("p0", 1)]
    assert first.family.fresh == 0


def test_the_pages_a_row_takes_at_most() -> None:
    """Ten prompt tokens are three pages of four; of 14 drawn ones 13 are stored, on four; of 13, twelve, on three."""
    assert most_pages(10, 14, 4) == 7
    assert most_pages(10, 13, 4) == 6
    assert most_pages(4, 1, 4) == 2


def test_a_request_that_can_never_fit_is_refused_in_one_sentence() -> None:
    with pytest.raises(EngineError, match=r"p0 needs 6 pages of 4 tokens .* has 5; raise sampling\.cache_gib"):
        scheduler([10], [2], pages=5)
    scheduler([10], [2], pages=6)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_pages_every_row_is_served_and_no_page_has_two_owners(data: st.DataObject) -> None:
    """A scripted policy: row r draws as many tokens as it likes. Nothing is lost, and what a row reads is its own."""
    lengths = data.draw(st.lists(st.integers(1, 13), min_size=1, max_size=5))
    samples = [data.draw(st.integers(1, 4)) for _ in lengths]
    page, rows = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    least = max(most_pages(length, 12, page) for length in lengths)
    count = least + data.draw(st.integers(0, 20))
    listed = asked(lengths, samples)
    data.draw(st.randoms(use_true_random=False)).shuffle(listed)
    one = Scheduler(listed, rows, Pages(count), page, data.draw(st.integers(1, 20)))
    ends = {request.key: data.draw(st.integers(1, 12)) for request in listed}
    memory: dict[tuple[int, int], int] = {}  # (page, offset) -> the token there
    drawn: dict[Key, list[int]] = {request.key: [] for request in listed}
    done: set[Key] = set()

    def draw(row: Row) -> None:
        key = row.request.key
        token = 1000 + 31 * len(drawn[key]) + key.index
        drawn[key].append(token)
        one.length_S[row.slot] += 1
        assert one.length_S[row.slot] == len(drawn[key])
        if len(drawn[key]) == ends[key]:
            done.add(key)

    for _ in range(3000):
        if not one.busy:
            break
        for row in one.make_room()[0]:
            row.ids, row.slot = tuple(drawn[row.request.key]), -1
        one.admit()
        for chunk in one.chunks():
            for i, token in enumerate(chunk.ids, start=chunk.start + chunk.gap):
                memory[chunk.pages[i // page], i % page] = token
        fresh = one.begin()
        for row in fresh:
            draw(row)
        one.finish([row for row in fresh if row.request.key in done])
        shared = dict(zip(one.running().slots_B.tolist(), one.running().shared_B.tolist(), strict=True))
        for row in one.live:
            at = shared[row.slot] * page + len(drawn[row.request.key]) - 1
            memory[int(one.table_SP[row.slot, at // page]), at % page] = drawn[row.request.key][-1]
        for row in one.live:
            table, own = one.table_SP[row.slot], shared[row.slot] * page
            where = [*range(len(row.request.prompt.ids)), *range(own, own + len(drawn[row.request.key]))]
            read = [memory[int(table[p // page]), p % page] for p in where]
            assert read == [*row.request.prompt.ids, *drawn[row.request.key]]
        for row in one.live:
            draw(row)
        one.finish([row for row in one.live if row.request.key in done])
    assert done == set(ends)
    assert one.pages.free == count


# ---- the engine


@cache
def subject() -> Policy:
    return policy()


@cache
def traces(sampling: Sampling) -> dict[Key, Completion]:
    return by_key(EmbeddedEngine(subject(), rows=64).generate(requests(prompts(LENGTHS), 5, sampling)))


def budget(pages: int, page: int, one: Policy) -> int:
    return pages * EmbeddedEngine(one, options=Options(page=page, cache_bytes=0)).page_bytes


@settings(max_examples=12, deadline=None)
@given(
    page=st.sampled_from([1, 3, 8, 16, 32]),
    spare=st.integers(0, 30),
    rows=st.integers(1, 24),
    prefill=st.integers(1, 40),
    order=st.integers(0, 10**6),
)
def test_no_page_size_budget_row_cap_or_order_changes_a_trace(
    page: int, spare: int, rows: int, prefill: int, order: int
) -> None:
    pages = most_pages(max(LENGTHS), LONG.max_new, page) + spare
    options = Options(rows, prefill, page, budget(pages, page, subject()))
    listed = requests(prompts(LENGTHS), 5, LONG)
    random.Random(order).shuffle(listed)
    drawn = by_key(EmbeddedEngine(subject(), options=options).generate(listed))
    wanted = traces(LONG)
    assert {key: one.ids for key, one in drawn.items()} == {key: one.ids for key, one in wanted.items()}
    for key, one in drawn.items():
        assert one.logprobs == pytest.approx(wanted[key].logprobs, abs=1e-4)


def test_rows_that_lost_their_pages_end_as_if_they_had_not() -> None:
    """Room for one row and a little: rows are put by again and again, and nothing is drawn twice."""
    pages = most_pages(9, 40, 4) + 6
    engine = EmbeddedEngine(subject(), options=Options(20, 1000, 4, budget(pages, 4, subject())))
    drawn = by_key(engine.generate(requests(prompts(LENGTHS), 5, LONG)))
    assert engine.preemptions > 5
    assert engine.tokens_recomputed > 20
    assert {key: one.ids for key, one in drawn.items()} == {key: one.ids for key, one in traces(LONG).items()}
    assert engine.tokens_sampled == sum(len(one.ids) for one in drawn.values())


@pytest.mark.parametrize("family", ["gemma2", "qwen2", "phi3"])
def test_windows_and_softcaps_survive_chunks_and_lost_pages(family: str) -> None:
    one = policy(family)
    listed = requests(prompts((17, 3, 9)), 4, LONG)
    wanted = by_key(EmbeddedEngine(one).generate(listed))
    pages = most_pages(17, 40, 4) + 6
    engine = EmbeddedEngine(one, options=Options(12, 5, 4, budget(pages, 4, one)))
    drawn = by_key(engine.generate(listed))
    assert engine.preemptions > 0
    assert {key: one.ids for key, one in drawn.items()} == {key: one.ids for key, one in wanted.items()}


@pytest.mark.skipif(kernels.library() is None, reason="there is no C++ compiler here, so no kernels")
def test_through_the_kernels_lost_pages_move_log_probabilities_by_roundings_alone() -> None:
    """In bfloat16 products of other shapes may round differently, so a trace may part from the other; until then they agree."""
    one = policy("qwen3", torch.bfloat16, hidden_size=64, head_dim=32)
    listed = requests(prompts((17, 3, 9)), 6, Sampling(max_new=90, stop_ids=(20, 90, 200), seed=5))
    wanted = by_key(EmbeddedEngine(one).generate(listed))
    pages = most_pages(17, 90, 16) + 6
    engine = EmbeddedEngine(one, options=Options(18, 16, 16, budget(pages, 16, one)))
    drawn = by_key(engine.generate(listed))
    assert engine.preemptions > 0
    gaps = []
    for key, other in drawn.items():
        for a, b, p, q in zip(other.ids, wanted[key].ids, other.logprobs, wanted[key].logprobs, strict=False):
            if a != b:
                break
            gaps.append(abs(p - q))
    assert len(gaps) > 100
    assert sum(gaps) / len(gaps) < 0.01


def test_a_budget_that_holds_no_row_is_refused_before_anything_is_computed() -> None:
    engine = EmbeddedEngine(subject(), options=Options(page=4, cache_bytes=budget(3, 4, subject())))
    with pytest.raises(EngineError, match=r"the whole cache has 3; raise sampling\.cache_gib, or lower max_new"):
        next(engine.generate(requests(prompts([4]), 1, FREE)))
    assert engine.tokens_prefilled == 0


def test_a_cache_in_bfloat16_takes_half_the_memory_of_one_in_float32() -> None:
    whole, half = (EmbeddedEngine(subject(), options=Options(cache_dtype=d)) for d in (None, torch.bfloat16))
    assert whole.page_bytes == 2 * half.page_bytes
    listed = requests(prompts(LENGTHS), 5, FREE)
    exact, rounded = (by_key(engine.generate(listed)) for engine in (whole, half))
    firsts = [abs(exact[key].logprobs[0] - rounded[key].logprobs[0]) for key in exact]
    assert max(firsts) < 1e-5  # the first token sees the prompt's own states, not the cache
    assert {key: one.logprobs for key, one in exact.items()} != {key: one.logprobs for key, one in rounded.items()}
