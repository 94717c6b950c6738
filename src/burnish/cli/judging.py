"""The verbs that judge: verify, verify serve, audit. Imports stand inside each verb. Not for: what they do (pipelines)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from burnish.cli.given import Deadline, Json, Options, Workers, as_options, print_result
from burnish.errors import ConfigError


def verify(
    file: Annotated[
        str, typer.Argument(help="JSONL rows with response (or answer) and gold, reference or problem_id.")
    ],
    task: Annotated[str | None, typer.Option(help="Judge with this task's verifier.")] = None,
    verifier: Annotated[
        str | None, typer.Option(help="Judge with this verifier: math, number, countdown, ..., my.module:attr.")
    ] = None,
    options: Options = None,
    out: Annotated[str | None, typer.Option(help="Write the rows there; standard output if not given.")] = None,
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    as_json: Json = False,
) -> None:
    """Judge given answers; every row comes back with its verdict. (See also: verify serve.)"""
    from burnish.pipelines import verify as pipeline

    if task is None and verifier is None:
        raise ConfigError("Say who judges: give --task or --verifier.")
    if options and task is None:
        raise ConfigError("--option has no effect without --task; name the task, or leave the option out.")
    source = pipeline.Source(file, verifier, task, as_options(options))
    result = pipeline.verify_file(source, out, workers, deadline, quiet=as_json or out is None)
    if out is None:
        return
    counted = f"{out}: " + ", ".join(f"{result[name]} {name}" for name in ("right", "wrong", "no_verdict")) + "."
    print_result(result, as_json, counted)
    if not as_json:
        sys.stderr.write("".join(f"{line}\n" for line in pipeline.sentences(result)))


def serve(
    verifiers: Annotated[
        list[str], typer.Option("--verifier", help="Serve this verifier; may be repeated: the first is the default.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on. There is no password: keep it local.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8100,
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    request_deadline: Annotated[
        float, typer.Option(help="Seconds for all items of a request together.", min=0.001)
    ] = 60.0,
    most_items: Annotated[int, typer.Option(help="Most items of one request (else 413).", min=1)] = 1024,
    most_bytes: Annotated[int, typer.Option(help="Most bytes of one request (else 413).", min=1)] = 16 << 20,
    most_characters: Annotated[int, typer.Option(help="Most characters of one response (else 413).", min=1)] = 1 << 20,
    most_waiting: Annotated[int, typer.Option(help="Most items at a time, of all requests (else 503).", min=1)] = 8192,
) -> None:
    """Serve verifiers over HTTP, for trainers of any make."""
    from burnish.pipelines import serve as pipeline

    limits = pipeline.Limits(request_deadline, most_items, most_bytes, most_characters, most_waiting)
    pipeline.serve(verifiers, host, port, workers, deadline, limits)


def audit(
    verifier: Annotated[str, typer.Argument(help="The verifier to audit.")],
    labelled: Annotated[
        str, typer.Argument(help="JSONL rows with label (or expected), answer or response, gold; class if any.")
    ],
    against: Annotated[str | None, typer.Option(help="A second verifier for a paired comparison.")] = None,
    out: Annotated[str | None, typer.Option(help="Write the result there as JSON, to be quoted.")] = None,
    workers: Workers = 2,
    deadline: Deadline = 5.0,
    as_json: Json = False,
) -> None:
    """Measure a verifier's own errors on labelled answers."""
    from burnish.pipelines import audit as pipeline

    result = pipeline.audit(verifier, labelled, against, out, workers, deadline, quiet=as_json)
    print_result(result, as_json, "" if as_json else pipeline.page(result))
