"""Pools behind HTTP, so that a trainer of any make can use these verifiers. An ASGI application; uvicorn runs it.

    POST /v1/judge    {"verifier": "math", "items": [{"gold": "1/2", "response": "... \\boxed{0.5}"}, ...]}
                      -> {"verifier": "math@5f0c2a9b1d3e", "verdicts": [{"outcome": "right", "score": 1.0, ...}, ...]}
    GET  /health      200 while every pool judges, else 503
    GET  /metrics     counts and latencies in the text form of Prometheus

An item is a row as `burnish verify` takes it; verdicts come back in the order of the items, with the item's `id` if it has one.
Every item is answered: what is not judged in the request's time is no_verdict, fault "timeout". A request is refused whole,
before anything is judged: 400 no JSON, 404 no such verifier, 413 too large, 422 an item that cannot be judged, 503 too much
waiting (with Retry-After). There is no password: listen where only friends are.

Not for: judging (the pools do), or for running itself (pipelines.serve).
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from burnish.errors import BurnishError, DataError
from burnish.records import Key, Problem, Verdict
from burnish.verify import identity
from burnish.verify.pool import Pool
from burnish.verify.rows import read_row

_REQUESTS = 128  # in progress at a time, each with a thread
_RETRY_AFTER_S = "1"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask, and what all together may have waiting.

    request_s  seconds for all items of a request together
    items, body_bytes, characters  of one request; characters is the longest response or answer of an item
    waiting    items of all requests that are not answered yet
    held_bytes  of the bodies of all requests that are not answered yet
    """

    request_s: float = 60.0
    items: int = 1024
    body_bytes: int = 16 << 20
    characters: int = 1 << 20
    waiting: int = 8192
    held_bytes: int = 256 << 20


