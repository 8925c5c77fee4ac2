"""The views of an image that a protocol names, as pixels."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from topfive.data.decoding import MORE_THAN_READ, MOST_PIXELS, Unreadable
from topfive.recipes.protocols import Box, Protocol

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def views(image: Image.Image, protocol: Protocol, size: int) -> Iterator[NDArray[np.uint8]]:
    """What a network of `size` pixels is shown of an RGB image: each view `(H, W, 3)`, in the protocol's order.

    Raises: Unreadable for an image so long and narrow that it would take more than MOST_PIXELS.
    """
    scaled: dict[tuple[tuple[int, int], Box | None], Image.Image] = {}
    for view in protocol.views(*image.size, size):
        key = view.scaled, view.region  # why: the image is resized once for all views of a scale
        if key not in scaled:
            scaled[key] = _resized(image, *key, protocol)
        part = scaled[key]
        if view.box != (0, 0, *part.size):
            part = part.crop(view.box)
        if view.size:  # why: of the part cut out; Pillow's `box` would let in a little of what is around it
            part = _resized(part, (view.size, view.size), None, protocol)
        pixels = np.asarray(part)
        # why: a copy, since what is shown must not change with what else is drawn, and torch takes no negative strides
        yield np.ascontiguousarray(pixels[:, ::-1]) if view.mirror else pixels


def _resized(image: Image.Image, size: tuple[int, int], region: Box | None, protocol: Protocol) -> Image.Image:
    if image.size == size and region in (None, (0, 0, *size)):
        return image
    if size[0] * size[1] > MOST_PIXELS:
        was, would = "x".join(map(str, image.size)), "x".join(map(str, size))
        raise Unreadable("image", f"{was} pixels would be resized to {would}, {MORE_THAN_READ}")
    if protocol.antialias:
        return image.resize(size, FILTERS[protocol.interpolation], box=region)
    return _sampled(image.crop(region) if region else image, size)


def _sampled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bilinear between the nearest pixels alone, as torch's `interpolate`; Pillow's `transform` rounds down instead."""
    pixels = np.asarray(image, np.float32)
    for axis, wanted in ((0, size[1]), (1, size[0])):
        had = pixels.shape[axis]
        at = np.maximum((np.arange(wanted, dtype=np.float32) + 0.5) * np.float32(had / wanted) - 0.5, 0)
        low = np.minimum(at.astype(np.intp), had - 1)
        share = np.expand_dims(at - low, (1, 2) if axis == 0 else (0, 2))
        high = np.minimum(low + 1, had - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return Image.fromarray(pixels.round().astype(np.uint8))
