"""The maths verifier against a second labelled set, against the golds of real files respelled and spoilt, and from threads."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.verify import maths
from test_verify_maths import cases

MARKED = Path(__file__).parent / "data" / "maths_marked.txt"
FILES = ("gsm8k", "svamp", "gsm_hard", "aqua", "olympiadbench", "math_cases")


def accepts(gold: str, answer: str, whole: bool = False) -> bool:
    return (maths.judge_response if whole else maths.verify)(gold, answer).outcome == "right"


def golds(data: Path, name: str) -> list[str]:
    """The different gold answers (in aqua: the options) of one of the files, in a fixed order."""

    def lines(path: str) -> Iterator[dict[str, object]]:
        return map(json.loads, (data / name / path).open(encoding="utf-8"))

    found: list[str] = []
    if name == "gsm8k":
        found = [str(row["answer"]).split("#### ")[1] for row in (*lines("train.jsonl"), *lines("test.jsonl"))]
    elif name == "svamp":
        found = [str(row["Answer"]) for row in json.loads((data / name / "SVAMP.json").read_text())]
    elif name == "gsm_hard":
        found = [repr(row["target"]) for row in lines("gsmhardv2.jsonl")]
    elif name == "aqua":
        for row in (*lines("test.json"), *lines("dev.json")):
            found += [option.partition(")")[2] for option in row["options"]]  # type: ignore[attr-defined]
    elif name == "olympiadbench":
        for row in lines("test.jsonl"):
            found += row["final_answer"]  # type: ignore[call-overload]
    else:
        found = [str(row["gold"]) for row in lines("cases.jsonl")]
    return sorted({gold for gold in found if gold.strip()})


# ---- the labels


def test_the_marked_set() -> None:
    """Two answers are in dispute, named at the head of the file."""
    rejected, accepted = [], []
    for _, gold, answer, whole, right in cases(MARKED):
        if accepts(gold, answer, whole) != right:
            (rejected if right else accepted).append((gold, answer))
    assert accepted == []
    assert len(rejected) <= 2, rejected


def test_the_marked_set_is_large_and_has_every_class_with_both_labels() -> None:
    rows = list(cases(MARKED))
    labels: dict[str, set[bool]] = {}
    for kind, *_, right in rows:
        labels.setdefault(kind, set()).add(right)
    assert len(rows) >= 1_500
    assert len(labels) >= 25
    assert [kind for kind, found in labels.items() if found != {True, False} and kind != "inject"] == []


# ---- golds of real files


SPELLINGS = {
    "as it is": "{}",
    "spaces": "  {} \n",
    "a full stop": "{}.",
    "bold": "**{}**",
    "dollars": "${}$",
    "double dollars": "$${}$$",
    "display": r"\[{}\]",
    "inline": r"\({}\)",
    "a box": r"\boxed{{{}}}",
    "a box in dollars": r"$\boxed{{{}}}$",
}


@pytest.mark.parametrize("name", FILES)
def test_every_gold_passes_however_it_is_dressed(data_dir: Path, name: str) -> None:
    failed = []
    for gold in golds(data_dir, name):
        inner = re.sub(r"^[\s$]+|[\s$.]+$", "", gold)
        for spelling in SPELLINGS.values():
            framed = "$" in spelling or "\\" in spelling
            if framed and "$" in inner:
                continue  # several pieces of mathematics
            text = spelling.format(inner if framed else gold)
            if not accepts(gold, text):
                failed.append((gold, text))
    assert failed == []


@pytest.mark.parametrize("name", ["gsm8k", "gsm_hard", "aqua", "olympiadbench"])
def test_another_problems_gold_is_rejected(data_dir: Path, name: str) -> None:
    found = golds(data_dir, name)
    generator = random.Random(11)
    accepted = []
    for _ in range(3):
        generator.shuffle(found)
        accepted += [pair for pair in itertools.pairwise(found) if accepts(*pair)]
    assert [pair for pair in accepted if _digits(pair[0]) != _digits(pair[1])] == []
    assert len(accepted) <= 6  # the same number with its unit and without


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text.replace("K", "000"))


# ---- near misses


UNITS = {
    "cm": "m", "m": "km", "km": "m", "kmph": "mph", "miles": "feet", "feet": "inches", "sec": "min", "minutes": "hours",
    "hours": "days", "days": "weeks", "years": "months", "kg": "g", "litres": "ml", "Rs": "€",
}  # fmt: skip


def near_misses(gold: str) -> Iterator[tuple[str, str]]:
    """What a gold becomes by one slip: (kind, text)."""
    for match in re.finditer(r"\d", gold):
        yield "digit", f"{gold[: match.start()]}{(int(match[0]) + 1) % 10}{gold[match.end() :]}"
    text = gold.strip("$ ")
    if re.match(r"-?[\d.]", text) and "," not in text and ":" not in text and re.search("[1-9]", text):
        yield "sign", text[1:] if text[0] == "-" else f"-{text}"
    for match in re.finditer(r"(?<=[\w})])[+-](?=[\w\\{(])", text):
        yield "inner sign", text[: match.start()] + ("-" if match[0] == "+" else "+") + text[match.end() :]
    if (pair := re.fullmatch(r"\(([^(),]+),([^(),]+)\)", text)) and pair[1].strip() != pair[2].strip():
        yield "swap", f"({pair[2]},{pair[1]})"
    if row := re.fullmatch(r"([(\[])([^()\[\]]+,[^()\[\]]+)([)\]])", text):
        yield "bracket", ("[" if row[1] == "(" else "(") + row[2] + row[3]
        yield "bracket", row[1] + row[2] + ("]" if row[3] == ")" else ")")
    if total := re.fullmatch(r"(.*[\w})])[+-][\w\\^{}]+", text):
        yield "dropped term", total[1]
    for unit, other in UNITS.items():
        changed = re.sub(rf"(?<![A-Za-z]){unit}(?![A-Za-z])", other, gold, count=1)
        if changed != gold and re.match(r"[\s$]*(?:Rs\.? ?)?[\d.]*[1-9]", gold):
            yield "unit", changed


STILL_TRUE = re.compile(r"\dC\d|^[A-E]\)|mho")
"""5C2 is 5C3, a letter before an option's text decides, and a condition after "where" is not read."""


@pytest.mark.parametrize("name", FILES)
def test_a_gold_with_one_slip_is_rejected(data_dir: Path, name: str) -> None:
    found = golds(data_dir, name)
    random.Random(5).shuffle(found)
    tried, accepted = 0, []
    for gold in found[:500]:
        if STILL_TRUE.search(gold):
            continue
        for kind, text in near_misses(gold):
            tried += 1
            if accepts(gold, text):
                accepted.append((kind, gold, text))
    assert tried > 200
    assert accepted == []


# ---- threads


def test_eight_threads_give_the_verdicts_of_one() -> None:
    rows = [(gold, answer) for _, gold, answer, whole, _ in cases(MARKED) if not whole][:700:2]
    rows = [row for row in rows if "\\int" not in row[1] and "\\lim" not in row[1]]
    maths.clear_caches()
    wanted = [accepts(*row) for row in rows]
    found: dict[int, list[bool]] = {}
    maths.clear_caches()

    def work(number: int) -> None:
        found[number] = [accepts(*row) for row in rows]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found.get(number) for number in range(8)] == [wanted] * 8
