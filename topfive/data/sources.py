"""Where pictures come from: a folder of class folders as it lies, or scikit-learn's digits.

A source is never written to. Classes are matched by name, never by the order of folders.
"""

import hashlib
import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from topfive.data.decoding import SUFFIXES, read_picture
from topfive.errors import DataError, ResourceError, UsageError

TRAIN = ("train", "training")
HELD_OUT = ("val", "validation", "valid", "test", "testing")
HELD_OUT_SHARE = 0.2
SEED = 0


@dataclass(frozen=True)
class Item:
    """One picture: its name within the source, and the index of its class."""

    name: str
    label: int


@dataclass(frozen=True)
class Source:
    """Pictures with classes, split into training and held-out ones."""

    name: str
    classes: tuple[str, ...]
    train: tuple[Item, ...]
    held_out: tuple[Item, ...]
    split: str  # how the held-out pictures came to be held out, in words
    mirror: bool  # whether a mirrored picture is still of its class: not so for digits
    fingerprint: str
    read: Callable[[Item], Image.Image] = field(repr=False)  # raises Unreadable
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.train) + len(self.held_out):,} pictures, {len(self.classes)} classes, "
            f"train {len(self.train):,} / held out {len(self.held_out):,} ({self.split})"
        )


def open_source(where: str | None) -> Source:
    """The source that `where` means: a folder, or the digits that come with scikit-learn (`digits` or None).

    Raises: DataError in one sentence that names what was found and what was looked for.
    """
    if where is None or (where == "digits" and not Path(where).exists()):
        return digits()
    return folder(Path(where))


