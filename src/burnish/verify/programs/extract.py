"""The program in a response: the last fenced block of Python after the thought. Not for running or judging it."""

from __future__ import annotations

import re

from burnish.verify.format import Response, extract_answer

_FENCE = re.compile(r"(?:\A|(?<=\n))[ ]{0,3}(`{3,}|~{3,})[ \t]*([^\n`]*)")
_PYTHON = frozenset(("python", "py", "python3", "python2", "py3"))
LONGEST = 2_000_000  # characters of a program


def extract_program(response: Response) -> str | None:
    """The last complete block marked as Python, else the last with no mark, else what stands in `<answer>`.

    Nothing inside a thought counts, nor does a block that was never closed: it was cut off.
    """
    region = response.answer_region
    if region is None:
        return None
    last: dict[bool, str] = {}
    opened: tuple[str, str, int] | None = None
    for match in _FENCE.finditer(region):
        marks, info = match.group(1), match.group(2).strip().lower()
        if opened is None:
            opened = (marks, info.split(" ", 1)[0].strip("{}.") if info else "", match.end())
        elif marks[0] == opened[0][0] and len(marks) >= len(opened[0]) and not info:
            language, start = opened[1], opened[2]
            if language in _PYTHON or not language:
                last[bool(language)] = region[start : match.start()].strip("\r\n")
            opened = None
    found = last.get(True, last.get(False))
    if found is None and opened is None:
        answer = extract_answer(response, "answer_tag")
        found = answer.text if answer is not None else None
    if found is None or not found.strip() or len(found) > LONGEST:
        return None
    return found
