"""What a step looked like, from its records: the numbers a practitioner steers by, each with its own reduction.

Not for: losses (the objective reports those) or storage.
"""

from __future__ import annotations

from collections.abc import Sequence

from burnish.metrics import Max, Mean, Metrics, Share, Sum
from burnish.records import Dropped, Group, Sample


def observe(groups: Sequence[Group], dropped: Sequence[Dropped], samples: Sequence[Sample]) -> Metrics:
    """Metrics of everything sampled in a step (`groups` whole, dropped ones included)."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    judged = [rollout for rollout in rollouts if rollout.verdict.outcome != "no_verdict"]
    length = {id(rollout): float(rollout.tokens.sampled_count) for rollout in rollouts}
    return {
        "verdict/pass_rate": Share.of(rollout.verdict.outcome == "right" for rollout in judged),
        "verdict/none": Share.of(rollout.verdict.outcome == "no_verdict" for rollout in rollouts),
        "reward/mean": Mean.of(sample.reward for sample in samples),
        "length/mean": Mean.of(length.values()),
        "length/max": Max(max(length.values(), default=0.0)),
        "length/right": Mean.of(length[id(rollout)] for rollout in judged if rollout.verdict.outcome == "right"),
        "length/wrong": Mean.of(length[id(rollout)] for rollout in judged if rollout.verdict.outcome == "wrong"),
        "share/thought": Share.of(rollout.verdict.parts.get("thought", 0.0) > 0 for rollout in judged),
        "share/format": Share.of(rollout.verdict.parts.get("format", 0.0) > 0 for rollout in judged),
        "share/cut": Share.of(rollout.stop == "length" for rollout in rollouts),
        "share/flat_groups": Share.of(
            len({rollout.verdict.outcome for rollout in group.rollouts if rollout.verdict.outcome != "no_verdict"}) < 2
            for group in groups
        ),
        "rollouts/sampled": Sum(float(len(rollouts))),
        "rollouts/trained": Sum(float(len(samples))),
        "rollouts/dropped": Sum(float(len(dropped))),
        "tokens/sampled": Sum(sum(length.values())),
    }
