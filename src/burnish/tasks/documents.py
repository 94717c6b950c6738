"""Texts to learn language from, written by a task: what pretraining a small model reads. Not for: reinforcement learning."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A question, a response to it, and what kind of response it is ("guess", "thought", "slip", "found", "gave up")."""

    question: str
    response: str
    kind: str


def generator(*parts: object) -> random.Random:
    """A generator seeded by what the parts say, never by global state: ("corpus", seed, i)."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))
