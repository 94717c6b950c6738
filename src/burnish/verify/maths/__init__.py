r"""Mathematical answers: is this answer the gold answer, however it is written?

`verify` takes a bare answer, `judge_response` a whole completion. Both give a Verdict and never raise for what a model
wrote. Not for programs or puzzles. No torch; sympy and math-verify are loaded only in a process of their own.

The way of a pair: one spelling (`normalise`), tokens, an expression tree by our own bounded grammar (`grammar`,
`commands`), a typed value (`answers`, `shapes`, `tree`), and a comparison by type (`compare`) that computes exact
rationals, or 72 digits at fixed random points (`equal`, `evaluate`). What only a computer algebra system can read
(integrals, limits) goes to `symbolic`: a process with a deadline that is killed when it is over.

What the verdicts mean:
- right, wrong: `found` is the answer as it was read from the response, `why` says how it was found and compared.
- A response without an answer, and an answer that cannot be read or is too large to compute, is wrong.
- A gold that cannot be read or computed, where the answer is not the same text, is no_verdict with fault "gold".
- A comparison that the symbolic tier did not finish in time is no_verdict with fault "timeout".
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from burnish.records import Verdict
from burnish.verify.format import STYLES, Style, extract_answer, joined_boxes, split_response
from burnish.verify.maths import symbolic
from burnish.verify.maths.answers import ambiguous, read
from burnish.verify.maths.compare import same
from burnish.verify.maths.evaluate import TooLarge, Undecided
from burnish.verify.maths.normalise import Unreadable, plain
from burnish.verify.maths.spellings import without_lead
from burnish.verify.maths.tree import Choice, Many, Reading, Rules, Scalar, Words

__all__ = ["clear_caches", "judge_response", "verify"]

DEADLINE_S = 3.0
"""Seconds the symbolic tier may take for one pair; everything else is bounded by counting, far below."""
_SHOWN = 1000
_INTEGER = re.compile(r"-?[1-9]\d{0,17}|0")
_MARKS = ("<think>", "</think>", "<answer>", "\\boxed", "\\fbox", "####")
_PHRASES = re.compile(r"\b(?:answer|option|choice)\b[^\n]{0,40}?(?:\bis\b|:)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"-?(?:0,\d{1,12}|\d{1,2},\d)")
_COMMA_FOR_POINT = re.compile(r"-?\d{1,9},\d{1,2}")
_THOUSANDFOLD = re.compile(r"[$€£]?(\d{1,9}(?:\.\d{1,9})?)[kK]")


@dataclass(frozen=True, slots=True)
class _Finding:
    """right, wrong, or None with a fault; and why."""

    right: bool | None
    why: str
    fault: str = ""


def verify(
    gold: str,
    answer: str,
    *,
    choices: Sequence[str] = (),
    absolute: float | None = None,
    relative: float | None = None,
    units: str = "optional",
    deadline_s: float = DEADLINE_S,
) -> Verdict:
    r"""Whether a bare answer is the gold answer.

    An answer that carries its own frame (`\boxed{...}`, `<answer>`, `####`, "the answer is ...") is taken out of it, as
    `judge_response` does. Order matters: the gold says what kind of answer is wanted, and whether it is exact.

    choices     the options of a multiple choice, in order from A: then the letter and the text of an option are one
    absolute    a tolerance of the task's own, in place of the rule for decimals (see docs/verify-math.md)
    relative    the same, as a share of the gold
    units       "optional" (may be left out, must not be wrong), or "required" where the gold has one
    deadline_s  for the symbolic tier

    Raises ValueError for settings that make no sense.
    """
    marked = any(mark in answer for mark in _MARKS)
    if marked or (_PHRASES.search(answer, 0, 4_000) and without_lead(answer.strip() or " ") == answer.strip()):
        framed = judge_response(
            gold, answer, choices=choices, absolute=absolute, relative=relative, units=units, deadline_s=deadline_s
        )
        if framed.found is not None or any(mark in answer for mark in _MARKS[:3]):
            return framed
    began = time.perf_counter()
    finding = _compared(gold, answer, choices, _rules(absolute, relative, units), deadline_s)
    return _verdict(finding, {}, answer, "", began)


def judge_response(
    gold: str,
    response: str,
    *,
    style: Style = "any",
    strict: bool = False,
    choices: Sequence[str] = (),
    absolute: float | None = None,
    relative: float | None = None,
    units: str = "optional",
    deadline_s: float = DEADLINE_S,
) -> Verdict:
    r"""Whether a completion's answer is the gold answer.

    Nothing inside `<think>` counts, and an unfinished thought has no answer. The last answer of a kind wins; boxes side
    by side are one answer of several values, so boxing every candidate is wrong and boxing both roots is right.

    style   where the answer may stand: see `burnish.verify.format.extract_answer`
    strict  the response must be well formed as well (one thought, one `<answer>`, nothing else), else it is wrong

    How the answer was found is in `parts`, as "found_boxed": 1.0 and the like, and in `why`. The rest is as in `verify`.
    """
    began = time.perf_counter()
    if style not in STYLES:
        raise ValueError(f"unknown answer style {style!r}: choose one of {', '.join(STYLES)}")
    rules = _rules(absolute, relative, units)
    parsed = split_response(response)
    parts = parsed.parts
    answer = extract_answer(parsed, style)
    if answer is None:
        why = parsed.why if parsed.answer_region is None else "no answer was found"
        return Verdict("wrong", 0.0, parts, None, why, time.perf_counter() - began)
    text = answer.text
    if answer.how == "boxed" and parsed.answer_region is not None:
        text = joined_boxes(parsed.answer_region) or text
    parts = {**parts, f"found_{answer.how}": 1.0}
    if strict and not parsed.well_formed:
        return Verdict(
            "wrong", 0.0, parts, text[:_SHOWN], f"not well formed: {parsed.why}", time.perf_counter() - began
        )
    finding = _compared(gold, text, choices, rules, deadline_s)
    return _verdict(finding, parts, text, answer.how, began)


def clear_caches() -> None:
    """Forget every reading: for measurements of what a fresh text costs."""
    from burnish.verify.maths.equal import sketch

    read.cache_clear()
    sketch.cache_clear()


def _rules(absolute: float | None, relative: float | None, units: str) -> Rules:
    if units not in ("optional", "required"):
        raise ValueError(f"units is {units!r}: choose optional or required")
    for name, value in (("absolute", absolute), ("relative", relative)):
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value!r}: a tolerance is a number of zero or more")
    return Rules(
        None if absolute is None else Fraction(absolute), None if relative is None else Fraction(relative), units
    )


def _verdict(finding: _Finding, parts: dict[str, float], found: str, how: str, began: float) -> Verdict:
    why = f"{finding.why} ({how})" if how else finding.why
    seconds = time.perf_counter() - began
    if finding.right is None:
        return Verdict("no_verdict", None, parts, found[:_SHOWN], why, seconds, finding.fault)
    return Verdict("right" if finding.right else "wrong", float(finding.right), parts, found[:_SHOWN], why, seconds)


def _compared(gold: str, answer: str, choices: Sequence[str], rules: Rules, deadline_s: float) -> _Finding:
    gold, answer = gold.strip(), _ended(answer)
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer) and rules.absolute is rules.relative is None:
        return _Finding(gold == answer, f"{'equals' if gold == answer else 'does not equal'} {gold}")
    if not gold:
        return _Finding(None, "the gold answer is empty", "gold")
    if not answer:
        return _Finding(False, "the answer is empty")
    if gold == answer or _same_spelling(gold, answer):
        return _Finding(True, f"the same text as {gold[:80]}")
    if choices:
        finding = _of_choices(gold, answer, choices, rules, deadline_s)
        if finding is not None:
            return finding
    return _by_readings(gold, answer, rules, deadline_s)


def _ended(answer: str) -> str:
    r"""Without white space at the ends, and without the backslash of a `\ ` that stood there."""
    text = answer.rstrip()
    if text.endswith("\\") and not text.endswith("\\\\") and len(text) < len(answer):
        text = text[:-1]
    return text.strip()


def _same_spelling(gold: str, answer: str) -> bool:
    """The same text but for markup and white space. "1 2" and "12" are not: a space between digits is kept."""
    try:
        one, two = plain(gold), plain(answer)
    except Unreadable:
        return False
    if one.startswith("\\{") and two.startswith("\\{"):  # {x : x > 0} and {x | x > 0}
        one, two = one.replace(":", "|", 1), two.replace(":", "|", 1)
    return bool(one) and _tight(one) == _tight(two)


def _tight(text: str) -> str:
    return _LOOSE.sub("", text)


_LOOSE = re.compile(r"(?<![A-Za-z0-9.])\s+|\s+(?![A-Za-z0-9.])")


def _by_readings(gold: str, answer: str, rules: Rules, deadline_s: float) -> _Finding:
    """Compare what the two texts are read as; where commas or letters can be read two ways, both are tried."""
    wanted, found = read(gold), read(answer)
    if wanted.value is not None and found.value is not None:
        try:
            right = same(wanted.value, found.value, rules) or _otherwise(gold, answer, wanted, found, rules)
        except TooLarge as error:
            return _too_large(wanted, error)
        except Undecided:
            return _symbolic(gold, answer, deadline_s)
        return _Finding(right, f"{'equals' if right else 'does not equal'} {gold[:80]}")
    if wanted.value is None and not wanted.symbolic:
        return _Finding(None, f"the gold answer {gold[:80]!r} cannot be read: {wanted.why}", "gold")
    if (wanted.symbolic or found.symbolic) and (wanted.value is not None or wanted.symbolic):
        if found.value is None and not found.symbolic:
            return _Finding(False, f"the answer cannot be read: {found.why}")
        if isinstance(found.value, Words) or isinstance(wanted.value, Words | Choice):
            return _Finding(False, f"does not equal {gold[:80]}")
        return _symbolic(gold, answer, deadline_s)
    return _Finding(False, f"the answer cannot be read: {found.why}")


def _otherwise(gold: str, answer: str, wanted: Reading, found: Reading, rules: Rules) -> bool:
    """The other readings: commas between values, a comma as the decimal point, one letter as a unit."""
    if ambiguous(gold) or ambiguous(answer):
        pair = read(gold, lists=True).value, read(answer, lists=True).value
        if pair[0] is not None and pair[1] is not None and same(pair[0], pair[1], rules):
            return True
    for comma, point in ((gold, found), (answer, wanted)):
        if _DECIMAL_COMMA.fullmatch(comma) and isinstance(point.value, Scalar) and point.value.decimals is not None:
            value = read(comma.replace(",", ".")).value
            if isinstance(value, Scalar) and value.tree == point.value.tree and point.value.unit is None:
                return True
    if isinstance(wanted.value, Scalar) and wanted.value.tree[0] == "n":
        if wanted.value.decimals is not None and _COMMA_FOR_POINT.fullmatch(answer):
            pointed = read(answer.replace(",", ".")).value
            return pointed is not None and same(wanted.value, pointed, rules)
        if thousands := _THOUSANDFOLD.fullmatch(answer):
            return bool(wanted.value.tree[1] == Fraction(thousands[1]) * 1_000)
    if not isinstance(wanted.value, Scalar) or not isinstance(found.value, Scalar | Many):
        return False
    spaced = read(gold, units="spaced").value
    if isinstance(spaced, Scalar) and spaced.unit is not None:
        other = read(answer, units="any").value
        return other is not None and same(spaced, other, rules)
    spaced = read(answer, units="spaced").value
    if isinstance(spaced, Scalar) and spaced.unit is not None and wanted.value.tree[0] == "n":
        return same(wanted.value, spaced, rules)
    return False


def _too_large(wanted: Reading, error: TooLarge) -> _Finding:
    """Too large to compute: the gold's fault if it is the gold that is, else a wrong answer."""
    assert wanted.value is not None
    try:
        same(wanted.value, Scalar(("+", ("v", "a"), ("v", "b"))), Rules())
        from burnish.verify.maths.equal import computable

        if computable(wanted.value):
            return _Finding(False, f"the answer is too large to compute: {error}")
    except (TooLarge, Undecided):
        pass
    return _Finding(None, f"the gold answer is too large to compute: {error}", "gold")


