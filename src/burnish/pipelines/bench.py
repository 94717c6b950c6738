"""Where the time of a step goes on this machine, each part beside the least time it could take. Not for: what is learned.

One GRPO step as `burnish train` takes it (sample and verify, credit, update, publish, journal) is timed through the parts' own
interfaces, several times. Once more it runs under torch's profiler, which says how much of sampling and of the update were matrix
products, attention, and work over the vocabulary. The limits are worked out from what must be computed or read at the least (every
prompt once, every sampled token once, nothing padded) and from ceilings measured in the same run. Nothing is written but a journal
in a temporary folder.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from burnish.config import ScratchConfig
from burnish.errors import ConfigError
from burnish.pipelines.ceilings import SIZES_MIB, Ceilings
from burnish.pipelines.stopwatch import Size, Step
from burnish.policy.model import Policy, from_scratch, load, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.run.display import Display
from burnish.tasks import load as load_task
from burnish.tasks.chain import Chain
from burnish.verify.pool import Pool

SQUARES = (256, 1024, 4096)
STACKED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate and up", "up_proj": "gate and up"}
"""Weights that share their input and can be one product."""

WORD = {"decode": "drawing", "forward": "log-probs", "backward": "log-probs"}
"""What the work over the vocabulary is called in each part."""

MANY = 2048
"""Rows at which the products of the update and of the prefill are measured."""


@dataclass
class Part:
    """One line of the result.

    seconds    of a step, the median
    limit      seconds it would take at its limit; None where there is none to speak of
    bound      what that limit is
    """

    name: str
    seconds: float
    limit: float | None = None
    bound: str = ""
    inside: list[Part] = field(default_factory=list)

    def as_json(self, step: float) -> dict[str, Any]:
        reached = None if self.limit is None or self.seconds <= 0 else self.limit / self.seconds
        own = {"part": self.name, "seconds": self.seconds, "share": self.seconds / step}
        limit = {"bound": self.bound, "seconds_at_limit": self.limit, "reached": reached}
        return own | limit | {"inside": [part.as_json(step) for part in self.inside]}


def bench(
    model: str | None = None,
    task: str = "chain",
    options: Mapping[str, Any] | None = None,
    size: Size | None = None,
    seed: int = 1,
    threads: int | None = None,
    quick: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure ceilings and one step; the result as `burnish bench --json` prints it.

    model  a folder or hub name; None: the demo's shape with random weights, whose answers all run to max_new
    threads  of this process; None leaves them as they are
    quick  a small step, once, and short measurements of the ceilings

    Raises ConfigError, ModelError and DataError for what cannot be used.
    """
    size = size or Size()
    if threads is not None:
        torch.set_num_threads(threads)
    if quick:
        size = replace(size, problems=min(size.problems, 8), max_new=min(size.max_new, 32), repeats=1)
    loaded = load_task(task, options or {})
    if model is None and task != "chain":
        raise ConfigError(f"The model made here knows the words of the task chain only; give a model for {task}.")
    tune_allocator()
    policy = load(model) if model is not None else _scratch()
    problems = loaded.train(seed).take(size.problems)
    ceilings = Ceilings(policy.device.type, 0.03 if quick else 0.15)
    with Display("measuring", size.repeats + 3, (), quiet) as display, Pool(loaded.verifier) as pool:
        step = Step(policy, loaded, pool, problems, size, seed)
        step.warm_up()
        display.step(1, {})
        rows = []
        for number in range(size.repeats):
            rows.append(step.timed())
            display.step(number + 2, {})
        spent = step.profiled()
        display.step(size.repeats + 2, {})
        parts = _parts(step, {name: statistics.median(row[name] for row in rows) for name in rows[0]}, spent, ceilings)
        machine = _machine(policy, ceilings, SQUARES[:2] if quick else SQUARES)
        display.step(size.repeats + 3, {})
    said = {"model": model or "the demo's shape, random weights", "threads": torch.get_num_threads()}
    return said | {"torch": torch.__version__, "machine": machine} | _result(step, size, parts)


def _result(step: Step, size: Size, parts: list[Part]) -> dict[str, Any]:
    whole = sum(part.seconds for part in parts)
    return {
        "parameters": step.policy.parameters,
        "compute": str(step.policy.compute).removeprefix("torch."),
        "step": {
            "problems": size.problems,
            "samples": size.samples,
            "tokens_sampled": step.tokens,
            "tokens_trained": sum(sampled for group in step.trained for _, sampled in group),
            "seconds": whole,
            "repeats": size.repeats,
        },
        "parts": [part.as_json(whole) for part in parts],
        "products": _efficiency(parts),
    }


