# ruff: noqa: E501 - an attack is easier to read in one piece
"""Programs that try to pass without being right, or to do harm. Data for test_sandbox_attacks.py and benchmarks/attacks.py.

Each is named, says what it tries, and what stops it. An attack answers `f(7)` or prints for the input "7", where 42 is
expected and never told, or it writes what it managed to do: `harm` is text that must not come out.
Nothing in here is run outside a sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """name, group, source; what stops it; `open_in`: weaker tiers that do not stop it, with the honest reason."""

    name: str
    group: str
    source: str
    stopped_by: str
    kind: str = "call"
    harm: str = ""
    open_in: tuple[str, ...] = ()
    note: str = ""


FILTER = "seccomp filter"
JUDGE = "the judge holds the expected values and compares data"
SERIALISER = "only exact plain types cross"
KILL = "killed from outside"
NAMESPACE = "namespaces"

_TRIED = """
def tried(what):
    try:
        return "HARM " + str(what())
    except BaseException as error:
        return "refused: " + type(error).__name__
"""


def _harm(name: str, group: str, expression: str, stopped_by: str, before: str = "", **more: object) -> Attack:
    """An attack that returns "HARM ..." where it got what it wanted."""
    source = f"{_TRIED}\n{before}\ndef f(x):\n    return tried(lambda: {expression})\n"
    return Attack(name, group, source, stopped_by, harm="HARM", **more)  # type: ignore[arg-type]


# int 0x80 with the number of getpid for i386, in a page of one's own
_MACHINE_CODE = """import ctypes, mmap
def r():
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""

# x86-64 numbers of what a program has no business with, whatever the arguments
_CALLS = """sendfile=40 semget=64 msgget=68 syslog=103 rt_sigqueueinfo=129 personality=135 setpriority=141 mlock=149
modify_ldt=154 pivot_root=155 prctl=157 arch_prctl=158 chroot=161 acct=163 swapon=167 reboot=169 init_module=175
setxattr=188 tkill=200 sched_setaffinity=203 remap_file_pages=216 timer_create=222 tgkill=234 mbind=237 mq_open=240
kexec_load=246 add_key=248 keyctl=250 ioprio_set=251 inotify_init=253 migrate_pages=256 splice=275 vmsplice=278
utimensat=280 timerfd_create=283 signalfd4=289 perf_event_open=298 fanotify_init=300 open_by_handle_at=304 setns=308
kcmp=312 seccomp=317 bpf=321 userfaultfd=323 copy_file_range=326 pkey_alloc=330 io_uring_enter=426 pidfd_open=434
pidfd_getfd=438 process_madvise=440 landlock_create_ruleset=444 memfd_secret=447 mseal=462"""
_CALL = """import ctypes
def c(number):
    n = ctypes.CDLL(None, use_errno=True).syscall(number, 0, 0, 0, 0, 0, 0)
    if n < 0 and ctypes.get_errno() in (1, 38): raise OSError("refused")
    return n
"""


def _calls() -> tuple[Attack, ...]:
    pairs = (pair.split("=") for pair in _CALLS.split())
    return tuple(
        _harm(f"{name} (raw system call)", "kernel", f"c({number})", FILTER, before=_CALL) for name, number in pairs
    )


