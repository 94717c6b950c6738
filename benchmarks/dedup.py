"""Near-duplicate search on one generated corpus with known truth: rows a second, memory, recall and precision.

    python benchmarks/dedup.py [--quick] [--rows N] [--rounds N] [--text-dedup-python PYTHON] [--json [FILE]]

All look for word 3-grams with Jaccard >= 0.8, and have 128 permutations.

    burnish              the verb `data dedup` as a user runs it: reading, exact comparison of candidates, both output files
    datasketch, as shown the loop of its documentation: one update a shingle, query, insert; its own choice of bands
    datasketch, tuned    batched updates, the same bands as Burnish, candidates compared exactly
    text-dedup           its MinHash command, reading and writing too, xxh3, 32 bits, one process, once with its own choice of bands and
                         once with those of Burnish (it compares no candidate exactly); needs an environment of its own:
                         python -m venv E; E/bin/pip install --no-deps text-dedup; E/bin/pip install "datasets<5" click \\
                             click-option-group numpy scipy regex "rich<14" tqdm xxhash psutil ftfy bitarray zstandard \\
                             pybloom-live fire setuptools; then --text-dedup-python E/bin/python

Each runs in a fresh process and they take turns; times are medians of the rounds, from after the imports to the last row. Recall: of the
planted pairs at or above the threshold, how many have lost a row. Precision: of the rows removed, how many have a pair at or above it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from report import add_json, publish

THRESHOLD, SHINGLE, PERMUTATIONS = 0.8, 3, 128
EXACT, NEAR = 0.03, 0.15
"""The shares of rows that are copies, and copies with 1 to 6 words changed."""


def corpus(rows: int, seed: int = 1) -> tuple[list[str], list[tuple[int, int]]]:
    """(texts of 30 to 80 words, planted pairs at or above the threshold). Words are drawn with Zipf's frequencies."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 5) for rank in range(len(vocabulary))]
    originals = [rng.choices(vocabulary, weights, k=rng.randint(30, 80)) for _ in range(int(rows * (1 - EXACT - NEAR)))]
    families = [[words] for words in originals]
    while sum(map(len, families[: len(originals)])) < rows:
        family = families[int(rng.random() * len(originals) / 4)]  # some have several copies
        words = list(family[0])
        if rng.random() < NEAR / (NEAR + EXACT):
            for place in rng.sample(range(len(words)), rng.randint(1, 6)):
                words[place] = rng.choice(vocabulary)
        family.append(words)
        if len(family) > 1 and rng.random() < 0.5:
            rng.shuffle(family)
    texts, members = [], []
    for number, family in enumerate(families):
        texts += [" ".join(words) for words in family]
        members += [number] * len(family)
    order = list(range(len(texts)))
    rng.shuffle(order)
    by_family: dict[int, list[int]] = {}
    for place, number in enumerate(order):
        by_family.setdefault(members[number], []).append(place)
    shuffled = [texts[number] for number in order]
    pairs = [
        (a, b)
        for places in by_family.values()
        for i, b in enumerate(places)
        for a in places[:i]
        if similarity(shuffled[a], shuffled[b]) >= THRESHOLD
    ]
    return shuffled, pairs


def runs(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def similarity(a: str, b: str) -> float:
    left, right = runs(a), runs(b)
    return len(left & right) / len(left | right)


def burnish(source: Path, folder: Path) -> tuple[float, set[int]]:
    import datasketch  # noqa: F401 - imports are not timed

    from burnish.data.duplicates import Likeness
    from burnish.pipelines.data import dedup
    from burnish.pipelines.data_job import Files

    start = time.perf_counter()
    dedup(
        Files([str(source)], str(folder / "out.jsonl"), quiet=True), Likeness(THRESHOLD, SHINGLE, "count", PERMUTATIONS)
    )
    seconds = time.perf_counter() - start
    kept = {json.loads(line)["id"] for line in (folder / "out.jsonl").open()}
    return seconds, {json.loads(line)["id"] for line in source.open()} - kept


def as_shown(source: Path, folder: Path) -> tuple[float, set[int]]:
    from datasketch import MinHash, MinHashLSH

    start, removed = time.perf_counter(), set()
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    for line in source.open():
        row = json.loads(line)
        sketch = MinHash(num_perm=PERMUTATIONS)
        for run in runs(row["question"]):
            sketch.update(run.encode())
        if index.query(sketch):
            removed.add(row["id"])
        index.insert(row["id"], sketch, check_duplication=False)
    return time.perf_counter() - start, removed


def tuned(source: Path, folder: Path) -> tuple[float, set[int]]:
    from datasketch import MinHash, MinHashLSH

    from burnish.data.near import choose_bands

    start, removed = time.perf_counter(), set()
    bands = choose_bands(THRESHOLD, PERMUTATIONS, 0.01)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(bands.count, bands.rows))
    empty = MinHash(num_perm=PERMUTATIONS)
    sets: dict[int, set[str]] = {}
    for line in source.open():
        row = json.loads(line)
        own = runs(row["question"])
        sketch = empty.copy()
        sketch.update_batch([run.encode() for run in own])
        for other in index.query(sketch):
            if len(own & sets[other]) / len(own | sets[other]) >= THRESHOLD:
                removed.add(row["id"])
                break
        sets[row["id"]] = own
        index.insert(row["id"], sketch, check_duplication=False)
    return time.perf_counter() - start, removed


