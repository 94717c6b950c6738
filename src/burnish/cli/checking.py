"""The verb `check`: a run before it costs anything, or a task's data and gold answers. Not for: what it does (pipelines)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from burnish.cli.given import Json, Options, Workers, as_options, print_result
from burnish.errors import ConfigError

SHOWN = 20
"""Gold answers that do not pass, by name; --json lists all."""


def check(
    run: Annotated[
        str | None, typer.Argument(help="A TOML file; see docs/configuration.md. Or give --task.", metavar="[RUN.toml]")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, as key.sub=value.", metavar="[KEY=VALUE]...")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Load this task's data and judge its gold answers; no model.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="The task's file, or a folder of files in the layout of the hub.")
    ] = None,
    options: Options = None,
    workers: Workers = 2,
    deadline: Annotated[
        float, typer.Option(help="Seconds a gold answer may take before its worker is killed.", min=0.001)
    ] = 20.0,
    as_json: Json = False,
) -> None:
    """Look at a run before it starts, or with --task at a task's data and gold answers."""
    if task is None:
        _refuse_without_task(run, path, options)
        assert run is not None
        _check_run(run, overrides or [], as_json)
        return
    if run is not None:
        raise ConfigError(
            f"--task and the run file {run} are two things to check; give one. (An option is -o key=value.)"
        )
    from burnish.pipelines import golds

    found = golds.check_task(task, path, as_options(options), workers, deadline, quiet=as_json)
    failures = found["failures"]
    what = "problems can be judged" if found["readable_only"] else "gold answers pass their own verifier"
    lines = [
        *found["notices"],
        *([found["table"], ""] if found["rows"] is not None else []),
        f"{task}: {found['passed']:,} of {found['judged']:,} {what}.",
        *(f"  {one['where']}: {one['outcome']}, {one['why']} ({one['gold']!r})" for one in failures[:SHOWN]),
        *([f"  and {len(failures) - SHOWN:,} more; --json lists them all."] if len(failures) > SHOWN else []),
    ]
    print_result({name: value for name, value in found.items() if name != "table"}, as_json, "\n".join(lines))
    if failures:
        raise typer.Exit(1)


def _refuse_without_task(run: str | None, path: str | None, options: list[str] | None) -> None:
    if run is None:
        raise ConfigError("Say what to check: a run file, or a task with --task.")
    if path is not None or options:
        raise ConfigError(
            f"{'--path' if path is not None else '--option'} has no effect without --task; name the task."
        )


def _check_run(run: str, overrides: list[str], as_json: bool) -> None:
    from burnish.config import RunConfig, load
    from burnish.pipelines import check as pipeline

    found = pipeline.check(load(RunConfig, run, overrides))
    print_result(found, as_json, "\n".join(_lines_of_run(found)))
    if found["gold_failures"]:
        raise typer.Exit(1)


def _lines_of_run(found: dict[str, Any]) -> list[str]:
    hacks = found["hack_probe"]
    probe, size = found["probe"], "endless" if found["train_problems"] is None else f"{found['train_problems']:,}"
    failures = found["gold_failures"]
    return [
        *found["notices"],
        f"{found['task']}: {size} training and {found['held_out_problems']:,} held-out problems; "
        f"{found['golds_checked'] - len(failures):,} of {found['golds_checked']:,} gold answers pass their own verifier.",
        *(f"  {failure['problem']} ({failure['where']}): {failure['why']}" for failure in failures[:20]),
        *(
            [
                f"{hacks['answers']} degenerate answers tried on {hacks['problems']} problems: the best is right for "
                f"{hacks['right']:.0%} [{hacks['low']:.0%}, {hacks['high']:.0%}], a blind guess for {hacks['chance']:.0%}."
            ]
            if hacks
            else []
        ),
        f"About {found['memory_gib']['total']:.2f} GiB of memory for {found['parameters']:,} parameters"
        + "".join(
            f", {found['memory_gib'][part]:.2f} of it the {part.replace('_', ' ')}"
            for part in ("reference", "critic", "reward_model")
            if found["memory_gib"][part]
        )
        + ".",
        *([f"The sampler's cache takes {found['cache']}."] if found["cache"] else []),
        f"{probe['answers']:.0f} answers sampled: {probe['pass_rate']:.0%} right, {probe['cut_off']:.0%} cut off, "
        f"{probe['no_verdict']:.0%} without a verdict; {probe['no_signal']:.0%} of the groups have no signal; "
        f"mean length {probe['mean_length']:.0f} tokens.",
        "This run can learn."
        if not failures
        else "The listed problems have gold answers that fail; correct or drop them.",
    ]