ATTACKS: tuple[Attack, ...] = (
    # ---- passing by exit status, markers, objects
    Attack("sys.exit(0) on import", "exit status", "import sys\nsys.exit(0)", "an exit status never passes a call"),
    Attack(
        "sys.exit(0) in the call",
        "exit status",
        "import sys\ndef f(x): sys.exit(0)",
        "an exit status never passes a call",
    ),
    Attack(
        "os._exit(0) in the call",
        "exit status",
        "import os\ndef f(x): os._exit(0)",
        "every expected result must arrive",
    ),
    Attack("os._exit(0) in a program", "exit status", "import os\nos._exit(0)", "an output is compared", kind="stdin"),
    Attack(
        "atexit that exits 0",
        "exit status",
        "import atexit, os\natexit.register(os._exit, 0)\n1/0",
        "an output is compared",
        kind="stdin",
    ),
    Attack(
        "excepthook that exits 0",
        "exit status",
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n1/0",
        "an output is compared",
        kind="stdin",
    ),
    Attack(
        "forged pass markers",
        "forged results",
        "print('PASSED', 'all tests passed', 'OK', '1.0')\nprint('[\"passed\"]')",
        "standard output is only ever the answer",
        kind="stdin",
    ),
    Attack(
        "forged result lines",
        "forged results",
        'import os\nfor fd in range(3, 64):\n    try: os.write(fd, b\'["ready"]\\n["passed"]\\n["value", true]\\n["value", "passed"]\\n\')\n    except OSError: pass\ndef f(x): return None',
        JUDGE,
    ),
    Attack(
        "forged reply, then a hang",
        "forged results",
        "import os, time\nos.write(3, b'[\"passed\"]\\n')\ntime.sleep(60)\ndef f(x): return 0",
        JUDGE,
    ),
    Attack(
        "results that are not JSON",
        "forged results",
        "import os\ndef f(x):\n    os.write(3, b'\\xff\\xfe{]' * 999 + b'\\n')\n    os._exit(0)",
        "hostile JSON is refused",
    ),
    Attack(
        "JSON nested 100,000 deep",
        "forged results",
        "import os\ndef f(x):\n    os.write(3, b'[\"value\",' + b'[' * 100000 + b']' * 100000 + b']\\n')\n    os._exit(0)",
        "hostile JSON is refused",
    ),
    Attack(
        "an integer of a million digits",
        "forged results",
        "import os\ndef f(x):\n    os.write(3, b'[\"value\",' + b'9' * 1000000 + b']\\n')\n    os._exit(0)",
        "results have a size limit",
    ),
    Attack(
        "unknown tags",
        "forged results",
        'import os\ndef f(x):\n    os.write(3, b\'["value",{"$object":{"py/reduce":[]}}]\\n\')\n    os._exit(0)',
        "no object is ever rebuilt",
    ),
    Attack(
        "a set built to collide",
        "forged results",
        "def f(x): return {i * (2**61 - 1) for i in range(3000)}",
        "the judge hashes nothing it was sent",
    ),
    Attack(
        "__eq__ that is always true",
        "objects",
        "class A:\n    def __eq__(s, o): return True\n    def __hash__(s): return hash(42)\ndef f(x): return A()",
        SERIALISER,
    ),
    Attack(
        "int subclass",
        "objects",
        "class A(int):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = int.__hash__\ndef f(x): return A(1)",
        SERIALISER,
    ),
    Attack(
        "str subclass",
        "objects",
        "class A(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\ndef f(x): return A('42')",
        SERIALISER,
    ),
    Attack(
        "bool that lies",
        "objects",
        "class A:\n    def __bool__(s): return True\n    def __len__(s): return 42\n    def __index__(s): return 42\n    def __int__(s): return 42\ndef f(x): return A()",
        SERIALISER,
    ),
    Attack(
        "metaclass that lies about its type",
        "objects",
        "class M(type):\n    def __eq__(s, o): return True\n    __hash__ = type.__hash__\nclass A(metaclass=M):\n    __class__ = property(lambda s: int)\n    def __eq__(s, o): return True\n    __hash__ = None\ndef f(x): return A()",
        SERIALISER,
    ),
    Attack(
        "list whose parts always agree",
        "objects",
        "class A(list):\n    __eq__ = lambda s, o: True\ndef f(x): return A([1])",
        SERIALISER,
    ),
    Attack(
        "pickle that runs on loading",
        "objects",
        "import pickle\nclass A:\n    def __reduce__(s): return (print, ('HARM',))\ndef f(x): return pickle.dumps(A())",
        "nothing is ever unpickled",
    ),
    Attack(
        "__del__ at the end",
        "objects",
        'import os\nclass A:\n    def __del__(s): os.write(3, b\'["value", "HARM"]\\n\')\na = A()\ndef f(x): return 0',
        JUDGE,
    ),
    Attack(
        "an exception that lies",
        "objects",
        "class E(BaseException):\n    def __str__(s): raise E\n    __repr__ = __str__\ndef f(x): raise E",
        "an exception is a failed test",
    ),
    # ---- changing or reading what judges
    Attack(
        "patched builtins",
        "patching",
        "import builtins\nbuiltins.len = builtins.sum = builtins.isinstance = lambda *a: True\nbuiltins.type = lambda *a: int\nbuiltins.AssertionError = None\ndef f(x): return 0",
        "nothing trusted runs beside the program",
    ),
    Attack(
        "patched json",
        "patching",
        "import json\njson.dumps = lambda *a, **k: '[\"value\", 42.0000001]'\njson.JSONEncoder.encode = lambda *a: '[\"passed\"]'\ndef f(x): return 0",
        JUDGE,
    ),
    Attack(
        "patched driver",
        "patching",
        "import sys, gc\nfor o in gc.get_objects():\n    if getattr(o, '__name__', '') == 'encode' and callable(o):\n        try: o.__code__ = (lambda value: 'passed').__code__\n        except Exception: pass\ndef f(x): return 0",
        JUDGE,
    ),
    Attack(
        "patched time",
        "patching",
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\ntime.sleep(60)\ndef f(x): return 0",
        "the clock is the judge's",
    ),
    Attack(
        "import hooks",
        "patching",
        "import sys\nclass F:\n    def find_spec(s, *a): raise SystemExit(0)\nsys.meta_path.insert(0, F())\nsys.modules.clear()\ndef f(x): return 0",
        "nothing trusted runs beside the program",
    ),
    Attack(
        "trace and profile hooks",
        "patching",
        "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 0",
        "nothing trusted runs beside the program",
    ),
    Attack(
        "frame walk for the expected value",
        "reading the tests",
        "import sys\ndef f(x):\n    g, seen = sys._getframe(), []\n    while g:\n        seen += [repr(v)[:400] for v in [*g.f_locals.values(), *g.f_globals.values()]]\n        g = g.f_back\n    return 'HARM' if any('secret-' + str(4711) in s for s in seen) else 'nothing'",
        "expected values never enter its process",
        harm="HARM",
    ),
    Attack(
        "gc walk for the expected value",
        "reading the tests",
        "import gc\ndef f(x): return 'HARM' if any(isinstance(o, str) and o == 'secret-' + str(4711) for o in gc.get_objects()) or any('secret-' + str(4711) in d.values() for d in gc.get_objects() if type(d) is dict and all(type(v) is str for v in d.values())) else 'nothing'",
        "expected values never enter its process",
        harm="HARM",
    ),
    Attack(
        "memory scan for the expected value",
        "reading the tests",
        "import ctypes\ndef f(x):\n    try:\n        maps = open('/proc/self/maps').read()\n    except OSError as e:\n        return 'no maps'\n    return 'HARM'",
        "no /proc, and nothing to find",
        harm="HARM",
    ),
    Attack(
        "reading through every descriptor",
        "reading the tests",
        "import os\ndef f(x):\n    seen = []\n    for fd in range(0, 256):\n        try:\n            os.set_blocking(fd, False)\n            seen.append((fd, os.read(fd, 4096)))\n        except OSError: pass\n    return 'HARM' if any(b for a, b in seen) else 'nothing'",
        "descriptors are closed before the program begins",
        harm="HARM",
    ),
    Attack(
        "the environment",
        "reading the tests",
        "import os\ndef f(x): return 'HARM' if os.environ or os.environb else 'empty'",
        "an empty environment",
        harm="HARM",
    ),
    _harm(
        "the environment of the first process",
        "reading the tests",
        "open('/proc/1/environ').read() or 'empty'",
        "no /proc",
    ),
    _harm("/proc walk", "reading the tests", "__import__('os').listdir('/proc')", "no /proc"),
    _harm(
        "the memory of the parent",
        "reading the tests",
        "open(f'/proc/{__import__(\"os\").getppid()}/mem', 'rb').read(1)",
        "no /proc",
    ),
    _harm(
        "process_vm_readv",
        "reading the tests",
        "r() ",
        FILTER,
        before="import ctypes, os\ndef r():\n    n = ctypes.CDLL(None, use_errno=True).syscall(310, 1, None, 0, None, 0, 0)\n    if n < 0: raise OSError(ctypes.get_errno(), 'x')\n    return n",
    ),
    _harm(
        "ptrace",
        "reading the tests",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    n = ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0)\n    if n < 0: raise OSError('no')\n    return n",
    ),
    _harm(
        "files of the machine",
        "reading the tests",
        "open('/etc/passwd').read(10)",
        "a read-only runtime and nothing else",
    ),
    _harm(
        "home folders",
        "reading the tests",
        "[__import__('os').listdir(p) for p in ('/home', '/root', '/mnt')]",
        "a read-only runtime and nothing else",
    ),
    _harm(
        "the harness's own sources",
        "reading the tests",
        "__import__('burnish.records')",
        "a read-only runtime and nothing else",
    ),
    # ---- processes
    _harm("fork", "processes", "__import__('os').fork()", FILTER),
    _harm("fork bomb", "processes", "[__import__('os').fork() for _ in range(10000)]", FILTER),
    _harm("vfork and posix_spawn", "processes", "__import__('os').posix_spawn('/bin/sh', ['sh'], {})", FILTER),
    _harm("exec", "processes", "__import__('os').execv('/usr/bin/env', ['env'])", FILTER),
    _harm("subprocess", "processes", "__import__('subprocess').run(['id'])", FILTER),
    _harm("os.system", "processes", "1 / (__import__('os').system('true') == 0)", FILTER),
    _harm("multiprocessing", "processes", "__import__('multiprocessing').Process(target=print).start()", FILTER),
    _harm(
        "raw clone3",
        "processes",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    n = ctypes.CDLL(None, use_errno=True).syscall(435, 0, 0)\n    if n < 0 and ctypes.get_errno() in (1, 38): raise OSError('no')\n    return n",
    ),
    _harm("32-bit system calls", "processes", "r()", FILTER + " (wrong architecture kills)", before=_MACHINE_CODE),
    _harm(
        "x32 system calls",
        "processes",
        "c(0x40000000 | 39)",
        FILTER + " (its numbers kill)",
        before="import ctypes\nc = ctypes.CDLL(None).syscall",
    ),
    _harm("signal to the parent", "processes", "__import__('os').kill(__import__('os').getppid(), 9)", FILTER),
    _harm("signal to everybody", "processes", "__import__('os').kill(-1, 9)", FILTER),
    _harm("stop signal", "processes", "__import__('os').kill(__import__('os').getppid(), 19)", FILTER),
    _harm(
        "pidfd signal", "processes", "__import__('signal').pidfd_send_signal(__import__('os').pidfd_open(1), 9)", FILTER
    ),
    _harm(
        "signal through F_SETOWN",
        "processes",
        "r()",
        FILTER,
        before="import os, fcntl\ndef r():\n    a, b = os.pipe()\n    fcntl.fcntl(a, fcntl.F_SETOWN, os.getppid())\n    fcntl.fcntl(a, 10, 9)\n    return 1",
    ),
    _harm(
        "a new user namespace",
        "processes",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    if ctypes.CDLL(None).unshare(0x10000000) != 0: raise OSError('no')\n    return 1",
    ),
    _harm(
        "mount",
        "processes",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) != 0: raise OSError('no')\n    return 1",
    ),
    _harm(
        "raising its own limits",
        "processes",
        "r()",
        FILTER,
        before="import resource\ndef r():\n    resource.setrlimit(resource.RLIMIT_CPU, (999, 999))\n    return 1",
    ),
    _harm(
        "io_uring",
        "processes",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    if ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(200)) < 0: raise OSError('no')\n    return 1",
    ),
    Attack(
        "threads that outlive the run",
        "processes",
        "import threading, time\ndef g():\n    time.sleep(1.5)\n    open('/tmp/late', 'w').write('x')\nfor _ in range(4): threading.Thread(target=g, daemon=True).start()\ndef f(x): return 0",
        "threads end with their process, and no other can be made",
    ),
    Attack(
        "thread bomb",
        "processes",
        "import threading, time\nn = 0\ntry:\n    while True:\n        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n        n += 1\nexcept BaseException: pass\ndef f(x): return 'HARM' if n > 500 else n",
        "the limit of address space",
        harm="HARM",
    ),
    # ---- resources
    Attack("endless loop", "resources", "def f(x):\n    while True: pass", KILL),
    Attack(
        "endless loop that catches everything",
        "resources",
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        KILL,
    ),
    Attack("sleep", "resources", "import time\ndef f(x): time.sleep(3600)", KILL),
    Attack(
        "ignored signals",
        "resources",
        "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\ndef f(x): time.sleep(3600)",
        KILL,
    ),
    Attack(
        "memory bomb",
        "resources",
        "def f(x):\n    a = []\n    while True: a.append(bytearray(1 << 24))",
        "the limit of address space",
    ),
    Attack(
        "memory bomb by mmap",
        "resources",
        "import mmap\ndef f(x):\n    a = [mmap.mmap(-1, 1 << 28) for _ in range(64)]\n    return 'HARM'",
        "the limit of address space",
        harm="HARM",
    ),
    _harm("memory outside the limit (memfd)", "resources", "__import__('os').memfd_create('x')", FILTER),
    _harm(
        "shared memory (System V)",
        "resources",
        "r()",
        FILTER,
        before="import ctypes\ndef r():\n    if ctypes.CDLL(None).shmget(1, 1 << 20, 0o1666) < 0: raise OSError('no')\n    return 1",
    ),
    _harm("/dev/shm", "resources", "open('/dev/shm/x', 'w').write('x')", "there is none"),
    Attack("huge integer", "resources", "def f(x): return 10 ** (10 ** 9)", KILL),
    Attack(
        "deep recursion",
        "resources",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f(x) + f(x)",
        "the limit of address space",
    ),
    Attack(
        "segmentation fault",
        "resources",
        "import ctypes\ndef f(x): return ctypes.string_at(0)",
        "it is the program's process only",
    ),
    Attack("compiler bomb", "resources", "(" * 5000 + ")" * 5000, "the compiler runs in the program's process"),
    Attack(
        "regular expression that never ends",
        "resources",
        "import re\ndef f(x): return re.match('(a+)+$', 'a' * 60 + 'b')",
        KILL,
    ),
    Attack(
        "flood of standard output",
        "resources",
        "while True: print('42' * 4096)",
        "outputs have a size limit",
        kind="stdin",
    ),
    Attack(
        "flood of standard error",
        "resources",
        "import sys\nwhile True: sys.stderr.write('x' * 65536)",
        "outputs have a size limit",
        kind="stdin",
    ),
    Attack(
        "flood of results",
        "resources",
        "import os\ndef f(x):\n    while True: os.write(3, b'x' * 65536)",
        "results have a size limit",
    ),
    Attack("a result of 100 MB", "resources", "def f(x): return 'x' * 100_000_000", "results have a size limit"),
    Attack(
        "output that is no text",
        "resources",
        "import os\nos.write(1, bytes(range(128, 256)) * 64)",
        "bytes are decoded with care",
        kind="stdin",
    ),
    Attack(
        "one huge file",
        "resources",
        "def f(x):\n    with open('/tmp/big', 'wb') as file:\n        for _ in range(1000): file.write(b'x' * (1 << 20))\n    return 'HARM'",
        "the limit of a file's size",
        harm="HARM",
    ),
    Attack(
        "many files",
        "resources",
        "def f(x):\n    for i in range(200000): open(f'/tmp/{i}', 'w').close()\n    return 'HARM'",
        "files are counted from outside",
        harm="HARM",
    ),
    Attack(
        "many folders, nested",
        "resources",
        "import os\ndef f(x):\n    for i in range(200000):\n        os.mkdir('d')\n        os.chdir('d')\n    return 'HARM'",
        "files are counted from outside",
        harm="HARM",
    ),
    Attack(
        "a full disk",
        "resources",
        "def f(x):\n    for i in range(64):\n        with open(f'/tmp/{i}', 'wb') as file: file.write(b'x' * (4 << 20))\n    return 'HARM'",
        "the sized private /tmp",
        harm="HARM",
    ),
    _harm(
        "descriptors without end",
        "resources",
        "[__import__('os').pipe() for _ in range(5000)]",
        "the limit of open files",
    ),
    # ---- the network and what lies around
    _harm("TCP", "network", "__import__('socket').create_connection(('127.0.0.1', 80), 1)", FILTER),
    _harm(
        "UDP",
        "network",
        "__import__('socket').socket(__import__('socket').AF_INET, __import__('socket').SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
        FILTER,
    ),
    _harm("unix sockets", "network", "__import__('socket').socket(__import__('socket').AF_UNIX)", FILTER),
    _harm("netlink", "network", "__import__('socket').socket(16, 3, 0)", FILTER),
    _harm(
        "a socket made from a descriptor",
        "network",
        "__import__('socket').socket(fileno=3).getpeername()",
        "no socket is inherited",
    ),
    _harm(
        "symlink to the machine",
        "files",
        "(__import__('os').symlink('/etc', '/tmp/e'), open('/tmp/e/passwd').read(5))",
        FILTER,
    ),
    _harm("hard link", "files", "__import__('os').link('/usr/bin/env', '/tmp/env')", FILTER),
    _harm(
        "poisoned standard library", "files", "open(__import__('os').__file__, 'a').write('x')", "a read-only runtime"
    ),
    _harm("poisoned bytecode", "files", "open(__import__('os').__file__ + 'c', 'w').write('x')", "a read-only runtime"),
    _harm("writing beside /tmp", "files", "open('/usr/lib/x', 'w').write('x')", "a read-only runtime"),
    _harm("a device", "files", "__import__('os').mknod('/tmp/d', 0o020666, 0x0101)", FILTER),
    _harm("changed permissions", "files", "__import__('os').chmod('/tmp', 0)", FILTER),
    _harm("terminal input (TIOCSTI)", "files", "__import__('fcntl').ioctl(0, 0x5412, b'x')", FILTER),
    # ---- the kernel, by number
    *_calls(),
    # ---- what a result may be made of
    Attack("nan", "odd values", "def f(x): return float('nan')", JUDGE),
    Attack("infinity", "odd values", "def f(x): return float('inf')", JUDGE),
    Attack("a complex number", "odd values", "def f(x): return complex('nan')", JUDGE),
    Attack("True for a number", "odd values", "def f(x): return True", JUDGE),
    Attack(
        "an integer of 100,000 digits, with the limit lifted",
        "odd values",
        "import sys\nsys.set_int_max_str_digits(0)\ndef f(x): return 10 ** 100000",
        "the judge reads no number that long",
    ),
    Attack(
        "a number with an exponent of a million digits",
        "odd values",
        "import os\ndef f(x):\n    os.write(3, b'[\"value\", 1e' + b'9' * 1000000 + b']\\n')\n    os._exit(0)",
        JUDGE,
    ),
    Attack("lone surrogates", "odd values", "def f(x): return '\\ud800\\udfff' * 1000", JUDGE),
    Attack("a list in itself", "odd values", "def f(x):\n    a = []\n    a.append(a)\n    return a", SERIALISER),
    Attack("a dict in itself", "odd values", "def f(x):\n    a = {}\n    a['a'] = a\n    return a", SERIALISER),
    Attack(
        "a value of a thousand million parts",
        "odd values",
        "def f(x):\n    a = [1]\n    for _ in range(30): a = [a, a]\n    return a",
        "a value has a limit of parts",
    ),
    Attack("an endless generator", "odd values", "import itertools\ndef f(x): return itertools.count()", SERIALISER),
    Attack(
        "a named tuple that lies",
        "odd values",
        "class A(tuple):\n    _fields = ('a',)\n    __eq__ = lambda s, o: True\n    __len__ = lambda s: 1\n    __iter__ = lambda s: iter([42])\ndef f(x): return A([1, 2])",
        SERIALISER,
    ),
    Attack(
        "a Counter with items of its own",
        "odd values",
        "import collections\nclass C(collections.Counter):\n    items = lambda s: 1 / 0\n    __iter__ = None\ndef f(x): return C('abc')",
        SERIALISER,
    ),
    Attack(
        "a result with two answers",
        "odd values",
        'import os\ndef f(x):\n    os.write(3, b\'["value", 41, "value", 43]\\n["value", {"a": 1, "a": 2}]\\n\')\n    os._exit(0)',
        "a result has one form",
    ),
    Attack(
        "half a line",
        "odd values",
        "import os\ndef f(x):\n    os.write(3, b'[\"value\", 4')\n    os._exit(0)",
        "every expected result must arrive",
    ),
    Attack(
        "an exception of 100 MB",
        "odd values",
        "def f(x): raise ValueError('x' * 100_000_000)",
        "what is shown is cut",
    ),
    Attack(
        "an exception whose text never ends",
        "odd values",
        "class E(Exception):\n    def __str__(s): return str(E())\n    __repr__ = __str__\ndef f(x): raise E",
        "an exception is a failed test",
    ),
    # ---- the channels
    Attack(
        "closed descriptors", "channels", "import os\ndef f(x):\n    os.closerange(0, 64)\n    return 42 - 1", JUDGE
    ),
    Attack(
        "another descriptor in the place of the results",
        "channels",
        "import os\ndef f(x):\n    a, b = os.pipe()\n    os.dup2(b, 3)\n    return 0",
        "every expected result must arrive",
    ),
    Attack(
        "the results as standard output",
        "channels",
        "import os\ntry: os.dup2(3, 1)\nexcept OSError: pass\nprint('[\"passed\"]')\nprint('[\"value\", 0]')\ndef f(x): return 0",
        JUDGE,
    ),
    Attack(
        "the input written to",
        "channels",
        "import os\ntry:\n    os.lseek(0, 0, 0)\n    os.write(0, b'HARM')\n    os.ftruncate(0, 0)\n    os.lseek(0, 0, 0)\n    print(os.read(0, 9).decode())\nexcept OSError as error: print('refused', error.errno)",
        "inputs are sealed",
        kind="stdin",
        harm="HARM",
    ),
    Attack(
        "reading without end",
        "channels",
        "while True:\n    try: input()\n    except EOFError: pass",
        KILL,
        kind="stdin",
    ),
    Attack("standard output replaced", "channels", "import sys\nsys.stdout = None\nprint(42)", JUDGE, kind="stdin"),
    Attack("the answer as the exit message", "channels", "raise SystemExit(42)", JUDGE, kind="stdin"),
    Attack(
        "output after the end",
        "channels",
        "import threading, time, sys\ndef g():\n    while True: sys.stdout.write('4'); time.sleep(0)\nthreading.Thread(target=g, daemon=True).start()\nsys.exit(0)",
        "an output is compared",
        kind="stdin",
    ),
    Attack(
        "a thread that never ends",
        "channels",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()",
        KILL,
        kind="stdin",
    ),
    # ---- tests that run apart
    Attack("exit in a check", "checks", "import os\ndef f(x): os._exit(0)", "the tests say how it ended", kind="check"),
    Attack(
        "a verdict forged to a check",
        "checks",
        "import os\ndef f(x):\n    os.write(3, b'[\"passed\"]\\n')\n    return 0",
        "the tests say how it ended",
        kind="check",
    ),
    Attack(
        "a call sent back",
        "checks",
        'import os\ndef f(x):\n    os.write(3, b\'["call", "f", [7], {}]\\n\')\n    return 0',
        "the tests say how it ended",
        kind="check",
    ),
    Attack(
        "answers before the questions",
        "checks",
        "import os\nos.write(3, b'[\"ready\"]\\n' + b'[\"value\", 0]\\n' * 999 + b'[\"passed\"]\\n')\ndef f(x): return 0",
        "the tests say how it ended",
        kind="check",
    ),
    Attack(
        "a descriptor for the tests' own",
        "checks",
        "import os\ndef f(x):\n    for fd in range(4, 64):\n        try: os.write(fd, b'[\"passed\"]\\n')\n        except OSError: pass\n    return 0",
        "the tests are in another cell",
        kind="check",
    ),
    Attack(
        "questions read ahead and thrown away",
        "checks",
        "import os\ndef f(x):\n    os.set_blocking(4, True)\n    return os.read(4, 1 << 16)",
        KILL,
        kind="check",
    ),
    Attack(
        "a set built to collide, for a check",
        "checks",
        "def f(x): return {i * (2**61 - 1) for i in range(1500)}",
        "keys that collide are refused",
        kind="check",
    ),
    Attack(
        "a string that the tests would print",
        "checks",
        "def f(x): return '[\"passed\"]\\n' * 1000",
        "the tests say how it ended",
        kind="check",
    ),
    # ---- what lies about
    Attack(
        "memory scan of the heap",
        "reading the tests",
        "import ctypes\ndef f(x):\n    word, base = b'1174-' + b'terces', id(f) & ~0xFFF\n    for page in range(0, 200):\n        if ctypes.string_at(base - page * 4096, 4096)[::-1].find(word) >= 0: return 'HARM'\n    return 'nothing'",
        "expected values never enter its process",
        harm="HARM",
    ),
    Attack(
        "signals by a timer, without end",
        "resources",
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)\ndef f(x):\n    while True: pass",
        KILL,
    ),
    Attack(
        "SIGXCPU handled",
        "resources",
        "import signal\nsignal.signal(signal.SIGXCPU, lambda *a: None)\nsignal.signal(signal.SIGTERM, lambda *a: None)\ndef f(x):\n    while True: pass",
        KILL,
    ),
    _harm(
        "a sparse file of a terabyte",
        "resources",
        "(lambda file: (file.truncate(1 << 40), file.seek(0, 2))[1])(open('/tmp/s', 'wb'))",
        "the limit of a file's size",
    ),
    Attack(
        "files without a name",
        "resources",
        "import os\ndef f(x):\n    for i in range(40):\n        fd = os.open('/tmp/x', os.O_RDWR | os.O_CREAT)\n        os.unlink('/tmp/x')\n        for _ in range(8): os.write(fd, b'x' * (1 << 20))\n    return 'HARM'",
        "the sized private /tmp",
        harm="HARM",
    ),
    Attack(
        "files with names that are no text",
        "files",
        "import os\ndef f(x):\n    for i in range(200): os.close(os.open(b'/tmp/\\xff\\n\\x80' + bytes([1 + i % 40]) * 200 + str(i).encode(), os.O_CREAT | os.O_WRONLY))\n    return 0",
        "what is left is removed",
    ),
)
