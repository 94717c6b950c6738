"""Messages <-> token ids: the only file that knows a chat template. Not for: wording (tasks) or judging (verify).

Ids are made once, from messages, and travel from here to the engine and on to the learner; text is a view of them.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta

from burnish.errors import ConfigError, DataError, ModelError
from burnish.records import Message, Problem, Prompt

OPEN_THOUGHT, CLOSE_THOUGHT = "<think>", "</think>"
SWITCHES = ("enable_thinking", "thinking")
"""What chat templates call their switch for thinking: Qwen3, SmolLM3, GLM; DeepSeek-V3.1, Granite."""

_GIVEN = {"messages", "add_generation_prompt", "tools", "documents", "bos_token", "eos_token", "pad_token", "unk_token"}
_PINNED = (
    "{%- macro strftime_now(format) -%}{{- format | replace('%d', '26') | replace('%B', 'July') | replace('%b', 'Jul')"
    " | replace('%m', '07') | replace('%Y', '2024') | replace('%y', '24') | replace('%A', 'Friday') | replace('%a', 'Fri')"
    " | replace('%H', '00') | replace('%M', '00') | replace('%S', '00') -}}{%- endmacro -%}"
)
"""Some templates (Llama 3, SmolLM3) write today's date into the prompt: here it is always 26 July 2024, the day Llama 3's own template
falls back to, so that a run says the same tomorrow."""


class Renderer:
    """Renders prompts with one tokenizer and, where wanted, a system message.

    thinking          whether the template's thinking mode is on; None leaves it as the template has it
    template_options  further variables of the chat template

    Raises ModelError where the template has no such mode or takes no system message, ConfigError for an option it does not read.
    """

    def __init__(
        self,
        tokenizer: Any,
        system: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        thinking: bool | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise ModelError(
                "The tokenizer has no chat template; load it with burnish.policy.model.load, which gives a plain one."
            )
        self._tokenizer = tokenizer
        self._system = system
        template = tokenizer.get_chat_template()
        self._template = _PINNED + template if "strftime_now" in template else template
        self._options = dict(template_options or {})
        if self._options or thinking is not None:
            self._check_options(_variables(template), thinking)
        if system is not None:
            asked = [Message("user", "?")]
            if self._text([Message("system", system), *asked], True) == self._text(asked, True):
                raise ModelError("The model's chat template drops a system message; leave task.system (--system) out.")
        self._end, self._end_id = self._turn_end()

    def _check_options(self, known: set[str], thinking: bool | None) -> None:
        for option in self._options:
            if option not in known:
                near = difflib.get_close_matches(option, sorted(known), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it reads {', '.join(sorted(known)) or 'none'}."
                raise ConfigError(f"The model's chat template reads no option {option!r}; {hint}")
        if thinking is None:
            return
        switch = next((name for name in SWITCHES if name in known), None)
        if switch is not None:
            self._options[switch] = thinking
        elif not (thinking and _opens_thought(self._text([Message("user", "?")], True))):
            raise ModelError(
                f"task.thinking is {str(thinking).lower()}, but the model's chat template has no switch for thinking (it would be "
                f"{' or '.join(SWITCHES)}); leave task.thinking (--thinking) out, or take a model whose template has one."
            )

    @property
    def end_id(self) -> int:
        """The token that ends a turn of the assistant: what its template puts there, else the end-of-sequence token."""
        return self._end_id

    def stop_ids(self, own: Iterable[int]) -> tuple[int, ...]:
        """The model's own stop tokens and the one its template ends a turn with, which some models do not name (Gemma, Phi)."""
        return tuple(sorted({*own, self._end_id}))

    def _turn_end(self) -> tuple[str, int]:
        """(text, id) of the special token behind the words of the assistant's turn."""
        tokenizer, mark = self._tokenizer, "burnish"
        eos = (str(tokenizer.eos_token or ""), tokenizer.eos_token_id)
        try:
            said = self._text([Message("user", "?"), Message("assistant", mark)], opened=False)
        except ModelError:  # a template for single turns
            return eos
        found = self._ids(said[said.rfind(mark) + len(mark) :])[:1] if mark in said else ()
        added = tokenizer.added_tokens_decoder.get(found[0]) if found else None
        return (added.content, found[0]) if added is not None and added.special else eos

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt:
        """The prompt of a problem, with the turn of the assistant opened."""
        if self._system is not None:
            messages = (Message("system", self._system), *messages)
        text = self._text(messages, opened=True)
        ids = self._ids(text)
        return Prompt(problem.id, messages, text, ids)

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
            if not before.startswith(said):
                raise DataError(
                    f"{place}: the chat template does not render turn {number + 1} after the turns before it, so what is learned "
                    "cannot be told from the rest; give rows with a prompt and a completion instead."
                )
            learned, closed = self._learned(before, messages[: number + 1], place)
            pieces.append((self._ids(before[len(said) :]), False))
            ids = self._ids(learned)
            pieces.append((ids if closed else (*ids, self._end_id), True))
            said = before + learned
        if not pieces:
            raise DataError(f"{place}: no turn of the conversation is the assistant's, so there is nothing to learn.")
        return pieces

    def _learned(self, before: str, messages: Sequence[Message], place: str) -> tuple[str, bool]:
        """What the assistant says after `before` in its last turn, and whether the text holds the token that ends the turn.

        It is what the template makes of the turn. A template that takes the thought out (DeepSeek-R1's does, for the turns that come
        later) would leave nothing to learn of it: then it is what the turn itself says, on from where the prompt leaves off.
        """
        after, content = self._text(messages, opened=False), messages[-1].content
        own = after[len(before) :]
        if after.startswith(before) and (CLOSE_THOUGHT not in content or CLOSE_THOUGHT in own):
            cut = own.rfind(self._end) + len(self._end) if self._end and self._end in own else 0
            return (own[:cut], True) if cut else (own, False)
        if not _opens_thought(before) and CLOSE_THOUGHT in content:
            return content, False
        if _opens_thought(before) and content.lstrip().startswith(OPEN_THOUGHT):
            gap = before[len(before.rstrip()) :]
            return content.lstrip()[len(OPEN_THOUGHT) :].removeprefix(gap), False
        raise DataError(
            f"{place}: the chat template does not render turn {len(messages)} after the turns before it, so what is learned cannot be "
            f"told from the rest; begin the answer with {OPEN_THOUGHT} where the template opens a thought, or give rows with a prompt and "
            "a completion instead."
        )

    def _text(self, messages: Sequence[Message], opened: bool) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, add_generation_prompt=opened, **self._options
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ModelError(
                f"The model's chat template refuses the turns {roles}: {error}. "
                + (
                    "Leave the system message out."
                    if any(m.role == "system" for m in messages)
                    else "Take another model."
                )
            ) from error
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
        return (*self._ids(text), self._end_id)


