"""Run a program that nobody trusts, and get back what it said as bytes. No torch, Linux first.

Not for deciding whether a program is right: that is `burnish.verify.programs`, and nothing of it comes in here. What a
program is asked goes in, what it answers comes out; expected values stay outside.

    with Sandbox() as sandbox:
        ran = sandbox.run({"mode": "script", "source": "print(input()[::-1])"}, b"abc")

A tier says what keeps a program in, see `Tier` and `MEANS`. It is found by a probe when the sandbox is made: the
strongest that works here. Nothing is weakened in silence: `require_tier` refuses what is below it, and without any
tier at all (macOS, a kernel without seccomp, a processor there is no table for) only `unsafe=True` goes on.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

from burnish.errors import BurnishError, ConfigError
from burnish.verify.sandbox import seccomp
from burnish.verify.sandbox.cell import Cell, CellDied, Limits, Ran, Run
from burnish.verify.sandbox.launch import MEANS, Runtime, Tier

__all__ = [
    "MEANS",
    "Cell",
    "CellDied",
    "Limits",
    "Policy",
    "Ran",
    "Run",
    "Runtime",
    "Sandbox",
    "SandboxFailed",
    "Talk",
    "Tier",
    "shared",
    "tier_named",
]

_LOCAL = (Tier.BUBBLEWRAP, Tier.LANDLOCK, Tier.SECCOMP)
_HELLO = "print(6*7)"
T = TypeVar("T")
REQUIRE, UNSAFE, SERVICE = "BURNISH_REQUIRE_TIER", "BURNISH_UNSAFE_SANDBOX", "BURNISH_SANDBOX_URL"


class SandboxFailed(BurnishError):
    """The sandbox could not run a program, twice: nothing is known about the program."""


class Talk(Protocol):
    """A run that sends lines, as `Run` is and as one that a service has ended seems to be."""

    over: bool
    read: dict[str, bytearray]

    def pump(self) -> None: ...
    def grant(self, seconds: float) -> None: ...
    def stop(self) -> None: ...
    def ran(self) -> Ran: ...


class _Finished:
    """A run of a service: all of it has been said."""

    def __init__(self, ran: Ran) -> None:
        self.over, self._ran = True, ran
        self.read = {"results": bytearray(ran.results)}

    def pump(self) -> None:
        pass

    def grant(self, seconds: float) -> None:
        pass

    def stop(self) -> None:
        pass

    def ran(self) -> Ran:
        return self._ran


class Service(Protocol):
    """A remote service that runs programs, see `burnish.verify.sandbox.remote`."""

    def run(self, job: Mapping[str, Any], stdin: bytes, limits: Limits) -> Ran:
        """Raises CellDied where the service fails."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What a sandbox must be. `tier` takes that one and no other; `service` is the address of a remote one.

    >>> Policy(require=Tier.BUBBLEWRAP)
    """

    require: Tier = Tier.SECCOMP
    unsafe: bool = False
    tier: Tier | None = None
    service: str | None = None

    @classmethod
    def of_environment(cls, require: str | None = None) -> Policy:
        """From BURNISH_REQUIRE_TIER, BURNISH_UNSAFE_SANDBOX=1 and BURNISH_SANDBOX_URL, and the stricter of the two tiers."""
        names = [name for name in (require, os.environ.get(REQUIRE)) if name]
        wanted = max([Tier.SECCOMP, *map(tier_named, names)])
        unsafe = os.environ.get(UNSAFE) == "1" and not names
        return cls(wanted, unsafe, None, os.environ.get(SERVICE) or None)


def tier_named(name: str) -> Tier:
    """The tier of that name. Raises ConfigError which lists them."""
    for tier in (*_LOCAL, Tier.REMOTE):
        if tier.label == name:
            return tier
    raise ConfigError(f"there is no sandbox tier {name!r}: choose one of seccomp, landlock, bubblewrap and remote")


class Sandbox:
    """Two cells at most, started when first needed: one for programs, one for tests that must run themselves.

    Belongs to one thread. Raises ConfigError where this machine offers no tier that the policy allows.
    """

    def __init__(self, policy: Policy | None = None, runtime: Runtime | None = None) -> None:
        self._policy = policy or Policy.of_environment()
        self._runtime = runtime
        self._cells: dict[str, Cell] = {}
        self._service: Service | None = None
        self.refused: dict[Tier, str] = {}
        """Why stronger tiers were not taken."""
        self.restarts = 0
        self.landlock = 0
        self.tier = self._probe()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the cells. Safe to call twice; a later run starts new ones."""
        for name in list(self._cells):
            self._discard(name)

    def describe(self) -> str:
        """One sentence for a log: what keeps programs in here, and why it is not something stronger."""
        why = "; ".join(f"{tier.label}: {reason}" for tier, reason in self.refused.items())
        landlock = f" (Landlock ABI {self.landlock})" if self.landlock else ""
        return f"sandbox tier {self.tier.label}: {MEANS[self.tier]}{landlock}{f'; not {why}' if why else ''}."

    def run(self, job: Mapping[str, Any], stdin: bytes = b"", limits: Limits | None = None) -> Ran:
        """Run a job of `driver`. A cell that fails is replaced and the job tried once more. Raises SandboxFailed."""
        if self._service is not None:
            service, settled = self._service, limits or Limits()
            return self._twice(lambda: service.run(job, stdin, settled))
        return self._twice(lambda: self._on("programs", lambda cell: cell.run(job, stdin, limits)))

    def talk(self, job: Mapping[str, Any], limits: Limits, listen: Callable[[Talk], T]) -> T:
        """Start a job and let `listen` have its run, to the end; tried once more where the cell fails. Raises SandboxFailed."""
        if self._service is not None:
            service = self._service
            return self._twice(lambda: listen(_Finished(service.run(job, b"", limits))))

        def on(cell: Cell) -> T:
            run = cell.start(job, limits=limits)
            try:
                return listen(run)
            finally:
                run.close()

        return self._twice(lambda: self._on("programs", on))

    def together(self, talk: Callable[[Cell, Cell], T]) -> T:
        """`talk(cell for the program, cell for the tests)`, tried once more with other cells where one fails."""
        if self._service is not None:
            raise ConfigError("tests that run themselves need a local sandbox: a remote one cannot be asked back.")
        return self._twice(lambda: self._on("programs", lambda one: self._on("tests", lambda two: talk(one, two))))

    def _twice(self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except CellDied:
            self.restarts += 1
            self.close()
        try:
            return attempt()
        except CellDied as error:
            self.close()
            raise SandboxFailed(f"the sandbox failed twice: {error}") from error

    def _on(self, name: str, use: Callable[[Cell], T]) -> T:
        if name not in self._cells:
            self._cells[name] = Cell(self.tier, self._runtime)
        cell = self._cells[name]
        try:
            return use(cell)
        except BaseException:  # an interrupt, too, leaves it in the middle of an exchange
            cell.spent = True
            raise
        finally:
            if cell.spent:
                self._discard(name)

    def _discard(self, name: str) -> None:
        self._cells.pop(name).close()

    def _probe(self) -> Tier:
        """The strongest tier that runs a program here. Raises ConfigError."""
        policy = self._policy
        if policy.service is not None:
            from burnish.verify.sandbox.remote import SandboxFusion

            self._service = SandboxFusion(policy.service)
            return Tier.REMOTE
        candidates = _LOCAL if policy.tier is None else (policy.tier,)
        for tier in candidates:
            why = _missing(tier) or ("" if tier is Tier.UNSAFE else self._try(tier))
            if not why:
                if tier < policy.require and not policy.unsafe:
                    raise self._refusal(tier)
                return tier
            self.refused[tier] = why
        if policy.unsafe and sys.platform == "linux":
            return Tier.UNSAFE
        raise self._refusal(None)

    def _try(self, tier: Tier) -> str:
        """Start a cell and keep it for the first run. Returns what went wrong, or ""."""
        try:
            cell = Cell(tier, self._runtime)
        except CellDied as error:
            return str(error)
        self.landlock = int(cell.facts["landlock"])
        if tier is Tier.LANDLOCK and not self.landlock:
            cell.close()
            return "this kernel has no Landlock"
        try:
            ran = cell.run({"mode": "script", "source": _HELLO})
        except CellDied as error:
            cell.close()
            return str(error)
        if ran.output != b"42\n":
            cell.close()
            return (
                f"a first program did not run in it ({ran.ended}, {ran.error[-200:].decode(errors='replace').strip()})"
            )
        self._cells["programs"] = cell
        return ""

    def _refusal(self, best: Tier | None) -> ConfigError:
        reasons = "; ".join(f"{tier.label}: {why}" for tier, why in self.refused.items())
        if best is None:
            return ConfigError(
                f"no sandbox works here ({reasons}), so no program can be judged; use Linux with bubblewrap, name a service in "
                f"{SERVICE}, or set {UNSAFE}=1 to run programs with your own rights."
            )
        return ConfigError(
            f"the strongest sandbox here is {best.label} ({reasons}), and {self._policy.require.label} is required; "
            "install bubblewrap and allow user namespaces, or require less."
        )


def _missing(tier: Tier) -> str:
    """What a tier lacks that can be seen without trying it; "" where nothing."""
    if sys.platform != "linux":
        return f"it needs Linux, and this is {platform.system()}"
    if tier is Tier.UNSAFE:
        return ""
    if not seccomp.supported():
        return f"there is no table of system calls for {platform.machine()}"
    if tier is Tier.BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    return ""


_of_thread = threading.local()


def shared(policy: Policy) -> Sandbox:
    """The sandbox of this thread for that policy, made at the first call. It ends with the process."""
    here: dict[tuple[int, Policy], Sandbox] = _of_thread.__dict__.setdefault("sandboxes", {})
    key = (os.getpid(), policy)  # a fork must not talk into its parent's cells
    if key not in here:
        here[key] = Sandbox(policy)
    return here[key]
