"""An OpenAI-compatible endpoint, asked many things at once, each within one deadline. The one asynchronous file.

A loop runs in a thread of its own, so that any thread may ask, also one that has a loop already. Every wait ends: an
attempt has its seconds, the call as a whole has its deadline, a reply has its bytes. What may pass is tried again with
growing pauses (no connection, 408, 429, 5xx, a body that is cut off or no JSON); what will not (other 4xx) is not.

Not for: what is asked, or what the reply means.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from burnish.errors import ConfigError

if TYPE_CHECKING:
    import httpx

_LOG = logging.getLogger("burnish.verify")
_MOST_TOKENS = 10**9  # of one reply; a count above is none
_GRACE_S = 5.0  # beyond the deadline, for the loop's thread to say so itself
_DOWN_AFTER, _DOWN_S = 3, 5.0  # calls in a row that failed with every attempt; seconds nothing is tried after that


@dataclass(frozen=True, slots=True)
class Call:
    """One thing to ask: two messages, the schema of the reply, and a seed that tells the votes on one text apart."""

    system: str
    user: str
    schema: dict[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `counted` is False where the endpoint did not say how many tokens it took."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply: fault "timeout" where the deadline came first, else "judge"; `why` is one sentence."""

    fault: Literal["timeout", "judge"]
    why: str


