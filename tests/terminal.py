"""Run a verb of the command line in this process, as a person would at a terminal; tiny run files to give it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from burnish.cli import main

SCRATCH = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 128,
    "vocab_size": 320,
}
CHAINS = {"min_steps": 1, "max_steps": 1}
PRETRAIN: dict[str, Any] = {
    "out": "base",
    "updates": 200,
    "documents": 24,
    "scratch": SCRATCH,
    "corpus": {
        "task": "chain",
        "options": CHAINS,
        "documents": {"think_share": 0.3, "slip_rate": 0.2},
        "tokenizer_documents": 200,
    },
    "optimizer": {"lr": 8e-3, "warmup_updates": 10},
}
"""A model that has the format and is right now and then, in a few seconds."""


def run_settings(model: Path | str) -> dict[str, Any]:
    """A training run of three steps."""
    return {
        "out": "run",
        "model": {"path": str(model)},
        "task": {"name": "chain", "options": {**CHAINS, "held_out_size": 16}},
        "sampling": {"max_new": 32},
        "verify": {"workers": 1},
        "optimizer": {"lr": 1e-3},
        "steps": {"total": 3, "prompts": 6, "samples": 6, "checkpoint_every": 2},
        "evaluate": {"problems": 8, "samples": 2},
    }


def write_toml(path: Path, settings: Mapping[str, Any]) -> Path:
    path.write_text(tomli_w.dumps(settings))
    return path


def write_rows(path: Path, *rows: Any) -> Path:
    """JSON lines; a row that is text is written as it stands."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@dataclass(frozen=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line an error is: checks that there is no other."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("burnish: "), self.err
        assert "Traceback" not in self.err
        return lines[0]


class Terminal:
    """`terminal("train", "run.toml")` runs `burnish train run.toml`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Said:
        self._monkeypatch.setattr(sys, "argv", ["burnish", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        assert code is None or isinstance(code, int)
        captured = self._capsys.readouterr()
        return Said(code or 0, captured.out, captured.err)


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below `folder`, with a hash of its bytes: what must not have changed."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
