"""Work on data sets as verbs: say what a file holds, remove repeats, remove what stands in a benchmark, keep a band of difficulty, mix.

What is removed is written beside what is kept, each row with the reason and the row it collided with. Every input is read once, kept on
disk, and never written to. Not for: the mechanisms (burnish.data), file formats (tasks.files), or training on the result (the task `rows`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from burnish.data import contamination, difficulty, mixing
from burnish.data.difficulty import NO_VERDICT, RIGHT, WRONG, Measured
from burnish.data.duplicates import Duplicates, Likeness, Removal
from burnish.data.output import writing
from burnish.data.store import QUESTIONS, Entry, Store, answer_column, compared, question_column
from burnish.data.words import text_of
from burnish.errors import ConfigError, DataError
from burnish.journal.rollouts import read_rollouts, rollouts_files
from burnish.pipelines.data_job import Files, Job, Progress, Why, read_all, rows_said, shown_row, starts
from burnish.tasks.files import read_rows

Keep = Literal["first", "longest", "gold"]


def dedup(
    files: Files,
    likeness: Likeness | None,
    against: Sequence[str] = (),
    against_columns: Sequence[str] = (),
    keep: Keep = "first",
    answer: str | None = None,
) -> dict[str, Any]:
    """Keep one row of every cluster of exact and near-duplicates (`likeness` None: exact only); returns the report.

    Rows like one of `against` go whatever `keep` says. `keep` "gold" prefers the first row whose `answer` column is not empty.
    """
    job = Job("dedup", files, against)
    anchors = Store(job.folder, against_columns)
    read_all(anchors, job.against, "reading what is compared against", files.quiet)
    first = len(anchors)
    duplicates = Duplicates(job.folder, likeness, first)
    for number, entry in enumerate(anchors):
        duplicates.add(number, entry.text)
    count = iter(range(first, 1 << 62))
    job.read("reading and hashing", lambda entry: duplicates.add(next(count), entry.text))
    answers = _answers(job.store, answer) if keep == "gold" else {}

    def entry_of(number: int) -> Entry:
        return anchors[number] if number < first else job.store[number - first]

    def best(cluster: Sequence[int]) -> int:
        if keep == "longest":
            return max(cluster, key=lambda number: (len(entry_of(number).text), -number))
        if keep == "gold":
            return next((number for number in cluster if _has_gold(entry_of(number), answers)), cluster[0])
        return cluster[0]

    bands = likeness.bands if likeness is not None else None
    with Progress("comparing", bands.count if bands else 1, files.quiet, "pairs compared") as progress:
        removals: dict[int, Removal] = {one.row - first: one for one in duplicates.removals(best, progress)}

    def reason(number: int, _: Entry) -> Why | None:
        one = removals.get(number)
        if one is None:
            return None
        why: dict[str, Any] = {"reason": one.reason, "jaccard": one.jaccard, "kept": shown_row(entry_of(one.kept))}
        if one.like is not None:
            why["like"] = {**shown_row(entry_of(one.like)), "jaccard": one.like_jaccard}
        return why

    sizes = duplicates.clusters
    return job.write(
        reason,
        against=list(job.against),
        keep=keep,
        clusters={"count": len(sizes), "largest": max(sizes, default=1)},
        near=None if likeness is None else {**_curve(likeness), "pairs_compared": duplicates.verified},
    )


def decontaminate(
    files: Files,
    against: Sequence[str],
    rule_name: str = contamination.DEFAULT_RULE,
    n: int | None = None,
    coverage: float | None = None,
    numbers: bool = True,
    against_columns: Sequence[str] = (),
) -> dict[str, Any]:
    """Remove rows that hold a question of the benchmarks `against`, by a rule of contamination.RULES; returns the report.

    `n` and `coverage` change the rule's. Without `numbers`, every number is the same word: a question with other numbers is found too.
    """
    rule = contamination.RULES[rule_name]
    changed = rule._replace(n=n or rule.n, coverage=rule.coverage if coverage is None else coverage)
    job = Job("decontaminate", files, against)
    questions = Store(job.folder, against_columns)
    read_all(questions, job.against, "reading the benchmark", files.quiet)
    benchmark = contamination.Benchmark([entry.text for entry in questions], changed, numbers)
    if benchmark.short:
        job.notices.append(
            f"Benchmark questions of fewer than {benchmark.n} words, found only where a row is the same words from end to end: "
            f"{benchmark.short:,} of {len(questions):,}."
        )
    hits: dict[int, contamination.Hit] = {}
    count = iter(range(1 << 62))

    def look(entry: Entry) -> None:
        number, hit = next(count), benchmark.find(entry.text)
        if hit is not None:
            hits[number] = hit

    job.read("searching", look)
    wording = sum(hit.wording for hit in hits.values())
    if wording:
        job.notices.append(
            f"{rows_said(wording)} removed only for runs that more than a tenth of the benchmark's questions share, which may be its "
            "wording; compare another column (--column, --against-column) if so."
        )

    def reason(number: int, _: Entry) -> Why | None:
        hit = hits.get(number)
        if hit is None:
            return None
        found = {"coverage": hit.coverage, "shared": hit.shared, "whole": hit.whole}
        return {"reason": "contaminated", **found, "benchmark": shown_row(questions[hit.number])}

    named = rule_name if changed == rule else f"{rule_name}, changed"
    said = {"n": benchmark.n, "coverage": changed.coverage, "numbers": numbers, "source": rule.source}
    met = {number for hit in hits.values() for number in hit.above}
    return job.write(reason, rule={"name": named, **said}, benchmarks=_found(questions, met))


def _found(questions: Store, met: set[int]) -> list[dict[str, Any]]:
    """How many questions of each benchmark were met."""
    return [
        {
            "file": source.location,
            "column": " + ".join(source.columns),
            "questions": source.rows,
            "found": sum(start <= number < start + source.rows for number in met),
        }
        for source, start in starts(questions)
    ]


def filter_by_rate(
    files: Files,
    band: difficulty.Band,
    rates: str | None = None,
    measured_in: Sequence[str] = (),
    id_column: str | None = None,
    least_answers: int = 1,
    unmeasured: Literal["keep", "drop"] = "drop",
) -> dict[str, Any]:
    """Keep the rows whose pass rate is in the band: by the column `rates`, or by the judged answers `measured_in`; returns the report.

    Answers are joined to rows by the question, or by `id_column`. A row with fewer than `least_answers` verdicts is unmeasured.
    Raises DataError for a rate outside [0, 1], and where no row at all was measured.
    """
    if (rates is None) == (not measured_in):
        raise ConfigError("Say where the pass rates are: --rates COLUMN, or --measured RUN_OR_FILE; one of them.")
    job = Job("filter", files, measured_in, needs_column=bool(measured_in) and id_column is None)
    answers = measured(job.against, files.quiet) if measured_in else None
    job.read("reading")
    known = 0
    histogram = [0] * 10

    def reason(number: int, entry: Entry) -> Why | None:
        nonlocal known
        rate, judged = _rate(entry, rates, answers, id_column)
        if rate is None or (judged is not None and judged < least_answers):
            why = {"reason": "unmeasured", "pass_rate": rate, "answers": judged or 0}
            return why if unmeasured == "drop" else None
        known += 1
        histogram[min(9, int(rate * 10 + 1e-9))] += 1
        outside = band.reason(rate)
        return {"reason": outside, "pass_rate": rate, "answers": judged} if outside else None

    if not any(_rate(entry, rates, answers, id_column)[0] is not None for entry in job.store):
        raise DataError(
            f"None of the {len(job.store):,} rows has a pass rate in {rates or ', '.join(job.against)}; is it the same data set? Answers "
            "are joined by the question; --id COLUMN joins them by the problem's id."
        )
    report = job.write(
        reason,
        band=[band.low, band.high],
        unmeasured_rows=unmeasured,
        answers=None if answers is None else {"judged": answers.answers - answers.without, "without": answers.without},
    )
    return {**report, "measured": known, "unmeasured": report["rows"] - known, "rates": histogram}


def mix(
    shares: Sequence[tuple[str, float]],
    files: Files,
    seed: int = 1,
    size: int | None = None,
    epochs: float = 1.0,
    when_exhausted: mixing.WhenExhausted = "stop",
    provenance: str = "source",
) -> dict[str, Any]:
    """Mix the files by weight into one; each row says where it comes from. Returns the report.

    The columns PROVENANCE, PROVENANCE_row (its number in its file, from 1) and PROVENANCE_epoch (from 1) are added. Rows that are not drawn
    are the removed ones. Raises ConfigError where a file has such a column already.
    """
    job = Job("mix", files, needs_column=False)
    if len(job.inputs) != len(shares):
        raise ConfigError(
            "A pattern matches several files, and each source needs a weight of its own; name every file with its weight."
        )
    weights = [weight for _, weight in shares]
    job.read("reading")
    sources = job.store.sources
    columns = (provenance, f"{provenance}_row", f"{provenance}_epoch")
    for source in sources:
        clash = next((name for name in columns if name in source.names), None)
        if clash is not None:
            raise ConfigError(f"{source.location} has a column {clash!r} already; name another with --provenance.")
    sizes = [source.rows for source in sources]
    quotas = mixing.quotas(sizes, weights, size, epochs, when_exhausted)
    for number in quotas.exhausted:
        job.notices.append(
            f"{sources[number].location} is exhausted: its share is {rows_said(quotas.wanted[number])}, and it has {sizes[number]:,} to go "
            f"through {epochs:g} times."
        )
    if quotas.exhausted:
        done = "the mixture is smaller, at the same shares" if when_exhausted == "stop" else "the others make up for it"
        job.notices.append(f"So {done}: {sum(quotas.counts):,} rows of the {size:,} asked for.")
    _say_columns(job, [set(source.names) for source in sources])
    left = _draw(job, list(mixing.picks(sizes, quotas.counts, seed)), columns)
    total = sum(quotas.counts)
    mixed = [
        {
            "file": source.location,
            "weight": weight / sum(weights),
            "share": count / max(1, total),
            "rows": count,
            "epochs": count / source.rows,
            "exhausted": number in quotas.exhausted,
        }
        for number, (source, weight, count) in enumerate(zip(sources, weights, quotas.counts, strict=True))
    ]
    report = job.report(Counter({"not_drawn": left} if left else {}), ())
    return {**report, "kept": total, "size": size, "seed": seed, "mixture": mixed}


def _draw(job: Job, picks: Sequence[mixing.Pick], columns: Sequence[str]) -> int:
    """Write the picked rows, each with where it is from, and then those never picked; returns how many these are."""
    sources = job.store.sources
    firsts = [start for _, start in starts(job.store)]
    drawn = bytearray(len(job.store))
    example = dict(zip(columns, ("file", 1, 1), strict=True))
    with (
        writing(job.target, job.rest, job.schema(example)) as (keep, drop),
        Progress("mixing", len(job.store), job.files.quiet, "rows written") as progress,
    ):
        for done, pick in enumerate(picks, start=1):
            number = firsts[pick.source] + pick.row
            drawn[number] = 1
            told = (sources[pick.source].location, pick.row + 1, pick.epoch + 1)
            keep({**job.store[number].row, **dict(zip(columns, told, strict=True))})
            progress(min(done, len(job.store)), done)
        left = [number for number, once in enumerate(drawn) if not once]
        for number in left:
            entry = job.store[number]
            drop({"place": entry.place, "reason": "not_drawn", "row": entry.row})
    return len(left)


def measured(locations: Sequence[str], quiet: bool) -> Measured:
    """Judged answers of run directories and of files. A file's rows have `outcome`, and a question, `problem_id` or `fingerprint`.

    Such are the rows that `burnish verify` and `burnish select` write. Raises DataError for a place that holds no judged answers.
    """
    found = Measured()
    for location in locations:
        path = Path(location)
        if path.is_dir():
            _from_run(found, path, quiet)
        else:
            for place, row in read_rows(location):
                _from_row(found, row, place)
    return found


def _from_run(found: Measured, run: Path, quiet: bool) -> None:
    files = rollouts_files(run / "rollouts") if (run / "rollouts").is_dir() else {}
    if not files:
        raise DataError(f"{run} is no run directory with stored rollouts: {run / 'rollouts'} holds none.")
    with Progress(f"reading rollouts of {run}", len(files), quiet, "answers") as progress:
        for done, step in enumerate(files, start=1):
            for row in read_rollouts(run, step):
                found.add(row["outcome"], row["question"], row["problem_id"])
            progress(done, found.answers)


def _from_row(found: Measured, row: dict[str, Any], place: str) -> None:
    outcome = row.get("outcome")
    if outcome not in (RIGHT, WRONG, NO_VERDICT):
        raise DataError(
            f"{place}: {'outcome'!r} is {outcome!r:.40}; a judged answer has {RIGHT}, {WRONG} or {NO_VERDICT} there "
            "(burnish verify writes such rows)."
        )
    print_of, problem_id = row.get("fingerprint"), row.get("problem_id")
    question = None
    if not isinstance(print_of, str) and any(name.casefold() in QUESTIONS for name in row):
        question = text_of(row[question_column(row, place)])
    if question is None and not isinstance(print_of, str) and problem_id is None:
        raise DataError(f"{place}: nothing says which problem this answers: no question, problem_id or fingerprint.")
    found.add(outcome, question, None if problem_id is None else str(problem_id), print_of)


def _answers(store: Store, name: str | None) -> dict[int, str]:
    """The answer column of each file. Raises ConfigError where a file has none."""
    found = {}
    for number, source in enumerate(store.sources):
        column = name or answer_column(source.names)
        if column is None or column not in source.names:
            has = ", ".join(map(repr, source.names))
            missing = f"no column {name!r}" if name else "no column that is known for an answer"
            raise ConfigError(f"--keep gold: {source.location} has {missing}, it has {has}; name it with --answer.")
        found[number] = column
    return found


def _has_gold(entry: Entry, answers: Mapping[int, str]) -> bool:
    column = answers.get(entry.source)
    value = entry.row.get(column) if column is not None else None
    return value is not None and bool(str(value).strip())


def _rate(
    entry: Entry, rates: str | None, answers: difficulty.Measured | None, id_column: str | None
) -> tuple[float | None, int | None]:
    """(pass rate, verdicts) of a row; None for what is not known."""
    if answers is None:
        value = _field(entry, rates or "")
        if value is None or value == "":
            return None, None
        try:
            rate = float(value)
        except (TypeError, ValueError):
            rate = -1.0
        if not 0.0 <= rate <= 1.0:
            raise DataError(f"{entry.place}: {rates!r} is {value!r:.40}; a pass rate is a number from 0 to 1.")
        return rate, None
    tally = answers.of_id(str(_field(entry, id_column))) if id_column else answers.of_question(entry.text)
    return (tally.rate, tally.judged) if tally is not None else (None, 0)


def _field(entry: Entry, name: str) -> Any:
    compared(entry.row, (name,), entry.place)  # complains well where there is no such column
    return entry.row[name]


def _curve(likeness: Likeness) -> dict[str, Any]:
    """The S-curve: how often a pair of a similarity is compared, from well below the threshold to 1."""
    bands, at = likeness.bands, likeness.threshold
    points = sorted({round(min(1.0, max(0.0, at + step)), 3) for step in (-0.3, -0.2, -0.1, 0.0, 0.05, 0.1, 0.2)})
    return {
        "threshold": at,
        "shingle": likeness.shingle,
        "numbers": likeness.numbers,
        "bands": bands.count,
        "rows_a_band": bands.rows,
        "missed_at_threshold": bands.missed(at),
        "compared": [{"jaccard": point, "probability": bands.found(point)} for point in points],
    }


def _say_columns(job: Job, names: list[set[str]]) -> None:
    partial = sorted(set().union(*names) - names[0].intersection(*names))
    if partial:
        job.notices.append(f"Not every file has the column{'s' * (len(partial) > 1)} {', '.join(map(repr, partial))}.")
