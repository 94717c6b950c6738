"""What is asked of the Linux kernel through ctypes: seccomp, Landlock, capabilities, death with the parent.

Runs in the cell, so it imports nothing of ours. Not for deciding what is allowed: it is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91}
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
_LANDLOCK_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1

READ, EXECUTE, READ_DIR = 1 << 2, 1 << 0, 1 << 3
WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 14  # write, remove, make directories and files, truncate
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # the rights that may be given on a file and not a directory

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_fork = ctypes.PyDLL(None, use_errno=True).fork  # a PyDLL keeps the interpreter's lock


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, *values: int) -> int:
    arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _check(int(_libc.prctl(option, *arguments)), f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Be sent that signal when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def make_undumpable() -> None:
    """No core, and no reading of this process's memory by others of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability for good; what is not held is not missed."""
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one, or not allowed, in which case there is none to give up
    with contextlib.suppress(OSError):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    nothing = ctypes.create_string_buffer(24)
    _check(_libc.syscall(_CAPSET[platform.machine()], header, nothing), "capset")


def fork() -> int:
    """Fork as the C library does it. Raises OSError.

    Not `os.fork`: what Python does after that mends locks and threads, of which a process with one thread and the
    interpreter's lock in hand has none to mend, and it touches half of the pages that a short run touches at all.
    """
    return _check(int(_fork()), "fork")


class Seccomp:
    """A filter, ready to be installed at the cost of one system call."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._filter = _Filter(len(program) // 8, ctypes.addressof(self._buffer))
        self._call = _libc.prctl  # looked up, and its arguments made, before the fork
        self._arguments = [
            ctypes.c_ulong(value)
            for value in (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(self._filter), 0, 0)
        ]

    def install(self) -> None:
        """For this process and all it starts, for good. Needs `forbid_new_privileges` first."""
        _check(self._call(*self._arguments), "seccomp")


def landlock_version() -> int:
    """The Landlock ABI of this kernel; 0 where it has none or it is switched off."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)))


def landlock(readable: list[str], writable: list[str]) -> int:
    """Restrict this process and its children to these files and the folders below; no TCP. Returns the ABI, 0 for none."""
    version = landlock_version()
    if version < 1:
        return 0
    handled = _HANDLED[max(known for known in _HANDLED if known <= version)]
    attributes = struct.pack("=QQQ", handled, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _check(_libc.syscall(_LANDLOCK_CREATE, ctypes.create_string_buffer(attributes, 24), size, 0), "landlock")
    try:
        for path in readable:
            _allow(rules, path, (READ | READ_DIR | EXECUTE) & handled)
        for path in writable:
            _allow(rules, path, (READ | READ_DIR | WRITE) & handled)
        _check(_libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "landlock_restrict_self")
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
        _check(_libc.syscall(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_PATH_BENEATH, rule, 0), "landlock_add_rule")
    finally:
        os.close(place)


def wipe_environment() -> None:
    """Overwrite the environment this process was started with, which /proc/PID/environ would show, and forget it."""
    strings = ctypes.POINTER(ctypes.c_void_p).in_dll(_libc, "environ")
    position = 0
    while strings and strings[position]:
        address = strings[position]
        assert address is not None
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
        position += 1
    os.environ.clear()
