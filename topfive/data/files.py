"""Files and folders that are there whole or not at all, and on the disk before they have their name."""

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

from topfive import system
from topfive.errors import ResourceError

PAUSES = (0.1, 0.5, 1.0)  # seconds before each new try at a disk that fails for a moment


def write_whole(path: Path, content: bytes | Mapping[str, bytes]) -> None:
    """Write a file, or a folder of files, with the permissions that new ones have here. A folder of that name goes.

    Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    delete(aside)
    try:
        if isinstance(content, bytes):
            put(aside, content)
        else:
            os.mkdir(aside)
            for name, data in content.items():
                put(aside / name, data)
            sync(aside)
            if path.exists():
                remove(path)
        os.replace(aside, path)
    except BaseException:
        delete(aside)
        raise
    sync(path.parent)


@contextlib.contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A folder whose files are moved into `folder` at the end, each whole; none where one fails. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = _aside(folder / "aside")
    delete(aside)
    os.mkdir(aside)
    try:
        yield aside
        names = sorted(os.listdir(aside))
        for name in names:
            with open(aside / name, "r+b") as file:
                os.fsync(file.fileno())
        for name in names:
            os.replace(aside / name, folder / name)
        sync(folder)
    finally:
        delete(aside)


def _aside(path: Path) -> Path:
    # why not tempfile: what it makes is for its owner alone, and others may share a folder of results
    return path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def remove(folder: Path) -> None:
    """Remove a folder, of which half is never seen under its name. Raises: OSError."""
    aside = folder.with_name(f"{folder.name}.0.tmp")
    delete(aside)
    os.replace(folder, aside)
    delete(aside)


def delete(path: Path) -> None:
    """Delete a file or folder; what cannot be deleted now is left for the next start."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else os.unlink(path)


def sync(folder: Path) -> None:
    """Make the names in a folder last. Raises: OSError."""
    try:
        system.sync_folder(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise


def insist(action: Callable[[], object], path: Path, need: int, notes: list[str]) -> None:
    """Do what writes `path`, and do it again where the disk fails for a moment, as `notes` are told.

    `need` is how many bytes it takes. Raises: ResourceError.
    """
    for pause in (*PAUSES, None):
        try:
            action()  # why: as a whole; an fsync that failed and then succeeds has not written what it had lost
            return
        except OSError as error:
            if error.errno != errno.EIO or pause is None:
                fail(error, path, need)
            notes.append(f"{path}: {error.strerror}, tried again")
            time.sleep(pause)


def fail(error: OSError, path: Path, need: int = 0) -> NoReturn:
    """Raises: ResourceError, which says why `path` cannot be written, and of `need` bytes how many are free."""
    room = ""
    if need:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            room = f" ({need / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free)"
    raise ResourceError(f"{path} cannot be written: {error.strerror}{room}") from error


def try_to_write(path: Path) -> None:
    """Nothing stays of it. Raises: OSError where no file of that name could be written."""
    folder = path.parent
    while not folder.exists():  # it would be made
        folder = folder.parent
    # why: rights alone do not tell, of a read-only system or of a file where the folder should be
    with TemporaryFile(dir=folder):
        pass


def put(path: Path, data: bytes) -> None:
    """Write a file onto the disk, under its own name. Raises: OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | system.BINARY, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)
