"""A fused decode step for the common decoder family (Llama, Mistral, Qwen2, Qwen3), in bfloat16. Not for: training or prefill.

It computes what the module computes under autocast, with the same roundings, in about half the operations: one product for query,
key and value, one for gate and up, weights cast to bfloat16 once for each version instead of once for each token.
`tests/test_policy_fused.py` holds it to the module it replaces; `benchmarks/decode.py` prints both speeds.

B live rows, E hidden width, H query heads, K key heads, D head width, I inner width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy.attention import DecodeView
from burnish.policy.model import Policy

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


class Slots(DecodeView, Protocol):
    """A cache that is also written to, one token of every live row at a time."""

    def write(self, layer: int, key_BKD: Tensor, value_BKD: Tensor) -> None:
        """Store this step's keys and values of a layer."""


@dataclass(frozen=True)
class _Layer:
    """One layer's weights: norms in float32, products in bfloat16."""

    norm_in_E: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    norm_q_and_k: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    norm_post_E: Tensor
    gate_up: Tensor
    down: Tensor
    heads: tuple[int, int, int]
    scaling: float
    window: int | None
    epsilon: float


class FusedDecoder:
    """Weights of one version, ready to decode. Make a new one when they change (a cast of all weights)."""

    @staticmethod
    def serves(policy: Policy) -> bool:
        """Whether the policy is of the family, unadorned, and computes in bfloat16."""
        config = policy.module.config
        plain = getattr(config, "hidden_act", None) == "silu" and not getattr(config, "mlp_bias", False)
        return policy.compute is torch.bfloat16 and type(policy.module).__name__ in FAMILIES and plain

    def __init__(self, policy: Policy) -> None:
        decoder = policy.module.get_decoder()
        self._embedding: Tensor = decoder.embed_tokens.weight.detach()
        self._rotary = decoder.rotary_emb
        self._layers = [_layer(layer) for layer in decoder.layers]
        self._norm_E: Tensor = decoder.norm.weight.detach()
        self._epsilon = float(decoder.norm.variance_epsilon)
        head = policy.module.get_output_embeddings()
        self._head: Tensor = head.weight.detach().to(torch.bfloat16)

    def step(self, ids_B: Tensor, positions_B: Tensor, slots: Slots) -> Tensor:
        """Logits [B, V] after one more token of every live row."""
        hidden_BE = self._embedding[ids_B].float()
        cosine, sine = (part[0][:, None] for part in self._rotary(hidden_BE[None], positions_B[None]))
        half = cosine.shape[-1] // 2
        sine = torch.cat([-sine[..., :half], sine[..., half:]], dim=-1)  # the sign of rotate_half, once a step
        for number, layer in enumerate(self._layers):
            hidden_BE = hidden_BE + self._attend(number, layer, hidden_BE, cosine, sine, slots)
            inner = F.linear(_norm(hidden_BE, layer.norm_post_E, layer.epsilon), layer.gate_up)
            gate, up = inner.chunk(2, dim=-1)
            hidden_BE = hidden_BE + F.linear(F.silu(gate) * up, layer.down)
        return F.linear(_norm(hidden_BE, self._norm_E, self._epsilon), self._head)

    def _attend(
        self, number: int, layer: _Layer, hidden_BE: Tensor, cosine: Tensor, sine: Tensor, slots: Slots
    ) -> Tensor:
        H, K, D = layer.heads
        qkv = F.linear(_norm(hidden_BE, layer.norm_in_E, layer.epsilon), layer.qkv, layer.qkv_bias)
        both = qkv[:, : (H + K) * D].view(-1, H + K, D)
        if layer.norm_q_and_k is not None:
            # transformers rounds the normed head back before its weight is applied
            normed = F.rms_norm(both.float(), (D,), None, layer.epsilon).to(torch.bfloat16)
            turned = normed * layer.norm_q_and_k
        else:
            turned = both.float()
        half = D // 2
        swapped = torch.cat([turned[..., half:], turned[..., :half]], dim=-1)
        turned = torch.addcmul(turned * cosine, swapped, sine)
        slots.write(number, turned[:, H:], qkv[:, (H + K) * D :].view(-1, K, D))
        attended = slots.attend(number, turned[:, :H], layer.scaling, layer.window, None)
        return F.linear(attended.reshape(-1, H * D), layer.out, layer.out_bias)


def _norm(hidden_BE: Tensor, weight_E: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(hidden_BE, weight_E.shape, weight_E, epsilon).to(torch.bfloat16)


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    D = int(attention.head_dim)
    H, K = attention.q_proj.weight.shape[0] // D, attention.k_proj.weight.shape[0] // D
    biases = [projection.bias for projection in projections]
    norms = None
    if getattr(attention, "q_norm", None) is not None:
        q, k = attention.q_norm.weight.detach().float(), attention.k_norm.weight.detach().float()
        norms = torch.cat([q.expand(H, D), k.expand(K, D)])
    window = getattr(attention, "sliding_window", None)
    if type(attention).__name__ == "MistralAttention":
        window = getattr(attention.config, "sliding_window", None)
    return _Layer(
        layer.input_layernorm.weight.detach().float(),
        _cast(torch.cat([projection.weight.detach() for projection in projections])),
        None if biases[0] is None else _cast(torch.cat([bias.detach() for bias in biases])),
        norms,
        _cast(attention.o_proj.weight.detach()),
        None if attention.o_proj.bias is None else _cast(attention.o_proj.bias.detach()),
        layer.post_attention_layernorm.weight.detach().float(),
        _cast(torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()])),
        _cast(mlp.down_proj.weight.detach()),
        (H, K, D),
        float(attention.scaling),
        window,
        float(layer.input_layernorm.variance_epsilon),
    )


def _cast(weight: Tensor) -> Tensor:
    return weight.to(torch.bfloat16)
