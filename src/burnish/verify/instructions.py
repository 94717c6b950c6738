"""Instructions a program can check: "at least 300 words", "no commas", "end with this phrase". Not for what a text says.

The names and arguments are those of IFEval (Zhou et al. 2023, arXiv:2311.07911), so its rows can be used as they are; the checks are
ours (`burnish.verify.checks`), stricter where IFEval's can be had for nothing. The verdict is all or nothing; each instruction is a
part of it.

reference: instructions, a list of {"name": ..., "args": {...}}; or IFEval's instruction_id_list and kwargs.

What is checked is the response after its thought, or what is in its `<answer>` where that is all there is. An empty text follows no
instruction. A name or argument that is not known, or an instruction that cannot be followed, is no_verdict, fault "gold".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.records import Problem, Verdict
from burnish.verify.checks import CHECKS, BadArgument
from burnish.verify.format import extract_answer, split_response

MOST = 32
LONGEST = 200_000
"""Characters of a text that is checked; a longer one is wrong."""
_SHOWN = 1000


class _BadInstructions(Exception):
    """The reference's instructions cannot be checked; the message says why."""


def verify_instructions(problem: Problem, response: str) -> Verdict:
    """Right where every instruction is followed. Parts: "followed" is the share, and NAME (NAME#2, ...) is 1 or 0 for each."""
    parsed = split_response(response)
    text = _checked_text(parsed.answer_region, parsed.well_formed, response)
    found = None if text is None else text[:_SHOWN]
    try:
        listed = read(problem.reference)
        results = [
            (name, *CHECKS[name].follows(text or "", args)) for name, args in listed
        ]  # a bad argument is found whatever the text
    except (_BadInstructions, BadArgument) as fault:
        return Verdict("no_verdict", None, parsed.parts, found, str(fault)[:300], fault="gold")
    if text is None or not text.strip():
        why = "there is nothing to check" if text is not None else parsed.why
        return Verdict("wrong", 0.0, {**parsed.parts, "followed": 0.0}, found, why)
    if len(text) > LONGEST:
        return Verdict("wrong", 0.0, {**parsed.parts, "followed": 0.0}, found, f"longer than {LONGEST} characters")
    parts = {**parsed.parts, "followed": sum(follows for _, follows, _ in results) / len(results)}
    for name, follows, _ in results:
        count = sum(part == name or part.startswith(f"{name}#") for part in parts)
        parts[f"{name}#{count + 1}" if count else name] = float(follows)
    broken = [f"{name}: {why}" for name, follows, why in results if not follows]
    if broken:
        return Verdict("wrong", 0.0, parts, found, "; ".join(broken)[:300])
    return Verdict("right", 1.0, parts, found, f"all {len(results)} instructions are followed")


def _checked_text(region: str | None, well_formed: bool, response: str) -> str | None:
    if region is None:
        return None
    if well_formed:
        answer = extract_answer(split_response(response), "answer_tag")
        return answer.text if answer is not None else region
    return region.strip()


def read(reference: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The instructions of a reference, their names and arguments known."""
    if "instruction_id_list" in reference and "instructions" not in reference:
        names, given = reference["instruction_id_list"], reference.get("kwargs", [])
        if not isinstance(names, Sequence) or not isinstance(given, Sequence) or len(names) != len(given):
            raise _BadInstructions("instruction_id_list and kwargs must be lists of the same length")
        # IFEval's rows hold every argument there is, null where it belongs to another instruction.
        listed = [
            {"name": name, "args": {key: value for key, value in (args or {}).items() if value is not None}}
            for name, args in zip(names, given, strict=True)
        ]
    else:
        listed = reference["instructions"]
    if not isinstance(listed, list | tuple) or not 1 <= len(listed) <= MOST:
        raise _BadInstructions(f"instructions must be a list of 1 to {MOST}")
    return [_known(one) for one in listed]


def _known(one: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(one, Mapping) or set(one) - {"name", "args"} or not isinstance(one.get("name"), str):
        raise _BadInstructions(f'an instruction must be {{"name": ..., "args": {{...}}}}, not {one!r:.80}')
    name, args = one["name"], one.get("args") or {}
    check = CHECKS.get(name)
    if check is None:
        raise _BadInstructions(f"no instruction is called {name!r}{_nearest(name, list(CHECKS))}")
    if not isinstance(args, Mapping):
        raise _BadInstructions(f"the args of {name} must be an object, not {args!r:.60}")
    known = {*check.needs, *check.takes}
    for arg in args:
        if arg not in known:
            told = _nearest(arg, list(known)) or f"; it takes {', '.join(sorted(known)) or 'none'}"
            raise _BadInstructions(f"{name} has no argument {arg!r}{told}")
    missing = [arg for arg in check.needs if arg not in args]
    if missing:
        raise _BadInstructions(f"{name} needs the argument {missing[0]!r}")
    return name, dict(args)


def _nearest(name: str, names: list[str]) -> str:
    tails = {one.rpartition(":")[2]: one for one in names}  # "no_commas" is nearest to punctuation:no_comma
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    near = near or [
        tails[one] for one in difflib.get_close_matches(name.rpartition(":")[2], list(tails), n=1, cutoff=0.5)
    ]
    return f" (did you mean {near[0]!r}?)" if near else ""
