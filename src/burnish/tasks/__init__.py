"""Tasks: where problems come from. A task owns its wording, keeps its splits apart, and names its verifier.

Not for: judging answers (burnish.verify), turning messages into tokens (burnish.prompts), or what a right answer earns.

    >>> task = load("gsm8k", {"train": "train.jsonl", "held_out": "test.jsonl"})
    >>> problems = task.train(seed=1).take(16)

`TASKS` is the whole list; docs/tasks.md shows each. A task of your own is any class or function whose arguments are its options, named
"my.module:attr".
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from burnish.errors import ConfigError
from burnish.records import Message, Problem
from burnish.tasks.documents import Document
from burnish.tasks.source import Source

TASKS: dict[str, str] = {
    "chain": "burnish.tasks.chain:Chain",
    "rows": "burnish.tasks.rows:Rows",
    "composed": "burnish.tasks.composed:ComposedTask",
    # published questions with one answer
    "gsm8k": "burnish.tasks.sets:GSM8K",
    "math": "burnish.tasks.sets:MATH",
    "math500": "burnish.tasks.sets:MATH500",
    "aime24": "burnish.tasks.sets:AIME24",
    "aime25": "burnish.tasks.sets:AIME25",
    "amc": "burnish.tasks.sets:AMC",
    "olympiadbench": "burnish.tasks.sets:OLYMPIADBENCH",
    "svamp": "burnish.tasks.sets:SVAMP",
    "gsm_hard": "burnish.tasks.sets:GSM_HARD",
    "mgsm": "burnish.tasks.sets:MGSM",
    "aqua": "burnish.tasks.sets:AQUA",
    "gpqa": "burnish.tasks.sets:GPQA",
    # programs, and instructions
    "humaneval": "burnish.tasks.humaneval:HumanEval",
    "mbpp": "burnish.tasks.mbpp:Mbpp",
    "code_contests": "burnish.tasks.code_contests:CodeContests",
    "livecodebench": "burnish.tasks.livecodebench:LiveCodeBench",
    "ifeval": "burnish.tasks.ifeval:IfEval",
    # puzzles
    "countdown": "burnish.tasks.countdown:Countdown",
    "reasoning_gym": "burnish.tasks.reasoning_gym:ReasoningGym",
    "arithmetic": "burnish.tasks.puzzles.arithmetic:Arithmetic",
    "base_arithmetic": "burnish.tasks.puzzles.bases:Bases",
    "calendar": "burnish.tasks.puzzles.dates:Calendar",
    "countdown_endless": "burnish.tasks.puzzles.expressions:EndlessCountdown",
    "counting": "burnish.tasks.puzzles.sorting:Counting",
    "graph_path": "burnish.tasks.puzzles.paths:Paths",
    "knights_knaves": "burnish.tasks.puzzles.knights:Knights",
    "sorting": "burnish.tasks.puzzles.sorting:Sorting",
    "sudoku": "burnish.tasks.puzzles.sudoku:Sudoku",
    "twenty_four": "burnish.tasks.puzzles.expressions:TwentyFour",
    "unit_conversion": "burnish.tasks.puzzles.units:Units",
}


class Task(Protocol):
    """What a run needs of a task. No problem of `held_out()` is ever handed out by `train(seed)`."""

    @property
    def name(self) -> str:
        """E.g. "gsm8k"; problem ids begin with it."""
        ...

    @property
    def verifier(self) -> str:
        """A verifier's name, or "my.module:attr"."""
        ...

    @property
    def train_size(self) -> int | None:
        """How many problems there are to train on; None where they never end."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence for each thing that was done to the data, such as dropped repeats; a run shows them."""
        ...

    def train(self, seed: int) -> Source:
        """The training problems, in an order that depends on the seed alone."""
        ...

    def held_out(self) -> Sequence[Problem]:
        """The held-out problems, always the same and in the same order."""
        ...

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """What the model is asked."""
        ...

    def gold(self, problem: Problem) -> str | None:
        """A response that must pass the task's verifier; None where the task has none."""
        ...


def load(name: str, options: Mapping[str, Any]) -> Task:
    """Make a task of TASKS, or of one's own ("my.module:attr"), from its options.

    Raises ConfigError for an unknown task or option (naming the nearest), a missing one, one of the wrong type, and
    something that is no task. Data files are read later, at the first question to the task.
    """
    make = _find(name)
    task = make(**_check(f"the task {name!r}", make, options))
    absent = [part for part in _PARTS if not _has(task, part)]
    if absent:
        raise ConfigError(f"{name} is no task: it lacks {', '.join(absent)}; burnish.tasks.Task says what a task has.")
    return typing.cast(Task, task)


