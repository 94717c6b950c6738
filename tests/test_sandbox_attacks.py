"""Every attack of attacks.py against every tier that works here: none may pass, none may do harm, and the cell goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from attacks import ATTACKS, Attack
from burnish.errors import ConfigError
from burnish.records import Verdict
from burnish.verify.programs import judge_program
from burnish.verify.programs.suite import read_suite
from burnish.verify.sandbox import Policy, Sandbox, Tier

SECRET = "secret-4711"
GOOD = "def f(x): return 42"
CALL = read_suite(
    {"kind": "call", "entry": "f", "tests": [{"args": [7], "expected": 42}], "seconds": 0.4, "memory_mb": 256}
)
SECRETIVE = read_suite({"kind": "call", "entry": "f", "tests": [{"args": [7], "expected": SECRET}], "seconds": 0.4})
STDIN = read_suite({"kind": "stdin", "tests": [{"input": "7", "output": "42"}], "seconds": 0.4, "memory_mb": 256})

CHECK = read_suite(
    {
        "kind": "check",
        "entry": "f",
        "source": "for number in range(7, 9):\n    assert f(number) == number * 6",
        "seconds": 0.4,
        "total_seconds": 1.0,
        "memory_mb": 256,
    }
)


def suite_of(attack: Attack) -> object:
    if attack.group == "reading the tests":
        return SECRETIVE
    return {"stdin": STDIN, "check": CHECK, "call": CALL}[attack.kind]


def sandbox_of(tier: Tier) -> Iterator[Sandbox]:
    try:
        sandbox = Sandbox(Policy(tier=tier))
    except ConfigError as error:
        pytest.skip(str(error))
    with sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def cell() -> Iterator[Sandbox]:
    yield from sandbox_of(Tier.BUBBLEWRAP)


@pytest.fixture(scope="module", params=[Tier.LANDLOCK, Tier.SECCOMP], ids=lambda tier: tier.label)
def weaker(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    yield from sandbox_of(request.param)


def attempt(attack: Attack, sandbox: Sandbox) -> Verdict:
    return judge_program(suite_of(attack), attack.source, sandbox)  # type: ignore[arg-type]


def assert_repelled(attack: Attack, verdict: Verdict, sandbox: Sandbox) -> None:
    """Wrong, not without a verdict: an attack must not be able to have itself left out of the count."""
    assert verdict.outcome == "wrong", verdict.why
    assert verdict.score == 0.0
    assert not attack.harm or attack.harm not in verdict.why, verdict.why
    assert judge_program(CALL, GOOD, sandbox).outcome == "right", "the sandbox did not survive it"


def test_the_attacks_are_named_apart() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) > 180


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_cell_repels_the_attack(attack: Attack, cell: Sandbox) -> None:
    restarts = cell.restarts
    assert_repelled(attack, attempt(attack, cell), cell)
    assert cell.restarts == restarts, "it could bring the cell down"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_weaker_tier_repels_the_attack_too(attack: Attack, weaker: Sandbox) -> None:
    if weaker.tier.label in attack.open_in:
        pytest.xfail(attack.note)
    assert_repelled(attack, attempt(attack, weaker), weaker)


def test_nothing_is_left_for_the_next_run(cell: Sandbox) -> None:
    leave = "import os\nos.makedirs('/tmp/a/b/c')\nopen('/tmp/a/b/c/note', 'w').write('42')\ndef f(x): return 0"
    take = "import os\ndef f(x): return 42 if os.listdir('/tmp') else 'nothing'"
    judge_program(CALL, leave, cell)
    verdict = judge_program(CALL, take, cell)
    assert verdict.outcome == "wrong" and "'nothing'" in verdict.why


def test_a_program_does_not_meet_the_one_before_it_in_memory(cell: Sandbox) -> None:
    judge_program(CALL, "word = 'left' + '-behind'\ndef f(x): return word", cell)
    look = (
        "import gc\ndef f(x):\n    word = 'left-' + 'behind'\n"
        "    return sum(word in repr(o) for o in gc.get_objects() if type(o) in (str, bytes, dict) and o is not word)"
    )
    verdict = judge_program(CALL, look, cell)
    assert "gave 0," in verdict.why or "gave 1," in verdict.why, verdict.why  # 1: its own constant


def test_a_filled_disk_is_empty_again(cell: Sandbox) -> None:
    fill = "def f(x):\n    for i in range(9): open(f'/tmp/{i}', 'wb').write(b'x' * (4 << 20))\n"
    use = "def f(x):\n    open('/tmp/x', 'wb').write(b'x' * (4 << 20))\n    return 42"
    judge_program(CALL, fill, cell)
    assert judge_program(CALL, use, cell).outcome == "right"


def test_the_first_process_has_an_empty_environment(cell: Sandbox) -> None:
    os.environ["BURNISH_TEST_SECRET"] = SECRET
    try:
        with Sandbox(Policy(tier=Tier.BUBBLEWRAP)) as fresh:
            pid = fresh._cells["programs"].pid
            family = [pid, *_children(pid)]
            seen = [_environment(member) for member in family]
    finally:
        del os.environ["BURNISH_TEST_SECRET"]
    assert len(family) == 2
    assert [part.strip(b"\0") for part in seen] == [b"", b""]


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def _environment(pid: int) -> bytes:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()
