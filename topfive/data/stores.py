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
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from topfive.data.decoding import START, Unreadable, is_image
from topfive.errors import DataError, ResourceError, UsageError
from topfive.system import BINARY

MOST_IN_MEMORY = 2 * 2**30  # bytes of a compressed tar, which has no positions to read by and so is held in memory
MOST_MEMBER = 2**30  # bytes of one image, far beyond any: a size that lies takes no memory
MOST_HEADER = 2**20  # bytes of a long name or other extended header of a tar
INDEXED = "2"  # changes with what an index holds, so that those of before are made anew
DEEPEST = 2  # tars within tars: ILSVRC's training tar holds one tar a class
ARCHIVES = (".tar", ".zip", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

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


# --- a folder -------------------------------------------------------------------------------------------------------


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


# --- a file that is read by position --------------------------------------------------------------------------------


class Local:
    """A local file; the descriptor is opened where it is first used, so that each process has its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def __str__(self) -> str:
        return plain(str(self.path))

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_handle": -1}

    def __del__(self) -> None:
        if getattr(self, "_handle", -1) >= 0:
            os.close(self._handle)

    def place(self) -> str:
        return str(self.path.absolute())

    def open(self) -> BinaryIO:
        return self.path.open("rb")

    def read_at(self, offset: int, size: int) -> bytes:
        if not hasattr(os, "pread"):  # Windows
            with self.open() as file:
                file.seek(offset)
                return file.read(size)
        if self._handle < 0:
            self._handle = os.open(self.path, os.O_RDONLY)
        return os.pread(self._handle, size, offset)  # why: no shared position, so threads and forks do not collide

    def stamp(self) -> str:
        about = self.path.stat()
        return f"{self.place()} {about.st_size} {about.st_mtime_ns}"

    def size(self) -> int:
        return self.path.stat().st_size


class Remote:
    """A file at a URL that fsspec knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    def place(self) -> str:
        return self.url

    def _there(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError:
            raise UsageError("reading from a URL needs fsspec: pip install 'topfive[remote]'") from None
        try:
            return fsspec.core.url_to_fs(self.url)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.url}: {error}") from None

    def open(self) -> BinaryIO:
        system, path = self._there()
        return system.open(path, "rb")  # type: ignore[no-any-return]

    def read_at(self, offset: int, size: int) -> bytes:
        system, path = self._there()
        return system.cat_file(path, offset, offset + size)  # type: ignore[no-any-return]

    def stamp(self) -> str:
        system, path = self._there()
        about = system.info(path)
        return f"{self.url} {about.get('size')} {about.get('mtime') or about.get('ETag') or about.get('created')}"

    def size(self) -> int:
        system, path = self._there()
        return int(system.size(path))


# --- an archive -----------------------------------------------------------------------------------------------------


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a member's bytes are in the archive's file; `method` is None in a tar, else the zip's, with its CRC."""

    offset: int
    stored: int
    size: int
    method: int | None = None
    crc: int = 0


class Index(msgspec.Struct, frozen=True):
    """What an archive holds, and what in it was not taken and why."""

    stamp: str
    members: dict[str, Member]
    folders: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """A tar or zip, read by position; a tar inside it is a folder of its name."""

    file: Local | Remote
    index: Index = field(repr=False)

    @property
    def stamp(self) -> str:
        return self.index.stamp

    @property
    def notes(self) -> tuple[str, ...]:
        return self.index.notes

    def entries(self) -> tuple[Entry, ...]:
        return _with_folders(((name, member.size) for name, member in self.index.members.items()), self.index.folders)

    def read(self, name: str) -> bytes:
        member = self.index.members.get(name)
        if member is None:
            raise Unreadable(name, f"not in {self.file}")
        if member.stored > MOST_MEMBER:
            raise Unreadable(name, f"{member.stored:,} bytes is more than any image has")
        data = self._stored(name, member, member.stored)
        if len(data) < member.stored:
            raise Unreadable(name, f"{self.file} ends inside of it, {member.stored - len(data):,} bytes missing")
        if member.method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-15).decompress(data, member.size or 1)  # why: 0 would be without a limit
            except zlib.error as error:
                raise Unreadable(name, f"damaged in {self.file}: {error}") from None
        if member.method is not None and zlib.crc32(data) != member.crc:
            raise Unreadable(name, f"damaged in {self.file}: the checksum differs")
        return data

    def start(self, name: str) -> bytes:
        member = self.index.members[name]
        data = self._stored(name, member, min(member.stored, 2 * START))
        if member.method == zipfile.ZIP_DEFLATED:
            try:
                return zlib.decompressobj(-15).decompress(data, START)
            except zlib.error as error:
                raise Unreadable(name, f"damaged in {self.file}: {error}") from None
        return data[:START]

    def _stored(self, name: str, member: Member, size: int) -> bytes:
        """The first `size` bytes as they lie in the archive."""
        try:
            offset = member.offset
            if member.method is not None:  # the length of a zip's local header stands only in that header
                header = self.file.read_at(offset, 30)
                offset += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            return self.file.read_at(offset, size)
        except (OSError, ValueError) as error:
            raise Unreadable(name, f"{self.file} cannot be read: {error}") from None


