"""Several seeds: each run is the one it would be alone, what is done is not done again, and the band is over runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.config import RunConfig, validate
from burnish.errors import ResumeError
from burnish.pipelines import seeds
from terminal import Terminal, run_settings, write_toml


def test_the_band_by_hand() -> None:
    # sd = 0.1, t of two degrees of freedom is 4.30265: the margin is 4.30265 * 0.1 / sqrt(3) = 0.24841.
    one = seeds.band([0.5, 0.6, 0.7])
    assert (one["mean"], one["low"], one["high"]) == pytest.approx((0.6, 0.35159, 0.84841), abs=1e-5)
    assert (one["lowest"], one["highest"], one["runs"]) == (0.5, 0.7, 3)


def test_one_run_says_nothing_about_another() -> None:
    assert seeds.band([0.5])["low"] is None


def test_seeds_at_a_terminal_stop_and_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_base: Path,
    finished_run: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(monkeypatch, capsys)
    write_toml(tmp_path / "run.toml", run_settings(tiny_base))
    train, trained = seeds.rl.train, []

    def stops(config: RunConfig, resume: bool = False, quiet: bool = False) -> dict[str, object]:
        trained.append(config.seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(config, resume, quiet)

    seed = validate(RunConfig, run_settings(tiny_base)).seed
    monkeypatch.setattr(seeds.rl, "train", stops)
    assert terminal("train", "run.toml", "--seeds", "2").code == 130
    assert "add --resume" in terminal("train", "run.toml", "--seeds", "2").sentence
    said = terminal("train", "run.toml", "--seeds", "2", "--resume", "--json")
    assert said.code == 0 and trained == [seed, seed + 1, seed + 1]
    alone = json.loads((finished_run / "report.json").read_text())
    assert said.json["seeds"][str(seed)]["after"] == alone["final"]["pass@1"]
    after = [one["after"]["value"] for one in said.json["seeds"].values()]
    assert said.json["figures"]["after"]["pass@1"]["mean"] == pytest.approx(sum(after) / 2)
    assert (tmp_path / "run/bands.png").read_bytes().startswith(b"\x89PNG")
    assert "Over 2 seeds, pass@1 went from" in (tmp_path / "run/report.md").read_text()


def test_a_single_run_is_not_mixed_with_several(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.toml").write_text("")
    config = validate(RunConfig, {**run_settings(tiny_base), "out": str(tmp_path / "run")})
    with pytest.raises(ResumeError, match="a single training run"):
        seeds.train(config, 2, resume=True)
