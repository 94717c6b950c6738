"""What the demonstration claims: the corpus is what it is said to be, and in the RL phase nobody shows the right answer.

The run here is the demo's own, with a smaller model, shorter chains and three steps.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from burnish.algos.reward import RewardTable
from burnish.config import RunConfig, validate
from burnish.engine.embedded import EmbeddedEngine
from burnish.journal import read_rollouts
from burnish.learner.learner import Learner
from burnish.metrics import Metrics
from burnish.pipelines import demo, rl
from burnish.policy.model import load as load_policy
from burnish.prompts import Renderer
from burnish.records import Completion, Key, Problem, Request, Sample
from burnish.tasks.chain import Chain, Document, work_out
from burnish.verify import judge
from burnish.verify import load as load_verifier
from terminal import run_settings

SIZE = 4000
TAGGED = load_verifier("tagged_number")
LEADS = ("<think>", "<answer>")


def corpus(seed: int = 1, size: int = SIZE, think_share: float = 0.36, slip_rate: float = 0.2) -> list[Document]:
    return list(itertools.islice(Chain().documents(seed, think_share, slip_rate), size))


def outcome(question: str, response: str) -> str:
    """The verdict on a response to a chain."""
    problem = Chain().ask(question)
    assert problem is not None
    return judge(TAGGED, problem, response).outcome


# The corpus


def test_the_corpus_has_the_shares_asked_for() -> None:
    kinds = Counter(document.kind for document in corpus())
    assert kinds.keys() == {"guess", "thought", "slip"}
    thinks = kinds["thought"] + kinds["slip"]
    assert thinks / SIZE == pytest.approx(0.36, abs=0.03)  # four standard deviations of a share of 4,000
    assert kinds["slip"] / thinks == pytest.approx(0.2, abs=0.045)


@pytest.mark.parametrize(
    ("think_share", "slip_rate", "kind"), [(0.0, 0.5, "guess"), (1.0, 0.0, "thought"), (1.0, 1.0, "slip")]
)
def test_shares_of_nothing_and_of_everything(think_share: float, slip_rate: float, kind: str) -> None:
    assert {document.kind for document in corpus(1, 50, think_share, slip_rate)} == {kind}


def test_the_shares_of_the_demo_are_those_it_documents() -> None:
    base, _ = demo.configs("x", 1)
    assert base.corpus.documents == {"think_share": demo.THINK_SHARE, "slip_rate": demo.SLIP_RATE}
    assert demo.THINK_SHARE < 0.4 and demo.SLIP_RATE > 0.0


def test_slips_end_wrong_and_everything_else_ends_right() -> None:
    for document in corpus(size=1000):
        assert outcome(document.question, document.response) == ("wrong" if document.kind == "slip" else "right")


def test_only_thoughts_and_slips_think() -> None:
    for document in corpus(size=500):
        assert document.response.startswith("<answer>" if document.kind == "guess" else "<think>")


def test_a_slip_is_one_wrong_step_carried_on() -> None:
    slips = [document for document in corpus(size=1000) if document.kind == "slip"]
    assert len(slips) > 30
    for slip in slips:
        thought = slip.response.removeprefix("<think>").partition("</think>")[0]
        written = [int(step.rpartition("= ")[2]) for step in thought.split(", ")[1:]]
        question = [operation for operation, _ in work_out(slip.question)]
        values = [int(question[0]), *written]
        wrong = [
            step
            for step, before, after in zip(question[1:], values, values[1:], strict=False)
            if work_out(f"a {before}, b {step}.")[-1][1] != after
        ]
        assert len(wrong) == 1


def test_held_out_problems_appear_neither_in_the_corpus_nor_in_training() -> None:
    task = Chain()
    held_out = {problem.fingerprint for problem in task.held_out()}
    assert len(task.held_out()) == len(held_out) == 1000
    assert {problem.split for problem in task.held_out()} == {"held_out"}
    trained = {problem.fingerprint for seed in (1, 2, 3) for problem in task.train(seed).take(2000)}
    written = set()
    for document in corpus(size=4000):
        problem = task.ask(document.question)
        assert problem is not None
        written.add(problem.fingerprint)
    questions = {problem.question for problem in task.held_out()}
    assert not held_out & trained and not questions & {document.question for document in corpus(size=4000)}
    # Not only those measured: nothing of their class, so that a larger held-out split would be clean too.
    assert all(int(mark[:8], 16) % 16 for mark in trained)


def test_the_corpus_is_a_function_of_its_seed() -> None:
    assert corpus(1, 50) == corpus(1, 50) != corpus(2, 50)


def test_the_gold_of_a_chain_is_right_and_no_digit_is_better_than_another() -> None:
    task = Chain()
    problems = [*task.held_out()[:500], *task.train(1).take(500)]
    for problem in problems:
        assert judge(TAGGED, problem, task.gold(problem)).outcome == "right"
    answers = Counter(problem.reference["answer"] for problem in problems)
    assert len(answers) == 10 and max(answers.values()) / len(problems) < 0.15


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>a 3, b add 5 = 8, c times 7 = 6</think><answer>6</answer>", "right"),
        ("<answer>6</answer>", "right"),  # no thought is asked for: reward alone must find that it pays
        ("<think>a 3, b add 5 = 8, c times 7 = 6</think><answer>8</answer>", "wrong"),
        ("<think>a 3, b add 5 = 8, c times 7 = 6</think>", "wrong"),
        ("6", "wrong"),
    ],
)
def test_the_verdict_reads_the_answer_alone(response: str, expected: str) -> None:
    assert outcome("a 3, b add 5, c times 7.", response) == expected


# The RL phase


@dataclass
class Watched:
    """What went through the engine and into the learner during a run."""

    completions: dict[tuple[Key, int], Completion] = field(default_factory=dict)
    requests: dict[Key, Request] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    learned_from: list[str] = field(default_factory=list)


def spied_engine(watched: Watched) -> Callable[..., Iterator[Completion]]:
    """`EmbeddedEngine.generate`, with everything that passes written down."""
    real = EmbeddedEngine.generate

    def generate(self: EmbeddedEngine, requests: Iterable[Request], *rest: Any, **named: Any) -> Iterator[Completion]:
        listed = list(requests)
        watched.requests |= {request.key: request for request in listed}
        for completion in real(self, listed, *rest, **named):
            watched.completions[completion.key, completion.newest] = completion
            yield completion

    return generate


def spied_learner(watched: Watched) -> Callable[..., Metrics]:
    """`Learner.update`, with the samples it is given written down."""
    real = Learner.update

    def update(self: Learner, samples: Sequence[Sample], objective: Any, weigh: Any, **named: Any) -> Metrics:
        watched.samples += samples
        watched.learned_from.append(type(objective).__name__)
        return real(self, samples, objective, weigh, **named)

    return update


def never(*_: object, **__: object) -> Any:
    """Stands in for what must not be called once the run has been prepared."""
    raise AssertionError("a right answer was asked for during the RL phase")


@pytest.fixture(scope="module")
def watched(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Path]]:
    """A run of the demo's settings in small, watched; from the first rollout on no gold answer can be had."""
    seen = Watched()
    out = tmp_path_factory.mktemp("watched") / "run"
    _, settings = demo.configs("x", 1)
    small = {**run_settings(tiny_base), "out": str(out), "recipe": settings.recipe.model_dump()}
    prepare = rl.prepare
    with pytest.MonkeyPatch.context() as patch:

        def prepared(*given: Any, **named: Any) -> rl.Setting:
            setting = prepare(*given, **named)
            patch.setattr(Chain, "gold", never)
            patch.setattr(Chain, "documents", never)
            patch.setattr(Renderer, "response_ids", never)
            return setting

        patch.setattr(rl, "prepare", prepared)
        patch.setattr(EmbeddedEngine, "generate", spied_engine(seen))
        patch.setattr(Learner, "update", spied_learner(seen))
        rl.train(validate(RunConfig, small), quiet=True)
    yield seen, out


