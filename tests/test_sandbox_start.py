"""What is said and refused of the sandbox before the first verdict, who may run it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.errors import ConfigError
from burnish.verify import readiness
from burnish.verify.programs import verify_program
from burnish.verify.sandbox import Policy, Sandbox, Tier
from burnish.verify.sandbox.launch import Runtime, reachable
from burnish.verify.sandbox.plain import NotPlain, decode
from terminal import Terminal, write_rows

REFERENCE = {"kind": "call", "entry": "f", "tests": [{"args": [2], "expected": 4}]}
ROW = {"reference": REFERENCE, "response": "```python\ndef f(x): return 2 * x\n```"}
COMPOSED = json.dumps({"gates": [], "parts": [{"name": "answer", "verifier": "programs"}]})


@pytest.fixture
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox()
    except ConfigError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.mark.parametrize("verifier", ["programs", COMPOSED])
def test_a_verifier_that_runs_programs_says_in_what(verifier: str, sandbox: Sandbox) -> None:
    assert readiness(verifier) == (sandbox.describe(),)


def test_other_verifiers_have_nothing_to_say() -> None:
    assert readiness("number") == ()


@pytest.mark.usefixtures("without_bubblewrap", "sandbox")
def test_without_bubblewrap_the_next_tier_is_taken_and_said() -> None:
    (said,) = readiness("programs")
    assert said.startswith(("sandbox tier landlock:", "sandbox tier seccomp:"))
    assert "not bubblewrap: bwrap is not installed" in said


@pytest.mark.usefixtures("without_bubblewrap", "sandbox")
def test_a_tier_that_references_require_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="bubblewrap is required"):
        readiness("programs", [{}, {"require_tier": "seccomp"}, {"require_tier": "bubblewrap"}])


@pytest.mark.usefixtures("sandbox")
def test_verify_says_the_tier_once_and_refuses_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(monkeypatch, capsys)
    write_rows(tmp_path / "rows.jsonl", ROW)
    said = terminal("verify", "rows.jsonl", "--verifier", "programs", "--out", "judged.jsonl", "--deadline", "20")
    assert said.code == 0
    assert said.err.count("sandbox tier ") == 1
    write_rows(tmp_path / "rows.jsonl", {**ROW, "reference": {**REFERENCE, "require_tier": "remote"}})
    refused = terminal("verify", "rows.jsonl", "--verifier", "programs", "--out", "other.jsonl")
    assert refused.code == 2
    assert "remote is required" in refused.sentence
    assert not Path("other.jsonl").exists()


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "riscv64")])
def test_no_system_but_linux_on_two_processors_judges(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(ConfigError, match="no sandbox works here"):
        readiness("programs")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_the_same_sandbox(tmp_path: Path) -> None:
    if not reachable(Runtime()) or shutil.which("bwrap") is None:
        pytest.skip("the interpreter is not readable for other users, or bubblewrap is missing")
    source = Path(__file__).resolve().parents[1] / "src"
    program = (
        f"import os, sys; os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
        f"sys.path.insert(0, {str(source)!r})\n"
        "from burnish.verify.sandbox import Sandbox\n"
        "with Sandbox() as sandbox: print(os.getuid(), sandbox.tier.label, "
        "sandbox.run({'mode': 'script', 'source': 'print(6 * 7)'}).output)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd="/")
    if "Permission denied" in ran.stderr or "No module" in ran.stderr:
        pytest.skip("this checkout is not readable for other users")
    assert ran.stdout == "65534 bubblewrap b'42\\n'\n", ran.stderr


def test_no_cell_outlives_a_judge_that_is_killed(sandbox: Sandbox) -> None:
    program = (
        "import sys; from burnish.verify.sandbox import Sandbox\n"
        "sandbox = Sandbox(); print(sandbox._cells['programs'].pid, flush=True); sys.stdin.read()"
    )
    judge = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert judge.stdout is not None and judge.stdin is not None
    cell = int(judge.stdout.readline())
    assert Path(f"/proc/{cell}").exists()
    judge.send_signal(signal.SIGKILL)
    judge.wait()
    judge.stdin.close()
    judge.stdout.close()
    end = time.monotonic() + 5.0
    while _runs(cell) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(cell)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_calls_that_each_are_in_time_share_the_time_of_all(sandbox: Sandbox) -> None:
    reference = {
        "kind": "call",
        "entry": "f",
        "tests": [{"args": [number], "expected": number} for number in range(50)],
        "seconds": 0.4,
        "total_seconds": 0.5,
    }
    began = time.monotonic()
    slow = "```python\nimport time\ndef f(x):\n    time.sleep(0.2)\n    return x\n```"
    verdict = verify_program(reference, slow, sandbox)
    assert verdict.outcome == "wrong" and "longer than 0.5 s" in verdict.why
    assert time.monotonic() - began < 3.0  # and not the 10 s of fifty calls


def test_calls_of_a_check_share_the_time_of_all(sandbox: Sandbox) -> None:
    reference = {
        "kind": "check",
        "entry": "f",
        "source": "for number in range(50):\n    assert f(number) == number",
        "seconds": 0.4,
        "total_seconds": 0.5,
    }
    slow = "```python\nimport time\ndef f(x):\n    time.sleep(0.2)\n    return x\n```"
    verdict = verify_program(reference, slow, sandbox)
    assert verdict.outcome == "wrong" and "longer than 0.5 s" in verdict.why


@pytest.mark.parametrize("line", [b"{", b"9" * 5000, b"[" * 5000, b'["value", {"$set": 1}]'])
def test_what_is_no_result_is_no_exception_of_the_program(line: bytes, sandbox: Sandbox) -> None:
    source = "try:\n    f(1)\nexcept (ValueError, RecursionError):\n    pass\nelse:\n    raise AssertionError"
    program = f"import os\ndef f(x):\n    os.write(3, {line!r} + b'\\n')\n    os._exit(0)"
    verdict = verify_program({"kind": "check", "entry": "f", "source": source}, f"```python\n{program}\n```", sandbox)
    assert verdict.outcome == "wrong" and "it sent what is no result" in verdict.why, verdict.why


@pytest.mark.parametrize("tag", ["$set", "$frozenset", "$dict"])
def test_keys_that_collide_are_refused_before_they_are_put_in_a_table(tag: str) -> None:
    keys = [number * (2**61 - 1) for number in range(1, 20_000)]  # all of hash 0
    began = time.thread_time()  # its own work, however long it waits for the processor
    with pytest.raises(NotPlain, match="collide"):
        decode({tag: [[key, 0] for key in keys] if tag == "$dict" else keys})
    assert time.thread_time() - began < 1.0


def test_runs_do_not_share_their_random_numbers(sandbox: Sandbox) -> None:
    job = {"mode": "script", "source": "import random; print(random.random())"}
    assert sandbox.run(job).output != sandbox.run(job).output


def test_standard_streams_are_those_of_each_run(sandbox: Sandbox) -> None:
    job = {"mode": "script", "source": "import sys; print(sys.stdin.seekable(), sys.stdin.read(), file=sys.stderr)"}
    assert [sandbox.run(job, given).error for given in (b"one", b"", b"two")] == [
        b"False one\n",
        b"False \n",
        b"False two\n",
    ]


def test_the_tier_of_a_policy_is_taken_and_no_other() -> None:
    try:
        with Sandbox(Policy(tier=Tier.SECCOMP)) as made:
            assert made.tier is Tier.SECCOMP
    except ConfigError as error:
        pytest.skip(str(error))
