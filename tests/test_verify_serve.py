"""The verifier service over real sockets, its limits and its end; and the clients that trainers call."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import BurnishError, ConfigError, DataError
from burnish.verify import identity
from burnish.verify.client import Here, Reward, There, compute_score
from test_verify_pool import is_running, wait_until

TESTS = Path(__file__).parent
OBEY = "test_verify_misbehaving:obey"


@contextmanager
def service(*arguments: str, code: str | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A `burnish verify serve` on a free port, or what `code` serves; (its address, its process)."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    command = [sys.executable, "-m", "burnish", "verify", "serve", "--port", "0", *arguments]
    if code is not None:
        command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert " at http://" in line, line
        yield line.split(" at ")[1].split("/v1/judge")[0], process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()  # where it does not end by itself, that is a failure, and nothing stays behind


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    limits = ["--most-items", "50", "--most-bytes", "100000", "--most-characters", "5000", "--deadline", "1"]
    with service("--verifier", "number", "--verifier", OBEY, "--request-deadline", "4", *limits) as (address, _):
        yield address


def post(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + "/v1/judge", data), timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        return str(reply.read().decode())


def test_a_batch_comes_back_in_order(url: str) -> None:
    items = [{"gold": "4", "response": f"\\boxed{{{n}}}", "id": f"row {n}"} for n in (4, 5, 4)] + [
        {"gold": "?", "answer": 4}
    ]
    status, reply = post(url, {"items": items})
    assert status == 200 and reply["verifier"] == identity("number")
    assert [row["outcome"] for row in reply["verdicts"]] == ["right", "wrong", "right", "no_verdict"]
    assert [row.get("id") for row in reply["verdicts"]] == ["row 4", "row 5", "row 4", None]
    assert reply["verdicts"][1].keys() == {"id", "outcome", "score", "parts", "found", "why", "seconds", "fault"}
    assert reply["verdicts"][3]["score"] is None


def test_no_items_give_no_verdicts(url: str) -> None:
    assert post(url, {"items": []})[1]["verdicts"] == []


def test_faults_of_a_verifier_are_verdicts(url: str) -> None:
    items = [{"reference": {}, "response": order} for order in ("say 1", "hang", "exit", "raise", "say 2")]
    status, reply = post(url, {"verifier": OBEY, "items": items})
    assert status == 200
    assert [row["found"] or row["fault"] for row in reply["verdicts"]] == ["1", "timeout", "crashed", "crashed", "2"]


def test_a_request_has_a_deadline(url: str) -> None:
    began = time.monotonic()
    status, reply = post(url, {"verifier": OBEY, "items": [{"reference": {}, "response": "sleep 0.8"}] * 20})
    assert time.monotonic() - began < 8.0 and status == 200
    assert {row["fault"] for row in reply["verdicts"]} == {None, "timeout"} and len(reply["verdicts"]) == 20


REFUSED: list[tuple[str, Any, int, str]] = [
    ("no JSON", b"{", 400, "no JSON"),
    ("deep JSON", b"[" * 50_000, 400, "no JSON"),
    ("not UTF-8", b'{"items": ["\xff"]}', 400, "no JSON"),
    ("a list", [], 422, "a list called items"),
    ("no items", {"verifier": "number"}, 422, "a list called items"),
    ("an item that is text", {"items": ["4"]}, 422, "items[0] is str"),
    ("nothing said", {"items": [{"gold": "4"}]}, 422, "items[0] holds neither"),
    (
        "nothing right",
        {"items": [{"gold": "4", "answer": "4"}, {"answer": "4"}]},
        422,
        "items[1] does not say what is right",
    ),
    ("unknown", {"verifier": "nmber", "items": []}, 404, "did you mean 'number'"),
    ("no name", {"verifier": 5, "items": []}, 404, "no verifier 'int'"),
    ("too many", {"items": [{"gold": "4", "answer": "4"}] * 51}, 413, "51 items, more than 50"),
    ("too long", {"items": [{"gold": "4", "response": "x" * 5001}]}, 413, "5001 characters, more than 5000"),
    ("too large", b" " * 100_001, 413, "larger than 100000 bytes"),
]


@pytest.mark.parametrize(
    ("body", "status", "fragment"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_bad_request_is_refused_with_a_sentence(url: str, body: Any, status: int, fragment: str) -> None:
    found, reply = post(url, body)
    assert (found, fragment in reply["error"]) == (status, True), reply


def test_a_body_without_a_length_is_cut_off_too(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(50):
                line.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert b" 413 " in line.recv(1000)


def test_health_and_metrics(url: str) -> None:
    post(url, {"items": [{"gold": "4", "answer": "4"}]})
    health = json.loads(get(url + "/health"))
    assert health["status"] == "ok" and set(health["verifiers"]) == {"number", OBEY}
    lines = get(url + "/metrics").splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['burnish_verdicts_total{verifier="number",outcome="right"}']) >= 1
    assert float(values['burnish_requests_total{status="200"}']) >= 1
    assert float(values["burnish_waiting"]) == 0
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == {
        line.split()[2] for line in lines if line[:6] == "# HELP"
    }


def test_too_much_at_a_time_is_told_to_wait() -> None:
    with service("--verifier", OBEY, "--most-waiting", "5", "--workers", "1", "--deadline", "5") as (address, _):
        slow = {"items": [{"reference": {}, "response": "sleep 0.5"}] * 4}
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(post(address, slow)[0]))
        thread.start()
        wait_until(lambda: json.loads(get(address + "/health"))["waiting"] == 4)
        status, reply = post(address, slow)
        assert status == 503 and "4 items are waiting already" in reply["error"]
        verdicts = There(OBEY, address, timeout_s=20.0).judge(slow["items"])  # a client waits its turn
        thread.join()
        assert answers == [200] and {verdict.outcome for verdict in verdicts} == {"right"}


def test_a_signal_lets_what_is_in_progress_finish() -> None:
    with service("--verifier", OBEY, "--workers", "1") as (address, process):
        [warm] = post(address, {"items": [{"reference": {}, "response": "a"}]})[1]["verdicts"]
        answers: list[tuple[int, Any]] = []
        body = {"items": [{"reference": {}, "response": "sleep 1"}]}
        thread = threading.Thread(target=lambda: answers.append(post(address, body)))
        thread.start()
        wait_until(lambda: json.loads(get(address + "/health"))["waiting"] == 1)
        process.send_signal(signal.SIGTERM)
        thread.join()
        assert process.wait(timeout=20) == 0
        assert answers[0][0] == 200 and answers[0][1]["verdicts"][0]["outcome"] == "right"
        wait_until(lambda: not is_running(int(warm["why"])))


EARLY = """
import os, signal, sys, uvicorn
from burnish.cli import main
run = uvicorn.Server.run
def early(server, sockets):
    os.kill(os.getpid(), signal.SIGTERM)
    run(server, sockets=sockets)
