"""What weights a name stands for, so that two measurements of different weights are never taken for one. Not for: loading."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_PARTS = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model")
_NOT = {"trainer_state.json", "training_args.bin"}


def digest(name: str) -> str:
    """128 bits over the files of a model folder (weights, config, tokenizer, template), whatever the folder is called.

    Of an adapter folder it is over the adapter and the model that it goes on.

    For a hub name the folder is the copy that was downloaded; "" where there is none yet.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached, str):
            return ""
        folder = Path(cached).parent
    whole = hashlib.blake2b(digest_size=16)
    for path in sorted({path for part in _PARTS for path in folder.glob(part)} - {folder / name for name in _NOT}):
        with path.open("rb") as file:
            part = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        whole.update(f"{path.name}\0".encode() + part)
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not (folder / "config.json").is_file():
        whole.update(digest(str(json.loads(adapter.read_text())["base_model_name_or_path"])).encode())
    return whole.hexdigest()
