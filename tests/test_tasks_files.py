"""Reading rows: every format, and a sentence for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from burnish.errors import DataError
from burnish.tasks.files import field, is_unpinned, read_rows, text

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


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the layout of a repository of the hub: a card that names two configurations, each with two splits."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    splits = {"main": ("train", "test"), "extra": ("train", "test")}
    card = ["---", "configs:"]
    for config, names in splits.items():
        (folder / config).mkdir(parents=True)
        card += [f"- config_name: {config}", *(["  default: true"] if config == "main" else []), "  data_files:"]
        for name in names:
            card += [f"  - split: {name}", f"    path: {config}/{name}-*.parquet"]
            table = pyarrow.Table.from_pylist([{"a": f"{config} {name} {number}"} for number in (1, 2)])
            pyarrow.parquet.write_table(table, folder / config / f"{name}-00000-of-00001.parquet")
    write(folder / "README.md", "\n".join([*card, "---", "# A data set", ""]))
    return folder


def test_a_folder_is_read_as_a_repository_of_the_hub_is(repository: Path) -> None:
    rows = list(read_rows(str(repository), "test"))
    assert rows == [(f"{repository}@test:1", {"a": "main test 1"}), (f"{repository}@test:2", {"a": "main test 2"})]
    assert [row["a"] for _, row in read_rows(f"{repository}:extra@train")] == ["extra train 1", "extra train 2"]


def test_a_folder_without_that_split_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.jsonl", '{"a": "x"}')
    with pytest.raises(DataError, match=r"is a folder, but no 'test' split .* name one file in it \(train\.jsonl\)\.$"):
        list(read_rows(str(tmp_path / "folder"), "test"))
    with pytest.raises(DataError, match="is a folder here, which has no revisions; leave #abc out"):
        list(read_rows(f"{tmp_path / 'folder'}#abc"))


def test_tabs_separate_and_quotation_marks_are_characters(tmp_path: Path) -> None:
    file = write(tmp_path / "f.tsv", 'He said "5\t7\n\nx\t8\n')
    rows = [(place.rsplit("/", 1)[-1], row) for place, row in read_rows(str(file), header=("q", "n"))]
    assert rows == [("f.tsv:1", {"q": 'He said "5', "n": "7"}), ("f.tsv:3", {"q": "x", "n": "8"})]


def test_a_tsv_file_may_have_a_header_of_its_own(tmp_path: Path) -> None:
    assert places(write(tmp_path / "f.tsv", "a\tb\n1\t2\n")) == [("f.tsv:2", {"a": "1", "b": "2"})]


def test_a_short_row_of_a_tsv_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:2: the row has 1 fields, not 2 \(a, b\)"):
        places(write(tmp_path / "f.tsv", "a\tb\n1\n"))


def test_one_file_of_a_repository_comes_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "datasets--owner--name" / "snapshots" / ("0" * 40)
    kept.mkdir(parents=True)
    write(kept / "test6.jsonl", '{"a": "x"}')
    location = f"hf://datasets/owner/name@{'0' * 40}/test6.jsonl"
    assert list(read_rows(location)) == [(f"{location}:1", {"a": "x"})]
    with pytest.raises(DataError, match=r"test7\.jsonl could not be had from the hub: .*; give the file itself\.$"):
        list(read_rows(location.replace("test6", "test7")))


def test_only_places_of_the_hub_without_a_revision_are_unpinned(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", "{}")
    assert [is_unpinned(one) for one in (str(file), str(tmp_path), f"{tmp_path}:config@test")] == [False, False, False]
    assert [
        is_unpinned(one) for one in ("owner/name", "owner/name:config@test", "hf://datasets/owner/name/f.jsonl")
    ] == [True] * 3
    assert [is_unpinned(one) for one in ("owner/name@test#abc", "hf://datasets/owner/name@abc/f.jsonl")] == [
        False,
        False,
    ]


def test_a_hub_name_goes_to_datasets_with_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, config: str | None, *, split: str, **more: str) -> list[dict[str, str]]:
        asked.append((name, config, split, *more.values()))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert places("owner/name:main@test") == [("name:main@test:1", ROWS[0]), ("name:main@test:2", ROWS[1])]
    list(read_rows("owner/name@validation", "test"))
    list(read_rows("owner/name:main", "test"))
    list(read_rows("owner/name"))
    list(read_rows("owner/name:main@test#0a1b"))
    assert asked == [
        ("owner/name", "main", "test"),
        ("owner/name", None, "validation"),  # the split in the name goes before the argument
        ("owner/name", "main", "test"),
        ("owner/name", None, "train"),
        ("owner/name", "main", "test", "0a1b"),
    ]


def test_a_hub_that_cannot_be_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError,
        match=r"no-one/nothing is no file here, and the hub's .* could not be loaded: .*; give a file or a folder that holds it\.$",
    ):
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
