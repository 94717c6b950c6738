"""One worker process of a Pool: `python -m burnish.verify.worker VERIFIER MEMORY_BYTES`. Not for calling by hand.

Speaks lines of JSON. First it says ["ready"] or ["failed", why]. Then each line in is [id, [the fields of a Problem],
response] and is answered, in order, by [id, the fields of a Verdict]. It ends when its input does.

The module imports little, because a worker is started anew after each verifier that hangs.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

from burnish.records import Problem, Verdict
from burnish.verify import Verifier, judge, load

_PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY = 79  # the exit status of a worker whose verifier has filled its memory


def main(verifier_name: str, memory_bytes: int) -> int:
    """Answer requests until there are no more. Returns the exit status."""
    parent = os.getppid()
    requests, answers = _claim_channel()
    _die_with(parent)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        verifier = load(verifier_name)
    except BaseException as error:  # noqa: BLE001 - whatever a user's module raises, the parent must hear of it
        _send(answers, json.dumps(["failed", f"{type(error).__name__}: {error}"]))
        return 1
    _send(answers, json.dumps(["ready"]))
    for line in requests:
        _send(answers, _answer(verifier, line, limit))
    return 0


def _answer(verifier: Verifier, line: bytes, limit: int) -> str:
    number, fields, response = json.loads(line)
    verdict = judge(verifier, Problem(*fields), response)
    if verdict.fault == "crashed" and verdict.why.startswith("MemoryError") and _mapped() > limit // 2:
        # What filled the memory is still there: perhaps a leak of the items before this one, which is tried elsewhere.
        os._exit(OUT_OF_MEMORY)
    try:
        return json.dumps([number, *_fields(verdict)])
    except (TypeError, ValueError, AttributeError) as error:
        why = f"the verdict cannot be written as JSON: {error}"
        return json.dumps([number, "no_verdict", None, {}, None, why[:300], verdict.seconds, "crashed"])


def _mapped() -> int:
    """Bytes of address space this process has taken; 0 where the system does not say so in /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, MemoryError):
        return 0


def _fields(verdict: Verdict) -> list[Any]:
    parts = {str(name): float(value) for name, value in verdict.parts.items()}
    score = None if verdict.score is None else float(verdict.score)
    return [verdict.outcome, score, parts, verdict.found, verdict.why, verdict.seconds, verdict.fault]


def _send(answers: BinaryIO, message: str) -> None:
    answers.write(message.encode() + b"\n")
    answers.flush()


def _claim_channel() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for ourselves: what a verifier reads or prints from now on goes to /dev/null."""
    requests = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return requests, answers


def _die_with(parent: int) -> None:
    """End when the parent ends, even in the middle of a verifier that hangs and so never sees its input close."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
