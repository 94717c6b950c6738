"""Each compiled kernel against the same formula in float64 torch, on the same rounded inputs: only the output's rounding may differ."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from burnish.policy import fused_layer, kernels
from burnish.policy.kernels import Kernels
from burnish.policy.sampling import SamplingDistribution

BF = torch.bfloat16
EIGHT_BITS = 2.0**-8  # half a unit in the last place of a bfloat16, relative


@pytest.fixture(scope="module")
def call() -> Kernels:
    library = kernels.library()
    if library is None:
        pytest.skip("there is no C++ compiler here, so there are no kernels")
    return library


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def close(got: Tensor, wanted: Tensor, within: float = EIGHT_BITS) -> None:
    torch.testing.assert_close(got.double(), wanted, rtol=within, atol=1.5 * within * float(wanted.abs().mean()))


def test_add_norm_by_hand(call: Kernels) -> None:
    hidden = torch.zeros(1, 16)
    hidden[0, 0], hidden[0, 1] = 3.0, 3.0
    delta = torch.zeros(1, 16, dtype=BF)
    delta[0, 1] = 1.0
    out, after, scale = torch.empty(1, 16, dtype=BF), torch.empty(1, 16), torch.empty(1)
    call.add_norm(1, 16, hidden, delta, after, torch.full((16,), 2.0), 0.0, out, scale)
    assert after[0, :3].tolist() == [3.0, 4.0, 0.0]  # mean square (9 + 16) / 16, so the root is 5 / 4
    assert scale.item() == pytest.approx(0.8, rel=1e-6)
    assert out[0, :2].tolist() == pytest.approx([4.8, 6.4], rel=EIGHT_BITS)


def test_the_gradient_of_a_norm(call: Kernels) -> None:
    N, E, parts = 37, 48, 5
    hidden, weight, grad_out, carry = random(N, E), random(E, seed=1), random(N, E, seed=2).to(BF), random(N, E, seed=3)
    scale, out = torch.empty(N), torch.empty(N, E, dtype=BF)
    call.add_norm(N, E, hidden, None, None, weight, 1e-6, out, scale)
    grad, grad_bf, partial = torch.empty(N, E), torch.empty(N, E, dtype=BF), torch.empty(parts, E)
    call.norm_backward(N, E, hidden, weight, scale, grad_out, carry, grad, grad_bf, partial, parts)
    x, w = hidden.double().requires_grad_(), weight.double().requires_grad_()
    (F.rms_norm(x, (E,), w, 1e-6) * grad_out.double()).sum().backward()
    close(grad, x.grad + carry.double(), 1e-5)  # type: ignore[operator]
    close(grad_bf, x.grad + carry.double())  # type: ignore[operator]
    close(partial.sum(0), w.grad, 1e-5)  # type: ignore[arg-type]


def test_silu_mul_and_its_gradient(call: Kernels) -> None:
    N, I = 9, 32
    both, grad = random(N, 2 * I, scale=3.0).to(BF), random(N, I, seed=1).to(BF)
    out, again, both_grad = torch.empty(N, I, dtype=BF), torch.empty(N, I, dtype=BF), torch.empty(N, 2 * I, dtype=BF)
    call.silu_mul(N, I, both, out)
    call.silu_mul_backward(N, I, both, grad, both_grad, again)
    x = both.double().requires_grad_()
    gate, up = x.chunk(2, dim=1)
    wanted = F.silu(gate) * up
    wanted.backward(grad.double())
    close(out, wanted.detach(), 2 * EIGHT_BITS)  # silu itself is rounded once more, as the module rounds it
    assert torch.equal(out, again)
    close(both_grad, x.grad, 2 * EIGHT_BITS)  # type: ignore[arg-type]


def turned(x: Tensor, weight: Tensor | None, position: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    if weight is not None:
        x = F.rms_norm(x, (x.shape[-1],), weight, 1e-6)
    a, b = x.chunk(2, dim=-1)
    c, s = cosine[position][:, None].double(), sine[position][:, None].double()
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@pytest.mark.parametrize("normed", [True, False])
def test_norm_and_rotation_and_their_gradient(call: Kernels, normed: bool) -> None:
    N, H, K, D, parts = 11, 4, 2, 32, 3
    qkv, grad = random(N, (H + 2 * K) * D).to(BF), random(N, (H + 2 * K) * D, seed=1).to(BF)
    angle = torch.outer(torch.arange(20.0), 10000.0 ** -(torch.arange(D // 2) / (D // 2)))
    cosine, sine = angle.cos().contiguous(), angle.sin().contiguous()
    position = torch.arange(N) + 5
    norms = (random(D, seed=2), random(D, seed=3)) if normed else (None, None)
    out, partial = torch.empty(N, (H + K) * D, dtype=BF), torch.empty(parts, 2, D) if normed else None
    call.norm_rotate(N, H, K, D, qkv, *norms, 1e-6, position, cosine, sine, out)
    given = grad.clone()
    call.norm_rotate_backward(N, H, K, D, qkv, *norms, 1e-6, position, cosine, sine, grad, partial, parts)

    x = qkv.double().requires_grad_()
    w = [None if norm is None else norm.double().requires_grad_() for norm in norms]
    q, k, _ = (part.view(N, -1, D) for part in x.split((H * D, K * D, K * D), dim=1))
    wanted = torch.cat([turned(q, w[0], position, cosine, sine), turned(k, w[1], position, cosine, sine)], dim=1)
    wanted.flatten(1).backward(given[:, : (H + K) * D].double())
    close(out, wanted.detach().flatten(1), 2 * EIGHT_BITS)
    assert x.grad is not None
    close(grad[:, : (H + K) * D], x.grad[:, : (H + K) * D])
    assert torch.equal(grad[:, (H + K) * D :], given[:, (H + K) * D :])  # values are not turned
    if partial is not None:
        close(partial.sum(0)[0], w[0].grad, 1e-4)  # type: ignore[union-attr, arg-type]
        close(partial.sum(0)[1], w[1].grad, 1e-4)  # type: ignore[union-attr, arg-type]


SPANS = [(0, 0, 0, 7), (0, 7, 7, 5), (0, 7, 12, 1), (0, 7, 13, 30), (0, 0, 43, 21), (0, 0, 64, 40)]
"""A prompt of 7 with three rows that go on from it, and two rows alone."""
GROUPS = [0, 4, 5, 6]
H, K, D = 4, 2, 32


def reference(qk: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention row by row, in the dtype it is given."""
    out = torch.zeros(qk.shape[0], H, D, dtype=qk.dtype)
    q, k = qk[:, : H * D].view(-1, H, D), qk[:, H * D :].view(-1, K, D)
    for before, before_length, own, own_length in SPANS:
        places = [*range(before, before + before_length), *range(own, own + own_length)]
        keys, values = (x[places].repeat_interleave(H // K, dim=1) for x in (k, v))
        scores = torch.einsum("ihd,jhd->hij", q[own : own + own_length], keys) * 0.3
        i, j = torch.arange(own_length)[:, None] + before_length, torch.arange(len(places))
        seen = (j <= i) & ((j > i - window) if window else True)
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        out = out.index_put((torch.arange(own, own + own_length),), torch.einsum("hij,jhd->ihd", weights, values))
    return out.flatten(1)


@pytest.mark.parametrize("window", [0, 6])
def test_attention_over_rows_that_share_a_prompt(call: Kernels, window: int) -> None:
    N = 104
    qkv, qk = random(N, (H + 2 * K) * D).to(BF), random(N, (H + K) * D, seed=1).to(BF)
    spans, groups = torch.tensor(SPANS, dtype=torch.int32), torch.tensor(GROUPS, dtype=torch.int32)
    out, lse = torch.empty(N, H * D, dtype=BF), torch.empty(N, H)
    call.attend(3, groups, spans, H, K, D, qk, qkv, 0.3, window, out, lse)
    grad_out, grad = random(N, H * D, seed=2).to(BF), torch.full((N, (H + 2 * K) * D), math.nan, dtype=BF)
    x, v = qk.double().requires_grad_(), qkv[:, (H + K) * D :].double().requires_grad_()
    wanted = reference(x, v.view(N, K, D), window)
    # A weight and the sum of all are each off by half a unit of eight bits at most, and so is what comes out.
    rounding = 2 * EIGHT_BITS * reference(x, v.view(N, K, D).abs(), window) + EIGHT_BITS * wanted.abs()
    assert ((out - wanted).abs() <= rounding + 1e-6).all()
    wanted.backward(grad_out.double())
    call.attend_backward(3, groups, spans, H, K, D, qk, qkv, 0.3, window, lse, grad_out, grad)
    wide = torch.cat([x.grad, v.grad], dim=1)  # type: ignore[list-item]
    close(grad, wide)


def test_attention_is_the_same_for_any_number_of_threads(call: Kernels) -> None:
    N = 104
    qkv, qk, grad_out = (
        random(N, (H + 2 * K) * D).to(BF),
        random(N, (H + K) * D, seed=1).to(BF),
        random(N, H * D).to(BF),
    )
    spans, groups = torch.tensor(SPANS, dtype=torch.int32), torch.tensor(GROUPS, dtype=torch.int32)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out, lse, grad = (
                torch.empty(N, H * D, dtype=BF),
                torch.empty(N, H),
                torch.empty(N, (H + 2 * K) * D, dtype=BF),
            )
            call.attend(3, groups, spans, H, K, D, qk, qkv, 0.3, 0, out, lse)
            call.attend_backward(3, groups, spans, H, K, D, qk, qkv, 0.3, 0, lse, grad_out, grad)
            results.append((out, grad))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_nan_in_one_row_stays_in_that_row_and_shows(call: Kernels) -> None:
    N = 104
    qkv, qk = random(N, (H + 2 * K) * D).to(BF), random(N, (H + K) * D, seed=1).to(BF)
    qk[50] = math.nan  # the first row that stands alone: places 43 to 63
    spans, groups = torch.tensor(SPANS, dtype=torch.int32), torch.tensor(GROUPS, dtype=torch.int32)
    out = torch.empty(N, H * D, dtype=BF)
    call.attend(3, groups, spans, H, K, D, qk, qkv, 0.3, 0, out, None)
    spoiled = out.isnan().any(1)
    assert spoiled.nonzero()[:, 0].tolist() == list(range(50, 64))


def paged(
    call: Kernels, qkv: Tensor, position: list[int], row: list[int], tiles: list[tuple[int, int, int]], table: Tensor, hole: Tensor,
    stores: tuple[Tensor, Tensor], norms: tuple[Tensor | None, Tensor | None], angles: tuple[Tensor, Tensor], window: int,
) -> Tensor:  # fmt: skip
    """Write places to their pages and attend from them."""
    N, S = len(position), stores[0].shape[2]
    position_N, row_N = torch.tensor(position), torch.tensor(row, dtype=torch.int32)
    index_N = position_N + torch.where(position_N < hole[0, 0], 0, hole[0, 1] - hole[0, 0])
    place_N = table[row_N.long(), index_N // S].long() * S + index_N % S
    out = torch.empty(N, H * D, dtype=BF)
    tile_T3 = torch.tensor(tiles, dtype=torch.int32)
    call.paged_attend(
        *(
            N,
            len(tiles),
            tile_T3,
            len(set(row)) == N,
            H,
            K,
            D,
            S,
            qkv.contiguous(),
            *norms,
            1e-6,
            position_N,
            *angles,
            place_N,
            *stores,
        ),
        *(table, table.shape[1], hole, row_N, index_N, 0.3, window, out),
    )
    return out


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 32), (37, 16), (64, 272), (308, 256)])
def test_a_product_is_exact_but_for_its_rounding_and_no_row_depends_on_another(
    call: Kernels, outputs: int, inputs: int, biased: bool
) -> None:
    N = 401
    x, weight = random(N, inputs).to(BF), random(outputs, inputs, seed=1).to(BF)
    bias = random(outputs, seed=2) if biased else None
    padded = None if bias is None else torch.nn.functional.pad(bias, (0, -outputs % 64))
    panels = fused_layer._panels(weight)
    assert torch.equal(fused_layer._whole(panels, outputs), weight)

    def product(rows: Tensor) -> Tensor:
        out = torch.full((len(rows), outputs), math.nan, dtype=BF)
        call.product_bf16(len(rows), outputs, inputs, rows, panels, None, padded, False, out)
        return out

    whole, terms = product(x), x.double() @ weight.double().t()
    wanted = terms if bias is None else terms + bias
    # Half a unit of the result, and what a sum of so many in float32 may lose of its terms.
    lost = 2.0**-24 * inputs * (x.double().abs() @ weight.double().abs().t() + 1.0)
    assert ((whole - wanted).abs() <= EIGHT_BITS * wanted.abs() + lost).all()
    for first, last in ((0, 1), (3, 10), (0, 193), (200, 401)):
        assert torch.equal(product(x[first:last].contiguous()), whole[first:last])
    assert product(x[:0]).shape == (0, outputs)


