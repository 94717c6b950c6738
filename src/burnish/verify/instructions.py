"""Instructions a program can check: "at least 300 words", "no commas", "end with this phrase". Not for what a text says.

The names and arguments are those of IFEval (Zhou et al. 2023, arXiv:2311.07911), so its rows can be used as they are; the checks are
ours (`burnish.verify.checks`), stricter where IFEval's can be had for nothing. The verdict is all or nothing; each instruction is a
part of it.

reference: instructions, a list of {"name": ..., "args": {...}}; or IFEval's instruction_id_list and kwargs. With loose (true or false)
each instruction is judged in IFEval's two ways, and loose says which of them the verdict goes by: strictly, on the text as it is; or
loosely, where any of the text, the text without its first line, its last, both, and each of these without asterisks will do.

What is checked is the response after its thought, or what is in its `<answer>` where that is all there is. An empty text follows no
instruction. A name or argument that is not known, or an instruction that cannot be followed, is no_verdict, fault "gold".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
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
    """Right where every instruction is followed. Parts: "followed" is the share, and NAME (NAME#2, ...) is 1 or 0 for each.

    Where the reference says loose, "loose" is the share that is followed loosely, and loose/NAME is 1 or 0.
    """
    parsed = split_response(response)
    text = _checked_text(parsed.answer_region, parsed.well_formed, response)
    found = None if text is None else text[:_SHOWN]
    loosely = problem.reference.get("loose")
    try:
        if loosely not in (None, True, False):
            raise _BadInstructions(f"loose must be true or false, not {loosely!r:.40}")
        listed = read(problem.reference)
        checked = "" if text is None or len(text) > LONGEST else text
        results = [
            (name, *CHECKS[name].follows(checked, args)) for name, args in listed
        ]  # a bad argument is found whatever the text
        variants = [checked] if loosely is None else _variants(checked)
        loose = [any(CHECKS[name].follows(one, args)[0] for one in variants if one.strip()) for name, args in listed]
    except (_BadInstructions, BadArgument) as fault:
        return Verdict("no_verdict", None, parsed.parts, found, str(fault)[:300], fault="gold")
    why = ""
    if text is None or not text.strip():
        why = "there is nothing to check" if text is not None else parsed.why
    elif len(text) > LONGEST:
        why = f"longer than {LONGEST} characters"
    names = _counted([name for name, _ in listed])
    strict = [follows and not why for _, follows, _ in results]
    parts = {**parsed.parts, **_shares("followed", "", names, strict)}
    if loosely is not None:
        loose = [follows and not why for follows in loose]
        parts.update(_shares("loose", "loose/", names, loose))
    judged = loose if loosely else strict
    if all(judged):
        return Verdict("right", 1.0, parts, found, f"all {len(results)} instructions are followed")
    broken = [f"{name}: {said}" for (name, _, said), follows in zip(results, judged, strict=True) if not follows]
    return Verdict("wrong", 0.0, parts, found, (why or "; ".join(broken))[:300])


def levels(parts: Iterable[Mapping[str, float]]) -> dict[str, tuple[int, int]]:
    """IFEval's four figures as (followed, of how many), from the parts of verdicts that were asked for both ways.

    "prompt_strict" and "prompt_loose" count prompts of which every instruction is followed, "instruction_strict" and
    "instruction_loose" count instructions. A verdict without such parts (no_verdict) counts nowhere.
    """
    counted = {f"{what}_{how}": [0, 0] for what in ("prompt", "instruction") for how in ("strict", "loose")}
    for one in parts:
        for how, tell in (("strict", _is_strict), ("loose", _is_loose)):
            followed = [value for name, value in one.items() if tell(name)]
            if followed:
                for what, right, all_of in (
                    ("prompt", min(followed), 1),
                    ("instruction", sum(followed), len(followed)),
                ):
                    counted[f"{what}_{how}"][0] += int(right)
                    counted[f"{what}_{how}"][1] += all_of
    return {name: (right, all_of) for name, (right, all_of) in counted.items()}


def _is_strict(part: str) -> bool:
    return part.partition("#")[0] in CHECKS


def _is_loose(part: str) -> bool:
    return part.startswith("loose/")


def _variants(text: str) -> list[str]:
    """The texts of which one must follow an instruction for it to be followed loosely."""
    lines = text.split("\n")
    cut = [text, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip()]
    return list(dict.fromkeys([*cut, *(one.replace("*", "") for one in cut)]))


def _counted(names: list[str]) -> list[str]:
    """["a", "a", "b"] -> ["a", "a#2", "b"]"""
    return [name if not (before := names[:at].count(name)) else f"{name}#{before + 1}" for at, name in enumerate(names)]


def _shares(whole: str, prefix: str, names: list[str], followed: list[bool]) -> dict[str, float]:
    each = {prefix + name: float(follows) for name, follows in zip(names, followed, strict=True)}
    return {whole: sum(followed) / len(followed), **each}


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
