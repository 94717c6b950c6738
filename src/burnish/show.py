"""A report as a person reads it on a terminal. Not for: files (burnish.journal.report writes those)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
