r"""Numbers as people and models write them, compared as exact rationals.

Not for algebra: an expression, an interval or a set is not a number here and reads as None. Nothing is evaluated, no
float is made, and every integer that is built has at most a few hundred digits.

What is deliberately so:
- A percent sign is dropped: "50%" equals a gold of 50 or of 50%, and never 0.5.
- A currency sign or word is dropped; so are other unit words where asked ("18 eggs"), but not words that change the
  number ("5 million", "5 squared") and not words after a gold answer: whoever makes a gold answer makes it plain.
- A separator stands between proper groups of three or it is not one: "1,23" is not a number, nor is "1.234,5".
- "3½" and "3\frac{1}{2}" are three and a half; "10²" is not a number, and never 102.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from burnish.records import Verdict
from burnish.verify.format import Style, extract_answer, split_response

_LENGTH = 1024  # characters that are looked at, after white space at the ends
_DIGITS = 300
_EXPONENT = 300
_SHOWN = 1000  # characters of an answer that a verdict keeps

_COUNT = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)"
_SPACED = r"(?:[1-9][0-9]{0,2}(?: [0-9]{3})+)"
_PREFIX = re.compile(r"(?P<sign>[+-] ?)?(?P<currency>[$€£] ?)?(?P<inner>[+-])?")
_MIXED = re.compile(r"(?P<whole>[0-9]+) {1,3}(?P<top>[0-9]+) ?/ ?(?P<bottom>[0-9]+)")
_RATIO = re.compile(rf"(?P<top>{_COUNT}) ?/ ?(?P<bottom>{_COUNT})")
_DECIMAL = re.compile(
    rf"(?P<whole>{_SPACED}|{_COUNT})?(?:\.(?P<part>[0-9]*))?"
    r"(?:[eE](?P<e>[+-]?[0-9]+)| ?(?:[x*]|\\times) ?10\^(?:\{(?P<braced>[+-]?[0-9]+)\}|(?P<power>[+-]?[0-9]+)))?"
)

_LATEX = (("\\$", "$"), ("\\%", "%"), ("{,}", ","), ("\\!", ""), ("\\,", " "), ("\\;", " "), ("\\ ", " "), ("~", " "))
_LATEX_GROUP = re.compile(r",\\! *")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac ?(?:\{ ?(-?[0-9]+) ?\} ?\{ ?([0-9]+) ?\}|([1-9])([1-9]))")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf)\{([^{}]*)\}")
_WRAPPERS = (("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"))

_CURRENCY = frozenset(("$", "€", "£", "dollar", "dollars", "usd", "euro", "euros", "eur", "pound", "pounds", "gbp"))
_PERCENT = frozenset(("%", "percent", "per cent"))
# Words that are no unit: they scale, combine, negate or compute, so what stands before them is not the answer.
_NOT_UNITS = re.compile(
    "hundreds?|thousands?|millions?|billions?|trillions?|dozens?|half|halves|thirds?|quarters?|fourths?|fifths?|tenths?"
    "|hundredths?|percent|pi|tau|sqrt|squared|cubed|factorial|mod|plus|minus|times|over|divided|and|or|not|nor|to|is|are"
    "|isn|but|if|than|either|neither|approximately|about|infinity"
)
_MINUS = "\u2212\ufe63\uff0d\u2013"
_SLASHES = "\u2044\u2215"


def parse_number(text: str, units: bool = False) -> Fraction | None:
    """The number a text is, exactly; None where it is not one number and nothing else.

    Reads integers, decimals, thousands separators, signs, currency, percent, a/b, mixed numbers, 1e3 and 1.5*10^3, one
    trailing full stop, and digits of any script. `units` also allows up to three words after it. Never raises; more
    than 300 digits or an exponent beyond 300 is None, before any such integer is built.

    >>> parse_number("$1,234.50"), parse_number("3 1/2"), parse_number("18 eggs", units=True), parse_number("1,23")
    (Fraction(2469, 2), Fraction(7, 2), Fraction(18, 1), None)
    """
    plain = _plain(text)
    if plain is None:
        return None
    prefix = _PREFIX.match(plain)
    assert prefix is not None  # every part of it is optional
    if prefix["sign"] and prefix["inner"]:
        return None
    read = _read(plain, prefix.end())
    if read is None:
        return None
    value, end = read
    if not _is_suffix(plain[end:].strip(), units, bool(prefix["currency"])):
        return None
    return -value if "-" in (prefix["sign"] or prefix["inner"] or "") else value


def verify_number(gold: str, response: str, style: Style = "any", *, strict: bool = False) -> Verdict:
    """Right where the response's answer and `gold` are the same rational number.

    style   where answers are looked for, see `extract_answer`
    strict  the response must be well formed as well (see `split_response`), else it is wrong

    A gold that is no number is no_verdict, fault "gold". An answer that is no number is wrong. Raises ValueError for an
    unknown style.
    """
    parsed = split_response(response)
    answer = extract_answer(parsed, style)
    found = None if answer is None else answer.text[:_SHOWN]
    wanted = _gold(gold)
    if wanted is None:
        why = f"the gold answer {gold[:80]!r} is not a number"
        return Verdict("no_verdict", None, parsed.parts, found, why, fault="gold")
    if strict and not parsed.well_formed:
        return Verdict("wrong", 0.0, parsed.parts, found, f"not well formed: {parsed.why}")
    if answer is None:
        why = parsed.why if parsed.answer_region is None else "no answer was found"
        return Verdict("wrong", 0.0, parsed.parts, None, why)
    value = parse_number(answer.text, units=True)
    if value is None:
        return Verdict("wrong", 0.0, parsed.parts, found, "the answer is not a number")
    if value != wanted:
        return Verdict("wrong", 0.0, parsed.parts, found, f"does not equal {gold}")
    return Verdict("right", 1.0, parsed.parts, found, f"equals {gold}")


@lru_cache(maxsize=4096)
def _gold(text: str) -> Fraction | None:
    return parse_number(text)


def _read(plain: str, start: int) -> tuple[Fraction, int] | None:
    """The unsigned number that begins at `start`, and where it ends."""
    if match := _MIXED.match(plain, start):
        if not _bounded(match.group()):
            return None
        whole, top, bottom = int(match["whole"]), int(match["top"]), int(match["bottom"])
        return (whole + Fraction(top, bottom), match.end()) if top < bottom else None  # "3 5/2" is nobody's number
    if match := _RATIO.match(plain, start):
        if not _bounded(match.group()):
            return None
        top, bottom = int(match["top"].replace(",", "")), int(match["bottom"].replace(",", ""))
        return (Fraction(top, bottom), match.end()) if bottom else None
    match = _DECIMAL.match(plain, start)
    if match is None or not (match["whole"] or match["part"]) or not _bounded(match.group()):
        return None
    power = match["e"] or match["braced"] or match["power"] or "0"
    if len(power) > 5 or abs(int(power)) > _EXPONENT:
        return None
    digits, decimals = (match["whole"] or "").replace(",", "").replace(" ", ""), match["part"] or ""
    exponent = int(power) - len(decimals)
    value = int(digits + decimals)
    return (Fraction(value * 10**exponent) if exponent >= 0 else Fraction(value, 10**-exponent)), match.end()


def _bounded(text: str) -> bool:
    return sum(character.isdigit() for character in text) <= _DIGITS


def _is_suffix(text: str, units: bool, currency: bool) -> bool:
    """Whether what stands after a number leaves the number as it is."""
    if not text:
        return True
    words = text.casefold()
    if words in _PERCENT:
        return not currency
    if words in _CURRENCY:
        return True
    if not units:
        return False
    parts = words.split()
    return len(parts) <= 3 and all(map(_is_unit, parts))


def _is_unit(word: str) -> bool:
    # Two letters at least: "5x" and "5 x" are algebra.
    return len(word) > 1 and word.isalpha() and not _NOT_UNITS.fullmatch(word)


def _plain(text: str) -> str | None:
    """The text in ASCII (letters of words apart) without LaTeX and wrappers; None where it cannot be a number."""
    text = text.strip()
    if not text or len(text) > _LENGTH:
        return None
    if not text.isascii():
        folded = _folded(text)
        if folded is None:
            return None
        text = folded
    if "\\" in text or "{" in text or "~" in text:
        text = _LATEX_GROUP.sub(",", text)
        text = _LATEX_FRACTION.sub(lambda found: f" {found[1] or found[3]}/{found[2] or found[4]}", text)
        text = _LATEX_TEXT.sub(r" \1", text)
        for written, meant in _LATEX:
            text = text.replace(written, meant)
    for _ in range(4):
        before = text = text.strip()
        text = text.removesuffix(".")
        for left, right in _WRAPPERS:
            if len(text) > len(left) + len(right) and text.startswith(left) and text.endswith(right):
                text = text[len(left) : -len(right)]
        if text == before:
            break
    return text.strip()


def _folded(text: str) -> str | None:
    """Digits, signs, spaces and full-width forms as ASCII.

    Character by character and not with NFKC over the whole, which would turn "3½" into 31/2 and "10²" into 102.
    """
    out: list[str] = []
    for character in text:
        digit = unicodedata.decimal(character, None)
        if character.isascii() or character in "€£":
            out.append(character)
        elif digit is not None:
            out.append(str(digit))
        elif character in _MINUS:
            out.append("-")
        elif character in _SLASHES:
            out.append("/")
        elif character == "×":
            out.append("*")
        elif character == "°":
            out.append(" degrees ")
        elif character.isspace():
            out.append(" ")
        elif "\uff01" <= character <= "\uff5e":
            out.append(chr(ord(character) - 0xFEE0))
        elif unicodedata.decomposition(character).startswith("<fraction>"):
            out.append(" " + unicodedata.normalize("NFKC", character).replace("\u2044", "/"))
        elif character.isalpha():
            out.append(character)  # may be a unit word; anything else the grammar refuses
        else:
            return None
    return "".join(out)
