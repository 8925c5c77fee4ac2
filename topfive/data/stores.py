"""Where the bytes of images lie: a folder, a tar, a zip, a URL, an array. Read in place; never extracted or written.

An archive is read through its index, a list of (member, offset, size), that is cached outside the user's folder and
made anew when the archive's size or time of change differ. Only regular members are ever listed: a link, a device or
a name that leads out of the archive cannot do harm, because nothing is written; it is counted and said.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from topfive.data.decoding import START, Unreadable, is_image
from topfive.data.files import write_whole
from topfive.system import BINARY

MOST_MEMBER = 2**30  # bytes of one image, far beyond any: a size that lies takes no memory
T = TypeVar("T")
Progress = Callable[[str, int, int], object]  # what is done, how much of it, of how much


def silent(doing: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file or folder in a store: its posix path there, its size in bytes."""

    name: str
    size: int
    folder: bool = False


class Store(Protocol):
    """Named bytes, read by any process or thread; `read` raises Unreadable for one that cannot be had."""

    def read(self, name: str) -> bytes: ...

    @property
    def stamp(self) -> str:
        """Changes whenever anything inside may have changed, and with the place: the key of caches."""
        ...


class Tellable(Store, Protocol):
    """A store that also tells what a file in it is."""

    def start(self, name: str) -> bytes:
        """The first START bytes. Raises: Unreadable."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder as it lies. Each real folder is listed once, so that links cannot count an image twice or loop.

    `apart` names folders at the top, in lower case, that are parts of a data set: each lists a real folder for itself.
    """

    root: Path
    apart: tuple[str, ...] = ()

    def read(self, name: str) -> bytes:
        return read_file(self.root / name)

    def start(self, name: str) -> bytes:
        return read_file(self.root / name, START)

    @cached_property
    def listing(self) -> tuple[tuple[Entry, ...], tuple[str, ...], str]:
        """(entries sorted by name, folders that were not entered and why, stamp)."""
        entries: list[Entry] = []
        skipped: list[str] = []
        hashed = hashlib.blake2b(str(self.root.absolute()).encode(errors="surrogateescape"), digest_size=16)
        seen: set[tuple[str, int, int]] = set()
        links: list[tuple[str, str]] = []
        waiting = [(str(self.root), "")]
        while waiting or links:
            # why: links last, by name, so that a link to a sibling never takes its images away from it
            path, below = waiting.pop() if waiting else links.pop(0)
            try:
                known = os.stat(path)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                skipped.append(f"{below[:40]}... (a path of {len(path):,} characters is too long)")
                continue
            top = below.partition("/")[0].lower()
            identity = (top if top in self.apart else "", known.st_dev, known.st_ino)
            if below and self._leads_up(path):
                skipped.append(f"{below} (a link that leads back up)")
                continue
            if identity in seen:
                skipped.append(f"{below} (a link to what is read already)")
                continue
            seen.add(identity)
            if below:
                entries.append(Entry(below, 0, True))
            with os.scandir(path) as inside:
                for found in sorted(inside, key=lambda entry: entry.name):
                    name = f"{below}/{found.name}" if below else found.name
                    if _is_folder(found):
                        (links if found.is_symlink() else waiting).append((found.path, name))
                        continue
                    try:
                        about = found.stat()
                    except OSError:  # a dangling link: an entry all the same, and an unreadable one
                        about = None
                    entries.append(Entry(name, about.st_size if about else 0))
                    state = about and (about.st_size, about.st_mtime_ns)
                    hashed.update(f"{name}\0{state}\n".encode(errors="surrogateescape"))
        return tuple(sorted(entries, key=lambda entry: entry.name)), tuple(skipped), hashed.hexdigest()

    def _leads_up(self, path: str) -> bool:
        """Whether it is a link to a folder that it or the root lies in: following it would never end."""
        if not os.path.islink(path):
            return False
        real = os.path.realpath(path)
        lies_in = (os.path.realpath(os.path.dirname(path)), os.path.realpath(self.root))
        return any(place == real or place.startswith(real.rstrip("/") + "/") for place in lies_in)

    @property
    def stamp(self) -> str:
        return self.listing[2]

    def __getstate__(self) -> dict[str, object]:
        return {
            "root": self.root,
            "apart": self.apart,
        }  # why: the listing stays behind when the store goes to another process


