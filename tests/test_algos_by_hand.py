"""Every recipe's loss and gradient worked out by hand from its paper, on one batch from verdict to gradient. Nothing here calls on
the formulas of `algos`: rollouts go in at one end (reward, credit, weights, micro-batch, objective), numbers are compared at the other.

The batch: prompt p with four rollouts, one right; prompt q with two, one right. B = 6 rollouts, N = 10 sampled tokens.

    rollout    p0 (right)   p1     p2     p3        q0 (right)   q1 (wrong)
    rho        3/2, 1/2     3/2    1/2    1, 5/4    9/10         1, 2, 1/2
    mu         1/2          1/2    1/2    1/2       1/2          1/4

mu is the probability the sampler gave each token of the rollout, rho = pi / mu, so l = ln(rho mu). Sampled one version earlier, so
nothing is on policy. A loss is -sum w A c and its gradient d loss / d l is -w A k: w the weight of the reduction, A the advantage, c
and k what the surrogate makes of rho. For the clip at 1 -+ 0.2, min(rho A, clip(rho) A) is by hand

    token    p0: 3/2  1/2    p1: 3/2   p2: 1/2   p3: 1   5/4    q0: 9/10   q1: 1   2   1/2
    A          +      +        -         -         -     -         +         -    -    -
    c         1.2    0.5      1.5       0.8        1    1.25      0.9        1    2   0.8
    k          0     0.5      1.5        0         1    1.25      0.9        1    2    0

(A > 0 is held above 1.2 only, A < 0 below 0.8 only: there the smaller product is the constant one, and its slope is 0.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.algos.losses import critic_loss
from burnish.algos.objective import Correction, Objective
from burnish.algos.recipes import recipe
from burnish.algos.steering import Steered
from burnish.learner.batch import TokenFields, batches
from burnish.records import Group, Key, Notes, Problem, Prompt, Rollout, Sample, Tokens, Verdict

RHO = {("p", 0): (1.5, 0.5), ("p", 1): (1.5,), ("p", 2): (0.5,), ("p", 3): (1.0, 1.25)}
RHO |= {("q", 0): (0.9,), ("q", 1): (1.0, 2.0, 0.5)}
MU = {key: 0.25 if key == ("q", 1) else 0.5 for key in RHO}
RIGHT = {("p", 0), ("q", 0)}
ROWS = list(RHO)
SIZES = [len(ratios) for ratios in RHO.values()]
FLAT_RHO = [rho for ratios in RHO.values() for rho in ratios]
C = [1.2, 0.5, 1.5, 0.8, 1.0, 1.25, 0.9, 1.0, 2.0, 0.8]
K = [0.0, 0.5, 1.5, 0.0, 1.0, 1.25, 0.9, 1.0, 2.0, 0.0]
LOG_PI = [math.log(rho * MU[key]) for key, ratios in RHO.items() for rho in ratios]


def problem(name: str) -> Problem:
    return Problem(name, "t", "?", {}, "train", name)


def groups(parts: dict[tuple[str, int], dict[str, float]] | None = None) -> list[Group]:
    made: dict[str, list[Rollout]] = {}
    for (name, index), ratios in RHO.items():
        right = (name, index) in RIGHT
        verdict = Verdict("right" if right else "wrong", float(right), (parts or {}).get((name, index), {}))
        tokens = Tokens.join((1, 2), (5,) * len(ratios), (math.log(MU[name, index]),) * len(ratios))
        made.setdefault(name, []).append(Rollout(index, tokens, "", "eos", verdict, 0, 0))
    return [Group(problem(name), Prompt(name, (), "", (1, 2)), tuple(rows)) for name, rows in made.items()]


def loss_and_gradient(chosen: Any, given: Sequence[Group]) -> tuple[float, list[float]]:
    """Through everything a step does but the network: l is a leaf here. The gradient is in the order of the table above."""
    kept, dropped = chosen.select(given)
    assert not dropped
    samples = chosen.credit_groups(kept, {})
    (batch,) = batches(samples, chosen.weigh(samples), version=1, budget=10_000, layout="packed")
    place = {key: (sum(SIZES[:number]), SIZES[number]) for number, key in enumerate(ROWS)}
    order = [
        place[key.problem_id, key.index][0] + t
        for key in batch.origins
        for t in range(place[key.problem_id, key.index][1])
    ]
    logp_N = torch.tensor([LOG_PI[i] for i in order], requires_grad=True)
    names = ("sampler_N", "advantage_N", "weight_N", "row_N", "on_policy_N")
    loss, _ = chosen.objective(TokenFields(logp_N, *(getattr(batch, name) for name in names)))
    (slope,) = torch.autograd.grad(loss, logp_N)
    by_place = dict(zip(order, slope.tolist(), strict=True))
    return loss.item(), [by_place[i] for i in range(len(order))]


def spread(each: Sequence[float]) -> list[float]:
    """A number a rollout -> the same at each of its tokens."""
    return [value for value, size in zip(each, SIZES, strict=True) for _ in range(size)]


def agrees(found: tuple[float, list[float]], w: Sequence[float], a: Sequence[float], c: Any, k: Any) -> None:
    value = -sum(w_t * a_t * c_t for w_t, a_t, c_t in zip(w, a, c, strict=True))
    slope = [-w_t * a_t * k_t for w_t, a_t, k_t in zip(w, a, k, strict=True)]
    assert found[0] == pytest.approx(value, rel=2e-5, abs=2e-6)
    assert found[1] == pytest.approx(slope, rel=2e-5, abs=2e-6)


TOKEN_MEAN = [1 / 10] * 10
SEQUENCE_MEAN = spread([1 / (6 * size) for size in SIZES])
H = math.sqrt(0.5)
GRPO = spread([1.5, -0.5, -0.5, -0.5, H, -H])
"""p: mean 1/4, squares 9/16 + 3/16 = 3/4, over 3: deviation 1/2. q: mean 1/2, squares 1/2, over 1: deviation sqrt(1/2)."""


def test_reinforce() -> None:
    """Williams 1992: -rho r, summed over a rollout, averaged over the 6: w = 1/6, A = r, no clip so c = k = rho.

    Only p0 and q0 have a reward: -(3/2 + 1/2 + 9/10) / 6 = -2.9 / 6.
    """
    found = loss_and_gradient(recipe("reinforce"), groups()[:1] + groups()[1:])
    assert found[0] == pytest.approx(-2.9 / 6, rel=1e-5)
    agrees(found, [1 / 6] * 10, spread([1, 0, 0, 0, 1, 0]), FLAT_RHO, FLAT_RHO)


def test_grpo() -> None:
    """DeepSeekMath (2402.03300): every rollout weighs 1/6, its tokens share it. By hand, rollout by rollout, the terms A mean(c) are
    1.5 * 0.85, -0.5 * 1.5, -0.5 * 0.8, -0.5 * 1.125, 0.9 h, -h (1 + 2 + 0.8) / 3 with h = sqrt(1/2): together -0.6966917.
    """
    found = loss_and_gradient(recipe("grpo"), groups())
    by_hand = 1.275 - 0.75 - 0.4 - 0.5625 + 0.9 * H - 3.8 / 3 * H
    assert found[0] == pytest.approx(-by_hand / 6, rel=1e-5)
    agrees(found, SEQUENCE_MEAN, GRPO, C, K)


def test_dr_grpo() -> None:
    """2503.20783: no deviation, and every token weighs 1 / (B L) for a constant L: 1 / (6 * 4) here."""
    found = loss_and_gradient(recipe("dr_grpo", constant=4), groups())
    agrees(found, [1 / 24] * 10, spread([0.75, -0.25, -0.25, -0.25, 0.5, -0.5]), C, K)


def test_dapo() -> None:
    """2503.14476: GRPO's advantages, a token mean, and clip-higher: p0's first token is held at 1.28, not 1.2."""
    found = loss_and_gradient(recipe("dapo"), groups())
    agrees(found, TOKEN_MEAN, GRPO, [1.28, *C[1:]], K)


def test_rloo() -> None:
    """2402.14740: the others' mean. p: 1 - 0, then 0 - 1/3 three times; q: 1 - 0, 0 - 1."""
    found = loss_and_gradient(recipe("rloo"), groups())
    agrees(found, TOKEN_MEAN, spread([1, -1 / 3, -1 / 3, -1 / 3, 1, -1]), C, K)


