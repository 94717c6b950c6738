"""A Bradley-Terry reward model from pairs, and how good it is on prompts it never saw. Not for: training a policy with it.

Next to its accuracy stands that of a rule that looks at the length alone, since that is the shortcut such models take first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.algos.preference import CHOSEN, REJECTED, RewardStep
from burnish.config import RewardModelConfig
from burnish.evaluate.calibration import calibration_error, reliability
from burnish.evaluate.statistics import paired_difference
from burnish.learner.critic import reward_row, scores
from burnish.learner.learner import Learner
from burnish.pipelines import rows, supervised
from burnish.pipelines.rows import Preferred
from burnish.policy.heads import Scorer, load_scorer, scorer_from
from burnish.prompts import Renderer
from burnish.records import Key, Sample
from burnish.run.course import Order
from burnish.run.display import Display

COLUMNS = (
    ("loss/preference", "loss, nats a pair", "{:6.3f}"),
    ("accuracy", "pairs in order", "{:6.1%}"),
    ("reward/margin", "mean margin", "{:6.3f}"),
    ("speed/trained", "tokens/s", "{:8.0f}"),
)


def reward_model(config: RewardModelConfig, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train, measure on held-out prompts before and after, save; returns the report. Raises InputError for bad input."""
    going_on = supervised.begin(config, resume)
    start = _start(config)
    renderer = Renderer(start.tokenizer)
    data = rows.split(
        config.data,
        lambda location: rows.pairs(location, config.data, renderer, config.seed),
        lambda pair: pair.tokens,
        start.context,
        "pairs",
    )
    order = Order(len(data.train), config.steps.rows, config.seed)
    model = supervised.with_adapters(start, config)
    torch.manual_seed(config.seed)
    settings = supervised.optimization(config.optimizer, supervised.steps_of(config.steps, order), "pairs")
    learner = Learner(model, settings, seed=config.seed, evidence=Path(config.out) / "not_finite.jsonl")
    before = margins(model, data.held_out)
    with Display("reward model", settings.total_updates, COLUMNS, quiet) as display:
        course, _ = supervised.open_course(config, learner, display, order, config.steps, going_on)
        supervised.keep_start(config, start)
        for notice in data.notices:
            display.note(notice)
        for step in course.steps():
            chosen = [(str(number), data.train[number]) for number in course.rows(step)]
            given = {name: pair.margin for name, pair in chosen} if config.data.margin is not None else {}
            samples = [sample for name, pair in chosen for sample in _samples(name, pair)]
            stats = learner.update(samples, RewardStep(len(chosen), given, config.centre), _unweighted)
            course.done(step, stats, sum(len(sample.tokens.ids) for sample in samples))
    supervised.save(model, Path(config.out))
    report: dict[str, Any] = {
        "pairs": {"train": len(data.train), "held_out": len(data.held_out)},
        "prompts": {name: len({pair.cluster for pair in part}) for name, part in _parts(data)},
        "base": measured(before),
        "final": measured(after := margins(model, data.held_out)),
        "length_baseline": length_baseline(data.train, data.held_out, after),
    }
    return supervised.finish(config, course, report, data.notices)


def _start(config: RewardModelConfig) -> Scorer:
    """A scorer: one that `path` holds, or a head on the decoder of the language model that it holds."""
    kept = Path(config.out) / "start"
    if config.model.path == "scratch" and (kept / "config.json").is_file():
        return load_scorer(str(kept), config.model.compute, config.model.device)
    return scorer_from(supervised.start(config, lambda: rows.texts(config.data.train)), config.seed)


def _parts(data: rows.Split[Preferred]) -> list[tuple[str, list[Preferred]]]:
    return [("train", data.train), ("held_out", data.held_out)]


def _samples(name: str, pair: Preferred) -> list[Sample]:
    made = []
    for index, ids in ((CHOSEN, pair.chosen), (REJECTED, pair.rejected)):
        tokens = reward_row(pair.prompt, ids)
        made.append(Sample(Key(name, index), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0))
    return made


def _unweighted(samples: Sequence[Sample]) -> dict[Key, float]:
    """The objective holds the step's denominator itself."""
    return {sample.origin: 1.0 for sample in samples}


def margins(model: Scorer, pairs: Sequence[Preferred]) -> dict[str, list[float]]:
    """R_w - R_l of every pair, by prompt."""
    sides = [reward_row(pair.prompt, ids) for pair in pairs for ids in (pair.chosen, pair.rejected)]
    given = scores(model, sides)
    found: dict[str, list[float]] = {}
    for number, pair in enumerate(pairs):
        found.setdefault(pair.cluster, []).append(given[2 * number] - given[2 * number + 1])
    return found


def measured(apart: dict[str, list[float]]) -> dict[str, Any]:
    """Accuracy, loss and calibration with their intervals, the prompt as the unit; and the reliability table."""
    losses = [_mean([max(0.0, -each) + math.log1p(math.exp(-abs(each))) for each in part]) for part in apart.values()]
    return {
        "accuracy": supervised.figure(list(accuracies(apart).values())),
        "loss, nats a pair": supervised.figure(losses, 0.0, math.inf),
        "calibration error": supervised.as_figure(calibration_error(apart)),
        "reliability": [
            {
                "confidence": one.confidence,
                "from": one.low,
                "to": one.high,
                "pairs": one.pairs,
                "accuracy": supervised.as_figure(one.accuracy),
            }
            for one in reliability(apart)
        ],
    }


def accuracies(apart: dict[str, list[float]]) -> dict[str, float]:
    """Share of each prompt's pairs in the right order; a tie is half right."""
    return {cluster: _mean([0.5 if each == 0 else float(each > 0) for each in part]) for cluster, part in apart.items()}


def length_baseline(
    train: Sequence[Preferred], held_out: Sequence[Preferred], apart: dict[str, list[float]]
) -> dict[str, Any]:
    """What a rule that sees the length alone gets, the better of shorter and longer on the training pairs; and the model against it.

    The model's accuracy is given on the pairs that this rule gets right and on those it gets wrong, too: a model that had learned
    the length alone would be right on all of the first and none of the second.
    """
    longer = _mean([_longer(pair) for pair in train]) > 0.5
    sign = 1.0 if longer else -1.0
    rule: dict[str, list[float]] = {}
    for pair in held_out:
        rule.setdefault(pair.cluster, []).append(sign * (len(pair.chosen) - len(pair.rejected)))
    sides: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for cluster, by_length in rule.items():
        for lead, margin in zip(by_length, apart[cluster], strict=True):
            if lead != 0:
                sides[lead > 0].setdefault(cluster, []).append(margin)
    gain = paired_difference(accuracies(rule), accuracies(apart))
    found: dict[str, Any] = {
        "prefers": "the longer" if longer else "the shorter",
        "accuracy": supervised.figure(list(accuracies(rule).values())),
        "model minus rule": supervised.as_figure(gain.difference),
    }
    for name, right in (("model where the rule is right", True), ("model where the rule is wrong", False)):
        if sides[right]:
            found[name] = supervised.figure(list(accuracies(sides[right]).values()))
    return found


def _longer(pair: Preferred) -> float:
    apart = len(pair.chosen) - len(pair.rejected)
    return 0.5 if apart == 0 else float(apart > 0)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
