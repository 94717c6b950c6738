"""Other people's graders, for a second opinion: they judge in the same killable workers, and are audited like ours.

Not for: training. Each has known wrong verdicts; `burnish audit` counts them on labelled answers.
"""

from __future__ import annotations

import logging

from burnish.records import Problem, Verdict
from burnish.verify.format import split_response

MATH_VERIFY_SETTINGS = {"boxed_match_priority": 0, "allow_set_relation_comp": True, "float_rounding": 9}
"""math-verify with the settings that made the fewest errors of those tried: a box outranks other anchors, an interval may be
written as an inequality, and decimals are compared to nine places instead of six."""


def math_verify(problem: Problem, response: str) -> Verdict:
    """reference: answer. math-verify's verdict on what stands outside the thought; its timeouts are off, the pool has its own."""
    import math_verify as library  # slow to import

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at every call that its timeouts are off
    targets = [
        library.LatexExtractionConfig(boxed_match_priority=MATH_VERIFY_SETTINGS["boxed_match_priority"]),
        library.ExprExtractionConfig(),
    ]
    bare = bool(problem.reference.get("bare"))
    gold_text = str(problem.reference["answer"])
    said = response if bare else split_response(response).answer_region
    if said is None:
        return Verdict("wrong", 0.0, {}, None, "the thought was never closed")
    gold = library.parse(f"\\boxed{{{gold_text}}}", targets, parsing_timeout=None)
    if not gold:
        return Verdict(
            "no_verdict", None, why=f"math-verify cannot parse the gold answer {gold_text[:100]!r}", fault="gold"
        )
    answer = library.parse(f"\\boxed{{{said}}}" if bare else said, targets, parsing_timeout=None)
    found = str(answer[-1])[:1000] if answer else None
    right = library.verify(
        gold,
        answer,
        float_rounding=MATH_VERIFY_SETTINGS["float_rounding"],
        allow_set_relation_comp=bool(MATH_VERIFY_SETTINGS["allow_set_relation_comp"]),
        timeout_seconds=None,
        raise_on_error=True,
    )
    why = "math-verify holds them equal" if right else "math-verify does not hold them equal"
    return Verdict("right" if right else "wrong", float(right), {}, found, why)
