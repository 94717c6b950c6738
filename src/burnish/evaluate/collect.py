"""An evaluation's answers on disk: drawn once, kept in Parquet, gone on with after any stop, added to when more are wanted.

    OUT/evaluation.json              what was measured: model, sampling, and each task with its options and verifier
    OUT/LABEL/rollouts/*.parquet     every answer with its verdict, as journal.rollouts writes them
    OUT/LABEL/cost.jsonl             seconds and prompt tokens of each file

An answer's seed comes from (run seed, problem id, index, version), so answer i is the same whichever call drew it. What is
missing is found by key; nothing that is there is drawn again. Answers are written every few hundred, each file whole or not at all.

Not for: the figures (figures.py), or where the answers come from (a Sampler).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.errors import BurnishError, DataError, ResumeError, StorageError
from burnish.journal import query, write_rollouts
from burnish.journal.files import append_line, encode, read_lines, storage_error, write_atomic
from burnish.journal.rollouts import rollouts_files
from burnish.records import Group, Judged, Key, Problem, Prompt, Rollout, Sampling
from burnish.rollout import Sampler, Start

ABOUT = "evaluation.json"
FORMAT = 1
FLUSH_ANSWERS, FLUSH_S = 512, 30.0  # what a kill can cost at most, whichever comes first

_ROWS = """
select problem_id, "index", outcome, found, stop, parts,
       coalesce(list_sum(sampled::integer[]), usage_completion)::bigint as tokens
from rollouts
"""
_PROBLEMS = """
select problem_id, any_value(fingerprint) as fingerprint, any_value(reference) as reference, any_value(messages) as messages
from rollouts group by problem_id
"""


class Answers:
    """The stored answers to one task: `Answers(Path("runs/eval/mine/chain"))`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def empty(self) -> bool:
        return not rollouts_files(self.folder / "rollouts")

    def rows(self, problems: Sequence[Problem] | None = None, samples: int | None = None) -> list[Judged]:
        """A row for each stored answer: of these problems, and of index below `samples`, where given."""
        if self.empty:
            return []
        wanted = {problem.id for problem in problems} if problems is not None else None
        return [
            _judged(row)
            for row in query(self.folder, _ROWS)
            if (wanted is None or row["problem_id"] in wanted) and (samples is None or row["index"] < samples)
        ]

    def check(self, problems: Sequence[Problem], prompts: Sequence[Prompt]) -> None:
        """Raises ResumeError where a problem of that id was stored with another question, reference or wording."""
        stored = {} if self.empty else {row["problem_id"]: row for row in query(self.folder, _PROBLEMS)}
        for problem, prompt in zip(problems, prompts, strict=True):
            row = stored.get(problem.id)
            if row is None:
                continue
            messages = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
            here = {
                "fingerprint": problem.fingerprint,
                "reference": json.loads(encode(problem.reference)),
                "messages": json.loads(encode(messages)),
            }
            there = {**row, "reference": json.loads(row["reference"]), "messages": json.loads(row["messages"])}
            for name, what in (("fingerprint", "question"), ("reference", "answer"), ("messages", "wording")):
                if here[name] != there[name]:
                    raise ResumeError(
                        f"{self.folder} holds answers to {problem.id} with another {what} than the task has now, so they do not go "
                        "together; choose another --out."
                    )

    def add(self, groups: Sequence[Group], seconds: float, prompt_tokens: int) -> None:
        """Write some answers as one file, whole or not at all."""
        files = rollouts_files(self.folder / "rollouts")
        step = max(files, default=0) + 1
        write_rollouts(self.folder / "rollouts", step, groups)
        append_line(self.folder / "cost.jsonl", {"step": step, "seconds": seconds, "prompt_tokens": prompt_tokens})

    def cost(self) -> tuple[float, int]:
        """Seconds and prompt tokens so far, of all calls together."""
        if not (self.folder / "cost.jsonl").is_file():
            return 0.0, 0
        lines = list(read_lines(self.folder / "cost.jsonl"))
        return sum(line["seconds"] for line in lines), sum(line["prompt_tokens"] for line in lines)


