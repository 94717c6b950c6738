"""Hostile requests to the verifier service, and services that misbehave towards the client: answered, refused or given up."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.records import Key, Problem
from burnish.verify import judge, load
from burnish.verify.client import Reward, There
from burnish.verify.pool import Pool
from test_verify_pool import wait_until
from test_verify_serve import OBEY, get, post, service

ROW = {"gold": "4", "answer": "4"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service("--verifier", "number", "--verifier", OBEY, "--most-bytes", "100000", "--deadline", "1") as (url, _):
        yield url


# ---- what a model may write, and what a client may send


def test_a_lone_surrogate_comes_back_as_it_went(url: str) -> None:
    status, reply = post(
        url, b'{"items": [{"gold": "4", "answer": "\\ud800", "id": "\\udfff"}, {"gold": 4, "answer": 4}]}'
    )
    assert (status, [row["outcome"] for row in reply["verdicts"]]) == (200, ["wrong", "right"])
    assert reply["verdicts"][0]["id"] == "\udfff"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_is_no_json_is_refused(url: str, text: str) -> None:
    status, reply = post(url, f'{{"items": [{{"gold": "4", "answer": "4", "id": {text}}}]}}'.encode())
    assert status == 400 and text in reply["error"]


@pytest.mark.parametrize("own", ["1e999", "[1]", "{}", "true"])
def test_an_id_is_text_or_a_number(url: str, own: str) -> None:
    status, reply = post(url, f'{{"items": [{{"gold": "4", "answer": "4", "id": {own}}}]}}'.encode())
    if own == "true":  # a number to Python, and harmless
        assert status == 200 and reply["verdicts"][0]["id"] is True
    else:
        assert status == 422 and "items[0] has an id that is" in reply["error"]


def test_a_gold_of_infinity_is_refused(url: str) -> None:
    status, reply = post(url, b'{"items": [{"gold": 1e999, "answer": "inf"}]}')
    assert status == 422 and "items[0] has inf for its gold, which is no answer" in reply["error"]


@pytest.mark.parametrize("levels", [500, 900, 960, 975, 980, 985, 990, 1200])
def test_depth_is_judged_or_refused(url: str, levels: int) -> None:
    deep = "[" * levels + "]" * levels
    status, reply = post(url, f'{{"items": [{{"reference": {{"answer": "4", "x": {deep}}}, "answer": "4"}}]}}'.encode())
    assert (status == 200 and len(reply["verdicts"]) == 1) or (status == 400 and "no JSON" in reply["error"])
    assert post(url, {"items": [ROW]})[1]["verdicts"][0]["outcome"] == "right"


def test_the_verdict_of_one_item_is_never_anothers(url: str) -> None:
    """Many clients at once, each with numbers of its own: every found answer is the one that was sent at that place."""
    mixed: list[str] = []

    def ask(client: int) -> None:
        for _ in range(5):
            sent = [f"{client}{n:03}" for n in range(40)]
            rows = post(url, {"items": [{"gold": text, "answer": text, "id": text} for text in sent]})[1]["verdicts"]
            mixed.extend(
                text for text, row in zip(sent, rows, strict=True) if (row["id"], row["found"]) != (text, text)
            )

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []


def test_a_wrong_content_type_does_not_matter(url: str) -> None:
    assert _raw(url, b"Content-Type: text/xml\r\n", json.dumps({"items": [ROW]}).encode()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head", [b"GARBAGE\r\n\r\n", b"POST /v1/judge HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"\x16\x03\x01" * 50]
)
def test_what_is_no_http_does_not_stop_the_service(url: str, head: bytes) -> None:
    with _connected(url) as stream:
        stream.sendall(head)
        stream.settimeout(5.0)
        assert b"200 OK" not in stream.recv(1000)
    assert post(url, {"items": [ROW]})[0] == 200


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(url: str) -> None:
    for _ in range(20):
        with _connected(url) as stream:
            stream.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b" " * 50_000)
    wait_until(lambda: json.loads(get(url + "/health"))["waiting"] == 0)
    assert post(url, {"items": [ROW]})[0] == 200


def test_hundreds_of_idle_connections_keep_nobody_out(url: str) -> None:
    idle = [_connect(url) for _ in range(300)]
    try:
        assert post(url, {"items": [ROW]})[0] == 200
    finally:
        for stream in idle:
            stream.close()


def test_a_connection_that_begins_no_request_is_hung_up_on() -> None:
    """Nothing at all, and a head that comes a byte at a time: neither outlives twice the time for a head."""
    code = "import burnish.pipelines.serve as s; s._HEAD_S = 0.4; s.serve(['number'], '127.0.0.1', 0, 1, 1.0)"
    with service(code=code) as (url, _), _connected(url) as silent, _connected(url) as slow:
        slow.sendall(b"POST /v1/judge HTTP/1.1\r\nX: ")
        began = time.monotonic()
        while time.monotonic() - began < 5.0:
            try:
                slow.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        assert time.monotonic() - began < 3.0
        silent.settimeout(3.0)
        assert silent.recv(1) == b""
        assert post(url, {"items": [ROW]})[0] == 200


def test_bodies_together_are_bounded() -> None:
    code = (
        "import burnish.pipelines.serve as s; "
        "s.serve(['number'], '127.0.0.1', 0, 1, 1.0, s.Limits(body_bytes=60_000, held_bytes=100_000))"
    )
    begun = b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Length: 59999\r\n\r\n" + b" " * 55_000
    with service(code=code) as (url, _):
        with _connected(url) as first:
            first.sendall(begun)
            with _connected(url) as second:
                second.sendall(begun)
                second.settimeout(5.0)
                assert second.recv(1000).startswith(b"HTTP/1.1 503")
        wait_until(lambda: post(url, {"items": [ROW]})[0] == 200)
        assert post(url, b" " * 59_000)[0] == 400  # there is room again


# ---- services that misbehave


@contextmanager
def _server(answer: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """Whatever is asked, these bytes; with a pause, one at a time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(stream,), daemon=True).start()

    def talk(stream: socket.socket) -> None:
        with stream:
            try:
                stream.recv(1 << 16)
                for byte in [answer] if not pause_s else [answer[at : at + 1] for at in range(len(answer))]:
                    stream.sendall(byte)
                    time.sleep(pause_s)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def _reply(body: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body) if length is None else length, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        _reply(b"{}"),
        _reply(b"[1, 2]"),
        _reply(b"[" * 5000),
        _reply(b'{"verdicts": []}'),
        _reply(b'{"verdicts": [{"id": 0, "outcome": "right"', 500),
        _reply(
            b'{"verdicts": [{"id": 0, "outcome": "right", "score": 7, "parts": {}, "found": "", "why": "", "seconds": 0, "fault": null}]}'
        ),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=[
        "nothing",
        "another protocol",
        "no verdicts",
        "a list",
        "deep",
        "too few",
        "cut off",
        "a score of 7",
        "chunks",
    ],
)
def test_a_service_that_talks_nonsense_gives_no_verdict(answer: bytes) -> None:
    with _server(answer) as url:
        [verdict] = There("number", url, timeout_s=0.3).judge([ROW])
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "lost")


