"""What a file of weights from somebody else holds, found out without executing anything of it, and without torch.

A file is taken when it is safetensors, or a checkpoint of torch whose pickle asks for tensors and plain settings alone,
and when all that it says of sizes agrees with the bytes that it has. Anything else is refused in one sentence that says
what it is. What passes is read by engine/inference/foreign.py.
"""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from topfive.errors import RefusedError, ResourceError, UsageError
from topfive.weights.containers import read_legacy, read_safetensors, read_zip
from topfive.weights.pickles import Unfit
from topfive.weights.state_dicts import Weights

OTHERS = {  # by their first bytes
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x1f\x8b": "packed with gzip: unpack it first",
    b"\xfd7zXZ": "packed with xz: unpack it first",
    b"BZh": "packed with bzip2: unpack it first",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it first",
    b"\x93NUMPY": "an array of NumPy",
    b"GGUF": "a GGUF file, as language models have",
    b"version https://git-lfs": "a pointer of Git LFS and not the file itself: git lfs pull fetches it",
    b"\x08\x01\x12": "a SavedModel of TensorFlow",
    b"TFL3": "a model of TensorFlow Lite",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"\xff\xd8\xff": "an image",
    b"\x89PNG": "an image",
}


def examined(path: Path) -> Weights:
    """What the file at `path` holds.

    Raises: UsageError (no such file), RefusedError (no weights, or none that are safe to take), ResourceError.
    """
    with opened(path) as file:
        return examine(file, str(path))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`. Raises: UsageError, ResourceError."""
    if not path.is_file():  # a pipe or a device would keep us waiting
        raise UsageError(f"there is no file of weights {str(path)!r}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ResourceError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    with file:
        yield file


def examine(file: BinaryIO, where: str) -> Weights:
    """What an open file holds. Raises: RefusedError naming `where`."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(512)
    try:
        if head[8:9] == b"{":
            return read_safetensors(file, size)
        if head[:4] == b"PK\x03\x04":
            return read_zip(file, size)
        if head[:1] == b"\x80" and not _is_tar(head):
            return read_legacy(file, size)
        raise Unfit(f"it is {_what(file, head, size)}")
    except Unfit as why:
        raise RefusedError(f"{where} is rejected: {why}") from None
    except OSError as error:
        raise ResourceError(f"{where} cannot be read: {error.strerror}") from None


def _what(file: BinaryIO, head: bytes, size: int) -> str:
    """What a file is that is none of ours."""
    if not size:
        return "empty"
    for magic, what in OTHERS.items():
        if head.startswith(magic) or (magic == b"TFL3" and head[4:8] == magic):
            return what
    if _is_tar(head):
        return "a tar archive, which torch wrote before 2017 and others use for other things"
    text = head.lstrip()[:15].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, perhaps the one that asked for a log-in"
    if head[:1] == b"\x08" and head[2:3] == b"\x12":
        return "a network in ONNX"
    if head[:4] in (b"\x01\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0"):
        return "a file of Lua Torch (t7)"
    if head[0] & 0xF0 == 0x80 or head[:1] in (b"\xde", b"\xdf"):
        return "MessagePack, as Flax writes"
    file.seek(max(0, size - 8))
    if file.read(8) == bytes.fromhex("57fb808b247547db"):
        return "the index of a checkpoint of TensorFlow"
    if head[:1] == b"\x0a":
        return "a protobuf, as TensorFlow's and Caffe's networks are"
    return "neither safetensors nor a checkpoint of torch"


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
