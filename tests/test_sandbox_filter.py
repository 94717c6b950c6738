"""The seccomp filter as a program: what it answers for each system call, without installing it."""

from __future__ import annotations

import struct

import pytest

from burnish.verify.sandbox import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
X86, ARM = 0xC000003E, 0xC00000B7


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a filter on one system call, as the kernel would."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    code = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        kind, if_true, if_false, operand = code[at]
        at += 1
        if kind == 0x06:
            return operand
        if kind == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif kind == 0x54:
            value &= operand
        else:
            met = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[kind]
            at += if_true if met else if_false


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", X86), ("aarch64", ARM)])
@pytest.mark.parametrize("files", ["write", "read", "none"])
def test_every_number_gets_an_answer_and_most_get_no(machine: str, architecture: int, files: seccomp.Files) -> None:
    program = seccomp.build(files, machine)
    answers = [answer(program, architecture, number) for number in range(600)]
    assert set(answers) <= {ALLOW, EPERM, ENOSYS}
    assert 80 < answers.count(ALLOW) < 150


@pytest.mark.parametrize(
    ("machine", "architecture", "denied"),
    [
        (
            "x86_64",
            X86,
            {
                "socket": 41,
                "fork": 57,
                "vfork": 58,
                "execve": 59,
                "kill": 62,
                "ptrace": 101,
                "unshare": 272,
                "io_uring": 425,
            },
        ),
        (
            "aarch64",
            ARM,
            {"socket": 198, "execve": 221, "kill": 129, "ptrace": 117, "unshare": 97, "mount": 40, "io_uring": 425},
        ),
    ],
)
def test_what_harms_is_denied(machine: str, architecture: int, denied: dict[str, int]) -> None:
    program = seccomp.build("write", machine)
    assert {name: answer(program, architecture, number) for name, number in denied.items()} == dict.fromkeys(
        denied, EPERM
    )


@pytest.mark.parametrize(("machine", "other"), [("x86_64", ARM), ("x86_64", 0x40000003), ("aarch64", X86)])
def test_another_architecture_kills(machine: str, other: int) -> None:
    assert answer(seccomp.build("write", machine), other, 0) == KILL


def test_x32_numbers_kill() -> None:
    assert answer(seccomp.build("write", "x86_64"), X86, 0x40000000) == KILL


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [(0x3D0F00, ALLOW), (17, EPERM), (0x3D0F00 | 0x10000000, EPERM), (0x4111, EPERM), (0x10000, EPERM)],
)
def test_clone_makes_threads_only(flags: int, wanted: int) -> None:
    assert answer(seccomp.build("write", "x86_64"), X86, 56, flags) == wanted


def test_limits_are_read_and_not_set() -> None:
    program = seccomp.build("write", "x86_64")
    assert answer(program, X86, 302, 0, 7, 0) == ALLOW
    assert answer(program, X86, 302, 0, 7, 0x1234) == EPERM
    assert answer(program, X86, 302, 0, 7, 1 << 32) == EPERM


@pytest.mark.parametrize(
    ("files", "flags", "wanted"),
    [("read", 0, ALLOW), ("read", 0o102, EPERM), ("none", 0, EPERM), ("write", 0o102, ALLOW)],
)
def test_files_are_opened_as_the_tier_allows(files: seccomp.Files, flags: int, wanted: int) -> None:
    assert answer(seccomp.build(files, "x86_64"), X86, 257, 0, 0, flags) == wanted
