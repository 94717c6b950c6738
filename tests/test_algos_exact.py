"""Expected gradients on a vocabulary of seven symbols, where every sequence can be written down: exact where it is claimed, and
where an estimator is biased the test says by what.

V symbols; N tokens of all traces; the weight of a trace is its probability, so a loss is an expectation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from burnish.algos.credit import Credit
from burnish.algos.objective import KL, Correction, Entropy, Estimator, Objective
from burnish.algos.overrides import SURROGATES
from burnish.algos.recipes import recipe
from burnish.learner.batch import TokenFields
from burnish.records import Group, Key, Notes, Problem, Prompt, Rollout, Tokens, Verdict

V = 7
TRACES = list(itertools.product(range(V), range(V)))
EXACT = {"rtol": 0.0, "atol": 1e-10}


class Chain:
    """A policy over two symbols, the second depending on the first."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.first_V = torch.randn(V, dtype=torch.float64, requires_grad=True)
        self.second_VV = torch.randn(V, V, dtype=torch.float64, requires_grad=True)

    def logp_N(self) -> Tensor:
        first_V, second_VV = self.first_V.log_softmax(0), self.second_VV.log_softmax(1)
        return torch.stack([torch.stack([first_V[a], second_VV[a, b]]) for a, b in TRACES]).flatten()

    def p_B(self) -> Tensor:
        return self.logp_N().view(-1, 2).sum(1).exp()

    def entropy_N(self) -> Tensor:
        """The entropy of each choice: of the first symbol, and of the second after it."""
        first, second_V = _entropy(self.first_V), _entropy(self.second_VV)
        return torch.stack([torch.stack([first, second_V[a]]) for a, _ in TRACES]).flatten()

    def gradient(self, loss: Tensor) -> Tensor:
        slopes = torch.autograd.grad(loss, (self.first_V, self.second_VV), retain_graph=True, allow_unused=True)
        whole = [
            torch.zeros_like(p) if s is None else s for s, p in zip(slopes, (self.first_V, self.second_VV), strict=True)
        ]
        return torch.cat([part.flatten() for part in whole])


def _entropy(logits: Tensor) -> Tensor:
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def fields(policy: Chain, advantage_N: Tensor, sampler: Chain | None = None, **known: Tensor) -> TokenFields:
    """All traces, each with the probability that the sampler gives it."""
    logp_N = policy.logp_N()
    drawn = sampler or policy
    plain = {
        "sampler_N": drawn.logp_N().detach(),
        "advantage_N": advantage_N,
        "weight_N": drawn.p_B().detach().repeat_interleave(2),
        "row_N": torch.arange(len(TRACES)).repeat_interleave(2),
        "on_policy_N": torch.full(logp_N.shape, sampler is None),
    }
    return TokenFields(logp_N=logp_N, **(plain | known))


REWARD_B = torch.tensor([float((a * b) % 3 == 1) for a, b in TRACES], dtype=torch.float64)
REWARD_N = REWARD_B.repeat_interleave(2)


@pytest.mark.parametrize("name", SURROGATES)
def test_on_policy_every_objective_has_the_gradient_of_the_expected_reward(name: str) -> None:
    policy = Chain(0)
    loss, _ = Objective(SURROGATES[name])(fields(policy, REWARD_N))
    exact = policy.gradient(-(policy.p_B() * REWARD_B).sum())
    torch.testing.assert_close(policy.gradient(loss), exact, **EXACT)


@pytest.mark.parametrize("name", SURROGATES)
def test_on_policy_a_penalty_is_learned_as_exactly(name: str) -> None:
    """Negative rewards take the other side of every bound and gate."""
    policy = Chain(1)
    loss, _ = Objective(SURROGATES[name])(fields(policy, -2.0 * REWARD_N))
    exact = policy.gradient(2.0 * (policy.p_B() * REWARD_B).sum())
    torch.testing.assert_close(policy.gradient(loss), exact, **EXACT)


