"""Sampled tokens a second: ours, transformers' generate, transformers' continuous batching, and vLLM, taking turns in one run.

    python benchmarks/sampling.py --shape S --trl-python .venv-trl/bin/python --vllm-python .venv-vllm/bin/python
    python benchmarks/sampling.py --model runs/demo/run/final --vllm-python .venv-vllm/bin/python
    python benchmarks/sampling.py --quick --json

Same weights, same prompts, temperature 1, the same ids that end an answer, and so lengths drawn from one distribution on every side
(benchmarks/shapes.py says which: many short ones, a long tail). Only tokens up to the end of an answer count. Each peer runs in a
Python of its own (transformers in this one where no other is named) and gets its best settings first: one axis after the other is
tried, and the fastest is kept; what takes twice as long as the best so far is given up. --set fixes them instead, and --settings takes
them from an earlier run. Ours also returns the log-probability of every token, which training needs;
the peers are not asked for it. The weights of the peers are in the precision that is fastest for them, ours are float32 with
products in bfloat16. Not for: a server's latency, or prompts that share more than their group's.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from burnish.engine.embedded import EmbeddedEngine
from burnish.policy.model import load, tune_allocator
from peers import Peer, PeerFailed, described, fixed, found, median, search
from report import command_of, heading, machine, options, publish, say, shortened, table
from shapes import PROBLEMS, SHAPES, Work, chains, made, tail

NAMES = {
    "transformers": "transformers generate",
    "continuous": "transformers continuous batching",
    "vllm": "vLLM",
}
AT_LEAST_S = 4.0
START: dict[str, dict[str, Any]] = {
    "transformers": {"batch": 0, "attention": "sdpa", "dtype": "bfloat16", "cache": "dynamic"},
    "continuous": {"attention": "sdpa", "dtype": "bfloat16", "max_batch_tokens": 2048, "page_size": 256},
    "vllm": {
        "rows": 256,
        "graphs": "compiled",
        "dtype": "bfloat16",
        "prefix_cache": "on",
        "batch_tokens": 4096,
        "cores": "auto",
    },
}
AXES: dict[str, dict[str, Sequence[Any]]] = {
    "transformers": {
        "batch": (1, 2, 8),  # parts of the work; it starts with 4
        "attention": ("eager",),
        "cache": ("static", "compiled"),
        "dtype": ("float32",),
    },
    "continuous": {"page_size": (32,), "max_batch_tokens": (512, 8192), "attention": ("eager",)},
    "vllm": {"rows": (64, 512), "cores": ("nobind",), "graphs": ("eager",), "batch_tokens": (16384,)},
}
SIDE = {"transformers": "transformers_side.py", "continuous": "transformers_side.py", "vllm": "vllm_side.py"}


def ours(engine: EmbeddedEngine, work: Work, turn: int, least_seconds: float = 0.0) -> dict[str, Any]:
    """The mean of goes of our engine, which lays its weights out anew for each, as it must where they have changed.

    As many goes as take about as long as one of a peer's: one that lasts a second meets a moment of the machine, not the machine.
    """
    seconds, lengths, goes = 0.0, list[int](), 0
    while not goes or seconds < least_seconds:
        requests = work.requests(1000 * turn + goes)
        began = time.perf_counter()
        drawn = [len(completion.ids) for completion in engine.generate(requests)]
        seconds += time.perf_counter() - began
        assert len(drawn) == len(requests), "a completion for every request"
        lengths, goes = lengths + drawn, goes + 1
    return {"seconds": seconds / goes, "tokens": sum(lengths) / goes, "longest": max(lengths), "goes": goes}


def peer_of(name: str, python: str, common: Mapping[str, Any], chosen: Mapping[str, Any], deadline: float) -> Peer:
    """The process of a peer with these settings."""
    settings = {**common, **chosen, "mode": name}
    environment = {}
    if name == "vllm":
        environment = {"VLLM_CPU_KVCACHE_SPACE": str(common["cache_gib"]), "VLLM_LOGGING_LEVEL": "ERROR"}
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind"} if chosen["cores"] == "nobind" else {}
        environment |= {"OMP_NUM_THREADS": str(common["threads"]), "VLLM_NO_USAGE_STATS": "1"}
    return Peer(python, SIDE[name], settings, deadline, environment)


def settings_for(
    name: str, python: str, common: Mapping[str, Any], given: argparse.Namespace, rows: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(the settings a peer is measured with, all that were tried)."""
    start = dict(START[name])
    axes: dict[str, Sequence[Any]] = dict(AXES[name])
    if name == "transformers":
        start["batch"] = max(given.samples, rows // 4)
        axes["batch"] = [max(given.samples, rows // parts) for parts in AXES[name]["batch"]]
    wanted = [pair.partition(":")[2] for pair in given.set or () if pair.partition(":")[0] == name]
    if given.settings:
        start = found(given.settings, "settings", name)
    if wanted or given.quick or given.settings:
        return fixed(start, wanted), []
    say(f"{NAMES[name]}: its settings, each a run of its own")

    def attempt(chosen: dict[str, Any], most: float | None) -> float:
        with peer_of(name, python, common, chosen, given.search_deadline) as peer:
            row = peer.step(most)
            # Seconds for as many tokens as this work has on average: draws differ in how many they are.
            return float(row["seconds"] / row["tokens"] * rows * given.mean)

    tried = search(start, axes, attempt)
    return tried[0]["settings"], tried


def pythons(given: argparse.Namespace) -> dict[str, str]:
    """Peer -> the Python that has it, of those that were asked for."""
    here = given.trl_python or sys.executable
    there = {"transformers": here, "continuous": here}
    if given.vllm_python is not None:
        there["vllm"] = given.vllm_python
    for python in there.values():
        if shutil.which(python) is None:
            sys.exit(f"There is no Python at {python}. docs/performance.md says how the peers are installed.")
    return {name: python for name, python in there.items() if name in given.peers.split(",")}


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="T")
    parser.add_argument("--model", help="a folder of the demo's (runs/demo/run/final) instead, on its own task")
    parser.add_argument("--trl-python", help="a Python that has transformers, such as TRL's (default: this one)")
    parser.add_argument("--vllm-python", help="a Python that has vLLM for CPUs; without it vLLM is left out")
    parser.add_argument("--peers", default=",".join(NAMES), help="which of them: " + ", ".join(NAMES))
    parser.add_argument("--problems", type=int, help=f"default: {PROBLEMS}")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max-new", type=int, help="default: 256, and 96 with --model")
    parser.add_argument("--mean", type=float, default=48.0, help="mean length where the weights are random")
    parser.add_argument("--rows", type=int, default=512, help="most rows our engine decodes together")
    parser.add_argument("--repeats", type=int, default=5, help="measured goes of each side, in turns")
    parser.add_argument("--set", action="append", metavar="PEER:KEY=VALUE", help="fix a peer's settings; no search")
    parser.add_argument("--settings", type=Path, help="take the peers' from an earlier run's --json FILE; no search")
    parser.add_argument("--deadline", type=float, default=3600.0, help="seconds a peer may take to start, or for a go")
    parser.add_argument("--search-deadline", type=float, default=300.0, help="the same, for each setting tried")
    parser.add_argument("--cache-gib", type=int, help="vLLM's cache (default: 2, and 6 for shape M)")
    given = parser.parse_args()
    given.problems = given.problems or (8 if given.quick else PROBLEMS[given.shape])
    given.max_new = given.max_new or (48 if given.quick else 96 if given.model else 256)
    given.cache_gib = given.cache_gib or (6 if given.shape == "M" else 2)
    given.least_seconds = 0.0 if given.quick else AT_LEAST_S
    if given.quick:
        given.repeats, given.mean, given.samples = 2, min(given.mean, 16.0), min(given.samples, 4)
    return given


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Every side, in turns: the result object."""
    facts = machine(given.threads)
    torch.set_num_threads(given.threads)
    tune_allocator()
    policy = load(given.model) if given.model else made(given.shape)
    work = (
        chains(policy, given.problems, given.samples, given.max_new)
        if given.model
        else tail(policy, given.problems, given.samples, given.max_new, given.mean)
    )
    sides: dict[str, list[dict[str, Any]]] = {"ours": []}
    versions: dict[str, str] = {}
    failed: dict[str, str] = {}
    chosen: dict[str, Any] = {"ours": {"rows": given.rows, "products": str(policy.compute).removeprefix("torch.")}}
    tried: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="burnish-sampling-") as place, ExitStack() as stack:
        policy.save(Path(place) / "model")
        common = {
            **work.settings(),
            "model": str(Path(place) / "model"),
            "threads": given.threads,
            "seed": 1,
            "cache_gib": given.cache_gib,
        }
        peers: dict[str, Peer] = {}
        for name, python in pythons(given).items():
            try:
                chosen[name], tried[name] = settings_for(name, python, common, given, given.problems * given.samples)
                peers[name] = stack.enter_context(peer_of(name, python, common, chosen[name], given.deadline))
            except (PeerFailed, SystemExit) as error:
                failed[name] = str(error)
                say(f"{NAMES[name]} does not run: {error}")
                continue
            versions |= {k: v for k, v in peers[name].timings["facts"].items() if k == "vllm"}
            sides[name] = []
        say("measuring, in turns")
        engine = EmbeddedEngine(policy, given.rows)
        ours(engine, work, 0)  # warms up: the kernels are compiled, memory is there
        for turn in range(given.repeats):
            sides["ours"].append(ours(engine, work, turn + 1, given.least_seconds))
            for name, peer in peers.items():
                sides[name].append(peer.step())
            say(
                f"  {turn + 1}/{given.repeats}: " + ", ".join(f"{n} {rate(rows[-1]):,.0f}" for n, rows in sides.items())
            )
    speeds = {name: statistics.median(map(rate, rows)) for name, rows in sides.items()}
    return {
        "machine": facts,
        "model": shortened(given.model) if given.model else given.shape,
        "parameters": policy.parameters,
        "work": work.said,
        "tokens_per_second": speeds,
        "ratio": {name: speeds["ours"] / speed for name, speed in speeds.items() if name != "ours"},
        "settings": chosen,
        "tried": tried,
        "failed": failed,
        "versions": versions,
        "rows": sides,
    }


def rate(row: Mapping[str, Any]) -> float:
    return float(row["tokens"] / row["seconds"])


def shown(result: dict[str, Any], repeats: int) -> str:
    """The result as a page takes it."""
    rows = []
    for name, speed in result["tokens_per_second"].items():
        ratio = "" if name == "ours" else f"{result['ratio'][name]:.2f}"
        drawn = result["rows"][name]
        rows.append(
            (
                "Burnish" if name == "ours" else NAMES[name],
                f"{speed:,.0f}",
                ratio,
                f"{median(drawn, 'tokens'):,.0f}",
                f"{median(drawn, 'longest'):.0f}",
                described(result["settings"][name]),
            )
        )
    rows += [(NAMES[name], f"did not run: {why[:80]}", "", "", "", "") for name, why in result["failed"].items()]
    headings = ("", "tokens/s", "ours is this times as fast", "tokens a go", "longest answer", "settings")
    return "\n".join(
        (
            heading(command_of("sampling.py"), result["machine"], **result["versions"]),
            f"Model {result['model']}, {result['parameters'] / 1e6:.1f} M weights; {result['work']}. Medians of {repeats}.\n",
            table(headings, rows),
        )
    )


def main() -> None:
    given = arguments()
    result = measure(given)
    publish(given, result, shown(result, given.repeats), f"sampling {'model' if given.model else given.shape}")


if __name__ == "__main__":
    main()
