"""Reading rows: every format, and a sentence for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from burnish.errors import DataError
from burnish.tasks.files import field, read_rows, text

ROWS = [{"a": "x"}, {"a": "y"}]


def places(location: Path | str) -> list[tuple[str, dict[str, object]]]:
    return [(place.rsplit("/", 1)[-1], row) for place, row in read_rows(str(location))]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_json_lines_give_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", '{"a": "x"}\n\n{"a": "y"}')
    assert places(file) == [("f.jsonl:1", ROWS[0]), ("f.jsonl:3", ROWS[1])]


def test_gzipped_json_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl.gz", gzip.compress(b'{"a": "x"}\n{"a": "y"}\n'))
    assert places(file) == [("f.jsonl.gz:1", ROWS[0]), ("f.jsonl.gz:2", ROWS[1])]


def test_a_json_list_gives_the_row(tmp_path: Path) -> None:
    file = write(tmp_path / "f.json", '[\n {"a": "x"},\n {"a": "y"}\n]')
    assert places(file) == [("f.json:1", ROWS[0]), ("f.json:2", ROWS[1])]


def test_a_json_file_may_hold_one_row_a_line(tmp_path: Path) -> None:
    file = write(tmp_path / "f.json", '{"a": "x"}\n{"a": "y"}\n')
    assert places(file) == [("f.json:1", ROWS[0]), ("f.json:2", ROWS[1])]


def test_csv_gives_the_line_a_row_begins_at(tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", 'a,b\n"two\nlines",1\ny,2\n')
    assert places(file) == [("f.csv:2", {"a": "two\nlines", "b": "1"}), ("f.csv:4", {"a": "y", "b": "2"})]


def test_parquet_gives_the_row(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "f.parquet")
    assert places(tmp_path / "f.parquet") == [("f.parquet:1", ROWS[0]), ("f.parquet:2", ROWS[1])]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    file = write(tmp_path / "f.csv", b"\xef\xbb\xbfa\nx\n")
    assert places(file) == [("f.csv:2", {"a": "x"})]


BAD_FILES: dict[str, tuple[str, str | bytes, str]] = {
    "malformed row": ("f.jsonl", '{"a": 1}\n{"a": \n', r"f\.jsonl:2: not JSON"),
    "row that is no object": ("f.jsonl", '{"a": 1}\n[1]\n', r"f\.jsonl:2: a row must be an object .* not list"),
    "row of a list that is no object": ("f.json", '[{"a": 1}, 3]', r"f\.json:2: a row must be an object .* not int"),
    "malformed list": ("f.json", '[{"a": 1},\n {"a" 2}]', r"f\.json:2: not JSON \(.*column 7"),
    "deep nesting": ("f.jsonl", "[" * 100_000, r"f\.jsonl:1: JSON that cannot be read"),
    "short csv row": ("f.csv", "a,b\n1,2\n3\n", r"f\.csv:3: the row has 1 fields but the header names 2"),
    "bad csv quote": ("f.csv", 'a,b\n"1"x,2\n', r"f\.csv:2: not a CSV row"),
    "twice in the header": ("f.csv", "a,a\n1,2\n", r"f\.csv:1: the header names a field twice"),
    "not UTF-8": ("f.jsonl", b'{"a": 1}\n{"a": "\xe9"}\n', r"f\.jsonl:2: byte 8 of the line is not UTF-8"),
    "empty": ("f.jsonl", "", r"f\.jsonl has no rows"),
    "empty list": ("f.json", "[]", r"f\.json has no rows"),
    "header only": ("f.csv", "a,b\n", r"f\.csv has no rows"),
    "blank lines only": ("f.jsonl", "\n\n", r"f\.jsonl has no rows"),
    "not gzip": ("f.jsonl.gz", '{"a": 1}\n', r"f\.jsonl\.gz is not a whole gzip file"),
    "cut gzip": ("f.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99)[:-9], r"f\.jsonl\.gz is not a whole gzip file"),
    "not Parquet": ("f.parquet", "PAR?", r"f\.parquet:1: not a readable Parquet file"),
    "unknown format": ("f.txt", "x", r"f\.txt: cannot tell its format from its name; it must end in \.jsonl"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    name, content, message = BAD_FILES[case]
    file = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        list(read_rows(str(file)))


def test_rows_before_a_malformed_one_are_given(tmp_path: Path) -> None:
    rows = read_rows(str(write(tmp_path / "f.jsonl", '{"a": "x"}\nnonsense')))
    assert next(rows)[1] == ROWS[0]


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"There is no file .*trian\.jsonl; did you mean .*/train\.jsonl\?$"):
        list(read_rows(str(tmp_path / "trian.jsonl")))


def test_a_missing_file_with_none_near_shows_where_to_look(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"look in .* \(train\.jsonl\)\.$"):
        list(read_rows(str(tmp_path / "xyz.csv")))


def test_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no directory .*nowhere either"):
        list(read_rows(str(tmp_path / "nowhere" / "f.jsonl")))


def test_a_directory_names_the_files_in_it(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"is a directory; name one file in it \(train\.jsonl\)"):
        list(read_rows(str(tmp_path)))


def test_a_hub_name_goes_to_datasets_with_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert places("owner/name:main@test") == [("name:main@test:1", ROWS[0]), ("name:main@test:2", ROWS[1])]
    list(read_rows("owner/name@validation", "test"))
    list(read_rows("owner/name:main", "test"))
    list(read_rows("owner/name"))
    assert asked == [
        ("owner/name", "main", "test"),
        ("owner/name", None, "validation"),  # the split in the name goes before the argument
        ("owner/name", "main", "test"),
        ("owner/name", None, "train"),
    ]


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"no-one/nothing is no file here, and the hub's .* could not be loaded"):
        list(read_rows("no-one/nothing"))


def test_a_local_file_goes_before_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    write(tmp_path / "owner" / "name.jsonl", '{"a": "x"}')
    assert places("owner/name.jsonl") == [("name.jsonl:1", ROWS[0])]


def test_a_row_that_lacks_a_field_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"f:1: .* no field 'question', it has 'questions'; did you mean 'questions'"):
        field({"questions": 1}, "question", "f:1")


def test_a_field_that_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"f:1: 'question' must be text, not int \(3\)"):
        text({"question": 3}, "question", "f:1")


def test_a_field_of_white_space_is_refused() -> None:
    with pytest.raises(DataError, match="f:1: 'question' is empty"):
        text({"question": " \n"}, "question", "f:1")
