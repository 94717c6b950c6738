"""The configuration reference as Markdown. Not for: the settings themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from burnish.config.base import Settings
from burnish.config.settings import inner_of


def reference(kinds: Sequence[tuple[type[Settings], str]]) -> str:
    """The configuration reference as Markdown, generated from the models of each verb."""
    lines = [
        "# Configuration reference",
        "",
        "Generated from `burnish.config`; a test keeps it in step with the code. Defaults are written as in a TOML file. Any key can",
        "be set on the command line too, as in `burnish train run.toml optimizer.lr=2e-4 steps.total=20`.",
        "",
    ]
    for kind, title in kinds:
        lines += [f"## `{title}`", "", str(kind.__doc__), "", "| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [*_rows(kind, ""), ""]
    return "\n".join(lines)


def _rows(kind: type[Settings], prefix: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if (inner := inner_of(field)) is not None:
            yield from _rows(inner, f"{prefix}{name}.")
            continue
        default = "required"
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            default = "not set" if value is None else f"`{_toml(value)}`"
        kind_text = _type_text(field.annotation, field.metadata).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {kind_text} | {default} | {field.description} |"


def _type_text(kind: Any, metadata: Sequence[Any] = ()) -> str:
    """A type as a person would say it: "integer >= 1", "auto | bfloat16 | float32", "list of integers >= 1"."""
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        return _type_text(kind, [part for field in inner for part in getattr(field, "metadata", [field])])
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"list of {_type_text(get_args(kind)[0]).replace('integer', 'integers', 1)}"
    choices = [choice for choice in get_args(kind) if choice is not type(None)]
    if type(None) in get_args(kind):
        return _type_text(choices[0])
    if get_origin(kind) is dict:
        return "table"
    bounds = {
        sign: getattr(part, sign) for part in metadata for sign in _SIGNS if getattr(part, sign, None) is not None
    }
    if {"ge", "le"} <= bounds.keys():
        return f"{_NAMES[kind]} from {bounds['ge']:g} to {bounds['le']:g}"
    return " ".join([_NAMES[kind], *(f"{_SIGNS[sign]} {bound:g}" for sign, bound in bounds.items())])


_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_NAMES = {int: "integer", float: "number", str: "string", bool: "true | false"}


def _toml(value: Any) -> str:
    """A default as it stands in a TOML file. (JSON says strings, lists and booleans alike; a table here is empty.)"""
    return repr(value) if isinstance(value, float) else json.dumps(value)
