"""The command line: verbs, their arguments and exit codes. Imports stand inside each verb, so that --help is instant.

Exit codes: 0 done; 1 something went wrong, or a check says no; 2 bad input; 130 interrupted. Results go to standard output,
progress and sentences to standard error. Not for: what the verbs do (pipelines).
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from burnish.cli import checking, data, judging, machine, measuring, scaling
from burnish.cli.given import (
    Json,
    MaxNew,
    Options,
    Seed,
    System,
    Temperature,
    Thinking,
    TopK,
    TopP,
    Verbs,
    as_options,
    print_result,
)
from burnish.errors import BurnishError, ConfigError

app = typer.Typer(
    name="burnish",
    cls=Verbs,
    help="Train language models to reason by reinforcement learning with verifiable rewards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as key.sub=value.", metavar="[KEY=VALUE]...")
]
RunFile = Annotated[str, typer.Argument(help="A TOML file; see docs/configuration.md.", metavar="RUN.toml")]


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
    from_rollouts: Annotated[
        str | None, typer.Option(help="Train on the rollouts of this run directory, rewarded anew; sample none.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Train so many times, with the run's seed and those after it, in OUT/seed-N.", min=1),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model on a task by reinforcement learning."""
    import json

    from burnish.config import RunConfig, load
    from burnish.pipelines import rl

    changes = [*(overrides or []), *([f"stored.rollouts={json.dumps(from_rollouts)}"] if from_rollouts else [])]
    if seeds is not None:
        from burnish.pipelines import seeds as several

        config = load(RunConfig, run, changes)
        found = several.train(
            config, seeds, resume, as_json, lambda line: None if as_json else print(line, file=sys.stderr)
        )
        print_result(found, as_json, several.markdown(found))
        return
    _print_report(rl.train(load(RunConfig, run, changes), resume, quiet=as_json), as_json)


@app.command()
def explain(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name; none lists them all.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of the recipe to change, as key=value.", metavar="[KEY=VALUE]..."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a recipe is: its formula, its settings, its paper, and where other systems differ."""
    from burnish.pipelines import explain as pipeline

    found = pipeline.explain(recipe, as_options(settings))
    print_result(found, as_json, found["text"])


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
    print_result(result, as_json, sentence)


Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in `out` as if it had never stopped.")]


@app.command()
def sft(run: RunFile, overrides: Overrides = None, resume: Resume = False, as_json: Json = False) -> None:
    """Fine-tune a model on conversations, prompts with completions, or text."""
    from burnish.config import SftConfig, load
    from burnish.pipelines import sft as pipeline

    _print_learned(pipeline.sft(load(SftConfig, run, overrides or []), resume, quiet=as_json), as_json)


@app.command()
def rm(run: RunFile, overrides: Overrides = None, resume: Resume = False, as_json: Json = False) -> None:
    """Train a reward model on preference pairs, and measure it on prompts it never saw."""
    from burnish.config import RewardModelConfig, load
    from burnish.pipelines import reward_model as pipeline

    config = load(RewardModelConfig, run, overrides or [])
    _print_learned(pipeline.reward_model(config, resume, quiet=as_json), as_json)


@app.command()
def dpo(run: RunFile, overrides: Overrides = None, resume: Resume = False, as_json: Json = False) -> None:
    """Learn from preference pairs with dpo, ipo, cdpo, kto, orpo or simpo."""
    from burnish.config import PreferenceConfig, load
    from burnish.pipelines import preference as pipeline

    config = load(PreferenceConfig, run, overrides or [])
    _print_learned(pipeline.preference(config, resume, quiet=as_json), as_json)


@app.command()
def select(run: RunFile, overrides: Overrides = None, resume: Resume = False, as_json: Json = False) -> None:
    """Keep the best of many completions of each problem as a data set, by verifier or reward model."""
    from burnish.config import SelectConfig, load
    from burnish.pipelines import select as pipeline

    made = pipeline.select(load(SelectConfig, run, overrides or []), resume, quiet=as_json)
    removed = ", ".join(f"{count} {reason}" for reason, count in made["removed"].items()) or "none"
    sentence = (
        f"{made['out']}/kept.jsonl: {made['kept']:,} of {made['completions']:,} completions, for {made['problems_kept']:,} of "
        f"{made['problems']:,} problems. Removed: {removed} (removed.jsonl)."
    )
    print_result(made, as_json, sentence)


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
    thinking: Thinking = None,
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
    text, verdict = measure.sample(model, problem, task, as_options(options), answer, sampling, system, show, thinking)
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
    print_result(result, as_json, f"\n{sentence}")


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(help="An adapter folder, such as a run's adapter.")],
    out: Annotated[str, typer.Option(help="Where the merged model is written.")],
    base: Annotated[str | None, typer.Option(help="The model it goes on, where it has moved.")] = None,
    as_json: Json = False,
) -> None:
    """Add a low-rank adapter into its model's weights and write a plain model folder."""
    from burnish.pipelines import merge as pipeline

    made = pipeline.merge(adapter, out, base)
    print_result(made, as_json, f"{out}: {made['parameters']:,} parameters, {adapter} added into {made['base']}.")


app.command(name="eval")(measuring.evaluate)
app.command()(measuring.compare)
app.command()(measuring.rejudge)
app.command()(scaling.scale)
app.command()(checking.check)
app.command()(judging.verify)
app.command(name="verify serve")(judging.serve)
app.command()(judging.audit)
app.command()(machine.bench)
app.command()(data.data)
app.command(name="data stats")(data.stats)
app.command(name="data dedup")(data.dedup)
app.command(name="data decontaminate")(data.decontaminate)
app.command(name="data filter")(data.filter_rows)
app.command(name="data mix")(data.mix)


def main() -> None:
    """Entry point: errors of ours, and of the system's files, become one sentence and an exit code."""
    sys.path.insert(0, "")  # a task or verifier of one's own, "my.module:attr", lies where one works
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # typer has caught a KeyboardInterrupt
            sys.stderr.write(
                "burnish: interrupted; a training run goes on with --resume, an evaluation with the same command.\n"
            )
        raise
    except BurnishError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{place}{error.strerror or error}.", 1)


def _fail(sentence: str, code: int) -> NoReturn:
    line = " ".join(sentence.split())
    if "--json" in sys.argv:
        print_result({"error": line}, True, "")
    sys.stderr.write(f"burnish: {line}\n")
    sys.exit(code)


def _print_learned(report: dict[str, Any], as_json: bool) -> None:
    """The report of a run that did not sample: figures before and after with their intervals, and where the model is."""
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show import show_learned

    show_learned(report)


def _print_report(report: dict[str, Any], as_json: bool, advice: Any = ()) -> None:
    if as_json:
        print_result(report, True, "")
        return
    from burnish.show import show_report

    show_report(report, advice)


if __name__ == "__main__":
    main()
