"""From bytes to pixels, one way for training, evaluation and prediction; what is done knowingly is said.

Evaluation decodes the whole image (`decode`); training decodes no more than its crop needs (`decode_region`).
"""

import io
import os
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from topfive.errors import DataError, UsageError

try:
    import simplejpeg
except ImportError:  # on platforms that it is not built for
    simplejpeg = None

# why: the other decoders of Pillow (EPS, PSD, FITS, ...) are where most of its security fixes are
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
BY_SUFFIX = {
    **dict.fromkeys((".jpg", ".jpeg", ".jfif", ".jpe"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "BMP", "GIF", "TGA")},
}
SUFFIXES = frozenset(BY_SUFFIX)
LIMIT = "TOPFIVE_MAX_PIXELS"
try:  # in the environment, so that it is one for every command and for the processes that each starts
    MOST_PIXELS = int(os.environ.get(LIMIT) or 100_000_000)  # which take some 400 MB, however few bytes the file has
except ValueError:
    raise UsageError(f"${LIMIT} is a whole number of pixels, not {os.environ[LIMIT]!r}") from None
MORE_THAN_READ = f"more than the {MOST_PIXELS:,} that are read (${LIMIT} sets the limit)"
Image.MAX_IMAGE_PIXELS = None  # why: Pillow's own refusal, of another number, does not tell the sides
ORIENTATION = 274  # the EXIF tag
# why: ImageOps.exif_transpose writes the EXIF anew, and fails where another of its tags is damaged
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = {6: 8, 8: 6}  # what undoes a turn; the others undo themselves