def collect(
    sampler: Sampler,
    answers: Answers,
    problems: Sequence[Problem],
    samples: int,
    sampling: Sampling,
    on_rollout: Callable[[Rollout], None] | None = None,
) -> int:
    """Draw what is missing of `samples` answers to each problem; returns how many were drawn.

    Interrupted, or stopped by the engine, it first writes what has been judged. Raises ResumeError as `Answers.check`,
    StorageError where the disk would not take a file: what was written before stays.
    """
    prompts = sampler.prompts(problems)
    answers.check(problems, prompts)
    there = {row.key for row in answers.rows(problems)}
    asked = [
        Start.fresh(problem, prompt, index)
        for problem, prompt in zip(problems, prompts, strict=True)
        for index in range(samples)
        if Key(problem.id, index) not in there
    ]
    if not asked:
        return 0
    try:
        (answers.folder / "rollouts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(answers.folder, error) from error
    buffer = _Buffer(answers, asked)
    try:
        for key, rollout in sampler.draw(asked, sampling):
            buffer.take(key, rollout)
            if on_rollout is not None:
                on_rollout(rollout)
    except StorageError:
        raise
    except (KeyboardInterrupt, BurnishError):
        buffer.flush()
        raise
    buffer.flush()
    return buffer.taken


class _Buffer:
    """Judged answers on their way to a file."""

    def __init__(self, answers: Answers, asked: Sequence[Start]) -> None:
        self._answers = answers
        self._known = {start.problem.id: (start.problem, start.prompt) for start in asked}
        self._unread = set(self._known)  # problems whose prompt has not been counted yet
        self._held: dict[str, list[Rollout]] = {}
        self._began = time.monotonic()
        self._count = self.taken = 0

    def take(self, key: Key, rollout: Rollout) -> None:
        self._held.setdefault(key.problem_id, []).append(rollout)
        self._count, self.taken = self._count + 1, self.taken + 1
        if self._count >= FLUSH_ANSWERS or time.monotonic() - self._began > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if not self._held:
            return
        groups = [Group(*self._known[problem], tuple(rollouts)) for problem, rollouts in self._held.items()]
        now = time.monotonic()
        self._answers.add(groups, now - self._began, sum(map(self._prompt_tokens, groups)))
        self._held, self._count, self._began = {}, 0, now

    def _prompt_tokens(self, group: Group) -> int:
        """An engine of ours reads a prompt once for all its answers, an endpoint says what it read for each."""
        if group.prompt.ids:
            first = group.problem.id in self._unread
            self._unread.discard(group.problem.id)
            return len(group.prompt.ids) * first
        return sum((r.usage.prompt or 0) for r in group.rollouts if r.usage is not None)


@contextmanager
def opened(out: Path, about: Mapping[str, Any]) -> Iterator[None]:
    """Make `out` an evaluation of what `about` says, or check that it is one; nobody else may write there meanwhile.

    `about` is {"model": {...}, "sampling": {...}, "system": ..., "tasks": {label: {...}}}; a label that is new is added. Raises
    ResumeError where the directory holds something else, naming what differs.
    """
    there = read_about(out) if (out / ABOUT).is_file() else None
    if there is None and out.exists() and (not out.is_dir() or any(path.name != ".lock" for path in out.iterdir())):
        raise ResumeError(f"{out} already holds something that is no evaluation; choose another --out.")
    if there is not None:
        _check_same(there, about, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(out, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResumeError(
                f"Another burnish eval is writing to {out}; wait for it, or choose another --out."
            ) from error
        tasks = {**(there["tasks"] if there is not None else {}), **about["tasks"]}
        whole = {"format": FORMAT, **about, "tasks": tasks}
        if whole != there:
            write_atomic(out / ABOUT, json.dumps(json.loads(encode(whole)), indent=2, ensure_ascii=False) + "\n")
        yield
    finally:
        os.close(lock)


def read_about(out: Path) -> dict[str, Any]:
    """What `out`/evaluation.json says. Raises DataError where it is none or cannot be read."""
    path = out / ABOUT
    try:
        about = json.loads(path.read_bytes())
        if about["format"] != FORMAT:
            raise DataError(f"{path} has format {about['format']}; this version of burnish reads format {FORMAT}.")
        return {**about, "tasks": dict(about["tasks"])}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: it is not what burnish eval writes ({error}).") from error


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    """ "sampling.temperature is 1.0 there, 0.6 here" for each leaf that differs."""
    found = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name} is {old!r} there, {new!r} here")
    return found


def _check_same(there: Mapping[str, Any], about: Mapping[str, Any], out: Path) -> None:
    here = json.loads(encode(about))
    if here["model"].get("weights") and here["model"]["weights"] == there["model"].get("weights"):
        here["model"]["path"] = there["model"]["path"]  # the same weights in another place
    shared = {label: task for label, task in there["tasks"].items() if label in here["tasks"]}
    tasks = {label: here["tasks"][label] for label in shared}
    plain = [{k: v for k, v in one.items() if k not in ("format", "tasks")} for one in (there, here)]
    apart = differences(plain[0], plain[1]) + differences({"tasks": shared}, {"tasks": tasks})
    if apart:
        more = f"; {len(apart) - 1} more differ" if len(apart) > 1 else ""
        if all(".verifier" in one for one in apart):
            more += "; burnish rejudge judges stored answers again"
        raise ResumeError(f"{out} is an evaluation of something else: {apart[0]}{more}; choose another --out.")


def _judged(row: Mapping[str, Any]) -> Judged:
    return Judged(
        Key(row["problem_id"], row["index"]),
        row["outcome"],
        row["found"],
        row["tokens"],
        row["stop"],
        (json.loads(row["parts"]).get("thought") or 0.0) > 0,
    )
