"""Preference, reward and supervised losses against numbers worked out by hand, and the same for every split of a step."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.algos import preference as p
from burnish.algos.preference import CHOSEN, REJECTED, Preference, PreferenceStep, RewardStep
from burnish.learner.batch import TokenFields
from burnish.records import Key


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def of(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_cross_entropy_is_minus_the_weighted_log_probability() -> None:
    """Tokens of probability 1/2 and 1/4, each weighing a half: (ln 2 + ln 4) / 2 = 1.5 ln 2."""
    assert p.cross_entropy(of(math.log(0.5), math.log(0.25)), of(0.5, 0.5)).item() == pytest.approx(1.5 * math.log(2))


def test_dpo_of_no_difference_is_log_two() -> None:
    assert p.dpo(of(0.0), 0.1).item() == pytest.approx(math.log(2))


def test_dpo_of_odds_of_three() -> None:
    """beta delta = ln 3: s = 3/4."""
    assert p.dpo(of(math.log(3) / 0.5), 0.5).item() == pytest.approx(-math.log(0.75))


def test_cdpo_mixes_both_labels() -> None:
    """beta delta = ln 3 with a tenth of the labels wrong: -0.9 ln 3/4 - 0.1 ln 1/4."""
    assert p.cdpo(of(math.log(3)), 1.0, 0.1).item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_cdpo_without_smoothing_is_dpo() -> None:
    delta = of(-2.0, 0.3, 5.0)
    assert torch.equal(p.cdpo(delta, 0.7, 0.0), p.dpo(delta, 0.7))


def test_ipo_is_zero_at_its_target() -> None:
    """1 / (2 * 0.25) = 2; from 3 it is 1 away."""
    assert p.ipo(of(2.0, 3.0), 0.25).tolist() == [0.0, 1.0]


def test_simpo_asks_for_a_lead_of_gamma() -> None:
    """2 * (-1 - -2) - 2 = 0: ln 2."""
    assert p.simpo(of(-1.0), of(-2.0), 2.0, 2.0).item() == pytest.approx(math.log(2))


def test_the_odds_ratio_of_three_quarters_and_a_half() -> None:
    """Odds 3 and 1: -ln s(ln 3) = -ln 3/4."""
    assert p.odds_ratio(of(math.log(0.75)), of(math.log(0.5))).item() == pytest.approx(-math.log(0.75))


def test_the_odds_of_a_certain_completion_are_finite() -> None:
    mean = torch.zeros(1, requires_grad=True)
    loss = p.odds_ratio(mean, torch.tensor([-1.0])).sum()
    loss.backward()
    assert math.isfinite(loss.item()) and mean.grad is not None and bool(mean.grad.isfinite().all())


def test_kto_weighs_both_sides() -> None:
    """beta (gain - z) = ln 3 for the good row: 1 - 3/4; the bad row, as far above z, costs 3/4 times its weight of 2."""
    gain = of(math.log(3) + 0.5, math.log(3) + 0.5)
    found = p.kto(gain, torch.tensor([True, False]), 0.5, 1.0, (1.0, 2.0))
    assert found.tolist() == pytest.approx([0.25, 1.5])


def test_bradley_terry_with_and_without_a_margin() -> None:
    assert p.bradley_terry(of(math.log(3)), of(0.0)).item() == pytest.approx(-math.log(0.75))
    assert p.bradley_terry(of(math.log(3)), of(0.0), of(math.log(3))).item() == pytest.approx(math.log(2))


# ---- the objectives of a step


def fields(rows: list[tuple[Key, list[float], list[float]]], prompts: int = 0) -> TokenFields:
    """Rows of (key, log-probabilities, log-probabilities under the reference); the first `prompts` tokens are not compared."""
    logp = [x for _, own, _ in rows for x in own]
    row_N = torch.tensor([b for b, (_, own, _) in enumerate(rows) for _ in own])
    compared = [0.0 if t < prompts else 1.0 for _, own, _ in rows for t in range(len(own))]
    zeros = torch.zeros(len(logp))
    return TokenFields(
        torch.tensor(logp, dtype=torch.float64, requires_grad=True),
        zeros,
        torch.tensor(compared),
        zeros,
        row_N,
        zeros.bool(),
        reference_N=torch.tensor([x for _, _, other in rows for x in other], dtype=torch.float64),
        origins=tuple(key for key, _, _ in rows),
    )


PAIR = [(Key("a", CHOSEN), [-1.0, -1.0], [-2.0, -1.0]), (Key("a", REJECTED), [-3.0], [-2.0])]
"""Sums -2 and -3, under the reference -3 and -2: gains 1 and -1, a difference of 2."""


def test_a_dpo_step_of_one_pair() -> None:
    loss, metrics = PreferenceStep(Preference("dpo", beta=0.5), 1)(fields(PAIR))
    assert loss.item() == pytest.approx(-math.log(sigmoid(1.0)))
    assert metrics["accuracy"].value == 1.0
    assert metrics["reward/margin"].value == pytest.approx(1.0)


def test_an_ipo_step_takes_means_or_sums() -> None:
    """Means: 1/2 - -1 = 1.5, target 1 / (2 * 0.5) = 1; sums: 2."""
    means = PreferenceStep(Preference("ipo", beta=0.5), 1)(fields(PAIR))[0]
    sums = PreferenceStep(Preference("ipo", beta=0.5, ipo_mean=False), 1)(fields(PAIR))[0]
    assert (means.item(), sums.item()) == (pytest.approx(0.25), pytest.approx(1.0))


def test_a_simpo_step_reads_no_reference() -> None:
    """Means -1 and -3: 0.5 * 2 - 0.25."""
    loss, _ = PreferenceStep(Preference("simpo", beta=0.5, gamma=0.25), 1)(fields(PAIR))
    assert loss.item() == pytest.approx(-math.log(sigmoid(0.75)))


def test_an_orpo_step_adds_the_cross_entropy_of_the_chosen() -> None:
    """Cross entropy 1 a token; log odds of e^-1 and e^-3."""
    loss, metrics = PreferenceStep(Preference("orpo", orpo_lambda=0.5), 1, chosen_tokens=2)(fields(PAIR))
    log_odds = [-m - math.log1p(-math.exp(-m)) for m in (1.0, 3.0)]
    assert loss.item() == pytest.approx(1.0 - 0.5 * math.log(sigmoid(log_odds[0] - log_odds[1])))
    assert metrics["loss/token"].value == pytest.approx(1.0)


def test_tokens_of_the_prompt_are_learned_by_orpo_and_not_compared() -> None:
    rows = [(Key("a", CHOSEN), [-9.0, -1.0], [0.0, 0.0]), (Key("a", REJECTED), [-5.0, -1.0], [0.0, 0.0])]
    loss, _ = PreferenceStep(Preference("orpo", orpo_lambda=1.0), 1, chosen_tokens=2)(fields(rows, prompts=1))
    assert loss.item() == pytest.approx(5.0 + math.log(2))


def test_a_kto_step_has_a_constant_kl() -> None:
    """Gains 1 and -1, z = 0.5, beta 1: ((1 - s(0.5)) + (1 - s(1.5))) / 2."""
    one = fields(PAIR)
    loss, _ = PreferenceStep(Preference("kto", beta=1.0), 2, kl=0.5)(one)
    assert loss.item() == pytest.approx((2.0 - sigmoid(0.5) - sigmoid(1.5)) / 2)


def test_a_preference_step_without_its_reference_is_refused() -> None:
    one = fields(PAIR)
    with pytest.raises(ValueError, match="needs reference_N"):
        PreferenceStep(Preference("dpo"), 1)(
            TokenFields(*(getattr(one, n) for n in list(vars(one))[:6]), origins=one.origins)
        )


def test_a_pair_torn_between_micro_batches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"partner of .*'a'.* another micro-batch"):
        PreferenceStep(Preference("dpo"), 1)(fields(PAIR[:1]))


def scored(rows: list[tuple[Key, list[float]]]) -> TokenFields:
    zeros = torch.zeros(sum(len(values) for _, values in rows))
    return TokenFields(
        *(zeros,) * 4,
        torch.tensor([b for b, (_, values) in enumerate(rows) for _ in values]),
        zeros.bool(),
        value_N=torch.tensor([x for _, values in rows for x in values], requires_grad=True),
        origins=tuple(key for key, _ in rows),
    )


def test_a_reward_is_the_last_value_of_its_row() -> None:
    one = scored([(Key("a", REJECTED), [7.0, 0.0]), (Key("a", CHOSEN), [-7.0, 5.0, math.log(3)])])
    loss, metrics = RewardStep(1)(one)
    assert loss.item() == pytest.approx(-math.log(0.75))
    loss.backward()
    assert one.value_N is not None and one.value_N.grad is not None
    assert one.value_N.grad.tolist() == pytest.approx([0.0, 0.25, 0.0, 0.0, -0.25])
    assert metrics["accuracy"].value == 1.0


def test_a_margin_belongs_to_its_pair() -> None:
    rows = [(Key(name, side), [float(side == CHOSEN)]) for name in ("a", "b") for side in (CHOSEN, REJECTED)]
    loss, _ = RewardStep(2, {"b": 1.0, "a": 0.0})(scored(rows))
    assert loss.item() == pytest.approx((-math.log(sigmoid(1.0)) + math.log(2)) / 2)


def test_the_centre_pulls_the_sum_of_a_pair_to_zero() -> None:
    loss, _ = RewardStep(1, centre=0.1)(scored([(Key("a", CHOSEN), [2.0]), (Key("a", REJECTED), [1.0])]))
    assert loss.item() == pytest.approx(-math.log(sigmoid(1.0)) + 0.1 * 9.0)


KINDS: list[Any] = [Preference(kind, beta=0.4, orpo_lambda=0.3, label_smoothing=0.1) for kind in p.KINDS]  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", KINDS, ids=lambda loss: loss.kind)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=6),
    cuts=st.lists(st.integers(0, 6), max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_any_split_that_keeps_pairs_together_gives_the_same_gradient(
    loss: Preference, lengths: list[tuple[int, int]], cuts: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = [
        (
            Key(str(i), side),
            *((-3.0 * torch.rand(n, generator=generator, dtype=torch.float64)).tolist() for _ in range(2)),
        )
        for i, pair in enumerate(lengths)
        for side, n in enumerate(pair)
    ]
    tokens = sum(pair[0] for pair in lengths)
    step = PreferenceStep(loss, len(lengths) if loss.paired else len(rows), tokens, kl=0.3)

    def gradient(parts: list[list[Any]]) -> dict[Key, list[float]]:
        found = {}
        for part in parts:
            one = fields(part)
            step(one)[0].backward()
            assert one.logp_N.grad is not None
            for b, (key, _, _) in enumerate(part):
                found[key] = one.logp_N.grad[one.row_N == b].tolist()
        return found

    edges = [0, *sorted({2 * min(cut, len(lengths)) for cut in cuts}), len(rows)]
    split = [rows[a:b] for a, b in itertools.pairwise(edges) if b > a]
    whole, apart = gradient([rows]), gradient(list(reversed(split)))
    for key in whole:
        assert apart[key] == pytest.approx(whole[key], rel=1e-12, abs=1e-15)
