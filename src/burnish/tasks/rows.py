"""Questions and answers of one's own: any file with a field for each, judged by any verifier.

Not for: tasks that make their problems; write a class with the Task protocol and name it "my.module:attr".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import ConfigError, DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.files import field, text
from burnish.tasks.finite import FileTask, tagged
from burnish.tasks.splits import Overlap


class Rows(FileTask):
    """One problem a row.

    question, answer   the fields that hold them
    id                 a field to name problems by; without it, the row's number
    keep               further fields the verifier needs: they go into the reference under their own names
    verifier           a name, or "my.module:attr"
    wording            what the model is asked; contains {question}; a brace of its own is doubled
    gold_wording       a response that is right, for the check of gold answers; contains {answer}
    name               the task's name in ids and reports

    Raises ConfigError for a template that lacks its field or has another one; reading raises DataError.
    """

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        question: str = "question",
        answer: str = "answer",
        id: str | None = None,
        keep: list[str] | None = None,
        verifier: str = "number",
        wording: str = "{question}",
        gold_wording: str = tagged("The reference answer is {answer}.", "{answer}"),
        name: str = "rows",
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        self.name, self.verifier = name, verifier
        super().__init__(train, held_out, overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out)
        _check_template("wording", wording, "question")
        _check_template("gold_wording", gold_wording, "answer")
        if "answer" in (keep or []):
            raise ConfigError("keep names 'answer', which the reference already has; take it out.")
        self._question, self._answer, self._id, self._keep = question, answer, id, keep or []
        self._wording, self._gold_wording = wording, gold_wording

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        if self._id is None:
            return super().identity(row, split, number, place)
        own = str(field(row, self._id, place)).strip()
        if not own:
            raise DataError(f"{place}: {self._id!r} is empty; a row named by it needs one.")
        return f"{self.name}/{split}/{own}"

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        question, value = text(row, self._question, place), field(row, self._answer, place)
        if isinstance(value, (list, dict)):
            raise DataError(f"{place}: {self._answer!r} is a {type(value).__name__}; an answer is text or a number.")
        answer = "" if value is None else str(value).strip()
        if not answer:
            raise DataError(f"{place}: a row without an answer, {self._answer!r} is empty; fill it in or remove it.")
        reference = {"answer": answer} | {name: field(row, name, place) for name in self._keep}
        if self.verifier == "number":
            reference.setdefault("style", "any")
        return Problem(identity, self.name, question, reference, split, fingerprint(question))

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", self._wording.format(question=problem.question)),)

    def gold(self, problem: Problem) -> str | None:
        return self._gold_wording.format(answer=problem.reference["answer"])


def _check_template(option: str, template: str, name: str) -> None:
    try:
        shown = template.format(**{name: "\0"})
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{option} = {template!r} knows only the field {{{name}}} ({type(error).__name__}: {error}); "
            "write {{ and }} for a brace of your own."
        ) from error
    if "\0" not in shown:
        raise ConfigError(f"{option} = {template!r} does not contain {{{name}}}, and would be the same for every row.")
