"""The documentation tells the truth: links lead somewhere, run files validate, commands parse, examples give what is printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from burnish.algos import recipes
from burnish.cli import app
from burnish.config import KINDS as VERBS
from burnish.config import RunConfig, load

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
TRACE = "<!-- trace -->"
KINDS = {"check": RunConfig, **{title.removeprefix("burnish "): kind for kind, title in VERBS}}
NUMBER = re.compile(r"-?\d+\.\d+")
SECONDS = re.compile(r'"seconds": [\d.e-]+')


class Block(NamedTuple):
    """A fenced block: its language, what it holds, and the line before its fence."""

    language: str
    text: str
    before: str

    @property
    def name(self) -> str:
        """ "mine.toml" where the block begins with "# mine.toml, for burnish train"; else ""."""
        found = re.match(r"# ([\w.]+)", self.text)
        return found[1] if found and "." in found[1] else ""


def blocks(page: Path) -> list[Block]:
    found, lines = [], page.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if line.startswith("```"):
            if start is None:
                start = number
            else:
                text = "\n".join(lines[start + 1 : number]) + "\n"
                found.append(Block(lines[start][3:], text, lines[start - 1] if start else ""))
                start = None
    assert start is None, f"{page.name}: a block is not closed"
    return found


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run_files() -> Iterator[tuple[str, str, str]]:
    """(page, verb, TOML) of every block that begins with "# NAME.toml, for burnish VERB"."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml":
                verb = re.match(r"# [\w.]+\.toml, for burnish (\w+)\n", block.text)
                assert verb, f"{page.name}: a TOML block does not say what it is for: {block.text[:60]!r}"
                yield page.name, verb[1], block.text


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, arguments) of every `burnish ...` command line."""
    for page in PAGES:
        lines = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
        lines += re.findall(r"^\|.*\| `(burnish .+?)` \|$", prose(page), re.MULTILINE)
        for line in lines:
            words = [word for word in shlex.split(line, comments=True) if word != "PYTHONPATH=."]
            if words[:1] == ["burnish"]:
                yield page.name, words[1:]


def write_named(page: str, folder: Path) -> list[Block]:
    """Write a page's named blocks into a folder, as its reader does."""
    listed = blocks(ROOT / "docs" / page)
    for block in listed:
        if block.name:
            (folder / block.name).write_text(block.text)
    return listed


def run_there(folder: Path, *arguments: str) -> str:
    """Standard output of a Python command in the folder, with its modules on the path."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target} leads nowhere"
        assert not anchor or anchor in anchors(place), f"{page.name}: {place.name} has no heading {anchor!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_named_in_passing_exists(page: Path) -> None:
    for path in re.findall(r"`((?:src|tests|docs|examples|benchmarks)/[\w./-]+)`", prose(page)):
        assert (ROOT / path).exists(), f"{page.name}: there is no {path}"


@pytest.mark.parametrize(("page", "verb", "text"), [*run_files()])
def test_every_run_file_validates(page: str, verb: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    config = load(KINDS[verb], file)
    assert isinstance(config, KINDS[verb])
    if isinstance(config, RunConfig):
        assert recipes.recipe(config.recipe.name, **config.recipe.options).name == config.recipe.name


@pytest.mark.parametrize(("page", "words"), [*commands()], ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_uses_verbs_options_and_keys_that_exist(page: str, words: list[str], tmp_path: Path) -> None:
    group = typer.main.get_command(app)
    verbs = getattr(group, "commands", {})
    name = " ".join(words[:2]) if " ".join(words[:2]) in verbs else words[0]
    verb = verbs.get(name)
    assert verb is not None, f"{page}: burnish has no verb {words[0]!r}"
    context = verb.make_context(name, words[name.count(" ") + 1 :])  # parses, runs nothing
    file = context.params.get("run")
    if file is not None and (ROOT / file).is_file():
        load(KINDS[words[0]], ROOT / file, context.params.get("overrides") or [])


def test_the_readme_shows_the_loop_as_it_is() -> None:
    [shown] = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
    source = (ROOT / "src/burnish/loop.py").read_text()
    assert "".join(f"    {line}\n" for line in shown.splitlines()) in source


def test_the_trace_of_a_step_is_what_the_page_prints() -> None:
    page = "\n".join(block.text for block in blocks(ROOT / "docs/how-a-step-works.md") if block.before == TRACE)
    printed = run_there(ROOT, "docs/trace_a_step.py")
    assert [line for line in NUMBER.sub("#", page).splitlines() if line] == [
        line for line in NUMBER.sub("#", printed).splitlines() if line
    ]
    there, here = map(float, NUMBER.findall(page)), map(float, NUMBER.findall(printed))
    assert list(here) == pytest.approx(list(there), abs=1.5e-3)


def test_the_task_that_is_shown_passes_its_own_verifier(tmp_path: Path) -> None:
    write_named("add-a-task.md", tmp_path)
    code = """
from burnish.tasks import load, write_documents
from burnish.tasks.splits import check_golds
task = load("largest:Largest", {"digits": 5})
training, held_out = task.train(1).take(50), task.held_out()
documents = write_documents(task, 1, {"slip_rate": 0.5})
print(len(held_out), check_golds(task, [*training, *held_out]), next(documents).question.count(" "))
"""
    assert run_there(tmp_path, "-c", code) == "200 [] 4\n"


def test_the_verifier_that_is_shown_says_what_is_printed(tmp_path: Path) -> None:
    listed = write_named("add-a-verifier.md", tmp_path)
    [answers] = [block.text for block in listed if block.language == "json"]
    [printed] = [block.text for block in listed if block.language == "text"]
    (tmp_path / "answers.jsonl").write_text(answers)
    verb = ["-m", "burnish", "verify", "answers.jsonl", "--verifier", "clock:time_of_day", "--out", "judged.jsonl"]
    said = run_there(tmp_path, *verb) + (tmp_path / "judged.jsonl").read_text()
    assert SECONDS.sub("", said) == SECONDS.sub("", printed)


def test_the_recipe_that_is_shown_is_the_one_its_overrides_make(tmp_path: Path) -> None:
    listed = write_named("add-a-recipe.md", tmp_path)
    printed = [block.text for block in listed if block.language == "text"][-1]
    assert run_there(tmp_path, "ask_careful.py") == printed


def test_the_rows_of_the_quickstart_are_the_ones_it_makes(tmp_path: Path) -> None:
    listed = write_named("quickstart.md", tmp_path)
    first = next(block.text for block in listed if block.language == "text")
    run_there(tmp_path, "make_rows.py")
    assert (tmp_path / "my_train.jsonl").read_text().startswith(first)
