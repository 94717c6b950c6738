"""Calibration of pairwise probabilities, on numbers a reader can check."""

from __future__ import annotations

import math
import random

import pytest

from burnish.evaluate.calibration import calibration_error, confidences, reliability

NINE_TENTHS = math.log(9)
"""The margin whose logistic function is 0.9."""


def test_a_confident_mistake_has_the_confidence_of_its_size() -> None:
    [(confidence, right)] = confidences([-NINE_TENTHS])
    assert confidence == pytest.approx(0.9) and right == 0.0


def test_nine_of_ten_right_at_nine_tenths_is_no_error() -> None:
    margins = {str(i): [NINE_TENTHS if i else -NINE_TENTHS] for i in range(10)}
    assert calibration_error(margins).value == pytest.approx(0.0, abs=1e-12)


def test_half_right_at_nine_tenths_is_an_error_of_two_fifths() -> None:
    margins = {str(i): [NINE_TENTHS if i % 2 else -NINE_TENTHS] for i in range(200)}
    found = calibration_error(margins)
    assert found.value == pytest.approx(0.4) and found.low < 0.4 < found.high


def test_bins_hold_every_pair_once() -> None:
    rng = random.Random(1)
    margins = {str(i): [rng.gauss(0, 3) for _ in range(rng.randint(1, 4))] for i in range(60)}
    found = reliability(margins)
    assert sum(one.pairs for one in found) == sum(map(len, margins.values()))
    assert all(one.low <= one.confidence <= one.high for one in found)


def test_a_repeated_prompt_is_one_cluster() -> None:
    """A hundred copies of one prompt's pairs say no more than it does: the interval stays wide."""
    apart = {str(i): [2.0 if i % 3 else -2.0] for i in range(30)}
    together = {name: margins * 100 for name, margins in apart.items()}
    one, other = calibration_error(apart), calibration_error(together)
    assert [other.value, other.low, other.high] == pytest.approx([one.value, one.low, one.high])


def test_no_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        calibration_error({})
