"""What the engine draws follows the distribution it says it draws from (chi-square, seeded)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from burnish.engine.embedded import EmbeddedEngine
from burnish.records import Completion, Sampling
from tiny import by_key, eager, policy, prompts, requests

DRAWS = 4000
SETTINGS = {
    "plain": Sampling(max_new=2, seed=1),
    "temperature": Sampling(temperature=0.7, max_new=2, seed=1),
    "top_k": Sampling(top_k=5, max_new=2, seed=1),
    "top_p": Sampling(top_p=0.8, max_new=2, seed=1),
}


def exact(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The distribution, written out in float64 by sorting."""
    weights = np.exp((logits - logits.max()) / sampling.temperature)
    order = np.argsort(-weights)
    kept = order[: sampling.top_k or len(order)]
    share = weights[kept] / weights[kept].sum()
    kept = kept[: int(np.searchsorted(np.cumsum(share), sampling.top_p) + 1)] if sampling.top_p < 1 else kept
    result = np.zeros_like(weights)
    result[kept] = weights[kept] / weights[kept].sum()
    return result


@pytest.fixture(scope="module", params=SETTINGS)
def drawn(request: pytest.FixtureRequest) -> tuple[list[Completion], np.ndarray, np.ndarray, Sampling]:
    """Completions of one prompt, the exact first-token distribution [V], and that of the second given the first [V, V]."""
    sampling = SETTINGS[request.param]
    subject = policy(initializer_range=0.25)
    given = prompts([5])
    completions = by_key(EmbeddedEngine(subject, rows=512).generate(requests(given, DRAWS, sampling)))
    own = eager(subject)
    with torch.inference_mode():
        first = own(torch.tensor([given[0].ids])).logits[0, -1].double().numpy()
        rows = [[*given[0].ids, token] for token in range(len(first))]
        second = own(torch.tensor(rows)).logits[:, -1].double().numpy()
    return (
        list(completions.values()),
        exact(first, sampling),
        np.stack([exact(row, sampling) for row in second]),
        sampling,
    )


def p_value(observed: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square over the cells that expect five draws or more, the others together."""
    often = expected >= 5
    seen = np.append(observed[often], observed[~often].sum())
    due = np.append(expected[often], expected[~often].sum())
    if due[-1] < 5:  # too few left over to be a cell of their own
        seen, due = np.append(seen[:-2], seen[-2:].sum()), np.append(due[:-2], due[-2:].sum())
    assert len(due) >= 5
    return float(stats.chisquare(seen, due * seen.sum() / due.sum()).pvalue)


def test_first_tokens_follow_the_distribution(drawn: tuple) -> None:
    completions, first_V, _, _ = drawn
    observed = np.bincount([completion.ids[0] for completion in completions], minlength=len(first_V))
    assert p_value(observed, DRAWS * first_V) > 1e-4


def test_first_and_second_tokens_follow_their_joint_distribution(drawn: tuple) -> None:
    completions, first_V, second_VV, _ = drawn
    observed = np.zeros_like(second_VV)
    for completion in completions:
        observed[completion.ids] += 1
    assert p_value(observed.ravel(), (DRAWS * first_V[:, None] * second_VV).ravel()) > 1e-4


def test_second_tokens_follow_their_own_distribution(drawn: tuple) -> None:
    completions, first_V, second_VV, _ = drawn
    observed = np.bincount([completion.ids[1] for completion in completions], minlength=len(first_V))
    assert p_value(observed, DRAWS * (first_V @ second_VV)) > 1e-4


def test_nothing_outside_the_support_is_drawn(drawn: tuple) -> None:
    completions, first_V, second_VV, _ = drawn
    assert all(first_V[a] > 0 and second_VV[a, b] > 0 for a, b in (completion.ids for completion in completions))


def test_reported_log_probabilities_are_of_the_distribution_drawn_from(drawn: tuple) -> None:
    completions, first_V, second_VV, _ = drawn
    reported = np.array([completion.logprobs for completion in completions])
    true = np.log([(first_V[a], second_VV[a, b]) for a, b in (completion.ids for completion in completions)])
    assert np.abs(reported - true).max() < 1e-4
