"""How a pool cares for its workers and its record: recycling, statistics, the alarm, a deadline for all, faults in numbers."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from burnish.records import Key, Problem, Verdict
from burnish.verify.pool import Pool
from burnish.verify.tally import Tally
from test_verify_pool import OBEY, by_index, is_running, orders, wait_until

PROBLEM = Problem("sum/0", "sum", "12+7=?", {"answer": "19"}, "train", "f")
LEAK = "test_verify_misbehaving:leak"
MIB = 1 << 20


def pids(verdicts: list[Verdict]) -> set[int]:
    return {int(verdict.why) for verdict in verdicts}


def test_a_worker_is_replaced_after_so_many_items() -> None:
    with Pool(OBEY, workers=1, recycle_items=10) as pool:
        seen = [next(iter(pool.judge(orders("a"))))[1] for _ in range(35)]
        record = pool.statistics()
        assert len(pids(seen)) == 4 and record.restarts == {"items": 3}
        wait_until(lambda: pool.statistics().workers == 1)


def test_a_worker_is_replaced_when_it_is_old() -> None:
    with Pool(OBEY, workers=1, recycle_s=0.5) as pool:
        [first] = by_index(pool.judge(orders("a")))
        wait_until(lambda: pool.statistics().restarts.get("age", 0) >= 1)
        wait_until(lambda: not is_running(int(first.why)))
        [later] = by_index(pool.judge(orders("a")))
        assert later.outcome == "right" and later.why != first.why


def test_replacing_a_worker_loses_no_item() -> None:
    with Pool(OBEY, workers=2, recycle_items=20) as pool:
        verdicts = by_index(pool.judge(orders(*(f"say {i}" for i in range(1500)))))
        assert [verdict.found for verdict in verdicts] == [str(i) for i in range(1500)]
        assert pool.statistics().restarts["items"] >= 4


def test_a_leak_is_ended_before_it_is_a_fault() -> None:
    with Pool(LEAK, workers=1, memory_bytes=1024 * MIB, recycle_bytes=64 * MIB) as pool:
        verdicts = []
        for _ in range(12):  # 240 MiB in all: four times what a worker may grow
            verdicts += by_index(pool.judge(orders("20")))
            time.sleep(0.1)
        assert [verdict.outcome for verdict in verdicts] == ["right"] * 12
        assert pool.statistics().restarts["memory"] >= 2 and len(pids(verdicts)) >= 3


def test_who_comes_after_a_leak_is_not_blamed_for_it() -> None:
    with Pool(
        LEAK, workers=1, memory_bytes=400 * MIB, recycle_bytes=1 << 40
    ) as pool:  # no recycling: straight to the limit
        verdicts = by_index(pool.judge(orders(*["60"] * 20)))
        assert [verdict.outcome for verdict in verdicts] == ["right"] * 20
        assert pool.statistics().restarts["crashed"] >= 3


def test_what_never_fits_is_a_crash_that_says_so() -> None:
    with Pool(LEAK, workers=1, memory_bytes=400 * MIB) as pool:
        verdicts = by_index(pool.judge(orders("1", "5000", "1")))
        assert [verdict.fault for verdict in verdicts] == [None, "crashed", None]
        assert "MemoryError" in verdicts[1].why


def test_a_death_says_how_it_came() -> None:
    with Pool(OBEY, workers=1) as pool:
        [verdict] = by_index(pool.judge(orders("exit")))
    assert verdict.why == "the verifier's process died on this response, twice: exit status 0"


def test_the_record_counts_what_happened() -> None:
    with Pool(OBEY, workers=2, deadline_s=0.5) as pool:
        assert pool.statistics().judged == 0
        list(pool.judge(orders(*["a"] * 7, "sleep 0.1", "raise", "hang", "exit", "missing")))
        record = pool.statistics()
    assert (record.judged, record.outcomes) == (12, {"right": 8, "wrong": 0, "no_verdict": 4})
    assert record.faults == {"crashed": 2, "timeout": 1, "gold": 1}
    assert record.restarts == {"timeout": 1, "crashed": 2}
    assert record.no_verdict_share == pytest.approx(4 / 12)
    assert record.latency["max"] >= 0.5 and record.latency["p50"] < 0.1 <= record.latency["p95"]
    assert record.busy_s >= 0.5 and record.rate == pytest.approx(12 / record.busy_s)
    assert record.pending == 0


def told(tally: Tally, seconds: list[float]) -> dict[str, float]:
    for second in seconds:
        tally.verdict(Verdict("right", 1.0, seconds=second))
    return dict(tally.snapshot(1, 0).latency)


def test_percentiles_are_at_most_a_tenth_too_high() -> None:
    latency = told(Tally("v", 0.1), [i / 1000 for i in range(1, 1001)])
    for name, exact in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        assert exact <= latency[name] <= 1.1 * exact


def test_an_alarm_is_raised_once_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally("v", 0.1)
    right, missing = Verdict("right", 1.0), Verdict("no_verdict", None, fault="timeout")
    with caplog.at_level(logging.WARNING, "burnish.verify"):
        for _ in range(89):
            tally.verdict(right)
        for _ in range(10):
            tally.verdict(missing)
        assert tally.snapshot(1, 0).alarm is None  # 99 verdicts say too little
        tally.verdict(missing)
        assert "11% of the last 100 answers have no verdict from 'v'" in str(tally.snapshot(1, 0).alarm)
        for _ in range(5):
            tally.verdict(missing)
    assert len(caplog.records) == 1
    for _ in range(1000):
        tally.verdict(right)
    assert tally.snapshot(1, 0).alarm is None


def test_all_items_together_have_a_deadline() -> None:
    with Pool(OBEY, workers=1, deadline_s=30.0) as pool:
        list(pool.judge(orders("a")))
        began = time.monotonic()
        verdicts = by_index(pool.judge(orders("a", *["sleep 0.3"] * 10), within_s=1.0))
        assert time.monotonic() - began < 2.0
        assert len(verdicts) == 11 and verdicts[0].outcome == "right"
        late = [verdict for verdict in verdicts if verdict.fault == "timeout"]
        assert 6 <= len(late) <= 9 and "1.0 s" in late[0].why
        assert by_index(pool.judge(orders("say 1")))[0].found == "1"  # what was given up does not hold up the next


def test_a_pool_says_whether_it_is_in_order() -> None:
    pool = Pool(OBEY)
    assert pool.fault is None
    pool.close()
    assert pool.fault == "the verifier pool was closed"


@pytest.mark.parametrize("bad", [{"recycle_items": 0}, {"recycle_s": 0.0}, {"recycle_bytes": -1}])
def test_limits_of_recycling_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="positive limits"):
        Pool("number", **bad)


def mixed(count: int, hangs: int, crashes: int) -> list[str]:
    """`count` orders in a fixed shuffle; most say their number."""
    made = ["hang"] * hangs + ["exit"] * crashes + [f"say {i}" for i in range(count - hangs - crashes)]
    random.Random(1).shuffle(made)
    return made


def check_faults(count: int, hangs: int, crashes: int, deadline_s: float) -> None:
    made = mixed(count, hangs, crashes)
    with Pool(OBEY, workers=2, deadline_s=deadline_s) as pool:
        verdicts = by_index(pool.judge(orders(*made)))
        assert len(verdicts) == count
        expected = {"hang": "timeout", "exit": "crashed"}
        wrong = [
            order
            for order, verdict in zip(made, verdicts, strict=True)
            if verdict.fault != expected.get(order) or (verdict.fault is None and f"say {verdict.found}" != order)
        ]
        assert wrong == []
        record = pool.statistics()
        assert Counter(record.faults) == Counter(timeout=hangs, crashed=crashes)
        wait_until(lambda: pool.statistics().workers == 2)
    assert pool.statistics().workers == 0


def test_faults_among_many_items_are_each_answered() -> None:
    check_faults(1000, 5, 5, deadline_s=0.3)


@pytest.mark.slow
def test_ten_thousand_items_with_hangs_and_crashes_are_each_answered() -> None:
    check_faults(10_000, 100, 100, deadline_s=0.5)


def test_workers_end_with_a_pool_that_met_faults() -> None:
    seen: set[int] = set()

    def items() -> Iterator[tuple[Key, Problem, str]]:
        yield from orders("sleep 0.05", "exit", "hang", "sleep 0.05", "raise", "sleep 0.05")

    with Pool(OBEY, workers=2, deadline_s=0.3) as pool:
        seen |= {int(verdict.why) for _, verdict in pool.judge(items()) if verdict.outcome == "right"}
    assert seen and not any(is_running(pid) for pid in seen)
