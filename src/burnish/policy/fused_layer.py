"""One layer of the compiled path: its weights laid out for the products, and its passes over rows, forward and backward.

Not for: which policies it serves, the ends of the network, decoding (fused.py).

N places, E hidden width, H query heads, K key heads, D head width, I inner width.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy import kernels
from burnish.policy.kernels import Kernels

PARTS = 16
"""Blocks of places whose gradients of a norm are summed apart, in a fixed order whatever the number of threads."""
BF = torch.bfloat16
STEP = 64
"""Places that products are given come in multiples of this; from 2,048 on in coarser ones, so that at most a sixteenth is padding."""


def rounded_up(count: int) -> int:
    """The number of places that stands for `count` in buffers and products, so that few sizes recur instead of ever new ones.

    The library keeps code for each shape of product, and each new size of buffer leaves a hole of its own in the heap:
    `benchmarks/memory_growth.py` shows what that adds up to. 80 sizes reach up to 16,384 places.

    >>> [rounded_up(count) for count in (1, 64, 65, 1025, 5000)]
    [64, 64, 128, 1088, 5120]
    """
    step = max(STEP, 1 << max(0, count.bit_length() - 5))
    return -(-count // step) * step


@dataclass(frozen=True)
class PackedRows:
    """Rows laid end to end, none padded: ids and positions [N], and who attends to what.

    position_N may be longer than ids_N: the places behind the rows are padding, which belongs to no span and attends to nothing.

    spans   int32 [rows, 4]: first place and length of what a row goes on from (its prompt; 0, 0 for none), then of its own places
    groups  int32 [G + 1]: where each group begins in spans. A group is one row alone, or a prompt and then the rows that go on from it
    read_M  int64 [M], for the last layer: the places whose states somebody reads, each once; None: all
    """

    ids_N: Tensor
    position_N: Tensor
    spans: Tensor
    groups: Tensor
    read_M: Tensor | None = None

    @property
    def end(self) -> int:
        """Where padding begins."""
        return self.ids_N.shape[0]

    @staticmethod
    def of(row: Tensor, head: int) -> PackedRows:
        """One row of ids [N], in two spans: its first `head` places, which others might share, and the rest."""
        own = len(row) - head
        spans = [(0, 0, 0, head), *([(0, head, head, own)] if own else [])]
        of_spans, groups = (torch.tensor(listed, dtype=torch.int32) for listed in (spans, [0, len(spans)]))
        return PackedRows(row, torch.arange(len(row)), of_spans, groups)


@dataclass
class Angles:
    """Cosines and sines [positions, D / 2] of the positions reached so far; all layers share them."""

    cosine: Tensor
    sine: Tensor


OURS = torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
"""Whether x W^T goes through our kernel, which needs AVX512_BF16: about as fast as the library with many places, and more than twice
as fast with few, where that takes longer to begin (benchmarks/decode.py). What a place gets does not depend on the places beside it
then, so what samples and what learns say the same. Where the processor multiplies whole tiles (AMX), or has neither, the library does
it."""


class Product:
    """x -> x W^T + b in bfloat16, with W laid out for the product once; several weights are stacked into one.

    gated  the two weights are those of a gate and of what it gates, without biases; sampling needs only what comes of both (kernels.cpp)
    """

    PANEL = 64

    def __init__(self, weights: list[Tensor], biases: list[Tensor | None], gated: bool = False) -> None:
        self._call, self._gated = _library(), gated
        self._backward: Tensor | None = None
        self._plain: Tensor | None = None
        self._scale: Tensor | None = None
        with torch.no_grad():
            weight = torch.cat([weight.detach().to(BF) for weight in weights])
            self.bias = None if biases[0] is None else torch.cat([bias.detach().to(BF) for bias in biases])  # type: ignore[union-attr]
        self.shape = weight.shape
        if OURS:
            self._panels = _panels(_by_turns(weight) if gated else weight)
            self._bias = _padded_bias(self.bias, self.shape[0])
        else:
            self._forward = _laid_out(weight)
            self._plain = weight  # until the first `back` lays it out the other way: then nobody needs it

    @property
    def parts(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(panels, scale, bias), as the kernels take them."""
        return self._panels, self._scale, self._bias

    def __call__(self, x: Tensor) -> Tensor:
        if not OURS:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._forward, self.bias, "none", [], "")
            return out
        (O, I), N = self.shape, x.shape[0]
        out = torch.empty(N, O, dtype=BF)
        self._call.product_bf16(N, O, I, x.contiguous(), self._panels, None, self._bias, self._gated, out)
        return out

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of x."""
        if self._backward is None:
            plain = self._plain
            if plain is None:
                plain = _whole(self._panels, self.shape[0])
                plain = _apart(plain) if self._gated else plain
            self._backward, self._plain = _laid_out(plain.t().contiguous()), None
        out: Tensor = torch.ops.mkldnn._linear_pointwise(grad, self._backward, None, "none", [], "")
        return out


class ProductInt8(Product):
    """The same with every weight rounded to a whole number in -127 .. 127 times one scale an output, absmax / 127. For sampling alone.

    Half the bytes of bfloat16: a pass over few places is bound by reading weights. x stays in bfloat16 and sums are in float32, so what
    a place gets does not depend on the places beside it.
    """

    def __init__(self, weights: list[Tensor], biases: list[Tensor | None], gated: bool = False) -> None:
        self._call, self._gated = _library(), gated
        with torch.no_grad():
            weight_OI = torch.cat([weight.detach() for weight in weights]).float()
            weight_OI = _by_turns(weight_OI) if gated else weight_OI
            scale_O = weight_OI.abs().amax(1).clamp_(min=torch.finfo(torch.float32).tiny) / 127
            whole_OI = (weight_OI / scale_O[:, None]).round_().to(torch.int8)
            signed_OI = torch.where(whole_OI < 0, whole_OI.abs().to(torch.uint8) | 128, whole_OI.to(torch.uint8))
            runs = _panels(signed_OI).view(-1, 2, 4, 8)  # as kernels.cpp says
            self._panels = runs.transpose(1, 2).contiguous()
            self._scale = F.pad(scale_O, (0, -len(scale_O) % self.PANEL))
            bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])  # type: ignore[union-attr]
            self._bias = _padded_bias(bias, len(scale_O))
        self.shape = weight_OI.shape

    def __call__(self, x: Tensor) -> Tensor:
        (O, I), N = self.shape, x.shape[0]
        out = torch.empty(N, O, dtype=BF)
        self._call.product_int8(N, O, I, x.contiguous(), self._panels, self._scale, self._bias, self._gated, out)
        return out

    def back(self, grad: Tensor) -> Tensor:
        raise AssertionError("weights of eight bits are for sampling")


def _panels(weight_OI: Tensor) -> Tensor:
    """Panels of 64 outputs, [panels, I / 2, 64, 2], with zeros behind the last output."""
    O, I = weight_OI.shape
    padded = F.pad(weight_OI, (0, 0, 0, -O % Product.PANEL))
    return padded.view(-1, Product.PANEL, I // 2, 2).transpose(1, 2).contiguous()


def _whole(panels: Tensor, outputs: int) -> Tensor:
    """The weight [O, I] that lies in panels."""
    return panels.transpose(1, 2).flatten(2, 3).flatten(0, 1)[:outputs]


def _by_turns(weight_OI: Tensor) -> Tensor:
    """Of two weights on top of each other, sixteen outputs of the one and sixteen of the other by turns."""
    return weight_OI.view(2, -1, 16, weight_OI.shape[1]).transpose(0, 1).flatten(0, 2)


def _apart(weight_OI: Tensor) -> Tensor:
    """`_by_turns` undone."""
    return weight_OI.view(-1, 2, 16, weight_OI.shape[1]).transpose(0, 1).flatten(0, 2)


def _padded_bias(bias: Tensor | None, outputs: int) -> Tensor | None:
    return None if bias is None else F.pad(bias.float(), (0, -outputs % Product.PANEL))


def _library() -> Kernels:
    library = kernels.library()
    assert library is not None
    return library


def _laid_out(weight: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, 4096)
    return packed


@dataclass
class Kept:
    """What a layer's backward needs of its forward."""

    scale_in: Tensor
    normed_in: Tensor
    qkv: Tensor
    turned: Tensor
    attended: Tensor
    lse: Tensor
    middle: Tensor
    scale_post: Tensor
    normed_post: Tensor
    both: Tensor


