"""Best-of-n rejection sampling to a data set: of many completions of a problem, the best are kept, and of all others it is said why not.

The rows of kept.jsonl are what `burnish sft` reads. What was sampled is journalled as a run's rollouts are, so that an interrupted
selection goes on, and `source.run` can choose from it again by another rule. Not for: training on them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.config import SelectConfig, dumps
from burnish.engine.choice import engine_of, notices
from burnish.errors import DataError
from burnish.journal import Journal
from burnish.journal.files import encode, write_atomic
from burnish.journal.rollouts import as_groups, read_rollouts
from burnish.learner.critic import REWARD_PART, annotated
from burnish.metrics import Share
from burnish.pipelines import supervised
from burnish.pipelines.rows import encoder
from burnish.policy.adapters import load as load_policy
from burnish.policy.heads import load_scorer
from burnish.policy.model import tune_allocator
from burnish.prompts import Renderer, check_room
from burnish.records import Group, Rollout, Sampling
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.tasks import load as load_task
from burnish.verify import identity
from burnish.verify.pool import Pool

SAMPLED_AT_ONCE = 64
"""Problems sampled, written down and shown together."""


@dataclass(frozen=True)
class Candidate:
    """One completion of a problem, and why it is not kept (None: it is)."""

    group: Group
    rollout: Rollout
    reason: str | None


def select(config: SelectConfig, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Choose, write kept.jsonl, removed.jsonl and report.json; returns the report. Raises InputError for bad input."""
    out = Path(config.out)
    going_on = supervised.begin(config, resume)
    tune_allocator()
    model = load_scorer(config.reward_model) if config.reward_model is not None else None
    stored = config.source.run is not None
    groups, provenance = _stored(config) if stored else _sampled(config, going_on, quiet)
    if model is not None:
        groups = annotated(model, groups, encoder(Renderer(model.tokenizer)))
    candidates = [one for group in _by_problem(groups) for one in chosen(group, config)]
    kept = [one for one in candidates if one.reason is None]
    if not kept:
        reasons = Counter(one.reason for one in candidates)
        again = "" if stored else f"; {out} holds what was sampled, and source.run chooses from it again"
        raise DataError(
            f"None of {len(candidates)} completions is kept ({_said(reasons)}), so there is no data set to write; sample more, or ask "
            f"for less{again}."
        )
    if stored and not going_on:
        Journal.create(out, dumps(config), {"run": config.seed})
    report = _report(config, candidates, provenance)
    write_atomic(out / "removed.jsonl", "".join(_line(one) for one in candidates if one.reason is not None))
    write_atomic(out / "report.json", json.dumps(json.loads(encode(report)), indent=2) + "\n")
    write_atomic(out / "kept.jsonl", "".join(_line(one) for one in kept))
    return report


def chosen(group: Group, config: SelectConfig) -> list[Candidate]:
    """Every completion of one problem with the reason it is left out; the best of the rest are kept.

    Reasons, the first that holds: no_verdict, cut (no end token: the model would be taught not to stop), wrong, low_score, too_easy
    (the problem is solved more often than asked for), duplicate (said already), not_best.
    """
    judged = [rollout for rollout in group.rollouts if rollout.verdict.outcome != "no_verdict"]
    rate = sum(rollout.verdict.outcome == "right" for rollout in judged) / max(1, len(judged))
    reasons: dict[int, str | None] = {}
    eligible = []
    for number, rollout in enumerate(group.rollouts):
        reasons[number] = _reason(rollout, config) or ("too_easy" if rate > config.max_pass_rate else None)
        if reasons[number] is None:
            eligible.append((number, rollout))
    eligible.sort(key=lambda one: (-_score(one[1]), one[1].tokens.sampled_count, one[0]))
    said: set[str] = set()
    kept = 0
    for number, rollout in eligible:
        if rollout.text in said:
            reasons[number] = "duplicate"
        elif kept == config.keep:
            reasons[number] = "not_best"
        else:
            kept += 1
        said.add(rollout.text)
    return [Candidate(group, rollout, reasons[number]) for number, rollout in enumerate(group.rollouts)]


def _reason(rollout: Rollout, config: SelectConfig) -> str | None:
    outcome = rollout.verdict.outcome
    if outcome == "no_verdict" and config.right_only:
        return "no_verdict"
    if rollout.stop != "eos":
        return "cut"
    if outcome == "wrong" and config.right_only:
        return "wrong"
    if config.min_score is not None and _score(rollout) < config.min_score:
        return "low_score"
    return None


def _score(rollout: Rollout) -> float:
    """The reward model's score; 0.0 without one, where the shortest right one is best."""
    return rollout.verdict.parts.get(REWARD_PART, 0.0)


