"""What an evaluation says of one task: figures, counts, lengths, cost, the verifier's own errors, and what a reader must know.

Not for: files (page.py writes them), or the figures themselves (figures.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from burnish.evaluate import figures, verifiers
from burnish.evaluate.statistics import ENOUGH
from burnish.journal import Ledger
from burnish.records import Judged

NO_VERDICT_SHARE = 0.02
"""Above this share of answers without a verdict, a sentence says so."""


@dataclass(frozen=True)
class TaskScores:
    """The answers of one task and what they cost.

    seconds, prompt_tokens  of all calls that drew answers, together
    parameters              of the network, for its FLOPs; None where nobody knows
    lost                    why answers did not come, a sentence each, of the last call
    """

    rows: Sequence[Judged]
    problems: int
    samples: int
    seconds: float
    prompt_tokens: int
    parameters: int | None
    identity: str
    lost: tuple[str, ...] = ()

    def scored(self, ks: Sequence[int]) -> dict[str, Any]:
        """As report.json holds it."""
        found = figures.figures(self.rows, ks)
        whole = figures.summary(self.rows, self.problems, self.samples)
        return {
            "problems": self.problems,
            "samples": self.samples,
            "answers": whole.answers,
            "missing": whole.missing,
            "no_verdict": whole.no_verdict,
            "figures": {name: figures.as_json(one) for name, one in found.items()},
            "shares": {
                "thinks": _share(whole.thinks, whole.answers),
                "cut off": _share(whole.cut_off, whole.answers),
                "without a verdict": _share(whole.no_verdict, whole.answers),
            },
            "lengths": {"all": whole.length, "right": whole.length_right, "wrong": whole.length_wrong},
            "cost": self._cost(whole),
            "verifier_rates": verifiers.as_json(self.identity),
            "notes": self._notes(whole, found),
            "lost": list(self.lost[-5:]),
        }

    def _cost(self, whole: figures.Summary) -> dict[str, Any]:
        flops = None
        if self.parameters is not None:
            ledger = Ledger(self.parameters)
            ledger.sampled(whole.tokens)
            ledger.forwarded(self.prompt_tokens)
            flops = ledger.flops
        return {
            "tokens": whole.tokens if whole.without_count < whole.answers else None,
            "prompt_tokens": self.prompt_tokens,
            "seconds": self.seconds,
            "flops": flops,
        }

    def _notes(self, whole: figures.Summary, found: dict[str, figures.Figure]) -> list[str]:
        """What a reader must know before quoting a figure."""
        notes = []
        if whole.missing:
            notes.append(
                f"{whole.missing:,} of {self.problems * self.samples:,} answers did not come; the figures stand on the others."
            )
        if whole.no_verdict > NO_VERDICT_SHARE * max(1, whole.answers):
            notes.append(f"{whole.no_verdict:,} of {whole.answers:,} answers have no verdict; they count neither way.")
        if short := [name for name, one in found.items() if one.problems < self.problems]:
            least = min(found[name].problems for name in short)
            notes.append(
                f"{', '.join(short)}: over as few as {least:,} of {self.problems:,} problems, those with enough judged answers."
            )
        if rough := [name for name, one in found.items() if one.rough]:
            notes.append(
                f"{', '.join(rough)}: fewer than {ENOUGH} problems' worth of right, or of wrong, answers; the interval is wide on "
                "purpose. More problems make it sharp, more samples do not."
            )
        if whole.without_count:
            notes.append(f"{whole.without_count:,} answers came without a token count; lengths leave them out.")
        return notes


def convention(samples: int, greedy: bool) -> str:
    """What pass@1 is also called: "avg@16", or "greedy".

    >>> convention(64, greedy=False)
    'avg@64'
    """
    return "greedy" if greedy else f"avg@{samples}"


def _share(count: int, of: int) -> float | None:
    return count / of if of else None
