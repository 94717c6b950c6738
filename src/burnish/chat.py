"""An OpenAI-compatible chat endpoint, asked many things at once, each within one deadline. The one asynchronous file.

A loop runs in a thread of its own, so that any thread may ask, also one that has a loop already. Every wait ends: an
attempt has its seconds, the call as a whole has its deadline, a reply has its bytes. What may pass is tried again with
growing pauses (no connection, 408, 429, 5xx, a body that is cut off or no JSON); what will not (other 4xx) is not.

A key comes from an environment variable, is sent in a header, and stands in no record, message or log.

Not for: what is asked, or what the reply means (a judge, verify.llm_judge; an engine, engine.endpoint).
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from burnish.errors import ConfigError

if TYPE_CHECKING:
    import httpx

_MOST_TOKENS = 10**9  # of one reply; a count above is none
_GRACE_S = 5.0  # beyond the deadline, for the loop's thread to say so itself


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `counted` is False where the endpoint did not say how many tokens it took.

    finish    why it ended, in the endpoint's word: "stop", "length", ...; "" where it did not say
    thought   what the endpoint took out of the text as reasoning
    model     the name it says it answered as; "" where it did not say
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    counted: bool = True
    finish: str = ""
    thought: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply: "timeout" the deadline came first, "refused" it will never be answered, "failed" every attempt failed."""

    kind: Literal["timeout", "refused", "failed"]
    why: str
    status: int | None = None


