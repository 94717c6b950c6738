"""Verifiers made of verifiers: weighted parts, gates, and two that must agree. Not for rewards: those are made from verdicts.

A composition is a verifier like any other. In Python it is a `Composed`, to be named "my.module:attr"; in a run file it is the
task `composed`; and its `name`, one line of JSON, may stand wherever a verifier is named.

    Composed(parts=(Part("answer", "number"), Part("short", "length", {"max_words": 200}, weight=0.2)), gates=(Part("format", "format"),))

Every part reads the problem's reference, with its own keys laid over it. How verdicts are joined:

- gates: all must be right. One that is wrong makes the whole wrong, score 0, and nothing after the gates is judged. That holds also
  where another gate has no verdict: wrong and unknown is wrong, whatever the unknown would have been. Else a gate without a verdict
  leaves the whole without one.
- parts: score = sum of weight x score / sum of weights; right where every part that decides is right. A part that has no verdict
  leaves the whole without one: it is never a 0, and its weight is never given to the others.
- a pair that must agree (`also`): right where both are right, wrong where both are wrong. Where they differ the outcome is
  `on_disagreement`, "no_verdict" unless told otherwise; one without a verdict leaves the pair without one. The part
  "NAME/agreement" is 1 or 0, so a run's rollouts can be searched for it, and with `log` a line is added to that file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Problem, Verdict
from burnish.verify import judge, load

ON_DISAGREEMENT = ("no_verdict", "wrong")
_SHOWN = 500


@dataclass(frozen=True)
class Part:
    """One verifier of a composition.

    name             what the part is called in a verdict's `parts`
    verifier         a verifier's name, or "my.module:attr"
    reference        laid over the problem's own reference
    weight           of its score; 0 has it judged and recorded, and no more
    decides          whether the whole can only be right where this is; gates always decide, a part with weight 0 never does
    also             a second verifier that must agree
    on_disagreement  "no_verdict" or "wrong"
    log              a file that gets a line of JSON for each disagreement

    Raises ConfigError for a weight below 0, an unknown verifier, and settings that could have no effect.
    """

    name: str
    verifier: str
    reference: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    decides: bool = True
    also: str | None = None
    on_disagreement: str = "no_verdict"
    log: str | None = None

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ConfigError(f"A part cannot be called {self.name!r}: give it a name without a slash.")
        weight_fits = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not weight_fits or not 0.0 <= self.weight < float("inf"):
            raise ConfigError(f"The part {self.name!r} has the weight {self.weight!r}; give a number of 0 or more.")
        if self.on_disagreement not in ON_DISAGREEMENT:
            raise ConfigError(
                f"The part {self.name!r} has on_disagreement = {self.on_disagreement!r}; choose {' or '.join(ON_DISAGREEMENT)}."
            )
        if self.also is None and (self.log is not None or self.on_disagreement != "no_verdict"):
            raise ConfigError(
                f"log and on_disagreement have no effect on the part {self.name!r}: it has no second verifier, also."
            )
        for verifier in filter(None, (self.verifier, self.also)):
            load(verifier)

    def judge(self, problem: Problem, response: str) -> Verdict:
        """The part's own verdict; of a pair, the joint one."""
        own = Problem(
            problem.id,
            problem.task,
            problem.question,
            {**problem.reference, **self.reference},
            problem.split,
            problem.fingerprint,
        )
        first = judge(load(self.verifier), own, response)
        if self.also is None:
            return first
        return self._joined(problem, response, first, judge(load(self.also), own, response))

    def _joined(self, problem: Problem, response: str, first: Verdict, second: Verdict) -> Verdict:
        missing = next((one for one in (first, second) if one.outcome == "no_verdict"), None)
        if missing is not None:
            return missing
        agree = float(first.outcome == second.outcome)
        parts = {**second.parts, **first.parts, "agreement": agree}
        if agree:
            assert first.score is not None and second.score is not None
            return Verdict(first.outcome, min(first.score, second.score), parts, first.found, first.why)
        why = f"{self.verifier} says {first.outcome} ({first.why}), {self.also} says {second.outcome} ({second.why})"
        if self.log is not None:
            self._write(problem, response, first, second)
        if self.on_disagreement == "wrong":
            return Verdict("wrong", 0.0, parts, first.found, why[:300])
        return Verdict("no_verdict", None, parts, first.found, why[:300], fault="disagreement")

    def _write(self, problem: Problem, response: str, first: Verdict, second: Verdict) -> None:
        """One write of one line, so that lines of several workers do not mix."""
        said = {
            name: {"outcome": one.outcome, "found": one.found, "why": one.why}
            for name, one in ((self.verifier, first), (str(self.also), second))
        }
        line = json.dumps({"problem": problem.id, "part": self.name, "verdicts": said, "response": response[-_SHOWN:]})
        descriptor = os.open(str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Composed:
    """A verifier: call it with a problem and a response. `gates` are judged first, in order, then `parts`.

    Raises ConfigError where no part has a weight or decides, or two have one name.
    """

    parts: tuple[Part, ...] = ()
    gates: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        names = [part.name for part in (*self.gates, *self.parts)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"Two parts of the composition are called {twice!r}; give each a name of its own.")
        if not any(part.weight for part in self.parts):
            raise ConfigError(
                "The composition has no part with a weight above 0, so it would have no score; add one to parts."
            )
        if not any(part.decides and part.weight for part in self.parts):
            raise ConfigError(
                "No part of the composition decides whether the whole is right; leave decides out of one of them."
            )

    @cached_property
    def name(self) -> str:
        """The composition as one line of JSON; `burnish.verify.load` makes an equal one of it."""
        return json.dumps({"gates": [*map(_plain, self.gates)], "parts": [*map(_plain, self.parts)]})

    def __call__(self, problem: Problem, response: str) -> Verdict:
        facts: dict[str, float] = {}
        gates = [(part, _noted(part, problem, response, facts)) for part in self.gates]
        shut = next(((part, one) for part, one in gates if one.outcome == "wrong"), None)
        if shut is not None:
            return Verdict("wrong", 0.0, facts, shut[1].found, f"{shut[0].name}: {shut[1].why}"[:300])
        unknown = next(((part, one) for part, one in gates if one.outcome == "no_verdict"), None)
        judged = [] if unknown else [(part, _noted(part, problem, response, facts)) for part in self.parts]
        unknown = unknown or next(((part, one) for part, one in judged if part.weight and one.score is None), None)
        found = next((one.found for _, one in judged if one.found is not None), None)
        if unknown is not None:
            part, one = unknown
            return Verdict("no_verdict", None, facts, found, f"{part.name}: {one.why}"[:300], fault=one.fault)
        whole = sum(part.weight for part, _ in judged)
        score = sum(part.weight * (one.score or 0.0) for part, one in judged) / whole
        failing = [(part, one) for part, one in judged if part.weight and part.decides and one.outcome != "right"]
        if failing:
            why = "; ".join(f"{part.name}: {one.why}" for part, one in failing)
            return Verdict("wrong", min(score, 1.0), facts, found, why[:300])
        why = "; ".join(f"{part.name}: {one.why}" for part, one in judged)
        return Verdict("right", min(score, 1.0), facts, found, why[:300])


def _noted(part: Part, problem: Problem, response: str, facts: dict[str, float]) -> Verdict:
    """The part's verdict. Its score becomes a fact of the whole under its name; its own facts, under NAME/FACT.

    "format" and "thought" keep their plain names too, because runs report them.
    """
    verdict = part.judge(problem, response)
    for name, value in verdict.parts.items():
        facts[f"{part.name}/{name}"] = value
        if name in ("format", "thought"):
            facts.setdefault(name, value)
    if verdict.score is not None:
        facts[part.name] = verdict.score
    return verdict


def _plain(part: Part) -> dict[str, Any]:
    """What a part was made with, defaults left out."""
    made = {name: getattr(part, name) for name in Part.__dataclass_fields__}
    bare = Part(part.name, part.verifier)
    return {
        key: dict(one) if key == "reference" else one
        for key, one in made.items()
        if key in ("name", "verifier") or one != getattr(bare, key)
    }


def from_name(name: str) -> Composed:
    """The composition a line of JSON describes. Raises ConfigError, with the key that is wrong."""
    try:
        given = json.loads(name)
    except ValueError as error:
        raise ConfigError(f"The verifier {name[:60]!r} begins like a composition, but is not JSON: {error}.") from error
    return from_settings(given)


def from_settings(given: Mapping[str, Any]) -> Composed:
    """The same from a mapping: {"gates": [...], "parts": [...]}, each a part's settings, or the name of a verifier."""
    unknown = next((key for key in given if key not in ("gates", "parts")), None)
    if unknown is not None:
        raise ConfigError(f"A composition has no key {unknown!r}; it takes gates and parts.")
    return Composed(tuple(map(part_of, given.get("parts", []))), tuple(map(part_of, given.get("gates", []))))


def part_of(given: Any) -> Part:
    """A part from its settings; a plain verifier's name is a part of that name. Raises ConfigError."""
    if isinstance(given, str):
        return Part(given.rpartition(":")[2], given)
    if not isinstance(given, Mapping):
        raise ConfigError(f"A part of a composition must be a verifier's name or a table, not {given!r:.60}.")
    unknown = next((key for key in given if key not in Part.__dataclass_fields__), None)
    if unknown is not None:
        raise ConfigError(
            f"A part of a composition has no key {unknown!r}; it takes {', '.join(Part.__dataclass_fields__)}."
        )
    if "verifier" not in given:
        raise ConfigError(f"The part {dict(given)!r:.60} of a composition names no verifier.")
    if not isinstance(given.get("reference", {}), Mapping):
        raise ConfigError(f"The reference of the part {given.get('name', given['verifier'])!r} must be a table.")
    settings = dict(given)
    return Part(settings.pop("name", None) or str(given["verifier"]).rpartition(":")[2], **settings)


def verifiers_of(name: str) -> list[str]:
    """The verifiers a composition is made of, by name."""
    made = from_name(name)
    return [one for part in (*made.gates, *made.parts) for one in (part.verifier, part.also) if one is not None]
