"""What verbs have in common: options that several take, and how a result is printed. Not for: the verbs themselves."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from burnish.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and no progress.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="An option of the task, as key=value; may be repeated.")
]
Workers = Annotated[int, typer.Option(help="Worker processes for each verifier.", min=1)]
Deadline = Annotated[float, typer.Option(help="Seconds one answer may take before its worker is killed.", min=0.001)]

Temperature = Annotated[float, typer.Option(help="0 is greedy.", min=0.0)]
TopP = Annotated[
    float, typer.Option(help="Cut to the smallest set of tokens with this mass; 1 is off.", min=0.0, max=1.0)
]
TopK = Annotated[int, typer.Option(help="Cut to this many tokens; 0 is off.", min=0)]
MaxNew = Annotated[int, typer.Option(help="Most tokens in one answer.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]
System = Annotated[str | None, typer.Option(help="A system message put before the problem.")]
Thinking = Annotated[
    bool | None,
    typer.Option("--thinking/--no-thinking", help="The chat template's thinking mode; its own choice if not given."),
]


class Verbs(TyperGroup):
    """Verbs of one word, and of two where the second narrows the first: `verify FILE`, but `verify serve`."""

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> Any:  # typer brings a click of its own, so its types are too
        both = " ".join(args[:2])
        if both in self.commands and " " in both:
            args = [both, *args[2:]]
        return super().resolve_command(ctx, args)


def as_options(given: list[str] | None) -> dict[str, Any]:
    """key=value pairs, the values read as TOML where they can be."""
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


def print_result(result: dict[str, Any], as_json: bool, sentence: str) -> None:
    """A result on standard output."""
    from burnish.journal.files import encode

    sys.stdout.write((encode(result) if as_json else sentence) + "\n")
