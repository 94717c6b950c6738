"""An engine at an OpenAI-compatible endpoint: messages out, text back. For measuring a model that is served elsewhere.

An endpoint gives no token ids and no log-probabilities of the distribution sampled, so its completions are text only (ids
and logprobs empty, its own token counts in `usage`) and nothing can be trained on them. Each answer is a request of its own
with a seed of its own, never n > 1, which many servers do not know: so answer i can be asked for alone, after any stop.
Whether the same seed gives the same text is the server's affair.

Not for: training, or the protocol itself (burnish.chat).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from burnish.chat import Client, Failure, Reply
from burnish.engine.noise import request_seed
from burnish.errors import ConfigError, EngineError
from burnish.records import Completion, Request, Stop, Usage

MOST_FAILED = 20
"""Answers in a row that did not come before the endpoint is given up."""


class EndpointEngine:
    """Answers from `model` at `client`; version 0 for ever.

    deadline_s  seconds one answer may take with all its attempts
    lost        after a call of `generate`: why answers did not come, a sentence each; these have no completion
    """

    def __init__(self, client: Client, model: str, deadline_s: float = 600.0) -> None:
        self.client, self.model, self.deadline_s = client, model, deadline_s
        self.version = 0
        self.lost: list[str] = []

    def load(self, weights: object, version: int) -> None:
        """An endpoint takes no weights."""
        raise EngineError(f"The endpoint {self.client.url} serves weights of its own and cannot load others.")

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """An endpoint gives no log-probabilities of given tokens."""
        raise EngineError(f"The endpoint {self.client.url} gives text only; it cannot prove which weights it serves.")

    def generate(self, requests: Iterable[Request], enough: Callable[[], bool] | None = None) -> Iterator[Completion]:
        """Completions as they come; those that did not are left out, and stand in `lost`. What was asked for is finished: `enough`
        is not asked.

        Raises ConfigError where the endpoint does not know the model or the key, or answers as another model, EngineError where
        MOST_FAILED answers in a row did not come.
        """
        listed = list(requests)
        self.lost = []
        row = 0
        for place, answer in self.client.stream((self._body(request) for request in listed), self.deadline_s):
            if isinstance(answer, Failure):
                self._refuse(answer)
                self.lost.append(answer.why)
                row += 1
                if row >= MOST_FAILED:
                    raise EngineError(
                        f"{row} answers in a row did not come, the last because {answer.why}. What came is kept: mend the endpoint and "
                        "give the same command again to go on."
                    )
                continue
            row = 0
            self._check_model(answer)
            yield _completion(listed[place], answer)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in request.prompt.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new,
            "seed": request_seed(sampling.seed, request.key, self.version) >> 33,  # 31 bits, which every server takes
        }
        if sampling.top_k:  # not of the protocol, but of most servers
            body["top_k"] = sampling.top_k
        return body

    def _refuse(self, failure: Failure) -> None:
        """What no repeat can mend is the caller's to mend."""
        if failure.status in (401, 403):
            raise ConfigError(f"{failure.why}. Name the variable that holds the right key with --api-key-env.")
        if failure.status == 404:
            served = self.client.models()
            near = get_close_matches(self.model, served, n=1, cutoff=0.4)
            hint = (
                f"did you mean --model {near[0]}?"
                if near
                else f"it serves {', '.join(served[:10]) or 'none it names'}."
            )
            raise ConfigError(f"{failure.why}. Check --endpoint (most end in /v1) and --model; {hint}")

    def _check_model(self, reply: Reply) -> None:
        """A server that answers as another model than was asked would be measured under a false name.

        A longer name is taken for the same model ("name-2026-11-01"), and so is a path that ends in it.
        """
        said = reply.model
        if said and not (said.startswith(self.model) or said.rstrip("/").endswith(f"/{self.model}")):
            raise ConfigError(
                f"The endpoint {self.client.url} was asked for the model {self.model!r} and answers as {said!r}; give --model {said} "
                "if that is the one you mean to measure."
            )


def _completion(request: Request, reply: Reply) -> Completion:
    usage = Usage(reply.tokens_in, reply.tokens_out) if reply.counted else Usage(None, None)
    stops: dict[str, Stop] = {"length": "length", "stop": "eos", "": "eos"}
    text = reply.text
    if reply.thought:  # a server that takes the thought out of the text; verifiers read it in its place
        closed = "</think>" if text or reply.finish != "length" else ""
        text = f"<think>{reply.thought}{closed}{text}"
    return Completion(request.key, (), (), text, stops.get(reply.finish, "aborted"), 0, 0, usage)
