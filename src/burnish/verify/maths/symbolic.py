"""The last tier: a computer algebra system in a process of its own, with a deadline, killed from outside.

Not for model text: only what our own tokenizer knows goes over, spelled anew from an allow-list of commands, letters
and digits. The process starts when it is first needed, is used again, and is replaced after a kill. Any thread may ask;
they take turns, and the turn is part of the deadline. No signals are used, so worker processes and threads are alike.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from burnish.verify.maths.normalise import Unreadable, plain
from burnish.verify.maths.tokens import Token, tokens
from burnish.verify.maths.tree import names

_LENGTH = 300
START_S = 30.0
_COMMANDS = frozenset(
    names(
        r"\frac \sqrt \int \lim \sum \prod \sin \cos \tan \cot \sec \csc \arcsin \arccos \arctan \sinh \cosh \tanh \ln \log \exp \pi "
        r"\infty \to \cdot \times \alpha \beta \gamma \theta \lambda \mu \phi \omega \pm \binom"
    )
)
_SIGNS = frozenset("+-*/^_(){}=|!,")


@dataclass(frozen=True, slots=True)
class Outcome:
    """equal is None where nothing was decided: fault "timeout", "crashed", or "refused" for what is not sent over."""

    equal: bool | None
    why: str = ""
    fault: str = ""


def spelled(text: str) -> str:
    """The text rebuilt from known tokens. Raises Unreadable for anything else, and for what is long or deep or large."""
    text = plain(text).replace("\\,", " ")
    if len(text) > _LENGTH:
        raise Unreadable(f"more than {_LENGTH} characters for the symbolic tier")
    parts: list[str] = []
    depth = 0
    for token in tokens(text):
        parts.append(_allowed(token))
        depth += (token.text in ("{", "(")) - (token.text in ("}", ")"))
        if depth > 12:
            raise Unreadable("nested too deep for the symbolic tier")
    return " ".join(parts)


def _allowed(token: Token) -> str:
    text = token.text
    if token.kind == "num" and len(text) <= 30 and text.isascii() and "e" not in text.lower():
        return text
    if token.kind == "letter" and text.isascii():
        return text
    if token.kind == "word" and len(text) <= 3 and text.isascii():
        return " ".join(text)  # "dx": letters, never a name
    if (token.kind == "cmd" and text in _COMMANDS) or (token.kind == "op" and text in _SIGNS):
        return text
    raise Unreadable(f"{text[:20]!r} is not sent to the symbolic tier")


class _Helper:
    """One process and the pipe to it. The caller holds the lock."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0
        self.unread = b""

    def ask(self, pair: tuple[str, str], ends: float) -> Outcome:
        if self.owner != os.getpid():  # a fork has its parent's pipe: leave it alone
            self.process, self.owner = None, os.getpid()
        if self.process is None or self.process.poll() is not None:
            began = time.monotonic()
            self._start()
            if self._line(began + START_S) is None:
                self.stop()
                return Outcome(None, "the symbolic process did not start", "crashed")
            ends += time.monotonic() - began  # starting is not the comparison's time
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(pair).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            self.stop()
            return Outcome(None, "the symbolic process had died", "crashed")
        line = self._line(ends)
        if line is None:
            alive = self.process is not None and self.process.poll() is None
            self.stop()
            return (
                Outcome(None, "not decided in time", "timeout")
                if alive
                else Outcome(None, "the symbolic process died", "crashed")
            )
        answer = json.loads(line)
        if answer is None:
            return Outcome(None, "the symbolic tier could not read it", "refused")
        return Outcome(bool(answer))

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": path,
            "LC_ALL": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", "-m", "burnish.verify.maths.helper"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
        )
        self.unread = b""

    def _line(self, ends: float) -> bytes | None:
        """The next line, or None at the deadline or the end of the pipe."""
        assert self.process is not None and self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self.unread:
            left = ends - time.monotonic()
            if left <= 0:
                return None
            poller = select.poll()
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
            if not poller.poll(left * 1_000):
                return None
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return None
            self.unread += chunk
        line, _, self.unread = self.unread.partition(b"\n")
        return line

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2.0)


_helper = _Helper()
_turn = threading.Lock()


def _renew_after_fork() -> None:
    global _turn
    _turn = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_after_fork)


def equal(gold: str, answer: str, deadline_s: float) -> Outcome:
    """Whether two texts are equal, by computer algebra."""
    try:
        pair = (spelled(gold), spelled(answer))
    except Unreadable as error:
        return Outcome(None, str(error), "refused")
    ends = time.monotonic() + deadline_s
    if not _turn.acquire(timeout=deadline_s):
        return Outcome(None, "the symbolic process was busy", "timeout")
    try:
        return _helper.ask(pair, ends)
    finally:
        _turn.release()


def stop() -> None:
    """End the process, if there is one. It starts again when it is needed."""
    with _turn:
        _helper.stop()


atexit.register(_helper.stop)
