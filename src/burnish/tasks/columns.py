"""What a row of each published data set means: its columns become a question, a verifier's reference, and what one may choose by.

Each function takes (row, place) and raises DataError, which begins with the place, for a malformed row, and LeftOut for one that cannot
be used. Not for wording, splits and licences (sets.py).
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any

from burnish.errors import DataError
from burnish.tasks.files import Row, field, text
from burnish.tasks.finite import LeftOut
from burnish.tasks.languages import GIVE_A_NUMBER
from burnish.tasks.published import Asked
from burnish.verify.format import extract_answer, split_response

_YEAR = re.compile(r"(?:19|20)\d\d")
_LETTERED = re.compile(r"\s*[(\[]?([A-J])\s*[).:\]]\s*")


def _first(row: Row, names: tuple[str, ...], place: str) -> Any:
    """The first of these columns that the row has; the complaint is about the first of all."""
    return field(row, next((name for name in names if row.get(name) is not None), names[0]), place)


def _number(value: Any, place: str, what: str) -> str:
    """A number as text, "27" for 27.0. Raises DataError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{place}: {what} is {value!r:.60}, not a number; mend or remove the row.")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    written = str(value).strip()
    if not written:
        raise DataError(f"{place}: {what} is empty; fill it in or remove the row.")
    return written.removesuffix(".0")


def gsm8k(row: Row, place: str) -> Asked:
    worked = text(row, "answer", place)
    _, mark, answer = worked.rpartition("####")
    if not mark or not answer.strip():
        raise DataError(f'{place}: a row without an answer, "answer" must end in "#### 72"; mend or remove it.')
    # The worked solution stays out of the reference: a reference travels with the rollouts.
    return Asked(text(row, "question", place), {"answer": answer.strip(), "style": "any"})


def math(row: Row, place: str) -> Asked:
    answer = str(row.get("answer") or "").strip()
    if not answer:
        if "answer" in row and "solution" not in row:
            raise LeftOut("they have no answer")
        box = extract_answer(split_response(text(row, "solution", place)), "boxed")
        if box is None or not box.text:
            raise LeftOut("their solution has no \\boxed answer")
        answer = box.text
    level = re.search(r"\d", str(row.get("level", "")))
    subject = row.get("subject") or row.get("type")
    facets = {"level": int(level.group()) if level else None, "subject": str(subject) if subject else None}
    return Asked(text(row, "problem", place), {"answer": answer}, facets)


def aime(row: Row, place: str) -> Asked:
    written = _number(_first(row, ("answer", "Answer"), place), place, "the answer")
    if not written.isdecimal() or int(written) > 999:
        raise DataError(
            f"{place}: the answer is {written!r}, but an answer of the AIME is a whole number from 0 to 999."
        )
    question = _first(row, ("problem", "Problem", "question", "Question"), place)
    told_year = next(
        (found for name in ("year", "Year", "id", "ID", "url") if (found := _YEAR.search(str(row.get(name, ""))))), None
    )
    year = int(told_year.group()) if told_year else None
    return Asked(str(question).strip(), {"answer": str(int(written)), "style": "any"}, {"year": year})


def amc(row: Row, place: str) -> Asked:
    question = str(_first(row, ("problem", "question"), place)).strip()
    return Asked(question, {"answer": _number(field(row, "answer", place), place, "the answer"), "style": "any"})


