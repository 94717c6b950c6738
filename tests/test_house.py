"""The walls of the house: who imports whom, what loads torch, how long a file may be. Read from the sources with `ast`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[1] / "src" / "burnish"
FILES = sorted(SOURCES.rglob("*.py"))

TABLE: dict[str, set[str]] = {
    "errors": set(),
    "records": {"errors"},
    "metrics": {"errors"},
    "config": {"errors"},
    "policy": {"errors", "config"},
    "prompts": {"records", "errors"},
    "chat": {"errors"},
    "verify": {"records", "errors", "chat"},
    "algos": {"records", "metrics", "errors"},
    "engine": {"policy", "records", "errors", "chat"},
    "learner": {"policy", "records", "metrics", "errors"},
    "journal": {"records", "metrics", "errors"},
    "tasks": {"verify", "records", "errors"},
    "data": {"tasks", "records", "journal", "errors"},
    "rollout": {"prompts", "verify", "records"},
    "loop": {"algos", "records", "metrics"},
    "run": {"engine", "learner", "rollout", "records", "journal", "metrics", "errors"},
    "evaluate": {"rollout", "tasks", "journal", "records", "errors"},
    "pipelines": {
        *("errors", "records", "metrics", "config", "policy", "prompts", "verify", "algos", "engine", "learner"),
        *("journal", "tasks", "data", "rollout", "loop", "run", "evaluate", "plan", "chat"),
    },
    "viewer": {"journal", "records"},
    "show": set(),
    "show_data": set(),
    "cli": {"errors", "records", "config", "journal", "pipelines", "viewer", "show", "show_data", "data"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""Room -> what it may import of ours, besides itself. The table of the design, and what was decided since."""

COMPOSES: dict[str, set[str]] = {
    "demo": {"pretrain", "rl"},
    "bench": {"ceilings", "stopwatch"},
    "check": {"memory", "setting"},
    "memory": {"setting"},
    "data": {"data_job"},
    "data_stats": {"data_job"},
    "setting": {"rows"},
    "audit": {"verify"},
    "rl": {"setting", "supervised"},
    "rejudge": {"compare"},
    "seeds": {"rl"},
    "sft": {"rows", "supervised"},
    "reward_model": {"rows", "supervised"},
    "preference": {"rows", "supervised"},
    "select": {"rows", "supervised"},
    "scale": {"draws", "rows", "scale_plan"},
    "improve": {"sft", "preference", "rl"},
    "distil": {"sft", "preference", "rl"},
    "r1": {"sft", "preference", "rl"},
}
"""Pipeline -> the other pipelines it is made of; one that is not listed imports no other."""

WITHOUT_TORCH = {
    *(
        "errors",
        "records",
        "metrics",
        "config",
        "chat",
        "prompts",
        "verify",
        "journal",
        "tasks",
        "data",
        "rollout",
        "loop",
    ),
    *("evaluate", "viewer", "show", "show_data", "cli", "__main__", "__init__"),
}
LOSSES = {"algos/losses.py", "algos/surrogates.py", "algos/correction.py", "algos/preference.py"}
"""The files of algos that work on tensors."""

CATCHES_BROADLY = {
    *("verify/__init__.py", "verify/pool.py", "verify/supervisor.py", "verify/worker.py", "verify/maths/helper.py"),
    # In the cell: whatever a model's program raises is a result, and a child must never go on as its parent.
    *("verify/sandbox/driver.py", "verify/sandbox/zygote.py", "verify/sandbox/__init__.py"),
}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(file: Path) -> str:
    """E.g. "verify/pool.py"."""
    return file.relative_to(SOURCES).as_posix()


def room_of(file: Path) -> str:
    """The room a file stands in: "verify" for verify/pool.py, "cli" for cli.py."""
    parts = file.relative_to(SOURCES).with_suffix("").parts
    return parts[0]


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(dotted name, line) for every import, inside functions too; `from a import b` gives both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the whole name"
            assert node.module is not None
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def ours(tree: ast.AST) -> Iterator[tuple[list[str], int]]:
    """(["verify", "pool"], line) for every import of burnish.verify.pool."""
    yield from ((name.split(".")[1:], line) for name, line in imports(tree) if name.startswith("burnish."))


