"""One GRPO step taken apart: seconds of every part, and under torch's profiler what kind of work they were. Not for: limits (bench.py).

The parts are timed through their own interfaces, so nothing else of Burnish knows that it is watched. The compiled kernels are called
past the profiler; while it looks on, they are called through it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from burnish.algos import recipes
from burnish.config import OptimizerConfig
from burnish.engine.choice import Serving, engine_for
from burnish.journal import Journal
from burnish.journal.observe import observe
from burnish.learner.learner import Learner, Optimization
from burnish.metrics import Metrics, merge
from burnish.policy import kernels
from burnish.policy.model import Policy
from burnish.prompts import Renderer, check_room
from burnish.records import Completion, Group, Key, Problem, Prompt, Request, Sample, Sampling
from burnish.rollout import Sampler
from burnish.tasks import Task
from burnish.verify.pool import Pool

KINDS: dict[str, tuple[str, ...]] = {
    "products": ("_linear_pointwise", "::mm", "::addmm", "::linear", "::mkldnn_linear", "kernels::product"),
    "attention": ("attend", "scaled_dot_product", "::bmm", "::baddbmm", "::_softmax", "flash_attention"),
    "vocabulary": ("::draw", "log_probs", "log_softmax", "::cumsum", "::searchsorted", "::exp"),
}
"""What of an operator's name says which kind of work it is; everything else (norms, rotations, copies, Python) is none of them."""

BACKWARD = "burnish::backward"


@dataclass(frozen=True)
class Size:
    """How large the step is, and how often it is taken."""

    problems: int = 64
    samples: int = 8
    max_new: int = 96
    repeats: int = 3


