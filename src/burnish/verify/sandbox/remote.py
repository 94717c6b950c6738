"""Runs on a remote service that speaks SandboxFusion's HTTP API (`POST /run_code`). Not for local cells.

The service is given the program and its input, and never an expected value, so the judge stays here. Functions are
called by a driver that is sent along: its results come back in a file, apart from what the program prints.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError
from burnish.verify.sandbox.cell import CellDied, Limits, Ran

_MOST_BYTES = 64 << 20
_SLACK_S = 20.0  # for the service to queue and start a run
_RESULTS = "burnish_results.jsonl"

_CALLS = """import json, sys, types
for name, source in {sources!r}:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
driver = sys.modules["burnish.verify.sandbox.driver"]
job = json.loads({job!r})
with open({results!r}, "wb") as results:
    driver.perform_calls(job, results)
"""


class SandboxFusion:
    """A client. `address` is e.g. "http://localhost:8080". Raises ConfigError where it is no HTTP address."""

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigError(
                f"the sandbox service {address!r} is no address; it should begin with http:// or https://"
            )
        self._address = address.rstrip("/") + "/run_code"

    def run(self, job: Mapping[str, Any], stdin: bytes, limits: Limits) -> Ran:
        """Run a job of `driver` that is a script or calls. Raises CellDied where the service fails."""
        script = job["mode"] == "script"
        request: dict[str, Any] = {
            "language": "python",
            "code": job["source"] if script else _with_driver(job),
            "run_timeout": limits.seconds,
            "memory_limit_MB": limits.memory_bytes >> 20,
        }
        if script:
            request["stdin"] = stdin.decode("utf-8", "replace")
        else:
            request["fetch_files"] = [_RESULTS]
        return _read(self._post(request, limits.seconds + _SLACK_S), limits)

    def _post(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        body = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self._address, body, headers), timeout=seconds
            ) as response:
                answer = json.loads(response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            raise CellDied(f"{self._address} answered with status {error.code}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise CellDied(f"{self._address} does not answer as it should: {error}"[:300]) from error
        if not isinstance(answer, dict):
            raise CellDied(f"{self._address} answered with {type(answer).__name__}, not an object")
        return answer


def _read(answer: dict[str, Any], limits: Limits) -> Ran:
    """An answer as a Ran. Anything that is not as the API has it is the service's fault, never the program's."""
    result = answer.get("run_result")
    if answer.get("status") == "SandboxError" or not isinstance(result, dict):
        raise CellDied(f"the service could not run it: {str(answer.get('message'))[:200]}")
    status, code = result.get("status"), result.get("return_code")
    try:
        output = str(result.get("stdout") or "").encode("utf-8", "replace")
        error = str(result.get("stderr") or "").encode("utf-8", "replace")
        files = answer.get("files") or {}
        results = base64.b64decode(files.get(_RESULTS, ""), validate=True) if isinstance(files, dict) else b""
        seconds = float(result.get("execution_time") or 0.0)
    except (ValueError, TypeError) as fault:
        raise CellDied(f"the service's answer cannot be read: {fault}") from fault
    if status == "TimeLimitExceeded":
        return Ran("timeout", -9, output, error, results, seconds, seconds, 0)
    if status != "Finished" or not isinstance(code, int):
        raise CellDied(f"the service could not run it: status {status!r}")
    ended: Any = "killed" if code < 0 else "exited"
    if len(output) > limits.output_bytes or len(results) > limits.result_bytes:
        ended, output, results = "output", output[: limits.output_bytes], results[: limits.result_bytes]
    return Ran(ended, code, output, error, results, seconds, seconds, 0)


def _with_driver(job: Mapping[str, Any]) -> str:
    here = Path(__file__).parent
    sources = [(f"burnish.verify.sandbox.{name}", (here / f"{name}.py").read_text()) for name in ("plain", "driver")]
    return _CALLS.format(sources=sources, job=json.dumps(dict(job)), results=_RESULTS)
