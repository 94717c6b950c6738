"""Add a low-rank adapter into the weights of its model, and write what other tools load as a plain model. Not for: training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from burnish.errors import ModelError, ResumeError
from burnish.journal.files import write_files
from burnish.policy import adapters


def merge(adapter: str, out: str, base: str | None = None) -> dict[str, Any]:
    """Write `out` in the Hugging Face layout; returns what was merged. Raises InputError for bad input, before anything is written."""
    place = Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ResumeError(f"{out} already holds something; choose another --out.")
    if not adapters.holds_adapter(adapter):
        raise ModelError(f"The folder {adapter} holds no adapter: there is no adapter_config.json in it.")
    policy = adapters.load(adapter, "float32", base=base)
    name = base or policy.module.peft_config["default"].base_model_name_or_path
    whole = adapters.in_one(policy)
    write_files(place, whole.save, last="config.json")
    return {"out": out, "adapter": adapter, "base": name, "parameters": whole.parameters}
