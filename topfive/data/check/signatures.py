"""What an image is compared by: 32x32 pixels of brightness, 8x8 of two colours, and the details in them."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]
SIDE, COLOUR, CLOSER = 32, 8, 64  # pixels: of a signature's brightness, of its two colours, of the closer look
SIGNATURE = SIDE * SIDE + 2 * COLOUR * COLOUR  # bytes
PLAIN = 8  # levels between the darkest and the brightest part of an image of one colour
FLAT = 0.5  # levels of brightness: images with less detail would match each other by their noise
DETAILS = 2, 7  # step 3: between so many blurs at 32x32 or 64x64 pixels


def signature(image: Image.Image) -> bytes:
    """What near duplicates are found by: 32x32 pixels of brightness and 8x8 of each of two colours, 1,152 bytes."""
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    brightness, *colours = image.convert("YCbCr").split()
    return brightness.tobytes() + b"".join(part.reduce(SIDE // COLOUR).tobytes() for part in colours)


def brightness(seen: Bytes) -> Bytes:
    """`(N, 32, 32)` of signatures `(N, 1152)`."""
    return seen[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)


def colours(seen: Bytes) -> Array:
    """`(N, 2, 8, 8)` of signatures `(N, 1152)`, 0 where there is no colour."""
    return seen[:, SIDE * SIDE :].reshape(-1, 2, COLOUR, COLOUR).astype(np.float32) - 128


@cache
def blur_matrix(side: int, times: int) -> Array:
    """The matrix that blurs a row of `side` pixels with (1, 2, 1) / 4, so many times; the ends stay as they are."""
    once = (2 * np.eye(side) + np.eye(side, k=1) + np.eye(side, k=-1)) / 4
    once[0, :2] = once[-1, :-3:-1] = 1, 0  # why: as if the row went on straight, so that a gradient has no detail
    return np.linalg.matrix_power(once, times).astype(np.float32)


def details_of(values: Array, finest: int = DETAILS[0], coarsest: int = DETAILS[1]) -> Array:
    """`(N, side, side)` of brightness less its finest and its coarse parts: what is left tells images apart."""
    fine, coarse = blur_matrix(values.shape[-1], finest), blur_matrix(values.shape[-1], coarsest)
    return np.asarray(fine @ values @ fine.T - coarse @ values @ coarse.T, np.float32)


def measures(signatures: Bytes, rows: Index, chunk: int = 4096) -> tuple[Array, Array, Index]:
    """How much detail each image has (root mean square, in levels), how fine that is, and how far its levels go."""
    energy, fine, spread = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for n in range(0, len(rows), chunk):
        seen = signatures[rows[n : n + chunk]]
        details = details_of(middle_of(brightness(seen)))
        energy.append(np.einsum("nij,nij->n", details, details) / details[0].size)
        fine.append(np.einsum("nij,nij->n", details, -laplacian(details)) / details[0].size)
        levels = np.maximum(np.ptp(brightness(seen), (1, 2)), np.ptp(colours(seen), (2, 3)).max(1))
        spread.append(levels.astype(np.int64))
    total = np.concatenate(energy)
    return np.sqrt(total), np.concatenate(fine) / np.maximum(total, 1e-3), np.concatenate(spread)


def middle_of(values: Bytes | Array, shift: tuple[int, int] = (0, 0)) -> Array:
    """The middle three quarters, shifted by (down, right): what a border or a shift brings in is outside of it."""
    side = values.shape[-1]
    top, left = side // 8 + shift[0], side // 8 + shift[1]
    inner = side - side // 4
    return np.ascontiguousarray(values[:, top : top + inner, left : left + inner], np.float32)


def laplacian(view: Array) -> Array:
    """The second differences of `(N, H, W)`, edges repeated."""
    wide = np.pad(view, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.asarray(
        wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:] - 4 * view, np.float32
    )
