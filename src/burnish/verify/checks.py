"""The checks behind `burnish.verify.instructions`, one function an instruction. Not for choosing which to apply.

How things are counted, here and nowhere else:
- a word is letters, digits and underscores, with apostrophes and hyphens inside it: "don't" and "well-known" are one word each. In
  Chinese, Japanese and Thai, which write no spaces, a run of letters is one word: count characters there.
- a sentence ends with . ! ? or their full-width forms, followed by white space or the end; not after Mr., Dr., e.g. and the like,
  nor after a single capital letter; a line that is empty ends one too. A last sentence needs no full stop.
- a keyword is found as a whole word or phrase, in any case; white space in it stands for any white space.
- a paragraph is what lines of *** separate (as IFEval asks for it), or what empty lines separate in number_blank_line_paragraphs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from burnish.verify.language import LANGUAGES, evidence
from burnish.verify.schema import BadSchema, NotJson, check_schema, misfit, parse
from burnish.verify.shape import unfenced

Args = Mapping[str, Any]
Result = tuple[bool, str]

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda count, bound: count >= bound,
    "at most": lambda count, bound: count <= bound,
    "less than": lambda count, bound: count < bound,
    "more than": lambda count, bound: count > bound,
    "exactly": lambda count, bound: count == bound,
}


class BadArgument(Exception):
    """An argument of an instruction is of the wrong kind, or nothing could follow it; the message says why."""


class Check(NamedTuple):
    """What an instruction needs and may take, and (text, args) -> (is it followed, why not)."""

    follows: Callable[[str, Args], Result]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


_WORD = re.compile(r"\w+(?:['’\-]\w+)*")
_STOP = re.compile(r"[.!?。！？]+[\"'”’)\]]*(?=\s|$)|\n\s*\n|(?<=[。！？])")
_SHORT = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|cf|No|Fig|approx)|\b[A-Z])\.$")
_HIGHLIGHT = re.compile(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*")
_BULLET = re.compile(r"^[ \t]*[*\-•][ \t]+\S", re.MULTILINE)
_TITLE = re.compile(r"<<[^<>\n]*\S[^<>\n]*>>")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\w[^\[\]\n]*\]")
_COMMAS = ",，、،"


def words(text: str) -> list[str]:
    """The words of a text, as this module counts them."""
    return _WORD.findall(text)


def sentences(text: str) -> int:
    """How many sentences a text has, as this module counts them."""
    count = start = 0
    for stop in _STOP.finditer(text):
        if (
            _SHORT.search(text[max(start, stop.start() - 12) : stop.start() + 1])
            and text[stop.start() : stop.end()] == "."
        ):
            continue
        count += any(character.isalnum() for character in text[start : stop.start()])
        start = stop.end()
    return count + any(character.isalnum() for character in text[start:])


def _count(args: Args, name: str, least: int = 0) -> int:
    value = args[name]
    if type(value) is not int or not least <= value <= 100_000:
        raise BadArgument(f"{name} must be a whole number from {least} to 100000, not {value!r:.40}")
    return value


def _text(args: Args, name: str) -> str:
    value = args[name]
    if not isinstance(value, str) or not value.strip():
        raise BadArgument(f"{name} must be text, not {value!r:.40}")
    return value


def _texts(args: Args, name: str) -> list[str]:
    value = args[name]
    if (
        not isinstance(value, list | tuple)
        or not value
        or not all(isinstance(one, str) and one.strip() for one in value)
    ):
        raise BadArgument(f"{name} must be a list of words, not {value!r:.40}")
    return list(value)


def _related(count: int, args: Args, bound: str, relation: str, what: str) -> Result:
    wanted, how = _count(args, bound), args.get(relation, "at least")
    if how not in RELATIONS:
        raise BadArgument(f"{relation} must be one of {', '.join(RELATIONS)}, not {how!r:.40}")
    if how == "less than" and not wanted:
        raise BadArgument(f"{relation} {how!r} {wanted} can never hold")
    return RELATIONS[how](count, wanted), f"{count} {what}, not {how} {wanted}"


def _times(text: str, keyword: str) -> int:
    phrase = r"\s+".join(re.escape(part) for part in keyword.split())
    return len(re.findall(rf"(?<!\w){phrase}(?!\w)", text, re.IGNORECASE))


def _existence(text: str, args: Args) -> Result:
    absent = [one for one in _texts(args, "keywords") if not _times(text, one)]
    return not absent, f"{', '.join(absent)} does not occur"


def _forbidden(text: str, args: Args) -> Result:
    present = [one for one in _texts(args, "forbidden_words") if _times(text, one)]
    return not present, f"{', '.join(present)} occurs"


def _frequency(text: str, args: Args) -> Result:
    return _related(_times(text, _text(args, "keyword")), args, "frequency", "relation", f"times {args['keyword']!r}")


def _letter(text: str, args: Args) -> Result:
    letter = _text(args, "letter")
    if len(letter) != 1:
        raise BadArgument(f"letter must be one character, not {letter!r:.40}")
    return _related(
        text.casefold().count(letter.casefold()), args, "let_frequency", "let_relation", f"times {letter!r}"
    )


def _language(text: str, args: Args) -> Result:
    language = args["language"]
    if language not in LANGUAGES:
        raise BadArgument(f"language must be one of {', '.join(LANGUAGES)}, not {language!r:.40}")
    told, why = evidence(text, language)
    return told == "yes" or (told == "unclear" and 0 < len(words(text)) < 5), why


def _words(text: str, args: Args) -> Result:
    return _related(len(words(text)), args, "num_words", "relation", "words")


def _sentences(text: str, args: Args) -> Result:
    return _related(sentences(text), args, "num_sentences", "relation", "sentences")


def _characters(text: str, args: Args) -> Result:
    return _related(len(text.strip()), args, "num_characters", "relation", "characters")


def _lines(text: str, args: Args) -> Result:
    return _related(sum(bool(line.strip()) for line in text.splitlines()), args, "num_lines", "relation", "lines")


def _paragraphs(text: str, args: Args) -> Result:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner = [part for at, part in enumerate(parts) if part or 0 < at < len(parts) - 1]
    wanted = _count(args, "num_paragraphs", 1)
    return len(inner) == wanted and all(
        inner
    ), f"{len(inner)} paragraphs between ***, not {wanted} with something in them"


def _blank_line_paragraphs(text: str, args: Args) -> Result:
    return _related(len(_blocks(text)), args, "num_paragraphs", "relation", "paragraphs")


def _blocks(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def _nth_first_word(text: str, args: Args) -> Result:
    wanted, nth, first = _count(args, "num_paragraphs", 1), _count(args, "nth_paragraph", 1), _text(args, "first_word")
    if nth > wanted:
        raise BadArgument(f"nth_paragraph is {nth}, but num_paragraphs is {wanted}")
    blocks = _blocks(text)
    if len(blocks) != wanted:
        return False, f"{len(blocks)} paragraphs, not {wanted}"
    begins = next(iter(words(blocks[nth - 1])), "")
    return begins.casefold() == first.strip().casefold(), f"paragraph {nth} begins with {begins!r}"


def _placeholders(text: str, args: Args) -> Result:
    count, wanted = len(_PLACEHOLDER.findall(text)), _count(args, "num_placeholders")
    return count >= wanted, f"{count} placeholders in brackets, not at least {wanted}"


def _postscript(text: str, args: Args) -> Result:
    marker = _text(args, "postscript_marker").strip()
    found = re.search(rf"^[ \t]*{re.escape(marker)}[ \t]*\S", text, re.MULTILINE | re.IGNORECASE)
    return found is not None, f"no line begins with {marker} and goes on"


def _bullets(text: str, args: Args) -> Result:
    count, wanted = len(_BULLET.findall(text)), _count(args, "num_bullets")
    return count == wanted, f"{count} bullets, not {wanted}"


def _numbered(text: str, args: Args) -> Result:
    numbers = [int(found) for found in re.findall(r"^[ \t]*([0-9]{1,4})[.)][ \t]+\S", text, re.MULTILINE)]
    wanted = _count(args, "num_items", 1)
    return numbers == list(range(1, wanted + 1)), f"the numbered items are {numbers[:20]}, not 1 to {wanted}"


def _constrained(text: str, args: Args) -> Result:
    options = args.get("options", ("My answer is yes.", "My answer is no.", "My answer is maybe."))
    chosen = [one for one in _texts({"options": options}, "options") if one.casefold() in text.casefold()]
    return len(chosen) == 1, f"{len(chosen)} of the given answers occur, not one"


def _highlights(text: str, args: Args) -> Result:
    found = [one for one in _HIGHLIGHT.findall(text) if any(character.isalnum() for character in one)]
    wanted = _count(args, "num_highlights")
    return len(found) >= wanted, f"{len(found)} highlighted parts, not at least {wanted}"


def _sections(text: str, args: Args) -> Result:
    splitter, wanted = _text(args, "section_spliter").strip(), _count(args, "num_sections", 1)
    heads = re.findall(rf"^[ \t#*]*{re.escape(splitter)}[ \t]*([0-9]{{1,4}})(?![0-9])", text, re.MULTILINE)
    return len(
        set(heads)
    ) >= wanted, f"{len(set(heads))} lines begin with {splitter} and a number, not at least {wanted}"


def _json(text: str, args: Args) -> Result:
    schema = args.get("schema", True)
    try:
        check_schema(schema)
        wrong = misfit(parse(unfenced(text)), schema)
    except BadSchema as error:
        raise BadArgument(f"the schema cannot be used: {error}") from error
    except NotJson as error:
        return False, f"not JSON: {error}"
    return not wrong, wrong


def _title(text: str, args: Args) -> Result:
    return _TITLE.search(text) is not None, "no title in <<double angular brackets>>"


def _two_responses(text: str, args: Args) -> Result:
    parts = [part.strip() for part in text.split("******")]
    if len(parts) != 2 or not all(any(c.isalnum() for c in part) for part in parts):
        return False, "not two responses separated by ******"
    return parts[0] != parts[1], "the two responses are the same"


def _repeat(text: str, args: Args) -> Result:
    prompt = " ".join(_text(args, "prompt_to_repeat").split()).casefold()
    said = " ".join(text.split()).casefold()
    return said.startswith(prompt) and len(said) > len(prompt), "does not begin with the prompt and then go on"


def _ends(text: str, args: Args) -> Result:
    phrase = _text(args, "end_phrase").strip().casefold()
    return text.strip().strip('"').casefold().endswith(phrase), f"does not end with {phrase!r}"


def _starts(text: str, args: Args) -> Result:
    phrase = _text(args, "start_phrase").strip().casefold()
    return text.strip().strip('"').casefold().startswith(phrase), f"does not begin with {phrase!r}"


def _quotation(text: str, args: Args) -> Result:
    plain = text.strip()
    inside = plain[1:-1]
    held = len(plain) > 2 and (plain[0], plain[-1]) in (('"', '"'), ("“", "”")) and any(c.isalnum() for c in inside)
    return held, "is not between double quotation marks"


def _capital_words(text: str, args: Args) -> Result:
    count = sum(word.isupper() for word in words(text))
    return _related(count, args, "capital_frequency", "capital_relation", "words in capitals")


def _cased(upper: bool) -> Callable[[str, Args], Result]:
    wrong = "Ll" if upper else "Lu"

    def follows(text: str, args: Args) -> Result:
        strays = [c for c in text if unicodedata.category(c) in (wrong, "Lt")]
        cased = any(unicodedata.category(c) in ("Ll", "Lu") for c in text)
        return cased and not strays, f"{len(strays)} letters in the other case" if strays else "no letters"

    return follows


def _no_comma(text: str, args: Args) -> Result:
    count = sum(text.count(comma) for comma in _COMMAS)
    return not count, f"{count} commas"


CHECKS: dict[str, Check] = {
    "keywords:existence": Check(_existence, ("keywords",)),
    "keywords:forbidden_words": Check(_forbidden, ("forbidden_words",)),
    "keywords:frequency": Check(_frequency, ("keyword", "frequency"), ("relation",)),
    "keywords:letter_frequency": Check(_letter, ("letter", "let_frequency"), ("let_relation",)),
    "language:response_language": Check(_language, ("language",)),
    "length_constraints:number_words": Check(_words, ("num_words",), ("relation",)),
    "length_constraints:number_sentences": Check(_sentences, ("num_sentences",), ("relation",)),
    "length_constraints:number_characters": Check(_characters, ("num_characters",), ("relation",)),
    "length_constraints:number_lines": Check(_lines, ("num_lines",), ("relation",)),
    "length_constraints:number_paragraphs": Check(_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_blank_line_paragraphs": Check(
        _blank_line_paragraphs, ("num_paragraphs",), ("relation",)
    ),
    "length_constraints:nth_paragraph_first_word": Check(
        _nth_first_word, ("num_paragraphs", "nth_paragraph", "first_word")
    ),
    "detectable_content:number_placeholders": Check(_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": Check(_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": Check(_bullets, ("num_bullets",)),
    "detectable_format:numbered_list": Check(_numbered, ("num_items",)),
    "detectable_format:constrained_response": Check(_constrained, (), ("options",)),
    "detectable_format:number_highlighted_sections": Check(_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": Check(_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": Check(_json, (), ("schema",)),
    "detectable_format:title": Check(_title),
    "combination:two_responses": Check(_two_responses),
    "combination:repeat_prompt": Check(_repeat, ("prompt_to_repeat",)),
    "startend:end_checker": Check(_ends, ("end_phrase",)),
    "startend:start_checker": Check(_starts, ("start_phrase",)),
    "startend:quotation": Check(_quotation),
    "change_case:capital_word_frequency": Check(_capital_words, ("capital_frequency",), ("capital_relation",)),
    "change_case:english_capital": Check(_cased(upper=True)),
    "change_case:english_lowercase": Check(_cased(upper=False)),
    "punctuation:no_comma": Check(_no_comma),
}
"""IFEval's twenty-five, and numbered lists, lines, characters, blank-line paragraphs and start phrases of ours."""
