"""Asking judges and counting their votes. More than half of all that were asked must agree; else there is no verdict.

Faults of a no_verdict: "judge" (no judge could be reached), "timeout", "unparsable" (no ballot in the reply), "tie".
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from burnish.chat import Reply
from burnish.errors import ConfigError
from burnish.records import Outcome, Problem, Verdict
from burnish.verify import BadReference
from burnish.verify.format import extract_answer, split_response
from burnish.verify.llm_judge.cache import Cache
from burnish.verify.llm_judge.endpoint import Call, Failure
from burnish.verify.llm_judge.rubric import EQUIVALENCE, TEMPLATE, Ballot, Form, Rubric, messages, refusal

_LONGEST = {"answer": 1_000, "response": 20_000}  # characters that are judged
_MOST_STEPS = 200


class Asker(Protocol):
    """Whoever answers: an `Endpoint`, a `Local`."""

    price_in: float
    price_out: float

    @property
    def identity(self) -> str:
        """Everything that shapes a reply."""
        ...

    def ask(self, calls: Sequence[Call], deadline_s: float) -> list[Reply | Failure]:
        """A reply or a failure for each call, in order."""
        ...


class Local:
    """A policy at hand as judge: `Local(lambda prompt: model.answer(prompt), "my-model@step-40")`.

    `name` must change whenever the answers may: it is part of the cache's key. The callable is asked one thing after
    another and cannot be interrupted from here; run it in a `Pool` where that matters.
    """

    def __init__(self, answer: Callable[[str], str], name: str, price_in: float = 0.0, price_out: float = 0.0) -> None:
        self._answer, self.identity = answer, name
        self.price_in, self.price_out = price_in, price_out

    def ask(self, calls: Sequence[Call], deadline_s: float) -> list[Reply | Failure]:
        """Replies in order; what is not reached within the deadline is a failure."""
        end, replies = time.monotonic() + deadline_s, list[Reply | Failure]()
        for call in calls:
            if time.monotonic() >= end:
                replies.append(Failure("timeout", f"the judge {self.identity!r} took longer than {deadline_s:g} s"))
                continue
            text = self._answer(f"{call.system}\n\n{call.user}\n")
            if isinstance(text, str):
                replies.append(Reply(text, counted=False))
            else:
                why = f"the judge {self.identity!r} returned {type(text).__name__}, not text"
                replies.append(Failure("judge", why))
        return replies


@dataclass(frozen=True, slots=True)
class Cost:
    """What judging took: replies paid for, ballots from the cache, tokens, price; `uncounted` replies named no tokens."""

    calls: int = 0
    cached: int = 0
    uncounted: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    price: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.cached + other.cached,
            self.uncounted + other.uncounted,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.price + other.price,
        )

    @property
    def parts(self) -> dict[str, float]:
        """As parts of a verdict, so that a file of verdicts can be summed up."""
        return {
            "judge_calls": float(self.calls),
            "judge_cached": float(self.cached),
            "judge_tokens_in": float(self.tokens_in),
            "judge_tokens_out": float(self.tokens_out),
            "judge_price": self.price,
        }


@dataclass(frozen=True, slots=True)
class StepVerdicts:
    """One outcome for each step. `first_wrong` is the place (from 0) of the first wrong step; None where none is wrong.

    verdict  of the whole: wrong where a step is, else no_verdict where a step has none, else right
    """

    outcomes: tuple[Outcome, ...]
    first_wrong: int | None
    verdict: Verdict


class Judge:
    """A verifier that asks language models: `Judge(Endpoint(...), votes=3)(problem, response) -> Verdict`.

    askers      one judge or several; vote i goes to the i-th, and round again. At temperature 0 let the judges differ.
    votes       how many votes; more than half must agree
    deadline_s  seconds for one verdict, with every retry; a `Pool` that runs it needs a longer one
    sees        "answer": the extracted short answer only, which leaves least room to talk to the judge; "response": all
                that stands outside the thought
    cache       a file for ballots, shared between processes

    The problem's reference holds `answer` (unless the rubric needs none). Empty texts, openers that say nothing and texts
    that are too long are wrong without a call. Raises ConfigError for settings that make no sense.
    """

    def __init__(
        self,
        askers: Asker | Sequence[Asker],
        rubric: Rubric = EQUIVALENCE,
        votes: int = 1,
        deadline_s: float = 60.0,
        sees: Literal["answer", "response"] = "answer",
        cache: str | Path | None = None,
        longest: int | None = None,
    ) -> None:
        self._askers: list[Asker] = list(askers) if isinstance(askers, Sequence) else [askers]
        if not self._askers or votes < 1 or not deadline_s > 0:
            raise ConfigError(
                f"a judge needs somebody to ask, a vote and a deadline, not votes={votes}, {deadline_s} s"
            )
        if sees not in _LONGEST:
            raise ConfigError(f'a judge sees "answer" or "response", not {sees!r}')
        self._rubric, self._votes, self._deadline_s, self._sees = rubric, votes, deadline_s, sees
        self._longest = longest or _LONGEST[sees]
        self._cache = Cache(cache) if cache is not None else None
        self._cost, self._lock = Cost(), threading.Lock()

    @property
    def cost(self) -> Cost:
        """What this object has spent so far; in a Pool every worker has its own, and the verdicts' parts have all."""
        return self._cost

    def __call__(self, problem: Problem, response: str) -> Verdict:
        """The verdict on one response. Parts: agreement (the share of the votes that agree), and what it cost."""
        gold = self._gold(problem)
        candidate = self._candidate(problem, response)
        if candidate is None:
            return Verdict("wrong", 0.0, {}, None, "there is no answer")
        if (why := refusal(candidate, gold, self._longest)) is not None:
            return Verdict("wrong", 0.0, {}, candidate[:200], why)
        form = self._rubric.form
        ballots, failures, cost = self._poll(form, problem.question, gold, candidate)
        decided = _majorities(ballots, len(form.names), self._votes)
        agreement = min(max(_count(ballots, i), len(ballots) - _count(ballots, i)) for i in range(len(decided)))
        parts = {"agreement": agreement / self._votes, **cost.parts}
        shown = candidate[:200]
        if any(mark is None for mark in decided):
            return replace(_undecided(ballots, failures, self._votes), parts=parts, found=shown)
        score = 1.0 if decided[0] else 0.0
        if form.kind == "criteria":
            weights = [criterion.weight for criterion in self._rubric.criteria]
            score = sum(weight for weight, met in zip(weights, decided, strict=True) if met) / sum(weights)
            parts |= {f"criterion_{name}": float(bool(met)) for name, met in zip(form.names, decided, strict=True)}
        right = score >= self._rubric.pass_mark
        why = f"{len(ballots)} of {self._votes} judges: {_reason(ballots, decided)}"
        return Verdict("right" if right else "wrong", score, parts, shown, why)

    def steps(self, problem: Problem, steps: Sequence[str]) -> StepVerdicts:
        """A verdict on every step of a solution, each by its own majority, and the first that is wrong.

        Raises ValueError where there are no steps or more than 200.
        """
        if not 1 <= len(steps) <= _MOST_STEPS:
            raise ValueError(f"a solution to judge has 1 to {_MOST_STEPS} steps, not {len(steps)}")
        gold = self._gold(problem)
        longest = _LONGEST["response"]
        if sum(map(len, steps)) > longest:
            why = f"the steps have more than the {longest} characters a judge is shown"
            nothing: list[Outcome] = ["no_verdict"] * len(steps)
            return StepVerdicts(tuple(nothing), None, Verdict("no_verdict", None, why=why, fault="length"))
        form = Form("steps", tuple(map(str, range(len(steps)))))
        ballots, failures, cost = self._poll(form, problem.question, gold, tuple(steps))
        decided = _majorities(ballots, len(steps), self._votes)
        outcomes: tuple[Outcome, ...] = tuple(
            "no_verdict" if mark is None else "right" if mark else "wrong" for mark in decided
        )
        first = outcomes.index("wrong") if "wrong" in outcomes else None
        if first is not None:
            sure = "no_verdict" not in outcomes[:first]
            why = f"step {first + 1} is {'the first that is ' if sure else ''}wrong: {_reason(ballots, decided)}"
            verdict = Verdict("wrong", 0.0, cost.parts, str(first), why)
        elif "no_verdict" in outcomes:
            verdict = replace(_undecided(ballots, failures, self._votes), parts=cost.parts)
        else:
            verdict = Verdict("right", 1.0, cost.parts, None, f"all {len(steps)} steps are right")
        return StepVerdicts(outcomes, first, verdict)

    def _gold(self, problem: Problem) -> str | None:
        gold = problem.reference.get("answer")
        if gold is None and not self._rubric.needs_gold:
            return None
        if isinstance(gold, bool) or not isinstance(gold, str | int | float) or not str(gold).strip():
            raise BadReference("the reference has no 'answer' that is text or a number, and the rubric needs one")
        return str(gold)

    def _candidate(self, problem: Problem, response: str) -> str | None:
        if problem.reference.get("bare"):
            return response
        parsed = split_response(response)
        if self._sees == "response":
            return parsed.answer_region
        answer = extract_answer(parsed, "any")
        return answer.text if answer is not None else None

    def _poll(
        self, form: Form, question: str, gold: str | None, candidate: str | tuple[str, ...]
    ) -> tuple[list[Ballot], list[Failure], Cost]:
        """Every vote: from the cache, or asked for; those to one judge go out together, different judges in turn."""
        end = time.monotonic() + self._deadline_s
        ballots: list[Ballot] = []
        failures: list[Failure] = []
        spent = Cost()
        for place, asker in enumerate(self._askers):
            wanted: list[tuple[str, Call, str]] = []
            for vote in range(place, self._votes, len(self._askers)):
                key = self._key(asker, form, question, gold, candidate, vote)
                kept = self._cache.get(key) if self._cache is not None else None
                if kept is not None:
                    ballots.append(kept)
                    spent += Cost(cached=1)
                    continue
                fence, ticket = secrets.token_hex(8), secrets.token_hex(4)
                system, user = messages(self._rubric, form, question, gold, candidate, fence, ticket)
                wanted.append((key, Call(system, user, form.schema(), vote), ticket))
            if not wanted:
                continue
            replies = asker.ask([call for _, call, _ in wanted], max(0.001, end - time.monotonic()))
            for (key, _, ticket), reply in zip(wanted, replies, strict=True):
                if isinstance(reply, Failure):
                    failures.append(reply)
                    continue
                price = (reply.tokens_in * asker.price_in + reply.tokens_out * asker.price_out) / 1e6
                spent += Cost(1, 0, int(not reply.counted), reply.tokens_in, reply.tokens_out, price)
                ballot = form.read(reply.text, ticket)
                if ballot is not None:
                    ballots.append(ballot)
                    if self._cache is not None:
                        self._cache.put(key, ballot)
        with self._lock:
            self._cost += spent
        return ballots, failures, spent

    def _key(
        self, asker: Asker, form: Form, question: str, gold: str | None, candidate: str | tuple[str, ...], vote: int
    ) -> str:
        asks = [self._rubric.asks, [[c.name, c.asks] for c in self._rubric.criteria]]
        shape = [TEMPLATE, asker.identity, asks, form.kind, form.names, question, gold, candidate, vote]
        return hashlib.blake2b(json.dumps(shape).encode(), digest_size=16).hexdigest()


