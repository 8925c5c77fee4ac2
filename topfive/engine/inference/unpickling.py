"""Run as a program of its own by foreign.py: unpickles its standard input with little to lose, and hands back bytes.

Nothing of ours is imported. For every tensor of the state dict at the keys of the first argument one line of JSON is
written, [name, dtype, shape], and behind it the numbers; where torch refuses, one line of JSON with its sentence.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch

SCALAR: Any = np.float64().__reduce__()[0]  # the function that makes scalars, under its name of NumPy 2 or before
ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    # why: torchvision's and timm's scripts save their arguments, a class without any code of its own
    argparse.Namespace,
    # why: an accuracy that was computed by NumPy is a scalar of its own
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")),
]
SPARE = 512 * 2**20  # bytes of memory beyond torch itself and the file
COPIES = 3  # of the file that may be in memory: the storages, one tensor made contiguous, what is on its way
FILES = 64  # open at once; torch imports parts of itself late


def limit(size: int, seconds: int) -> None:
    """Take from this process what unpickling a file of `size` bytes does not need."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: FILES}
    limits[resource.RLIMIT_CPU] = seconds
    try:
        with open("/proc/self/statm") as pages:
            limits[resource.RLIMIT_AS] = int(pages.read().split()[0]) * resource.getpagesize() + COPIES * size + SPARE
    except OSError:  # not Linux: nobody says what torch takes by itself
        pass
    for kind, most in limits.items():
        already = resource.getrlimit(kind)[1]  # which nobody may raise
        most = most if already == resource.RLIM_INFINITY else min(most, already)
        resource.setrlimit(kind, (most, most))


def hand_over(file: BinaryIO, path: list[str], out: BinaryIO) -> None:
    """Write the tensors of the state dict at `path` in `file`."""
    with torch.serialization.safe_globals(ALLOWED):
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    for key in path:
        state = state[key]
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        dense = tensor.detach().contiguous()
        about = [name, str(dense.dtype).removeprefix("torch."), list(dense.shape)]
        out.write(json.dumps(about).encode() + b"\n")
        if dense.numel():
            out.write(dense.reshape(-1).view(torch.uint8).numpy().data)
    out.flush()


if __name__ == "__main__":
    try:
        limit(int(sys.argv[2]), int(sys.argv[3]))
        hand_over(sys.stdin.buffer, json.loads(sys.argv[1]), sys.stdout.buffer)
    except Exception as error:
        # why the last: torch's first sentences advise to load the file without weights_only
        lines = [line for line in str(error).splitlines() if line.strip() and "the documentation" not in line]
        sys.stdout.buffer.write(json.dumps((lines or [""])[-1].strip()[:200]).encode() + b"\n")
        sys.stdout.buffer.flush()
