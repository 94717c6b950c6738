"""The engine for families that the embedded one cannot serve: transformers' own `generate`, with our draws. Not for: speed.

Recurrent and hybrid networks (Mamba, Jamba, Falcon-H1, Qwen3-Next, LFM2, RWKV, ...) keep a state that no cache of ours holds, and some
families compute attention in a way of their own. Rows of one prompt length go through `generate` together, so that nothing is padded:
padding on the left changes what a recurrent network has seen. The token is drawn inside, by the one SamplingDistribution and with the
noise of the request's own seed, so a trace is what every other engine would have drawn, up to roundings.

B rows, T prompt tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from burnish.engine.noise import request_seed, uniforms
from burnish.errors import EngineError
from burnish.policy.attention import NAME
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Completion, Key, Request, Sampling


class FallbackEngine:
    """Samples from `policy` through transformers.

    rows        most rows generated together
    one_by_one  rows go alone: transformers is wrong about several at once
    """

    def __init__(self, policy: Policy, rows: int = 512, one_by_one: bool = False) -> None:
        self.policy, self.rows, self._one_by_one = policy, 1 if one_by_one else rows, one_by_one
        self.version = 0
        self.tokens_sampled = 0
        self.tokens_prefilled = 0

    @property
    def notice(self) -> str:
        """What it costs, in a sentence."""
        together = (
            "only prompts of one length go together, and a batch waits for its longest row"
            if not self._one_by_one
            else "and its rows go one by one, because transformers is wrong about several of this family at once"
        )
        return (
            f"{self.policy.family} is sampled by transformers' generate, because the embedded engine's cache cannot hold what it keeps: a "
            f"prompt is computed once for each of its answers, {together}."
        )

    def load(self, weights: object, version: int) -> None:
        """Serve `version`. `weights` must be the module this engine shares with the learner."""
        if weights is not self.policy.module:
            raise EngineError("The fallback engine shares the learner's module and cannot load other weights.")
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """The version served and the log-probabilities (nats) of a canary prompt's tokens after the first."""
        tensor_T = torch.tensor(ids, device=self.policy.device)
        with torch.inference_mode(), self.policy.precision(), self.policy.evaluating():
            hidden_TE = self.policy.hidden(tensor_T[None, :-1])[0]
            logp_T, _ = self.policy.log_probs_of(hidden_TE, tensor_T[1:], SamplingDistribution())
        return self.version, logp_T.tolist()

    def generate(
        self,
        requests: Iterable[Request],
        on_token: Callable[[Key, int], None] | None = None,
        enough: Callable[[], bool] | None = None,
    ) -> Iterator[Completion]:
        """Completions, a batch at a time. All requests of a call share their Sampling.

        on_token  called with every token as it is drawn: for watching a few rows, not for many
        enough    asked before each batch; once it says so, the others come back aborted, with nothing drawn

        Raises EngineError for a prompt that leaves no room in the context, or for mixed Sampling.
        """
        listed = list(requests)
        _check(listed, self.policy)
        by_length: dict[int, list[Request]] = {}
        for request in listed:
            by_length.setdefault(len(request.prompt.ids), []).append(request)
        for alike in by_length.values():
            for first in range(0, len(alike), self.rows):
                batch = alike[first : first + self.rows]
                if enough is not None and enough():
                    yield from (
                        Completion(Key(*one.key), (), (), "", "aborted", self.version, self.version) for one in batch
                    )
                else:
                    yield from self._batch(batch, on_token)

    def _batch(self, requests: list[Request], on_token: Callable[[Key, int], None] | None) -> list[Completion]:
        """One call of transformers' generate on prompts of one length."""
        sampling = requests[0].sampling
        ids_BT = torch.tensor([request.prompt.ids for request in requests], device=self.policy.device)
        self.tokens_prefilled += ids_BT.numel()
        draws = _Draws(requests, ids_BT.shape[1], self.version, on_token)
        with (
            torch.inference_mode(),
            self.policy.precision(),
            self.policy.evaluating(),
            _bare(self.policy.module) as module,
        ):
            module.generate(
                ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                logits_processor=LogitsProcessorList([draws]),
                generation_config=GenerationConfig(
                    max_new_tokens=sampling.max_new,
                    do_sample=False,  # the draw is made by our processor, which leaves one token to choose from
                    eos_token_id=sorted(sampling.stop_ids) or None,
                    pad_token_id=0,
                ),
            )
        return [self._completion(request, *draws.of(row)) for row, request in enumerate(requests)]

    def _completion(self, request: Request, ids: list[int], logprobs: list[float]) -> Completion:
        stops = request.sampling.stop_ids
        self.tokens_sampled += len(ids)
        return Completion(
            Key(*request.key),
            tuple(ids),
            tuple(logprobs),
            self.policy.tokenizer.decode([i for i in ids if i not in stops], skip_special_tokens=True),
            "eos" if ids[-1] in stops else "length",
            self.version,
            self.version,
        )


