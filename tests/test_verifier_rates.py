"""The error rates that travel with scores are the ones the verifiers have: measured again where the data are."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.evaluate.verifiers import as_json, measured, rates_of, sentences
from scripts import FOLDER, script

rates = script("verifier_rates")
HERE = [entry for entry in measured() if entry.data.startswith("tests/") or entry.data.startswith("math_cases")]
LARGE = [entry for entry in measured() if entry not in HERE]


def errors(entry: object, data: Path) -> tuple[int, ...]:
    """(wrong, right, false positives, false negatives), measured now; a verdict that came too late here is neither."""
    rows = rates.labelled(entry.data, data)  # type: ignore[attr-defined]
    assert rows is not None
    now = rates.measure(entry.verifier, entry.data, rows)  # type: ignore[attr-defined]
    return now.wrong, now.right, now.false_positives, now.false_negatives


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: f"{entry.verifier} {entry.data}")
def test_the_rates_are_what_is_measured_now(entry: object, data_dir: Path) -> None:
    there = entry.wrong, entry.right, entry.false_positives, entry.false_negatives  # type: ignore[attr-defined]
    assert errors(entry, data_dir) == there, "python benchmarks/verifier_rates.py --write"


@pytest.mark.parametrize("entry", LARGE, ids=lambda entry: f"{entry.verifier} {entry.data}")
def test_the_rates_on_gsm8k_are_what_is_measured_now(entry: object, data_dir: Path) -> None:
    there = entry.wrong, entry.right, entry.false_positives, entry.false_negatives  # type: ignore[attr-defined]
    assert errors(entry, data_dir) == there, "python benchmarks/verifier_rates.py --write"


def test_every_entry_of_the_script_is_in_the_file() -> None:
    assert {(entry.verifier, entry.data) for entry in measured()} == {
        (verifier, name) for name, verifiers in rates.SETS.items() for verifier in verifiers
    }


def test_gsm8k_has_the_labels_it_is_said_to_have() -> None:
    [entry] = [one for one in rates_of("number@x") if one.data.startswith("gsm8k")]
    assert (entry.wrong, entry.right) == (3275, 2001)


def test_other_code_than_was_measured_is_said_to_be() -> None:
    [first, *_] = as_json("number@another")
    assert not first["same_version"] and "measured at number@" in sentences("number@another", [first])[0]
    assert as_json(first["version"])[0]["same_version"]


def test_the_page_shows_what_the_file_holds() -> None:
    page = (FOLDER.parent / "docs" / "evaluation.md").read_text()
    for entry in measured():
        assert f"| {entry.verifier} | {entry.data} | {entry.false_positives} of {entry.wrong:,} [" in page
        assert f" | {entry.false_negatives} of {entry.right:,} [" in page