def test_a_reply_that_trickles_is_given_up() -> None:
    with _server(_reply(b" " * 4000), pause_s=0.02) as url:
        began = time.monotonic()
        [verdict] = There("number", url, timeout_s=1.0).judge([ROW])
    assert verdict.fault == "lost" and time.monotonic() - began < 3.0


def test_a_batch_that_is_too_large_is_sent_in_parts(url: str) -> None:
    rows = [{"gold": str(n), "response": "x" * 5_000 + f" \\boxed{{{n}}}"} for n in range(60)]  # 300 kB, of 100 allowed
    assert {verdict.outcome for verdict in There("number", url).judge(rows)} == {"right"}
    with pytest.raises(ConfigError, match="larger than 100000 bytes"):
        There("number", url).judge([{"gold": "4", "response": "x" * 200_000}])


# ---- data that has no answer


@pytest.mark.parametrize("name", ["number", "tagged_number", "math", "math_boxed"])
def test_a_gold_that_is_no_number_at_all_is_a_fault_of_the_gold(name: str) -> None:
    """A table with a hole in it holds NaN there; the answer "nan" must not be right."""
    problem = Problem("t/0", "t", "", {"answer": math.nan}, "given", "")
    for response in ("nan", "<think>x</think><answer>nan</answer>", "\\boxed{nan}"):
        verdict = judge(load(name), problem, response)
        assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")


def test_a_reward_refuses_a_gold_that_is_nan() -> None:
    with pytest.raises(Exception, match="row 0 has nan for its gold"):
        Reward("number")(["nan"], answer=[math.nan])


# ---- the pool's own books


def test_what_came_too_late_is_counted_once() -> None:
    items = [(Key("t", at), Problem("t", "t", "", {}, "s", ""), "sleep 0.2") for at in range(6)]
    with Pool(OBEY, workers=1, deadline_s=5.0) as pool:
        list(pool.judge([(Key("t", 0), Problem("t", "t", "", {}, "s", ""), "say 1")]))
        assert len(list(pool.judge(items, within_s=0.5))) == 6
        time.sleep(0.5)
        assert pool.statistics().judged == 7


def test_a_reference_too_deep_to_write_is_a_fault_of_the_gold() -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    with Pool("number", workers=1) as pool:
        [(_, verdict)] = pool.judge([(Key("t", 0), Problem("t", "t", "", {"answer": "4", "x": deep}, "s", ""), "4")])
    assert (verdict.outcome, verdict.fault) == ("no_verdict", "gold")


# ---- sockets


def _connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10.0)


@contextmanager
def _connected(url: str) -> Iterator[socket.socket]:
    with _connect(url) as stream:
        yield stream


def _raw(url: str, headers: bytes, body: bytes) -> bytes:
    with _connected(url) as stream:
        stream.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers)
        stream.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return stream.recv(1 << 16)
