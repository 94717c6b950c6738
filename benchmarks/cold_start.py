"""How long `burnish demo` takes to its first training step in a fresh process, and where that time goes.

    python benchmarks/cold_start.py [--quick] [--json]

The demo pretrains a base model and measures it before it trains, so "first training step" is said of both: the first optimizer step
of pretraining (the first weights that change), and the first step of reinforcement learning. The goal of 60 s is for the first. It is
run twice: with an empty cache of compiled kernels (what a new user has), and with the kernels there. --quick leaves out what comes
after the first optimizer step.

The process is a plain `python -m burnish demo`; a sitecustomize on its path notes when modules have been loaded, when the kernels
were compiled, and when optimizer steps end. Not for: how good the demo is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from burnish.pipelines.demo import configs
from report import command_of, heading, machine, options, publish, say, table

WATCH = '''
import atexit, json, os, sys, threading, time

_place = os.environ.get("BURNISH_COLD_START")


def _note(name):
    with open(_place, "a") as file:
        file.write(json.dumps([name, time.time()]) + "\\n")


class _Watch:
    """Notes the first time a module is imported, and puts hooks into a few once they are there."""

    def find_spec(self, name, path=None, target=None):
        if name in _HOOKS and name not in _seen:
            _seen.add(name)
            _note("import " + name)
            import importlib.util

            spec = importlib.util.find_spec(name)
            if spec is not None and spec.loader is not None:
                run, hook = spec.loader.exec_module, _HOOKS[name]

                def exec_module(module):
                    run(module)
                    _note("imported " + name)
                    hook(module)

                spec.loader.exec_module = exec_module
            return spec
        return None


def _nothing(module):
    pass


def _torch(module):
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(lambda *_: _note("optimizer step"))


def _kernels(module):
    library = module.library

    def noted():
        if "kernels" in _seen:
            return library()
        _seen.add("kernels")
        _note("kernels wanted")
        made = library()
        _note("kernels there")
        return made

    module.library = noted


def _rl(module):
    train, run = module.train, module.run_loop

    def noted(*args, **kwargs):
        _note("training asked for")
        return train(*args, **kwargs)

    def looped(*args, **kwargs):
        _note("training begins")
        return run(*args, **kwargs)

    module.train, module.run_loop = noted, looped


_seen = set()
_HOOKS = {
    "torch": _torch,
    "transformers": _nothing,
    "burnish.policy.kernels": _kernels,
    "burnish.pipelines.rl": _rl,
}
if _place:
    _note("python")
    sys.meta_path.insert(0, _Watch())
'''
DEADLINE_S = 900.0


def watched(cache: Path, last: str, count: int, threads: int) -> list[tuple[str, float]]:
    """Start the demo and end it once `last` has been noted `count` times: (what, seconds since the start)."""
    with tempfile.TemporaryDirectory(prefix="burnish-cold-") as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(WATCH)
        notes = folder / "notes"
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {
            "PYTHONPATH": path,
            "BURNISH_COLD_START": str(notes),
            "XDG_CACHE_HOME": str(cache),
            "OMP_NUM_THREADS": str(threads),
        }
        began = time.time()
        command = [sys.executable, "-m", "burnish", "demo", "--out", str(folder / "demo")]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            while time.time() - began < DEADLINE_S:
                ended = process.poll() is not None
                lines = [json.loads(line) for line in notes.read_text().splitlines()] if notes.is_file() else []
                if sum(what == last for what, _ in lines) >= count:
                    return [(what, when - began) for what, when in lines]
                if ended:
                    break
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        said = (folder / "log").read_text().strip().splitlines() or ["no word"]
        sys.exit(f"The demo did not get to {last!r}: {said[-1]}")


def split(notes: list[tuple[str, float]]) -> dict[str, float]:
    """Seconds of each stretch up to the first optimizer step, and what is known of those after it."""
    first: dict[str, float] = {}
    for what, when in notes:
        first.setdefault(what, when)
    compiling = first.get("kernels there", 0.0) - first.get("kernels wanted", 0.0)
    loading = sum(
        first.get(f"imported {name}", 0.0) - first.get(f"import {name}", 0.0) for name in ("torch", "transformers")
    )
    step = first["optimizer step"]
    found = {
        "Python starts": first["python"],
        "torch and transformers are loaded": loading,
        "kernels are compiled, or found": compiling,
        "the rest: tokenizer, corpus, network, a first forward and backward": step
        - first["python"]
        - loading
        - compiling,
        "first optimizer step (pretraining)": step,
    }
    if "training begins" in first:
        begins = first["training begins"]
        after = next(when for what, when in notes if what == "optimizer step" and when > begins)
        found["pretraining, and loading what it made"] = first["training asked for"] - step
        found["measuring the base model"] = begins - first["training asked for"]
        found["first step of reinforcement learning"] = after
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="fresh processes of each kind, up to the first optimizer step"
    )
    given = parser.parse_args()
    given.repeats = 1 if given.quick else given.repeats
    facts = machine(given.threads)
    runs: dict[str, list[dict[str, float]]] = {"kernels compiled": [], "kernels there": []}
    with tempfile.TemporaryDirectory(prefix="burnish-cache-") as kept:
        watched(Path(kept), "optimizer step", 1, given.threads)  # fills this cache, and the system's of files
        for turn in range(given.repeats):
            with tempfile.TemporaryDirectory(prefix="burnish-cache-") as empty:
                runs["kernels compiled"].append(split(watched(Path(empty), "optimizer step", 1, given.threads)))
            runs["kernels there"].append(split(watched(Path(kept), "optimizer step", 1, given.threads)))
            say(f"{turn + 1}/{given.repeats}")
        medians = {
            kind: {name: statistics.median(row[name] for row in rows) for name in rows[0]}
            for kind, rows in runs.items()
        }
        if not given.quick:
            say("once, to the first step of reinforcement learning")
            notes = watched_to_training(Path(kept), given.threads)
            medians["kernels there"] |= {k: v for k, v in notes.items() if k not in medians["kernels there"]}
    names = list(medians["kernels there"])
    rows = [(name, *(f"{kind[name]:.2f}" if name in kind else "" for kind in medians.values())) for name in names]
    text = (
        f"{heading(command_of('cold_start.py'), facts)}\nMedians of {given.repeats} fresh processes; what comes after the first optimizer "
        f"step is of one.\n\n{table(('seconds', *medians), rows)}"
    )
    publish(given, {"ratio": {}, "machine": facts, "seconds": medians}, text, "cold start")


def watched_to_training(cache: Path, threads: int) -> dict[str, float]:
    """As `split`, of a demo that is left to run into its first step of reinforcement learning."""
    updates = configs("unused", 1)[0].updates  # of its pretraining; the next is the first of reinforcement learning
    return split(watched(cache, "optimizer step", updates + 1, threads))


if __name__ == "__main__":
    main()
