"""One cell, from the judge's side: start it, run a program in it, and know how that ended.

Not for deciding whether a program is right. A Cell serves one run at a time and belongs to one thread. Whatever goes
wrong with the cell itself raises CellDied, which says nothing about the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from burnish.verify.sandbox.launch import Runtime, Tier, boot, command, settings

Ended = Literal["exited", "killed", "timeout", "output", "files", "starved"]
_CHUNK = 1 << 16
_GRACE_S = 5.0  # a cell that does not report the end of a killed child by then is given up
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class CellDied(Exception):
    """The cell failed, not the program: it could not be started, or ended, or says what it should not."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    seconds       of wall time, not counting time in which the machine did not run it; then it is killed
    cpu_seconds   of processor time over all its threads, kept by the kernel, rounded up
    memory_bytes  of address space
    output_bytes  of standard output; error_bytes of standard error; result_bytes of results
    file_bytes    of one file
    patience      the wall time, as a multiple of `seconds`, after which a run the machine did not serve is given up
    """

    seconds: float = 5.0
    cpu_seconds: float = 10.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20
    error_bytes: int = 16 << 10
    result_bytes: int = 4 << 20
    file_bytes: int = 8 << 20
    patience: float = 5.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended.

    ended    exited (see `code`), killed (by a signal of its own doing: `code` is minus its number), timeout, output (a
             stream was flooded), files (too many were made), starved (the machine did not run it: no fault of its own)
    seconds  of wall time that count against it; cpu seconds of processor time
    """

    ended: Ended
    code: int
    output: bytes
    error: bytes
    results: bytes
    seconds: float
    cpu: float
    memory: int


class Cell:
    """A sandbox with a forked-in-advance interpreter. Raises CellDied where it cannot be started within `start_s`."""

    def __init__(
        self,
        tier: Tier,
        runtime: Runtime | None = None,
        *,
        scratch_bytes: int = 16 << 20,
        most_files: int = 512,
        start_s: float = 20.0,
    ) -> None:
        self.tier = tier
        self.runs = 0
        self.spent = False  # what a run left behind could not be cleared: not to be used again
        runtime = runtime or Runtime()
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = _sealed(boot())
        try:
            self._process = _popen(command(tier, runtime, scratch_bytes, inner.fileno()), program, inner.fileno())
            self.control.send(json.dumps(settings(tier, runtime, most_files)).encode())
            inner.close()
            self.facts = self._greeting(start_s)
        except (OSError, CellDied) as error:
            self.close()
            raise CellDied(f"a {tier.label} cell cannot be started: {error}") from error
        finally:
            os.close(program)
            inner.close()

    def _greeting(self, start_s: float) -> dict[str, Any]:
        self.control.settimeout(start_s)
        try:
            message = self.control.recv(1 << 12)
        except TimeoutError:
            raise CellDied(f"it was not ready within {start_s:g} s") from None
        except ConnectionResetError:
            message = b""
        if not message:
            said = b""
            if self._process.stderr is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=1.0)
                os.set_blocking(self._process.stderr.fileno(), False)
                said = self._process.stderr.read(4000) or b""
            raise CellDied(said.decode(errors="replace").strip()[-300:] or "it ended at once")
        told = json.loads(message)
        if "ready" not in told:
            raise CellDied(str(told.get("failed")))
        return dict(told["ready"])

    @property
    def pid(self) -> int:
        """The process that was started; its end is the end of everything in the cell."""
        return self._process.pid

    def close(self) -> None:
        """End it and everything in it. Safe to call twice."""
        self.control.close()
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2.0)
            if process.stderr is not None:
                process.stderr.close()

    def run(self, job: Mapping[str, Any], stdin: bytes = b"", limits: Limits | None = None) -> Ran:
        """Run a job of `driver` to its end. Raises CellDied."""
        run = self.start(job, stdin, limits)
        try:
            while not run.over:
                run.pump()
            return run.ran()
        finally:
            run.close()

    def start(
        self, job: Mapping[str, Any], stdin: bytes = b"", limits: Limits | None = None, *, asked: bool = False
    ) -> Run:
        """Begin a run; `asked` gives it a channel for requests (see `Run.ask`). Raises CellDied."""
        self.runs += 1
        return Run(self, job, stdin, limits or Limits(), asked)


