"""Where the bytes of an archive lie: a local file, or a file at a URL."""

import os
from pathlib import Path
from typing import Any, BinaryIO

from topfive.data.stores import plain
from topfive.errors import UsageError


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
