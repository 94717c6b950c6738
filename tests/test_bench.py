"""`burnish bench`: the parts of a step, their limits, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from burnish.pipelines.bench import Part, Work
from burnish.pipelines.ceilings import Ceilings, best
from burnish.pipelines.stopwatch import KINDS, kinds_of
from terminal import Terminal
from tiny import policy as tiny_policy


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


class Even(Ceilings):
    """A machine that does one FLOP a second."""

    def flops(self, rows: int, inner: int, outer: int, dtype: torch.dtype) -> float:
        return 1.0


def test_the_least_work_of_a_model_is_counted_by_hand() -> None:
    policy = tiny_policy()
    work, config = Work.of(policy), policy.module.config
    layers = [p for n, p in policy.module.get_decoder().named_parameters() if "proj" in n]
    matrices, head = sum(p.numel() for p in layers), config.hidden_size * config.vocab_size
    last = policy.module.get_decoder().layers[-1]
    behind = sum(p.numel() for p in (last.self_attn.o_proj.weight, *last.mlp.parameters()))
    # Two FLOP for each weight and place; the head, and what stands behind the last attention, only where a token was drawn.
    expected = 2 * (10 * (matrices - behind) + 3 * behind + 3 * head)
    assert work.products(10, 3, 64, Even(), torch.float32) == expected
    assert work.attention(7) == 4 * config.num_attention_heads * config.head_dim * 7 * config.num_hidden_layers
    assert work.cache(5) == 2 * config.num_key_value_heads * config.head_dim * 4 * 5 * config.num_hidden_layers
    assert sum(times for _, _, times, _ in work.weights) == 4 * config.num_hidden_layers  # qkv, o, gate and up, down


def test_what_is_reached_is_the_limit_over_the_time() -> None:
    part = Part("decode", 2.0, 0.5, "reading", [Part("all else", 1.5)]).as_json(8.0)
    assert (part["reached"], part["share"], part["seconds_at_limit"]) == (0.25, 0.25, 0.5)
    assert part["inside"][0]["reached"] is None and part["inside"][0]["share"] == 0.1875


def test_a_product_and_its_backward_pass_are_told_apart() -> None:
    from torch.profiler import record_function

    from burnish.pipelines.stopwatch import BACKWARD

    left, right = torch.randn(64, 64), torch.randn(64, 64)

    def work() -> None:
        left @ right
        with record_function(BACKWARD):
            torch.bmm(left[None], right[None])

    spent = kinds_of(work)
    assert set(spent) == {"forward", "backward"} and set(spent["forward"]) == set(KINDS)
    assert spent["forward"]["products"] > 0 and spent["forward"]["attention"] == 0
    assert spent["backward"]["attention"] > 0 and spent["backward"]["products"] == 0


def test_a_ceiling_is_the_fastest_of_at_least_three_calls() -> None:
    calls: list[int] = []
    assert best(lambda: calls.append(1), 0.0) >= 0 and len(calls) == 4  # the first warms up


def test_bench_prints_one_line_of_json(terminal: Terminal, tiny_base: Path) -> None:
    said = terminal("bench", str(tiny_base), "--quick", "--max-new", "16", "--samples", "2", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    names = [part["part"] for part in found["parts"]]
    assert names == ["prefill", "decode", "verify", "credit", "forward", "backward", "optimizer", "publish", "journal"]
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1.0)
    assert all(part["seconds"] >= 0 for part in found["parts"])
    decode = found["parts"][1]
    assert [one["part"] for one in decode["inside"]] == ["matrix products", "attention", "drawing", "all else"]
    assert decode["inside"][0]["reached"] > 0
    assert {one["dtype"] for one in found["machine"]["products"]} == {"bfloat16", "float32"}


def test_bench_shows_the_ceilings_the_parts_and_how_to_read_them(terminal: Terminal, tiny_base: Path) -> None:
    said = terminal("bench", str(tiny_base), "--quick", "--max-new", "16", "--samples", "2")
    assert said.code == 0, said.err
    for words in (
        "what this machine can do at most",
        "where its time goes",
        "reading memory",
        "How to read it",
        "backward",
    ):
        assert words in said.out


def test_a_model_made_here_knows_the_chain_task_only(terminal: Terminal) -> None:
    said = terminal("bench", "--task", "rows")
    assert said.code == 2 and len(said.err.strip().splitlines()) == 1