def digits() -> Source:
    """1,797 scanned digits of 8x8 pixels, ten classes; a fifth of each class is held out."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError(
            "the digits come with scikit-learn: pip install 'topfive[digits]', or give --data DIR"
        ) from None
    data = load_digits()
    pixels = np.round(data.images * 255 / 16).astype(np.uint8)
    names = [(f"{i:04}", int(label)) for i, label in enumerate(data.target)]
    train, held_out = _split(names)
    return Source(
        "digits",
        tuple("0123456789"),
        train,
        held_out,
        f"split here, seed {SEED}",
        False,
        hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
        lambda item: Image.fromarray(pixels[int(item.name)]).convert("RGB"),
    )


def folder(root: Path) -> Source:
    """A folder of class folders, or of a training and a held-out folder of them."""
    if not root.exists():
        raise DataError(f"there is no folder {str(root)!r}")
    if not root.is_dir():
        raise DataError(f"{str(root)!r} is a file; give the folder that holds the class folders")
    try:
        return _folder(root)
    except PermissionError as error:
        raise ResourceError(f"{error.filename!r} may not be read: give yourself read permission") from None


def _folder(root: Path) -> Source:
    notes: list[str] = []
    # why: a folder called train may also be the class of trains; a split holds folders, a class holds pictures
    parts = {path.name.lower(): path for path in _folders(root, notes) if any(_folders(path, []))}
    train_root = next((parts[name] for name in TRAIN if name in parts), None)
    held_out_root = next((parts[name] for name in HELD_OUT if name in parts), None)
    if train_root is None:
        classes, named = _class_folders(root, notes)
        train, held_out = _split(named)
        split = f"split here, seed {SEED}"
    elif held_out_root is None:
        classes, named = _class_folders(train_root, notes)
        train, held_out = _split([(f"{train_root.name}/{name}", label) for name, label in named])
        split = f"split here from {train_root.name}/, seed {SEED}"
    else:
        classes, train_named = _class_folders(train_root, notes)
        held_out_classes, held_out_named = _class_folders(held_out_root, notes, few_are_enough=True)
        unknown = sorted(set(held_out_classes) - set(classes))
        if unknown:
            raise DataError(
                f"{held_out_root.name}/ has {_list(unknown)}, which {train_root.name}/ lacks: "
                "a class must be in the training pictures to be recognised"
            )
        missing = sorted(set(classes) - set(held_out_classes))
        if missing:
            notes.append(f"{held_out_root.name}/ has no pictures of {_list(missing)}")
        index = [classes.index(name) for name in held_out_classes]  # why: matched by name, whatever the order
        train = tuple(Item(f"{train_root.name}/{name}", label) for name, label in train_named)
        held_out = tuple(Item(f"{held_out_root.name}/{name}", index[label]) for name, label in held_out_named)
        split = f"{train_root.name}/ and {held_out_root.name}/ as they lie"
    digest = hashlib.sha256()
    for item in (*train, *held_out):
        digest.update(
            f"{item.name}\0{(root / item.name).stat().st_size}\0{classes[item.label]}\n".encode(errors="replace")
        )
    return Source(
        root.name or str(root),
        classes,
        train,
        held_out,
        split,
        True,
        digest.hexdigest()[:16],
        lambda item: read_picture(root / item.name),
        tuple(notes),
    )


def _class_folders(
    root: Path, notes: list[str], few_are_enough: bool = False
) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """The class names, in natural order, and (name within `root`, label) of every picture."""
    folders = sorted(_folders(root, notes), key=lambda path: _natural(path.name))
    if not folders:
        loose = sum(1 for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
        found = f"{loose:,} pictures but no folders" if loose else "no folders"
        raise DataError(f"{str(root)!r} holds {found}; wanted is one folder for each class, with its pictures inside")
    by_name: dict[str, str] = {}
    for path in folders:
        twin = by_name.setdefault(unicodedata.normalize("NFC", path.name).casefold(), path.name)
        if twin != path.name:
            raise DataError(f"{str(root)!r} has two folders for one class: {twin!a} and {path.name!a}")
    pictures = {path.name: list(_pictures(path)) for path in folders}
    empty = [name for name, inside in pictures.items() if not inside]
    if len(empty) == len(folders):
        raise DataError(f"no picture was found under {str(root)!r}; looked for {', '.join(sorted(SUFFIXES))}")
    if empty and not few_are_enough:
        raise DataError(f"{str(root)!r} has no picture of {_list(empty)}: fill or remove the folder")
    names = tuple(name for name in pictures if pictures[name])
    if len(names) < 2 and not few_are_enough:
        raise DataError(f"{str(root)!r} has one class only ({names[0]!r}): a classifier needs at least two")
    items = [(path.relative_to(root).as_posix(), i) for i, name in enumerate(names) for path in pictures[name]]
    return tuple(unicodedata.normalize("NFC", name) for name in names), items


def _folders(root: Path, notes: list[str]) -> Iterator[Path]:
    ignored = []
    for path in sorted(root.iterdir()):
        if path.name.startswith((".", "__")):
            ignored.append(path.name)
        elif path.is_dir():
            yield path
    if ignored:
        notes.append(f"ignored in {root.name}/: {_list(ignored)}")


def _pictures(root: Path) -> Iterator[Path]:
    """Every picture file below `root`, in natural order; hidden files and folders, and links to folders, are not."""
    inside = sorted(root.iterdir(), key=lambda path: _natural(path.name))
    for path in inside:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():  # why: a link may lead back up, and the same picture would count again
                yield from _pictures(path)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _split(named: list[tuple[str, int]]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """A fifth of each class held out, at least one; the same for the same names, whatever their order on disk."""
    by_class: dict[int, list[str]] = {}
    for name, label in named:
        by_class.setdefault(label, []).append(name)
    train, held_out = [], []
    for label, names in by_class.items():
        names = sorted(names)
        random.Random(f"{SEED} {label}").shuffle(names)
        aside = max(1, round(len(names) * HELD_OUT_SHARE))
        if len(names) == 1:
            raise DataError(f"a class has a single picture ({names[0]!r}): none is left to hold out")
        held_out += [Item(name, label) for name in sorted(names[:aside])]
        train += [Item(name, label) for name in sorted(names[aside:])]
    return tuple(train), tuple(held_out)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that puts `2` before `10`; it orders classes for people, and nothing else depends on it."""
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", name)]


def _list(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
