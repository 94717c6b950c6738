"""IFEval: instructions that a program can check, such as "no commas" (Zhou et al. 2023, arXiv:2311.07911).

There are no gold answers: what is checked of a row is that its instructions can be read. Not for the checks themselves
(burnish.verify.checks), or for adding up what they said (burnish.verify.instructions.levels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.errors import DataError
from burnish.records import Message, Problem, fingerprint
from burnish.tasks.cards import Card
from burnish.tasks.files import field, text
from burnish.tasks.finite import HELD_OUT, FileTask
from burnish.tasks.splits import Overlap


class IfEval(FileTask):
    """Rows with key, prompt, instruction_id_list and kwargs. The prompt is asked as it stands.

    loose   an instruction counts as followed where it is after leaving out the first line, the last, or asterisks; what both ways say
            is in every verdict's parts
    think   ask for a thought between <think> and </think> first; it is not checked
    """

    name = "ifeval"
    verifier = "instructions"
    hub = {HELD_OUT: ("google/IFEval@train#966cd89545d6b6acfd7638bc708b98261ca58e84",)}
    hub_splits = {"train": "train", HELD_OUT: "train"}
    has_golds = False
    card = Card(
        "IFEval",
        "541 prompts with one to three instructions each that a program can check, of 25 kinds; for evaluation.",
        "key; prompt; instruction_id_list; kwargs, one object for each instruction, null for what belongs to others",
        "https://github.com/google-research/google-research/tree/master/instruction_following_eval",
        "Apache-2.0",
        "Zhou et al. 2023, arXiv:2311.07911",
        {
            "key": 1001,
            "prompt": "Name three rivers, without any commas.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        },
        "The counting of words and sentences is ours and stricter in places than the original's, so scores are near, but not equal, to "
        "published ones.",
    )

    def __init__(
        self,
        train: str | list[str] = "",
        held_out: str | list[str] = "",
        *,
        loose: bool = False,
        think: bool = False,
        overlap: Overlap = "drop",
        limit_train: int | None = None,
        limit_held_out: int | None = None,
    ) -> None:
        super().__init__(train, held_out, overlap=overlap, limit_train=limit_train, limit_held_out=limit_held_out)
        self._loose, self._think = loose, think

    def identity(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        key = row.get("key")
        return super().identity(row, split, number, place) if key is None else f"{self.name}/{split}/{key}"

    def problem(self, row: Mapping[str, Any], identity: str, split: str, place: str) -> Problem:
        names, given = field(row, "instruction_id_list", place), field(row, "kwargs", place)
        if not isinstance(names, list) or not isinstance(given, list) or len(names) != len(given) or not names:
            raise DataError(
                f"{place}: instruction_id_list and kwargs must be lists of one length, with at least one entry."
            )
        kept = [{name: value for name, value in (one or {}).items() if value is not None} for one in given]
        prompt = text(row, "prompt", place)
        reference = {"instruction_id_list": names, "kwargs": [_whole(one) for one in kept], "loose": self._loose}
        return Problem(identity, self.name, prompt, reference, split, fingerprint(prompt))

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        told = "\nThink between <think> and </think> first, then answer." if self._think else ""
        return (Message("user", problem.question + told),)

    def gold(self, problem: Problem) -> str | None:
        """There is none: many texts follow the instructions."""
        return None


def _whole(args: Mapping[str, Any]) -> dict[str, Any]:
    """Counts that a table has made floats of (3.0) as the whole numbers they are."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in args.items()
    }