class Unrendered:
    """Prompts that stay messages: an endpoint renders and tokenises them itself, so `text` and `ids` are empty."""

    def __init__(self, system: str | None = None) -> None:
        self._system = system

    def prompt(self, problem: Problem, messages: tuple[Message, ...]) -> Prompt:
        """The messages of a problem, after the system message where there is one."""
        if self._system is not None:
            messages = (Message("system", self._system), *messages)
        return Prompt(problem.id, messages, "", ())

    def text(self, ids: Sequence[int]) -> str:
        """An endpoint says no token ids, so there are none to read. Raises ModelError."""
        raise ModelError("An answer from an endpoint cannot be continued: an endpoint takes messages, not token ids.")


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
    return OPEN_THOUGHT + completion_text if _opens_thought(prompt.text) else completion_text


def _opens_thought(text: str) -> bool:
    return text.rstrip().endswith(OPEN_THOUGHT)


class _Generation(jinja2.ext.Extension):
    """transformers' {% generation %} blocks, read only."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _variables(template: str) -> set[str]:
    """The variables a chat template reads that a caller may give."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    try:
        found = jinja2.meta.find_undeclared_variables(environment.parse(template))
    except jinja2.TemplateError as error:
        raise ModelError(f"The model's chat template is no valid template: {error}.") from error
    return found - _GIVEN - {"strftime_now", "raise_exception", *environment.globals}
