"""The embedded engine: continuous batching over the learner's own module. Not for: many GPUs (a vLLM engine is).

Weights are shared with the learner, not copied: `load` only notes the version and the engine reads the module as it is.

B live rows, T prompt tokens, V vocabulary, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from burnish.engine.cache import Layout, Shape, SlotCache
from burnish.engine.noise import request_seed, uniforms
from burnish.engine.scheduler import Family, Scheduler
from burnish.errors import EngineError
from burnish.policy.attention import NAME
from burnish.policy.fused import Fused
from burnish.policy.fused_layer import PackedRows
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution
from burnish.records import Completion, Key, Request, Sampling, Stop


class EmbeddedEngine:
    """Samples from `policy`.

    rows            most rows decoded together
    prefill_tokens  most prompt tokens (padding included) in one prefill pass
    """

    def __init__(self, policy: Policy, rows: int = 512, prefill_tokens: int = 16384) -> None:
        if policy.module.config._attn_implementation != NAME:
            raise EngineError(
                f"The embedded engine cannot serve {type(policy.module).__name__}: this family does not take its attention from "
                "transformers' interface."
            )
        self.policy = policy
        self.rows = rows
        self.prefill_tokens = prefill_tokens
        self.version = 0
        self.tokens_sampled = 0
        self.tokens_prefilled = 0

    def load(self, weights: object, version: int) -> None:
        """Serve `version`. `weights` must be the module this engine shares with the learner."""
        if weights is not self.policy.module:
            raise EngineError("The embedded engine shares the learner's module and cannot load other weights.")
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """The version served and the log-probabilities (nats) of a canary prompt's tokens after the first."""
        tensor_T = torch.tensor(ids, device=self.policy.device)
        with torch.inference_mode(), self.policy.precision(), self.policy.evaluating():
            if Fused.serves(self.policy):  # what samples must be what proves
                fused, rows = Fused(self.policy), PackedRows.of([tensor_T[:-1]])
                with torch.autocast("cpu", enabled=False):
                    logp_T, _ = fused.log_probs_of(fused.hidden(rows), tensor_T[1:], 1.0)
            else:
                hidden_TE = self.policy.hidden(tensor_T[None])[0, :-1]
                logp_T, _ = self.policy.log_probs_of(hidden_TE, tensor_T[1:], SamplingDistribution())
        return self.version, logp_T.tolist()

    def generate(
        self, requests: Iterable[Request], on_token: Callable[[Key, int], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in no particular order. All requests of a call share their Sampling.

        on_token  called with every token as it is drawn: for watching a few rows, not for many

        Raises EngineError for a prompt that leaves no room in the context, or for mixed Sampling.
        """
        listed = list(requests)
        if not listed:
            return
        sampling = listed[0].sampling
        if any(request.sampling != sampling for request in listed):
            raise EngineError("All requests of one call must share their Sampling.")
        for request in listed:
            if not request.prompt.ids:
                raise EngineError(f"The prompt of problem {request.key.problem_id} is empty.")
            if len(request.prompt.ids) + sampling.max_new > self.policy.context:
                raise EngineError(
                    f"The prompt of problem {request.key.problem_id} has {len(request.prompt.ids)} tokens; with max_new = "
                    f"{sampling.max_new} it does not fit the model's context of {self.policy.context}."
                )
        with self.policy.evaluating():
            batch = _Batch(self, listed, sampling, on_token)
            while batch.scheduler.busy:
                yield from batch.step()


class _Batch:
    """One call's state: the cache, and for every row slot what it has drawn."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        requests: list[Request],
        sampling: Sampling,
        on_token: Callable[[Key, int], None] | None,
    ) -> None:
        self.on_token = on_token
        # prompt slot -> logits of the prompt's last token, until its last row has begun
        self._first: dict[int, Tensor] = {}
        self.engine, self.policy, self.sampling = engine, engine.policy, sampling
        self.device = engine.policy.device
        self.distribution = SamplingDistribution(sampling.temperature, sampling.top_p, sampling.top_k)
        rows = min(engine.rows, len(requests))
        prompts = len({(request.prompt.problem_id, request.prompt.ids) for request in requests})
        # Stragglers keep their prompt's slot, so leave twice the room that full families would need.
        prompt_slots = min(prompts, rows, max(2 * -(-rows * prompts // len(requests)), 8))
        width = max(len(request.prompt.ids) for request in requests)
        self.scheduler = Scheduler(requests, rows, prompt_slots)
        layers = int(self.policy.module.config.get_text_config().num_hidden_layers)
        self.cache = SlotCache(Shape(prompt_slots, width, rows, sampling.max_new), layers)
        self.ids_SC = torch.zeros(rows, sampling.max_new, dtype=torch.long)
        self.logp_SC = torch.zeros(rows, sampling.max_new)
        self.length_S = np.zeros(rows, dtype=np.int64)
        self.seed_S = np.zeros(rows, dtype=np.uint64)
        self.prompt_slot_S = np.zeros(rows, dtype=np.int64)
        self.prompt_length_S = np.zeros(rows, dtype=np.int64)
        self.stop_ids = torch.tensor(sorted(sampling.stop_ids), dtype=torch.long)
        self.layout: Layout | None = None
        with torch.inference_mode():
            self.fused = Fused(self.policy) if Fused.serves(self.policy) else None
            if self.fused is not None:
                self.fused.reach(width + sampling.max_new)

    def step(self) -> list[Completion]:
        """Admit, decode one token a row, and hand back what is done.

        Precision and inference mode end with the step: the caller of `generate` may train between two completions, and an
        autocast left open would keep casts of weights that have changed since.
        """
        with torch.inference_mode(), self.policy.precision():
            done = self.admit()
            if self.scheduler.live:
                done += self.decode()
        return done

    def admit(self) -> list[Completion]:
        """Prefill new prompts and draw the first token of each new row."""
        before = len(self.scheduler.live)
        admission = self.scheduler.admit()
        if not admission.requests:
            return []
        self._prefill(admission.families)
        self.layout = None
        for row, (family, request) in enumerate(admission.requests, start=before):
            assert family.slot is not None
            seed = request_seed(self.sampling.seed, request.key, self.engine.version)
            self.seed_S[row], self.length_S[row] = seed, 0
            self.prompt_slot_S[row], self.prompt_length_S[row] = family.slot, len(family.prompt.ids)
        first_BV = torch.stack([self._first[family.slot] for family, _ in admission.requests])  # type: ignore[index]
        for family in {id(f): f for f, _ in admission.requests}.values():
            if not family.waiting:
                self._first.pop(family.slot)  # type: ignore[arg-type]
        return self._draw(first_BV, before, len(self.scheduler.live))

    def decode(self) -> list[Completion]:
        """One token for every live row."""
        live = len(self.scheduler.live)
        written = self.length_S[:live] - 1
        ids_B = self.ids_SC[:live].gather(1, torch.from_numpy(written)[:, None])[:, 0]
        if self.fused is not None:
            slot_B, length_B = (torch.from_numpy(c[:live]) for c in (self.prompt_slot_S, self.prompt_length_S))
            logits_BV = self.fused.step(ids_B, slot_B, length_B, torch.from_numpy(written), self.cache.stores)
            return self._draw(logits_BV, 0, live)
        if self.layout is None:
            self.layout = Layout(
                self.prompt_slot_S[:live].copy(), self.prompt_length_S[:live].copy(), written, self.device
            )
        else:
            self.layout.advance()
        self.cache.decoding(self.layout)
        hidden_B1E = self.policy.hidden(
            ids_B[:, None].to(self.device),
            position_ids=self.layout.positions_B[:, None],
            past_key_values=self.cache,
            use_cache=True,
            view=self.cache,
        )
        return self._draw(self.policy.logits(hidden_B1E[:, 0]), 0, live)

    def _prefill(self, families: list[Family]) -> None:
        """Whole prompts, longest together; keeps the logits of each prompt's last token."""
        pending = sorted(families, key=lambda family: len(family.prompt.ids))
        while pending:
            width = len(pending[-1].prompt.ids)
            count = max(1, self.engine.prefill_tokens // width)
            chunk, pending = pending[-count:], pending[:-count]
            self.engine.tokens_prefilled += sum(len(family.prompt.ids) for family in chunk)
            logits_BV = self._prefill_padded(chunk, width) if self.fused is None else self._prefill_packed(chunk)
            for row, family in enumerate(chunk):
                assert family.slot is not None
                self._first[family.slot] = logits_BV[row]

    def _prefill_padded(self, families: list[Family], width: int) -> Tensor:
        """Through the module, padded on the right: logits [B, V] of the last tokens."""
        ids_BT = torch.zeros(len(families), width, dtype=torch.long)
        for row, family in enumerate(families):
            ids_BT[row, : len(family.prompt.ids)] = torch.tensor(family.prompt.ids)
        last_B = torch.tensor([len(family.prompt.ids) - 1 for family in families], device=self.device)
        self.cache.prefilling(torch.tensor([family.slot for family in families], device=self.device))
        hidden_BTE = self.policy.hidden(
            ids_BT.to(self.device),
            position_ids=torch.arange(width, device=self.device)[None].expand(len(families), -1),
            past_key_values=self.cache,
            use_cache=True,
        )
        return self.policy.logits(hidden_BTE[torch.arange(len(families), device=self.device), last_B])

    def _prefill_packed(self, families: list[Family]) -> Tensor:
        """Through the kernels, laid end to end: logits [B, V] of the last tokens."""
        assert self.fused is not None
        rows = PackedRows.of([torch.tensor(family.prompt.ids) for family in families])
        start_B, length_B = rows.spans[:, 2].long(), rows.spans[:, 3].long()
        slot_N = torch.tensor([family.slot for family in families]).repeat_interleave(length_B)

        def keep(layer: int, key_NKD: Tensor, value_NKD: Tensor) -> None:
            self.cache.store_prompts(layer, slot_N, rows.position_N, key_NKD, value_NKD)

        with torch.autocast("cpu", enabled=False):
            return self.fused.logits(self.fused.hidden(rows, keep)[start_B + length_B - 1].contiguous())

    def _draw(self, logits_BV: Tensor, start: int, stop: int) -> list[Completion]:
        """Draw for row slots start..stop-1, note the tokens, and end the rows that are done."""
        length = self.length_S[start:stop]
        uniform_B = torch.from_numpy(uniforms(self.seed_S[start:stop], length.astype(np.uint64)))
        ids_B, logp_B = (drawn.cpu() for drawn in self.distribution.draw(logits_BV, uniform_B))
        rows_B, columns_B = torch.arange(start, stop), torch.from_numpy(length.copy())
        self.ids_SC[rows_B, columns_B], self.logp_SC[rows_B, columns_B] = ids_B, logp_B
        if self.on_token is not None:
            for row, token in enumerate(ids_B.tolist(), start=start):
                self.on_token(self.scheduler.live[row][1].key, token)
        length += 1
        self.engine.tokens_sampled += stop - start
        ended_B = torch.isin(ids_B, self.stop_ids).numpy()
        over_B = ended_B | (length >= self.sampling.max_new)
        if not over_B.any():
            return []
        over = [int(row) + start for row in np.flatnonzero(over_B)]
        done = self._completions(over, {row: "eos" if ended_B[row - start] else "length" for row in over})
        for source, target in self.scheduler.finish(over):
            self.cache.move(source, target, int(self.length_S[source]))
            for column in (
                self.ids_SC,
                self.logp_SC,
                self.length_S,
                self.seed_S,
                self.prompt_slot_S,
                self.prompt_length_S,
            ):
                column[target] = column[source]
        self.layout = None
        return done

    def _completions(self, rows: list[int], stops: dict[int, Stop]) -> list[Completion]:
        completions = []
        for row in rows:
            _, request = self.scheduler.live[row]
            count = int(self.length_S[row])
            ids = self.ids_SC[row, :count].tolist()
            shown = [i for i in ids if i not in self.sampling.stop_ids]
            completions.append(
                Completion(
                    Key(*request.key),
                    tuple(ids),
                    tuple(self.logp_SC[row, :count].tolist()),
                    self.policy.tokenizer.decode(shown, skip_special_tokens=True),
                    stops[row],
                    self.engine.version,
                    self.engine.version,
                )
            )
        return completions
