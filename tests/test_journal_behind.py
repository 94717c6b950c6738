"""The journal's own thread: the same files in the same order, nothing lost on the way out, and no failure swallowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.errors import StorageError
from burnish.journal import Behind, Journal, comparable
from burnish.journal.behind import MOST_WAITING
from burnish.metrics import Mean, Metric

STATS: dict[str, Metric] = {"reward/mean": Mean.of([0.5])}


class Gate:
    """Holds a thread back until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def pass_through(self) -> None:
        assert self._open.wait(30)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "run", "", {"run": 1})


@pytest.fixture
def gate(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every write of a step waits for it."""
    real, gate = journal.step, Gate()

    def held(*args: object) -> None:
        gate.pass_through()
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "step", held)
    yield gate
    gate.open()


def written(journal: Journal) -> tuple[list[int], list[str]]:
    return [line["step"] for line in journal.metrics()], [event["kind"] for event in journal.events()]


def test_it_writes_what_the_journal_writes_in_the_order_it_was_asked_for(tmp_path: Path) -> None:
    contents = []
    for name in ("plain", "behind"):
        journal = Journal.create(tmp_path / name, "", {"run": 1})
        with Behind(journal) as behind:
            for step in range(1, 8):
                for one in (journal,) if name == "plain" else (behind,):
                    one.step(step, [], [], [], STATS)
                    one.event("checkpoint", step=step)
        contents.append([comparable(line) for lines in (journal.metrics(), journal.events()) for line in lines])
    assert contents[0] == contents[1] and len(contents[0]) == 14


def test_a_step_is_asked_for_and_the_run_goes_on(journal: Journal, gate: Gate) -> None:
    with Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)
        behind.event("no_signal", step=1)
        assert written(journal) == ([], [])
        gate.open()
    assert written(journal) == ([1], ["no_signal"])


def test_an_offset_holds_all_that_was_asked_for_before_it(journal: Journal, gate: Gate) -> None:
    with Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)
        behind.event("checkpoint", step=1)
        threading.Timer(0.05, gate.open).start()
        offset = behind.offset()
        assert offset == journal.offset() and offset["step"] == 1
        assert written(journal) == ([1], ["checkpoint"])


def test_what_was_asked_for_is_written_when_the_run_fails(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)
        raise ZeroDivisionError
    assert written(journal) == ([1], [])


def test_only_so_many_steps_wait(journal: Journal, gate: Gate) -> None:
    with Behind(journal) as behind:
        for step in range(1, MOST_WAITING + 1):
            behind.step(step, [], [], [], STATS)
        asking = threading.Thread(target=behind.step, args=(MOST_WAITING + 1, [], [], [], STATS))
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
        gate.open()
        asking.join(30)
        assert not asking.is_alive()
    assert written(journal)[0] == [1, 2, 3, 4, 5]


def test_a_failure_is_raised_by_the_next_call_and_nothing_is_written_after_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = journal.step

    def full(step: int, *args: object) -> None:
        if step == 2:
            raise StorageError("the disk is full")
        real(step, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "step", full)
    with pytest.raises(StorageError, match="the disk is full"), Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)
        behind.step(2, [], [], [], STATS)
        behind._thread.submit(lambda: None).result()  # until the thread has come past it
        behind.step(3, [], [], [], STATS)
    assert written(journal) == ([1], [])


def test_a_failure_of_the_last_write_is_raised_on_the_way_out(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(journal, "step", full)
    with pytest.raises(StorageError, match="the disk is full"), Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)


def test_a_failure_does_not_hide_why_the_run_failed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(journal, "step", full)
    with pytest.raises(ZeroDivisionError), Behind(journal) as behind:
        behind.step(1, [], [], [], STATS)
        raise ZeroDivisionError
