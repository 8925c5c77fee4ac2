"""Evidence laid over the image that it is about."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRENGTH = 0.65  # of the colour where the evidence is strongest; the rest is the image


def overlaid(pixels: NDArray[np.uint8], evidence: NDArray[np.float32]) -> Image.Image:
    """The image `(H, W, 3)` in grey, and in the colours of a fire where `evidence`, `(H, W)` in 0..1, is strong."""
    from matplotlib import colormaps

    grey = pixels.astype(np.float64).mean(2, keepdims=True)
    colour = 255 * np.asarray(colormaps["inferno"](0.25 + 0.75 * evidence))[..., :3]
    share = STRENGTH * evidence[..., None].astype(np.float64)
    return Image.fromarray((grey * (1 - share) + colour * share).round().clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, side: int) -> bytes:
    """The image as a small JPEG file, `side` pixels at most."""
    image = image.copy()
    image.thumbnail((side, side))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return data.getvalue()


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
