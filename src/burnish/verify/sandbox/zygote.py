"""The first process of a cell: it walls itself in, then forks a child for each run and reports how that ended.

Runs in the cell, so it imports nothing of ours but its neighbours, whose sources it is sent. It reads no program, no
input and no output: those go straight between the judge and the child, through descriptors that are handed over.

Its argument is the descriptor of a SOCK_SEQPACKET socket. The first message holds the settings; the answer is {"ready": ...} or
{"failed": why}. Then each message is a run: a JSON object of limits, and descriptors for the child. The answers are
"started" with a pidfd of the child, and then {"status": ..., ...}.
"""

from __future__ import annotations

import array
import builtins
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from burnish.verify.sandbox import driver, kernel

_WATCH_MS = 20  # how often the files of a run are counted
_STARTED = [b"started"]
_REPORT = '{"status": "ended", "code": %d, "cpu": %.6f, "seconds": %.6f, "memory": %d, "crowded": %s, "dirty": %s}'
_PRELOAD = """array bisect cmath collections collections.abc copy functools heapq io itertools json math operator os.path
random re string struct sys threading time traceback types typing"""


def main(descriptor: int) -> None:
    """Serve until the socket closes."""
    control = socket.socket(fileno=descriptor)
    settings = json.loads(control.recv(1 << 20))
    try:
        zygote = Zygote(control, settings)
        ready = zygote.prepare()
    except (OSError, ValueError, KeyError, ImportError) as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"[:300]}).encode())
        return
    control.send(json.dumps({"ready": ready}).encode())
    zygote.serve()


