"""Programs judged by tests: the program runs in a sandbox, the expected values and the decision stay here.

Not for isolation (`burnish.verify.sandbox`) or for where tests come from (`burnish.tasks`). Three kinds of tests:

stdin  a program is given an input and what it prints is compared; each test is a process of its own
call   a function is called with plain values, and the plain values it returns are compared here
check  tests that are a program themselves run in a second cell, where the function is a stand-in that asks the first
       cell by plain values: the program never meets the tests, and the tests never meet an object of the program's

A program that is wrong, slow, noisy or hostile is wrong. Only what is no fault of the program is no verdict: a sandbox
that failed twice, a machine that did not run it, a reference that is malformed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from burnish.records import Verdict
from burnish.verify.format import split_response
from burnish.verify.programs.extract import extract_program
from burnish.verify.programs.suite import BadSuite, Suite, read_suite
from burnish.verify.programs.trial import Budget, OutOfTime, Trial, run_suite
from burnish.verify.sandbox import Policy, Sandbox, SandboxFailed, shared

__all__ = ["BadSuite", "judge_program", "verify_program"]

_SHOWN = 1000
DEADLINE = "BURNISH_DEADLINE_S"
_SHARE = 0.8  # of the deadline of a pool's worker: the rest is for starting cells and for answering


def verify_program(reference: Mapping[str, Any], response: str, sandbox: Sandbox | None = None) -> Verdict:
    """Judge the program in a response, see `extract_program`. Raises BadSuite, and ConfigError where no sandbox will do.

    parts   format and thought as always; tests and passed; sandbox_tier (`Tier`); program_seconds
    score   1.0 or 0.0, or with "score": "share" the share of tests that passed; right is all of them
    """
    suite = read_suite(reference)
    parsed = split_response(response)
    program = extract_program(parsed)
    if program is None:
        why = parsed.why if parsed.answer_region is None else "no program was found"
        return Verdict("wrong", 0.0, parsed.parts, None, why)
    return judge_program(suite, program, sandbox, parsed.parts)


def judge_program(
    suite: Suite, program: str, sandbox: Sandbox | None = None, parts: Mapping[str, float] | None = None
) -> Verdict:
    """Judge a program by a suite. `sandbox`: the shared one of this thread if None."""
    sandbox = sandbox or shared(Policy.of_environment(suite.require_tier))
    where = {**(parts or {}), "sandbox_tier": float(sandbox.tier)}
    found = program[:_SHOWN]
    if "\0" in program:
        return Verdict("wrong", 0.0, where, found, "the program has a null character in it")
    deadline = float(os.environ.get(DEADLINE, "inf")) * _SHARE
    budget = Budget(time.monotonic() + deadline, suite.total_seconds)
    try:
        trial = run_suite(sandbox, suite, program, budget)
    except SandboxFailed as error:
        return Verdict("no_verdict", None, where, found, str(error)[:300], fault="crashed")
    except OutOfTime as error:
        return Verdict("no_verdict", None, where, found, str(error)[:300], fault="timeout")
    return _verdict(suite, trial, where, found, sandbox)


def _verdict(suite: Suite, trial: Trial, where: dict[str, float], found: str, sandbox: Sandbox) -> Verdict:
    tests = trial.tests
    parts = {**where, "tests": float(tests), "passed": float(trial.passed), "program_seconds": trial.seconds}
    inside = f" (in a {sandbox.tier.label} sandbox)"
    if trial.failure is None:
        assert trial.passed == tests > 0
        return Verdict("right", 1.0, parts, found, f"passed {_count(tests)}{inside}")
    score = trial.passed / tests if suite.score == "share" else 0.0
    return Verdict("wrong", score, parts, found, f"{trial.failure}{inside}")


def _count(tests: int) -> str:
    return "its one test" if tests == 1 else f"all {tests} tests"
