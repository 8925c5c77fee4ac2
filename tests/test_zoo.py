"""Bad and odd files of every kind: each is named once with its reason, changes nothing else, and stays as it was."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from test_names import cifar_names

from topfive.cli import main
from topfive.data import decoding
from topfive.data.check.checking import check
from topfive.data.class_folders import folder
from topfive.data.decoding import Unreadable, decode, decode_region
from topfive.data.opening import open_source
from topfive.data.packing import pack
from topfive.data.sources import Source
from topfive.data.stores import read_file
from topfive.engine.benchmark.machine import this_machine
from topfive.engine.inference.models import open_model, save
from topfive.engine.training.loading import prepare
from topfive.engine.training.loop import Training, records, train
from topfive.errors import ResourceError, TopfiveError
from topfive.recipes import protocols
from topfive.recipes.augmentations import AUGMENTATIONS
from topfive.recipes.recipe import Recipe
from topfive.results import predictions

ROOT = Path(__file__).parents[1]
IMAGENETTE = ROOT.parent / "shared" / "data" / "imagenette.tar"

Values = NDArray[Any]


@pytest.fixture(autouse=True)
def places_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


# --- how they are made ----------------------------------------------------------------------------------------------


def saved(image: Image.Image, format: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    """By hand, so that its header may say anything; `rows` before compression."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunk(made: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    return PNG[:33] + made + PNG[33:]


def with_segment(data: bytes, body: bytes) -> bytes:
    """A JPEG with an application's segment, as EXIF stands in, at its start."""
    return data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body + data[2:]


