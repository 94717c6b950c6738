"""Messages <-> token ids: the only file that knows a chat template. Not for: wording (tasks) or judging (verify).

Ids are made once, from messages, and travel from here to the engine and on to the learner; text is a view of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from burnish.errors import DataError, ModelError
from burnish.records import Message, Problem, Prompt

OPEN_THOUGHT, CLOSE_THOUGHT = "<think>", "</think>"


class Renderer:
    """Renders prompts with one tokenizer and, where wanted, a system message.

    `template_options` are handed to the chat template (e.g. {"enable_thinking": True}).
    """

    def __init__(
        self, tokenizer: Any, system: str | None = None, template_options: dict[str, Any] | None = None
    ) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                "The tokenizer has no chat template; load it with burnish.policy.model.load, which gives a plain one."
            )
        self._tokenizer = tokenizer
        self._system = system
        self._options = dict(template_options or {})

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt:
        """The prompt of a problem, with the turn of the assistant opened."""
        if self._system is not None:
            messages = (Message("system", self._system), *messages)
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **self._options)
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return Prompt(problem.id, messages, text, tuple(ids))

    def turn_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of a conversation with the turn of the assistant opened: what a completion follows."""
        return self._ids(self._text(messages, opened=True))

    def conversation(self, messages: Sequence[Message], place: str) -> list[tuple[tuple[int, ...], bool]]:
        """A whole conversation as pieces (ids, whether the assistant wrote them), in order.

        Every piece is tokenised alone, as it is when a model is sampled: the prompt first, then what it says. The end token that a
        template puts behind an assistant's turn is the assistant's. Raises DataError where the template does not render the turns
        one after the other (then nobody can say which tokens are whose), or no turn is the assistant's.
        """
        pieces: list[tuple[tuple[int, ...], bool]] = []
        said = ""
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._text(messages[:number], opened=True)
            after = self._text(messages[: number + 1], opened=False)
            end = self._tokenizer.eos_token or ""
            own = after[len(before) :]
            if not (before.startswith(said) and after.startswith(before)):
                raise DataError(
                    f"{place}: the chat template does not render turn {number + 1} after the turns before it, so what is learned "
                    "cannot be told from the rest; give rows with a prompt and a completion instead."
                )
            cut = own.rfind(end) + len(end) if end and end in own else 0
            learned = own[:cut] if cut else own
            pieces.append((self._ids(before[len(said) :]), False))
            ids = self._ids(learned)
            pieces.append((ids if cut else (*ids, self._tokenizer.eos_token_id), True))
            said = before + learned
        if not pieces:
            raise DataError(f"{place}: no turn of the conversation is the assistant's, so there is nothing to learn.")
        return pieces

    def _text(self, messages: Sequence[Message], opened: bool) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text: str = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=opened, **self._options
        )
        return text

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def plain_ids(self, text: str) -> tuple[int, ...]:
        """Ids of text that no template is put around."""
        return self._ids(text)

    def text(self, ids: Sequence[int]) -> str:
        """The view of ids that verifiers read: special tokens left out, as engines leave them out."""
        said: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return said

    def find(self, ids: Sequence[int], mark: str) -> tuple[int, int] | None:
        """(first, end) of the tokens that hold the first `mark` in the text of `ids`, None where it is not there.

        A mark may be one token or several, and share its first one with what stands before it.
        """
        place = self.text(ids).find(mark)
        if place < 0:
            return None
        end = bisect_left(range(len(ids) + 1), True, key=lambda count: mark in self.text(ids[:count]))
        first = bisect_right(range(end), place, key=lambda count: len(self.text(ids[:count]))) - 1
        return first, end

    def response_ids(self, text: str) -> tuple[int, ...]:
        """Ids of a response written by a program, closed by the end token: for supervised training only."""
        return (*self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids, self._tokenizer.eos_token_id)


def check_room(prompts: Iterable[Prompt], max_new: int, context: int) -> None:
    """Raises ModelError where the longest prompt and `max_new` tokens do not fit a model's context."""
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    if len(longest.ids) + max_new > context:
        raise ModelError(
            f"The prompt of {longest.problem_id} has {len(longest.ids)} tokens; with max_new = {max_new} that is more than the model's "
            f"context of {context}. Lower max_new, take a shorter prompt, or a model with a longer context."
        )


def response(prompt: Prompt, completion_text: str) -> str:
    """What the model said, as verifiers read it: a template that opens the thought in the prompt has it put back in front."""
    return OPEN_THOUGHT + completion_text if prompt.text.rstrip().endswith(OPEN_THOUGHT) else completion_text
