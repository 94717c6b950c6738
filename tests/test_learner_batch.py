"""Samples into micro-batches: the one shift from tokens to predictions, and the cut by budget."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from burnish.learner.batch import batches, cut, token_batches
from burnish.records import Key, Notes, Sample, Tokens

NAN = math.nan


def sample(name: str, prompt: int, ids: tuple[int, ...], version: int = 0, **notes: tuple[float, ...]) -> Sample:
    """`prompt` ids of the given are the prompt; token t has log-probability -t and advantage 10 t, NaN in the prompt."""
    length = len(ids)
    sampled = tuple(t >= prompt for t in range(length))
    logprobs = tuple(-float(t) if sampled[t] else NAN for t in range(length))
    advantages = tuple(10.0 * t if sampled[t] else NAN for t in range(length))
    return Sample(Key(name, 0), Tokens(ids, sampled, logprobs), advantages, 1.0, version, version, Notes(**notes))


A, B = sample("a", 2, (5, 6, 7, 8)), sample("b", 1, (9, 4, 3))
WEIGHTS = {A.origin: 0.25, B.origin: 0.5}


def test_fields_of_tokens_become_fields_of_predictions_by_one_shift() -> None:
    """Row a predicts 7 and 8 from places 1 and 2, row b predicts 4 and 3 from places 0 and 1 of its own row."""
    (batch,) = batches([A, B], WEIGHTS, 0, 100)
    assert batch.inputs_BT.tolist() == [[5, 6, 7], [9, 4, 0]]
    assert batch.place_N.tolist() == [1, 2, 3, 4]
    assert batch.targets_N.tolist() == [7, 8, 4, 3]
    assert batch.row_N.tolist() == [0, 0, 1, 1]
    assert batch.sampler_N.tolist() == [-2, -3, -1, -2]
    assert batch.advantage_N.tolist() == [20, 30, 10, 20]
    assert batch.weight_N.tolist() == [0.25, 0.25, 0.5, 0.5]
    assert (batch.reference_N, batch.proximal_N) == (None, None)


def test_tokens_the_policy_did_not_write_are_inputs_and_no_targets() -> None:
    """A tool's answer in the middle of a trace."""
    tokens = Tokens((5, 6, 7, 8, 9), (False, True, False, False, True), (0.0, -1.0, 0.0, 0.0, -4.0))
    one = Sample(Key("a", 0), tokens, (0.0, 1.0, 0.0, 0.0, 1.0), 1.0, 0, 0)
    (batch,) = batches([one], {one.origin: 1.0}, 0, 100)
    assert batch.inputs_BT.tolist() == [[5, 6, 7, 8]]
    assert (batch.place_N.tolist(), batch.targets_N.tolist()) == ([0, 3], [6, 9])


def test_on_policy_is_where_the_version_that_sampled_is_the_one_that_trains() -> None:
    straddling = Sample(B.origin, B.tokens, B.advantages, 1.0, 2, 3)
    (batch,) = batches([sample("a", 2, (5, 6, 7, 8), version=3), straddling], WEIGHTS, 3, 100)
    assert batch.on_policy_N.tolist() == [True, True, False, False]


def test_notes_are_shifted_like_the_rest() -> None:
    one = sample("a", 2, (5, 6, 7, 8), reference=(NAN, NAN, -0.2, -0.3), proximal=(NAN, NAN, -1.2, -1.3))
    (batch,) = batches([one], {one.origin: 1.0}, 0, 100)
    assert batch.reference_N is not None and batch.proximal_N is not None
    assert batch.reference_N.tolist() == pytest.approx([-0.2, -0.3])
    assert batch.proximal_N.tolist() == pytest.approx([-1.2, -1.3])


def test_a_row_without_a_token_to_predict_is_left_out() -> None:
    mute = Sample(Key("m", 0), Tokens((5, 6), (False, False), (0.0, 0.0)), (0.0, 0.0), 1.0, 0, 0)
    (batch,) = batches([A, mute], {**WEIGHTS, mute.origin: 1.0}, 0, 100)
    assert batch.inputs_BT.shape == (1, 3)


def test_rows_to_score_come_back_by_number() -> None:
    parts = token_batches([B.tokens, A.tokens], budget=3)
    assert [numbers for numbers, _ in parts] == [[1], [0]]
    assert [batch.targets_N.tolist() for _, batch in parts] == [[7, 8], [4, 3]]


@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 200))
def test_a_cut_holds_every_row_once_within_its_budget(lengths: list[int], budget: int) -> None:
    parts = cut(lengths, budget)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    assert all(len(part) == 1 or len(part) * max(lengths[row] for row in part) <= budget for part in parts)


def test_a_row_over_the_budget_goes_alone() -> None:
    assert cut([5, 50, 6], budget=12) == [[1], [2, 0]]


def test_fields_are_float32_and_ids_whole_numbers() -> None:
    (batch,) = batches([A], WEIGHTS, 0, 100)
    assert (batch.inputs_BT.dtype, batch.targets_N.dtype) == (torch.long, torch.long)
    assert {batch.sampler_N.dtype, batch.advantage_N.dtype, batch.weight_N.dtype} == {torch.float32}
