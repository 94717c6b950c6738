"""The verb scale on a small model: what it writes, that its figures agree with each other, that it goes on, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
from burnish.pipelines.scale import scale
from burnish.pipelines.scale_plan import Chained, Compared, Judged, Plan, Pooled
from burnish.policy.heads import scorer_from
from burnish.policy.model import load
from burnish.records import Sampling
from terminal import CHAINS, Said, Terminal, contents

CHAIN = [word for key, value in {**CHAINS, "held_out_size": 16}.items() for word in ("-o", f"{key}={value}")]
ARGUMENTS = ["--task", "chain", *CHAIN, "-n", 8, "--samples", 6, "--max-new", 32, "--workers", 1]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


@pytest.fixture(scope="module")
def reward_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with random opinions and the words of the base."""
    folder = tmp_path_factory.mktemp("models") / "rm"
    scorer_from(load(str(tiny_base)), 1).save(folder)
    return folder


@pytest.fixture(scope="module")
def measured(
    tiny_base: Path, finished_run: Path, reward_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Every method once, with a trained model beside. Not to be written to."""
    out = tmp_path_factory.mktemp("scaled") / "all"
    plan = Plan(
        str(tiny_base),
        "chain",
        {**CHAINS, "held_out_size": 16},
        str(out),
        Sampling(max_new=32, seed=1),
        Pooled(problems=8, samples=6, reward_model=str(reward_model)),
        Chained(count=2, ask="Sure"),  # a small tokenizer makes hundreds of tokens of a longer request
        Compared(beside=str(finished_run / "final")),
        Judged(workers=1),
    )
    return out, scale(plan, quiet=True)


def points(report: dict[str, Any], method: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report["methods"][method]["points"]
    return found


def test_every_method_is_measured_and_written(measured: tuple[Path, dict[str, Any]]) -> None:
    out, report = measured
    assert len(report["methods"]) == 14
    assert json.loads((out / "report.json").read_text()) == report
    page = (out / "report.md").read_text()
    assert all(f"| {method} |" in page for method in report["methods"])
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_one_answer_costs_and_gets_the_same_by_every_name(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    [single] = points(report, "sample")
    for method in report["methods"]:
        if method.startswith(("vote", "best")):
            one = points(report, method)[0]
            assert one["setting"] == "n = 1"
            assert (one["tokens"], one["value"]) == pytest.approx((single["tokens"], single["value"])), method


def test_a_vote_of_n_costs_n_answers_and_a_decided_one_no_more(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    single = points(report, "sample")[0]["tokens"]
    for full, early in zip(points(report, "vote"), points(report, "vote_decided"), strict=True):
        assert full["tokens"] == pytest.approx(int(full["setting"][4:]) * single)
        assert early["tokens"] <= full["tokens"] + 1e-9 and early["value"] == full["value"]


def test_no_choice_among_n_beats_the_verifier(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    for place, bound in enumerate(points(report, "best_verifier")):
        for method in report["methods"]:
            if method.startswith(("vote", "best")):
                assert points(report, method)[place]["value"] <= bound["value"] + 1e-9


def test_the_first_step_of_what_is_mended_and_forced_is_the_pool(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    begin = next(point for point in points(report, "forced") if point["setting"] == "as it is")
    assert points(report, "mended")[0]["value"] == begin["value"]
    costs = [point["tokens"] for point in points(report, "mended")]
    assert costs == sorted(costs)  # every round is paid for


def test_all_methods_are_compared_at_one_cost(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    for compared in report["budgets"]:
        for row in compared["rows"]:
            assert row["tokens"] <= compared["budget"] * (1 + 1e-6)
            assert (row["difference"] is None) == (row["method"] == "vote")
    shared = {row["method"]: row for row in report["budgets"][1]["rows"]}
    assert shared["vote"]["tokens"] == pytest.approx(shared["best_likelihood"]["tokens"])


def test_the_other_model_stands_beside(measured: tuple[Path, dict[str, Any]]) -> None:
    _, report = measured
    other = report["beside"]
    assert other["single"].keys() == {"greedy", "sample"}
    for row in other["rows"]:
        apart = row["dearest"]["difference"]["value"]
        assert apart == pytest.approx(other["single"]["sample"]["value"] - row["dearest"]["value"])


def test_it_goes_on_with_what_is_kept(
    terminal: Terminal, tiny_base: Path, measured: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    before, report = measured
    out = shutil.copytree(before, tmp_path / "out")
    methods = ["--method", "vote", "--method", "vote_sure", "--confidence", 0.8]
    said = terminal("scale", tiny_base, *ARGUMENTS, "--out", out, "--resume", *methods, "--json")
    assert said.code == 0 and said.json["cost"]["sampled"] == 0 and said.json["cost"]["kept"] > 0
    assert points(said.json, "vote") == points(report, "vote")


def test_a_lost_part_is_drawn_again_and_the_same(
    terminal: Terminal, tiny_base: Path, measured: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    before, report = measured
    out = shutil.copytree(before, tmp_path / "out")
    shutil.rmtree(out / "pool")
    said = terminal("scale", tiny_base, *ARGUMENTS, "--out", out, "--resume", "--method", "vote", "--json")
    assert said.json["cost"]["sampled"] > 0
    assert points(said.json, "vote") == points(report, "vote")


def test_what_a_person_sees(terminal: Terminal, tiny_base: Path, tmp_path: Path) -> None:
    methods = ["--method", "sample", "--method", "vote"]
    said = terminal("scale", tiny_base, *ARGUMENTS, *methods, "--out", tmp_path / "out", "--beside", tiny_base)
    assert said.code == 0, said.err
    assert "answers 48/48" in said.err and "ETA" in said.err
    for shown in ("8 held-out problems, 6 answers to each", "minus vote", "the other minus it", "Everything is in"):
        assert shown in said.out


# ---- what is refused


def refused(terminal: Terminal, desk: Path, *arguments: object) -> str:
    """A command that must be refused, with nothing written; returns its sentence."""
    before = contents(desk)
    said = terminal("scale", *arguments)
    assert said.code == 2, said
    assert said.out == "" and contents(desk) == before
    return said.sentence


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "vote_shure"], "no method 'vote_shure'; did you mean 'vote_sure'"),
        (["--method", "sample"], "compared with vote, which is not among those asked for; add --method vote"),
        (["-k", 7], "-k 7 needs 7 answers to each problem, but --samples is 6"),
        (["--chains", 7], "--chains 7 is more than the pool has: --samples is 6"),
        (["--temperature", 0], "sample the pool above 0"),
        (["--method", "vote", "--method", "best_reward_model"], "best_reward_model needs a reward model"),
        (["--confidence", 1.0], "--confidence is 1.0, but must lie between 0.5 and 1"),
        (["--method", "vote", "--chains", 2], "--chains has no effect without --method mended or forced or thinking"),
        (["--method", "vote", "--rounds", 3], "--rounds has no effect without --method mended"),
        (["--method", "vote", "--think", 3], "--think has no effect without --method forced"),
        (["--max-new", 125], "context of 128"),
        (["--reward-model", "nowhere/rm"], "cannot be loaded"),
        (["--reward-model", "./rm"], "holds no reward model"),
        (["--beside", "./other"], "./other"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    terminal: Terminal, desk: Path, tiny_base: Path, arguments: list[object], said: str
) -> None:
    assert said in refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out", *arguments)


def test_a_policy_is_no_reward_model(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    sentence = refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out", "--reward-model", tiny_base)
    assert "gives no scores; name a reward model" in sentence


def test_a_reward_model_of_another_tokenizer_needs_a_template(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    scorer_from(tiny.policy("qwen3", max_position_embeddings=256)).save(desk / "rm")
    (desk / "rm" / "chat_template.jinja").unlink()
    sentence = refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out", "--reward-model", "./rm")
    assert "another tokenizer than the model, and no chat template" in sentence


def test_a_reward_model_of_another_tokenizer_reads_the_text(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    scorer_from(tiny.policy("qwen3", max_position_embeddings=256)).save(desk / "rm")
    methods = ["--method", "best_reward_model", "--against", "best_reward_model"]
    said = terminal("scale", tiny_base, *ARGUMENTS, "--out", "out", "--reward-model", "./rm", *methods, "--json")
    assert said.code == 0, said.err
    assert said.json["notices"] == [
        "The reward model has another tokenizer: it reads the text of the answers through its own template."
    ]


def test_a_budget_below_one_answer_is_refused_and_the_answers_are_kept(
    terminal: Terminal, desk: Path, tiny_base: Path
) -> None:
    said = terminal("scale", tiny_base, *ARGUMENTS, "--method", "vote", "--out", "out", "--budget", 2)
    assert said.code == 2
    last = said.err.splitlines()[-1]
    assert "budget of 2 tokens is smaller than one answer" in last and "--resume" in last
    again = terminal("scale", tiny_base, *ARGUMENTS, "--method", "vote", "--out", "out", "--resume", "--json")
    assert again.json["cost"]["sampled"] == 0


def occupied(terminal: Terminal, base: Path) -> Said:
    return terminal("scale", base, *ARGUMENTS, "--method", "vote", "--out", "out", "--json")


def test_a_folder_that_holds_something_is_not_written_over(terminal: Terminal, desk: Path, tiny_base: Path) -> None:
    (desk / "out").mkdir()
    (desk / "out" / "mine.txt").write_text("mine")
    assert "already holds something" in refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out")
    assert "no answers of burnish scale" in refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out", "--resume")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", 0.7], "another temperature (1.0, not 0.7)"),
        (["--seed", 2], "another seed (1, not 2)"),
        (["-o", "max_steps=2"], "another options"),
        (["--system", "Be brief."], 'another system (null, not "Be brief.")'),
    ],
)
def test_answers_drawn_otherwise_are_not_mixed(
    terminal: Terminal, desk: Path, tiny_base: Path, arguments: list[object], said: str
) -> None:
    assert occupied(terminal, tiny_base).code == 0
    assert said in refused(terminal, desk, tiny_base, *ARGUMENTS, "--out", "out", "--resume", *arguments)


def test_answers_of_another_model_are_not_mixed(
    terminal: Terminal, desk: Path, tiny_base: Path, finished_run: Path
) -> None:
    assert occupied(terminal, tiny_base).code == 0
    sentence = refused(terminal, desk, finished_run / "final", *ARGUMENTS, "--out", "out", "--resume")
    assert "drawn with another model" in sentence


TASK = """
from burnish.records import Message, Problem
class Open:
    name, verifier, train_size, notices = "open", "tagged_number", None, ()
    def train(self, seed): raise NotImplementedError
    def held_out(self): return [Problem("open/0", "open", "a 3, b add 5.", {}, "held_out", "f")]
    def messages(self, problem): return (Message("user", problem.question),)
    def gold(self, problem): return None
"""


def test_the_verifier_cannot_choose_without_gold_answers(
    terminal: Terminal, desk: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "without_gold.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(desk))
    asked = ["--method", "best_verifier", "--against", "best_verifier"]
    said = terminal("scale", tiny_base, "--task", "without_gold:Open", "--max-new", 32, "--out", "out", *asked)
    assert said.code == 2 and "best_verifier needs gold answers" in said.sentence
    assert not (desk / "out").exists()
