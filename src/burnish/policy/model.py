"""A policy: a causal language model of transformers and its tokenizer. Load, save, or make a small one from scratch.

Not for: rendering prompts, sampling loops, losses.

B rows, T tokens, N chosen positions, E hidden width, V vocabulary.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from burnish.errors import ConfigError, ModelError
from burnish.policy import attention
from burnish.policy.proof import attention_of, check_attention, check_logits, first_line
from burnish.policy.sampling import LOGITS_CHUNK, SamplingDistribution
from burnish.policy.tokenizer import plain_template


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
    def decoder(self) -> Any:
        """The module without its head."""
        found = self.module.get_decoder()
        return self.module.base_model if found is self.module else found  # Llama 4 names itself

    @property
    def family(self) -> str:
        """The class transformers has for it, below adapters: "Qwen3ForCausalLM"."""
        return type(getattr(self.module, "get_base_model", lambda: self.module)()).__name__

    @property
    def lays_out(self) -> bool:
        """Whether rows may share a prompt or be packed: all that looks from one token to another is our attention.

        Where it is not (recurrent layers, attention of the family's own), every row stands alone and is sampled by transformers.
        """
        return bool(self.module.config._attn_implementation == attention.NAME)

    @property
    def context(self) -> int:
        """The longest row it takes, in tokens."""
        return int(getattr(self.module.config.get_text_config(), "max_position_embeddings", 1 << 30) or 1 << 30)

    @property
    def vocabulary(self) -> int:
        """Rows of the head; a tokenizer may fill fewer."""
        return int(self.module.config.get_text_config().vocab_size)

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

    def recompute_layers(self, on: bool) -> None:
        """Whether a backward pass computes each layer again from what went into it (gradient checkpointing, Chen et al. 2016).

        Raises ConfigError where the family cannot.
        """
        module = getattr(self.module, "get_base_model", lambda: self.module)()
        if on and not module.supports_gradient_checkpointing:
            raise ConfigError(f"optimizer.gradient_checkpointing cannot be had with {self.family}; leave it out.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers is about to rename it
            if on:
                module.gradient_checkpointing_enable({"use_reentrant": False})
            elif any(getattr(one, "gradient_checkpointing", False) for one in module.modules()):
                module.gradient_checkpointing_disable()

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
        kwargs.setdefault("use_cache", False)
        output: Tensor = self.decoder(input_ids=ids_BT, **kwargs).last_hidden_state
        return output

    def logits(self, hidden_NE: Tensor) -> Tensor:
        """Logits [N, V] of hidden states, with the scalings of the families that have them."""
        config = self.module.config.get_text_config()
        logits_NV: Tensor = self.module.get_output_embeddings()(hidden_NE)
        if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
            logits_NV = logits_NV / divisor
        if (factor := getattr(config, "logit_scale", None)) is not None:  # Cohere
            logits_NV = logits_NV * factor
        if (factor := getattr(config, "lm_head_multiplier", None)) is not None:  # Falcon H1
            logits_NV = logits_NV * factor
        for name in (
            "final_logit_softcapping",
            "logits_soft_cap",
            "output_logit_soft_cap",
        ):  # Gemma 2, RecurrentGemma, xLSTM
            if (cap := getattr(config, name, None)) is not None:
                logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

    def log_probs_of(
        self, hidden_NE: Tensor, targets_N: Tensor, distribution: SamplingDistribution
    ) -> tuple[Tensor, Tensor]:
        """(log-probabilities_N of the targets, entropies_N without gradient), both in nats under `distribution`.

        At most LOGITS_CHUNK logits exist at a time, forward and backward.
        """
        distribution.check_trainable()
        rows = max(1, LOGITS_CHUNK // self.vocabulary)
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
    source = whole_folder(name)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            config = AutoConfig.from_pretrained(source)
            module, loading = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, weights),
                attn_implementation=attention_of(config, AutoModelForCausalLM),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # named below, in our words
            )
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        ImportError,
        AttributeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        reason = " ".join(str(error).split()) if isinstance(error, StrictDataclassError) else first_line(error)
        raise ModelError(f"The model {name} cannot be loaded: {reason}") from error
    if lacking := sorted(loading["missing_keys"]):  # transformers would go on with random numbers in their place
        raise ModelError(
            f"The model {name} lacks {len(lacking)} of its weights, first {lacking[0]}; its files do not go with its config.json."
        )
    if other := sorted(loading["mismatched_keys"]):
        key, there, here = other[0]
        raise ModelError(
            f"The model {name} has {len(other)} weights of another shape than its config.json says, first {key}: {tuple(there)} "
            f"instead of {tuple(here)}."
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {name} has no end-of-sequence token; set eos_token in tokenizer_config.json."
        )
    if not tokenizer.chat_template:
        tokenizer.chat_template = plain_template(tokenizer)
    policy = Policy(module.to(device), tokenizer, _compute_dtype(compute, device))
    largest = max(tokenizer.get_vocab().values())
    if largest >= policy.vocabulary:
        raise ModelError(
            f"The tokenizer of {name} has tokens up to number {largest}, but the model has {policy.vocabulary}: they are no pair."
        )
    check_attention(policy)
    check_logits(policy, name)
    return policy


def whole_folder(name: str) -> str:
    """What transformers is to load: the folder of a local model, or a hub name. Raises ModelError for a folder that lacks something."""
    folder = Path(name).expanduser()
    local = folder.is_dir()
    beside = folder.parent != Path() and folder.parent.is_dir()  # runs/missing, where runs is here: no hub name
    if not local and (beside or name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(
            f"The model folder {name} does not exist; check model.path, or give a hub name such as Qwen/Qwen3-0.6B."
        )
    if not local:
        return name
    if not (folder / "config.json").is_file():
        raise ModelError(f"The folder {name} holds no model: there is no config.json in it.")
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(
            f"The model folder {name} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)}); save one beside the weights."
        )
    for file in ("config.json", *_TOKENIZER_FILES):
        if file.endswith(".json") and (folder / file).is_file():
            try:
                json.loads((folder / file).read_text())
            except ValueError as error:  # not UTF-8 is one too
                raise ModelError(f"{folder / file} is no whole JSON file ({error}); copy the model again.") from error
    return str(folder)


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
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ConfigError(f"model.shape cannot be made into a config: {str(error).splitlines()[0]}") from error
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    with _quiet():
        module = AutoModelForCausalLM.from_config(
            config, attn_implementation=attention_of(config, AutoModelForCausalLM)
        )
    torch.set_rng_state(state)
    policy = Policy(module, tokenizer, _compute_dtype(compute, "cpu"))
    check_attention(policy)
    return policy


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
