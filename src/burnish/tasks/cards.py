"""What a reader wants to know of a published data set: where it is from, what is read of it, under which licence.

docs/tasks.md is made of these. Not for reading rows: each task does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """A data set as its task declares it.

    title     as its authors write it, e.g. "MATH-500"
    about     what it holds, and which part is held out
    columns   what is read of a row; "a or b" where published copies differ
    source    where its authors publish it
    licence   as they state it; a statement of theirs, checked by nobody here
    paper     its authors and arXiv number, or what else describes it
    example   a row in these columns, made up for the page and the tests
    note      what one should know before trusting a score on it
    """

    title: str
    about: str
    columns: str
    source: str
    licence: str
    paper: str
    example: Mapping[str, Any]
    note: str = ""
