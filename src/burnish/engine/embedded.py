"""The embedded engine: continuous batching over the learner's own module. Not for: many GPUs (a vLLM engine is).

Weights are shared with the learner, not copied: `load` only notes the version and the engine reads the module as it is.
Three files: scheduler.py decides, cache.py remembers, compute.py computes; this one is the loop around them, and what is drawn.
drafts.py guesses tokens ahead where that makes the loop quicker.

B live rows, T prompt tokens, S row slots, C columns, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from burnish.engine.cache import SHARE_OF_AVAILABLE, PagedCache, Rows, available_bytes, bytes_a_token
from burnish.engine.compute import Network
from burnish.engine.drafts import MOST, Drafts, Live, Lookup, SmallModel
from burnish.engine.noise import request_seed, uniforms
from burnish.engine.scheduler import Family, Pages, Row, Scheduler, own_pages
from burnish.errors import EngineError
from burnish.policy.attention import NAME
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import PackedRows
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Completion, Key, Request, Sampling, Stop

PAGE, FLEX_PAGE = 32, 128
"""Positions a page holds: few are wasted at a row's end, or as many as flex attention reads at once."""
KEPT_BYTES = 1 << 30
"""A cache up to this size is kept from call to call; fresh memory for each would cost a short call a tenth of its time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How the engine samples; none of these changes which distribution is drawn from but by rounding.

    rows            most rows decoded together
    prefill_tokens  most prompt tokens computed between two decode steps (padding included)
    page            positions a page of the cache holds; the compiled kernels take multiples of 16; None: PAGE, or what flex attention likes
    cache_bytes     most memory for keys and values; None: half of what is available when the engine is made
    cache_dtype     what keys and values are kept in; None: the precision of the products
    flex            pages are read by torch's flex attention, through the module; None: on a GPU
    int8            weights are rounded to eight bits for sampling (`burnish.policy.fused_layer.ProductInt8`)
    lookup          tokens are guessed ahead from what the row said before (`burnish.engine.drafts.Lookup`)
    """

    rows: int = 512
    prefill_tokens: int = 4096
    page: int | None = None
    cache_bytes: int | None = None
    cache_dtype: torch.dtype | None = None
    flex: bool | None = None
    int8: bool = False
    lookup: bool = False


