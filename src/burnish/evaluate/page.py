"""An evaluation's report as files: JSON for programs, Markdown to quote from, one picture. Not for: computing what they say."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.evaluate import verifiers
from burnish.evaluate.scores import convention
from burnish.journal.files import encode, write_atomic

INK = ("#1f5fa8", "#c2571a", "#3a8f4d")
KINDS = (
    ("pass@", "at least one of k is right"),
    ("maj@", "the majority of k is right"),
    ("pass^", "all of k are right"),
)


def write(out: Path, report: Mapping[str, Any]) -> None:
    """report.json, report.md and figures.png, each whole or not at all. Raises StorageError where the disk would not take one."""
    plain = json.loads(encode(report))
    text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    write_atomic(out / "report.json", text.encode("utf-8", "backslashreplace"))
    write_atomic(out / "report.md", markdown(plain).encode("utf-8", "replace"))
    write_atomic(out / "figures.png", picture(plain))


def markdown(report: Mapping[str, Any]) -> str:
    """A page with a table of figures, what stands beside them, and what to know before quoting."""
    greedy = report["sampling"]["temperature"] == 0
    parts = [f"# {name_of(report['model'])}", _how(report)]
    for label, one in report["tasks"].items():
        parts += [f"## {label}", f"> {sentence(label, one, name_of(report['model']), greedy)}"]
        rows = [
            f"| {title(name, one, greedy)} | {figure['value']:.1%} | {figure['low']:.1%} to {figure['high']:.1%} | "
            f"{figure['bootstrap']['low']:.1%} to {figure['bootstrap']['high']:.1%} | {figure['problems']:,} |"
            for name, figure in one["figures"].items()
        ]
        head = ["| figure | mean | 95 % interval | bootstrap | problems |", "|---|---:|---:|---:|---:|"]
        parts.append("\n".join([*head, *rows]))
        beside = ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in facts(one))]
        parts.append("\n".join(beside))
        said = [*one["notes"], *verifiers.sentences(one["verifier"], one["verifier_rates"])]
        parts.append("\n".join(f"- {line}" for line in said))
    return "\n\n".join(parts) + "\n"


def sentence(label: str, one: Mapping[str, Any], model: str, greedy: bool) -> str:
    """What a newcomer can quote of one task."""
    figure = one["figures"].get("pass@1")
    if figure is None:
        return f"No answer of {model} to {label} has a verdict."
    how = (
        "one greedy answer"
        if greedy
        else f"{one['samples']} sampled answers"
        if one["samples"] > 1
        else "one sampled answer"
    )
    return (
        f"{model} answers {figure['value']:.1%} of {label} right (95% interval {figure['low']:.1%} to {figure['high']:.1%}, over "
        f"{figure['problems']:,} held-out problems with {how} each, judged by {one['verifier']})."
    )


def title(name: str, one: Mapping[str, Any], greedy: bool) -> str:
    """pass@1 with the name it has in reports."""
    return f"pass@1 ({convention(one['samples'], greedy)})" if name == "pass@1" else name


def facts(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counts, shares, lengths and cost, as (name, shown) pairs; what nobody knows is "-"."""
    lengths, cost, shares = one["lengths"], one["cost"], one["shares"]
    seconds, tokens = cost["seconds"], cost["tokens"]
    return [
        ("problems x samples", f"{one['problems']:,} x {one['samples']:,}"),
        ("answers", f"{one['answers']:,}"),
        *((name, _percent(share)) for name, share in shares.items()),
        *((f"mean length, {which}", _number(length, "{:,.1f} tokens")) for which, length in lengths.items()),
        ("tokens written", _number(tokens, "{:,.0f}")),
        ("prompt tokens", _number(cost["prompt_tokens"], "{:,.0f}")),
        ("seconds", _number(seconds, "{:,.1f}")),
        ("estimated FLOPs", _number(cost["flops"], "{:.2e}")),
    ]


def name_of(model: Mapping[str, Any]) -> str:
    """A model as a heading shows it."""
    return str(model["path"]) if "path" in model else f"{model['name']} at {model['endpoint']}"


def _how(report: Mapping[str, Any]) -> str:
    drawn = report["sampling"]
    how = "greedy" if drawn["temperature"] == 0 else f"temperature {drawn['temperature']:g}, top-p {drawn['top_p']:g}"
    cut = f", top-k {drawn['top_k']}" if drawn["top_k"] else ""
    weights = f", weights {report['model']['weights'][:12]}" if report["model"].get("weights") else ""
    only = "; text only, without token ids" if report["model"].get("text_only") else ""
    return f"Drawn {how}{cut}, at most {drawn['max_new']:,} tokens an answer, seed {drawn['seed']}{weights}{only}."


def picture(report: Mapping[str, Any]) -> bytes:
    """A PNG: for each task, each kind of figure over k with its interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = report["tasks"]
    figure = Figure(figsize=(5.2 * len(tasks), 4.2), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)  # a figure of its own: pyplot would keep it alive and pick a screen
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, (label, one) in zip(panels, tasks.items(), strict=True):
        _draw(axes, label, one)
    image = io.BytesIO()
    canvas.print_png(image)
    return image.getvalue()


def _draw(axes: Any, label: str, one: Mapping[str, Any]) -> None:
    ks = sorted({int(name[5:] if name[:4] == "pass" else name[4:]) for name in one["figures"]})
    place = {k: at for at, k in enumerate(ks)}
    for (kind, meaning), color in zip(KINDS, INK, strict=True):
        found = {1: one["figures"].get("pass@1")} | {k: one["figures"].get(f"{kind}{k}") for k in ks if k > 1}
        points = {k: figure for k, figure in found.items() if figure is not None}
        if kind != "pass@" and set(points) <= {1}:
            continue
        at = [place[k] for k in points]
        values = [figure["value"] for figure in points.values()]
        ends = [[v - f["low"], f["high"] - v] for v, f in zip(values, points.values(), strict=True)]
        spread = list(zip(*ends, strict=True)) if ends else None
        axes.errorbar(
            at, values, yerr=spread, color=color, marker="o", markersize=4, capsize=3, label=f"{kind}k: {meaning}"
        )
    axes.set_title(f"{label}: {one['problems']:,} problems x {one['samples']:,}", fontsize=11, loc="left")
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set_xlabel("k")
    axes.set_ylabel("mean over problems, 95 % interval")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if one["figures"]:
        axes.legend(frameon=False, fontsize=8)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
