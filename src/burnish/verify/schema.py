"""JSON that must fit a schema: a documented part of JSON Schema (2020-12). Not for other formats, references or annotations.

Known keywords: type, enum, const; properties, required, additionalProperties, minProperties, maxProperties; items, prefixItems,
minItems, maxItems, uniqueItems; minLength, maxLength, pattern; minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf;
anyOf, oneOf, allOf, not; and true or false for a schema. title, description, examples, default, $schema and $comment are passed over.
Any other keyword makes the schema unusable (`BadSchema`): one that is not understood must not be taken to hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

DEEPEST = 50
LONGEST = 100_000
_PASSED_OVER = frozenset(("title", "description", "examples", "default", "$schema", "$comment"))
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == int(v),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}


class BadSchema(Exception):
    """The schema itself cannot be used; the message says why."""


class NotJson(Exception):
    """The text is not JSON that may be read; the message says why."""


def parse(text: str) -> Any:
    """One JSON value, strictly: no NaN or Infinity, no name twice in an object, no number too large. Raises NotJson."""
    if len(text) > LONGEST:
        raise NotJson(f"it is longer than {LONGEST} characters")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise NotJson("it is nested too deep") from error
    except ValueError as error:
        raise NotJson(str(error)[:120]) from error
    if _depth(value, DEEPEST) > DEEPEST:
        raise NotJson(f"it is nested deeper than {DEEPEST}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def _depth(value: Any, left: int) -> int:
    if left < 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(one, left - 1) for one in inner), default=0)


def misfit(value: Any, schema: Any) -> str:
    """The first thing that does not fit, as "at $.a[0]: ..."; "" where all fits.

    The schema must have passed `check_schema`.
    """
    return next(_misfits(value, schema, "$"), "")


def check_schema(schema: Any, depth: int = 0) -> None:
    """Raises BadSchema for a schema that could not be used, whatever the value."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise BadSchema(f"a schema must be an object or true or false, not {schema!r:.60}")
    if depth > DEEPEST:
        raise BadSchema(f"the schema is nested deeper than {DEEPEST}")
    for keyword, given in schema.items():
        if keyword in _PASSED_OVER:
            continue
        if keyword not in _KEYWORDS:
            raise BadSchema(f"the keyword {keyword!r} is not one of those known: {', '.join(_KEYWORDS)}")
        kind = _KEYWORDS[keyword]
        if (kind == "schemas" and isinstance(given, list) and given) or (kind == "named" and isinstance(given, dict)):
            for one in given.values() if isinstance(given, dict) else given:
                check_schema(one, depth + 1)
        elif kind == "schema":
            check_schema(given, depth + 1)
        elif not _usable(kind, given):
            raise BadSchema(f"the keyword {keyword!r} cannot be {given!r:.60}")


