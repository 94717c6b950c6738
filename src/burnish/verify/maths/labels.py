"""Text, choices, bases, ratios and times of day: what else may stand for each.

Not for use on its own: `compare` holds the table.
"""

from __future__ import annotations

from burnish.verify.maths import compare
from burnish.verify.maths.equal import equal
from burnish.verify.maths.tree import Based, Choice, Many, Ratio, Relation, Rules, Scalar, Tree, Value, Words
from burnish.verify.maths.words import bare, means_nothing, same_words

_LABELLED = frozenset(("point", "line", "graph", "figure", "option", "choice", "statement", "plan", "case"))


def words(gold: Words, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Words):
        return same_words(gold.text, answer.text)
    if isinstance(answer, Many) and answer.kind == "set" and not answer.items:
        return means_nothing(gold.text)
    return False


def choice(gold: Choice, answer: Value, rules: Rules) -> bool:
    from burnish.verify.maths.answers import read

    if isinstance(answer, Choice):
        return gold.letter == answer.letter
    if isinstance(answer, Scalar) and answer.tree[0] in ("v", "c") and str(answer.tree[1]).upper() == gold.letter:
        return not answer.label and answer.unit is None
    if gold.text:
        wanted = read(gold.text).value
        return wanted is not None and not isinstance(wanted, Choice) and compare.same(wanted, answer, rules)
    return False


def against_choice(gold: Value, answer: Choice, rules: Rules) -> bool:
    """A letter where no letter was asked for: its text counts, or the letter is a name."""
    from burnish.verify.maths.answers import read

    if answer.text:
        meant = read(answer.text).value
        return meant is not None and not isinstance(meant, Choice) and compare.same(gold, meant, rules)
    if isinstance(gold, Words):
        return _without_noun(gold.text) == bare(answer.letter)
    letter: Tree = ("v", answer.letter)
    return isinstance(gold, Scalar | Relation) and compare.same(gold, Scalar(letter), rules)


def _without_noun(text: str) -> str:
    """ "point a" is a: what a label is the label of says nothing more."""
    noun, _, label = text.partition(" ")
    return label if noun in _LABELLED and len(label) == 1 else text


def based_value(value: Based) -> int | None:
    return int(value.digits, value.base) if len(value.digits) <= 200 else None


def based(gold: Based, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Based):
        return gold == answer
    if isinstance(answer, Scalar) and not answer.label and answer.unit is None:
        return answer.decimals is None and answer.tree[0] == "n" and str(answer.tree[1]) == gold.digits
    if isinstance(answer, Words):
        return answer.text.upper() == gold.digits
    return False


def ratio(gold: Ratio, answer: Value, rules: Rules) -> bool:
    if isinstance(answer, Ratio):
        if (
            gold.clock is not None
            and answer.clock is not None
            and (gold.half or answer.half or like_clocks(gold, answer))
        ):
            if (gold.half and answer.half) or not (gold.half or answer.half):
                return gold.clock == answer.clock
            marked, other = (gold, answer) if gold.half else (answer, gold)
            assert marked.clock is not None and other.clock is not None
            return marked.clock == other.clock or (other.clock < 13 * 60 and marked.clock % 720 == other.clock % 720)
        if len(gold.parts) != len(answer.parts) or _clock_only(gold, answer) or _clock_only(answer, gold):
            return False
        one, two = gold.parts, answer.parts
        return all(equal(("*", one[0], two[index]), ("*", one[index], two[0])) for index in range(1, len(one)))
    if isinstance(answer, Scalar) and len(gold.parts) == 2 and not gold.half:
        return answer.decimals is None and equal(("/", *gold.parts), answer.tree)
    return False


def _clock_only(one: Ratio, two: Ratio) -> bool:
    """ "7:05" is a time of day, and "7:5" is not: nobody writes a ratio with a zero in front."""
    return one.clock is not None and two.clock is None and one.clock % 60 < 10


def like_clocks(gold: Ratio, answer: Ratio) -> bool:
    """Two times of day and not two ratios: minutes in two digits on both sides."""
    return gold.clock is not None and answer.clock is not None
