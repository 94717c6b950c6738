"""What other systems compute on one small batch, and that the settings which claim to reproduce them do: values and gradients.

The batch: one group of 4 rows with 2, 3, 4 and 1 sampled tokens, rewards 1, 0, 0, 0;
    l[i,t] = -0.5 - 0.1 i - 0.05 t,  l - o = 0.15 (i + 1) * (+1 if i + t is even else -1),  o - u = 0.3 (t - 1), doubled for i = 2,
    f = l - 0.2 + 0.1 t,  advantages of the losses 1.5, -0.5, -0.5, -0.5,  clip 0.2 and 0.28.
The numbers were measured by running the functions of verl 0.10 dev, OpenRLHF 0.11.0, NeMo-RL and SkyRL (August 2026) and prime-rl
0.8.0 on it; TRL 1.16.0's, OpenRLHF's group_norm and the population variances were evaluated from their formulas, and so was MaxRL.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.algos.correction import correction_weights
from burnish.algos.objective import Correction
from burnish.algos.peers import ROWS, Row
from burnish.algos.recipes import Recipe, recipe
from burnish.learner.batch import TokenFields
from burnish.records import Group, Key, Notes, Problem, Prompt, Rollout, Sample, Tokens, Verdict

pytestmark = pytest.mark.conformance

LENGTHS = (2, 3, 4, 1)
PLACES = [(i, t) for i, n in enumerate(LENGTHS) for t in range(n)]
TURNS = (False, True, True, False, False, True, True)  # a prompt of one token, a turn, a tool's reply, a turn

ADVANTAGES: dict[str, list[float]] = {
    "A grpo bessel 1e-6": [1.499997, -0.499999, -0.499999, -0.499999],
    "A grpo TRL": [1.4997, -0.4999, -0.4999, -0.4999],
    "A grpo OpenRLHF": [1.5, -0.5, -0.5, -0.5],
    "A grpo TRL async": [1.732051, -0.577350, -0.577350, -0.577350],
    "A grpo NeMo-RL": [1.0, -0.577349, -0.577349, -0.577349],
    "A dr_grpo": [0.75, -0.25, -0.25, -0.25],
    "A rloo": [1.0, -0.333333, -0.333333, -0.333333],
    "A maxrl": [3.0, -1.0, -1.0, -1.0],
    "A reinforce_pp bessel": [1.897367, -0.474342, -0.474342, -0.474342],
    "A reinforce_pp population": [2.0, -0.5, -0.5, -0.5],
    "A reinforce_pp_baseline": [1.897367, -0.474342, -0.474342, -0.474342],
}
OVER_TURNS: dict[str, list[float]] = {
    "A ppo": [0.0, 0.4006, 0.5270, 0.0, 0.0, 0.66, 0.8],
    "A reinforce_pp turns": [0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0],
}
LOSSES: dict[str, float] = {
    "L clip token-mean": 0.120943,
    "L clip seq-mean": -0.008296,
    "L clip seq-sum": 0.302357,
    "L clip seq-sum-norm": 0.075589,
    "L dr_grpo TRL": 0.037795,
    "L gspo": -0.036895,
    "L gspo token-mean": 0.075726,
    "L cispo verl": -0.127454,
    "L cispo TRL": -0.124464,
    "L dapo + KL": 0.121867,
    "L prime-rl": 0.151368,
    "L tis OpenRLHF": 0.183199,
    "L icepop OpenRLHF": 0.005576,
    "L geometric OpenRLHF": 0.281263,
}
GRADIENTS: dict[str, list[float]] = {  # d loss / d l, row after row
    "L clip token-mean": [-0.174275, -0.129106, 0, 0.067493, 0, 0.078416, 0, 0.078416, 0, 0],
    "L gspo": [-0.1875] * 2 + [0.037702] * 3 + [0.03125] * 4 + [0],
    "L cispo verl": [-0.174275, -0.129106, 0.04, 0.064, 0.04, 0.064, 0.04, 0.064, 0.04, 0.04],
}
WEIGHTS: dict[str, dict[int, list[float]]] = {  # row -> a weight a token
    "W tis verl": {2: [0.548812, 1.0, 1.822119, 2.0]},
    "W icepop verl": {1: [0.740818, 1.0, 1.349859], 2: [0.548812, 1.0, 0.0, 0.0]},
    "W sequence_tis verl": {0: [0.740818] * 2, 1: [1.0] * 3, 2: [2.0] * 4, 3: [0.740818]},
    "W sequence_mask verl": {2: [0.0] * 4},
}
KLS: dict[str, tuple[float, list[float]]] = {  # the mean over tokens, and the gradient on row 0
    "KL k1": (0.1, [0.1, 0.1]),
    "KL k2": (0.01, [0.02, 0.01]),
    "KL k3": (0.009461, [0.018127, 0.009516]),
}


def rows(table: object) -> list[Row]:
    return [row for row in ROWS if row.name in table]  # type: ignore[operator]


def named(table: object) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows(table), ids=lambda row: row.name)


def made(row: Row) -> Recipe:
    needs_constant = row.recipe == "dr_grpo" and "constant" not in row.settings
    return recipe(row.recipe, **row.settings, **({"constant": 8} if needs_constant else {}))


def group(sampled: list[tuple[bool, ...]], outcomes: list[str]) -> Group:
    rollouts = tuple(
        Rollout(
            i,
            Tokens(tuple(range(len(mask))), mask, (-1.0,) * len(mask)),
            "",
            "eos",
            Verdict(outcome, float(outcome == "right")),  # type: ignore[arg-type]
            0,
            0,
        )
        for i, (mask, outcome) in enumerate(zip(sampled, outcomes, strict=True))
    )
    return Group(Problem("p", "t", "?", {}, "train", "f"), Prompt("p", (), "", (0,)), rollouts)


def batch(chosen: Recipe, advantages: tuple[float, ...] = (1.5, -0.5, -0.5, -0.5)) -> TokenFields:
    samples = [
        Sample(Key("p", i), Tokens.join((1,), (5,) * n, (0.0,) * n), (0.0,) * (n + 1), 0.0, 0, 0)
        for i, n in enumerate(LENGTHS)
    ]
    weight = chosen.weigh(samples)

    def flat(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    logp_N = flat([-0.5 - 0.1 * i - 0.05 * t for i, t in PLACES]).requires_grad_()
    old_N = logp_N.detach() - flat([0.15 * (i + 1) * (1 if (i + t) % 2 == 0 else -1) for i, t in PLACES])
    return TokenFields(
        logp_N=logp_N,
        sampler_N=old_N - flat([0.3 * (t - 1) * (2 if i == 2 else 1) for i, t in PLACES]),
        advantage_N=flat([advantages[i] for i, _ in PLACES]),
        weight_N=flat([weight[Key("p", i)] for i, _ in PLACES]),
        row_N=torch.tensor([i for i, _ in PLACES]),
        on_policy_N=torch.zeros(len(PLACES), dtype=torch.bool),
        reference_N=logp_N.detach() - 0.2 + flat([0.1 * t for _, t in PLACES]),
        proximal_N=old_N,
    )


def gradient(loss: Tensor, fields: TokenFields) -> list[float]:
    (slope,) = torch.autograd.grad(loss, fields.logp_N)
    return slope.tolist()  # type: ignore[no-any-return]


def test_every_row_that_is_claimed_has_its_numbers_here() -> None:
    tables = (ADVANTAGES, OVER_TURNS, LOSSES, WEIGHTS, KLS)
    assert sorted(name for table in tables for name in table) == sorted(row.name for row in ROWS)


@named(ADVANTAGES)
def test_advantages(row: Row) -> None:
    one = group([(False, *(True,) * n) for n in LENGTHS], ["right", "wrong", "wrong", "wrong"])
    kept, _ = made(row).select([one])
    samples = made(row).credit_groups(kept, {})
    assert [sample.advantages[-1] for sample in samples] == pytest.approx(ADVANTAGES[row.name], abs=1e-6)


@named(OVER_TURNS)
def test_advantages_over_a_reply_that_the_policy_did_not_write(row: Row) -> None:
    values = (0.0, 0.5, 0.4, 0.9, 0.9, 0.3, 0.2)
    [sample] = made(row).credit_groups([group([TURNS], ["right"])], {Key("p", 0): Notes(values=values)})
    spread = [a if written else 0.0 for a, written in zip(sample.advantages, TURNS, strict=True)]
    assert spread == pytest.approx(OVER_TURNS[row.name], abs=5e-5)  # four digits were printed


@named(LOSSES)
def test_losses(row: Row) -> None:
    fields = batch(made(row))
    assert made(row).objective(fields)[0].item() == pytest.approx(LOSSES[row.name], abs=1e-6)


@named(GRADIENTS)
def test_gradients(row: Row) -> None:
    fields = batch(made(row))
    assert gradient(made(row).objective(fields)[0], fields) == pytest.approx(GRADIENTS[row.name], abs=1e-6)


@named(WEIGHTS)
def test_correction_weights(row: Row) -> None:
    chosen = made(row)
    assert isinstance(chosen.objective.correction, Correction)
    weights, removed, _ = correction_weights(chosen.objective.correction, batch(chosen))
    for number, expected in WEIGHTS[row.name].items():
        found = [weights[n].item() for n, (i, _) in enumerate(PLACES) if i == number]
        assert found == pytest.approx(expected, abs=1e-6)
        assert [bool(removed[n]) for n, (i, _) in enumerate(PLACES) if i == number] == [w == 0.0 for w in expected]


@named(KLS)
def test_kl_estimators(row: Row) -> None:
    fields = batch(made(row), advantages=(0.0,) * 4)  # the surrogate is 0 then, and the KL alone is left
    loss, _ = made(row).objective(fields)
    value, slope = KLS[row.name]
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert gradient(loss, fields)[:2] == pytest.approx(slope, abs=1e-6)


def test_in_a_group_of_one_verl_gives_the_raw_reward_and_this_nothing() -> None:
    one = group([(False, True)], ["right"])
    assert recipe("grpo").select([one])[0] == []
    assert recipe("grpo").credit([1.0]) == [0.0]  # verl: 0.999999


def test_the_overlong_penalty_is_the_published_one() -> None:
    """L_max 8, L_buf 4, factor 1: 0 up to 4 tokens, then min(-(n - 4) / 4, 0)."""
    chosen = recipe("dapo", overlong_buffer=4, overlong_limit=8)
    ones = group([(False, *(True,) * n) for n in (3, 4, 5, 6, 8, 9)], ["wrong"] * 6)
    assert [chosen.reward.reward(r) for r in ones.rollouts] == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]