def _scratch() -> Policy:
    shape = ScratchConfig().model_dump()
    task = Chain()
    texts = [f"{problem.question} {task.gold(problem)}" for problem in task.train(1).take(500)]
    tokenizer = train_tokenizer(texts, shape.pop("vocab_size"), shape["max_position_embeddings"])
    return from_scratch(tokenizer, {**shape, "tie_word_embeddings": True}, seed=1)


@dataclass(frozen=True)
class Work:
    """What a step must do at the least, of a model: FLOP of products and of attention, bytes to read.

    weights  (inner, outer, times, read) of every product of a layer: how many there are of that size, and how many of those stand behind
             the last layer's attention, where only the places count whose states are read
    """

    weights: list[tuple[int, int, int, int]]
    head: tuple[int, int]
    layers: int
    query_width: int
    key_width: int
    itemsize: int

    @staticmethod
    def of(policy: Policy) -> Work:
        config = policy.module.config.get_text_config()
        heads = int(config.num_attention_heads)
        width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        keys = int(getattr(config, "num_key_value_heads", None) or heads)
        stacked: dict[tuple[str, str, int], int] = {}
        last_layer = f"layers.{int(config.num_hidden_layers) - 1}."
        for name, module in policy.module.get_decoder().named_modules():
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                key = (parent, STACKED.get(last, last), module.in_features)
                stacked[key] = stacked.get(key, 0) + module.out_features
        shapes = [(inner, outer) for (_, _, inner), outer in stacked.items()]
        behind = [
            (inner, outer)
            for (parent, name, inner), outer in stacked.items()
            if f"{parent}.".startswith(last_layer) and "qkv" not in name
        ]
        weights = [(*size, shapes.count(size), behind.count(size)) for size in dict.fromkeys(shapes)]
        head = policy.module.get_output_embeddings()
        itemsize = 2 if policy.compute is torch.bfloat16 else 4
        size = (int(head.weight.shape[1]), int(head.weight.shape[0]))
        return Work(weights, size, int(config.num_hidden_layers), heads * width, keys * width, itemsize)

    def products(self, places: float, heads: float, rows: int, ceilings: Ceilings, dtype: torch.dtype) -> float:
        """Seconds of the forward products of so many places, of which `heads` are read, at their ceilings."""
        seconds = heads * 2 * self.head[0] * self.head[1] / ceilings.flops(rows, *self.head, dtype)
        for inner, outer, times, read in self.weights:
            count = places * (times - read) + heads * read
            seconds += count * 2 * inner * outer / ceilings.flops(rows, inner, outer, dtype)
        return seconds

    def attention(self, pairs: float) -> float:
        """FLOP of one forward attention over so many (query, key) pairs."""
        return 4.0 * self.query_width * pairs * self.layers

    def cache(self, tokens: float) -> float:
        """Bytes of the keys and values of so many tokens."""
        return 2.0 * self.key_width * self.itemsize * tokens * self.layers


