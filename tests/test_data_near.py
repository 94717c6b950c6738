"""Near-duplicates: the S-curve, the exact similarity, clusters against brute force, and what is kept."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.data.duplicates import Duplicates, Likeness, Removal
from burnish.data.near import Bands, NearIndex, choose_bands, jaccard
from burnish.data.words import Hasher, numbers_of, shingles, text_of, words

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.lists(st.lists(st.sampled_from("abcde"), max_size=8).map(" ".join), max_size=12)
LOOSE = Likeness(threshold=0.5, shingle=1, permutations=128)


def removed(folder: Path, texts: list[str], likeness: Likeness | None = LOOSE, anchors: int = 0) -> list[Removal]:
    duplicates = Duplicates(folder, likeness, anchors)
    for number, text in enumerate(texts):
        duplicates.add(number, text)
    return sorted(duplicates.removals(lambda cluster: cluster[0]), key=lambda one: one.row)


def numbered(*members: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(sorted(members), np.uint64)


def test_words_are_the_same_whatever_the_case_the_punctuation_and_the_unicode_form() -> None:
    assert words("Janet’s ＤＵＣＫＳ, lay: 1,000!", symbols=False) == words("janets ducks lay 1000")


def test_what_changes_a_formula_is_a_word_and_a_hyphen_is_not() -> None:
    assert words("two-digit 3-4 = x+1") == ["two", "digit", "3", "-", "4", "=", "x", "+", "1"]


@given(st.text(st.characters(max_codepoint=127)), st.booleans())
def test_ascii_has_the_words_it_has_among_other_characters(text: str, symbols: bool) -> None:
    assert [*words(text, symbols), "é"] == words(text + " é", symbols)


def test_a_script_without_spaces_has_a_word_a_character_and_marks_stay_with_their_letter() -> None:
    assert words("小明有3个苹果") == ["小", "明", "有", "3", "个", "苹", "果"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]


def test_a_list_of_numbers_is_not_one_number() -> None:
    assert numbers_of(words("[1,2,3] and 1,000,000.5")) == ("1", "2", "3", "1000000.5")


def test_of_a_conversation_only_the_users_turns_are_compared() -> None:
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "ask"},
        {"role": "assistant", "content": "a"},
    ]
    assert text_of(turns) == "ask"
    assert text_of([{"from": "human", "value": "ask"}, {"from": "gpt", "value": "a"}]) == "ask"


def test_a_text_shorter_than_a_shingle_is_its_own() -> None:
    hashes = Hasher()(["only", "two"])
    assert len(shingles(hashes, 3)) == 1
    assert len(shingles(hashes[:0], 3)) == 0


def test_the_similarity_is_that_of_the_sets() -> None:
    assert jaccard(numbered(1, 2, 3, 4), numbered(3, 4, 5, 6)) == pytest.approx(2 / 6)
    assert jaccard(numbered(), numbered()) == 0.0


def test_the_s_curve_is_the_formula() -> None:
    bands = Bands(2, 3)  # 1 - (1 - 0.5^3)^2 = 1 - 0.875^2
    assert bands.found(0.5) == pytest.approx(0.234375)
    assert bands.missed(1.0) == 0.0


@given(st.floats(0.05, 1.0), st.integers(1, 512), st.floats(1e-6, 0.5))
def test_bands_keep_the_promise_or_are_the_most_thorough(threshold: float, permutations: int, missed: float) -> None:
    bands = choose_bands(threshold, permutations, missed)
    assert bands.count * bands.rows <= permutations
    assert bands.missed(threshold) <= missed or bands == Bands(permutations, 1)


def test_candidates_come_as_often_as_the_curve_says(tmp_path: Path) -> None:
    bands, pairs = Bands(8, 4), 400
    generator = np.random.default_rng(7)
    index = NearIndex(bands, tmp_path)
    for _ in range(pairs):
        values = np.unique(generator.integers(0, 1 << 63, 60, dtype=np.uint64))[:50]
        values = generator.permutation(values)
        index.add(np.sort(values[:40]))  # 30 shared of 50: Jaccard 0.6
        index.add(np.sort(values[10:]))
    found = index.clusters(0.6)
    expected = bands.found(0.6)  # 0.67: the standard error of a share of 400 is 0.023
    assert found.verified / pairs == pytest.approx(expected, abs=0.1)
    assert {len(members) for members in found.members} == {2}


def test_a_planted_pair_is_found_with_its_exact_similarity(tmp_path: Path) -> None:
    generator = random.Random(3)
    texts = [" ".join(f"w{generator.randrange(10**6)}" for _ in range(40)) for _ in range(50)]
    copy = texts[7].split()
    copy[0] = "other"  # of 38 runs of 3 words, one changed: 37 shared of 39
    [found] = removed(tmp_path, [*texts, " ".join(copy)], Likeness())
    assert (found.row, found.kept, found.reason) == (50, 7, "near")
    assert found.jaccard == pytest.approx(37 / 39)


def test_a_pair_below_the_threshold_is_kept_however_often_it_is_a_candidate(tmp_path: Path) -> None:
    a, b = "a b c d e f", "a b c d x y"  # 4 of 8
    assert removed(tmp_path, [a, b], Likeness(0.51, 1)) == []
    assert [one.jaccard for one in removed(tmp_path, [a, b], Likeness(0.5, 1))] == [0.5]


@given(TEXTS)
@QUICK
def test_clusters_are_those_of_comparing_every_pair(tmp_path: Path, texts: list[str]) -> None:
    sets = [frozenset(text.split()) for text in texts]
    root = list(range(len(texts)))
    for b in range(len(texts)):
        for a in range(b):
            if sets[a] and sets[b] and len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.5:
                low, high = sorted((root[a], root[b]))
                root = [low if one == high else one for one in root]
    expected = {row: root[row] for row in range(len(texts)) if root[row] != row}
    # Bands of one value: a pair at 0.5 is missed with probability 2^-128.
    likeness = Likeness(0.5, 1, permutations=128, most_missed=1e-30)
    assert {one.row: one.kept for one in removed(tmp_path, texts, likeness)} == expected


@given(TEXTS)
@QUICK
def test_removing_twice_is_removing_once(tmp_path: Path, texts: list[str]) -> None:
    gone = {one.row for one in removed(tmp_path, texts)}
    left = [text for number, text in enumerate(texts) if number not in gone]
    assert removed(tmp_path, left) == []


@given(TEXTS, st.randoms(use_true_random=False))
@QUICK
def test_the_order_of_the_rows_changes_no_cluster(tmp_path: Path, texts: list[str], generator: random.Random) -> None:
    shuffled = list(texts)
    generator.shuffle(shuffled)
    assert len(removed(tmp_path, texts)) == len(removed(tmp_path, shuffled))


def test_a_row_in_a_cluster_through_another_says_through_which(tmp_path: Path) -> None:
    a, b, c = "a b c d", "b c d e", "c d e f"  # a~b 3/5, b~c 3/5, a~c 2/6
    first, second = removed(tmp_path, [a, b, c], Likeness(0.55, 1))
    assert (first.row, first.kept, first.like) == (1, 0, None)
    assert (second.row, second.kept, second.like) == (2, 0, 1)
    assert second.jaccard == pytest.approx(2 / 6) and second.like_jaccard == pytest.approx(3 / 5)


def test_anchors_stay_and_what_is_like_them_goes(tmp_path: Path) -> None:
    found = removed(tmp_path, ["a b c d", "a b c d", "x y z", "a b c e", "x y z"], Likeness(0.6, 1), anchors=2)
    assert [(one.row, one.kept) for one in found] == [(3, 0), (4, 2)]


def test_numbers_make_two_problems_of_one_template(tmp_path: Path) -> None:
    texts = [f"Tom has {n} red apples and gives half of them to his sister Ann" for n in (10, 12, 10)]
    assert [one.row for one in removed(tmp_path, texts, Likeness(0.6))] == [2]
    assert [one.row for one in removed(tmp_path, texts, Likeness(0.6, numbers="count"))] == [1, 2]
    assert [one.jaccard for one in removed(tmp_path, texts, Likeness(1.0, numbers="ignore"))] == [1.0, 1.0]


def test_empty_texts_repeat_nothing(tmp_path: Path) -> None:
    assert removed(tmp_path, ["", "  ", "", "?!", "..."]) == []


def test_exact_copies_differ_in_case_and_white_space_only(tmp_path: Path) -> None:
    found = removed(tmp_path, ["Two  apples", "two apples", "two apples."], None)
    assert [(one.row, one.kept, one.reason) for one in found] == [(1, 0, "exact")]