_KEYWORDS: dict[str, str] = {
    "type": "types",
    "enum": "list",
    "const": "any",
    "required": "names",
    "properties": "named",
    "pattern": "pattern",
    "uniqueItems": "truth",
    **dict.fromkeys(("additionalProperties", "items", "not"), "schema"),
    **dict.fromkeys(("prefixItems", "anyOf", "oneOf", "allOf"), "schemas"),
    **dict.fromkeys(("minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"), "count"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
    "multipleOf": "positive",
}


def _usable(kind: str, given: Any) -> bool:
    if kind == "types":
        return bool(given) and all(isinstance(one, str) and one in _TYPES for one in _listed(given))
    if kind == "pattern":
        try:
            return isinstance(given, str) and re.compile(given) is not None
        except re.error:
            return False
    number = isinstance(given, int | float) and not isinstance(given, bool)
    return {
        "list": isinstance(given, list) and bool(given),
        "any": True,
        "names": isinstance(given, list) and all(isinstance(one, str) for one in given),
        "truth": isinstance(given, bool),
        "count": type(given) is int and given >= 0,
        "number": number,
        "positive": number and given > 0,
    }.get(kind, False)


def _misfits(value: Any, schema: Any, at: str) -> Iterator[str]:
    """One keyword after another, in the order of the standard."""
    if isinstance(schema, bool):
        if not schema:
            yield f"at {at}: nothing may stand here"
        return
    if "type" in schema and not any(_TYPES[kind](value) for kind in _listed(schema["type"])):
        yield f"at {at}: not {' or '.join(_listed(schema['type']))}"
    if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
        yield f"at {at}: not one of {json.dumps(schema['enum'])[:80]}"
    if "const" in schema and not same(value, schema["const"]):
        yield f"at {at}: not {json.dumps(schema['const'])[:80]}"
    if isinstance(value, dict):
        yield from _object(value, schema, at)
    elif isinstance(value, list):
        yield from _array(value, schema, at)
    elif isinstance(value, str):
        yield from _bounds(len(value), schema, "Length", "characters", at)
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"at {at}: does not match {schema['pattern']!r:.60}"
    elif _TYPES["number"](value):
        yield from _number(value, schema, at)
    for one in schema.get("allOf", []):
        yield from _misfits(value, one, at)
    if "anyOf" in schema and all(misfit(value, one) for one in schema["anyOf"]):
        yield f"at {at}: fits none of anyOf"
    if "oneOf" in schema and (fitting := sum(not misfit(value, one) for one in schema["oneOf"])) != 1:
        yield f"at {at}: fits {fitting} of oneOf"
    if "not" in schema and not misfit(value, schema["not"]):
        yield f"at {at}: fits what it must not"


def _object(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"at {at}: {name!r} is missing" for name in schema.get("required", []) if name not in value)
    yield from _bounds(len(value), schema, "Properties", "names", at)
    known = schema.get("properties", {})
    for name, inner in value.items():
        if name in known:
            yield from _misfits(inner, known[name], f"{at}.{name}")
        elif schema.get("additionalProperties", True) is False:
            yield f"at {at}: {name!r} is not asked for"
        else:
            yield from _misfits(inner, schema.get("additionalProperties", True), f"{at}.{name}")


def _array(value: list[Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    yield from _bounds(len(value), schema, "Items", "items", at)
    first = schema.get("prefixItems", [])
    for number, inner in enumerate(value):
        own = first[number] if number < len(first) else schema.get("items", True)
        yield from _misfits(inner, own, f"{at}[{number}]")
    if schema.get("uniqueItems") and len(set(map(_key, value))) < len(value):
        yield f"at {at}: an item stands there twice"


def _bounds(size: int, schema: dict[str, Any], what: str, named: str, at: str) -> Iterator[str]:
    if size < schema.get(f"min{what}", 0):
        yield f"at {at}: fewer than {schema[f'min{what}']} {named}"
    if size > schema.get(f"max{what}", size):
        yield f"at {at}: more than {schema[f'max{what}']} {named}"


def _number(value: float, schema: dict[str, Any], at: str) -> Iterator[str]:
    if ("minimum" in schema and value < schema["minimum"]) or (
        "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]
    ):
        yield f"at {at}: {value} is too small"
    if ("maximum" in schema and value > schema["maximum"]) or (
        "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]
    ):
        yield f"at {at}: {value} is too large"
    # As written and not as a float holds it: 0.3 is a multiple of 0.1.
    if "multipleOf" in schema and Fraction(str(value)) % Fraction(str(schema["multipleOf"])):
        yield f"at {at}: {value} is not a multiple of {schema['multipleOf']}"


def same(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 is 1.0 and not true."""
    return bool(_key(a) == _key(b))


def _key(value: Any) -> Any:
    """Something that can be hashed, equal exactly where JSON values are equal."""
    if isinstance(value, list):
        return ("array", tuple(map(_key, value)))
    if isinstance(value, dict):
        return ("object", frozenset((name, _key(inner)) for name, inner in value.items()))
    return (type(value).__name__ if isinstance(value, bool | str) else "number or null", value)


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]
