"""Shortest paths in a weighted graph: is this a path, and is there no shorter one? Not for drawing or making graphs.

reference: edges, a list of [from, to, length] with positive whole lengths; start and goal; directed (optional, false).

The answer is the nodes of the path in order, with ->, →, commas or white space between them. Any path of the least length is
right; `shortest` finds that length by Dijkstra's algorithm (1959).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from burnish.records import Problem, Verdict
from burnish.verify.puzzles.answer import Refused, is_whole, judged, require

MOST_EDGES = 2000
_NODE = re.compile(r"\w{1,20}")
_ARROWS = re.compile(r"\s*(?:->|-->|=>|→|,|\s)\s*")

Links = Mapping[str, Mapping[str, int]]


class Puzzle(NamedTuple):
    """Who is linked to whom, and how far it is; from where to where; the least length."""

    links: Links
    start: str
    goal: str
    least: int


def verify_path(problem: Problem, response: str) -> Verdict:
    """Right where the answer goes from start to goal along edges, and no path is shorter."""
    reference = problem.reference
    directed = reference.get("directed", False)
    return judged(response, lambda: read(reference["edges"], reference["start"], reference["goal"], directed), check)


def read(edges: Any, start: Any, goal: Any, directed: Any) -> Puzzle:
    """The puzzle of a reference. Raises BadPuzzle, also where no path leads to the goal."""
    require(isinstance(directed, bool), f"directed must be true or false, not {directed!r:.40}")
    listed = isinstance(edges, list | tuple) and 1 <= len(edges) <= MOST_EDGES
    require(listed, f"the edges must be a list of 1 to {MOST_EDGES}")
    for edge in edges:
        fit = isinstance(edge, list | tuple) and len(edge) == 3 and all(_is_node(node) for node in edge[:2])
        require(fit and is_whole(edge[2]) and 0 < edge[2] <= 10**6, f"not an edge [from, to, length]: {edge!r:.60}")
    links = linked([(a, b, length) for a, b, length in edges], directed)
    require(_is_node(start) and _is_node(goal) and start != goal, "start and goal must be two different nodes")
    found = shortest(links, start, goal)
    require(found is not None, f"no path leads from {start} to {goal}")
    assert found is not None
    return Puzzle(links, start, goal, found[0])


def _is_node(node: Any) -> bool:
    return isinstance(node, str) and _NODE.fullmatch(node) is not None


def linked(edges: list[tuple[str, str, int]], directed: bool) -> dict[str, dict[str, int]]:
    """The edges as a table; of two edges between the same nodes the shorter one counts."""
    links: dict[str, dict[str, int]] = {}
    for a, b, length in edges:
        for one, other in [(a, b)] if directed else [(a, b), (b, a)]:
            links.setdefault(other, {})
            there = links.setdefault(one, {})
            there[other] = min(length, there.get(other, length))
    return links


def shortest(links: Links, start: str, goal: str) -> tuple[int, list[str]] | None:
    """The least length from start to goal and a path that has it; None where there is no path."""
    ahead: list[tuple[int, str, str]] = [(0, start, "")]
    came: dict[str, str] = {}
    while ahead:
        length, node, before = heapq.heappop(ahead)
        if node in came:
            continue
        came[node] = before
        if node == goal:
            path = [node]
            while came[path[-1]]:
                path.append(came[path[-1]])
            return length, path[::-1]
        for other, step in links.get(node, {}).items():
            if other not in came:
                heapq.heappush(ahead, (length + step, other, node))
    return None


def check(puzzle: Puzzle, text: str) -> str:
    """Why the answer is right. Raises Refused."""
    nodes = _ARROWS.split(text.strip())
    length = 0
    for here, there in pairwise(nodes):
        step = puzzle.links.get(here, {}).get(there)
        if step is None:
            raise Refused(f"no edge leads from {here[:20]!r} to {there[:20]!r}")
        length += step
    if nodes[0] != puzzle.start or nodes[-1] != puzzle.goal:
        raise Refused(f"does not lead from {puzzle.start} to {puzzle.goal}")
    if length != puzzle.least:
        raise Refused(f"has length {length}, and a path of length {puzzle.least} exists")
    return f"a path of length {length}, and none is shorter"