def test_reinforce_pp() -> None:
    """2501.03262: rewards normalised over the tokens of the batch. 3 of 10 tokens have reward 1: mean 0.3, squares 3 * 0.49 + 7 * 0.09
    = 2.1, over 9: variance 7/30. A = 0.7 / sqrt(7/30) = sqrt(2.1) and -0.3 / sqrt(7/30) = -sqrt(27/70).
    """
    up, down = math.sqrt(2.1), -math.sqrt(27 / 70)
    found = loss_and_gradient(recipe("reinforce_pp"), groups())
    agrees(found, TOKEN_MEAN, spread([up, down, down, down, up, down]), C, K)


def test_reinforce_pp_baseline() -> None:
    """2501.03262 with the group's mean off first: 3/4, -1/4 x 4, 1/2, -1/2 x 3 over the tokens (3/4 stands twice). Sum -0.5, mean
    -0.05, squares 2.375 - 10 * 0.0025 = 2.35, over 9.
    """
    s = math.sqrt(2.35 / 9)
    found = loss_and_gradient(recipe("reinforce_pp_baseline"), groups())
    agrees(found, TOKEN_MEAN, spread([0.8 / s, -0.2 / s, -0.2 / s, -0.2 / s, 0.55 / s, -0.45 / s]), C, K)


