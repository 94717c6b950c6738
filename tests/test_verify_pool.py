"""Loading and judging, and a pool whose verifiers hang, die, lie and print."""

from __future__ import annotations

import ast
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import burnish.verify
import test_verify_misbehaving as misbehaving
from burnish.errors import BurnishError, ConfigError
from burnish.records import Key, Problem, Verdict
from burnish.verify import VERIFIERS, identity, judge, load
from burnish.verify.pool import Pool

OBEY = "test_verify_misbehaving:obey"
PROBLEM = Problem("sum/0", "sum", "12+7=?", {"answer": "19"}, "train", "f")
DEADLINE_S = 1.0


def orders(*responses: str) -> Iterator[tuple[Key, Problem, str]]:
    """What `misbehaving.obey` is to do, keyed by position."""
    for index, response in enumerate(responses):
        yield Key(PROBLEM.id, index), PROBLEM, response


def by_index(verdicts: Iterable[tuple[Key, Verdict]]) -> list[Verdict]:
    """Verdicts in the order of their items, once it is sure that each key came exactly once."""
    found = list(verdicts)
    assert len({key for key, _ in found}) == len(found)
    return [verdict for _, verdict in sorted(found, key=lambda pair: pair[0].index)]


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely waiting for its parent to notice that it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One pool for all faults: each test shows as well that the pool outlived the tests before it."""
    with Pool(OBEY, workers=2, deadline_s=DEADLINE_S) as shared:
        yield shared


# ---- load, judge, identity


@pytest.mark.parametrize(
    ("name", "reference", "response", "outcome"),
    [
        ("number", {"answer": "19"}, "so \\boxed{19}", "right"),
        ("number", {"answer": 19}, "A: 19", "right"),
        ("number", {"answer": 0.5}, "A: 1/2", "right"),
        ("number", {"answer": "19", "style": "answer_tag"}, "\\boxed{19}", "wrong"),
        ("tagged_number", {"answer": "19"}, "<think>a</think><answer>19</answer>", "right"),
        ("tagged_number", {"answer": "19"}, "\\boxed{19}", "wrong"),
        ("tagged_number", {"answer": "19"}, "<answer>19</answer> or 20", "wrong"),
        ("countdown", {"numbers": [3, 5], "target": 8}, "<answer>3 + 5</answer>", "right"),
        ("countdown", {"numbers": [3, 5], "target": 8}, "\\boxed{3 + 5}", "wrong"),
    ],
)
def test_each_verifier_reads_its_reference(name: str, reference: dict, response: str, outcome: str) -> None:
    verdict = judge(load(name), replace(PROBLEM, reference=reference), response)
    assert verdict.outcome == outcome
    assert set(verdict.parts) == {"format", "thought"}
    assert verdict.seconds > 0


@pytest.mark.parametrize("name", sorted(VERIFIERS.keys() - {"format", "json"}))  # these two need none
def test_a_reference_without_its_keys_is_a_fault_of_the_gold(name: str) -> None:
    verdict = judge(VERIFIERS[name], replace(PROBLEM, reference={}), "19")
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")


@pytest.mark.parametrize(("name", "outcome"), [("format", "wrong"), ("json", "right")])
def test_what_looks_at_the_form_alone_needs_no_reference(name: str, outcome: str) -> None:
    assert judge(VERIFIERS[name], replace(PROBLEM, reference={}), "19").outcome == outcome


@pytest.mark.parametrize(
    "reference", [{"answer": None}, {"answer": True}, {"answer": ["19"]}, {"answer": "19", "style": "?"}]
)
def test_a_reference_of_the_wrong_kind_is_a_fault_of_the_gold(reference: dict) -> None:
    assert judge(VERIFIERS["number"], replace(PROBLEM, reference=reference), "19").fault == "gold"


def test_a_verifier_that_raises_gives_no_verdict() -> None:
    verdict = judge(misbehaving.obey, PROBLEM, "raise")
    assert (verdict.outcome, verdict.fault, verdict.why) == (
        "no_verdict",
        "crashed",
        "RuntimeError: the verifier has a bug",
    )


def test_a_key_error_of_the_verifiers_own_is_a_crash() -> None:
    assert judge(lambda problem, response: {}[response], PROBLEM, "a").fault == "crashed"


def test_a_verifier_that_exits_gives_no_verdict() -> None:
    assert judge(misbehaving.obey, PROBLEM, "sys.exit").fault == "crashed"


def test_a_verifier_that_returns_no_verdict_object_gives_no_verdict() -> None:
    assert judge(lambda problem, response: 1.0, PROBLEM, "a").fault == "crashed"  # type: ignore[arg-type, return-value]


def test_an_unknown_verifier_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'nubmer'.*did you mean 'number'"):
        load("nubmer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_at_all:verify", "cannot be imported"),
        ("test_verify_misbehaving:obay", "did you mean 'obey'"),
        ("test_verify_misbehaving:NOT_A_FUNCTION", "is int, not a function"),
        (":obey", "cannot be imported"),
    ],
)
def test_a_verifier_of_ones_own_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(name)


def test_a_verifier_of_ones_own_is_loaded_by_module_and_name() -> None:
    assert load(OBEY) is misbehaving.obey


def test_an_identity_is_a_name_and_a_hash_that_stays() -> None:
    name, _, digest = identity("number").partition("@")
    assert (name, len(digest), identity("number")) == ("number", 12, f"number@{digest}")


def test_an_identity_of_ones_own_verifier_covers_its_source() -> None:
    assert identity(OBEY).partition("@")[2] != identity("number").partition("@")[2]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, burnish.verify.pool; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_no_verifier_evaluates_text_or_sets_an_alarm() -> None:
    forbidden = {"eval", "exec", "compile", "parse_expr", "sympify", "lambdify", "alarm", "setitimer"}
    for file in Path(burnish.verify.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert not (isinstance(node.func, ast.Name) and node.func.id in forbidden), file
                if isinstance(node.func, ast.Attribute) and node.func.attr in forbidden:
                    assert isinstance(node.func.value, ast.Name) and node.func.value.id == "re", file


# ---- the pool at work


def test_a_pool_says_what_judging_here_says() -> None:
    responses = ["A: 19", "A: 20", "", "<think>19", "\ud800 A: 19", "\x00", "19\u2028", "<answer>19</answer>"]
    with Pool("number") as pool:
        verdicts = by_index(pool.judge(orders(*responses)))
    here = [judge(VERIFIERS["number"], PROBLEM, response) for response in responses]
    assert [replace(verdict, seconds=0.0) for verdict in verdicts] == [
        replace(verdict, seconds=0.0) for verdict in here
    ]


def test_thousands_of_items_come_back_once_each(pool: Pool) -> None:
    verdicts = by_index(pool.judge(orders(*(f"say {i}" for i in range(5000)))))
    assert [verdict.found for verdict in verdicts] == [str(i) for i in range(5000)]


def test_the_work_is_shared(pool: Pool) -> None:
    verdicts = by_index(pool.judge(orders(*["sleep 0.2"] * 6)))
    assert len({verdict.why for verdict in verdicts}) == 2  # obey says its process


def test_a_megabyte_goes_in_and_out(pool: Pool) -> None:
    text = "x" * 1_000_000
    verdicts = by_index(pool.judge(orders(*[f"say {text}"] * 5)))
    assert [verdict.found == text for verdict in verdicts] == [True] * 5


def test_items_are_read_lazily_and_verdicts_do_not_wait_for_the_last(pool: Pool) -> None:
    taken = []

    def endless() -> Iterator[tuple[Key, Problem, str]]:
        for index in range(10**9):
            taken.append(index)
            yield Key("endless", index), PROBLEM, "a"

    verdicts = pool.judge(endless())
    assert [next(verdicts)[1].outcome for _ in range(3)] == ["right"] * 3
    verdicts.close()  # type: ignore[attr-defined]
    assert len(taken) < 1000


def test_what_was_left_behind_does_not_disturb_the_next_call(pool: Pool) -> None:
    left = pool.judge(orders(*["sleep 0.05"] * 20))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert [verdict.found for verdict in by_index(pool.judge(orders("say 1", "say 2")))] == ["1", "2"]


def test_no_items_give_no_verdicts(pool: Pool) -> None:
    assert list(pool.judge([])) == []


def test_a_key_given_twice_is_refused(pool: Pool) -> None:
    item = (Key("a", 0), PROBLEM, "a")
    with pytest.raises(ValueError, match="given twice"):
        list(pool.judge([item, item]))


def test_an_error_of_the_items_goes_through(pool: Pool) -> None:
    def broken() -> Iterator[tuple[Key, Problem, str]]:
        yield Key("a", 0), PROBLEM, "a"
        raise OSError("the engine is gone")

    with pytest.raises(OSError, match="the engine is gone"):
        list(pool.judge(broken()))


def test_a_reference_that_is_no_json_is_a_fault_of_the_gold(pool: Pool) -> None:
    [(_, verdict)] = pool.judge([(Key("a", 0), replace(PROBLEM, reference={"answer": object()}), "a")])
    assert verdict.fault == "gold"


def test_threads_share_a_pool(pool: Pool) -> None:
    results: dict[int, list[str | None]] = {}

    def work(number: int) -> None:
        verdicts = by_index(pool.judge(orders(*(f"say {number}.{i}" for i in range(200)))))
        results[number] = [verdict.found for verdict in verdicts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == {number: [f"{number}.{i}" for i in range(200)] for number in range(4)}


# ---- faults, each among healthy neighbours


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ("hang", "timeout"),
        ("spin", "timeout"),
        ("exit", "crashed"),
        ("sys.exit", "crashed"),
        ("raise", "crashed"),
        ("eat", "crashed"),
        ("odd", "crashed"),
        ("missing", "gold"),
    ],
)
def test_a_fault_is_that_items_alone(pool: Pool, order: str, fault: str) -> None:
    before, bad, after = range(10), 10, range(11, 30)
    verdicts = by_index(pool.judge(orders(*["a"] * 10, order, *["a"] * 19)))
    assert (verdicts[bad].outcome, verdicts[bad].score, verdicts[bad].fault) == ("no_verdict", None, fault)
    assert all(verdicts[i].outcome == "right" for i in (*before, *after))


@pytest.mark.parametrize("order", ["print", "read"])
def test_a_verifier_cannot_reach_the_workers_channel(pool: Pool, order: str) -> None:
    verdicts = by_index(pool.judge(orders(*[order] * 20)))
    assert {(verdict.outcome, verdict.found) for verdict in verdicts} <= {("right", order), ("right", "nothing")}


def test_many_faults_at_once_are_told_apart(pool: Pool) -> None:
    responses = ["a", "exit", "b", "hang", "c", "raise", "exit", "d", "hang", "e"]
    verdicts = by_index(pool.judge(orders(*responses)))
    assert [verdict.found or verdict.fault for verdict in verdicts] == (
        ["a", "crashed", "b", "timeout", "c", "crashed", "crashed", "d", "timeout", "e"]
    )


def test_an_item_whose_worker_died_is_tried_once_more(pool: Pool, tmp_path: Path) -> None:
    verdicts = by_index(pool.judge(orders("a", f"once {tmp_path / 'memory'}", "b")))
    assert [verdict.outcome for verdict in verdicts] == ["right"] * 3


def test_a_timeout_says_how_long_it_took(pool: Pool) -> None:
    [verdict] = by_index(pool.judge(orders("hang")))
    assert verdict.seconds >= DEADLINE_S
    assert verdict.why == "no verdict within 1 s"


def test_a_deadline_is_of_one_item_and_not_of_those_before_it(pool: Pool) -> None:
    verdicts = by_index(pool.judge(orders(*["sleep 0.4"] * 6)))  # 1.2 s of work for each worker
    assert [verdict.outcome for verdict in verdicts] == ["right"] * 6


def test_a_caller_that_is_busy_elsewhere_costs_no_verdict(pool: Pool) -> None:
    verdicts = pool.judge(orders(*["a"] * 50))
    got = [next(verdicts)]
    time.sleep(2 * DEADLINE_S)
    assert [verdict.outcome for verdict in by_index([*got, *verdicts])] == ["right"] * 50


def test_a_parent_that_holds_the_interpreter_lock_costs_no_verdict(pool: Pool) -> None:
    def items() -> Iterator[tuple[Key, Problem, str]]:
        yield from orders("sleep 0.3", "sleep 0.3")
        ctypes.PyDLL(None).usleep(int(2 * DEADLINE_S * 1e6))  # PyDLL keeps the lock: the supervisor cannot run either

    assert [verdict.outcome for verdict in by_index(pool.judge(items()))] == ["right"] * 2


def test_a_killed_worker_takes_its_own_children_with_it(pool: Pool, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    [verdict] = by_index(pool.judge(orders(f"child {note}")))
    assert verdict.fault == "timeout"
    wait_until(lambda: not is_running(int(note.read_text())))


# ---- starting and ending


def test_a_plain_name_nothing_has_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'countdown'"):
        Pool("countdwon")


@pytest.mark.parametrize(
    "bad", [{"workers": 0}, {"deadline_s": 0.0}, {"deadline_s": float("nan")}, {"memory_bytes": 0}]
)
def test_limits_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="positive limits"):
        Pool("number", **bad)


def test_a_verifier_the_workers_cannot_load_is_an_error_that_says_so() -> None:
    with Pool("test_verify_misbehaving:obay") as pool, pytest.raises(ConfigError, match="did you mean 'obey'"):
        list(pool.judge(orders("a")))


def test_workers_that_cannot_start_are_an_error_and_not_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool("number") as pool, pytest.raises(BurnishError, match="3 times in a row"):
        list(pool.judge(orders("a")))


def test_a_start_has_a_deadline_too() -> None:
    with Pool("number", start_s=1e-6) as pool, pytest.raises(BurnishError, match="was not ready within"):
        list(pool.judge(orders("a")))


def test_a_closed_pool_refuses_to_judge() -> None:
    pool = Pool("number")
    pool.close()
    pool.close()
    with pytest.raises(BurnishError, match="closed"):
        list(pool.judge(orders("A: 19")))


def test_closing_while_another_thread_judges_ends_that_judging() -> None:
    pool = Pool(OBEY, deadline_s=60.0)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            list(pool.judge(orders("hang")))
        except BurnishError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    pool.close()
    thread.join(timeout=30)
    assert len(errors) == 1


def test_closing_kills_and_reaps_the_workers() -> None:
    with Pool(OBEY) as pool:
        pids = {int(verdict.why) for verdict in by_index(pool.judge(orders(*["sleep 0.1"] * 4)))}
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pool_nobody_holds_any_more_ends_its_workers() -> None:
    pool = Pool(OBEY)
    [verdict] = by_index(pool.judge(orders("a")))
    del pool
    gc.collect()
    wait_until(lambda: not is_running(int(verdict.why)))


def test_closing_leaves_no_file_descriptors_behind() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    with Pool(OBEY) as pool:
        list(pool.judge(orders("a", "exit")))
    before = count()
    with Pool(OBEY) as pool:
        list(pool.judge(orders("a", "exit")))
    assert count() == before


@pytest.mark.parametrize("order", ["a", "hang", "spin"])
def test_a_parent_that_is_killed_leaves_no_workers_behind(order: str) -> None:
    script = (
        "import sys, threading, time; from burnish.records import Key, Problem; from burnish.verify.pool import Pool\n"
        f"problem = Problem('a', 'a', '', {{}}, 'train', ''); pool = Pool({OBEY!r}, workers=1, deadline_s=300)\n"
        "[(_, verdict)] = pool.judge([(Key('a', 0), problem, 'a')]); print(verdict.why, flush=True)\n"
        f"list(pool.judge([(Key('a', 1), problem, {order!r})])); time.sleep(300)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(0.3)  # long enough to have begun on the order
    assert is_running(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=30)
    parent.stdout.close()
    wait_until(lambda: not is_running(worker))
