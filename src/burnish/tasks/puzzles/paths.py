"""Shortest paths on a small map of roads. Not for judging a path (burnish.verify.puzzles.paths)."""

from __future__ import annotations

import random

from burnish.records import Problem
from burnish.tasks.puzzles.made import Draft, Made, Puzzle
from burnish.verify.puzzles.paths import linked, shortest

_SIZES = {1: (5, 2, False), 2: (7, 3, False), 3: (10, 3, False), 4: (12, 4, True), 5: (18, 5, True)}
"""Level -> nodes, edges the shortest path has at the least, one-way roads."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Paths(Puzzle):
    """Roads with lengths, a start and a goal. The shortest path is never the one with the fewest roads at level 3 and above."""

    name = "graph_path"
    verifier = "path"
    asked = "the nodes of a shortest path, such as A -> C -> B,"
    levels = (
        "5 nodes; the shortest path has at least 2 roads",
        "7 nodes; at least 3 roads",
        "10 nodes; at least 3 roads, and a path with fewer roads is longer",
        "12 nodes, one-way roads; at least 4 roads, and a path with fewer roads is longer",
        "18 nodes, one-way roads; at least 5 roads, and a path with fewer roads is longer",
    )

    def draw(self, rng: random.Random, level: int) -> Draft | None:
        count, _, directed = _SIZES[level]
        nodes = rng.sample(_LETTERS, count)
        pairs = [(a, b) for a in nodes for b in nodes if (a != b if directed else a < b)]
        chosen = rng.sample(pairs, min(len(pairs), int(count * (1.7 if not directed else 2.6))))
        edges = [(a, b, rng.randint(1, 9 if level <= 2 else 20)) for a, b in chosen]
        start, goal = rng.sample(nodes, 2)
        return Draft((str(sorted(edges)), start, goal, str(directed)), (edges, start, goal, directed))

    def finish(self, rng: random.Random, level: int, draft: Draft) -> Made | None:
        edges, start, goal, directed = draft.plan
        least = _SIZES[level][1]
        links = linked(edges, directed)
        found = shortest(links, start, goal)
        if found is None or len(found[1]) <= least:
            return None
        if level >= 3:
            roads = shortest({node: dict.fromkeys(there, 1) for node, there in links.items()}, start, goal)
            assert roads is not None
            if roads[0] >= len(found[1]) - 1:
                return None
        told = ", ".join(f"{a}{'->' if directed else '-'}{b} {length}" for a, b, length in edges)
        kind = "One-way roads" if directed else "Roads"
        question = f"{kind} and their lengths: {told}. What is a shortest path from {start} to {goal}?"
        reference = {"edges": [list(edge) for edge in edges], "start": start, "goal": goal, "directed": directed}
        return Made(question, reference, draft.kin)

    def solve(self, problem: Problem) -> tuple[str, str]:
        reference = problem.reference
        edges = [(a, b, length) for a, b, length in reference["edges"]]
        found = shortest(linked(edges, reference["directed"]), reference["start"], reference["goal"])
        assert found is not None
        return f"The shortest path has length {found[0]}.", " -> ".join(found[1])
