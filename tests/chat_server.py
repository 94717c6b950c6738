"""A chat-completions server of its own process that answers the task chain, and misbehaves on command. Holds no tests.

    python chat_server.py BEHAVIOUR        prints its port

BEHAVIOUR: fine; busy (every third request 429 with Retry-After); broken (every third 500); cut (every third body is cut off);
slow (every third takes a second); no_usage; refuses_n (400 where n is given); other_model; thoughts (the thought stands beside the
text); key (401 without the right one); down (always 500); dies (ends its process after 12 answers).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

MODEL = "tiny-chat"
KEY = "s3cret-key"


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour = "fine"
    lock = threading.Lock()
    requests = 0
    bodies: list[dict[str, Any]] = []

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.send({"data": [{"id": MODEL}]})
        else:
            self.send({"bodies": self.bodies})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            Server.requests += 1
            number = Server.requests
            self.bodies.append(body)
        third, how = number % 3 == 0, self.behaviour
        if how == "dies" and number > 12:
            os._exit(1)
        if how == "key" and self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.send({"error": "who are you?"}, 401)
        if body["model"] != MODEL:
            return self.send({"error": f"no model {body['model']}"}, 404)
        if how == "refuses_n" and body.get("n", 1) != 1:
            return self.send({"error": "n > 1 is not supported"}, 400)
        if how == "busy" and third:
            return self.send({"error": "busy"}, 429, {"Retry-After": "0.05"})
        if how == "down" or (how == "broken" and third):
            return self.send({"error": "oops"}, 500)
        if how == "slow" and third:
            time.sleep(1.0)
        self.answer(body, cut=how == "cut" and third)
        return None

    def answer(self, body: dict[str, Any], cut: bool) -> None:
        """Right for seeds that are even; a function of the request alone."""
        good = body["seed"] % 2 == 0
        value = work_out(body["messages"][-1]["content"]) + (not good)
        text = f"<answer>{value % 10}</answer>"
        message: dict[str, Any] = {"role": "assistant", "content": f"<think>so</think>{text}"}
        if self.behaviour == "thoughts":
            message = {"role": "assistant", "content": text, "reasoning_content": "so"}
        reply: dict[str, Any] = {
            "model": "other" if self.behaviour == "other_model" else MODEL,
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9},
        }
        if self.behaviour == "no_usage":
            del reply["usage"]
        self.send(reply, cut=cut)

    def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None, cut: bool = False) -> None:
        data = json.dumps(value).encode()
        data = data[: len(data) // 2] if cut else data
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return


def work_out(question: str) -> int:
    value = 0
    for word, digits in re.findall(r"\b[a-z] (add |times |take )?(\d+)", question):
        digit = int(digits)
        value = {"": digit, "add ": value + digit, "times ": value * digit, "take ": value - digit}[word] % 10
    return value


class Running:
    """A server that runs: its URL, and the bodies it was sent."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        with urlopen(self.url.removesuffix("/v1") + "/bodies", timeout=10) as reply:
            found: list[dict[str, Any]] = json.load(reply)["bodies"]
        return found


@contextmanager
def serving(behaviour: str = "fine") -> Iterator[Running]:
    """The server as a process of its own; ended with the block."""
    process = subprocess.Popen([sys.executable, str(Path(__file__)), behaviour], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Running(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Server.behaviour = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    print(server.server_address[1], flush=True)
    server.serve_forever()