@dataclass(frozen=True)
class Held:
    """The members of a compressed tar, in memory: it has no positions to read by."""

    path: Path
    members: Mapping[str, bytes] = field(repr=False)
    folders: tuple[str, ...]
    notes: tuple[str, ...]
    stamp: str

    def entries(self) -> tuple[Entry, ...]:
        return _with_folders(((name, len(data)) for name, data in self.members.items()), self.folders)

    def read(self, name: str) -> bytes:
        if name not in self.members:
            raise Unreadable(name, f"not in {self.path}")
        return self.members[name]

    def start(self, name: str) -> bytes:
        return self.members[name][:START]


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


def archive(where: Path | str, progress: Progress = silent) -> Archive | Held:
    """The tar or zip at a path or URL. Raises: DataError where it is none, ResourceError where it may not be read."""
    name = str(where)
    file = Remote(name) if "://" in name else Local(Path(name))
    try:
        if name.lower().endswith((".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2")):
            if isinstance(file, Remote):
                raise DataError(f"{name} is compressed, so it cannot be read in place: decompress it there")
            return _held(file, progress)
        return Archive(file, _cached(file, progress))
    except PermissionError:
        raise ResourceError(f"{name!r} may not be read: give yourself read permission") from None
    except FileNotFoundError:
        raise DataError(f"there is no file {name!r}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name!r} cannot be read: {error}") from None


def cache_folder() -> Path:
    """Where what can be made again is kept; never inside a source."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "topfive"


def write_aside(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _cached(file: Local | Remote, progress: Progress) -> Index:
    stamp = file.stamp()
    kept = cache_folder() / "indexes" / f"{digest([INDEXED, file.place()])}.msgpack"
    with contextlib.suppress(OSError, msgspec.MsgspecError):  # a cache that is damaged or of old is made anew
        index = msgspec.msgpack.decode(kept.read_bytes(), type=Index)
        if index.stamp == stamp:
            return index
    index = _zip_index(file, stamp) if str(file).lower().endswith(".zip") else _tar_index(file, stamp, progress)
    with contextlib.suppress(OSError, UnicodeError):  # a home that cannot be written to costs time, not the run; so
        write_aside(kept, msgspec.msgpack.encode(index))  # do names that are no text
    return index


class _Info(tarfile.TarInfo):
    """A member of a tar whose headers are no longer than headers are; of a sparse one, that it is one."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in (*extended, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK) and self.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        member: tarfile.TarInfo = super()._proc_member(tar) if self.size >= 0 else self  # type: ignore[misc]
        if member.size < 0:  # why: reading would go backwards, and round and round
            raise tarfile.ReadError(f"a size of {member.size:,} bytes")
        return member

    def _sparse(self, member: tarfile.TarInfo, *_: object) -> None:
        member.sparse = b""  # why: it is skipped, and its map may be made to harm

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse


# what tarfile raises on damaged headers
DAMAGED = (tarfile.TarError, ValueError, OverflowError, IndexError)


def _tar_index(file: Local | Remote, stamp: str, progress: Progress) -> Index:
    members: dict[str, Member] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    with file.open() as opened:
        end = file.size()
        for name, info, _ in _tar_members(opened, 0, end, "", 1, passed, str(file)):
            if info.isdir():
                folders.add(name)
            elif name in members:
                raise DataError(f"{file} holds {name!r} twice, at {members[name].offset} and {info.offset_data}")
            else:
                members[name] = Member(info.offset_data, info.size, info.size)
                if len(members) % 2000 == 0:
                    progress(f"indexing {Path(str(file)).name}", info.offset_data, end)
    return Index(stamp, members, tuple(sorted(folders)), _passed(file, passed))


