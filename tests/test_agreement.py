"""One source, one answer: which files are images, in which split, of which class, with which pixels.

Two hundred small sources are written at random; whoever writes one knows what it holds. `train`, `compare`, `data
check`, `evaluate` and `predict` must all find that, or all refuse in one sentence with one exit code. What costs time
and decides nothing of this is left out: pages, figures and timings, but for a few of the sources.
"""

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors.torch import save_file

from topfive import cli
from topfive.commands import compare as comparing
from topfive.commands import train as training
from topfive.commands.data import check
from topfive.commands.evaluate import Evaluating, evaluate
from topfive.commands.models import Running
from topfive.commands.predict import predict
from topfive.data import packing
from topfive.data.check import checking
from topfive.data.check.scanning import Seen
from topfive.data.opening import open_source
from topfive.data.sources import Source
from topfive.data.views import views
from topfive.engine.benchmark import arithmetic
from topfive.engine.comparison import comparison, images, needs, provenance
from topfive.engine.inference import backends
from topfive.engine.inference.models import About, Model, open_model, save
from topfive.engine.models.modules import Classifier, build
from topfive.engine.training import job
from topfive.engine.training.checkpoints import MODEL
from topfive.engine.training.datasets import Data, InMemory
from topfive.engine.training.streaming import Streaming
from topfive.networks.layers import Chain, Conv, Linear, Network, Relu, with_classes
from topfive.networks.resnet import TORCHVISION
from topfive.recipes.augmentations import Augmentation, Centre
from topfive.recipes.recipe import Recipe
from topfive.results import predictions
from topfive.results.records import Benchmark
from topfive.results.runs import newest_in
from topfive.system import as_text
from topfive.weights.matching import theirs
from topfive.weights.names import network_called

GROUPS, EACH = 20, 10
QUICK = 4  # groups of the default suite
VERSION = cache(version)
SIZE = 16
# why: what it says depends on where every pixel is, so an image that lies on its side has other probabilities
TINY = Network(
    "tiny", "tiny", (3, SIZE, SIZE), Chain((("conv", Conv(4, 3, 2, 1)), ("relu", Relu()), ("fc", Linear(3))))
)
Pixels = NDArray[np.uint8]
Files = dict[str, bytes]


# --- what a file shows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """An image: its bytes, and its pixels turned by EXIF and as they lie; None where it cannot be read."""

    suffix: str
    data: bytes
    upright: Pixels | None = None
    lying: Pixels | None = None


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, format, **options)
    return held.getvalue()


def rgb(data: bytes, turned: bool = False) -> Pixels:
    """What Pillow alone makes of it."""
    image = Image.open(io.BytesIO(data))
    return np.asarray((ImageOps.exif_transpose(image) if turned else image).convert("RGB"))


def smooth(chance: random.Random, channels: int = 3) -> Pixels:
    """A few colours that run into each other, of another size each time; no two are alike."""
    corners = np.array([[[chance.randrange(256) for _ in range(channels)] for _ in range(3)] for _ in range(2)])
    width, height = chance.randint(17, 40), chance.randint(17, 40)
    planes = [
        np.asarray(Image.fromarray(corners[..., n].astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR))
        for n in range(channels)
    ]
    return np.stack(planes, -1)


def lossless(chance: random.Random) -> Shown:
    pixels = smooth(chance)
    format, suffixes = chance.choice(
        [
            ("PNG", (".png", ".PNG", "", ".jpg", ".image")),
            ("BMP", (".bmp", "")),
            ("PPM", (".ppm", ".pnm")),
            ("TIFF", (".tif", ".tiff", "")),
            ("TGA", (".tga",)),
            ("WEBP", (".webp", "")),
        ]
    )
    return Shown(chance.choice(suffixes), encoded(Image.fromarray(pixels), format, lossless=True), pixels, pixels)


def jpeg(chance: random.Random) -> Shown:
    image = Image.fromarray(smooth(chance))
    mode = chance.choice(["RGB", "RGB", "L", "CMYK"])
    data = encoded(image.convert(mode), "JPEG", quality=90)
    return Shown(chance.choice([".jpg", ".JPG", ".jpeg", ".jpe", ".jfif", "", ".png"]), data, rgb(data), rgb(data))


