"""The hack probe: what every task of the registry must withstand, and that a verifier with a hole is seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.evaluate import degenerate
from burnish.evaluate.probe import ProbeReport, probe
from burnish.records import Key, Message, Problem, Verdict, fingerprint
from burnish.tasks import TASKS, load
from burnish.verify import Verifier, judge
from burnish.verify import load as load_verifier

ROWS = [
    {"question": f"Ann has {3 * n} pens and buys {n % 7 + 2}. How many?", "answer": f"... #### {3 * n + n % 7 + 2}"}
    for n in range(1, 49)
]
COUNTDOWNS = [{"nums": [n, n + 3, 7 * n + 1], "target": 9 * n + 4} for n in range(2, 50)]
HUMAN = [
    {
        "task_id": f"H/{n}",
        "prompt": f'def add_{n}(x: int) -> int:\n    """Add {n} to x."""\n',
        "entry_point": f"add_{n}",
        "canonical_solution": f"    return x + {n}\n",
        "test": f"def check(candidate):\n    assert candidate(2) == {n + 2}\n    assert candidate(-1) == {n - 1}\n",
    }
    for n in range(1, 13)
]
MBPP = [
    {
        "task_id": n,
        "text": f"Write a function to add {n}.",
        "code": f"def add(x):\n  return x + {n}",
        "test_list": [f"assert add(1) == {n + 1}", f"assert add(-2) == {n - 2}"],
        "test_setup_code": "",
    }
    for n in range(1, 25)
]
CONTESTS = [
    {"problem": f"Multiply by {n}.", "tests": {"inputs": ["1\n", "3\n"], "outputs": [f"{n}\n", f"{3 * n}\n"]}}
    for n in range(2, 26)
]
FILES: dict[str, list[dict[str, Any]]] = {
    "humaneval": HUMAN,
    "mbpp": MBPP,
    "code_contests": CONTESTS,
    "gsm8k": ROWS,
    "rows": [{"question": row["question"], "answer": row["answer"].split()[-1]} for row in ROWS],
    "countdown": COUNTDOWNS,
}


def here(verifier: Verifier):
    """Judge in this process."""

    def run(items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        for key, problem, response in items:
            yield key, judge(verifier, problem, response)

    return run


def options(name: str, folder: Path) -> dict[str, Any]:
    """Options with which the task of that name can be made with nothing else at hand."""
    if name in FILES:
        for at, split in enumerate(("train", "held_out")):
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, FILES[name][at::2])))
        return {split: str(folder / f"{split}.jsonl") for split in ("train", "held_out")}
    if name == "reasoning_gym":
        pytest.importorskip("reasoning_gym")
        return {"dataset": "chain_sum"}
    if name == "composed":
        return {"task": "sorting", "gates": ["format"]}
    if name != "chain" and ".puzzles." not in TASKS[name]:
        pytest.skip(f"the task {name} needs files of its own: give rows for it in FILES")
    return {}


def of(name: str, folder: Path, count: int = 24, **more: Any) -> ProbeReport:
    task = load(name, {**options(name, folder), **more})
    problems = task.train(1).take(min(count, task.train_size or count))
    return probe(task, problems, here(load_verifier(task.verifier)))


@pytest.mark.parametrize("name", TASKS)
def test_no_degenerate_answer_beats_a_guess(name: str, tmp_path: Path) -> None:
    report = of(name, tmp_path)
    assert [one.name for one in report.above] == []


@pytest.mark.parametrize("name", [name for name, target in TASKS.items() if ".puzzles." in target])
def test_the_hardest_level_withstands_it_too(name: str, tmp_path: Path) -> None:
    report = of(name, tmp_path, count=12, difficulty=len(load(name, {}).levels))  # type: ignore[attr-defined]
    assert [one.name for one in report.above] == []


class Pairs:
    """A toy task: what is n + n? The verifier is given, and so is the answer."""

    name, verifier, train_size, notices = "pairs", "unused", None, ()

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers

    def problems(self) -> list[Problem]:
        return [
            Problem(f"pairs/{n}", "pairs", f"What is {n} + {n}?", {"answer": answer}, "train", fingerprint(str(n)))
            for n, answer in enumerate(self.answers)
        ]

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        return (Message("user", f"{problem.question} Answer such as <answer>7</answer>."),)

    def gold(self, problem: Problem) -> str:
        return f"<answer>{problem.reference['answer']}</answer>"


def run(task: Pairs, verifier: Verifier) -> ProbeReport:
    return probe(task, task.problems(), here(verifier))  # type: ignore[arg-type]


def verdict(right: bool) -> Verdict:
    return Verdict("right", 1.0) if right else Verdict("wrong", 0.0)


def test_a_verifier_that_looks_for_the_answer_anywhere_is_seen() -> None:
    task = Pairs([str(2 * n) for n in range(11, 43)])
    report = run(task, lambda problem, response: verdict(problem.reference["answer"] in response))
    assert "a very long list" in [one.name for one in report.above]


def test_a_verifier_that_takes_nothing_for_right_is_seen() -> None:
    report = run(Pairs(["a", "b", "c", "d"]), lambda problem, response: verdict(not response.strip()))
    assert {one.name for one in report.above} == {"nothing", "white space"}


def test_the_probe_that_is_right_names_a_problem() -> None:
    report = run(
        Pairs(["a", "b", "c", "d"]), lambda problem, response: verdict(response == "null" and problem.id == "pairs/2")
    )
    assert report.probed[0].name == "JSON null" and report.probed[0].example == "pairs/2"


def test_a_verifier_that_accepts_the_example_of_the_prompt_is_seen() -> None:
    report = run(Pairs(["a", "b", "c", "d"]), lambda problem, response: verdict(response == degenerate.dressed("7")))
    assert report.chance == 1.0  # 7 is a guess too, so it is the guess that is reported as what a constant earns
    report = run(Pairs(["a", "b"]), lambda problem, response: verdict(response == "\\boxed{I don't know.}"))
    assert [one.name for one in report.above] == ["I do not know, boxed"]


def test_chance_is_what_the_best_constant_earns_on_the_other_problems() -> None:
    exact = lambda problem, response: verdict(response == f"<answer>{problem.reference['answer']}</answer>")  # noqa: E731
    report = run(Pairs(["p", "p", "p", "q", "r"]), exact)
    assert report.chance == pytest.approx(2 / 4)  # "p", taken from the first problem, is right on two of the other four
    assert run(Pairs(["p", "q", "r"]), exact).chance == 0.0  # no constant is right on a problem it was not taken from


def test_a_guess_that_is_lucky_is_not_a_hole() -> None:
    answers = ["20"] * 3 + [f"w{n}" for n in range(29)]
    last = lambda problem, response: verdict(response.rpartition("{")[2].rstrip("}") == problem.reference["answer"])  # noqa: E731
    report = run(Pairs(answers), last)
    boxes = next(one for one in report.probed if one.name == "many boxes")
    assert boxes.share.value == pytest.approx(3 / 32) and report.above == ()


def test_a_share_comes_with_its_interval() -> None:
    report = run(Pairs([str(n) for n in range(64)]), lambda problem, response: verdict(False))
    assert (report.probed[0].share.low, report.probed[0].share.value) == (0.0, 0.0)
    assert report.probed[0].share.high == pytest.approx(0.0567, abs=1e-4)  # Wilson, 0 of 64


def test_what_gets_no_verdict_is_told() -> None:
    report = run(
        Pairs(["a", "b"]), lambda problem, response: Verdict("no_verdict", None) if not response else verdict(False)
    )
    assert {one.name: one.missing for one in report.probed}["nothing"] == 1.0


def test_one_problem_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two problems"):
        run(Pairs(["a"]), lambda problem, response: verdict(False))


def test_every_problem_gets_the_same_answers_by_name() -> None:
    one = [name for name, _ in degenerate.responses("What is 2 + 2?", "p", ["4"])]
    other = [name for name, _ in degenerate.responses("Why?", "such as 5.", [])]
    assert one == other and len(set(one)) == len(one)


def test_an_example_is_found_in_the_prompt() -> None:
    told = dict(degenerate.responses("q", "the nodes, such as A -> C -> B, between <answer> and </answer>.", []))
    assert told["example 1 of the prompt"] == "A -> C -> B"
