"""The system calls a run may make, as a seccomp filter: classic BPF put together by hand, no library.

Not for installing it (`kernel` does, inside the cell). An allow list: what is not named gets EPERM, so a system call
that a later kernel adds is refused as well. What a plain Python program needs is here; processes, programs, sockets,
signals, tracing, namespaces, mounts, shared memory, keys and io_uring are not. Threads are: contest programs start one
for its larger stack.
"""

from __future__ import annotations

import platform
import struct
from typing import Literal

Files = Literal["write", "read", "none"]
"""What a run may do with files: make them (where Landlock or a mount says where), only read, or open none at all."""

_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets into struct seccomp_data

_CLONE_THREAD, _CLONE_SIGHAND, _CLONE_VM = 0x10000, 0x800, 0x100
_THREAD_FLAGS = _CLONE_THREAD | _CLONE_SIGHAND | _CLONE_VM
_FORBIDDEN_FLAGS = 0x7E020000 | 0x2000 | 0x4000 | 0x8000 | 0x800000  # CLONE_NEW*, PTRACE, VFORK, PARENT, UNTRACED
_FCNTL = (0, 1, 2, 3, 4, 1030)  # dup and flags; not F_SETOWN and F_SETSIG, which send signals to others
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX; not TIOCSTI
_OPEN_TO_WRITE = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE

_ALWAYS = """read write close lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending
rt_sigsuspend rt_sigtimedwait sigaltstack pread64 pwrite64 readv writev preadv pwritev fstat newfstatat getcwd
getdents getdents64 fsync fdatasync ftruncate dup dup2 dup3 pipe pipe2 poll ppoll select pselect6 epoll_create
epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 nanosleep clock_nanosleep clock_gettime clock_getres
gettimeofday time times getitimer setitimer alarm pause getpid gettid getppid getpgid getpgrp getsid getuid
geteuid getgid getegid getresuid getresgid getgroups umask getrlimit getrusage sysinfo uname sched_yield
sched_getaffinity getcpu futex set_robust_list get_robust_list set_tid_address rseq membarrier madvise mremap
mincore msync getrandom restart_syscall exit exit_group"""
_READ = "stat lstat statx access faccessat faccessat2 readlink readlinkat statfs fstatfs chdir fchdir open openat"
_WRITE = "creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate flock"
_ABSENT = ("clone3", "openat2")  # their arguments lie in memory, which a filter cannot see: the C library does without

_X86_64 = """read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20 access=21
pipe=22 select=23 sched_yield=24 mremap=25 msync=26 mincore=27 madvise=28 dup=32 dup2=33 pause=34 nanosleep=35
getitimer=36 alarm=37 setitimer=38 getpid=39 clone=56 exit=60 uname=63 fcntl=72 flock=73 fsync=74 fdatasync=75
truncate=76 ftruncate=77 getdents=78 getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 creat=85 unlink=87
readlink=89 umask=95 gettimeofday=96 getrlimit=97 getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104
geteuid=107 getegid=108 getppid=110 getpgrp=111 getgroups=115 getresuid=118 getresgid=120 getpgid=121 getsid=124
rt_sigpending=127 rt_sigtimedwait=128 rt_sigsuspend=130 sigaltstack=131 statfs=137 fstatfs=138 gettid=186
time=201 futex=202 sched_getaffinity=204 epoll_create=213 getdents64=217 set_tid_address=218 restart_syscall=219
clock_gettime=228 clock_getres=229 clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233 openat=257
mkdirat=258 newfstatat=262 unlinkat=263 renameat=264 readlinkat=267 faccessat=269 pselect6=270 ppoll=271
set_robust_list=273 get_robust_list=274 epoll_pwait=281 eventfd2=290 epoll_create1=291 dup3=292 pipe2=293
preadv=295 pwritev=296 prlimit64=302 getcpu=309 renameat2=316 getrandom=318 membarrier=324 statx=332 rseq=334
clone3=435 openat2=437 faccessat2=439"""
_AARCH64 = """getcwd=17 eventfd2=19 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 dup=23 dup3=24 fcntl=25 ioctl=29 flock=32
mkdirat=34 unlinkat=35 renameat=38 statfs=43 fstatfs=44 truncate=45 ftruncate=46 faccessat=48 chdir=49 fchdir=50
openat=56 close=57 pipe2=59 getdents64=61 lseek=62 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68
preadv=69 pwritev=70 pselect6=72 ppoll=73 readlinkat=78 newfstatat=79 fstat=80 fsync=82 fdatasync=83 exit=93
exit_group=94 set_tid_address=96 futex=98 set_robust_list=99 get_robust_list=100 nanosleep=101 getitimer=102
setitimer=103 clock_gettime=113 clock_getres=114 clock_nanosleep=115 sched_getaffinity=123 sched_yield=124
restart_syscall=128 sigaltstack=132 rt_sigsuspend=133 rt_sigaction=134 rt_sigprocmask=135 rt_sigpending=136
rt_sigtimedwait=137 rt_sigreturn=139 getresuid=148 getresgid=150 times=153 getpgid=155 getsid=156 getgroups=158
uname=160 getrlimit=163 getrusage=165 umask=166 getcpu=168 gettimeofday=169 getpid=172 getppid=173 getuid=174
geteuid=175 getgid=176 getegid=177 gettid=178 sysinfo=179 brk=214 munmap=215 mremap=216 clone=220 mmap=222
mprotect=226 msync=227 mincore=232 madvise=233 prlimit64=261 renameat2=276 getrandom=278 membarrier=283
statx=291 rseq=293 clone3=435 openat2=437 faccessat2=439"""
_MACHINES: dict[str, tuple[int, str]] = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}