class _Retry(Exception):
    """This attempt failed in a way that may pass; `after` is what the server asked to be waited for, in seconds."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class _Refused(Exception):
    """The endpoint will not answer this, however often it is asked."""


class Endpoint:
    """`POST {url}/chat/completions` for one model.

    url            e.g. "http://127.0.0.1:8000/v1"
    api_key_env    the environment variable that holds the key, if one is needed
    structured     "schema" asks for constrained output by JSON schema, "object" for any JSON object, "none" for text
    attempt_s      seconds one attempt may take; attempts, backoff_s: how often, and the first pause (doubled each time)
    longest_reply  bytes of a body that are read
    price_in, price_out   for a million tokens, in the currency you count in

    Raises ConfigError where the URL is none, the key's variable is empty, or httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        api_key_env: str | None = None,
        structured: Literal["schema", "object", "none"] = "schema",
        attempt_s: float = 30.0,
        attempts: int = 4,
        backoff_s: float = 0.5,
        concurrency: int = 16,
        longest_reply: int = 1 << 20,
        price_in: float = 0.0,
        price_out: float = 0.0,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ConfigError("a judge at an endpoint needs httpx: pip install 'burnish[judge]'") from error
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"the judge's url {url!r} is none ({error})") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"the judge's url {url!r} must begin with http:// or https:// and a host")
        if not attempt_s > 0 or attempts < 1 or not backoff_s >= 0 or concurrency < 1 or longest_reply < 1:
            raise ConfigError(f"the judge at {url} needs positive limits")
        self.url, self.model, self.temperature, self.max_tokens = url.rstrip("/"), model, temperature, max_tokens
        self.price_in, self.price_out = price_in, price_out
        self._key_variable, self._structured = api_key_env, structured
        self._attempt_s, self._attempts, self._backoff_s = attempt_s, attempts, backoff_s
        self._concurrency, self._longest = concurrency, longest_reply
        self._line: _Line | None = None
        self._lock = threading.Lock()
        self._failed, self._down_until = 0, 0.0
        self._headers()

    @property
    def identity(self) -> str:
        """Everything that shapes a reply, for the key of a cache."""
        return json.dumps([self.url, self.model, self.temperature, self.max_tokens, self._structured])

    def ask(self, calls: Sequence[Call], deadline_s: float) -> list[Reply | Failure]:
        """All calls at once; a reply or a failure for each, in order, within the deadline. Any thread may ask."""
        with self._lock:
            if self._line is None or self._line.owner != os.getpid():  # a fork has no thread
                self._line = _Line(self._concurrency)
            line = self._line
        future = asyncio.run_coroutine_threadsafe(self._all(line, calls, deadline_s), line.loop)
        try:
            return future.result(timeout=deadline_s + _GRACE_S)
        except NoAnswer:
            future.cancel()
            return [self._late(deadline_s, "") for _ in calls]

    async def _all(self, line: _Line, calls: Sequence[Call], deadline_s: float) -> list[Reply | Failure]:
        return list(await asyncio.gather(*(self._within(line, call, deadline_s) for call in calls)))

    async def _within(self, line: _Line, call: Call, deadline_s: float) -> Reply | Failure:
        """One call: attempts and pauses until there is a reply, nothing more to try, or no time."""
        if time.monotonic() < self._down_until:
            return Failure("judge", f"the judge at {self.url} failed {_DOWN_AFTER} calls in a row; trying again soon")
        end = time.monotonic() + deadline_s
        last = ""
        try:
            async with asyncio.timeout(deadline_s), line.room:
                for attempt in range(self._attempts):
                    try:
                        reply = await self._attempt(await line.client(), call)
                    except _Refused as error:
                        return Failure("judge", f"the judge at {self.url} refused: {error}"[:300])
                    except _Retry as error:
                        last = str(error)
                        pause = self._backoff_s * 2**attempt * random.SystemRandom().uniform(0.5, 1.0)
                        pause = max(pause, error.after or 0.0)
                        if attempt + 1 == self._attempts:
                            break
                        if time.monotonic() + pause >= end:
                            return self._late(deadline_s, last)
                        await asyncio.sleep(pause)
                    else:
                        self._failed = 0
                        return reply
        except TimeoutError:
            return self._late(deadline_s, last)
        times = f"{self._attempts} attempts" if self._attempts > 1 else "one attempt"
        return self._fails(f"{last} ({times})")

    def _late(self, deadline_s: float, last: str) -> Failure:
        return Failure(
            "timeout", f"no reply from the judge at {self.url} within {deadline_s:.2g} s{f': {last}' if last else ''}"
        )

    def _fails(self, why: str) -> Failure:
        self._failed += 1
        why = f"the judge at {self.url} gave no reply: {why}"
        if self._failed >= _DOWN_AFTER:
            if self._failed == _DOWN_AFTER:
                _LOG.warning("%s", why)
            self._down_until = time.monotonic() + _DOWN_S
        return Failure("judge", why[:300])

    async def _attempt(self, client: httpx.AsyncClient, call: Call) -> Reply:
        import httpx

        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "system", "content": call.system}, {"role": "user", "content": call.user}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": call.seed,
        }
        if self._structured == "schema":
            named = {"name": "ballot", "schema": call.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self._structured == "object":
            body["response_format"] = {"type": "json_object"}
        try:
            async with asyncio.timeout(self._attempt_s):
                address = f"{self.url}/chat/completions"
                async with client.stream("POST", address, json=body, headers=self._headers()) as response:
                    return _read(await self._body(response))
        except TimeoutError:
            raise _Retry(f"no reply within {self._attempt_s:g} s") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Retry(f"{type(error).__name__} {error}".strip()) from error

    async def _body(self, response: httpx.Response) -> bytes:
        """The body of a good response. What is too long is not read to its end, and nothing is unpacked."""
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise _Retry(f"status {status}", _seconds(response.headers.get("retry-after")))
        taken = bytearray()
        async for chunk in response.aiter_raw():
            taken += chunk
            if len(taken) > self._longest:
                raise _Refused(f"its reply is longer than {self._longest} bytes")
        if status != 200:
            raise _Refused(f"status {status}: {' '.join(taken[:200].decode(errors='replace').split())}")
        return bytes(taken)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._key_variable is not None:
            key = os.environ.get(self._key_variable, "")
            if not key:
                raise ConfigError(
                    f"the judge at {self.url} needs a key in the environment variable {self._key_variable}"
                )
            headers["Authorization"] = f"Bearer {key}"
        return headers


class _Line:
    """A loop in a thread of its own, with the client and the room for calls that live there."""

    def __init__(self, concurrency: int) -> None:
        self.owner = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.room = asyncio.Semaphore(concurrency)
        self._client: httpx.AsyncClient | None = None
        threading.Thread(target=self.loop.run_forever, name="burnish-judge", daemon=True).start()
        weakref.finalize(self, self.loop.call_soon_threadsafe, self.loop.stop)

    async def client(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=None, follow_redirects=False
            )  # every wait is under asyncio.timeout
        return self._client


def _read(body: bytes) -> Reply:
    """The text and the token counts of a chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, RecursionError) as error:
        raise _Retry("its reply is no JSON, or is cut off") from error
    except (KeyError, IndexError, TypeError) as error:
        raise _Retry("its reply has no choices[0].message.content") from error
    if not isinstance(text, str):
        raise _Retry(f"its reply's content is {type(text).__name__}, not text")
    usage = answer.get("usage")
    tokens_in, tokens_out = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    if tokens_in is None or tokens_out is None:
        return Reply(text, counted=False)
    return Reply(text, tokens_in, tokens_out)


def _count(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else None


def _seconds(header: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, counts as not given."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
