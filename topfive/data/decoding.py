"""From a file to pixels, one way for training, evaluation and prediction."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from topfive.errors import DataError

# why: the other decoders of Pillow (EPS, PSD, FITS, ...) are where most of its security fixes are
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"))
MOST_PIXELS = 100_000_000


class Unreadable(DataError):
    """One picture that cannot be decoded, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r}: {reason}")
        self.name, self.reason = name, reason


def read_picture(path: Path) -> Image.Image:
    """The picture in `path` as RGB, turned upright by its EXIF orientation; the first frame of an animated one.

    16-bit grey is scaled to 8 bits, transparency laid over white. Raises: Unreadable with a reason in plain words.
    """
    try:
        if not path.is_file():
            raise Unreadable(str(path), "not a regular file")
        if path.stat().st_size == 0:
            raise Unreadable(str(path), "empty file")
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # of metadata that does not matter for the pixels
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(str(path), f"{image.width}x{image.height} pixels is more than {MOST_PIXELS:,}")
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except Unreadable:
        raise
    except Exception as error:  # why: Pillow raises OSError, ValueError, SyntaxError, RuntimeError on damaged files
        raise Unreadable(str(path), _reason(error)) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB, knowingly: Pillow's own conversion clips 16-bit grey to white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        # why: files of 16 bits hold 0..65535 whatever Pillow calls their mode; smaller ones are 8-bit values already
        scaled = values / 257.0 if values.max(initial=0) > 255 else values
        return Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The centre square after the shorter side is brought to `size`, bilinear with antialiasing: `(size, size, 3)`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "cannot identify" in text:
        return "not a picture in a format that is read (" + ", ".join(FORMATS) + ")"
    return text.splitlines()[0][:200]
