"""A chat-completions server on this machine that misbehaves on command. Holds no tests."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any], int], None]
"""What to do with (the connection, the request's body, how many requests came before it)."""


def ticket_of(text: str) -> str:
    found = re.findall(r'"ticket": "([0-9a-f]+)"', text)
    assert found, "the prompt shows no ticket"
    return found[-1]


def prompt_of(body: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in body["messages"])


def ballot(body: dict[str, Any], verdict: Any = "right", kind: str = "verdict") -> str:
    """A proper reply to a request."""
    return json.dumps({"ticket": ticket_of(prompt_of(body)), "reason": "it is so", kind: verdict})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behave: Behaviour
    bodies: list[dict[str, Any]]
    lock: threading.Lock

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            before = len(self.bodies)
            self.bodies.append(body)
        try:
            type(self).behave(self, body, before)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def say(self, text: Any, status: int = 200, headers: dict[str, str] | None = None, usage: Any = None) -> None:
        """A chat completion with that text as its content."""
        answer = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}
        self.send(json.dumps(answer).encode(), status, headers)

    def send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


class Served:
    """A running server: its address for an Endpoint, and the requests it was sent."""

    def __init__(self, url: str, bodies: list[dict[str, Any]]) -> None:
        self.url, self.bodies = url, bodies


@contextmanager
def serving(behave: Behaviour) -> Iterator[Served]:
    bodies: list[dict[str, Any]] = []
    kind = type("Scripted", (Handler,), {"behave": staticmethod(behave), "bodies": bodies, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{server.server_address[1]}/v1", bodies)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(verdict: Any, kind: str = "verdict", usage: Any = None) -> Behaviour:
    return lambda handler, body, _: handler.say(ballot(body, verdict, kind), usage=usage)


def slow(seconds: float) -> Behaviour:
    def behave(handler: Handler, body: dict[str, Any], _: int) -> None:
        time.sleep(seconds)
        handler.say(ballot(body))

    return behave


def trickle(handler: Handler, body: dict[str, Any], _: int) -> None:
    """A byte now and then, for ever: no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def endless(handler: Handler, body: dict[str, Any], _: int) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def cut_off(handler: Handler, body: dict[str, Any], _: int) -> None:
    """A good reply of which half arrives, with the length of the whole."""
    data = json.dumps({"choices": [{"message": {"content": ballot(body)}}]}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def hang_up(handler: Handler, body: dict[str, Any], _: int) -> None:
    handler.connection.close()
    handler.close_connection = True