# ---- credit: every group of three draws from seven symbols


def expected(credit: Credit, logits_V: Tensor, reward_V: Sequence[float]) -> Tensor:
    """The expected gradient of the loss under a rule of credit."""
    groups = list(itertools.product(range(V), repeat=3))
    logp_V = logits_V.log_softmax(0)
    total = torch.zeros((), dtype=torch.float64)
    for drawn in groups:
        advantages = credit([reward_V[v] for v in drawn])
        p = logp_V.detach()[list(drawn)].sum().exp()
        total = total - p / 3 * sum(a * logp_V[v] for a, v in zip(advantages, drawn, strict=True) if a)
    (slope,) = torch.autograd.grad(total, logits_V)
    return slope


def of_reward(logits_V: Tensor, reward_V: Sequence[float]) -> tuple[float, Tensor]:
    """(the expected reward p, the gradient of -p)."""
    p = (logits_V.softmax(0) * torch.tensor(reward_V, dtype=torch.float64)).sum()
    (slope,) = torch.autograd.grad(-p, logits_V)
    return p.item(), slope


BINARY = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
GRADED = (1.0, 0.0, 0.5, 0.0, 0.0, 0.2, 0.0)


def logits(seed: int = 2) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(V, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("kind", "scale"), [("leave_one_out", 1.0), ("group_mean", 2 / 3), ("none", 1.0)])
@pytest.mark.parametrize("reward_V", [BINARY, GRADED])
def test_these_credits_have_the_gradient_of_the_expected_reward_up_to_a_factor(
    kind: str, scale: float, reward_V: tuple[float, ...]
) -> None:
    logits_V = logits()
    found = expected(Credit(kind), logits_V, reward_V)  # type: ignore[arg-type]
    torch.testing.assert_close(found, scale * of_reward(logits_V, reward_V)[1], **EXACT)


def test_max_rl_follows_the_log_probability_of_being_right_up_to_its_second_order() -> None:
    """With G draws: sum over k < G of (1 - p)^(k - 1) grad p, the start of grad log p; the G-th term goes to the baseline."""
    logits_V = logits()
    p, slope = of_reward(logits_V, BINARY)
    torch.testing.assert_close(
        expected(Credit("max_rl", epsilon=0.0), logits_V, BINARY), (1.0 + (1.0 - p)) * slope, **EXACT
    )


def bend(kind: str, reward_V: tuple[float, ...]) -> float:
    """How far the expected gradient points away from that of the expected reward: 1 - cosine."""
    logits_V = logits()
    found = expected(Credit(kind), logits_V, reward_V)  # type: ignore[arg-type]
    return 1.0 - torch.cosine_similarity(found, of_reward(logits_V, reward_V)[1], dim=0).item()


def test_dividing_by_the_groups_deviation_bends_graded_rewards() -> None:
    """The bias of GRPO: for rewards of 0 and 1 a factor that depends on p, for others another direction."""
    assert bend("group_mean_std", BINARY) == pytest.approx(0.0, abs=1e-10)
    assert bend("group_mean_std", GRADED) > 1e-3


@pytest.mark.parametrize("reward_V", [BINARY, GRADED])
def test_dividing_by_the_others_deviation_bends_nothing(reward_V: tuple[float, ...]) -> None:
    """What the others give is independent of the rollout's own reward: a factor, and a baseline."""
    assert bend("leave_one_out_std", reward_V) == pytest.approx(0.0, abs=1e-10)


# ---- KL


def kl_loss(policy: Chain, anchor: Chain, estimator: Estimator | None, sampler: Chain | None = None) -> Tensor:
    anchor_N = anchor.logp_N().detach()
    seen = fields(policy, torch.zeros(2 * len(TRACES), dtype=torch.float64), sampler, reference_N=anchor_N)
    return Objective(kl=KL("reference", 1.0, estimator=estimator))(seen)[0]