class _Draws(LogitsProcessor):  # type: ignore[misc]
    """Draws every row's token and notes it with its log-probability; to transformers it leaves that token alone to choose."""

    def __init__(
        self, requests: list[Request], width: int, version: int, on_token: Callable[[Key, int], None] | None
    ) -> None:
        self._sampling: Sampling = requests[0].sampling
        self._distribution = SamplingDistribution(
            self._sampling.temperature, self._sampling.top_p, self._sampling.top_k
        )
        self._keys, self._width, self._on_token = [request.key for request in requests], width, on_token
        self._seed_B = np.array(
            [request_seed(self._sampling.seed, request.key, version) for request in requests], dtype=np.uint64
        )
        self._live_B = torch.ones(len(requests), dtype=torch.bool)
        self._stop_ids = torch.tensor(sorted(self._sampling.stop_ids), dtype=torch.long)
        self._ids: list[list[int]] = [[] for _ in requests]
        self._logprobs: list[list[float]] = [[] for _ in requests]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place_B = np.full(len(self._keys), input_ids.shape[1] - self._width, dtype=np.uint64)
        uniform_B = torch.from_numpy(uniforms(self._seed_B, place_B))
        ids_B, logp_B = (drawn.cpu() for drawn in self._distribution.draw(scores, uniform_B))
        for row in self._live_B.nonzero()[:, 0].tolist():
            self._ids[row].append(int(ids_B[row]))
            self._logprobs[row].append(float(logp_B[row]))
            if self._on_token is not None:
                self._on_token(self._keys[row], int(ids_B[row]))
        self._live_B &= ~torch.isin(ids_B, self._stop_ids)
        return torch.full_like(scores, float("-inf")).scatter_(1, ids_B[:, None].to(scores.device), 0.0)

    def of(self, row: int) -> tuple[list[int], list[float]]:
        """What a row drew, its stop token included."""
        return self._ids[row], self._logprobs[row]


@contextmanager
def _bare(module: Any) -> Iterator[Any]:
    """The module below adapters as transformers knows it: its own attention, and none of the penalties and cuts it came with."""
    own = getattr(module, "get_base_model", lambda: module)()
    settings, attention = own.generation_config, own.config._attn_implementation
    own.generation_config = GenerationConfig()
    if attention == NAME:  # ours knows no cache of theirs
        own.set_attn_implementation("eager")
    try:
        yield own
    finally:
        own.generation_config = settings
        if attention == NAME:
            own.set_attn_implementation(attention)


def _check(requests: Sequence[Request], policy: Policy) -> None:
    keys: set[Key] = set()
    for request in requests:
        sampling, key = request.sampling, request.key
        if sampling != requests[0].sampling:
            raise EngineError("All requests of one call must share their Sampling.")
        if key in keys:
            raise ValueError(f"two requests share the key {key}")
        keys.add(key)
        if not request.prompt.ids:
            raise EngineError(f"The prompt of problem {key.problem_id} is empty.")
        if len(request.prompt.ids) + sampling.max_new > policy.context:
            raise EngineError(
                f"The prompt of problem {key.problem_id} has {len(request.prompt.ids)} tokens; with max_new = {sampling.max_new} it does "
                f"not fit the model's context of {policy.context}."
            )
