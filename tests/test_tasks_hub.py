"""Rows of the hub, fetched over HTTP by its own client libraries from a hub on this machine, at the revision that is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import REVISION, hub

SCRIPT = """
import json, sys
from burnish.errors import DataError
from burnish.tasks import load
try:
    task = load("gsm8k", json.loads(sys.argv[1]))
    print(json.dumps([[p.id, p.reference["answer"], task.where(p)] for p in task.held_out()]), json.dumps(task.notices))
except DataError as error:
    sys.exit(str(error))
"""


def ask(folder: Path, address: str, **options: str) -> subprocess.CompletedProcess[str]:
    home = {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **home, "HF_HUB_DOWNLOAD_TIMEOUT": "10", "HF_HUB_ETAG_TIMEOUT": "10"}
    verb = [sys.executable, "-c", SCRIPT, json.dumps(options)]
    return subprocess.run(verb, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one configuration, as `openai/gsm8k` is laid out, but of JSON lines."""
    folder = tmp_path / "repository"
    (folder / "main").mkdir(parents=True)
    splits = "".join(f"  - split: {split}\n    path: main/{split}*\n" for split in ("train", "test"))
    configs = f"configs:\n- config_name: main\n  data_files:\n{splits}"
    (folder / "README.md").write_text(f"---\n{configs}---\n")
    for split, answer in (("train", 1), ("test", 2)):
        (folder / "main" / f"{split}.jsonl").write_text(
            json.dumps({"question": split, "answer": f"#### {answer}"}) + "\n"
        )
    return folder


def test_a_data_set_is_read_at_the_revision_named(repository: Path, tmp_path: Path) -> None:
    with hub(repository, "owner/name") as (address, asked):
        place = f"owner/name:main@test#{REVISION}"
        ended = ask(tmp_path, address, held_out=place)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f'[["gsm8k/held_out/0", "2", "{place}:1"]] []\n'
    assert f"GET /datasets/owner/name/resolve/{REVISION}/main/test.jsonl" in asked
    assert not [one for one in asked if "/resolve/main/" in one or "/revision/main" in one]


def test_one_file_of_a_repository_is_read_at_the_revision_named(repository: Path, tmp_path: Path) -> None:
    with hub(repository, "owner/name") as (address, asked):
        place = f"hf://datasets/owner/name@{REVISION}/main/train.jsonl"
        ended = ask(tmp_path, address, held_out=place)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f'[["gsm8k/held_out/0", "1", "{place}:1"]] []\n'
    assert f"GET /datasets/owner/name/resolve/{REVISION}/main/train.jsonl" in asked


def test_a_revision_there_is_none_of_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    with hub(repository, "owner/name") as (address, _):
        ended = ask(tmp_path, address, held_out=f"owner/name:main@test#{'6' * 40}")
    assert ended.returncode == 1
    assert "the hub's data set owner/name (config main, split test) could not be loaded" in ended.stderr
    assert ended.stderr.strip().endswith("; give a file or a folder that holds it.") and "Traceback" not in ended.stderr
