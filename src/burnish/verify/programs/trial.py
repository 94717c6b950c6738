"""A program before its tests: ask the sandbox, compare, stop or go on. Not for turning the result into a verdict.

Expected values are used in this file and nowhere below it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

from burnish.verify.programs.compare import OUTPUTS, check_values, checker_named, same_value
from burnish.verify.programs.show import cut, quoted_line, short, show
from burnish.verify.programs.suite import Suite, Test
from burnish.verify.sandbox import Cell, Limits, Ran, Run, Sandbox, Talk
from burnish.verify.sandbox.plain import NotPlain

_MOST_CALLS = 20_000  # by one check
_LINE = 1 << 20  # bytes of one result


class OutOfTime(Exception):
    """There was no time left to judge it: no fault of the program."""


@dataclass(slots=True)
class Budget:
    """`until`: when the judge must have answered. `seconds`: what is left of the program's own."""

    until: float
    seconds: float

    def limits(self, suite: Suite, wanted: float) -> Limits:
        """For a run of `wanted` seconds. Raises OutOfTime where so long cannot be waited for."""
        seconds = self.grant(wanted)
        return Limits(
            seconds=seconds,
            cpu_seconds=4 * seconds + 1,
            memory_bytes=suite.memory_mb << 20,
            output_bytes=suite.output_kb << 10,
            patience=min(6.0, (self.until - time.monotonic()) / seconds),
        )

    def grant(self, wanted: float, used: float = 0.0) -> float:
        """The seconds that the next test may take, of `wanted`, where this run has `used` some; 0 where none is left.

        Raises OutOfTime where so long cannot be waited for.
        """
        seconds = max(0.0, min(wanted, self.seconds - used))
        left = self.until - time.monotonic()
        if left < seconds:
            raise OutOfTime(
                f"only {max(left, 0.0):.1f} s of the deadline are left, and a test may take {seconds:g} s: "
                "raise verify.deadline_s, or give fewer tests"
            )
        return seconds

    def spend(self, seconds: float) -> bool:
        """Take off what a run used. False where nothing is left."""
        self.seconds -= seconds
        return self.seconds > 0


@dataclass(slots=True)
class Trial:
    """What came of it. `failure` describes the first test that failed, None where all passed."""

    tests: int
    passed: int = 0
    failure: str | None = None
    seconds: float = 0.0

    def fail(self, why: str) -> None:
        if self.failure is None:
            self.failure = why


def run_suite(sandbox: Sandbox, suite: Suite, program: str, budget: Budget) -> Trial:
    """Raises OutOfTime, SandboxFailed."""
    run = {"stdin": _inputs, "call": _calls, "check": _check}[suite.kind]
    return run(sandbox, suite, program, budget)


# ---- programs that read and print


def _inputs(sandbox: Sandbox, suite: Suite, program: str, budget: Budget) -> Trial:
    trial = Trial(len(suite.tests))
    job = {"mode": "script", "source": program if not suite.before else f"{suite.before}\n{program}"}
    for number, test in enumerate(suite.tests, 1):
        limits = budget.limits(suite, suite.seconds)
        limits = replace(limits, output_bytes=max(limits.output_bytes, 2 * len(test.expected) + 4096))
        ran = sandbox.run(job, test.input.encode("utf-8", "surrogatepass"), limits)
        trial.seconds += ran.seconds
        fault = _fault(ran, limits)
        got = ran.output.decode("utf-8", "replace")
        if not fault and not _right_output(suite, test, got):
            fault = f"printed {short(got)}"
        if fault:
            where = f"test {number} of {trial.tests} failed: with the input {short(test.input)}"
            trial.fail(f"{where} it {fault}, expected {short(test.expected)}")
            if suite.score == "all":
                break
        else:
            trial.passed += 1
        if not budget.spend(ran.seconds) and number < trial.tests:
            trial.fail(_too_slow(suite))
            break
    return trial


def _right_output(suite: Suite, test: Test, got: str) -> bool:
    if suite.compare in OUTPUTS:
        return OUTPUTS[suite.compare](test.expected, got, 1e-6 if suite.tolerance is None else suite.tolerance)
    return bool(checker_named(suite.compare)(test.input, test.expected, got))


def _fault(ran: Ran, limits: Limits) -> str:
    """What went wrong in a run, as "took longer than 2 s"; "" where it exited with status 0. Raises OutOfTime."""
    if ran.ended == "starved":
        raise OutOfTime("the machine was too busy to run the program; judge with fewer workers")
    if ran.ended == "timeout":
        return f"took longer than {limits.seconds:g} s"
    if ran.ended == "output":
        return f"printed more than {limits.output_bytes >> 10} kB"
    if ran.ended == "files":
        return "made too many files"
    if ran.ended == "killed":
        return f"was killed by signal {-ran.code}"
    if ran.code:
        last = ran.error.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        return f"ended with status {ran.code}" + (f" ({short(last, quoted=False)})" if last else "")
    return ""


