"""Verifiers: text in, Verdict out. Not for rewards, which are made from verdicts elsewhere.

A verifier is a function of a Problem and a response. It may raise: `judge` turns that into no_verdict. It may also hang
or kill its process, so what is not known to be safe runs in a `burnish.verify.pool.Pool`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Problem, Verdict
from burnish.verify.format import STYLES
from burnish.verify.instructions import verify_instructions
from burnish.verify.numbers import verify_number
from burnish.verify.puzzles import PUZZLES, verify_countdown
from burnish.verify.shape import verify_format, verify_json, verify_language, verify_length

__all__ = ["VERIFIERS", "BadReference", "Verifier", "identity", "judge", "load", "readiness"]

Verifier = Callable[[Problem, str], Verdict]


class BadReference(Exception):
    """A verifier may raise this where the problem's own reference is at fault: no_verdict, fault "gold"."""


class _Reference(dict[str, Any]):
    """A problem's reference that tells a key it lacks from a KeyError of the verifier's own."""

    def __missing__(self, key: str) -> Any:
        raise BadReference(f"the reference has no {key!r}")


def _answer(problem: Problem) -> str:
    answer = problem.reference["answer"]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise BadReference(f"the reference's answer is {type(answer).__name__}, not text or a number")
    if isinstance(answer, float) and not math.isfinite(answer):  # what many tables hold where there is nothing
        raise BadReference(f"the reference's answer is {answer}, which is no number")
    return str(answer)


def _number(problem: Problem, response: str) -> Verdict:
    """reference: answer (text or a number), style (optional, see `extract_answer`; default "any")."""
    style = problem.reference.get("style", "any")
    if style not in STYLES:
        raise BadReference(f"the reference's style {style!r} is none of {', '.join(STYLES)}")
    return verify_number(_answer(problem), response, style)


def _tagged_number(problem: Problem, response: str) -> Verdict:
    """reference: answer. Only an `<answer>` counts, and only in a well-formed response."""
    return verify_number(_answer(problem), response, "answer_tag", strict=True)


def _countdown(problem: Problem, response: str) -> Verdict:
    """reference: numbers (a list of integers) and target (an integer)."""
    return verify_countdown(problem.reference["numbers"], problem.reference["target"], response)


def _programs(problem: Problem, response: str) -> Verdict:
    """reference: kind, tests and how to judge by them; see docs/verify-programs.md. Runs in a sandbox."""
    from burnish.verify.programs import BadSuite, verify_program  # only where programs are judged

    try:
        return verify_program(problem.reference, response)
    except BadSuite as error:
        raise BadReference(str(error)) from error


def _math(problem: Problem, response: str) -> Verdict:
    """reference: answer; optional style (default "any"), choices, absolute, relative, units (see `maths.judge_response`);
    bare (true where the response is nothing but an answer)."""
    style = problem.reference.get("style", "any")
    if style not in STYLES:
        raise BadReference(f"the reference's style {style!r} is none of {', '.join(STYLES)}")
    return _judge_math(problem, response, style)


def _boxed_math(problem: Problem, response: str) -> Verdict:
    """reference: as for math. Only a box counts."""
    return _judge_math(problem, response, "boxed")


def _tagged_math(problem: Problem, response: str) -> Verdict:
    """reference: as for math. Only an `<answer>` counts, and only in a well-formed response."""
    return _judge_math(problem, response, "answer_tag", strict=True)


def _judge_math(problem: Problem, response: str, style: Any, strict: bool = False) -> Verdict:
    from burnish.verify import maths  # its tables are made where they are wanted

    gold, reference = _answer(problem), problem.reference
    settings = {name: reference[name] for name in ("choices", "absolute", "relative", "units") if name in reference}
    if reference.get("bare"):
        return maths.verify(gold, response, **settings)
    return maths.judge_response(gold, response, style=style, strict=strict, **settings)


def _math_verify(problem: Problem, response: str) -> Verdict:
    """reference: answer; bare. The library's own verdict, for comparison."""
    from burnish.verify.peers import math_verify

    return math_verify(problem, response)


VERIFIERS: dict[str, Verifier] = {
    "number": _number,
    "tagged_number": _tagged_number,
    "countdown": _countdown,
    "programs": _programs,
    "math": _math,
    "math_boxed": _boxed_math,
    "math_tagged": _tagged_math,
    "math-verify": _math_verify,
    **PUZZLES,
    "format": verify_format,
    "language": verify_language,
    "length": verify_length,
    "json": verify_json,
    "instructions": verify_instructions,
}


