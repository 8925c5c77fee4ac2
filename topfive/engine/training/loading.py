"""Batches of images: what comes when, and how it is changed, is a pure function of (seed, epoch, index).

Nothing depends on the number of workers or processes, on how fast they are, or on what was loaded before. Images are
kept and cross process borders as uint8; all but the crop happens on whole batches, on the device.
"""

import csv
import ctypes
import math
import os
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from topfive import system
from topfive.data.decoding import Unreadable, decode_region, square
from topfive.data.sources import Item, Source
from topfive.data.stores import Pixels
from topfive.errors import DataError, ResourceError, UsageError
from topfive.recipes.augmentations import (
    DRAWS,
    Augmentation,
    Box,
    Centre,
    Crop,
    PaddedCrop,
    RandomResizedCrop,
    ScaleJitterCrop,
    box,
)
from topfive.recipes.plan import steps_of_epoch
from topfive.recipes.recipe import Recipe
from topfive.results.runs import Reading

MOST_UNREADABLE, MOST_UNREADABLE_SHARE = 20, 0.01  # images skipped: the larger of the two
MEMORY_SHARE = 0.3  # of the machine's memory that decoded images may take; beyond it they are read anew every epoch
SMALL_SIDE = 64  # up to which images are decoded by one thread
SAMPLE = 2000  # images that stand for all, for the mean and standard deviation of the channels
BAD_FILES = "bad_files.csv"

# columns of the uniform numbers that belong to an image in an epoch
MIRROR, LIGHTING, COLOUR, ERASE, COLUMNS = DRAWS, DRAWS + 1, DRAWS + 4, DRAWS + 7, DRAWS + 12

# The principal components of RGB over ImageNet, for values in 0..1: eigenvalues, and vectors as columns.
# Source: AlexNet's paper says how (§4.1) but prints no figures; these are fb.resnet.torch's, which others repeat.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
GREY = (0.299, 0.587, 0.114)

Index = NDArray[np.int64]  # of images within their split
Draws = NDArray[np.float64]  # uniform numbers, a row an image
Bytes = NDArray[np.uint8]  # pixels, channels last
Batch = tuple[Tensor, Tensor, Index, int]  # pixels, labels, which images, how many of them count


@dataclass(frozen=True)
class Images:
    """Decoded images of one split: `pixels` is (N, 3, S, S) in uint8, `labels` (N,)."""

    pixels: Tensor
    labels: Tensor
    unreadable: tuple[Unreadable, ...] = ()
    done: Counter[str] = field(default_factory=Counter)  # what decoding did knowingly, and to how many images

    def __len__(self) -> int:
        return len(self.labels)


