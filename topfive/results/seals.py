"""JSON files that end with the sha256 of what is before it."""

import errno
import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from topfive.errors import RefusedError, ResourceError

SEAL = b',\n "sha256": "'
T = TypeVar("T")


def sealed(value: object) -> bytes:
    """The value as JSON whose last member is the sha256 of what is before it."""
    head = msgspec.json.format(msgspec.json.encode(value), indent=1).removesuffix(b"\n}")
    return head + _seal(head)


def _seal(head: bytes) -> bytes:
    return SEAL + hashlib.sha256(head).hexdigest().encode() + b'"\n}\n'


def unsealed(path: Path, kind: type[T]) -> T:
    data = read_back(path)
    head = data.rpartition(SEAL)[0]
    if data != head + _seal(head):
        raise RefusedError(f"{path} is damaged: it is not as it was written")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"{path} was written by another version of topfive: {error}") from None


def read_back(path: Path) -> bytes:
    """Raises: RefusedError for what is missing or cannot be read back, ResourceError for what we may not read now."""
    try:
        if not path.is_file():  # why: a pipe of that name would be waited for
            raise RefusedError(f"{path} is missing")
        return path.read_bytes()
    except OSError as error:
        failure = RefusedError if error.errno == errno.EIO else ResourceError
        raise failure(f"{path} cannot be read: {error.strerror}") from None
