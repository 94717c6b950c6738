"""Dynamic sampling, curricula and steering in a real run, and stored rollouts in place of sampling; all of them resume exactly."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.algos.recipes import recipe
from burnish.config import RunConfig, dumps, validate
from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.scripted import ScriptedEngine
from burnish.errors import ConfigError, DataError
from burnish.journal import Journal, Ledger
from burnish.journal.rollouts import write_rollouts
from burnish.learner.learner import Following, Learner, Optimization
from burnish.pipelines import rl
from burnish.prompts import Renderer
from burnish.records import Group, Message, Problem, Request, Sampling
from burnish.rollout import Sampler
from burnish.run.stored import Stored
from burnish.run.stream import Clock, LocalStream, Refill
from terminal import run_settings
from test_learner import credited, groups
from test_loop import Judge, Numbered, encode
from test_resume import Interruption, assert_the_same
from tiny import group, policy, tokenizer


def settings(base: Path, out: Path, **changes: Any) -> RunConfig:
    whole = {**run_settings(base), "out": str(out)}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        whole[section] = {**whole.get(section, {}), key: value} if key else value
    return validate(RunConfig, whole)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ---- dynamic sampling


def stream(answer: Callable[[Request], str], budget: float) -> tuple[LocalStream, Callable[[list[Group]], list[str]]]:

    sampler = Sampler(
        ScriptedEngine(answer, encode),
        Renderer(tokenizer()),
        Judge(),  # type: ignore[arg-type]
        lambda problem: (Message("user", problem.question),),
        Sampling(max_new=20, stop_ids=(tokenizer().eos_token_id,)),
    )
    made = LocalStream(
        *(Numbered(), sampler, 2, None, (1, 2), Clock(Ledger(1)), Refill(budget, recipe("dapo").informative)),  # type: ignore[arg-type]
    )
    return made, lambda groups: [group.problem.id for group in groups]


def every_third(request: Request) -> str:
    """Problems p0, p3, p6, ... are mixed; the others are all right."""
    mixed = int(request.key.problem_id[1:]) % 3 == 0
    return ("right", "wrong")[request.key.index % 2] if mixed else "right"


def test_a_step_is_refilled_until_it_is_full() -> None:
    taken, ids = stream(every_third, budget=10.0)
    assert ids(taken.take(2)) == ["p0", "p1", "p2", "p3"]  # one is missing, then one, then one
    assert taken.short == 0


def test_no_answer_is_sampled_twice() -> None:
    asked: list[object] = []

    def answer(request: Request) -> str:
        asked.append(request.key)
        return every_third(request)

    taken, ids = stream(answer, budget=10.0)
    assert ids(taken.take(2)) == ["p0", "p1", "p2", "p3"]
    assert len(asked) == len(set(asked)) == 4 * 2


def test_the_budget_ends_it_and_what_is_missing_is_known() -> None:
    taken, ids = stream(lambda request: "right", budget=2.5)
    assert ids(taken.take(2)) == ["p0", "p1", "p2", "p3", "p4"]
    assert taken.short == 2


def test_a_small_split_that_comes_round_again_is_not_sampled_twice() -> None:
    class Two(Numbered):
        def take(self, n: int) -> list[Problem]:
            return [Problem(f"p{i % 2 + 1}", "t", "?", {}, "train", "f") for i in range(n)]

    taken, ids = stream(lambda request: "right", budget=4.0)
    taken._source = Two()
    assert ids(taken.take(2)) == ["p1", "p2"]


def test_a_run_says_when_its_refill_is_spent(tiny_base: Path, tmp_path: Path) -> None:
    rl.train(settings(tiny_base, tmp_path / "run", selection__refill=1.5), quiet=True)
    journal = Journal.open(tmp_path / "run")
    sampled = [line["rollouts/sampled"] for line in journal.metrics()]
    assert all(36 <= count <= 54 for count in sampled)
    assert max(sampled) > 36
    assert all(event["short"] > 0 for event in journal.events() if event["kind"] == "refill_spent")


# ---- everything that is remembered from step to step resumes exactly

REMEMBERING = {
    "task": {"name": "chain", "options": {"min_steps": 1, "max_steps": 2, "held_out_size": 16}},
    "recipe": {
        "name": "reinforce_pp",
        "options": {
            "entropy_coefficient": 0.01,
            "entropy_target": 0.5,
            "covariance": "kl",
            "covariance_share": 0.05,
            "kl_to": "moving",
            "kl_coefficient": 0.01,
            "kl_every": 2,
            "kl_mix": 0.5,
            "kl_in": "reward",
        },
    },
    "selection": {"refill": 1.5, "lowest_pass_rate": 0.1, "highest_pass_rate": 0.9, "replay_share": 0.25},
    "steps": {"total": 5, "prompts": 4, "samples": 4, "checkpoint_every": 2},
}


def test_a_run_that_remembers_goes_on_as_if_it_had_never_stopped(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rl.train(settings(tiny_base, tmp_path / "whole", **REMEMBERING), quiet=True)
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        result = real(self, *args)
        if self.version == 4:
            raise Interruption
        return result

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(settings(tiny_base, tmp_path / "run", **REMEMBERING), quiet=True)
    rl.train(settings(tiny_base, tmp_path / "run", **REMEMBERING), resume=True, quiet=True)
    assert_the_same(tmp_path / "run", tmp_path / "whole")
    last = list(Journal.open(tmp_path / "run").metrics())[-1]
    assert {"policy/entropy_coefficient", "curriculum/levels", "kl/reference"} <= set(last)


# ---- a reference that moves


def test_a_moving_reference_takes_in_its_share_of_the_policy() -> None:

    own = policy()
    before = own.module.state_dict()["model.norm.weight"].clone()
    learner = Learner(own, Optimization(1e-2, 4), needs=frozenset({"reference"}), following=Following(2, 0.25))
    chosen = recipe("reinforce")
    for expected in (0.0, 0.25):
        learner.update(credited(chosen, groups(4)), chosen.objective, chosen.weigh)
        assert learner._reference is not None
        there = learner._reference.module.state_dict()["model.norm.weight"]
        now = own.module.state_dict()["model.norm.weight"]
        torch.testing.assert_close(there, before + expected * (now - before))


def test_a_reference_that_was_not_given_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="A reference policy was asked for, but none is kept"):
        Learner(policy(), Optimization(1e-2, 4)).score([], frozenset({"reference"}))


# ---- stored rollouts


def test_stored_rollouts_are_rewarded_anew_and_trained_on_without_sampling(
    tiny_base: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again"
    config = settings(
        *(tiny_base, out),
        recipe={"name": "reinforce", "options": {"reward_right": 2.0, "reward_wrong": -1.0}},
        stored={"rollouts": str(finished_run)},
        evaluate={"problems": 0},
    )

    def never(*_: Any) -> Any:
        raise AssertionError("nothing is sampled")

    monkeypatch.setattr(EmbeddedEngine, "generate", never)
    report = rl.train(config, quiet=True)
    there, here = Journal.open(finished_run).rollouts(), Journal.open(out).rollouts()
    assert [(row["problem_id"], row["index"], row["completion_ids"]) for row in here] == [
        (row["problem_id"], row["index"], row["completion_ids"]) for row in there
    ]
    assert {row["reward"] for row in here} == {2.0, -1.0}
    assert {row["newest"] for row in here} == {-1}
    [event] = [event for event in Journal.open(out).events() if event["kind"] == "stored_rollouts"]
    assert event["run"] == str(finished_run)
    assert sorted(event["files"]) == [f"step_00000{i}.parquet" for i in (1, 2, 3)]
    assert report["rollouts_of"] == str(finished_run)


def test_training_on_stored_rollouts_resumes_exactly(
    tiny_base: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(name: str) -> RunConfig:
        changes = {"stored": {"rollouts": str(finished_run)}, "steps__total": 6, "steps__prompts": 3}
        return settings(tiny_base, tmp_path / name, **changes, recipe={"name": "reinforce"})

    rl.train(config("whole"), quiet=True)
    real = Learner._step

    def stopping(self: Learner, *args: Any) -> Any:
        if self.version == 3:
            raise Interruption
        return real(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(config("run"), quiet=True)
    rl.train(config("run"), resume=True, quiet=True)
    assert_the_same(tmp_path / "run", tmp_path / "whole")


def test_a_problem_stored_twice_waits_for_the_next_take_and_a_restored_source_knows(tmp_path: Path) -> None:

    (tmp_path / "rollouts").mkdir()
    rows = [((1, 2), (3,), "right"), ((1, 2), (4,), "wrong")]
    for step, names in enumerate((("a", "b"), ("a", "c"), ("d", "a")), start=1):
        write_rollouts(tmp_path / "rollouts", step, [group(name, rows) for name in names])  # type: ignore[arg-type]
    whole, other = Stored(tmp_path), Stored(tmp_path)
    assert whole.size == 6
    assert [one.id for one in whole.take(3)] == ["a", "b", "c"]
    other.restore(json.loads(json.dumps(whole.state())))
    assert [one.id for one in whole.take(2)] == [one.id for one in other.take(2)] == ["a", "d"]
    assert whole.state() == other.state() == {"read": 5, "passed": []}
    with pytest.raises(DataError, match="too few are left"):
        whole.take(2)


def test_stored_rollouts_can_be_judged_again(tiny_base: Path, finished_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "there"
    shutil.copytree(finished_run, copy)
    config = settings(
        *(tiny_base, tmp_path / "again"),
        recipe={"name": "reinforce"},
        stored={"rollouts": str(copy), "rejudge": True},
        evaluate={"problems": 0},
    )
    rl.train(config, quiet=True)
    there, here = Journal.open(copy).rollouts(), Journal.open(tmp_path / "again").rollouts()
    assert [row["outcome"] for row in here] == [row["outcome"] for row in there]
    assert [row["verify_seconds"] for row in here] != [row["verify_seconds"] for row in there]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps__total": 9}, "holds 18 groups, and this run asks for 54"),
        ({"steps__samples": 9}, "has 6 rollouts, and steps.samples is 9"),
        ({"sampling__temperature": 0.7}, "sampled at temperature 1.0, and sampling.temperature is 0.7"),
    ],
)
def test_what_the_stored_rollouts_cannot_give_is_one_sentence(
    tiny_base: Path, finished_run: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    config = settings(
        tiny_base, tmp_path / "again", stored={"rollouts": str(finished_run)}, evaluate={"problems": 0}, **changes
    )
    with pytest.raises((ConfigError, DataError), match=says):
        rl.train(config, quiet=True)


def test_a_folder_without_rollouts_is_named(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = settings(
        *(tiny_base, tmp_path / "again"), stored={"rollouts": str(tmp_path / "empty")}, evaluate={"problems": 0}
    )
    with pytest.raises(DataError, match="holds no rollouts"):
        rl.train(config, quiet=True)


def test_the_config_of_a_run_on_stored_rollouts_reads_back(tiny_base: Path, tmp_path: Path) -> None:
    config = settings(tiny_base, tmp_path / "again", stored={"rollouts": "there", "rejudge": True})

    assert validate(RunConfig, tomllib.loads(dumps(config))) == config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampling__top_p": 0.9}, "training needs the whole distribution"),
        ({"selection__replay_below": 0.3}, "replay_below has no effect without replay_share"),
        ({"selection__explore": 0.3}, "explore has no effect without"),
        ({"selection": {"lowest_pass_rate": 0.9, "highest_pass_rate": 0.1}}, "is above highest_pass_rate"),
        ({"stored__rejudge": True}, "rejudge has no effect without stored.rollouts"),
        ({"stored__rollouts": "x", "selection__refill": 2.0}, "selection has no effect with stored.rollouts"),
    ],
)
def test_settings_that_contradict_are_one_sentence(
    tiny_base: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(tiny_base, tmp_path / "run", **changes)


def test_a_correction_that_takes_out_more_than_a_tenth_says_so(
    tiny_base: Path, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rollouts of another policy, and a window so narrow that most tokens fall outside."""
    options = {"correction": "icepop", "correction_low": 0.999, "correction_high": 1.001}
    config = settings(
        *(tiny_base, tmp_path / "again"),
        recipe={"name": "reinforce", "options": options},
        stored={"rollouts": str(finished_run)},
        evaluate={"problems": 0},
    )
    rl.train(config)
    assert "the off-policy correction took out" in capfd.readouterr().err
    removed = [event for event in Journal.open(tmp_path / "again").events() if event["kind"] == "removed"]
    assert removed
    assert all(event["share"] > 0.1 for event in removed)
    assert json.dumps(removed)
