"""Preference learning on pairs: dpo, ipo, cdpo, kto, orpo, simpo. Not for: making pairs (rows.py), or the losses themselves.

The reference never moves, so its log-probabilities are taken once, before the first step, and no second model stays in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from burnish.algos.preference import CHOSEN, REJECTED, Preference, PreferenceStep
from burnish.config import LossConfig, PreferenceConfig
from burnish.errors import DataError, ModelError
from burnish.learner.learner import Learner
from burnish.pipelines import rows, supervised
from burnish.pipelines.rows import Preferred
from burnish.policy import adapters
from burnish.policy.model import Policy
from burnish.prompts import Renderer
from burnish.records import Key, Notes, Sample, Tokens
from burnish.run.course import Order
from burnish.run.display import Display

Scores = list[tuple[float, ...]]
COLUMNS = (
    ("loss/preference", "loss", "{:6.3f}"),
    ("accuracy", "pairs in order", "{:6.1%}"),
    ("reward/chosen", "reward of the chosen", "{:6.3f}"),
    ("reward/rejected", "reward of the rejected", "{:6.3f}"),
    ("speed/trained", "tokens/s", "{:8.0f}"),
)


def preference(config: PreferenceConfig, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train, measure on held-out pairs before and after where there are any, save; returns the report."""
    going_on = supervised.begin(config, resume)
    policy = supervised.start(config, lambda: rows.texts(config.data.train))
    loss = loss_of(config.loss)
    renderer = Renderer(policy.tokenizer)
    data = rows.split(
        config.data,
        lambda location: rows.pairs(location, config.data, renderer, config.seed),
        lambda pair: pair.tokens,
        policy.context,
        "pairs",
    )
    order = Order(len(data.train), config.steps.rows, config.seed)
    base = policy
    policy = supervised.with_adapters(policy, config)
    torch.manual_seed(config.seed)
    settings = supervised.optimization(config.optimizer, supervised.steps_of(config.steps, order), "pairs")
    learner = Learner(policy, settings, seed=config.seed, evidence=Path(config.out) / "not_finite.jsonl")
    stored = _reference(config, learner, loss, data.train)  # the weights are still the start's, in a resumed run too
    held = [_samples(str(i), pair, config.loss.orpo_prompts, None) for i, pair in enumerate(data.held_out)]
    held_reference = _held_reference(config, learner, loss, held)
    before = _margins(learner, loss, held, held_reference, data.held_out)
    with Display(f"preferences, {loss.kind}", settings.total_updates, COLUMNS, quiet) as display:
        course, _ = supervised.open_course(config, learner, display, order, config.steps, going_on)
        supervised.keep_start(config, base)
        for notice in data.notices:
            display.note(notice)
        for step in course.steps():
            numbers = course.rows(step)
            samples = [
                sample
                for number in numbers
                for sample in _samples(str(number), data.train[number], config.loss.orpo_prompts, stored.get(number))
            ]
            kl = 0.0 if loss.paired else _kl(learner, data.train, numbers, stored)
            stats = learner.update(samples, step_of(loss, samples, kl), _unweighted)
            course.done(step, stats, sum(len(sample.tokens.ids) for sample in samples))
    supervised.save(policy, Path(config.out))
    report: dict[str, Any] = {
        "loss": loss.kind,
        "pairs": {"train": len(data.train), "held_out": len(data.held_out)},
    }
    if held:
        after = _margins(learner, loss, held, held_reference, data.held_out)
        report["base"], report["final"] = measured(before), measured(after)
    return supervised.finish(config, course, report, data.notices)


def loss_of(config: LossConfig) -> Preference:
    """The pure loss that a config names."""
    return Preference(
        config.name,
        config.beta,
        config.label_smoothing,
        config.gamma,
        config.orpo_lambda,
        config.ipo_mean,
        (config.desirable_weight, config.undesirable_weight),
    )


def step_of(loss: Preference, samples: Sequence[Sample], kl: float = 0.0) -> PreferenceStep:
    """The objective of one optimizer step, with the denominators of the whole step."""
    units = len(samples) // 2 if loss.paired else len(samples)
    tokens = sum(sample.tokens.sampled_count for sample in samples if sample.origin.index == CHOSEN)
    return PreferenceStep(loss, units, tokens, kl)


def _unweighted(samples: Sequence[Sample]) -> dict[Key, float]:
    """The objective holds the step's denominator itself."""
    return {sample.origin: 1.0 for sample in samples}


def _samples(name: str, pair: Preferred, prompts: bool, reference: tuple[Any, ...] | None) -> list[Sample]:
    """The two rows of a pair. With `prompts` the chosen one's prompt is learned too, with advantage 0: no part of the comparison."""
    made = []
    for index, ids in ((CHOSEN, pair.chosen), (REJECTED, pair.rejected)):
        tokens = Tokens.join(pair.prompt, ids, (0.0,) * len(ids))
        compared = tuple(map(float, tokens.sampled))
        if prompts and index == CHOSEN:
            tokens = replace(tokens, sampled=(False, *(True for _ in tokens.ids[1:])))
        notes = Notes() if reference is None else Notes(reference=reference[index])
        made.append(Sample(Key(name, index), tokens, compared, 0.0, 0, 0, notes))
    return made


