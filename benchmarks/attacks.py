"""Run the attack corpus of the tests in every sandbox tier that works here, and write the table of what stopped what.

    python benchmarks/attacks.py [--quick] [--json] [--page docs/verify-programs.md]

The corpus is tests/attacks.py; the tests hold each result, this prints them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from attacks import ATTACKS, Attack
from burnish.errors import ConfigError
from burnish.verify.programs import judge_program
from burnish.verify.programs.suite import read_suite
from burnish.verify.sandbox import Policy, Sandbox, Tier
from report import options, publish

SUITES = {
    "call": read_suite(
        {"kind": "call", "entry": "f", "tests": [{"args": [7], "expected": 42}], "seconds": 0.5, "memory_mb": 256}
    ),
    "check": read_suite(
        {
            "kind": "check",
            "entry": "f",
            "source": "for number in range(7, 9):\n    assert f(number) == number * 6",
            "seconds": 0.5,
            "total_seconds": 1.5,
            "memory_mb": 256,
        }
    ),
    "stdin": read_suite({"kind": "stdin", "tests": [{"input": "7", "output": "42"}], "seconds": 0.5, "memory_mb": 256}),
}
GOOD = "def f(x): return 42"


def outcome(attack: Attack, sandbox: Sandbox) -> str:
    """ "stopped", or what went wrong."""
    before = sandbox.restarts
    verdict = judge_program(SUITES[attack.kind], attack.source, sandbox)
    if verdict.outcome != "wrong":
        return f"OPEN ({verdict.outcome})"
    if attack.harm and attack.harm in verdict.why:
        return "OPEN (harm)"
    if judge_program(SUITES["call"], GOOD, sandbox).outcome != "right" or sandbox.restarts != before:
        return "OPEN (the cell)"
    return "stopped"


def measure(quick: bool) -> dict[str, Any]:
    chosen = ATTACKS[::8] if quick else ATTACKS
    tiers: dict[str, dict[str, str]] = {}
    for tier in (Tier.BUBBLEWRAP, Tier.LANDLOCK, Tier.SECCOMP):
        try:
            with Sandbox(Policy(tier=tier)) as sandbox:
                tiers[tier.label] = {attack.name: outcome(attack, sandbox) for attack in chosen}
        except ConfigError as error:
            print(f"left out: {error}", file=sys.stderr)
    return {"ratio": {}, "tiers": tiers, "attacks": {one.name: [one.group, one.stopped_by] for one in chosen}}


def table(result: dict[str, Any]) -> str:
    tiers = list(result["tiers"])
    lines = [f"| attack | what stops it | {' | '.join(tiers)} |", "|---" * (2 + len(tiers)) + "|"]
    group = ""
    for name, (kind, stopped_by) in result["attacks"].items():
        if kind != group:
            group = kind
            lines.append(f"| **{kind}** |{' |' * (1 + len(tiers))}")
        lines.append(f"| {name} | {stopped_by} | {' | '.join(result['tiers'][tier][name] for tier in tiers)} |")
    count = len(result["attacks"])
    stopped = [f"{tier} {sum(value == 'stopped' for value in result['tiers'][tier].values())}" for tier in tiers]
    return "\n".join([f"{count} attacks; stopped in {', '.join(stopped)}.", "", *lines])


def main() -> None:
    parser = options(__doc__, threads=False)
    given = parser.parse_args()
    result = measure(given.quick)
    publish(given, result, table(result), "attacks")


if __name__ == "__main__":
    main()
