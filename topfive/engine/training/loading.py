"""How the images of a source come to a training: kept in memory, or read anew in every epoch."""

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from topfive.data.sources import Source
from topfive.engine.training.datasets import Data, InMemory
from topfive.engine.training.sizes import kept_sizes, largest_side, usual_side
from topfive.engine.training.streaming import Streaming
from topfive.errors import UsageError
from topfive.recipes.augmentations import Crop
from topfive.results.training import Reading


def prepare(
    source: Source,
    size: int,
    crop: Crop,
    workers: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
    reading: Reading | None = None,
    max_bad: str | None = None,
) -> Data:
    """Every image read once; then kept in memory, or, with `workers` or where memory is short, read anew each epoch.

    `reading` says which, else it is chosen. Raises: DataError where more are unreadable than a few, or than `max_bad`,
    or none of a split is left.
    """
    _keep_freed_memory()
    reading = reading or chosen(source, size, crop, workers)
    if reading.side is not None:
        return InMemory(source, size, reading.side, progress, max_bad)
    return Streaming(source, size, reading.workers or 0, progress, max_bad)


def chosen(source: Source, size: int, crop: Crop, workers: int | None = None) -> Reading:
    """How the images come: read anew in every epoch by `workers`, by default kept in memory where it holds them."""
    (least, best), largest = kept_sizes(crop, size, usual_side(source)), largest_side(source)
    if workers is None and largest >= least:
        return Reading(min(best, largest))
    return Reading(None, os.cpu_count() or 1 if workers is None else workers)


def repeated(before: Reading | None, now: Reading, workers: int | None, folder: Path) -> tuple[Reading, list[str]]:
    """How a run in `folder` that began with `before` continues, where `workers` is asked for; and what is to be said.

    Raises: UsageError where that would change its result.
    """
    if before is None:
        return now, [f"{folder} does not say how its images were read: give --workers as before, or it is not the same"]
    if before.side is None:
        return (before if workers is None else Reading(None, workers)), []
    if workers is not None:
        raise UsageError(
            f"{folder} keeps its images in memory, as squares of {before.side} pixels; --workers would read them anew "
            "in every epoch, which gives another result: leave it out, or name another folder"
        )
    return before, []


def _keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step; nothing where it is not glibc.

    By default it gives large blocks back and asks for them anew, page by page, in every step: VGG-A at 32 pixels
    trains at 220 to 245 images/s so, and at 290 with this (two cores, one run beside the other).
    """
    m_trim_threshold, m_mmap_max = -1, -4  # of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