def test_maxrl() -> None:
    """2602.02710: (r - mean) / mean. p: (3/4) / (1/4) = 3 and -1; q: 1 and -1."""
    found = loss_and_gradient(recipe("maxrl"), groups())
    agrees(found, TOKEN_MEAN, spread([3, -1, -1, -1, 1, -1]), C, K)


def test_gdpo() -> None:
    """2601.05242: each reward is normalised in its group, they are added with their weights, then the batch is normalised.

    A second reward of weight 1/2 is 1 for p0, p1, q0, q1. In p: mean 1/2, squares 1, over 3: +-(1/2) / sqrt(1/3) = +-sqrt(3)/2; in q
    all are the same: 0. With g = sqrt(3)/4 the sums are 3/2 + g, -1/2 + g, -1/2 - g, -1/2 - g, h, -h. Their mean is 0 and their
    squares are 3 + 4 g^2 + 2 g (3/2 - 1/2 + 1/2 + 1/2) + 1 = 19/4 + sqrt(3), over 5.
    """
    formed = {key: {"format": float(key in (("p", 0), ("p", 1), ("q", 0), ("q", 1)))} for key in RHO}
    g, s = math.sqrt(3) / 4, math.sqrt((19 / 4 + math.sqrt(3)) / 5)
    found = loss_and_gradient(recipe("gdpo", reward_parts={"format": 0.5}), groups(formed))
    sums = [1.5 + g, -0.5 + g, -0.5 - g, -0.5 - g, H, -H]
    signs = [1 if value > 0 else -1 for value in sums]
    assert signs == [1, -1, -1, -1, 1, -1]  # as in the table, so c and k stand
    agrees(found, SEQUENCE_MEAN, spread([value / s for value in sums]), C, K)


def test_gspo() -> None:
    """2507.18071: s = exp(mean log rho) for a whole rollout, clipped to [1 - 3e-4, 1 + 4e-4]; d s / d l_t = s / n.

    p0: sqrt(3/4), A > 0, free. p1: 3/2, A < 0, free. p2: 1/2, A < 0: held at 0.9997, no slope. p3: sqrt(5/4), free. q0: 9/10, free.
    q1: (1 * 2 * 1/2)^(1/3) = 1, inside. Every rollout weighs 1/6, so a token weighs 1 / (6 n), n times s / n is k = s.
    """
    s = [math.sqrt(0.75), 1.5, 0.9997, math.sqrt(1.25), 0.9, 1.0]
    slope = [math.sqrt(0.75), 1.5, 0.0, math.sqrt(1.25), 0.9, 1.0]
    found = loss_and_gradient(recipe("gspo"), groups())
    agrees(found, SEQUENCE_MEAN, GRPO, spread(s), spread(slope))
    token = loss_and_gradient(recipe("gspo", objective="gspo_token"), groups())
    agrees(token, SEQUENCE_MEAN, GRPO, spread(s), spread(slope))  # the same while a rollout has one advantage


@pytest.mark.parametrize(
    ("bounds", "held"),
    [
        ({}, FLAT_RHO),  # no lower bound, 5 above: nothing is held
        ({"clip_low": 0.2, "clip_high": 0.3}, [1.3, 0.8, 1.3, 0.8, 1.0, 1.25, 0.9, 1.0, 1.3, 0.8]),
    ],
)
def test_cispo(bounds: dict[str, float], held: list[float]) -> None:
    """2506.13585: -sg(clip(rho)) A l: the weight is held, the gradient never stops, whatever the sign of A. c = held * l, k = held."""
    found = loss_and_gradient(recipe("cispo", **bounds), groups())
    agrees(found, TOKEN_MEAN, GRPO, [h * l for h, l in zip(held, LOG_PI, strict=True)], held)


