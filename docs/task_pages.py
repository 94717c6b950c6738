"""Print the table and the sections of docs/tasks.md, from what the tasks declare. A test keeps the page as this prints it."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

from burnish.tasks import TASKS, load
from burnish.tasks.cards import Card
from burnish.tasks.finite import HELD_OUT, TRAIN, FileTask
from burnish.tasks.published import DataSet
from burnish.verify import gym

SHARED = ("train", "held_out", "overlap", "limit_train", "limit_held_out")
"""Options that every data set has; told once, at the head of the page."""


def declared() -> Iterator[tuple[str, Any, Card]]:
    """(name, what makes the task, its card) of every task of published data."""
    for name, target in TASKS.items():
        module, _, attribute = target.partition(":")
        make = getattr(importlib.import_module(module), attribute)
        if isinstance(getattr(make, "card", None), Card):
            yield name, make, make.card


def options_of(make: Any) -> list[str]:
    """The options that are the data set's own."""
    if isinstance(make, DataSet):
        return [*make.facets, "bad_golds"]
    return [one for one in inspect.signature(make).parameters if one not in SHARED]


def where(task: FileTask) -> str:
    """The hub's locations of a task, those of many configurations shortened."""
    lines = []
    for split, told in ((TRAIN, "train"), (HELD_OUT, "held out")):
        places = task.hub.get(split, ())
        if places:
            more = f" and {len(places) - 1} more of that repository" if len(places) > 1 else ""
            lines.append(f"{told}: `{places[0]}`{more}")
    return "; ".join(lines) or "none: give the files"


def section(name: str, make: Any, card: Card) -> None:
    """One data set: its card, what is asked of an example, and the commands."""
    task: Any = load(name, {"held_out": "example.jsonl"})
    problem = task.problem(card.example, f"{name}/held_out/0", "held_out", "example.jsonl:1")
    print(f"### {name}\n\n{card.title}. {card.about}\n")
    facts = {
        "columns": card.columns,
        "verifier": f"`{task.verifier}`",
        "own options": ", ".join(f"`{option}`" for option in options_of(make)) or "none",
        "from the hub": where(task),
        "published at": card.source,
        "licence": card.licence,
        "described in": card.paper,
    }
    print("| | |\n|---|---|")
    for fact, told in facts.items():
        print(f"| {fact} | {told} |")
    print(
        f"\nA row, made up, and what the model is asked:\n\n```json\n{json.dumps(card.example, ensure_ascii=False)}\n```\n"
    )
    print(f"```text\n{task.messages(problem)[0].content}\n```\n")
    if isinstance(make, DataSet):
        print(f"Right is, for example:\n\n```text\n{task.gold(problem)}\n```\n")
    if card.note:
        print(f"{card.note}\n")
    print(
        f"```sh\nburnish check --task {name} --path FILE\nburnish eval MODEL --task {name} -o held_out=FILE -n 100\n```\n"
    )


def main() -> None:
    """The table, then a section for each, then what reasoning-gym has."""
    cards = list(declared())
    print("| task | data set | verifier | licence |\n|---|---|---|---|")
    for name, make, card in cards:
        print(f"| [{name}](#{name}) | {card.title} | `{make.verifier}` | {card.licence} |")
    print()
    for name, make, card in cards:
        section(name, make, card)
    allowed = [name for name, found in gym.audit()["datasets"].items() if found["allowed"]]
    print(
        f"### reasoning_gym\n\nThe {len(allowed)} data sets of reasoning-gym {gym.audit()['version']} that passed our audit, by the option"
    )
    print(
        "`dataset`; endless, judged by `reasoning_gym`, Apache-2.0 (arXiv:2505.24760). More in [puzzles](puzzles.md#reasoning-gym).\n"
    )
    print(f"{', '.join(f'`{name}`' for name in allowed)}.\n")
    print(f"```sh\nburnish check --task reasoning_gym -o dataset={allowed[0]}\n```\n")


if __name__ == "__main__":
    main()
