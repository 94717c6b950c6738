"""Supervised fine-tuning: rows that say what to answer, learned token by token. Not for: preferences, or sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.algos.preference import cross_entropy
from burnish.algos.reduce import weights
from burnish.config import SftConfig
from burnish.errors import ConfigError
from burnish.learner.learner import Learner
from burnish.metrics import Mean, Metrics
from burnish.pipelines import rows, supervised
from burnish.prompts import Renderer
from burnish.records import Key, Sample
from burnish.run.course import Order
from burnish.run.display import Display

COLUMNS = (
    ("loss/token", "loss, nats a token", "{:6.3f}"),
    ("speed/trained", "tokens/s", "{:8.0f}"),
    ("optim/lr", "learning rate", "{:.1e}"),
)


def sft(config: SftConfig, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train, measure the loss on held-out rows before and after, save; returns the report. Raises InputError for bad input."""
    going_on = supervised.begin(config, resume)
    policy = supervised.start(config, lambda: rows.texts(config.data.train))
    if config.packing and not policy.lays_out:
        raise ConfigError(
            f"packing = true cannot be had with {type(policy.module).__name__}, whose attention is its own; set packing = false."
        )
    renderer = Renderer(policy.tokenizer)
    data = rows.split(
        config.data,
        lambda location: rows.documents(location, config.data, renderer),
        lambda document: len(document.tokens.ids),
        policy.context,
        "rows",
    )
    order = Order(len(data.train), config.steps.rows, config.seed)
    start, policy = policy, supervised.with_adapters(policy, config)
    torch.manual_seed(config.seed)
    settings = supervised.optimization(
        config.optimizer, supervised.steps_of(config.steps, order), "packed" if config.packing else "auto"
    )
    learner = Learner(policy, settings, seed=config.seed, evidence=Path(config.out) / "not_finite.jsonl")
    before = _held_out(learner, data.held_out)
    with Display("supervised fine-tuning", settings.total_updates, COLUMNS, quiet) as display:
        course, _ = supervised.open_course(config, learner, display, order, config.steps, going_on)
        supervised.keep_start(config, start)
        for notice in data.notices:
            display.note(notice)
        for step in course.steps():
            samples = [_sample(number, data.train[number]) for number in course.rows(step)]
            stats = learner.update(samples, objective, lambda part: weights(part, config.reduction))
            course.done(step, stats, sum(len(sample.tokens.ids) for sample in samples))
    supervised.save(policy, Path(config.out))
    report: dict[str, Any] = {"rows": {"train": len(data.train), "held_out": len(data.held_out)}}
    if before:
        after = _held_out(learner, data.held_out)
        change = [late - early for early, late in zip(before, after, strict=True)]
        for name, values in (("base", before), ("final", after)):
            report[name] = {"loss, nats a token": supervised.figure(values, 0.0, math.inf)}
        report["change"] = {"loss": supervised.figure(change, -math.inf, math.inf)}
    return supervised.finish(config, course, report, data.notices)


def objective(fields: Any) -> tuple[Any, Metrics]:
    """-sum_N weight log pi; the metric is a mean over tokens, whatever the reduction."""
    nll = -float(fields.logp_N.detach().sum())
    return cross_entropy(fields.logp_N, fields.weight_N), {"loss/token": Mean(nll, float(fields.logp_N.numel()))}


def _sample(number: int, document: rows.Document) -> Sample:
    return Sample(Key(str(number), 0), document.tokens, (0.0,) * len(document.tokens.ids), 0.0, 0, 0)


def _held_out(learner: Learner, documents: Sequence[rows.Document]) -> list[float]:
    """The mean loss of each held-out prompt's learned tokens, nats; prompts in a fixed order."""
    found: dict[str, list[float]] = {}
    for document, logp in zip(documents, learner.log_probs([each.tokens for each in documents]), strict=True):
        found.setdefault(document.cluster, []).append(-math.fsum(logp) / document.tokens.sampled_count)
    return [math.fsum(values) / len(values) for values in found.values()]
