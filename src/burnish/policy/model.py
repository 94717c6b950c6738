"""A policy: a causal language model of transformers and its tokenizer. Load, save, or make a small one from scratch.

Not for: rendering prompts, sampling loops, losses.

B rows, T tokens, N chosen positions, E hidden width, V vocabulary.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from burnish.errors import ConfigError, ModelError
from burnish.policy import attention
from burnish.policy.sampling import SamplingDistribution
from burnish.policy.tokenizer import PLAIN_TEMPLATE

LOGITS_CHUNK = 1 << 24
"""Logits held at once, in numbers: 64 MiB in float32. A chunk is recomputed in the backward pass."""


@dataclass
class Policy:
    """A network and its tokenizer. `module` holds the weights; the engine and the learner share this object.

    compute  torch.bfloat16 runs matrix products in bfloat16 (autocast over float32 weights); torch.float32 runs all in float32
    """

    module: Any
    tokenizer: PreTrainedTokenizerBase
    compute: torch.dtype

    @property
    def device(self) -> torch.device:
        return torch.device(next(self.module.parameters()).device)

    @property
    def context(self) -> int:
        """The longest row it takes, in tokens."""
        return int(getattr(self.module.config, "max_position_embeddings", 1 << 30) or 1 << 30)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends a turn: the tokenizer's and those of the generation config."""
        ids = {self.tokenizer.eos_token_id}
        generation = getattr(self.module, "generation_config", None)
        configured = getattr(generation, "eos_token_id", None)
        ids.update(configured if isinstance(configured, list) else [configured])
        return tuple(sorted(int(i) for i in ids if i is not None))

    def precision(self) -> Any:
        """The context every forward pass runs in."""
        if self.compute is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside (no dropout), the mode it was in afterwards."""
        was_training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(was_training)

    def hidden(self, ids_BT: Tensor, **kwargs: Any) -> Tensor:
        """The last hidden states [B, T, E]; rows are padded on the right. `kwargs` reach the attention function."""
        decoder = self.module.get_decoder()
        kwargs.setdefault("use_cache", False)
        output: Tensor = decoder(input_ids=ids_BT, **kwargs).last_hidden_state
        return output

    def logits(self, hidden_NE: Tensor) -> Tensor:
        """Logits [N, V] of hidden states, with the scalings of the families that have them."""
        config = self.module.config
        logits_NV: Tensor = self.module.get_output_embeddings()(hidden_NE)
        if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
            logits_NV = logits_NV / divisor
        if (factor := getattr(config, "logit_scale", None)) is not None:  # Cohere
            logits_NV = logits_NV * factor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:  # Gemma 2
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

    def log_probs_of(
        self, hidden_NE: Tensor, targets_N: Tensor, distribution: SamplingDistribution
    ) -> tuple[Tensor, Tensor]:
        """(log-probabilities_N of the targets, entropies_N without gradient), both in nats under `distribution`.

        At most LOGITS_CHUNK logits exist at a time, forward and backward.
        """
        distribution.check_trainable()
        rows = max(1, LOGITS_CHUNK // int(self.module.config.vocab_size))
        if hidden_NE.shape[0] <= rows:
            return self._score(hidden_NE, targets_N, distribution.temperature)
        parts = []
        for chunk_NE, chunk_N in zip(torch.split(hidden_NE, rows), torch.split(targets_N, rows), strict=True):
            if torch.is_grad_enabled():
                parts.append(checkpoint(self._score, chunk_NE, chunk_N, distribution.temperature, use_reentrant=False))
            else:
                parts.append(self._score(chunk_NE, chunk_N, distribution.temperature))
        return torch.cat([logp for logp, _ in parts]), torch.cat([entropy for _, entropy in parts])

    def _score(self, hidden_NE: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        log_probs_NV = (self.logits(hidden_NE).float() / temperature).log_softmax(-1)
        with torch.no_grad():
            entropy_N = -(log_probs_NV.exp() * log_probs_NV).sum(-1)
        return log_probs_NV.gather(-1, targets_N[:, None])[:, 0], entropy_N

    def save(self, folder: Path) -> None:
        """Write the Hugging Face layout: config, safetensors, tokenizer."""
        with _quiet():
            self.module.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def load(name: str, compute: str = "auto", weights: str = "float32", device: str = "cpu") -> Policy:
    """Load a local folder or a hub name. Raises ModelError with a sentence where it cannot be used.

    compute  "auto" (bfloat16 where the processor has it), "bfloat16" or "float32"
    weights  the dtype the weights are kept in: "float32" for training
    """
    folder = Path(name).expanduser()
    local = folder.is_dir()
    beside = folder.parent != Path() and folder.parent.is_dir()  # runs/missing, where runs is here: no hub name
    if not local and (beside or name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(
            f"The model folder {name} does not exist; check model.path, or give a hub name such as Qwen/Qwen3-0.6B."
        )
    source = str(folder) if local else name
    if local and not (folder / "config.json").is_file():
        raise ModelError(f"The folder {name} holds no model: there is no config.json in it.")
    if local and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(
            f"The model folder {name} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)}); save one beside the weights."
        )
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            module, loading = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, weights),
                attn_implementation=_supported(source),
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"The model {name} cannot be loaded: {reason}") from error
    if loading["missing_keys"]:  # transformers would go on with random numbers in their place
        raise ModelError(
            f"The model {name} lacks {len(loading['missing_keys'])} of its weights, first {min(loading['missing_keys'])}; its files "
            "do not go with its config.json."
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {name} has no end-of-sequence token; set eos_token in tokenizer_config.json."
        )
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    policy = Policy(module.to(device), tokenizer, _compute_dtype(compute, device))
    _check_logits(policy, name)
    return policy


def weights_mark(policy: Policy) -> str:
    """A name for what the weights are, the same wherever they lie: 128 bits over the names and the bytes of all of them."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(policy.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def from_scratch(
    tokenizer: PreTrainedTokenizerBase, shape: Mapping[str, Any], compute: str = "auto", seed: int = 0
) -> Policy:
    """A new model with random weights, through transformers' own config class.

    `shape` is what `AutoConfig.for_model` takes: {"model_type": "qwen3", "hidden_size": 256, ...}; the vocabulary and the named
    tokens come from the tokenizer. The same seed gives the same weights.
    """
    try:
        config = AutoConfig.for_model(
            **shape,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.shape cannot be made into a config: {str(error).splitlines()[0]}") from error
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    with _quiet():
        module = AutoModelForCausalLM.from_config(config, attn_implementation=attention.NAME)
    torch.set_rng_state(state)
    return Policy(module, tokenizer, _compute_dtype(compute, "cpu"))


def tune_allocator() -> None:
    """Let glibc keep what a step frees: fresh pages for every temporary cost a CPU step up to half its time. Linux only."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 << 20)


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def _compute_dtype(compute: str, device: str) -> torch.dtype:
    if compute == "auto":
        if device == "cpu":
            return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
        return torch.bfloat16
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[compute]


def _supported(source: str) -> str:
    """Our attention where the family's classes take one from transformers' interface; otherwise the family's own."""
    config = AutoConfig.from_pretrained(source)
    cls = AutoModelForCausalLM._model_mapping.get(type(config), None)
    return attention.NAME if getattr(cls, "_supports_attention_backend", False) else "eager"


def _check_logits(policy: Policy, name: str) -> None:
    """Our path to the logits (decoder, head, known scalings) must be the model's own. Raises ModelError where it is not."""
    ids = torch.arange(min(8, policy.module.config.vocab_size), device=policy.device)[None]
    with torch.inference_mode():
        own = policy.module(input_ids=ids, use_cache=False).logits[0].float()
        ours = policy.logits(policy.hidden(ids)[0]).float()
    if not torch.allclose(own, ours, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"The model {name} scales its logits in a way Burnish does not know; its log-probabilities would be wrong."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' progress bars and advice have no place in our output."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