def problem_of(key: Key, out: Path) -> Problem:
    """The training problem a key belongs to: ids of chains say how they were made."""
    index = int(key.problem_id.rpartition("/")[2])
    found = next(problem for problem in Chain(1, 1).train(1).take(index + 1) if problem.id == key.problem_id)
    assert found.split == "train"
    return found


def test_every_trained_token_is_one_that_the_policy_sampled(watched: tuple[Watched, Path]) -> None:
    seen, _ = watched
    assert len(seen.samples) >= 6, "too few groups had a signal to show anything"
    for sample in seen.samples:
        completion = seen.completions[sample.origin, sample.newest]
        drawn = tuple(i for i, was in zip(sample.tokens.ids, sample.tokens.sampled, strict=True) if was)
        assert drawn == completion.ids
        learned = [i for i, advantage in enumerate(sample.advantages) if advantage != 0.0]
        assert all(sample.tokens.sampled[i] for i in learned)


def test_the_policy_that_trains_is_the_one_that_sampled(watched: tuple[Watched, Path]) -> None:
    seen, _ = watched
    assert all(sample.oldest == sample.newest for sample in seen.samples)


def test_prompts_hold_the_question_and_no_answer(watched: tuple[Watched, Path], tiny_base: Path) -> None:
    seen, out = watched
    tokenizer = load_policy(str(tiny_base)).tokenizer
    for sample in seen.samples:
        shown = [i for i, was in zip(sample.tokens.ids, sample.tokens.sampled, strict=True) if not was]
        assert tuple(shown) == seen.requests[sample.origin].prompt.ids
        text = tokenizer.decode(shown, skip_special_tokens=False)
        assert text == f"<|user|>{problem_of(sample.origin, out).question}<|assistant|>"
        assert not any(lead in text for lead in LEADS)


