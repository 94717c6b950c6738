"""What each token weighs in the loss of one optimizer step: the fourth axis of a recipe. Pure.

The weights are computed once, over all samples of the step, and travel with them, so the loss is sum over tokens of
weight * loss and any split into micro-batches, ranks or packs gives the same gradient.

Not for: the tensors the weights end up in (the learner's), or which rollouts are trained on (recipes.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from burnish.records import Key, Sample

Reduction = Literal["token_mean", "sequence_mean", "constant", "prompt_mean"]


def weights(samples: Sequence[Sample], reduction: Reduction, constant: float | None = None) -> dict[Key, float]:
    """The weight of every sampled token of each sample, by its origin; tokens of the prompt weigh nothing.

    With B samples of P prompts, n_i sampled tokens in sample i, N = sum_i n_i, and N_p those of prompt p:

        token_mean      1 / N               every token the same                DAPO; verl token-mean
        sequence_mean   1 / (B n_i)         every sample the same               GRPO; verl seq-mean-token-mean
        prompt_mean     1 / (P N_p)         every prompt the same, and inside a prompt every token
        constant        1 / (B constant)    every token the same, whatever the lengths of this step's traces; Dr. GRPO
                                            with constant = max_new; verl seq-mean-token-sum with 1

    Raises ValueError where a sample has no sampled token (`Recipe.select` drops those), where two samples have the same
    origin, and unless `constant` is given above 0 exactly with "constant".
    """
    if (constant is not None) != (reduction == "constant"):
        raise ValueError(f"reduction {reduction!r} does not go with constant {constant!r}")
    if constant is not None and constant <= 0:
        raise ValueError(f"constant is {constant!r}: a length must be above 0")
    counts = {sample.origin: sample.tokens.sampled_count for sample in samples}
    if len(counts) != len(samples):
        again = next(key for key, times in Counter(sample.origin for sample in samples).items() if times > 1)
        raise ValueError(f"two samples come from the same rollout {again}: a step may hold a rollout once")
    empty = next((key for key, count in counts.items() if count == 0), None)
    if empty is not None:
        raise ValueError(f"the sample of rollout {empty} has no sampled token to train on: drop it")
    rows, total = len(counts), sum(counts.values())
    if reduction == "token_mean":
        return dict.fromkeys(counts, 1.0 / total)
    if reduction == "sequence_mean":
        return {key: 1.0 / (rows * count) for key, count in counts.items()}
    if constant is not None:
        return dict.fromkeys(counts, 1.0 / (rows * constant))
    prompts: Counter[str] = Counter()
    for key, count in counts.items():
        prompts[key.problem_id] += count
    return {key: 1.0 / (len(prompts) * prompts[key.problem_id]) for key in counts}