def _by_problem(groups: Iterable[Group]) -> list[Group]:
    """Rollouts of one problem in one group, whichever step they are of, numbered anew."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.problem.id, []).append(group)
    return [
        Group(parts[0].problem, parts[0].prompt, tuple(rollout for part in parts for rollout in part.rollouts))
        for parts in found.values()
    ]


def _stored(config: SelectConfig) -> tuple[list[Group], dict[str, Any]]:
    """The rollouts of a run, as they were judged then."""
    assert config.source.run is not None
    if not (Path(config.source.run) / "rollouts").is_dir():
        raise DataError(f"{config.source.run} is no run directory: there is no folder rollouts in it.")
    groups = as_groups(read_rollouts(config.source.run))
    if not groups:
        raise DataError(f"{config.source.run} holds no rollouts to select from.")
    return groups, {"run": config.source.run}


def _sampled(config: SelectConfig, going_on: bool, quiet: bool) -> tuple[list[Group], dict[str, Any]]:
    """Completions of the model, on the task's training problems, judged and journalled; what the journal holds is not drawn again."""
    source = config.source
    assert source.model is not None and source.task is not None
    task = load_task(source.task, source.options)
    policy = load_policy(source.model)
    renderer = Renderer(policy.tokenizer, source.system, thinking=source.thinking)
    problems = task.train(config.seed).take(min(source.problems, task.train_size or source.problems))
    problems = list({problem.id: problem for problem in problems}.values())
    stops = renderer.stop_ids(policy.stop_ids)
    sampling = Sampling(config.sampling.temperature, 1.0, 0, config.sampling.max_new, stops, config.seed)
    prompts = [renderer.prompt(problem, task.messages(problem)) for problem in problems]
    check_room(prompts, sampling.max_new, policy.context)
    out = Path(config.out)
    journal = Journal.open(out) if going_on else Journal.create(out, dumps(config), {"run": config.seed})
    done = journal.last_step or 0
    groups = [group for step in range(1, done + 1) for group in as_groups(journal.rollouts(step))]
    with (
        Pool(task.verifier, config.verify.workers, config.verify.deadline_s) as pool,
        Display("sampling", len(problems), (("right", "right so far", "{:6.1%}"),), quiet) as display,
    ):
        if done:
            display.note(f"Going on after {len(groups)} of {len(problems)} problems.")
        engine = engine_of(policy, config.sampling)
        for notice in notices(engine):
            display.note(notice)
        sampler = Sampler(engine, renderer, pool, task.messages, sampling)
        right = drawn = 0
        for step, first in enumerate(range(0, len(problems), SAMPLED_AT_ONCE), start=1):
            if step <= done:
                continue
            part = sampler.groups(problems[first : first + SAMPLED_AT_ONCE], source.samples)
            outcomes = [rollout.verdict.outcome for group in part for rollout in group.rollouts]
            right, drawn = right + outcomes.count("right"), drawn + len(outcomes)
            journal.step(step, part, (), (), {"verdict/pass_rate": Share(outcomes.count("right"), len(outcomes))})
            groups += part
            display.step(len(groups), {"right": right / drawn})
    return groups, {"model": source.model, "task": source.task, "verifier": identity(task.verifier)}


def _line(one: Candidate) -> str:
    group, rollout = one.group, one.rollout
    row: dict[str, Any] = {
        "prompt": [{"role": turn.role, "content": turn.content} for turn in group.prompt.messages],
        "completion": rollout.text,
        "problem_id": group.problem.id,
        "task": group.problem.task,
        "fingerprint": group.problem.fingerprint,
        "outcome": rollout.verdict.outcome,
        "tokens": rollout.tokens.sampled_count,
        "version": rollout.newest,
    }
    if REWARD_PART in rollout.verdict.parts:
        row["score"] = rollout.verdict.parts[REWARD_PART]
    if one.reason is not None:
        row |= {"reason": one.reason, "why": rollout.verdict.why}
    return encode(row) + "\n"


def _report(config: SelectConfig, candidates: Sequence[Candidate], provenance: dict[str, Any]) -> dict[str, Any]:
    kept = [one for one in candidates if one.reason is None]
    problems = {one.group.problem.id for one in candidates}
    return {
        "out": config.out,
        "by": config.by,
        "reward_model": config.reward_model,
        "source": provenance,
        "seed": config.seed,
        "problems": len(problems),
        "problems_kept": len({one.group.problem.id for one in kept}),
        "completions": len(candidates),
        "kept": len(kept),
        "removed": dict(Counter(one.reason for one in candidates if one.reason is not None)),
        "mean_tokens": {
            name: sum(one.rollout.tokens.sampled_count for one in part) / max(1, len(part))
            for name, part in (("kept", kept), ("all", candidates))
        },
    }


def _said(reasons: Counter[str | None]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