def _count(ballots: Sequence[Ballot], place: int) -> int:
    return sum(ballot.marks[place] for ballot in ballots)


def _majorities(ballots: Sequence[Ballot], marks: int, votes: int) -> list[bool | None]:
    """For each mark what more than half of all votes say; None where neither does. A vote that was lost agrees with nobody."""
    decided: list[bool | None] = []
    for place in range(marks):
        yes = _count(ballots, place)
        no = len(ballots) - yes
        decided.append(True if 2 * yes > votes else False if 2 * no > votes else None)
    return decided


def _reason(ballots: Sequence[Ballot], decided: Sequence[bool | None]) -> str:
    """The reason of the first ballot that agrees with the decision."""
    return next((ballot.reason for ballot in ballots if list(ballot.marks) == list(decided)), "no single reason")


def _undecided(ballots: Sequence[Ballot], failures: Sequence[Failure], votes: int) -> Verdict:
    """Why there is no verdict, after what kept the most votes from counting."""
    unread = votes - len(ballots) - len(failures)
    if failures and len(failures) >= unread:
        fault, _ = Counter(failure.fault for failure in failures).most_common(1)[0]
        why = next(failure.why for failure in failures if failure.fault == fault)
        return Verdict("no_verdict", None, why=why, fault=fault)
    if unread:
        why = f"{unread} of {votes} replies of the judge hold no ballot in the form asked for"
        return Verdict("no_verdict", None, why=why, fault="unparsable")
    return Verdict("no_verdict", None, why=f"the {votes} judges are not of one mind", fault="tie")
