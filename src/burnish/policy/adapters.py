"""Low-rank adapters through peft: put on, saved, merged. The base is the policy with its adapters switched off.

LoRA: Hu et al. 2021, arXiv 2106.09685. Not for: which weights a run trains (its config says), or merging several adapters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from burnish.errors import ConfigError, ModelError
from burnish.policy.heads import Scorer
from burnish.policy.model import Policy

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
        target_modules=list(targets) or "all-linear",
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


def load_adapter(policy: P, folder: Path) -> P:
    """The policy with a saved adapter on it. Raises ModelError where the folder holds none that fits."""
    import peft

    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"The folder {folder} holds no adapter: there is no adapter_config.json in it.")
    try:
        return replace(policy, module=peft.PeftModel.from_pretrained(policy.module, str(folder)))
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"The adapter {folder} does not go on this model: {str(error).splitlines()[0]}") from error
