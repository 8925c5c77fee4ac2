"""Tars and zips, here or at a URL, read in place by position; nothing is extracted."""

import contextlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from topfive.data.decoding import START, Unreadable
from topfive.data.files import write_whole
from topfive.data.stores import MOST_MEMBER, Entry, Progress, cache_folder, digest, plain, silent
from topfive.errors import DataError, ResourceError, UsageError

MOST_IN_MEMORY = 2 * 2**30  # bytes of a compressed tar, which has no positions to read by and so is held in memory
MOST_HEADER = 2**20  # bytes of a long name or other extended header of a tar
INDEXED = "2"  # changes with what an index holds, so that those of before are made anew
DEEPEST = 2  # tars within tars: ILSVRC's training tar holds one tar a class
ARCHIVES = (".tar", ".zip", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


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


def _cached(file: Local | Remote, progress: Progress) -> Index:
    stamp = file.stamp()
    kept = cache_folder() / "indexes" / f"{digest([INDEXED, file.place()])}.msgpack"
    with contextlib.suppress(OSError, msgspec.MsgspecError):  # a cache that is damaged or of old is made anew
        index = msgspec.msgpack.decode(kept.read_bytes(), type=Index)
        if index.stamp == stamp:
            return index
    index = _zip_index(file, stamp) if str(file).lower().endswith(".zip") else _tar_index(file, stamp, progress)
    with contextlib.suppress(OSError, UnicodeError):  # a home that cannot be written to costs time, not the run; so
        write_whole(kept, msgspec.msgpack.encode(index))  # do names that are no text
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