class _Retry(Exception):
    """This attempt failed in a way that may pass; `after` is what the server asked to be waited for, in seconds."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class _Refused(Exception):
    """The endpoint will not answer this, however often it is asked."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class Client:
    """`POST {url}/chat/completions`.

    who            how messages call it, e.g. "the judge"
    api_key_env    the environment variable that holds the key, if one is needed
    attempt_s      seconds one attempt may take; attempts, backoff_s: how often, and the first pause (doubled each time)
    longest_reply  bytes of a body that are read
    extra          the extra of the package that brings httpx
    thoughts       take a reply whose text is all in its reasoning; without it, that is no reply

    Raises ConfigError where the URL is none or holds a password, the key's variable is empty, or httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        who: str = "the endpoint",
        api_key_env: str | None = None,
        attempt_s: float = 30.0,
        attempts: int = 4,
        backoff_s: float = 0.5,
        concurrency: int = 16,
        longest_reply: int = 1 << 20,
        extra: str = "endpoint",
        thoughts: bool = False,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ConfigError(f"{who} needs httpx: pip install 'burnish[{extra}]'") from error
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{who}'s url {url!r} is none ({error})") from error
        if parsed.userinfo:
            raise ConfigError(f"{who}'s url holds a password; put the key in an environment variable and name that")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"{who}'s url {url!r} must begin with http:// or https:// and a host")
        if not attempt_s > 0 or attempts < 1 or not backoff_s >= 0 or concurrency < 1 or longest_reply < 1:
            raise ConfigError(f"{who} at {url} needs positive limits")
        self.url, self.who = url.rstrip("/"), who
        self._key_variable, self._thoughts = api_key_env, thoughts
        self._attempt_s, self._attempts, self._backoff_s = attempt_s, attempts, backoff_s
        self._concurrency, self._longest = concurrency, longest_reply
        self._line: _Line | None = None
        self._lock = threading.Lock()
        self._headers()

    def ask(self, bodies: Sequence[dict[str, Any]], deadline_s: float) -> list[Reply | Failure]:
        """All at once; a reply or a failure for each, in order, within the deadline. Any thread may ask."""
        line = self._running()

        async def together() -> list[Reply | Failure]:
            return list(await asyncio.gather(*(self._within(line, body, deadline_s) for body in bodies)))

        future = asyncio.run_coroutine_threadsafe(together(), line.loop)
        try:
            return future.result(timeout=deadline_s + _GRACE_S)
        except NoAnswer:
            future.cancel()
            return [self._late(deadline_s, "") for _ in bodies]

    def stream(self, bodies: Iterable[dict[str, Any]], deadline_s: float) -> Iterator[tuple[int, Reply | Failure]]:
        """(place, reply or failure) as they come, `concurrency` at a time; each has the deadline from when it is begun.

        `bodies` is read as they are asked. What the caller leaves behind by stopping early is cancelled.
        """
        line = self._running()
        answers: queue.Queue[tuple[int, Reply | Failure] | None] = queue.Queue()
        waiting = iter(enumerate(bodies))

        async def worker() -> None:
            for place, body in waiting:  # shared: the loop runs one worker at a time between awaits
                answers.put((place, await self._within(line, body, deadline_s)))

        async def all_workers() -> None:
            try:
                await asyncio.gather(*(worker() for _ in range(self._concurrency)))
            finally:
                answers.put(None)

        future = asyncio.run_coroutine_threadsafe(all_workers(), line.loop)
        try:
            while (answer := answers.get(timeout=deadline_s + _GRACE_S)) is not None:
                yield answer
            future.result(timeout=_GRACE_S)  # what `bodies` raised
        finally:
            future.cancel()

    def models(self) -> list[str]:
        """The names of the models it serves, by `GET {url}/models`; [] where it does not say."""
        import httpx

        try:
            answer = httpx.get(f"{self.url}/models", headers=self._headers(), timeout=min(10.0, self._attempt_s))
            return [str(row["id"]) for row in answer.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    def _running(self) -> _Line:
        with self._lock:
            if self._line is None or self._line.owner != os.getpid():  # a fork has no thread
                self._line = _Line(self._concurrency)
            return self._line

    async def _within(self, line: _Line, body: dict[str, Any], deadline_s: float) -> Reply | Failure:
        """One call: attempts and pauses until there is a reply, nothing more to try, or no time."""
        end = time.monotonic() + deadline_s
        last = ""
        try:
            async with asyncio.timeout(deadline_s), line.room:
                for attempt in range(self._attempts):
                    try:
                        return await self._attempt(await line.client(), body)
                    except _Refused as error:
                        return Failure("refused", f"{self.who} at {self.url} refused: {error}"[:300], error.status)
                    except _Retry as error:
                        last = str(error)
                        pause = self._backoff_s * 2**attempt * random.SystemRandom().uniform(0.5, 1.0)
                        pause = max(pause, error.after or 0.0)
                        if attempt + 1 == self._attempts:
                            break
                        if time.monotonic() + pause >= end:
                            return self._late(deadline_s, last)
                        await asyncio.sleep(pause)
        except TimeoutError:
            return self._late(deadline_s, last)
        times = f"{self._attempts} attempts" if self._attempts > 1 else "one attempt"
        return Failure("failed", f"{self.who} at {self.url} gave no reply: {last} ({times})"[:300])

    def _late(self, deadline_s: float, last: str) -> Failure:
        why = f"no reply from {self.who} at {self.url} within {deadline_s:.2g} s{f': {last}' if last else ''}"
        return Failure("timeout", why)

    async def _attempt(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Reply:
        import httpx

        try:
            async with asyncio.timeout(self._attempt_s):
                address = f"{self.url}/chat/completions"
                async with client.stream("POST", address, json=body, headers=self._headers()) as response:
                    return _read(await self._body(response), self._thoughts)
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
            said = " ".join(taken[:200].decode(errors="replace").split())
            raise _Refused(f"status {status}: {said}", status)
        return bytes(taken)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._key_variable is not None:
            key = os.environ.get(self._key_variable, "")
            if not key:
                raise ConfigError(
                    f"{self.who} at {self.url} needs a key in the environment variable {self._key_variable}"
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
        threading.Thread(target=self.loop.run_forever, name="burnish-chat", daemon=True).start()
        weakref.finalize(self, self.loop.call_soon_threadsafe, self.loop.stop)

    async def client(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=None, follow_redirects=False
            )  # every wait is under asyncio.timeout
        return self._client


def _read(body: bytes, thoughts: bool) -> Reply:
    """The text and the token counts of a chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        text = message["content"]
    except (ValueError, RecursionError) as error:
        raise _Retry("its reply is no JSON, or is cut off") from error
    except (KeyError, IndexError, TypeError) as error:
        raise _Retry("its reply has no choices[0].message.content") from error
    thought = message.get("reasoning_content") or message.get("reasoning") if thoughts else None
    thought = thought if isinstance(thought, str) else ""
    if text is None and thought:
        text = ""
    if not isinstance(text, str):
        raise _Retry(f"its reply's content is {type(text).__name__}, not text")
    usage = answer.get("usage")
    tokens_in, tokens_out = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    said = (choice.get("finish_reason"), answer.get("model"))
    finish, model = (word if isinstance(word, str) else "" for word in said)
    if tokens_in is None or tokens_out is None:
        return Reply(text, counted=False, finish=finish, thought=thought, model=model)
    return Reply(text, tokens_in, tokens_out, True, finish, thought, model)


def _count(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else None


def _seconds(header: str | None) -> float | None:
    """A Retry-After in seconds; its other form, a date, counts as not given."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
