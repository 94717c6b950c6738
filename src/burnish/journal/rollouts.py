"""Every rollout of a run, judged and credited, as one Parquet file a step: `rollouts/step_000001.parquet`.

A row holds all that is needed to see what happened and to judge it again: the problem with its reference, the tokens
with the sampler's log-probabilities, the verdict, and the reward and advantages or the reason it was dropped. Rewards
are joined to rollouts by key (problem_id, index), never by position.

Not for: metrics (one line a step, in `journal.py`), or for choosing what to keep: everything that was sampled is
written.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.errors import DataError, InputError
from burnish.journal.files import encode, write_atomic
from burnish.records import Dropped, Group, Key, Message, Problem, Prompt, Rollout, Sample, Tokens, Usage, Verdict

_FILE = re.compile(r"step_(\d{6,})\.parquet")
_JSON_COLUMNS = ("reference", "messages", "parts")


def _schema() -> Any:
    """The columns of a file. C counts every token after the prompt; `sampled` says which of them the policy wrote."""
    import pyarrow as pa

    text, ids, floats = pa.string(), pa.list_(pa.int32()), pa.list_(pa.float32())
    return pa.schema(
        [
            ("step", pa.int64()),
            ("problem_id", text),
            ("task", text),
            ("split", text),
            ("fingerprint", text),
            ("question", text),
            ("reference", text),  # JSON
            ("index", pa.int32()),
            ("messages", text),  # JSON
            ("prompt_text", text),
            ("prompt_ids", ids),  # [P]
            ("completion_ids", ids),  # [C]
            ("sampled", pa.list_(pa.bool_())),  # [C]
            ("logprobs", floats),  # [C], nats
            ("text", text),
            ("stop", text),
            ("outcome", text),
            ("score", pa.float64()),  # null for no_verdict
            ("found", text),
            ("why", text),
            ("fault", text),
            ("parts", text),  # JSON
            ("verify_seconds", pa.float64()),
            ("reward", pa.float64()),  # null where no sample was made of it
            ("advantage", pa.float64()),  # mean over the sampled tokens
            ("advantages", floats),  # [C]
            ("oldest", pa.int64()),
            ("newest", pa.int64()),
            ("dropped", text),  # the reason, or null
            ("usage_prompt", pa.int64()),  # tokens by an endpoint's own count, where no ids came with the text
            ("usage_completion", pa.int64()),
        ]
    )


def rollouts_path(directory: str | os.PathLike[str], step: int) -> Path:
    """Where the rollouts of `step` are: `directory/step_000001.parquet`."""
    return Path(directory) / f"step_{step:06d}.parquet"


def rollouts_files(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """The whole files of a rollouts directory by step, in order of step; half-written ones have other names."""
    found = {}
    folder = Path(directory)
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _FILE.fullmatch(path.name):
            found[int(match.group(1))] = path
    return dict(sorted(found.items()))


def write_rollouts(
    directory: str | os.PathLike[str],
    step: int,
    groups: Sequence[Group],
    samples: Sequence[Sample] = (),
    dropped: Sequence[Dropped] = (),
) -> Path:
    """Write one step's rollouts, a row each, in the order of `groups`, and return the file's path.

    `groups` are all that were sampled, kept or not. Raises ValueError, and writes nothing, where a sample or a
    dropped names a rollout that is not among them, where a key occurs twice, where a rollout was both trained on and
    dropped, or where a rollout does not begin with its prompt; StorageError where the disk would not take the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [group.key(rollout) for group in groups for rollout in group.rollouts]
    known = set(_by_key("rollout", keys, keys))
    credited = _by_key("sample", [sample.origin for sample in samples], samples)
    reasons = _by_key("dropped", [drop.origin for drop in dropped], [drop.reason for drop in dropped])
    for what, names in (("sample", credited), ("dropped", reasons)):
        if strangers := sorted(set(names) - known):
            raise ValueError(f"step {step}: a {what} names {tuple(strangers[0])}, which is not among the groups")
    if both := sorted(set(credited) & set(reasons)):
        raise ValueError(f"step {step}: {tuple(both[0])} is both a sample and dropped ({reasons[both[0]]})")

    rows = []
    for group in groups:
        shared = _problem_columns(step, group)
        for rollout in group.rollouts:
            key = group.key(rollout)
            credit = _credit_columns(rollout, len(group.prompt.ids), credited.get(key))
            rows.append(shared | _rollout_columns(group, rollout) | credit | {"dropped": reasons.get(key)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), sink, compression="zstd")
    path = rollouts_path(directory, step)
    write_atomic(path, sink.getvalue().to_pybytes())
    return path


def _by_key(what: str, keys: Iterable[Key], items: Iterable[Any]) -> dict[Key, Any]:
    joined: dict[Key, Any] = {}
    for key, item in zip(keys, items, strict=True):
        if key in joined:
            raise ValueError(f"{what} {tuple(key)} occurs twice in one step; keys must be unique to join by them")
        joined[key] = item
    return joined


def _problem_columns(step: int, group: Group) -> dict[str, Any]:
    problem, prompt = group.problem, group.prompt
    return {
        "step": step,
        "problem_id": problem.id,
        "task": problem.task,
        "split": problem.split,
        "fingerprint": problem.fingerprint,
        "question": _text(problem.question),
        "reference": _text(encode(problem.reference)),
        "messages": _text(encode([{"role": turn.role, "content": turn.content} for turn in prompt.messages])),
        "prompt_text": _text(prompt.text),
        "prompt_ids": prompt.ids,
    }


