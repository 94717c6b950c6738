"""Pages read by torch's flex attention, as on a GPU: here every score is made, on a CPU, and the traces are those of the gathered pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from burnish.engine.embedded import FLEX_PAGE, PAGE, EmbeddedEngine, Options
from burnish.engine.graphs import size_of
from burnish.errors import EngineError
from burnish.records import Sampling
from tiny import by_key, policy, prompts, requests

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "gemma2": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": {},
    "olmo2": {},
}
CASES = {
    "as it is": Options(page=16),
    "few rows, short chunks": Options(rows=5, page=16, prefill_tokens=7),
    "pages of other sizes": Options(page=4),
    "guesses": Options(page=16, lookup=True),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_the_traces_are_those_of_pages_that_are_gathered(family: str, case: str) -> None:
    one = policy(family, torch.float32, **FAMILIES[family])
    listed = requests(prompts((3, 17, 1, 9)), 4, Sampling(max_new=20, seed=3))
    wanted = by_key(EmbeddedEngine(one, options=CASES[case]).generate(listed))
    found = by_key(EmbeddedEngine(one, options=replace(CASES[case], flex=True)).generate(listed))
    for key, completion in wanted.items():
        assert found[key].ids == completion.ids
        assert found[key].logprobs == pytest.approx(completion.logprobs, abs=2e-5)


def test_a_smaller_models_guesses_change_no_trace() -> None:
    """Its logits, too, are left in buffers that the next step takes again."""
    one, draft = policy("qwen3", torch.float32), policy("llama", torch.float32)
    listed = requests(prompts((3, 17)), 4, Sampling(max_new=20, seed=3))
    wanted = by_key(EmbeddedEngine(one, options=Options(page=16)).generate(listed))
    found = by_key(EmbeddedEngine(one, options=Options(page=16, flex=True), draft=draft).generate(listed))
    assert {key: one.ids for key, one in found.items()} == {key: one.ids for key, one in wanted.items()}


def test_weights_of_eight_bits_are_refused_where_their_kernels_do_not_run() -> None:
    one = policy("qwen3", torch.bfloat16, hidden_size=64, head_dim=32)
    with pytest.raises(EngineError, match='"int8" needs the compiled kernels'):
        EmbeddedEngine(one, options=Options(flex=True, int8=True))


def test_rows_that_lost_their_pages_go_on_as_they_were() -> None:
    one = policy("qwen3", torch.float32)
    listed = requests(prompts((17, 9)), 6, Sampling(max_new=24, seed=5))
    wanted = by_key(EmbeddedEngine(one, options=Options(page=4)).generate(listed))
    tight = Options(page=4, flex=True)
    tight = replace(tight, cache_bytes=24 * EmbeddedEngine(one, options=tight).page_bytes)
    engine = EmbeddedEngine(one, options=tight)
    found = by_key(engine.generate(listed))
    assert engine.preemptions > 0
    assert {key: one.ids for key, one in found.items()} == {key: one.ids for key, one in wanted.items()}


def test_a_step_is_recorded_once_for_its_size_and_reads_new_weights() -> None:
    one = policy("qwen3", torch.float32)
    listed = requests(prompts((3, 17, 1, 9)), 4, Sampling(max_new=20, seed=3))
    engine = EmbeddedEngine(one, options=Options(page=16, flex=True))
    before = by_key(engine.generate(listed))
    assert engine._cache is not None
    recorded = dict(engine._cache.graphs)
    assert {rows for rows, _ in recorded} <= {size_of(rows) for rows in range(1, 17)}
    with torch.no_grad():
        for weight in one.module.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    again = by_key(engine.generate(listed))
    assert all(engine._cache.graphs[key] is step for key, step in recorded.items())
    wanted = by_key(EmbeddedEngine(one, options=Options(page=16)).generate(listed))
    assert {key: one.ids for key, one in again.items()} == {key: one.ids for key, one in wanted.items()}
    assert any(before[key].ids != one.ids for key, one in again.items())


def test_few_sizes_stand_for_all_numbers_of_rows() -> None:
    sizes = [size_of(rows) for rows in range(1, 1025)]
    assert all(rows <= size <= max(4, 1.25 * rows) for rows, size in enumerate(sizes, 1))
    assert len(set(sizes)) <= 40


def test_pages_are_as_large_as_who_reads_them_likes() -> None:
    one = policy("qwen3", torch.float32)
    assert EmbeddedEngine(one).page == PAGE
    assert EmbeddedEngine(one, options=Options(flex=True)).page == FLEX_PAGE
    assert EmbeddedEngine(one, options=Options(page=16, flex=True)).page == 16
