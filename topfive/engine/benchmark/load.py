"""What other programs take of the processor, without torch: it is watched from before torch is imported."""

import os
import time
from functools import cache

import psutil

from topfive import system


class Load:
    """What other processes take of the processor cores from now on."""

    def __init__(self) -> None:
        self.busy, self.own, self.began = _busy(), _own(), time.perf_counter()

    @property
    def passed(self) -> float:
        """Seconds since."""
        return time.perf_counter() - self.began

    def others(self) -> float:
        """How many cores other processes have had since, as a mean."""
        return max(0.0, (_busy() - self.busy - (_own() - self.own)) / max(self.passed, 1e-3))

    def contention(self, threads: int) -> float:
        """How many cores `threads` threads of this process have lacked since, as a mean."""
        return max(0.0, self.others() + threads - system.processors())


def _own() -> float:
    """Seconds of processor that this process has had, and its children that have ended."""
    return sum(os.times()[:4])


def _busy() -> float:
    """Seconds that the cores at hand have worked together since the system started."""
    times = [times for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in _at_hand()]
    return sum(
        sum(each) - each.idle - sum(getattr(each, name, 0.0) for name in ("iowait", "guest", "guest_nice"))
        for each in times  # guests' time is counted as user's and nice's, too
    )


@cache
def _at_hand() -> frozenset[int]:
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(psutil.cpu_count() or 1)
    return frozenset(affinity)


SINCE_START = Load()  # why here: while torch is imported there is time to see what else runs