class Layer:
    """One layer's weights and its two passes over rows."""

    def __init__(self, layer: Any, call: Kernels, angles: Angles, product: type[Product] = Product) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        q, k, v, o = attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj
        D = int(attention.head_dim)
        self.call, self.angles = call, angles
        self.heads = (q.weight.shape[0] // D, k.weight.shape[0] // D, D)
        self.norm_in = layer.input_layernorm.weight.detach().float()
        self.norm_post = layer.post_attention_layernorm.weight.detach().float()
        self.epsilon = float(layer.input_layernorm.variance_epsilon)
        normed = getattr(attention, "q_norm", None) is not None
        self.norm_q = attention.q_norm.weight.detach().float() if normed else None
        self.norm_k = attention.k_norm.weight.detach().float() if normed else None
        self.head_epsilon = float(attention.q_norm.variance_epsilon) if normed else 0.0
        self.scale = float(attention.scaling)
        window = getattr(attention, "sliding_window", None)
        if type(attention).__name__ == "MistralAttention":
            window = getattr(attention.config, "sliding_window", None)
        self.window = int(window or 0)
        self.qkv = product([q.weight, k.weight, v.weight], [q.bias, k.bias, v.bias])
        self.out = product([o.weight], [o.bias])
        self.gate_up = product([mlp.gate_proj.weight, mlp.up_proj.weight], [None, None], True)
        self.down = product([mlp.down_proj.weight], [None])
        optional = (
            *((attention.q_norm.weight, attention.k_norm.weight) if normed else (None, None)),
            *(q.bias, k.bias, v.bias, o.bias),
        )
        self.parameters: tuple[Tensor | None, ...] = (
            *(layer.input_layernorm.weight, q.weight, k.weight, v.weight, o.weight),
            *(layer.post_attention_layernorm.weight, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight),
            *optional,
        )

    def forward(self, hidden_NE: Tensor, rows: PackedRows) -> tuple[Tensor, Kept]:
        """The states after this layer [N, E], or of the places `rows.read_M` [M, E] and some zeros behind them; what `backward` takes."""
        call, (H, K, D) = self.call, self.heads
        N, E = hidden_NE.shape
        normed_in, scale_in = norm(call, hidden_NE, self.norm_in, self.epsilon)
        qkv = self.qkv(normed_in)
        turned = torch.empty(N, (H + K) * D, dtype=BF)
        angles = (rows.position_N, self.angles.cosine, self.angles.sine)
        call.norm_rotate(N, H, K, D, qkv, self.norm_q, self.norm_k, self.head_epsilon, *angles, turned)
        attended, lse = torch.empty(N, H * D, dtype=BF), torch.empty(N, H)
        attended[rows.end :] = 0  # the kernel writes what spans hold
        groups = (len(rows.groups) - 1, rows.groups, rows.spans)
        call.attend(*groups, H, K, D, turned, qkv, self.scale, self.window, attended, lse)
        if rows.read_M is not None:  # keys and values are everyone's, the rest is for those alone that are read
            hidden_NE, attended = _picked(hidden_NE, rows.read_M), _picked(attended, rows.read_M)
            N = hidden_NE.shape[0]
        middle, normed_post = torch.empty(N, E), torch.empty(N, E, dtype=BF)
        scale_post = torch.empty(N)
        call.add_norm(
            N, E, hidden_NE, self.out(attended), middle, self.norm_post, self.epsilon, normed_post, scale_post
        )
        both = self.gate_up(normed_post)
        inner = torch.empty(N, both.shape[1] // 2, dtype=BF)
        call.silu_mul(N, inner.shape[1], both, inner)
        out_NE = torch.empty(N, E)
        call.add(N * E, middle, self.down(inner), out_NE)
        kept = Kept(scale_in, normed_in, qkv, turned, attended, lse, middle, scale_post, normed_post, both)
        return out_NE, kept

    def backward(
        self, hidden_NE: Tensor, kept: Kept, rows: PackedRows, grad_NE: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        """(gradient of the input, gradients of `parameters` in their order)."""
        call, (H, K, D) = self.call, self.heads
        N = grad_NE.shape[0]
        grad_bf = grad_NE.to(BF)
        inner_grad = self.down.back(grad_bf)
        I = inner_grad.shape[1]
        inner, both_grad = torch.empty(N, I, dtype=BF), torch.empty(N, 2 * I, dtype=BF)
        call.silu_mul_backward(N, I, kept.both, inner_grad, both_grad, inner)
        down_grad = grad_bf.t() @ inner
        gate_up_grad = both_grad.t() @ kept.normed_post
        through = self.gate_up.back(both_grad)
        middle_grad, middle_bf, norm_post_grad = norm_backward(
            call, kept.middle, self.norm_post, kept.scale_post, through, grad_NE
        )
        out_grad = middle_bf.t() @ kept.attended
        attended_grad = self.out.back(middle_bf)
        if rows.read_M is not None:
            N = hidden_NE.shape[0]
            middle_grad, attended_grad = _put(middle_grad, rows.read_M, N), _put(attended_grad, rows.read_M, N)
        qkv_grad = torch.empty_like(kept.qkv)
        qkv_grad[rows.end :] = 0
        groups = (len(rows.groups) - 1, rows.groups, rows.spans)
        call.attend_backward(
            *(*groups, H, K, D, kept.turned, kept.qkv, self.scale, self.window, kept.lse),
            *(attended_grad, qkv_grad),
        )
        heads_grad = torch.empty(PARTS, 2, D) if self.norm_q is not None else None
        angles = (rows.position_N, self.angles.cosine, self.angles.sine)
        call.norm_rotate_backward(
            *(N, H, K, D, kept.qkv, self.norm_q, self.norm_k, self.head_epsilon, *angles, qkv_grad, heads_grad, PARTS)
        )
        stacked = qkv_grad.t() @ kept.normed_in
        hidden_grad, _, norm_in_grad = norm_backward(
            call, hidden_NE, self.norm_in, kept.scale_in, self.qkv.back(qkv_grad), middle_grad
        )
        q_grad, k_grad, v_grad = torch.split(stacked, [H * D, K * D, K * D])
        gate_grad, up_grad = gate_up_grad.chunk(2)
        norms: list[Tensor | None] = [None, None] if heads_grad is None else list(heads_grad.sum(0))
        biases: list[Tensor | None] = [None, None, None]
        if self.qkv.bias is not None:
            biases = list(torch.split(qkv_grad.sum(0, dtype=torch.float32), [H * D, K * D, K * D]))
        biases.append(middle_bf.sum(0, dtype=torch.float32) if self.out.bias is not None else None)
        grads = [norm_in_grad, q_grad, k_grad, v_grad, out_grad, norm_post_grad, gate_grad, up_grad, down_grad]
        return hidden_grad, [*grads, *norms, *biases]


class RowsLayer(torch.autograd.Function):
    """A layer over rows, as one node of the graph. With `again` only its input is kept, and the backward runs it again."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NE: Tensor, layer: Layer, rows: PackedRows, again: bool, *parameters: Tensor | None
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            out_NE, kept = layer.forward(hidden_NE, rows)
        ctx.save_for_backward(hidden_NE, *(() if again else vars(kept).values()))
        ctx.layer, ctx.rows = layer, rows
        ctx.dtypes = [None if parameter is None else parameter.dtype for parameter in parameters]
        return out_NE

    @staticmethod
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Any, ...]:
        hidden_NE, *saved = ctx.saved_tensors
        kept = Kept(*saved) if saved else ctx.layer.forward(hidden_NE, ctx.rows)[1]
        grad, grads = ctx.layer.backward(hidden_NE, kept, ctx.rows, grad_NE.contiguous())
        cast = (None if g is None else g.to(dtype) for g, dtype in zip(grads, ctx.dtypes, strict=True))
        return grad, None, None, None, *cast


def norm(call: Kernels, hidden_NE: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(the normed states [N, E] in bfloat16, 1 / root mean square [N])."""
    N, E = hidden_NE.shape
    out, scale_N = torch.empty(N, E, dtype=BF), torch.empty(N)
    call.add_norm(N, E, hidden_NE, None, None, weight, epsilon, out, scale_N)
    return out, scale_N


def _picked(x: Tensor, chosen_M: Tensor) -> Tensor:
    """Those rows of x, and zeros behind them so that sizes recur."""
    picked = x.new_zeros(rounded_up(len(chosen_M)), x.shape[1])
    torch.index_select(x, 0, chosen_M, out=picked[: len(chosen_M)])
    return picked


def _put(x: Tensor, chosen_M: Tensor, N: int) -> Tensor:
    """`_picked` undone: N rows, zeros where nothing was picked."""
    return x.new_zeros(N, x.shape[1]).index_copy_(0, chosen_M, x[: len(chosen_M)])


def norm_backward(
    call: Kernels, hidden_NE: Tensor, weight: Tensor, scale_N: Tensor, through: Tensor, carry: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(gradient of the input [N, E], the same in bfloat16, gradient of the weight [E]); `carry` is added to the first."""
    N, E = hidden_NE.shape
    grad, grad_bf, partial = torch.empty(N, E), torch.empty(N, E, dtype=BF), torch.empty(PARTS, E)
    call.norm_backward(N, E, hidden_NE, weight, scale_N, through, carry, grad, grad_bf, partial, PARTS)
    return grad, grad_bf, partial.sum(0)