SYSTEMS: dict[str, Callable[[Path, Path], tuple[float, set[int]]]] = {
    "burnish": burnish,
    "datasketch, as shown": as_shown,
    "datasketch, tuned": tuned,
}


TEXT_DEDUP = ("text-dedup", "text-dedup, same bands")


def text_dedup(source: Path, folder: Path, python: str, same_bands: bool) -> tuple[float, set[int]]:
    import datasets

    from burnish.data.near import choose_bands

    settings: dict[str, Any] = {"path": "json", "data_files": source, "split": "train", "column": "question"}
    settings |= {
        "output": folder / "out",
        "cache_dir": folder / "cache",
        "num_proc": 1,
        "ngram": SHINGLE,
        "min_length": 1,
    }
    settings |= {"threshold": THRESHOLD, "num_perm": PERMUTATIONS, "hash_func": "xxh3", "hash_bits": 32}
    if same_bands:
        bands = choose_bands(THRESHOLD, PERMUTATIONS, 0.01)
        settings |= {"b": bands.count, "r": bands.rows}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([python, "-m", "text_dedup.minhash", *words], capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"text-dedup failed:\n{done.stderr[-2000:]}")
    said = re.search(r"Total\s*:\s*([\d.]+)s", done.stdout + done.stderr)
    if said is None:
        raise SystemExit(f"text-dedup did not say how long it took:\n{done.stdout[-2000:]}")
    seconds = float(said[1])
    kept = set(datasets.load_from_disk(str(folder / "out"))["id"])
    return seconds, {json.loads(line)["id"] for line in source.open()} - kept


def one(name: str, source: Path, python: str | None) -> None:
    """A run of one system in this process; prints what it measured as JSON."""
    with tempfile.TemporaryDirectory() as place:
        if name in TEXT_DEDUP:
            seconds, removed = text_dedup(source, Path(place), python or "", name == TEXT_DEDUP[1])
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        else:
            seconds, removed = SYSTEMS[name](source, Path(place))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_mib": peak / 1024, "removed": sorted(removed)}))


def compared(given: argparse.Namespace) -> dict[str, Any]:
    """All systems in turns on one corpus."""
    rows, rounds = given.rows or (5_000 if given.quick else 100_000), given.rounds or (1 if given.quick else 3)
    texts, pairs = corpus(rows)
    names = [*SYSTEMS, *(TEXT_DEDUP if given.text_dedup_python else [])]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "corpus.jsonl"
        source.write_text("".join(json.dumps({"id": n, "question": text}) + "\n" for n, text in enumerate(texts)))
        for _ in range(rounds):
            for name in names:
                arguments = [sys.executable, __file__, "--one", name, "--source", str(source)]
                more = ["--text-dedup-python", given.text_dedup_python] if given.text_dedup_python else []
                done = subprocess.run([*arguments, *more], capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    alike = {row for pair in pairs for row in pair}
    systems = {}
    for name, measured in found.items():
        removed = set(measured[0]["removed"])
        seconds = statistics.median(one["seconds"] for one in measured)
        systems[name] = {
            "seconds": seconds,
            "rows_per_second": len(texts) / seconds,
            "peak_mib": max(one["peak_mib"] for one in measured),
            "removed": len(removed),
            "recall": sum(a in removed or b in removed for a, b in pairs) / len(pairs),
            "precision": len(removed & alike) / max(1, len(removed)),
        }
    libraries = {name: version(name) for name in ("datasketch", "numpy")}
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), **libraries}
    ratio = {name: one["seconds"] / systems["burnish"]["seconds"] for name, one in systems.items() if name != "burnish"}
    sizes = {"rows": len(texts), "pairs": len(pairs), "rounds": rounds}
    return {"ratio": ratio, **sizes, "machine": machine, "systems": systems}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 rows, once")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--text-dedup-python")
    add_json(parser)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one, given.source, given.text_dedup_python)
        return
    result = compared(given)
    lines = [
        f"{result['rows']:,} rows, {result['pairs']:,} planted pairs >= {THRESHOLD}; {result['rounds']} rounds; {result['machine']}",
        f"{'':24}{'seconds':>9}{'rows/s':>10}{'peak MiB':>10}{'removed':>9}{'recall':>9}{'precision':>11}",
    ]
    lines += [
        f"{name:24}{s['seconds']:9.2f}{s['rows_per_second']:10,.0f}{s['peak_mib']:10,.0f}{s['removed']:9,}{s['recall']:9.2%}"
        f"{s['precision']:11.2%}"
        for name, s in result["systems"].items()
    ]
    publish(given, result, "\n".join(lines))


if __name__ == "__main__":
    main()
