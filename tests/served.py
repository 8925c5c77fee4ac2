"""A server for tests, in processes of its own, and clients of it that stop at nothing."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Served:
    """`topfive serve` with some arguments, at a free port; what it says is in `log`."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.log = folder / f"log-{time.time_ns()}"
        # why: a place that the clients' one core does not have to share out among spinning threads
        around = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        command = [sys.executable, "-m", "topfive", "serve", "--port", "0", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=around)
        end = time.monotonic() + 120
        while not (found := re.search(r"on http://\S+:(\d+);", self.said)):
            assert self.process.poll() is None and time.monotonic() < end, self.said
            time.sleep(0.05)
        self.port = int(found[1])

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def memory(self) -> int:
        """Bytes of the server and its workers."""
        return sum(p.memory_info().rss for p in (psutil.Process(self.process.pid), *self.workers))

    def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}, method: str = "") -> Reply:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read().decode())

    def predict(self, data: bytes, query: str = "") -> Reply:
        return self.ask(f"/predict{query}", data, {"Content-Type": "image/png"})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def raw(self, *parts: bytes, pause: float = 0.0) -> tuple[int, bytes]:
        """What comes back for bytes that need not be HTTP: the status, 0 for a closed connection, and everything."""
        got = b""
        with self.connect() as client:
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    client.sendall(part)
                    time.sleep(pause)
            with contextlib.suppress(ConnectionError):
                client.shutdown(socket.SHUT_WR)
                while more := client.recv(65536):
                    got += more
        found = re.match(rb"HTTP/1\.1 (\d+)", got)
        return int(found[1]) if found else 0, got

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[Served]:
    server = Served(folder, *arguments, **environment)
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.stop()
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