def turned(chance: random.Random) -> Shown:
    """It states that it does not lie as it should be seen."""
    image, exif = Image.fromarray(smooth(chance)), Image.Exif()
    exif[274] = chance.randint(1, 8)
    format, suffix = chance.choice(
        [("JPEG", ".jpg"), ("JPEG", ".jpg"), ("JPEG", ""), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif")]
    )
    if format == "TIFF":  # why: Pillow turns a TIFF whether it is asked to or not
        data = encoded(image, format, tiffinfo={274: exif[274]})
        probe = encoded(image, "PNG", exif=exif)
        return Shown(suffix, data, rgb(probe, True), np.asarray(image))
    data = encoded(image, format, exif=exif)
    return Shown(suffix, data, rgb(data, True), rgb(data))


def deep(chance: random.Random) -> Shown:
    grey = smooth(chance, 1)[..., 0]
    data = encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")
    pixels = np.repeat(grey[..., None], 3, 2)
    return Shown(".png", data, pixels, pixels)


def clear(chance: random.Random) -> Shown:
    """Half of it is transparent, and laid over white."""
    pixels = smooth(chance)
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[: len(alpha) // 2] = 0
    data = encoded(Image.fromarray(np.dstack([pixels, alpha])), chance.choice(["PNG", "TIFF"]))
    seen = np.where(alpha[..., None] == 0, 255, pixels).astype(np.uint8)
    return Shown(".png" if data[:4] == b"\x89PNG" else ".tif", data, seen, seen)


def animated(chance: random.Random) -> Shown:
    frames = [Image.fromarray(smooth(chance)) for _ in range(2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=[frames[1].resize(frames[0].size)])
    return Shown(chance.choice([".gif", ".jpg"]), data, rgb(data), rgb(data))


def spoilt(chance: random.Random) -> Shown:
    """An image by its name, and none that can be read."""
    good = encoded(Image.fromarray(smooth(chance)), chance.choice(["JPEG", "PNG", "BMP"]))
    data = chance.choice([b"", b"no image\n", b"<html></html>", good[: len(good) // 2]])
    return Shown(chance.choice([".jpg", ".png", ".bmp"]), data)


KINDS = {lossless: 6, jpeg: 5, turned: 4, deep: 1, clear: 1, animated: 1, spoilt: 2}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
# files that are no images, and those that nobody looks at
CLUTTER = {
    "notes.txt": b"text", "list": b"a\nb\n", "photo.heic": HEIC, "nothing": b"", "a.pdf": b"%PDF-1.7", "Thumbs.db": b"",
    ".DS_Store": b"\0", "desktop.ini": b"[x]", ".hidden.png": encoded(Image.new("RGB", (9, 9)), "PNG"),
    "__MACOSX/x.png": encoded(Image.new("RGB", (9, 9)), "PNG"), ".git/y.jpg": b"", "data.csv": b"a,b\n1,2\n",
}  # fmt: skip
RESULTS = {
    ".topfive": b"",
    "figure.png": encoded(Image.new("RGB", (30, 30), (1, 2, 3)), "PNG"),
    "report.html": b"<html>",
}
FILE_NAMES = (
    "{}", "image {}", "사진{}", "a,b{}", "=1+{}", "'q{}", 'x"{}', unicodedata.normalize("NFD", "ü{}"), "100%{}", "[{}]",
    "-{}", "more/{}", "deep/er/{}", "\U0001f431{}", "a.b.{}", "@{}", "\\{}", "{}\x1b[1m",
)  # fmt: skip
# classes in the order in which people count; whether it is another one for ImageFolder
CLASS_NAMES = (
    ("cat", "dog", "emu"),
    ("1", "2", "10"),
    ("n01440764", "n02102040", "n03028079"),
    ("-x", "cat, black", "cat, white"),
    ("Cow", "Zebra", "ape"),
    ("cafe", unicodedata.normalize("NFC", "café"), "가나다"),
    ("%s{x}", "'a' b", 'q"x'),
    ("img2", "img10", "img100"),
)
PARTS = (
    ("train", "val"), ("train", "test"), ("Training", "Validation"), ("train", "valid"), ("train",), ("train", "val"),
)  # fmt: skip


# --- a source -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What whoever wrote an image knows: its class, its part ("" for one split here, None for one not used)."""

    label: str
    part: str | None
    shown: Shown


@dataclass
class Made:
    """A source as it is named on the command line, and what is in it."""

    where: str
    classes: tuple[str, ...]
    images: dict[str, Known] = field(default_factory=dict)  # by name within the source
    refused: str = ""  # what train, compare and check say of it, and evaluate too unless `whole`
    whole: bool = False  # there is no train/, so that evaluate scores all of it
    lossy: bool = False  # whether pixels may be a little off: in a pack they are encoded anew
    upright: bool = True

    def used(self) -> dict[str, Known]:
        return {name: known for name, known in self.images.items() if known.part is not None}

    def pixels(self, name: str, upright: bool) -> Pixels | None:
        shown = self.images[name].shown
        return shown.upright if upright else shown.lying


class Writer:
    """Writes the source of a seed."""

    def __init__(self, seed: int, root: Path) -> None:
        self.chance, self.root, self.count = random.Random(seed), root, 0
        self.files: Files = {}
        self.links: dict[str, str] = {}
        self.images: dict[str, Known] = {}
        names = self.chance.choice(CLASS_NAMES)
        self.classes = names if self.chance.random() < 0.6 else names[:2]
        self.upright = not names[0].startswith("n0")

    def image(self, folder: str, label: str, part: str | None, kind: Any = None) -> str:
        """A new image in a folder; its name."""
        kind = kind or self.chance.choices(list(KINDS), list(KINDS.values()))[0]
        shown, self.count = kind(self.chance), self.count + 1
        names = [name for name in FILE_NAMES if folder or "/" not in name]  # else it would be a class
        name = f"{folder}/" * bool(folder) + self.chance.choice(names).format(self.count) + shown.suffix
        if not shown.suffix and "." in name.rpartition("/")[2]:
            name += "x"
        self.files[name], self.images[name] = shown.data, Known(label, part, shown)
        return name

    def fill(self, above: str, part: str | None, classes: Sequence[str], least: int = 3) -> None:
        for label in classes:
            # why: a file system keeps either form of a letter, and so they are mixed in what people have
            form = self.chance.choice(["NFC", "NFD"])
            folder = f"{above}/" * bool(above) + unicodedata.normalize(form, label)
            for i in range(self.chance.randint(least, least + 2)):
                self.image(folder, label, part, (lossless, jpeg)[i % 2] if i < 2 else None)

    def litter(self) -> None:
        folders = sorted({name.rpartition("/")[0] for name in self.images})
        for name in self.chance.sample(list(CLUTTER), self.chance.randint(0, 4)):
            self.files[f"{self.chance.choice(folders)}/{name}"] = CLUTTER[name]
        if self.chance.random() < 0.3:
            folder = self.chance.choice(["runs/one", f"{folders[0]}/out"])
            self.files |= {f"{folder}/{name}": data for name, data in RESULTS.items()}

    def link(self) -> None:
        """Links of every kind; what they add is known."""
        names = sorted(name for name in self.images)
        folders = sorted({name.rpartition("/")[0] for name in names} - {""})
        for kind in self.chance.sample(["file", "dangling", "text", "loop", "twin", "self", "outside", "bytes"], 3):
            at = self.chance.choice([f for f in folders if self.images[next(n for n in names if n.startswith(f))].part
                                     is not None])  # fmt: skip
            of = next(known for name, known in self.images.items() if name.startswith(at + "/"))
            gone = Shown("", b"")
            if kind == "file":
                target = self.chance.choice(names)
                suffix = self.images[target].shown.suffix
                name = f"{at}/linked{suffix or '.png'}"
                if suffix != ".tga":
                    self.links[name] = os.path.relpath(target, at)
                    self.images[name] = Known(of.label, of.part, self.images[target].shown)
            elif kind in ("dangling", "self"):
                name = f"{at}/{kind}.jpg"
                self.links[name] = "nowhere.jpg" if kind == "dangling" else "self.jpg"
                self.images[name] = Known(of.label, of.part, gone)
            elif kind == "text":
                self.links[f"{at}/nothing there"] = "nowhere"
            elif kind == "bytes":  # a name that is no text
                shown = lossless(self.chance)
                name = f"{at}/\udcff\n{shown.suffix or '.png'}"
                if shown.suffix != ".tga":
                    self.files[name], self.images[name] = shown.data, Known(of.label, of.part, shown)
            elif kind == "loop":
                self.links[f"{at}/up"] = os.path.relpath(".", at)
            elif kind == "twin":
                self.links[f"{at}/twin"] = "."
            else:
                shown = lossless(self.chance)
                outside = self.root / "outside" / f"x{shown.suffix}"
                outside.parent.mkdir(exist_ok=True)
                outside.write_bytes(shown.data)
                self.links[f"{at}/outside"] = str(outside.parent)
                self.images[f"{at}/outside/{outside.name}"] = Known(of.label, of.part, shown)

    # - where it lies

    def folder(self) -> str:
        root = self.root / self.chance.choice(["data", "my data", "데이터", "a,b"])
        for name, data in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        for name, target in self.links.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(target)
        form = self.chance.choice(["absolute", "slash", "relative", "link", "here"])
        if form == "here":
            os.chdir(root)
            return "."
        if form == "link":
            (self.root / "link").symlink_to(root)
            return str(self.root / "link")
        return {"absolute": str(root), "slash": f"{root}/", "relative": os.path.relpath(root, self.root)}[form]

    def archive(self) -> str:
        suffix = self.chance.choice([".tar", ".zip", ".tar.gz", ".tgz", ".ZIP", ".Tar", ".TAR.XZ"])
        above = self.chance.choice(["", "./", "data/", "a/b/"])
        files = {above + name: data for name, data in self.files.items()}
        if self.chance.random() < 0.3 and suffix.lower() == ".tar":
            files = self._inner(files)
        path = self.root / f"my set{suffix}"
        path.write_bytes(zipped(files) if suffix.lower() == ".zip" else tarred(files, suffix.lower()))
        return str(path)

    def _inner(self, files: Files) -> Files:
        """Each folder of images as a tar of its own, as ILSVRC has them."""
        folders: dict[str, Files] = {}
        for name, data in files.items():
            folder, _, file = name.rpartition("/")
            folders.setdefault(folder, {})[file] = data
        return {f"{folder}.tar": tarred(inside) for folder, inside in folders.items()}


def tarred(files: Files, suffix: str = ".tar") -> bytes:
    held = io.BytesIO()
    mode = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}[suffix]
    with tarfile.open(fileobj=held, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        if suffix != ".tar":
            tar.addfile(link)
    return held.getvalue()


def zipped(files: Files) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


def class_folders(to: Writer) -> Made:
    """Class folders alone or in parts, in a folder with links or in an archive."""
    if to.chance.random() < 0.4:
        to.fill("", "", to.classes)
        if to.chance.random() < 0.3:
            to.image("", "", None)  # beside the folders
        bare = True
    else:
        first, *second = parts = to.chance.choice(PARTS)
        to.fill(first, "train" if second else "", to.classes)
        for part in second:
            to.fill(part, "validation", to.classes if to.chance.random() < 0.7 else to.classes[1:], 2)
        if to.chance.random() < 0.3:
            to.fill("extra" if "test" in parts or not second else "test", None, to.classes)
        bare = False
    to.litter()
    in_archive = to.chance.random() < 0.4
    if in_archive:  # the names of some members would not be the same again
        keep = {n: k for n, k in to.images.items() if "\\" not in n}
        to.files = {n: d for n, d in to.files.items() if n in keep or n not in to.images}
        to.images = keep
    elif to.chance.random() < 0.6:
        to.link()
    where = to.archive() if in_archive else to.folder()
    return Made(where, to.classes, to.images, whole=bare, upright=to.upright)


def in_shards(to: Writer) -> Made:
    """WebDataset's shards: in a folder, or one by itself."""
    to.upright = True
    parts = to.chance.choice([("train", "val"), ("set-0", "set-1"), ("all",)])
    named = len(parts) > 1 and to.chance.random() < 0.5
    classes = to.classes if named else tuple(str(i) for i in range(len(to.classes)))
    images: dict[str, Known] = {}
    folder = to.root / "shards"
    folder.mkdir()
    for part in parts:
        files: Files = {}
        samples = [label for label in range(len(classes)) for _ in range(4)]
        for i, label in enumerate(to.chance.sample(samples, len(samples))):
            shown = to.chance.choice([lossless, jpeg, turned, spoilt] if i > 5 else [lossless, jpeg])(to.chance)
            files |= {f"{i:04}{shown.suffix or '.img'}": shown.data, f"{i:04}.cls": str(label).encode()}
            side = {"train": "train", "val": "validation"}.get(part, "")
            images[f"{part}.tar/{i:04}{shown.suffix or '.img'}"] = Known(classes[label], side, shown)
        (folder / f"{part}.tar").write_bytes(tarred(files))
    if named:
        (folder / "classes.txt").write_text("\n".join(classes), encoding="utf-8")
    where = folder / "all.tar" if len(parts) == 1 else folder
    return Made(str(where), classes, images, whole="train" not in parts)


def packed(to: Writer) -> Made:
    made = class_folders(to)
    source = open_source(made.where)
    packing.pack(source, to.root / "pack", 64, lambda *_: None, workers=1)
    images = {}
    for side, part, shard in ((source.train, "train", "train-00000"), (source.val, "validation", "held-out-00000")):
        for item in side:
            name = f"{shard}.tar/{as_text(item.name)}"
            known = made.images[item.name]
            pixels = known.shown.upright if made.upright else known.shown.lying
            images[name] = Known(known.label, part, replace(known.shown, upright=pixels, lying=pixels))
    return Made(str(to.root / "pack"), made.classes, images, lossy=True, upright=made.upright)


def to_score(to: Writer) -> Made:
    """Nothing to train with: single images, one class, an empty one, or val/ alone. It can be scored all the same."""
    kind = to.chance.choice(["single", "one class", "empty", "val alone"])
    if kind == "single":
        for name in to.classes:
            to.image(name, name, "", lossless)
    elif kind == "val alone":
        to.fill(to.chance.choice(["val", "test"]), "", to.classes)
    else:
        to.fill("", "", to.classes if kind == "empty" else to.classes[:1])
    if kind == "empty":
        to.files["zz/readme.txt"] = b"text"
    said = {
        "single": "single image", "one class": "has one class only", "empty": "has no image of 'zz'",
        "val alone": "looks like the parts of a data set",
    }  # fmt: skip
    classes = to.classes if kind != "one class" else to.classes[:1]
    return Made(to.folder(), classes, to.images, said[kind], whole=True, upright=to.upright)


def refused(to: Writer) -> Made:
    """What no command takes for images with classes."""
    kind = to.chance.choice(
        [
            "missing",
            "no archive",
            "file",
            "flat",
            "case",
            "form",
            "unknown",
            "text",
            "control",
            "twice",
            "results",
            "cut",
        ]
    )
    where, folder = "", kind not in ("missing", "no archive", "file", "twice", "cut")
    if folder:
        to.fill("train" if kind in ("unknown", "empty") else "", "", to.classes)
    if kind == "missing":
        where = str(to.root / to.chance.choice(["nowhere", "nowhere.tar", "nowhere/at/all", "cifar-1"]))
    elif kind in ("no archive", "file"):
        path = to.root / (
            "x" + to.chance.choice([".tar", ".zip", ".tgz", ".TAR.GZ"] if kind == "no archive" else [".bin"])
        )
        path.write_bytes(to.chance.choice([b"", b"text" * 300, b"\x1f\x8bno", b"PK\3\4"]))
        where = str(path)
    elif kind == "flat":
        to.files = {name.replace("/", "-"): data for name, data in to.files.items()}
    elif kind == "case":
        to.image(to.classes[0].upper() + "a", "", "")
        to.image(to.classes[0].lower() + "A", "", "")
    elif kind == "form":
        to.image(unicodedata.normalize("NFC", "é"), "", "")
        to.image(unicodedata.normalize("NFD", "é"), "", "")
    elif kind == "unknown":
        to.fill("val", "", (*to.classes, "stranger"))
    elif kind == "text":
        to.files = {f"{label}/readme.txt": b"text" for label in to.classes}
    elif kind == "control":
        to.image("bell\a", "", "")
    elif kind == "results":
        to.files[".topfive"] = b""
    elif kind == "twice":
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as tar:
            for name in ("a/1.png", "b/1.png", "a/1.png"):
                tar.addfile(tarfile.TarInfo(name))
        (to.root / "x.tar").write_bytes(held.getvalue())
        where = str(to.root / "x.tar")
    elif kind == "cut":
        to.fill("", "", to.classes)
        (to.root / "x.zip").write_bytes(zipped(to.files)[:-60])
        where = str(to.root / "x.zip")
    said = {
        "missing": "there is no f", "no archive": "", "file": "is a file, and no archive", "flat": "but no folders",
        "case": "two folders for one class", "form": "two folders for one class", "unknown": "'stranger', which",
        "text": "no image was found", "control": "no plain text", "twice": "twice", "results": "holds results",
        "cut": "is not a whole zip",
    }  # fmt: skip
    return Made(where or to.folder(), to.classes, refused=said[kind] or "x")


LAYOUTS = {class_folders: 70, in_shards: 8, packed: 3, to_score: 9, refused: 10}


# --- what the commands say ------------------------------------------------------------------------------------------


@dataclass
class Seens:
    """What the commands have read, in the order in which they did."""

    data: list[Data] = field(default_factory=list)
    scans: list[tuple[Source, list[Seen]]] = field(default_factory=list)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seens:
    """Commands that tell what they read, and neither draw nor time anything."""
    found = Seens()

    def told(prepare: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Data:
            found.data.append(prepare(*arguments, **options))
            return found.data[-1]

        return wrapped

    def scanned(source: Source, *arguments: Any, of: Any = checking.cached_scan) -> list[Seen]:
        found.scans.append((source, of(source, *arguments)))
        return found.scans[-1][1]

    monkeypatch.setattr(job, "prepare", told(job.prepare))
    monkeypatch.setattr(images, "prepare", told(images.prepare))
    monkeypatch.setattr(checking, "cached_scan", scanned)
    monkeypatch.setattr(comparison, "measure", lambda task: Benchmark(*[1.0] * 6, 1, 1, 1, 1))
    for module in (needs, arithmetic):
        monkeypatch.setattr(module, "fastest", lambda *given: (given[-1], ""))
    for module in (provenance, job):
        monkeypatch.setattr(module, "version", VERSION)
    monkeypatch.setattr("topfive.system.pool", lambda count, begin, given: Alone(begin, given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Without pages, which take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("evaluation.write", "comparison.write_measured", "training.write", "pages.check.render"):
            patch.setattr(f"topfive.report.{name}", lambda *_, **__: Path("page"))
        yield


class Alone:
    """A pool of no processes."""

    def __init__(self, begin: Any, given: Any) -> None:
        begin(*given)

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Any, items: Any, chunksize: int = 1) -> Iterator[Any]:
        return map(function, items)

    def shutdown(self, **_: object) -> None: ...


@dataclass(frozen=True)
class Told:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it refuses with; "" where it does not."""
        last = self.err.splitlines()[-1] if self.code else ""
        assert last.startswith("topfive: ") or not self.code, self
        return last

    @property
    def json(self) -> Any:
        assert self.out, self
        return json.loads(self.out)


def ran(command: Callable[..., None], *arguments: str, **options: Any) -> Told:
    """A command as cli.py runs it, but for reading its options. What is no sentence of its own is an internal error."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    code = 0
    for function, name, kind in ((evaluate, "options", Evaluating), (predict, "running", Running)):
        if command is function:
            inside = {field.name for field in dataclasses.fields(kind)} & options.keys()
            options[name] = kind(**{field: options.pop(field) for field in inside})
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command(*arguments, **options)
        except Exception as error:
            code = cli._fail(*cli._sentence(error))
            if code == 1:
                raise
    for file in (out, err):
        file.flush()
    return Told(code, *(file.buffer.getvalue().decode() for file in (out, err)))  # type: ignore[attr-defined]


def centre(pixels: Pixels, size: int) -> Pixels:
    side, (height, width) = min(pixels.shape[:2]), pixels.shape[:2]
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side)))


def near(one: Any, other: Pixels, most: float) -> bool:
    return bool(np.abs(np.asarray(one, np.float64) - other).mean() <= most)


# --- one source, command by command ---------------------------------------------------------------------------------


class Trial:
    """A source and a model, and what each command says of them."""

    def __init__(self, seed: int, made: Made, root: Path, seen: Seens) -> None:
        self.seed, self.made, self.root, self.seen = seed, made, root, seen
        self.chance = random.Random(f"trial {seed}")
        (root / "tiny.json").write_bytes(msgspec.json.encode(TINY))
        self.parts: dict[str, str] = {}  # image -> "train" or "validation": as the first command says

    def here(self, name: str) -> str:
        return str(self.root / "results" / name)

    def all(self) -> None:
        trained, checked_, compared = self.train(), self.check(), self.compare()
        if self.made.refused:
            for one in (trained, checked_, compared):
                assert one.code == 3 and (self.made.refused in one.sentence or self.made.refused == "x"), one
                assert one.sentence == trained.sentence and not one.out, (one, trained)
        elif not self.trainable():
            for one in (trained, compared):
                assert one.code == 3 and "none of a part is left" in one.sentence, one
        else:
            assert (trained.code, compared.code) == (0, 0), (trained, compared)
        if self.made.images:
            models = ["named", "unnamed", "foreign"] if self.seed % 20 == 0 else [("named", "unnamed")[self.seed % 2]]
            for kind in models:
                self.judge(kind)
            if trained.code == 0:
                self.judge("copy" if self.seed % 3 == 1 else "run")
        else:
            self.nothing(trained)

    def trainable(self) -> bool:
        left = {part for name, part in self.parts.items() if self.made.pixels(name, True) is not None}
        return left == {"train", "validation"}

    def split(self, source: Source) -> None:
        """What a source says must be what was written, and what every other command found."""
        used = self.made.used()
        parts = {item.name: part for part, side in (("train", source.train), ("validation", source.val))
                 for item in side}  # fmt: skip
        assert len(parts) == len(source.train) + len(source.val)
        assert parts.keys() == used.keys()
        assert source.classes == self.made.classes
        for item in (*source.train, *source.val):
            assert source.classes[item.label] == used[item.name].label
            assert parts[item.name] == (used[item.name].part or parts[item.name])
        if not self.parts:
            self.parts = parts
            for label in self.made.classes:
                sides = [parts[name] for name, known in used.items() if known.label == label and known.part == ""]
                assert set(sides) == {"train", "validation"} or sides in (["train"], [])  # the only image is trained on
        assert parts == self.parts
        assert source.upright == self.made.upright

    def data(self, data: Data) -> None:
        """The images as training takes them."""
        made, size = self.made, data.size
        self.split(data.source)
        path = data.source.path
        bad = {path(item) for item in (*data.source.train, *data.source.val)
               if made.pixels(item.name, True) is None}  # fmt: skip
        assert data.unreadable.keys() == bad
        sides = []
        for side in (data.source.train, data.source.val):
            sides.append([item for item in side if made.pixels(item.name, True) is not None])
        batches = list(data.val(4))
        pixels = torch.cat([batch for batch, _ in batches]).permute(0, 2, 3, 1).numpy()
        labels = torch.cat([batch for _, batch in batches]).tolist()
        self.shown(sides[1], pixels, labels, size, 0)
        if isinstance(data, InMemory):
            kept = data.images.pixels.permute(0, 2, 3, 1).numpy()
            self.shown(sides[0], kept, data.images.labels.tolist(), kept.shape[1], 0)
        elif len(sides[0]):
            recipe = Recipe(epochs=1, batch=4, augmentation=Augmentation(Centre(), hflip=False))
            for part, labels_of, index, _ in data.training(recipe, 1):
                there = [sides[0][i] for i in index.tolist()]
                # why: a JPEG of twice the size is decoded at half of it, which is a little off
                self.shown(there, part.permute(0, 2, 3, 1).numpy(), labels_of.tolist(), size, 8)

    def shown(self, items: Sequence[Any], pixels: Pixels, labels: Sequence[int], size: int, most: float) -> None:
        assert len(items) == len(pixels) == len(labels)
        for item, there, label in zip(items, pixels, labels):
            assert self.made.classes[label] == self.made.images[item.name].label
            wanted = self.made.pixels(item.name, self.made.upright)
            assert wanted is not None
            assert near(there, centre(wanted, size), 8 if self.made.lossy else most), item

    def train(self) -> Told:
        self.run = self.here("run")
        told = ran(
            training.train, str(self.root / "tiny.json"), self.made.where, size=SIZE, recipe="quick", epochs=1, batch=8,
            out=self.run, workers=0 if self.seed % 2 else None, format="json",
        )  # fmt: skip
        if told.code == 0:
            (data,) = self.seen.data
            assert isinstance(data, Streaming if self.seed % 2 else InMemory)
            self.data(data)
            with gzip.open(
                Path(self.run, "images.csv.gz"), "rt", newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                rows = list(csv.DictReader(file))
            parts = {"train": "train", "validation": "validation"}
            assert {row["path"]: parts[row["part"]] for row in rows} == self.parts
            assert {row["path"]: row["class"] for row in rows} == {n: k.label for n, k in self.made.used().items()}
        self.seen.data.clear()
        return told

    def compare(self) -> Told:
        told = ran(
            comparing.compare, str(self.root / "tiny.json"), data=self.made.where, size=str(SIZE), epochs=1,
            seeds=1, batch=8, out=self.here("compare"), workers=None if self.seed % 2 else 0, format="json",
        )  # fmt: skip
        if told.code == 0:
            (data,) = self.seen.data
            self.data(data)
            (row,) = told.json["rows"]
            aside = [name for name, part in self.parts.items() if part == "validation"]
            assert row["images"] == len(aside)
            assert row["unreadable"] == sum(self.made.pixels(name, True) is None for name in aside)
            assert told.json["meta"]["class_names"] == list(self.made.classes)
        self.seen.data.clear()
        return told

    def check(self) -> Told:
        told = ran(check, self.made.where, report=self.here("check.html"), format="json")
        if not self.made.refused:
            assert told.code in (0, 3)  # 3 for what would bias an accuracy, too
            found, ((source, scanned),) = told.json["report"], self.seen.scans
            self.split(source)
            used = self.made.used()
            counts = Counter((used[name].label, part, self.made.pixels(name, True) is None) for name, part in
                             self.parts.items())  # fmt: skip
            for one in found["classes"]:
                for part, key in (("train", "train"), ("validation", "val")):
                    assert one[key] == counts[one["name"], part, False]
                assert one["unreadable"] == sum(counts[one["name"], part, True] for part in ("train", "validation"))
            for item, image in zip((*source.train, *source.val), scanned):
                pixels = self.made.pixels(item.name, self.made.upright)
                assert bool(image.reason) == (pixels is None), (item, image)
                if pixels is not None and not self.made.lossy:
                    said = f"{pixels.shape[1]} {pixels.shape[0]} ".encode() + pixels.tobytes()
                    assert image.digest == hashlib.blake2b(said, digest_size=16).digest(), item
        self.seen.scans.clear()
        return told

    # - models

    def model(self, kind: str) -> tuple[str, str | None, tuple[str, ...]]:
        """A model of the classes, the options that go with it, and the classes in the order of its outputs."""
        torch.manual_seed(self.seed)
        order = list(self.made.classes)
        count = max(2, len(order))
        if kind == "run":
            return self.run, None, self.made.classes
        if kind == "copy":  # of a run's weights, which alone tells what they were trained on
            path = self.root / "copy.safetensors"
            shutil.copy(newest_in(Path(self.run)).folder / MODEL, path)
            return str(path), None, self.made.classes
        if kind == "foreign":
            network = with_classes(network_called("cifar-resnet-20-b"), count)
            state = build(network, (3, 32, 32)).state_dict()
            path = self.root / "foreign.safetensors"
            save_file({theirs(name, TORCHVISION): tensor.contiguous() for name, tensor in state.items()}, path)
        else:
            path = self.root / f"{kind}.safetensors"
            network = with_classes(TINY, count)
            self.chance.shuffle(order)
            names = (*order, "more")[:count] if kind == "named" else ()
            classifier = Classifier(build(network), torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 60.0))
            about = About(network, SIZE, names, upright=self.chance.random() < 0.7)
            save(Model("", "", "", about, classifier.eval()), path)
            if kind == "named":
                return str(path), None, names
        listed = self.root / "classes.txt"
        listed.write_text("\n".join([*order, "more"][:count]), encoding="utf-8")
        orders = {
            "natural": self.made.classes, "imagefolder": tuple(sorted(self.made.classes)), str(listed): tuple(order),
        }  # fmt: skip
        said = self.chance.choice(list(orders)) if len(order) > 1 else str(listed)
        if len(order) == 1:
            return str(path), said, (order[0], "more")
        if orders["natural"] != orders["imagefolder"]:  # which nobody may guess
            told = ran(evaluate, str(path), self.made.where, out=self.here("guess"))
            assert told.code == 2 and "have two orders" in told.sentence, told
        return str(path), said, orders[said]

    def judge(self, kind: str) -> None:
        """evaluate scores what it should with the pixels that it should, and predict answers the same."""
        made = self.made
        model, said, outputs = self.model(kind)
        table = self.here(f"{kind}.csv")
        shared: dict[str, Any] = {"batch": 8, "precision": "float32", "format": "json"}
        told = ran(evaluate, model, made.where, predictions=table, out=self.here(f"of {kind}"), classes=said, **shared)
        alone = made.whole and kind not in ("run", "copy")
        scored = {name for name in made.used() if alone or self.parts.get(name) == "validation"}
        if all(made.pixels(name, True) is None for name in scored):
            assert told.code == 3 and "can be read" in told.sentence, told
            return
        assert told.code == 0, told
        found = predictions.read(table)
        assert found.classes == outputs and set(found.images) == scored and len(found) == len(scored)
        for name, label in zip(found.images, found.labels.tolist()):
            assert outputs[label] == made.images[name].label
        assert {name for name in scored if made.pixels(name, True) is None} == found.unreadable.keys()
        one = open_model(model)
        shares = self.shares(one, found.images)
        if not made.lossy:
            np.testing.assert_allclose(found.scores, shares, atol=2e-5)
        if kind == "run" and self.seed % 3 == 0:
            again = self.here("again.csv")
            own = ran(evaluate, model, predictions=again, out=self.here("own"), **shared)
            assert own.code == 0
            assert Path(again).read_text() == Path(table).read_text()
        if kind not in ("run", "copy") or self.seed % 2:
            self.predict(model, said, outputs, shared, found, one)

    def predict(
        self, model: str, said: str | None, outputs: tuple[str, ...], shared: dict[str, Any],
        found: predictions.Predictions, one: Model,
    ) -> None:  # fmt: skip
        """Of the whole source, and of a few of its files by name."""
        made = self.made
        said = None if said in ("natural", "imagefolder") else said  # which are orders of a source
        about = one.about
        names = (msgspec.structs.replace(about, classes=outputs, words=()) if said else about).names
        places = [[made.where]]
        files = [name for name in made.images if Path(made.where, name).is_file()]
        if files and Path(model).stem == "named":
            places.append([os.path.join(made.where, name) for name in self.chance.sample(files, min(4, len(files)))])
        for there in places:
            told = ran(predict, model, *there, top=len(outputs), classes=said, **shared)
            rows = {row["image"]: row for row in told.json["rows"]}
            top = os.path.dirname(made.where) if Path(made.where).name == "all.tar" else made.where.rstrip("/")
            written = {as_text(name): name for name in made.images}
            seen = {written[image[len(top) + 1 :]]: row for image, row in rows.items()}
            assert seen.keys() == (made.images.keys() if there == places[0] else {p[len(top) + 1 :] for p in there})
            bad = {name for name in seen if made.pixels(name, True) is None}
            assert bad == {name for name, row in seen.items() if row["unreadable"]}
            assert told.code == (3 if bad == seen.keys() else 0)
            for name, shares in zip(found.images, found.scores):
                if name in found.unreadable and there == places[0]:
                    assert seen[name]["unreadable"] == found.unreadable[name]
                elif name in seen and name not in bad:
                    row, ranks = seen[name], range(1, len(outputs) + 1)
                    mine = {row[f"class_{n}"]: np.float32(row[f"probability_{n}"]) for n in ranks}
                    # why not bit by bit: on some processors a product rounds otherwise at another place of a batch
                    np.testing.assert_allclose([mine[each] for each in names], shares, rtol=1e-3, err_msg=name)

    def shares(self, model: Model, images: Sequence[str]) -> NDArray[np.float32]:
        """The probabilities that follow from what was written."""
        rows = np.full((len(images), model.network.classes), np.nan, np.float32)
        for i, name in enumerate(images):
            pixels = self.made.pixels(name, model.about.upright)
            if pixels is None:
                continue
            (view,) = views(Image.fromarray(pixels), model.about.protocol, model.about.size)
            with torch.inference_mode():
                logits = model.classifier(torch.tensor(view).permute(2, 0, 1)[None])
            rows[i] = logits.double().softmax(1)[0].numpy()
        return rows

    def nothing(self, trained: Told) -> None:
        """evaluate refuses like the others; predict where there is nothing to look at, else it needs no classes."""
        torch.manual_seed(self.seed)
        about = About(with_classes(TINY, 2), SIZE, ("a", "b"))
        classifier = Classifier(build(about.network), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).eval()
        path = self.root / "m.safetensors"
        save(Model("", "", "", about, classifier), path)
        told = ran(evaluate, str(path), self.made.where, out=self.here("evaluate"))
        assert (told.code, told.sentence, told.out) == (3, trained.sentence, "")
        told = ran(predict, str(path), self.made.where, format="json")
        assert told.code in (0, 3) and told.err.count("\ntopfive: ") <= 1


def made_of(seed: int, root: Path) -> Made:
    to = Writer(seed, root)
    layout = to.chance.choices(list(LAYOUTS), list(LAYOUTS.values()))[0]
    return layout(to)


# why a part: a group takes eight seconds, and CI fifteen minutes; make test-slow has them all
@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=pytest.mark.slow if group >= QUICK else ()) for group in range(GROUPS)]
)
def test_the_commands_agree_on_what_a_source_holds(
    group: int, seen: Seens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # why: each command takes the fastest form of a network, by the clock, and two forms differ in the last bits
    monkeypatch.setattr(backends, "FEW", sys.maxsize)
    failed = []
    for seed in range(group * EACH, (group + 1) * EACH):
        root = tmp_path / str(seed)
        root.mkdir()
        monkeypatch.chdir(root)
        try:
            with undrawn() if seed % 100 else contextlib.nullcontext():
                Trial(seed, made_of(seed, root), root, seen).all()
        except Exception as error:
            error.add_note(f"the source of seed {seed}, in {root}")
            failed.append(error)
        seen.data.clear()
        seen.scans.clear()
    if failed:
        raise ExceptionGroup("the commands disagree", failed)
