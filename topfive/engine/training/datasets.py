"""The images of a source as training and evaluation take them, and those that are kept in memory.

Images are kept and cross process borders as uint8; all but the crop happens on whole batches, on the device.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from topfive.data.decoding import Unreadable
from topfive.data.sources import Source
from topfive.engine.training.pixels import crop_windows, decode, resized, statistics
from topfive.engine.training.sampling import Index, epoch_batches, uniforms
from topfive.engine.training.unreadable import few_enough
from topfive.recipes.augmentations import Centre, PaddedCrop, RandomResizedCrop, ScaleJitterCrop, box
from topfive.recipes.recipe import Recipe
from topfive.results.training import Reading

Batch = tuple[Tensor, Tensor, Index, int]  # pixels, labels, which images, how many of them count


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
    def held_bytes(self) -> int:
        """Of memory that its images take."""
        return 0

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
    def held_bytes(self) -> int:
        return self.images.pixels.numel() + self.aside.pixels.numel()

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
                    pixels = crop_windows(kept[index], crop, side, draws)
                case ScaleJitterCrop() | RandomResizedCrop():
                    pixels = np.empty((len(index), side, side, 3), np.uint8)
                    for n, (i, row) in enumerate(zip(index.tolist(), draws.tolist())):
                        pixels[n] = resized(kept[i], box(crop, kept.shape[2], kept.shape[1], side, row), side)
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2), self.images.labels[index], index, real

    def val(self, batch: int = 256, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(rank * batch, len(self.aside), world * batch):
            yield self.aside.pixels[start : start + batch], self.aside.labels[start : start + batch]
