"""A row from outside (a line of a file, an item of a request) becomes what a verifier takes: a reference and a response.

A row says what was answered, `response` (a whole completion) or `answer` (bare), and what is right: `reference` (all the
verifier needs), `gold` (one answer), or `numbers` (or `nums`) and `target`.

A bare answer goes to any verifier as the response it would have been, in the tags that some verifiers insist on, and with
`bare: true` in its reference: a verifier that can tell a bare answer from a response (math) looks there, the others need not.

Not for: where rows come from (tasks.files, service), or judging them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError

TAGGED = "<think>given</think><answer>{}</answer>"
BARE_FORMS: dict[str, str] = {"tagged_number": TAGGED, "countdown": TAGGED}
"""Verifiers that read an answer only where it stands in their format, and that format."""


def read_row(row: Mapping[str, Any], verifier: str, place: str) -> tuple[dict[str, Any], str]:
    """(reference, response) of a row. Raises DataError, naming the place, where the row lacks one or the other."""
    return with_answer(row, reference_of(row, place), verifier, place)


def with_answer(
    row: Mapping[str, Any], reference: Mapping[str, Any], verifier: str, place: str
) -> tuple[dict[str, Any], str]:
    """The same for a reference that is known already."""
    response, answer = row.get("response"), row.get("answer")
    if isinstance(response, str):
        return dict(reference), response
    if response is not None or isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise DataError(
            f"{place} holds neither a response (text) nor an answer (text or a number), so there is nothing to judge; it has "
            f"{_fields(row)}."
        )
    return {**reference, "bare": True}, BARE_FORMS.get(verifier, "{}").format(answer)


def reference_of(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What is right, as a verifier's reference."""
    if isinstance(row.get("reference"), Mapping):
        return dict(row["reference"])
    gold = row.get("gold")
    if isinstance(gold, float) and not math.isfinite(gold):
        raise DataError(f"{place} has {gold} for its gold, which is no answer; fill it in or leave the row out.")
    if gold is not None:
        return {"answer": gold}
    numbers = row.get("numbers", row.get("nums"))
    if row.get("target") is not None and isinstance(numbers, list):
        return {"numbers": numbers, "target": row["target"]}
    raise DataError(
        f"{place} does not say what is right: give gold, or reference, or numbers and target (or, to verify --task, problem_id); it has "
        f"{_fields(row)}."
    )


def _fields(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row))[:200] or "no field"
