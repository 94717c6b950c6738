"""Which engine serves a policy: the one function that everything that samples asks. Not for: sampling.

No family is taken on its name's word alone: but for those that the compiled kernels are tested with, an engine first draws a few tokens
for two rows, and what it says of them must be what the module says in one pass. This has caught families whose cache is of another
kind, and one whose own cached pass is wrong for more than one row.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.fallback import FallbackEngine
from burnish.errors import BurnishError, EngineError
from burnish.policy.fused import FAMILIES
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Key, Prompt, Request, Sampling

TRIED = 8
"""Prompt tokens of the trial; half as many are drawn for each of two rows."""
NEAR = 2e-3
"""Nats between the trial's two ways to a log-probability, both in float32; a slip is far more, a rounding far less."""

Serving = EmbeddedEngine | FallbackEngine


def engine_for(policy: Policy, rows: int = 512) -> Serving:
    """The embedded engine where it can serve the policy, else transformers' generate behind the same protocol.

    rows  most rows decoded together

    Raises EngineError where what transformers samples is not what the network says.
    """
    if policy.lays_out and (policy.family in FAMILIES or _off(EmbeddedEngine(_exact(policy))) <= NEAR):
        return EmbeddedEngine(policy, rows)
    for one_by_one in (False, True):
        if (off := _off(FallbackEngine(_exact(policy), one_by_one=one_by_one))) <= NEAR:
            return FallbackEngine(policy, rows, one_by_one)
    said = "fails" if math.isinf(off) else f"gives log-probabilities {off:.2g} nats off those of its own forward pass"
    raise EngineError(
        f"{policy.family} cannot be sampled: transformers' generate {said}, in float32, so nothing measured or trained with it would "
        "be right. Take another model, or another version of transformers."
    )


def notices(engine: object) -> tuple[str, ...]:
    """What a person should know of the engine that was chosen, in sentences."""
    return (engine.notice,) if isinstance(engine, FallbackEngine) else ()


def _exact(policy: Policy) -> Policy:
    return replace(policy, compute=torch.float32)


def _off(engine: Serving) -> float:
    """Nats between what the engine says of the tokens it draws and what the module says in one pass; inf where it cannot draw."""
    policy = engine.policy
    count = max(1, min(TRIED, policy.context // 2, policy.vocabulary))
    prompt = Prompt("trial", (), "", tuple(range(count)))
    drawing = Sampling(max_new=max(1, count // 2))
    try:
        drawn = [*engine.generate(Request(Key("trial", i), prompt, drawing) for i in range(2))]
    except (BurnishError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return math.inf  # a cache that is not of the shape ours has
    worst = 0.0
    with torch.inference_mode(), policy.evaluating():
        for one in drawn:
            ids = torch.tensor([*prompt.ids, *one.ids], device=policy.device)
            own_C, _ = policy.log_probs_of(
                policy.hidden(ids[None])[0, count - 1 : -1], ids[count:], SamplingDistribution()
            )
            worst = max(worst, float((own_C.cpu().float() - torch.tensor(one.logprobs)).abs().max()))
    return worst
