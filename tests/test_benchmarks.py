"""Every script of benchmarks/ takes --quick and --json, and what it prints with them is one object that names its ratios."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
PARTS = {"mutants.py", "peers.py", "report.py", "shapes.py", "trl_peer.py", "turns.py"}
"""Imported by the scripts; not for running."""
SIDES = {"trl_losses.py", "trl_side.py", "trl_update.py", "transformers_side.py", "vllm_side.py"}
"""The peers' ends: run by a script, in another Python."""
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in PARTS | SIDES)


def run(script: str, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(FOLDER / script), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=FOLDER, check=False
    )


def quick(script: str, *arguments: str) -> dict[str, Any]:
    """The object that --quick --json prints: the only line of standard output."""
    done = run(script, "--quick", "--json", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("name", sorted(PARTS | SIDES))
def test_a_part_says_that_it_is_no_script(name: str) -> None:
    tree = ast.parse((FOLDER / name).read_text())
    words = " ".join((ast.get_docstring(tree) or "").split())
    assert re.search(r"Not for: (use|measuring|quality)|Not for running|For verify_programs", words)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_takes_quick_and_json(name: str) -> None:
    source = (FOLDER / name).read_text()
    both = "options(__doc__" in source
    assert both or ('"--quick"' in source and ('"--json"' in source or "add_json(parser)" in source))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_names_both_flags(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--quick" in done.stdout and "--json" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize(
    ("name", "peers"),
    [
        ("sampling.py", {"transformers", "continuous"}),
        ("step.py", set()),
        ("guard.py", {"transformers"}),
        ("attention.py", {"scaled_dot_product_attention"}),
        ("growth.py", set()),
        ("cold_start.py", set()),
        ("attacks.py", set()),
        ("decode.py", {"module"}),
        ("parts.py", set()),
        ("engine.py", set()),
        ("drafts.py", set()),
        ("sampler_gap.py", set()),
        ("compile.py", set()),
        ("lag.py", {f"lag {lag} ahead {ahead}" for lag in (1, 2) for ahead in ("0.25", "0.5", "1")}),
        ("dedup.py", {"datasketch, as shown", "datasketch, tuned"}),
    ],
)
def test_quick_json_is_one_object_with_the_ratio_of_every_peer(name: str, peers: set[str]) -> None:
    found = quick(name, *(["--threads", "1"] if name not in ("attacks.py", "dedup.py") else []))
    assert set(found["ratio"]) == peers
    assert all(ratio > 0 for ratio in found["ratio"].values())


def test_the_guard_has_a_recorded_ratio_with_its_command_versions_and_machine() -> None:
    recorded = json.loads((FOLDER / "recorded.json").read_text())
    assert recorded["ratio"]["transformers"] > 1
    assert recorded["command"].startswith("python benchmarks/guard.py --record")
    assert {"cpu", "cores", "threads", "torch", "transformers"} <= set(recorded["machine"])


def test_a_row_ends_with_its_first_stop_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from transformers_side import ended  # type: ignore[import-not-found]

    assert ended([5, 6, 2, 2, 2], frozenset({2})) == 3
    assert ended([5, 6, 7], frozenset({2})) == 3


def test_the_search_keeps_the_fastest_of_every_axis_and_passes_over_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from peers import PeerFailed, search  # type: ignore[import-not-found]

    given_up: list[float | None] = []

    def seconds(settings: dict[str, Any], most: float | None) -> float:
        given_up.append(most)
        if settings["cache"] == "compiled":
            raise PeerFailed("no compiler")
        return 10.0 / settings["batch"] + (1.0 if settings["dtype"] == "float32" else 0.0)

    axes = {"batch": (1, 5), "cache": ("compiled",), "dtype": ("bfloat16",)}
    tried = search({"batch": 2, "cache": "dynamic", "dtype": "float32"}, axes, seconds)
    assert tried[0] == {"settings": {"batch": 5, "cache": "dynamic", "dtype": "bfloat16"}, "seconds": 2.0}
    assert [row.get("failed") for row in tried].count("no compiler") == 1 and len(tried) == 5
    # Six seconds at first, then eleven and three: twice the best of those before, and five seconds.
    assert given_up == [None, 17.0, 17.0, 11.0, 11.0]


def test_a_peer_that_takes_too_long_is_ended_with_what_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from peers import Peer, PeerFailed

    side = tmp_path / "side.py"
    side.write_text(
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
        "import pathlib, subprocess, time\n"
        "from turns import settings_of\n"
        "settings, turns = settings_of(sys.argv)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "turns.facts = {'child': child.pid}\n"
        "turns.say('ready')\n"
        "turns.wait()\n"
        "time.sleep(60)\n"
    )
    child = 0
    with pytest.raises(PeerFailed, match=r"more than 0\.2 s"), Peer(sys.executable, str(side), {}) as peer:
        child = peer.timings["facts"]["child"]
        peer.step(0.2)
    stat = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "its child is still there"
        time.sleep(0.01)


def test_a_peer_that_goes_on_working_after_its_go_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from peers import Peer

    side = tmp_path / "side.py"
    side.write_text(
        f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
        "import threading, time\n"
        "from turns import settings_of\n"
        "settings, turns = settings_of(sys.argv)\n"
        "def spin():\n"
        "    while time.process_time() < 1.5:\n"
        "        pass\n"
        "turns.say('ready')\n"
        "turns.wait()\n"
        "threading.Thread(target=spin).start()\n"
        "turns.rows.append({'seconds': 0.0})\n"
        "turns.say('done')\n"
        "turns.wait()\n"
    )
    with Peer(sys.executable, str(side), {}) as peer:
        peer.step()
        spent = peer._cpu_ticks()
        time.sleep(0.5)
        assert peer._cpu_ticks() - spent <= 1


def test_settings_are_read_from_the_result_of_an_earlier_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from peers import found

    file = tmp_path / "T.json"
    file.write_text(json.dumps({"settings": {"vllm": {"rows": 64}}}))
    assert found(file, "settings", "vllm") == {"rows": 64}
    with pytest.raises(SystemExit, match=r"holds no settings under settings\.continuous"):
        found(file, "settings", "continuous")


def test_lengths_of_the_work_have_the_mean_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from burnish.engine.embedded import EmbeddedEngine
    from shapes import made, tail  # type: ignore[import-not-found]

    policy = made("T", vocabulary=400)
    work = tail(policy, problems=8, samples=16, max_new=64, mean=8.0)
    assert len(work.stop_ids) == 50 and all(30 <= len(ids) <= 200 for ids in work.prompts)
    lengths = [len(completion.ids) for completion in EmbeddedEngine(policy).generate(work.requests())]
    # Geometric with p = 1/8: mean 8, standard deviation 7.5; four standard errors of 128 draws are 2.65.
    assert len(lengths) == 128 and abs(sum(lengths) / 128 - 8.0) < 2.65


def test_a_result_goes_between_the_markers_of_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from report import put, table  # type: ignore[import-not-found]

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    put(page, "a", table(("side", "tokens/s"), [("ours", 3), ("theirs", 2)]))
    shown = "| side | tokens/s |\n| --- | ---: |\n| ours | 3 |\n| theirs | 2 |"
    assert page.read_text() == f"before\n<!-- a -->\n{shown}\n<!-- end of a -->\nafter\n"
    with pytest.raises(SystemExit, match="no place for this"):
        put(page, "b", "text")


def test_every_mark_of_the_performance_page_is_one_that_a_script_looks_for() -> None:
    page = (FOLDER.parent / "docs" / "performance.md").read_text()
    marks = set(re.findall(r"<!-- (?!end of )(.+?) -->", page))
    scripts = ("sampling", "step", "growth", "parts", "update", "gap", "lag")
    shapes = {f"{script} {name}" for script in scripts for name in ("T", "S", "M", "model")}
    others = {
        "attention",
        "cold start",
        "compile",
        "decode",
        "drafts",
        "engine",
        "guard",
        "memory growth",
        "update memory",
    }
    assert marks <= shapes | others
    assert all(f"<!-- end of {mark} -->" in page for mark in marks)


def test_a_command_is_said_without_the_places_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from report import command_of

    given = [
        "x",
        "--model",
        "/home/a/runs/demo/run/final",
        "--trl-python",
        "/opt/trl/bin/python",
        "--json",
        "out",
        "--quick",
    ]
    monkeypatch.setattr(sys, "argv", given)
    assert command_of("step.py") == "python benchmarks/step.py --model .../demo/run/final --trl-python PYTHON --quick"


def test_the_cold_start_is_split_without_counting_anything_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from cold_start import split  # type: ignore[import-not-found]

    notes = [
        *(("python", 0.5), ("import torch", 1.0), ("imported torch", 3.0)),
        *(
            ("import transformers", 3.5),
            ("imported transformers", 4.0),
            ("kernels wanted", 5.0),
            ("kernels there", 9.0),
        ),
        *(("optimizer step", 12.0), ("optimizer step", 13.0), ("training asked for", 20.0), ("training begins", 25.0)),
        ("optimizer step", 26.0),
    ]
    found = split(notes)
    first = found.pop("first optimizer step (pretraining)")
    later = found.pop("first step of reinforcement learning")
    assert (first, later) == (12.0, 26.0)
    before = [
        seconds
        for name, seconds in found.items()
        if name not in ("pretraining, and loading what it made", "measuring the base model")
    ]
    assert sum(before) == first and found["torch and transformers are loaded"] == 2.5
    assert found["pretraining, and loading what it made"] == 8.0 and found["measuring the base model"] == 5.0


def test_the_knee_is_where_a_token_first_takes_half_as_much_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from growth import knee_of  # type: ignore[import-not-found]

    def row(length: int, microseconds: float) -> dict[str, Any]:
        return {
            "case": {"length": length},
            "figures": {"sampling_us": microseconds, "attention_share": 0.4, "cache_mib": 9.0},
        }

    rows = [row(64, 10.0), row(128, 14.9), row(256, 15.1), row(512, 30.0)]
    assert knee_of(rows)[0] == 256
    assert knee_of(rows[:2])[0] is None