def _parts(
    step: Step, seconds: Mapping[str, float], spent: Mapping[str, Mapping[str, float]], ceilings: Ceilings
) -> list[Part]:
    """The lines of the result, in the order in which they happen."""
    policy, work, dtype = step.policy, Work.of(step.policy), step.policy.compute
    rollouts, prompts = step.rollouts, [len(prompt.ids) for prompt in step.prompts]
    live = min(len(rollouts), 512)
    peak = max(ceilings.flops(MANY, inner, outer, dtype) for inner, outer, *_ in work.weights)
    vocabulary = work.head[1] * work.itemsize

    def part(name: str, products: float, attention: float, read: float | None, scale: float, said: str) -> Part:
        """One part that computes: its kinds of work, each at its limit, and what is left."""
        # The profiled step may have been slower than the timed ones: its kinds of work never exceed the part.
        fit = min(1.0, seconds[name] / max(sum(spent[name].values()), 1e-9))
        taken = {kind: fit * one for kind, one in spent[name].items()}
        inside = [Part("matrix products", taken["products"], products * scale, "the products alone")]
        inside += [Part("attention", taken["attention"], attention, said)]
        if read is not None:
            limit = read / ceilings.read(live * vocabulary)
            inside += [Part(WORD[name], taken["vocabulary"], limit, "reading the logits")]
        rest = max(seconds[name] - sum(one.seconds for one in inside), 0.0)
        inside.append(Part("all else", rest, None, "norms, copies, Python"))
        return Part(name, seconds[name], products * scale + attention, "products + attention", inside)

    causal, own = sum(map(_triangle, prompts)), sum(map(_own, rollouts))
    # A decode step reads each row's own tokens once, and a prompt once for all its rows that are live.
    reads = sum(_triangle(sampled) for _, sampled in rollouts)
    reads += sum(
        len(group.prompt.ids) * max(one.tokens.sampled_count for one in group.rollouts) for group in step.groups
    )
    resident = work.cache(sum(prompts) + sum(sampled for _, sampled in rollouts) / 2)
    decoding = max(work.attention(own) / peak, work.cache(reads) / ceilings.read(resident))
    trained = [row for group in step.trained for row in group]
    heads = sum(sampled for _, sampled in trained)
    shared = [group[0][0] for group in step.trained]  # each prompt goes through once
    products = work.products(sum(shared) + heads, heads, MANY, ceilings, dtype)
    attention = work.attention(sum(map(_triangle, shared)) + sum(map(_own, trained))) / peak
    prefill = work.products(sum(prompts), len(prompts), MANY, ceilings, dtype)
    decode = work.products(step.tokens, step.tokens, live, ceilings, dtype)
    logits = step.tokens * vocabulary
    optimizer = 32.0 * policy.parameters / ceilings.read(32.0 * policy.parameters)
    return [
        part("prefill", prefill, work.attention(causal) / peak, None, 1.0, "a product's speed"),
        part("decode", decode, decoding, logits, 1.0, "reading the cache"),
        Part("verify", seconds["verify"], None, "runs beside sampling"),
        Part("credit", seconds["credit"], None, "Python"),
        part("forward", products, attention, heads * vocabulary, 1.0, "a product's speed"),
        part("backward", products, 2.5 * attention, 2 * heads * vocabulary, 2.0, "a product's speed"),
        Part("optimizer", seconds["optimizer"], optimizer, "32 bytes a weight"),
        Part("publish", seconds["publish"], None, "a canary prompt"),
        Part("journal", seconds["journal"], None, "writing files"),
    ]


def _triangle(count: int) -> float:
    """(query, key) pairs of so many tokens, each reading itself and all before it."""
    return count * (count + 1) / 2


def _own(row: tuple[int, int]) -> float:
    """The pairs of the sampled tokens of a row: its prompt, and what was sampled before."""
    prompt, sampled = row
    return sampled * prompt + _triangle(sampled)


def _machine(policy: Policy, ceilings: Ceilings, squares: Sequence[int]) -> dict[str, Any]:
    """The ceilings: products of squares in both precisions, those of the model, and bandwidth by working set."""
    for dtype in (torch.bfloat16, torch.float32):
        for size in squares:
            ceilings.flops(size, size, size, dtype)
    for size in SIZES_MIB:
        ceilings.read(size << 20)
    products = [
        {
            "rows": rows,
            "inner": inner,
            "outer": outer,
            "dtype": str(dtype).removeprefix("torch."),
            "tflops": value / 1e12,
        }
        for (rows, inner, outer, dtype), value in sorted(ceilings.products.items(), key=_squares_first)
    ]
    reading = [{"mib": size, "gb_per_second": value / 1e9} for size, value in sorted(ceilings.bandwidths.items())]
    return {"device": str(policy.device), "products": products, "bandwidth": reading}


def _squares_first(one: tuple[tuple[int, int, int, torch.dtype], float]) -> tuple[bool, str]:
    (rows, inner, outer, dtype), _ = one
    return not rows == inner == outer, str(dtype)


def _efficiency(parts: list[Part]) -> dict[str, dict[str, float]]:
    """Of sampling and of the update: the share of their ceiling that products reach while they run, and over the whole of it."""
    found = {}
    for name, members in (("sampling", ("prefill", "decode")), ("update", ("forward", "backward", "optimizer"))):
        chosen = [part for part in parts if part.name in members]
        products = [one for part in chosen for one in part.inside if one.name == "matrix products"]
        limit, running = sum(one.limit or 0.0 for one in products), sum(one.seconds for one in products)
        whole = sum(part.seconds for part in chosen)
        found[name] = {"while_running": limit / running if running else 0.0, "of_the_whole": limit / whole}
    return found
