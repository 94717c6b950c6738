"""The loop in one process, with an engine that follows a script and a learner that only counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.algos.recipes import Recipe, recipe
from burnish.engine.scripted import ScriptedEngine
from burnish.errors import EngineError, TrainingError
from burnish.journal import Journal
from burnish.loop import train
from burnish.metrics import Metrics, Sum
from burnish.prompts import Renderer
from burnish.records import Group, Key, Message, Notes, Problem, Request, Sample, Sampling, Tokens, Verdict
from burnish.rollout import Sampler
from burnish.run.display import Display
from burnish.run.local import Cadence, LocalRun, at_rest
from tiny import tokenizer

GRPO = recipe("grpo")


class Counting:
    """A learner of one weight, the number of its updates; it notes what it was given."""

    def __init__(self) -> None:
        self.policy = self
        self.parameters = 1
        self.version = 0
        self.given: list[list[Sample]] = []
        self.weight = 0.0

    def score(self, groups: Sequence[Group], needs: frozenset[str]) -> dict[Key, Notes]:
        raise AssertionError("the recipe needs nothing")

    def update(self, samples: Sequence[Sample], objective: Any, weigh: Any) -> Metrics:
        if not samples:
            return {}
        self.given.append(list(samples))
        self.version += 1
        return {"optim/updates": Sum(1.0)}

    def weights(self) -> object:
        return self

    def log_probs(self, rows: Sequence[Tokens]) -> list[tuple[float, ...]]:
        return [(self.weight,) * len(tokens.ids) for tokens in rows]

    def state(self) -> dict[str, Any]:
        return {"version": self.version, "w": torch.zeros(1)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.version = int(state["version"])


class Numbered:
    """Problems p0, p1, p2, ..."""

    def __init__(self) -> None:
        self.next = 0

    def take(self, n: int) -> list[Problem]:
        self.next += n
        return [Problem(f"p{i}", "t", f"say {i}", {}, "train", str(i)) for i in range(self.next - n, self.next)]

    def state(self) -> dict[str, int]:
        return {"next": self.next}

    def restore(self, state: Mapping[str, int]) -> None:
        self.next = state["next"]


class Judge:
    """A pool in this process: "right" is right, "wrong" is wrong, "broken" breaks it."""

    VERDICTS = {
        "right": Verdict("right", 1.0),
        "wrong": Verdict("wrong", 0.0),
        "broken": Verdict("no_verdict", None, fault="crashed"),
    }

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        return ((key, self.VERDICTS[said]) for key, _, said in items)


def encode(text: str) -> list[int]:
    return list(tokenizer()(text).input_ids)


def script(*steps: str) -> Callable[[Request], str]:
    """What is said in each step: "mixed" alternates right and wrong."""

    def answer(request: Request) -> str:
        said = steps[int(request.key.problem_id[1:]) // 2]  # two problems a step
        return ("right", "wrong")[request.key.index % 2] if said == "mixed" else said

    return answer


def local(
    out: Path, answer: Callable[[Request], str], steps: int, engine: Any = None, resume: bool = False, **cadence: Any
) -> LocalRun:
    """Two problems of four samples a step."""
    chosen = Cadence(steps, 2, 4, checkpoint_every=2, max_flat=2, max_no_verdict=0.5)
    sampler = Sampler(
        engine or ScriptedEngine(answer, encode),
        Renderer(tokenizer()),
        Judge(),  # type: ignore[arg-type]
        lambda problem: (Message("user", problem.question),),
        Sampling(max_new=20, stop_ids=(tokenizer().eos_token_id,)),
    )
    journal = Journal.open(out) if resume else Journal.create(out, "", {"run": 1})
    run = LocalRun(
        Counting(),  # type: ignore[arg-type]
        sampler,
        Numbered(),
        journal,
        replace(chosen, **cadence),
        frozenset(),
        canary=(20, 30, 40),
        seed=1,
        display=Display("a test", steps, (), quiet=True),
    )
    if resume:
        run.resume()
    return run


def learner(run: LocalRun) -> Counting:
    return run._learner  # type: ignore[return-value]


def metrics(out: Path) -> list[dict[str, Any]]:
    return list(Journal.open(out).metrics())


def events(out: Path) -> list[str]:
    return [event["kind"] for event in Journal.open(out).events()]


def test_every_step_is_sampled_credited_trained_published_and_written_down(tmp_path: Path) -> None:
    run = local(tmp_path, script("mixed", "mixed", "mixed"), 3)
    train(run, GRPO)
    assert learner(run).version == 3
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]
    assert [line["version"] for line in metrics(tmp_path)] == [1, 2, 3]
    assert [line["rollouts/trained"] for line in metrics(tmp_path)] == [8.0, 8.0, 8.0]


def test_a_step_samples_with_the_version_the_step_before_made(tmp_path: Path) -> None:
    run = local(tmp_path, script("mixed", "mixed", "mixed"), 3)
    train(run, GRPO)
    assert [{sample.oldest for sample in given} for given in learner(run).given] == [{0}, {1}, {2}]


def test_advantages_follow_the_verdicts(tmp_path: Path) -> None:
    """Two right and two wrong of four: plus and minus 0.5 over a Bessel deviation of 1 / sqrt(3)."""
    run = local(tmp_path, script("mixed"), 1)
    train(run, GRPO)
    for sample in learner(run).given[0]:
        expected = 0.5 * 3**0.5 * (1 if sample.reward else -1)
        assert sample.advantages[-1] == pytest.approx(expected, abs=1e-5)
        assert sample.reward == (sample.origin.index + 1) % 2


# ---- flat steps


def test_a_flat_step_is_written_down_and_does_not_advance_the_version(tmp_path: Path) -> None:
    run = local(tmp_path, script("mixed", "wrong", "mixed"), 3)
    train(run, GRPO)
    assert learner(run).version == 2
    assert [line["version"] for line in metrics(tmp_path)] == [1, 1, 2]
    assert [line["rollouts/trained"] for line in metrics(tmp_path)] == [8.0, 0.0, 8.0]
    assert [line["rollouts/dropped"] for line in metrics(tmp_path)] == [0.0, 8.0, 0.0]
    assert events(tmp_path).count("no_signal") == 1


def test_the_rollouts_of_a_flat_step_are_kept_with_the_reason(tmp_path: Path) -> None:
    train(local(tmp_path, script("wrong", "mixed"), 2), GRPO)
    assert {row["dropped"] for row in Journal.open(tmp_path).rollouts(1)} == {"flat"}
    assert {row["dropped"] for row in Journal.open(tmp_path).rollouts(2)} == {None}


def test_flat_steps_apart_from_each_other_do_not_stop_a_run(tmp_path: Path) -> None:
    run = local(tmp_path, script("wrong", "mixed", "right", "mixed"), 4)
    train(run, GRPO)
    assert learner(run).version == 2


@pytest.mark.parametrize(("said", "why"), [("wrong", "every answer was wrong"), ("right", "every answer was right")])
def test_flat_steps_in_a_row_stop_a_run_and_say_why(tmp_path: Path, said: str, why: str) -> None:
    run = local(tmp_path, script("mixed", said, said, "mixed"), 4)
    with pytest.raises(TrainingError, match=f"2 steps in a row had no signal \\({why} in the last one\\)"):
        train(run, GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]


def test_a_row_of_flat_steps_is_counted_across_an_interruption(tmp_path: Path) -> None:
    """Step 2, before the checkpoint, and step 3, after it."""
    first = local(tmp_path, script("mixed", "wrong", "wrong", "mixed"), 2)
    train(first, GRPO)
    with pytest.raises(TrainingError, match="2 steps in a row"):
        train(local(tmp_path, script("mixed", "wrong", "wrong", "mixed"), 4, resume=True), GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]


# ---- missing verdicts


def some_broken(share: float) -> Callable[[Request], str]:
    def answer(request: Request) -> str:
        return "broken" if request.key.index < 4 * share else ("right", "wrong")[request.key.index % 2]

    return answer


def test_rollouts_without_a_verdict_are_dropped_and_the_rest_is_trained_on(tmp_path: Path) -> None:
    run = local(tmp_path, some_broken(0.5), 1)
    train(run, GRPO)
    assert sorted(sample.origin.index for sample in learner(run).given[0]) == [2, 2, 3, 3]
    assert {row["index"] for row in Journal.open(tmp_path).rollouts(1) if row["dropped"] == "no_verdict"} == {0, 1}


def test_too_many_missing_verdicts_stop_a_run_and_name_the_fault(tmp_path: Path) -> None:
    run = local(tmp_path, some_broken(0.75), 3)
    with pytest.raises(TrainingError, match=r"Step 1: 75% of the rollouts have no verdict \(crashed\)"):
        train(run, GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1]
    assert events(tmp_path)[-1] == "stopped"


# ---- the proof of the weights


class Stale(ScriptedEngine):
    """Takes no new version after the first."""

    def load(self, weights: object, version: int) -> None:
        self.version = min(version, 1)


class Torn(ScriptedEngine):
    """Answers the canary as other weights would."""

    off = 0.051

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        return self.version, [0.0] * (len(ids) - 2) + [self.off]


class Mad(Torn):
    off = float("nan")


def test_an_engine_that_serves_an_old_version_is_found_out(tmp_path: Path) -> None:
    answer = script("mixed", "mixed", "mixed")
    with pytest.raises(EngineError, match="serves version 1 after version 2 was published"):
        train(local(tmp_path, answer, 3, engine=Stale(answer, encode)), GRPO)


@pytest.mark.parametrize(("engine", "said"), [(Torn, r"0\.051"), (Mad, "nan")])
def test_an_engine_with_other_weights_is_found_out(tmp_path: Path, engine: type[ScriptedEngine], said: str) -> None:
    answer = script("mixed")
    with pytest.raises(EngineError, match=f"did not arrive whole: .* {said} nats off"):
        train(local(tmp_path, answer, 1, engine=engine(answer, encode)), GRPO)


def test_a_canary_is_allowed_the_roundings_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At -10 nats a step of bfloat16 is 1/16: two of them pass, five do not. A token that is likely has less room."""
    answer = script("mixed")
    for own, off, passes in ((-10.0, 0.125, True), (-10.0, 0.3125, False), (-0.1, 0.125, False)):
        monkeypatch.setattr(Torn, "off", own + off)
        run = local(tmp_path / f"{own}{off}", answer, 1, engine=Torn(answer, encode))
        learner(run).weight = own
        monkeypatch.setattr(Torn, "prove", lambda self, ids, o=own: (self.version, [o] * (len(ids) - 2) + [self.off]))
        if passes:
            train(run, GRPO)
        else:
            with pytest.raises(EngineError, match="did not arrive whole"):
                train(run, GRPO)


