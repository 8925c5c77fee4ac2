"""What a source is: images with classes, in two splits; and class folders, wherever they lie.

A source is never written to. Classes are matched by name, never by the order of folders.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from PIL import Image

from topfive.data.decoding import Decoded, Unreadable, decode
from topfive.data.stores import Joined, Pixels, Store
from topfive.errors import DataError, did_you_mean

TRAIN = ("train", "training")
VAL = ("val", "validation", "valid", "test", "testing")  # the first of these that is there
VAL_SHARE = 0.2
SEED, SELECTION_SEED = 0, 1
SPLIT_HERE = "split here by each path's hash"


@dataclass(frozen=True)
class Item:
    """One image: its name within the source, and the index of its class."""

    name: str
    label: int


@dataclass(frozen=True)
class Source:
    """Images with classes, split into training and validation ones."""

    name: str
    where: str  # as the user gave it
    classes: tuple[str, ...]
    train: tuple[Item, ...]
    val: tuple[Item, ...]
    split: str  # how the validation images were chosen, in words
    fingerprint: str  # of every image's name, size and class: the same for the same images in a folder or a tar
    store: Store = field(repr=False)
    mirror: bool = True  # whether a mirrored image is still of its class: not so for digits
    upright: bool = True  # whether EXIF orientation is applied: not so under ImageNet's protocols
    words: tuple[str, ...] = ()  # the classes in words, where their names are codes
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)  # in bytes, by name, where known

    def __str__(self) -> str:
        return (
            f"{self.name}: {len(self.train) + len(self.val):,} images, {len(self.classes)} classes, "
            f"train {len(self.train):,} / val {len(self.val):,} ({self.split})"
        )

    def path(self, item: Item) -> str:
        """Where the image is, for people."""
        where = self.where.rstrip("/")
        above, _, file = where.rpartition("/")
        # why: names in shards begin with the shard's own, and it may be the whole source
        if isinstance(self.store, Joined) and file.endswith(".tar") and item.name.startswith(f"{file}/"):
            return f"{above}/{item.name}" if above else item.name
        return f"{where}/{item.name}"

    def decode(self, item: Item, upright: bool | None = None) -> Decoded:
        """The whole image, turned by EXIF if `upright`, by default the source's. Raises: Unreadable with its path."""
        if isinstance(self.store, Pixels):
            return Decoded(Image.fromarray(self.store.array(item.name)), "", ())
        try:
            return decode(self.store.read(item.name), item.name, self.upright if upright is None else upright)
        except Unreadable as error:
            raise Unreadable(self.path(item), error.reason) from None

    def read(self, item: Item, upright: bool | None = None) -> Image.Image:
        """The whole image as RGB, turned as `decode` turns it. Raises: Unreadable, naming its path."""
        return self.decode(item, upright).image

    @cached_property
    def stamp(self) -> str:
        """A key for caches: differs where the images, their place or their times of change differ."""
        return hashlib.sha256(f"{self.store.stamp} {self.fingerprint} {self.upright}".encode()).hexdigest()[:32]


def matched(theirs: tuple[str, ...], ours: tuple[str, ...], where: str, there: str) -> list[int]:
    """For each class of `theirs` its index in `ours`, by name. Raises: DataError for one that `ours` lacks."""
    unknown = [name for name in theirs if name not in ours]
    if unknown:
        raise DataError(
            f"{where}/ has {listed(unknown)}, which {there}/ lacks{did_you_mean(unknown[0], ours).rstrip('?')}: "
            "a class must be in the training images to be recognised"
        )
    return [ours.index(name) for name in theirs]


def fingerprint(classes: tuple[str, ...], items: Iterable[Item], sizes: dict[str, int]) -> str:
    """Of every image's name, size in bytes and class."""
    digest = hashlib.sha256()
    for item in items:
        line = f"{item.name}\0{sizes.get(item.name, 0)}\0{classes[item.label]}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def selection(source: Source) -> Source:
    """The source with a fifth of each class of its training images in place of the validation images: what is to be
    decided before these are looked at, is decided there. Raises: DataError where every class has a single image.
    """
    train, val = split([(item.name, item.label) for item in source.train], SELECTION_SEED)
    how = f"{len(val):,} set aside from the training images by each path's hash"
    stated = hashlib.sha256(f"selection {SELECTION_SEED} {source.fingerprint}".encode()).hexdigest()[:16]
    return replace(source, train=train, val=val, split=how, fingerprint=stated)


def fewer(source: Source, share: float) -> Source:
    """The source with this share of the training images of each class, at least one, by a hash of each image's path."""
    ranked: dict[int, list[Item]] = {}
    for item in sorted(source.train, key=lambda item: _chance(item.name, SELECTION_SEED)):
        ranked.setdefault(item.label, []).append(item)
    train = tuple(item for items in ranked.values() for item in items[: max(1, round(share * len(items)))])
    stated = hashlib.sha256(f"{share} of {source.fingerprint}".encode()).hexdigest()[:16]
    return replace(source, train=train, split=f"{source.split}; {share:.0%} of the training images", fingerprint=stated)


def split(named: list[tuple[str, int]], seed: int = SEED) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """About a fifth of each class for validation, at least one and never all, by a hash of each image's path.

    An image that is added moves no other one, but where its class had no path below or none above the share. The only
    image of a class is trained on. Raises: DataError where none is left for validation.
    """
    by_class: dict[int, list[str]] = {}
    for name, label in named:
        by_class.setdefault(label, []).append(name)
    train, val = [], []
    for label, names in by_class.items():
        ranked = sorted((_chance(name, seed), name) for name in names)
        aside = min(max(1, sum(chance < VAL_SHARE for chance, _ in ranked)), len(names) - 1)
        val += [Item(name, label) for name in sorted(name for _, name in ranked[:aside])]
        train += [Item(name, label) for name in sorted(name for _, name in ranked[aside:])]
    if named and not val:
        raise DataError(f"every class has a single image ({named[0][0]!r}): none is left for validation")
    return tuple(train), tuple(val)


def few(classes: tuple[str, ...], train: Iterable[Item], val: Iterable[Item], how: str) -> list[str]:
    """A warning that names the classes with a single image: to train on or, where nothing is, to be scored."""
    trained, scored = (Counter(item.label for item in part) for part in (train, val))
    here = how.startswith(SPLIT_HERE)
    single = [
        name for label, name in enumerate(classes) if (trained or scored)[label] == 1 and not (here and scored[label])
    ]
    kind = "image" if here else "training image" if trained else "scored image"
    then = ", which is trained on and not evaluated" if here else ""
    return [f"warning: a single {kind}{then}: {listed(single)}"] if single else []


def _chance(name: str, seed: int) -> float:
    """A number in 0..1 that depends on the path and the seed alone."""
    digest = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7]) / 2**56


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that puts `2` before `10`; it orders classes for people, and nothing else depends on it."""
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", name)]


def listed(names: list[str]) -> str:
    """A few names in quotes, and how many more."""
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
