"""What a run will take of the main memory, part by part, before anything is trained. Not for: how long it takes.

Bytes are counted from the shapes: what is resident for the whole run, and beside it the larger of what sampling and what an update
needs. `benchmarks/memory.py` holds the sum to what a run was measured to take. On a CPU; no GPU has been measured.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from burnish.errors import ModelError
from burnish.pipelines.setting import Setting
from burnish.policy.adapters import is_adapted
from burnish.policy.fused import Fused
from burnish.policy.model import Policy
from burnish.policy.sampling import LOGITS_CHUNK

PROCESS = 0.525 * 2**30
"""Python, torch, transformers and the rest of what is imported, with their own allocations."""
PEFT = 0.16 * 2**30
"""What peft imports on top."""


def memory(setting: Setting) -> dict[str, float]:
    """Estimated bytes at the run's peak.

    process, weights (float32), optimizer (AdamW's moments), and of the models a run may hold beside the policy: reference (weights),
    critic (weights, gradients, moments, casts, activations of a trunk of its own; next to nothing of a shared one) and reward_model
    (weights and casts). Then the larger of sampling (casts, cache, logits) and updating (gradients, casts, activations, logits):
    the parts named are those of the larger; `total` is the sum.
    """
    policy, config = setting.policy, setting.config
    weights = policy.parameters
    trained = sum(parameter.numel() for parameter in policy.module.parameters() if parameter.requires_grad)
    needs = setting.recipe.needs(config.steps.updates)
    kept = "reference" in needs and not is_adapted(policy)  # with adapters it is the base below them
    phases = [_updating(setting, trained), _sampling(setting)]
    larger = max(phases, key=_sum)
    own_trunk = "values" in needs and config.critic.trunk == "own"
    critic = _critic(policy, phases[0]["activations"]) if own_trunk else 0.0
    parts = {
        "process": PROCESS + (PEFT if is_adapted(policy) else 0.0),
        "weights": 4.0 * weights,
        "optimizer": 8.0 * trained,
        "reference": 4.0 * weights if kept else 0.0,
        "critic": critic,
        "reward_model": 6.0 * _weights_on_disk(config.reward_model.path),
        **dict.fromkeys(("gradients", "casts", "activations", "logits", "cache"), 0.0),
        **larger,
    }
    return {**parts, "total": sum(parts.values())}


def _sum(parts: dict[str, float]) -> float:
    return sum(parts.values())


def _updating(setting: Setting, trained: int) -> dict[str, float]:
    """What an update needs at once, beside weights and moments."""
    policy, text = setting.policy, setting.policy.module.config.get_text_config()
    fused = Fused.serves(policy)
    E, V, L = text.hidden_size, policy.vocabulary, text.num_hidden_layers
    tokens, width = _places(setting)
    layer = (_kernel_layer if fused else _module_layer)(policy, width)
    again = setting.config.optimizer.gradient_checkpointing
    activations = tokens * (layer + 4.0 * E * L if again else layer * L)
    rows = min(tokens, max(1, LOGITS_CHUNK // V))
    head = 0 if is_adapted(policy) else V * E
    if fused:
        # Of the head: its gradient, the product it is added from, and where it is tied the embedding's own beside it.
        logits = 4.0 * rows * V + (6.0 + 4.0 * bool(text.tie_word_embeddings)) * head
        casts = 4.0 * _products(policy)
    else:
        # The head's gradient is gathered over the chunks of logits: what was gathered, what a chunk adds, and where it is tied the
        # embedding's own, all beside the gradient of the micro-batches before.
        logits = 4 * 4.0 * rows * V + 4.0 * (2 + bool(text.tie_word_embeddings)) * head
        casts = 2.0 * _products(policy) if policy.compute is torch.bfloat16 else 0.0
    return {"gradients": 4.0 * trained, "casts": casts, "activations": activations, "logits": logits}


def _sampling(setting: Setting) -> dict[str, float]:
    """What sampling needs at once: the casts, keys and values of the rows and of their prompts, one step's logits."""
    policy, text, steps = setting.policy, setting.policy.module.config.get_text_config(), setting.config.steps
    size = 2 if policy.compute is torch.bfloat16 else 4
    _, K, D = _heads(text)
    rows = min(setting.config.sampling.rows, steps.prompts * steps.samples)
    prompts = min(steps.prompts, rows)
    places = rows * setting.sampling.max_new + prompts * _prompt(setting)
    sampling = setting.config.sampling
    each = 1.0 if sampling.weights == "int8" else 4.0 if Fused.serves(policy) else 2.0
    casts = each * _products(policy) if size == 2 else 0.0
    logits = min(20.0 * LOGITS_CHUNK, 20.0 * rows * policy.vocabulary) + 1.0 * size * rows * policy.vocabulary
    kept = 2 if sampling.cache == "bfloat16" else size
    cache = 2.0 * kept * text.num_hidden_layers * K * D * places
    budget = math.inf if sampling.cache_gib is None else sampling.cache_gib * 2**30
    return {"casts": casts, "cache": min(cache, budget), "logits": logits}


def _places(setting: Setting) -> tuple[int, int]:
    """(places of a micro-batch, tokens of its longest row), where every answer is as long as it may be."""
    steps, prompt, answer = setting.config.steps, _prompt(setting), setting.sampling.max_new
    rows = max(1, steps.prompts * steps.samples // steps.updates)
    whole = rows * answer + -(-rows // steps.samples) * prompt if setting.policy.lays_out else rows * (prompt + answer)
    return min(whole, max(setting.config.optimizer.micro_batch_tokens, prompt + answer)), prompt + answer


def _prompt(setting: Setting) -> int:
    return len(setting.prompt(setting.task.train(setting.config.seed).take(1)[0]).ids)


def _kernel_layer(policy: Policy, width: int) -> float:
    """Bytes a token that the compiled kernels keep of a layer for its backward pass."""
    text = policy.module.config.get_text_config()
    H, K, D = _heads(text)
    return 12.0 * int(text.hidden_size) + 2.0 * (3 * H + 3 * K) * D + 4.0 * _inner(text) + 4.0 * H


def _module_layer(policy: Policy, width: int) -> float:
    """Bytes a token that torch keeps of a layer: norms and the residual in float32, the rest in the precision of the products."""
    text = policy.module.config.get_text_config()
    H, K, D = _heads(text)
    E, inner, size = int(text.hidden_size), _inner(text), 2 if policy.compute is torch.bfloat16 else 4
    cast = 2 if size == 2 else 0
    norms = 2 * (4.0 + 4.0 + cast) * E + 2 * 4.0 * E + (H + K) * D * (4.0 + size + 2.0 * cast)
    attended = size * (2.0 * H * D + 2 * K * D + 1.5 * H * width)
    adapters = 2.0 * (5 * E + H * D + inner) if is_adapted(policy) else 0.0  # what goes into each, once more
    return norms + attended + 4.0 * size * inner + adapters


def _heads(text: Any) -> tuple[int, int, int]:
    """Query heads, key heads, head width; of a network without attention, heads as wide as it is."""
    H = int(getattr(text, "num_attention_heads", None) or 1)
    return (
        H,
        int(getattr(text, "num_key_value_heads", None) or H),
        int(getattr(text, "head_dim", None) or text.hidden_size // H),
    )


def _inner(text: Any) -> int:
    """Width inside the feed-forward layers; of a mixture, of the experts a token goes through together."""
    chosen, each = getattr(text, "num_experts_per_tok", None), getattr(text, "moe_intermediate_size", None)
    if chosen and each:
        return int(chosen) * int(each)
    return int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)


def _products(policy: Policy) -> int:
    """Weights that products are made with: all but an embedding that is no head."""
    embedding = policy.module.get_input_embeddings().weight
    tied = policy.module.get_output_embeddings().weight is embedding
    return policy.parameters - (0 if tied else embedding.numel())


def _critic(policy: Policy, activations: float) -> float:
    """Weights, gradients, moments and casts of a value network on the policy's decoder, and what its update keeps."""
    weights: int = sum(parameter.numel() for parameter in policy.decoder.parameters())
    products: int = weights - policy.module.get_input_embeddings().weight.numel()
    casts = 4.0 if Fused.serves(policy) else 2.0 if policy.compute is torch.bfloat16 else 0.0
    return 16.0 * weights + casts * products + activations


def _weights_on_disk(path: str | None) -> int:
    """Weights of a reward model, read off its safetensors files without loading them. Raises ModelError where it has none."""
    if path is None:
        return 0
    files = sorted(Path(path).glob("*.safetensors"))
    if not files:
        raise ModelError(f"reward_model.path {path} holds no safetensors file; name a folder that burnish rm wrote.")
    count = 0
    for file in files:
        with safe_open(file, framework="numpy") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count
