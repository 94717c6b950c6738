"""One step, one gradient: however its rows are cut, ordered or dealt to ranks, with everything switched on."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from burnish import metrics
from burnish.algos.objective import KL, Correction, Covariance, Entropy, Objective
from burnish.algos.overrides import SURROGATES
from burnish.algos.reduce import weights
from burnish.algos.steering import measured
from burnish.learner.batch import TokenFields
from burnish.records import Key, Sample, Tokens

LENGTHS = (3, 1, 5, 2, 4, 2)
CORRECTIONS = {
    "tis": Correction("tis", 0.5, 1.5),
    "sequence_tis": Correction("sequence_tis", high=1.5),
    "icepop": Correction("icepop", 0.7, 1.4),
    "sequence_mask": Correction("sequence_mask", 0.2, 2.0),
    "geometric_mask": Correction("geometric_mask", 0.8, 1.2),
    "decoupled": Correction("decoupled"),
}


def step(seed: int = 0) -> tuple[list[Sample], TokenFields]:
    """Six rows of three prompts, half of them on policy."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int, scale: float = 0.4) -> Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64) * scale

    total = sum(LENGTHS)
    row_N = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    logp_N = (-1.0 + draw(total)).requires_grad_()
    sampler_N = logp_N.detach() + draw(total)
    advantage_R = draw(len(LENGTHS), 1.0)
    samples = []
    for i, n in enumerate(LENGTHS):
        own = sampler_N[row_N == i].tolist()
        spread = (0.0,) + (advantage_R[i].item(),) * n
        samples.append(Sample(Key(f"p{i // 2}", i), Tokens.join((1,), (5,) * n, tuple(own)), spread, 0.0, 0, 0))
    weight = weights(samples, "prompt_mean")
    fields = TokenFields(
        logp_N=logp_N,
        sampler_N=sampler_N,
        advantage_N=advantage_R[row_N],
        weight_N=torch.tensor([weight[samples[i].origin] for i in row_N.tolist()], dtype=torch.float64),
        row_N=row_N,
        on_policy_N=row_N % 2 == 0,
        reference_N=logp_N.detach() + draw(total),
        proximal_N=logp_N.detach() + draw(total, 0.2),
        entropy_N=draw(total).abs(),
    )
    return samples, fields


def some(fields: TokenFields, rows: Sequence[int]) -> TokenFields:
    """The tokens of some rows, in that order, the rows numbered anew: one micro-batch."""
    taken_N = torch.cat([torch.nonzero(fields.row_N == row).flatten() for row in rows])
    known = {name: value[taken_N] for name, value in vars(fields).items() if isinstance(value, Tensor)}
    number = {row: i for i, row in enumerate(rows)}
    return TokenFields(**(known | {"row_N": torch.tensor([number[r] for r in known["row_N"].tolist()])}))


def everything(name: str, correction: str | None, samples: Sequence[Sample]) -> Objective:
    return Objective(
        SURROGATES[name],
        KL("reference", 0.1),
        None if correction is None or name == "dppo" else CORRECTIONS[correction],
        stale_mask=0.1,
        entropy=Entropy(0.01),
        covariance=measured(Covariance("kl", share=0.2), samples),
    )


def gradient(loss: Tensor, fields: TokenFields) -> Tensor:
    (slope,) = torch.autograd.grad(loss, fields.logp_N, retain_graph=True)
    return slope


