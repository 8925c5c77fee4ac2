"""How far something is: what a long task reports, and what a bar shows."""

import time
from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """What is being done, the share done of all of it (0..1), and a rate worth showing."""

    doing: str
    done: float
    rate: str = ""


def counting(show: Callable[[Progress], object], unit: str, scale: float = 1.0) -> Callable[[str, int, int], None]:
    """A callback of (what is done, how many, of how many) that shows the share and the rate, in `scale` of a unit."""
    began: dict[str, float] = {}
    shown = 0.0

    def tick(doing: str, done: int, total: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        start = began.setdefault(doing, now)
        if now - shown > 0.1 or done >= total:
            shown = now
            rate = f"{done / scale / (now - start):,.0f} {unit}/s of {total / scale:,.0f}" if now > start else ""
            show(Progress(doing, done / total if total else 0.0, rate))

    return tick
