"""Every image read once, on all processors: what each is, a digest of its pixels, and why one cannot be read."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import IO, TypeVar

import msgspec
from PIL import __version__ as pillow

from topfive import system
from topfive.data import stores
from topfive.data.check.signatures import SIGNATURE, signature
from topfive.data.decoding import MOST_PIXELS, Unreadable
from topfive.data.sources import Item, Source
from topfive.data.stores import Progress, silent
from topfive.errors import ResourceError

CHUNK = 64  # images that a process reads at once
FEW = 256  # images that are read sooner than processes start
VERSION = f"5 {pillow} {MOST_PIXELS}"  # of what is kept: another decoder, or another limit, may see other pixels

T = TypeVar("T")


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One image: what it is, or the reason why it cannot be read ("" where it can).

    `digest` is that of its size and decoded pixels.
    """

    reason: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    notes: tuple[str, ...] = ()
    digest: bytes = b""

    @property
    def shorter(self) -> int:
        return min(self.width, self.height)


def scan(
    source: Source,
    items: Sequence[Item],
    workers: int | None = None,
    signatures: IO[bytes] | None = None,
    progress: Progress = silent,
) -> list[Seen]:
    """What each of `items` is, in their order; `workers` processes read them, by default one for each processor.

    To `signatures` is written what near duplicates are found by, SIGNATURE bytes an image (zeros where it cannot be
    read). Raises: ResourceError where a process was killed.
    """
    count = system.processors() if workers is None else workers
    found: list[Seen] = []

    def keep(part: Sequence[tuple[Seen, bytes]]) -> None:
        found.extend(seen for seen, _ in part)
        if signatures is not None:
            signatures.writelines(of for _, of in part)
        progress("reading images", len(found), len(items))

    if count < 1 or len(items) < FEW:
        for item in items:
            keep([_seen(source, item, signatures is not None)])
        return found
    pool = system.pool(count, _begin, (source, items, signatures is not None))
    try:
        for part in pool.map(_read, range(0, len(items), CHUNK)):
            keep(part)
    except BrokenProcessPool:
        raise ResourceError(
            f"a process that read images of {source.name} was killed, most likely for want of memory; close other "
            "programs and run the same command again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def cached_scan(
    source: Source, workers: int | None = None, signatures: IO[bytes] | None = None, progress: Progress = silent
) -> list[Seen]:
    """What every training and then every validation image is, from the cache where nothing has changed.

    `signatures` as for `scan`, and empty afterwards where the cache had the rest.
    """
    items = (*source.train, *source.val)
    return cached(source, "scan", list[Seen], lambda: scan(source, items, workers, signatures, progress))


def cached(source: Source, what: str, kind: type[T], make: Callable[[], T]) -> T:
    """What `make` makes of `source`, kept outside of it until any of its files changes."""
    return stores.cached(f"scans/{source.stamp}.{what}", _key(source), kind, make)


def _key(source: Source) -> str:
    """Of this version's results, and of the images in their order: a blacklist takes some away."""
    digest = hashlib.blake2b(digest_size=16)
    for item in (*source.train, *source.val):
        digest.update(f"{item.name}\0".encode("utf-8", "surrogateescape"))
    return f"{VERSION} {SIGNATURE} {digest.hexdigest()}"


def _seen(source: Source, item: Item, signatures: bool) -> tuple[Seen, bytes]:
    try:
        image, format, notes = source.decode(item)
    except Unreadable as error:
        return Seen(error.reason), bytes(SIGNATURE if signatures else 0)
    digest = hashlib.blake2b(f"{image.width} {image.height} ".encode(), digest_size=16)
    digest.update(image.tobytes())
    of = signature(image) if signatures else b""
    return Seen("", image.width, image.height, format, notes, digest.digest()), of


_reading: Callable[[Item], tuple[Seen, bytes]]  # in a process of the pool
_items: Sequence[Item]


def _begin(source: Source, items: Sequence[Item], signatures: bool) -> None:
    global _reading, _items
    _reading, _items = partial(_seen, source, signatures=signatures), items
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it, without a traceback from each
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """why: the processes of a parent that was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _read(start: int) -> list[tuple[Seen, bytes]]:
    return [_reading(item) for item in _items[start : start + CHUNK]]
