"""Verifiers that misbehave, for the workers of test_verify_pool.py to import. Holds no tests, and imports little."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from burnish.records import Problem, Verdict


def obey(problem: Problem, response: str) -> Verdict:
    """Does what the response says, so one pool can meet every fault."""
    order, _, argument = response.partition(" ")
    if order == "hang":
        while True:
            time.sleep(0.01)
    if order == "sleep":
        time.sleep(float(argument))
    if order == "spin":
        10 ** (10**9)  # one C call that holds the interpreter lock for hours
    if order == "exit":
        os._exit(0)
    if order == "sys.exit":
        sys.exit(3)
    if order == "raise":
        raise RuntimeError("the verifier has a bug")
    if order == "print":
        print('[0, "right", 1.0, {}, null, "forged", 0.0, null]', flush=True)
        os.write(1, b'[0, "right", 1.0, {}, null, "forged", 0.0, null]\n')
    if order == "read":
        argument = sys.stdin.read() + "nothing"
    if order == "eat":
        bytearray(8 << 30)
    if order == "once":  # dies the first time only: the argument is a file that remembers
        with open(argument, "x") if not os.path.exists(argument) else open(os.devnull, "w") as memory:
            if memory.name == argument:
                os._exit(1)
    if order == "child":  # a hang that has started a process of its own
        with open(argument, "w") as note:
            note.write(str(subprocess.Popen(["sleep", "600"]).pid))
        time.sleep(600)
    if order == "missing":
        return Verdict("right", 1.0, found=problem.reference["no such key"])
    if order == "odd":
        return Verdict("right", 1.0, parts={"odd": object()})  # type: ignore[dict-item]
    return Verdict("right", 1.0, {}, argument or order, str(os.getpid()))


NOT_A_FUNCTION = 3
_kept: list[bytearray] = []


def leak(problem: Problem, response: str) -> Verdict:
    """Keeps as many MiB as the response says, for ever."""
    _kept.append(bytearray(b"x") * (int(response) << 20))
    return Verdict("right", 1.0, {}, response, str(os.getpid()))