def _too_slow(suite: Suite) -> str:
    return f"its tests took longer than {suite.total_seconds:g} s together"


# ---- functions that are called


@dataclass(slots=True)
class _Lines:
    """Complete lines out of what a run has sent, each once."""

    run: Talk
    at: int = 0

    def next(self) -> bytes | None:
        """Wait for the next line; None where the run is over without another."""
        while True:
            buffer = self.run.read["results"]
            end = buffer.find(b"\n", self.at)
            if end >= 0:
                line = bytes(buffer[self.at : end])
                self.at = end + 1
                return line
            if self.run.over:
                return None
            self.run.pump()


def _calls(sandbox: Sandbox, suite: Suite, program: str, budget: Budget) -> Trial:
    trial = Trial(len(suite.tests))
    at = 0
    while at < trial.tests:  # more than once only where a run ended early and the share is asked for
        limits = budget.limits(suite, suite.seconds)
        batch = suite.tests[at:]
        job = {"mode": "calls", "source": program, "before": suite.before, "entry": suite.entry}
        talk = _Questions(suite, batch, budget)
        ran = sandbox.talk({**job, "calls": [test.input for test in batch]}, limits, talk.ask)
        trial.seconds += ran.seconds
        if talk.broken:
            trial.fail(f"the program does not load: {talk.broken}")
            break
        faults = talk.faults
        if (
            len(faults) < len(batch)
            and talk.granted < suite.seconds
            and (talk.granted <= 0.0 or ran.ended == "timeout")
        ):
            trial.fail(_too_slow(suite))
            trial.passed += sum(not fault for fault in faults)
            break
        if len(faults) < len(batch) and (suite.score == "share" or not any(faults)):
            faults = [*faults, _fault(ran, limits) or "ended before it returned"]
        for offset, fault in enumerate(faults):
            if fault:
                trial.fail(_failed_call(suite, at + offset, fault))
            else:
                trial.passed += 1
        at += len(faults)
        if suite.score == "all" and trial.failure is not None:
            break
        if not budget.spend(ran.seconds) and at < trial.tests:
            trial.fail(_too_slow(suite))
            break
    return trial


class _Questions:
    """The talk with one run: a line for each call, compared as it comes."""

    def __init__(self, suite: Suite, batch: tuple[Test, ...], budget: Budget) -> None:
        self._suite, self._batch, self._budget = suite, batch, budget
        self.granted = suite.seconds
        """What the call that goes on may take: less than any may where the time of all together runs out, 0 at its end."""
        self.faults: list[str] = []
        """For each test that was answered, what is wrong with the answer; "" where nothing."""
        self.broken = ""

    def ask(self, run: Talk) -> Ran:
        self.faults, self.broken, self.granted = [], "", self._suite.seconds  # a talk may be had twice
        began = time.monotonic()
        lines = _Lines(run)
        first = lines.next()
        if first is not None:
            kind, what = _message(first)
            self.broken = short(what, quoted=False) if kind == "error" else ""
            for test in self._batch if kind == "ready" else ():
                line = lines.next()
                if line is None:
                    break
                self.faults.append(_wrong_value(self._suite, test, line))
                if self.faults[-1] and self._suite.score == "all":
                    break
                self.granted = self._budget.grant(self._suite.seconds, time.monotonic() - began)
                if self.granted <= 0.0:
                    break
                run.grant(self.granted)
        if self.granted <= 0.0 or (self.faults and self.faults[-1] and self._suite.score == "all"):
            run.stop()
        while not run.over:
            run.pump()
        return run.ran()


def _message(line: bytes) -> tuple[str, Any]:
    """A line of a run as (kind, what): hostile until proven otherwise."""
    if len(line) > _LINE:
        return "error", f"it returned more than {_LINE >> 10} kB"
    try:
        message = json.loads(line)
    except (ValueError, RecursionError, MemoryError):
        return "error", "it sent what is not JSON"
    if message == ["ready"]:
        return "ready", None
    if isinstance(message, list) and len(message) == 2 and message[0] in ("value", "error"):
        return message[0], message[1]
    return "error", "it sent what is no result"


def _wrong_value(suite: Suite, test: Test, line: bytes) -> str:
    """What is wrong with the answer to a call; "" where it is right."""
    kind, got = _message(line)
    if kind != "value":
        return f"gave {short(got, quoted=False)}"
    if test.how != "equal":
        right = _is_truthy(got) == (test.how == "true")
    elif suite.compare in ("values", "loose"):
        given = test.tolerance if test.tolerance is not None else suite.tolerance
        right = same_value(test.expected, got, 1e-9 if given is None else given, loose=suite.compare == "loose")
    else:
        try:
            right = check_values(checker_named(suite.compare), test.input, test.expected, got)
        except NotPlain:
            right = False
    return "" if right else f"gave {show(got)}"


