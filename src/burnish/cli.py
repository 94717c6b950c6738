"""The command line: verbs, their arguments and exit codes. Imports stand inside each verb, so that --help is instant.

Exit codes: 0 done; 1 something went wrong, or a check says no; 2 bad input; 130 interrupted. Results go to standard output,
progress and sentences to standard error. Not for: what the verbs do (pipelines).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from burnish.errors import BurnishError, ConfigError

app = typer.Typer(
    name="burnish",
    help="Train language models to reason by reinforcement learning with verifiable rewards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as key.sub=value.", metavar="[KEY=VALUE]...")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and no progress.")]
RunFile = Annotated[str, typer.Argument(help="A TOML file; see docs/configuration.md.", metavar="RUN.toml")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An option of the task, as key=value; may be repeated.")
]
Temperature = Annotated[float, typer.Option(help="0 is greedy.", min=0.0)]
TopP = Annotated[
    float, typer.Option(help="Cut to the smallest set of tokens with this mass; 1 is off.", min=0.0, max=1.0)
]
TopK = Annotated[int, typer.Option(help="Cut to this many tokens; 0 is off.", min=0)]
MaxNew = Annotated[int, typer.Option(help="Most tokens in one answer.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]
System = Annotated[str | None, typer.Option(help="A system message put before the problem.")]


@app.command()
def demo(
    out: Annotated[str | None, typer.Option(help="Where to write; runs/demo if free.")] = None,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Watch a small model made here learn to think, in minutes, with no GPU."""
    from burnish.pipelines import demo as pipeline

    report = pipeline.demo(out or pipeline.free_place(), seed, quiet=as_json)
    _print_report(report, as_json, pipeline.advice(report))


@app.command()
def train(
    run: RunFile,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in `out` as if it had never stopped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model on a task by reinforcement learning."""
    from burnish.config import RunConfig, load
    from burnish.pipelines import rl

    _print_report(rl.train(load(RunConfig, run, overrides or []), resume, quiet=as_json), as_json)


@app.command()
def pretrain(run: RunFile, overrides: Overrides = None, as_json: Json = False) -> None:
    """Make a small language model from scratch on a generated corpus."""
    from burnish.config import PretrainConfig, load
    from burnish.pipelines import pretrain as pipeline

    made = pipeline.pretrain(load(PretrainConfig, run, overrides or []), quiet=as_json)
    result = {
        "model": str(made.out),
        "parameters": made.policy.parameters,
        "loss": made.loss,
        "tokens": made.tokens,
        "seconds": made.seconds,
    }
    cost = f"{made.tokens:,} tokens in {made.seconds:.0f} s, loss {made.loss:.3f} nats a token"
    sentence = f"{made.out}: {made.policy.parameters:,} parameters, {cost}."
    _print(result, as_json, sentence)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder or hub name.")],
    task: Annotated[str, typer.Option(help="The task to measure on.")],
    options: Options = None,
    problems: Annotated[int, typer.Option("-n", "--problems", help="How many held-out problems.", min=1)] = 500,
    samples: Annotated[
        int | None, typer.Option(help="Answers for each problem; the largest k, and at least 4, if not given.", min=1)
    ] = None,
    k: Annotated[list[int] | None, typer.Option("-k", help="Report pass@k and maj@k; may be repeated.", min=1)] = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new: MaxNew = 256,
    seed: Seed = 1,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Measure a model on a task's held-out problems."""
    from burnish.pipelines import measure
    from burnish.records import Sampling

    ks = k or [1]
    count = samples or max(4, *ks)
    if max(ks) > count:
        raise ConfigError(
            f"pass@{max(ks)} needs at least {max(ks)} samples for each problem, but --samples is {count}."
        )
    sampling = Sampling(temperature, top_p, top_k, max_new, (), seed)
    report = measure.evaluate(model, task, _options(options), problems, count, ks, sampling, system, quiet=as_json)
    _print_report(report, as_json)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="A model folder or hub name.")],
    problem: Annotated[str, typer.Argument(help="The problem, as a person would write it.")],
    task: Annotated[str | None, typer.Option(help="Use this task's wording and verifier.")] = None,
    options: Options = None,
    answer: Annotated[str | None, typer.Option(help="The right answer, where the task does not know it.")] = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    max_new: MaxNew = 256,
    seed: Seed = 1,
    system: System = None,
    as_json: Json = False,
) -> None:
    """Watch a model answer one problem."""
    from burnish.pipelines import measure
    from burnish.records import Sampling

    def show(piece: str) -> None:
        if not as_json:
            sys.stdout.write(piece)
            sys.stdout.flush()

    if options and task is None:
        raise ConfigError("--option has no effect without --task; name the task, or leave the option out.")
    sampling = Sampling(temperature, top_p, top_k, max_new, (), seed)
    text, verdict = measure.sample(model, problem, task, _options(options), answer, sampling, system, show)
    result = {
        "text": text,
        "outcome": verdict.outcome if verdict else None,
        "found": verdict.found if verdict else None,
    }
    sentence = (
        f"{verdict.outcome}: {verdict.why}"
        if verdict
        else "Nobody knows the right answer here; give --answer to have it judged."
    )
    _print(result, as_json, f"\n{sentence}")