def olympiadbench(row: Row, place: str) -> Asked:
    golds = row.get("final_answer")
    if not golds:
        raise LeftOut("they ask for a proof")
    if row.get("answer_type") == "Need_human_evaluate":
        raise LeftOut("their answer needs a person to judge it")
    if any(row.get(f"image_{number}") is not None for number in range(1, 10)) or "<image_1>" in str(
        row.get("question")
    ):
        raise LeftOut("they show a picture")
    reference: dict[str, Any] = {
        "answer": ", ".join(str(gold).strip() for gold in (golds if isinstance(golds, list) else [golds]))
    }
    if error := str(row.get("error") or "").strip():
        try:
            reference["absolute"] = float(error)
        except ValueError:
            raise LeftOut("they have a tolerance for each of several answers") from None
    parts = [str(row.get("context") or "").strip(), text(row, "question", place)]
    if row.get("is_multiple_answer"):
        parts.append("There are several answers; give them all, separated by commas.")
    if unit := str(row.get("unit") or "").strip():
        parts.append(f"Give the answer in {unit}.")
    facets = {"subject": row.get("subfield") or row.get("subject"), "language": row.get("language")}
    return Asked("\n".join(filter(None, parts)), reference, facets)


def svamp(row: Row, place: str) -> Asked:
    answer = _number(field(row, "Answer", place), place, "Answer")
    question = f"{text(row, 'Body', place)} {text(row, 'Question', place)}"
    return Asked(question, {"answer": answer, "style": "any"}, {"subject": row.get("Type")})


def gsm_hard(row: Row, place: str) -> Asked:
    # PAL, which made the set, accepts what is within 1e-3 of the target: its targets are floats (arXiv:2211.10435).
    answer = _number(field(row, "target", place), place, "target")
    return Asked(text(row, "input", place), {"answer": answer, "absolute": 1e-3})


def mgsm(row: Row, place: str) -> Asked:
    named = re.search(r"mgsm[_:]([a-z]{2})\b", place)
    language = str(row.get("language") or (named and named[1]) or "")
    if language not in GIVE_A_NUMBER:
        raise DataError(
            f"{place}: cannot tell which language this is; call the file mgsm_de.tsv, or give its rows a column language "
            f"({', '.join(GIVE_A_NUMBER)})."
        )
    answer = _number(field(row, "answer_number", place), place, "answer_number").replace(",", "")
    return Asked(
        text(row, "question", place), {"answer": answer, "style": "any", "language": language}, {"language": language}
    )


def _options(question: str, options: list[str], right: int, place: str) -> Asked:
    """A question with its options, lettered from A."""
    if len(set(options)) == 1:
        raise DataError(f"{place}: all options are the same; mend or remove the row.")
    letters = [chr(65 + number) for number in range(len(options))]
    listed = "\n".join(f"{letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return Asked(f"{question}\n{listed}", {"answer": letters[right], "choices": options})


def aqua(row: Row, place: str) -> Asked:
    given, letter = field(row, "options", place), text(row, "correct", place).upper()
    if not isinstance(given, list) or not 2 <= len(given) <= 10 or not all(isinstance(one, str) for one in given):
        raise DataError(f"{place}: options must be a list of 2 to 10 texts, not {given!r:.60}.")
    if len(letter) != 1 or not 0 <= ord(letter) - 65 < len(given):
        raise DataError(f"{place}: correct is {letter!r}, not the letter of one of {len(given)} options.")
    options = []
    for number, option in enumerate(given):
        own = _LETTERED.match(option)  # "B)12" is "12" where it stands second
        options.append((option[own.end() :] if own and ord(own[1]) - 65 == number else option).strip())
    return _options(text(row, "question", place), options, ord(letter) - 65, place)


def gpqa(row: Row, place: str) -> Asked:
    question = text(row, "Question", place)
    right = text(row, "Correct Answer", place)
    options = [right, *(text(row, f"Incorrect Answer {number}", place) for number in (1, 2, 3))]
    if options.count(right) > 1:
        raise LeftOut("a wrong option of theirs is the right one again")
    # Their order is the problem's own: the same in every run, and no place is right more often than another.
    seed = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=8).digest())
    numbers = random.Random(seed)
    options = [option for _, option in sorted((numbers.random(), option) for option in options)]
    asked = _options(question, options, options.index(right), place)
    return Asked(asked.question, asked.reference, {"subject": row.get("High-level domain")})
