"""The losses: the reference vectors, the gradients they must have, and that no split of a batch changes them.

Shapes: N sampled tokens, B rows, T columns, V symbols of a tiny vocabulary.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from burnish import metrics
from burnish.algos import correction, losses, surrogates
from burnish.algos.credit import Credit
from burnish.algos.losses import clipped_surrogate, k3, policy_loss, policy_ratio
from burnish.algos.objective import KL, Anchor, Clip, Objective
from burnish.algos.recipes import recipe
from burnish.algos.reduce import Reduction, weights
from burnish.learner.batch import TokenFields
from burnish.records import Key, Sample, Tokens

LENGTHS = (2, 3, 4, 1)
HIGHER = Clip(0.2, 0.28)


def flat(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def token_fields(logp_N: Tensor, **known: Tensor) -> TokenFields:
    """Tokens of one row each; on policy, advantage and weight one, unless said otherwise."""
    ones_N = torch.ones_like(logp_N)
    plain = {
        "sampler_N": logp_N.detach(),
        "advantage_N": ones_N,
        "weight_N": ones_N,
        "row_N": torch.arange(len(logp_N)),
        "on_policy_N": torch.ones(len(logp_N), dtype=torch.bool),
    }
    return TokenFields(logp_N=logp_N, **(plain | known))


def off_policy(logp_N: Tensor, old_N: Tensor, **known: Tensor) -> TokenFields:
    return token_fields(logp_N, sampler_N=old_N, on_policy_N=torch.zeros(len(logp_N), dtype=torch.bool), **known)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(loss, of, retain_graph=True)
    return slope


# ---- the reference vectors


def reference_batch(reduction: Reduction, constant: float | None = None) -> TokenFields:
    """The inputs of the reference vectors, flattened row by row, with `proximal` as the old policy."""
    samples = [
        Sample(Key("p", i), Tokens.join((1,), (5,) * n, (0.0,) * n), (0.0,) * (n + 1), 0.0, 0, 0)
        for i, n in enumerate(LENGTHS)
    ]
    weight = weights(samples, reduction, constant)
    places = [(i, t) for i, n in enumerate(LENGTHS) for t in range(n)]
    logp_N = flat(*(-0.5 - 0.1 * i - 0.05 * t for i, t in places)).requires_grad_()
    log_ratio_N = flat(*(0.15 * (i + 1) * (1 if (i + t) % 2 == 0 else -1) for i, t in places))
    old_N = logp_N.detach() - log_ratio_N
    return TokenFields(
        logp_N=logp_N,
        sampler_N=old_N - flat(*(0.3 * (t - 1) * (2 if i == 2 else 1) for i, t in places)),
        advantage_N=flat(*((1.5, -0.5, -0.5, -0.5)[i] for i, _ in places)),
        weight_N=flat(*(weight[Key("p", i)] for i, _ in places)),
        row_N=torch.tensor([i for i, _ in places]),
        on_policy_N=torch.zeros(len(places), dtype=torch.bool),
        reference_N=logp_N.detach() - 0.2 + flat(*(0.1 * t for _, t in places)),
        proximal_N=old_N,
    )


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        ("dapo", {}, 0.120943),  # verl vanilla, TRL dapo, OpenRLHF ppo
        ("grpo", {"clip_high": 0.28}, -0.008296),  # verl seq-mean-token-mean, TRL grpo
        ("dr_grpo", {"clip_high": 0.28, "constant": 1}, 0.302357),  # verl seq-mean-token-sum
        ("dr_grpo", {"clip_high": 0.28, "constant": 4}, 0.075589),  # verl seq-mean-token-sum-norm at width 4
        ("dr_grpo", {"clip_high": 0.28, "constant": 8}, 0.037795),  # TRL dr_grpo with max_completion_length 8
        ("dapo", {"kl_to": "reference", "kl_coefficient": 0.1}, 0.121867),  # TRL dapo with beta 0.1
        ("rloo", {"clip_high": 0.28}, 0.120943),  # verl vanilla
    ],
)
def test_recipes_give_the_losses_of_the_reference_vectors(
    name: str, overrides: dict[str, object], expected: float
) -> None:
    chosen = recipe(name, **overrides)
    loss, _ = chosen.objective(reference_batch(chosen.reduction, chosen.constant))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_clip_gradient_matches_the_reference_vector() -> None:
    fields = reference_batch("token_mean")
    loss, _ = Objective(HIGHER)(fields)
    expected = [-0.174275, -0.129106, 0, 0.067493, 0, 0.078416, 0, 0.078416, 0, 0]
    assert gradient(loss, fields.logp_N).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_k3_token_mean_matches_the_reference_vector() -> None:
    fields = reference_batch("token_mean")
    assert fields.reference_N is not None
    assert k3(fields.logp_N, fields.reference_N).mean().item() == pytest.approx(0.009461, abs=1e-6)


# ---- the ratio and the clip, by hand


def test_on_policy_the_ratio_is_exactly_one_whatever_the_sampler_said() -> None:
    fields = token_fields(flat(-1.0, -2.0).requires_grad_(), sampler_N=flat(-1.3, -0.2), proximal_N=flat(-3.0, -3.0))
    assert policy_ratio(fields).tolist() == [1.0, 1.0]


def test_on_policy_the_gradient_is_the_advantage() -> None:
    logp_N = flat(-1.0, -2.0).requires_grad_()
    loss, _ = Objective(HIGHER)(token_fields(logp_N, advantage_N=flat(3.0, -4.0)))
    assert gradient(loss, logp_N).tolist() == [-3.0, 4.0]


def test_off_policy_the_old_policy_is_the_sampler() -> None:
    fields = off_policy(flat(math.log(0.6)), flat(math.log(0.4)))
    assert policy_ratio(fields).tolist() == pytest.approx([1.5])


def test_off_policy_a_proximal_log_probability_goes_before_the_sampler() -> None:
    fields = off_policy(flat(math.log(0.6)), flat(math.log(0.4)), proximal_N=flat(math.log(0.3)))
    assert policy_ratio(fields).tolist() == pytest.approx([2.0])


def test_each_token_takes_its_own_side_of_the_policy_line() -> None:
    fields = token_fields(flat(0.0, 0.0), sampler_N=flat(-1.0, -1.0), on_policy_N=torch.tensor([True, False]))
    assert policy_ratio(fields).tolist() == pytest.approx([1.0, math.e])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.1, 2.0, -2.2),  # inside: the plain product
        (1.5, 2.0, -2.56),  # too far up, wanted up: held at 1.28
        (0.5, 2.0, -1.0),  # down although wanted up: pushes back, unclipped
        (0.5, -2.0, 1.6),  # too far down, wanted down: held at 0.8
        (1.5, -2.0, 3.0),  # up although wanted down: pushes back, unclipped
    ],
)
def test_the_clip_holds_only_what_moved_as_it_was_told(ratio: float, advantage: float, loss: float) -> None:
    assert clipped_surrogate(flat(ratio), flat(advantage), HIGHER).item() == pytest.approx(loss)


def test_a_higher_clip_lets_a_wanted_token_rise_further() -> None:
    rise, want = flat(1.25), flat(1.0)
    assert clipped_surrogate(rise, want, Clip(0.2, 0.2)).item() == pytest.approx(-1.2)
    assert clipped_surrogate(rise, want, HIGHER).item() == pytest.approx(-1.25)


def test_the_dual_clip_bounds_an_unwanted_token_that_rose() -> None:
    ratio_N, advantage_N = flat(9.0, 9.0, 2.0), flat(-1.0, 1.0, -1.0)
    assert clipped_surrogate(ratio_N, advantage_N, Clip(dual=3.0)).tolist() == pytest.approx([3.0, -1.28, 2.0])


def test_without_a_clip_the_surrogate_is_the_weighted_advantage() -> None:
    assert clipped_surrogate(flat(5.0), flat(2.0), None).item() == -10.0


def test_a_ratio_too_large_for_a_float_gives_finite_gradients() -> None:
    logp_N = torch.tensor([0.0, 0.0], requires_grad=True)
    old_N, reference_N = torch.tensor([-200.0, -200.0]), torch.tensor([150.0, 150.0])
    fields = off_policy(logp_N, old_N, advantage_N=torch.tensor([1.0, -1.0]), reference_N=reference_N)
    loss, _ = Objective(HIGHER, KL("reference", 0.1))(fields)
    assert torch.isfinite(gradient(loss, logp_N)).all()


# ---- exact gradients on a tiny vocabulary


def test_the_expected_policy_gradient_is_the_gradient_of_the_expected_reward() -> None:
    torch.manual_seed(0)
    first_V = torch.randn(7, dtype=torch.float64, requires_grad=True)
    second_VV = torch.randn(7, 7, dtype=torch.float64, requires_grad=True)
    traces = list(itertools.product(range(7), range(7)))
    log_first_V, log_second_VV = first_V.log_softmax(0), second_VV.log_softmax(1)
    logp_BT = torch.stack([torch.stack([log_first_V[a], log_second_VV[a, b]]) for a, b in traces])
    p_B = logp_BT.sum(1).exp()
    reward_B = flat(*(float((a * b) % 3 == 1) for a, b in traces))
    fields = token_fields(
        logp_BT.flatten(),
        advantage_N=reward_B.repeat_interleave(2),
        weight_N=p_B.detach().repeat_interleave(2),  # the probability of a trace: the sum is the expectation
        row_N=torch.arange(len(traces)).repeat_interleave(2),
    )
    loss, _ = Objective()(fields)
    exact = torch.autograd.grad(-(p_B * reward_B).sum(), (first_V, second_VV), retain_graph=True)
    got = torch.autograd.grad(loss, (first_V, second_VV))
    for ours, theirs in zip(got, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)


def test_off_policy_the_unclipped_gradient_is_still_that_of_the_expected_reward() -> None:
    torch.manual_seed(1)
    logits_V = torch.randn(7, dtype=torch.float64, requires_grad=True)
    sampler_V = torch.randn(7, dtype=torch.float64).log_softmax(0)
    reward_V = flat(1, 0, 0, 1, 0, 0, 1)
    fields = off_policy(logits_V.log_softmax(0), sampler_V, advantage_N=reward_V, weight_N=sampler_V.exp())
    loss, _ = Objective()(fields)
    exact = gradient(-(logits_V.softmax(0) * reward_V).sum(), logits_V)
    torch.testing.assert_close(gradient(loss, logits_V), exact, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("kind", "scale"), [("leave_one_out", 1.0), ("group_mean", 2 / 3), ("none", 1.0)])
def test_a_baseline_scales_the_expected_gradient_and_does_not_bend_it(kind: str, scale: float) -> None:
    """All 343 groups of three draws from seven symbols: RLOO is unbiased, Dr. GRPO off by the factor (G - 1) / G."""
    torch.manual_seed(2)
    logits_V = torch.randn(7, dtype=torch.float64, requires_grad=True)
    reward_V = flat(1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0)
    groups = list(itertools.product(range(7), repeat=3))
    drawn_N = torch.tensor(groups).flatten()
    p_V = logits_V.softmax(0)
    weight_N = p_V.detach()[torch.tensor(groups)].prod(1).repeat_interleave(3) / 3
    credit = Credit(kind)  # type: ignore[arg-type]
    advantages = [a for group in groups for a in credit([float(reward_V[v]) for v in group]) if a is not None]
    fields = token_fields(logits_V.log_softmax(0)[drawn_N], advantage_N=flat(*advantages), weight_N=weight_N)
    loss, _ = Objective(HIGHER)(fields)
    exact = gradient(-(p_V * reward_V).sum(), logits_V)
    torch.testing.assert_close(gradient(loss, logits_V), scale * exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("to", ["reference", "start_of_step"])
@pytest.mark.parametrize("on_policy", [True, False])
def test_the_kl_has_the_exact_value_and_gradient_of_the_reverse_kl(to: Anchor, on_policy: bool) -> None:
    torch.manual_seed(3)
    logits_V = torch.randn(7, dtype=torch.float64, requires_grad=True)
    logp_V = logits_V.log_softmax(0)
    anchor_V = torch.randn(7, dtype=torch.float64).log_softmax(0)
    # off policy the tokens come from the sampler: the start of the step itself, or some older policy
    other_V = anchor_V if to == "start_of_step" else torch.randn(7, dtype=torch.float64).log_softmax(0)
    old_V = logp_V.detach() if on_policy else other_V
    make = token_fields if on_policy else lambda logp_N, **known: off_policy(logp_N, old_V, **known)
    name = {"reference": "reference_N", "start_of_step": "proximal_N"}[to]
    fields = make(logp_V, advantage_N=torch.zeros_like(logp_V), weight_N=old_V.exp(), **{name: anchor_V})
    loss, _ = Objective(kl=KL(to, 0.3))(fields)
    exact = 0.3 * (logp_V.exp() * (logp_V - anchor_V)).sum()
    assert loss.item() == pytest.approx(exact.item(), abs=1e-14)
    torch.testing.assert_close(gradient(loss, logits_V), gradient(exact, logits_V), rtol=0, atol=1e-14)


def test_a_plain_k3_would_have_had_the_gradient_of_the_forward_kl() -> None:
    torch.manual_seed(3)
    logits_V = torch.randn(7, dtype=torch.float64, requires_grad=True)
    logp_V, anchor_V = logits_V.log_softmax(0), torch.randn(7, dtype=torch.float64).log_softmax(0)
    plain = gradient((logp_V.exp().detach() * k3(logp_V, anchor_V)).sum(), logits_V)
    forward = gradient((anchor_V.exp() * (anchor_V - logp_V)).sum(), logits_V)
    torch.testing.assert_close(plain, forward, rtol=0, atol=1e-14)


def test_on_policy_a_kl_to_the_start_of_the_step_without_its_scores_is_zero() -> None:
    logp_N = flat(-1.0, -2.0).requires_grad_()
    fields = token_fields(logp_N)
    assert Objective(HIGHER, KL("start_of_step", 5.0))(fields)[0].item() == Objective(HIGHER)(fields)[0].item()


@pytest.mark.parametrize(("to", "name"), [("reference", "reference_N"), ("start_of_step", "proximal_N")])
def test_a_kl_without_its_anchor_says_what_is_missing(to: Anchor, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Objective(kl=KL(to, 0.1))(off_policy(flat(-1.0), flat(-1.1)))


# ---- one batch, however it is cut


def rows_of(fields: TokenFields, rows: Sequence[int]) -> TokenFields:
    """The tokens of some rows, in that order: one micro-batch."""
    taken_N = torch.cat([torch.nonzero(fields.row_N == row).flatten() for row in rows])
    known = dict(vars(fields))
    return TokenFields(**{name: value[taken_N] for name, value in known.items() if isinstance(value, torch.Tensor)})


@given(data=st.data(), reduction=st.sampled_from(["token_mean", "sequence_mean", "prompt_mean", "constant"]))
def test_any_split_into_micro_batches_gives_the_same_loss_and_gradient(data: st.DataObject, reduction: str) -> None:
    fields = reference_batch(reduction, 8.0 if reduction == "constant" else None)  # type: ignore[arg-type]
    objective = Objective(HIGHER, KL("reference", 0.1))
    order = data.draw(st.permutations(range(4)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 3))))
    parts = [order[a:b] for a, b in itertools.pairwise([0, *cuts, 4])]
    whole, _ = objective(fields)
    pieces = [objective(rows_of(fields, part))[0] for part in parts]
    slope_N = torch.stack([gradient(piece, fields.logp_N) for piece in pieces]).sum(0)
    assert math.fsum(piece.item() for piece in pieces) == pytest.approx(whole.item(), abs=1e-15)
    torch.testing.assert_close(slope_N, gradient(whole, fields.logp_N), rtol=0, atol=1e-15)


@given(cut=st.integers(1, 3))
def test_metrics_of_micro_batches_merge_into_those_of_the_batch(cut: int) -> None:
    fields = reference_batch("token_mean")
    whole = metrics.values(policy_loss(Objective(HIGHER), fields)[1])
    halves = [policy_loss(Objective(HIGHER), rows_of(fields, part))[1] for part in (range(cut), range(cut, 4))]
    assert metrics.values(metrics.merge(*halves)) == pytest.approx(whole)


def test_a_micro_batch_without_tokens_adds_nothing() -> None:
    loss, found = Objective(HIGHER)(token_fields(flat().requires_grad_()))
    assert loss.item() == 0.0
    assert metrics.values(metrics.merge(found, Objective(HIGHER)(token_fields(flat(-1.0)))[1]))["policy/loss"] == -1.0


# ---- nothing leaks, nothing is masked by a product


def test_what_the_sampler_said_on_policy_cannot_reach_the_gradient() -> None:
    logp_N = flat(-1.0, -2.0).requires_grad_()
    poison_N = flat(math.nan, -math.inf)
    loss, _ = Objective(HIGHER)(token_fields(logp_N, sampler_N=poison_N, advantage_N=flat(3.0, -4.0)))
    assert gradient(loss, logp_N).tolist() == [-3.0, 4.0]


def test_the_old_log_probability_that_is_not_chosen_cannot_reach_the_gradient() -> None:
    logp_N = flat(-1.0, -1.0).requires_grad_()
    on_policy_N = torch.tensor([True, False])
    fields = token_fields(
        logp_N, proximal_N=flat(math.nan, -1.0), sampler_N=flat(-1.0, math.nan), on_policy_N=on_policy_N
    )
    loss, _ = Objective(HIGHER)(fields)
    assert gradient(loss, logp_N).tolist() == [-1.0, -1.0]


def test_no_product_in_the_losses_has_a_boolean_factor() -> None:
    """Choices are made with `where`: NaN * 0 is NaN. The booleans are the on-policy flags and the comparisons."""
    nodes = [n for room in (losses, surrogates, correction) for n in ast.walk(ast.parse(inspect.getsource(room)))]
    products = [n for n in nodes if isinstance(n, ast.BinOp | ast.AugAssign)]
    factors = [
        side
        for node in products
        if isinstance(node.op, ast.Mult)
        for side in ([node.left, node.right] if isinstance(node, ast.BinOp) else [node.value])
    ]
    assert factors
    assert not [
        f for f in factors if isinstance(f, ast.Compare) or "mask" in ast.unparse(f) or "on_policy" in ast.unparse(f)
    ]


def test_a_padded_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"advantage_N has shape \(1, 2\)"):
        Objective()(token_fields(flat(-1.0, -2.0), advantage_N=torch.ones(1, 2)))


def test_a_field_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reference_N has shape \(3,\), logp_N \(2,\)"):
        Objective()(token_fields(flat(-1.0, -2.0), reference_N=flat(-1.0, -1.0, -1.0)))


# ---- metrics


def test_clip_shares_count_the_tokens_that_stopped_pushing() -> None:
    log_ratio_N = torch.log(flat(0.5, 0.5, 1.5, 1.5, 1.0))
    fields = off_policy(log_ratio_N, torch.zeros(5, dtype=torch.float64), advantage_N=flat(-1.0, 1.0, 1.0, -1.0, 1.0))
    _, found = Objective(HIGHER)(fields)
    assert (found["policy/clip_low"], found["policy/clip_high"]) == (metrics.Share(1.0, 5.0), metrics.Share(1.0, 5.0))


def test_without_a_clip_nothing_is_clipped() -> None:
    found = metrics.values(Objective()(off_policy(flat(0.0, 0.0), flat(-5.0, 5.0), advantage_N=flat(1.0, -1.0)))[1])
    assert (found["policy/clip_low"], found["policy/clip_high"]) == (0.0, 0.0)


def test_the_gap_between_sampler_and_learner_is_measured_on_policy_too() -> None:
    _, found = Objective(HIGHER)(token_fields(flat(-1.0, -2.0), sampler_N=flat(-1.5, -1.0)))
    assert (found["gap/abs_mean"].value, found["gap/max"].value) == (0.75, 1.0)


def test_the_effective_share_follows_from_the_gap_weights() -> None:
    _, found = Objective(HIGHER)(token_fields(torch.log(flat(3.0, 1.0)), sampler_N=flat(0.0, 0.0)))
    assert (found["gap/weight"].value, found["gap/weight_square"].value) == pytest.approx(
        (2.0, 5.0)
    )  # 4/5 of the sample


def test_kl_and_entropy_are_reported_where_they_are_known() -> None:
    fields = token_fields(flat(0.0), reference_N=flat(1.0), proximal_N=flat(0.0), entropy_N=flat(0.7))
    found = metrics.values(Objective(HIGHER)(fields)[1])
    wanted = {"kl/reference": math.e - 2, "kl/start_of_step": 0.0, "policy/entropy": 0.7, "policy/loss": -1.0}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_what_is_not_known_is_not_reported() -> None:
    _, found = Objective(HIGHER)(token_fields(flat(-1.0)))
    assert not {"kl/reference", "kl/start_of_step", "policy/entropy"} & found.keys()