ELSEWHERE: dict[str, str] = {"reasoning_gym": "burnish.verify.gym:verify"}
"""Verifiers by name that are imported only when asked for, because what they import is slow or optional."""


def load(name: str) -> Verifier:
    """The verifier of that name: a key of VERIFIERS, "my.module:attr" for one of yours, or a composition as JSON.

    Raises ConfigError, naming the nearest names, where there is no such verifier or it cannot be imported.
    """
    if name in VERIFIERS:
        return VERIFIERS[name]
    if name.startswith("{"):
        from burnish.verify.compose import from_name  # it is made of what stands here

        return from_name(name)
    module_name, colon, attribute = ELSEWHERE.get(name, name).partition(":")
    if not colon:
        near = _nearest(name, [*VERIFIERS, *ELSEWHERE])
        raise ConfigError(f"no verifier is called {name!r}{near}; for your own, write my.module:attr")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        raise ConfigError(f"verifier {name!r}: module {module_name!r} cannot be imported ({error})") from error
    verifier = getattr(module, attribute, None)
    if verifier is None:
        raise ConfigError(f"verifier {name!r}: {module_name} has no {attribute!r}{_nearest(attribute, vars(module))}")
    if not callable(verifier):
        raise ConfigError(f"verifier {name!r} is {type(verifier).__name__}, not a function of (problem, response)")
    return verifier  # type: ignore[no-any-return]


def readiness(name: str, references: Iterable[Mapping[str, Any]] = ()) -> tuple[str, ...]:
    """What this machine has for a verifier, a sentence each, to be said once at the start: the sandbox of programs.

    `references` of what will be judged may require a sandbox tier. Raises ConfigError where this machine has none as
    strong, so that a run is refused before its first verdict and not by it.
    """
    if "programs" not in _names_in(name):
        return ()
    from burnish.verify.sandbox import Policy, Sandbox, tier_named  # only where programs are judged

    required = {tier for reference in references if isinstance(tier := reference.get("require_tier"), str)}
    strongest = max(required, key=tier_named, default=None)
    with Sandbox(Policy.of_environment(strongest)) as sandbox:
        return (sandbox.describe(),)


def _names_in(name: str) -> set[str]:
    """The name, or those of all the verifiers in a composition."""
    if not name.startswith("{"):
        return {name}
    from burnish.verify.compose import from_name  # it is made of what stands here

    whole = from_name(name)
    members = [member for part in (*whole.gates, *whole.parts) for member in (part.verifier, part.also) if member]
    return set().union(*map(_names_in, members))


def judge(verifier: Verifier, problem: Problem, response: str) -> Verdict:
    """Run a verifier here and now, and fill in `seconds`.

    Whatever the verifier raises becomes no_verdict: fault "gold" where the reference lacks a key or is at fault, else
    "crashed". Only KeyboardInterrupt goes through. No deadline: that takes a process that can be killed, see `Pool`.
    """
    began = time.perf_counter()
    try:
        verdict = verifier(replace(problem, reference=_Reference(problem.reference)), response)
        if not isinstance(verdict, Verdict):
            raise TypeError(f"the verifier returned {type(verdict).__name__}, not a Verdict")
    except BadReference as error:
        verdict = Verdict("no_verdict", None, why=str(error)[:300], fault="gold")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    # Broad on purpose: a fault of the verifier must be recorded as one and never stop a run or count as a wrong answer.
    # BaseException, because verifiers bring libraries whose timeouts derive from it, and may call sys.exit.
    except BaseException as error:  # noqa: BLE001
        verdict = Verdict("no_verdict", None, why=_described(error), fault="crashed")
    return replace(verdict, seconds=time.perf_counter() - began)


def identity(name: str) -> str:
    """A verifier and the version of its code, to quote with a result: "number@5f0c2a9b1d3e".

    The hash is over the sources of this package and, for "my.module:attr", of that module. Raises ConfigError where the
    name does not exist.
    """
    load(name)
    files = sorted(Path(__file__).parent.rglob("*.py"))
    names = [name]
    if name.startswith("{"):
        from burnish.verify.compose import verifiers_of

        names = verifiers_of(name)
    for module_name, colon, _ in (one.partition(":") for one in names):
        if not colon:
            continue
        spec = importlib.util.find_spec(module_name)
        if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
            files.append(Path(spec.origin))
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        source = file.read_bytes()
        digest.update(f"{file.name} {len(source)}\n".encode() + source)
    return f"{name}@{digest.hexdigest()}"


def _nearest(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(repr(other) for other in close)}?)" if close else ""


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:  # noqa: BLE001 - the error is the verifier's, and so is its __str__
        return type(error).__name__