def test_sapo() -> None:
    """2511.20347: f = (4 / tau) sigmoid(tau (rho - 1)), tau 1 for A > 0 and 1.05 else; df/dl = rho 4 p (1 - p).

    At rho = 1: p = 1/2, so c = 2 / tau and k = 1.
    """
    c, k = [], []
    for rho, advantage in zip(FLAT_RHO, GRPO, strict=True):
        tau = 1.0 if advantage > 0 else 1.05
        p = 1 / (1 + math.exp(-tau * (rho - 1)))
        c.append(4 / tau * p)
        k.append(4 * p * (1 - p) * rho)
    assert (c[4], k[4]) == (pytest.approx(2 / 1.05), pytest.approx(1.0))
    agrees(loss_and_gradient(recipe("sapo"), groups()), SEQUENCE_MEAN, GRPO, c, k)


@pytest.mark.parametrize("divergence", ["tv", "kl"])
def test_dppo(divergence: str) -> None:
    """2602.04879: a token is out when its probability moved too far the way it was told; all others keep -rho A.

    TV, bound 0.2: pi - mu is rho mu - mu. p0's first: 3/4 - 1/2 = 0.25, A > 0: out. p2: 1/4 - 1/2, A < 0: out. p1 moved by 0.25 too,
    but away from where it was told: in. q1's 2: 1/2 - 1/4 = 0.25 up, A < 0: in; its 1/2: 1/8 - 1/4: in.
    KL of the two-way choice, bound 0.13: 1/2 against 3/4 or 1/4 is (1/2) ln(4/3) = 0.1438: the same two are out; q1's 1/4 against 1/8
    is (1/4) ln 2 + (3/4) ln(6/7) = 0.0577: in.
    """
    bound = 0.2 if divergence == "tv" else 0.13
    chosen = recipe("dapo", objective="dppo", dppo_divergence=divergence, clip_low=bound, clip_high=bound)
    kept = [0.0 if i in (0, 3) else rho for i, rho in enumerate(FLAT_RHO)]
    agrees(loss_and_gradient(chosen, groups()), TOKEN_MEAN, GRPO, kept, kept)


# ---- off-policy corrections: three policies, so a batch of its own


def three_policies(chosen: Objective) -> tuple[float, list[float]]:
    """Four tokens of one row, A = 1, weight 1/4: l - o = ln of 1, 3/2, 1/2, 1; o - u = ln of 2, 3, 1, 1/4."""
    sampler_N = torch.full((4,), -2.0, dtype=torch.float64)
    start_N = sampler_N + torch.tensor([2.0, 3.0, 1.0, 0.25], dtype=torch.float64).log()
    logp_N = (start_N + torch.tensor([1.0, 1.5, 0.5, 1.0], dtype=torch.float64).log()).requires_grad_()
    one_N = torch.ones(4, dtype=torch.float64)
    row_N, off_N = torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool)
    loss, _ = chosen(TokenFields(logp_N, sampler_N, one_N, one_N / 4, row_N, off_N, proximal_N=start_N))
    (slope,) = torch.autograd.grad(loss, logp_N)
    return loss.item(), slope.tolist()


@pytest.mark.parametrize(
    ("correction", "v"),
    [
        (Correction("decoupled"), [2.0, 3.0, 1.0, 0.25]),  # 2110.00641: clip to o, weigh by o against u
        (Correction("icepop", 0.5, 2.5), [2.0, 0.0, 1.0, 0.0]),  # 2510.18855: M(k) = k inside [0.5, 2.5], else 0
        (Correction("tis", 0.0, 2.0), [2.0, 2.0, 1.0, 0.25]),  # min(v, 2)
        (Correction("sequence_tis", 0.0, 1.2), [1.2] * 4),  # 2 * 3 * 1 / 4 = 3/2, at most 1.2
        (Correction("sequence_mask", 0.0, 1.2), [0.0] * 4),  # 3/2 is above 1.2
        (Correction("sequence_mask", 0.0, 3.0), [1.5] * 4),  # 3/2 is not above 3
        (Correction("geometric_mask", 0.9, 1.2), [2.0, 3.0, 1.0, 0.25]),  # (3/2)^(1/4) = 1.107: kept, raw
    ],
)
def test_corrections(correction: Correction, v: list[float]) -> None:
    """-v min(rho, clip(rho)): rho = 1, 3/2, 1/2, 1 clipped at 1.2 gives c = 1, 1.2, 0.5, 1 and k = 1, 0, 0.5, 1."""
    plain = recipe("dapo", clip_high=0.2).objective
    found = three_policies(replace(plain, correction=correction))
    agrees(found, [1 / 4] * 4, v, [1.0, 1.2, 0.5, 1.0], [1.0, 0.0, 0.5, 1.0])


