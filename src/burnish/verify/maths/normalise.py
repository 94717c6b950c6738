r"""An answer as written becomes one plain spelling: ASCII and a small set of LaTeX commands, with the dress taken off.

Not for meaning: nothing here decides what a text stands for. Every step is linear in the text, and a text that is
longer than any answer is refused before most of them.
"""

from __future__ import annotations

import re
import unicodedata

from burnish.verify.maths import spellings
from burnish.verify.maths.tree import names

LENGTH = 1500
"""Characters of an answer that are read, after wrappers around all of it are taken off."""


class Unreadable(Exception):
    """The text is not an answer of any kind we read; the message says why."""


_MAP = {
    **dict.fromkeys("−–—‒﹣－", "-"),
    **dict.fromkeys("⁄∕／", "/"),
    **dict.fromkeys("·⋅•∙", r"\cdot "),
    **dict.fromkeys("“”″＂", '"'),
    **dict.fromkeys("‘’ʹ′", "'"),
    "×": r"\times ",
    "÷": "/",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "∞": r"\infty ",
    "√": r"\sqrt ",
    "∛": r"\sqrt[3] ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "±": r"\pm ",
    "∓": r"\mp ",
    "⟨": r"\langle ",
    "〈": r"\langle ",
    "⟩": r"\rangle ",
    "〉": r"\rangle ",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "…": r"\ldots ",
    "∖": r"\setminus ",
    "→": r"\to ",
    "⇒": r"\implies ",
    "∠": r"\angle ",
    "∑": r"\sum ",
    "∏": r"\prod ",
    "∫": r"\int ",
    "∧": r"\land ",
    "∨": r"\lor ",
    "∶": ":",
    "ı": "i",
}
_MAP.update({"¢": " cents ", "€": " EUR ", "£": " GBP ", "¥": " yen ", "₹": " rupees ", "₩": " won "})
_GREEK = names(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau upsilon "
    "phi chi psi omega"
)
_MAP.update({chr(0x3B1 + index): f"\\{name} " for index, name in enumerate(_GREEK)})
_MAP.update({"Δ": r"\Delta ", "Σ": r"\Sigma ", "Π": r"\Pi ", "Ω": r"\Omega ", "Γ": r"\Gamma ", "Φ": r"\Phi "})
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ", "0123456789+-nx")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿˣ]+")
_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_IGNORED = frozenset("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u2061\u2062\u2063\u2064\ufe0f\u061c")

