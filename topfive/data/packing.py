"""Images resized once into shards, so that a slow disk or a network store is no longer the limit.

A pack is a folder: shards of `PER_SHARD` images in the WebDataset convention, beside each an index that names the
original of every image and the shard's SHA-256, and `pack.json`, written last. It is read like its original.
"""

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from PIL import Image

from topfive import system
from topfive.data.archives import Archive
from topfive.data.decoding import Unreadable
from topfive.data.files import write_whole
from topfive.data.indexes import Index, Member
from topfive.data.places import Local
from topfive.data.sources import Item, Source
from topfive.data.stores import Joined, Progress, cache_folder, digest
from topfive.data.trees import Tree
from topfive.errors import DataError, ResourceError, UsageError
from topfive.system import as_text

PER_SHARD = 1000
QUALITY = 95
PNG = b"\x89PNG"
STATED = "pack.json"
TRAIN, VAL = "train", "held-out"  # how the names of shards begin, as in packs of before


class Packed(msgspec.Struct, frozen=True, array_like=True):
    """One image of a shard: its name in the original, its class, where its bytes are, or why there are none."""

    name: str
    label: int
    offset: int
    size: int
    unreadable: str = ""


class Shard(msgspec.Struct, frozen=True):
    """The index beside a shard."""

    sha256: str
    size: int
    of: str  # which pack it belongs to: source, fingerprint and side
    items: tuple[Packed, ...]


class Pack(msgspec.Struct, frozen=True):
    """What `pack.json` says."""

    name: str
    of: str
    fingerprint: str
    classes: tuple[str, ...]
    words: tuple[str, ...]
    split: str
    mirror: bool
    side: int
    train: tuple[str, ...]  # names of shards, in order
    val: tuple[str, ...] = msgspec.field(name="held_out")  # as packs have it from the beginning
    notes: tuple[str, ...]
    upright: bool = True


@dataclass(frozen=True)
class _Readable:
    """A shard's images by the names of their originals, unreadable ones with the reason that they had."""

    shard: Archive
    reasons: dict[str, str] = field(repr=False)

    def read(self, name: str) -> bytes:
        if name in self.reasons:
            raise Unreadable(name, self.reasons[name])
        return self.shard.read(name)

    @property
    def stamp(self) -> str:
        return self.shard.stamp


def pack(source: Source, out: Path, side: int, progress: Progress, workers: int | None = None) -> Path:
    """Write `source` into `out`, shorter sides brought down to `side` pixels; the path of the pack.

    An image that is no larger and lies upright in RGB as JPEG is copied byte by byte. Shards that are whole already
    are kept, so that a pack that was interrupted continues. Raises: UsageError, ResourceError.
    """
    of = f"{source.name} {source.fingerprint} at {side}"
    stated = out / STATED
    if stated.exists() and msgspec.json.decode(stated.read_bytes(), type=Pack).of != of:
        raise UsageError(f"{out} holds another pack: give another folder")
    foreign = [name for name in _names(out) if not name.startswith((f"{TRAIN}-", f"{VAL}-")) and name != STATED]
    if foreign:
        raise UsageError(f"{out} is not empty ({foreign[0]!r}): give a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for aside in out.glob("*.aside"):  # of a run that was killed
            aside.unlink()
        parts = {TRAIN: source.train, VAL: source.val}
        total = sum(map(len, parts.values()))
        names: dict[str, list[str]] = {part: [] for part in parts}
        done = 0
        with system.pool(workers or os.cpu_count() or 1, _start, (source, side)) as pool:
            for part, items in parts.items():
                for number, first in enumerate(range(0, len(items), PER_SHARD)):
                    name = f"{part}-{number:05}.tar"
                    inside = items[first : first + PER_SHARD]
                    if not _whole(out / name, of, inside):

                        def tick(count: int, before: int = done) -> None:
                            progress("packing", before + count, total)

                        _write_shard(out / name, of, inside, pool, tick)
                    names[part].append(name)
                    done += len(inside)
                    progress("packing", done, total)
        how = f"packed: shorter side at most {side} pixels, bilinear with antialiasing, JPEG quality {QUALITY}"
        notes = (*source.notes, how)
        content = Pack(
            source.name, of, source.fingerprint, source.classes, source.words, source.split, source.mirror, side,
            tuple(names[TRAIN]), tuple(names[VAL]), notes, source.upright,
        )  # fmt: skip
        write_whole(stated, msgspec.json.format(msgspec.json.encode(content)))
    except BrokenProcessPool:
        raise ResourceError("a worker was killed while packing, for want of memory perhaps; run it again") from None
    except OSError as error:
        raise ResourceError(f"{out} cannot be written: {error.strerror or error}; run it again to continue") from None
    return stated


def recognise(tree: Tree, progress: Progress) -> Source | None:
    """The source that was packed, where the tree is a pack. Raises: DataError naming a shard that is damaged."""
    root = Path(tree.where)
    if STATED not in tree.files[""]:
        if any(name.startswith("train-00000.") and name.endswith(".json") for name in tree.files[""]):
            raise DataError(f"{tree.where!r} is a pack that is not finished: run the same topfive data pack again")
        return None
    stated = _read_stated(root)
    parts: dict[str, _Readable] = {}
    items: dict[str, list[Item]] = {}
    names = (*stated.train, *stated.val)
    for i, name in enumerate(names):
        shard = _read_index(root / name)
        _verify(root / name, shard)
        members = {p.name: Member(p.offset, p.size, p.size) for p in shard.items if not p.unreadable}
        archive = Archive(Local(root / name), Index(shard.sha256, members, (), ()))
        parts[name] = _Readable(archive, {p.name: p.unreadable for p in shard.items if p.unreadable})
        items[name] = [Item(f"{name}/{p.name}", p.label) for p in shard.items]
        progress("checking shards", i + 1, len(names))
    return Source(
        stated.name,
        tree.where,
        stated.classes,
        tuple(item for name in stated.train for item in items[name]),
        tuple(item for name in stated.val for item in items[name]),
        stated.split,
        f"{stated.fingerprint}-{stated.side}",
        Joined(parts),
        mirror=stated.mirror,
        upright=stated.upright,
        words=stated.words,
        notes=stated.notes,
    )


def verify(where: str, progress: Progress) -> int:
    """Hash every shard of a pack anew, whatever was known of it; how many there are.

    Raises: UsageError where it is no pack, DataError naming each shard that is damaged or gone.
    """
    root = Path(where)
    if not (root / STATED).is_file():
        raise UsageError(f"{where!r} is no pack: of its images no hashes are recorded that could be verified")
    stated = _read_stated(root)
    shards = [root / name for name in (*stated.train, *stated.val)]
    damaged = []
    for i, shard in enumerate(shards):
        try:
            _verify(shard, _read_index(shard), anew=True)
        except DataError as error:
            damaged.append(str(error))
        progress("verifying shards", i + 1, len(shards))
    if damaged:
        raise DataError(f"{len(damaged)} of {len(shards)} shards do not match their hashes: {'; '.join(damaged)}")
    return len(shards)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _beside(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _read_stated(root: Path) -> Pack:
    try:
        return msgspec.json.decode((root / STATED).read_bytes(), type=Pack)
    except msgspec.MsgspecError as error:
        raise DataError(f"{root / STATED} is damaged: {error}") from None


def _read_index(shard: Path) -> Shard:
    try:
        return msgspec.json.decode(_beside(shard).read_bytes(), type=Shard)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"{_beside(shard)} is damaged ({error}): delete it and run topfive data pack again") from None


def _whole(shard: Path, of: str, items: tuple[Item, ...]) -> bool:
    """Whether a shard is there already, of this pack, its bytes as stated."""
    if not (shard.exists() and _beside(shard).exists()):
        return False
    with contextlib.suppress(DataError):
        known = _read_index(shard)
        _verify(shard, known)
        return known.of == of and [(p.name, p.label) for p in known.items] == [
            (as_text(i.name), i.label) for i in items
        ]
    return False


def _verify(shard: Path, stated: Shard, anew: bool = False) -> None:
    """Raises: DataError where the shard's bytes are not those that were written.

    It is hashed once for each state on disk, or `anew`: a disk that loses bits leaves the time of change as it is.
    """
    try:
        stamp = f"{Local(shard).stamp()} {stated.sha256}"
        kept = cache_folder() / "verified" / digest([stamp])
        if kept.exists() and not anew:
            return
        with shard.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"the shard {shard} is gone: run the same topfive data pack again") from None
    if found != stated.sha256:
        raise DataError(
            f"the shard {shard} is damaged (SHA-256 {found[:8]}, written was {stated.sha256[:8]}): delete it and run "
            "topfive data pack again"
        )
    with contextlib.suppress(OSError):
        write_whole(kept, b"")


