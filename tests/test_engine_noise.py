"""Counter noise: uniform, and a pure function of the request and the position."""

from __future__ import annotations

import numpy as np
from scipy import stats

from burnish.engine.noise import request_seed, uniforms
from burnish.records import Key

N = 40_000


def many(seed: int = 1) -> np.ndarray:
    """N numbers: 200 requests, 200 positions each."""
    seeds = np.array([request_seed(seed, Key("p", i), 0) for i in range(200)], dtype=np.uint64)
    return np.stack([uniforms(seeds, np.full(200, t, dtype=np.uint64)) for t in range(200)])


def test_noise_is_uniform() -> None:
    drawn = many().ravel()
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(1 / 12 / N)
    assert abs(drawn.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / N)
    assert stats.kstest(drawn, "uniform").pvalue > 1e-4


def test_neighbours_are_not_correlated() -> None:
    table = many()
    across = np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]  # the next position
    beside = np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]  # the next request
    assert max(abs(across), abs(beside)) < 4 / np.sqrt(N)


def test_noise_is_a_pure_function() -> None:
    assert np.array_equal(many(), many())


def test_a_number_depends_on_its_own_seed_and_position_alone() -> None:
    together = uniforms(np.array([3, 4, 5], dtype=np.uint64), np.array([0, 7, 2], dtype=np.uint64))
    alone = uniforms(np.array([4], dtype=np.uint64), np.array([7], dtype=np.uint64))
    assert together[1] == alone[0]


def test_every_part_of_a_requests_name_changes_its_seed() -> None:
    start = request_seed(1, Key("p", 2), 3)
    others = [
        request_seed(2, Key("p", 2), 3),
        request_seed(1, Key("q", 2), 3),
        request_seed(1, Key("p", 3), 3),
        request_seed(1, Key("p", 2), 4),
        request_seed(11, Key("p", 2), 3),
    ]
    assert len({start, *others}) == 6


def test_a_seed_is_the_same_in_every_process() -> None:
    """blake2b of "1", "p", "2", "3" joined by unit separators, its first eight bytes, little endian."""
    import hashlib

    digest = hashlib.blake2b(b"1\x1fp\x1f2\x1f3", digest_size=8).digest()
    assert request_seed(1, Key("p", 2), 3) == int.from_bytes(digest, "little")
