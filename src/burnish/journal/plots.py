"""The curves of a run as one picture. Not for: interactive pages (the viewer), or for computing what it shows."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from burnish.journal.files import write_atomic

SMOOTH_FROM = 40  # steps; shorter curves are drawn as they are
INK = ("#1f5fa8", "#c2571a", "#3a8f4d")


class Panel(NamedTuple):
    """One small chart: title, label of the vertical axis, and (key of metrics.jsonl, name in the legend) pairs."""

    title: str
    unit: str
    curves: tuple[tuple[str, str], ...]


PANELS = (
    Panel(
        "Pass rate and reward",
        "mean over rollouts",
        (("verdict/pass_rate", "pass rate"), ("reward/mean", "reward"), ("share/thought", "share with a thought")),
    ),
    Panel(
        "Completion length",
        "tokens",
        (("length/mean", "all"), ("length/right", "right answers"), ("length/wrong", "wrong answers")),
    ),
    Panel("Entropy of the policy", "nats per token", (("policy/entropy", "entropy"),)),
    Panel("Gap between sampler and learner", "mean |difference|, nats", (("gap/abs_mean", "gap"),)),
)
"""Of a run that samples."""

LEARNED = (
    Panel(
        "Loss",
        "nats",
        (("loss/token", "a token"), ("loss/preference", "a pair or row")),
    ),
    Panel("Accuracy", "share of pairs in the right order", (("accuracy", "accuracy"),)),
    Panel("Reward", "chosen and rejected, nats", (("reward/chosen", "chosen"), ("reward/rejected", "rejected"))),
    Panel("Gradient norm", "before clipping", (("optim/grad_norm", "norm"),)),
)
"""Of a run that learns without sampling; a panel without data, as two of them for sft, is left out."""


def plot_curves(
    metrics_lines: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], panels: Sequence[Panel] = PANELS
) -> None:
    """Draw lines of metrics.jsonl as panels over the step, two in a row, into a PNG written whole or not at all.

    A null leaves a gap; a panel none of whose keys was ever written says "not recorded". From SMOOTH_FROM steps on
    the values are drawn faint with their running mean over about a twentieth of the run on top. Raises StorageError as
    `write_atomic`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = list(metrics_lines)
    steps = [line["step"] for line in lines]
    window = len(lines) // 40 * 2 + 1 if len(lines) >= SMOOTH_FROM else 1
    rows = max(1, -(-len(panels) // 2))
    figure = Figure(figsize=(11, 3.75 * rows), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # a figure of its own: pyplot would keep it alive and pick a screen
    places = list(figure.subplots(rows, 2).flat)
    for axes, panel in zip(places, panels, strict=False):
        _draw(axes, panel, steps, lines, window)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    if window > 1:
        figure.supxlabel(f"faint: each step; bold: mean over {window} steps around it", fontsize=8, color="0.4")
    image = io.BytesIO()
    canvas.print_png(image)
    write_atomic(path, image.getvalue())


def recorded(metrics_lines: Sequence[Mapping[str, Any]], panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """The panels of which something was ever written."""
    return tuple(
        panel for panel in panels if any(line.get(key) is not None for key, _ in panel.curves for line in metrics_lines)
    )


def _draw(axes: Any, panel: Panel, steps: Sequence[int], lines: Sequence[Mapping[str, Any]], window: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel(panel.unit)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(steps) == 1:
        axes.set_xticks(steps)
    drawn = 0
    for (key, name), color in zip(panel.curves, INK, strict=False):
        values = [math.nan if line.get(key) is None else float(line[key]) for line in lines]
        if all(map(math.isnan, values)):
            continue
        drawn += 1
        # Dots as well, since a value between two gaps makes no line.
        if window > 1:
            axes.plot(steps, values, color=color, alpha=0.25, linewidth=1, marker=".", markersize=2)
        dot = {"marker": "o", "markersize": 4} if window == 1 else {}
        axes.plot(steps, _running_mean(values, window), color=color, linewidth=1.8, label=name, **dot)
    if not drawn:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color="0.5")
        axes.set_xticks([])
        axes.set_yticks([])
    elif len(panel.curves) > 1:
        axes.legend(frameon=False, fontsize=9)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean over the (odd) window around every step, without lag; a gap where the step itself has no value."""
    means, half = [], window // 2
    for i, value in enumerate(values):
        seen = [v for v in values[max(0, i - half) : i + half + 1] if not math.isnan(v)]
        means.append(math.nan if math.isnan(value) else math.fsum(seen) / len(seen))
    return means
