"""Images that are read, decoded and cropped by workers in every epoch."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from topfive import system
from topfive.data.decoding import Unreadable, decode_region, square
from topfive.data.sources import Item, Source
from topfive.data.stores import Pixels
from topfive.engine.training.datasets import Batch, Data
from topfive.engine.training.pixels import SAMPLE, Bytes, crop_windows, decode, resized, statistics
from topfive.engine.training.sampling import Index, epoch_batches, uniforms
from topfive.engine.training.unreadable import few_enough
from topfive.errors import ResourceError
from topfive.recipes.augmentations import Crop, PaddedCrop, box
from topfive.recipes.recipe import Recipe
from topfive.results.training import Reading


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
                windows = crop_windows(pixels.numpy(), crop, side, uniforms(recipe.seed, epoch, index))
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
    with _as_many_as_asked_for():
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


@contextmanager
def _as_many_as_asked_for() -> Iterator[None]:
    """torch warns of more workers than cores, when its loader is made and again when it begins."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*suggested max number of worker.*")
        yield


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _results(loader: "DataLoader[Loaded]") -> Iterator[Loaded]:
    try:
        with _as_many_as_asked_for():
            yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ResourceError(
            "a worker that reads images was killed, for want of memory or of space in /dev/shm perhaps: give fewer "
            "--workers"
        ) from None
