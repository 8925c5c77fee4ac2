"""How many threads compute, and how they wait: fast alone, and not at a crawl beside other programs.

At the end of every operation torch's threads wait for the slowest. GNU's OpenMP spins meanwhile, which is fastest while
each thread has a core of its own; where another program has one of them, every operation waits for a slice of the
scheduler, and small networks become ten times slower. So the number of threads is that of the cores that are free at
the start, and where cores become busy later, threads that wait give theirs up. Only the first changes results, in their
last bits: a run keeps its number of threads. Benchmark: docs/decisions/0016-threads.md.
"""

import os
import sys
import threading
import time
from functools import cache
from pathlib import Path

import torch

from topfive import system
from topfive.engine.benchmark.load import SINCE_START, Load

MANY = 8  # cores, from which on one is left free for whatever else runs
LEAST = 0.3  # seconds over which other programs are watched before the threads are chosen
EVERY = 0.5  # seconds between two looks at them later
CROWDED = 0.25  # cores that the threads must lack for waiting ones to give theirs up


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and in a container the processor time that it is granted."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(system.processors(), round(int(quota) / int(period))))
    except (OSError, ValueError):  # not Linux, or not limited: "max"
        return system.processors()


def free_threads() -> int:
    """How many threads compute in this process: torch's own number, less the cores that other programs have now.

    OMP_NUM_THREADS, where it is set, stands, and processes of one machine share its cores out. The number is chosen
    once in a process.
    """
    stated, beside = os.environ.get("OMP_NUM_THREADS"), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if beside > 1 and stated in (None, "", "1"):  # why: torchrun gives each process one thread
        use_threads(max(1, usable_cores() // beside))
    else:
        use_threads(torch.get_num_threads() if stated else _chosen())
    return torch.get_num_threads()


@cache
def _chosen() -> int:
    time.sleep(max(0.0, LEAST - SINCE_START.passed))
    return free(min(torch.get_num_threads(), usable_cores()), usable_cores(), SINCE_START.others())


def free(threads: int, usable: int, others: float) -> int:
    """What of `threads` finds a core, where `others` of `usable` cores are taken; of many cores one stays free."""
    wanted = min(threads, usable - (usable >= MANY))
    return max(1, wanted - round(max(0.0, wanted + others - usable)))


def use_threads(count: int) -> None:
    """Compute with `count` threads, which give up their cores while they wait whenever other programs want them."""
    torch.set_num_threads(count)
    _watch()


@cache
def _watch() -> None:
    if sys.platform == "linux":
        threading.Thread(target=_watching, name="load", daemon=True).start()


def _watching() -> None:
    crowd, load = Crowd(), Load()
    while True:
        time.sleep(EVERY)
        threads = torch.get_num_threads()
        if threads > 1 and load.contention(threads) > CROWDED:
            crowd.gather(threads)
        else:
            crowd.leave()
        load = Load()


class Crowd:
    """Idle OpenMP threads, so many that all together are more than there are cores.

    GNU's OpenMP then spins for 1,000 rounds and not for 300,000 before a thread that waits gives up its core
    (GOMP_SPINCOUNT in its manual): the one way to change that while a program runs. No result depends on it.
    """

    def __init__(self) -> None:
        self._done: threading.Event | None = None

    def gather(self, threads: int) -> None:
        """Make waiting threads give up their cores."""
        if self._done is not None:
            return
        self._done = threading.Event()
        for _ in range(system.processors() // threads + 1 if threads < system.processors() else 1):
            threading.Thread(target=_idle, args=(self._done,), daemon=True).start()

    def leave(self) -> None:
        """Make them spin again."""
        if self._done is not None:
            self._done.set()
            self._done = None


def _idle(done: threading.Event) -> None:
    torch.zeros(2**20).add_(1)  # why: by all threads, a team of this thread's own, which then waits for the next work
    done.wait()
