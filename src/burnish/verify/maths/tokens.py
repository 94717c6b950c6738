r"""A plain text becomes tokens. Not for grammar.

Kinds: num, cmd (a LaTeX command with its backslash), letter (one variable letter), word (letters that stand together),
text (the content of \text{...} and its kin), op (anything else, one character). `spaced` is True where white space stood
before the token: "1 2" is not 12, and "5 m" may be five metres where "5m" is five times m.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from burnish.verify.maths.normalise import Unreadable
from burnish.verify.maths.tree import names

MOST = 700


class Token(NamedTuple):
    kind: str
    text: str
    spaced: bool


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<num>(?:\d+\.\d+|\d+\.(?!\d)|\d+|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<cmd>\\[A-Za-z]+\*?|\\.)"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<op>.)",
    re.DOTALL,
)
_TEXTS = frozenset(names(r"\text \textbf \textit \textrm \textsf \texttt \mbox \hbox \emph \textnormal \underline"))
_LETTERS = frozenset(
    names(r"\mathrm \mathbf \mathit \mathsf \mathcal \boldsymbol \bm \vec \hat \operatorname \operatorname*")
)
_BOLD = frozenset(names(r"\mathbf \boldsymbol \bm \vec \hat"))
_GROUP = re.compile(r"\s*\{([^{}]*)\}")
_NESTED = re.compile(r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_BARE_ARGUMENT = re.compile(r"\s*(\\?[A-Za-z]+|\d)")
_VECTOR_LETTER = re.compile(r"\\?(?:[ijk]|imath|jmath|hat\{?[ijk]\}?)")


def tokens(text: str) -> list[Token]:
    """All tokens of a text. Raises Unreadable where there are more than `MOST`."""
    out: list[Token] = []
    at, spaced = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None  # the last alternative takes any character
        kind, at = match.lastgroup or "op", match.end()
        piece = match.group()
        if kind == "space":
            spaced = True
            continue
        if kind == "cmd" and (piece in _TEXTS or piece in _LETTERS):
            at = _content(out, text, at, piece, spaced)
        elif kind == "word" and len(piece) == 1:
            out.append(Token("letter", piece, spaced))
        else:
            out.append(Token(kind, piece, spaced))
        spaced = False
        if len(out) > MOST:
            raise Unreadable("too long: more parts than an answer has")
    return out


def _content(out: list[Token], text: str, at: int, command: str, spaced: bool) -> int:
    r"""The token of `\text{...}` and its kin; returns where reading goes on."""
    group = _NESTED.match(text, at) or _BARE_ARGUMENT.match(text, at)
    if group is None:
        raise Unreadable(f"{command} with nothing after it")
    inner = group[1]
    if inner.strip()[:1] == "(" and inner.strip()[-1:] == ")" and inner.strip()[1:-1].isalpha():
        inner = f" {inner.strip()[1:-1]} "  # "7 \text{ (seconds)}"
    plain_inner = inner.replace("\\", "").replace("{", "").replace("}", "").strip()
    if command in _BOLD and _VECTOR_LETTER.fullmatch(inner.strip()):
        out.append(Token("vector", plain_inner.removeprefix("hat")[0], spaced))
    elif command in _LETTERS and len(plain_inner) == 1 and plain_inner.isalpha():
        out.append(Token("letter", plain_inner, spaced))
    elif command in _LETTERS and command.startswith("\\operatorname"):
        out.append(Token("word", plain_inner, spaced))
    elif (plain_inner.isalpha() and len(plain_inner) > 1) or not inner.strip():
        out.append(Token("text", plain_inner, spaced or inner[:1].isspace()))
    elif re.fullmatch(r"[\s\d.,+\-*/^=()]+", inner):  # "\text{5}", "\mathbf{12}"
        out.extend(tokens(inner))
    else:
        out.extend(
            Token("text" if token.kind in ("word", "letter") else token.kind, token.text, token.spaced)
            for token in tokens(inner)
        )
    return group.end()
