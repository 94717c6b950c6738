"""What a pool has done so far: how many verdicts, how fast, which faults, which restarts, and an alarm on too many faults.

Counted where verdicts are given, behind one lock; a snapshot is a `Statistics`. Not for: what the verdicts were about.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from burnish.records import Verdict

_LOG = logging.getLogger("burnish.verify")
_SHORTEST_S, _FACTOR = 1e-6, 1.1  # latencies are kept in buckets 10 % apart, so a percentile is at most 10 % too high
_LOG_FACTOR = math.log(_FACTOR)
_WINDOW, _LEAST = 1000, 100  # the alarm looks at the last thousand verdicts, once there are a hundred


@dataclass(frozen=True, slots=True)
class Statistics:
    """A pool's record since it was made.

    outcomes  right, wrong, no_verdict -> count
    faults    of the no_verdicts: timeout, crashed, gold, ... -> count
    restarts  workers replaced, by reason: timeout, crashed, start, memory, items, age
    busy_s    seconds in which there was work; rate is verdicts per such second
    latency   p50, p95, p99, max of what the verifier took, in seconds (percentiles rounded up by at most 10 %)
    workers, pending  now: processes alive, and items given out or waiting
    alarm     one sentence while too many verdicts are missing, else None
    """

    judged: int
    outcomes: Mapping[str, int]
    faults: Mapping[str, int]
    restarts: Mapping[str, int]
    busy_s: float
    rate: float
    latency: Mapping[str, float]
    no_verdict_share: float
    workers: int
    pending: int
    alarm: str | None


class Tally:
    """Counts verdicts and restarts of one pool. `alarm_share` is the share of no_verdict that raises the alarm."""

    def __init__(self, verifier: str, alarm_share: float) -> None:
        self._verifier, self._alarm_share = verifier, alarm_share
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter({"right": 0, "wrong": 0, "no_verdict": 0})
        self._faults: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()
        self._buckets: Counter[int] = Counter()
        self._longest = 0.0
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._missing = 0  # how many of the recent ones have no verdict
        self._alarm: str | None = None
        self.busy_s = 0.0  # the supervising thread's own

    def verdict(self, verdict: Verdict) -> None:
        """One verdict was given."""
        missing = verdict.outcome == "no_verdict"
        seconds = max(verdict.seconds, _SHORTEST_S)
        with self._lock:
            self._outcomes[verdict.outcome] += 1
            self._buckets[math.ceil(math.log(seconds / _SHORTEST_S) / _LOG_FACTOR)] += 1
            self._longest = max(self._longest, verdict.seconds)
            if len(self._recent) == _WINDOW:
                self._missing -= self._recent[0]
            self._recent.append(missing)
            self._missing += missing
            if missing:
                self._faults[verdict.fault or "unnamed"] += 1
            if missing or self._alarm is not None:
                self._watch()

    def restart(self, reason: str) -> None:
        """One worker was replaced."""
        with self._lock:
            self._restarts[reason] += 1

    def _watch(self) -> None:
        """Raise the alarm above the share, and end it only below half of that, so that it does not flutter."""
        share = self._missing / len(self._recent)
        if self._alarm is None and len(self._recent) >= _LEAST and share > self._alarm_share:
            named = ", ".join(f"{fault} {count}" for fault, count in self._faults.most_common(3))
            self._alarm = (
                f"{share:.0%} of the last {len(self._recent)} answers have no verdict from {self._verifier!r} "
                f"(since the start: {named}); the alarm is set at {self._alarm_share:.0%}"
            )
            _LOG.warning("%s", self._alarm)
        elif self._alarm is not None and share <= self._alarm_share / 2:
            self._alarm = None

    def snapshot(self, workers: int, pending: int) -> Statistics:
        """The record now."""
        with self._lock:
            judged = sum(self._outcomes.values())
            latency = {name: self._percentile(judged, share) for name, share in _PERCENTILES}
            return Statistics(
                judged,
                dict(self._outcomes),
                dict(self._faults),
                dict(self._restarts),
                self.busy_s,
                judged / self.busy_s if self.busy_s else 0.0,
                {**latency, "max": self._longest},
                self._outcomes["no_verdict"] / judged if judged else 0.0,
                workers,
                pending,
                self._alarm,
            )

    def _percentile(self, judged: int, share: float) -> float:
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= share * judged:
                return min(self._longest, _SHORTEST_S * _FACTOR**bucket)
        return 0.0


_PERCENTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
