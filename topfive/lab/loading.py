"""Pictures in memory, and batches of them: what comes when is a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from topfive.data.decoding import Unreadable, square
from topfive.data.sources import Item, Source
from topfive.errors import DataError

MOST_UNREADABLE, MOST_UNREADABLE_SHARE = 20, 0.01  # pictures passed over: the larger of the two


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures of one split: `pixels` is (N, 3, S, S) in uint8, `labels` (N,)."""

    pixels: Tensor
    labels: Tensor
    unreadable: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def decode(
    source: Source, items: tuple[Item, ...], size: int, progress: Callable[[int], object] = lambda done: None
) -> Pictures:
    """Every picture of `items` as its centre square of `size` pixels; unreadable ones are left out and listed."""
    pixels = np.zeros((len(items), size, size, 3), np.uint8)
    kept: list[int] = []
    bad: list[Unreadable] = []

    def read(i: int) -> Unreadable | None:
        try:
            pixels[i] = square(source.read(items[i]), size)
        except Unreadable as error:
            return error
        return None

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for i, error in enumerate(threads.map(read, range(len(items)))):
            kept.append(i) if error is None else bad.append(error)
            progress(1)
    labels = torch.tensor([items[i].label for i in kept])
    return Pictures(torch.from_numpy(pixels[kept]).permute(0, 3, 1, 2).contiguous(), labels, tuple(bad))


def decode_splits(
    source: Source, size: int, progress: Callable[[int], object] = lambda done: None
) -> tuple[Pictures, Pictures]:
    """The training and the held-out pictures of `source`.

    Raises: DataError where more are unreadable than a few, or none of a split is left.
    """
    splits = decode(source, source.train, size, progress), decode(source, source.held_out, size, progress)
    bad = [error for pictures in splits for error in pictures.unreadable]
    count = len(source.train) + len(source.held_out)
    most = max(MOST_UNREADABLE, MOST_UNREADABLE_SHARE * count)
    if len(bad) > most or not all(len(pictures) for pictures in splits):
        raise DataError(
            f"{len(bad)} of the {count} pictures of {source.name} cannot be read, and at most {most:.0f} are passed "
            f"over; the first: {bad[0]}"
        )
    return splits


def statistics(pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, in the units of the pixels: two tensors (1, 3, 1, 1)."""
    sample = pictures.pixels[:: max(1, len(pictures) // 2000)].float()
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp(min=1.0)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch: a permutation that depends on (seed, epoch) and on nothing else."""
    return torch.randperm(count, generator=_generator(seed, epoch))


def training_batches(
    pictures: Pictures, batch: int, seed: int, epoch: int, shift: float, mirror: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """`(N, 3, S, S)` uint8 and labels: shifted and mirrored at random, the last incomplete batch left out if short."""
    order = epoch_order(len(pictures), seed, epoch)
    random = _generator(seed, epoch + 1_000_003)
    size = pictures.pixels.shape[-1]
    border = round(shift * size)
    for start in range(0, len(order), batch):
        index = order[start : start + batch]
        if len(index) == 1 and start > 0:
            return  # why: batch normalisation cannot learn from a single picture
        pixels = pictures.pixels[index]
        if border:
            padded = torch.nn.functional.pad(pixels, (border,) * 4)
            offsets = torch.randint(0, 2 * border + 1, (len(index), 2), generator=random).tolist()
            pixels = torch.stack([padded[i, :, y : y + size, x : x + size] for i, (y, x) in enumerate(offsets)])
        if mirror:
            turned = torch.rand(len(index), generator=random) < 0.5
            pixels[turned] = pixels[turned].flip(3)
        yield pixels, pictures.labels[index]


def evaluation_batches(pictures: Pictures, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every picture once, in order."""
    for start in range(0, len(pictures), batch):
        yield pictures.pixels[start : start + batch], pictures.labels[start : start + batch]


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_000_007 + epoch)
