"""Compare two evaluations, or a training run with its beginning or another run's end: paired by problem. Loads no torch.

Not for: the comparison itself (evaluate.sides).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from burnish.errors import ConfigError, DataError
from burnish.evaluate.collect import ABOUT, Answers, read_about
from burnish.evaluate.sides import Side, compared, sentence
from burnish.journal import query
from burnish.journal.files import read_lines
from burnish.records import Judged, Key, Report, from_json

BEFORE, AFTER = "base", "final"


def compare(first: str, second: str | None, verifier: str | None = None, common: bool = False) -> dict[str, Any]:
    """The tasks that both have, each compared. Raises DataError for what is no measurement, and for what must not be compared."""
    if second is None:
        place = Path(first)
        if not (place / "evaluations").is_dir():
            raise ConfigError(
                f"{first} is not a training run with a before and an after; name two evaluations to compare."
            )
        if verifier is not None:
            raise ConfigError(
                "--verifier has no effect on a training run's own figures: it keeps their verdicts, not their answers."
            )
        sides = [_of_run(place, BEFORE, "before"), _of_run(place, AFTER, "after")]
    else:
        sides = [_read(Path(one), verifier) for one in (first, second)]
    labels = [label for label in sides[0] if label in sides[1]]
    if not labels:
        has = [", ".join(side) or "none" for side in sides]
        raise DataError(f"{first} and {second} have no task in common: one has {has[0]}, the other {has[1]}.")
    results = {label: compared(label, sides[0][label], sides[1][label], common) for label in labels}
    left = sorted((sides[0].keys() | sides[1].keys()) - set(labels))
    return {
        "tasks": {label: {**result, "sentence": sentence(result)} for label, result in results.items()},
        "only_on_one_side": left,
    }


def page(result: Mapping[str, Any]) -> str:
    """The result as a person reads it."""
    lines = []
    for one in result["tasks"].values():
        lines += [one["sentence"], *(f"  {note}" for note in one["notes"])]
        for what, kind in (("won", "won_most"), ("lost", "lost_most")):
            shown = one[kind][:5]
            if shown:
                moves = ", ".join(f"{row['problem']} {row['first']:.0%} to {row['second']:.0%}" for row in shown)
                lines.append(f"  {what} most: {moves}")
    if result["only_on_one_side"]:
        lines.append(f"Not compared, on one side only: {', '.join(result['only_on_one_side'])}.")
    return "\n".join(lines)


def _read(place: Path, verifier: str | None) -> dict[str, Side]:
    """The sides of a directory by task: an evaluation, one task of it, or a training run as it ended."""
    if (place / ABOUT).is_file():
        return _of_evaluation(place, verifier)
    if (place.parent / ABOUT).is_file():
        sides = _of_evaluation(place.parent, verifier)
        if place.name in sides:
            return {place.name: sides[place.name]}
    if (place / "evaluations").is_dir():
        if verifier is not None:
            raise ConfigError(
                f"--verifier has no effect on the training run {place}: it keeps verdicts of its figures, not answers."
            )
        return _of_run(place, AFTER, str(place))
    if place.suffix == ".json" and place.is_file():
        return _of_run(place.parent.parent, place.stem, str(place))
    if not place.exists():
        raise DataError(f"{place} does not exist; name a directory that burnish eval or burnish train wrote.")
    inner = place / "run"
    hint = (
        f"did you mean {inner}?"
        if (inner / "evaluations").is_dir()
        else "it has neither evaluation.json nor evaluations/."
    )
    raise DataError(f"{place} is no evaluation and no training run; {hint}")


def _of_evaluation(place: Path, verifier: str | None) -> dict[str, Side]:
    about = read_about(place)
    sides = {}
    for label, task in about["tasks"].items():
        answers = Answers(place / label)
        if answers.empty:
            continue
        marks = query(answers.folder, "select distinct problem_id, fingerprint from rollouts")
        rows, judge = answers.rows(), task["verifier"]
        if verifier is not None:
            judge, rows = _again(answers.folder, verifier, rows)
        fingerprints = {row["problem_id"]: row["fingerprint"] for row in marks}
        sides[label] = Side(str(place), rows, judge, about["sampling"], fingerprints)
    return sides


def _again(folder: Path, verifier: str, rows: list[Judged]) -> tuple[str, list[Judged]]:
    """The verdicts of a rejudgement in place of the stored ones."""
    path = rejudged_path(folder, verifier)
    if not path.is_file():
        raise DataError(
            f"{folder} has not been judged by {verifier}; first: burnish rejudge {folder.parent} --verifier {verifier}"
        )
    lines = read_lines(path)
    head = next(lines)
    verdicts = {Key(line["problem_id"], line["index"]): line for line in lines}
    lacking = [row.key for row in rows if row.key not in verdicts]
    if lacking:
        raise DataError(
            f"{path} lacks {len(lacking)} answers that were drawn since; judge again: burnish rejudge {folder.parent} --verifier {verifier}"
        )
    found = [
        Judged(row.key, verdicts[row.key]["outcome"], verdicts[row.key]["found"], row.tokens, row.stop, row.thought)
        for row in rows
    ]
    return head["verifier"], found


def rejudged_path(folder: Path, verifier: str) -> Path:
    """Where the verdicts of another verifier on the answers of a folder stand."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in verifier)[:80]
    return folder / "rejudged" / f"{plain}.jsonl"


def _of_run(place: Path, which: str, name: str) -> dict[str, Side]:
    """One of a training run's measurements: base, or final."""
    path = place / "evaluations" / f"{which}.json"
    try:
        report = from_json(Report, path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); the run measured nothing, or is not done."
        ) from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged: it is not what burnish train writes.") from error
    return {report.task: Side(name, report.rows, report.verifier)}