def _reference(
    config: PreferenceConfig, learner: Learner, loss: Preference, pairs: Sequence[Preferred]
) -> dict[int, tuple[Any, ...]]:
    """By pair: log-probabilities of its two rows and, for kto, of its prompt with the completions of the pair before it."""
    if not loss.needs_reference:
        return {}
    tokens: list[Tokens] = []
    for number, pair in enumerate(pairs):
        tokens += [sample.tokens for sample in _samples("", pair, False, None)]
        if not loss.paired:
            tokens += _mismatched(pairs, number, learner.policy.context)
    scored = _scored(config, learner, tokens)
    width = len(tokens) // len(pairs)
    return {number: tuple(scored[number * width : (number + 1) * width]) for number in range(len(pairs))}


def _scored(config: PreferenceConfig, learner: Learner, tokens: Sequence[Tokens]) -> Scores:
    """Under the reference: the start itself (its adapters, still at zero, change nothing), or the model that the config names."""
    if config.reference.path is None:
        return learner.log_probs(tokens)
    other = adapters.start(config.reference.path, config.model.compute, config.model.device)
    if not _same_tokenizer(other, learner.policy):
        raise ModelError(
            f"The reference {config.reference.path} has another tokenizer than {config.model.path}, so their log-probabilities cannot "
            "be compared; name a reference of the same family."
        )
    return learner.log_probs(tokens, other)


def _same_tokenizer(one: Policy, other: Policy) -> bool:
    return bool(one.tokenizer.get_vocab() == other.tokenizer.get_vocab())


def _mismatched(pairs: Sequence[Preferred], number: int, context: int) -> list[Tokens]:
    """A prompt with both completions of the nearest pair before it that is of another prompt and fits: what kto's KL is made on."""
    own = pairs[number]

    def fits(other: Preferred) -> bool:
        longest = max(len(other.chosen), len(other.rejected))
        return other.cluster != own.cluster and len(own.prompt) + longest <= context

    other = next((pairs[number - back] for back in range(1, len(pairs)) if fits(pairs[number - back])), None)
    if other is None:
        raise DataError(
            f"kto compares with completions of other prompts, but for {own.place} there is none, or none that fits the model's context of "
            f"{context} tokens behind its prompt; give more prompts, or set data.max_tokens lower."
        )
    return [Tokens.join(own.prompt, ids, (0.0,) * len(ids)) for ids in (other.chosen, other.rejected)]


def _kl(learner: Learner, pairs: Sequence[Preferred], numbers: Sequence[int], stored: Mapping[int, Any]) -> float:
    """z of kto over the whole step: max(0, mean of log pi - log reference over mismatched rows)."""
    tokens = [each for number in numbers for each in _mismatched(pairs, number, learner.policy.context)]
    own = learner.log_probs(tokens)
    reference = [each for number in numbers for each in stored[number][2:]]
    apart = [math.fsum(a) - math.fsum(b) for a, b in zip(own, reference, strict=True)]
    return max(0.0, math.fsum(apart) / len(apart))


def _held_reference(
    config: PreferenceConfig, learner: Learner, loss: Preference, held: Sequence[Sequence[Sample]]
) -> Scores | None:
    if not loss.needs_reference or not held:
        return None
    return _scored(config, learner, [sample.tokens for part in held for sample in part])


def _margins(
    learner: Learner,
    loss: Preference,
    held: Sequence[Sequence[Sample]],
    reference: Scores | None,
    pairs: Sequence[Preferred],
) -> dict[str, list[float]]:
    """Implicit reward of the chosen minus that of the rejected, by prompt: sums against the reference, means a token without one."""
    flat = [sample for part in held for sample in part]
    own = learner.log_probs([sample.tokens for sample in flat])
    reward = []
    for i, sample in enumerate(flat):
        compared = [place for place, one in enumerate(sample.advantages) if one]
        total = math.fsum(own[i][place] for place in compared)
        reward.append(
            total / len(compared)
            if reference is None
            else loss.beta * (total - math.fsum(reference[i][place] for place in compared))
        )
    found: dict[str, list[float]] = {}
    for number, pair in enumerate(pairs):
        found.setdefault(pair.cluster, []).append(reward[2 * number] - reward[2 * number + 1])
    return found


def measured(apart: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Accuracy (a tie is half right) and mean margin, with the prompt as the unit."""
    right = [_mean([0.5 if each == 0 else float(each > 0) for each in part]) for part in apart.values()]
    return {
        "accuracy": supervised.figure(right),
        "margin": supervised.figure([_mean(part) for part in apart.values()], -math.inf, math.inf),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
