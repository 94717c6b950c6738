"""These verifiers as other trainers call them: TRL's reward function, verl's compute_score. Standard library only.

    reward = Reward("math", gold="solution")                                  # judges here, in worker processes
    reward = Reward("math", gold="solution", url="http://127.0.0.1:8100")     # judges at a `burnish verify serve`
    GRPOTrainer(..., reward_funcs=reward)

What has no verdict is None, never 0: TRL leaves such a completion out. verl knows no None, so there the caller says what it is
to be worth, or it raises.

Not for: our own training, which reads verdicts.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.errors import BurnishError, ConfigError
from burnish.records import Key, Problem, Verdict
from burnish.verify.pool import Pool
from burnish.verify.rows import read_row

_LOG = logging.getLogger("burnish.verify")
_PAUSE_S = 0.5
_LONGEST_REPLY = 256 << 20


class Here:
    """Rows judged by a pool of this process. Made at first use, so that a trainer may fork or pickle before."""

    def __init__(self, verifier: str, workers: int = 2, deadline_s: float = 5.0) -> None:
        self._settings = (verifier, workers, deadline_s)
        self._pool: Pool | None = None
        self._lock = threading.Lock()

    def judge(self, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict for each row, in order. Raises DataError for a row that cannot be judged."""
        verifier = self._settings[0]
        with self._lock:
            if self._pool is None:
                self._pool = Pool(*self._settings)
        items = []
        for place, row in enumerate(rows):
            reference, response = read_row(row, verifier, f"row {place}")
            items.append((Key("row", place), Problem("row", verifier, "", reference, "given", ""), response))
        verdicts = dict(self._pool.judge(items))
        return [verdicts[key] for key, _, _ in items]

    def __getstate__(self) -> dict[str, Any]:
        return {"_settings": self._settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["_settings"])  # type: ignore[misc]


