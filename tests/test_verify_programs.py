"""Programs judged by tests: extraction, the three kinds of tests, comparison, malformed references, the pool."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import ConfigError
from burnish.records import Key, Problem, Verdict
from burnish.verify import judge, load
from burnish.verify.format import split_response
from burnish.verify.pool import Pool
from burnish.verify.programs import BadSuite, verify_program
from burnish.verify.programs.compare import same_lines, same_tokens, same_value
from burnish.verify.programs.convert import CannotConvert, call_tests, checked
from burnish.verify.programs.extract import extract_program
from burnish.verify.programs.suite import read_suite
from burnish.verify.sandbox import Policy, Sandbox, Tier
from burnish.verify.sandbox.plain import NotPlain, decode, encode

ADD = {"kind": "call", "entry": "add", "tests": [{"args": [1, 2], "expected": 3}, {"args": [4, 5], "expected": 9}]}
ECHO = {"kind": "stdin", "tests": [{"input": "3 4", "output": "7\n"}, {"input": "1 1", "output": "2\n"}]}
SUM = "print(sum(map(int, input().split())))"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox()
    except ConfigError as error:
        pytest.skip(str(error))
    with made:
        yield made


def fenced(program: str) -> str:
    return f"<think>hm</think>\n```python\n{program}\n```"


def judged(sandbox: Sandbox, reference: dict[str, Any], program: str) -> Verdict:
    return verify_program(reference, fenced(program), sandbox)


# ---- the program in a response


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("```python\na\n```", "a"),
        ("```python\na\n```\nor\n```python\nb\n```", "b"),
        ("```python\na\n```\nIt prints\n```\n3\n```", "a"),
        ("```\na\n```", "a"),
        ("~~~py\na\n~~~", "a"),
        ("````python\na = '''\n```\n'''\n````", "a = '''\n```\n'''"),
        ("<think>```python\na\n```</think>none", None),
        ("<think>```python\na\n```", None),
        ("```python\na = 1", None),
        ("```python\na\n```\n```python\nb", "a"),
        ("<answer>a = 1</answer>", "a = 1"),
        ("```python\n\n```", None),
        ("no program", None),
    ],
)
def test_the_program_of_a_response(response: str, program: str | None) -> None:
    assert extract_program(split_response(response)) == program


# ---- calls


def test_a_function_that_gives_every_value_is_right(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, ADD, "def add(a, b): return a + b")
    assert (verdict.outcome, verdict.score, verdict.parts["passed"], verdict.parts["tests"]) == ("right", 1.0, 2.0, 2.0)


def test_the_first_failure_is_shown_and_nothing_is_run_after_it(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, ADD, "def add(a, b): return 3 if a == 1 else 'x' * 900")
    assert verdict.why.startswith("test 2 of 2 failed: add(4, 5) gave 'xxx") and "expected 9" in verdict.why
    assert (verdict.score, len(verdict.why) < 500) == (0.0, True)


def test_a_share_counts_each_test_even_after_the_process_died(sandbox: Sandbox) -> None:
    program = "import os\ndef add(a, b):\n    if a == 1: os._exit(0)\n    return a + b"
    verdict = judged(sandbox, {**ADD, "score": "share"}, program)
    assert (verdict.outcome, verdict.score, verdict.parts["passed"]) == ("wrong", 0.5, 1.0)


def test_a_method_of_a_class_can_be_called(sandbox: Sandbox) -> None:
    program = "class Solution:\n    def add(self, a, b): return a + b"
    assert judged(sandbox, {**ADD, "entry": "Solution.add"}, program).outcome == "right"


def test_a_preamble_need_not_be_repeated(sandbox: Sandbox) -> None:
    reference = {**ADD, "before": "from typing import List\ndef helper(x): return x"}
    assert judged(sandbox, reference, "def add(a: List, b): return helper(a) + b").outcome == "right"


def test_a_main_guard_does_not_run(sandbox: Sandbox) -> None:
    program = "def add(a, b): return a + b\nif __name__ == '__main__':\n    add(input())"
    assert judged(sandbox, ADD, program).outcome == "right"


def test_what_a_function_prints_is_not_its_value(sandbox: Sandbox) -> None:
    assert judged(sandbox, ADD, "def add(a, b): print(a + b)").outcome == "wrong"


@pytest.mark.parametrize("program", ["x = 1", "def add(", "1/0", "import no_such_module", "raise SystemExit(0)"])
def test_a_program_that_does_not_load_is_wrong(sandbox: Sandbox, program: str) -> None:
    verdict = judged(sandbox, ADD, program)
    assert verdict.outcome == "wrong" and verdict.why.startswith("the program does not load: ")


def test_each_call_has_arguments_of_its_own(sandbox: Sandbox) -> None:
    reference = {"kind": "call", "entry": "f", "tests": [{"args": [[1]], "expected": 1}] * 2}
    assert judged(sandbox, reference, "def f(x):\n    x.append(1)\n    return len(x) - 1").outcome == "right"


# ---- input and output


def test_a_program_that_prints_what_is_expected_is_right(sandbox: Sandbox) -> None:
    assert judged(sandbox, ECHO, SUM).outcome == "right"


def test_a_failed_output_shows_input_expected_and_got(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, ECHO, "print(7)")
    assert "test 2 of 2 failed: with the input '1 1' it printed '7\\n', expected '2\\n'" in verdict.why


def test_an_error_after_the_right_output_is_wrong(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, ECHO, SUM + "\n1/0")
    assert "ended with status 1 (ZeroDivisionError: division by zero)" in verdict.why


def test_output_at_exit_and_from_threads_counts(sandbox: Sandbox) -> None:
    program = f"import atexit, threading\natexit.register(lambda: None)\nthreading.Thread(target=lambda: {SUM}).start()"
    assert judged(sandbox, ECHO, program).outcome == "right"


def test_exit_is_there_as_in_any_interpreter(sandbox: Sandbox) -> None:
    assert judged(sandbox, ECHO, SUM + "\nexit()").outcome == "right"


def test_a_special_checker_is_asked_with_input_expected_and_got(sandbox: Sandbox) -> None:
    reference = {**ECHO, "compare": "test_verify_programs:any_divisor"}
    assert judged(sandbox, {**reference, "tests": [{"input": "12", "output": "any"}]}, "print(4)").outcome == "right"
    assert judged(sandbox, {**reference, "tests": [{"input": "12", "output": "any"}]}, "print(5)").outcome == "wrong"


def any_divisor(given: str, expected: str, got: str) -> bool:
    return got.strip().isdigit() and int(given) % int(got) == 0


def test_hash_order_is_the_same_in_every_cell() -> None:
    reference = {"kind": "stdin", "tests": [{"input": "", "output": "?"}]}
    seen = set()
    for _ in range(2):
        try:
            with Sandbox() as fresh:
                seen.add(judged(fresh, reference, "print({'a', 'b', 'c', 'd', 'e'})").why)
        except ConfigError as error:
            pytest.skip(str(error))
    assert len(seen) == 1


# ---- tests that are programs

LOOP = {
    "kind": "check",
    "entry": "double",
    "source": "def check(f):\n    for n in range(50):\n        assert f(n) == 2 * n\ncheck(double)",
}


def test_a_check_asks_by_plain_values(sandbox: Sandbox) -> None:
    assert judged(sandbox, LOOP, "def double(n): return n + n").outcome == "right"


def test_a_failed_check_shows_the_assertion_and_the_last_call(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, LOOP, "def double(n): return min(2 * n, 6)")
    assert "the test 'assert f(n) == 2 * n' failed (AssertionError); the last call was double(4)" in verdict.why


@pytest.mark.parametrize(
    "body",
    [
        "class A(int):\n        __eq__ = lambda s, o: True\n    return A()",
        "import os\n    os._exit(0)",
        "import os\n    os.write(3, b'[\"passed\"]\\n')\n    os._exit(0)",
        "import sys\n    sys.exit(0)",
        "while True: pass",
        "return {'$object': 1}",
    ],
)
def test_a_check_is_not_passed_from_inside(sandbox: Sandbox, body: str) -> None:
    verdict = judged(sandbox, {**LOOP, "seconds": 0.3}, f"def double(n):\n    {body}")
    assert verdict.outcome == "wrong"
    assert judged(sandbox, LOOP, "def double(n): return n + n").outcome == "right"


# ---- comparison


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("1 2\n3\n", "1 2 3", True),
        ("0.5", "0.50000001", True),
        ("0.5", "0.51", False),
        ("1e9", "1000000000.5", True),
        ("5", "5.0", False),
        ("5.0", "5", True),
        ("1 2", "1", False),
        ("1", "1 2", False),
        ("", "", True),
        ("", "x", False),
        ("x", "", False),
        ("1.0", "1_0", False),
        ("1.5", "nan", False),
        ("YES", "yes", False),
    ],
)
def test_outputs_are_compared_word_by_word(expected: str, got: str, same: bool) -> None:
    assert same_tokens(expected, got) is same


def test_lines_matter_where_they_are_asked_for() -> None:
    assert not same_lines("1 2\n3", "1\n2 3")
    assert same_lines("1 2\n3\n", "1  2 \n3\n\n")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda part: (
        st.lists(part, max_size=4)
        | st.lists(part, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), part, max_size=4)
        | st.frozensets(st.text() | st.integers() | st.tuples(st.integers(), st.text()), max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_plain_value_comes_back_through_json_as_itself(value: Any) -> None:
    tree = json.loads(json.dumps(encode(value)))
    assert same_value(encode(value), tree, 0.0)
    assert repr(decode(tree)) == repr(value) or decode(tree) == value or value != value or "nan" in repr(value)


@given(VALUES, VALUES)
def test_trees_are_equal_where_python_says_the_values_are(one: Any, other: Any) -> None:
    if "nan" not in repr(one) + repr(other):
        assert same_value(encode(one), encode(other), 0.0) == (one == other)


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (1, 1.0, True),
        (1, True, True),
        ([1], (1,), False),
        ({1, 2}, frozenset({2, 1}), True),
        (0.1 + 0.2, 0.3, True),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_python_does(expected: Any, got: Any, same: bool) -> None:
    assert same_value(encode(expected), encode(got)) is same


def test_a_set_made_to_collide_costs_no_more_than_another() -> None:
    tree = {"$set": [i * (2**61 - 1) for i in range(30_000)]}
    began = time.perf_counter()
    assert not same_value({"$set": list(range(30_000))}, tree)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    "value", [object(), print, type("A", (int,), {})(1), range(3), [object()], type("B", (dict,), {})()]
)
def test_what_is_not_plain_does_not_cross(value: Any) -> None:
    with pytest.raises(NotPlain):
        encode(value)


@pytest.mark.parametrize(
    "tree", [{"$object": 1}, {"$set": 3}, {"$set": [[1]]}, {"$dict": [[1]]}, {"$bytes": "zz"}, {"$complex": [1, 2, 3]}]
)
def test_a_tree_that_encode_does_not_make_is_refused(tree: Any) -> None:
    with pytest.raises(NotPlain):
        decode(tree)


# ---- assertions as tests


@pytest.mark.parametrize(
    ("statement", "test"),
    [
        ("assert f(1, [2]) == (3,)", {"args": [1, [2]], "expected": {"$tuple": [3]}}),
        ("assert 4 == f(x=2**10)", {"args": [], "kwargs": {"x": 1024}, "expected": 4}),
        ("assert f('a' * 3)", {"args": ["aaa"], "how": "true"}),
        ("assert not f(-1)", {"args": [-1], "how": "false"}),
        ("assert f(1) is None, 'why'", {"args": [1], "expected": None}),
        ("assert abs(f(1) - 2.5) < 1e-3", {"args": [1], "expected": 2.5, "tolerance": 1e-3}),
        ("assert math.isclose(f(1), 2.5, rel_tol=0.01)", {"args": [1], "expected": 2.5, "tolerance": 0.01}),
        ("x = [1]\nassert f(x) == set()", {"args": [[1]], "expected": {"$set": []}}),
    ],
)
def test_an_assertion_becomes_a_test(statement: str, test: dict[str, Any]) -> None:
    assert call_tests(statement, "f") == [test]


def test_assertions_of_nothing_are_no_tests() -> None:
    assert call_tests("'a remark'\nassert True, 'this prints'\npass", "f") == []


@pytest.mark.parametrize(
    "statement",
    [
        "for i in range(3): assert f(i) == i",
        "assert f(1) == g(1)",
        "assert f(f(1)) == 1",
        "assert f(1) == 1 and f(2) == 2",
        "assert f(__import__('os').system('true')) == 1",
        "assert f(9 ** 9 ** 9) == 1",
        "assert f([0] * 10 ** 9) == 1",
        "assert f(*[1]) == 1",
        "assert f(1) != 2",
        "import os",
    ],
)
def test_what_is_no_literal_call_is_left_to_a_check(statement: str) -> None:
    with pytest.raises(CannotConvert):
        call_tests(statement, "f")


def test_the_body_of_a_check_is_found() -> None:
    body, name = checked("METADATA = {'a': 1}\ndef check(candidate):\n    assert candidate(1) == 2")
    assert call_tests(body, name) == [{"args": [1], "expected": 2}]


# ---- faults of the reference


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tests": []}, "has no tests"),
        ({"tests": None}, "tests are NoneType, not a list"),
        ({"tests": ["assert"]}, "test 1 is str, not an object"),
        ({"tests": [{"args": 3, "expected": 1}]}, "test 1: args must be a list"),
        ({"tests": [{"args": [1]}]}, "test 1 says not what is expected"),
        ({"tests": [{"args": [{"$set": 1}], "expected": 1}]}, "test 1 holds a malformed"),
        ({"kind": "cal"}, "kind is 'cal', not one of stdin, call, check"),
        ({"entry": None}, "no entry that names it"),
        ({"secconds": 3}, "an unknown key 'secconds'"),
        ({"seconds": "3"}, "seconds is '3', not a number"),
        ({"compare": "tokens"}, "compare is 'tokens', not one of values, loose"),
        ({"score": "most"}, "score is 'most', not all or share"),
        ({"kind": "check", "source": " "}, "a check needs a source"),
    ],
)
def test_a_malformed_reference_is_said_in_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSuite, match=said):
        read_suite({**ADD, **change})


def problem(reference: dict[str, Any]) -> Problem:
    return Problem("p/0", "p", "?", reference, "train", "f")


def test_no_tests_are_a_fault_of_the_data_and_never_a_pass() -> None:
    verdict = judge(load("programs"), problem({**ADD, "tests": []}), fenced("def add(a, b): return a + b"))
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")


# ---- tiers


def test_a_tier_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.verify.sandbox.shutil.which", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"strongest sandbox here is \w+ \(bubblewrap: bwrap is not installed.*and bubblewrap is required",
    ):
        Sandbox(Policy(require=Tier.BUBBLEWRAP))


def test_a_machine_without_any_tier_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.verify.sandbox.sys.platform", "darwin")
    with pytest.raises(ConfigError, match=r"no sandbox works here .*it needs Linux"):
        Sandbox(Policy(unsafe=True))


def test_an_unknown_processor_gets_no_local_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.verify.sandbox.seccomp.platform.machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="no table of system calls for riscv64"):
        Sandbox(Policy())


def test_the_environment_can_only_ask_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_REQUIRE_TIER", "bubblewrap")
    assert Policy.of_environment("landlock").require is Tier.BUBBLEWRAP
    monkeypatch.setenv("BURNISH_REQUIRE_TIER", "bubbelwrap")
    with pytest.raises(ConfigError, match="no sandbox tier 'bubbelwrap': choose one of"):
        Policy.of_environment()


def test_the_verdict_says_in_which_sandbox(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, ADD, "def add(a, b): return a + b")
    assert verdict.parts["sandbox_tier"] == float(sandbox.tier)
    assert f"(in a {sandbox.tier.label} sandbox)" in verdict.why


# ---- infrastructure


def test_a_cell_that_dies_is_replaced_and_the_verdict_stands(sandbox: Sandbox) -> None:
    os.kill(sandbox._cells["programs"].pid, signal.SIGKILL)
    assert judged(sandbox, ADD, "def add(a, b): return a + b").outcome == "right"


def test_a_sandbox_that_fails_twice_gives_no_verdict(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from burnish.verify.sandbox.cell import Cell, CellDied

    def die(*arguments: Any, **options: Any) -> None:
        raise CellDied("the machine is on fire")

    monkeypatch.setattr(Cell, "start", die)
    verdict = judged(sandbox, ADD, "def add(a, b): return a + b")
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "crashed")


def _cells_of(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found | {grandchild for child in found for grandchild in _cells_of(child)}


def test_a_pool_judges_programs_and_takes_its_cells_with_it(sandbox: Sandbox) -> None:
    programs = ["def add(a, b): return a + b", "def add(a, b): return a", "def add(a, b):\n    while True: pass"]
    items = [(Key("p/0", index), problem({**ADD, "seconds": 0.5}), fenced(programs[index % 3])) for index in range(9)]
    with Pool("programs", workers=2, deadline_s=20.0) as pool:
        verdicts = {key.index: verdict for key, verdict in pool.judge(items)}
        workers = [worker.process.pid for worker in pool._supervisor._workers]
        cells = set().union(*map(_cells_of, workers))
    assert [verdicts[index].outcome for index in range(9)] == ["right", "wrong", "wrong"] * 3
    assert cells
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in cells):
        assert time.monotonic() < end, "a cell outlived its worker"
        time.sleep(0.02)


def test_a_worker_with_less_memory_than_a_program_may_take_still_judges(sandbox: Sandbox) -> None:
    item = (Key("p/0", 0), problem({**ADD, "memory_mb": 4096}), fenced("def add(a, b): return a + b"))
    with Pool("programs", workers=1, deadline_s=20.0, memory_bytes=1 << 29) as pool:
        ((_, verdict),) = pool.judge([item])
    assert verdict.outcome == "right", verdict.why


def test_a_deadline_that_is_too_short_is_no_verdict(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_DEADLINE_S", "1.0")
    verdict = judged(sandbox, {**ADD, "seconds": 3.0}, "def add(a, b): return a + b")
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "timeout")
    assert "raise verify.deadline_s" in verdict.why
