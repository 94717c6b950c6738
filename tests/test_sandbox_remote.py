"""The remote tier against a real local HTTP server that speaks the service's API, well and badly."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.verify.programs import verify_program
from burnish.verify.sandbox import Policy, Sandbox, Tier

ADD = {"kind": "call", "entry": "add", "tests": [{"args": [1, 2], "expected": 3}, {"args": [4, 5], "expected": 9}]}
ECHO = {"kind": "stdin", "tests": [{"input": "3 4", "output": "7\n"}]}
GOOD = "```python\ndef add(a, b):\n    print('noise')\n    return a + b\n```"


class Service(BaseHTTPRequestHandler):
    """Runs what it is sent, as the service does; `mood` makes it misbehave."""

    mood = "well"
    asked: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({"path": self.path, **request})
        if self.mood == "500":
            self.send_error(500)
            return
        answer = json.dumps(self._answer(request)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer[:-20] if self.mood == "truncated" else answer)

    def _answer(self, request: dict[str, Any]) -> Any:
        if self.mood == "list":
            return [1, 2]
        if self.mood == "error":
            return {"status": "SandboxError", "message": "no pod", "run_result": None}
        if self.mood == "nonsense":
            return {"status": "Success", "run_result": {"status": "Finished", "return_code": "zero"}, "files": 3}
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(
                    [sys.executable, "-I", "-c", request["code"]],
                    input=request.get("stdin") or "",
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    timeout=request["run_timeout"],
                )
            except subprocess.TimeoutExpired:
                return {
                    "status": "Failed",
                    "message": "",
                    "run_result": {"status": "TimeLimitExceeded", "execution_time": 1.0},
                }
            names = [name for name in request.get("fetch_files", []) if (Path(folder) / name).exists()]
            files = {name: base64.b64encode((Path(folder) / name).read_bytes()).decode() for name in names}
        ran = {"status": "Finished", "return_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        return {"status": "Success", "message": "", "run_result": {**ran, "execution_time": 0.1}, "files": files}

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Service.mood, Service.asked = "well", []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def remote(address: str) -> Sandbox:
    return Sandbox(Policy(service=address, require=Tier.REMOTE))


def test_calls_are_judged_here_on_what_the_service_sends_back(service: str) -> None:
    verdict = verify_program(ADD, GOOD, remote(service))
    assert (verdict.outcome, verdict.parts["sandbox_tier"]) == ("right", 4.0)


def test_a_wrong_value_is_wrong(service: str) -> None:
    verdict = verify_program(ADD, GOOD.replace("a + b", "3"), remote(service))
    assert verdict.outcome == "wrong" and "add(4, 5) gave 3, expected 9" in verdict.why


def test_standard_input_and_output_go_through(service: str) -> None:
    assert (
        verify_program(ECHO, "```python\nprint(sum(map(int, input().split())))\n```", remote(service)).outcome
        == "right"
    )
    assert Service.asked[0]["path"] == "/run_code"
    assert Service.asked[0]["stdin"] == "3 4"


def test_expected_values_are_never_sent(service: str) -> None:
    verify_program({**ADD, "tests": [{"args": [1, 2], "expected": "secret-4711"}]}, GOOD, remote(service))
    assert Service.asked
    assert "secret-4711" not in json.dumps(Service.asked)


def test_a_program_that_is_too_slow_is_wrong(service: str) -> None:
    verdict = verify_program({**ECHO, "seconds": 0.5}, "```python\nwhile True: pass\n```", remote(service))
    assert verdict.outcome == "wrong" and "took longer than 0.5 s" in verdict.why


@pytest.mark.parametrize("mood", ["500", "truncated", "list", "error", "nonsense"])
def test_a_service_that_misbehaves_gives_no_verdict(service: str, mood: str) -> None:
    Service.mood = mood
    verdict = verify_program(ADD, GOOD, remote(service))
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "crashed")
    assert len(Service.asked) == 2  # tried once more


def test_a_service_that_is_not_there_gives_no_verdict_at_once() -> None:
    began = time.monotonic()
    verdict = verify_program(ADD, GOOD, remote("http://127.0.0.1:9"))
    assert (verdict.outcome, verdict.fault, time.monotonic() - began < 5) == ("no_verdict", "crashed", True)


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError, match="the sandbox service 'localhost' is no address"):
        remote("localhost")