# ---- covariance rules


def covariance(**settings: Any) -> tuple[float, list[float]]:
    """One row a token: A = 3, -1, -1, -1; u = -1, -2, -3, -2; rho = 2, 1, 1/2, 1; no clip."""
    advantages, before = (3.0, -1.0, -1.0, -1.0), (-1.0, -2.0, -3.0, -2.0)
    samples = [
        Sample(Key("p", i), Tokens.join((1,), (5,), (u,)), (0.0, a), 0.0, 0, 0)
        for i, (a, u) in enumerate(zip(advantages, before, strict=True))
    ]
    from burnish.algos.steering import measured

    chosen = recipe("reinforce", **settings)
    steered = Steered(chosen)
    assert chosen.objective.covariance is not None
    steered.covariance = measured(chosen.objective.covariance, samples)
    sampler_N = torch.tensor(before, dtype=torch.float64)
    logp_N = (sampler_N + torch.tensor([2.0, 1.0, 0.5, 1.0], dtype=torch.float64).log()).requires_grad_()
    advantage_N = torch.tensor(advantages, dtype=torch.float64)
    fields = TokenFields(
        *(logp_N, sampler_N, advantage_N, torch.full((4,), 0.25, dtype=torch.float64)),
        *(torch.arange(4), torch.zeros(4, dtype=torch.bool)),
    )
    loss, _ = steered.objective(fields)
    (slope,) = torch.autograd.grad(loss, logp_N)
    return loss.item(), slope.tolist()


def test_kl_cov() -> None:
    """2505.22617: mean A is 0 and mean u -2, so cov = A (u + 2) = 3, 0, 1, 0. The top quarter is the first token: + 1/2 |l - u| there.

    Loss (-3 * 2 + 1 + 1/2 + 1 + 1/2 ln 2) / 4; its slope at the first token is (-6 + 1/2) / 4.
    """
    value, slope = covariance(covariance="kl", covariance_share=0.25, covariance_coefficient=0.5)
    assert value == pytest.approx((-6 + 1 + 0.5 + 1 + 0.5 * math.log(2)) / 4)
    assert slope == pytest.approx([-5.5 / 4, 1 / 4, 0.5 / 4, 1 / 4])


def test_clip_cov() -> None:
    """2505.22617: half of the four tokens, drawn among those with 1/2 < cov < 5: that is the first and the third. Both are out."""
    value, slope = covariance(covariance="clip", covariance_share=0.5, covariance_low=0.5, covariance_high=5.0)
    assert value == pytest.approx((1 + 1) / 4)
    assert slope == pytest.approx([0, 1 / 4, 0, 1 / 4])


# ---- PPO


