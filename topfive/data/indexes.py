"""Which members a tar or zip holds and where their bytes are, with what is not taken and why."""

import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from topfive.data.places import Local, Remote
from topfive.data.stores import MOST_MEMBER, Progress
from topfive.errors import DataError

MOST_HEADER = 2**20  # bytes of a long name or other extended header of a tar
DEEPEST = 2  # tars within tars: ILSVRC's training tar holds one tar a class


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


class Info(tarfile.TarInfo):
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


def tar_index(file: Local | Remote, stamp: str, progress: Progress) -> Index:
    """Where each member of a tar lies. Raises: DataError for no tar, or two members of one name."""
    members: dict[str, Member] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    with file.open() as opened:
        end = file.size()
        for name, info in _tar_members(opened, 0, end, "", 1, passed, str(file)):
            if info.isdir():
                folders.add(name)
            elif name in members:
                raise DataError(f"{file} holds {name!r} twice, at {members[name].offset} and {info.offset_data}")
            else:
                members[name] = Member(info.offset_data, info.size, info.size)
                if len(members) % 2000 == 0:
                    progress(f"indexing {Path(str(file)).name}", info.offset_data, end)
    return Index(stamp, members, tuple(sorted(folders)), not_taken(file, passed))


def _tar_members(
    opened: BinaryIO, start: int, end: int, below: str, depth: int, passed: Counter[str], where: str
) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Every safe regular member and folder between two positions, tars inside taken as folders."""
    opened.seek(start)
    inner: list[tuple[str, int, int]] = []
    try:
        tar = tarfile.open(fileobj=opened, mode="r:", tarinfo=Info)  # noqa: SIM115  # closed with the file below it
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # why: they are not needed, and a million take a gigabyte
            if info.isreg() and info.offset_data + info.size > end:
                passed["cut off at the end"] += 1
                break
            name = safe_name(info.name, passed)
            if name is None:
                continue
            name = below + name
            if info.isdir():
                yield name, info
            elif not info.isreg() or info.issparse():
                passed["links, devices and the like"] += 1
            elif name.endswith(".tar") and depth < DEEPEST:
                inner.append((name, info.offset_data, info.offset_data + info.size))
            else:
                yield name, info
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


def zip_index(file: Local | Remote, stamp: str) -> Index:
    """Where each member of a zip lies. Raises: DataError for no zip, or two members of one name."""
    members: dict[str, Member] = {}
    folders: set[str] = set()
    passed: Counter[str] = Counter()
    try:
        with file.open() as opened, zipfile.ZipFile(opened) as zipped:
            for info in zipped.infolist():
                name = safe_name(info.filename, passed)
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
    return Index(stamp, members, tuple(sorted(folders)), not_taken(file, passed))


def safe_name(name: str, passed: Counter[str]) -> str | None:
    """The member's name in one form, or None for one that leads out of the archive."""
    name = name.replace("\\", "/")  # why: some programs on Windows write its own separator
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or (parts and parts[0].endswith(":")):
        passed["paths outside the archive"] += 1
        return None
    return "/".join(parts) or None


def not_taken(file: object, passed: Counter[str]) -> tuple[str, ...]:
    """A note for each reason that members were left out by."""
    return tuple(f"{file}: skipped: {count:,} ({why})" for why, count in passed.items())