class _Refused(Exception):
    """A request that is not taken, with its status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Service:
    """The pools by name (the first is the default), their limits, and what they were asked."""

    def __init__(self, pools: Mapping[str, Pool], limits: Limits) -> None:
        self._pools, self._limits = dict(pools), limits
        self._identities = {name: identity(name) for name in pools}
        self._lock = threading.Lock()
        self._waiting = self._running = 0
        self._held = 0  # bytes; of the event loop alone
        self._answers: Counter[int] = Counter()
        self._began = time.monotonic()

    def application(self, on_end: Callable[[], None] = lambda: None) -> Starlette:
        """The ASGI application; `on_end` is called once no request is in progress any more."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            anyio.to_thread.current_default_thread_limiter().total_tokens = _REQUESTS
            yield
            await run_in_threadpool(on_end)

        return Starlette(
            routes=[
                Route("/v1/judge", self._judge, methods=["POST"]),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            lifespan=lifespan,
        )

    async def _judge(self, request: Request) -> Response:
        body = bytearray()
        try:
            await self._take(request, body)
            # In a thread: megabytes of JSON would hold up every other request, and a pool is waited for.
            answer, status = await run_in_threadpool(lambda: _json(self._answer(body))), 200
        except _Refused as refused:
            answer, status = _json({"error": refused.sentence}), refused.status
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._held -= len(body)
        with self._lock:
            self._answers[status] += 1
        headers = {"Retry-After": _RETRY_AFTER_S} if status == 503 else None
        return Response(answer, status, headers, media_type="application/json")

    async def _take(self, request: Request, body: bytearray) -> None:
        """Read a request's bytes into `body`; what is there is held until the request has its answer."""
        most = self._limits.body_bytes
        sentence = f"the request is larger than {most} bytes; send fewer items at a time"
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 19 and int(declared) > most:
            raise _Refused(413, sentence)
        try:
            with anyio.fail_after(self._limits.request_s):
                async for chunk in request.stream():
                    body += chunk
                    self._held += len(chunk)
                    if self._held > self._limits.held_bytes:
                        raise _Refused(503, f"requests of {self._held} bytes are in progress; try again in a moment")
                    if len(body) > most:
                        raise _Refused(413, sentence)
        except TimeoutError:
            raise _Refused(408, f"the request did not arrive within {self._limits.request_s:g} s") from None

    def _answer(self, body: bytearray) -> dict[str, Any]:
        began = time.monotonic()
        name, items = self._read(body)
        with self._room(len(items)):
            left = max(0.001, self._limits.request_s - (time.monotonic() - began))
            try:
                verdicts = dict(self._pools[name].judge([item for item, _ in items], within_s=left))
            except BurnishError as error:
                raise _Refused(503, f"verifier {name!r} cannot judge: {error}") from error
        rows = [{**own, **_fields(verdicts[key])} for (key, _, _), own in items]
        return {"verifier": self._identities[name], "verdicts": rows}

    def _read(self, body: bytearray) -> tuple[str, list[tuple[tuple[Key, Problem, str], dict[str, Any]]]]:
        """The verifier, and each item as a pool takes it, with what is to come back with its verdict."""
        try:
            asked = json.loads(body, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise _Refused(400, f"the request is no JSON that can be read ({error})") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("items"), list):
            raise _Refused(422, "the request must be an object with a list called items")
        name = asked.get("verifier", next(iter(self._pools)))
        if not isinstance(name, str) or name not in self._pools:
            shown = name[:100] if isinstance(name, str) else type(name).__name__
            near = difflib.get_close_matches(shown, self._pools, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self._pools)}"
            raise _Refused(404, f"this service has no verifier {shown!r}; {hint}")
        if len(asked["items"]) > self._limits.items:
            raise _Refused(413, f"the request has {len(asked['items'])} items, more than {self._limits.items}")
        items = []
        for place, row in enumerate(asked["items"]):
            where = f"items[{place}]"
            if not isinstance(row, dict):
                raise _Refused(422, f"{where} is {type(row).__name__}, not an object")
            try:
                reference, response = read_row(row, name, where)
            except DataError as error:
                raise _Refused(422, str(error)) from error
            if len(response) > self._limits.characters:
                raise _Refused(
                    413, f"{where} has a response of {len(response)} characters, more than {self._limits.characters}"
                )
            question = row.get("question")
            asked_for = question if isinstance(question, str) else ""
            problem = Problem(where, name, asked_for, reference, "served", "")
            items.append(((Key(where, 0), problem, response), _own(row, where)))
        return name, items

    @contextlib.contextmanager
    def _room(self, items: int) -> Iterator[None]:
        """Room for so many items, or a refusal: what waits is bounded, so that nobody waits for what will not come."""
        with self._lock:
            if self._running >= _REQUESTS or (self._waiting and self._waiting + items > self._limits.waiting):
                raise _Refused(503, f"{self._waiting} items are waiting already; try again in a moment")
            self._waiting, self._running = self._waiting + items, self._running + 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting, self._running = self._waiting - items, self._running - 1

    async def _health(self, _: Request) -> Response:
        faults = {name: pool.fault for name, pool in self._pools.items() if pool.fault is not None}
        statistics = {name: pool.statistics() for name, pool in self._pools.items()}
        report = {
            "status": "ok" if not faults else "failed",
            "verifiers": self._identities,
            "faults": faults,
            "alarms": {name: record.alarm for name, record in statistics.items() if record.alarm is not None},
            "workers": {name: record.workers for name, record in statistics.items()},
            "waiting": self._waiting,
        }
        return JSONResponse(report, 200 if not faults else 503)

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse("".join(f"{line}\n" for line in self._exposition()), media_type=_PROMETHEUS)

    def _exposition(self) -> Iterator[str]:
        """The lines of /metrics."""
        statistics = {name: pool.statistics() for name, pool in self._pools.items()}

        def family(name: str, kind: str, text: str, rows: list[tuple[dict[str, Any], float]]) -> Iterator[str]:
            yield f"# HELP burnish_{name} {text}"
            yield f"# TYPE burnish_{name} {kind}"
            for labels, value in rows:
                shown = ",".join(f"{label}={json.dumps(str(text))}" for label, text in labels.items())
                yield f"burnish_{name}{{{shown}}} {value:.9g}" if shown else f"burnish_{name} {value:.9g}"

        def each(label: str, pick: Callable[[Any], Mapping[str, float]]) -> list[tuple[dict[str, Any], float]]:
            return [
                ({"verifier": name, label: kind}, float(value))
                for name, record in statistics.items()
                for kind, value in pick(record).items()
            ]

        def one(pick: Callable[[Any], float]) -> list[tuple[dict[str, Any], float]]:
            return [({"verifier": name}, float(pick(record))) for name, record in statistics.items()]

        quantiles = {"p50": "0.5", "p95": "0.95", "p99": "0.99", "max": "1"}
        requests = [({"status": status}, float(count)) for status, count in sorted(self._answers.items())]
        yield from family("verdicts_total", "counter", "Verdicts given.", each("outcome", lambda r: r.outcomes))
        yield from family("faults_total", "counter", "Why there was no verdict.", each("fault", lambda r: r.faults))
        yield from family("restarts_total", "counter", "Workers replaced.", each("reason", lambda r: r.restarts))
        latency = each("quantile", lambda r: {quantiles[name]: value for name, value in r.latency.items()})
        yield from family("verdict_seconds", "gauge", "What a verdict took, since the start.", latency)
        yield from family("busy_seconds_total", "counter", "Seconds in which there was work.", one(lambda r: r.busy_s))
        yield from family("workers", "gauge", "Worker processes alive.", one(lambda r: r.workers))
        yield from family("pending", "gauge", "Items given out or waiting.", one(lambda r: r.pending))
        alarm = one(lambda r: float(r.alarm is not None))
        yield from family("alarm", "gauge", "1 while too many verdicts are missing.", alarm)
        yield from family("requests_total", "counter", "Requests to judge, by status.", requests)
        yield from family("waiting", "gauge", "Items of all requests in progress.", [({}, float(self._waiting))])
        yield from family("uptime_seconds", "gauge", "Since the start.", [({}, time.monotonic() - self._began)])


def _own(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What goes back with the verdict of an item."""
    if "id" not in row:
        return {}
    own = row["id"]
    if not isinstance(own, str | int | None) and not (isinstance(own, float) and math.isfinite(own)):
        raise _Refused(422, f"{where} has an id that is {type(own).__name__}; give text or a number")
    return {"id": own}


def _json(value: Mapping[str, Any]) -> bytes:
    """In ASCII: a lone surrogate, which a model may write, cannot be UTF-8 but can be JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_PROMETHEUS = "text/plain; version=0.0.4"


def _fields(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "score": verdict.score,
        "parts": {name: value if math.isfinite(value) else None for name, value in verdict.parts.items()},
        "found": verdict.found,
        "why": verdict.why,
        "seconds": round(verdict.seconds, 6),
        "fault": verdict.fault,
    }
