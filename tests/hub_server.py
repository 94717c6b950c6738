"""A hub of data sets on this machine: as much of its HTTP interface as the client libraries ask for, from a folder of files.

Not for anything but tests. `asked` keeps the path of every request.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REVISION = "5" * 40


@contextmanager
def hub(folder: Path, repository: str) -> Iterator[tuple[str, list[str]]]:
    """(its address, what was asked of it). `folder` holds the files of `repository` at REVISION, and at no other."""
    asked: list[str] = []
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def listed(inside: str) -> list[dict[str, Any]]:
        """What stands right in a folder of the repository."""
        start = f"{inside}/" if inside else ""
        below = [name for name in files if name.startswith(start)]
        folders = {start + name.removeprefix(start).split("/")[0] for name in below if "/" in name.removeprefix(start)}
        return [
            *({"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)),
            *(
                {"type": "file", "path": name, "oid": hashlib.sha1(files[name]).hexdigest(), "size": len(files[name])}
                for name in below
                if "/" not in name.removeprefix(start)
            ),
        ]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": REVISION, **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path}")
            about, resolve = f"/api/datasets/{repository}", f"/datasets/{repository}/resolve/{REVISION}/"
            if path.startswith(resolve) and (body := files.get(path.removeprefix(resolve))) is not None:
                self.reply(
                    200, body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', Content_Type="application/octet-stream"
                )
            elif path == f"{about}/revision/{REVISION}":
                siblings = [{"rfilename": name} for name in sorted(files)]
                known = {
                    "id": repository,
                    "sha": REVISION,
                    "siblings": siblings,
                    "private": False,
                    "gated": False,
                    "tags": [],
                }
                self.reply(200, json.dumps(known).encode(), Content_Type="application/json")
            elif path.startswith(f"{about}/tree/{REVISION}"):
                inside = path.removeprefix(f"{about}/tree/{REVISION}").strip("/")
                self.reply(200, json.dumps(listed(inside)).encode(), Content_Type="application/json")
            else:
                code = "EntryNotFound" if REVISION in path else "RevisionNotFound"
                self.reply(404, b"{}", X_Error_Code=code, Content_Type="application/json")

        do_GET = do_HEAD = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
