"""Tokens guessed ahead, so that one pass may settle several of a row. Not for: what is drawn (embedded.py).

A guess never decides anything. The pass computes the logits after the row and after each guessed token, every place is drawn from
with its own random number as if it had come alone, and the row keeps what was drawn up to the first guess that was wrong. So the
distribution is kept exactly, and in float32 a trace is the same with guesses and without (rounding apart: a draw may fall within 1e-7
of the edge between two tokens). A guess x is right with the probability
p(x) that the policy gives it, which is the most that any exact scheme can accept of a guess without a distribution of its own (Leviathan
et al. 2023, "Fast inference from transformers via speculative decoding").

Two sources: what followed the last time the row said the same tokens (Saxena 2023, "Prompt lookup decoding"), and a smaller model that
draws with the row's own random numbers: where the two distributions agree, so do the two draws.

How many tokens are guessed follows from counts alone, so that the same call does the same on any clock: the share of guesses that
were right in this call, and what a pass costs by its places. With many rows a wrong guess costs as much as a token, and nothing is guessed.

B live rows, S row slots, P pages of a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from burnish.engine.cache import PagedCache, Rows
from burnish.engine.compute import Network
from burnish.engine.noise import uniforms
from burnish.engine.scheduler import Chunk, Row, Running
from burnish.policy.model import Policy
from burnish.policy.sampling import SamplingDistribution

MOST = 8
"""Tokens guessed ahead, at most."""
PASS = 16
"""What a pass costs beside its places, in places: a pass over N of them takes about as long as PASS + N (`benchmarks/drafts.py`)."""
GRAMS = (3, 2)
"""How many last tokens are looked up: the longer first."""
MARGIN = 1.4
"""How much quicker it must come out before anything is guessed: guessing has costs of its own, and shares are estimates."""
REST = 8
"""Most steps without a look, where looking has not paid."""


@dataclass(frozen=True)
class Live:
    """The live rows of a step: where they are, how many tokens each has drawn, and for how many more guesses it has room.

    ids_SC, seed_S  by slot: what was drawn, and the seed of its random numbers
    """

    rows: Sequence[Row]
    running: Running
    length_B: NDArray[np.int64]
    room_B: NDArray[np.int64]
    table_BP: NDArray[np.int32]
    ids_SC: NDArray[np.int64]
    seed_S: NDArray[np.uint64]


class Drafts(Protocol):
    """Who guesses."""

    def forget(self, row: Row, prompt: bool) -> None:
        """The row has a new slot; with `prompt`, new pages for its prompt too."""

    def propose(self, live: Live) -> list[list[int]]:
        """The guesses of every row; none is longer than its room. Nothing for no guesses at all."""

    def judge(self, live: Live, drawn: Sequence[Sequence[int]]) -> None:
        """What each row has drawn in the step that `propose` was asked about."""


@dataclass
class Share:
    """The share of guesses that were right, of late. It begins with `right` of `tried` that never were."""

    right: float
    tried: float

    def note(self, right: int, tried: int) -> None:
        self.right, self.tried = self.right + right, self.tried + tried
        if self.tried > 512:
            self.right, self.tried = self.right / 2, self.tried / 2

    @property
    def value(self) -> float:
        return self.right / self.tried


def best_count(share_B: NDArray[np.float64], room_B: NDArray[np.int64], guessing: float = 0.0) -> int:
    """How many tokens to guess, so that most are settled for what the pass costs: 0 where none pays.

    With k guesses a row settles 1 + a + a^2 + ... + a^k tokens of share a, in a pass of PASS + the number of its places.

    guessing  what guessing one token for every row costs, in places
    """
    settled = places = float(len(share_B))
    best, rate = 0, MARGIN * settled / (PASS + places)
    for k in range(1, MOST + 1):
        fits = room_B >= k
        if not fits.any():
            break
        settled += float((share_B[fits] ** k).sum())
        places += float(fits.sum())
        if (here := settled / (PASS + places + k * guessing)) > rate:
            best, rate = k, here
    return best


def agreed(guess: Sequence[int], drawn: Sequence[int]) -> tuple[int, int]:
    """(how many guesses were right, how many were put to the test): those after the first wrong one were not."""
    right = 0
    while right < min(len(guess), len(drawn)) and guess[right] == drawn[right]:
        right += 1
    return right, min(right + 1, len(guess), len(drawn))


@dataclass
class History:
    """A row's tokens, and where each of its grams was last followed by another."""

    ids: list[int] = field(default_factory=list)
    drawn: int = 0
    after: tuple[dict[tuple[int, ...], int], ...] = field(default_factory=lambda: tuple({} for _ in GRAMS))

    def extend(self, ids: Sequence[int]) -> None:
        for token in ids:
            place = len(self.ids)
            for size, seen in zip(GRAMS, self.after, strict=True):
                if place >= size:
                    seen[tuple(self.ids[-size:])] = place
            self.ids.append(token)

    def guess(self, count: int) -> tuple[list[int], int]:
        """(what followed the last time, which of GRAMS was found); a row that repeats itself is taken to go on doing so."""
        for kind, (size, seen) in enumerate(zip(GRAMS, self.after, strict=True)):
            place = seen.get(tuple(self.ids[-size:])) if len(self.ids) >= size else None
            if place is not None:
                period = len(self.ids) - place
                return [self.ids[place + number % period] for number in range(count)], kind
        return [], 0