@app.command()
def check(run: RunFile, overrides: Overrides = None, as_json: Json = False) -> None:
    """Look at a run before it starts: config, data, gold answers, memory, and a few sampled prompts."""
    from burnish.config import RunConfig, load
    from burnish.pipelines import check as pipeline

    found = pipeline.check(load(RunConfig, run, overrides or []))
    probe, size = found["probe"], "endless" if found["train_problems"] is None else f"{found['train_problems']:,}"
    failures = found["gold_failures"]
    lines = [
        *found["notices"],
        f"{found['task']}: {size} training and {found['held_out_problems']:,} held-out problems; "
        f"{found['golds_checked'] - len(failures):,} of {found['golds_checked']:,} gold answers pass their own verifier.",
        *(f"  {failure['problem']} ({failure['where']}): {failure['why']}" for failure in failures[:20]),
        f"About {found['memory_gib']['total']:.2f} GiB of memory for {found['parameters']:,} parameters.",
        f"{probe['answers']:.0f} answers sampled: {probe['pass_rate']:.0%} right, {probe['cut_off']:.0%} cut off, "
        f"{probe['no_verdict']:.0%} without a verdict; {probe['no_signal']:.0%} of the groups have no signal; "
        f"mean length {probe['mean_length']:.0f} tokens.",
        "This run can learn."
        if not failures
        else "The listed problems have gold answers that fail; correct or drop them.",
    ]
    _print(found, as_json, "\n".join(lines))
    if failures:
        raise typer.Exit(1)


@app.command()
def verify(
    file: Annotated[
        str, typer.Argument(help="JSONL rows with response (or answer) and gold, reference or problem_id.")
    ],
    task: Annotated[str | None, typer.Option(help="Judge with this task's verifier.")] = None,
    verifier: Annotated[
        str | None, typer.Option(help="Judge with this verifier: number, tagged_number, countdown, my.module:attr.")
    ] = None,
    options: Options = None,
    out: Annotated[str | None, typer.Option(help="Write the rows there; standard output if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Judge given answers; every row comes back with its verdict."""
    from burnish.pipelines import measure

    if task is None and verifier is None:
        raise ConfigError("Say who judges: give --task or --verifier.")
    if options and task is None:
        raise ConfigError("--option has no effect without --task; name the task, or leave the option out.")
    rows = measure.judge_file(file, task, verifier, _options(options))
    if out is None:
        for line in measure.as_lines(rows):
            sys.stdout.write(line)
        return
    counts = measure.write_lines(rows, Path(out))
    _print(
        {"out": out, **counts},
        as_json,
        f"{out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + ".",
    )


def main() -> None:
    """Entry point: errors of ours, and of the system's files, become one sentence and an exit code."""
    sys.path.insert(0, "")  # a task or verifier of one's own, "my.module:attr", lies where one works
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # typer has caught a KeyboardInterrupt
            sys.stderr.write("burnish: interrupted; a training run goes on from its last checkpoint with --resume.\n")
        raise
    except BurnishError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{place}{error.strerror or error}.", 1)


def _fail(sentence: str, code: int) -> NoReturn:
    line = " ".join(sentence.split())
    if "--json" in sys.argv:
        _print({"error": line}, True, "")
    sys.stderr.write(f"burnish: {line}\n")
    sys.exit(code)


def _options(given: list[str] | None) -> dict[str, Any]:
    import tomllib

    options: dict[str, Any] = {}
    for option in given or []:
        key, equals, text = option.partition("=")
        if not equals or not key:
            raise ConfigError(f"The option {option!r} is not of the form key=value.")
        try:
            options[key] = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            options[key] = text
    return options


def _print(result: dict[str, Any], as_json: bool, sentence: str) -> None:
    from burnish.journal.files import encode

    sys.stdout.write((encode(result) if as_json else sentence) + "\n")


def _print_report(report: dict[str, Any], as_json: bool, advice: Any = ()) -> None:
    if as_json:
        _print(report, True, "")
        return
    from burnish.show import show_report

    show_report(report, advice)


if __name__ == "__main__":
    main()
