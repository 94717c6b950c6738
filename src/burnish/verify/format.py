"""The shape of a response: where its thought ends, where its answer stands, and whether the whole is well formed.

Text only. Not for deciding whether an answer is right, and not for chat templates.

The convention is `<think> ... </think> <answer> ... </answer>`. A response starts where the assistant's turn starts,
so where the prompt left a thought open the caller puts that `<think>` back in front; a `</think>` nothing opened is
read as closing such a thought. Nothing inside a thought ever counts as an answer. Every function here takes time linear
in the text: tags are found with `str.find`, and the few regular expressions cannot backtrack across a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Style = Literal["answer_tag", "boxed", "hash", "any"]
How = Literal["answer_tag", "boxed", "hash", "phrase", "bare"]
STYLES: tuple[str, ...] = get_args(Style)

_THINK, _THINK_END = "<think>", "</think>"
_ANSWER, _ANSWER_END = "<answer>", "</answer>"
OPENERS: dict[How, str] = {
    "answer_tag": _ANSWER,
    "boxed": "\n\\boxed{",
    "hash": "\n#### ",
    "phrase": "\nThe answer is ",
    "bare": "",
}
"""What stands in front of an answer, by convention: for those who write the beginning of one."""
_MARKS = (_ANSWER, "\\boxed", "\\fbox", "####")  # begin an answer, so what holds one and was not read is half of one
_MOST_BOXES = 64
_BARE_LIMIT = 100  # characters: a longer line is prose, not "nothing but the answer"

# Tokens a decoder may leave at the very end: <|im_end|>, <｜end▁of▁sentence｜>, </s>, <eos>, <pad>, <end_of_turn>.
_SPECIAL = re.compile(r"<\|[^<>|]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</s>|<eos>|<pad>|<end_of_turn>")
_SPECIAL_LIMIT = 44
_BRACES = re.compile(r"\\(?:boxed|fbox)[ \t]{0,4}\{|\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"\\(?:boxed|fbox)[ \t]{1,4}(-?[0-9][0-9.,/]{0,30}(?<![.,/])|[A-Za-z](?![A-Za-z]))")
_PHRASE = re.compile(
    r"\b(?:the|my|our) (?:final |correct |right |best ){0,2}(?:answer|option|choice)(?: is[ \t]*:?|:)(?: (?:option|choice)\b)?"
    r"|(?:\A|(?<=\n))[ \t#*_]{0,8}(?:A|Answer|Final answer|The answer|The final answer)[ \t*_]{0,4}:[*_]{0,3}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Response:
    """A response taken apart.

    thought         what was thought, None where there is nothing to read in it (`<think></think>` is not a thought)
    thought_closed  a thought is there and was closed
    answer_region   the text after the last `</think>`, the whole text where there was none, None where a thought was
                    opened and never closed: such a response has no answer
    well_formed     at most one thought, then exactly one answer, and only white space around them
    why             what is not well formed, as a phrase; "" where all is

    >>> Response("12+7=19", True, "<answer>19</answer>", True, "")
    """

    thought: str | None
    thought_closed: bool
    answer_region: str | None
    well_formed: bool
    why: str

    @property
    def parts(self) -> dict[str, float]:
        """The two facts every verdict carries: is the form right, is there a closed thought with something in it."""
        return {"format": float(self.well_formed), "thought": float(self.thought_closed)}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as found in a response, and which convention found it: `Answer("19", "boxed")`."""

    text: str
    how: How


def split_response(text: str) -> Response:
    """Take a response apart. Linear in the text; never raises."""
    text = text[: _end_of_writing(text)]
    last_close = text.rfind(_THINK_END)
    open_after = text.find(_THINK, last_close + 1)
    if open_after >= 0:
        thought = _if_said(text[open_after + len(_THINK) :])
        return Response(thought, False, None, False, "the thought was never closed")
    if last_close < 0:
        why = _answer_fault(text)
        return Response(None, False, text, not why, why)
    first_open = text.find(_THINK)
    before = text[: max(first_open, 0)]
    start = first_open + len(_THINK) if first_open >= 0 else 0
    thought = _if_said(text[start:last_close])
    region = text[last_close + len(_THINK_END) :]
    if text.count(_THINK) > 1 or text.count(_THINK_END) > 1:
        why = "there is more than one thought"
    elif before.strip():
        why = "there is text before the thought"
    elif thought is None:
        why = "the thought is empty"
    else:
        why = _answer_fault(region)
    return Response(thought, thought is not None, region, not why, why)