@pytest.mark.parametrize("page", [16, 32, 48])
@pytest.mark.parametrize(("window", "normed"), [(0, True), (21, False)])
def test_over_pages_a_place_gets_to_the_bit_what_it_gets_in_a_whole_row(
    call: Kernels, window: int, normed: bool, page: int
) -> None:
    """A prompt in chunks, then two rows that share its full pages, token by token; what is not live in a page is NaN."""
    prompt, own = 70, 40
    whole = prompt + own
    qkv = random(whole + own, (H + 2 * K) * D).to(BF)  # the prompt, the first row's own, the second row's own
    angle = torch.outer(torch.arange(128.0), 10000.0 ** -(torch.arange(D // 2) / (D // 2)))
    angles = (angle.cos().contiguous(), angle.sin().contiguous())
    norms = (random(D, seed=2), random(D, seed=3)) if normed else (None, None)
    wanted = []
    for start in (prompt, whole):
        joined = torch.cat([qkv[:prompt], qkv[start : start + own]])
        qk, out = torch.empty(whole, (H + K) * D, dtype=BF), torch.empty(whole, H * D, dtype=BF)
        call.norm_rotate(whole, H, K, D, joined, *norms, 1e-6, torch.arange(whole), *angles, qk)
        spans = torch.tensor([[0, 0, 0, prompt], [0, prompt, prompt, own]], dtype=torch.int32)
        call.attend(1, torch.tensor([0, 2], dtype=torch.int32), spans, H, K, D, qk, joined, 0.3, window, out, None)
        wanted.append(out)
    shared = -(-prompt // page)  # the last of them partly filled
    pages = shared + -(-own // page)
    table = torch.arange(2 * pages, dtype=torch.int32).flip(0).view(2, pages).contiguous()
    table[1, :shared] = table[0, :shared]
    hole = torch.tensor([[prompt, shared * page]] * 2, dtype=torch.int32)
    stores = tuple(torch.full((2 * pages, K, page, D), math.nan, dtype=BF) for _ in range(2))

    def run(chosen: Tensor, position: list[int], row: list[int], tiles: list[tuple[int, int, int]]) -> Tensor:
        return paged(call, chosen, position, row, tiles, table, hole, stores, norms, angles, window)  # type: ignore[arg-type]

    for first, last in ((0, 33), (33, prompt)):  # the prompt in two chunks, five places at once
        tiles = [(i, min(5, last - first - i), (first + min(i + 5, last - first) - 1) // page + 1)
                 for i in range(0, last - first, 5)]  # fmt: skip
        out = run(qkv[first:last], list(range(first, last)), [0] * (last - first), tiles)
        assert torch.equal(out, wanted[0][first:last])
    for i in range(own):
        both = torch.stack([qkv[prompt + i], qkv[whole + i]])
        out = run(both, [prompt + i] * 2, [0, 1], [(0, 2, shared)])
        for row in range(2):
            assert torch.equal(out[row], wanted[row][prompt + i])
        alone = run(both, [prompt + i] * 2, [0, 1], [(0, 1, 0), (1, 1, 0)])
        assert torch.equal(out, alone)  # who is computed beside it changes no bit


@pytest.mark.parametrize("vocabulary", [16, 37, 272, 5003])
def test_log_probabilities_entropy_and_gradient(call: Kernels, vocabulary: int) -> None:
    N, temperature = 6, 0.7
    logits, target = random(N, vocabulary, scale=4.0).to(BF), torch.arange(N) * 3 % vocabulary
    logits[0, 5] = -math.inf
    logp, entropy, lse, g = (torch.empty(N) for _ in range(4))
    call.log_probs(N, vocabulary, logits, target, temperature, logp, entropy, lse)
    x = logits.double().requires_grad_()
    all_logp = (x / temperature).log_softmax(-1)
    wanted = all_logp.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(logp.double(), wanted.detach(), rtol=1e-5, atol=1e-5)
    plain = torch.special.entr(all_logp.detach().exp()).sum(-1)
    torch.testing.assert_close(entropy.double(), plain, rtol=1e-4, atol=1e-5)
    g = random(N, seed=5)
    wanted.backward(g.double())
    call.log_probs_backward(N, vocabulary, logits, target, temperature, lse, g)
    assert x.grad is not None
    close(logits, x.grad.nan_to_num())


def test_draws_are_those_of_the_torch_path(call: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random(400, 203, scale=2.0).to(BF)
    uniform = torch.from_numpy(np.random.default_rng(0).random(400))
    distribution = SamplingDistribution(temperature=1.3)
    ids, logp = distribution.draw(logits, uniform)
    monkeypatch.setattr(kernels, "library", lambda: None)
    plain_ids, plain_logp = distribution.draw(logits, uniform)
    same = ids == plain_ids
    assert same.float().mean() >= 0.99  # a number within a rounding of a boundary may fall on the other side
    torch.testing.assert_close(logp[same], plain_logp[same], rtol=1e-5, atol=1e-5)


def test_a_token_without_mass_is_never_drawn(call: Kernels) -> None:
    logits = torch.full((2, 19), -math.inf, dtype=BF)
    logits[:, 7], logits[:, 18] = 0.0, 0.0
    ids, logp = SamplingDistribution().draw(logits, torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64))
    assert ids.tolist() == [7, 18]
    assert logp.tolist() == pytest.approx([-math.log(2)] * 2)


def test_no_compiler_means_no_kernels_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    with caplog.at_level("INFO"):
        assert kernels.library.__wrapped__() is None
    assert "no C++ compiler" in caplog.text


def test_a_compiler_that_fails_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "broken.cpp"
    source.write_text("int main( {")
    monkeypatch.setattr(kernels, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level("INFO"):
        assert kernels.library.__wrapped__() is None
    assert "slower path" in caplog.text
    assert list((tmp_path / "cache" / "burnish").iterdir()) == []


def test_they_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_KERNELS", "off")
    assert kernels.library.__wrapped__() is None