uvicorn.Server.run = early
sys.argv[1:] = ["verify", "serve", "--port", "0", "--verifier", "number", "--workers", "1"]
main()
"""


def test_a_signal_before_the_server_runs_ends_it() -> None:
    with service(code=EARLY) as (_, process):
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--verifier", "nmber"], "did you mean 'number'"),
        (["--verifier", "number", "--verifier", "number"], "named twice"),
    ],
)
def test_a_service_that_cannot_be_is_one_sentence(arguments: list[str], fragment: str) -> None:
    command = [sys.executable, "-m", "burnish", "verify", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and fragment in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_sentence(url: str) -> None:
    command = [
        sys.executable,
        "-m",
        "burnish",
        "verify",
        "serve",
        "--verifier",
        "number",
        "--port",
        url.rpartition(":")[2],
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "cannot listen on 127.0.0.1" in done.stderr and len(done.stderr.splitlines()) == 1


# ---- clients

COMPLETIONS = ["\\boxed{4}", "\\boxed{5}", "no idea", "\\boxed{1}"]
GOLDS = ["4", "4", "4", "one?"]


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_reward_function_as_trl_calls_it(url: str, where: str) -> None:
    reward = Reward("number", gold="solution", url=url if where == "there" else None, workers=1)
    assert reward(COMPLETIONS, prompts=["?"] * 4, solution=GOLDS) == [1.0, 0.0, 0.0, None]
    talks = [[{"role": "assistant", "content": text}] for text in COMPLETIONS]
    assert reward(talks, solution=GOLDS) == [1.0, 0.0, 0.0, None]
    assert reward(["\\boxed{4}"], solution=[{"answer": "4"}]) == [1.0]
    assert reward.__name__ == "burnish_number"


def test_a_thought_that_the_prompt_opened_is_put_back() -> None:
    rows = ["12 is \\boxed{4}", "hm</think> \\boxed{4}"]
    assert Reward("number", workers=1, opened=True)(rows, answer=["4", "4"]) == [0.0, 1.0]


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs a column 'answer'.*has gold"):
        Reward("number")(["4"], gold=["4"])


def test_a_row_without_gold_is_refused() -> None:
    with pytest.raises(DataError, match="row 1 does not say what is right"):
        Reward("number", workers=1)(["4", "4"], answer=["4", None])


def test_a_reward_can_be_pickled() -> None:
    reward = Reward("number", workers=1)
    assert reward(["4"], answer=["4"]) == [1.0]
    assert pickle.loads(pickle.dumps(reward))(["5"], answer=["4"]) == [0.0]


def test_a_service_that_is_not_there_is_no_verdict() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    began = time.monotonic()
    [verdict] = There("number", address, timeout_s=1.5).judge([{"gold": "4", "answer": "4"}])
    assert time.monotonic() - began < 5.0
    assert (verdict.outcome, verdict.fault) == (
        "no_verdict",
        "lost",
    ) and "no answer from the verifier service" in verdict.why


def test_a_refusal_of_the_service_is_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'number'"):
        There("nmber", url).judge([{"gold": "4", "answer": "4"}])
    with pytest.raises(ConfigError, match="must begin with http"):
        There("number", "localhost:8100")


def test_many_rows_go_in_batches(url: str) -> None:
    verdicts = There("number", url, batch=50).judge([{"gold": str(n), "answer": str(n % 7)} for n in range(120)])
    assert [verdict.outcome for verdict in verdicts] == ["right" if n < 7 else "wrong" for n in range(120)]


def test_verl_is_given_a_score(url: str) -> None:
    for where in (None, url):
        assert compute_score("gsm8k", "\\boxed{4}", "4", verifier="number", url=where) == {
            "score": 1.0,
            "acc": 1.0,
            "no_verdict": 0.0,
        }
    with pytest.raises(BurnishError, match="no verdict on an answer to gsm8k"):
        compute_score("gsm8k", "4", "four?", verifier="number")
    assert compute_score("gsm8k", "4", "four?", verifier="number", no_verdict=-1.0)["score"] == -1.0


def test_the_client_needs_the_standard_library_only() -> None:
    code = "import sys, burnish.verify.client; print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "['__main__', 'burnish']", done.stderr


def test_here_judges_in_order() -> None:
    verdicts = Here("number", workers=2).judge([{"gold": str(n), "answer": str(n % 5)} for n in range(50)])
    assert [verdict.outcome for verdict in verdicts] == ["right" if n < 5 else "wrong" for n in range(50)]


TRAINING = """
import sys, torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from burnish.verify.client import Reward

