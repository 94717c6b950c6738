"""Run the verifier service until it is told to end: Ctrl-C or SIGTERM, then what is in progress is finished first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence

from burnish.errors import ConfigError

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from burnish.verify.service import Limits, Service
except ImportError as error:
    raise ConfigError(
        f"the verifier service needs starlette and uvicorn ({error}): pip install 'burnish[serve]'"
    ) from error

from burnish.verify import readiness
from burnish.verify.pool import Pool

__all__ = ["Limits", "serve"]

_CONNECTIONS = 512  # at a time; one more is hung up on
_HEAD_S = 20.0  # a connection that begins no request in so long, or in twice that, is hung up on


def serve(
    verifiers: Sequence[str], host: str, port: int, workers: int, deadline_s: float, limits: Limits = Limits()
) -> None:
    """Serve until a signal. Says where it listens on standard error. Raises ConfigError where it cannot listen there."""
    if len(set(verifiers)) < len(verifiers):
        raise ConfigError(f"a verifier is named twice: {', '.join(verifiers)}")
    notices = dict.fromkeys(notice for name in verifiers for notice in readiness(name))
    sys.stderr.write("".join(f"burnish: {notice}\n" for notice in notices))
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(Pool(name, workers, deadline_s)) for name in verifiers}
        listener = stack.enter_context(_listen(host, port))
        application = Service(pools, limits).application()
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            http=_Connection,
            timeout_graceful_shutdown=int(limits.request_s) + 1,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=1 << 16,
        )
        server = uvicorn.Server(config)

        def end(number: int, frame: object) -> None:
            server.should_exit = True

        # Before anyone is told where we listen, and may send a signal: uvicorn's own handlers come a moment later. It raises
        # the signal again once it has ended in order; for this verb that end is a good one.
        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            place = listener.getsockname()
            shown = f"[{place[0]}]" if ":" in place[0] else place[0]
            sys.stderr.write(
                f"burnish: {', '.join(verifiers)} at http://{shown}:{place[1]}/v1/judge; Ctrl-C ends it.\n"
            )
            sys.stderr.flush()
            server.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Connection(H11Protocol):
    """A connection that is not held open by a client that sends nothing, or its head a byte at a time.

    The server's own timeout begins after the first answer and ends with the next byte; a body has its time in the service.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._before: object = None  # the last request, as of the last look
        if len(self.connections) > _CONNECTIONS:
            transport.close()
        else:
            self.loop.call_later(_HEAD_S, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._before:
            self.transport.close()
            return
        self._before = self.cycle
        self.loop.call_later(_HEAD_S, self._look)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with --host, --port"
        ) from error
    return listener