def at_path(name: str, path: str) -> dict[str, str]:
    """The options that have a task read a file or a folder: all rows of a file; of a folder the splits the data set has.

    Raises ConfigError for a task that reads no files.
    """
    make = _find(name)
    known = inspect.signature(make).parameters
    if not {"train", "held_out"} <= set(known):
        raise ConfigError(f"The task {name!r} makes its problems and reads no files, so a path can have no effect.")
    trained = bool(
        getattr(make, "train", ()) if not inspect.isclass(make) else getattr(make, "hub", {}).get("train", "both")
    )
    both = Path(path).expanduser().is_dir() and trained
    return {"train": path, "held_out": path} if both else {"held_out": path}


def write_documents(task: Task, seed: int, options: Mapping[str, Any]) -> Iterator[Document]:
    """The endless corpus of a task that can write one: `task.documents(seed, **options)`.

    Raises ConfigError for a task that cannot, and for an option that is unknown, missing or of the wrong type.
    """
    write = getattr(task, "documents", None)
    if write is None:
        raise ConfigError(f"The task {task.name!r} writes no documents; pretrain on chain or countdown.")
    if "seed" in options:
        raise ConfigError("The seed of the documents is the run's; set seed there.")
    checked = _check(f"the corpus of the task {task.name!r}", write, {"seed": seed, **options})
    return typing.cast(Iterator[Document], write(**checked))


_PARTS = ("name", "verifier", "train_size", "notices", "train", "held_out", "messages", "gold")


def _has(task: object, part: str) -> bool:
    # Not hasattr: that would compute train_size, and so read the files, before anyone has asked.
    nothing = object()
    return inspect.getattr_static(task, part, nothing) is not nothing


def _find(name: str) -> Callable[..., Any]:
    target = TASKS.get(name, name)
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f'There is no task {name!r}{_near(name, TASKS)}; or name your own as "my.module:attr".')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"The task {name!r} cannot be imported from {module_name}: {error}.") from error
    made = getattr(module, attribute, None)
    if not callable(made):
        near = _near(attribute, [given for given in dir(module) if not given.startswith("_")])
        raise ConfigError(f"The module {module_name} has no class or function {attribute!r}{near}.")
    return typing.cast(Callable[..., Any], made)


def _check(what: str, make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as `make` wants them. Raises ConfigError for the first that does not fit its signature."""
    parameters = inspect.signature(make).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for option in options:
        if option not in known and not open_ended:
            raise ConfigError(f"{_capital(what)} has no option {option!r}{_near(option, known)}.")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"{_capital(what)} needs the option {option!r}; its options are {', '.join(known)}.")
    hints = typing.get_type_hints(_function_of(make))
    return {o: _fit(what, o, value, hints[o]) if o in known and o in hints else value for o, value in options.items()}


def _function_of(make: Callable[..., Any]) -> Callable[..., Any]:
    """Where the annotations of its options stand: a class has them at __init__, an object that is called at __call__."""
    if inspect.isclass(make):
        return typing.cast(Callable[..., Any], make.__init__)
    return make if inspect.isroutine(make) else type(make).__call__


def _fit(what: str, option: str, value: Any, hint: Any) -> Any:
    """The value as the type asked for, strictly as in JSON: "3" is no number, 1 is not true; a list makes a tuple."""
    from pydantic import TypeAdapter, ValidationError  # slow to import

    adapter = TypeAdapter(hint)
    try:
        if isinstance(value, (list, dict, str)):
            return adapter.validate_json(json.dumps(value), strict=True)
        return adapter.validate_python(value, strict=True)
    except (ValidationError, TypeError) as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        wanted = problem[0].lower() + problem[1:]
        raise ConfigError(f"The option {option!r} of {what} is {value!r}: {wanted}.") from error


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _near(name: str, names: Iterable[str]) -> str:
    """The tail of a message: the nearest of the names, or all of them (the first forty) where none is near."""
    choices = sorted(names)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}"
    return f"; there are {', '.join(choices[:40]) or 'none'}{', ...' if len(choices) > 40 else ''}"
