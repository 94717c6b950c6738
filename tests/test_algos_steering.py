"""What follows the run's own numbers: the entropy coefficient, the borders of a covariance rule; and rewards beside the table."""

from __future__ import annotations

import math

import pytest
import torch

from burnish.algos.assign import each_on_its_own
from burnish.algos.credit import Credit, gae, max_rl, returns_to_go, whitened
from burnish.algos.losses import critic_loss, value_loss
from burnish.algos.objective import Covariance, Critic, Entropy, Objective
from burnish.algos.recipes import recipe
from burnish.algos.reward import Length, Overlong, Part, RewardTable
from burnish.algos.steering import Steered, followed, measured
from burnish.errors import ConfigError
from burnish.learner.batch import TokenFields
from burnish.metrics import Mean
from burnish.records import Group, Key, Notes, Outcome, Problem, Prompt, Rollout, Sample, Stop, Tokens, Verdict

SCORES: dict[Outcome, float | None] = {"right": 1.0, "wrong": 0.0, "no_verdict": None}


def rollout(outcome: Outcome, length: int, index: int = 0, stop: Stop = "eos", **parts: float) -> Rollout:
    tokens = Tokens.join((1,), (5,) * length, (-1.0,) * length)
    return Rollout(index, tokens, "", stop, Verdict(outcome, SCORES[outcome], parts), 0, 0)


def group(*rollouts: Rollout) -> Group:
    return Group(Problem("p", "t", "?", {}, "train", "f"), Prompt("p", (), "", (1,)), rollouts)


def sample(index: int, advantage: float, logprobs: tuple[float, ...]) -> Sample:
    n = len(logprobs)
    tokens = Tokens.join((1,), (5,) * n, logprobs)
    return Sample(Key("p", index), tokens, (0.0,) + (advantage,) * n, 1.0, 0, 0)


# ---- rewards beside the table


def test_a_target_length_costs_what_lies_on_either_side() -> None:
    term = Length("target", 10, 0.5)
    assert [term(rollout("wrong", n)) for n in (5, 10, 20)] == [-0.5, 0.0, -1.0]


def test_a_linear_length_costs_every_token() -> None:
    assert Length("linear", 10, 0.5)(rollout("right", 5)) == -0.5


def test_the_overlong_penalty_is_held_at_its_limit() -> None:
    term = Overlong(limit=8, buffer=4, penalty=0.5)
    assert [term(rollout("wrong", n)) for n in (4, 6, 8, 100)] == [0.0, -0.25, -0.5, -0.5]


def test_a_reward_may_take_the_place_of_the_verdict() -> None:
    chosen = recipe("grpo", reward_weight=0, reward_parts={"style": 2.0})
    known = [rollout("wrong", 1, 0, style=0.5), rollout("right", 1, 1, style=0.5)]
    assert [chosen.reward.reward(one) for one in known] == [1.0, 1.0]
    assert not chosen.informative(group(*known))
    with pytest.raises(ConfigError, match="no effect without another reward"):
        recipe("grpo", reward_weight=0)


def test_named_rewards_are_added_with_their_weights() -> None:
    table = RewardTable(weight=2.0, terms=(Part("format", 0.25), Length("linear", 10, 0.5)))
    one = rollout("right", 4, format=1.0)
    assert table.rewards(one) == (1.0, 1.0, -0.4)
    assert table.reward(one) == pytest.approx(2.0 + 0.25 - 0.2)
    assert table.names == ("verdict", "format", "length")


def test_no_verdict_has_none_of_the_rewards() -> None:
    assert RewardTable(terms=(Length("linear", 10, 0.5),)).rewards(rollout("no_verdict", 4)) is None


def test_a_part_the_verifier_does_not_give_is_named_with_those_it_does() -> None:
    with pytest.raises(ConfigError, match=r"names 'style', but the verifier gives no such part \(it gives: format\)"):
        Part("style", 0.1)(rollout("right", 2, format=1.0))


def test_gdpo_compares_each_reward_on_its_own() -> None:
    """Right but unformed and wrong but formed: the sums are alike to GRPO, and equal and opposite here."""
    ones = [rollout("right", 2, 0, format=0.0), rollout("wrong", 2, 1, format=1.0), rollout("wrong", 2, 2, format=0.0)]
    table = RewardTable(terms=(Part("format", 1.0),))
    credit = Credit("each_mean_std", epsilon=0.0)
    third = 1 / math.sqrt(3)
    expected = [2 * third - third, -third + 2 * third, -2 * third]
    assert each_on_its_own(group(*ones), table, credit) == pytest.approx(expected)


