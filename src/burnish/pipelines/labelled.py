"""Score stored answers that somebody labelled: a model's figure by the verifier beside the one by the labels, and every disagreement.

A row is one that `burnish audit` takes (label, answer or response, gold or reference), or one whose fields hold
{"solution", "is_correct"}: each such field is then a model of its own. What is right stands in the row, or is found in a task by
`problem_id` or by the question. Loads no torch.

Not for: answers without labels (verify), or drawing any (measure).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.evaluate import verifiers
from burnish.evaluate.audit import Case, as_json, rates
from burnish.evaluate.statistics import is_rough, mean_interval
from burnish.journal.files import encode, write_atomic
from burnish.records import Key, Problem, fingerprint
from burnish.run.display import Display
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.tasks.files import read_rows
from burnish.verify import identity
from burnish.verify.pool import Pool
from burnish.verify.rows import reference_of, with_answer

ANSWERS = "answers"
LABELS = ("label", "expected", "is_correct")
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class _Answer:
    place: str
    model: str
    problem: Problem
    response: str
    label: bool


def score(
    path: str,
    verifier: str | None,
    task_name: str | None = None,
    options: Mapping[str, Any] | None = None,
    out: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """The figures of each model in the file, with the verifier's errors against the labels; written to `out`, a JSON file, if given.

    Raises DataError for a row without a label or whose problem is not known, ConfigError where nobody is named to judge.
    """
    task = load_task(task_name, options or {}) if task_name is not None else None
    judge = verifier or (task.verifier if task is not None else None)
    if judge is None:
        raise ConfigError("Say who judges the answers: --verifier number, for one, or --task.")
    who = identity(judge)
    answers = list(_answers(path, judge, task))
    if not answers:
        raise DataError(f"{path} holds no answers.")
    cases: dict[str, list[tuple[_Answer, Case]]] = {}
    right = 0
    columns = (("right", "held right", "{:6.1%}"),)
    with Pool(judge) as pool, Display(f"judging {path}", len(answers), columns, quiet) as display:
        items = ((Key(answer.place, at), answer.problem, answer.response) for at, answer in enumerate(answers))
        verdicts = {}
        for done, (key, verdict) in enumerate(pool.judge(items), start=1):
            verdicts[key.index] = verdict
            right += verdict.outcome == "right"
            if done % 256 == 0 or done == len(answers):
                display.step(done, {"right": right / done})
    for at, answer in enumerate(answers):
        case = Case(answer.place, answer.model, answer.label, verdicts[at])
        cases.setdefault(answer.model, []).append((answer, case))
    result: dict[str, Any] = {
        "file": path,
        "verifier": who,
        "verifier_rates": verifiers.as_json(who),
        "all": _model([pair for pairs in cases.values() for pair in pairs]),
        "models": {model: _model(pairs) for model, pairs in cases.items()},
    }
    if out is not None:
        write_atomic(out, encode(result) + "\n")
        result["out"] = out
    return result


def page(result: Mapping[str, Any]) -> str:
    """The result as a person reads it."""
    whole = result["all"]
    agreed = whole["answers"] - len(whole["disagreements"])
    lines = [f"{result['file']}: {whole['answers']:,} labelled answers, judged by {result['verifier']}"]
    lines.append(f"  {'':<24}{'answers':>8}  {'right by the verifier':<26}right by the labels")
    models = result["models"] if len(result["models"]) > 1 else {}
    for model, one in {**models, "all": whole}.items():
        shown = [
            "-" if one[by] is None else f"{one[by]['value']:.1%} [{one[by]['low']:.1%}, {one[by]['high']:.1%}]"
            for by in ("by_verifier", "by_label")
        ]
        lines.append(f"  {model[:23]:<24}{one['answers']:>8,}  {shown[0]:<26}{shown[1]}")
    lines.append(f"The verifier and the labels agree on {agreed:,} of {whole['answers']:,} answers.")
    for one in whole["disagreements"][:50]:
        lines.append(
            f"  {one['place']} ({one['model']}): labelled {'right' if one['label'] else 'wrong'}, judged {one['outcome']}: {one['why']}; "
            f"gold {one['gold']!s:.60}, found {one['found']!r}"
        )
    if (more := len(whole["disagreements"]) - 50) > 0:
        lines.append(f"  ... and {more:,} more; --out FILE has all of them.")
    lines += verifiers.sentences(result["verifier"], result["verifier_rates"])
    if "out" in result:
        lines.append(f"Written to {result['out']}.")
    return "\n".join(lines)


def _model(pairs: list[tuple[_Answer, Case]]) -> dict[str, Any]:
    """One model's figure by the verifier and by the labels, the errors, and each disagreement with what explains it."""
    judged: dict[str, list[float]] = {}
    labelled: dict[str, list[float]] = {}
    for answer, case in pairs:
        labelled.setdefault(answer.problem.id, []).append(float(case.label))
        if case.verdict.outcome != "no_verdict":
            judged.setdefault(answer.problem.id, []).append(float(case.verdict.outcome == "right"))
    return {
        "answers": len(pairs),
        "by_verifier": _interval(judged),
        "by_label": _interval(labelled),
        "rates": as_json(rates([case for _, case in pairs])),
        "disagreements": [
            {
                "place": answer.place,
                "model": answer.model,
                "label": case.label,
                "outcome": case.verdict.outcome,
                "why": case.verdict.why,
                "found": case.verdict.found,
                "fault": case.verdict.fault,
                "gold": answer.problem.reference.get("answer", dict(answer.problem.reference)),
                "text": answer.response[-_SHOWN:],
            }
            for answer, case in pairs
            if case.error or case.verdict.outcome == "no_verdict"
        ],
    }


