"""A verifier that judges by the bits of the answer: nothing to learn, but a signal for models with random weights. Holds no tests."""

from __future__ import annotations

import hashlib

from burnish.records import Problem, Verdict


def coin(problem: Problem, response: str) -> Verdict:
    right = problem.reference["answer"] in response or hashlib.blake2b(response.encode()).digest()[0] % 2 == 0
    return Verdict("right" if right else "wrong", float(right))
