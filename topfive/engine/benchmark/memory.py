"""The most bytes that a process takes on a device."""

import gc
from pathlib import Path

import torch

from topfive import system
from topfive.engine.benchmark.machine import Machine


def memory_start(machine: Machine) -> int:
    """Bytes held now; the peak starts anew from here where the system allows it."""
    gc.collect()
    if machine.kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(machine.device)
        return torch.cuda.memory_allocated(machine.device)
    if machine.kind == "mps":
        torch.mps.empty_cache()
        return memory_peak(machine)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return memory_peak(machine)


def memory_peak(machine: Machine) -> int:
    """The most bytes held since `memory_start`; since the process began where the system does not start anew.

    Of Apple's GPU, which counts no peak, those that the driver has given out: torch keeps what it frees.
    """
    if machine.kind == "cuda":
        return torch.cuda.max_memory_allocated(machine.device)
    if machine.kind == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        return _status("VmHWM")
    except OSError:
        return system.peak_memory()


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status")
