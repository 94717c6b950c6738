"""reasoning-gym's own scorers, for the data sets that passed our audit. Not for making its problems (burnish.tasks.reasoning_gym).

reference: dataset, a name on the list; entry, the item as reasoning-gym made it (question, answer, metadata).

Right only at full score. The list (`reasoning_gym.json` beside this file) is written by benchmarks/audit_reasoning_gym.py, for one
version of the library; a data set off the list, or another version, is refused: some of its scorers evaluate the answer
as Python, some accept anything. The library is imported with this module, so in a pool that is when a worker starts.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from burnish.errors import ConfigError
from burnish.records import Problem, Verdict
from burnish.verify.format import extract_answer, split_response

FULL = 0.999
"""The least score that counts: less is partial credit, which lists and padding earn too."""
LONGEST = 4000
"""Characters of an answer that a scorer is shown; twice the gold answer's, where that is more."""
_LIST = Path(__file__).with_name("reasoning_gym.json")
_SHOWN = 1000


@cache
def audit() -> dict[str, Any]:
    """What the audit found: {"version": "0.1.25", "datasets": {name: {"allowed": bool, "why": str, ...}}}."""
    found: dict[str, Any] = json.loads(_LIST.read_text())
    return found


def installed() -> Any:
    """The library, if it is the version that was audited. Raises ConfigError where it is another or none."""
    wanted = audit()["version"]
    try:
        there = version("reasoning-gym")
    except PackageNotFoundError as error:
        raise ConfigError(
            'reasoning-gym is not installed; install the extra "puzzles": pip install "burnish[puzzles]".'
        ) from error
    if there != wanted:
        raise ConfigError(
            f"reasoning-gym {there} is installed, but {wanted} is the version whose scorers were audited; install that."
        )
    import reasoning_gym

    return reasoning_gym


def refuse_unlisted(name: str) -> None:
    """Raises ConfigError, with the reason, for a data set that did not pass the audit."""
    listed = audit()["datasets"]
    if name not in listed:
        import difflib

        near = difflib.get_close_matches(name, listed, n=1, cutoff=0.4)
        raise ConfigError(f"reasoning-gym has no data set {name!r}{f'; did you mean {near[0]!r}' if near else ''}.")
    if not listed[name]["allowed"]:
        usable = ", ".join(one for one, found in listed.items() if found["allowed"])
        raise ConfigError(
            f"The data set {name!r} of reasoning-gym is not on our list: {listed[name]['why']}. Choose one of {usable}."
        )


@cache
def dataset(name: str) -> Any:
    """The data set of that name with its own settings, for its scorer. Raises ConfigError where it is not on the list."""
    refuse_unlisted(name)
    return installed().create_dataset(name, seed=0, size=1)


def verify(problem: Problem, response: str) -> Verdict:
    """Right where the scorer gives the answer, stripped, full score. A response that is not well formed is wrong."""
    parsed = split_response(response)
    answer = extract_answer(parsed, "answer_tag")
    found = None if answer is None else answer.text[:_SHOWN]
    name, entry = problem.reference["dataset"], problem.reference["entry"]
    try:
        scorer = dataset(name)
    except ConfigError as error:
        return Verdict("no_verdict", None, parsed.parts, found, str(error)[:300], fault="gold")
    if answer is None or not parsed.well_formed:
        return Verdict("wrong", 0.0, parsed.parts, found, f"not well formed: {parsed.why}")
    longest = max(LONGEST, 2 * len(str(entry.get("answer", ""))))
    if len(answer.text) > longest:
        return Verdict("wrong", 0.0, parsed.parts, found, f"too long: more than {longest} characters")
    score = scorer.score_answer(answer.text.strip(), entry)
    if not isinstance(score, int | float) or not 0.0 <= score <= 1.0:  # also NaN
        return Verdict("no_verdict", None, parsed.parts, found, f"the scorer of {name} said {score!r}", fault="crashed")
    if score < FULL:
        return Verdict("wrong", 0.0, parsed.parts, found, f"{name} gives it {score:.2f}")
    return Verdict("right", 1.0, parsed.parts, found, f"{name} gives it full score")