def test_gdpo_whitens_over_the_samples_of_the_step() -> None:
    chosen = recipe("gdpo", reward_parts={"format": 0.5})
    ones = group(*(rollout("right" if i == 0 else "wrong", 2, i, format=float(i < 2)) for i in range(4)))
    samples = chosen.credit_groups(chosen.select([ones])[0], {})
    advantages = [s.advantages[-1] for s in samples]
    assert math.fsum(advantages) == pytest.approx(0.0, abs=1e-12)
    assert math.fsum(a * a for a in advantages) / 3 == pytest.approx(1.0)


# ---- credit


def test_reinforce_pp_learns_from_a_group_that_is_all_right_beside_one_that_is_all_wrong() -> None:
    chosen = recipe("reinforce_pp")
    first, second = group(rollout("right", 2)), group(rollout("wrong", 2))
    kept, dropped = chosen.select([first, second])
    assert (kept, dropped) == ([first, second], [])


def test_a_step_that_is_all_the_same_is_flat_to_whitening_too() -> None:
    kept, dropped = recipe("reinforce_pp").select([group(rollout("right", 2)), group(rollout("right", 2))])
    assert (kept, len(dropped)) == ([], 2)


def test_whitening_counts_tokens() -> None:
    """Three tokens of 1 and one of 0: mean 3/4, population variance 3/16."""
    scale = math.sqrt(3 / 16)
    assert whitened([1.0, 0.0], [3, 1], "tokens", "population") == pytest.approx([0.25 / scale, -0.75 / scale])


def test_max_rl_refuses_a_negative_reward() -> None:
    with pytest.raises(ValueError, match="below 0"):
        max_rl([1.0, -1.0])


def test_what_is_still_to_come_is_discounted_and_carried_over_a_reply() -> None:
    assert returns_to_go([0.0, 9.0, 0.0, 1.0], [True, False, True, True], 0.5) == [0.25, 0.0, 0.5, 1.0]


def test_gae_with_lambda_one_is_the_return_less_the_value() -> None:
    advantages, returns = gae([0.0, 0.0, 1.0], [0.5, 0.25, 0.75], [True] * 3, gamma=1.0, decay=1.0)
    assert advantages == pytest.approx([0.5, 0.75, 0.25])
    assert returns == pytest.approx([1.0, 1.0, 1.0])


def test_gae_never_reads_a_value_of_a_token_the_policy_did_not_write() -> None:
    mask = [True, False, True]
    poisoned = gae([0.0, math.nan, 1.0], [0.5, math.nan, 0.2], mask)
    assert poisoned == gae([0.0, 0.0, 1.0], [0.5, 0.0, 0.2], mask)


def test_ppo_credits_tokens_and_gives_their_returns() -> None:
    chosen = recipe("ppo", whiten="off", gae_lambda=1, kl_to="none")
    one = group(rollout("right", 2))
    [made] = chosen.credit_groups([one], {Key("p", 0): Notes(values=(9.0, 0.25, 0.5))})
    assert made.advantages == (0.0, 0.75, 0.5)
    assert made.returns == (0.0, 1.0, 1.0)


def test_a_kl_in_the_reward_is_taken_off_every_token() -> None:
    """k1 = l - f = -1 + 2 = 1 a token; the last token has the reward: 1 - 0.1, and before it 0.1 less."""
    chosen = recipe("reinforce", kl_to="reference", kl_coefficient=0.1, kl_in="reward")
    [made] = chosen.credit_groups([group(rollout("right", 2))], {Key("p", 0): Notes(reference=(0.0, -2.0, -2.0))})
    assert made.advantages == pytest.approx((0.0, 0.8, 0.9))


def test_rloo_takes_the_kl_of_whole_rollouts_off_their_rewards() -> None:
    """TRL's RLOO: 1 - 0.1 x 2 tokens against 0 - 0.1 x 3 tokens, each less the other."""
    chosen = recipe("rloo", kl_to="reference", kl_coefficient=0.1, kl_in="reward")
    notes = {Key("p", i): Notes(reference=(0.0,) + (-2.0,) * n) for i, n in enumerate((2, 3))}
    made = chosen.credit_groups([group(rollout("right", 2, 0), rollout("wrong", 3, 1))], notes)
    assert [s.advantages[-1] for s in made] == pytest.approx([0.8 + 0.3, -0.3 - 0.8])


def test_gae_without_a_critic_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="GAE needs a critic"):
        recipe("ppo", kl_to="none").credit_groups([group(rollout("right", 2))], {})


# ---- the critic's loss


def test_the_value_clip_takes_the_larger_of_two_squares() -> None:
    new, old, target = torch.tensor([1.0, 0.3]), torch.tensor([0.0, 0.2]), torch.tensor([1.0, 0.0])
    assert value_loss(new, old, target, 0.2).tolist() == pytest.approx([0.5 * 0.64, 0.5 * 0.09])
    assert value_loss(new, old, target, None).tolist() == pytest.approx([0.0, 0.5 * 0.09])


