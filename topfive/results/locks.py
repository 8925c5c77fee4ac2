"""The lock of a folder: one process works there, and is named."""

import os
from pathlib import Path

from topfive import system
from topfive.data.files import fail
from topfive.errors import UsageError

_held: set[int] = set()  # the descriptors of this process's locks


class InUseError(UsageError):
    """Another process works in the folder."""


class Lock:
    """A file that one process holds, and in which it is named. Raises: ResourceError."""

    def __init__(self, path: Path) -> None:
        self.path, self._taken = path, False
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | system.BINARY, 0o666)
        except OSError as error:
            fail(error, path)
        _held.add(self._handle)

    def take(self) -> list[str]:
        """Lock the folder until this process ends, in whatever way; what is to be said. Raises: InUseError."""
        notes, free = list[str](), True
        try:
            free = system.lock(self._handle)
        except OSError as error:  # some network file systems have no locks
            notes.append(f"{self.path.parent} cannot be locked ({error.strerror}): start nothing else there")
        if not free:
            os.lseek(self._handle, 0, os.SEEK_SET)
            process, _, host = os.read(self._handle, 500).decode(errors="replace").partition(" ")
            who = f"process {process} on {host}" if process and host else "another process"
            raise InUseError(f"{self.path.parent} is in use by {who}: wait for it, or name another folder")
        try:
            self._taken = True
            self._sign(str(os.getpid()))
        except OSError as error:
            fail(error, self.path)
        return notes

    def release(self) -> None:
        """Let others take it."""
        try:
            if self._taken and self._handle in _held:
                self._sign("")  # why: a later start reads who holds the lock before its next holder has said so
        except OSError:
            pass  # the name there is then of a process that is gone
        finally:
            self._taken = False
            _unlock(self._handle)

    def _sign(self, process: str) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.ftruncate(self._handle, os.write(self._handle, f"{process} {system.host()}".encode()))


def _unlock(handle: int) -> None:
    if handle in _held:  # not so in a forked child, where the number may be another file's by now
        _held.discard(handle)
        os.close(handle)


if hasattr(os, "register_at_fork"):
    # why: a worker that outlives a killed parent would continue holding its locks
    os.register_at_fork(after_in_child=lambda: list(map(_unlock, tuple(_held))))
