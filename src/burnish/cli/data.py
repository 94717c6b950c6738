"""The verbs of data sets: data stats, dedup, decontaminate, filter, mix. Imports stand inside each. Not for: what they do (pipelines)."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

import typer

from burnish.cli.given import Json, print_result
from burnish.errors import ConfigError

VERBS = ("stats", "dedup", "decontaminate", "filter", "mix")

_NEAR = ("threshold", "shingle", "numbers", "permutations", "most_missed", "seed")
"""What only near-duplicates depend on."""

Inputs = Annotated[
    list[str],
    typer.Argument(
        help="JSONL, JSON, CSV or Parquet files, quoted patterns, or data sets of the hub.", metavar="FILE..."
    ),
]
Out = Annotated[str, typer.Option(help="Where the kept rows go: NAME.jsonl or NAME.parquet.")]
Removed = Annotated[
    str | None, typer.Option(help="Where the removed rows go, with the reason; OUT.removed.jsonl if not given.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Compare this column; may be repeated. Else the question's is found."),
]
AgainstColumns = Annotated[
    list[str] | None, typer.Option(help="The column of --against to compare; may be repeated. Else it is found.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]


def data(
    verb: Annotated[str, typer.Argument(help="stats, dedup, decontaminate, filter or mix.", metavar="VERB")] = "",
) -> None:
    """Work on data sets: data stats, data dedup, data decontaminate, data filter, data mix."""
    near = difflib.get_close_matches(verb, VERBS, n=1)
    given = f"{verb!r} is no verb of data" if verb else "Say what to do with the data"
    hint = f"; did you mean burnish data {near[0]}?" if near else f": burnish data {', '.join(VERBS)}."
    raise ConfigError(given + hint)


def stats(
    files: Inputs,
    column: Columns = None,
    answer: Annotated[str | None, typer.Option(help="The column of gold answers; else it is found.")] = None,
    model: Annotated[str | None, typer.Option(help="Count tokens with this model's tokenizer too.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw the lengths there, as a PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Say what data files hold: rows, columns, lengths, repeats, kinds of answers, odd characters."""
    from burnish.data.store import locations
    from burnish.pipelines import data_stats as pipeline

    if plot is not None:
        pipeline.check_plot(plot)
    report = pipeline.describe(locations(files), column or (), answer, model, quiet=as_json)
    if plot is not None:
        pipeline.plot(report, plot)
    _print(report, as_json)


def dedup(
    context: typer.Context,
    files: Inputs,
    out: Out,
    against: Annotated[
        list[str] | None, typer.Option(help="Remove what repeats a row of this file too; may be repeated.")
    ] = None,
    column: Columns = None,
    against_column: AgainstColumns = None,
    keep: Annotated[Literal["first", "longest", "gold"], typer.Option(help="Which row of a cluster stays.")] = "first",
    answer: Annotated[str | None, typer.Option(help="The column of gold answers, for --keep gold.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Exact copies only.")] = False,
    threshold: Annotated[
        float, typer.Option(help="Jaccard similarity from which two rows are nearly the same.", min=0.05, max=1.0)
    ] = 0.8,
    shingle: Annotated[int, typer.Option(help="Words in a run.", min=1, max=50)] = 3,
    numbers: Annotated[
        Literal["equal", "any-order", "count", "ignore"],
        typer.Option(help="Numbers must be equal (in any order), count as words, or are all the same."),
    ] = "equal",
    permutations: Annotated[int, typer.Option(help="Values in a MinHash signature.", min=1, max=4096)] = 128,
    most_missed: Annotated[
        float, typer.Option(help="How often a pair at the threshold may be missed.", min=1e-9, max=0.999)
    ] = 0.01,
    seed: Seed = 1,
    removed: Removed = None,
    as_json: Json = False,
) -> None:
    """Remove exact copies and near-duplicates, within and across files; one row of each cluster stays."""
    from burnish.data.duplicates import Likeness
    from burnish.pipelines import data as pipeline
    from burnish.pipelines.data_job import Files

    if answer is not None and keep != "gold":
        raise ConfigError("--answer has no effect without --keep gold.")
    if against_column and not against:
        raise ConfigError("--against-column has no effect without --against.")
    idle = [name for name in _NEAR if str(getattr(context.get_parameter_source(name), "name", "")) == "COMMANDLINE"]
    if exact and idle:
        raise ConfigError(f"--{idle[0].replace('_', '-')} has no effect with --exact; leave one of them out.")
    likeness = None if exact else Likeness(threshold, shingle, numbers, permutations, most_missed, seed)
    job = Files(files, out, column or (), removed, quiet=as_json)
    _print(pipeline.dedup(job, likeness, against or (), against_column or column or (), keep, answer), as_json)


