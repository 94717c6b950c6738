"""The demonstration: a small model learns, from reward alone, that thinking before answering pays. Not for: real tasks.

Pretrain on documents of which most give the answer at once and a minority reason, some of those wrongly; measure; train with GRPO
against the verifier; measure again on problems never seen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.config import (
    CorpusConfig,
    EvaluateConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    PretrainOptimizerConfig,
    RecipeConfig,
    RunConfig,
    SamplingConfig,
    StepsConfig,
    TaskConfig,
)
from burnish.errors import ResumeError
from burnish.journal import write_report
from burnish.pipelines import pretrain, rl

THINK_SHARE = 0.36
SLIP_RATE = 0.2


def configs(out: str, seed: int) -> tuple[PretrainConfig, RunConfig]:
    """The two configs of the demo; `burnish pretrain` and `burnish train` take the same settings as TOML."""
    base = PretrainConfig(
        out=f"{out}/base",
        seed=seed,
        corpus=CorpusConfig(task="chain", documents={"think_share": THINK_SHARE, "slip_rate": SLIP_RATE}),
        optimizer=PretrainOptimizerConfig(
            lr=2e-3, warmup_updates=50, schedule="cosine", final_lr_share=0.1, weight_decay=0.1
        ),
        updates=600,
        documents=64,
    )
    run = RunConfig(
        out=f"{out}/run",
        seed=seed,
        model=ModelConfig(path=base.out),
        task=TaskConfig(name="chain"),
        sampling=SamplingConfig(max_new=96),
        recipe=RecipeConfig(name="grpo", options={"clip_high": 0.28, "reduction": "token_mean"}),
        optimizer=OptimizerConfig(lr=2e-4, warmup_updates=5),
        steps=StepsConfig(total=40, prompts=32, samples=8, checkpoint_every=10),
        evaluate=EvaluateConfig(problems=500, samples=8, ks=(1, 8)),
    )
    return base, run


def demo(out: str, seed: int, quiet: bool = False) -> dict[str, Any]:
    """Run it all; the report is also `out`/report.json. Raises ResumeError where `out` already holds something."""
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ResumeError(f"{out} already holds something; choose another --out.")
    started = time.perf_counter()
    base, run = configs(out, seed)
    made = pretrain.pretrain(base, quiet)
    phase = {
        "name": "pretrain",
        "seconds": made.seconds,
        "tokens": made.tokens,
        "tokens_per_second": made.tokens / made.seconds,
    }
    report = rl.train(run, quiet=quiet, phases=[phase])
    report |= {
        "run_dir": run.out,
        "model": f"{run.out}/final",
        "base_model": base.out,
        "seconds": time.perf_counter() - started,
    }
    write_report(out, report)
    return report


def free_place(parent: str = "runs", name: str = "demo") -> str:
    """runs/demo, or runs/demo-2, ... : the first that holds nothing yet."""
    for number in range(1, 10_000):
        place = Path(parent) / (name if number == 1 else f"{name}-{number}")
        if not place.exists():
            return str(place)
    raise ResumeError(f"{parent} is full of demos; give --out.")


def advice(report: dict[str, Any]) -> Sequence[str]:
    """What to try next, as commands."""
    model = report["model"]
    return (
        f'burnish sample {model} "a 3, b add 5, c times 7, d take 4, e add 2, f times 3, g add 1." --task chain',
        f"burnish eval {model} --task chain -n 200 --samples 8",
        f"burnish train {report['run_dir']}/config.toml out=runs/mine recipe.name=rloo      # the same run with another recipe",
    )