class Zygote:
    """Settings: files, filter (hex), readable, writable, user, scratch, most_files, parent (its pid, where it shows)."""

    def __init__(self, control: socket.socket, settings: dict[str, Any]) -> None:
        self._control, self._settings = control, settings
        self._scratch: str | None = settings["scratch"]
        self._seccomp = kernel.Seccomp(bytes.fromhex(settings["filter"])) if settings["filter"] else None
        self._nowhere = os.open(os.devnull, os.O_RDWR)
        self._pidfd = array.array("i", [-1])
        self._ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, self._pidfd)]
        self._listens = control.fileno()
        self._pause = _WATCH_MS if self._scratch else None
        self._poll = select.poll()
        self._poll.register(control, select.POLLRDHUP)

    def prepare(self) -> dict[str, Any]:
        """Everything that can be done once for all runs. Returns what was found."""
        settings = self._settings
        if settings["parent"] is not None:
            kernel.die_with_parent(signal.SIGKILL)
            if os.getppid() != settings["parent"]:
                os._exit(1)
        kernel.wipe_environment()
        _preload()
        sys.path[:] = [*settings["paths"], *(path for path in sys.path if path)]
        sys.argv[:] = ["solution.py"]
        sys.dont_write_bytecode = True
        for name in settings["import"]:
            __import__(name)
        if settings["user"] is not None:
            os.setgroups([])
            os.setresgid(*[settings["user"]] * 3)
            os.setresuid(*[settings["user"]] * 3)
            if settings["parent"] is not None:  # a change of user takes it away
                kernel.die_with_parent(signal.SIGKILL)
        kernel.forbid_new_privileges()
        kernel.drop_capabilities()
        kernel.make_undumpable()
        os.umask(0o077)
        os.chdir(self._scratch or "/")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        landlock = kernel.landlock(settings["readable"], settings["writable"]) if settings["landlock"] else 0
        driver.prepare_streams()
        for descriptor in (0, 1, 2):
            os.dup2(self._nowhere, descriptor)
        gc.collect()
        gc.freeze()
        gc.disable()
        return {"landlock": landlock, "uid": os.getuid(), "pid": os.getpid(), "files": len(self._left_behind())}

    def serve(self) -> None:
        """One run at a time, until nobody wants more."""
        while True:
            request, descriptors, _, _ = socket.recv_fds(self._control, 1 << 12, 8)
            if not request:
                return
            self._run(request, descriptors)

    def _run(self, request: bytes, descriptors: list[int]) -> None:
        """What is touched here after the fork is copied for it, page by page: so there is little of it."""
        try:
            pid = kernel.fork()
        except OSError as error:
            self._control.send(json.dumps({"status": "not started", "why": str(error)}).encode())
            return
        if pid == 0:
            self._become(request, descriptors)
        began = time.monotonic()
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._pidfd[0] = pidfd
        self._control.sendmsg(_STARTED, self._ancillary)
        crowded = self._wait(pid, pidfd)
        os.close(pidfd)
        _, status, used = os.wait4(pid, 0)
        dirty = bool(self._scratch) and not self._wipe()
        report = (
            os.waitstatus_to_exitcode(status),
            used.ru_utime + used.ru_stime,
            time.monotonic() - began,
            used.ru_maxrss * 1024,
            "true" if crowded else "false",
            "true" if dirty or crowded else "false",
        )
        self._control.send((_REPORT % report).encode())

    def _wait(self, pid: int, pidfd: int) -> bool:
        """Until the child has ended. Kills it where it makes too many files, or nobody waits for it any more."""
        self._poll.register(pidfd, select.POLLIN)
        crowded = False
        while True:
            events = [descriptor for descriptor, _ in self._poll.poll(self._pause)]
            if self._listens in events:
                os.kill(pid, signal.SIGKILL)
                os._exit(0)
            if pidfd in events:
                self._poll.unregister(pidfd)
                return crowded
            if self._scratch and not crowded:
                space = os.statvfs(self._scratch)
                if space.f_files - space.f_ffree > self._settings["most_files"]:
                    crowded = True
                    os.kill(pid, signal.SIGKILL)

    def _become(self, message: bytes, descriptors: list[int]) -> None:
        """In the child: never returns."""
        status = 70
        try:
            request = json.loads(message)
            # [payload, stdin, stdout, stderr, results, requests]; -1 in "fds" where there is none
            given = iter(descriptors)
            places = [next(given) if wanted else self._nowhere for wanted in request["fds"]]
            payload = places[0]
            moved = [os.dup(place) for place in places[1:]]  # first out of the way of one another, then in place
            high = [os.dup2(place, 64 + index) for index, place in enumerate([payload, *moved])]
            for index, place in enumerate(high[1:]):
                os.dup2(place, index)
            job = _read_all(high[0])
            os.closerange(5, 256)
            if not request["fds"][4]:
                os.closerange(3, 5)
            elif not request["fds"][5]:
                os.close(4)
            for name, limit in request["limits"].items():
                _limit(getattr(resource, name), limit)
            if self._seccomp is not None:
                self._seccomp.install()
            random.seed()  # each run its own, as after any fork
            gc.enable()
            status = driver.perform(json.loads(job))
        except BaseException as error:  # noqa: BLE001 - the child must never go on as a second zygote
            os.write(2, f"{type(error).__name__}: {error}\n"[:300].encode(errors="replace"))
        finally:
            os._exit(status)

    def _left_behind(self) -> list[str]:
        return os.listdir(self._scratch) if self._scratch else []

    def _wipe(self) -> bool:
        """Remove what a run left. False where that is more than it is worth: the cell is then thrown away."""
        left = self._left_behind()
        if not left:
            return True
        if len(left) > 256:
            return False
        try:
            for name in left:
                _remove(os.path.join(str(self._scratch), name), 8)
        except OSError:
            return False
        return not self._left_behind()


def _limit(kind: int, limit: int) -> None:
    """Set a limit, as far as the one that was inherited (of a pool's worker, say) lets it."""
    _, most = resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, limit))


def _remove(path: str, depth: int) -> None:
    if depth <= 0:
        raise OSError("too deep")
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            _remove(os.path.join(path, name), depth - 1)
        os.rmdir(path)
    else:
        os.unlink(path)


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size + 1  # a buffer no larger than it must be: a run pays for each page it touches
    chunks = []
    while chunk := os.read(descriptor, size):
        chunks.append(chunk)
    return b"".join(chunks)


def _preload() -> None:
    """Modules that programs import, so that a run does not pay for them; and the names `site` would have put there."""
    for name in _PRELOAD.split():
        __import__(name)
    import _sitebuiltins

    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