def uniforms(seed: int, epoch: int, index: Index) -> Draws:
    """`COLUMNS` numbers in 0..1 for each image: a hash of (seed, epoch, index, column) and nothing else."""
    start = np.array([seed % 2**63 + 1], np.uint64)
    state = _mixed(_mixed(start) + np.array([epoch], np.uint64))
    rows = _mixed(state + index.astype(np.uint64))
    columns = np.arange(COLUMNS).astype(np.uint64)
    bits = _mixed(rows[:, None] + columns)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014."""
    z = x * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch: a permutation that depends on (seed, epoch) and on nothing else."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_000_007 + epoch))


def epoch_batches(
    count: int, batch: int, seed: int, epoch: int, first: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[Index, int]]:
    """The indices of each batch from the `first` on, and how many of them count; each image counts once an epoch.

    Of a batch, process `rank` takes every `world`-th one. A share of fewer than two, which batch normalisation cannot
    learn from, is filled up with others of the batch that do not count.
    """
    order = epoch_order(count, seed, epoch).numpy()
    for step in range(first, steps_of_epoch(count, batch)):
        whole = order[step * batch : (step + 1) * batch]
        mine = whole[rank::world]
        yield (mine, len(mine)) if len(mine) > 1 or world == 1 else (np.concatenate([mine, whole[:2]]), len(mine))


class Data(ABC):
    """The images of a source at one size, as training and evaluation take them."""

    def __init__(self, source: Source, size: int, max_bad: str | None = None) -> None:
        self.max_bad = max_bad
        self.source, self.size, self.classes, self.mirror = source, size, len(source.classes), source.mirror
        self.unreadable: dict[str, Unreadable] = {}  # by path: each file is named once, however often it is met
        self.done: Counter[str] = Counter()  # what decoding did knowingly, and to how many images
        self.normalisation = (torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))

    @property
    def skipped(self) -> str:
        """How many images cannot be read, in a sentence; nothing where all can."""
        bad = set(self.unreadable)
        aside = sum(self.source.path(item) in bad for item in self.source.val)
        count = len(self.source.train) + len(self.source.val)
        return (
            f"skipped, unreadable: {len(bad):,} of {count:,} images, {len(bad) - aside:,} training and {aside:,} "
            "validation images, which count as errors"
            if bad
            else ""
        )

    @property
    @abstractmethod
    def reading(self) -> Reading:
        """How they come to a training."""

    @abstractmethod
    def __len__(self) -> int:
        """Training images."""

    @abstractmethod
    def training(self, recipe: Recipe, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of an epoch from the `first` on: `(N, 3, S, S)` uint8, cropped, else as they are; labels `(N,)`.

        The side S is the recipe's for the epoch.
        """

    @abstractmethod
    def val(self, batch: int = 256, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Every validation image once, in order: its centre square `(N, 3, S, S)` uint8, and labels `(N,)`.

        Process `rank` gives every `world`-th batch.
        """


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


# --- in memory ------------------------------------------------------------------------------------------------------


def decode(
    source: Source, items: Sequence[Item], size: int, progress: Callable[[int], object] = lambda done: None
) -> Images:
    """Every image of `items` as its centre square of `size` pixels; unreadable ones are left out and listed."""
    pixels = np.zeros((len(items), size, size, 3), np.uint8)
    kept: list[int] = []
    bad: list[Unreadable] = []
    done: Counter[str] = Counter()

    def read(i: int) -> Unreadable | tuple[str, ...]:
        try:
            decoded = source.decode(items[i])
            pixels[i] = square(decoded.image, size)
        except Unreadable as error:
            return error
        return decoded.notes

    # why: decoding leaves Python's lock, but of a small image most of the work is Python's, and two threads that pass
    # the lock to and fro take twice as long as one by itself: 180 us and 80 us for a JPEG of 32 pixels
    small = usual_side(source) <= SMALL_SIDE
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for i, said in enumerate(map(read, range(len(items))) if small else threads.map(read, range(len(items)))):
            if isinstance(said, Unreadable):
                bad.append(said)
            else:
                kept.append(i)
                done.update(said)
            progress(1)
    labels = torch.tensor([items[i].label for i in kept])
    return Images(torch.from_numpy(pixels[kept] if bad else pixels).permute(0, 3, 1, 2), labels, tuple(bad), done)


class TooManyUnreadable(DataError):
    """More images cannot be read than are skipped; `unreadable` says which."""

    def __init__(self, said: str, unreadable: Sequence[Unreadable]) -> None:
        super().__init__(said)
        self.unreadable = unreadable


def most_unreadable(max_bad: str | None, count: int) -> int:
    """How many of `count` images are skipped at most: `N` or `P%`. Raises: UsageError for anything else."""
    if max_bad is None:
        return int(max(MOST_UNREADABLE, MOST_UNREADABLE_SHARE * count))
    number = max_bad.removesuffix("%")
    if not re.fullmatch(r"\d+(\.\d+)?" if number != max_bad else r"\d+", number, re.ASCII):
        raise UsageError(f"--max-bad {max_bad!r} is no number of images, such as 25, and no share of them, such as 5%")
    return int(float(number) * count / 100) if number != max_bad else int(number)


def few_enough(source: Source, bad: Sequence[Unreadable], left: Sequence[int] = (), max_bad: str | None = None) -> None:
    """Raises: TooManyUnreadable where more than a few images are unreadable, or none of a split is left."""
    count = len(source.train) + len(source.val)
    most = most_unreadable(max_bad, count)
    if len(bad) > most or not all(left):
        reasons = Counter(error.reason for error in bad).most_common(3)
        why = f"at most {most} are skipped" if all(left) else "none of a part is left"
        way_out = f"; --max-bad {len(bad)} passes over as many" if all(left) else ""
        raise TooManyUnreadable(
            f"{len(bad)} of the {count} images of {source.name} cannot be read "
            f"({', '.join(f'{n} {reason}' for reason, n in reasons)}), and {why}{way_out}; the first: "
            f"{bad[0].name if bad else ''!r}",
            bad,
        )


def note_unreadable(folder: Path, errors: Iterable[Unreadable]) -> Path:
    """Write which images were skipped and why, one a line; the file's path."""
    path = folder / BAD_FILES
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        # why: a name that begins like a formula would be one in a spreadsheet
        names = ((f"'{error.name}" if error.name[:1] in "=+-@" else error.name, error.reason) for error in errors)
        csv.writer(file).writerows([("path", "reason"), *names])
    return path


def kept_sizes(crop: Crop, size: int, usual: int) -> tuple[int, int]:
    """The least and the best side at which images of `usual` pixels are kept in memory, for crops of `size`.

    At the least one the smallest patch has as many pixels as the crop, where the image has them. At the best one
    there are twice as many: what is resampled twice is less sharp than the validation images, which are resampled once.
    """
    match crop:
        case Centre() | PaddedCrop():
            return size, size
        case ScaleJitterCrop(high=high, of=of):
            wanted = size * high / of
        case RandomResizedCrop(least=least):
            wanted = size / least**0.5
        case _:
            assert_never(crop)
    least, best = (max(size, min(round(factor * wanted), usual)) for factor in (1, 2))
    return least, best


def usual_side(source: Source) -> int:
    """The median shorter side in pixels, going by a few images of the training split."""
    sides = []
    for item in source.train[:: max(1, len(source.train) // 20)]:
        try:
            sides.append(min(source.read(item).size))
        except DataError:
            continue
    return sorted(sides)[len(sides) // 2] if sides else 32


def default_size(source: Source) -> int:
    """32, 64 or 128: the largest that the images fill."""
    side = usual_side(source)
    return 128 if side >= 112 else 64 if side >= 56 else 32


def largest_side(source: Source) -> int:
    """The largest side at which all images of a source, as decoded squares, may be kept in memory."""
    return math.isqrt(int(MEMORY_SHARE * system.memory_bytes() / (3 * max(1, len(source.train) + len(source.val)))))


class InMemory(Data):
    """Decoded once and kept: training images as squares of `side`, validation ones of `size`."""

    def __init__(
        self, source: Source, size: int, side: int, progress: Callable[[int], object], max_bad: str | None = None
    ) -> None:
        super().__init__(source, size, max_bad)
        self.images = decode(source, source.train, side, progress)
        self.aside = decode(source, source.val, size, progress)
        for part in (self.images, self.aside):
            self.unreadable.update({error.name: error for error in part.unreadable})
            self.done += part.done
        few_enough(source, list(self.unreadable.values()), [len(self.images), len(self.aside)], max_bad)
        self.normalisation = statistics(self.images.pixels)

    @property
    def reading(self) -> Reading:
        return Reading(self.images.pixels.shape[-1])

    def __len__(self) -> int:
        return len(self.images)

    def training(self, recipe: Recipe, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        crop, side = recipe.augmentation.crop, recipe.side(epoch, self.size)
        kept = self.images.pixels.permute(0, 2, 3, 1).numpy()
        for index, real in epoch_batches(len(self), recipe.batch, recipe.seed, epoch, first, rank, world):
            draws = uniforms(recipe.seed, epoch, index)
            match crop:
                case Centre() | PaddedCrop():
                    pixels = _windows(kept[index], crop, side, draws)
                case ScaleJitterCrop() | RandomResizedCrop():
                    pixels = np.empty((len(index), side, side, 3), np.uint8)
                    for n, (i, row) in enumerate(zip(index.tolist(), draws.tolist())):
                        pixels[n] = resized(kept[i], box(crop, kept.shape[2], kept.shape[1], side, row), side)
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2), self.images.labels[index], index, real

    def val(self, batch: int = 256, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(rank * batch, len(self.aside), world * batch):
            yield self.aside.pixels[start : start + batch], self.aside.labels[start : start + batch]


def resized(pixels: Bytes, patch: Box, size: int) -> Bytes:
    """A patch of `(H, W, 3)`, rounded to whole pixels, as `(size, size, 3)`: bilinear with antialiasing.

    The same numbers as Pillow gives for the patch by itself, in less than half of the time.
    """
    left, top, right, bottom = map(round, patch)
    inside = torch.from_numpy(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]).permute(2, 0, 1)[None]
    if inside.shape[2:] != (size, size):
        inside = functional.interpolate(inside, (size, size), mode="bilinear", antialias=True)
    return inside[0].permute(1, 2, 0).numpy()


def _windows(pixels: Bytes, crop: Centre | PaddedCrop, side: int, draws: Draws) -> Bytes:
    """Of each of `(N, S, S, 3)` a window of `side` at a place of its own, the full side over the crop's border."""
    size = pixels.shape[1]
    if isinstance(crop, PaddedCrop) and side == size and (border := round(crop.padding * size / crop.of)):
        around = ((0, 0), (border, border), (border, border), (0, 0))
        pixels = np.pad(pixels, around, mode="reflect" if crop.mirrored else "constant")
    places = pixels.shape[1] - side + 1
    if places == 1:
        return pixels
    down, right = (draws[:, :2] * places).astype(np.int64).T
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
    # why: a view of every shift at once; picking one an image copies each pixel once
    picked: Bytes = windows[np.arange(len(pixels)), down, right]
    return picked.transpose(0, 2, 3, 1)


# --- read anew every epoch ------------------------------------------------------------------------------------------


class Streaming(Data):
    """Read, decoded and cropped by workers in every epoch, for sources that do not fit into memory.

    Every image is read once before, so that one that cannot be read moves no other: the batches are those of the
    readable images alone. One that is gone later is left out of its batch.
    """

    def __init__(
        self, source: Source, size: int, workers: int, progress: Callable[[int], object], max_bad: str | None = None
    ) -> None:
        super().__init__(source, size, max_bad)
        self.workers = workers
        good: list[tuple[Item, ...]] = []
        for items in (source.train, source.val):
            work = [(0, np.arange(i, min(i + 64, len(items)))) for i in range(0, len(items), 64)]
            kept: list[int] = []
            for _, index, bad, done in _results(_loader(_Crops(source, items, None, 1, 0), work, workers)):
                self.unreadable.update({error.name: error for error in bad})
                self.done.update(done)
                kept += index.tolist()
                progress(len(index) + len(bad))
            good.append(tuple(items[i] for i in kept))
        few_enough(source, list(self.unreadable.values()), list(map(len, good)), max_bad)
        self.items, self.aside = good
        self.labels = torch.tensor([item.label for item in self.items])
        sample = decode(source, self.items[:: max(1, len(self.items) // SAMPLE)], size)
        self.normalisation = statistics(sample.pixels)
        self._work: list[Work] = []
        self._loader: tuple[tuple[Recipe, int], DataLoader[Loaded]] | None = None  # kept with its workers

    @property
    def reading(self) -> Reading:
        return Reading(None, self.workers)

    def __len__(self) -> int:
        return len(self.items)

    def training(self, recipe: Recipe, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        crop, side = recipe.augmentation.crop, recipe.side(epoch, self.size)
        decoded = self.size if isinstance(crop, PaddedCrop) else side  # its windows are cut from whole images below
        if self._loader is None or self._loader[0] != (recipe, decoded):
            crops = _Crops(self.source, self.items, crop, decoded, recipe.seed)
            self._loader = (recipe, decoded), _loader(crops, self._work, self.workers)
        batches = list(epoch_batches(len(self), recipe.batch, recipe.seed, epoch, first, rank, world))
        self._work[:] = [(epoch, index) for index, _ in batches]
        for (pixels, index, bad, _), (_, real) in zip(_results(self._loader[1]), batches):
            self.unreadable.update({error.name: error for error in bad})
            if bad:
                few_enough(self.source, list(self.unreadable.values()), [len(index)], self.max_bad)
            if isinstance(crop, PaddedCrop):
                windows = _windows(pixels.numpy(), crop, side, uniforms(recipe.seed, epoch, index))
                pixels = torch.from_numpy(windows)
            yield pixels.permute(0, 3, 1, 2), self.labels[index], index, min(real, len(index))

    def val(self, batch: int = 256, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.aside)
        work = [(0, np.arange(i, min(i + batch, count))) for i in range(rank * batch, count, world * batch)]
        labels = torch.tensor([item.label for item in self.aside])
        for pixels, index, bad, _ in _results(
            _loader(_Crops(self.source, self.aside, None, self.size, 0), work, self.workers)
        ):
            self.unreadable.update({error.name: error for error in bad})
            yield pixels.permute(0, 3, 1, 2), labels[index]


Work = tuple[int, Index]
Loaded = tuple[Tensor, Index, list[Unreadable], Counter[str]]


class _Crops(Dataset[Loaded]):
    """What a worker does with one batch of indices; `crop` None is the full decode of evaluation."""

    def __init__(self, source: Source, items: Sequence[Item], crop: Crop | None, size: int, seed: int) -> None:
        self.source, self.items, self.crop, self.size, self.seed = source, items, crop, size, seed

    def __getitem__(self, work: Work) -> Loaded:
        epoch, index = work
        pixels = torch.empty((len(index), self.size, self.size, 3), dtype=torch.uint8)
        filled, good, bad = pixels.numpy(), list[int](), list[Unreadable]()
        done: Counter[str] = Counter()
        for i, draws in zip(index.tolist(), uniforms(self.seed, epoch, index).tolist()):
            try:
                filled[len(good)] = self._one(self.items[i], draws, done)
                good.append(i)
            except Unreadable as error:
                bad.append(error)
        return pixels[: len(good)], np.array(good, np.int64), bad, done

    def _one(self, item: Item, draws: list[float], done: Counter[str]) -> Bytes:
        crop, size, source = self.crop, self.size, self.source
        if crop is None:
            decoded = source.decode(item)
            done.update(decoded.notes)
            return square(decoded.image, size)
        if isinstance(source.store, Pixels):
            pixels = source.store.array(item.name)
            return resized(pixels, box(crop, pixels.shape[1], pixels.shape[0], size, draws), size)
        try:
            data = source.store.read(item.name)
            pixels, patch = decode_region(
                data, item.name, lambda w, h: box(crop, w, h, size, draws), size, source.upright
            )
        except Unreadable as error:
            raise Unreadable(source.path(item), error.reason) from None
        return resized(pixels, patch, size)


def _loader(crops: _Crops, work: Sequence[Work], workers: int) -> "DataLoader[Loaded]":
    return DataLoader(
        crops,
        batch_size=None,
        sampler=work,  # whole batches of indices, refilled for every epoch
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=3 if workers else None,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # why: else it would draw from, and change, the generator of the weights
        multiprocessing_context=system.context() if workers else None,
    )


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _results(loader: "DataLoader[Loaded]") -> Iterator[Loaded]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*suggested max number of worker.*")
            yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ResourceError(
            "a worker that reads images was killed, for want of memory or of space in /dev/shm perhaps: give fewer "
            "--workers"
        ) from None


# --- on the device --------------------------------------------------------------------------------------------------


def augmented(pixels: Tensor, draws: Draws, augmentation: Augmentation, mirror: bool) -> Tensor:
    """`(N, 3, S, S)` on the device -> the same mirrored, in other colours, patches erased; uint8 or float."""
    drawn = torch.from_numpy(draws).float()  # why before it is moved: Apple's GPU has no float64
    chance = drawn.to(pixels.device)
    if mirror and augmentation.hflip:
        pixels = _mirrored(pixels, chance[:, MIRROR] < 0.5)
    if augmentation.colour:
        pixels = _coloured(pixels.float(), 1 + augmentation.colour * (2 * chance[:, COLOUR : COLOUR + 3] - 1))
    if augmentation.pca_noise:
        # paper: §4.1 adds p_i alpha_i lambda_i, alpha_i drawn from N(0, 0.1) once for each use of an image
        alpha = augmentation.pca_noise * torch.special.ndtri(drawn[:, LIGHTING : LIGHTING + 3].clamp(1e-6, 1 - 1e-6))
        shifts = (alpha * torch.tensor(EIGENVALUES)) @ torch.tensor(VECTORS).T  # on the CPU: not every device has ndtri
        pixels = pixels + 255 * shifts[:, :, None, None].to(pixels.device)
    if augmentation.erase:
        pixels = _erased(pixels, chance[:, ERASE : ERASE + 5], augmentation.erase)
    return pixels


def _mirrored(pixels: Tensor, turned: Tensor) -> Tensor:
    """Those of `(N, C, S, S)` that `turned` (N,) names, mirrored; the others as they are."""
    if pixels.device.type != "cpu":
        return torch.where(turned[:, None, None, None], pixels.flip(3), pixels)
    # why: on a CPU whole rows are copied several times as fast as a mask is applied to the channels of each pixel
    index = turned.nonzero()[:, 0]
    if pixels.is_contiguous():
        return pixels.index_copy(0, index, pixels[index].flip(3))
    out = pixels.clone(memory_format=torch.channels_last)
    rows = out.permute(0, 2, 3, 1).flatten(1)
    some = rows.index_select(0, index).view(-1, *out.shape[2:], out.shape[1]).permute(0, 3, 1, 2)
    rows.numpy()[index.numpy()] = some.flip(3).permute(0, 2, 3, 1).flatten(1).numpy()
    return out


def _coloured(pixels: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation by the columns of `factors` (N, 3), in this order; 0..255."""
    weights = torch.tensor(GREY, device=pixels.device)[None, :, None, None]
    bright, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    pixels = (pixels * bright).clamp(0, 255)
    middle = (pixels * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = (middle + (pixels - middle) * contrast).clamp(0, 255)
    grey = (pixels * weights).sum(1, keepdim=True)
    return (grey + (pixels - grey) * saturation).clamp(0, 255)


def _erased(pixels: Tensor, chance: Tensor, share: float) -> Tensor:
    """A patch of 2 to 33 % of the area set to mid-grey: Zhong et al., Random Erasing Data Augmentation, 2017."""
    area, aspect = 0.02 + 0.31 * chance[:, 1], 3.3 ** (2 * chance[:, 2] - 1)
    erased = _patch(pixels.shape[-1], (area * aspect).sqrt(), (area / aspect).sqrt(), chance[:, 3], chance[:, 4])
    erased = erased & (chance[:, 0] < share)[:, None, None]
    return torch.where(erased[:, None], torch.full_like(pixels, 128), pixels)


def _patch(size: int, height: Tensor, width: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(N, S, S) masks of patches; heights and widths are shares of the side, y and x say where in what is left."""
    along = torch.arange(size, device=height.device)[None, :]
    high, wide = ((side.clamp(max=1.0) * size).round() for side in (height, width))
    top, left = (y * (size - high + 1)).floor(), (x * (size - wide + 1)).floor()
    rows = (along >= top[:, None]) & (along < (top + high)[:, None])
    columns = (along >= left[:, None]) & (along < (left + wide)[:, None])
    return rows[:, :, None] & columns[:, None, :]


def mixed(
    pixels: Tensor, labels: Tensor, classes: int, augmentation: Augmentation, seed: int, epoch: int, step: int
) -> tuple[Tensor, Tensor]:
    """Images blended with or patched from the next of the batch, and targets: labels `(N,)`, or `(N, classes)`.

    Source: Zhang et al., mixup, 2017; Yun et al., CutMix, 2019; Szegedy et al. 2015 (Inception-v3), §7: smoothing.
    """
    chosen = [name for name in ("mixup", "cutmix") if getattr(augmentation, name)]
    if not chosen and not augmentation.smoothing:
        return pixels, labels
    targets = functional.one_hot(labels, classes).float()
    if chosen and len(labels) > 1:
        random = np.random.default_rng((seed % 2**63, epoch, step))
        kind = chosen[int(random.integers(len(chosen)))]
        alpha = getattr(augmentation, kind)
        kept = float(random.beta(alpha, alpha))
        other = pixels.roll(1, 0)
        if kind == "mixup":
            pixels = torch.lerp(other.float(), pixels.float(), kept)
        else:
            side = torch.tensor([math.sqrt(1 - kept)])
            y, x = (torch.tensor([value], dtype=torch.float32) for value in random.random(2))
            patch = _patch(pixels.shape[-1], side, side, y, x)
            pixels = torch.where(patch[:, None].to(pixels.device), other.to(pixels.dtype), pixels)
            kept = 1 - float(patch.float().mean())  # why of the patch on the CPU: no device is waited for
        targets = kept * targets + (1 - kept) * targets.roll(1, 0)
    smoothing = augmentation.smoothing
    return pixels, targets * (1 - smoothing) + smoothing / classes


def statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of `(N, 3, S, S)`, in the units of the pixels: two (1, 3, 1, 1)."""
    sample = pixels[:: max(1, len(pixels) // SAMPLE)].float()
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp(min=1.0)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
