"""Networks that give a number where a policy gives a token: reward models and critics. Load, save, make from a policy.

The layout is transformers' own sequence classification with one label (`score`), so that other tools read what is saved here.

Not for: what the numbers are compared with (algos), or training loops.

B rows, T tokens, N chosen places, E hidden width.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from burnish.errors import ModelError
from burnish.policy.model import Policy, _compute_dtype, _quiet
from burnish.policy.proof import attention_of, check_attention


@dataclass
class Scorer(Policy):
    """A decoder with a linear head of one output. `module` is a ...ForSequenceClassification; everything else is a policy's."""

    def values(self, hidden_NE: Tensor) -> Tensor:
        """One number [N] in float32 for each hidden state."""
        return head_values(self.module.score, hidden_NE)


def head_values(head: Any, hidden_NE: Tensor) -> Tensor:
    """A linear head of one output, in float32 whatever the trunk computes in: [N]."""
    with torch.autocast(hidden_NE.device.type, enabled=False):
        value_N1: Tensor = head(hidden_NE.float())
    return value_N1[:, 0]


def scorer_from(policy: Policy, seed: int = 0, zero: bool = False) -> Scorer:
    """A scorer on a copy of the policy's decoder; the policy is left as it is.

    zero  the head starts at zero (a critic, whose first values should be 0), not at random (a reward model, whose trunk would
          have no gradient)
    """
    config = copy.deepcopy(policy.module.config)
    config.num_labels = 1
    if config.pad_token_id is None:  # transformers finds the last token by it
        config.pad_token_id = policy.tokenizer.pad_token_id or policy.tokenizer.eos_token_id
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        with _quiet():
            module = AutoModelForSequenceClassification.from_config(
                config, attn_implementation=policy.module.config._attn_implementation
            )
    except ValueError as error:
        raise ModelError(
            f"The family {config.model_type!r} has no class for scores in transformers: {str(error).splitlines()[0]}"
        ) from error
    module.get_decoder().load_state_dict(policy.module.get_decoder().state_dict())
    with torch.no_grad():
        if zero:
            module.score.weight.zero_()
        else:
            nn.init.normal_(module.score.weight, std=1.0 / math.sqrt(module.score.weight.shape[1]))
    torch.set_rng_state(state)
    return Scorer(module.to(policy.device).float(), policy.tokenizer, policy.compute)


def load_scorer(name: str, compute: str = "auto", device: str = "cpu") -> Scorer:
    """Load a reward model from a folder or the hub. Raises ModelError where it is none, with a sentence."""
    if (Path(name).is_dir() or name.startswith((".", "/", "~"))) and not (Path(name) / "config.json").is_file():
        raise ModelError(f"The folder {name} holds no reward model: there is no config.json in it.")
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(name)
            if config.architectures and not config.architectures[0].endswith("ForSequenceClassification"):
                raise ModelError(
                    f"{name} holds a {config.architectures[0]}, which gives no scores; name a reward model (burnish rm makes one)."
                )
            tokenizer = AutoTokenizer.from_pretrained(name)
            module, loading = AutoModelForSequenceClassification.from_pretrained(
                name,
                dtype=torch.float32,
                attn_implementation=attention_of(config, AutoModelForSequenceClassification),
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"The reward model {name} cannot be loaded: {reason}") from error
    if loading["missing_keys"]:
        raise ModelError(f"The reward model {name} lacks some of its weights, first {min(loading['missing_keys'])}.")
    if module.config.num_labels != 1:
        raise ModelError(f"{name} gives {module.config.num_labels} numbers a row; a reward model gives one.")
    scorer = Scorer(module.to(device), tokenizer, _compute_dtype(compute, device))
    check_attention(scorer)
    return scorer
