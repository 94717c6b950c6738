"""What a run does once it is walled in: execute the program, feed it, send back what it said as data.

Runs in the cell, in a process of its own, so it imports nothing of ours but `plain`. Nothing here is trusted once the
program has begun: all of it can be changed by the program, and what it sends is judged as data by somebody else.

A job is a JSON object: "mode" and "source", and
    script   nothing more: stdin, stdout and the exit status are the interface
    calls    "entry", "calls" [[args, kwargs], ...]: a line for each, ["value", tree] or ["error", text]
    serve    "entry": answers lines [args, kwargs] from descriptor 4 with such lines on 3, until there are no more
    test     "names": the source is *trusted* tests; each of the names is a stand-in that writes ["call", name, args,
             kwargs] to 3 and reads such a line from 4. Ends with ["passed"] or ["failed", text]
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import io
import json
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any, BinaryIO

from burnish.verify.sandbox.plain import NotPlain, decode, encode

RESULTS, REQUESTS = 3, 4  # descriptors
_SHOWN = 300
_dumps, _loads = json.dumps, json.loads


def perform(job: dict[str, Any]) -> int:
    """Do a job to its end. Returns the exit status."""
    mode, source = job["mode"], job["source"]
    if mode == "script":
        return _script(source)
    results = open(RESULTS, "wb", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if mode == "test":
        return _test(source, job["names"], _sender(results))
    return perform_calls(job, results)


def perform_calls(job: dict[str, Any], results: BinaryIO) -> int:
    """Load a program and call its entry. Returns the exit status."""
    mode, source, send = job["mode"], job["source"], _sender(results)
    try:
        entry = _find(_namespace(source, "solution", job.get("before", "")), job["entry"])
    except BaseException as error:  # noqa: BLE001 - whatever a model's program raises is its result
        send(["error", _described(error)])
        return 1
    send(["ready"])
    if mode == "calls":
        for arguments in job["calls"]:
            send(_call(entry, arguments))
        return 0
    with open(REQUESTS, "rb", closefd=False) as requests:
        for line in requests:
            send(_call(entry, _loads(line)))
    return 0


def prepare_streams() -> None:
    """Standard streams on descriptors 0 to 2, which each run replaces, buffered as in a program that talks to pipes.

    Made once and not for each run. Made on a pipe, since a stream asks but once whether it can seek.
    """
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    for descriptor in (1, 2):
        os.dup2(writing, descriptor)
    os.close(reading)
    os.close(writing)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8", "surrogateescape")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8", "surrogateescape")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _sender(results: BinaryIO) -> Callable[[list[Any]], None]:
    def send(message: list[Any]) -> None:
        results.write(_dumps(message).encode() + b"\n")
        results.flush()

    return send


def _script(source: str) -> int:
    status = 0
    try:
        _namespace(source, "__main__")
    except SystemExit as stop:
        status = _status(stop)
    except BaseException:  # noqa: BLE001 - whatever a program raises is how it ends
        status = 1
        _print_error()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of any program: waits for its threads
        atexit._run_exitfuncs()
    except SystemExit as stop:
        status = _status(stop)
    except BaseException:  # noqa: BLE001 - whatever a program raises is how it ends
        _print_error()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001 - the program may have closed or replaced it
            status = status or 120  # what the interpreter itself ends with
    return status


def _status(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    os.write(2, (str(stop.code)[:_SHOWN] + "\n").encode(errors="replace"))
    return 1


def _print_error() -> None:
    with contextlib.suppress(BaseException):
        os.write(2, "".join(traceback.format_exception(*sys.exc_info(), limit=-8))[-4000:].encode(errors="replace"))


def _namespace(source: str, name: str, before: str = "") -> dict[str, Any]:
    """Execute a program as the module of that name."""
    module = types.ModuleType(name)
    sys.modules[name] = sys.modules["__main__"] = module
    names = module.__dict__
    names["__builtins__"] = builtins
    if before:
        exec(compile(before, "preamble.py", "exec", dont_inherit=True), names)
    exec(compile(source, "solution.py", "exec", dont_inherit=True), names)
    return names


def _find(names: dict[str, Any], entry: str) -> Callable[..., Any]:
    """The function `entry` of a program, or the method "Class.name" of a new object of it."""
    first, _, method = entry.partition(".")
    if first not in names:
        raise NameError(f"the program defines no {first!r}")
    found = names[first]
    if method:
        found = getattr(found(), method)
    if not callable(found):
        raise TypeError(f"{entry!r} is {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]


def _call(entry: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    try:
        args, kwargs = decode(arguments[0]), decode(arguments[1])
        value = entry(*args, **kwargs)
        return ["value", encode(value)]
    except NotPlain as error:
        return ["error", f"returned {error}"]
    except BaseException as error:  # noqa: BLE001
        return ["error", _described(error)]


def _described(error: BaseException) -> str:
    try:
        where = ""
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "solution.py":
                where = f" (line {trace.tb_lineno})"
            trace = trace.tb_next
        return f"{type(error).__name__}: {error}"[:_SHOWN] + where
    except BaseException:  # noqa: BLE001 - its __str__ is the program's too
        return "an exception that cannot be shown"


class CandidateFailed(Exception):
    """In a test: the program raised, or returned something that is not plain data."""


def _test(source: str, names: list[str], send: Callable[[list[Any]], None]) -> int:
    requests = open(REQUESTS, "rb", closefd=False)  # noqa: SIM115

    def stand_in(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            send(["call", name, encode(list(args)), encode(kwargs)])
            try:
                reply = _loads(requests.readline())
                if type(reply) is list and len(reply) == 2 and reply[0] == "value":
                    return decode(reply[1])
            except (ValueError, RecursionError, NotPlain) as error:  # not to be taken for the program's own exception
                raise CandidateFailed("it sent what is no result") from error
            raise CandidateFailed(reply[1] if type(reply) is list and len(reply) == 2 else "it sent no result")

        return call

    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__.update({name: stand_in(name) for name in names})
    try:
        exec(compile(source, "test.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # noqa: BLE001 - an assertion that failed, most often
        send(["failed", _in_test(error)])
        return 1
    send(["passed"])
    return 0


def _in_test(error: BaseException) -> list[Any]:
    """[kind, text, line of the test that failed]"""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "test.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    return [type(error).__name__, str(error)[:_SHOWN], line]
