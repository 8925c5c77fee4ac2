"""One file from the network to the disk: continued where it broke off, never longer than it should be."""

import errno
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from topfive.data.files import write_whole
from topfive.data.public_sets import Published
from topfive.data.stores import Progress
from topfive.errors import DataError, ResourceError

PAUSES = (1.0, 2.0, 4.0)  # seconds before a fault that may pass is tried again
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**20


class _Fault(Exception):
    """What went wrong on the net, in words; `passing` where it may be over in a moment."""

    def __init__(self, words: str, passing: bool = False) -> None:
        super().__init__(" ".join(words.split()))
        self.passing = passing


def download(public: Published, url: str, file: BinaryIO, progress: Progress) -> None:
    """Bring `file` to the published number of bytes."""
    goal = public.bytes + public.slack
    if size_of(file) > goal:  # longer than it can be: of another release, or not ours
        file.truncate(0)
    _room(public, Path(file.name).parent, size_of(file))
    most, failures = size_of(file), 0
    while size_of(file) < goal:
        try:
            goal = _read_on(public, url, file, progress)
        except _Fault as fault:
            # why: only a part longer than ever counts as progress; a server without Range could break off for ever
            failures = 0 if size_of(file) > most else failures + 1
            most = max(most, size_of(file))
            if not fault.passing or failures > len(PAUSES):
                raise ResourceError(f"{public.name} cannot be fetched: {fault}; {kept_so_far(file, public)}") from None
            time.sleep(PAUSES[max(0, failures - 1)])


def _read_on(public: Published, url: str, file: BinaryIO, progress: Progress) -> int:
    """One request for what is missing, written behind what is there; gives the bytes of the whole.

    Raises: _Fault, DataError.
    """
    have, notes = size_of(file), Path(f"{file.name}.json")
    request = urllib.request.Request(url, headers={"User-Agent": "topfive", "Accept-Encoding": "identity"})
    known = _validator(notes, url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if known:
            request.add_header("If-Range", known)
    with _net(url):
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
        except HTTPError as error:
            if error.code == 416:  # the part is whole already, or no part of what lies there: begin anew
                whole = error.headers["Content-Range"] == f"bytes */{have}"
                if whole and abs(have - public.bytes) <= public.slack:
                    return have
                file.truncate(0)
            raise
    with response:
        found, start, total = _described(response)
        if total is None:
            total = public.bytes + public.slack
        if abs(total - public.bytes) > public.slack:
            raise DataError(
                f"{url} has {total:,} bytes and not the {public.bytes:,} that were published for {public.name}: it was "
                "changed, which a newer topfive may know, or a log-in page of your network answered"
            )
        if start and (start != have or (known and found and found != known)):
            file.truncate(0)  # why: a server that overlooks If-Range would have two files glued together
            raise _Fault("the server answered another part than was asked for", passing=True)
        if not start:
            file.truncate(0)
            have = 0
            write_whole(notes, json.dumps({"url": url, "validator": found}).encode())
        while chunk := _chunk(response, url):
            have += len(chunk)
            if have > total:
                file.truncate(0)
                raise DataError(f"{url} has more than the {total:,} bytes that were published: nothing was kept")
            file.write(chunk)
            file.flush()
            progress(f"fetching {public.name}", have, total)
    if have < total:
        raise _Fault("the connection broke off", passing=True)
    return total


def _described(response: HTTPResponse) -> tuple[str | None, int, int | None]:
    """(validator, first byte, bytes of the whole file), as the server states them."""
    tag = response.headers["ETag"]
    # why: a weak ETag says that two files mean the same, not that they have the same bytes
    validator = response.headers["Last-Modified"] if tag is None or tag.startswith("W/") else tag
    if response.status != 206:
        length = response.headers["Content-Length"] or ""
        return validator, 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
    if match is None:
        raise _Fault("the server answered a part without saying which", passing=True)
    return validator, int(match[1]), None if match[2] == "*" else int(match[2])


def _chunk(response: HTTPResponse, url: str) -> bytes:
    with _net(url):
        return response.read1(CHUNK)


@contextmanager
def _net(url: str) -> Iterator[None]:
    """Whatever a request may raise, as a _Fault in words."""
    host = urlsplit(url).hostname
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise _Fault(f"nothing is at {url} any more (HTTP {error.code}), a newer topfive may know where") from None
        passing = error.code >= 500 or error.code in (408, 416, 429)
        raise _Fault(f"{host} answers HTTP {error.code} ({error.reason}), try again later", passing) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _fault(error.reason if isinstance(error, URLError) else error, host) from None


def _fault(error: object, host: str | None) -> _Fault:
    match error:
        case socket.gaierror():
            return _Fault(f"the host {host} was not found, check that this machine is on the network")
        case ssl.SSLCertVerificationError():
            return _Fault(f"{host} has no certificate that this machine trusts ({error.verify_message})")
        case TimeoutError():
            return _Fault(f"{host} did not answer for {TIMEOUT:.0f} s, check the network", passing=True)
        case ConnectionRefusedError():
            return _Fault(f"{host} refuses the connection, check the network or try again later", passing=True)
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH | errno.ENETDOWN):
            return _Fault(f"there is no network to reach {host} by, check the connection")
        case _:
            return _Fault(f"the connection to {host} broke off ({str(error) or type(error).__name__})", passing=True)


def _validator(notes: Path, url: str) -> str | None:
    """What tells whether the file at `url` is still the one that the part began with: an ETag or a date."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        noted = json.loads(notes.read_bytes())
        if noted["url"] == url and isinstance(noted["validator"], str):
            return str(noted["validator"])
    return None


def _room(public: Published, folder: Path, have: int) -> None:
    needed, free = public.room - have, shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{public.name} needs {_mb(needed)} in {str(folder)!r}, where {_mb(free)} are free: make room, or name "
            "another folder in TOPFIVE_DATA"
        )


def size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def kept_so_far(file: BinaryIO, public: Published) -> str:
    have = size_of(file)
    if not have:
        return "nothing came yet"
    return f"{_mb(have)} of {_mb(public.bytes)} are kept, and the same command continues from there"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
