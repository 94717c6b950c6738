"""How often a model solved each problem, from answers that were judged, and which problems a band of pass rates keeps.

A pass rate is right / (right + wrong). An answer without a verdict says nothing and is left out; a problem with too few verdicts is
unmeasured, not hard. Not for: sampling answers (burnish eval, burnish train), or changing the order of problems (tasks.curriculum).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from burnish.errors import ConfigError
from burnish.records import fingerprint

RIGHT, WRONG, NO_VERDICT = "right", "wrong", "no_verdict"


@dataclass(frozen=True, slots=True)
class Band:
    """Pass rates from `low` to `high`, both within."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Band:
        """ "0.1..0.9". Raises ConfigError."""
        low, dots, high = text.partition("..")
        try:
            band = cls(float(low), float(high)) if dots else None
        except ValueError:
            band = None
        if band is None or not 0.0 <= band.low <= band.high <= 1.0:
            raise ConfigError(
                f"--band {text!r} is no band of pass rates; write LOW..HIGH within 0 and 1, such as 0.1..0.9."
            )
        return band

    def reason(self, rate: float) -> str | None:
        """Why a rate is outside: "too_hard" or "too_easy"; None within."""
        # A rate is a ratio of counts: 0.1 is meant to hold 1 of 10 whatever the last bit says.
        if rate < self.low - 1e-9:
            return "too_hard"
        return "too_easy" if rate > self.high + 1e-9 else None


@dataclass(slots=True)
class Tally:
    """The verdicts on one problem."""

    right: int = 0
    judged: int = 0
    without: int = 0

    @property
    def rate(self) -> float | None:
        """None where nothing was judged."""
        return self.right / self.judged if self.judged else None


@dataclass
class Measured:
    """Verdicts by problem, found again by its id or by its question, blind to case, Unicode form and white space."""

    answers: int = 0
    without: int = 0
    _by_question: dict[str, Tally] = field(default_factory=dict)
    _by_id: dict[str, Tally] = field(default_factory=dict)
    _short_of: dict[str, str | None] = field(default_factory=dict)
    """The end of a problem's id, after task and split -> the id; None where two ids end so."""

    def __len__(self) -> int:
        return len(self._by_question) or len(self._by_id)

    def add(self, outcome: str, question: str | None, problem_id: str | None, print_of: str | None = None) -> None:
        """One answer. `print_of` is the problem's fingerprint where that is stored and the question is not."""
        self.answers += 1
        self.without += outcome == NO_VERDICT
        key = fingerprint(question) if question is not None else print_of
        tallies = []
        if key is not None:
            tallies.append(self._by_question.setdefault(key, Tally()))
        if problem_id is not None:
            tallies.append(self._by_id.setdefault(problem_id, Tally()))
            short = problem_id.split("/", 2)[-1]
            known = self._short_of.setdefault(short, problem_id)
            if known != problem_id:
                self._short_of[short] = None
        for tally in tallies:
            tally.judged += outcome != NO_VERDICT
            tally.right += outcome == RIGHT
            tally.without += outcome == NO_VERDICT

    def of_question(self, text: str) -> Tally | None:
        return self._by_question.get(fingerprint(text))

    def of_id(self, name: str) -> Tally | None:
        """By the whole id ("rows/train/17") or by its end ("17"), where only one problem's ends so."""
        return self._by_id.get(name) or self._by_id.get(self._short_of.get(name) or "")
