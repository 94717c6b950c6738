"""The common decoder family (Llama, Mistral, Qwen2, Qwen3) in bfloat16 on a CPU, through compiled kernels.

It computes what the module computes under autocast, up to roundings: rows laid end to end without padding, forward and backward
(training, scoring), and new tokens of rows whose keys and values lie in pages (sampling). Weights are cast and laid out for the
products once for each version instead of once for each use. `tests/test_policy_fused.py` holds it to the module it replaces;
`benchmarks/decode.py` and `benchmarks/step.py` print speeds. Not for: other families or precisions, which go through the module.

N places, B live rows, E hidden width, H query heads, K key heads, D head width, I inner width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from burnish.policy import fused_layer, kernels
from burnish.policy.fused_layer import (
    BF,
    STEP,
    Angles,
    Layer,
    PackedRows,
    Product,
    ProductInt8,
    RowsLayer,
    norm_backward,
)
from burnish.policy.model import Policy
from burnish.policy.sampling import LOGITS_CHUNK

FAMILIES = tuple(
    family + head
    for family in ("Llama", "Mistral", "Qwen2", "Qwen3")
    for head in ("ForCausalLM", "ForSequenceClassification")
)
ROTATIONS = ("default", "llama3", "linear", "yarn")
"""Rotary embeddings whose angles depend on the position alone."""


Stores = Callable[[int, int, int], tuple[Tensor, Tensor]]
"""(layer, K, D) -> its pages: keys and values [pages, K, S, D] in bfloat16, laid out as `kernels.cpp` says."""


class Fused:
    """A policy's weights of one version, laid out for the kernels. Make a new one when they change.

    A scorer (burnish.policy.heads) has no vocabulary: of it there are the hidden states and `normed`, and no log-probabilities.
    """

    @staticmethod
    def of(policy: Policy) -> Fused | None:
        """The policy with the weights it has now, where it is served."""
        return Fused(policy) if Fused.serves(policy) else None

    @staticmethod
    def serves(policy: Policy) -> bool:
        """Whether the policy is of the family, unadorned, in bfloat16 on a CPU, and the kernels are there."""
        config = policy.module.config
        if policy.compute is not BF or policy.device.type != "cpu" or type(policy.module).__name__ not in FAMILIES:
            return False
        rotation = getattr(policy.module.get_decoder().rotary_emb, "rope_type", "default")
        layers = policy.module.get_decoder().layers
        linear = [one for name, one in layers.named_modules() if name.endswith("_proj")]
        if (head := policy.module.get_output_embeddings()) is not None:
            linear.append(head)
        D, wide = int(layers[0].self_attn.head_dim), (config.hidden_size, config.intermediate_size)
        return (
            getattr(config, "hidden_act", None) == "silu"
            and not getattr(config, "mlp_bias", False)
            and not getattr(config, "attention_dropout", 0.0)
            and rotation in ROTATIONS
            and all(type(one) is nn.Linear for one in linear)
            and D % 32 == 0
            and D <= 256
            and all(width % 16 == 0 for width in wide)
            and kernels.library() is not None
        )

    def __init__(self, policy: Policy, product: type[Product] = Product) -> None:
        """product  how weights are kept; `ProductInt8` is for `step` alone"""
        library = kernels.library()
        assert library is not None
        self.call = library
        decoder = policy.module.get_decoder()
        self._embedding: Tensor = decoder.embed_tokens.weight
        self._rotary = decoder.rotary_emb
        self.angles = Angles(torch.empty(0), torch.empty(0))
        self._product = product
        self._table: tuple[Tensor, Tensor, int] | None = None
        self._layers = [Layer(layer, library, self.angles, product) for layer in decoder.layers]
        self._again = bool(getattr(decoder, "gradient_checkpointing", False))
        self._norm_weight: Tensor = decoder.norm.weight
        self._norm = decoder.norm.weight.detach().float()
        self._epsilon = float(decoder.norm.variance_epsilon)
        if (head := policy.module.get_output_embeddings()) is not None:
            self._head_weight: Tensor = head.weight
            self._head = product([self._head_weight], [None])

    def reach(self, position: int) -> None:
        """Have the angles [positions, D / 2] of every position up to this one."""
        if position < self.angles.cosine.shape[0]:
            return
        count = 1 << max(6, position.bit_length())
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            cosine_1TD, sine_1TD = self._rotary(torch.empty(1, 1), torch.arange(count)[None])
        half = cosine_1TD.shape[-1] // 2
        self.angles.cosine, self.angles.sine = (
            part[0, :, :half].float().contiguous() for part in (cosine_1TD, sine_1TD)
        )

    def hidden(self, rows: PackedRows, place_M: Tensor | None = None) -> Tensor:
        """Hidden states before the last norm, in float32, with a graph where gradients are on: [N, E], or those of `place_M` [M, E].

        Places may repeat. Of the others the last layer computes keys and values alone: nobody reads what a prompt's tokens predict.
        Inside there are more places than N, zeros behind the rows, so that sizes recur (`rounded_up`).
        """
        self.reach(int(rows.position_N.max()))
        N = rows.end
        padding = fused_layer.rounded_up(N) - N
        # Zeros, not some token's embedding: what a weight that went wrong holds must not come in through padding.
        hidden_NE = F.pad(F.embedding(rows.ids_N, self._embedding).float(), (0, 0, 0, padding))
        rows = replace(rows, position_N=F.pad(rows.position_N, (0, padding)))
        read_M, back_M = None, place_M
        if place_M is not None and len(place_M):
            read_M, back_M = torch.unique(place_M, return_inverse=True)
        for layer in self._layers:
            if layer is self._layers[-1]:
                rows = replace(rows, read_M=read_M)
            if torch.is_grad_enabled():
                hidden_NE = RowsLayer.apply(hidden_NE, layer, rows, self._again, *layer.parameters)  # type: ignore[no-untyped-call]
            else:
                hidden_NE, _ = layer.forward(hidden_NE, rows)
        return hidden_NE[:N] if back_M is None else hidden_NE.index_select(0, back_M)

    def normed(self, hidden_NE: Tensor) -> Tensor:
        """What `hidden` gives after the last norm, [N, E] in float32, with its graph: what heads of one output read."""
        return F.rms_norm(hidden_NE, [hidden_NE.shape[1]], self._norm_weight, self._epsilon)

    def log_probs_of(self, hidden_NE: Tensor, targets_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """(log-probabilities_N of the targets, entropies_N without gradient), in nats. At most LOGITS_CHUNK logits at a time."""
        logp_N, entropy_N = _Score.apply(hidden_NE, self, targets_N, temperature, self._norm_weight, self._head_weight)  # type: ignore[no-untyped-call]
        return logp_N, entropy_N

    def step(self, places: Places, stores: Stores, chosen_B: Tensor | None = None) -> Tensor:
        """Logits [B, V] in bfloat16 after new tokens of rows over pages, of the places `chosen_B` or of all. `reach` first.

        The keys and values of the new tokens are written to their places. All calls of a Fused take the same `stores`, which hold as
        long as it does.
        """
        N = len(places.ids_N)
        at_once = fused_layer.OURS or self._product is ProductInt8
        normed_NE = self._at_once(places, stores) if at_once else self._by_parts(places, stores)
        return self._head(normed_NE[:N] if chosen_B is None else normed_NE[chosen_B])

    def _at_once(self, places: Places, stores: Stores) -> Tensor:
        """The normed states [N, E], in one call: with few places the work is less than what many calls take to begin."""
        if self._table is None:
            self._table = self._laid_out(stores)
        table, numbers, S = self._table
        (H, K, D), N = self._layers[0].heads, len(places.ids_N)
        hidden_NE = F.embedding(places.ids_N, self._embedding).float()
        E, I = hidden_NE.shape[1], self._layers[0].down.shape[1]
        normed_NE = torch.empty(N, E, dtype=BF)
        self.call.through(
            *(len(self._layers), table, numbers, self._product is ProductInt8),
            *(N, E, I, H, K, D, S, hidden_NE),
            *(places.position_N, self.angles.cosine, self.angles.sine, places.place_N, len(places.tiles), places.tiles),
            *(places.table, places.table.shape[1], places.hole, places.row_N, places.index_N, places.alone),
            *(self._norm, self._epsilon, normed_NE),
        )
        return normed_NE

    def _laid_out(self, stores: Stores) -> tuple[Tensor, Tensor, int]:
        """(the pointers of every layer, its numbers, positions a page), as `through` in kernels.cpp takes them."""
        lines, S = [], 0
        for number, layer in enumerate(self._layers):
            keys, values = stores(number, *layer.heads[1:])
            S = keys.shape[2]
            pointers: list[Tensor | None] = [layer.norm_in, layer.norm_post, layer.norm_q, layer.norm_k]
            for product in (layer.qkv, layer.out, layer.gate_up, layer.down):
                pointers += product.parts
            lines.append([0 if one is None else one.data_ptr() for one in (*pointers, keys, values)] + [layer.window])
        numbers = torch.tensor([[layer.epsilon, layer.head_epsilon, layer.scale] for layer in self._layers])
        return torch.tensor(lines), numbers, S

    def _by_parts(self, places: Places, stores: Stores) -> Tensor:
        """The same, and a tail that nobody reads, where the products are the library's."""
        call, N = self.call, len(places.ids_N)
        hidden_NE = F.embedding(F.pad(places.ids_N, (0, recurring(N) - N)), self._embedding)
        rows, E = hidden_NE.shape  # rounded up, so that the products meet few shapes
        delta_NE: Tensor | None = None
        normed_NE = torch.empty(rows, E, dtype=BF)
        for number, layer in enumerate(self._layers):
            call.add_norm(rows, E, hidden_NE, delta_NE, hidden_NE, layer.norm_in, layer.epsilon, normed_NE, None)
            attended = self._attend(number, layer, layer.qkv(normed_NE), places, stores)
            out = layer.out(attended)
            call.add_norm(rows, E, hidden_NE, out, hidden_NE, layer.norm_post, layer.epsilon, normed_NE, None)
            both = layer.gate_up(normed_NE)
            inner = torch.empty(rows, both.shape[1] // 2, dtype=BF)
            call.silu_mul(rows, inner.shape[1], both, inner)
            delta_NE = layer.down(inner)
        call.add_norm(rows, E, hidden_NE, delta_NE, hidden_NE, self._norm, self._epsilon, normed_NE, None)
        return normed_NE

    def _attend(
        self,
        number: int,
        layer: Layer,
        qkv: Tensor,
        places: Places,
        stores: Stores,
    ) -> Tensor:
        """What every place attends to, [N and its tail, H D]: the new keys and values join the pages first."""
        (H, K, D), N = layer.heads, len(places.ids_N)
        keys, values = stores(number, K, D)
        S = keys.shape[2]
        attended = torch.empty(qkv.shape[0], H * D, dtype=BF)
        attended[N:] = 0.0
        self.call.paged_attend(
            *(N, len(places.tiles), places.tiles, places.alone, H, K, D, S),
            *(qkv, layer.norm_q, layer.norm_k, layer.head_epsilon),
            *(places.position_N, self.angles.cosine, self.angles.sine, places.place_N, keys, values),
            *(places.table, places.table.shape[1], places.hole, places.row_N, places.index_N),
            *(layer.scale, layer.window, attended),
        )
        return attended


@dataclass(frozen=True)
class Places:
    """New tokens of rows over pages of S positions, laid end to end.

    ids_N, position_N  int64 [N]: the token, and where it stands in its row
    index_N  int64 [N]: where it stands in its row's pages, which may have a hole between the prompt and what follows
    place_N  int64 [N]: where its key and value go: page * S + offset
    row_N    int32 [N]: its row in `table` and `hole`
    table    int32 [rows, P]: entry p is the page of a row's indices p S .. p S + S - 1
    hole     int32 [rows, 2]: the first index of the hole and the first after it; 0, 0 for none
    tiles    int32 [T, 3]: first place, how many places (at most 32), and how many of their first pages they share: each is read once
    alone    each place is the only new one of its row
    """

    ids_N: Tensor
    position_N: Tensor
    index_N: Tensor
    place_N: Tensor
    row_N: Tensor
    table: Tensor
    hole: Tensor
    tiles: Tensor
    alone: bool


def recurring(n: int) -> int:
    """n rounded up, by a sixteenth at most from 128 on: the library keeps a compiled product for each number of rows it meets."""
    if n <= 8:
        return 1 << max(0, n - 1).bit_length()
    step = max(8, 1 << (n - 1).bit_length() - 4)
    return -(-n // step) * step


class _Score(torch.autograd.Function):
    """Last norm, head, and the log-probability of each target; where the logits are too many to keep, the backward makes them again.

    Products see whole chunks: the normed states are followed by zeros, whose logits are never read and whose gradients are zero.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_NE: Tensor, fused: Fused, targets_N: Tensor, temperature: float, weight: Tensor, head: Tensor
    ) -> tuple[Tensor, Tensor]:
        call, (N, E), V = fused.call, hidden_NE.shape, head.shape[0]
        hidden_NE = hidden_NE.contiguous()
        chunks = list(_chunks(N, V))
        normed, scale_N = torch.empty(chunks[-1][1].stop, E, dtype=BF), torch.empty(N)
        normed[N:] = 0
        call.add_norm(N, E, hidden_NE, None, None, fused._norm, fused._epsilon, normed, scale_N)
        logp_N, entropy_N, lse_N = (torch.empty(N) for _ in range(3))
        logits: Tensor | None = None
        for real, whole in chunks:
            logits = fused._head(normed[whole])
            call.log_probs(
                *(real.stop - real.start, V, logits, targets_N[real], temperature),
                *(logp_N[real], entropy_N[real], lse_N[real]),
            )
        ctx.save_for_backward(hidden_NE, normed, scale_N, lse_N, targets_N, weight)
        ctx.logits = logits if len(chunks) == 1 else None
        ctx.fused, ctx.temperature, ctx.head_dtype = fused, temperature, head.dtype
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Any) -> tuple[Any, ...]:
        hidden_NE, normed, scale_N, lse_N, targets_N, weight = ctx.saved_tensors
        fused: Fused = ctx.fused
        N, V = hidden_NE.shape[0], fused._head.shape[0]
        through, grad_N = torch.empty_like(normed), grad_N.contiguous()
        head_grad = torch.zeros(fused._head.shape)
        for real, whole in _chunks(N, V):
            count = real.stop - real.start
            logits = fused._head(normed[whole]) if ctx.logits is None else ctx.logits
            fused.call.log_probs_backward(
                *(count, V, logits, targets_N[real], ctx.temperature, lse_N[real], grad_N[real])
            )
            logits[count:] = 0
            through[whole] = fused._head.back(logits)
            head_grad += logits.t() @ normed[whole]
        ctx.logits = None  # overwritten: this graph has been walked
        grad_NE, _, norm_grad = norm_backward(fused.call, hidden_NE, fused._norm, scale_N, through, None)
        return grad_NE, None, None, None, norm_grad.to(weight.dtype), head_grad.to(ctx.head_dtype)


def _chunks(N: int, V: int) -> Iterator[tuple[slice, slice]]:
    """Which places get their logits at once: the real ones, and with the padding that makes their number recur."""
    most = max(1, LOGITS_CHUNK // V)
    most -= most % STEP if most > STEP else 0
    for start in range(0, max(N, 1), most):
        stop = min(start + most, N)
        yield slice(start, stop), slice(start, start + min(most, fused_layer.rounded_up(stop - start)))