def _interval(by_problem: Mapping[str, list[float]]) -> dict[str, Any] | None:
    means = [sum(values) / len(values) for values in by_problem.values()]
    if not means:
        return None
    one = mean_interval(means)
    return {"value": one.value, "low": one.low, "high": one.high, "problems": len(means), "rough": is_rough(means)}


def _answers(path: str, verifier: str, task: Task | None) -> Iterator[_Answer]:
    known = _known(task) if task is not None else None
    for place, row in read_rows(path):
        problem = _problem(row, place, known)
        solutions = {
            name: one
            for name, one in row.items()
            if isinstance(one, Mapping)
            and isinstance(one.get("solution"), str)
            and isinstance(one.get("is_correct"), bool)
        }
        for name, one in solutions.items():
            yield _Answer(place, str(name), problem, one["solution"], one["is_correct"])
        if not solutions:
            label = next((row[name] for name in LABELS if isinstance(row.get(name), bool)), None)
            if label is None:
                raise DataError(
                    f"{place} has no label: give label, true or false, or fields that hold solution and is_correct; it has "
                    f"{', '.join(map(str, row)) or 'no field'}."
                )
            reference, response = with_answer(row, problem.reference, verifier, place)
            shown = Problem(problem.id, problem.task, problem.question, reference, problem.split, problem.fingerprint)
            yield _Answer(place, str(row.get("model", ANSWERS)), shown, response, label)


def _problem(row: Mapping[str, Any], place: str, known: Mapping[str, Problem] | None) -> Problem:
    """The problem a row answers: the task's, by id or by its question, or one that the row itself describes."""
    question = row.get("question") if isinstance(row.get("question"), str) else ""
    if known is None:
        mark = fingerprint(str(question)) if question else place
        return Problem(mark, "labelled", str(question), reference_of(row, place), "given", mark)
    found = known.get(str(row.get("problem_id"))) or known.get(fingerprint(str(question)))
    if found is None:
        raise DataError(
            f"{place}: the task has no problem with that problem_id or question, so nobody knows what is right."
        )
    return found


def _known(task: Task) -> dict[str, Problem]:
    """The problems of a task by their id and by their question."""
    train = task.train(0).take(task.train_size) if task.train_size else []
    found: dict[str, Problem] = {}
    for problem in [*train, *task.held_out()]:
        found[problem.id] = found[fingerprint(problem.question)] = problem
    return found