def per_choice(policy: Chain, term: Callable[[Tensor, Tensor], Tensor], anchor: Chain) -> Tensor:
    """The expected sum over choices of a divergence of the two next-symbol distributions, its states drawn by the policy, held."""
    first_V, second_VV = policy.first_V.log_softmax(0), policy.second_VV.log_softmax(1)
    there_V, there_VV = anchor.first_V.detach().log_softmax(0), anchor.second_VV.detach().log_softmax(1)
    visits_V = first_V.detach().exp()
    return term(first_V, there_V).sum() + (visits_V[:, None] * term(second_VV, there_VV)).sum()


def reverse(logp: Tensor, there: Tensor) -> Tensor:
    return logp.exp() * (logp - there)


def forward(logp: Tensor, there: Tensor) -> Tensor:
    return there.exp() * (there - logp)


@pytest.mark.parametrize("estimator", [None, "ratio_k3", "ratio_k1", "k2"])
def test_these_estimators_have_the_gradient_of_the_reverse_kl(estimator: Estimator | None) -> None:
    policy, anchor = Chain(3), Chain(4)
    exact = policy.gradient(per_choice(policy, reverse, anchor))
    torch.testing.assert_close(policy.gradient(kl_loss(policy, anchor, estimator)), exact, **EXACT)


def test_k1_in_the_loss_has_no_gradient_at_all() -> None:
    policy, anchor = Chain(3), Chain(4)
    found = policy.gradient(kl_loss(policy, anchor, "k1"))
    torch.testing.assert_close(found, torch.zeros_like(found), **EXACT)


def test_k3_in_the_loss_has_the_gradient_of_the_other_kl() -> None:
    policy, anchor = Chain(3), Chain(4)
    found = policy.gradient(kl_loss(policy, anchor, "k3"))
    torch.testing.assert_close(found, policy.gradient(per_choice(policy, forward, anchor)), **EXACT)


def test_ratio_k2_is_off_by_the_policy_gradient_of_k2() -> None:
    policy, anchor = Chain(3), Chain(4)
    found = policy.gradient(kl_loss(policy, anchor, "ratio_k2"))
    exact = policy.gradient(per_choice(policy, reverse, anchor))
    bias = policy.gradient(per_choice(policy, lambda l, f: l.exp() * 0.5 * (l - f).detach().square(), anchor))
    assert bias.norm().item() > 0.01
    torch.testing.assert_close(found - exact, bias, **EXACT)


@pytest.mark.parametrize("estimator", ["k1", "ratio_k1", "ratio_k3", "k3"])
def test_these_estimators_have_the_value_of_the_kl(estimator: Estimator) -> None:
    policy, anchor = Chain(3), Chain(4)
    exact = per_choice(policy, reverse, anchor).item()
    assert kl_loss(policy, anchor, estimator).item() == pytest.approx(exact, abs=1e-12)


def rewarded(estimator: Estimator | None) -> tuple[Chain, Tensor, Tensor]:
    """REINFORCE with nothing but a KL in the reward: (policy, the loss's gradient, that of the KL of whole sequences)."""
    policy, anchor = Chain(5), Chain(6)
    pull: dict[str, object] = {"kl_to": "reference", "kl_coefficient": 1.0, "kl_in": "reward"}
    chosen = recipe("reinforce", **pull, **({} if estimator is None else {"kl_estimator": estimator}))
    own_BT, there_BT = policy.logp_N().detach().view(-1, 2), anchor.logp_N().detach().view(-1, 2)
    rollouts = tuple(
        Rollout(i, Tokens.join((0,), trace, tuple(own_BT[i].tolist())), "", "eos", Verdict("wrong", 0.0), 0, 0)
        for i, trace in enumerate(TRACES)
    )
    group = Group(Problem("p", "t", "?", {}, "train", "f"), Prompt("p", (), "", (0,)), rollouts)
    notes = {Key("p", i): Notes(reference=(0.0, *there_BT[i].tolist())) for i in range(len(TRACES))}
    samples = chosen.credit_groups(chosen.select([group])[0], notes)
    advantage_N = torch.tensor([a for s in samples for a in s.advantages[1:]], dtype=torch.float64)
    loss, _ = chosen.objective(fields(policy, advantage_N))
    p_B = policy.p_B()
    exact = (p_B * (policy.logp_N() - there_BT.flatten()).view(-1, 2).sum(1)).sum()
    return policy, policy.gradient(loss), policy.gradient(exact)


