"""An evaluation on disk: nothing is drawn twice, nothing is lost, and what does not belong together is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.engine.scripted import ScriptedEngine
from burnish.errors import EngineError, ResumeError, StorageError
from burnish.evaluate import collect as store
from burnish.evaluate.collect import Answers, collect, opened, read_about
from burnish.prompts import Unrendered
from burnish.records import Completion, Key, Message, Problem, Request, Sampling, Usage, Verdict
from burnish.rollout import Sampler
from tiny import tokenizer

SAMPLING = Sampling(max_new=40, stop_ids=(tokenizer().eos_token_id,), seed=1)
ABOUT: dict[str, Any] = {
    "model": {"path": "m", "weights": "ab"},
    "sampling": {"temperature": 1.0, "seed": 1},
    "system": None,
    "tasks": {"t": {"task": "t", "options": {}, "verifier": "number@1"}},
}


class Judge:
    """A pool in this process: right where the text is the reference's answer, no verdict where it is a question mark."""

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        for key, problem, said in items:
            if said == "?":
                yield key, Verdict("no_verdict", None, fault="crashed")
            else:
                good = said == problem.reference["answer"]
                yield key, Verdict("right" if good else "wrong", float(good), {"thought": 1.0}, said)


class Counting(ScriptedEngine):
    """Answers "index"; notes which keys it was asked for, and stops after `most`."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__(lambda request: str(request.key.index), lambda text: list(tokenizer()(text).input_ids))
        self.asked: list[Key] = []
        self.most = most

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        listed = list(requests)
        self.asked += [request.key for request in listed]
        for number, completion in enumerate(super().generate(listed)):
            if number == self.most:
                raise EngineError("the engine broke")
            yield completion


def problems(count: int) -> list[Problem]:
    return [Problem(f"p{i}", "t", f"say {i}", {"answer": str(i)}, "test", str(i)) for i in range(count)]


def sampler(engine: Any) -> Sampler:
    from burnish.prompts import Renderer

    return Sampler(
        engine, Renderer(tokenizer()), Judge(), lambda problem: (Message("user", problem.question),), SAMPLING
    )  # type: ignore[arg-type]


def test_a_second_call_draws_only_what_is_missing(tmp_path: Path) -> None:
    engine, answers = Counting(), Answers(tmp_path / "t")
    assert collect(sampler(engine), answers, problems(2), 2, SAMPLING) == 4
    assert collect(sampler(engine), answers, problems(3), 3, SAMPLING) == 5
    assert engine.asked[4:] == [Key("p0", 2), Key("p1", 2), Key("p2", 0), Key("p2", 1), Key("p2", 2)]
    assert collect(sampler(engine), answers, problems(3), 3, SAMPLING) == 0


def test_rows_are_of_the_problems_and_samples_asked_for(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "t")
    collect(sampler(Counting()), answers, problems(3), 4, SAMPLING)
    rows = answers.rows(problems(2), 3)
    assert {row.key for row in rows} == {Key(f"p{p}", i) for p in range(2) for i in range(3)}
    assert {row.key for row in rows if row.outcome == "right"} == {Key("p0", 0), Key("p1", 1)}
    assert all(row.thought and row.found == str(row.key.index) for row in rows)


def test_a_row_has_the_tokens_of_its_answer(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "t")
    collect(sampler(Counting()), answers, problems(1), 1, SAMPLING)
    assert [row.tokens for row in answers.rows()] == [len(tokenizer()("0").input_ids) + 1]  # and the end token


def test_an_engine_that_breaks_leaves_what_came(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "t")
    with pytest.raises(EngineError, match="the engine broke"):
        collect(sampler(Counting(most=3)), answers, problems(2), 2, SAMPLING)
    assert len(answers.rows()) == 3
    assert collect(sampler(Counting()), answers, problems(2), 2, SAMPLING) == 1


def test_answers_are_written_while_more_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FLUSH_ANSWERS", 2)
    answers = Answers(tmp_path / "t")
    seen: list[int] = []
    collect(sampler(Counting()), answers, problems(2), 3, SAMPLING, lambda _: seen.append(len(answers.rows())))
    assert seen == [0, 2, 2, 4, 4, 6]


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FLUSH_ANSWERS", 2)
    answers = Answers(tmp_path / "t")
    write, calls = store.write_rollouts, iter([True, False])

    def filling(*given: Any) -> Path:
        if not next(calls):
            raise StorageError("the disk is full")
        return write(*given)

    monkeypatch.setattr(store, "write_rollouts", filling)
    with pytest.raises(StorageError):
        collect(sampler(Counting()), answers, problems(2), 2, SAMPLING)
    monkeypatch.setattr(store, "write_rollouts", write)
    assert len(answers.rows()) == 2
    assert collect(sampler(Counting()), answers, problems(2), 2, SAMPLING) == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [({"fingerprint": "x"}, "question"), ({"reference": {"answer": "9"}}, "answer"), ({"question": "9?"}, "wording")],
)
def test_a_problem_that_changed_is_refused(tmp_path: Path, change: Mapping[str, Any], what: str) -> None:
    answers = Answers(tmp_path / "t")
    collect(sampler(Counting()), answers, problems(1), 1, SAMPLING)
    with pytest.raises(ResumeError, match=f"answers to p0 with another {what}"):
        collect(sampler(Counting()), answers, [replace(problems(1)[0], **change)], 2, SAMPLING)


def test_cost_adds_up_over_calls_and_a_prompt_counts_once_a_call(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "t")
    one = sampler(Counting())
    prompt = len(one.prompts(problems(1))[0].ids)
    collect(one, answers, problems(1), 2, SAMPLING)
    assert answers.cost()[1] == prompt
    collect(one, answers, problems(1), 4, SAMPLING)
    seconds, tokens = answers.cost()
    assert tokens == 2 * prompt and seconds > 0.0


def test_text_without_ids_keeps_the_count_that_came_with_it(tmp_path: Path) -> None:
    class Text:
        version = 0

        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            for request in requests:
                usage = Usage(7, 5) if request.key.index == 0 else None
                yield Completion(request.key, (), (), "0", "eos", 0, 0, usage)

    answers = Answers(tmp_path / "t")
    remote = replace(sampler(Text()), renderer=Unrendered())
    collect(remote, answers, problems(1), 2, SAMPLING)
    assert sorted((row.key.index, row.tokens) for row in answers.rows()) == [(0, 5), (1, None)]
    assert answers.cost()[1] == 7


def test_a_directory_remembers_what_it_is_of(tmp_path: Path) -> None:
    with opened(tmp_path / "e", ABOUT):
        pass
    other = {**ABOUT, "tasks": {"u": {"task": "u", "options": {}, "verifier": "number@1"}}}
    with opened(tmp_path / "e", other):
        pass
    assert read_about(tmp_path / "e")["tasks"].keys() == {"t", "u"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"path": "n", "weights": "cd"}}, "model.path is 'm' there, 'n' here; 1 more differ"),
        ({"sampling": {"temperature": 0.6, "seed": 1}}, "sampling.temperature is 1.0 there, 0.6 here"),
        (
            {"tasks": {"t": {"task": "t", "options": {"x": 1}, "verifier": "number@1"}}},
            "tasks.t.options.x is None there",
        ),
        ({"tasks": {"t": {"task": "t", "options": {}, "verifier": "number@2"}}}, "burnish rejudge"),
    ],
)
def test_another_model_sampling_task_or_verifier_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    with opened(tmp_path / "e", ABOUT):
        pass
    with pytest.raises(ResumeError) as refused, opened(tmp_path / "e", {**ABOUT, **change}):
        pass
    assert said in str(refused.value)


def test_the_same_weights_in_another_place_are_the_same_model(tmp_path: Path) -> None:
    with opened(tmp_path / "e", ABOUT):
        pass
    with opened(tmp_path / "e", {**ABOUT, "model": {"path": "moved", "weights": "ab"}}):
        pass


def test_a_directory_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResumeError, match="no evaluation"), opened(tmp_path, ABOUT):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "e", ABOUT),
        pytest.raises(ResumeError, match="Another burnish eval"),
        opened(tmp_path / "e", ABOUT),
    ):
        pass
