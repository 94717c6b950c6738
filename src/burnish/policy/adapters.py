"""Low-rank adapters through peft: put on, saved, merged. The base is the policy with its adapters switched off.

LoRA: Hu et al. 2021, arXiv 2106.09685. Not for: which weights a run trains (its config says), or merging several adapters.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open

from burnish.errors import ConfigError, ModelError
from burnish.policy.heads import Scorer
from burnish.policy.model import Policy
from burnish.policy.model import load as load_whole

P = TypeVar("P", bound=Policy)


def adapted(policy: P, rank: int, alpha: float, dropout: float, targets: Sequence[str], seed: int) -> P:
    """The policy with adapters on it, which are all that trains (a scorer's head trains whole). Its module is changed in place.

    Raises ConfigError where peft is not installed or no layer has a name of `targets`.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            'lora.rank needs the package peft, which is not installed; run pip install "burnish[lora]", or set rank = 0.'
        ) from error
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets) or _linear(policy),
        modules_to_save=["score"] if isinstance(policy, Scorer) else None,
        task_type="SEQ_CLS" if isinstance(policy, Scorer) else "CAUSAL_LM",
    )
    try:
        module = peft.get_peft_model(policy.module, settings)
    except ValueError as error:
        raise ConfigError(
            f"lora.targets {list(targets)} fit no layer of this model: {str(error).splitlines()[0]}"
        ) from error
    finally:
        torch.set_rng_state(state)
    return replace(policy, module=module)


def _linear(policy: Policy) -> str | list[str]:
    """The linear layers of the decoder; without the two of a Mamba layer whose weights its kernels read past the adapter."""
    if policy.lays_out:
        return "all-linear"
    found = {
        name.rpartition(".")[2] for name, one in policy.decoder.named_modules() if isinstance(one, torch.nn.Linear)
    }
    return sorted(found - {"out_proj", "conv1d"})


def is_adapted(policy: Policy) -> bool:
    """Whether adapters are on it."""
    return hasattr(policy.module, "peft_config")


@contextmanager
def switched_off(policy: Policy) -> Iterator[Policy]:
    """The base inside, the adapted policy afterwards."""
    with policy.module.disable_adapter():
        yield policy


def save_adapter(policy: Policy, folder: Path) -> None:
    """peft's layout (adapter_config.json, adapter_model.safetensors) and the tokenizer: it is put on the base it was made for."""
    policy.module.save_pretrained(folder, save_embedding_layers=False)
    policy.tokenizer.save_pretrained(folder)


def merged(policy: P) -> P:
    """A copy with the adapters added into the weights; a plain model again."""
    return replace(policy, module=copy.deepcopy(policy.module).merge_and_unload())


def holds_adapter(name: str) -> bool:
    """Whether it is a folder with an adapter in it and no model of its own."""
    folder = Path(name).expanduser()
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def load(name: str, compute: str = "auto", device: str = "cpu", base: str | None = None) -> Policy:
    """A model folder, a hub name, or an adapter folder: then the model it was made for, with the adapter live on it.

    base  the model to put the adapter on, where it is no longer where the adapter says

    Raises ModelError with a sentence where something of it is missing or does not fit.
    """
    if not holds_adapter(name):
        if base is not None:
            raise ModelError(f"The folder {name} holds no adapter: there is no adapter_config.json in it.")
        return load_whole(name, compute, device=device)
    folder = Path(name).expanduser()
    try:
        recorded = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(
            f"{folder / 'adapter_config.json'} is no whole JSON file ({error}); copy the adapter again."
        ) from error
    if base is None and not recorded:
        raise ModelError(
            f"The adapter {name} does not say which model it was made for; merge it with burnish merge --base."
        )
    try:
        policy = load_whole(base or recorded, compute, device=device)
    except ModelError as error:
        raise ModelError(
            f"The adapter {name} was made for the model {base or recorded}: {str(error).rstrip('.')}. Where the model is somewhere else, "
            "merge the two with burnish merge --base."
        ) from error
    return load_adapter(policy, folder)


def start(name: str, compute: str = "auto", device: str = "cpu") -> Policy:
    """As `load`, for training: an adapter is merged into its model first, so that all of it, or a new adapter, can be trained."""
    policy = load(name, compute, device)
    return in_one(policy) if is_adapted(policy) else policy


def in_one(policy: P) -> P:
    """The policy with its adapters added into the weights, in place."""
    return replace(policy, module=policy.module.merge_and_unload())


def load_adapter(policy: P, folder: Path) -> P:
    """The policy with a saved adapter on it. Raises ModelError where the folder holds none that fits."""
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            'An adapter needs the package peft, which is not installed; run pip install "burnish[lora]".'
        ) from error
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"The folder {folder} holds no adapter: there is no adapter_config.json in it.")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ModelError(f"The adapter {folder} has no weights: there is no adapter_model.safetensors in it.")
    try:
        with safe_open(weights, framework="numpy") as file:
            there = set(file.keys())
        module = peft.PeftModel.from_pretrained(policy.module, str(folder))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"The adapter {folder} does not go on this model: {str(error).splitlines()[0]}") from error
    wanted = set(peft.get_peft_model_state_dict(module, save_embedding_layers=False))
    if lacking := sorted(wanted ^ there):  # peft would go on with new weights in their place
        raise ModelError(
            f"The adapter {folder} does not go on this model: {len(lacking)} of its weights are missing or too many, first {lacking[0]}."
        )
    return replace(policy, module=module)
