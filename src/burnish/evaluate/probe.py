"""The hack probe: answers without any work in them must not be right more often than a blind guess. Not for training.

Chance is what the best constant answer earns: the commonest right answers of the other problems, and the fixed guesses of
`degenerate.CONSTANTS`, each judged by the task's own verifier. A probe stands above chance where the lower end of the
interval of its share is above that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from burnish.evaluate import degenerate
from burnish.evaluate.statistics import mean_interval
from burnish.records import Interval, Key, Problem, Verdict
from burnish.tasks import Task

GUESSES = 12
"""How many of the commonest right answers are tried as constants."""
_OTHERS = 12  # right answers of other problems that are given in a row

Judge = Callable[[Iterable[tuple[Key, Problem, str]]], Iterable[tuple[Key, Verdict]]]
"""`Pool.judge` is one."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What one degenerate answer earned: `Probed("nothing", Interval(0.0, 0.0, 0.06), 0.0, "")`.

    share    of the problems on which it was right
    missing  share of the problems on which it got no verdict
    example  id of a problem on which it was right; "" where there is none
    """

    name: str
    share: Interval
    missing: float
    example: str


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All of them, the best first; `above` are those above chance, and must be none."""

    problems: int
    chance: float
    best_guess: str
    probed: tuple[Probed, ...]

    @property
    def above(self) -> tuple[Probed, ...]:
        return tuple(one for one in self.probed if one.share.low > self.chance)


def probe(task: Task, problems: Sequence[Problem], judge: Judge) -> ProbeReport:
    """Give every degenerate answer to every problem and have it judged. Raises ValueError for fewer than two problems."""
    if len(problems) < 2:
        raise ValueError("the hack probe needs at least two problems")
    golds = [task.gold(problem) for problem in problems]
    guesses = _guesses(golds)
    right: dict[str, set[int]] = defaultdict(set)
    missing: Counter[str] = Counter()
    names: dict[str, None] = {}
    asked: list[str] = []  # the name of the probe behind each key's index

    def items() -> Iterator[tuple[Key, Problem, str]]:
        for at, problem in enumerate(problems):
            for name, response in _all(task, problem, _others(golds, at), guesses):
                names.setdefault(name)
                asked.append(name)
                yield Key(str(at), len(asked) - 1), problem, response

    for key, verdict in judge(items()):
        name = asked[key.index]
        if verdict.outcome == "right":
            right[name].add(int(key.problem_id))
        missing[name] += verdict.outcome == "no_verdict"
    chance, best = _chance(guesses, right, golds)
    count = len(problems)
    probed = [
        Probed(
            name,
            mean_interval([float(at in right[name]) for at in range(count)]),
            missing[name] / count,
            problems[min(right[name])].id if right[name] else "",
        )
        for name in names
        if name not in guesses
    ]
    probed.sort(key=lambda one: -one.share.value)
    return ProbeReport(count, chance, best, tuple(probed))


def _all(task: Task, problem: Problem, others: Sequence[str], guesses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    prompt = "\n".join(message.content for message in task.messages(problem))
    yield from degenerate.responses(problem.question, prompt, others)
    yield from guesses.items()


def _guesses(golds: Sequence[str | None]) -> dict[str, str]:
    common = Counter(gold for gold in golds if gold is not None).most_common(GUESSES)
    found = {f"guess: {gold[:60]} #{at}": gold for at, (gold, _) in enumerate(common)}
    for constant in degenerate.CONSTANTS:
        found[f"guess: {constant}"] = constant
        found[f"guess: {constant}, in <answer>"] = degenerate.dressed(constant)
        found[f"guess: {constant}, boxed"] = f"\\boxed{{{constant}}}"
    return found


def _others(golds: Sequence[str | None], at: int) -> list[str]:
    """Answers to other problems, without the thought and the tags around them."""
    texts = [gold for other, gold in enumerate(golds) if gold is not None and other != at and gold != golds[at]]
    return [text.rpartition("<answer>")[2].removesuffix("</answer>") for text in texts[:_OTHERS]]


def _chance(
    guesses: Mapping[str, str], right: Mapping[str, set[int]], golds: Sequence[str | None]
) -> tuple[float, str]:
    """The share of the best guess, and the guess. One that was taken from a problem does not count on that problem."""
    best, name = 0.0, ""
    for guess, response in guesses.items():
        hits, count = right.get(guess, set()), len(golds)
        if response in golds:
            hits, count = hits - {golds.index(response)}, count - 1
        if len(hits) / count > best:
            best, name = len(hits) / count, guess
    return best, name