def with_frame(at: int, value: bytes) -> bytes:
    """The JPEG with other bytes in its frame header: at 4 the precision, at 5 the height, at 7 the width."""
    start = JPEG.index(b"\xff\xc0") + at
    return JPEG[:start] + value + JPEG[start + len(value) :]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def exif(*tags: tuple[int, int, bytes]) -> bytes:
    """An EXIF block with a value of four bytes for each (tag, type)."""
    entries = b"".join(struct.pack("<HHI", tag, kind, 1) + value.ljust(4, b"\0") for tag, kind, value in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def orientation(value: int) -> tuple[int, int, bytes]:
    return 274, 3, bytes([value])


def grey(values: Values) -> Values:
    return np.repeat(np.asarray(values, float).clip(0, 255)[..., None], 3, 2)


def over_white(colours: Values, alpha: Values) -> Values:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


def four(values: Values) -> Image.Image:
    return Image.frombytes("CMYK", (values.shape[1], values.shape[0]), values.tobytes())


Y, X = np.mgrid[:32, :40]
RGB = np.stack([X * 6, Y * 7, 255 - X * 3 - Y * 3], 2).astype(np.uint8)
IMAGE, OTHER = Image.fromarray(RGB), Image.fromarray(255 - RGB)  # the other one stands behind the first frame
LUMA, ALPHA = np.asarray(IMAGE.convert("L")), (X * 6).astype(np.uint8)
INDEXED = IMAGE.quantize(64)
INDEXED_RGB, BITS = np.asarray(INDEXED.convert("RGB")), IMAGE.convert("1")
RAMP = np.arange(0, 65536, 64, dtype=np.uint16).reshape(16, 64)
CMYK = np.stack([X * 6, Y * 7, 200 - X * 4, X + Y], 2).astype(np.uint8)
CMYK_RGB = (255.0 - CMYK[..., :3]) * (255.0 - CMYK[..., 3:]) / 255
NOISE = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()

FINE: dict[str, Any] = {"quality": 97, "subsampling": 0}
JPEG, PNG = saved(IMAGE, "JPEG", **FINE), saved(IMAGE, "PNG")
WEBP, BMP, PPM = saved(IMAGE, "WEBP", lossless=True), saved(IMAGE, "BMP"), saved(IMAGE, "PPM")
GIF, TIFF = saved(INDEXED, "GIF"), saved(IMAGE, "TIFF", compression="tiff_lzw")

# Photoshop stores CMYK inverted and marks it; without its mark it is taken for inverted too, as browsers take it
INVERTED = saved(four(CMYK), "JPEG", **FINE)
MARK = INVERTED.index(b"\xff\xee")
UNMARKED = INVERTED[:MARK] + INVERTED[MARK + 16 :]
YCC = np.asarray(Image.fromarray(CMYK[..., :3].copy()).convert("YCbCr"))
YCCK = bytearray(saved(four(np.dstack([255 - YCC, CMYK[..., 3]])), "JPEG", **FINE))
YCCK[MARK + 15] = 2

AS_STORED: dict[int, Values] = {  # what a camera writes, by what EXIF says of its first row and column
    1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.transpose(1, 0, 2), 6: np.rot90(RGB),
    7: np.rot90(RGB.transpose(1, 0, 2), 2), 8: np.rot90(RGB, -1),
}  # fmt: skip


def as_stored(value: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(AS_STORED[value]))


CONTENT, SCALED, FIRST = "{} content in a {} file", "16 bits scaled to 8", "first frame of several"
WHITE, UPRIGHT, SHARES = "transparency laid over white", "turned upright by EXIF", "0 to 1 scaled to 255"
FIRST_CLEAR = saved(INDEXED, "PNG", transparency=0)
ALPHAS = bytes(range(0, 256, 4))  # one for each colour of the palette

# name -> the file, the notes, the pixels, and their largest mean error in levels
ODD: dict[str, tuple[bytes, tuple[str, ...], Values, float]] = {
    "whole.jpg": (JPEG, (), RGB, 1),
    "WHOLE.JPG": (JPEG, (), RGB, 1),
    "progressive.jpg": (saved(IMAGE, "JPEG", progressive=True, **FINE), (), RGB, 1),
    "grey.jpg": (saved(IMAGE.convert("L"), "JPEG", **FINE), (), grey(LUMA), 1),
    "rubbish behind the end.jpg": (JPEG + NOISE, (), RGB, 1),
    "rubbish for an end.jpg": (JPEG[:-2] + bytes(100), (), RGB, 1),
    "PNG named.jpg": (PNG, (CONTENT.format("PNG", ".jpg"),), RGB, 0),
    "JPEG named.png": (JPEG, (CONTENT.format("JPEG", ".png"),), RGB, 1),
    "without end.png": (PNG[:-12], (), RGB, 0),
    "whole.webp": (WEBP, (), RGB, 0),
    "whole.gif": (GIF, (), INDEXED_RGB, 0),
    "whole.bmp": (BMP, (), RGB, 0),
    "whole.tif": (TIFF, (), RGB, 0),
    "whole.ppm": (PPM, (), RGB, 0),
    "1x1.png": (saved(IMAGE.crop((3, 4, 4, 5)), "PNG"), (), RGB[4:5, 3:4], 0),
    "1x5000.jpg": (saved(Image.new("L", (1, 5000), 80), "JPEG"), (), np.full((5000, 1, 3), 80), 1),
    "5000x1.png": (saved(Image.new("L", (5000, 1), 9), "PNG"), (), np.full((1, 5000, 3), 9), 0),
    "CMYK.jpg": (UNMARKED, ("CMYK converted",), CMYK_RGB, 2),
    "CMYK of Photoshop.jpg": (INVERTED, ("CMYK converted",), CMYK_RGB, 2),
    "YCCK.jpg": (bytes(YCCK), ("CMYK converted",), CMYK_RGB, 2),
    "CMYK.tif": (saved(four(CMYK), "TIFF"), ("CMYK converted",), CMYK_RGB, 1),
    "16 bits.png": (saved(Image.fromarray(RAMP), "PNG"), (SCALED,), grey(RAMP / 257), 1),
    "16 bits.tif": (saved(Image.fromarray(RAMP), "TIFF"), (SCALED,), grey(RAMP / 257), 1),
    "16 bits, the high byte first.tif": (
        saved(Image.frombytes("I;16B", (64, 16), RAMP.byteswap().tobytes()), "TIFF"), (SCALED,), grey(RAMP / 257), 1,
    ),
    "16 bits.pgm": (b"P5 64 16 65535\n" + RAMP.byteswap().tobytes(), (SCALED,), grey(RAMP / 257), 1),
    "16 bits, all dark.pgm": (b"P5 2 1 65535\n\0\0\0\xff", (SCALED,), grey(np.array([[0, 1]])), 1),
    "16 bits of colour.png": (
        png(4, 2, 16, 2, (b"\0" + b"\x80\xff" * 12) * 2), (), np.full((2, 4, 3), 0x80FF / 257), 1,
    ),
    "32 bits.tif": (saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), (SCALED,), grey(RAMP / 257), 1),
    "32 bits up to 255.tif": (saved(Image.fromarray(LUMA.astype(np.int32)), "TIFF"), (), grey(LUMA), 0),
    "fractions up to 255.tif": (saved(Image.fromarray(LUMA.astype(np.float32)), "TIFF"), (), grey(LUMA), 0),
    "fractions up to 1.tif": (saved(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"), (SHARES,),
                              grey(RAMP / 257), 1),
    "no numbers.tif": (saved(Image.fromarray(np.where(RAMP > 9, RAMP, np.nan).astype(np.float32)), "TIFF"), (SCALED,),
                       grey(RAMP / 257), 1),
    "1 bit.png": (saved(BITS, "PNG"), (), grey(np.asarray(BITS) * 255), 0),
    "1 bit as a fax.tif": (saved(BITS, "TIFF", compression="group4"), (), grey(np.asarray(BITS) * 255), 0),
    "RGBA.png": (saved(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG"), (WHITE,), over_white(RGB, ALPHA), 1),
    "RGBA.webp": (saved(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True), (WHITE,),
                  over_white(RGB, ALPHA), 1),
    "RGBA, nothing clear.png": (saved(IMAGE.convert("RGBA"), "PNG"), (), RGB, 0),
    "LA.png": (saved(Image.merge("LA", [IMAGE.convert("L"), Image.fromarray(ALPHA)]), "PNG"), (WHITE,),
               over_white(grey(LUMA), ALPHA), 1),
    "a palette with a clear colour.png": (
        FIRST_CLEAR, (WHITE,), np.where(np.asarray(INDEXED)[..., None] == 0, 255, INDEXED_RGB), 1,
    ),
    "a palette of clear colours.png": (
        saved(INDEXED, "PNG", transparency=ALPHAS), (WHITE,),
        over_white(INDEXED_RGB, np.frombuffer(ALPHAS, np.uint8)[np.asarray(INDEXED)]), 1,
    ),
    "a clear colour.gif": (
        saved(INDEXED, "GIF", transparency=0), (WHITE,),
        np.where(np.asarray(INDEXED)[..., None] == 0, 255, INDEXED_RGB), 1,
    ),
    "a clear colour of all.png": (
        saved(IMAGE, "PNG", transparency=tuple(RGB[0, 0].tolist())), (WHITE,),
        np.where((RGB[0, 0] == RGB).all(2, keepdims=True), 255, RGB), 1,
    ),
    "frames.gif": (saved(INDEXED, "GIF", save_all=True, append_images=[OTHER]), (FIRST,), INDEXED_RGB, 1),
    "frames.webp": (saved(IMAGE, "WEBP", save_all=True, append_images=[OTHER], lossless=True), (FIRST,), RGB, 0),
    "frames.png": (saved(IMAGE, "PNG", save_all=True, append_images=[OTHER]), (FIRST,), RGB, 0),
    "pages.tif": (saved(IMAGE, "TIFF", save_all=True, append_images=[OTHER]), (FIRST,), RGB, 0),
    "two lenses.jpg": (saved(IMAGE, "MPO", save_all=True, append_images=[OTHER], **FINE), (FIRST,), RGB, 1),
    **{f"EXIF {i}.jpg": (saved(as_stored(i), "JPEG", exif=exif(orientation(i)), **FINE), (UPRIGHT,), RGB, 1)
       for i in range(2, 9)},
    "EXIF 6.png": (saved(as_stored(6), "PNG", exif=exif(orientation(6))), (UPRIGHT,), RGB, 0),
    "EXIF 6.tif": (saved(as_stored(6), "TIFF", tiffinfo={274: 6}), (UPRIGHT,), RGB, 0),
    "EXIF 8.webp": (saved(as_stored(8), "WEBP", exif=exif(orientation(8)), lossless=True), (UPRIGHT,), RGB, 0),
    "EXIF 9.jpg": (with_segment(JPEG, exif(orientation(9))), (), RGB, 1),
    # Pillow's own way of turning it fails on a resolution that is a text
    "EXIF 6 beside a damaged tag.jpg": (
        with_segment(saved(as_stored(6), "JPEG", **FINE), exif(orientation(6), (282, 2, b"7"))), (UPRIGHT,), RGB, 1,
    ),
    "rubbish for EXIF.jpg": (with_segment(JPEG, b"Exif\0\0" + NOISE[:300]), (), RGB, 1),
    "rubbish for EXIF.png": (with_chunk(chunk(b"eXIf", NOISE[:300])), (), RGB, 0),
    "rubbish for a profile.jpg": (saved(IMAGE, "JPEG", icc_profile=NOISE[:300], **FINE), (), RGB, 1),
    "rubbish for a profile.png": (with_chunk(chunk(b"iCCP", b"x\0\0" + NOISE[:300])), (), RGB, 0),
    "a text that cannot be unpacked.png": (with_chunk(chunk(b"zTXt", b"x\0\0" + NOISE[:300])), (), RGB, 0),
    "a text with a wrong checksum.png": (with_chunk(chunk(b"tEXt", b"Comment\0a sea", wrong=1)), (), RGB, 0),
    "a text of 20 MB.png": (with_chunk(chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(20_000_000)))), (), RGB, 0),
    "EXIF 3 beside a wrong checksum.png": (
        PNG[:33] + chunk(b"tEXt", b"x\0y", wrong=1) + saved(as_stored(3), "PNG", exif=exif(orientation(3)))[33:],
        (UPRIGHT,), RGB, 0,
    ),
}  # fmt: skip


def listening(path: Path) -> None:
    """A socket of that name; a socket's address may have 108 characters, so it is bound from beside."""
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(path.name)
    finally:
        os.chdir(before)


def link(to: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(to)


# name -> the file, and words of the reason
BAD: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    "empty.jpg": (b"", "empty file"),
    "zeros.jpg": (bytes(5000), "unknown content"),
    "noise.jpg": (NOISE, "unknown content"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half, progressive.jpg": (saved(IMAGE, "JPEG", progressive=True)[:-200], "truncated"),
    "half.png": (PNG[: len(PNG) // 2], "truncated"),
    "half.webp": (WEBP[:-40], "truncated, 40 bytes missing"),
    "half.gif": (GIF[: len(GIF) // 2], "truncated"),
    "half.bmp": (BMP[:-1000], "truncated, 1,000 bytes missing"),
    "half.tif": (saved(IMAGE, "TIFF")[:-1000], "truncated"),
    "half, its directory at the end.tif": (TIFF[: len(TIFF) // 2], "truncated or damaged: a TIFF whose header"),
    "half.ppm": (PPM[: len(PPM) // 2], "truncated"),
    "without an end marker.jpg": (JPEG[:-2], "truncated"),
    "the first 20 bytes.jpg": (JPEG[:20], "truncated or damaged: a JPEG whose header"),
    "the first 20 bytes.png": (PNG[:20], "truncated"),
    "the first 20 bytes.webp": (WEBP[:20], "bytes missing"),
    "a pointer of git-lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "text, not"),
    "page.jpg": (b"\n<!DOCTYPE html><html>404</html>", "an HTML page"),
    "page after a byte order mark.jpg": (b"\xef\xbb\xbf<html>404</html>", "an HTML page"),
    "an error of a store.jpg": (b"<?xml version='1.0'?><Error/>", "an XML document"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "document.jpg": (b"%PDF-1.7\n", "a PDF document"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
    "layers.jpg": (b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x20\0\0\0\x28\0\x08\0\3", "a Photoshop file"),
    "telescope.jpg": (b"SIMPLE  =                    T".ljust(2880), "a FITS file"),
    "archive.jpg": (b"PK\x03\x04" + bytes(26), "a zip archive"),
    "packed.jpg": (gzip.compress(JPEG), "a gzip file"),
    "archive.png": (b"Rar!\x1a\x07\1\0", "a RAR archive"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
    "phone, many.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC image"),
    "new.jpg": (saved(IMAGE, "AVIF"), "an AVIF image"),
    "film.jpg": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "an MP4 container"),
    "newer.jpg": (b"\xff\x0a" + NOISE[:50], "a JPEG XL image"),
    "newer, in a container.jpg": (b"\0\0\0\x0cJXL \r\n\x87\n" + NOISE[:50], "a JPEG XL image"),
    "cinema.jpg": (saved(IMAGE, "JPEG2000"), "a JPEG 2000 image"),
    "icon.png": (saved(IMAGE, "ICO"), "unknown content"),
    "60000x60000.png": (png(60000, 60000, 8, 2), "60000x60000 pixels, more than the 100,000,000 that are read ($TOP"),
    "12000x9000.png": (png(12000, 9000, 8, 0), "12000x9000 pixels, more than the 100,000,000"),
    "65500x65500.jpg": (with_frame(5, b"\xff\xdc\xff\xdc"), "65500x65500 pixels, more than the"),
    "bomb.png": (png(12000, 9000, 1, 0, bytes(9000 * 1501)), "12000x9000 pixels, more than the 100,000,000"),
    "bomb.gif": (GIF[:6] + struct.pack("<HH", 12000, 9000) + GIF[10:], "12000x9000 pixels, more than the 100,000,000"),
    "0x5.png": (png(0, 5, 8, 2), "0x5 is 0 pixels"),
    "5x0.png": (png(5, 0, 8, 2), "5x0 is 0 pixels"),
    "40x0.jpg": (with_frame(5, b"\0\0"), "a JPEG whose header cannot be read"),
    "12 bits.jpg": (with_frame(4, b"\x0c"), "a JPEG whose header cannot be read"),
    "lossless.jpg": (with_frame(1, b"\xc3"), "damaged"),
    "a flipped bit in the pixels.png": (flipped(PNG, PNG.index(b"IDAT") + 30), "damaged"),
    "a flipped bit in the header.png": (flipped(PNG, 19), "a PNG whose header cannot be read"),
    "a wrong checksum of the header.png": (flipped(PNG, 31), "a PNG whose header cannot be read"),
    "no pixels.png": (PNG[:33] + chunk(b"IEND", b""), "damaged"),
    "no pixels.gif": (GIF[:13] + b";", "a GIF whose header cannot be read"),
    "start and end.jpg": (b"\xff\xd8\xff\xd9", "a JPEG whose header cannot be read"),
    "rubbish before the start.jpg": (b"--\r\n" + JPEG, "unknown content"),
    "a link to nowhere.jpg": (link("nowhere"), "the link leads nowhere"),
    "a link to itself.jpg": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "a link to a device.jpg": (link("/dev/zero"), "not a regular file"),
    "pipe.jpg": (os.mkfifo, "not a regular file"),
    "socket.jpg": (listening, "not a regular file"),
    "folder.jpg": (os.mkdir, "not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize("limit, says", [("400", "30x20 pixels, more than the 400 that are read"), ("3e8", "3e8")])
def test_the_environment_limits_the_pixels_of_an_image(tmp_path: Path, limit: str, says: str) -> None:
    for i in range(4):
        lay(tmp_path / "data" / "ab"[i % 2] / f"{i}.png", png(30, 20, 8, 2))
    done = subprocess.run(
        [sys.executable, "-m", "topfive", "data", "check", "data", "--format", "json"],
        cwd=tmp_path,
        env={**os.environ, "TOPFIVE_MAX_PIXELS": limit},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if limit == "3e8" else 3), done.stderr
    assert says in done.stdout + done.stderr and "TOPFIVE_MAX_PIXELS" in done.stdout + done.stderr


def lay(path: Path, content: bytes | Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path


def region(data: bytes, name: str, upright: bool = True) -> Values:
    """The whole image by the way that training takes."""
    return decode_region(data, name, lambda width, height: (0, 0, width, height), 10**9, upright)[0]


# --- each by itself -------------------------------------------------------------------------------------------------


def test_the_zoo_is_large() -> None:
    assert len(ODD) >= 40 and len(BAD) >= 40 and not ODD.keys() & BAD.keys()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_read_and_what_was_done_to_it_is_said(name: str, tmp_path: Path) -> None:
    content, notes, expected, within = ODD[name]
    data = read_file(lay(tmp_path / name, content))
    image, _, said = decode(data, name)
    pixels = np.asarray(image).astype(float)
    assert pixels.shape == expected.shape and np.abs(pixels - expected).mean() <= within, np.abs(
        pixels - expected
    ).max()
    assert said == notes
    assert np.array_equal(region(data, name), pixels)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_reason_both_ways(name: str, tmp_path: Path) -> None:
    content, says = BAD[name]
    lay(tmp_path / name, content)
    for read in (decode, region):
        with pytest.raises(Unreadable) as raised:
            read(read_file(tmp_path / name), name)
        assert says in raised.value.reason and raised.value.reason.isprintable() and len(raised.value.reason) < 200


def test_16_bits_keep_their_shades() -> None:
    """Pillow's own conversion leaves 5 of 256 levels and makes nearly all white."""
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for data in (saved(Image.fromarray(every), "PNG"), saved(Image.fromarray(every.astype(np.int32)), "TIFF")):
        levels = np.asarray(decode(data, "x").image)[..., 0].astype(int)
        assert np.abs(levels - (every >> 8)).max() <= 1 and len(np.unique(levels)) >= 250
        assert (np.diff(levels.ravel()) >= 0).all()


@pytest.mark.parametrize("how", [{"format": "PNG"}, {"format": "TIFF", "compression": "group4"}], ids=str)
def test_a_blank_page_of_a_scanner_is_read_however_small_its_file(how: dict[str, str]) -> None:
    """A4 at 600 dpi in one bit, with one black square: 35 million pixels in some kilobytes."""
    page = Image.new("1", (4960, 7016), 1)
    page.paste(0, (100, 200, 130, 230))
    data = saved(page, **how)
    assert len(data) < 20_000
    with within_memory(500):
        found = decode(data, "x").image
    assert found.size == page.size and found.getbbox() == (0, 0, *page.size)
    assert ImageOps.invert(found).getbbox() == (100, 200, 130, 230)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_eight_orientations_are_one_image_upright_and_eight_as_they_lie(format: str) -> None:
    how = FINE if format == "JPEG" else {"lossless": True}
    lying = {}
    for value in range(1, 9):
        data = saved(as_stored(value), format, exif=exif(orientation(value)), **how)
        for upright, expected in ((True, RGB), (False, AS_STORED[value])):
            for pixels in (np.asarray(decode(data, "x", upright).image), region(data, "x", upright)):
                assert pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() <= 1
        lying[value] = np.asarray(decode(data, "x", upright=False).image).tobytes()
        assert (decode(data, "x").notes == (UPRIGHT,)) == (value > 1) and decode(data, "x", False).notes == ()
    assert len(set(lying.values())) == 8


# --- mutants --------------------------------------------------------------------------------------------------------

SPECKS = np.frombuffer(NOISE[:960], np.uint8).reshape(8, 40, 3).repeat(8, 0).repeat(2, 1)
BUSY = Image.fromarray(np.asarray(IMAGE.resize((80, 64))) // 2 + SPECKS // 2)
FORMATS = {
    "JPEG": saved(BUSY, "JPEG"),
    "progressive JPEG": saved(BUSY, "JPEG", progressive=True),
    "PNG": saved(BUSY, "PNG"),
    "palette PNG": saved(BUSY.quantize(64), "PNG"),
    "WEBP": saved(BUSY, "WEBP"),
    "GIF": saved(BUSY.quantize(64), "GIF"),
    "BMP": saved(BUSY, "BMP"),
    "TIFF": saved(BUSY, "TIFF"),
    "LZW TIFF": saved(BUSY, "TIFF", compression="tiff_lzw"),
    "PPM": saved(BUSY, "PPM"),
}


def mutant(data: bytes, chance: random.Random) -> bytes:
    """Cut off, with bytes changed (the header's as often as all others), or with parts exchanged or doubled."""
    kind, changed = chance.random(), bytearray(data)
    if kind < 0.2:
        return data[: chance.randrange(len(data))]
    if kind < 0.75:
        for _ in range(2 ** chance.randrange(7)):
            at = chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 64))
            changed[at] = chance.choice((0, 255, changed[at] ^ 1 << chance.randrange(8), chance.randrange(256)))
        return bytes(changed)
    size = chance.randrange(1, max(2, len(data) // 4))
    first, second = (chance.randrange(len(data) - size + 1) for _ in range(2))
    if kind < 0.9:
        changed[first : first + size], changed[second : second + size] = data[second:][:size], data[first:][:size]
    else:
        changed[first:first] = data[second : second + size]
    return bytes(changed)


def right_checksums(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what is changed reaches the decoder."""
    made, at = bytearray(data[:8]), 8
    while at + 12 + int.from_bytes(data[at : at + 4], "big") <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        made += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(made + data[at:])


@contextlib.contextmanager
def within_memory(most: int) -> Iterator[None]:
    """Fails where the process at any time takes `most` MiB more than before; nothing where there is no /proc."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        yield
        return
    reset.write_text("5")
    before = resident("VmRSS")
    yield
    assert resident("VmHWM") - before < most * 1024


def resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what)))


@pytest.mark.parametrize("format", FORMATS)
def test_two_thousand_mutants_are_read_or_refused_in_little_memory(format: str) -> None:
    chance, outcomes = random.Random(format), Counter[bool]()
    with within_memory(500):  # a header may state what is a blank page, up to MOST_PIXELS
        for i in range(2000):
            data = mutant(FORMATS[format], chance)
            if "PNG" in format and i % 2:
                data = right_checksums(data)
            try:
                decode(data, "x")
                outcomes[True] += 1
            except Unreadable as error:
                outcomes[False] += 1
                assert error.reason.isprintable() and len(error.reason) < 200
    assert min(outcomes[True], outcomes[False]) > 0, outcomes


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_off_anywhere_gives_the_whole_image_or_none(format: str) -> None:
    data = FORMATS[format]
    expected = np.asarray(decode(data, "x").image)
    cuts = {*range(0, len(data), len(data) // 200), *range(len(data) - 40, len(data))}
    for cut in sorted(cuts):
        with contextlib.suppress(Unreadable):
            assert np.array_equal(np.asarray(decode(data[:cut], "x").image), expected), cut


# --- the fast way for JPEG ------------------------------------------------------------------------------------------


def outcome(data: bytes) -> tuple[bytes, tuple[int, ...]] | str:
    try:
        pixels = region(data, "x.jpg", upright=False)
    except Unreadable as error:
        return error.reason
    return pixels.tobytes(), pixels.shape


def ways(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, tuple[int, ...]] | str]:
    """What comes of it with simplejpeg and without."""
    found = [outcome(data)]
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "simplejpeg", None)
        found.append(outcome(data))
    return found


FORMS = {
    **{
        f"quality {quality}, chroma {chroma}, {kind or 'baseline'}, {width}x{height}": saved(
            BUSY.resize((width, height)), "JPEG", quality=quality, subsampling=chroma, progressive=bool(kind)
        )
        for quality in (30, 92)
        for chroma in (0, 1, 2)
        for kind in ("", "progressive")
        for width, height in ((80, 64), (1, 1), (17, 33), (7, 5), (3, 100))
    },
    **{f"grey {size}": saved(BUSY.convert("L").resize(size), "JPEG") for size in ((80, 64), (1, 1), (17, 33))},
    "a marker every 2 blocks": saved(BUSY, "JPEG", restart_marker_blocks=2),
    "a marker every row": saved(BUSY, "JPEG", restart_marker_rows=1, subsampling=2),
    "not in YCbCr": saved(BUSY, "JPEG", keep_rgb=True),
    "optimised": saved(BUSY, "JPEG", optimize=True),
    "of a camera": saved(BUSY, "JPEG", exif=exif(orientation(6))),
}


def test_jpegs_of_every_form_are_the_same_with_and_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="skipped: simplejpeg is not built for this machine")
    for form, data in FORMS.items():
        fast, plain = ways(data, monkeypatch)
        assert fast == plain and not isinstance(fast, str), form
    used = 0
    for form, data in FORMS.items():
        chance = random.Random(form)
        for _ in range(200 if len(data) > 1000 else 20):
            changed = mutant(data, chance)
            fast, plain = ways(changed, monkeypatch)
            assert fast == plain, (form, fast, plain)
            used += decoding._jpeg(changed) is not None
    assert used > 100  # else nothing was compared


def test_real_jpegs_are_the_same_with_and_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="skipped: simplejpeg is not built for this machine")
    if not IMAGENETTE.exists():
        pytest.skip("40 real JPEGs are not compared: shared/data/imagenette.tar is missing")
    with tarfile.open(IMAGENETTE) as tar:
        members = (member for member in tar if member.isreg() and member.name.endswith(".JPEG"))
        for member, _ in zip(members, range(40)):
            held = tar.extractfile(member)
            assert held
            fast, plain = ways(held.read(), monkeypatch)
            assert fast == plain and not isinstance(fast, str), member.name


# --- among good ones ------------------------------------------------------------------------------------------------


def good(root: Path, counts: tuple[tuple[str, int], ...] = (("train", 12), ("val", 6)), kind: str = "jpg") -> Path:
    """Two classes of noise over a slope, no two images alike."""
    noise = np.random.default_rng(1)
    for part, count in counts:
        for name, slope in (("left", X * 4), ("right", 160 - X * 4)):
            for i in range(10, 10 + count):
                pixels = (slope[..., None] + noise.integers(0, 90, (32, 40, 3))).astype(np.uint8)
                path = root / part / name / f"{i}.{kind}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def infested(root: Path) -> Path:
    """A copy with every bad file before, between or behind the good ones, in either class of either split."""
    shutil.copytree(root, root.with_name("infested"))
    root = root.with_name("infested")
    for i, (name, (content, _)) in enumerate(BAD.items()):
        part, label = ("train", "train", "val")[i % 3], ("left", "right")[i % 2]
        lay(root / part / label / f"{(3, 13, 98)[i // 6 % 3]} {name}", content)
    return root


def trained(source: Source, workers: int | None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The weights after two epochs of a small network, and what was skipped: path -> reason."""
    recipe = Recipe(epochs=2, batch=8, augmentation=AUGMENTATIONS["cifar" if workers is None else "googlenet"])
    data = prepare(source, 24, recipe.augmentation.crop, workers)
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(32, 2))
    assert len(list(records(train(Training(net, data, recipe, this_machine()))))) == 2
    return dict(net.state_dict()), {path: error.reason for path, error in data.unreadable.items()}


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_the_whole_zoo_among_good_images_changes_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    monkeypatch.setattr("topfive.engine.training.unreadable.MOST_UNREADABLE", len(BAD))
    good(tmp_path / "good")
    alone, none = trained(folder(tmp_path / "good"), workers)
    among, passed = trained(folder(infested(tmp_path / "good")), workers)
    assert not none and all(torch.equal(value, among[name]) for name, value in alone.items())
    named = Counter(Path(path).name.split(" ", 1)[1] for path in passed)
    assert named == Counter(name for name in BAD if name != "folder.jpg")  # a folder is no image, whatever its name
    for path, reason in passed.items():
        assert path.startswith(str(tmp_path / "infested")) and BAD[Path(path).name.split(" ", 1)[1]][1] in reason


# --- the same in every command --------------------------------------------------------------------------------------


def tiny_models(root: Path, images: Path) -> dict[str, str]:
    """A model of every kind for the classes cat and dog."""
    assert main(["train", "cifar-resnet-20", str(images), "--epochs", "1", "--size", "24", "--out", "run"]) == 0
    ours = open_model("run")
    made = {"a run": "run"}
    for name, upright in (("upright", True), ("lying", False)):
        about = msgspec.structs.replace(ours.about, upright=upright, protocol=protocols.get("1-crop:timm"))
        save(replace(ours, about=about), root / f"{name}.safetensors")
        made[f"a file of ours, {name}"] = str(root / f"{name}.safetensors")
    for name, outputs in (("foreign", 10), ("unnamed", 2)):
        torch.manual_seed(outputs)
        shapes = {**cifar_names(20, "", "linear"), "linear.weight": (outputs, 64), "linear.bias": (outputs,)}
        weights = {key: torch.randn(shape) * 0.2 for key, shape in shapes.items()}
        torch.save({key: value.abs() if "var" in key else value for key, value in weights.items()}, root / f"{name}.pt")
        made[name] = str(root / f"{name}.pt")
        assert len(open_model(made[name]).about.classes) == (10 if name == "foreign" else 0)
    return made


def test_evaluate_and_predict_agree_on_the_whole_zoo_for_every_kind_of_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "source"
    good(where)
    for part in ("train", "val"):
        for before, after in (("left", "cat"), ("right", "dog")):
            (where / part / before).rename(where / part / after)
    models = tiny_models(tmp_path, where)
    where = Path(shutil.copytree(where, tmp_path / "zoo"))  # of the source itself the images of before are scored
    for i, (name, (content, *_)) in enumerate({**ODD, **BAD}.items()):
        if name != "folder.jpg":
            lay(where / "val" / ("cat", "dog")[i % 2] / name, content)
    how, seen = ["--batch", "8", "--precision", "float32", "--quiet"], {}
    ours = [model for kind, model in models.items() if "our" in kind or "run" in kind]
    for together in (ours, [models["foreign"]], [models["unnamed"]]):  # ours in one command, each in its own way
        assert main(["evaluate", *together, str(where), *how, "--predictions", "kept.csv", "--out", "page"]) == 0
        for model in together:
            at = next(Path().glob(f"kept-{Path(model).stem}-*.csv")) if together is ours else Path("kept.csv")
            seen[model] = predictions.read(at)
    for model, kept in seen.items():
        capfd.readouterr()
        assert main(["predict", model, str(where / "val"), *how, "--top", "10", "--format", "json"]) == 0
        rows = {row["image"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
        assert len(rows) == len(kept) == len(ODD) + len(BAD) - 1 + 12
        names = open_model(model).about.names
        for name, scores in zip(kept.images, kept.scores):
            row = rows[f"{where}/{name}"]
            assert row["unreadable"] == kept.unreadable.get(name)
            told = {row[f"class_{n}"]: row[f"probability_{n}"] for n in range(1, len(names) + 1)}
            if name not in kept.unreadable:
                assert [np.float32(told[known]) for known in names] == scores.tolist(), (model, name)
    upright, lying = (seen[model].scores for model in ours[1:])
    assert not np.array_equal(upright, lying, equal_nan=True)


def test_a_pack_lies_or_stands_as_its_original(tmp_path: Path) -> None:
    root = good(tmp_path / "source")
    for part in ("train", "val"):
        for before, after in (("left", "n00000001"), ("right", "n00000002")):  # ImageNet's classes: as they lie
            (root / part / before).rename(root / part / after)
    lay(root / "val" / "n00000001" / "EXIF.jpg", ODD["EXIF 6.jpg"][0])
    source = open_source(str(root))
    pack(source, tmp_path / "pack", 64, lambda *_: None, workers=1)
    again = open_source(str(tmp_path / "pack"))
    assert again.upright == source.upright == False  # noqa: E712
    for before, after in zip(source.val, again.val):
        for upright in (None, True, False):
            assert again.read(after, upright).size == source.read(before).size


# --- sources stay as they are ---------------------------------------------------------------------------------------


def state(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every name with its mode, time of change and content."""
    found = {}
    for path in (root, *root.rglob("*")):
        about = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(os.fsencode(content)).hexdigest()
        found[str(path)] = (about.st_mode, about.st_mtime_ns, digest)
    return found


def sound(root: Path) -> Path:
    """Good images, odd ones, and a few bad ones where they bias nothing."""
    good(root, (("train", 24), ("val", 12)))
    for name in ("EXIF 6.jpg", "CMYK.jpg", "frames.gif", "16 bits.png", "a text with a wrong checksum.png"):
        lay(root / "train" / "left" / name, ODD[name][0])
    for name in ("half.jpg", "page.jpg", "a link to nowhere.jpg"):
        lay(root / "train" / "right" / name, BAD[name][0])
    lay(root / "train" / "right" / ".DS_Store", b"\0")
    return root


def comparing(where: object, out: str = "out", epochs: int = 1) -> list[str]:
    command = ["compare", "--data", str(where), "cifar-resnet-20", "--epochs", str(epochs), "--size", "32", "--seeds=1"]
    return [*command, "--out", out, "--quiet"]


def test_a_source_is_left_as_it_was_by_checking_comparing_and_kill_9(tmp_path: Path) -> None:
    where = sound(tmp_path / "source")
    before = state(where)
    assert main(["data", "check", str(where), "--quiet"]) == 0
    assert state(where) == before
    assert main(comparing(where)) == 0
    assert state(where) == before
    process = subprocess.Popen(
        [sys.executable, "-m", "topfive", *comparing(where, "killed", 9999), "--workers", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not Path("killed", "bad_files.csv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL and Path("killed", "bad_files.csv").exists()
    assert state(where) == before


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99
touch "$1/x" 2>/dev/null && exit 98
python=$2; shift 2
exec "$python" -c 'import sys; from topfive.cli import main; a = sys.argv; sys.exit(main(a[1:4]) or main(a[4:]))' "$@"
"""


def test_a_source_may_lie_where_nothing_can_be_written(tmp_path: Path) -> None:
    tried = ["unshare", "-Urm", "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("a read-only mount is not tried: unshare is not permitted here")
    where = sound(tmp_path / "source")
    command = ["data", "check", str(where), *comparing(where)]
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", READ_ONLY, "sh", str(where), sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip("a read-only mount is not tried: mounting is not permitted here")
    assert done.returncode == 0, done.stderr
    assert "cifar-resnet-20" in done.stdout


# --- what must be said, and with which exit code --------------------------------------------------------------------


def tar(files: dict[str, bytes], marked: dict[str, dict[str, str]] = {}, **how: Any) -> bytes:  # noqa: B006
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:", **how) as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), marked.get(name, {})
            made.addfile(info, io.BytesIO(data))
    return held.getvalue()


def members(count: int = 6) -> dict[str, bytes]:
    """Images of two classes, by their names in an archive."""
    noise = np.random.default_rng(2)
    return {
        f"{label}/{i}.png": saved(Image.fromarray(noise.integers(0, 255, (24, 24, 3), dtype=np.uint8)), "PNG")
        for label in ("left", "right")
        for i in range(count)
    }


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    """A tar's header that may say any size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def a_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


def class_folders(root: Path, *names: str) -> Path:
    for label, name in enumerate(names):
        for i, data in enumerate(list(members(4).values())[label % 2 :: 2]):
            lay(root / name / f"{i}.png", data)
    return root


def shards(root: Path, label: bytes) -> Path:
    files = [(f"{i}.{kind}", data) for i, image in enumerate(members().values())
             for kind, data in (("cls", label if i == 5 else b"%d" % (i % 2)), ("png", image))]  # fmt: skip
    lay(root / "train-0.tar", tar(dict(files)))
    return lay(root / "classes.txt", b"left\nright\n").parent


def cifar(root: Path, spoilt: bytes) -> Path:
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        lay(root / name, spoilt if name == "data_batch_2" else pickle.dumps(batch, 2))
    return root


class Malice:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was-here",)


Make = Callable[[Path], Path]

REFUSED: dict[str, tuple[Make, int, tuple[str, ...]]] = {
    "nothing there": (lambda root: root / "none", 3, ("there is no folder or file",)),
    "an image": (lambda root: lay(root / "x.png", PNG), 3, ("is a file, and no archive",)),
    "a loose image": (lambda root: lay(root / "x.png", PNG).parent, 3, ("1 images but no folders", "wanted")),
    "one class": (lambda root: class_folders(root, "only"), 3, ("one class only ('only')", "at least two")),
    "a folder too high": (lambda root: class_folders(root / "in", "a", "b").parent, 3, ("did you mean", "/in?")),
    "an empty class": (lambda root: lay(class_folders(root, "a", "b") / "c/x.txt", b"").parents[1], 3,
                       ("no image of 'c'",)),
    "no image but others": (
        lambda root: lay(lay(root / "a/1.HEIC", b"x").parents[1] / "b/2.heic", b"x").parents[1], 3,
        ("no image was found", "looked for .bmp", "2 .heic"),
    ),
    "a class in two cases": (lambda root: class_folders(root, "Cat", "cat"), 3, ("two folders", "'Cat'", "'cat'")),
    "a class in two normal forms": (
        lambda root: class_folders(root, *(unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))), 3,
        ("two folders for one class", "'caf\\xe9'", "'cafe\\u0301'"),
    ),
    "a class that is no text": (lambda root: class_folders(root, "a", "b\x1b[31m"), 3, ("'b\\x1b[31m'", "rename")),
    "a class in val alone": (
        lambda root: class_folders(class_folders(root / "train", "a", "b").parent / "val", "a", "ant").parent, 3,
        ("val/ has 'ant', which train/ lacks",),
    ),
    "a label out of range": (lambda root: shards(root, b"7"), 3, ("train-0.tar", "the label '7'", "0 to 1")),
    "a label that is none": (lambda root: shards(root, b"\xff"), 3, ("train-0.tar", "the label of '5' cannot be read")),
    "a batch of CIFAR cut off": (lambda root: cifar(root, b"\x80\x02}"), 3, ("data_batch_2", "no whole Python batch")),
    "a batch made to harm": (lambda root: cifar(root, pickle.dumps(Malice())), 4, ("data_batch_2", "asks for")),
    "a tar of rubbish": (lambda root: lay(root / "x.tar", NOISE), 3, ("x.tar", "is not a tar")),
    "a zip cut off": (lambda root: lay(root / "x.zip", a_zip(members())[:-30]), 3, ("x.zip", "is not a whole zip")),
    "a compressed tar with a header of 9 GB": (
        lambda root: lay(root / "x.tgz", gzip.compress(header(b"x", 9 * 2**30) + bytes(20 * 2**20))), 3,
        ("x.tgz", "a header of 9,663,676,416 bytes"),
    ),
    "a compressed tar with a member of 9 GB": (
        lambda root: lay(root / "x.tgz", gzip.compress(header(b"0", 9 * 2**30) + bytes(20 * 2**20))), 3,
        ("x.tgz", "holds more than 2 GiB", "decompress it"),
    ),
    "a tar that goes backwards": (lambda root: lay(root / "x.tar", header(b"5", -1024) * 3), 3, ("a size of -1,024",)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_source_is_one_sentence_for_check_and_compare_alike(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, code, says = REFUSED[case]
    where = make(tmp_path / "source")
    with within_memory(100):
        for command in (["data", "check", str(where), "--quiet"], comparing(where)):
            assert main(command) == code
            out, error = capfd.readouterr()
            assert out == "" and error.startswith("topfive: ") and error.count("\n") == 1
            assert error.strip().isprintable() and all(word in error for word in says), error
    assert not list(Path().iterdir())  # nothing was begun


def spoilt(root: Path, name: str, content: bytes | Callable[[Path], object]) -> Path:
    """Good images, and one more file among those of training."""
    lay(good(root, (("train", 20), ("val", 4)), "png") / "train" / "left" / name, content)
    return root


def deep(path: Path) -> None:
    """Folders in each other, to where no path reaches."""
    path.mkdir()
    handle = os.open(path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=handle)
        handle, above = os.open("d" * 200, os.O_RDONLY, dir_fd=handle), handle
        os.close(above)
    os.close(handle)


def named(root: Path) -> Path:
    """Names that a shell, a terminal, a table or a page could take for something else."""
    noise = np.random.default_rng(5)
    good(root, (("train", 20), ("val", 4)), "png")
    words = ("\U0001f600", "\u05e9\u05dc\u05d5\u05dd", "a" * 250, " ", "\udcff")
    for name in (*words, "-rf", "two\nlines", "\x1b[31mred", "%s{x}", "=cmd()", "<b>"):
        pixels = noise.integers(0, 255, (32, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train" / "left" / f"{name}.png")
    (root / "train" / "left" / "empty \x1b[31m\n\udcff.jpg").write_bytes(b"")
    return root


# Python's reader fails on the map of the holes, which is rubbish here
SPARSE = {"left/s.png": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}}

TAKEN: dict[str, tuple[Make, tuple[str, ...]]] = {
    "a link to itself": (lambda root: spoilt(root, "x.jpg", link("x.jpg")), ("Too many levels",)),
    "two links to each other": (
        lambda root: lay(spoilt(root, "x", link("y")) / "train/left/y", link("x")).parents[2], ('"unreadable": 0',),
    ),
    "a device": (lambda root: spoilt(root, "x.jpg", link("/dev/zero")), ("not a regular file",)),
    "a link back up": (lambda root: spoilt(root, "x", link("..")), ("train/left/x (a link that leads back up)",)),
    "a path that is too long": (lambda root: spoilt(root, "deep", deep), ("deep/ddd", "is too long")),
    "files of desktops": (
        lambda root: lay(spoilt(root, "Thumbs.db", b"x") / "train/left/._10.png", b"x").parents[2],
        ("Thumbs.db", "._10.png", '"unreadable": 0'),
    ),
    "names of all kinds": (named, ("empty \\\\x1b[31m\\\\n\\\\udcff.jpg", '"unreadable": 1')),
    "a folder whose name is no text": (
        lambda root: good(root / "caf\udce9\x1b", (("train", 20), ("val", 4))), ("caf\\\\udce9\\\\x1b",),
    ),
    "a tar of a thousand folders in each other": (
        lambda root: lay(root / "x.tar", tar({**members(30), f"left{'/d' * 1500}/x.png": PNG})),
        ('"train": 48', '"val": 13'),  # 61 in all
    ),
    "a tar cut off": (lambda root: lay(root / "x.tar", tar(members(30))[:-22000]), ("skipped: 1 (cut off",)),
    "a tar with a damaged size": (
        lambda root: lay(root / "x.tar", tar(members(30))[:-10240] + header(b"0", -512) + bytes(1024)),
        ("a size of -512",),
    ),
    "a tar with a sparse member": (
        lambda root: lay(root / "x.tar", tar(members(30))[:-10240] + tar({"left/s.png": NOISE}, SPARSE)),
        ("1 (links, devices and the like)",),
    ),
    "a tar in Latin-1": (
        lambda root: lay(
            root / "x.tar",
            tar({name.replace("/1", "/\xe41"): data for name, data in members(30).items()}, encoding="latin-1",
                format=tarfile.GNU_FORMAT),
        ),
        ('"unreadable": 0', '"train": 47', '"val": 13'),  # 60 in all
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_odd_about_a_source_is_said_and_it_is_taken(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, says = TAKEN[case]
    where = make(tmp_path / "source")
    assert main(["data", "check", str(where), "--format", "json"]) == 0
    out, error = capfd.readouterr()
    assert all(word in out for word in says), out
    assert all(line.isprintable() for line in (out + error).splitlines())
    again = folder(where) if where.is_dir() else open_source(str(where))  # from the index that was kept, where it was
    report = json.loads(out)["report"]
    assert (len(again.train), len(again.val)) == (report["train"], report["val"])


def test_too_many_bad_files_end_a_comparison_before_its_first_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = good(tmp_path / "source")
    for i in range(30):
        lay(where / "train" / "left" / f"bad {i}.jpg", b"" if i % 3 else b"<html>")
    assert main(comparing(where)) == 3
    error = capfd.readouterr().err
    for word in ("30 of the 66 images", "20 empty file", "10 an HTML page", "at most 20", "bad 0.jpg"):
        assert word in error
    assert not Path("out", "trials.jsonl").exists()


def test_a_set_that_cannot_be_cleaned_is_taken_and_one_that_was_cleaned_is_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = good(tmp_path / "source")
    for i in range(30):
        lay(where / "train" / "left" / f"bad {i}.jpg", b"")
    training = ["train", "cifar-resnet-20", str(where), "--epochs", "1", "--size", "24", "--out", "run", "--quiet"]
    for command in (training, comparing(where)):
        assert main(command) == 3
        assert "--max-bad 30 skips them" in capfd.readouterr().err
        for wrong in ("x", "-1", "5.5", "%", "1e3"):
            assert main([*command, "--max-bad", wrong]) == 2
            assert "neither a number of images" in capfd.readouterr().err
    assert main([*comparing(where), "--max-bad", "45%"]) == 3  # of 66, which is 29
    assert main([*comparing(where), "--max-bad", "46%"]) == 0
    assert capfd.readouterr().err.count("skipped, unreadable: '") == 30
    for i in range(11):
        (where / "train" / "left" / f"bad {i}.jpg").unlink()
    assert main(training) == 0
    assert main(comparing(where)) == 2  # a row was made of other files
    assert "may stay there (--max-bad)" in capfd.readouterr().err
    Path("out", "trials.jsonl").unlink()
    for i in range(11, 30):
        (where / "train" / "left" / f"bad {i}.jpg").unlink()
    (where / "train" / "right" / "10.jpg").write_bytes(b"")
    (where / "train" / "right" / "11.jpg").unlink()
    assert main([*comparing(where), "--max-bad", "0"]) == 3  # of the folder without rows, whatever it was of before


def test_a_file_that_goes_between_listing_and_reading_is_named_once(tmp_path: Path) -> None:
    source = folder(good(tmp_path / "source"))
    gone = tmp_path / "source" / source.train[3].name
    gone.unlink()
    unreadable = [one for one in check(source).findings if one.kind == "unreadable training images"]
    assert [(one.count, one.examples[0].says) for one in unreadable] == [(1, "the file is gone")]


def test_what_may_not_be_read_is_named_with_the_permission_that_is_wanted() -> None:
    """A file or a link into a closed folder is skipped, a folder ends it; tried as another user than root."""
    with tempfile.TemporaryDirectory() as there:  # why: pytest's folders are closed to other users
        os.chmod(there, 0o755)
        root, closed = good(Path(there) / "source"), Path(there) / "closed"
        lay(closed / "class" / "x.jpg", JPEG)
        (root / "train/left/link.jpg").symlink_to(closed / "class" / "x.jpg")
        (root / "train/left/10.jpg").chmod(0)
        closed.chmod(0)
        with as_another():
            assert len(folder(root).train) == 25
            for name in ("10.jpg", "link.jpg"):
                with pytest.raises(Unreadable, match="no permission to read it"):
                    read_file(root / "train/left" / name)
        for name, to in (("class", closed / "class"), ("closed", closed)):
            (root / "train" / name).symlink_to(to)
            with as_another(), pytest.raises(ResourceError, match=rf"{name}' may not be read: give yourself") as raised:
                folder(root)
            assert raised.value.exit_code == 5
            (root / "train" / name).unlink()
        closed.chmod(0o700)


@contextlib.contextmanager
def as_another() -> Iterator[None]:
    """As a user who has no rights of root's, where this is root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_whose_name_is_no_text_is_a_source_whose_name_is(tmp_path: Path) -> None:
    where = class_folders(tmp_path / "caf\udce9\x1b", "a", "b")
    for source in (folder(where), open_source(str(lay(where / "x.tar", tar(members()))))):
        assert str(source).isprintable() and all(note.isprintable() for note in source.notes)
        assert all(source.read(item).size == (24, 24) for item in source.train)


# --- archives -------------------------------------------------------------------------------------------------------

NAMES = {name.replace("/", f"/{'long' * 30}"): data for name, data in members(4).items()}
ARCHIVES = {
    "x.tar": tar(NAMES, format=tarfile.PAX_FORMAT),
    "gnu.tar": tar(NAMES, format=tarfile.GNU_FORMAT),
    "sparse.tar": tar({**NAMES, "left/s.png": NOISE}, SPARSE),
    "x.tar.gz": gzip.compress(tar(NAMES), 1),
    "stored.zip": a_zip(NAMES, zipfile.ZIP_STORED),
    "x.zip": a_zip(NAMES),
}


def right_headers(data: bytes) -> bytes:
    """A tar whose headers have right checksums again, so that what is changed is believed."""
    made = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if made[at + 257 : at + 262] == b"ustar":
            made[at + 148 : at + 156] = b"%06o\0 " % (sum(made[at : at + 148]) + sum(made[at + 156 : at + 512]) + 256)
    return bytes(made)


def crooked(data: bytes, chance: random.Random) -> bytes:
    """A tar with bytes changed where its headers have sizes, types and names."""
    changed = bytearray(data)
    for _ in range(2 ** chance.randrange(5)):
        at = 512 * chance.randrange(len(data) // 512) + chance.choice((124, 130, 135, 156, 345, 100, 257, 482, 483))
        changed[at] = chance.choice((0, 255, 48, 55, 128, chance.randrange(256), *b"SLxg"))
    return right_headers(changed)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_gives_what_is_whole_in_it_or_is_refused(name: str, tmp_path: Path) -> None:
    chance, taken = random.Random(name), 0
    digests = {hashlib.sha256(data).digest() for data in NAMES.values()}
    with within_memory(100):
        for i in range(150):
            by_headers = i % 2 and "zip" not in name and "gz" not in name
            data = crooked(ARCHIVES[name], chance) if by_headers else mutant(ARCHIVES[name], chance)
            path = lay(tmp_path / f"{i}-{name}", data)
            with contextlib.suppress(TopfiveError):
                source = open_source(str(path))
                taken += 1
                for item in (*source.train, *source.val):
                    with contextlib.suppress(Unreadable):
                        read = source.store.read(item.name)
                        source.read(item)
                        assert "zip" not in name or hashlib.sha256(read).digest() in digests
            path.unlink()
    assert taken > 10


def test_a_zip_that_lies_about_sizes_takes_no_memory(tmp_path: Path) -> None:
    data = bytearray(a_zip({**members(), "left/bomb.png": bytes(300 * 2**20)}))
    listed = data.rindex(b"left/bomb.png") - 46
    for size in (0, 1000, 2**31):
        data[listed + 24 : listed + 28] = struct.pack("<I", size)
        source = open_source(str(lay(tmp_path / f"{size}.zip", bytes(data))))
        with within_memory(60):
            for item in (*source.train, *source.val):
                with contextlib.suppress(Unreadable):
                    assert source.read(item).size == (24, 24)
    assert len(source.train) + len(source.val) == 12  # one of 2 GiB is larger than any image


def test_a_member_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = lay(tmp_path / "x.tar", tar(members())[:-10240] + header(b"0", 2**30 + 512, "left/x.png"))
    os.truncate(path, path.stat().st_size + 2**30 + 2048)  # a file of holes
    source = open_source(str(path))
    with within_memory(60), pytest.raises(Unreadable, match="1,073,742,336 bytes is more than any image has"):
        source.store.read("left/x.png")
    assert len(source.train) + len(source.val) == 13
