"""Say what data files hold, with progress, in one pass. Not for: the counting itself (burnish.data.describe), or printing."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from burnish.data.describe import Column
from burnish.data.store import answer_column, compared, known_question
from burnish.errors import ConfigError
from burnish.journal.files import write_atomic
from burnish.pipelines.data_job import Progress, expected_rows
from burnish.records import fingerprint
from burnish.tasks.files import read_rows


def describe(
    locations: Sequence[str], columns: Sequence[str], answer: str | None, model: str | None, quiet: bool
) -> dict[str, Any]:
    """Rows, columns, lengths, repeats, kinds and oddities of the files together, in one pass."""
    tokens_of = _token_counter(model) if model is not None else None
    found: dict[str, Column] = {}
    files: list[dict[str, Any]] = []
    prints: set[int] = set()
    repeats = empty = rows = 0
    sets: Counter[tuple[str, ...]] = Counter()
    with Progress("reading", sum(map(expected_rows, locations)), quiet, "repeated questions") as progress:
        for location in locations:
            asked: tuple[str, ...] | None = None
            before = rows
            for place, row in read_rows(location):
                if asked is None:
                    asked = tuple(columns) or known_question(row)
                    gold = answer or answer_column(tuple(row))
                    if answer is not None and answer not in row:
                        compared(row, (answer,), place)
                text = compared(row, asked, place)
                rows += 1
                empty += bool(asked) and not text.strip()
                if text.strip():
                    key = int(fingerprint(text)[:16], 16)
                    repeats += key in prints
                    prints.add(key)
                sets[tuple(row)] += 1
                for name, value in row.items():
                    found.setdefault(name, Column(name, tokens_of)).add(value, place, name == gold)
                progress(rows, repeats)
            files.append({"file": location, "rows": rows - before, "column": " + ".join(asked or ()), "answer": gold})
    return {
        "verb": "data stats",
        "inputs": files,
        "rows": rows,
        "questions": {"empty": empty, "repeats": repeats, "distinct": len(prints)} if any(map(_asks, files)) else None,
        "column_sets": len(sets),
        "model": model,
        "columns": {name: column.report(rows) for name, column in found.items()},
    }


def _asks(file: dict[str, Any]) -> bool:
    return bool(file["column"])


def check_plot(path: str) -> None:
    """Raises ConfigError for a name that is no PNG's."""
    if not path.lower().endswith(".png"):
        raise ConfigError(f"--plot {path}: the picture is a PNG; the name must end in .png.")


def plot(report: dict[str, Any], path: str) -> None:
    """Histograms of the lengths of every column of text, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    unit = "tokens" if report["model"] else "words"
    shown = {name: one["lengths"][unit] for name, one in report["columns"].items() if unit in one["lengths"]}
    figure, axes = pyplot.subplots(max(1, len(shown)), 1, figsize=(8, 2.6 * max(1, len(shown))), squeeze=False)
    for axis, (name, lengths) in zip(axes[:, 0], shown.items(), strict=False):
        bins = lengths["histogram"]
        axis.bar([f"{one['from']}-{one['to']}" for one in bins], [one["rows"] for one in bins])
        axis.set_title(f"{name}: {unit} (median {lengths['median']:.0f})")
        axis.set_ylabel("rows")
        axis.tick_params(axis="x", labelrotation=30)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    write_atomic(path, buffer.getvalue())


def _token_counter(model: str) -> Callable[[str], int]:
    from burnish.policy.tokenizer import load_tokenizer  # brings torch

    tokenizer = load_tokenizer(model)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
