"""Plain values as JSON trees: what may cross between a judge and the process that runs a model's program.

Runs in the cell too, so it imports nothing of ours. Not for comparing (see `burnish.verify.programs.compare`), which
works on the trees themselves: a judge builds no set or dict out of what a program sent.

None, bool, int, float, str and list are themselves, a dict with text keys is an object. The rest is an object with one
key: {"$tuple": [...]}, {"$set": [...]}, {"$frozenset": [...]}, {"$dict": [[key, value], ...]}, {"$bytes": "hex"},
{"$complex": [real, imaginary]}.
"""

from __future__ import annotations

import collections
from typing import Any

DEPTH = 64
NODES = 200_000
_LIST_LIKE: dict[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset"}
TAGS = ("$tuple", "$set", "$frozenset", "$dict", "$bytes", "$complex")


class NotPlain(Exception):
    """A value that does not cross; the message says which and why."""


def encode(value: Any) -> Any:
    """The tree of a value. Only exact types: a subclass may be anything, bar the well-known ones of the library."""
    return _encode(value, DEPTH, [NODES])


def _encode(value: Any, depth: int, left: list[int]) -> Any:
    kind = type(value)
    left[0] -= 1
    if left[0] < 0:
        raise NotPlain(f"a value of more than {NODES} parts")
    if value is None or kind is bool or kind is int or kind is float or kind is str:
        return value
    if depth <= 0:
        raise NotPlain(f"a value nested more than {DEPTH} deep")
    if kind is list:
        return [_encode(part, depth - 1, left) for part in value]
    if kind in _LIST_LIKE:
        return {_LIST_LIKE[kind]: [_encode(part, depth - 1, left) for part in value]}
    if kind in (dict, collections.defaultdict, collections.OrderedDict, collections.Counter):
        pairs = list(dict.items(value))
        if all(type(key) is str for key, _ in pairs) and not (len(pairs) == 1 and pairs[0][0][:1] == "$"):
            return {key: _encode(part, depth - 1, left) for key, part in pairs}
        return {"$dict": [[_encode(key, depth - 1, left), _encode(part, depth - 1, left)] for key, part in pairs]}
    if kind is bytes:
        return {"$bytes": value.hex()}
    if kind is complex:
        return {"$complex": [value.real, value.imag]}
    if kind.__bases__ == (tuple,) and hasattr(kind, "_fields"):  # a namedtuple equals the tuple
        return {"$tuple": [_encode(part, depth - 1, left) for part in tuple.__iter__(value)]}
    raise NotPlain(f"a value of type {str(kind.__name__)[:60]}, which is not plain data")


def decode(tree: Any) -> Any:
    """The value of a tree, newly built. Raises NotPlain for a tree that `encode` does not make."""
    return _decode(tree, DEPTH)


def _decode(tree: Any, depth: int) -> Any:
    kind = type(tree)
    if tree is None or kind is bool or kind is int or kind is float or kind is str:
        return tree
    if depth <= 0:
        raise NotPlain(f"a value nested more than {DEPTH} deep")
    if kind is list:
        return [_decode(part, depth - 1) for part in tree]
    if kind is not dict:
        raise NotPlain(f"{kind.__name__} is not JSON")
    if len(tree) == 1:
        ((tag, body),) = tree.items()
        if tag[:1] == "$":
            return _decode_tagged(tag, body, depth - 1)
    return {key: _decode(part, depth - 1) for key, part in tree.items()}


def _decode_tagged(tag: str, body: Any, depth: int) -> Any:
    try:
        if tag == "$bytes":
            return bytes.fromhex(body)
        if tag == "$complex":
            return complex(*map(float, body))
        if type(body) is list and tag == "$dict":
            pairs = [(_decode(key, depth), _decode(part, depth)) for key, part in body]
            _refuse_collisions([key for key, _ in pairs])
            return dict(pairs)
        if type(body) is list and tag in ("$tuple", "$set", "$frozenset"):
            parts = [_decode(part, depth) for part in body]
            if tag != "$tuple":
                _refuse_collisions(parts)
            return tuple(parts) if tag == "$tuple" else set(parts) if tag == "$set" else frozenset(parts)
    except (TypeError, ValueError) as error:
        raise NotPlain(f"a malformed {tag}: {error}") from error
    raise NotPlain(f"a malformed or unknown {tag[:20]!r}")


def _refuse_collisions(keys: list[Any]) -> None:
    """Keys chosen to have one hash make a table of them take time that grows with the square of their number."""
    if len(keys) > 256 and 2 * len({hash(key) for key in keys}) < len(keys):
        raise NotPlain("keys chosen to collide")
