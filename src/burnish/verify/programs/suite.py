"""The tests of a problem, read from its reference and checked: a malformed one is a fault of the data, said in a sentence.

Not for running them. The schema is in docs/verify-programs.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from burnish.verify.programs.compare import OUTPUTS
from burnish.verify.sandbox.plain import NotPlain, decode

Kind = Literal["stdin", "call", "check"]
How = Literal["equal", "true", "false"]
_KEYS = """kind tests entry before source names compare tolerance score seconds total_seconds memory_mb output_kb
require_tier"""


class BadSuite(Exception):
    """The reference is no suite of tests; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Test:
    """One test: `input` and `expected` are texts (stdin), or [args, kwargs] and a tree (call).

    how  "equal"; or "true" and "false" where only the truth of the value counts
    """

    input: Any
    expected: Any
    how: How = "equal"
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """All that is needed to judge a program.

    compare    a name of `compare.OUTPUTS`, "values" or "loose" for calls, or a checker of one's own
    score      "all": 1 or 0, and nothing is run after the first failure; "share": the share of tests passed
    seconds    a test may take, and all of them together may take `total_seconds`
    """

    kind: Kind
    tests: tuple[Test, ...] = ()
    entry: str = ""
    before: str = ""
    source: str = ""
    names: tuple[str, ...] = ()
    compare: str = "tokens"
    tolerance: float | None = None
    score: Literal["all", "share"] = "all"
    seconds: float = 2.0
    total_seconds: float = 60.0
    memory_mb: int = 512
    output_kb: int = 1024
    require_tier: str | None = None


def read_suite(reference: Mapping[str, Any]) -> Suite:
    """Raises BadSuite."""
    unknown = sorted(set(reference) - set(_KEYS.split()))
    if unknown:
        raise BadSuite(
            f"the reference has an unknown key {unknown[0]!r}; it may have {', '.join(sorted(_KEYS.split()))}"
        )
    kind: Kind | None = next((kind for kind in get_args(Kind) if kind == reference.get("kind")), None)
    if kind is None:
        raise BadSuite(f"the reference's kind is {reference.get('kind')!r}, not one of {', '.join(get_args(Kind))}")
    options: dict[str, Any] = {}
    for name, least in (("seconds", 0.01), ("total_seconds", 0.01), ("memory_mb", 64), ("output_kb", 1)):
        if name in reference:
            options[name] = _number(name, reference[name], least)
    for name in ("entry", "before", "source", "compare", "require_tier"):
        if reference.get(name) is not None:
            options[name] = _text(name, reference[name])
    if reference.get("tolerance") is not None:
        options["tolerance"] = _number("tolerance", reference["tolerance"], 0.0)
    options["score"] = reference.get("score", "all")
    if options["score"] not in ("all", "share"):
        raise BadSuite(f"the reference's score is {options['score']!r}, not all or share")
    if kind == "check":
        if not options.get("source", "").strip():
            raise BadSuite("the reference has no tests: a check needs a source")
        return Suite("check", names=_names(reference, options), **options)
    tests = reference.get("tests")
    if not isinstance(tests, Sequence) or isinstance(tests, str):
        raise BadSuite(f"the reference's tests are {type(tests).__name__}, not a list")
    if not tests:
        raise BadSuite("the reference has no tests, and none is no proof")
    if kind == "call" and not options.get("entry"):
        raise BadSuite("the reference has tests that call a function, and no entry that names it")
    _check_comparison(kind, options)
    read = _stdin_test if kind == "stdin" else _call_test
    return Suite(kind, tuple(read(test, number) for number, test in enumerate(tests, 1)), **options)


def _names(reference: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(reference.get("names") or (options.get("entry"),))
    if not all(isinstance(name, str) and name for name in names) or options.get("entry") not in names:
        raise BadSuite(f"the reference's names {names!r} must hold its entry {options.get('entry')!r}")
    return names


def _check_comparison(kind: Kind, options: dict[str, Any]) -> None:
    known = tuple(OUTPUTS) if kind == "stdin" else ("values", "loose")
    compare = options.setdefault("compare", known[0])
    if compare not in known and ":" not in compare:
        raise BadSuite(f"the reference's compare is {compare!r}, not one of {', '.join(known)} or my.module:function")


def _stdin_test(test: Any, number: int) -> Test:
    given = _fields(test, number, {"input", "output"}, set())
    for name in ("input", "output"):
        if not isinstance(given[name], str):
            raise BadSuite(f"test {number}: its {name} is {type(given[name]).__name__}, not text")
    return Test(given["input"], given["output"])


def _call_test(test: Any, number: int) -> Test:
    given = _fields(test, number, {"args"}, {"kwargs", "expected", "how", "tolerance"})
    how = given.get("how", "equal")
    if how not in get_args(How):
        raise BadSuite(f"test {number}: how is {how!r}, not one of {', '.join(get_args(How))}")
    if how == "equal" and "expected" not in given:
        raise BadSuite(f"test {number} says not what is expected")
    args, kwargs = given["args"], given.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadSuite(f"test {number}: args must be a list and kwargs an object")
    try:
        for part in [*args, *kwargs.values(), given.get("expected")]:
            decode(part)
    except NotPlain as error:
        raise BadSuite(f"test {number} holds {error}") from error
    tolerance = given.get("tolerance")
    return Test(
        [args, kwargs], given.get("expected"), how, None if tolerance is None else _number("tolerance", tolerance, 0)
    )


def _fields(test: Any, number: int, needed: set[str], allowed: set[str]) -> dict[str, Any]:
    if not isinstance(test, dict):
        raise BadSuite(f"test {number} is {type(test).__name__}, not an object")
    if not needed <= set(test) <= needed | allowed:
        raise BadSuite(
            f"test {number} has the fields {', '.join(sorted(test)) or 'none'}; it needs {', '.join(sorted(needed))}"
            f"{' and may have ' + ', '.join(sorted(allowed)) if allowed else ''}"
        )
    return test


def _number(name: str, value: Any, least: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e9:
        raise BadSuite(f"the reference's {name} is {value!r}, not a number of at least {least:g}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadSuite(f"the reference's {name} is {type(value).__name__}, not text")
    return value
