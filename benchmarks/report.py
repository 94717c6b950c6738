"""What every benchmark has in common: its options, the machine it ran on, and how its result is printed.

Each script takes --quick (under a minute of its own work: does it run, is the order of magnitude right) and --json. A result is one
object with the key "ratio": for each peer, how many times ours is as fast (or as small); empty where a script has no peer. --json
prints that object, alone, on standard output, and with a file name writes it there and prints the tables as ever. Tables are
Markdown, so that a page of the documentation takes them as they stand; progress goes to standard error. Not for: measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ALONE = "-"
"""What --json holds when no file was named: the object goes to standard output, and nothing else does."""


def options(doc: str | None, threads: bool = True) -> argparse.ArgumentParser:
    """A parser with what all scripts take. `doc` is the module's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute of its own work, on less of everything")
    add_json(parser)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="put the tables into this page too, between their markers"
    )
    if threads:
        parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every side")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json, for a script that has a parser of its own."""
    parser.add_argument(
        "--json", nargs="?", const=ALONE, metavar="FILE", help="print one JSON object alone; with FILE, write it there"
    )


def say(sentence: str) -> None:
    """Progress, on standard error."""
    print(sentence, file=sys.stderr, flush=True)


def publish(given: argparse.Namespace, result: Mapping[str, Any], text: str, mark: str = "") -> None:
    """Print the text, or the result as one JSON object, as --json says. `result` must hold "ratio".

    mark  what --page looks for: the text goes between <!-- mark --> and <!-- end of mark -->
    """
    assert isinstance(result.get("ratio"), Mapping), "a result names the ratio for each peer"
    if getattr(given, "page", None) is not None:
        put(given.page, mark, text)
    if given.json == ALONE:
        print(json.dumps(result))
        return
    print(text)
    if given.json is not None:
        Path(given.json).write_text(json.dumps(result, indent=1) + "\n")


def put(page: Path, mark: str, text: str) -> None:
    """Replace what stands between a page's markers. Raises SystemExit where they are not there."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"{page} has no place for this: the markers {begin.strip()} and {end} are not in it.")
    page.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [list(headings), ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def ratios(found: Mapping[str, float]) -> str:
    """ "5.1 (transformers), 3.2 (vLLM)": for a sentence."""
    return ", ".join(f"{ratio:.2f} ({peer})" for peer, ratio in found.items()) or "no peer was measured"


def machine(threads: int) -> dict[str, Any]:
    """The processor, and the versions a figure depends on."""
    import torch
    import transformers

    cpu, flags = platform.processor() or platform.machine(), ""
    place = Path("/proc/cpuinfo")
    if place.is_file():
        lines = dict(line.split(":", 1) for line in place.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        cpu, flags = named.get("model name", cpu), named.get("flags", "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "bfloat16": [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags.split()],
        "load_average_at_start": os.getloadavg()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "day": date.today().isoformat(),
    }


def heading(command: str, facts: Mapping[str, Any], **versions: str | None) -> str:
    """What a page must say above a table: the command, the machine, the versions."""
    unit = ", ".join(facts["bfloat16"]) or "no unit"
    others = "".join(f", {name} {version}" for name, version in versions.items() if version)
    return (
        f"`{command}`: {facts['cpu']}, {facts['threads']} of {facts['cores']} cores, bfloat16 by {unit}; "
        f"torch {facts['torch']}, transformers {facts['transformers']}{others}, Python {facts['python']}; "
        f"load average {facts['load_average_at_start']:.1f} at the start; {facts['day']}.\n"
    )


def command_of(name: str) -> str:
    """The command line as it was given, less where its result went and where other Pythons lie.

    >>> command_of("sampling.py")
    'python benchmarks/sampling.py --shape S --vllm-python PYTHON'
    """
    said, words = ["python", f"benchmarks/{name}"], sys.argv[1:]
    while words:
        word = words.pop(0)
        if word in ("--json", "--page"):
            if words and not words[0].startswith("-"):
                words.pop(0)
        elif word.endswith("-python") and words:
            said += [word, "PYTHON"]
            words.pop(0)
        else:
            said.append(shortened(word))
    return " ".join(said)


def shortened(place: str) -> str:
    """A path as a page says it: an absolute one by its last parts."""
    return f".../{'/'.join(Path(place).parts[1:][-3:])}" if place.startswith("/") else place