def _tar_members(
    opened: BinaryIO, start: int, end: int, below: str, depth: int, passed: Counter[str], where: str
) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
    """Every safe regular member and folder between two positions, tars inside taken as folders."""
    opened.seek(start)
    inner: list[tuple[str, int, int]] = []
    try:
        tar = tarfile.open(fileobj=opened, mode="r:", tarinfo=_Info)  # noqa: SIM115  # closed with the file below it
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # why: they are not needed, and a million take a gigabyte
            if info.isreg() and info.offset_data + info.size > end:
                passed["cut off at the end"] += 1
                break
            name = _safe(info.name, passed)
            if name is None:
                continue
            name = below + name
            if info.isdir():
                yield name, info, tar
            elif not info.isreg() or info.issparse():
                passed["links, devices and the like"] += 1
            elif name.endswith(".tar") and depth < DEEPEST:
                inner.append((name, info.offset_data, info.offset_data + info.size))
            else:
                yield name, info, tar
        # why: tarfile takes a damaged header for the end, and would leave out the rest without a word
        opened.seek(tar.offset)
        if any(opened.read(512)) and tar.offset < end:
            passed[f"damaged after {tar.offset:,} bytes, the rest not read"] += 1
    except DAMAGED as error:
        if not passed and start == 0 and opened.tell() <= 1024:
            raise DataError(f"{where} is not a tar: {error}") from None
        passed[f"cut off: {error}"] += 1
    for name, first, last in inner:
        yield from _tar_members(opened, first, last, name.removesuffix(".tar") + "/", depth + 1, passed, where)


def _zip_index(file: Local | Remote, stamp: str) -> Index:
    members: dict[str, Member] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    try:
        with file.open() as opened, zipfile.ZipFile(opened) as zipped:
            for info in zipped.infolist():
                name = _safe(info.filename, passed)
                if name is None:
                    continue
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.filename.endswith(("/", "\\")):
                    folders.add(name)
                elif kind not in (0, stat.S_IFREG):
                    passed["links, devices and the like"] += 1
                elif info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    passed["encrypted or compressed in another way than deflate"] += 1
                elif info.file_size > MOST_MEMBER:
                    passed["larger than any image"] += 1
                elif name in members:
                    raise DataError(f"{file} holds {name!r} twice, at {members[name].offset} and {info.header_offset}")
                else:
                    members[name] = Member(
                        info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
                    )
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{file} is not a whole zip: {error}") from None
    return Index(stamp, members, tuple(sorted(folders)), _passed(file, passed))


def _held(file: Local, progress: Progress) -> Held:
    members: dict[str, bytes] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    try:
        with file.open() as opened, tarfile.open(fileobj=opened, mode="r|*", tarinfo=_Info) as tar:
            for info in tar:
                if tar.offset > MOST_IN_MEMORY:  # of the next header: what this one's size may state is in it
                    raise DataError(
                        f"{file} is compressed and holds more than {MOST_IN_MEMORY / 2**30:.0f} GiB: decompress it to "
                        "a plain .tar, which is read in place"
                    )
                name = _safe(info.name, passed)
                if name is None:
                    continue
                if info.isdir():
                    folders.add(name)
                elif not info.isreg() or info.issparse():
                    passed["links, devices and the like"] += 1
                elif name in members:
                    raise DataError(f"{file} holds {name!r} twice")
                else:
                    inside = tar.extractfile(info)
                    members[name] = inside.read() if inside else b""
                    if len(members) % 1000 == 0:
                        progress(f"decompressing {file.path.name}", opened.tell(), file.size())
    except DAMAGED as error:
        if not members:
            raise DataError(f"{file} is not a tar: {error}") from None
        passed[f"cut off: {error}"] += 1
    except EOFError:
        passed["cut off"] += 1
    return Held(file.path, members, tuple(sorted(folders)), _passed(file, passed), digest([file.stamp()]))


def _safe(name: str, passed: Counter[str]) -> str | None:
    """The member's name in one form, or None for one that leads out of the archive."""
    name = name.replace("\\", "/")  # why: some programs on Windows write its own separator
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or (parts and parts[0].endswith(":")):
        passed["names that lead out of the archive"] += 1
        return None
    return "/".join(parts) or None


def _passed(file: object, passed: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{file}: not taken: {count:,} ({why})" for why, count in passed.items())


def _with_folders(files: Iterable[tuple[str, int]], folders: Iterable[str]) -> tuple[Entry, ...]:
    """Files and every folder on the way to them: an archive need not list its folders."""
    entries = {name: Entry(name, size) for name, size in files}
    ways = {name for folder in folders for name in (folder, *_above(folder))}
    ways.update(above for name in entries for above in _above(name))
    return tuple(sorted((*entries.values(), *(Entry(name, 0, True) for name in ways)), key=lambda entry: entry.name))


def _above(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def plain(text: str) -> str:
    """A name that every file and terminal takes: control characters and bytes that are no text are escaped."""
    return text if text.isprintable() else repr(text)[1:-1]


def digest(lines: Iterable[str]) -> str:
    """A short name for what the lines say."""
    hashed = hashlib.blake2b(digest_size=16)
    for line in lines:
        hashed.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return hashed.hexdigest()
