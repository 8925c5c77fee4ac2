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
import re
import shutil
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from topfive import system
from topfive.data.stores import Progress, silent, write_aside
from topfive.errors import DataError, Interrupted, ResourceError, TopfiveError, UsageError, did_you_mean
from topfive.weights.libraries import fetchable

PAUSES = (1.0, 2.0, 4.0)  # seconds before a fault that may pass is tried again
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**20
UNPACKED = 1.25  # bytes of tar for each of gzip, at most: binary images give 1.1, JPEGs less
MOST_UNPACKED = 20  # a gzip that grows beyond this is no set of ours but a bomb


@dataclass(frozen=True)
class Published:
    """A file on the net: where it lies, how many bytes it has, and what hashes were published for it."""

    name: str
    url: str
    bytes: int
    md5: str | None
    sha256: str | None  # or so many of its first digits as were published
    slack: int = field(default=0, kw_only=True)  # bytes more or less, where the size was published rounded

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def room(self) -> int:
        """The bytes that it takes on the disk while it is brought there."""
        return self.bytes + self.slack


@dataclass(frozen=True)
class PublicSet(Published):
    """A published archive of images."""

    note: str  # whom to cite, and what the images may be used for
    words: Mapping[str, str] = field(default_factory=dict, repr=False)  # classes in words where the archive has WNIDs

    @property
    def room(self) -> int:
        return round(self.bytes * (1 + UNPACKED))

    @property
    def tar(self) -> str:
        return re.sub(r"\.(tar\.gz|tgz)$", ".tar", self.file)


IMAGENETTE_WORDS = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF_WORDS = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}
CIFAR_NOTE = "cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence is stated"
FASTAI_NOTE = (
    "cite J. Howard, github.com/fastai/imagenette, 2019; the images are of ImageNet, for non-commercial research"
)

# source: CIFAR's md5 from https://www.cs.toronto.edu/~kriz/cifar.html; its binary version holds no pickles
# source: Imagenette's md5 from torchvision/datasets/imagenette.py
# source: sizes and sha256 of all these from tensorflow_datasets' checksums (cifar10, cifar100, imagenette)
# source: Imagewoof's size from fast.ai (fastai/data/checks.txt, whose md5 is of the first 2^20 bytes alone); nobody
#   official states a hash of the whole: the md5 is catalyst's (catalyst/contrib/datasets/imagewoof.py), which states
#   torchvision's for Imagenette; the older 5eaf5bbf... is of the archive before noisy_imagewoof.csv was put in (2021)
PUBLIC = {
    public.name: public
    for public in (
        PublicSet(
            "cifar-10",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            CIFAR_NOTE,
        ),
        PublicSet(
            "cifar-100",
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168_513_733,
            "03b5dce01913d631647c71ecec9e9cb8",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            CIFAR_NOTE,
        ),
        PublicSet(
            "imagenette",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
            1_557_161_267,
            "fe2fc210e6bb7c5664d602c3cd71e612",
            "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
            FASTAI_NOTE,
            IMAGENETTE_WORDS,
        ),
        PublicSet(
            "imagenette-160",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            99_003_388,
            "e793b78cc4c9e9a4ccc0c1155377a412",
            "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
            FASTAI_NOTE,
            IMAGENETTE_WORDS,
        ),
        PublicSet(
            "imagewoof",
            "https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2.tgz",
            1_343_715_595,
            "9aafe18bcdb1632c4249a76c458465ba",
            None,
            FASTAI_NOTE,
            IMAGEWOOF_WORDS,
        ),
    )
}


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
        write_aside(tar.with_suffix(".json"), json.dumps(receipt, indent=1).encode())
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
                _download(public, url, file, progress)
                _check(public, url, file, progress)
                kept = keep(file)
            except KeyboardInterrupt:
                raise Interrupted(f"fetching {public.name} was stopped; {_kept(file, public)}") from None
            finally:
                if not file.closed and not _size(file):
                    _forget(_nameless(file))
            _forget(_nameless(file))
    return kept


