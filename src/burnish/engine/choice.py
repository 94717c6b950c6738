"""Which engine serves a policy: the one function that everything that samples asks. Not for: sampling.

No family is taken on its name's word alone: but for those that the compiled kernels are tested with, an engine first draws a few tokens
for two rows, and what it says of them must be what the module says in one pass. This has caught families whose cache is of another
kind, and one whose own cached pass is wrong for more than one row.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.fallback import FallbackEngine
from burnish.errors import BurnishError, ConfigError, EngineError
from burnish.policy import adapters
from burnish.policy.fused import FAMILIES
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Key, Prompt, Request, Sampling

TRIED = 8
"""Prompt tokens of the trial; half as many are drawn for each of two rows."""
NEAR = 2e-3
"""Nats between the trial's two ways to a log-probability, both in float32; a slip is far more, a rounding far less."""

Serving = EmbeddedEngine | FallbackEngine


class Wanted(Protocol):
    """What a run file's section `sampling` says of the engine."""

    @property
    def rows(self) -> int: ...
    @property
    def cache_gib(self) -> float | None: ...
    @property
    def cache(self) -> str: ...
    @property
    def weights(self) -> str: ...
    @property
    def drafts(self) -> str: ...


def engine_of(policy: Policy, wanted: Wanted) -> Serving:
    """The engine that a run file asks for; a model that guesses ahead is loaded in the policy's precision. Raises as `engine_for`."""
    options = Options(
        wanted.rows,
        cache_bytes=None if wanted.cache_gib is None else int(wanted.cache_gib * 2**30),
        cache_dtype=torch.bfloat16 if wanted.cache == "bfloat16" else None,
        int8=wanted.weights == "int8",
        lookup=wanted.drafts == "lookup",
    )
    if wanted.drafts in ("off", "lookup"):
        return engine_for(policy, options=options)
    if not Path(wanted.drafts).expanduser().is_dir():
        raise ConfigError(
            f'sampling.drafts is {wanted.drafts!r}, which is no folder; it takes "off", "lookup", or the folder of a smaller model '
            "with the same vocabulary."
        )
    compute = "bfloat16" if policy.compute is torch.bfloat16 else "float32"
    draft = adapters.load(wanted.drafts, compute, device=str(policy.device))
    return engine_for(policy, options=options, draft=draft)


def engine_for(policy: Policy, rows: int = 512, options: Options | None = None, draft: Policy | None = None) -> Serving:
    """The embedded engine where it can serve the policy, else transformers' generate behind the same protocol.

    rows     most rows decoded together
    options  of the embedded engine, which hold the rows too
    draft    a smaller policy that guesses ahead for the embedded engine

    Raises EngineError where what transformers samples is not what the network says, or options would have no effect.
    """
    options = options or Options(rows)
    if policy.lays_out and (policy.family in FAMILIES or _off(EmbeddedEngine(_exact(policy))) <= NEAR):
        return EmbeddedEngine(policy, options=options, draft=draft)
    if draft is not None or options != Options(options.rows):
        raise EngineError(
            f"{policy.family} is sampled by transformers' generate, on which sampling.cache_gib, cache, weights and drafts have no effect; "
            "leave them out."
        )
    for one_by_one in (False, True):
        if (off := _off(FallbackEngine(_exact(policy), one_by_one=one_by_one))) <= NEAR:
            return FallbackEngine(policy, options.rows, one_by_one)
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
