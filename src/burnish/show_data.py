"""What the data verbs found, as a person reads it on a terminal. Not for: deciding anything, or files."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BAR = 40
_TEXT = 400
"""Characters of a row that are shown."""


def show_data(report: dict[str, Any]) -> None:
    """A summary of one data verb: the files, what was kept, what went and why, a few examples, and what to know."""
    console = Console(highlight=False)
    for one in report["inputs"]:
        by = f", compared by {one['column']}" if one["column"] else ""
        console.print(escape(f"{one['file']}: {one['rows']:,} rows{by}"), soft_wrap=True)
    if report["verb"] == "data stats":
        _stats(console, report)
        return
    if "near" in report and report["near"] is not None:
        _curve(console, report["near"])
    if "rule" in report:
        _rule(console, report)
    if "mixture" in report:
        console.print(_mixture(report))
    else:
        console.print(_counts(report))
    if "rates" in report:
        _rates(console, report)
    if report["shown"]:
        console.print()
    for one in report["shown"]:
        _example(console, one)
    for notice in report["notices"]:
        console.print(escape(notice), soft_wrap=True)
    console.print(
        f"{escape(report['out'])}: {report['kept']:,} rows. {escape(report['removed_out'])}: those removed. "
        f"{report['seconds']:.1f} s.",
        soft_wrap=True,
    )


def _counts(report: dict[str, Any]) -> Table:
    table = Table(title=report["verb"].removeprefix("data "))
    table.add_column("")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    total = max(1, report["rows"])
    for name, count in [
        ("read", report["rows"]),
        *((f"removed: {reason}", count) for reason, count in report["removed"].items()),
        ("kept", report["kept"]),
    ]:
        table.add_row(name, f"{count:,}", f"{count / total:.1%}")
    if "clusters" in report:
        table.add_row("clusters", f"{report['clusters']['count']:,}", "")
        table.add_row("largest cluster", f"{report['clusters']['largest']:,}", "")
    return table


def _curve(console: Console, near: dict[str, Any]) -> None:
    numbers = {
        "equal": "with equal numbers",
        "any-order": "with equal numbers in any order",
        "count": "numbers as words",
        "ignore": "whatever the numbers",
    }
    console.print(
        f"Near: Jaccard of sets of {near['shingle']}-word runs >= {near['threshold']:g}, {numbers[near['numbers']]}; "
        f"{near['bands']} bands of {near['rows_a_band']} MinHash values. A pair at the threshold is missed with probability "
        f"{near['missed_at_threshold']:.2g}; pairs compared exactly: {near['pairs_compared']:,}.",
        soft_wrap=True,
    )
    points = "  ".join(f"{one['jaccard']:.2f}: {one['probability']:.2%}" for one in near["compared"])
    console.print(f"Chance that a pair of a Jaccard similarity is compared: {points}", soft_wrap=True)


def _rule(console: Console, report: dict[str, Any]) -> None:
    rule = report["rule"]
    enough = f"above {rule['coverage']:.0%} of the question's words" if rule["coverage"] else "one run"
    console.print(
        escape(f"Rule {rule['name']}: {rule['n']}-word runs, {enough} ({rule['source']}).")
        + ("" if rule["numbers"] else " Numbers do not count."),
        soft_wrap=True,
    )
    for one in report["benchmarks"]:
        share = one["found"] / max(1, one["questions"])
        console.print(
            escape(
                f"{one['file']} ({one['column']}): {one['found']:,} of {one['questions']:,} questions found ({share:.1%})"
            ),
            soft_wrap=True,
        )


def _mixture(report: dict[str, Any]) -> Table:
    table = Table(title=f"mixture, seed {report['seed']}")
    for heading in ("file", "weight", "share", "rows", "epochs", ""):
        table.add_column(heading, justify="left" if heading == "file" else "right", overflow="fold")
    for one in report["mixture"]:
        last = "exhausted" if one["exhausted"] else ""
        table.add_row(
            escape(one["file"]),
            *(f"{one['weight']:.2%}", f"{one['share']:.2%}", f"{one['rows']:,}", f"{one['epochs']:.2f}", last),
        )
    return table


def _rates(console: Console, report: dict[str, Any]) -> None:
    low, high = report["band"]
    console.print(
        f"{report['measured']:,} rows measured, {report['unmeasured']:,} not. Band {low:g}..{high:g}. Pass rates:"
    )
    bins = [
        (f"{i / 10:.1f} to {(i + 1) / 10:.1f}" + ("" if i == 9 else " (less)"), n)
        for i, n in enumerate(report["rates"])
    ]
    _bars(console, bins)


def _example(console: Console, one: dict[str, Any]) -> None:
    facts = [str(one["reason"])]
    if one["reason"] == "near":
        facts.append(f"Jaccard {one['jaccard']:.3f}")
    if one.get("coverage") is not None:
        facts.append(f"{one['coverage']:.0%} of the question covered")
    if one.get("pass_rate") is not None:
        facts.append(f"pass rate {one['pass_rate']:.2f}")
    console.print(f"[bold]{escape(', '.join(facts))}[/bold]", soft_wrap=True)
    console.print(f"  removed   {escape(one['place'])}  {escape(_short(one['text']))}", soft_wrap=True)
    other = one.get("kept") or one.get("benchmark")
    if other is not None:
        heading = "kept    " if "kept" in one else "question"
        console.print(
            f"  {heading}  {escape(other['place'])}  {escape(_short(other.get('text') or str(other['row'])))}",
            soft_wrap=True,
        )
    if one.get("shared"):
        console.print(f"  shared    {escape(_short(one['shared']))}", soft_wrap=True)
    console.print()


def _stats(console: Console, report: dict[str, Any]) -> None:
    asked = report["questions"]
    known = (
        f"{asked['distinct']:,} distinct, {asked['repeats']:,} repeats, {asked['empty']:,} empty"
        if asked
        else "none found"
    )
    console.print(f"{report['rows']:,} rows; questions: {known}.")
    if report["column_sets"] > 1:
        console.print(f"Rows have {report['column_sets']} different sets of columns.")
    table = Table(title="columns")
    for heading in ("column", "holds", "missing", "empty", "distinct", "repeats"):
        table.add_column(heading, justify="left" if heading in ("column", "holds") else "right", overflow="fold")
    lengths = Table(title="lengths")
    for heading in ("column", "in", "least", "5%", "median", "mean", "95%", "most", "total"):
        lengths.add_column(heading, justify="left" if heading in ("column", "in") else "right", overflow="fold")
    for name, one in report["columns"].items():
        holds = ", ".join(one["kinds"])
        counts = (one["missing"], one["empty"], one["distinct"], one["repeats"])
        table.add_row(escape(name), holds, *(f"{count:,}" for count in counts))
        for unit, values in one["lengths"].items():
            spread = (values[key] for key in ("least", "p5", "median", "mean", "p95", "most", "total"))
            lengths.add_row(escape(name), unit, *(f"{value:,.0f}" for value in spread))
    console.print(table)
    console.print(lengths)
    unit = "tokens" if report["model"] else "words"
    for name, one in report["columns"].items():
        if unit in one["lengths"]:
            console.print(f"[bold]{escape(name)}[/bold], {unit}")
            bins = one["lengths"][unit]["histogram"]
            _bars(console, [(f"{each['from']}-{each['to']}", each["rows"]) for each in bins])
    for name, one in report["columns"].items():
        if one["answers"]:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in one["answers"].items())
            console.print(f"Answers in {escape(name)}: {kinds}.", soft_wrap=True)
        if len(one["scripts"]) > 1:
            scripts = ", ".join(f"{count:,} {script}" for script, count in one["scripts"].items())
            console.print(f"Scripts in {escape(name)}: {scripts}.", soft_wrap=True)
        for odd, seen in one["odd"].items():
            console.print(
                f"{escape(name)}: {odd} in {seen['rows']:,} of the rows (first {escape(seen['first'])}).",
                soft_wrap=True,
            )


def _bars(console: Console, bins: list[tuple[str, int]]) -> None:
    most = max((count for _, count in bins), default=0) or 1
    width = max((len(label) for label, _ in bins), default=0)
    for label, count in bins:
        console.print(f"  {label:>{width}}  {'█' * round(_BAR * count / most):<{_BAR}} {count:,}", soft_wrap=True)


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _TEXT else plain[: _TEXT - 1] + "…"
