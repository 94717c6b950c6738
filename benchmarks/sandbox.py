"""What a run of a program costs: in each sandbox tier that works here, against a bare interpreter and bubblewrap per run.

    python benchmarks/sandbox.py [--quick] [--json] [--page docs/verify-programs.md]

Everything in one go on the same program (`print("hello")`), so the ratios are of one machine in one state. Not a test:
nothing fails here where it is slow.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from burnish.errors import ConfigError
from burnish.verify.sandbox import Policy, Sandbox, Tier
from report import options, publish

PROGRAM = 'print("hello")'
JOB = {"mode": "script", "source": PROGRAM}
CALLS = {"mode": "calls", "source": "def f(x): return x + 1", "entry": "f", "calls": [[[1], {}]]}


def bare() -> None:
    subprocess.run([sys._base_executable, "-I", "-S", "-c", PROGRAM], stdout=subprocess.PIPE, check=True)  # type: ignore[attr-defined]


def per_run() -> None:
    """A bubblewrap for this one run, as tools without a long-lived cell do."""
    python = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    prefix = os.path.dirname(os.path.dirname(python))
    arguments = [
        "bwrap",
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--die-with-parent",
    ]
    for folder in ("/usr", "/lib", "/lib64", prefix):
        arguments += ["--ro-bind", folder, folder]
    arguments += ["--tmpfs", "/tmp", "--clearenv", python, "-I", "-S", "-c", PROGRAM]
    subprocess.run(arguments, stdout=subprocess.PIPE, check=True, env={})


def latencies(run: Callable[[], object], seconds: float) -> dict[str, float]:
    """Milliseconds (median, 95th and 99th percentile) of runs one after another."""
    for _ in range(5):
        run()
    times = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end or len(times) < 20:
        run()
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return {
        "median_ms": times[len(times) // 2],
        "p95_ms": times[int(len(times) * 0.95)],
        "p99_ms": times[int(len(times) * 0.99)],
        "serial_per_s": len(times) / sum(times) * 1e3,
    }


def _work(what: str, seconds: float, ready: Any, go: Any, counts: Any) -> None:
    run, close = maker(what)
    for _ in range(10):
        run()
    ready.put(1)
    go.wait()
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        run()
        count += 1
    counts.put(count / seconds)
    close()


def throughput(what: str, workers: int, seconds: float) -> float:
    """Runs a second by so many processes at once."""
    context = multiprocessing.get_context("spawn")
    ready, counts, go = context.Queue(), context.Queue(), context.Event()
    processes = [context.Process(target=_work, args=(what, seconds, ready, go, counts)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get()
    go.set()
    total = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total


def maker(what: str) -> tuple[Callable[[], object], Callable[[], None]]:
    """The thing to measure, and how to end it. Raises ConfigError for a tier this machine does not have."""
    if what == "python -I -S":
        return bare, lambda: None
    if what == "bubblewrap per run":
        return per_run, lambda: None
    name, _, mode = what.partition(", ")
    tier = next(tier for tier in Tier if tier.label == name)
    sandbox = Sandbox(Policy(tier=tier, require=Tier.SECCOMP))
    job = CALLS if mode == "a call" else JOB
    expected = b"hello\n" if job is JOB else b'["ready"]\n["value", 2]\n'

    def run() -> None:
        ran = sandbox.run(job)
        assert (ran.output or ran.results) == expected, ran

    return run, sandbox.close


def measure(quick: bool) -> dict[str, Any]:
    seconds = 1.0 if quick else 4.0
    workers = len(os.sched_getaffinity(0))
    kinds = ["python -I -S", "bubblewrap per run", "bubblewrap", "bubblewrap, a call", "landlock", "seccomp"]
    if shutil.which("bwrap") is None:
        kinds = [kind for kind in kinds if not kind.startswith("bubblewrap")]
    rows: dict[str, dict[str, float]] = {}
    for kind in kinds:
        began = time.perf_counter()
        try:
            run, close = maker(kind)
        except ConfigError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        started = (time.perf_counter() - began) * 1e3
        rows[kind] = {"start_ms": started, **latencies(run, seconds)}
        close()
        rows[kind]["per_s"] = throughput(kind, workers, seconds)
    machine = (
        f"{platform.machine()}, {workers} processors, Linux {platform.release()}, Python {platform.python_version()}"
    )
    bare = rows["python -I -S"]["per_s"]
    ratio = {kind: row["per_s"] / bare for kind, row in rows.items() if kind != "python -I -S"}
    return {"ratio": ratio, "machine": machine, "workers": workers, "rows": rows}


def table(result: dict[str, Any]) -> str:
    rows = result["rows"]
    first = rows["python -I -S"]
    lines = [
        f"| a run of `{PROGRAM}` | median ms | p95 | p99 | one at a time /s | {result['workers']} workers /s | against bare Python |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in rows.items():
        name = kind if " " in kind.replace(", a call", "") else f"cell, {kind}"
        lines.append(
            f"| {name} | {row['median_ms']:.2f} | {row['p95_ms']:.2f} | {row['p99_ms']:.2f} | {row['serial_per_s']:.0f} "
            f"| {row['per_s']:.0f} | {row['per_s'] / first['per_s']:.2f} |"
        )
    return "\n".join([*lines, "", result["machine"]])


def main() -> None:
    parser = options(__doc__, threads=False)
    given = parser.parse_args()
    result = measure(given.quick)
    publish(given, result, table(result), "costs")


if __name__ == "__main__":
    main()