_OPENERS = re.compile(
    r"\\(?:boxed|fbox|displaystyle|textstyle|text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|underline|emph)"
    r"\s*(?=\{)"
)
_SPACING = re.compile(
    r"\\(?:left|right|middle|bigl|bigr|biggl|biggr|Bigl|Bigr|Biggl|Biggr|big|Big|bigg|Bigg)(?![A-Za-z])\.?"
    r"|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|thinspace|nobreak|hfill|bf|rm|it|strut|large|Large|LARGE|huge|small|normalsize|boldmath)(?![A-Za-z])"
    r"|(?<!\\)\\[,;:>\s!]|~|\\[hv]space\*?\{[^{}]{0,12}\}|\\(?:hphantom|vphantom|phantom)\{[^{}]{0,12}\}"
)
_COLOUR = re.compile(r"\\(?:text)?color\s*(?:\[[A-Za-z]{0,8}\])?\s*\{[^{}]{0,24}\}")
_THIN_GROUP = re.compile(r"(?<=\d)(?:\\[,;:! ]\s*|~)(?=\d{3}(?!\d))")
_BRACE_GROUP = re.compile(r"(?<=\d)(?:\{,\}|,\\!\s*|,\\,(?=0)|\{,\s*\\!\})\s*(?=\d{3})")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_BINOMIALS = re.compile(r"\\[dt]binom(?![A-Za-z])")
_BARE_CHOICE = re.compile(r"\{\s*([^{}\\]{1,20}?)\s*\\choose\s*([^{}\\]{1,20}?)\s*\}")
_OVER = re.compile(r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}")
_REPEATING = re.compile(r"(\d*)\.(\d{0,20})\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?")
_DOTS = re.compile(r"(\d*)\.(\d*?)(\d{1,6}?)\3{2,}\s?(?:\\ldots|\\dots|\\cdots|\.{3})\s*$")
_CURRENCY_DOLLAR = re.compile(r"\$(?=\s*-?[\d.])|(?<=[\d.])\s?\$$")
_TILDE_WORDS = re.compile(r"\\(?:ldots|dots|cdots|dotsc)(?![A-Za-z])|\.{3,}")
_BRACE_NAMES = {"\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]"}
_SYNONYMS: tuple[tuple[re.Pattern[str], spellings.Meant], ...] = (
    *spellings.FIRST,
    (re.compile(r"\\(?:leq|leqslant|lte)(?![A-Za-z])"), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant|gte)(?![A-Za-z])"), r"\\ge "),
    (re.compile(r"<=|=<"), r"\\le "),
    (re.compile(r">="), r"\\ge "),
    (re.compile(r"!=|\\neq(?![A-Za-z])|\\not\s*="), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<=\d) ?[xX] ?(?=10 ?\^)"), r"\\times "),
    (re.compile(r"\bRs\.? ?(?=\d)"), "Rs "),
    (re.compile(r"(?<![A-Za-z\d.])(\d{1,4}) ?C ?_?\{?(\d{1,4})\}?(?![A-Za-z\d])"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\(?:varnothing|O)(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\(?:degree|textdegree)s?(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ"), r"^\\circ "),
    (re.compile(r"\\(?:lbrace|rbrace|lbrack|rbrack)(?![A-Za-z])"), lambda m: _BRACE_NAMES[m.group()]),
    (re.compile(r"\\(?:vert|lvert|rvert|mid)(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:backslash)(?![A-Za-z])"), r"\\setminus "),
    (re.compile(r"\\sim(?:eq)?(?![A-Za-z])|\\approxeq(?![A-Za-z])|\\doteq(?![A-Za-z])"), r"\\approx "),
    (re.compile(r"\\(?:bmod|pmod)(?![A-Za-z])"), r"\\mod "),
    (re.compile(r"\\(?:RR|R|reals)(?![A-Za-z])|\\mathbf\s*\{R\}|\\Bbb\s*\{?R\}?|\\mathbb\s+R"), r"\\mathbb{R}"),
    *spellings.LAST,
)


def plain(text: str) -> str:
    """The text in one spelling. Raises Unreadable for control characters, broken braces, and what is far too long."""
    text = undressed(text)
    if 0 < len(text) <= LENGTH and (rest := spellings.without_lead(text)) != text:
        text = undressed(rest)
    if len(text) > LENGTH:
        raise Unreadable(f"too long: more than {LENGTH} characters")
    if not text.isascii() or not text.isprintable():
        text = _folded(text)
    if text.isdigit() or text.isalpha():
        return text
    if "\\" in text or "~" in text or "{" in text:
        text = _latex(text)
    text = _dollars(text)
    if "..." in text or "\\ldots" in text or "dots" in text:
        text = _DOTS.sub(_repeating_dots, text)
        text = _TILDE_WORDS.sub(r"\\ldots ", text)
    for pattern, meant in _SYNONYMS:
        text = pattern.sub(meant, text)
    text = _SPACED_NUMBER.sub(lambda found: found[1].replace(" ", ""), text).replace("`", "").strip()
    while text and text[-1] in ".,;:" and not text.endswith("\\ldots"):
        text = text[:-1].rstrip()
    _balanced(text)
    return text


def undressed(text: str) -> str:
    r"""Without what stands round the whole: white space, `$`, markdown, braces, boxes and text commands.

    Works on a pair of indices, so thousands of braces cost one pass and not one copy each.
    """
    text = text.strip()
    if not text or (text[0] not in "\\{$*_`\"'" and text[-1] not in "$*_`.,;"):
        return text
    partner = _partners(text) if "{" in text else {}
    start, end = 0, len(text)
    while start < end:
        before = (start, end)
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if text.startswith("{", start) and partner.get(start) == end - 1:
            start, end = start + 1, end - 1
        elif text.startswith("\\", start) and (match := _OPENERS.match(text, start)):
            if partner.get(match.end()) == end - 1:
                start, end = match.end() + 1, end - 1
        else:
            start, end = _unwrapped(text, start, end)
        if (start, end) == before:
            break
    return text[start:end]


def _unwrapped(text: str, start: int, end: int) -> tuple[int, int]:
    for left, right in (
        ("$$", "$$"),
        ("$", "$"),
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("**", "**"),
        ("__", "__"),
        ("*", "*"),
        ("_", "_"),
        ('"', '"'),
        ("'", "'"),
    ):
        wide = len(left) + len(right)
        if end - start > wide and text.startswith(left, start) and text.endswith(right, start, end):
            if left.startswith("$") and "$" in text[start + len(left) : end - len(right)]:
                continue  # "$1$, $2$": not one pair round all
            if left in "*_\"'" and left in text[start + 1 : end - 1]:
                continue
            return start + len(left), end - len(right)
    if end - start > 1 and text[end - 1] in ".,;" and text[start] in "\\{$*_" and text[end - 2] in "})$*_]":
        return start, end - 1
    return start, end


def _partners(text: str) -> dict[int, int]:
    """Where each brace is closed."""
    opened: list[int] = []
    partner: dict[int, int] = {}
    escaped = False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "{":
            opened.append(index)
        elif character == "}" and opened:
            partner[opened.pop()] = index
    return partner


def _folded(text: str) -> str:
    """In ASCII, character by character: NFKC over the whole would turn "3½" into 31/2 and "10²" into 102."""
    text = _SUPER_RUN.sub(lambda found: f"^{{{found.group().translate(_SUPER)}}}", text)
    text = _SUB_RUN.sub(lambda found: f"_{{{found.group().translate(_SUB)}}}", text)
    out: list[str] = []
    for character in text:
        if character in _MAP:
            out.append(_MAP[character])
        elif character in _IGNORED:
            continue
        elif character.isspace():
            out.append(" ")
        elif character.isascii():
            if not character.isprintable():
                raise Unreadable("control characters")
            out.append(character)
        elif (digit := unicodedata.decimal(character, None)) is not None:
            out.append(str(digit))
        elif unicodedata.decomposition(character).startswith("<fraction>"):
            top, _, bottom = unicodedata.normalize("NFKC", character).partition("\u2044")
            out.append(f"\\frac{{{top}}}{{{bottom}}}")
        elif unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Co"):
            raise Unreadable("control characters")
        else:
            other = unicodedata.normalize("NFKC", character)
            out.append("".join(_MAP.get(part, part) for part in other))
    return "".join(out)


def _latex(text: str) -> str:
    for pattern, meant in spellings.LATEX:
        text = pattern.sub(meant, text)
    text = _COLOUR.sub("", text)
    text = _BRACE_GROUP.sub("", text)
    text = text.replace("\\$", " USD ").replace("\\%", "%").replace("\\#", "#").replace("\\&", " and ")
    text = text.replace("\\(", " ").replace("\\)", " ")
    text = text.replace("\\[", " ").replace("\\]", " ") if "\\\\[" not in text else text
    text = _THIN_GROUP.sub("", text)
    text = text.replace("\\left\\{", "\\{").replace("\\right\\}", "\\}")
    text = _SPACING.sub(lambda found: "" if found.group().endswith("!") else " ", text)
    text = _FRACTIONS.sub(r"\\frac", text)
    text = _BINOMIALS.sub(r"\\binom", text)
    if "\\over" in text:
        text = _OVER.sub(r"\\frac{\1}{\2}", text)
        top, over, bottom = text.partition("\\over ")
        if over and "{" not in top and "{" not in bottom:
            text = f"\\frac{{{top}}}{{{bottom}}}"
    if text.count("\\choose") == 1 and "{" not in text:
        top, bottom = (part.strip() for part in text.split("\\choose"))
        text = f"\\binom{{{top}}}{{{bottom}}}"
    text = _BARE_CHOICE.sub(r"\\binom{\1}{\2}", text)
    return _REPEATING.sub(_repeating, text)


def _repeating(found: re.Match[str]) -> str:
    whole, fixed, cycle = found[1] or "0", found[2], found[3]
    bottom = (10 ** len(cycle) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + cycle) - int(whole + fixed)
    return f"(\\frac{{{top}}}{{{bottom}}})"


def _repeating_dots(found: re.Match[str]) -> str:
    whole, fixed, cycle = found[1] or "0", found[2], found[3]
    if len(whole) > 20 or len(fixed) > 20 or cycle.strip("0") == "":
        return found.group()
    bottom = (10 ** len(cycle) - 1) * 10 ** len(fixed)
    top = int(whole + fixed + cycle) - int(whole + fixed)
    return f"(\\frac{{{top}}}{{{bottom}}})"


def _dollars(text: str) -> str:
    """`$` round mathematics is dropped; one that stands alone before or after a number is a currency."""
    if "$" not in text:
        return text
    if text.count("$") % 2 and (found := _CURRENCY_DOLLAR.search(text)):
        text = text[: found.start()] + " USD " + text[found.end() :]
    return text.replace("$", " ")


_SPACED_NUMBER = re.compile(r"(?<![\d.] )(?<![\d.])(\d{1,3}(?: \d{3})+)(?![\d/]| [\d/])")


def _balanced(text: str) -> None:
    """Raises Unreadable where a brace is not closed or closes nothing, or a backslash ends the text."""
    if "{" not in text and "}" not in text:
        if text.endswith("\\"):
            raise Unreadable("a stray backslash at the end")
        return
    depth, escaped = 0, False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth < 0:
                break
    if depth or escaped:
        raise Unreadable("braces that do not match")
