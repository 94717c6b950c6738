"""A judge at an OpenAI-compatible endpoint: votes become requests, replies and failures come back. Not for: the asking itself
(burnish.chat), what is asked, or what the reply means."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from burnish import chat
from burnish.chat import Client, Reply

_LOG = logging.getLogger("burnish.verify")
_DOWN_AFTER, _DOWN_S = 3, 5.0  # calls in a row that failed with every attempt; seconds nothing is tried after that


@dataclass(frozen=True, slots=True)
class Call:
    """One thing to ask: two messages, the schema of the reply, and a seed that tells the votes on one text apart."""

    system: str
    user: str
    schema: dict[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply: fault "timeout" where the deadline came first, else "judge"; `why` is one sentence."""

    fault: Literal["timeout", "judge"]
    why: str


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
        self._client = Client(
            *(url, "the judge", api_key_env, attempt_s, attempts, backoff_s, concurrency, longest_reply), extra="judge"
        )
        self.url, self.model, self.temperature, self.max_tokens = self._client.url, model, temperature, max_tokens
        self.price_in, self.price_out, self._structured = price_in, price_out, structured
        self._failed, self._down_until = 0, 0.0

    @property
    def identity(self) -> str:
        """Everything that shapes a reply, for the key of a cache."""
        return json.dumps([self.url, self.model, self.temperature, self.max_tokens, self._structured])

    def ask(self, calls: Sequence[Call], deadline_s: float) -> list[Reply | Failure]:
        """All calls at once; a reply or a failure for each, in order, within the deadline. Any thread may ask."""
        if time.monotonic() < self._down_until:
            why = f"the judge at {self.url} failed {_DOWN_AFTER} calls in a row; trying again soon"
            return [Failure("judge", why) for _ in calls]
        return [self._noted(answer) for answer in self._client.ask([self._body(call) for call in calls], deadline_s)]

    def _noted(self, answer: Reply | chat.Failure) -> Reply | Failure:
        """The answer as a judge's; calls that failed in a row are counted."""
        if isinstance(answer, Reply):
            self._failed = 0
            return answer
        if answer.kind == "failed":
            self._failed += 1
            if self._failed == _DOWN_AFTER:
                _LOG.warning("%s", answer.why)
            if self._failed >= _DOWN_AFTER:
                self._down_until = time.monotonic() + _DOWN_S
        return Failure("timeout" if answer.kind == "timeout" else "judge", answer.why)

    def _body(self, call: Call) -> dict[str, Any]:
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
        return body
