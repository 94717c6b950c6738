"""What a family's classes claim of it, proved on the weights at hand: its attention through ours, and our way to its logits.

Not for: loading (model.py), or the engine's cache (burnish.engine.choice proves that).

B rows, C places of a continuation, E hidden width, H heads, D head width, N places in all, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from burnish.errors import ModelError
from burnish.policy import attention

if TYPE_CHECKING:
    from burnish.policy.model import Policy


def attention_of(config: Any, auto: Any) -> str:
    """The attention to load a family with: ours where its classes say that all layers take one from transformers' interface.

    auto  AutoModelForCausalLM or a sibling. What the classes say is not proof: see `check_attention`.
    """
    cls = auto._model_mapping.get(type(config), None)
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    plain = not getattr(cls, "_is_stateful", False) and kinds <= {"full_attention", "sliding_attention"}
    if plain and getattr(cls, "_supports_attention_backend", False):
        return attention.NAME
    return "sdpa" if getattr(cls, "_supports_sdpa", False) else "eager"


def check_attention(policy: Policy) -> None:
    """Keep our attention only where it is proved on these weights to be the family's own; else put the family's back.

    Two rows that share a prompt, laid out through our attention, must have the hidden states of the two rows alone through the
    family's; every layer must come to our attention, and with its window.
    """
    if policy.lays_out and not _agrees(policy):
        policy.module.set_attn_implementation("eager")


def _agrees(policy: Policy) -> bool:
    config = policy.module.config.get_text_config()
    P, C = 6, 3
    ids_T = torch.arange(P + 2 * C, device=policy.device) % policy.vocabulary
    rows_BT = torch.stack([torch.cat([ids_T[:P], own]) for own in torch.split(ids_T[P:], C)])
    position_N = torch.cat([torch.arange(P), *[torch.arange(P, P + C)] * 2]).to(policy.device)
    prompt_of_B, length_B = torch.zeros_like(ids_T[:2]), torch.full_like(ids_T[:2], P)
    view, witness = attention.SharedPrompts(1, P, 2, C, prompt_of_B, length_B), _Witness()
    try:
        with torch.inference_mode(), policy.evaluating():
            policy.hidden(ids_T[None, :1], position_ids=position_N[None, :1], view=witness)
            ours_BCE = policy.hidden(ids_T[None], position_ids=position_N[None], view=view)[0, P:].view(2, C, -1)
            policy.module.set_attn_implementation("eager")
            own_BCE = policy.hidden(rows_BT)[:, P:]
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, ModelError):
        return False  # a family that does not take what it is given here
    finally:
        policy.module.set_attn_implementation(attention.NAME)
    layers, window = int(config.num_hidden_layers), getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"] * layers
    windows = {number: window if kind == "sliding_attention" else None for number, kind in enumerate(kinds)}
    near = 1e-3 if own_BCE.dtype is torch.float32 else 5e-2
    return witness.windows == windows and bool((ours_BCE - own_BCE).abs().max() <= near * own_BCE.abs().max())


class _Witness:
    """A view that notes which layers come to our attention, and with which window. (burnish.policy.attention.DecodeView)"""

    def __init__(self) -> None:
        self.windows: dict[int, int | None] = {}

    def attend(
        self, layer: int, query_BHD: Tensor, scaling: float, sliding_window: int | None, softcap: float | None
    ) -> Tensor:
        self.windows[layer] = sliding_window
        return query_BHD


def check_logits(policy: Policy, name: str) -> None:
    """Our path to the logits (decoder, head, known scalings) must be the model's own. Raises ModelError where it is not."""
    ids = torch.arange(min(8, policy.vocabulary), device=policy.device)[None]
    try:
        with torch.inference_mode(), policy.evaluating():
            own, again = (policy.module(input_ids=ids, use_cache=False).logits[0].float() for _ in range(2))
            ours = policy.logits(policy.hidden(ids)[0]).float()
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ModelError(
            f"The model {name} ({policy.family}) cannot be run as a language model: {first_line(error)}"
        ) from error
    if not torch.allclose(own, again, rtol=1e-4, atol=1e-4):
        raise ModelError(
            f"The model {name} ({policy.family}) does not say the same twice of the same tokens; nothing measured with it would hold."
        )
    if not torch.allclose(own, ours, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"The model {name} scales its logits in a way Burnish does not know; its log-probabilities would be wrong."
        )


def first_line(error: Exception) -> str:
    """Of what an error says; its name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
