"""How often the verifiers that ship are wrong, as measured: rates that travel with every score. Pure, but for one file read.

`verifier_rates.json` holds one entry for each (verifier, labelled set): which version, on what, by which command, how many false
positives and false negatives. `python benchmarks/verifier_rates.py --write` makes it; a test measures again.

Not for: measuring (audit.py), or correcting a score by these rates: they are of these sets, and another set has others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from burnish.evaluate.audit import wilson
from burnish.records import Interval

FILE = Path(__file__).with_name("verifier_rates.json")


@dataclass(frozen=True, slots=True)
class Measured:
    """A verifier on one labelled set.

    version          of the verifier's code when it was measured: "math@5f0c2a9b1d3e"
    data, command    what it was measured on, and the command that does it again
    wrong, right     answers labelled so
    """

    verifier: str
    version: str
    data: str
    command: str
    wrong: int
    right: int
    false_positives: int
    false_negatives: int
    no_verdict: int

    @property
    def false_positive_rate(self) -> Interval | None:
        """Wrong answers held right, of all labelled wrong, with Wilson's interval."""
        return wilson(self.false_positives, self.wrong) if self.wrong else None

    @property
    def false_negative_rate(self) -> Interval | None:
        """Right answers held wrong, of all labelled right."""
        return wilson(self.false_negatives, self.right) if self.right else None


@cache
def measured() -> tuple[Measured, ...]:
    """All entries of the file."""
    return tuple(Measured(**entry) for entry in json.loads(FILE.read_text()))


def rates_of(identity: str) -> list[Measured]:
    """What is known of the verifier of an identity such as "math@5f0c2a9b1d3e"; [] where nobody measured it."""
    name = identity.rpartition("@")[0] or identity
    return [entry for entry in measured() if entry.verifier == name]


def as_json(identity: str) -> list[dict[str, Any]]:
    """The entries of a verifier with their intervals; `same_version` says whether this very code was measured."""
    return [
        {
            "data": entry.data,
            "command": entry.command,
            "version": entry.version,
            "same_version": entry.version == identity,
            "wrong": entry.wrong,
            "right": entry.right,
            "no_verdict": entry.no_verdict,
            "false_positives": entry.false_positives,
            "false_negatives": entry.false_negatives,
            "false_positive_rate": _plain(entry.false_positive_rate),
            "false_negative_rate": _plain(entry.false_negative_rate),
        }
        for entry in rates_of(identity)
    ]


def sentences(identity: str, rates: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for a person, a line each."""
    if not rates:
        return [
            f"Nobody has measured how often {identity} is wrong; burnish audit does, on answers that people labelled."
        ]
    found = []
    for one in rates:
        parts = [
            f"{one[count]} of {one[total]:,} {kind} ({rate['low']:.2%} to {rate['high']:.2%})"
            for count, total, kind, rate in (
                ("false_positives", "wrong", "wrong answers held right", one["false_positive_rate"]),
                ("false_negatives", "right", "right answers held wrong", one["false_negative_rate"]),
            )
            if rate is not None
        ]
        when = "" if one["same_version"] else f", measured at {one['version']}"
        found.append(f"{identity} on {one['data']}: {', '.join(parts)}{when}.")
    return found


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}
