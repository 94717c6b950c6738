"""What a person watches: a live table on a terminal, a line now and then elsewhere. Not for: records (the journal keeps those).

Everything goes to standard error, so that standard output stays free for results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_BARS = "▁▂▃▄▅▆▇█"


class Display:
    """Progress of one phase: `with Display("reinforcement learning", total=40, columns=(...)) as display: display.step(i, {...})`.

    `columns` are (metric name, heading, format) triples, shown with a sparkline of their history.
    """

    def __init__(
        self, title: str, total: int, columns: tuple[tuple[str, str, str], ...], quiet: bool = False, done: int = 0
    ) -> None:
        self._title, self._total, self._columns, self._quiet = title, total, columns, quiet
        self._console = Console(stderr=True)
        self._history: dict[str, list[float]] = {name: [] for name, _, _ in columns}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
        )
        self._task = self._progress.add_task(title, total=total, completed=done)
        self._live = Live(self._table(), console=self._console, refresh_per_second=4, transient=True)
        self._interactive = self._console.is_terminal and not quiet
        self._said = self._began = time.monotonic()
        self._first = done

    def __enter__(self) -> Display:
        if self._interactive:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._interactive:
            self._live.stop()

    def step(self, done: int, metrics: Mapping[str, float]) -> None:
        """`done` of the total are done; `metrics` are the newest values."""
        for name in self._history:
            if name in metrics and math.isfinite(metrics[name]):
                self._history[name].append(metrics[name])
        self._progress.update(self._task, completed=done)
        if self._interactive:
            self._live.update(self._table())
        elif not self._quiet and (done == self._total or time.monotonic() - self._said > 10):
            self._said = time.monotonic()
            left = (self._said - self._began) / max(1, done - self._first) * (self._total - done)
            shown = "  ".join(
                f"{title} {form.format(self._history[name][-1])}"
                for name, title, form in self._columns
                if self._history[name]
            )
            self._console.print(
                f"{self._title} {done}/{self._total}  {shown}  ETA {left:.0f} s", highlight=False, soft_wrap=True
            )

    def note(self, sentence: str) -> None:
        """Something a person should know."""
        if not self._quiet:
            self._console.print(sentence, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        for name, title, form in self._columns:
            history = self._history[name]
            grid.add_row(title, form.format(history[-1]) if history else "", sparkline(history[-40:]))
        outer = Table.grid()
        outer.add_row(self._progress)
        outer.add_row(grid)
        return outer


def sparkline(history: list[float]) -> str:
    """A row of bars from the lowest to the highest of the values."""
    if not history:
        return ""
    low, high = min(history), max(history)
    span = (high - low) or 1.0
    return "".join(_BARS[int((value - low) / span * (len(_BARS) - 1))] for value in history)