def _is_truthy(tree: Any) -> bool:
    if isinstance(tree, dict) and len(tree) == 1:
        ((tag, body),) = tree.items()
        if tag == "$complex":
            return bool(isinstance(body, list) and any(body))
        return bool(body) if tag.startswith("$") else True
    return bool(tree)


def _failed_call(suite: Suite, index: int, fault: str) -> str:
    test = suite.tests[index]
    args, kwargs = test.input
    shown = ", ".join([*map(show, args), *(f"{name}={show(value)}" for name, value in kwargs.items())])
    expected = show(test.expected) if test.how == "equal" else f"a {test.how} value"
    call = f"{suite.entry}({cut(shown)})"
    return f"test {index + 1} of {len(suite.tests)} failed: {call} {fault}, expected {expected}"


# ---- tests that are programs


def _check(sandbox: Sandbox, suite: Suite, program: str, budget: Budget) -> Trial:
    trial = Trial(1)
    limits = budget.limits(suite, min(suite.seconds * 5, suite.total_seconds))
    ended = sandbox.together(lambda cell, other: _relay(cell, other, suite, program, limits, budget))
    trial.seconds = ended.seconds
    if ended.failure is None:
        trial.passed = 1
    else:
        trial.fail(ended.failure)
    return trial


@dataclass(slots=True)
class _Relayed:
    failure: str | None = None
    seconds: float = 0.0
    last: str = field(default="")


def _relay(cell: Cell, other: Cell, suite: Suite, program: str, limits: Limits, budget: Budget) -> _Relayed:
    """Carry calls from the tests to the program and values back, one line at a time. The tests say how it ended."""
    names = list(suite.names)
    serve = {"mode": "serve", "source": program, "before": suite.before, "entry": suite.entry}
    test = {"mode": "test", "source": suite.source, "names": names}
    asked = cell.start(serve, limits=limits, asked=True)
    try:
        began = time.monotonic()
        answers = _Lines(asked)
        first = answers.next()
        kind, what = _message(first) if first is not None else ("error", "")
        if kind != "ready":
            fault = short(what, quoted=False) if what else _fault_of(asked, limits)
            return _Relayed(f"the program does not load: {fault}")
        tests = other.start(test, limits=limits, asked=True)
        try:
            relayed = _converse(asked, answers, tests, suite, limits, budget)
            relayed.seconds = time.monotonic() - began
            return relayed
        finally:
            _end(tests)
    finally:
        _end(asked)


def _converse(asked: Run, answers: _Lines, tests: Run, suite: Suite, limits: Limits, budget: Budget) -> _Relayed:
    questions, began = _Lines(tests), time.monotonic()
    last = fault = ""
    for _ in range(_MOST_CALLS):
        line = questions.next()
        if line is None:
            why = _fault_of(tests, limits)
            return _Relayed(f"its tests {why or 'ended without a result'}{last}")
        message = json.loads(line)  # of trusted tests, so it is what it should be
        if message[0] == "passed":
            return _Relayed(None)
        if message[0] == "failed":
            kind, text, number = message[1]
            what = fault or (f"{kind}: {cut(text)}" if text else kind)
            return _Relayed(f"the test {quoted_line(suite.source, number)} failed ({what}){last}")
        arguments = json.dumps(message[2:]).encode() + b"\n"
        last = f"; the last call was {suite.entry}({cut(', '.join(map(show, message[2])))})"
        seconds = budget.grant(suite.seconds, time.monotonic() - began)
        if seconds <= 0.0:
            return _Relayed(_too_slow(suite) + last)
        asked.grant(seconds)
        reply = answers.next() if asked.ask(arguments) else None
        if reply is None or len(reply) > _LINE:
            fault = "it returned too much"
            if reply is None:
                if seconds < suite.seconds and _fault_of(asked, limits).startswith("took longer"):
                    return _Relayed(_too_slow(suite) + last)
                fault = f"it {_fault_of(asked, replace(limits, seconds=suite.seconds)) or 'ended before it returned'}"
            reply = json.dumps(["error", fault]).encode()
        tests.grant(limits.seconds)
        if not tests.ask(reply + b"\n"):
            return _Relayed(f"its tests ended without a result{last}")
    return _Relayed(f"its tests made more than {_MOST_CALLS} calls")


def _fault_of(run: Run, limits: Limits) -> str:
    while not run.over:
        run.pump()
    return _fault(run.ran(), limits)


def _end(run: Run) -> None:
    """See to it that the cell can be used again."""
    try:
        if not run.over:
            run.stop()
        while not run.over:
            run.pump()
    finally:
        run.close()
