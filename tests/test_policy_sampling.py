"""The one SamplingDistribution, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.errors import EngineError
from burnish.policy.sampling import SamplingDistribution

P = (0.05, 0.5, 0.15, 0.3)
LOGITS = torch.tensor([P]).log() + 2.0  # a constant in all logits changes nothing


def probabilities(**settings: float) -> list[float]:
    return SamplingDistribution(**settings).log_probs(LOGITS)[0].exp().tolist()  # type: ignore[arg-type]


def test_plain_is_softmax() -> None:
    assert probabilities() == pytest.approx(P)


def test_a_temperature_of_one_half_squares() -> None:
    """0.05^2, 0.5^2, 0.15^2, 0.3^2 = 0.0025, 0.25, 0.0225, 0.09, which sum to 0.365."""
    assert probabilities(temperature=0.5) == pytest.approx([x / 0.365 for x in (0.0025, 0.25, 0.0225, 0.09)])


def test_top_k_keeps_the_most_likely_and_scales_them_up() -> None:
    assert probabilities(top_k=2) == pytest.approx([0, 0.5 / 0.8, 0, 0.3 / 0.8])


def test_top_k_beyond_the_vocabulary_cuts_nothing() -> None:
    assert probabilities(top_k=9) == pytest.approx(P)


def test_top_p_keeps_the_token_that_crosses() -> None:
    """0.5 does not reach 0.7; 0.5 + 0.3 does."""
    assert probabilities(top_p=0.7) == pytest.approx([0, 0.625, 0, 0.375])


def test_top_p_below_the_most_likely_keeps_it_alone() -> None:
    assert probabilities(top_p=0.4) == pytest.approx([0, 1, 0, 0])


def test_top_p_of_zero_still_keeps_the_most_likely() -> None:
    assert probabilities(top_p=0.0) == pytest.approx([0, 1, 0, 0])


def test_top_k_comes_before_top_p() -> None:
    """Of the three left by top_k (0.5, 0.3, 0.15 of 0.95), the first two have 0.842 of the mass; without it they have 0.8."""
    assert probabilities(top_k=3, top_p=0.83) == pytest.approx([0, 0.625, 0, 0.375])
    assert probabilities(top_p=0.83) == pytest.approx([0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95])


def test_temperature_comes_before_top_p() -> None:
    """Squared, the most likely token alone has 0.25 / 0.365 = 0.685 of the mass."""
    assert probabilities(temperature=0.5, top_p=0.6) == pytest.approx([0, 1, 0, 0])


def test_temperature_zero_is_the_point_mass() -> None:
    assert probabilities(temperature=0.0) == [0, 1, 0, 0]


def test_log_probabilities_sum_to_one_whatever_the_cut() -> None:
    for settings in ({"top_k": 3}, {"top_p": 0.9}, {"temperature": 1.7, "top_k": 3, "top_p": 0.5}):
        assert sum(probabilities(**settings)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.0499, 0), (0.0501, 1), (0.5499, 1), (0.5501, 2), (0.7001, 3), (1 - 2**-53, 3)]
)
def test_a_draw_inverts_the_distribution_function(uniform: float, token: int) -> None:
    """The running sums are 0.05, 0.55, 0.7 and 1."""
    ids, logp = SamplingDistribution().draw(LOGITS, torch.tensor([uniform], dtype=torch.float64))
    assert ids.tolist() == [token]
    assert logp.tolist() == pytest.approx([math.log(P[token])])


@pytest.mark.parametrize("uniform", [0.0, 0.4, 1 - 2**-53])
def test_a_draw_never_leaves_the_support(uniform: float) -> None:
    ids, logp = SamplingDistribution(top_k=1).draw(LOGITS, torch.tensor([uniform], dtype=torch.float64))
    assert (ids.tolist(), logp.tolist()) == ([1], [0.0])


def test_a_greedy_draw_has_log_probability_zero() -> None:
    ids, logp = SamplingDistribution(temperature=0.0).draw(LOGITS, torch.tensor([0.99], dtype=torch.float64))
    assert (ids.tolist(), logp.tolist()) == ([1], [0.0])


def test_rows_are_drawn_each_with_its_own_number() -> None:
    ids, _ = SamplingDistribution().draw(LOGITS.expand(3, -1), torch.tensor([0.01, 0.6, 0.9], dtype=torch.float64))
    assert ids.tolist() == [0, 2, 3]


@pytest.mark.parametrize("settings", [{"top_p": 0.9}, {"top_k": 5}, {"temperature": 0.0}])
def test_what_cannot_be_scored_again_cannot_be_trained_on(settings: dict[str, float]) -> None:
    with pytest.raises(EngineError, match="Cannot train on temperature="):
        SamplingDistribution(**settings).check_trainable()  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.5])
def test_a_whole_distribution_can_be_trained_on(temperature: float) -> None:
    SamplingDistribution(temperature).check_trainable()