def test_the_reward_is_the_verifiers_and_nothing_else(watched: tuple[Watched, Path]) -> None:
    seen, out = watched
    table = RewardTable()
    assert {sample.reward for sample in seen.samples} == {0.0, 1.0}
    for sample in seen.samples:
        completion = seen.completions[sample.origin, sample.newest]
        verdict = judge(TAGGED, problem_of(sample.origin, out), completion.text)
        assert sample.reward == (table.right if verdict.outcome == "right" else table.wrong)


def test_training_problems_are_not_those_measured(watched: tuple[Watched, Path]) -> None:
    seen, _ = watched
    trained = {sample.origin.problem_id.split("/")[1] for sample in seen.samples}
    measured = {key.problem_id.split("/")[1] for key in seen.requests} - trained
    assert trained == {"train"} and measured == {"held_out"}


def test_the_learner_saw_no_other_objective_than_the_recipes(watched: tuple[Watched, Path]) -> None:
    seen, _ = watched
    assert len(set(seen.learned_from)) == 1 and "likelihood" not in seen.learned_from[0]


def test_the_journal_holds_every_rollout_with_its_verdict(watched: tuple[Watched, Path]) -> None:
    seen, out = watched
    rows = read_rollouts(out)
    assert len(rows) == 3 * 6 * 6
    by_key = {(Key(row["problem_id"], row["index"]), row["newest"]) for row in rows}
    assert {(sample.origin, sample.newest) for sample in seen.samples} <= by_key


# The whole of it, at its real size


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_demo_learns_to_think(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "burnish", "demo", "--out", str(tmp_path / "demo"), "--seed", "2"]
    subprocess.run(command, check=True, timeout=1400, env=_all_cores(), capture_output=True)
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert 0.10 <= report["base"]["pass@1"]["value"] <= 0.45
    assert report["base"]["means"]["share that thinks"] < 0.40
    assert report["final"]["pass@1"]["value"] >= 0.90
    assert report["final"]["means"]["share that thinks"] > 0.95
    assert report["change"]["pass@1"]["low"] > 0.4


def _all_cores() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
