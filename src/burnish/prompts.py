"""Messages <-> token ids: the only file that knows a chat template. Not for: wording (tasks) or judging (verify).

Ids are made once, from messages, and travel from here to the engine and on to the learner; text is a view of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from burnish.errors import ModelError
from burnish.records import Message, Problem, Prompt

OPEN_THOUGHT = "<think>"


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
