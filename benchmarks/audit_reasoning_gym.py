"""Which data sets of reasoning-gym may be trained on? Writes src/burnish/verify/reasoning_gym.json, which the task reads.

    python benchmarks/audit_reasoning_gym.py            # all data sets; some minutes
    python benchmarks/audit_reasoning_gym.py chain_sum  # prints what it finds about one, writes nothing
    python benchmarks/audit_reasoning_gym.py --quick    # three of them, writes nothing

A data set is allowed where all of this holds, over ITEMS items:
- the items are the same in processes with different PYTHONHASHSEED, and survive being stored as JSON
- the gold answer, and the gold answer between white space, get full score
- no answer of ours that is not the right one gets full score on 5 % of the items or more: the degenerate answers of the hack
  probe, answers of other items, and special values; so chance is under 5 % too
- the scorer raises nothing, gives a number from 0 to 1, and takes under 0.5 s an answer
- the scorer's code calls nothing that evaluates text (static: `eval`, `exec`, `parse_expr`, `sympify`, ..., followed through the
  library's own functions), and evaluates, writes and starts nothing when it is given code as an answer (dynamic: audit hooks)

Passing is not a proof. Each data set is looked at in processes of its own, with a deadline.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from report import options, publish, say

ITEMS = 40
PROCESSES = 3
SEED = 20_260
DEADLINE_S = 60
ATTACKED = 0.05
FULL = 0.999
RESULT = "audit result: "
SLOWEST_S = 0.5
OUT = Path(__file__).resolve().parents[1] / "src" / "burnish" / "verify" / "reasoning_gym.json"
EVALUATES = {
    *(
        "eval",
        "exec",
        "compile",
        "parse_expr",
        "sympify",
        "S",
        "lambdify",
        "parse_latex",
        "__import__",
        "import_module",
    ),
    *("system", "popen", "Popen", "check_output", "run_path", "run_module"),
}
SPECIAL = (
    "nan",
    "inf",
    "-inf",
    "0",
    "1",
    "-1",
    "2",
    "True",
    "False",
    "true",
    "false",
    "yes",
    "no",
    "None",
    "()",
    "a",
    "A",
    "[]",
)
MARK = "burnish_audit_marker"
QUICK = ("chain_sum", "gsm_symbolic", "leg_counting")


def payloads(folder: str) -> list[str]:
    """Answers that leave a file behind where they are evaluated, by whatever evaluates them."""
    path = f"{folder}/{MARK}"
    calls = [
        f"open('{path}','w').write('x')",
        f"__import__('os').system('touch {path}')",
        f"exec(\"open('{path}','w')\")",
        f"(lambda: open('{path}','w'))()",
        f"__import__('pathlib').Path('{path}').touch()",
    ]
    dressed = []
    for call in calls:
        dressed += [
            call,
            f"[{call}]",
            f"[[{call}]]",
            f"{{'a': {call}}}",
            f"0*{call}",
            f"({call}) or 1",
            f"1 + 1 # {call}",
            f"'{{{call}}}'",
        ]
    return dressed


def main() -> None:
    """Audit what is named, or all."""
    if sys.argv[1:2] == ["--items"]:
        print(f"{RESULT}{json.dumps(digest(sys.argv[2]))}")
        return
    if sys.argv[1:2] == ["--one"]:
        print(f"{RESULT}{json.dumps(look(sys.argv[2]))}")
        return
    from reasoning_gym.factory import DATASETS

    parser = options(__doc__, threads=False)
    parser.add_argument("names", nargs="*", help="data sets; all of them if none is named")
    given = parser.parse_args()
    named = given.names or (list(QUICK) if given.quick else [])
    found = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        names = named or sorted(DATASETS)
        for name, result in zip(names, pool.map(audit, names), strict=True):
            found[name] = result
            say(f"{name:30s} {'allowed' if result['allowed'] else result['why']}")
    result = {"version": version("reasoning-gym"), "items": ITEMS, "seed": SEED, "datasets": found}
    if not named:
        OUT.write_text(json.dumps(result, indent=1) + "\n")
    text = f"{sum(one['allowed'] for one in found.values())} of {len(found)} allowed"
    publish(given, {"ratio": {}, **result}, text if named else f"{OUT}: {text}")


def audit(name: str) -> dict[str, Any]:
    """What is found about one data set, in processes that can be killed: {"allowed": ..., "why": ...}."""
    if name == "composite":
        return {"allowed": False, "why": "it only mixes other data sets"}
    digests = []
    for hash_seed in ("1", "2"):
        answer = in_process("--items", name, hash_seed)
        if isinstance(answer, str):
            return {"allowed": False, "why": f"its items cannot be made: {answer}"}
        digests.append(answer)
    if digests[0].get("fault"):
        return {"allowed": False, "why": digests[0]["fault"]}
    if digests[0] != digests[1]:
        return {"allowed": False, "why": "its items depend on Python's hash seed, so a seed does not name them"}
    answer = in_process("--one", name, "3")
    return {"allowed": False, "why": f"the audit of its scorer failed: {answer}"} if isinstance(answer, str) else answer


def in_process(verb: str, name: str, hash_seed: str) -> Any:
    """The JSON that this script prints when asked about one data set; a sentence where it does not."""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    try:
        done = subprocess.run(
            [sys.executable, __file__, verb, name], env=environment, capture_output=True, text=True, timeout=DEADLINE_S
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {DEADLINE_S} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:160]
    return json.loads(done.stdout.rpartition(RESULT)[2].splitlines()[0])  # some data sets print, too


def items_of(name: str) -> tuple[Any, list[dict[str, Any]]]:
    import reasoning_gym

    made = reasoning_gym.create_dataset(name, seed=SEED, size=1 << 30)
    return made, [made[at] for at in range(ITEMS)]


def digest(name: str) -> dict[str, Any]:
    """A hash of the items, or the fault that keeps them from being stored."""
    _, items = items_of(name)
    if not all(isinstance(item["answer"], str) and item["answer"].strip() for item in items):
        return {"fault": "some items have no answer as text, so the gold answer cannot be checked"}
    try:
        text = json.dumps([[item["question"], item["answer"], item["metadata"]] for item in items], sort_keys=True)
    except (TypeError, ValueError) as error:
        return {"fault": f"its items cannot be stored as JSON ({str(error)[:80]})"}
    return {"digest": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}


def look(name: str) -> dict[str, Any]:
    """The scorer of one data set: static scan, gold answers, attacks, payloads under audit hooks."""
    made, items = items_of(name)
    entries = [json.loads(json.dumps({key: item[key] for key in ("question", "answer", "metadata")})) for item in items]
    evaluates = sorted(set(calls_of(type(made))))
    if evaluates:
        return {"allowed": False, "why": f"its scorer's code calls {', '.join(evaluates)}, which evaluates text"}
    for entry in entries:
        for text in (entry["answer"], f" {entry['answer']}\n"):
            score = made.score_answer(text.strip(), entry)
            if not score >= FULL:
                return {"allowed": False, "why": f"its own answer gets {score:.2f} and not full score"}
    try:
        share, attack, slowest = attacked(made, entries)
    except Exception as error:  # noqa: BLE001 - whatever a scorer raises is what we want to know
        return {"allowed": False, "why": f"its scorer raises {type(error).__name__} on answers a model may write"}
    if share >= ATTACKED:
        return {
            "allowed": False,
            "why": f"the answer {attack!r:.60} is right for {share:.0%} of its items",
            "attacks": share,
        }
    if slowest > SLOWEST_S:
        return {"allowed": False, "why": f"its scorer took {slowest:.1f} s for one answer"}
    seen = events(made, entries)
    if seen:
        return {"allowed": False, "why": f"its scorer does this with an answer: {seen}"}
    return {"allowed": True, "why": "", "attacks": share}


def attacked(made: Any, entries: list[dict[str, Any]]) -> tuple[float, str, float]:
    """The largest share of items on which one attack got full score, that attack, and the slowest scoring in seconds."""
    from burnish.evaluate import degenerate

    slowest, best, name = 0.0, 0.0, ""
    rights: dict[str, int] = {}
    answers = [entry["answer"].strip() for entry in entries]
    for at, entry in enumerate(entries):
        others = answers[:at] + answers[at + 1 :]
        attacks = dict(degenerate.responses(entry["question"], entry["question"], others[:12]))
        attacks |= {f"{text!r}": text for text in SPECIAL}
        attacks |= {
            f"the answer {text!r}": text for text in set(others)
        }  # of another item: the same answer twice is chance
        attacks |= {
            "the answer and another": f"{answers[at]} or {others[0]}",
            "the answer in a sentence": f"I think it is {answers[at]}.",
        }
        for attack, text in attacks.items():
            if attack.endswith("boxed") or "<answer>" in text:
                continue  # these stand in the tags; the scorer sees what is between them
            began = time.perf_counter()
            score = made.score_answer(text.strip()[:4000], entry)
            slowest = max(slowest, time.perf_counter() - began)
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0.0 <= score <= 1.0:
                raise ValueError(f"score {score!r}")
            if score >= FULL:
                rights[attack] = rights.get(attack, 0) + 1
    for attack, count in rights.items():
        # A constant that was taken from an item is not counted on that item.
        constant = attack.removeprefix("the answer ") in map(repr, answers)
        share = (count - 1) / (len(entries) - 1) if constant else count / len(entries)
        if share > best:
            best, name = share, attack
    return best, name, slowest


def events(made: Any, entries: list[dict[str, Any]]) -> str:
    """What happens while code is scored as an answer: the first thing that should not; "" where there is none."""
    import tempfile

    seen: list[str] = []
    armed = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not armed:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if (
            event
            in (
                "exec",
                "os.system",
                "os.exec",
                "os.posix_spawn",
                "subprocess.Popen",
                "pickle.find_class",
                "socket.connect",
            )
            or writes
        ):
            seen.append(f"{event} {arguments[0]!r:.80}")

    with tempfile.TemporaryDirectory() as folder:
        given = payloads(folder)
        sys.addaudithook(hook)
        for entry in entries[:8]:
            made.score_answer(entry["answer"], entry)  # what the scorer imports is imported before we listen
            for text in given:
                armed = True
                with contextlib.suppress(Exception):
                    made.score_answer(text, entry)
                armed = False
        left = os.listdir(folder)
    return seen[0] if seen else f"it left the file {left[0]}" if left else ""


def calls_of(kind: type) -> Iterator[str]:
    """Names in EVALUATES that the scorer calls, itself or through functions of the library."""
    waiting = [kind.score_answer]
    known = set()
    while waiting:
        function = waiting.pop()
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if code is None or code in known:
            continue
        known.add(code)
        spaces = [vars(sys.modules[function.__module__])]
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError):
            continue  # made by the standard library for a dataclass, or a lambda; the audit hooks watch those
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in EVALUATES and not (called == "compile" and isinstance(node.func, ast.Attribute)):
                    yield called
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            target = (
                next((space[name] for space in spaces if name in space), None) or getattr(kind, name, None)
                if name
                else None
            )
            module = getattr(target, "__module__", "") or ""
            if module.startswith("reasoning_gym"):
                waiting += (
                    [target]
                    if inspect.isroutine(target)
                    else [one for one in vars(target).values() if inspect.isfunction(one)]
                    if inspect.isclass(target)
                    else []
                )


if __name__ == "__main__":
    main()
