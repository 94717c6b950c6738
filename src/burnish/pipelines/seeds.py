"""The same training several times with different seeds: each in OUT/seed-N, and what they say together.

One run says how well one seed did. The figure of a recipe is the mean over seeds, with a band: Student's interval over the runs, and
the lowest and the highest. Each run resumes as it would alone; one that is done is not run again.

Not for: the training (rl.py).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.config import RunConfig
from burnish.errors import DataError, ResumeError
from burnish.evaluate.statistics import t_quantile
from burnish.journal.files import encode, read_lines, storage_error, write_atomic
from burnish.pipelines import rl

CURVE = "verdict/pass_rate"


def train(
    config: RunConfig,
    count: int,
    resume: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train with seeds config.seed, config.seed + 1, ...; the report of all is OUT/report.json, report.md and bands.png.

    Raises ResumeError where OUT holds something and `resume` is not given, and whatever a run raises; what is done stays done.
    """
    out = Path(config.out)
    if out.exists() and not resume and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} already holds something; add --resume to go on with its runs, or choose another out.")
    if (out / "config.toml").exists():
        raise ResumeError(f"{out} is a single training run; choose another out for several seeds.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    reports = {}
    for number in range(count):
        seed = config.seed + number
        own = config.model_copy(update={"seed": seed, "out": f"{config.out}/seed-{seed}"})
        place = Path(own.out)
        done = _done(place)
        if done is not None:
            say(f"Seed {seed} is done ({place}).")
        else:
            say(f"Seed {seed}, {number + 1} of {count}.")
            done = rl.train(own, resume=resume and place.exists() and any(place.iterdir()), quiet=quiet)
        reports[seed] = done
    report = summary(config.out, reports)
    curves = {seed: _curve(Path(f"{config.out}/seed-{seed}")) for seed in reports}
    write_atomic(out / "bands.png", picture(curves))
    write_atomic(out / "report.json", json.dumps(json.loads(encode(report)), indent=2, ensure_ascii=False) + "\n")
    write_atomic(out / "report.md", markdown(report))
    return report


def summary(out: str, reports: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all runs: mean, band, each seed's. Runs that measured nothing have none."""
    figures: dict[str, Any] = {}
    for stage, title in (("base", "before"), ("final", "after")):
        held = [report[stage] for report in reports.values() if report.get(stage)]
        if len(held) < len(reports):
            continue
        names = [name for name, value in held[0].items() if isinstance(value, Mapping) and "low" in value]
        figures[title] = {name: band([one[name]["value"] for one in held if name in one]) for name in names}
    changes = [report["change"]["pass@1"]["value"] for report in reports.values() if "change" in report]
    if changes and len(changes) == len(reports):
        figures["change"] = {"pass@1": band(changes, low=-1.0)}
    seeds = {
        str(seed): {
            "run_dir": report["run_dir"],
            **{
                title: report[stage]["pass@1"]
                for stage, title in (("base", "before"), ("final", "after"))
                if report.get(stage)
            },
        }
        for seed, report in reports.items()
    }
    return {"out": out, "runs": len(reports), "figures": figures, "seeds": seeds}


def band(values: Sequence[float], level: float = 0.95, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    """{"mean", "low", "high", "lowest", "highest", "runs"}: Student's interval over runs, cut to [low, high].

    None for both ends of the interval where there is one run: it says nothing about another.

    >>> band([0.5, 0.6, 0.7])["lowest"]
    0.5
    """
    if not values:
        raise DataError("There is no run to report on.")
    n, mean = len(values), math.fsum(values) / len(values)
    ends: tuple[float | None, float | None] = (None, None)
    if n > 1:
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
        margin = t_quantile((1 + level) / 2, n - 1) * deviation / math.sqrt(n)
        ends = (max(low, mean - margin), min(high, mean + margin))
    return {"mean": mean, "low": ends[0], "high": ends[1], "lowest": min(values), "highest": max(values), "runs": n}


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a page."""
    lines = [f"# {report['runs']} seeds", ""]
    for title, figures in report["figures"].items():
        lines += [f"| {title} | mean over runs | 95 % interval over runs | lowest to highest |", "|---|---:|---:|---:|"]
        lines += [
            f"| {name} | {one['mean']:.1%} | {_ends(one)} | {one['lowest']:.1%} to {one['highest']:.1%} |"
            for name, one in figures.items()
        ]
        lines.append("")
    lines += ["| seed | pass@1 before | pass@1 after | run |", "|---|---:|---:|---|"]
    for seed, one in report["seeds"].items():
        shown = [f"{one[title]['value']:.1%}" if title in one else "-" for title in ("before", "after")]
        lines.append(f"| {seed} | {shown[0]} | {shown[1]} | `{one['run_dir']}` |")
    return "\n".join([*lines, "", sentence(report)]) + "\n"


def sentence(report: Mapping[str, Any]) -> str:
    """One that a newcomer can quote."""
    after, before = (report["figures"].get(title, {}).get("pass@1") for title in ("after", "before"))
    if after is None:
        return f"{report['runs']} runs are in {report['out']}; they measured nothing."
    start = f"from {before['mean']:.1%} " if before is not None else ""
    sure = f" (95% interval over runs {_ends(after)})" if after["low"] is not None else ""
    return (
        f"Over {report['runs']} seeds, pass@1 went {start}to {after['mean']:.1%}{sure}, the runs lying between {after['lowest']:.1%} and "
        f"{after['highest']:.1%}."
    )


def picture(curves: Mapping[int, Sequence[tuple[int, float]]]) -> bytes:
    """A PNG: the pass rate while training, each seed faint, their mean and the span from lowest to highest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    at: dict[int, list[float]] = {}
    for seed, curve in curves.items():
        axes.plot(
            [step for step, _ in curve], [rate for _, rate in curve], color="0.7", linewidth=1, label=f"seed {seed}"
        )
        for step, rate in curve:
            at.setdefault(step, []).append(rate)
    steps = sorted(step for step, rates in at.items() if len(rates) == len(curves))
    axes.fill_between(steps, [min(at[s]) for s in steps], [max(at[s]) for s in steps], color="#1f5fa8", alpha=0.15)
    axes.plot(steps, [sum(at[s]) / len(at[s]) for s in steps], color="#1f5fa8", linewidth=2, label="mean")
    axes.set_xlabel("step")
    axes.set_ylabel("pass rate while training")
    axes.set_title(f"{len(curves)} seeds: mean, lowest to highest", fontsize=11, loc="left")
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) <= 8:
        axes.legend(frameon=False, fontsize=8)
    image = io.BytesIO()
    canvas.print_png(image)
    return image.getvalue()


def _done(place: Path) -> dict[str, Any] | None:
    """The report of a run that is finished."""
    try:
        report: dict[str, Any] = json.loads((place / "report.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{place / 'report.json'} cannot be read ({error}); delete it to have it made again."
        ) from error
    return report


def _curve(place: Path) -> list[tuple[int, float]]:
    lines = read_lines(place / "metrics.jsonl")
    return [(line["step"], line[CURVE]) for line in lines if line.get(CURVE) is not None]


def _ends(one: Mapping[str, Any]) -> str:
    return "-" if one["low"] is None else f"{one['low']:.1%} to {one['high']:.1%}"