def test_k1_in_the_reward_has_the_gradient_of_the_kl_of_whole_sequences() -> None:
    """Through what is still to come, the states' own distribution counts too: this KL is the sequence's."""
    _, found, exact = rewarded(None)
    torch.testing.assert_close(found, exact, **EXACT)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_k2_and_k3_in_the_reward_are_biased(estimator: Estimator) -> None:
    """Only k1 has no derivative of its own in expectation; of the others the reward leaves a part out."""
    _, found, exact = rewarded(estimator)
    assert (found - exact).norm().item() > 0.01 * exact.norm().item()


# ---- entropy


def test_the_entropy_bonus_has_the_gradient_of_the_entropy() -> None:
    policy = Chain(7)
    entropy_N = policy.entropy_N()
    nothing_N = torch.zeros_like(entropy_N).detach()
    loss, _ = Objective(entropy=Entropy(0.3))(fields(policy, nothing_N, entropy_N=entropy_N.detach()))
    visits_N = policy.p_B().detach().repeat_interleave(2)
    exact = policy.gradient(-0.3 * (visits_N * entropy_N).sum())
    torch.testing.assert_close(policy.gradient(loss), exact, **EXACT)


# ---- off policy


def test_decoupled_the_gradient_is_still_that_of_the_expected_reward_a_token() -> None:
    """Traces of one symbol, drawn by another policy: the weight is the whole ratio, and nothing is lost."""
    policy_V, sampler_V = logits(8), logits(9).detach().log_softmax(0)
    seen = one_symbol(policy_V, sampler_V)
    loss, _ = Objective(SURROGATES["clip"], correction=Correction("decoupled"))(seen)
    torch.testing.assert_close(torch.autograd.grad(loss, policy_V)[0], of_reward(policy_V, BINARY)[1], **EXACT)


def test_a_truncated_weight_is_off_by_what_was_cut() -> None:
    policy_V, sampler_V = logits(8), logits(9).detach().log_softmax(0)
    seen = one_symbol(policy_V, sampler_V)
    loss, _ = Objective(SURROGATES["clip"], correction=Correction("tis", high=1.2))(seen)
    found = torch.autograd.grad(loss, policy_V)[0]
    logp_V = policy_V.log_softmax(0)
    v_V = (logp_V.detach() - sampler_V).exp()
    reward_V = torch.tensor(BINARY, dtype=torch.float64)
    cut = -(sampler_V.exp() * (v_V - v_V.clamp(max=1.2)) * reward_V * logp_V).sum()
    bias = torch.autograd.grad(cut, policy_V)[0]
    assert bias.norm().item() > 0.01
    torch.testing.assert_close(of_reward(policy_V, BINARY)[1] - found, bias, **EXACT)


def one_symbol(policy_V: Tensor, sampler_V: Tensor) -> TokenFields:
    return TokenFields(
        logp_N=policy_V.log_softmax(0),
        sampler_N=sampler_V,
        advantage_N=torch.tensor(BINARY, dtype=torch.float64),
        weight_N=sampler_V.exp(),
        row_N=torch.arange(V),
        on_policy_N=torch.zeros(V, dtype=torch.bool),
    )


def test_the_probabilities_of_all_traces_add_up() -> None:
    assert Chain(0).p_B().sum().item() == pytest.approx(1.0, abs=1e-14)
    assert math.isclose(sum(BINARY), 2.0)
