"""Print the table of levels and the examples of docs/puzzles.md, as the tasks make them. A test keeps the page as this prints it."""

from __future__ import annotations

from burnish.tasks import TASKS, load
from burnish.tasks.puzzles.made import Puzzle


def main() -> None:
    """One section a family: levels, the first problem of seed 1 at level 1, and its gold answer."""
    for name, target in TASKS.items():
        if ".puzzles." not in target:
            continue
        task = load(name, {})
        assert isinstance(task, Puzzle)
        print(f"### {name}\n")
        print(f"Judged by `{task.verifier}`.\n")
        for level, told in enumerate(task.levels, start=1):
            print(f"{level}. {told}")
        [problem] = task.train(1).take(1)
        print(f"\n```text\n{problem.question}\n\nanswer: {task.solve(problem)[1]}\n```\n")


if __name__ == "__main__":
    main()