def _symbolic(gold: str, answer: str, deadline_s: float) -> _Finding:
    outcome = symbolic.equal(gold, answer, deadline_s)
    if outcome.equal is None:
        if outcome.fault == "refused":
            return _Finding(False, f"the answer cannot be compared: {outcome.why}")
        return _Finding(None, f"the symbolic comparison failed: {outcome.why}", outcome.fault)
    return _Finding(outcome.equal, f"{'equals' if outcome.equal else 'does not equal'} {gold[:80]}, symbolically")


# ---- multiple choice

_PREFIX = re.compile(r"\s*[(\[]?([A-Ja-j])\s*[).:\]]\s*")


def _of_choices(gold: str, answer: str, choices: Sequence[str], rules: Rules, deadline_s: float) -> _Finding | None:
    """A letter and the text of its option are one; None where the gold is neither."""
    options = [_without_letter(choice, place) for place, choice in enumerate(choices)]
    wanted = read(gold).value
    if isinstance(wanted, Choice) and ord(wanted.letter) - 65 < len(options):
        index = ord(wanted.letter) - 65
    else:
        matches = [place for place, option in enumerate(options) if _equals(gold, option, rules, deadline_s)]
        if len(matches) != 1:
            return None
        index = matches[0]
    letter = chr(65 + index)
    found = read(answer).value
    if isinstance(found, Choice) or (
        isinstance(found, Scalar) and len(answer.strip("().")) == 1 and answer.strip("().").isalpha()
    ):
        named = found.letter if isinstance(found, Choice) else answer.strip("().").upper()
        return _Finding(named == letter, f"{'is' if named == letter else 'is not'} choice {letter}")
    right = _equals(options[index], answer, rules, deadline_s)
    if right and any(
        _equals(option, answer, rules, deadline_s) for place, option in enumerate(options) if place != index
    ):
        right = _same_spelling(options[index], answer)
    return _Finding(right, f"{'is' if right else 'is not'} the text of choice {letter}")


def _without_letter(choice: str, place: int) -> str:
    """An option's text without the letter of its place before it: "B) 12" is "12", but "(a + b)c" stays what it is."""
    found = _PREFIX.match(choice)
    return (choice[found.end() :] if found and ord(found[1].upper()) - 65 == place else choice).strip()


def _equals(gold: str, answer: str, rules: Rules, deadline_s: float) -> bool:
    if gold == answer or _same_spelling(gold, answer):
        return True
    return _by_readings(gold, answer, rules, deadline_s).right is True