def importers(library: str) -> set[str]:
    """The files that import a library, anywhere in them."""
    return {name_of(file) for file in FILES if any(name.split(".")[0] == library for name, _ in imports(tree_of(file)))}


def modules_after(code: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after running `code`."""
    report = "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_room_imports_only_what_the_table_allows(file: Path) -> None:
    room = room_of(file)
    assert room in TABLE, f"{room} is a new room: say in TABLE, and in the design, what it may import"
    for target, line in ours(tree_of(file)):
        assert target[0] == room or target[0] in TABLE[room], (
            f"{name_of(file)}:{line}: {room} may not import {target[0]}"
        )


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) == "pipelines"], ids=name_of)
def test_a_pipeline_imports_another_only_to_compose_it(file: Path) -> None:
    pipelines = {path.stem for path in file.parent.glob("*.py")} - {"__init__"}
    for target, line in ours(tree_of(file)):
        if target[0] == "pipelines" and len(target) > 1 and target[1] in pipelines:
            assert target[1] in COMPOSES.get(file.stem, set()), f"{name_of(file)}:{line} imports {target[1]}"


def test_the_command_line_imports_inside_its_verbs() -> None:
    for file in (SOURCES / "cli").glob("*.py"):
        top = ast.Module([node for node in tree_of(file).body if not isinstance(node, Function)], [])
        assert {target[0] for target, _ in ours(top)} <= {"errors", "cli"}


def test_lower_rooms_import_no_torch() -> None:
    allowed = {file for file in importers("torch") if room_of(SOURCES / file) not in WITHOUT_TORCH}
    assert importers("torch") == allowed
    assert {file for file in allowed if file.startswith("algos/")} <= LOSSES


@pytest.mark.parametrize("library", ["ray", "vllm"])
def test_a_library_of_clusters_is_imported_in_one_file(library: str) -> None:
    assert len(importers(library)) <= 1


def test_only_prompts_and_policy_know_a_tokenizer_library() -> None:
    assert {room_of(SOURCES / file) for file in importers("tokenizers")} <= {"prompts", "policy"}


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys, runpy
sys.argv = ["burnish", "--help"]
try:
    runpy.run_module("burnish", run_name="__main__")
except SystemExit as stop:
    assert stop.code == 0
"""
    loaded = modules_after(code)
    heavy = {
        "torch",
        "transformers",
        "tokenizers",
        "pydantic",
        "pyarrow",
        "duckdb",
        "datasets",
        "numpy",
        "matplotlib",
        "jinja2",
    }
    assert "typer" in loaded and not loaded & heavy


@pytest.mark.parametrize(
    "module", ["burnish", "burnish.verify", "burnish.records", "burnish.tasks", "burnish.algos.recipes"]
)
def test_importing_a_room_below_the_policy_loads_no_torch(module: str) -> None:
    assert not modules_after(f"import {module}") & {"torch", "transformers", "tokenizers"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_files_and_functions_stay_short(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{name_of(file)} has {lines} lines"
    for node in ast.walk(tree_of(file)):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            reason = "long because" in first.lower()
            assert length <= LONGEST_FUNCTION or reason, (
                f"{name_of(file)}:{node.lineno}: {node.name} has {length} lines; cut it, or give a reason in the first line of its "
                'docstring ("Long because ...")'
            )


def test_no_room_is_a_drawer_for_everything() -> None:
    names = {part for file in FILES for part in file.relative_to(SOURCES).with_suffix("").parts}
    assert not names & {"utils", "util", "core", "common", "helpers", "misc"}


def broad(handler: ast.ExceptHandler) -> bool:
    """`except:`, `except Exception` and `except BaseException`, alone or in a tuple."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds
    )


def test_only_verifiers_and_the_command_line_catch_broadly() -> None:
    found = {
        name_of(file)
        for file in FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ExceptHandler) and broad(node)
    }
    assert found <= CATCHES_BROADLY


def test_every_module_says_what_it_is_for() -> None:
    missing = [name_of(file) for file in FILES if not ast.get_docstring(tree_of(file))]
    assert not missing


def test_a_wall_is_seen_from_inside_a_function() -> None:
    tree = ast.parse("def f():\n    from burnish.engine import embedded\n    import torch.nn\n")
    assert [target for target, _ in ours(tree)] == [["engine"], ["engine", "embedded"]]
    assert ("torch.nn", 3) in list(imports(tree))