def test_a_canary_within_rounding_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torn, "off", 0.049)
    answer = script("mixed")
    run = local(tmp_path, answer, 1, engine=Torn(answer, encode))
    train(run, GRPO)
    assert run.learner.version == 1


# ---- going on


def test_checkpoints_come_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    train(local(tmp_path, script(*["mixed"] * 5), 5), GRPO)
    assert [e["step"] for e in Journal.open(tmp_path).events() if e["kind"] == "checkpoint"] == [2, 4, 5]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_000004", "step_000005"]


def test_a_run_goes_on_where_its_last_checkpoint_was(tmp_path: Path) -> None:
    """Interrupted in step 4, it goes back to the end of step 2 and asks for the same problems again."""
    answer = script(*["mixed"] * 5)

    def interrupted(request: Request) -> str:
        if request.key.problem_id == "p6":
            raise KeyboardInterrupt
        return answer(request)

    with pytest.raises(KeyboardInterrupt):
        train(local(tmp_path, interrupted, 5), GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]
    run = local(tmp_path, answer, 5, resume=True)
    train(run, GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert [sorted({s.origin.problem_id for s in given}) for given in learner(run).given] == [
        ["p4", "p5"],
        ["p6", "p7"],
        ["p8", "p9"],
    ]
    assert learner(run).version == 5


def test_a_run_without_a_checkpoint_starts_again(tmp_path: Path) -> None:
    answer = script("mixed", "mixed")
    with pytest.raises(EngineError):
        train(local(tmp_path, answer, 2, engine=Stale(lambda request: answer(request), encode), max_flat=9), GRPO)
    # version 2 was refused after step 2's update: step 1 is written, nothing is checkpointed
    assert [line["step"] for line in metrics(tmp_path)] == [1]
    run = local(tmp_path, answer, 2, resume=True)
    train(run, GRPO)
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2]
    assert learner(run).version == 2