def test_the_critics_loss_is_weighed_as_the_policys() -> None:
    value = torch.tensor([1.0, 0.0], requires_grad=True)
    loss, found = critic_loss(
        Critic(0.5, None), value, torch.zeros(2), torch.tensor([0.0, 2.0]), torch.tensor([0.5, 0.5])
    )
    assert loss.item() == pytest.approx(0.5 * (0.5 * 0.5 * 1.0 + 0.5 * 0.5 * 4.0))
    assert found["critic/error"].value == 1.5
    loss.backward()
    assert value.grad is not None
    assert value.grad.tolist() == pytest.approx([0.25, -0.5])


# ---- entropy


def test_the_coefficient_rises_below_the_target_and_falls_above_it() -> None:
    start = Entropy(0.01, target=0.3, step=0.005)
    assert followed(start, 0.3).coefficient == pytest.approx(0.015)
    assert followed(start, 0.31).coefficient == pytest.approx(0.005)
    assert followed(Entropy(0.0, target=0.3), 0.9).coefficient == 0.0
    assert followed(Entropy(1.0, target=0.3), 0.1).coefficient == 1.0


def test_above_the_target_nothing_is_added() -> None:
    above = followed(Entropy(0.01, target=0.3), 0.5)
    assert (above.coefficient, above.applied) == (pytest.approx(0.005), 0.0)
    assert followed(above, 0.2).applied == pytest.approx(0.01)


def test_a_steered_recipe_goes_on_from_its_state() -> None:
    chosen = recipe("grpo", entropy_coefficient=0.01, entropy_target=0.3)
    one, other = Steered(chosen), Steered(chosen)
    assert one.observe({"policy/entropy": Mean(0.2, 1.0)}) == {"policy/entropy_coefficient": pytest.approx(0.015)}
    other.restore(one.state())
    assert other.objective == one.objective
    assert other.objective != chosen.objective


def test_a_recipe_with_nothing_to_steer_is_itself() -> None:
    chosen = recipe("grpo")
    steered = Steered(chosen)
    assert steered.observe({"policy/entropy": Mean(0.2, 1.0)}) == {}
    assert steered.objective is chosen.objective
    assert steered.state() == {}


# ---- covariance


def tokens_of(samples: list[Sample]) -> TokenFields:
    pairs = [
        (s.advantages[t], s.tokens.logprobs[t], i) for i, s in enumerate(samples) for t in range(1, len(s.advantages))
    ]
    advantage, logp, row = zip(*pairs, strict=True)
    logp_N = torch.tensor(logp, dtype=torch.float64)
    return TokenFields(
        (logp_N + 0.5).requires_grad_(),
        logp_N,
        torch.tensor(advantage, dtype=torch.float64),
        torch.ones_like(logp_N),
        torch.tensor(row),
        torch.zeros(len(row), dtype=torch.bool),
    )


SAMPLES = [sample(0, 1.0, (-0.1, -3.0)), sample(1, -1.0, (-0.2, -0.3, -4.0, -0.1))]


def test_kl_cov_holds_the_share_with_the_largest_covariance() -> None:
    """mean A = -1/3, mean u = -77/60: the wrong answer's unlikely token, (-2/3)(-4 + 77/60), then the right answer's likely one."""
    rule = measured(Covariance("kl", share=0.4), SAMPLES)
    assert (rule.mean_advantage, rule.mean_logp) == (pytest.approx(-1 / 3), pytest.approx(-7.7 / 6))
    fields = tokens_of(SAMPLES)
    plain, held = Objective()(fields)[0], Objective(covariance=rule)(fields)[0]
    assert (held - plain).item() == pytest.approx(2 * 0.5)  # |l - o| = 0.5 on each of two tokens


def test_clip_cov_takes_its_tokens_out_of_the_gradient() -> None:
    rule = measured(Covariance("clip", share=1.0, low=1.0, high=5.0), SAMPLES)
    fields = tokens_of(SAMPLES)
    loss, _ = Objective(covariance=rule)(fields)
    (slope,) = torch.autograd.grad(loss, fields.logp_N)
    out = [value == 0.0 for value in slope.tolist()]
    assert out == [True, False, False, False, True, False]  # cov 1.58 and 1.81; all others are below 1


def test_a_covariance_rule_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="measured over the step first"):
        Objective(covariance=Covariance("kl"))(tokens_of(SAMPLES))


def test_a_steered_recipe_measures_the_steps_own_samples() -> None:
    steered = Steered(recipe("grpo", covariance="kl", covariance_share=0.5))
    ones = group(rollout("right", 2, 0), rollout("wrong", 2, 1))
    steered.credit_groups([ones], {})
    assert steered.objective.covariance is not None
    assert steered.objective.covariance.border is not None
