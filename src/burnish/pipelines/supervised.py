"""What sft, rm and dpo have in common: the run directory, the model they start from, its adapters, and what they leave behind.

Not for: reading rows (rows.py), or losses (burnish.algos.preference).
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from burnish.config import LoraConfig, PassesConfig, Settings, differences, dumps, load
from burnish.config import OptimizerConfig as OptimizerSettings
from burnish.errors import ResumeError
from burnish.evaluate.statistics import mean_interval
from burnish.journal import Journal, plot_curves, write_report
from burnish.journal.files import write_files
from burnish.journal.plots import LEARNED, recorded
from burnish.learner.batch import Layout
from burnish.learner.learner import Learner, Optimization
from burnish.policy import adapters
from burnish.policy.model import Policy, from_scratch, tune_allocator
from burnish.policy.model import load as load_policy
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Interval
from burnish.run.course import Course, Order
from burnish.run.display import Display

C = TypeVar("C", bound=Settings)
P = TypeVar("P", bound=Policy)


def begin(config: Any, resume: bool) -> bool:
    """Whether the run in `config.out` is gone on with. Raises ResumeError where that, or a new start, is not possible."""
    out = Path(config.out)
    going_on = resume and (out / "config.toml").is_file()
    if resume and not going_on and Journal.barely_begun(out):
        shutil.rmtree(out)
    if going_on:
        changed = differences(load(type(config), out / "config.toml"), config)
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ResumeError(
                f"{out} was started with another config ({changed[0]}{more}); resume with the same one, or choose another out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} already holds something; add --resume to go on with a run, or choose another out.")
    return going_on


def start(config: Any, texts: Callable[[], Iterable[str]]) -> Policy:
    """The policy the run starts from; with path = "scratch" a small one whose tokenizer is trained on `texts`.

    What was made from scratch is kept in `out`/start, so that a resumed run starts from the very same.
    """
    tune_allocator()
    if config.model.path != "scratch":
        return adapters.start(config.model.path, config.model.compute, config.model.device)
    kept = Path(config.out) / "start"
    if not (kept / "config.json").is_file():
        shape = config.scratch.model_dump()
        vocab_size = shape.pop("vocab_size")
        tokenizer = train_tokenizer(texts(), vocab_size, config.scratch.max_position_embeddings)
        return from_scratch(tokenizer, {**shape, "tie_word_embeddings": True}, config.model.compute, config.seed)
    return load_policy(str(kept), config.model.compute, device=config.model.device)


def keep_start(config: Any, policy: Policy) -> None:
    """Write what was made from scratch; call it once the run directory is there."""
    if config.model.path == "scratch" and not (Path(config.out) / "start" / "config.json").is_file():
        write_files(Path(config.out) / "start", policy.save, last="config.json")


def with_adapters(policy: P, config: Any) -> P:
    """The policy, with adapters where the config asks for them.

    They go into the layers of the module itself; a start that is still to be written to the disk is copied first.
    """
    lora: LoraConfig = config.lora
    if lora.rank == 0:
        return policy
    if config.model.path == "scratch":
        policy = replace(policy, module=copy.deepcopy(policy.module))
    return adapters.adapted(policy, lora.rank, lora.alpha, lora.dropout, lora.targets, config.seed)


def optimization(optimizer: OptimizerSettings, total: int, layout: Layout) -> Optimization:
    return Optimization(total_updates=total, layout=layout, **optimizer.model_dump())


def open_course(
    config: Any, learner: Learner, display: Display, order: Order, passes: PassesConfig, going_on: bool
) -> tuple[Course, Journal]:
    """The course of steps, at the first one still to do."""
    out = Path(config.out)
    journal = Journal.open(out) if going_on else Journal.create(out, dumps(config), {"run": config.seed})
    total = steps_of(passes, order)
    course = Course(learner, journal, display, order, total, passes.checkpoint_every)
    if going_on:
        course.resume()
    return course, journal


def steps_of(passes: PassesConfig, order: Order) -> int:
    return passes.total or order.total(passes.epochs)


def save(policy: Policy, out: Path) -> None:
    """`out`/final in the Hugging Face layout; of an adapted policy `out`/adapter too, and final holds the two merged."""
    whole = policy
    if adapters.is_adapted(policy):
        write_files(out / "adapter", lambda folder: adapters.save_adapter(policy, folder), last="adapter_config.json")
        whole = adapters.merged(policy)
    write_files(out / "final", whole.save, last="config.json")


def finish(config: Any, course: Course, report: dict[str, Any], notices: Sequence[str]) -> dict[str, Any]:
    """Complete the report and write it, and draw the curves."""
    ledger = course.ledger
    seconds = ledger.seconds.get("update", 0.0)
    whole = {
        "run_dir": config.out,
        "seed": config.seed,
        "model": f"{config.out}/final",
        "steps": course.total,
        **report,
        "notices": list(notices),
        "phases": [
            {
                "name": "update",
                "seconds": seconds,
                "tokens": ledger.tokens_trained,
                "tokens_per_second": ledger.tokens_trained / max(seconds, 1e-9),
            }
        ],
        "flops": ledger.flops,
    }
    if config.lora.rank:
        whole["adapter"] = f"{config.out}/adapter"
    write_report(config.out, whole)
    lines = list(Journal.open(config.out).metrics())
    plot_curves(lines, Path(config.out) / "curves.png", recorded(lines, LEARNED))
    return whole


def figure(values: Sequence[float], low: float = 0.0, high: float = 1.0) -> dict[str, float]:
    """A mean over independent units with its 95 % interval, as a report holds it."""
    return as_figure(mean_interval(list(values), low=low, high=high))


def as_figure(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
