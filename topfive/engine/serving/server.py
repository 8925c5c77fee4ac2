"""From models to a server that answers until it is told to stop."""

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping

import uvicorn

from topfive.engine.serving.app import Page, add_page, application
from topfive.engine.serving.lane import Lane
from topfive.engine.serving.limits import HEADERS, Connection, Limits, loopback
from topfive.engine.serving.messages import Options
from topfive.engine.serving.metrics import Metrics
from topfive.errors import Interrupted, ResourceError, Terminated

GRACE = 10  # seconds that requests have to end in after the server is told to stop
Pages = Callable[[Mapping[str, object]], Mapping[str, Page]]


class Server(uvicorn.Server):
    """uvicorn's server, which finishes what it has at the first signal, and ends at once at the second."""

    should_exit: bool
    ended_by: int | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self.should_exit:
            self.ended_by, self.force_exit = number, True
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket for the address. Raises: ResourceError where it cannot be had."""
    found: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        if sys.platform != "win32":  # where it would let two servers have one port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        if found:
            found.close()
        why = {
            errno.EADDRINUSE: "another program has that port: --port takes another one",
            errno.EACCES: "ports below 1024 are the system's: --port takes another one",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ResourceError(f"cannot listen on {host}:{port}: {why}") from None
    return found


async def serve(
    models: Mapping[str, Options], limits: Limits, at: socket.socket, host: str, token: str, pages: Pages,
    say: Callable[[str], object],
) -> None:  # fmt: skip
    """Serve the models until a signal. Raises: what opening a model does; Interrupted for a second signal."""
    metrics = Metrics()
    lanes = {name: Lane(name, options, limits, metrics) for name, options in models.items()}
    try:
        await asyncio.gather(*(lane.start() for lane in lanes.values()))
        for lane in lanes.values():
            assert lane.card is not None
            for sentence in (*lane.card.notes, f"{lane.name}: {lane.card.protocol}; {lane.card.backend}"):
                say(sentence)
        local = loopback(host)
        app = application(lanes, limits, metrics, local, token)
        for path, page in pages(app.openapi()).items():
            add_page(app, path, page)
        config = uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE, timeout_keep_alive=5,
            limit_concurrency=limits.connections, h11_max_incomplete_event_size=HEADERS,
        )  # fmt: skip
        server = Server(config)
        say(f"serving {', '.join(lanes)} on http://{_shown(host)}:{at.getsockname()[1]}; Ctrl-C stops it")
        await server.serve([at])
    finally:
        await asyncio.gather(*(lane.close() for lane in lanes.values()))
    if server.ended_by:
        raise (Terminated if server.ended_by == signal.SIGTERM else Interrupted)("stopped before all had an answer")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