class There:
    """Rows judged by a `burnish verify serve`. What it does not answer has no verdict, with fault "lost".

    url         where it is, e.g. "http://127.0.0.1:8100"
    timeout_s   seconds for one batch, with every retry; a service that is busy (503) or not there yet is tried again
    batch       items in one request; a request that is too much for the service (413) is sent in halves
    """

    def __init__(self, verifier: str, url: str, timeout_s: float = 120.0, batch: int = 512) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"the verifier service's url {url!r} must begin with http:// or https://")
        self._verifier, self._url = verifier, url.rstrip("/") + "/v1/judge"
        self._timeout_s, self._batch = timeout_s, batch

    def judge(self, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict for each row, in order. Raises ConfigError where the service refuses the rows themselves."""
        verdicts: list[Verdict] = []
        for start in range(0, len(rows), self._batch):
            batch = rows[start : start + self._batch]
            items = [{**row, "id": start + place} for place, row in enumerate(batch)]
            verdicts += self._ask(items)
        return verdicts

    def _ask(self, items: list[dict[str, Any]]) -> list[Verdict]:
        body = json.dumps({"verifier": self._verifier, "items": items}).encode()
        end, pause = time.monotonic() + self._timeout_s, _PAUSE_S
        while True:
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
            left = end - time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=max(0.001, left)) as reply:
                    return _verdicts(json.loads(_read(reply, end)), items)
            except urllib.error.HTTPError as error:
                with error:
                    sentence = _sentence(error)
                if error.code == 413 and len(items) > 1:
                    half = len(items) // 2
                    return [*self._ask(items[:half]), *self._ask(items[half:])]
                if error.code in (400, 404, 413, 422):
                    raise ConfigError(f"the verifier service at {self._url} refuses: {sentence}") from error
                why = f"status {error.code}: {sentence}"
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
                why = f"{type(error).__name__}: {error}"
            if time.monotonic() + pause >= end:
                why = f"no answer from the verifier service at {self._url} within {self._timeout_s:g} s ({why})"[:300]
                _LOG.warning("%s", why)
                return [Verdict("no_verdict", None, why=why, fault="lost") for _ in items]
            time.sleep(pause)
            pause = min(2 * pause, 8.0)


class Reward:
    """A reward function as TRL calls it: `reward(completions, **columns) -> list of float or None`.

    verifier    a name `burnish.verify.load` knows (or one that the service has)
    gold        the data set's column that says what is right: text, a number, or a mapping (a verifier's reference)
    url         a service to ask; judged here, in `workers` processes, where not given
    opened      True where the prompt ends in an open `<think>`, which the completion then lacks

    The score of a verdict is the reward; a completion without a verdict has None. Conversations are judged by the text of
    their assistant turns. Raises ConfigError where the column is missing.
    """

    def __init__(
        self,
        verifier: str,
        gold: str = "answer",
        url: str | None = None,
        workers: int = 2,
        deadline_s: float = 5.0,
        opened: bool = False,
    ) -> None:
        self.__name__ = f"burnish_{verifier}"  # what TRL logs it under
        self._gold, self._opened = gold, opened
        self._bench = Here(verifier, workers, deadline_s) if url is None else There(verifier, url)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        golds = columns.get(self._gold)
        if golds is None:
            names = ", ".join(sorted(name for name, value in columns.items() if isinstance(value, list))) or "none"
            raise ConfigError(f"the reward needs a column {self._gold!r} with what is right; the data set has {names}")
        before = "<think>" if self._opened else ""
        rows = [_row(gold, before + _text(completion)) for completion, gold in zip(completions, golds, strict=True)]
        return [verdict.score for verdict in self._bench.judge(rows)]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    verifier: str = "math",
    url: str | None = None,
    no_verdict: float | None = None,
    **_: Any,
) -> dict[str, float]:
    """verl's custom reward function; name this file and `compute_score` in its `custom_reward_function`.

    Returns {"score", "acc", "no_verdict"}. `verifier`, `url` and `no_verdict` come from `reward_kwargs`. Where there is no
    verdict the score is `no_verdict`; if that is None, BurnishError is raised: verl has no way to leave an answer out.
    """
    [verdict] = _bench(verifier, url).judge([_row(ground_truth, solution_str)])
    if verdict.score is None and no_verdict is None:
        raise BurnishError(
            f"no verdict on an answer to {data_source}: {verdict.why}; say in reward_kwargs what no_verdict is to be worth"
        )
    score = verdict.score if verdict.score is not None else float(no_verdict or 0.0)
    missing = float(verdict.outcome == "no_verdict")
    return {"score": score, "acc": float(verdict.outcome == "right"), "no_verdict": missing}


@functools.cache
def _bench(verifier: str, url: str | None) -> Here | There:
    return Here(verifier) if url is None else There(verifier, url)


def _row(gold: Any, response: str) -> dict[str, Any]:
    return {("reference" if isinstance(gold, Mapping) else "gold"): gold, "response": response}


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    turns = [turn.get("content") for turn in completion if turn.get("role") == "assistant"]
    return "\n".join(turn for turn in turns if isinstance(turn, str))


def _read(reply: http.client.HTTPResponse, end: float) -> bytes:
    """The whole body. Raises TimeoutError where it trickles past `end`, ValueError where it is too long."""
    body = bytearray()
    while chunk := reply.read1(1 << 20):
        body += chunk
        if len(body) > _LONGEST_REPLY:
            raise ValueError(f"a reply of more than {_LONGEST_REPLY} bytes")
        if time.monotonic() >= end:
            raise TimeoutError("the reply did not end in time")
    if reply.length:
        raise http.client.IncompleteRead(bytes(body[-20:]), reply.length)
    return bytes(body)


def _verdicts(reply: Any, items: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts of a reply, joined by id and not by place. Raises KeyError where one is missing."""
    by_id = {row["id"]: row for row in reply["verdicts"]}
    rows = [by_id[item["id"]] for item in items]
    return [
        Verdict(row["outcome"], row["score"], row["parts"], row["found"], row["why"], row["seconds"], row["fault"])
        for row in rows
    ]


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(65_536))["error"])[:300]
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