def test_ppo() -> None:
    """1707.06347 and 1506.02438, with InstructGPT's KL in the reward (2203.02155): gamma 1, lambda 0.95, KL coefficient 0.02.

    Rollout a, right, one token: V 0.5, l - f = 1/2. Its reward is 1 - 0.01 = 0.99, so delta = A = 0.49 and R = 0.99.
    Rollout b, wrong, a token, one of a tool, a token: V 0.2 and 0.4, l - f = 1/2 and -1/2, so rewards -0.01 and 0.01.
        last: delta = A = 0.01 - 0.4 = -0.39, R = 0.01.  first: delta = -0.01 + 0.4 - 0.2 = 0.19, A = 0.19 + 0.95 * -0.39 = -0.1805,
        R = 0.0195: nothing decays over the tool's token, and its value (99) is never read.
    Whitened over the three: mean -0.0805 / 3, deviations 0.516833, -0.153667, -0.363167 (a, first, last), squares 0.422619, over 2:
        s = 0.459685, A = 1.124322, -0.334287, -0.790034.
    Policy, rho = 3/2, 1/2, 5/4, clip 0.2: c = 1.2, 0.8, 1.25 and k = 0, 0, 1.25, each token 1/3.
    Critic, v now 0.9, 0.1, 0.8, clip 0.2, 1/2 * 1/2 max: a: (0.9 - 0.99)^2 < (0.7 - 0.99)^2 = 0.0841, held, no slope.
        first: (0.1 - 0.0195)^2 = 0.00648025, inside. last: 0.79^2 = 0.6241 > (0.6 - 0.01)^2, free. Slope 1/2 (v - R) / 3.
    """
    rows = (
        Tokens((1, 5), (False, True), (0.0, -1.0)),
        Tokens((1, 5, 6, 7), (False, True, False, True), (0.0, -1.0, 0.0, -1.0)),
    )
    verdicts = (Verdict("right", 1.0), Verdict("wrong", 0.0))
    made = tuple(Rollout(i, row, "", "eos", verdicts[i], 0, 0) for i, row in enumerate(rows))
    notes = {
        Key("p", 0): Notes(reference=(0.0, -1.5), values=(99.0, 0.5)),
        Key("p", 1): Notes(reference=(0.0, -1.5, 0.0, -0.5), values=(99.0, 0.2, 99.0, 0.4)),
    }
    chosen = recipe("ppo")
    a, b = chosen.credit_groups([Group(problem("p"), Prompt("p", (), "", (1,)), made)], notes)
    assert a.returns == pytest.approx((0.0, 0.99)) and b.returns == pytest.approx((0.0, 0.0195, 0.0, 0.01))
    advantages = [a.advantages[1], b.advantages[1], b.advantages[3]]
    assert advantages == pytest.approx([1.124322, -0.334287, -0.790034], abs=1e-5)
    assert (b.advantages[0], b.advantages[2]) == (0.0, 0.0)

    (batch,) = batches([a, b], chosen.weigh([a, b]), version=1, budget=1000, layout="packed")
    rho = {("p", 0): [1.5], ("p", 1): [0.5, 1.25]}
    now = {("p", 0): [0.9], ("p", 1): [0.1, 0.8]}
    keys = [(key.problem_id, key.index) for key in batch.origins]
    first = keys.index(("p", 0)) * 2  # where a's token stands: row b may come before it
    turn = [first, *(i for i in range(3) if i != first)]
    logp_N = (batch.sampler_N + torch.tensor([r for key in keys for r in rho[key]]).log()).requires_grad_()
    value_N = torch.tensor([v for key in keys for v in now[key]], requires_grad=True)
    names = ("sampler_N", "advantage_N", "weight_N", "row_N", "on_policy_N")
    loss, _ = chosen.objective(TokenFields(logp_N, *(getattr(batch, name) for name in names)))
    (slope,) = torch.autograd.grad(loss, logp_N)
    agrees((loss.item(), slope[turn].tolist()), [1 / 3] * 3, advantages, [1.2, 0.8, 1.25], [0, 0, 1.25])

    assert chosen.critic is not None and batch.old_value_N is not None and batch.return_N is not None
    lost, _ = critic_loss(chosen.critic, value_N, batch.old_value_N, batch.return_N, batch.weight_N)
    (pull,) = torch.autograd.grad(lost, value_N)
    assert lost.item() == pytest.approx(0.25 * (0.0841 + 0.00648025 + 0.6241) / 3, rel=1e-5)
    assert pull[turn].tolist() == pytest.approx([0.0, 0.5 * 0.0805 / 3, 0.5 * 0.79 / 3], rel=1e-4)


# ---- KL and entropy


def test_a_kl_in_the_loss() -> None:
    """rho k3 with rho = 1, l - f = ln 2: k3 = 1/2 - (-ln 2) - 1 = ln 2 - 1/2, and its slope is l - f = ln 2, each times 0.1."""
    logp_N: Tensor = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    one_N = torch.ones(1, dtype=torch.float64)
    fields = TokenFields(
        *(logp_N, logp_N.detach(), 0 * one_N, one_N, torch.zeros(1, dtype=torch.int64), one_N.bool()),
        reference_N=logp_N.detach() - math.log(2),
    )
    loss, _ = recipe("grpo", kl_to="reference", kl_coefficient=0.1).objective(fields)
    (slope,) = torch.autograd.grad(loss, logp_N)
    assert (loss.item(), slope.item()) == (
        pytest.approx(0.1 * (math.log(2) - 0.5)),
        pytest.approx(0.1 * math.log(2)),
    )