def extract_answer(response: Response, style: Style = "any") -> Answer | None:
    r"""The answer a response gives, or None. Looks in the answer region only, and the last one of a kind wins.

    answer_tag  the last complete `<answer>...</answer>`
    boxed       the last brace-balanced `\boxed{...}` or `\fbox{...}`
    hash        `#### ` to the end of that line
    any         those three in that order, then "the answer is X" / "A: X" / "Answer: X" to the end of the sentence,
                then the region itself where it is one short line

    An answer cut off half-way (`<answer>7`, `\boxed{7`) is not an answer. A box that is all that was found is opened.
    Raises ValueError for an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"unknown answer style {style!r}: choose one of {', '.join(STYLES)}")
    region = response.answer_region
    if region is None:
        return None
    if style in ("answer_tag", "any") and (text := _tagged(region)) is not None:
        return Answer(_unboxed(text), "answer_tag")
    if style in ("boxed", "any") and (text := _boxed(region)) is not None:
        return Answer(_unboxed(text), "boxed")
    if style in ("hash", "any") and (text := _hashed(region)) is not None:
        return Answer(_unboxed(text), "hash")
    if style == "any" and (text := _phrased(region)) is not None:
        return Answer(text, "phrase")
    if style == "any" and (text := _bare(region)) is not None:
        return Answer(text, "bare")
    return None


def _end_of_writing(text: str) -> int:
    """Where the text ends without the white space and special tokens at its end. An index, so no copies pile up."""
    end = len(text)
    while end:
        if text[end - 1].isspace():
            end -= 1
            continue
        start = text.rfind("<", max(0, end - _SPECIAL_LIMIT), end)
        if start < 0 or not _SPECIAL.fullmatch(text, start, end):
            break
        end = start
    return end


def _if_said(thought: str) -> str | None:
    """The thought if there is anything to read in it: invisible characters and punctuation are not a thought."""
    return thought if any(character.isalnum() for character in thought) else None


def _answer_fault(region: str) -> str:
    """Why this region is not exactly one answer and nothing else; "" where it is."""
    opened, closed = region.count(_ANSWER), region.count(_ANSWER_END)
    if opened > 1 or closed > 1:
        return "there is more than one answer"
    if not opened:
        return "there is no answer"
    start, end = region.find(_ANSWER), region.find(_ANSWER_END)
    if end < start:
        return "the answer was never closed"
    if region[:start].strip():
        return "there is text before the answer"
    if region[end + len(_ANSWER_END) :].strip():
        return "there is text after the answer"
    return "" if region[start + len(_ANSWER) : end].strip() else "the answer is empty"


def _tagged(region: str) -> str | None:
    end = region.rfind(_ANSWER_END)
    start = region.rfind(_ANSWER, 0, max(end, 0))
    return region[start + len(_ANSWER) : end].strip() if start >= 0 else None


def _boxed(region: str) -> str | None:
    r"""The content of the box that closes last. One pass with a stack; `\{` and `\}` are letters, not braces."""
    opened: list[int] = []  # start of the content of a box, -1 for a plain brace
    found: tuple[int, int] | None = None
    for match in _BRACES.finditer(region):
        token = match.group()
        if token == "{":
            opened.append(-1)
        elif token == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                found = (start, match.start())
        elif len(token) > 2:
            opened.append(match.end())
    if found is None:
        unbraced = _UNBRACED.findall(region)
        return unbraced[-1] if unbraced else None
    return region[found[0] : found[1]].strip()


_BETWEEN = re.compile(
    r"(?:[\s,;.$&]|\\\\|\\[,;:! ]|\\(?:quad|qquad|text)\b|[{}]|"
    r"\b(?:and|or|perhaps|maybe|possibly|either|also|alternatively)\b){0,40}"
)


def joined_boxes(region: str) -> str | None:
    r"""The boxes that stand side by side at the end, as one answer: `\boxed{1}, \boxed{2}` is "1, 2".

    Between them there may be white space, commas, "and" and "or" only. None where the last box stands alone, or where
    all of them hold the same. For those who compare lists; whoever wants one value takes the last box.
    """
    spans = _box_spans(region)
    run: list[tuple[int, int]] = []
    for outer, start, end in reversed(spans):
        if run and not _BETWEEN.fullmatch(region[end + 1 : run[-1][0]]):
            break
        run.append((outer, start))
        if len(run) > _MOST_BOXES:
            break
    if len(run) < 2:
        return None
    ends = {start: end for _, start, end in spans}
    contents = [region[start : ends[start]].strip() for _, start in reversed(run)]
    return ", ".join(contents) if len(set(contents)) > 1 else None


def _box_spans(region: str) -> list[tuple[int, int, int]]:
    """(begin of the command, begin and end of the content) of every outermost box, in order."""
    opened: list[tuple[int, int]] = []
    spans: list[tuple[int, int, int]] = []
    for match in _BRACES.finditer(region):
        token = match.group()
        if token == "{":
            opened.append((-1, -1))
        elif token == "}":
            outer, start = opened.pop() if opened else (-1, -1)
            if start >= 0 and not any(begin >= 0 for begin, _ in opened[-_MOST_BOXES:]):
                spans.append((outer, start, match.start()))
        elif len(token) > 2:
            opened.append((match.start(), match.end()))
    return spans


def _hashed(region: str) -> str | None:
    start = region.rfind("####")
    if start < 0:
        return None
    end = region.find("\n", start)
    return region[start + 4 : end if end >= 0 else len(region)].strip() or None


def _phrased(region: str) -> str | None:
    last = None
    for last in _PHRASE.finditer(region):  # noqa: B007 - only the last one is wanted, and a list of all could be long
        pass
    if last is None:
        return None
    end = region.find("\n", last.end())
    line = region[last.end() : end if end >= 0 else len(region)]
    return line.split(". ", 1)[0].strip() or None


def _bare(region: str) -> str | None:
    text = region.strip()
    if not text or len(text) > _BARE_LIMIT or "\n" in text or any(mark in text for mark in _MARKS):
        return None
    return text


def _unboxed(text: str) -> str:
    for _ in range(3):  # bounded: a tower of boxes must not cost a pass for each storey
        match = _BRACES.match(text)
        if match is None or len(match.group()) <= 2 or not text.endswith("}"):
            break
        inner = text[match.end() : -1]
        if _boxed(text) != inner.strip():
            break  # two boxes side by side, not one box around all
        text = inner.strip()
    return text
