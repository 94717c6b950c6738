"""A family's way from its folder to a trained model and back, and what it showed.

`tests/test_models_families.py` holds every family to it; `benchmarks/families.py` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from burnish.engine.choice import Serving, engine_for
from burnish.learner.learner import Learner, Optimization
from burnish.policy.model import Policy, load
from burnish.prompts import Renderer
from burnish.records import Key, Message, Problem, Request, Sample, Sampling, Tokens
from tiny import by_key, joined, requests

QUESTIONS = ("Add 3 and 5.", "What is 12 times 7?", "Add 3 and 6.")


@dataclass(frozen=True)
class Round:
    """What was seen on the way, in float32; gaps are the most nats between what the engine says of a token and what the learner says.

    prompts_kept  every row begins with the ids of its rendered prompt
    gap           before anything is trained
    learned       nats by which the rows that a step made likelier rose, above those that it made less likely
    version       what the engine then says it serves
    proof_gap     of the canary prompt, with the new weights
    gap_after     of new traces, with the new weights
    same_logits   the model that was saved and loaded again says the same, bit for bit
    same_words    and has the same chat template and stop tokens
    """

    engine: Serving
    prompts_kept: bool
    gap: float
    learned: float
    version: int
    proof_gap: float
    gap_after: float
    same_logits: bool
    same_words: bool

    @property
    def whole(self) -> bool:
        """Whether everything was as it has to be."""
        near = max(self.gap, self.proof_gap, self.gap_after) < 1e-4
        return near and self.prompts_kept and self.learned > 0 and self.same_logits and self.same_words


def asked(policy: Policy, samples: int, max_new: int = 10) -> list[Request]:
    renderer = Renderer(policy.tokenizer)
    problems = [Problem(f"p{number}", "t", text, {}, "train", "") for number, text in enumerate(QUESTIONS)]
    given = [renderer.prompt(problem, (Message("user", problem.question),)) for problem in problems]
    return requests(given, samples, Sampling(max_new=max_new, stop_ids=renderer.stop_ids(policy.stop_ids), seed=5))


def drawn(engine: Serving, listed: list[Request]) -> list[Tokens]:
    return joined(listed, by_key(engine.generate(listed)))


def pull(fields: Any) -> tuple[Any, dict[str, Any]]:
    return -(fields.weight_N * fields.advantage_N * fields.logp_N).sum(), {}


def train(policy: Policy, rows: list[Tokens], keys: list[Key]) -> Learner:
    """One optimizer step that makes every second row likelier and the others less likely."""
    learner = Learner(policy, Optimization(1e-2, 1, micro_batch_tokens=256))
    signs = [1.0 if number % 2 else -1.0 for number in range(len(rows))]
    samples = [
        Sample(key, tokens, tuple(sign * s for s in tokens.sampled), sign, 0, 0)
        for key, tokens, sign in zip(keys, rows, signs, strict=True)
    ]
    learner.update(samples, pull, lambda part: {sample.origin: 0.1 for sample in part})
    return learner


def gaps(rows: list[Tokens], scored: list[tuple[float, ...]]) -> list[float]:
    """Nats between what the sampler and the learner say of every sampled token."""
    return [
        abs(row.logprobs[t] - own[t])
        for row, own in zip(rows, scored, strict=True)
        for t in range(len(own))
        if row.sampled[t]
    ]


def round_trip(policy: Policy, saved: Path) -> Round:
    """Sample, train a step, sample again, save to `saved`, load. The policy is in float32."""
    engine = engine_for(policy, rows=4)
    listed = asked(policy, 2)
    rows = drawn(engine, listed)
    before = Learner(policy, Optimization(1e-2, 1)).log_probs(rows)
    learner = train(policy, rows, [request.key for request in listed])
    after = learner.log_probs(rows)
    moved = [sum(late) - sum(early) for early, late in zip(before, after, strict=True)]
    engine.load(policy.module, 1)
    ids = listed[0].prompt.ids
    version, proof = engine.prove(ids)
    canary = Tokens(ids, (False, *(True,) * (len(ids) - 1)), (0.0,) * len(ids))
    own = learner.log_probs([canary])[0][1:]
    again = drawn(engine, listed)
    policy.save(saved)
    reloaded = load(str(saved), "float32")
    row_1L = torch.tensor([rows[0].ids])
    with torch.inference_mode(), policy.evaluating():
        logits, same = (one.logits(one.hidden(row_1L)[0]) for one in (policy, reloaded))
    words = [(one.tokenizer.chat_template, one.stop_ids) for one in (policy, reloaded)]
    return Round(
        engine,
        all(
            row.ids[: len(request.prompt.ids)] == request.prompt.ids for row, request in zip(rows, listed, strict=True)
        ),
        max(gaps(rows, before)),
        sum(moved[1::2]) - sum(moved[::2]),
        version,
        max(abs(a - b) for a, b in zip(proof, own, strict=True)),
        max(gaps(again, learner.log_probs(again))),
        torch.equal(logits, same),
        words[0] == words[1],
    )


def mean_gap(policy: Policy) -> float:
    """Mean nats between sampler and learner, of 12 rows; then a step is trained. For a policy in bfloat16."""
    listed = asked(policy, 4)
    rows = drawn(engine_for(policy, rows=16), listed)
    found = gaps(rows, Learner(policy, Optimization(1e-3, 1)).log_probs(rows))
    train(policy, rows, [request.key for request in listed])
    return sum(found) / len(found)
