r"""Other ways of writing the same thing, as substitutions on the text: `normalise` applies them.

Not for meaning. Every pattern is linear in the text, and stands for a habit of writing, never for one answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Meant = str | Callable[[re.Match[str]], str]
Spelling = tuple[re.Pattern[str], Meant]

_LEADS = re.compile(
    r"(?:(?:so|thus|hence|therefore|then),? )?(?:the|our|my) (?:final |correct |required ){0,2}"
    r"(?:answer|value|result|solution|total) ?(?:is\b|equals\b|=|:) ?:?",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\text ?\{ ?")


def without_lead(text: str) -> str:
    r"""Without "the answer is" at the start, also inside `\text{...}`."""
    if text[0] not in "\\tTsShHoOmM":
        return text
    opened = _TEXT.match(text)
    found = _LEADS.match(text, opened.end() if opened else 0)
    if found is None:
        return text
    rest = text[found.end() :].lstrip()
    if opened is None:
        return rest or text
    return rest[1:].lstrip() or text if rest.startswith("}") else f"\\text{{{rest}"


LATEX: tuple[Spelling, ...] = (
    (re.compile(r"\\\\ ?\[[^\[\]]{0,8}\]"), r"\\\\ "),  # the space after a row: \\[2pt]
    (re.compile(r"(?<!\\)\\\\\Z"), ""),  # a line break that ends the answer
    (re.compile(r"\\(?:text|mathrm|mbox) ?\{ ?[.,;]? ?\} ?\Z"), ""),
    (re.compile(r"(?<=.) ?\\(?:blacksquare|square|Box|qed|checkmark) ?\Z"), ""),
    (re.compile(r"(?<=\d)\{\.\}(?=\d)"), "."),
    (re.compile(r"(?<=[!)])\{\}"), ""),
    (re.compile(r"\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\\surd(?![A-Za-z])"), r"\\sqrt "),
    (re.compile(r"\\minus(?![A-Za-z])"), "-"),
    (re.compile(r"\\textdollar(?![A-Za-z])"), r"\\$"),
    (re.compile(r"\\(?:pounds|textsterling)(?![A-Za-z])"), " GBP "),
    (re.compile(r"\\(?:euro|texteuro)(?![A-Za-z])"), " EUR "),
    (re.compile(r"(?<=\d)\\mathrm ?\{ ?[eE] ?\}(?=[+-]?\d)"), "e"),
    (re.compile(r"\bU\.?S\.? ?(?=\\\$)"), ""),
)
"""On LaTeX, before anything else is taken off it."""

FIRST: tuple[Spelling, ...] = (
    (re.compile(r"\A(?:negative|minus) (?=[\d.]|\\frac)", re.IGNORECASE), "-"),
    (re.compile(r"</?(?:b|i|u|em|strong|span)>"), ""),
    (re.compile(r"(?<![\d.])(\d{1,3}(?:'\d{3}){1,99})(?!\d)"), lambda found: found[1].replace("'", "")),
    (re.compile(r"(?<![A-Za-z)\]}])\^\{?(\d{1,9})\}? ?/ ?_\{?(\d{1,9})\}?"), r"\\frac{\1}{\2}"),
    (re.compile(r"\b(\d{1,9}) ?(?:h|hrs?) ?(\d{1,2}) ?m(?:ins?)?\b(?! ?[\^/])"), r"\1 hours \2 minutes"),
    (re.compile(r"(?<=\d)([\s~{]{0,3})(?<!\w)([kcm]?)ms ?\^ ?\{? ?- ?([12]) ?\}?"), r"\1\2m/s^\3"),
    (re.compile(r"(?<=\d) ?' ?(\d{1,2}) ?(?:''|\")\Z"), r" feet \1 inches"),
    (re.compile(r"(?<=\d) ?(?:''|\")\Z"), " inches"),
    (re.compile(r"\b(sq|cu|ft|in|yd|cm|mm|km|hrs?|mins?|secs?|lbs?|oz)\.(?=[\s}])"), r"\1"),
    (re.compile(r"(?<=\d) ?\\Omega ?\Z"), " ohms"),
    (re.compile(r"\bUS ?(?=USD\b)"), ""),
)

_SCALE = {"C": " celsius", "F": " fahrenheit"}
LAST: tuple[Spelling, ...] = (
    (
        re.compile(r"\^\\circ {0,3}(?:\\(?:text|mathrm) ?\{ ?([CF]) ?\}|([CF])(?![A-Za-z]))"),
        lambda found: _SCALE[found[1] or found[2]],
    ),
    (
        re.compile(r"\bdegrees? (?:(celsius|fahrenheit)|([CF]))\b", re.IGNORECASE),
        lambda found: _SCALE[(found[1] or found[2])[0].upper()],
    ),
)
