"""Images as uint8 pixels: decoded, cropped, resized; mean and standard deviation of their channels."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from topfive.data.decoding import Unreadable, square
from topfive.data.sources import Item, Source
from topfive.engine.training.sampling import Draws
from topfive.engine.training.sizes import usual_side
from topfive.recipes.augmentations import Box, Centre, PaddedCrop

SMALL_SIDE = 64  # up to which images are decoded by one thread
SAMPLE = 2000  # images that stand for all, for the mean and standard deviation of the channels
Bytes = NDArray[np.uint8]  # pixels, channels last


@dataclass(frozen=True)
class Images:
    """Decoded images of one split: `pixels` is (N, 3, S, S) in uint8, `labels` (N,)."""

    pixels: Tensor
    labels: Tensor
    unreadable: tuple[Unreadable, ...] = ()
    done: Counter[str] = field(default_factory=Counter)  # what decoding did knowingly, and to how many images

    def __len__(self) -> int:
        return len(self.labels)


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


def resized(pixels: Bytes, patch: Box, size: int) -> Bytes:
    """A patch of `(H, W, 3)`, rounded to whole pixels, as `(size, size, 3)`: bilinear with antialiasing.

    The same numbers as Pillow gives for the patch by itself, in less than half of the time.
    """
    left, top, right, bottom = map(round, patch)
    inside = torch.from_numpy(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]).permute(2, 0, 1)[None]
    if inside.shape[2:] != (size, size):
        inside = functional.interpolate(inside, (size, size), mode="bilinear", antialias=True)
    return inside[0].permute(1, 2, 0).numpy()


def crop_windows(pixels: Bytes, crop: Centre | PaddedCrop, side: int, draws: Draws) -> Bytes:
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


def statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of `(N, 3, S, S)`, in the units of the pixels: two (1, 3, 1, 1)."""
    sample = pixels[:: max(1, len(pixels) // SAMPLE)].float()
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clamp(min=1.0)
    return mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
