"""A report as a person reads it on a terminal. Not for: files (burnish.journal.report writes those)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_report(report: dict[str, Any], advice: Sequence[str] = ()) -> None:
    """Figures before and after (or of one measurement), what each phase cost, one problem before and after, where it all is."""
    console = Console(highlight=False)
    both = "base" in report and "final" in report
    columns = (
        {"before": report["base"], "after": report["final"]} if both else {"": report} if "means" in report else {}
    )
    if columns:
        console.print(_figures(columns))
    if "change" in report:
        console.print(_change(report["change"]))
    if report.get("phases"):
        console.print(_phases(report["phases"], report.get("seconds")))
    if "trace" in report:
        trace = report["trace"]
        console.print(f"[bold]One problem[/bold]  {escape(trace['question'])}", soft_wrap=True)
        console.print(f"[bold]before[/bold]       {escape(trace['before'])}", soft_wrap=True)
        console.print(f"[bold]after[/bold]        {escape(trace['after'])}", soft_wrap=True)
    if "run_dir" in report:
        console.print(
            f"\nEverything is in {report['run_dir']} (report.md, curves.png, metrics.jsonl, rollouts/).", soft_wrap=True
        )
    if advice:
        console.print("\nWhat to try next:")
        for line in advice:
            console.print(f"  {escape(line)}", soft_wrap=True)


def show_learned(report: dict[str, Any]) -> None:
    """What a run that did not sample says of itself: figures before and after, the length rule beside them, the cost, the place."""
    console = Console(highlight=False)
    for notice in report["notices"]:
        console.print(escape(notice), soft_wrap=True)
    if "final" in report:
        table = Table(title="held out, with 95% intervals")
        for heading in ("", "before", "after"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, after in report["final"].items():
            if isinstance(after, dict):
                table.add_row(name, _plain(report["base"][name]), _plain(after))
        for name, value in report.get("length_baseline", {}).items():
            if isinstance(value, dict):
                table.add_row(f"length rule ({report['length_baseline']['prefers']}): {name}", "", _plain(value))
        console.print(table)
    console.print(_phases(report["phases"], None))
    console.print(
        f"The model is in {report['model']}; report.md, curves.png and metrics.jsonl are in {report['run_dir']}.",
        soft_wrap=True,
    )


def show_scaling(report: dict[str, Any]) -> None:
    """Methods at equal budgets, what another model's single answer costs and gets, and where everything is."""
    console = Console(highlight=False)
    for notice in report["notices"]:
        console.print(escape(notice), soft_wrap=True)
    title = (
        f"{report['task']}: {report['problems']} held-out problems, {report['samples']} answers to each; 95% intervals"
    )
    table = Table(title=title, padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    for heading in ("method", "tokens", "% right", f"minus {report['against']}"):
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for budget in report["budgets"]:
        table.add_row(f"[bold]{budget['budget']:,.0f} tokens[/bold]")
        for row in budget["rows"]:
            apart = escape(_points(row["difference"]))
            table.add_row(row["method"], f"{row['tokens']:,.0f}", escape(_percent(row)), apart)
        table.add_section()
    console.print(table)
    if "beside" in report:
        console.print(_beside(report["beside"]))
    cost = report["cost"]
    console.print(
        f"{cost['sampled']:,} tokens sampled, {cost['kept']:,} found in the folder, {cost['read']:,} read, {cost['seconds']:.1f} s."
    )
    console.print(
        f"Everything is in {report['out']} (report.md, report.json, scaling.png, the answers).", soft_wrap=True
    )


def _beside(part: dict[str, Any]) -> Table:
    """What each method has at the cost of the other model's single answer; report.md has its dearest setting too."""
    sampled, greedy = part["single"]["sample"], part["single"]["greedy"]
    one = f"{_percent(sampled)} for one answer of {sampled['tokens']:.0f} tokens, greedy {_percent(greedy)}"
    table = Table(title=escape(f"beside it {part['model']}: {one}"), padding=(0, 1, 0, 0), box=SIMPLE_HEAD)
    for heading in ("method of the first", "% right at that cost", "the other minus it", "as good at"):
        table.add_column(heading, justify="left" if heading.startswith("method") else "right", no_wrap=True)
    for row in part["rows"]:
        equal, reached = row["equal"], row["reaches_at"]
        here = ("-", "-") if equal is None else (_percent(equal), _points(equal["difference"]))
        at = "not reached" if reached is None else f"{reached:,.0f} tokens"
        table.add_row(row["method"], escape(here[0]), escape(here[1]), at)
    return table


def _percent(one: dict[str, float]) -> str:
    return f"{100 * one['value']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _points(one: dict[str, float] | None) -> str:
    """A difference in points with its interval; rounding leaves no "-0.0"."""
    if one is None:
        return ""
    value, low, high = (round(100 * one[end], 1) + 0.0 for end in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def show_evaluation(report: dict[str, Any], quotes: Sequence[str]) -> None:
    """Figures of each task with their intervals, what stands beside them, what to know, and a sentence to quote."""
    console = Console(highlight=False)
    tasks = report["tasks"]
    table = Table(title="mean over problems [95% interval]")
    table.add_column("")
    for label, one in tasks.items():
        table.add_column(f"{label}\n{one['problems']:,} x {one['samples']:,}", justify="right")
    for name in dict.fromkeys(name for one in tasks.values() for name in one["figures"]):
        found = [one["figures"].get(name) for one in tasks.values()]
        table.add_row(name, *("-" if figure is None else _interval(figure) for figure in found))
    for name in next(iter(tasks.values()))["shares"]:
        table.add_row(f"share {name}", *(f"{one['shares'][name] or 0.0:.1%}" for one in tasks.values()))
    lengths = [one["lengths"]["all"] for one in tasks.values()]
    table.add_row("mean length", *("-" if length is None else f"{length:,.1f} tokens" for length in lengths))
    for name in ("tokens", "seconds"):
        costs = [one["cost"][name] for one in tasks.values()]
        table.add_row(name, *("-" if cost is None else f"{cost:,.0f}" for cost in costs))
    flops = [one["cost"]["flops"] for one in tasks.values()]
    table.add_row("estimated FLOPs", *("-" if count is None else f"{count:.2e}" for count in flops))
    console.print(table)
    for line in quotes:
        console.print(escape(line), soft_wrap=True)
    console.print(f"\nEvery answer and the report are in {report['out']} (report.md, figures.png).", soft_wrap=True)


def _plain(one: dict[str, float]) -> str:
    if not (math.isfinite(one["low"]) or math.isfinite(one["high"])):  # equal values on an unbounded scale
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f}  [{one['low']:.3f}, {one['high']:.3f}]"


def _figures(columns: dict[str, dict[str, Any]]) -> Table:
    first = next(iter(columns.values()))
    table = Table(title=f"{first['task']}: {first['problems']} held-out problems x {first['samples']} samples")
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name in (name for name in first if "@" in name):
        table.add_row(name, *(_interval(column[name]) for column in columns.values()))
    for name in first["means"]:
        form = "{:.1f} tokens" if name == "length" else "{:.1%}"
        table.add_row(
            f"mean {name}" if name == "length" else name,
            *(form.format(column["means"][name]) for column in columns.values()),
        )
    return table


def _change(change: dict[str, Any]) -> str:
    one = change["pass@1"]
    sure = (
        "a rise beyond chance"
        if one["low"] > 0
        else "a fall beyond chance"
        if one["high"] < 0
        else "no difference beyond chance"
    )
    return (
        f"pass@1 changed by {one['value']:+.1%} (95% paired interval {one['low']:+.1%} to {one['high']:+.1%}): {sure}; "
        f"{change['won']} problems won, {change['lost']} lost, {change['tied']} as before.\n"
    )


def _phases(phases: list[dict[str, Any]], total: float | None) -> Table:
    table = Table(title="what it cost")
    for heading in ("phase", "seconds", "tokens", "tokens/s"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    for phase in phases:
        table.add_row(
            phase["name"], f"{phase['seconds']:.1f}", f"{phase['tokens']:,.0f}", f"{phase['tokens_per_second']:,.0f}"
        )
    if total is not None:
        table.add_row("everything", f"{total:.1f}", "", "")
    return table


def _interval(one: dict[str, float]) -> str:
    return f"{one['value']:.1%}  [{one['low']:.1%}, {one['high']:.1%}]"
