"""Best-of-n rejection sampling: what is kept, what is removed and why, and that what is kept can be learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from burnish.config import SelectConfig, validate
from burnish.learner.critic import REWARD_PART, annotated
from burnish.pipelines import select as pipeline
from burnish.pipelines.select import chosen
from burnish.policy.heads import scorer_from
from burnish.records import Group, Problem, Rollout, Tokens, Verdict
from terminal import Terminal, write_toml


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


def config(**changes: Any) -> SelectConfig:
    return validate(SelectConfig, {"source": {"run": "x"}, **changes})


def rollout(
    index: int, outcome: Any, length: int, text: str | None = None, stop: Any = "eos", score: float | None = None
) -> Rollout:
    parts = {} if score is None else {REWARD_PART: score}
    verdict = Verdict(outcome, None if outcome == "no_verdict" else float(outcome == "right"), parts)
    tokens = Tokens.join((1,), tuple(range(10, 10 + length)), (0.0,) * length)
    return Rollout(index, tokens, f"t{index}" if text is None else text, stop, verdict, 0, 0)


def group(*rollouts: Rollout) -> Group:
    return Group(Problem("p", "t", "q", {}, "train", "f"), tiny.prompt("p", (1,)), rollouts)


def reasons(one: Group, **changes: Any) -> list[str | None]:
    return [candidate.reason for candidate in chosen(one, config(**changes))]


def test_the_shortest_right_one_is_kept_and_every_other_says_why_not() -> None:
    one = group(
        rollout(0, "right", 5),
        rollout(1, "right", 3),
        rollout(2, "wrong", 1),
        rollout(3, "no_verdict", 1),
        rollout(4, "right", 1, stop="length"),
        rollout(5, "right", 4, text="t1"),
    )
    assert reasons(one) == ["not_best", None, "wrong", "no_verdict", "cut", "duplicate"]


def test_a_problem_that_is_too_easy_keeps_nothing() -> None:
    one = group(rollout(0, "right", 2), rollout(1, "right", 3), rollout(2, "wrong", 1))
    assert reasons(one, max_pass_rate=0.5) == ["too_easy", "too_easy", "wrong"]


def test_the_reward_model_ranks_and_cuts() -> None:
    one = group(
        *(
            rollout(i, outcome, 3, score=score)
            for i, (outcome, score) in enumerate([("right", 0.4), ("right", 0.9), ("wrong", 0.95), ("right", 0.1)])
        )
    )
    given = {"by": "reward_model", "reward_model": "m", "keep": 2}
    assert reasons(one, **given, min_score=0.3) == [None, None, "wrong", "low_score"]
    assert reasons(one, **given, right_only=False) == ["not_best", None, None, "not_best"]


def test_a_score_joins_the_verdict_as_a_part_between_nothing_and_one() -> None:
    model = scorer_from(tiny.policy("qwen3"), 4)
    one = group(rollout(0, "right", 3), rollout(1, "wrong", 4))
    [made] = annotated(model, [one], lambda g, r: (g.prompt.ids, r.tokens.ids[1:]))
    parts = [each.verdict.parts[REWARD_PART] for each in made.rollouts]
    assert all(0.0 < part < 1.0 for part in parts) and parts[0] != parts[1]
    assert replace(made.rollouts[0], verdict=one.rollouts[0].verdict) == one.rollouts[0]


def test_what_is_kept_of_a_run_can_be_learned(
    terminal: Terminal, finished_run: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toml(tmp_path / "select.toml", {"out": "kept", "source": {"run": str(finished_run)}})
    report = terminal("select", "select.toml", "--json").json
    kept = [json.loads(line) for line in (tmp_path / "kept/kept.jsonl").read_text().splitlines()]
    removed = [json.loads(line) for line in (tmp_path / "kept/removed.jsonl").read_text().splitlines()]
    assert report["kept"] == len(kept) == len({row["problem_id"] for row in kept})
    assert report["completions"] == len(kept) + len(removed)
    assert all(row["outcome"] == "right" for row in kept) and all(row["reason"] for row in removed)
    sft = {
        "out": "sft",
        "model": {"path": str(tiny_base)},
        "data": {"train": "kept/kept.jsonl"},
        "steps": {"total": 2, "rows": 4},
    }
    write_toml(tmp_path / "sft.toml", sft)
    assert terminal("sft", "sft.toml", "--json").code == 0


def test_a_model_is_sampled_and_the_same_seed_keeps_the_same(
    terminal: Terminal, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "source": {
            "model": str(tiny_base),
            "task": "chain",
            "options": {"min_steps": 1, "max_steps": 1, "held_out_size": 16},
            "problems": 12,
            "samples": 4,
        },
        "sampling": {"max_new": 32},
        "verify": {"workers": 1},
    }
    write_toml(tmp_path / "select.toml", settings)
    for out in ("one", "two"):
        assert terminal("select", "select.toml", f"out={out}", "--json").json["completions"] == 48
    assert (tmp_path / "one/kept.jsonl").read_text() == (tmp_path / "two/kept.jsonl").read_text()


def test_an_interrupted_selection_goes_on_where_it_was(
    terminal: Terminal, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the second of three parts: those two are not drawn again, and the outcome is that of a run in one go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "SAMPLED_AT_ONCE", 4)
    options = {"min_steps": 1, "max_steps": 1, "held_out_size": 16}
    source = {"model": str(tiny_base), "task": "chain", "options": options, "problems": 12, "samples": 4}
    write_toml(tmp_path / "select.toml", {"source": source, "sampling": {"max_new": 32}, "verify": {"workers": 1}})
    assert terminal("select", "select.toml", "out=whole", "--json").code == 0
    whole, drawn = pipeline.Sampler.groups, list[int]()

    def stopping(self: Any, problems: Any, samples: int) -> Any:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(len(problems))
        return whole(self, problems, samples)

    monkeypatch.setattr(pipeline.Sampler, "groups", stopping)
    assert terminal("select", "select.toml", "out=cut").code == 130
    assert drawn == [4, 4] and not (tmp_path / "cut/kept.jsonl").exists()
    assert "add --resume" in terminal("select", "select.toml", "out=cut").sentence
    drawn.pop()
    monkeypatch.setattr(pipeline.Sampler, "groups", stopping)
    assert terminal("select", "select.toml", "out=cut", "--resume", "--json").json["completions"] == 48
    assert drawn == [4, 4]  # one more part was drawn: the third
    for name in ("kept.jsonl", "removed.jsonl"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert "another config" in terminal("select", "select.toml", "out=cut", "keep=2", "--resume").sentence
    again = terminal("select", "select.toml", "out=again", "--json", "keep=2", "source={run='whole'}").json
    assert again["completions"] == 48 and again["kept"] >= 1


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"source": {"run": "none"}}, "no run directory"),
        ({"source": {}}, "give either run"),
        ({"source": {"model": "m"}}, "model and task go together"),
        ({"source": {"run": "x"}, "min_score": 0.5}, "min_score has no effect"),
        ({"source": {"run": "x"}, "by": "reward_model"}, "go together"),
    ],
)
def test_bad_selections(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], fragment: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toml(tmp_path / "select.toml", changes)
    said = terminal("select", "select.toml")
    assert said.code == 2 and fragment in said.sentence
