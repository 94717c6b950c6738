"""How a cell is started in each tier: the command, and what its first process is told. Not for running anything in it."""

from __future__ import annotations

import enum
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from burnish.verify.sandbox import seccomp

NOBODY = 65534
_BOOT = """import sys, types
for name, source in {sources!r}:
    module = types.ModuleType(name)
    sys.modules[name] = module
    package, _, short = name.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], short, module)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(int(sys.argv[1]))
"""
_IN_CELL = ("kernel", "plain", "driver", "zygote")  # each after those it imports
# Where a run may open no file it can import nothing, so what programs import is there beforehand.
_BEFOREHAND = """abc ast base64 calendar codecs contextlib dataclasses datetime decimal enum fractions hashlib hmac inspect
locale numbers pprint queue secrets statistics textwrap timeit unicodedata zlib"""
_LIBRARIES = ("/lib", "/lib64", "/lib32", "/libx32")
_SEEN = ("/dev/null", "/dev/urandom", "/etc/ld.so.cache", "/etc/localtime")


class Tier(enum.IntEnum):
    """What keeps a program in, strongest last. The number is what verdicts carry as the part "sandbox_tier"."""

    UNSAFE = 0
    SECCOMP = 1
    LANDLOCK = 2
    BUBBLEWRAP = 3
    REMOTE = 4

    @property
    def label(self) -> str:
        return self.name.lower()


MEANS = {
    Tier.UNSAFE: "resource limits only: a program can read and write what you can",
    Tier.SECCOMP: "a seccomp filter that opens no file, and resource limits",
    Tier.LANDLOCK: "Landlock, a seccomp filter and resource limits",
    Tier.BUBBLEWRAP: "a bubblewrap cell of six namespaces, Landlock, a seccomp filter and resource limits",
    Tier.REMOTE: "a remote service",
}


@cache
def _interpreter() -> str:
    base = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The interpreter of a cell, and folders of modules it may import besides the standard library.

    python   path of an interpreter that has its standard library beside it, as every installed one does
    paths    e.g. ("/opt/site-packages",), read-only in the cell
    imports  modules to import before the first run, e.g. ("numpy",): each run then has them at once
    """

    python: str = field(default_factory=_interpreter)
    paths: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def folders(self) -> list[str]:
        """What must be readable for it to run."""
        prefix = Path(self.python).parent.parent
        return [str(prefix), *self.paths]


def boot() -> bytes:
    """The program of a cell's first process, which reads it from its standard input."""
    here = Path(__file__).parent
    sources = [(f"burnish.verify.sandbox.{name}", (here / f"{name}.py").read_text()) for name in _IN_CELL]
    package = [("burnish.verify.sandbox", "")]
    return _BOOT.format(sources=package + sources).encode()


def command(tier: Tier, runtime: Runtime, scratch_bytes: int, control: int) -> list[str]:
    """What to execute, with an empty environment, descriptor 0 on `boot` and `control` on the control socket."""
    python = [runtime.python, "-P", "-s", "-S", "-B", "-X", "utf8", "-", str(control)]
    if tier is not Tier.BUBBLEWRAP:
        return ["/usr/bin/env", "-i", "PYTHONHASHSEED=0", "LD_BIND_NOW=1", *python]
    bwrap = shutil.which("bwrap")
    assert bwrap is not None
    arguments = [bwrap, *["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]]
    arguments += ["--disable-userns", "--unshare-cgroup-try", "--as-pid-1", "--die-with-parent", "--new-session"]
    arguments += ["--cap-drop", "ALL", "--clearenv", "--setenv", "PYTHONHASHSEED", "0", "--hostname", "cell"]
    arguments += ["--setenv", "LD_BIND_NOW", "1"]  # else each run would look up the symbols it uses, again
    arguments += ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    bound = ["/usr"] if Path("/usr") in Path(runtime.python).parents else ["/usr/lib", "/usr/lib64", "/usr/local/lib"]
    for folder in [*bound, *(f for f in runtime.folders if f != "/usr")]:
        arguments += ["--ro-bind-try", folder, folder]
    for link in _LIBRARIES:
        if os.path.islink(link):
            arguments += ["--symlink", os.readlink(link), link]
        else:
            arguments += ["--ro-bind-try", link, link]
    for path in _SEEN:
        arguments += ["--dev-bind-try" if path.startswith("/dev") else "--ro-bind-try", path, path]
    arguments += ["--size", str(scratch_bytes), "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return arguments + python


def settings(tier: Tier, runtime: Runtime, most_files: int) -> dict[str, Any]:
    """What the first process is told: see `zygote.Zygote`."""
    inside = tier is Tier.BUBBLEWRAP
    readable = ["/"] if inside else [*runtime.folders, *_existing(_LIBRARIES), "/usr/lib", "/usr/lib64", *_SEEN[1:]]
    files: seccomp.Files = "write" if inside else "read" if tier is Tier.LANDLOCK else "none"
    drops = not inside and os.getuid() == 0 and reachable(runtime)
    return {
        "filter": "" if tier is Tier.UNSAFE else seccomp.build(files).hex(),
        "landlock": tier in (Tier.LANDLOCK, Tier.BUBBLEWRAP),
        "readable": readable,
        "writable": ["/tmp", "/dev/null"] if inside else ["/dev/null"],
        "scratch": "/tmp" if inside else None,
        "most_files": most_files,
        "parent": None if inside else os.getpid(),
        "user": NOBODY if drops else None,
        "paths": list(runtime.paths),
        "import": [*(_BEFOREHAND.split() if files == "none" else ()), *runtime.imports],
    }


def reachable(runtime: Runtime) -> bool:
    """Whether a user with no rights at all can read the interpreter, so that root can step down before it starts."""
    return all(_open_to_all(Path(folder)) for folder in [runtime.python, *runtime.folders])


def _open_to_all(path: Path) -> bool:
    try:
        return all(part.stat().st_mode & 0o005 == 0o005 for part in [path, *path.parents])
    except OSError:
        return False


def _existing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if os.path.exists(path)]