class Watched:
    """The engine, noting when its last completion came."""

    def __init__(self, engine: Serving) -> None:
        self._engine = engine
        self.version, self.ended = 0, 0.0

    def generate(
        self, requests: Iterable[Request], *, enough: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        yield from self._engine.generate(requests, enough=enough)
        self.ended = time.perf_counter()

    def load(self, weights: object, version: int) -> None:
        self._engine.load(weights, version)
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        return self._engine.prove(ids)


class Step:
    """A step that can be taken again and again: every time the same problems, and what was drawn counted."""

    def __init__(
        self, policy: Policy, task: Task, pool: Pool, problems: Sequence[Problem], size: Size, seed: int
    ) -> None:
        self.policy, self.size = policy, size
        self.engine = Watched(engine_for(policy))
        renderer = Renderer(policy.tokenizer)
        self.prompts: list[Prompt] = [renderer.prompt(problem, task.messages(problem)) for problem in problems]
        check_room(self.prompts, size.max_new, policy.context)
        self.sampling = Sampling(1.0, 1.0, 0, size.max_new, policy.stop_ids, seed)
        self.sampler = Sampler(self.engine, renderer, pool, task.messages, self.sampling)
        self.recipe = recipes.recipe("grpo")
        settings = OptimizerConfig(lr=1e-9).model_dump()
        self.learner = Learner(policy, Optimization(total_updates=100, **settings), seed=seed)
        self.problems, self.groups = problems, list[Group]()

    @property
    def rollouts(self) -> list[tuple[int, int]]:
        """(tokens of its prompt, tokens sampled) of every rollout."""
        return [(len(group.prompt.ids), one.tokens.sampled_count) for group in self.groups for one in group.rollouts]

    @property
    def tokens(self) -> int:
        return sum(sampled for _, sampled in self.rollouts)

    @property
    def trained(self) -> list[list[tuple[int, int]]]:
        """The same of the rollouts that the update learns from, by group: what is dropped costs it nothing."""
        samples = self._samples()
        heard = {sample.origin for sample in samples if any(sample.advantages)} or {one.origin for one in samples}
        groups = [
            [(len(group.prompt.ids), one.tokens.sampled_count) for one in group.rollouts if group.key(one) in heard]
            for group in self.groups
        ]
        return [group for group in groups if group]

    def requests(self, max_new: int) -> list[Request]:
        sampling = replace(self.sampling, max_new=max_new)
        return [Request(Key(p.problem_id, i), p, sampling) for p in self.prompts for i in range(self.size.samples)]

    def warm_up(self) -> None:
        """Kernels are compiled, memory is there, the verifiers have started."""
        self.groups = self.sampler.groups(self.problems[:2], 2)
        samples = self._samples()
        self._journal(samples, self._update(samples))

    def prefill(self) -> None:
        for _ in self.engine.generate(self.requests(1)):
            pass

    def sample(self) -> None:
        for _ in self.engine.generate(self.requests(self.size.max_new)):
            pass

    def _samples(self) -> list[Sample]:
        kept, _ = self.recipe.select(self.groups)
        return self.recipe.credit_groups(kept or self.groups, {})

    def _update(self, samples: Sequence[Sample]) -> Metrics:
        self.learner.version = self.engine.version  # as if they had just been drawn
        stats = self.learner.update(samples, self.recipe.objective, self.recipe.weigh)
        self.learner.version = self.engine.version
        return stats

    def _journal(self, samples: Sequence[Sample], stats: Metrics) -> float:
        """Seconds of writing the step down, in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="burnish-bench-") as place:
            journal = Journal.create(Path(place) / "run", "", {"run": 1})
            began = time.perf_counter()
            journal.step(1, self.groups, [], samples, merge(observe(self.groups, [], samples), stats), {}, 0)
            return time.perf_counter() - began

    def timed(self) -> dict[str, float]:
        """Seconds of every part of one step."""
        clock = time.perf_counter
        began = clock()
        self.prefill()
        prefill = clock() - began
        began = clock()
        self.groups = self.sampler.groups(self.problems, self.size.samples)
        judged = clock()
        sampling = self.engine.ended - began
        samples = self._samples()
        credited = clock()
        with _watching_backward(self.learner) as watch:
            stats = self._update(samples)
        updated = clock()
        self.engine.load(self.learner.weights(), self.learner.version)
        canary = self.groups[0].rollouts[0].tokens
        self.engine.prove(canary.ids)
        self.learner.log_probs([canary])
        published = clock()
        journalled = self._journal(samples, stats)
        update = updated - credited
        return {
            "prefill": prefill,
            "decode": max(sampling - prefill, 0.0),
            "verify": judged - self.engine.ended,
            "credit": credited - judged,
            "forward": max(update - watch["backward"] - watch["optimizer"], 0.0),
            "backward": watch["backward"],
            "optimizer": watch["optimizer"],
            "publish": published - updated,
            "journal": journalled,
        }

    def profiled(self) -> dict[str, dict[str, float]]:
        """Seconds by kind of work, of prefill, decode, forward and backward."""
        prefill, sampling = kinds_of(self.prefill)["forward"], kinds_of(self.sample)["forward"]
        samples = self._samples()
        with _watching_backward(self.learner):
            update = kinds_of(lambda: self._update(samples))
        decode = {kind: max(sampling[kind] - prefill[kind], 0.0) for kind in KINDS}
        return {"prefill": prefill, "decode": decode, "forward": update["forward"], "backward": update["backward"]}


@contextmanager
def _watching_backward(learner: Learner) -> Iterator[dict[str, float]]:
    """Seconds spent in backward passes, and from the last one's end to the end of the optimizer's step (clipping, then AdamW)."""
    spent = {"backward": 0.0, "optimizer": 0.0}
    last = time.perf_counter()
    backward = torch.autograd.backward

    def timed(*args: Any, **kwargs: Any) -> None:
        nonlocal last
        began = time.perf_counter()
        with record_function(BACKWARD):
            backward(*args, **kwargs)
        last = time.perf_counter()
        spent["backward"] += last - began

    def stepped(*_: Any) -> None:
        spent["optimizer"] += time.perf_counter() - last

    hook = learner.optimizer.register_step_post_hook(stepped)
    torch.autograd.backward = timed
    try:
        yield spent
    finally:
        torch.autograd.backward = backward
        hook.remove()


def kinds_of(call: Callable[[], object]) -> dict[str, dict[str, float]]:
    """Seconds of every kind of work in a call: {"forward": {kind: seconds}, "backward": {...}}, by where a backward pass was under way."""
    library, before, after = kernels.library(), torch.zeros(2, dtype=torch.double), torch.zeros(2, dtype=torch.double)
    with _seen_kernels(), profile(activities=[ProfilerActivity.CPU]) as seen:
        if library is not None:
            library.spent(before)
        call()
        if library is not None:
            library.spent(after)
    events = list(seen.events() or ())
    spans = [(one.time_range.start, one.time_range.end) for one in events if one.name == BACKWARD]
    spent = {part: dict.fromkeys(KINDS, 0.0) for part in ("forward", "backward")}
    for one in events:
        kind = next((kind for kind, names in KINDS.items() if any(name in one.name for name in names)), None)
        if kind is not None:
            part = "backward" if any(a <= one.time_range.start < b for a, b in spans) else "forward"
            spent[part][kind] += one.self_cpu_time_total / 1e6
    for kind, seconds in zip(
        ("products", "attention"), (after - before).tolist(), strict=True
    ):  # inside kernels::through
        spent["forward"][kind] += seconds
    return spent


@contextmanager
def _seen_kernels() -> Iterator[None]:
    """The compiled kernels under their names in a profile."""
    library = kernels.library()
    functions = {} if library is None else {name: one for name, one in vars(library).items() if callable(one)}

    def seen(name: str, function: Callable[..., None], *arguments: Any) -> None:
        with record_function(f"kernels::{name}"):
            function(*arguments)

    for name, function in functions.items():
        setattr(library, name, partial(seen, name, function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(library, name, function)