def decontaminate(
    files: Inputs,
    out: Out,
    against: Annotated[list[str], typer.Option(help="A benchmark whose questions must not be there; may be repeated.")],
    rule: Annotated[
        Literal["tulu3", "gpt3", "cosmopedia", "s1"], typer.Option(help="Whose convention; see docs/data.md.")
    ] = "tulu3",
    ngram: Annotated[int | None, typer.Option(help="Words in a run, instead of the rule's.", min=2, max=100)] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Remove above this share of the question, instead of the rule's.", min=0.0, max=0.999),
    ] = None,
    ignore_numbers: Annotated[
        bool, typer.Option("--ignore-numbers", help="Find a question with other numbers too.")
    ] = False,
    column: Columns = None,
    against_column: AgainstColumns = None,
    removed: Removed = None,
    as_json: Json = False,
) -> None:
    """Remove rows that hold a question of a benchmark, by overlap of word n-grams, and show each overlap."""
    from burnish.pipelines import data as pipeline
    from burnish.pipelines.data_job import Files

    job = Files(files, out, column or (), removed, quiet=as_json)
    report = pipeline.decontaminate(job, against, rule, ngram, coverage, not ignore_numbers, against_column or ())
    _print(report, as_json)


def filter_rows(
    files: Inputs,
    out: Out,
    rates: Annotated[str | None, typer.Option(help="A column with each row's pass rate.")] = None,
    measured: Annotated[
        list[str] | None, typer.Option(help="A run directory, or a file of judged answers; may be repeated.")
    ] = None,
    band: Annotated[str, typer.Option(help="The pass rates to keep, LOW..HIGH, both within.")] = "0.1..0.9",
    unmeasured: Annotated[
        Literal["keep", "drop"], typer.Option(help="What becomes of rows that nobody measured.")
    ] = "drop",
    least_answers: Annotated[int, typer.Option(help="With fewer verdicts a row is unmeasured.", min=1)] = 1,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Join answers to rows by this column, not by the question.")
    ] = None,
    column: Columns = None,
    removed: Removed = None,
    as_json: Json = False,
) -> None:
    """Keep the rows that a model solves now and then, by measured pass rate."""
    from burnish.data.difficulty import Band
    from burnish.pipelines import data as pipeline
    from burnish.pipelines.data_job import Files

    if rates is not None and (id_column is not None or least_answers > 1):
        raise ConfigError("--id and --least-answers have no effect with --rates; they are for --measured.")
    if column and (rates is not None or id_column is not None):
        raise ConfigError("--column has no effect with --rates or --id: rows are not joined by their text then.")
    job = Files(files, out, column or (), removed, quiet=as_json)
    report = pipeline.filter_by_rate(job, Band.parse(band), rates, measured or (), id_column, least_answers, unmeasured)
    _print(report, as_json)


def mix(
    shares: Annotated[list[str], typer.Argument(help="Files with their weights.", metavar="FILE=WEIGHT...")],
    out: Out,
    size: Annotated[
        int | None, typer.Option(help="Rows in all; as many as there can be at these shares if not given.", min=1)
    ] = None,
    epochs: Annotated[float, typer.Option(help="How often a file may be gone through, at most.", min=0.0001)] = 1.0,
    when_exhausted: Annotated[
        Literal["stop", "refill"],
        typer.Option(help="If a file has too few rows: a smaller mixture, or more of the others."),
    ] = "stop",
    seed: Seed = 1,
    provenance: Annotated[str, typer.Option(help="Name of the columns that say where a row comes from.")] = "source",
    removed: Removed = None,
    as_json: Json = False,
) -> None:
    """Mix files by weight into one, the same for the same seed; every row says where it comes from."""
    from burnish.pipelines import data as pipeline
    from burnish.pipelines.data_job import Files

    weights = [_weight(one) for one in shares]
    job = Files([name for name, _ in weights], out, (), removed, quiet=as_json)
    _print(pipeline.mix(weights, job, seed, size, epochs, when_exhausted, provenance), as_json)


def _weight(share: str) -> tuple[str, float]:
    name, equals, text = share.rpartition("=")
    try:
        weight = float(text) if equals and name else 0.0
    except ValueError:
        weight = 0.0
    if not 0.0 < weight < float("inf"):
        raise ConfigError(f"{share!r} is no file with a weight above 0; write FILE=WEIGHT, such as easy.jsonl=0.3.")
    return name, weight


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show_data import show_data

    show_data(report)
