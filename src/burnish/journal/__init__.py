"""What a run writes, and how it is read back: files only, readable while the run goes on, no server needed.

    files      whole-or-nothing writing, and JSON lines
    rollouts   one Parquet file a step, joined by key
    kept       the answers that a measurement draws, so that none is drawn twice
    journal    the run directory: config, versions, metrics, events, and the offset an exact resume returns to
    behind     the same written by a thread, while the run goes on
    ledger     tokens, seconds and estimated FLOPs so far
    plots      the training curves as one picture
    report     the figures before and after, as JSON and as a page of Markdown
    scaling    accuracy against tokens, as a page and a picture

Not for: deciding anything about training, checkpoints (the learner writes those), or serving pages (the viewer does).
Importing this package loads no torch, no pyarrow, no duckdb and no matplotlib; each is loaded by the function that
needs it.
"""

from burnish.journal.behind import Behind
from burnish.journal.journal import Journal, comparable
from burnish.journal.ledger import Ledger
from burnish.journal.plots import plot_curves
from burnish.journal.report import write_report
from burnish.journal.rollouts import as_groups, query, read_rollouts, write_rollouts

__all__ = [
    "Behind",
    "Journal",
    "Ledger",
    "as_groups",
    "comparable",
    "plot_curves",
    "query",
    "read_rollouts",
    "write_report",
    "write_rollouts",
]
