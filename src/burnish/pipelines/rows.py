"""Rows of a file become rows to learn from: conversations, prompts with completions, pairs, labelled solutions, verified rollouts.

Every complaint names the file and the line. Not for: reading file formats (burnish.tasks.files), or training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from burnish.config import PairRowsConfig, RowsConfig, SftRowsConfig
from burnish.errors import DataError
from burnish.journal.rollouts import as_groups, read_rollouts
from burnish.prompts import Renderer
from burnish.records import Group, Message, Rollout, Tokens, fingerprint
from burnish.tasks.files import field, read_rows

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Document:
    """One row of supervised fine-tuning. `cluster` says what is the same prompt."""

    place: str
    cluster: str
    tokens: Tokens


@dataclass(frozen=True)
class Preferred:
    """Two completions of one prompt as ids, each closed by its end token; `margin` 0 where none was given."""

    place: str
    cluster: str
    prompt: Ids
    chosen: Ids
    rejected: Ids
    margin: float = 0.0

    @property
    def tokens(self) -> int:
        """Of the longer row."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


class Row(Protocol):
    @property
    def cluster(self) -> str: ...


R = TypeVar("R", bound=Row)


class Reader:
    """Turns the fields of a row into ids, with one tokenizer and one choice of template."""

    def __init__(self, renderer: Renderer, template: str) -> None:
        self._renderer, self._plain = renderer, template == "none"

    def prompt(self, value: Any, place: str, name: str) -> tuple[Ids, str]:
        """(ids, what it says): text is a user's turn, or stands as it is; a list is a conversation."""
        if isinstance(value, str) and self._plain:
            return self._renderer.plain_ids(value), value
        turns = messages(value, place, name) if not isinstance(value, str) else (Message("user", value),)
        return self._renderer.turn_ids(turns), "\x1f".join(turn.content for turn in turns)

    def completion(self, value: Any, place: str, name: str) -> Ids:
        """Text, or a list with one turn of the assistant; closed by the end token."""
        if not isinstance(value, str):
            turns = messages(value, place, name)
            if len(turns) != 1 or turns[0].role != "assistant":
                raise DataError(f"{place}: {name!r} must be text or one turn of the assistant.")
            value = turns[0].content
        if not value.strip():
            raise DataError(f"{place}: {name!r} is empty; fill it in or remove the row.")
        return self._renderer.response_ids(value)


def messages(value: Any, place: str, name: str) -> tuple[Message, ...]:
    """A list of {"role", "content"}. Raises DataError where it is none."""
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{place}: {name!r} must be text or a list of chat turns, not {type(value).__name__}.")
    for turn in value:
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise DataError(f'{place}: a turn of {name!r} must be {{"role": text, "content": text}}, not {turn!r:.60}.')
    return tuple(Message(turn["role"], turn["content"]) for turn in value)


# --- supervised fine-tuning ---


def documents(location: str, config: SftRowsConfig, renderer: Renderer) -> Iterator[Document]:
    """The rows of a file as documents. A row is a conversation, a prompt and a completion, or plain text, by the fields it has."""
    reader = Reader(renderer, config.template)
    for place, row in read_rows(location):
        if config.messages in row:
            turns = messages(row[config.messages], place, config.messages)
            pieces = renderer.conversation(turns, place)
            said = "\x1f".join(turn.content for turn in turns if turn.role != "assistant")
        elif config.prompt in row or config.completion in row:
            prompt, said = reader.prompt(field(row, config.prompt, place), place, config.prompt)
            completion = reader.completion(field(row, config.completion, place), place, config.completion)
            pieces = [(prompt, False), (completion, True)]
        elif config.text in row:
            said = row[config.text]
            if not isinstance(said, str) or not said.strip():
                raise DataError(f"{place}: {config.text!r} must be text that is not empty.")
            pieces = [(renderer.response_ids(said), True)]
        else:
            raise DataError(
                f"{place}: the row has none of the fields {config.messages!r}, {config.prompt!r} with {config.completion!r}, and "
                f"{config.text!r}; it has {', '.join(map(repr, row)) or 'none'}. Name its fields in the data section."
            )
        yield Document(place, fingerprint(said), _joined(pieces, config.completion_only))


