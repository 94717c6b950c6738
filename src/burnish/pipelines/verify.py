"""Judge the answers of a file: every row comes back, in order, with its verdict. Loads no torch. Not for: rewards."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from burnish.errors import DataError
from burnish.journal.files import writing_whole
from burnish.records import Key, Problem, Verdict
from burnish.run.display import Display
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.tasks.files import read_rows
from burnish.verify import identity, readiness
from burnish.verify.instructions import levels
from burnish.verify.pool import Pool
from burnish.verify.rows import reference_of, with_answer

CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 32 << 20  # what is in memory at a time, whichever comes first
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """One row of a file: where it stands, what it holds, and what a verifier takes."""

    place: str
    row: Row
    problem: Problem
    response: str


class Source:
    """Rows to judge with one verifier, by its name or by a task's. Raises DataError, while iterating, for a bad row."""

    def __init__(
        self, path: str, verifier: str | None, task_name: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self._path, self._task_name = path, task_name
        self._task = load_task(task_name, options or {}) if task_name is not None else None
        self.verifier = verifier or (self._task.verifier if self._task is not None else "")
        self._known: dict[str, Problem] | None = None

    def __iter__(self) -> Iterator[Given]:
        for number, (place, row) in enumerate(read_rows(self._path)):
            reference, response = with_answer(row, self._reference(row, place), self.verifier, place)
            question = row.get("question")
            asked = question if isinstance(question, str) else ""
            yield Given(
                place,
                row,
                Problem(place, self._task_name or self.verifier, asked, reference, "given", str(number)),
                response,
            )

    def look(self) -> tuple[int, tuple[str, ...]]:
        """How many rows there are, once it is sure that each can be judged here, and what is to be said of that.

        Raises DataError for a row, and ConfigError for a machine that has not the sandbox that rows require.
        """
        total, tiers = 0, {}
        for given in self:
            total += 1
            tier = given.problem.reference.get("require_tier")
            tiers[str(tier)] = {"require_tier": tier}
        return total, readiness(self.verifier, tiers.values())

    def _reference(self, row: Row, place: str) -> Mapping[str, Any]:
        if self._task is None or "problem_id" not in row:
            return reference_of(row, place)
        if self._known is None:
            self._known = {problem.id: problem for problem in _all(self._task)}
        if row["problem_id"] not in self._known:
            raise DataError(f"{place}: the task {self._task_name!r} has no problem {row['problem_id']!r}.")
        return self._known[row["problem_id"]].reference


def judged(rows: Iterator[Given], pool: Pool, display: Display | None = None) -> Iterator[tuple[Given, Verdict]]:
    """Each row with its verdict, in order. A few thousand rows are in memory at a time, whatever the file holds."""
    done = right = 0
    for chunk in _chunks(rows):
        verdicts: dict[Key, Verdict] = {}
        for key, verdict in pool.judge((Key(given.place, 0), given.problem, given.response) for given in chunk):
            verdicts[key] = verdict
            done, right = done + 1, right + (verdict.outcome == "right")
            if display is not None and done % 256 == 0:
                display.step(done, {"right": right / done})
        for given in chunk:
            yield given, verdicts[Key(given.place, 0)]
    if display is not None and done:
        display.step(done, {"right": right / done})


def verify_file(source: Source, out: str | None, workers: int, deadline_s: float, quiet: bool) -> dict[str, Any]:
    """Write every row with `outcome`, `score`, `found`, `why`, `seconds` and `fault` to `out`, whole or not at all.

    Standard output where `out` is None. All rows are looked at before the first is judged, so a bad one costs nothing.
    Returns counts, faults with the first row that has each, seconds, rows a second, and latency in seconds; of instructions that
    are judged both ways also IFEval's four levels, as (followed, of how many).
    """
    with Pool(source.verifier, workers, deadline_s) as pool:  # refuses an unknown verifier before the file is read
        total, notices = source.look()
        sys.stderr.write("".join(f"burnish: {notice}\n" for notice in notices))
        counts = dict.fromkeys(("right", "wrong", "no_verdict"), 0)
        faults: Counter[str] = Counter()
        first: dict[str, str] = {}
        parts: list[Mapping[str, float]] = []
        began = time.perf_counter()
        columns = (("right", "right so far", "{:6.1%}"),)
        target = writing_whole(out) if out is not None else nullcontext(_to_standard_output)
        with target as write, Display("judging", total, columns, quiet) as display:
            for given, verdict in judged(iter(source), pool, display):
                counts[verdict.outcome] += 1
                if source.verifier == "instructions":
                    parts.append(verdict.parts)
                if verdict.fault is not None:
                    faults[verdict.fault] += 1
                    first.setdefault(verdict.fault, f"{given.place}: {verdict.why}")
                write(line_of(given.row, verdict))
        seconds = time.perf_counter() - began
        latency = pool.statistics().latency
    return {
        "out": out,
        "verifier": identity(source.verifier),
        "rows": total,
        **counts,
        "faults": dict(faults),
        "first_faults": first,
        "seconds": seconds,
        "rows_per_second": total / seconds,
        "latency": dict(latency),
        **({"levels": levels(parts)} if any("loose" in one for one in parts) else {}),
    }


def line_of(row: Row, verdict: Verdict) -> bytes:
    """A row with its verdict, as a line of JSON."""
    fields = {
        "outcome": verdict.outcome,
        "score": verdict.score,
        "found": verdict.found,
        "why": verdict.why,
        "seconds": round(verdict.seconds, 6),
        "fault": verdict.fault,
    }
    # A lone surrogate cannot be UTF-8; its backslash form is also how JSON spells it.
    return (json.dumps({**row, **fields}, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What a person should know of a result beside its counts: how fast it was, and the first row of each fault."""
    latency = result["latency"]
    speed = (
        f"{result['rows']:,} rows in {result['seconds']:.1f} s ({result['rows_per_second']:,.0f} a second); a verdict took "
        f"{latency['p50'] * 1e3:.2f} ms at the median and {latency['p99'] * 1e3:.2f} ms at the 99th percentile."
    )
    shares = [
        f"{name.replace('_', ' ')}: {followed:,} of {of:,} ({followed / of:.1%})."
        for name, (followed, of) in result.get("levels", {}).items()
    ]
    return [
        speed,
        *shares,
        *(f"{count} x {fault}, first {result['first_faults'][fault]}." for fault, count in result["faults"].items()),
    ]


def _chunks(rows: Iterator[Given]) -> Iterator[list[Given]]:
    chunk: list[Given] = []
    size = 0
    for given in rows:
        chunk.append(given)
        size += len(given.response)
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _to_standard_output(line: bytes) -> None:
    sys.stdout.write(line.decode())


def _all(task: Task) -> list[Problem]:
    train = task.train(0).take(task.train_size) if task.train_size else []
    return [*task.held_out(), *train]