def _is_folder(found: os.DirEntry[str]) -> bool:
    try:
        return found.is_dir()
    except OSError as error:  # a link to itself, or into a folder that may not be read: an entry, and an unreadable one
        if isinstance(error, PermissionError) and not is_image(found.name):
            raise  # why: it may be a class
        return False


def read_file(path: Path, most: int = MOST_MEMBER) -> bytes:
    """The first `most` bytes of a regular file; a pipe or device is never waited for. Raises: Unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | BINARY)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno == errno.ENXIO:  # a socket
            reason = "not a regular file"
        if isinstance(error, FileNotFoundError):
            reason = "the link leads nowhere" if path.is_symlink() else "the file is gone"
        elif isinstance(error, PermissionError):
            reason = "no permission to read it"
        raise Unreadable(str(path), reason) from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable(str(path), "not a regular file")
        if about.st_size > MOST_MEMBER:
            raise Unreadable(str(path), f"{about.st_size:,} bytes is more than any image has")
        size = min(most, about.st_size)
        return os.read(handle, size) if size < 2**20 else _all(handle, size)
    except OSError as error:
        raise Unreadable(str(path), error.strerror or type(error).__name__) from None
    finally:
        os.close(handle)


def _all(handle: int, size: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := os.read(handle, size - len(pieces))):
        pieces += piece
    return bytes(pieces)


@dataclass(frozen=True)
class Joined:
    """Several stores as one: `PART/name` is `name` in the store called PART."""

    parts: Mapping[str, Store]

    def read(self, name: str) -> bytes:
        part, _, rest = name.partition("/")
        return self.parts[part].read(rest)

    @property
    def stamp(self) -> str:
        return digest(f"{name} {part.stamp}" for name, part in self.parts.items())


@dataclass(frozen=True)
class Below:
    """What is below one folder of a store, named from there."""

    store: Tellable
    prefix: str  # with its slash

    def read(self, name: str) -> bytes:
        return self.store.read(self.prefix + name)

    def start(self, name: str) -> bytes:
        return self.store.start(self.prefix + name)

    @property
    def stamp(self) -> str:
        return f"{self.store.stamp} {self.prefix}"


@dataclass(frozen=True)
class Pixels:
    """Images that are arrays already: `PART/i` is row i of an array `(N, H, W, 3)` in uint8."""

    parts: Mapping[str, NDArray[np.uint8]] = field(repr=False)
    stamp: str

    def array(self, name: str) -> NDArray[np.uint8]:
        part, _, row = name.rpartition("/")
        pixels: NDArray[np.uint8] = self.parts[part][int(row)]
        return pixels

    def read(self, name: str) -> bytes:
        return self.array(name).tobytes()


def cache_folder() -> Path:
    """Where what can be made again is kept; never inside a source."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "topfive"


class _Kept(msgspec.Struct, frozen=True):
    """A result in the cache, and what it is the result of."""

    of: str
    result: msgspec.Raw


def cached(name: str, of: str, kind: type[T], make: Callable[[], T]) -> T:
    """What `make` gives, kept under a name in the cache folder for as long as `of` stays the same."""
    path = cache_folder() / name
    with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError):  # one that is damaged or old is made anew
        kept = msgspec.msgpack.decode(path.read_bytes(), type=_Kept)
        if kept.of == of:
            return msgspec.msgpack.decode(kept.result, type=kind)
    result = make()
    # a home that cannot be written to costs time, not the run; so do names that are no text
    with contextlib.suppress(OSError, UnicodeError):
        write_whole(path, msgspec.msgpack.encode(_Kept(of, msgspec.Raw(msgspec.msgpack.encode(result)))))
    return result


def plain(text: str) -> str:
    """A name that every file and terminal takes: control characters and bytes that are no text are escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def digest(lines: Iterable[str]) -> str:
    """A short name for what the lines say."""
    hashed = hashlib.blake2b(digest_size=16)
    for line in lines:
        hashed.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return hashed.hexdigest()
