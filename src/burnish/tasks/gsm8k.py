"""GSM8K: grade-school word problems with a whole-number answer (Cobbe et al. 2021, arXiv:2110.14168).

Not for: other question-and-answer files; those are the `rows` task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.files import text
from burnish.tasks.finite import ANSWER_FORMAT, FileTask, tagged
from burnish.tasks.splits import Overlap

MARK = "####"  # stands before the final answer in every row of GSM8K
HUB_NAME = "openai/gsm8k"


class Gsm8k(FileTask):
    """Rows with "question" and "answer", the number after the last "####"; files, or "openai/gsm8k" from the hub."""

    name = "gsm8k"
    verifier = "number"

    def __init__(
        self,
        train: str,
        held_out: str,
        *,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(
            _main(train), _main(held_out), overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out
        )

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        question, worked = text(row, "question", place), text(row, "answer", place)
        _, mark, answer = worked.rpartition(MARK)
        if not mark or not answer.strip():
            raise DataError(f'{place}: a row without an answer, "answer" must end in "{MARK} 72"; mend or remove it.')
        # The worked solution stays out of the reference: a reference travels with the rollouts.
        reference = {"answer": answer.strip(), "style": "any"}
        return Problem(identity, self.name, question, reference, split, fingerprint(question))

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", f"{problem.question}\n{ANSWER_FORMAT.format(what='the final number')}"),)

    def gold(self, problem: Problem) -> str | None:
        answer = str(problem.reference["answer"])
        return tagged(f"The reference answer is {answer}.", answer)


def _main(location: str) -> str:
    """The hub's GSM8K has two configs and no default; "main" is the one everybody means."""
    return f"{HUB_NAME}:main" if location == HUB_NAME else location
