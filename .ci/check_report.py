"""Check a demo's report.json against its bounds: `check_report.py REPORT.json`; prints each figure, exits 1 if one is out of bounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

THINKS = "share that thinks"
BOUNDS: list[tuple[str, Callable[[dict[str, Any]], float], str, Callable[[float], bool]]] = [
    ("base pass@1", lambda report: report["base"]["pass@1"]["value"], "0.10 to 0.45", lambda x: 0.10 <= x <= 0.45),
    ("final pass@1", lambda report: report["final"]["pass@1"]["value"], "at least 0.90", lambda x: x >= 0.90),
    (f"base {THINKS}", lambda report: report["base"]["means"][THINKS], "below 0.40", lambda x: x < 0.40),
    (f"final {THINKS}", lambda report: report["final"]["means"][THINKS], "above 0.95", lambda x: x > 0.95),
    ("seconds", lambda report: report["seconds"], "at most 480", lambda x: x <= 480.0),
]


def main(path: str) -> int:
    report = json.loads(Path(path).read_text())
    failures = 0
    for name, read, bound, holds in BOUNDS:
        value = read(report)
        failures += not holds(value)
        print(f"{'ok  ' if holds(value) else 'FAIL'} {name}: {value:.3f} (must be {bound})")
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check_report.py REPORT.json")
    sys.exit(main(sys.argv[1]))
