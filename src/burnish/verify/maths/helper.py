"""The process of the symbolic tier: `python -m burnish.verify.maths.helper`. Not for calling by hand.

Reads lines of JSON [gold, answer] in LaTeX spelled by `symbolic.spelled`, and answers true, false, or null for what it
cannot read. It is killed from outside when it takes too long, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

_MEMORY = 900 << 20
_SECONDS = 30  # of processor time for one pair: ends a process that hangs when the one that would kill it is gone


def main() -> int:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]

    def value(text: str) -> Any:
        return parse(f"${text}$", extraction_config=config, parsing_timeout=None, raise_on_error=True)

    print("ready", file=answers)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        used = sum(os.times()[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + _SECONDS, resource.RLIM_INFINITY))
        try:
            wanted, found = value(gold), value(answer)
            outcome = bool(verify(wanted, found, timeout_seconds=None, float_rounding=12)) if wanted and found else None
        except Exception:  # noqa: BLE001 - whatever a computer algebra system raises, the answer is that it cannot tell
            outcome = None
        print(json.dumps(outcome), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
