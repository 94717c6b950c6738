"""Values, texts and tests as a person reads them in a verdict: cut short. Not for comparing."""

from __future__ import annotations

from typing import Any

SHOWN = 200


def show(tree: Any) -> str:
    """A tree as Python would write the value, cut short."""
    return cut(_written(tree, 6))


def _written(tree: Any, depth: int) -> str:
    if depth < 0:
        return "..."
    if isinstance(tree, list):
        return "[" + _several(tree, depth) + "]"
    if not isinstance(tree, dict):
        return repr(tree[:SHOWN]) if isinstance(tree, str) else _number(tree)
    if len(tree) == 1:
        ((tag, body),) = tree.items()
        if tag == "$tuple" and isinstance(body, list):
            return f"({_several(body, depth)}{',' if len(body) == 1 else ''})"
        if tag in ("$set", "$frozenset") and isinstance(body, list):
            return f"{{{_several(body, depth)}}}" if body else "set()"
        if tag == "$dict" and isinstance(body, list):
            pairs = [pair for pair in body[:20] if isinstance(pair, list) and len(pair) == 2]
            return "{" + ", ".join(f"{_written(k, depth - 1)}: {_written(v, depth - 1)}" for k, v in pairs) + "}"
    items = list(tree.items())[:20]
    return "{" + ", ".join(f"{key[:40]!r}: {_written(value, depth - 1)}" for key, value in items) + "}"


def _several(parts: list[Any], depth: int) -> str:
    return ", ".join(_written(part, depth - 1) for part in parts[:50]) + (", ..." if len(parts) > 50 else "")


def _number(tree: Any) -> str:
    if isinstance(tree, int) and tree.bit_length() > 2000:
        return f"an integer of {tree.bit_length()} bits"
    return repr(tree)


def quoted_line(source: str, number: int) -> str:
    lines = source.splitlines()
    return short(lines[number - 1].strip()) if 0 < number <= len(lines) else "program"


def short(text: Any, *, quoted: bool = True) -> str:
    shown = str(text)[: SHOWN * 2]
    return cut(repr(shown) if quoted else " ".join(shown.split()))


def cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