def supported(machine: str | None = None) -> bool:
    """Whether there is a table for this processor (`platform.machine()`)."""
    return (machine or platform.machine()) in _MACHINES


def build(files: Files, machine: str | None = None) -> bytes:
    """The filter, as an array of struct sock_filter. Raises KeyError where `supported` is False."""
    machine = machine or platform.machine()
    architecture, table = _MACHINES[machine]
    numbers = {name: int(number) for name, number in (pair.split("=") for pair in table.split())}
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":  # the x32 numbers of the same calls
        program += [_instruction(_JUMP_AT_LEAST, 0x40000000, 0, 1), _instruction(_RETURN, _KILL_PROCESS)]
    names = _ALWAYS.split()
    if files != "none":
        names += [name for name in _READ.split() if files == "write" or name not in ("open", "openat")]
    if files == "write":
        names += _WRITE.split()
    for name in _ABSENT:
        program += _when(numbers[name], [_instruction(_RETURN, _ERRNO | _ENOSYS)])
    if files == "read":
        for name, argument in (("open", 1), ("openat", 2)):
            if name in numbers:
                program += _when(numbers[name], _unless_bits(argument, _OPEN_TO_WRITE))
    program += _when(numbers["clone"], _is_thread())
    program += _when(numbers["fcntl"], _one_of(1, _FCNTL))
    program += _when(numbers["ioctl"], _one_of(1, _IOCTL))
    program += _when(numbers["prlimit64"], _is_null(2))
    program += _search(_runs(sorted({numbers[name] for name in names if name in numbers})))
    return b"".join(program)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow one another."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _search(runs: list[tuple[int, int]]) -> list[bytes]:
    """ALLOW for a number in these runs, else EPERM. A tree: the kernel walks it for every number when it is installed."""
    if len(runs) > 1:
        half = len(runs) // 2
        below, above = _search(runs[:half]), _search(runs[half:])
        return [_instruction(_JUMP_AT_LEAST, runs[half][0], len(below), 0), *below, *above]
    ((first, last),) = runs
    return [
        _instruction(_JUMP_AT_LEAST, first, 0, 1),
        _instruction(_JUMP_AT_LEAST, last + 1, 0, 1),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _when(number: int, code: list[bytes]) -> list[bytes]:
    """Run `code`, which must return, for that system call, and skip it for others."""
    return [_instruction(_JUMP_EQUAL, number, 0, len(code)), *code]


def _argument(index: int, high: bool = False) -> bytes:
    return _instruction(_LOAD, _ARGUMENTS + 8 * index + (4 if high else 0))  # little-endian, as both machines are


def _one_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    code = [_argument(index)]
    for position, value in enumerate(values):
        code.append(_instruction(_JUMP_EQUAL, value, len(values) - position, 0))
    return [*code, _instruction(_RETURN, _ERRNO | _EPERM), _instruction(_RETURN, _ALLOW)]


def _unless_bits(index: int, bits: int) -> list[bytes]:
    return [
        _argument(index),
        _instruction(_JUMP_ANY_BIT, bits, 0, 1),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _is_null(index: int) -> list[bytes]:
    return [
        _argument(index),
        _instruction(_JUMP_EQUAL, 0, 0, 2),
        _argument(index, high=True),
        _instruction(_JUMP_EQUAL, 0, 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]


def _is_thread() -> list[bytes]:
    """A thread of this process, with nothing new; a fork or a namespace is refused."""
    return [
        _argument(0),
        _instruction(_JUMP_ANY_BIT, _FORBIDDEN_FLAGS, 2, 0),
        _instruction(_AND, _THREAD_FLAGS),
        _instruction(_JUMP_EQUAL, _THREAD_FLAGS, 1, 0),
        _instruction(_RETURN, _ERRNO | _EPERM),
        _instruction(_RETURN, _ALLOW),
    ]
