"""Public sets and weights by name: fetched from where their makers put them, checked by their published hashes.

A download that breaks off stays in `FILE.part` and continues from there. A set that comes whole is checked, unpacked
from gzip to a plain tar (which is read in place, by position) and listed in a receipt beside it; only then is it there.
Weights are checked and take their name.
"""

import errno
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from topfive import system
from topfive.data.downloads import CHUNK, download, kept_so_far, size_of
from topfive.data.files import write_whole
from topfive.data.public_sets import PUBLIC, PublicSet, Published
from topfive.data.stores import Progress, silent
from topfive.errors import DataError, Interrupted, ResourceError, TopfiveError, UsageError, did_you_mean
from topfive.weights.libraries import fetchable

MOST_UNPACKED = 20  # a gzip that grows beyond this is no set of ours but a bomb


def data_folder() -> Path:
    """Where fetched sets lie: $TOPFIVE_DATA, else topfive/ in $XDG_DATA_HOME, else in ~/.local/share."""
    ours = os.environ.get("TOPFIVE_DATA")
    if ours:
        return Path(ours).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "topfive"


def fetched(name: str, folder: Path | None = None) -> Path | None:
    """The tar of the public set `name`, or None where it was not fetched, or not to its end. Raises: UsageError."""
    public = _public(name)
    tar = (folder or data_folder()) / public.tar
    try:
        receipt = json.loads(tar.with_suffix(".json").read_bytes())
        # why: another md5 is that of another release, known to another version of topfive
        whole = receipt["md5"] == public.md5 and receipt["tar_bytes"] == tar.stat().st_size
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return tar if whole else None


