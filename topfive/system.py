"""What differs between Linux, macOS and Windows, in one place: locks, names on the disk, processors, new processes."""

import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

BINARY: int = getattr(os, "O_BINARY", 0)  # else Windows writes \r\n for \n
OPEN_FILES_MOVE = sys.platform != "win32"  # whether a file can be renamed and removed while it is open
FREE_BYTE = 2**30  # that Windows locks: nobody else reads a locked byte, so it lies behind what people read
MOST_IN_POOL = 61 if sys.platform == "win32" else None  # processes that Windows can wait for at once


def lock(handle: int) -> bool:
    """Lock an open file until it is closed, or its process ends in whatever way; False where another has the lock.

    Raises: OSError where the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(handle: int) -> bool:
    import msvcrt

    before = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, FREE_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # mypy knows them on Windows alone
    except PermissionError:
        return False
    finally:
        os.lseek(handle, before, os.SEEK_SET)
    return True


def locked(path: Path) -> bool | None:
    """Whether a process holds the lock of a file that says `PROCESS HOST`; None where that cannot be told.

    It is told without taking the lock, even for a moment.
    """
    try:
        held, inode = path.read_text("utf-8", errors="replace"), path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return None
    process, _, where = held.partition(" ")
    try:
        listed = Path("/proc/locks").read_text("utf-8").splitlines()
    except OSError:  # not Linux: what can be told is that the process is no more
        import psutil

        gone = not process.isdecimal() or not psutil.pid_exists(int(process))
        return False if where == host() and gone else None
    device = f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}"
    for line in listed:  # 1: FLOCK  ADVISORY  WRITE 17728 fe:00:2147937 0 EOF
        words = line.replace("->", "").split()
        if len(words) >= 6 and words[1] == "FLOCK":
            at, _, number = words[5].rpartition(":")
            # why: either will do; on an overlay the device is another, in a container the process is
            if number == str(inode.st_ino) and (at == device or words[4] == process):
                return True
    return False if where == host() else None


def host() -> str:
    """This machine's name in its network."""
    return platform.node()


def as_text(name: str) -> str:
    """A file's name with bytes in it that are no text as text: each is written as backslash, u and four digits."""
    return name.encode("utf-8", "backslashreplace").decode()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last; Windows has no call for it. Raises: OSError."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory."""
    import psutil

    return psutil.virtual_memory().total


def peak_memory() -> int:
    """The most bytes of memory that this process has held, as far as the system tells; else those that it holds."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        held = psutil.Process().memory_info()
        return int(getattr(held, "peak_wset", held.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def context() -> BaseContext:
    """How processes are started: forked on Linux, so that they have at once what they need; elsewhere it is pickled.

    macOS could fork too, but its libraries do not stand it.
    """
    forks = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if forks else "spawn")


def pool(count: int, begin: Callable[..., object], arguments: tuple[Any, ...]) -> ProcessPoolExecutor:
    """`count` processes, each of which has called `begin(*arguments)`."""
    return ProcessPoolExecutor(min(count, MOST_IN_POOL or count), context(), begin, arguments)
