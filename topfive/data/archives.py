"""Tars and zips, here or at a URL, read in place by position; nothing is extracted."""

import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from topfive.data.decoding import START, Unreadable
from topfive.data.indexes import DAMAGED, Index, Info, Member, not_taken, safe_name, tar_index, zip_index
from topfive.data.places import Local, Remote
from topfive.data.stores import MOST_MEMBER, Entry, Progress, cached, digest, silent
from topfive.errors import DataError, ResourceError

MOST_IN_MEMORY = 2 * 2**30  # bytes of a compressed tar, which has no positions to read by and so is held in memory
INDEXED = "3"  # changes with what an index holds, so that those of before are made anew
ARCHIVES = (".tar", ".zip", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")


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
    indexed = zip_index if str(file).lower().endswith(".zip") else partial(tar_index, progress=progress)
    name = f"indexes/{digest([INDEXED, file.place()])}.msgpack"
    return cached(name, stamp, Index, lambda: indexed(file, stamp))


def _held(file: Local, progress: Progress) -> Held:
    members: dict[str, bytes] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    try:
        with file.open() as opened, tarfile.open(fileobj=opened, mode="r|*", tarinfo=Info) as tar:
            for info in tar:
                if tar.offset > MOST_IN_MEMORY:  # of the next header: what this one's size may state is in it
                    raise DataError(
                        f"{file} is compressed and holds more than {MOST_IN_MEMORY / 2**30:.0f} GiB: decompress it to "
                        "a plain .tar, which is read in place"
                    )
                name = safe_name(info.name, passed)
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
    return Held(file.path, members, tuple(sorted(folders)), not_taken(file, passed), digest([file.stamp()]))


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