class EmbeddedEngine:
    """Samples from `policy`; `draft` is a smaller policy with the same vocabulary that guesses tokens ahead."""

    def __init__(
        self, policy: Policy, rows: int = 512, options: Options | None = None, draft: Policy | None = None
    ) -> None:
        if policy.module.config._attn_implementation != NAME:
            raise EngineError(
                f"The embedded engine cannot serve {type(policy.module).__name__}: this family does not take its attention from "
                "transformers' interface."
            )
        if draft is not None and draft.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise EngineError(
                "The model that guesses ahead (sampling.drafts) has another vocabulary than the model that is sampled; choose one of the "
                "same family."
            )
        self.policy, self.draft = policy, draft
        self.options = options or Options(rows)
        self.flex = policy.device.type == "cuda" if self.options.flex is None else self.options.flex
        self.page = self.options.page or (FLEX_PAGE if self.flex else PAGE)
        if self.options.int8 and not (Fused.serves(policy) and self.page % 16 == 0 and not self.flex):
            raise EngineError(
                f'sampling.weights = "int8" needs the compiled kernels, which do not serve this {type(policy.module).__name__}: they take '
                "Llama, Mistral, Qwen2 and Qwen3 in bfloat16 on a CPU with a C++ compiler, without adapters. Leave it out."
            )
        self.version = 0
        self.tokens_sampled = 0
        self.tokens_prefilled = 0
        self.tokens_recomputed = 0
        self.preemptions = 0
        self.tokens_guessed = 0
        self.guesses_right = 0
        dtype = self.options.cache_dtype or policy.compute
        networks = [one for one in (policy, draft) if one is not None]
        self.page_bytes = self.page * sum(bytes_a_token(one.module.config, dtype.itemsize) for one in networks)
        budget = self.options.cache_bytes
        if budget is None:
            budget = int(SHARE_OF_AVAILABLE * available_bytes(policy.device))
        self.pages = max(1, budget // self.page_bytes)
        self._cache: PagedCache | None = None
        log.info("the embedded engine's cache: %s", self.describe_cache())

    def describe_cache(self) -> str:
        """For a person: "at most 4.00 GiB, 43,690 pages of 32 tokens, 3,072 bytes a token"."""
        return (
            f"at most {self.pages * self.page_bytes / 2**30:.2f} GiB, {self.pages:,} pages of {self.page} tokens, "
            f"{self.page_bytes // self.page:,} bytes a token"
        )

    def load(self, weights: object, version: int) -> None:
        """Serve `version`. `weights` must be the module this engine shares with the learner."""
        if weights is not self.policy.module:
            raise EngineError("The embedded engine shares the learner's module and cannot load other weights.")
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """The version served and the log-probabilities (nats) of a canary prompt's tokens after the first.

        Of the weights as they arrived: before they are rounded to eight bits, whose gap is measured with every step.
        """
        tensor_T = torch.tensor(ids, device=self.policy.device)
        with torch.inference_mode(), self.policy.precision(), self.policy.evaluating():
            if Fused.serves(self.policy):  # what samples must be what proves
                fused, rows = Fused(self.policy), PackedRows.of(tensor_T[:-1], 1)  # as the learner lays it out
                with torch.autocast("cpu", enabled=False):
                    logp_T, _ = fused.log_probs_of(fused.hidden(rows), tensor_T[1:], 1.0)
            else:
                hidden_TE = self.policy.hidden(tensor_T[None, :-1])[0]
                logp_T, _ = self.policy.log_probs_of(hidden_TE, tensor_T[1:], SamplingDistribution())
        return self.version, logp_T.tolist()

    def generate(
        self,
        requests: Iterable[Request],
        on_token: Callable[[Key, int], None] | None = None,
        enough: Callable[[], bool] | None = None,
    ) -> Iterator[Completion]:
        """Completions as they finish, in no particular order. All requests of a call share their Sampling.

        on_token  called with every token as it is drawn: for watching a few rows, not for many
        enough    asked before each decode step; once it says so, what has not ended comes back as it is, aborted

        Raises EngineError for a prompt that leaves no room in the context, a request that the cache can never hold, or for mixed
        Sampling.
        """
        listed = list(requests)
        if not listed:
            return
        sampling = listed[0].sampling
        if any(request.sampling != sampling for request in listed):
            raise EngineError("All requests of one call must share their Sampling.")
        context = self.context
        for request in listed:
            if not request.prompt.ids:
                raise EngineError(f"The prompt of problem {request.key.problem_id} is empty.")
            if len(request.prompt.ids) + sampling.max_new > context:
                raise EngineError(
                    f"The prompt of problem {request.key.problem_id} has {len(request.prompt.ids)} tokens; with max_new = "
                    f"{sampling.max_new} it does not fit the model's context of {context}."
                )
        with self.policy.evaluating():
            batch = _Batch(self, listed, sampling, on_token)
            while batch.scheduler.busy and not (enough is not None and enough()):
                yield from batch.step()
            yield from batch.aborted()
            self.give_back(batch.network.cache)
        if self.tokens_guessed:
            log.info(
                "guessed ahead so far: %s tokens, %s of them right",
                f"{self.tokens_guessed:,}",
                f"{self.guesses_right:,}",
            )

    @property
    def context(self) -> int:
        """The most tokens of prompt and completion that everyone who computes can take."""
        return min(one.context for one in (self.policy, self.draft) if one is not None)

    def take_cache(self, requests: Sequence[Request], max_new: int) -> tuple[PagedCache, Pages]:
        """Pages for a call: as many as it can use at most, within the budget; those of the last call if they are enough."""
        page, rows = self.page, min(self.options.rows, len(requests))
        prompts = {(one.prompt.problem_id, one.prompt.ids): len(one.prompt.ids) for one in requests}
        wanted = rows * own_pages(max_new, page) + sum(-(-length // page) for length in prompts.values())
        wanted = min(self.pages, wanted)
        cache, self._cache = self._cache, None
        if cache is None or cache.pages < wanted:
            cache = PagedCache(wanted, page, self.policy.device, self.options.cache_dtype, self.flex)
        return cache, Pages(wanted)  # not more: who is admitted when must not hang on what was sampled before

    def give_back(self, cache: PagedCache) -> None:
        """Keep a cache for the next call, where it is small."""
        if cache.pages * self.page_bytes <= KEPT_BYTES:
            self._cache = cache


class _Batch:
    """One call's state: the scheduler, the network with its pages, and for every row slot what it has drawn."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        requests: list[Request],
        sampling: Sampling,
        on_token: Callable[[Key, int], None] | None,
    ) -> None:
        self.engine, self.policy, self.sampling, self.on_token = engine, engine.policy, sampling, on_token
        self.distribution = SamplingDistribution(sampling.temperature, sampling.top_p, sampling.top_k)
        options = engine.options
        cache, pages = engine.take_cache(requests, sampling.max_new)
        self.scheduler = Scheduler(requests, options.rows, pages, engine.page, options.prefill_tokens)
        with torch.inference_mode():
            self.network = Network(engine.policy, cache, options.int8)
        self.drafts = self._drafts(cache)
        slots = len(self.scheduler.length_S)
        self.ids_SC: NDArray[np.int64] = np.zeros((slots, min(64, sampling.max_new)), dtype=np.int64)
        self.logp_SC: NDArray[np.float32] = np.zeros(self.ids_SC.shape, dtype=np.float32)
        self.seed_S = np.zeros(slots, dtype=np.uint64)
        self.stops_V = np.zeros(max(engine.policy.vocabulary, *sampling.stop_ids, 0) + 1, dtype=bool)
        self.stops_V[list(sampling.stop_ids)] = True
        self._first: dict[Family, Tensor] = {}  # the logits after a prompt, until its last row has begun

    def _drafts(self, cache: PagedCache) -> Drafts | None:
        engine, options = self.engine, self.engine.options
        if engine.draft is not None:
            beside = PagedCache(cache.pages, cache.page, engine.draft.device, options.cache_dtype, engine.flex)
            with torch.inference_mode():
                return SmallModel(engine.draft, engine.policy, beside, self.distribution, options.prefill_tokens)
        return Lookup() if options.lookup else None

    def step(self) -> list[Completion]:
        """Make room, admit, compute what rows go on from, decode one token a row, and hand back what is done.

        Inference mode ends with the step: the caller of `generate` may train between two completions.
        """
        scheduler = self.scheduler
        with torch.inference_mode():
            lost, grown = scheduler.make_room(1 if self.drafts is None else 1 + MOST)
            for row in lost:
                self._put_by(row)
            self._clear(grown)
            for row in scheduler.admit():
                self._take_up(row)
            done = self._begin()
            if scheduler.live:
                done += self._decode()
        return done

    def aborted(self) -> list[Completion]:
        """How far the rows have come that have not ended."""
        return [self._completion(row, "aborted") for row in self.scheduler.left()]

    def _begin(self) -> list[Completion]:
        """Compute chunks of prompts and of rows to be resumed; draw the first token of each row whose prompt is whole."""
        chunks = self.scheduler.chunks()
        if chunks:
            for chunk in chunks:
                again = chunk.shared > 0
                self.engine.tokens_recomputed += len(chunk.ids) * again
                self.engine.tokens_prefilled += len(chunk.ids) * (not again)
            self._first |= self.network.fill(chunks, self.engine.options.prefill_tokens)
        fresh = self.scheduler.begin()
        if not fresh:
            return []
        first_BV = torch.stack([self._first[row.family] for row in fresh])
        for family in {row.family for row in fresh}:
            if not family.fresh:
                del self._first[family]
        return self._draw(first_BV, fresh, np.array([row.slot for row in fresh], dtype=np.int64))

    def _decode(self) -> list[Completion]:
        """One token for every live row, and those of its guesses that were right."""
        scheduler, live, running = self.scheduler, self.scheduler.live, self.scheduler.running()
        slots_B = running.slots_B
        length_B = scheduler.length_S[slots_B]
        start_B = scheduler.prompt_S[slots_B] + length_B - 1
        ahead = 0 if self.drafts is None else MOST
        table_BP = scheduler.table_SP[slots_B, : int((start_B + running.gap_B).max() + ahead) // scheduler.page + 1]
        seen, guesses = None, list[list[int]]()
        if self.drafts is not None:
            room_B = np.minimum(scheduler.room(slots_B), self.sampling.max_new - 1 - length_B)
            seen = Live(live, running, length_B, room_B, table_BP, self.ids_SC, self.seed_S)
            guesses = self.drafts.propose(seen)
        ids_B = self.ids_SC[slots_B, length_B - 1]
        if not any(guesses):
            rows = Rows(start_B, np.ones_like(start_B), table_BP, running.shared_B, running.gap_B, running.family_B)
            logits_BV = self.network.after(ids_B, rows)
            done = self._draw(logits_BV, live, slots_B)
            drawn = [] if seen is None else self.ids_SC[slots_B, length_B][:, None].tolist()
        else:
            count_B = 1 + np.array([len(guess) for guess in guesses])
            ids_N = np.array([token for last, guess in zip(ids_B, guesses, strict=True) for token in (last, *guess)])
            rows = Rows(start_B, count_B, table_BP, running.shared_B, running.gap_B, running.family_B)
            done, drawn = self._settle(self.network.after(ids_N, rows), live, slots_B, guesses)
        if self.drafts is not None and seen is not None:
            self.drafts.judge(seen, drawn)
        return done

    def _draw(self, logits_BV: Tensor, rows: list[Row], slots_B: NDArray[np.int64]) -> list[Completion]:
        """Draw a token for each of the rows, note it, and end the rows that are done."""
        length_B = self.scheduler.length_S[slots_B]
        uniform_B = torch.from_numpy(uniforms(self.seed_S[slots_B], length_B.astype(np.uint64)))
        ids_B, logp_B = (drawn.cpu().numpy() for drawn in self.distribution.draw(logits_BV, uniform_B))
        self._widen(int(length_B.max()) + 1)
        self.ids_SC[slots_B, length_B], self.logp_SC[slots_B, length_B] = ids_B, logp_B
        return self._noted(rows, slots_B, np.ones_like(length_B), ids_B)

    def _settle(
        self, logits_NV: Tensor, rows: list[Row], slots_B: NDArray[np.int64], guesses: list[list[int]]
    ) -> tuple[list[Completion], list[list[int]]]:
        """Draw after each row and after each of its guesses; keep what was drawn up to the first guess that was wrong, or a stop."""
        count_B = 1 + np.array([len(guess) for guess in guesses])
        first_B = np.cumsum(count_B) - count_B
        length_B = self.scheduler.length_S[slots_B]
        at_N = np.repeat(length_B - first_B, count_B) + np.arange(len(logits_NV))
        uniform_N = torch.from_numpy(uniforms(np.repeat(self.seed_S[slots_B], count_B), at_N.astype(np.uint64)))
        ids_N, logp_N = (drawn.cpu().numpy() for drawn in self.distribution.draw(logits_NV, uniform_N))
        self._widen(int((length_B + count_B).max()))
        stops, kept = set(self.sampling.stop_ids), list[list[int]]()
        for slot, length, first, guess in zip(slots_B, length_B, first_B, guesses, strict=True):
            said = ids_N[first : first + 1 + len(guess)].tolist()
            keep = 1
            while keep <= len(guess) and said[keep - 1] == guess[keep - 1] and said[keep - 1] not in stops:
                keep += 1
            self.ids_SC[slot, length : length + keep] = ids_N[first : first + keep]
            self.logp_SC[slot, length : length + keep] = logp_N[first : first + keep]
            kept.append(said[:keep])
        new_B = np.array([len(said) for said in kept])
        self.engine.tokens_guessed += int((count_B - 1).sum())
        self.engine.guesses_right += int((new_B - 1).sum())
        last_B = np.array([said[-1] for said in kept])
        return self._noted(rows, slots_B, new_B, last_B), kept

    def _noted(
        self, rows: list[Row], slots_B: NDArray[np.int64], new_B: NDArray[np.int64], last_B: NDArray[np.int64]
    ) -> list[Completion]:
        """Count `new_B` tokens more for each of the rows, the last of them last_B, and end the rows that are done."""
        length_B = self.scheduler.length_S[slots_B] + new_B
        if self.on_token is not None:
            for row, length, new in zip(rows, length_B, new_B, strict=True):
                for token in self.ids_SC[row.slot, length - new : length].tolist():
                    self.on_token(row.request.key, token)
        self.scheduler.length_S[slots_B] = length_B
        self.engine.tokens_sampled += int(new_B.sum())
        ended_B = self.stops_V[last_B]
        over_B = ended_B | (length_B >= self.sampling.max_new)
        if not over_B.any():
            return []
        over = [(rows[number], bool(ended_B[number])) for number in np.flatnonzero(over_B)]
        done = [self._completion(row, "eos" if ended else "length") for row, ended in over]
        self.scheduler.finish([row for row, _ in over])
        return done

    def _widen(self, columns: int) -> None:
        """Room for so many drawn tokens a slot, by doubling: what a row holds grows with what it has drawn."""
        have = self.ids_SC.shape[1]
        if columns > have:
            more = min(max(columns, 2 * have), self.sampling.max_new) - have
            self.ids_SC = np.pad(self.ids_SC, ((0, 0), (0, more)))
            self.logp_SC = np.pad(self.logp_SC, ((0, 0), (0, more)))

    def _drawn(self, row: Row) -> tuple[tuple[int, ...], tuple[float, ...]]:
        if row.slot < 0:
            return row.ids, row.logprobs
        count = int(self.scheduler.length_S[row.slot])
        return tuple(self.ids_SC[row.slot, :count].tolist()), tuple(self.logp_SC[row.slot, :count].tolist())

    def _put_by(self, row: Row) -> None:
        """What a row without pages keeps: its tokens, and their log-probabilities as they were drawn."""
        row.ids, row.logprobs = self._drawn(row)
        row.slot = -1
        self.engine.preemptions += 1

    def _take_up(self, row: Row) -> None:
        """A row that has just got a slot goes on where it was."""
        self.seed_S[row.slot] = request_seed(self.sampling.seed, row.request.key, self.engine.version)
        self._widen(len(row.ids))
        self.ids_SC[row.slot, : len(row.ids)] = row.ids
        self.logp_SC[row.slot, : len(row.ids)] = row.logprobs
        if self.drafts is not None:
            self.drafts.forget(row, prompt=not row.family.filled)
        self._clear([*row.family.pages, *row.pages] if not row.family.filled else row.pages)

    def _clear(self, pages: list[int]) -> None:
        if pages and self.network.fused is None:
            self.network.cache.clear(pages)

    def _completion(self, row: Row, stop: Stop) -> Completion:
        ids, logprobs = self._drawn(row)
        shown = np.array([i for i in ids if i not in self.sampling.stop_ids], dtype=np.int64)
        text = self.policy.tokenizer.decode(shown, skip_special_tokens=True)
        begun, version = row.request.begun, self.engine.version
        oldest = begun.oldest if begun is not None and begun.ids else version
        newest = version if begun is None or len(ids) > len(begun.ids) else begun.newest
        return Completion(Key(*row.request.key), ids, logprobs, text, stop, oldest, newest)
