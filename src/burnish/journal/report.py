"""The report of a run: the figures before and after with their intervals, as JSON for programs and Markdown for people.

Not for: computing figures (evaluate does), or for curves (`plots.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.journal.files import encode, write_atomic

_STAGES = (("base", "before"), ("final", "after"))


def write_report(run_dir: str | os.PathLike[str], report: Mapping[str, Any]) -> None:
    """Write `report.json` and `report.md` into a run directory, each whole or not at all.

    All keys are optional; unknown ones go to the JSON only:

        base, final   what was measured before and after: {"pass@1": {"value", "low", "high"}, ...,
                      "means": {name: number}, "cost": {name: number}}
        phases        [{"name", "seconds", "tokens", "tokens_per_second"}, ...]
        trace         {"question", "before", "after"}: one problem, answered by both
        length_baseline  what a rule that sees the length alone gets: {"prefers", name: {"value", "low", "high"}}
        run_dir, seed

    Raises StorageError where the directory would not take the files.
    """
    place = Path(run_dir)
    plain = json.loads(encode(report))  # NaN as null, so that both files say the same
    text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    write_atomic(place / "report.json", text.encode("utf-8", "backslashreplace"))
    write_atomic(place / "report.md", markdown(plain).encode("utf-8", "replace"))


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a page of Markdown; a part that is not there is left out."""
    heading = "# Report"
    about = [f"{name}: `{report[key]}`" for name, key in (("Run", "run_dir"), ("seed", "seed")) if key in report]
    parts = [heading, ", ".join(about), _measured(report), _length_rule(report), _phases(report), _trace(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(report: Mapping[str, Any]) -> str:
    """Figures, means and cost, with one column for each stage that was measured."""
    stages = [(report[key], title) for key, title in _STAGES if report.get(key)]
    if not stages:
        return ""
    if len(stages) == 1:
        stages = [(stages[0][0], "value")]
    titles = [title for _, title in stages]
    figures = [{name: v for name, v in stage.items() if isinstance(v, Mapping) and "low" in v} for stage, _ in stages]
    blocks = [_table("figure (95 % interval)", titles, figures, _interval)]
    for name in ("means", "cost"):
        blocks.append(_table(name, titles, [stage.get(name) or {} for stage, _ in stages], _number))
    return "\n\n".join(block for block in blocks if block)


def _length_rule(report: Mapping[str, Any]) -> str:
    rule = report.get("length_baseline")
    if not rule:
        return ""
    figures = {name: value for name, value in rule.items() if isinstance(value, Mapping)}
    return _table(f"against a rule that prefers {rule['prefers']} (95 % interval)", ["value"], [figures], _interval)


def _phases(report: Mapping[str, Any]) -> str:
    rows = report.get("phases")
    if not rows:
        return ""
    keys = ("name", "seconds", "tokens", "tokens_per_second")
    lines = [[str(row["name"]), *(_number(row.get(key)) for key in keys[1:])] for row in rows]
    return grid(["phase", "seconds", "tokens", "tokens per second"], lines)


def _trace(report: Mapping[str, Any]) -> str:
    trace = report.get("trace")
    if not trace:
        return ""
    parts = ["## One problem, before and after"]
    for name in ("question", "before", "after"):
        if trace.get(name) is not None:
            parts.append(f"{name.capitalize()}:\n\n{_fenced(str(trace[name]))}")
    return "\n\n".join(parts)


def _table(
    heading: str,
    titles: Sequence[str],
    columns: Sequence[Mapping[str, Any]],
    show: Callable[[Any], str],
) -> str:
    """One row for each name in any column, in the order they first appear; "" if there is none."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(show(column.get(name)) for column in columns)] for name in names]
    return grid([heading, *titles], rows) if rows else ""


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _interval(figure: Any) -> str:
    if not isinstance(figure, Mapping):
        return _number(figure)
    value, low, high = (_number(figure.get(end)) for end in ("value", "low", "high"))
    return value if low == high == "-" else f"{value} ({low} to {high})"


def _number(value: Any) -> str:
    """Whole numbers in full, small ones to three or four digits, large ones rounded; "-" for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.3g}"


def _fenced(text: str) -> str:
    """A block of code whose fence is longer than any run of back-ticks within."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
