"""What the server lets a client do: how much, how long, and from where."""

import hmac
import ipaddress
from asyncio import TimerHandle, Transport

import msgspec
from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

LATE = 10.0  # seconds that the head of a request may take, and that an answer may wait to be fetched
HEADERS = 16_384  # bytes


class Limits(msgspec.Struct, frozen=True):
    """What is bounded; sizes are bytes, times seconds."""

    batch_wait: float = 0.002
    queue: int = 128  # images that a model holds
    images: int = 64  # of a request
    body: int = 16_000_000
    bodies: int = 256_000_000  # of all requests that are being received or wait
    body_seconds: float = 15.0
    answer_seconds: float = 30.0
    connections: int = 900


class Problem(Exception):
    """What a client is told instead of an answer; `limit` is the bound that it ran into, `again` when to come back."""

    def __init__(
        self, status: int, error: str, detail: str, limit: float | None = None, again: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.error, self.detail, self.limit, self.again = status, error, detail, limit, again


class Budget:
    """Bytes that all requests together may hold."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, count: int) -> None:
        """Raises: Problem where so many are not left."""
        if count > self.left:
            raise Problem(429, "busy", "too many bytes are being received already", again=1)
        self.left -= count

    def give(self, count: int) -> None:
        self.left += count


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 without clients that send a head, or fetch an answer, byte by byte without end."""

    _late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(LATE, self._cut)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        if self._late is None and (before is None or before.response_complete):
            self._late = self.loop.call_later(LATE, self._cut)
        super().data_received(data)
        if self.cycle is not before:
            self._in_time()

    def handle_events(self) -> None:
        try:
            super().handle_events()
        except Exception:  # why: h11 has no more to say on a connection that is in the middle of an answer
            self._cut()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._in_time()
        self._late = self.loop.call_later(LATE, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._in_time()

    def _in_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _cut(self) -> None:
        self.transport.abort()


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_origin(headers: Headers, local: bool) -> None:
    """Refuse what a foreign web page makes a browser send. Raises: Problem.

    On a loopback address (`local`) the host is this machine by name or by number: a foreign name that leads here is
    how a page reads from a server that only this machine should reach.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        raise Problem(400, "bad host", "a request has one Host header")
    name = hosts[0].rsplit(":", 1)[0] if not hosts[0].endswith("]") else hosts[0]
    if local and not loopback(name.strip("[]").lower()):
        raise Problem(403, "foreign host", "this server answers to localhost alone; --host opens it to others")
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != hosts[0]:
        raise Problem(403, "foreign origin", "pages of other sites may not use this server")


def check_token(headers: Headers, token: str) -> None:
    """Raises: Problem where a token is asked for and not given."""
    given = headers.get("authorization", "").encode()
    if token and not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise Problem(401, "token needed", "send the header Authorization: Bearer TOKEN")
