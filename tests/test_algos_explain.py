"""What `burnish explain` says, and the page made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from burnish.algos.explain import catalogue, explain, settings_of
from burnish.algos.page import RENEW, page
from burnish.algos.recipes import OVERRIDES, RECIPES, recipe
from burnish.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "algorithms.md"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["burnish", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), f"renew it: {RENEW}"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_its_paper_its_formula_its_settings_and_its_peers(name: str) -> None:
    text, found = explain(RECIPES[name]), RECIPES[name]
    assert found.paper in text
    assert found.peers in text
    assert "objective  −" in text
    assert "reduction  loss = " in text
    assert f"credit = {found.credit.kind}" in text


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "dr_grpo"])
def test_the_settings_that_are_shown_can_be_given(name: str) -> None:
    """And given back to the recipe they change nothing."""
    shown = settings_of(RECIPES[name])
    assert set(shown) <= set(OVERRIDES)
    words = {key: value for key, value in shown.items() if key not in ("reward_right", "reward_wrong")}
    given = {
        key: float(value) if value.replace(".", "").replace("e-", "").isdigit() else value
        for key, value in words.items()
    }
    if "kl_to" in given:
        given.pop("kl_estimator")  # shown even where it is the library's own choice
    assert recipe(name, **given) == RECIPES[name]


def test_the_formula_follows_the_settings() -> None:
    text = explain(recipe("grpo", clip_high=0.28, kl_to="reference", kl_coefficient=0.04))
    assert "clip(ρ, 0.8, 1.28)" in text
    assert "+ 0.04 · ρ (e^(f−l) − (f−l) − 1)" in text


def test_a_kl_with_a_wrong_gradient_says_so() -> None:
    text = explain(recipe("grpo", kl_to="reference", kl_coefficient=0.04, kl_estimator="k1"))
    assert "its gradient is wrong: no gradient in expectation" in text


def test_the_list_has_every_recipe() -> None:
    assert [line.split()[0] for line in catalogue().splitlines()[: len(RECIPES)]] == list(RECIPES)


def test_the_verb_prints_the_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "explain", "gspo", "clip_high=0.001") == 0
    said = capsys.readouterr().out
    assert said.startswith("gspo\n")
    assert "clip(s, 0.9997, 1.001)" in said


def test_the_verb_gives_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "explain", "maxrl", "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["credit"] == "max_rl"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["explain", "gpro"], "did you mean 'grpo'"),
        (["explain", "grpo", "clip_hihg=1"], "did you mean 'clip_high'"),
        (["explain", "rloo", "critic_clip=0.2"], "asks for a critic, and credit 'leave_one_out' has none"),
    ],
)
def test_bad_input_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert run(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