def _write_shard(
    path: Path, of: str, items: tuple[Item, ...], pool: ProcessPoolExecutor, tick: Callable[[int], object]
) -> None:
    packed: list[Packed] = []
    aside = path.with_suffix(".aside")
    with aside.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for i, (item, data, reason) in enumerate(_encoded(items, pool)):
                if data is None:
                    packed.append(Packed(as_text(item.name), item.label, 0, 0, reason))
                else:
                    _add(tar, f"{i:06}.{'png' if data.startswith(PNG) else 'jpg'}", data)
                    packed.append(Packed(as_text(item.name), item.label, tar.offset - _blocks(len(data)), len(data)))
                    _add(tar, f"{i:06}.cls", str(item.label).encode())
                if i % 50 == 0:
                    tick(i)
        file.flush()
        os.fsync(file.fileno())
    with aside.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    index = Shard(sha256, aside.stat().st_size, of, tuple(packed))
    # why: the shard first, so that an index never speaks of a shard that is not there
    os.replace(aside, path)
    write_whole(_beside(path), msgspec.json.encode(index))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # its times and owner are all zero: the same images give the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _encoded(items: tuple[Item, ...], pool: ProcessPoolExecutor) -> Iterator[tuple[Item, bytes | None, str]]:
    for item, (data, reason) in zip(items, pool.map(_encode, items, chunksize=16)):
        yield item, data, reason


_packing: tuple[Source, int] | None = None  # of the worker's process


def _start(source: Source, side: int) -> None:
    global _packing
    _packing = (source, side)


def _encode(item: Item) -> tuple[bytes | None, str]:
    """The image as JPEG, or None and why not."""
    assert _packing is not None
    source, side = _packing
    try:
        decoded = source.decode(item)
        image = decoded.image
        as_it_is = min(image.size) <= side and decoded.format == "JPEG" and not decoded.notes
        # why: what stays lying must not say how it would be turned, since others in the pack no longer can
        if as_it_is and (source.upright or not source.decode(item, True).notes):
            return source.store.read(item.name), ""
    except Unreadable as error:
        return None, error.reason
    scale = side / min(image.size)
    if scale < 1:
        size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    file = io.BytesIO()
    if decoded.format:
        image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    else:
        image.save(file, "PNG")  # why: pixels that never were a JPEG, CIFAR's and the digits, stay as they are
    return file.getvalue(), ""