def _public(name: str) -> PublicSet:
    if name not in PUBLIC:
        near = did_you_mean(name, PUBLIC) or f"; there are {', '.join(PUBLIC)}"
        raise UsageError(f"no public set is called {name!r}{near}")
    return PUBLIC[name]


# --- from the net to the part --------------------------------------------------------------------------------------


class _Fault(Exception):
    """What went wrong on the net, in words; `passing` where it may be over in a moment."""

    def __init__(self, words: str, passing: bool = False) -> None:
        super().__init__(" ".join(words.split()))
        self.passing = passing


def _download(public: Published, url: str, file: BinaryIO, progress: Progress) -> None:
    """Bring `file` to the published number of bytes."""
    goal = public.bytes + public.slack
    if _size(file) > goal:  # longer than it can be: of another release, or not ours
        file.truncate(0)
    _room(public, Path(file.name).parent, _size(file))
    most, failures = _size(file), 0
    while _size(file) < goal:
        try:
            goal = _read_on(public, url, file, progress)
        except _Fault as fault:
            # why: only a part longer than ever counts as progress; a server without Range could break off for ever
            failures = 0 if _size(file) > most else failures + 1
            most = max(most, _size(file))
            if not fault.passing or failures > len(PAUSES):
                raise ResourceError(f"{public.name} cannot be fetched: {fault}; {_kept(file, public)}") from None
            time.sleep(PAUSES[max(0, failures - 1)])


def _read_on(public: Published, url: str, file: BinaryIO, progress: Progress) -> int:
    """One request for what is missing, written behind what is there; gives the bytes of the whole.

    Raises: _Fault, DataError.
    """
    have, notes = _size(file), Path(f"{file.name}.json")
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
            write_aside(notes, json.dumps({"url": url, "validator": found}).encode())
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


# --- from the part to the tar --------------------------------------------------------------------------------------


def _check(public: Published, url: str, file: BinaryIO, progress: Progress) -> None:
    """Compare what lies on the disk with the published hashes; what is wrong is thrown away, saying so."""
    wanted = {name: digits for name, digits in (("md5", public.md5), ("sha256", public.sha256)) if digits}
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}
    file.seek(0)
    while chunk := file.read(CHUNK):
        for digest in hashes.values():
            digest.update(chunk)
        progress(f"checking {public.name}", file.tell(), _size(file))
    for name, digest in hashes.items():
        if not digest.hexdigest().startswith(wanted[name]):
            file.truncate(0)
            raise DataError(
                f"{public.name} from {url} has the {name} {digest.hexdigest()} and not the published {wanted[name]}: "
                "it was thrown away, and the same command fetches it anew"
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
            f"{public.file} is damaged ({error}) though it has the published hash: it was thrown away, look after the "
            f"disk under {str(tar.parent)!r}"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return tar


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    Path(f"{part}.json").unlink(missing_ok=True)


# --- the disk ------------------------------------------------------------------------------------------------------


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


def _room(public: Published, folder: Path, have: int) -> None:
    needed, free = public.room - have, shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{public.name} needs {_mb(needed)} in {str(folder)!r}, where {_mb(free)} are free: make room, or name "
            "another folder in TOPFIVE_DATA"
        )


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
            words = f"no space is left in {where!r} for {public.name}: make room, and the same command continues"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            words = f"{where!r} cannot be written ({error.strerror}): name another folder in TOPFIVE_DATA"
        else:
            words = f"{public.name} cannot be kept in {where!r}: {error}"
        raise ResourceError(words) from None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _kept(file: BinaryIO, public: Published) -> str:
    have = _size(file)
    if not have:
        return "nothing came yet"
    return f"{_mb(have)} of {_mb(public.bytes)} are kept, and the same command continues from there"


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