class Run:
    """A run that is going on. `pump` until `over`; then `ran`."""

    def __init__(self, cell: Cell, job: Mapping[str, Any], stdin: bytes, limits: Limits, asked: bool) -> None:
        self._cell, self._limits = cell, limits
        self._control = cell.control
        self.over = False
        self._forgiven = 0.0  # delay before the clock that runs now was started
        self._seconds = limits.seconds
        self._ended: Ended | None = None
        self._report: dict[str, Any] = {}
        self._pidfd = -1
        self._pid = 0
        self._requests = -1
        script = job["mode"] == "script"
        given, mine = [_sealed(json.dumps(job).encode())], {}
        wanted = [True, script and bool(stdin), script, script, not script, asked]
        if script:
            if stdin:
                given.append(_sealed(stdin))
            names = (("output", limits.output_bytes), ("error", limits.error_bytes))
        else:
            names = (("results", limits.result_bytes),)  # type: ignore[assignment]
        for name, most in names:
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            mine[ours] = (name, most)
            given.append(theirs)
        if asked:
            theirs, self._requests = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._requests, False)
            given.append(theirs)
        self._streams = mine
        self.read: dict[str, bytearray] = {name: bytearray() for name, _ in names}
        request = {"fds": wanted, "limits": _rlimits(limits)}
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], given)
        except OSError as error:
            raise CellDied(f"it does not listen: {error}") from error
        finally:
            for descriptor in given:
                os.close(descriptor)
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        for descriptor in mine:
            self._poll.register(descriptor, select.POLLIN)
        self._began = time.monotonic()
        self._deadline = self._began + limits.seconds
        self._given_up = self._began + limits.seconds * limits.patience

    def pump(self) -> None:
        """Take in what there is, or wait for it, but not past the run's deadline. Raises CellDied."""
        now = time.monotonic()
        events = self._poll.poll(max(0.0, self._deadline - now) * 1000 + 1)
        for descriptor, _ in events:
            if descriptor == self._control.fileno():
                self._hear()
            elif descriptor in self._streams:
                self._drain(descriptor)
        if self.over:
            return
        now = time.monotonic()
        if now >= self._deadline:
            self._expire(now)

    def _expire(self, now: float) -> None:
        if self._ended is not None:  # killed, and not even that was reported
            raise CellDied("it does not report the end of a run")
        charged = now - self._began - (self._delayed() - self._forgiven)
        missing = self._seconds - charged
        if missing <= 0.005:
            self._kill("timeout")
        elif now < self._given_up:
            self._deadline = min(self._given_up, now + missing)
        else:
            self._kill("starved")

    def _delayed(self) -> float:
        """Seconds in which the run could have gone on but the machine did other things."""
        if not self._pid and self._pidfd >= 0:
            self._pid = _pid_of(self._pidfd)
        if not self._pid:
            return time.monotonic() - self._began + self._forgiven  # it has not even begun
        try:
            with open(f"/proc/{self._pid}/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def _kill(self, why: Ended) -> None:
        self._ended = self._ended or why
        self._deadline = time.monotonic() + _GRACE_S
        self._given_up = self._deadline
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def stop(self) -> None:
        """Kill it: nobody needs the rest."""
        self._kill("exited")

    def _hear(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1 << 12, 4)
        except OSError as error:
            raise CellDied(f"it hung up: {error}") from error
        if not message:
            raise CellDied("it ended during a run")
        if message == b"started":
            (self._pidfd,) = descriptors
            if self._ended is not None:
                self._kill(self._ended)
            return
        self._report = json.loads(message)
        if self._report["status"] != "ended":
            raise CellDied(f"no run can be started in it: {self._report.get('why')}")
        self.over = True
        self._cell.spent = self._cell.spent or bool(self._report["dirty"])
        for descriptor in list(self._streams):
            self._drain(descriptor)

    def _drain(self, descriptor: int) -> None:
        name, most = self._streams[descriptor]
        into = self.read[name]
        while True:
            try:
                chunk = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                self._forget(descriptor)
                return
            into += chunk
            if len(into) > most:
                del into[most:]
                self._forget(descriptor)
                if not self.over:
                    self._kill("output")
                else:
                    self._ended = self._ended or "output"
                return

    def _forget(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._streams[descriptor]
        os.close(descriptor)

    def ask(self, line: bytes) -> bool:
        """Write a line to it. False where it does not take it: it has ended, or never reads."""
        try:
            while line:
                try:
                    line = line[os.write(self._requests, line) :]
                except BlockingIOError:
                    writable = select.poll()
                    writable.register(self._requests, select.POLLOUT)
                    if not writable.poll(max(0.0, self._deadline - time.monotonic()) * 1000):
                        return False
        except BrokenPipeError:
            return False
        return True

    def grant(self, seconds: float) -> None:
        """A new deadline, so many seconds from now: the run has answered, and goes on to something else."""
        if self._ended is None:
            now = time.monotonic()
            self._deadline, self._given_up = now + seconds, now + seconds * self._limits.patience
            self._began, self._forgiven, self._seconds = now, self._delayed(), seconds

    def ran(self) -> Ran:
        report = self._report
        code = int(report["code"])
        ended: Ended = self._ended or ("killed" if code < 0 else "exited")
        if report["crowded"]:
            ended = "files"
        if ended == "killed" and code == -signal.SIGKILL and report["cpu"] >= self._limits.cpu_seconds - 0.5:
            ended = "timeout"  # by the kernel, at its limit of processor time
        read = {name: bytes(self.read.get(name, b"")) for name in ("output", "error", "results")}
        return Ran(ended, code, **read, seconds=report["seconds"], cpu=report["cpu"], memory=report["memory"])

    def close(self) -> None:
        """Give back the descriptors. A run that is not over makes the cell unfit for another."""
        for descriptor in [*self._streams, self._pidfd, self._requests]:
            if descriptor >= 0:
                os.close(descriptor)
        self._streams, self._pidfd, self._requests = {}, -1, -1
        if not self.over:
            self._cell.spent = True


def _popen(arguments: list[str], program: int, control: int) -> subprocess.Popen[bytes]:
    """Start a cell with an empty environment, no descriptors but these, and a session of its own."""
    return subprocess.Popen(
        arguments,
        stdin=program,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(control,),
        env={},
        cwd="/",
        start_new_session=True,
    )


def _sealed(content: bytes) -> int:
    """A descriptor to read `content` from, which nobody can change."""
    descriptor = os.memfd_create("burnish", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def _pid_of(pidfd: int) -> int:
    """The process behind a pidfd, as seen from here; 0 where that cannot be told."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            for line in file:
                if line.startswith("Pid:"):
                    return max(0, int(line[4:]))
    except (OSError, ValueError):
        pass
    return 0


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_CPU": max(1, round(limits.cpu_seconds + 0.499)),
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_STACK": 64 << 20,
    }
