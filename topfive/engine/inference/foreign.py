"""The tensors of other people's files, under the names that they have there; nothing of such a file is executed here.

weights/inspection.py has looked at the file before. A pickle is read by torch, with `weights_only`, in a process of its
own (unpickling.py) that can write no file and has little memory and time; it hands back bytes, which must be the
tensors that the inspection foresaw.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import torch
from torch import Tensor

from topfive.errors import RefusedError, ResourceError
from topfive.weights.inspection import examine, opened
from topfive.weights.pickles import shown
from topfive.weights.state_dicts import Listed, Weights

SAFE = (2, 10)  # the torch that has CVE-2026-24747 fixed
CHILD = Path(__file__).with_name("unpickling.py")
SLOWEST = 20e6  # bytes a second that a loading child reads at least
STARTING = 60  # seconds that importing torch may take on a busy machine


@dataclass(frozen=True)
class Foreign:
    """What a file held: tensors by their names there, without what wraps state dicts and names."""

    tensors: dict[str, Tensor]
    sha256: str
    wrapped: str  # the keys and the prefix that were taken off, empty where there were none
    notes: tuple[str, ...]


def read_foreign(path: Path) -> Foreign:
    """The tensors of a safetensors file or of a checkpoint of torch.

    Raises: UsageError (no such file), RefusedError (what is no dense tensor of numbers, or not safe to take),
    ResourceError.
    """
    where = str(path)
    with opened(path) as file:
        weights = examine(file, where)
        if weights.kind == "torch":
            _check_torch(where)
        try:
            tensors = _tensors(file, weights, where)
            file.seek(0)
            digest = hashlib.sha256()
            while chunk := file.read(2**20):
                digest.update(chunk)
        except OSError as error:
            raise ResourceError(f"{where} cannot be read: {error.strerror}") from None
        except MemoryError:
            raise ResourceError(f"{where} does not fit into memory") from None
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise RefusedError(f"{where} has weights that are NaN or infinite: {', '.join(bad[:5])}")
    wrapped = ", ".join([*weights.path, *([weights.prefix] if weights.prefix else [])])
    return Foreign(tensors, digest.hexdigest(), wrapped, weights.notes)


def _check_torch(where: str) -> None:
    major, minor = (int(number) for number in torch.__version__.split(".")[:2])
    if (major, minor) < SAFE:
        raise RefusedError(
            f"{where} is a pickle, which torch {torch.__version__} does not read safely (CVE-2026-24747): install "
            f"torch {SAFE[0]}.{SAFE[1]} or newer, or convert the file to safetensors"
        )


def _tensors(file: BinaryIO, weights: Weights, where: str) -> dict[str, Tensor]:
    if weights.kind == "safetensors":
        file.seek(weights.start)
        read = {listed.name: _read(file, listed, where) for listed in weights.tensors}
        return {plain: read[name] for name, plain in weights.names.items()}
    read = {}
    with _unpickled(file, weights) as pipe:
        for listed in weights.tensors:
            said = pipe.readline(2**16)
            if said.startswith(b'"'):
                raise RefusedError(f"{where} is rejected: torch says {shown(said[1:-2].decode('utf-8', 'replace'))}")
            if said != _line(listed):
                raise RefusedError(
                    f"{where} is rejected: torch could not read it, or read something other than the file lists"
                )
            read[listed.name] = _read(pipe, listed, where)
    return {plain: read[name] for name, plain in weights.names.items()}


def _line(listed: Listed) -> bytes:
    return json.dumps([listed.name, listed.dtype, list(listed.shape)]).encode() + b"\n"


def _read(source: IO[bytes], listed: Listed, where: str) -> Tensor:
    """The next tensor of `source`, in memory of its own."""
    numbers = torch.empty(listed.shape, dtype=getattr(torch, listed.dtype))
    if not listed.bytes:
        return numbers
    rest = numbers.reshape(-1).view(torch.uint8).numpy().data
    while len(rest):
        count = source.readinto(rest)  # type: ignore[attr-defined]  # every binary file has it
        if not count:
            raise RefusedError(f"{where} ended in the middle of {listed.name}")
        rest = rest[count:]
    return numbers


@contextmanager
def _unpickled(file: BinaryIO, weights: Weights) -> Iterator[IO[bytes]]:
    """What a child process that unpickles `file` writes; it ends with the block, however that ends."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    seconds = STARTING + size / SLOWEST
    # why -I: neither the user's folder nor PYTHON... variables can put other modules into the child
    command = [sys.executable, "-I", str(CHILD), json.dumps(weights.path), str(size), str(round(seconds))]
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # what some machines need to find torch's libraries
    environment = {"OMP_NUM_THREADS": "1", **{name: os.environ[name] for name in kept if name in os.environ}}
    with (
        tempfile.TemporaryDirectory(prefix="topfive-") as empty,
        subprocess.Popen(
            command,
            stdin=file,  # the very file that the gate saw, whatever lies at its path by now
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=empty,
            env=environment,
        ) as child,
    ):
        clock = threading.Timer(2 * seconds, child.kill)
        clock.start()
        try:
            assert child.stdout is not None
            yield child.stdout
        finally:
            clock.cancel()
            child.kill()