class Lookup:
    """Guesses what followed the same tokens earlier in the row's prompt or answer.

    Where it does not pay it goes on looking now and then, without guessing, and counts what would have been right.
    """

    def __init__(self) -> None:
        self.shares = [
            Share(1.0, 5.0) for _ in GRAMS
        ]  # low: what would have been right is counted before anything is guessed
        self._histories: dict[int, History] = {}
        self._pending: list[tuple[list[int], int, int]] = []  # what was found, by which gram, how much of it was used
        self._wait = self._rest = 0

    def forget(self, row: Row, prompt: bool) -> None:
        self._histories.pop(row.slot, None)

    def propose(self, live: Live) -> list[list[int]]:
        self._pending = []
        if self._wait:
            self._wait -= 1
            return []
        found = [
            self._history(row, live, number).guess(int(min(MOST, live.room_B[number])))
            for number, row in enumerate(live.rows)
        ]
        share_B = np.array([self.shares[kind].value for _, kind in found])
        room_B = np.array([len(guess) for guess, _ in found])
        count = best_count(share_B, room_B)
        self._rest = 0 if count else min(REST, 2 * self._rest + 1)
        self._wait = self._rest
        self._pending = [(guess, kind, min(count, len(guess))) for guess, kind in found]
        return [guess[:used] for guess, _, used in self._pending] if count else []

    def judge(self, live: Live, drawn: Sequence[Sequence[int]]) -> None:
        for (guess, kind, used), said in zip(self._pending, drawn, strict=bool(self._pending)):
            self.shares[kind].note(*agreed(guess[: max(1, used)], said))

    def _history(self, row: Row, live: Live, number: int) -> History:
        history = self._histories.get(row.slot)
        if history is None:
            history = self._histories[row.slot] = History()
            history.extend(row.family.prompt.ids)
        length = int(live.length_B[number])
        history.extend(live.ids_SC[row.slot, history.drawn : length].tolist())
        history.drawn = length
        return history


class SmallModel:
    """Guesses what a smaller policy with the same vocabulary would draw. Its keys and values lie in pages of the same numbers."""

    def __init__(
        self, policy: Policy, served: Policy, cache: PagedCache, distribution: SamplingDistribution, most_tokens: int
    ) -> None:
        self.network, self.distribution, self.most_tokens = Network(policy, cache), distribution, most_tokens
        layers = [one.module.config.get_text_config().num_hidden_layers for one in (policy, served)]
        self.cost = max(policy.parameters / served.parameters, layers[0] / layers[1])
        """What a pass of it costs, as a share of the policy's: it is bound by weights, or by the number of its layers."""
        self.share = Share(3.0, 4.0)
        self._stored: dict[int, int] = {}  # by slot: drawn tokens whose keys and values it has
        self._filled: set[int] = set()  # families whose prompt it has
        self._guesses: list[list[int]] = []

    def forget(self, row: Row, prompt: bool) -> None:
        self._stored[row.slot] = 0
        if prompt:
            self._filled.discard(row.family.number)

    def propose(self, live: Live) -> list[list[int]]:
        B = len(live.rows)
        share_B = np.full(B, self.share.value)
        count = best_count(share_B, live.room_B, self.cost * (PASS + B))
        self._guesses = []
        if not count:
            return []
        self._fill_prompts(live)
        slots_B = live.running.slots_B
        guesses = self._guesses = [[] for _ in live.rows]
        for ahead in range(count):
            chosen = np.flatnonzero(live.room_B > ahead)
            if not len(chosen):
                break
            ids_N, rows = self._new(live, chosen, guesses)
            logits_BV = self.network.after(ids_N, rows, np.cumsum(rows.count_B) - 1)
            at_B = (live.length_B[chosen] + ahead).astype(np.uint64)
            uniform_B = torch.from_numpy(uniforms(live.seed_S[slots_B[chosen]], at_B))
            drawn_B, _ = self.distribution.draw(logits_BV, uniform_B)
            for number, token in zip(chosen.tolist(), drawn_B.tolist(), strict=True):
                guesses[number].append(token)
        return guesses

    def judge(self, live: Live, drawn: Sequence[Sequence[int]]) -> None:
        for row, length, guess, said in zip(live.rows, live.length_B, self._guesses, drawn, strict=bool(self._guesses)):
            if guess:
                right, tried = agreed(guess, said)
                self.share.note(right, tried)
                self._stored[row.slot] = int(length) + min(right, len(guess) - 1)

    def _fill_prompts(self, live: Live) -> None:
        chunks = []
        for row in live.rows:
            if row.family.number not in self._filled:
                self._filled.add(row.family.number)
                chunks.append(Chunk(row.family.prompt.ids, 0, tuple(row.family.pages)))
        if chunks:
            self.network.fill(chunks, self.most_tokens)

    def _new(self, live: Live, chosen: NDArray[np.int64], guesses: list[list[int]]) -> tuple[NDArray[np.int64], Rows]:
        """The tokens whose keys and values it does not have yet: what was drawn since, or its own last guess."""
        running, tokens, start, count = live.running, list[int](), list[int](), list[int]()
        for number in chosen.tolist():
            row, length, guess = live.rows[number], int(live.length_B[number]), guesses[number]
            stored = length + len(guess) - 1 if guess else self._stored[row.slot]
            new = guess[-1:] or live.ids_SC[row.slot, stored:length].tolist()
            tokens += new
            start.append(len(row.family.prompt.ids) + stored)
            count.append(len(new))
        rows = Rows(
            *(np.array(start), np.array(count), live.table_BP[chosen]),
            *(running.shared_B[chosen], running.gap_B[chosen], running.family_B[chosen]),
        )
        return np.array(tokens, dtype=np.int64), rows
