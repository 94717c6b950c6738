"""Text answers: what is forgiven in them, numbers written as words, and the ways to say that there is no solution.

Not for meaning: two texts are equal when nothing is left between them but case, articles, punctuation and a plural.
"""

from __future__ import annotations

import re
from fractions import Fraction

from burnish.verify.maths.tree import names

_ARTICLES = frozenset(("a", "an", "the"))
_MARKUP = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|emph|operatorname)\s*(?=\{)|\\(?=[A-Za-z])"
)
_HYPHEN = re.compile(r"(?<=\w)-|-(?!\d)")  # what stands before a number is its sign
_NOT_WORDS = re.compile(r"[^\w\s<>=+*/^.-]|_")
_NUMBERS = {
    word: value
    for value, word in enumerate(
        names(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
            "eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10 * (value + 2) for value, word in enumerate(names("twenty thirty forty fifty sixty seventy eighty ninety"))
}
SCALES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "hundreds": 100,
    "thousands": 1_000,
    "millions": 10**6,
    "billions": 10**9,
    "dozens": 12,
}
_PARTS = {
    "half": 2,
    "third": 3,
    "thirds": 3,
    "quarter": 4,
    "quarters": 4,
    "fourth": 4,
    "fourths": 4,
    **{
        name + ending: value
        for value, name in enumerate(
            names("fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth"),
            5,
        )
        for ending in ("", "s")
    },
}
_NOTHING = frozenset(
    (
        "no solution",
        "no solutions",
        "no real solution",
        "no real solutions",
        "there is no solution",
        "there are no solutions",
        "no such solution",
        "empty set",
        "emptyset",
        "has no solution",
        "has no solutions",
        "no integer solution",
        "no integer solutions",
        "varnothing",
    )
)
_SAID_OTHERWISE = {
    "does not exist": "dne",
    "doesn t exist": "dne",
    "doesnt exist": "dne",
    "all reals": "all real numbers",
    "all real number": "all real numbers",
    "all real": "all real numbers",
    "any real number": "all real numbers",
    "every real number": "all real numbers",
    "set of all real numbers": "all real numbers",
    "real numbers": "all real numbers",
    "infinitely many": "infinitely many solutions",
    "infinite number of solutions": "infinitely many solutions",
    "infinite solutions": "infinitely many solutions",
}
_LEAD = re.compile(r"^(?:it is |it s |it (?=can)|this is |on )")
CHANGES_THE_NUMBER = frozenset(
    names(
        "or and not nor no never than less more fewer greater at least most about approximately around roughly nearly is are isn wrong "
        "incorrect false if but either neither between minus plus times divided over mod modulo squared cubed factorial half third "
        "quarter percent to from up over under above below only answer maybe possibly unless except without with"
    )
)


def bare(text: str) -> str:
    """A text without case, articles, markup and punctuation."""
    text = _HYPHEN.sub(" ", _MARKUP.sub(" ", text).casefold())
    text = _NOT_WORDS.sub(" ", text)
    words = [word.strip(".") for word in text.split()]
    last = len(words) - 1  # an "a" that ends a text is a label: "point A"
    kept = [word for place, word in enumerate(words) if word and (word not in _ARTICLES or place == last)]
    return " ".join(kept or words)


def means_nothing(text: str) -> bool:
    """Whether a bare text says that there is no solution."""
    return text in _NOTHING


def same_words(one: str, two: str) -> bool:
    """Whether two bare texts say the same: equal, or equal but for a plural, hyphens or spaces."""
    one, two = (_SAID_OTHERWISE.get(text, text) for text in (_LEAD.sub("", one), _LEAD.sub("", two)))
    if one == two or (" and " in one and sorted(one.split(" and ")) == sorted(two.split(" and "))):
        return bool(one)
    if "and" in one.split() + two.split() and _listed(one) == _listed(two):  # "red, blue" and "red and blue"
        return bool(_listed(one))
    if means_nothing(one) and means_nothing(two):
        return True
    if one.replace(" ", "") == two.replace(" ", ""):
        return bool(one) and not any(character.isdigit() for character in one)
    return singular(one) == singular(two) and len(singular(one)) > 2


def _listed(text: str) -> list[str]:
    return [word for word in text.split() if word != "and"]


def singular(text: str) -> str:
    """With the plural of each word taken off, roughly: "even numbers" and "even number" become the same."""
    return " ".join(_stem(word) for word in text.split())


def _stem(word: str) -> str:
    if len(word) < 4 or not word.isalpha():
        return {"men": "man", "mice": "mouse"}.get(word, word)
    if word in ("people", "persons"):
        return "person"
    if word == "children":
        return "child"
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def number_in_words(text: str) -> Fraction | None:
    """The number a bare text is in words: "five", "twenty one", "two hundred and five", "three quarters"."""
    words = [word for word in text.split() if word != "and"]
    if not words or len(words) > 10:
        return None
    if words[0] in ("minus", "negative") and (value := number_in_words(" ".join(words[1:]))) is not None:
        return -value
    if len(words) == 2 and words[1] in _PARTS and words[0] in _NUMBERS:
        return Fraction(_NUMBERS[words[0]], _PARTS[words[1]])
    if words in (["half"], ["one half"]):
        return Fraction(1, 2)
    total = current = 0
    seen = ""
    for word in words:
        if word in _NUMBERS:
            if seen == "unit" or (seen == "ten" and not 0 < _NUMBERS[word] < 10):
                return None
            current += _NUMBERS[word]
            seen = "unit"
        elif word in _TENS:
            if seen in ("unit", "ten"):
                return None
            current += _TENS[word]
            seen = "ten"
        elif word == "hundred":
            if not 0 < current < 100:
                return None
            current *= 100
            seen = "scale"
        elif word in ("thousand", "million", "billion"):
            if not current:
                return None
            total += current * SCALES[word]
            current, seen = 0, "scale"
        else:
            return None
    return Fraction(total + current)