# what a file is that is no image of FORMATS, by its first bytes
SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"8BPS", "a Photoshop file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"Rar!", "a RAR archive"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
)
# the first bytes of FORMATS
OURS = (
    (b"\xff\xd8", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
START = 512  # bytes that tell what a file is
# what is worth converting, of the kinds that are not read
CONVERTIBLE = (
    "a HEIC image", "an AVIF image", "a JPEG XL image", "a JPEG 2000 image", "a Photoshop file",
    "an SVG drawing", "a PDF document", "a camera's raw file",
)  # fmt: skip
# why: these are TIFFs too, and what opens as one is a thumbnail
RAW = (".dng", ".cr2", ".nef", ".nrw", ".arw", ".sr2", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".mef", ".mos")
PPM_START = re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d")
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # what the size of its second header may be
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")  # what matters for the pixels
BRANDS = {b"hei": "a HEIC image", b"hev": "a HEIC image", b"mif": "a HEIC image", b"avi": "an AVIF image"}

Box = tuple[float, float, float, float]

# why: of damaged metadata, which does not matter for the pixels; here once, because changing the filters at every call
# is not safe among threads
warnings.filterwarnings("ignore", module=r"PIL\.")


class Unreadable(DataError):
    """One image that cannot be decoded, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[str, str]]:
        return Unreadable, (self.name, self.reason)  # why: it crosses process borders


class Decoded(NamedTuple):
    """An image in RGB, the format of its file ("" where there was none), and what was done knowingly to it."""

    image: Image.Image
    format: str
    notes: tuple[str, ...]


def decode(data: bytes, name: str, upright: bool = True) -> Decoded:
    """The whole image in RGB, turned by its EXIF orientation if `upright`; the first frame of several.

    Raises: Unreadable with a reason in plain words.
    """
    image = _opened(data, name)
    try:
        notes, format = _notes(image, name), image.format or ""  # which a turned copy has forgotten
        before = _orientation(image) if format == "TIFF" else 1
        image.load()
        if image.format == "TGA" and image.mode == "RGBA" and not data[17] & 15:  # it has no bits of alpha after all
            image = image.convert("RGB")
        now = _orientation(image)
        # why: Pillow turns a TIFF as it loads it, asked or not, and then says that it need not be turned
        stated, turned = (before, now != before) if format == "TIFF" else (now, False)
        if stated in TURNS and upright != turned:
            image = image.transpose(TURNS[stated if upright else BACK.get(stated, stated)])
        if stated in TURNS and upright:
            notes.append("turned upright by EXIF")
        return Decoded(_rgb(image, notes), format, tuple(notes))
    except Exception as error:  # why: Pillow raises OSError, ValueError, SyntaxError, RuntimeError on damaged files
        raise Unreadable(name, _reason(error, data)) from None


def decode_region(
    data: bytes, name: str, choose: Callable[[int, int], Box], size: int, upright: bool = True
) -> tuple[NDArray[np.uint8], Box]:
    """Pixels `(H, W, 3)` that hold at least the region that `choose(width, height)` names, and where it is in them.

    A JPEG is decoded at a half, a quarter or an eighth where the region still has `size` pixels along both sides.
    Raises: Unreadable.
    """
    image = _opened(data, name)
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or (upright and _orientation(image) > 1):
        whole = decode(data, name, upright).image
        return np.array(whole), choose(*whole.size)
    try:
        width, height = image.size
        left, top, right, bottom = choose(width, height)
        image.draft(image.mode, (_least(width, size, right - left), _least(height, size, bottom - top)))
        pixels = _jpeg(data) if image.size == (width, height) else None
        if pixels is None:
            pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        x, y = image.width / width, image.height / height
        return pixels, (left * x, top * y, right * x, bottom * y)
    except Exception as error:
        raise Unreadable(name, _reason(error, data)) from None


def _jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """The same pixels as Pillow gives, in half of the time; None where the file is not flawless: Pillow judges it."""
    if simplejpeg is None:
        return None
    try:
        return simplejpeg.decode_jpeg(data)  # type: ignore[no-any-return]
    except ValueError:
        return None


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The centre square after the shorter side is brought to `size`, bilinear with antialiasing: `(size, size, 3)`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def is_image(name: str) -> bool:
    """Whether a file of that name is taken for an image without a look into it."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # why: PurePath takes three times as long, for each file


def not_an_image(start: bytes, name: str) -> str:
    """What a file is whose name does not tell, by its first START bytes; "" for an image in a format that is read."""
    if not start:
        return "empty"
    if PurePath(name).suffix.lower() in RAW:
        return "a camera's raw file"
    return "" if _format_of(start) else _kind(start)


def _format_of(start: bytes) -> str:
    """Which of FORMATS the first bytes are of, "" for none: stricter than OURS, since they may be of any file."""
    if start[:4] == b"RIFF":
        return "WEBP" if start[8:12] == b"WEBP" else ""
    if PPM_START.match(start):
        return "PPM"
    format = next((format for first, format in OURS if start.startswith(first)), "")
    unlikely = format == "BMP" and int.from_bytes(start[14:18], "little") not in BMP_HEADERS
    return "" if unlikely else format


def _opened(data: bytes, name: str) -> Image.Image:
    """The image with its header read, its size known to be one that may be decoded."""
    if not data:
        raise Unreadable(name, "empty file")
    # why: a TGA has nothing to know it by, so any bytes may pass for one
    formats = (*FORMATS, "TGA") if PurePath(name).suffix.lower() == ".tga" else FORMATS
    try:
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except Exception:
            if not data.startswith(b"\x89PNG"):
                raise
            image = Image.open(io.BytesIO(_bare(data)), formats=FORMATS)
    except Exception as error:
        raise Unreadable(name, _reason(error, data)) from None
    pixels = image.width * image.height
    if pixels == 0:
        raise Unreadable(name, f"{image.width}x{image.height} is 0 pixels")
    if pixels > MOST_PIXELS:
        raise Unreadable(name, f"{image.width}x{image.height} pixels, {MORE_THAN_READ}")
    return image


def _bare(data: bytes) -> bytes:
    """A PNG without its texts and profiles, and without its EXIF where the checksum of that is wrong."""
    kept, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        whole = zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if kind in PNG_CHUNKS or (kind == b"eXIf" and whole):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _notes(image: Image.Image, name: str) -> list[str]:
    """What the header tells that is worth counting."""
    notes = []
    suffix = PurePath(name).suffix.lower()
    # MPO is JPEG with further images behind the first, as some cameras write it
    if BY_SUFFIX.get(suffix, image.format) != image.format and image.format != "MPO":
        notes.append(f"{image.format} content in a {suffix} file")
    try:
        several = bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame does not matter
        several = True
    if several:
        notes.append("first frame of several")
    return notes


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1 where there is none or it cannot be read."""
    if image.format == "JPEG" and "exif" not in image.info:
        return 1
    try:
        stated = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else 1


def _rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Any mode as RGB, knowingly: Pillow's own conversion clips 16-bit grey to white."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I") or mode == "F":
        values: NDArray[Any] = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
        most = values.max(initial=0)
        # why: 16 bits are 0..65535, and Pillow brings a PGM of more than 8 bits to that; in 32 bits there is no
        # telling: fractions that reach 1 at most are shares of white, and up to 255 it is taken for 8-bit values
        if mode.startswith("I;16") or most > 255 or (mode == "I" and image.format == "PPM"):
            notes.append("16 bits scaled to 8")
            values = values / 257
        elif mode == "F" and 0 < most <= 1:
            notes.append("0 to 1 scaled to 255")
            values = values * 255
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        seen = image.convert("RGBA")
        if seen.getchannel("A").getextrema() == (255, 255):
            return seen.convert("RGB")
        notes.append("transparency laid over white")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        notes.append(f"{mode} converted")
    return image.convert("RGB")


def _least(whole: int, size: int, part: float) -> int:
    """How many pixels the whole side must keep so that a part of it keeps `size`."""
    return max(1, int(np.ceil(size * whole / max(part, 1.0))))


def _reason(error: Exception, data: bytes) -> str:
    """Why it cannot be read, in plain words."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    ours = next((format for start, format in OURS if data.startswith(start)), None)
    if ours == "PNG" and len(data) >= 24 and bytes(4) in (data[16:20], data[20:24]):
        return f"{int.from_bytes(data[16:20], 'big')}x{int.from_bytes(data[20:24], 'big')} is 0 pixels"
    if isinstance(error, UnidentifiedImageError) and ours and not _missing(data):
        return f"truncated or damaged: a {ours} whose header cannot be read"
    if isinstance(error, UnidentifiedImageError) and not ours:
        return f"{_kind(data)}, not an image in a format that is read ({', '.join(FORMATS)})"
    missing = _missing(data)
    if missing:
        return f"truncated, {missing:,} bytes missing"
    if "truncated" in text or "Truncated" in text or (data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-64:]):
        return "truncated"
    return f"damaged: {text[:150]}"


def _missing(data: bytes) -> int:
    """Bytes missing at the end, where the header states the length."""
    if data[:4] == b"RIFF" and len(data) >= 8:
        return max(0, int.from_bytes(data[4:8], "little") + 8 - len(data))
    if data[:2] == b"BM" and len(data) >= 6:
        return max(0, int.from_bytes(data[2:6], "little") - len(data))
    return 0


def _kind(data: bytes) -> str:
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip()[:16].lower()
    for signature, kind in SIGNATURES:
        if start.startswith(signature.lower()[:16]):
            return kind
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:11], "a video or image in an MP4 container")
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:512]):
        return "text"
    return "unknown content"