@given(
    data=st.data(),
    name=st.sampled_from(sorted(SURROGATES)),
    correction=st.sampled_from([None, *CORRECTIONS]),
    seed=st.integers(0, 1000),
)
def test_any_order_and_any_cut_into_micro_batches_gives_the_same_gradient(
    data: st.DataObject, name: str, correction: str | None, seed: int
) -> None:
    samples, fields = step(seed)
    objective = everything(name, correction, samples)
    order = data.draw(st.permutations(range(len(LENGTHS))))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(LENGTHS) - 1))))
    parts = [order[a:b] for a, b in itertools.pairwise([0, *cuts, len(LENGTHS)])]
    whole, found = objective(fields)
    pieces = [objective(some(fields, part)) for part in parts]
    slope = torch.stack([gradient(loss, fields) for loss, _ in pieces]).sum(0)
    torch.testing.assert_close(slope, gradient(whole, fields), rtol=0, atol=1e-13)
    assert math.fsum(loss.item() for loss, _ in pieces) == pytest.approx(whole.item(), abs=1e-12)
    merged = metrics.values(metrics.merge(*(said for _, said in pieces)))
    assert merged == pytest.approx(metrics.values(found), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", list(SURROGATES))
def test_on_policy_what_the_sampler_said_cannot_reach_the_gradient(name: str) -> None:
    _, fields = step()
    poison = TokenFields(
        **{**vars(fields), "sampler_N": torch.full_like(fields.sampler_N, math.nan), "proximal_N": None}
        | {"on_policy_N": torch.ones_like(fields.on_policy_N)}
    )
    loss, _ = Objective(SURROGATES[name])(poison)
    assert torch.isfinite(gradient(loss, fields)).all()


def test_a_token_that_is_masked_out_is_out_even_if_its_loss_is_not_a_number() -> None:
    """A sampler's log-probability of -inf: IcePop takes the token out, and its gradient is 0."""
    logp_N = torch.tensor([-1.0, -1.0], dtype=torch.float64, requires_grad=True)
    fields = TokenFields(
        logp_N,
        torch.tensor([-1.0, -math.inf], dtype=torch.float64),
        *(torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), torch.tensor([0, 1])),
        torch.zeros(2, dtype=torch.bool),
    )
    loss, found = Objective(SURROGATES["clip"], correction=CORRECTIONS["icepop"])(fields)
    (slope,) = torch.autograd.grad(loss, logp_N)
    assert slope.tolist() == [-1.0, 0.0]
    assert found["correction/masked"].value == 0.5


def _rank(rank: int, port: int, name: str, out: str) -> None:
    """Half the rows, an all-reduce; what the first rank has then."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    samples, fields = step()
    objective = everything(name, "tis", samples)
    mine = [row for row in range(len(LENGTHS)) if row % 2 == rank]
    slope = gradient(objective(some(fields, mine))[0], fields)
    dist.all_reduce(slope)
    if rank == 0:
        torch.save(slope, out)
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["gspo"])
def test_two_ranks_add_up_to_the_same_gradient(name: str, tmp_path: object) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = f"{tmp_path}/slope.pt"
    mp.start_processes(
        _rank, (port, name, out), nprocs=2, start_method="fork"
    )  # not spawn: it would load torch twice more
    samples, fields = step()
    whole = gradient(everything(name, "tis", samples)(fields)[0], fields)
    torch.testing.assert_close(torch.load(out), whole, rtol=0, atol=1e-14)


# ---- what is always measured


def test_raw_and_effective_weights_are_reported_with_and_without_a_correction() -> None:
    _, fields = step()
    plain = Objective(SURROGATES["clip"])(fields)[1]
    masked = Objective(SURROGATES["clip"], correction=CORRECTIONS["icepop"])(fields)[1]
    for found in (plain, masked):
        assert {"gap/weight", "gap/effective", "correction/weight", "correction/masked", "correction/effective"} <= set(
            found
        )
    assert (plain["correction/masked"].value, plain["correction/effective"].value) == (0.0, 1.0)
    assert 0.0 < masked["correction/masked"].value < 1.0
    assert masked["correction/effective"].value < 1.0


def test_a_mask_of_stale_sequences_is_counted() -> None:
    """Row 0 fell by 0.5 nats a token and is not wanted; row 1 fell as far and is wanted."""
    logp_N = torch.full((4,), -1.5, dtype=torch.float64, requires_grad=True)
    fields = TokenFields(
        logp_N,
        torch.full((4,), -1.0, dtype=torch.float64),
        torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64),
        torch.ones(4, dtype=torch.float64),
        torch.tensor([0, 0, 1, 1]),
        torch.zeros(4, dtype=torch.bool),
    )
    loss, found = Objective(None, stale_mask=0.2)(fields)
    assert torch.autograd.grad(loss, logp_N)[0].tolist()[:2] == [0.0, 0.0]
    assert found["correction/masked"].value == 0.5
