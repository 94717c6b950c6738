"""Verifiers of how a response is made and not of what it says: format, language, length, JSON. Not for instructions in the question.

Each can stand alone or be a part or a gate of a composition. `of` in the reference says what is looked at: "thought", "answer" (what
is in `<answer>`, else all that follows the thought) or "response" (everything).
"""

from __future__ import annotations

import re
from typing import Any

from burnish.records import Problem, Verdict
from burnish.verify import schema as json_schema
from burnish.verify.format import Response, extract_answer, split_response
from burnish.verify.language import LANGUAGES, evidence

_OF = ("thought", "answer", "response")
_BOUNDS = ("min_words", "max_words", "min_characters", "max_characters")
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_SHOWN = 1000


def verify_format(problem: Problem, response: str) -> Verdict:
    """Right where the response is well formed: at most one thought, with something in it, then exactly one answer. No reference."""
    parsed = split_response(response)
    return _verdict(parsed, parsed.well_formed, None, parsed.why or "well formed")


def verify_language(problem: Problem, response: str) -> Verdict:
    """reference: language (a code such as "en"), of (default "thought"), sure (default false).

    Wrong where there is evidence of another language or script. Where it is unclear (little text, or formulas alone) it is right,
    unless `sure`: a thought in numbers is in no language. See `burnish.verify.language` for what can be told.
    """
    parsed, reference = split_response(response), problem.reference
    language, sure = reference["language"], reference.get("sure", False)
    if language not in LANGUAGES:
        return _fault(parsed, f"the language {language!r:.40} is none of {', '.join(LANGUAGES)}")
    if not isinstance(sure, bool):
        return _fault(parsed, f"sure must be true or false, not {sure!r:.40}")
    found = _part(parsed, response, reference.get("of", "thought"))
    if found is None:
        return _fault(parsed, f"of must be one of {', '.join(_OF)}, not {reference.get('of')!r:.40}")
    told, why = evidence(found, language)
    return _verdict(parsed, told == "yes" or (told == "unclear" and not sure), None, why)


def verify_length(problem: Problem, response: str) -> Verdict:
    """reference: min_words, max_words, min_characters, max_characters (at least one), of (default "response").

    A word is what white space separates. White space at the ends does not count.
    """
    parsed, reference = split_response(response), problem.reference
    bounds: dict[str, int] = {name: bound for name in _BOUNDS if (bound := reference.get(name)) is not None}
    if not bounds or not all(type(bound) is int and bound >= 0 for bound in bounds.values()):
        return _fault(parsed, f"a length needs at least one of {', '.join(_BOUNDS)}, each a whole number")
    for unit in ("words", "characters"):
        if bounds.get(f"min_{unit}", 0) > bounds.get(f"max_{unit}", float("inf")):
            return _fault(parsed, f"min_{unit} is above max_{unit}, so nothing could be right")
    found = _part(parsed, response, reference.get("of", "response"))
    if found is None:
        return _fault(parsed, f"of must be one of {', '.join(_OF)}, not {reference.get('of')!r:.40}")
    sizes = {"words": len(found.split()), "characters": len(found.strip())}
    for name, bound in bounds.items():
        side, _, unit = name.partition("_")
        if sizes[unit] < bound if side == "min" else sizes[unit] > bound:
            return _verdict(parsed, False, None, f"{sizes[unit]} {unit}, but {name} is {bound}")
    return _verdict(parsed, True, None, f"{sizes['words']} words, {sizes['characters']} characters")


def verify_json(problem: Problem, response: str) -> Verdict:
    """reference: schema (optional; see `burnish.verify.schema` for the keywords), of (default "answer").

    Right where the text is one JSON value, alone or in one fenced block, and fits the schema.
    """
    parsed, reference = split_response(response), problem.reference
    wanted = reference.get("schema", True)
    try:
        json_schema.check_schema(wanted)
    except json_schema.BadSchema as error:
        return _fault(parsed, f"the schema cannot be used: {error}")
    found = _part(parsed, response, reference.get("of", "answer"))
    if found is None:
        return _fault(parsed, f"of must be one of {', '.join(_OF)}, not {reference.get('of')!r:.40}")
    try:
        value = json_schema.parse(unfenced(found))
    except json_schema.NotJson as error:
        return _verdict(parsed, False, found, f"not JSON: {error}")
    wrong = json_schema.misfit(value, wanted)
    return _verdict(parsed, not wrong, found, wrong or "JSON that fits")


def unfenced(text: str) -> str:
    """What stands in the one fenced block a text is; the text itself where it is none."""
    fenced = _FENCE.fullmatch(text)
    return fenced[1] if fenced and "```" not in fenced[1] else text


def _part(parsed: Response, response: str, of: Any) -> str | None:
    """The text that is meant, "" where the response has none; None for an `of` that is not known."""
    if of == "thought":
        return parsed.thought or ""
    if of == "response":
        return response
    if of == "answer":
        answer = extract_answer(parsed, "answer_tag")
        return answer.text if answer is not None else parsed.answer_region or ""
    return None


def _verdict(parsed: Response, right: bool, found: str | None, why: str) -> Verdict:
    shown = None if found is None else found[:_SHOWN]
    return Verdict("right" if right else "wrong", float(right), parsed.parts, shown, why)


def _fault(parsed: Response, why: str) -> Verdict:
    return Verdict("no_verdict", None, parsed.parts, None, why, fault="gold")