def test_a_finished_run_has_no_steps_left(tmp_path: Path) -> None:
    answer = script("mixed", "mixed")
    train(local(tmp_path, answer, 2), GRPO)
    before = metrics(tmp_path)
    run = local(tmp_path, answer, 2, resume=True)
    assert list(run.steps()) == []
    assert metrics(tmp_path) == before


def test_the_ledger_counts_every_token_once_across_an_interruption(tmp_path: Path) -> None:
    answer = script(*["mixed"] * 4)
    whole = local(tmp_path / "whole", answer, 4)
    train(whole, GRPO)
    train(local(tmp_path / "parts", answer, 2), GRPO)
    second = local(tmp_path / "parts", answer, 4, resume=True)
    train(second, GRPO)
    assert second.ledger.tokens_sampled == whole.ledger.tokens_sampled > 0
    assert second.ledger.tokens_trained == whole.ledger.tokens_trained > 0


def test_a_measurement_never_draws_what_training_draws() -> None:
    seeds = {at_rest(Sampling(), seed).seed for seed in range(5)}
    assert not seeds & set(range(1 << 20))


def test_the_recipe_decides_what_is_trained_on(tmp_path: Path) -> None:
    """REINFORCE learns from a step that is flat to GRPO."""
    chosen: Recipe = recipe("reinforce", constant=10)
    run = local(tmp_path, script("right"), 1)
    train(run, chosen)
    assert learner(run).version == 1