def fetch(name: str, folder: Path | None = None, progress: Progress = silent, url: str | None = None) -> Path:
    """The tar of the public set `name`, fetched into `folder` where it is not yet there; `url` names a mirror.

    Raises: UsageError (no such set), DataError (not the bytes that were published), ResourceError (network, disk,
    permission), Interrupted; what came so far is kept unless it is wrong, and the same call continues from there.
    """
    public, folder, url = _public(name), folder or data_folder(), url or _public(name).url

    def keep(file: BinaryIO) -> Path:
        tar = _unpack(public, file, progress)
        receipt = {
            "name": name,
            "url": url,
            "bytes": public.bytes,
            "md5": public.md5,
            "tar_bytes": tar.stat().st_size,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_whole(tar.with_suffix(".json"), json.dumps(receipt, indent=1).encode())
        return tar

    return _bring(public, url, folder, progress, lambda: fetched(name, folder), keep)


def fetch_weights(name: str, folder: Path | None = None, progress: Progress = silent, url: str | None = None) -> Path:
    """The file of the weights `name` ("resnet50.IMAGENET1K_V2") of a library, fetched where it is not yet there.

    Raises: as `fetch`.
    """
    known, folder = fetchable(name), folder or data_folder() / "weights"
    assert known.mib is not None
    # why the slack: the library prints the size in 2^20 bytes, to three digits
    public = Published(known.key, known.url, round(known.mib * 2**20), None, known.sha256, slack=525)
    return fetch_file(public, folder, progress, url)


def fetch_file(public: Published, folder: Path, progress: Progress = silent, url: str | None = None) -> Path:
    """A published file under its own name, fetched into `folder` where it is not yet there. Raises: as `fetch`."""
    final = folder / public.file

    def there() -> Path | None:
        return final if final.is_file() and abs(final.stat().st_size - public.bytes) <= public.slack else None

    def keep(file: BinaryIO) -> Path:
        os.fsync(file.fileno())
        return _nameless(file).replace(final)

    return _bring(public, url or public.url, folder, progress, there, keep)


def _bring(
    public: Published,
    url: str,
    folder: Path,
    progress: Progress,
    there: Callable[[], Path | None],
    keep: Callable[[BinaryIO], Path],
) -> Path:
    """What `there` finds, or what `keep` makes of the file once it was downloaded and checked."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url!r} is not an address that starts with https:// or http://")
    if found := there():
        return found
    part = folder / f"{public.file}.part"
    with _disk(public, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(part, "a+b") as file:
            _lock(file, public)
            if found := there():  # by the one who held the lock before
                return found
            try:
                download(public, url, file, progress)
                _check(public, url, file, progress)
                kept = keep(file)
            except KeyboardInterrupt:
                raise Interrupted(f"fetching {public.name} was stopped; {kept_so_far(file, public)}") from None
            finally:
                if not file.closed and not size_of(file):
                    _forget(_nameless(file))
            _forget(_nameless(file))
    return kept


def _public(name: str) -> PublicSet:
    if name not in PUBLIC:
        near = did_you_mean(name, PUBLIC) or f"; there are {', '.join(PUBLIC)}"
        raise UsageError(f"no public dataset is called {name!r}{near}")
    return PUBLIC[name]


def _check(public: Published, url: str, file: BinaryIO, progress: Progress) -> None:
    """Compare what lies on the disk with the published hashes; what is wrong is thrown away, saying so."""
    published = ("md5", public.md5), ("sha256", public.sha256), ("sha512", public.sha512)
    wanted = {name: digits for name, digits in published if digits}
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}
    file.seek(0)
    while chunk := file.read(CHUNK):
        for digest in hashes.values():
            digest.update(chunk)
        progress(f"checking {public.name}", file.tell(), size_of(file))
    for name, digest in hashes.items():
        if not digest.hexdigest().startswith(wanted[name]):
            file.truncate(0)
            raise DataError(
                f"{public.name} from {url} has the {name} {digest.hexdigest()} and not the published {wanted[name]}: "
                "it was deleted, and the same command downloads it again"
            )


def _unpack(public: PublicSet, file: BinaryIO, progress: Progress) -> Path:
    """The tar inside the gzip `file`, written aside and renamed."""
    tar = Path(file.name).with_name(public.tar)
    aside, most, size = tar.with_name(f"{tar.name}.part"), public.bytes * MOST_UNPACKED, 0
    file.seek(0)
    try:
        with open(aside, "wb") as out:
            with gzip.GzipFile(fileobj=file, mode="rb") as packed:
                while chunk := packed.read(CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise DataError(f"{public.file} unpacks to more than {MOST_UNPACKED} times its size: given up")
                    out.write(chunk)
                    progress(f"unpacking {public.name}", file.tell(), public.bytes)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(tar)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        file.truncate(0)
        raise DataError(
            f"{public.file} is damaged ({error}) though it has the published hash: it was deleted; check the "
            f"disk under {str(tar.parent)!r}"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return tar


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    Path(f"{part}.json").unlink(missing_ok=True)


def _lock(file: BinaryIO, public: Published) -> None:
    """Refuse where another process is at the same part; the lock ends with the process, however it ends."""
    try:
        free = system.lock(file.fileno())
    except OSError:  # a file system without locks: two that write one part are found out by its hash
        free = True
    if not free:
        raise ResourceError(f"{public.name} is being fetched by another process: wait for it to end")


def _nameless(file: BinaryIO) -> Path:
    """The path of a file that is about to lose this name: open and locked to the last, where the system allows it."""
    if not system.OPEN_FILES_MOVE:
        file.close()
    return Path(file.name)


@contextmanager
def _disk(public: Published, folder: Path) -> Iterator[None]:
    """What the disk refuses, in one sentence."""
    try:
        yield
    except TopfiveError:
        raise
    except OSError as error:
        where = str(folder)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            words = f"no space is left in {where!r} for {public.name}: free some space, and the same command continues"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            words = f"{where!r} cannot be written ({error.strerror}): name another folder in TOPFIVE_DATA"
        else:
            words = f"{public.name} cannot be kept in {where!r}: {error}"
        raise ResourceError(words) from None
