"""The processes that train together, as `torchrun` starts them; a single one where it did not."""

import datetime
import os
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous

from topfive.errors import ResourceError, UsageError

TIMEOUT = datetime.timedelta(seconds=60)  # why: torch's own 30 minutes would hold the others for a dead process


@dataclass(frozen=True)
class Group:
    """`rank` of `world` processes."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce(self, *numbers: float) -> list[float]:
        """The sums of each number over all processes, in 64 bits."""
        if self.world == 1:
            return list(numbers)
        return self.summed(torch.tensor(numbers, dtype=torch.float64, device=_device())).tolist()

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, summed over all processes in place; the device is not waited for."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def wrapped(self, module: nn.Module) -> nn.Module:
        """`module` with its gradients averaged over all processes."""
        if self.world == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)

    def same(self, module: nn.Module) -> nn.Module:
        """`module` with the first process's buffers: those of batch normalisation differ between processes."""
        if self.world > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)
        return module

    def broadcast(self, data: bytes) -> bytes:
        """The first process's bytes."""
        if self.world == 1:
            return data
        (size,) = self.all_reduce(len(data) if self.is_main else 0)
        held = torch.frombuffer(bytearray(data or bytes(int(size))), dtype=torch.uint8) if size else torch.empty(0)
        if size:
            held = held.to(_device())
            distributed.broadcast(held, 0)
        return bytes(held.cpu().numpy().tobytes())

    def gathered(self, data: bytes) -> list[bytes]:
        """The bytes of each process, in the order of their ranks."""
        if self.world == 1:
            return [data]
        sizes = [
            int(size) for size in self.all_reduce(*(len(data) * (rank == self.rank) for rank in range(self.world)))
        ]
        starts = [sum(sizes[:rank]) for rank in range(self.world + 1)]
        held = torch.zeros(starts[-1], dtype=torch.uint8, device=_device())
        if data:
            held[starts[self.rank] : starts[self.rank + 1]] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        if len(held):
            distributed.all_reduce(held)  # everybody else's part is zeros
        every = held.cpu().numpy().tobytes()
        return [every[start:end] for start, end in pairwise(starts)]

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            self.all_reduce(0.0)


def joined(device: str) -> Group:
    """The group that `torchrun` started this process in, each with a device of its own; alone without it.

    Raises: UsageError for a `device` that only one process can have, ResourceError.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return Group()
    if world > 1 and device not in ("cpu", "cuda"):
        raise UsageError(f"--device {device} is one device for {world} processes: --device cuda gives each its own")
    if not distributed.is_initialized():
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
            if os.environ.get("LOCAL_WORLD_SIZE") == str(world):
                # why: torchrun (2.13) keeps its store when it starts the processes again, and one that meets the
                # address of a killed process there gives up. Several nodes count their restarts each for itself.
                restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
                store = distributed.PrefixStore(restarts, store)  # type: ignore[attr-defined]
            distributed.init_process_group(
                "nccl" if device == "cuda" else "gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ResourceError(f"the processes of this training cannot connect to each other: {reason}") from None
    return Group(distributed.get_rank(), distributed.get_world_size())


def left() -> None:
    """Leave the group; at the end of the program."""
    if "torch.distributed" in sys.modules and distributed.is_available() and distributed.is_initialized():
        if sys.exc_info()[0] is None:  # else the others may never come
            distributed.barrier()  # why: a process that closes its connections while another still uses them ends it
        distributed.destroy_process_group()
        # why: torch's engine (2.13) keeps the threads of gloo beyond that. One that has yet to let go of a tensor needs
        # Python for it, and where Python is ending instead the process aborts; asleep, this thread leaves it to them
        time.sleep(0.2)


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
