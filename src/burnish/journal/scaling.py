"""What `burnish scale` measured, as a page of Markdown and as one picture: accuracy against tokens a problem.

Not for: computing it (burnish.evaluate.methods), or the terminal (burnish.show).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.journal.files import write_atomic
from burnish.journal.report import grid

COLOURS = {
    "greedy": "#555555",
    "sample": "#000000",
    "vote": "#1f5fa8",
    "vote_decided": "#5b9bd5",
    "vote_sure": "#17a2a2",
    "vote_likelihood": "#7a5fb5",
    "vote_reward_model": "#b55fa0",
    "best_likelihood": "#c2571a",
    "best_likelihood_mean": "#e3a33b",
    "best_reward_model": "#a83232",
    "best_verifier": "#9a9a9a",
    "mended": "#3a8f4d",
    "forced": "#7fb53a",
    "thinking": "#d6336c",
}


def markdown(report: Mapping[str, Any]) -> str:
    """The report of `burnish scale` as a page. All figures are of the report; nothing is computed here."""
    about = (
        f"`{report['model']}` on {report['problems']:,} held-out problems of `{report['task']}`, {report['samples']} answers to each at "
        f"temperature {report['temperature']:g}, seed {report['seed']}. Intervals are 95 % intervals over problems."
    )
    parts = ["# Inference-time scaling", about, *report["notices"], "![accuracy against tokens](scaling.png)"]
    for budget in report["budgets"]:
        heading = f"## {budget['budget']:,.0f} tokens a problem"
        parts += [heading, _budget(budget["rows"], report["against"])]
    if "beside" in report:
        parts += [f"## Beside `{report['beside']['model']}`", *_beside(report["beside"])]
    parts += ["## Every setting", _settings(report["methods"])]
    cost = report["cost"]
    parts.append(
        f"{cost['sampled']:,} tokens sampled, {cost['kept']:,} found in the folder, {cost['read']:,} read; {cost['seconds']:.1f} s."
    )
    return "\n\n".join(parts) + "\n"


def _budget(rows: Sequence[Mapping[str, Any]], against: str) -> str:
    lines = [
        [row["method"], row["setting"], f"{row['tokens']:,.1f}", interval(row), apart(row["difference"])]
        for row in rows
    ]
    return grid(["method", "setting", "tokens", "accuracy", f"minus {against}, points"], lines)


def _beside(part: Mapping[str, Any]) -> list[str]:
    single = [
        [f"one answer, {name}", f"{row['tokens']:,.1f}", interval(row)]
        for name, row in (("sampled", part["single"]["sample"]), ("greedy", part["single"]["greedy"]))
    ]
    lines = []
    for row in part["rows"]:
        equal, dearest = row["equal"], row["dearest"]
        lines.append(
            [
                row["method"],
                "-" if equal is None else interval(equal),
                "-" if equal is None else apart(equal["difference"]),
                f"{dearest['tokens']:,.1f}",
                interval(dearest),
                apart(dearest["difference"]),
                reached(row["reaches_at"]),
            ]
        )
    header = [
        "method of the first model",
        "at that cost",
        "other minus it, points",
        "tokens at its dearest",
        "accuracy there",
    ]
    header += ["other minus it, points", "as accurate at"]
    cost = part["single"]["sample"]["tokens"]
    sentence = (
        f"The other model's single answer costs {cost:,.1f} tokens; below, the first model's methods at that cost and at their "
        "dearest setting."
    )
    return [grid(["the other model", "tokens", "accuracy"], single), sentence, grid(header, lines)]


def _settings(methods: Mapping[str, Any]) -> str:
    lines = [
        [
            name,
            row["setting"],
            f"{row['tokens']:,.1f}",
            f"{row['read']:,.1f}",
            interval(row),
            f"{row['drawn']:.2f}" if "drawn" in row else "",
            f"{row['changed']:.1%}" if "changed" in row else "",
        ]
        for name, part in methods.items()
        for row in part["points"]
    ]
    header = ["method", "setting", "tokens generated", "tokens read", "accuracy", "answers drawn", "winner changed"]
    return grid(header, lines)


def interval(row: Mapping[str, float]) -> str:
    """E.g. "63.9 % [60.2, 67.7]"."""
    return f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def apart(difference: Mapping[str, float] | None) -> str:
    """E.g. "+3.1 [+0.4, +5.8]", in points; "" where there is nothing to compare with."""
    if difference is None:
        return ""
    value, low, high = (round(100 * difference[end], 1) + 0.0 for end in ("value", "low", "high"))  # no "-0.0"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def reached(tokens: float | None) -> str:
    """The tokens at which a method is as accurate, or that it never was."""
    return "not reached" if tokens is None else f"{tokens:,.0f} tokens"


def plot_scaling(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw every method's accuracy against its tokens a problem (a scale of powers of two), with 95 % intervals, into a PNG.

    The PNG is written whole or not at all. Raises StorageError as `write_atomic`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    figure = Figure(figsize=(9.5, 5.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # a figure of its own: pyplot would keep it alive and pick a screen
    axes = figure.subplots()
    for name, part in report["methods"].items():
        dashed = "--" if name == "best_verifier" else "-"
        _line(axes, name.replace("_", " "), part["points"], COLOURS.get(name, "#1f5fa8"), dashed)
    for name, row in report["beside"]["single"].items() if "beside" in report else ():
        marker = "*" if name == "sample" else "P"
        axes.plot(
            [row["tokens"]], [row["value"]], marker, color="#d4a017", markersize=13, markeredgecolor="black", linestyle="none",
            label=f"other model, {name}",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("tokens generated for a problem")
    axes.set_ylabel("accuracy")
    axes.set_title(f"{report['task']}, {report['problems']:,} problems", fontsize=11, loc="left")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: labels[number].startswith("other model"))
    figure.legend(
        [handles[number] for number in order],
        [labels[number] for number in order],
        loc="outside right upper",
        frameon=False,
        fontsize=9,
    )
    image = io.BytesIO()
    canvas.print_png(image)
    write_atomic(path, image.getvalue())


def _line(axes: Any, name: str, rows: Sequence[Mapping[str, float]], colour: str, dashed: str) -> None:
    ranked = sorted(rows, key=lambda row: row["tokens"])
    tokens, values = [row["tokens"] for row in ranked], [row["value"] for row in ranked]
    errors = [[row["value"] - row["low"] for row in ranked], [row["high"] - row["value"] for row in ranked]]
    axes.errorbar(
        tokens,
        values,
        yerr=errors,
        label=name,
        color=colour,
        linestyle=dashed,
        marker="o",
        markersize=4,
        linewidth=1.6,
        elinewidth=0.8,
        capsize=2,
    )