folder, url = sys.argv[1], sys.argv[2] or None
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: i for i, letter in enumerate(["<pad>", "<eos>", *letters])}
raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", padding_side="left")
torch.manual_seed(1)
model = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=1))
model.save_pretrained(folder); tokenizer.save_pretrained(folder)
reward, said = Reward("number", gold="solution", url=url, workers=1), []
def watched(completions, **columns):
    answers = reward(completions, **columns)
    said.extend(zip(completions, columns["solution"], answers))
    return answers
data = Dataset.from_list([{"prompt": f"{n}+1=", "solution": "?" if n == 3 else str(n + 1)} for n in range(4)])
settings = GRPOConfig(output_dir=folder + "/out", per_device_train_batch_size=4, num_generations=2, max_completion_length=8,
    max_steps=2, report_to=[], use_cpu=True, bf16=False, save_strategy="no", logging_steps=1)
trainer = GRPOTrainer(model=folder, reward_funcs=[watched], args=settings, train_dataset=data, processing_class=tokenizer)
trainer.train()
assert trainer.state.global_step == 2
assert said and all((answer is None) == (gold == "?") for _, gold, answer in said), said
assert all(answer in (None, 0.0, 1.0) for _, _, answer in said)
print("rewarded", len(said))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "there"])
def test_trl_trains_with_our_rewards(tmp_path: Path, url: str, where: str) -> None:
    python = os.environ.get("BURNISH_TRL_PYTHON")
    if not python:
        pytest.skip("BURNISH_TRL_PYTHON names no Python that has trl")
    (tmp_path / "training.py").write_text(TRAINING)
    sources = str(TESTS.parent / "src")
    environment = {**os.environ, "PYTHONPATH": sources, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [python, "training.py", str(tmp_path / "model"), url if where == "there" else ""]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "rewarded 8"