def _joined(pieces: Sequence[tuple[Ids, bool]], completion_only: bool) -> Tokens:
    ids = tuple(token for piece, _ in pieces for token in piece)
    learned = [own or not completion_only for piece, own in pieces for _ in piece]
    learned[0] = False  # nothing comes before it that could predict it
    return Tokens(ids, tuple(learned), (0.0,) * len(ids))


# --- pairs ---


def pairs(location: str, config: PairRowsConfig, renderer: Renderer, seed: int) -> Iterator[Preferred]:
    """The pairs of a file or of a run directory's verified rollouts. Raises DataError for a pair without a difference."""
    reader = Reader(renderer, config.template)
    if (Path(location) / "rollouts").is_dir():
        groups = as_groups(read_rollouts(location))
        if not groups:
            raise DataError(f"{location} holds no rollouts to make pairs of.")
        for candidate in _of_groups(groups, renderer, location):
            yield from _crossed(candidate, config.pairs_per_prompt, seed)
        return
    for place, row in read_rows(location):
        if config.solutions:
            yield from _crossed(_solutions(row, place, config, reader), config.pairs_per_prompt, seed)
            continue
        chosen, rejected = field(row, config.chosen, place), field(row, config.rejected, place)
        prompt = row.get(config.prompt)
        if prompt is None:
            if isinstance(chosen, str):
                field(row, config.prompt, place)  # complains
            prompt, chosen, rejected = _shared_turns(chosen, rejected, place, config)
        ids, said = reader.prompt(prompt, place, config.prompt)
        pair = Preferred(
            place,
            fingerprint(said),
            ids,
            reader.completion(chosen, place, config.chosen),
            reader.completion(rejected, place, config.rejected),
            _margin(row, place, config),
        )
        if pair.chosen == pair.rejected:
            raise DataError(
                f"{place}: {config.chosen!r} and {config.rejected!r} are the same, so the pair says nothing; remove the row."
            )
        yield pair


def _margin(row: Mapping[str, Any], place: str, config: PairRowsConfig) -> float:
    if config.margin is None:
        return 0.0
    value = field(row, config.margin, place)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise DataError(f"{place}: {config.margin!r} must be a number from 0 up, not {value!r:.60}.")
    return float(value)


def _shared_turns(chosen: Any, rejected: Any, place: str, config: PairRowsConfig) -> tuple[Any, Any, Any]:
    """Two whole conversations that differ in their last turn: (the turns they share, the last of each)."""
    if (
        not all(isinstance(value, list) and len(value) > 1 for value in (chosen, rejected))
        or chosen[:-1] != rejected[:-1]
    ):
        raise DataError(
            f"{place}: without {config.prompt!r}, {config.chosen!r} and {config.rejected!r} must be conversations that share all turns "
            "but the last."
        )
    return chosen[:-1], chosen[-1:], rejected[-1:]


@dataclass(frozen=True)
class Candidates:
    """Right and wrong completions of one prompt, each once."""

    place: str
    cluster: str
    prompt: Ids
    right: tuple[Ids, ...]
    wrong: tuple[Ids, ...]


def _solutions(row: Mapping[str, Any], place: str, config: PairRowsConfig, reader: Reader) -> Candidates:
    prompt, said = reader.prompt(field(row, config.prompt, place), place, config.prompt)
    sides: dict[bool, dict[Ids, None]] = {True: {}, False: {}}
    for name in config.solutions:
        one = field(row, name, place)
        if not isinstance(one, Mapping) or not isinstance(one.get("is_correct"), bool):
            raise DataError(
                f'{place}: {name!r} must be {{"solution": text, "is_correct": true or false}}, not {one!r:.60}.'
            )
        sides[one["is_correct"]][reader.completion(one.get("solution"), place, f"{name}.solution")] = None
    return Candidates(place, fingerprint(said), prompt, tuple(sides[True]), tuple(sides[False]))


def _of_groups(groups: Iterable[Group], renderer: Renderer, location: str) -> Iterator[Candidates]:
    """Rollouts of one problem together, whichever step they are of. Ids are kept where the tokenizer is the one that sampled."""
    encode = encoder(renderer)
    found: dict[str, tuple[str, Ids, dict[bool, dict[Ids, None]]]] = {}
    for group in groups:
        cluster = group.problem.fingerprint or fingerprint(group.prompt.text)
        for rollout in group.rollouts:
            if rollout.verdict.outcome == "no_verdict" or rollout.stop != "eos":
                continue  # unknown, or without an end: its length would tell it from the others
            prompt, ids = encode(group, rollout)
            sides = found.setdefault(cluster, (group.problem.id, prompt, {True: {}, False: {}}))[2]
            sides[rollout.verdict.outcome == "right"][ids] = None
    for cluster, (name, prompt, sides) in found.items():
        yield Candidates(f"{location}: {name}", cluster, prompt, tuple(sides[True]), tuple(sides[False]))


