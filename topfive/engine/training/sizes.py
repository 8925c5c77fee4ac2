"""Sides of images in pixels: what a source has, and at which its images are kept."""

import math
from typing import assert_never

from topfive import system
from topfive.data.sources import Source
from topfive.errors import DataError
from topfive.recipes.augmentations import Centre, Crop, PaddedCrop, RandomResizedCrop, ScaleJitterCrop

MEMORY_SHARE = 0.3  # of the machine's memory that decoded images may take; beyond it they are read anew every epoch


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
