"""The nouns of Burnish: what one room hands to the next. Frozen, JSON round-trip, no torch.

Letters: P prompt tokens, C completion tokens, L = P + C, G rollouts of a group.

Said once, here:
- Records speak of tokens, tensors speak of predictions: `field[t]` is about token t, `field_BT[b, t]` is about predicting
  `targets_BT[b, t]`. Only `learner/batch.py` crosses, and it shifts once.
- Token ids are the only truth. Text is a view and is never tokenised back into training data.
- A version is the number of optimizer steps taken. A completion that straddles an update keeps both ends.
- Rewards are joined to rollouts by key, never by position.

Flow: Problem -> Prompt -> Request -> Completion -> Verdict -> Rollout -> Group -> Sample -> (learner's) Batch.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

Outcome = Literal["right", "wrong", "no_verdict"]
Stop = Literal["eos", "length", "aborted"]
DropReason = Literal["flat", "no_verdict", "stale", "overlong", "budget"]
T = TypeVar("T")


class Key(NamedTuple):
    """Names one rollout of a step: `Key("chain/train/17", 3)` is the fourth sample of that problem."""

    problem_id: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which no key is asked for


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn: `Message("user", "12+7-4=?")`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question whose answers a program can judge.

    `reference` is what the verifier needs and the model never sees: `{"answer": "72"}`, `{"numbers": [3, 5], "target": 8}`.

    >>> Problem("gsm8k/train/0", "gsm8k", "Natalia sold clips ...", {"answer": "72"}, "train", "9f2c...")
    """

    id: str
    task: str
    question: str
    reference: Mapping[str, Any]
    split: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered problem. `ids` [P] are what the engine is given and what the learner trains on; `text` is a view."""

    problem_id: str
    messages: tuple[Message, ...]
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens. temperature 0 is greedy; top_p 1 and top_k 0 are off; `seed` is the run's, not the row's.

    >>> Sampling(temperature=1.0, top_p=1.0, top_k=0, max_new=96, stop_ids=(2,), seed=1)
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new: int = 256
    stop_ids: tuple[int, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to draw: `Request(Key("chain/train/17", 3), prompt, sampling)`.

    begun  an aborted completion to go on with, of a call that had enough: its tokens stand, the next come from the weights of now
    """

    key: Key
    prompt: Prompt
    sampling: Sampling
    begun: Completion | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an endpoint says it read and wrote: `Usage(prompt=31, completion=212)`; None where it did not say."""

    prompt: int | None
    completion: int | None


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine drew.

    ids [C] include the stop token where there was one; logprobs [C] (nats) are under the distribution actually sampled.
    `oldest` and `newest` are the policy versions of its first and last token. Aborted is what had not ended when a call had
    enough; it may have no tokens yet. An endpoint gives text only: ids and logprobs
    are then empty, `usage` holds its own count, and nothing can be trained on it.
    """

    key: Key
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stop: Stop
    oldest: int
    newest: int
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """One flat spine: ids [L], sampled [L] (True where the policy wrote the token), logprobs [L] (0.0 where it did not)."""

    ids: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.sampled) == len(self.logprobs):
            raise ValueError(
                f"ids, sampled and logprobs differ in length: {len(self.ids)}, {len(self.sampled)}, {len(self.logprobs)}"
            )

    @classmethod
    def join(cls, prompt_ids: tuple[int, ...], ids: tuple[int, ...], logprobs: tuple[float, ...]) -> Tokens:
        """A prompt followed by one completion."""
        p, c = len(prompt_ids), len(ids)
        return cls(prompt_ids + ids, (False,) * p + (True,) * c, (0.0,) * p + logprobs)

    @property
    def sampled_count(self) -> int:
        return sum(self.sampled)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier said. A fact, not a reward.

    outcome  right, wrong, or no_verdict (the verifier crashed, timed out, or could not read its *gold*: never a 0)
    score    in [0, 1]; None exactly when outcome is no_verdict
    parts    named facts beside the outcome, e.g. {"format": 1.0, "thought": 1.0}
    found    the answer that was extracted, as text; None where nothing was found
    why      one short sentence a person can read
    seconds  wall time the verifier took
    fault    for no_verdict, what kept the verifier from one; otherwise None:
             "timeout"       a deadline came first: of the item, of all items, of the judge
             "crashed"       the verifier raised, ended its process, or said what is no verdict
             "gold"          the problem's own reference is missing, malformed, or too large to be read
             "lost"          a verifier service gave no answer
             "disagreement"  two verifiers that must agree do not
             "judge", "unparsable", "tie"  a model as judge: no reply, no ballot in it, no majority

    >>> Verdict("right", 1.0, {"format": 1.0, "thought": 1.0}, "72", "equals 72", 1e-5, None)
    """

    outcome: Outcome
    score: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    found: str | None = None
    why: str = ""
    seconds: float = 0.0
    fault: str | None = None

    def __post_init__(self) -> None:
        if (self.score is None) != (self.outcome == "no_verdict"):
            raise ValueError(f"outcome {self.outcome!r} does not go with score {self.score!r}")
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score {self.score!r} is outside [0, 1]")


@dataclass(frozen=True, slots=True)
class Rollout:
    """One judged trace of a problem. `text` is the completion's text; `usage` as in `Completion`."""

    index: int
    tokens: Tokens
    text: str
    stop: Stop
    verdict: Verdict
    oldest: int
    newest: int
    usage: Usage | None = None

    @property
    def text_only(self) -> bool:
        """Whether no token ids came with it, so that it can be judged and shown but not trained on."""
        return not any(self.tokens.sampled)

    @property
    def length(self) -> int | None:
        """Tokens the policy wrote; None where neither ids nor a count came with the text."""
        if not self.text_only:
            return self.tokens.sampled_count
        return self.usage.completion if self.usage is not None else None


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts (G) of one problem in one step; `rollouts` may be fewer than asked where some were lost."""

    problem: Problem
    prompt: Prompt
    rollouts: tuple[Rollout, ...]

    def key(self, rollout: Rollout) -> Key:
        return Key(self.problem.id, rollout.index)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A rollout that is not trained on, and why: `Dropped(Key("chain/train/17", 3), "flat")`."""

    origin: Key
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Notes:
    """What the learner was asked to compute about one rollout before credit is given; each [L] or None if not asked for."""

    reference: tuple[float, ...] | None = None
    proximal: tuple[float, ...] | None = None
    values: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One row to train on: tokens [L] and one advantage for every token [L] (read only where `tokens.sampled`)."""

    origin: Key
    tokens: Tokens
    advantages: tuple[float, ...]
    reward: float
    oldest: int
    newest: int
    notes: Notes = Notes()
    returns: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference: two completions of one prompt."""

    prompt: Prompt
    chosen: Tokens
    rejected: Tokens


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval: `Interval(0.31, 0.28, 0.34)`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One sampled answer of an evaluation: the row everything in a Report is computed from. `tokens` is None where unknown."""

    key: Key
    outcome: Outcome
    found: str | None
    tokens: int | None
    stop: Stop
    thought: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation says. `figures` holds e.g. "pass@1", "pass@8", "maj@8"; `cost` holds tokens and seconds.

    `verifier` is who judged, with the version of its code: "tagged_number@5f0c2a9b1d3e".
    """

    task: str
    problems: int
    samples: int
    figures: Mapping[str, Interval]
    means: Mapping[str, float]
    cost: Mapping[str, float]
    rows: tuple[Judged, ...] = ()
    verifier: str = ""


def fingerprint(*parts: str) -> str:
    """A stable name for what a problem *is*: 128 bits over the parts, blind to case, Unicode form and white space."""
    plain = "\x1f".join(" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts)
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # only where JSON is wanted: importing records stays instant

    return TypeAdapter(kind)


def to_json(record: Any) -> str:
    """A record as one line of JSON; `from_json(type(record), line)` gives an equal record back."""
    return str(_adapter(type(record)).dump_json(record).decode())  # type: ignore[arg-type]


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read a record back. Raises pydantic.ValidationError where the text is not such a record."""
    return _adapter(kind).validate_json(text)  # type: ignore[no-any-return, arg-type]