Encode = Callable[[Group, Rollout], tuple[Ids, Ids]]


def encoder(renderer: Renderer, same: bool | None = None) -> Encode:
    """(prompt ids, completion ids) of a rollout in the renderer's tokenizer: its own ids where that is the one that sampled.

    same  whether it is, where that is known; else it is taken for it where it gives the ids of the prompt
    """

    def encode(group: Group, rollout: Rollout) -> tuple[Ids, Ids]:
        own = renderer.plain_ids(group.prompt.text) == group.prompt.ids if same is None else same
        if own:
            return group.prompt.ids, rollout.tokens.ids[len(group.prompt.ids) :]
        ids = renderer.response_ids(rollout.text)
        return renderer.turn_ids(group.prompt.messages), ids if rollout.stop == "eos" else ids[:-1] or ids

    return encode


def _crossed(candidates: Candidates, most: int, seed: int) -> Iterator[Preferred]:
    """Every right completion with every wrong one, or `most` of those, drawn by (seed, prompt)."""
    crossed = [(right, wrong) for right in candidates.right for wrong in candidates.wrong if right != wrong]
    if most and len(crossed) > most:
        crossed = random.Random(f"{seed}/{candidates.cluster}").sample(crossed, most)
    for right, wrong in crossed:
        yield Preferred(candidates.place, candidates.cluster, candidates.prompt, right, wrong)


# --- splits and lengths ---


@dataclass(frozen=True)
class Split(Generic[R]):
    """What is learned, what is measured, and sentences about what was left out."""

    train: list[R]
    held_out: list[R]
    notices: list[str]


def split(
    config: RowsConfig, read: Callable[[str], Iterable[R]], tokens: Callable[[R], int], context: int, what: str
) -> Split[R]:
    """Read, leave out what is too long, and keep some prompts to measure on. No prompt stands in both splits.

    Raises DataError where nothing is left of a split, or a held-out prompt is learned too.
    """
    most = min(config.max_tokens or context, context)
    train = list(read(config.train))
    held_out = list(read(config.held_out)) if config.held_out is not None else []
    if config.held_out_share:
        train, held_out = (
            [row for row in train if _share(row.cluster) >= config.held_out_share],
            [row for row in train if _share(row.cluster) < config.held_out_share],
        )
    notices = []
    if leaks := {row.cluster for row in train} & {row.cluster for row in held_out}:
        raise DataError(
            f"{len(leaks)} prompts of {config.held_out} stand in {config.train} too; a figure on them would mean nothing. Remove them."
        )
    parts = []
    for name, rows in (("training", train), ("held-out", held_out)):
        short = [row for row in rows if tokens(row) <= most]
        if len(short) < len(rows):
            notices.append(
                f"{len(rows) - len(short)} of {len(rows)} {name} {what} are longer than {most} tokens and left out."
            )
        wanted = name == "training" or config.held_out is not None or config.held_out_share > 0
        if wanted and not short:
            raise DataError(
                f"No {name} {what} are left of {config.train if name == 'training' else config.held_out or config.train}"
                + (
                    f": all {len(rows)} are longer than {most} tokens; raise data.max_tokens or take a model with a longer context."
                    if rows
                    else "; pairs need right and wrong completions of one prompt."
                    if what == "pairs"
                    else "; give more rows, or another held_out_share."
                )
            )
        parts.append(short)
    return Split(parts[0], parts[1], notices)


def _share(cluster: str) -> float:
    """Where a prompt falls in [0, 1): by what it says, so that no other row and no seed moves it to the other side."""
    return int(fingerprint("split", cluster)[:12], 16) / float(1 << 48)


def texts(location: str) -> Iterator[str]:
    """Everything a file's rows say, for a tokenizer to be trained on."""
    for _, row in read_rows(location):
        yield from _strings(row)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