def _rollout_columns(group: Group, rollout: Rollout) -> dict[str, Any]:
    tokens, verdict, start = rollout.tokens, rollout.verdict, len(group.prompt.ids)
    if tokens.ids[:start] != group.prompt.ids:
        raise ValueError(f"rollout {tuple(group.key(rollout))} does not begin with the tokens of its prompt")
    return {
        "index": rollout.index,
        "completion_ids": tokens.ids[start:],
        "sampled": tokens.sampled[start:],
        "logprobs": tokens.logprobs[start:],
        "text": _text(rollout.text),
        "stop": rollout.stop,
        "outcome": verdict.outcome,
        "score": verdict.score,
        "found": _text(verdict.found),
        "why": _text(verdict.why),
        "fault": verdict.fault,
        "parts": encode(verdict.parts),
        "verify_seconds": verdict.seconds,
        "oldest": rollout.oldest,
        "newest": rollout.newest,
        "usage_prompt": rollout.usage.prompt if rollout.usage is not None else None,
        "usage_completion": rollout.usage.completion if rollout.usage is not None else None,
    }


def _credit_columns(rollout: Rollout, start: int, sample: Sample | None) -> dict[str, Any]:
    if sample is None:
        return {"reward": None, "advantage": None, "advantages": None}
    if len(sample.advantages) != len(rollout.tokens.ids):
        length = len(rollout.tokens.ids)
        raise ValueError(f"sample {tuple(sample.origin)} has {len(sample.advantages)} advantages for {length} tokens")
    counted = [a for a, sampled in zip(sample.advantages, rollout.tokens.sampled, strict=True) if sampled]
    mean = math.fsum(counted) / len(counted) if counted else None
    return {"reward": sample.reward, "advantage": mean, "advantages": sample.advantages[start:]}


def _text(text: str | None) -> str | None:
    """Parquet holds UTF-8 only; text is a view of the tokens, so what cannot be written is shown as a question mark."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def read_rollouts(run_dir: str | os.PathLike[str], step: int | None = None) -> list[dict[str, Any]]:
    """The rows of a run (of one step, if given) as dictionaries; reference, messages and parts are read back from JSON.

    Raises DataError where that step was not written, or a file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory = Path(run_dir) / "rollouts"
    files = rollouts_files(directory)
    if step is not None:
        if step not in files:
            held = f"it holds steps {min(files)} to {max(files)}" if files else "it holds none"
            raise DataError(f"{directory} has no rollouts of step {step}; {held}.")
        files = {step: files[step]}
    rows: list[dict[str, Any]] = []
    for path in files.values():
        try:
            # By handle: given a path, the reader would take a folder called "a=b" for a column.
            with open(path, "rb") as file:
                rows.extend(pq.read_table(file).to_pylist())
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"Cannot read {path}: {error}") from error
    for row in rows:
        for name in _JSON_COLUMNS:
            row[name] = json.loads(row[name])
    return rows


def as_groups(rows: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Rows of `read_rollouts` as records again, to be judged again or shown.

    Rows of one step and problem make one group. Log-probabilities come back with the precision of float32.
    """
    found: dict[tuple[int, str], tuple[Problem, Prompt, list[Rollout]]] = {}
    for row in rows:
        place = (row["step"], row["problem_id"])
        if place not in found:
            problem = Problem(
                row["problem_id"], row["task"], row["question"], row["reference"], row["split"], row["fingerprint"]
            )
            messages = tuple(Message(turn["role"], turn["content"]) for turn in row["messages"])
            prompt = Prompt(row["problem_id"], messages, row["prompt_text"], tuple(row["prompt_ids"]))
            found[place] = (problem, prompt, [])
        found[place][2].append(_as_rollout(row))
    return [Group(problem, prompt, tuple(rollouts)) for problem, prompt, rollouts in found.values()]


def _as_rollout(row: Mapping[str, Any]) -> Rollout:
    prompt = tuple(row["prompt_ids"])
    p = len(prompt)
    tokens = Tokens(
        prompt + tuple(row["completion_ids"]),
        (False,) * p + tuple(row["sampled"]),
        (0.0,) * p + tuple(row["logprobs"]),
    )
    verdict = Verdict(
        row["outcome"], row["score"], row["parts"], row["found"], row["why"], row["verify_seconds"], row["fault"]
    )
    counts = row.get("usage_prompt"), row.get("usage_completion")  # files from before endpoints have no such columns
    usage = None if counts == (None, None) else Usage(*counts)
    return Rollout(row["index"], tokens, row["text"], row["stop"], verdict, row["oldest"], row["newest"], usage)


def query(run_dir: str | os.PathLike[str], sql: str) -> list[dict[str, Any]]:
    """Ask the rollouts of a run with SQL (DuckDB); the view `rollouts` is over all whole files.

        query("runs/a", "select step, avg(score) as score from rollouts group by step order by step")

    Raises DataError where there are no rollouts yet and InputError where DuckDB refuses the query.
    """
    import duckdb

    directory = Path(run_dir) / "rollouts"
    files = rollouts_files(directory)
    if not files:
        raise DataError(f"{directory} holds no rollouts yet.")
    with duckdb.connect(":memory:") as connection:
        try:
            paths = [str(path) for path in files.values()]
            connection.read_parquet(paths, union_by_name=True).create_view("rollouts")
            result = connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, values, strict=True)) for values in result.fetchall()]
        except duckdb.Error as error:
            raise InputError(f"The query could not be run: {error}") from error
