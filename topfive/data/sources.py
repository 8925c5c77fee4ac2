"""What a source is: images with classes, in two splits; and class folders, wherever they lie.

A source is never written to. Classes are matched by name, never by the order of folders.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from topfive.data.decoding import CONVERTIBLE, SUFFIXES, Decoded, Unreadable, decode, is_image, not_an_image
from topfive.data.outputs import holds_results, signs_in
from topfive.data.stores import Below, Entry, Folder, Joined, Pixels, Store, Tellable, plain
from topfive.errors import DataError, ResourceError, did_you_mean

TRAIN = ("train", "training")
VAL = ("val", "validation", "valid", "test", "testing")  # the first of these that is there
VAL_SHARE = 0.2
SEED = 0
SPLIT_HERE = "split here by each path's hash"
SCORED_WHOLE = "all of it is scored"
NOISE = ("thumbs.db", "desktop.ini")
NOT_UPRIGHT = "ImageNet's classes: EXIF orientation is ignored, as its protocols do"
WNID = re.compile(r"n\d{8}")


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


class Tree:
    """The entries of a store as a tree, hidden ones left out and counted."""

    def __init__(self, where: str, store: Tellable, entries: Iterable[Entry], said: Iterable[str] = ()) -> None:
        self.where, self.store, self.said = where, store, list(said)
        self.folders: dict[str, list[str]] = defaultdict(list)
        self.files: dict[str, list[str]] = defaultdict(list)
        self.sizes: dict[str, int] = {}
        self.hidden: list[str] = []
        self._told: dict[str, str] = {}
        self.results: list[str] = []  # folders of our own results, whose figures are nobody's images
        hidden_below: str | None = None
        entries = list(entries)
        signed = signs_in(entry.name for entry in entries)
        for entry in sorted(entries, key=lambda entry: entry.name.split("/")):
            if hidden_below and entry.name.startswith(hidden_below):
                continue
            parent, _, name = entry.name.rpartition("/")
            if name.startswith((".", "__MACOSX")) or name.lower() in NOISE:
                self.hidden.append(entry.name)
                hidden_below = entry.name + "/"
            elif entry.folder and entry.name in signed:
                self.results.append(entry.name)
                hidden_below = entry.name + "/"
            elif entry.folder:
                self.folders[parent].append(name)
            else:
                self.files[parent].append(name)
                self.sizes[entry.name] = entry.size

    def below(self, folder: str) -> "Tree":
        """The tree below `folder`, with names from there."""
        prefix = folder + "/"
        tree = Tree(f"{self.where.rstrip('/')}/{folder}", Below(self.store, prefix), ())
        for name in (*self.folders, *self.files):
            if name == folder or name.startswith(prefix):
                tree.folders[name[len(prefix) :]] = self.folders.get(name, [])
                tree.files[name[len(prefix) :]] = self.files.get(name, [])
        tree.sizes = {name[len(prefix) :]: size for name, size in self.sizes.items() if name.startswith(prefix)}
        tree.hidden, tree.said = self.hidden, self.said
        tree.results = [name[len(prefix) :] for name in self.results if name.startswith(prefix)]
        return tree

    def images(self, folder: str) -> list[str]:
        """The names of every image below `folder`, in natural order."""
        return sorted((name for name in self.all(folder) if not self.reason(name)), key=natural)

    def left_out(self, *folders: str) -> str:
        """The files below `folders` that are no images, each kind counted once; "" where there are none."""
        reasons = ((name, self.reason(name)) for folder in folders for name in self.all(folder))
        return kinds_of((name, reason) for name, reason in reasons if reason)

    def reason(self, name: str) -> str:
        """Why a file is not taken for an image, "" where it is: by its name, or else by its first bytes."""
        if is_image(name):
            return ""
        if name not in self._told:
            try:
                self._told[name] = not_an_image(self.store.start(name), name)
            except Unreadable as error:
                self._told[name] = error.reason
        return self._told[name]

    def all(self, folder: str) -> list[str]:
        """The names of every file below `folder`."""
        found: list[str] = []
        waiting = [folder]
        while waiting:  # why: no recursion, because a tree may be deeper than Python's stack
            here = waiting.pop()
            prefix = f"{here}/" if here else ""
            found += [prefix + name for name in self.files.get(here, ())]
            waiting += [prefix + name for name in reversed(self.folders.get(here, ()))]
        return found

    def notes(self) -> list[str]:
        """What was left out, each kind once, after what the store has to say."""
        notes = [*self.said, *([f"ignored: {listed(self.hidden)}"] if self.hidden else [])]
        notes += [f"not read, since they are results of topfive: {listed(self.results)}"] if self.results else []
        left_out = self.left_out("")
        return [*notes, f"left out, no images: {left_out}"] if left_out else notes


def kinds_of(left_out: Iterable[tuple[str, str]]) -> str:
    """(name, reason) of files as `3 .heic (a HEIC image: convert it to JPEG or PNG), 1 without suffix (text)`."""
    counts = Counter((Path(name).suffix.lower() or "without suffix", reason) for name, reason in left_out)
    told = [
        f"{count:,} {plain(suffix)} ({reason}{': convert it to JPEG or PNG' if reason in CONVERTIBLE else ''})"
        for (suffix, reason), count in counts.most_common(8)
    ]
    more = counts.total() - sum(count for _, count in counts.most_common(8))
    return ", ".join([*told, f"{more:,} others"] if more else told)


def folder(root: Path) -> Source:
    """A folder of class folders, or of a training and a validation folder of them.

    Raises: DataError in one sentence that names what was found and what is wanted; ResourceError without permission.
    """
    return class_folders(folder_tree(root))


def folder_tree(root: Path) -> Tree:
    """What lies in a folder."""
    if not root.exists():
        raise DataError(f"there is no folder {str(root)!r}")
    if not root.is_dir():
        raise DataError(f"{str(root)!r} is a file; give the folder that holds the class folders")
    store = Folder(root, (*TRAIN, *VAL))
    try:
        entries, skipped, _ = store.listing
    except PermissionError as error:
        raise ResourceError(f"{error.filename!r} may not be read: give yourself read permission") from None
    if holds_results({entry.name for entry in entries if "/" not in entry.name}):
        raise DataError(f"{str(root)!r} holds results of topfive: name the folder that holds the images")
    tree = Tree(str(root), store, entries)
    tree.hidden += skipped
    return tree


def class_folders(tree: Tree, whole: bool = False) -> Source:
    """The source that class folders are, in one split or two; with `whole` all of one without train/ validate.

    Raises: DataError.
    """
    notes = tree.notes()
    # why: a folder called train may also be the class of trains; a split holds folders, a class holds images
    parts = {name.lower(): name for name in tree.folders[""] if tree.folders.get(name)}
    train_root = next((parts[name] for name in TRAIN if name in parts), None)
    train: tuple[Item, ...]
    val_root = next((parts[name] for name in VAL if name in parts), None)
    if train_root is None and not whole:
        _refuse_bare_parts(tree)
    if train_root is None and whole:
        parted = all(name.lower() in VAL for name in tree.folders[""])  # else one may be the class of tests
        classes, named = _classes(tree, val_root or "" if parted else "", few_are_enough=True)
        train, val, how = (), tuple(Item(name, label) for name, label in named), SCORED_WHOLE
    elif train_root is None:
        classes, named = _classes(tree, "")
        train, val = split(named)
        how = SPLIT_HERE
    elif val_root is None:
        flat = [name for name in tree.folders[""] if name.lower() in VAL and tree.images(name)]
        if flat:
            raise DataError(
                f"{flat[0]}/ in {tree.where!r} holds {len(tree.images(flat[0])):,} images but no class folders: "
                "sort them into folders, or for ILSVRC2012 lay its development kit beside it"
            )
        classes, named = _classes(tree, train_root)
        train, val = split(named)
        how = f"{SPLIT_HERE}, from {train_root}/"
    else:
        classes, named = _classes(tree, train_root)
        val_classes, val_named = _classes(tree, val_root, few_are_enough=True)
        index = matched(val_classes, classes, val_root, train_root)
        missing = [name for name in classes if name not in val_classes]
        if missing:
            notes.append(f"{val_root}/ has no images of {listed(missing)}")
        train = tuple(Item(name, label) for name, label in named)
        val = tuple(Item(name, index[label]) for name, label in val_named)
        how = f"{train_root}/ and {val_root}/ as they lie"
    notes += few(classes, train, val, how) if train else []
    notes += _unused(tree, (*train, *val))
    imagenet = all(WNID.fullmatch(name) for name in classes)
    if imagenet:
        notes.append(NOT_UPRIGHT)
    return Source(
        plain(Path(os.path.abspath(tree.where)).name or tree.where),  # of "." too
        tree.where,
        classes,
        train,
        val,
        how,
        fingerprint(classes, (*train, *val), tree.sizes),
        tree.store,
        upright=not imagenet,
        notes=tuple(notes),
        sizes=tree.sizes,
    )


def _refuse_bare_parts(tree: Tree) -> None:
    """Raises: DataError where folders are parts of a data set by their names, and would be taken for classes."""
    names = tree.folders[""]
    if names and all(name.lower() in (*TRAIN, *VAL) for name in names):
        counts = ", ".join(f"{len(tree.images(name)):,} in {name}/" for name in names)
        raise DataError(
            f"{tree.where!r} looks like the parts of a data set without classes (images: {counts}); wanted is one "
            f"folder for each class inside of {names[0] if names[0].lower() in TRAIN else TRAIN[0]}/, with its images"
        )


def _unused(tree: Tree, items: Iterable[Item]) -> list[str]:
    """A note on the images that are in neither part, by the folder at the top that they are in."""
    used = {item.name for item in items}
    tops = Counter(
        f"in {plain(top)}/" if below else "beside the folders"
        for name in tree.sizes
        if name not in used and not tree.reason(name)
        for top, below, _ in [name.partition("/")]
    )
    told = ", ".join(f"{count:,} {top}" for top, count in tops.most_common(5))
    more = f" and {len(tops) - 5} other folders" if len(tops) > 5 else ""
    return [f"images that are not used: {told}{more}"] if told else []


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


def split(named: list[tuple[str, int]]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """About a fifth of each class for validation, at least one and never all, by a hash of each image's path.

    An image that is added moves no other one, but where its class had no path below or none above the share. The only
    image of a class is trained on. Raises: DataError where none is left to hold out.
    """
    by_class: dict[int, list[str]] = {}
    for name, label in named:
        by_class.setdefault(label, []).append(name)
    train, val = [], []
    for label, names in by_class.items():
        ranked = sorted((_chance(name), name) for name in names)
        aside = min(max(1, sum(chance < VAL_SHARE for chance, _ in ranked)), len(names) - 1)
        val += [Item(name, label) for name in sorted(name for _, name in ranked[:aside])]
        train += [Item(name, label) for name in sorted(name for _, name in ranked[aside:])]
    if named and not val:
        raise DataError(f"every class has a single image ({named[0][0]!r}): none is left to hold out")
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


def _chance(name: str) -> float:
    """A number in 0..1 that depends on the path alone."""
    digest = hashlib.sha256(f"{SEED} {name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7]) / 2**56


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that puts `2` before `10`; it orders classes for people, and nothing else depends on it."""
    return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", name)]


def listed(names: list[str]) -> str:
    """A few names in quotes, and how many more."""
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _classes(tree: Tree, root: str, few_are_enough: bool = False) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """The class names below `root`, in natural order, and (name, label) of every image."""
    where = f"{tree.where.rstrip('/')}/{root}" if root else tree.where
    folders = sorted(tree.folders.get(root, ()), key=natural)
    if not folders:
        loose = len(tree.images(root))
        found = f"{loose:,} images but no folders" if loose else "no folders"
        raise DataError(f"{where!r} holds {found}; wanted is one folder for each class, with its images inside")
    by_name: dict[str, str] = {}
    for name in folders:
        if not name.isprintable():  # control characters, bytes that are no text
            raise DataError(f"{where!r} has a class folder whose name is no plain text: {name!a}; rename it")
        twin = by_name.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name:
            raise DataError(f"{where!r} has two folders for one class: {twin!a} and {name!a}")
    images = {name: tree.images(f"{root}/{name}" if root else name) for name in folders}
    empty = [name for name, inside in images.items() if not inside]
    if not any(images.values()):
        seen = Counter(Path(name).suffix.lower() or "no suffix" for name in tree.sizes)
        there = ", ".join(f"{count:,} {suffix}" for suffix, count in seen.most_common(5))
        raise DataError(
            f"no image was found under {where!r}; looked for {', '.join(sorted(SUFFIXES))}"
            + (f"; the files there: {there}" if there else "")
        )
    ours = {folder.removeprefix(f"{root}/" if root else "").split("/")[0] for folder in tree.results}
    empty = [name for name in empty if name not in ours]  # why: a folder of nothing but results is no class
    if empty and not few_are_enough:
        only = tree.left_out(*(f"{root}/{name}" if root else name for name in empty))
        there = f", only {only}" if only else ""
        raise DataError(f"{where!r} has no image of {listed(empty)}{there}: fill or remove the folder")
    names = tuple(name for name in images if images[name])
    if len(names) < 2 and not few_are_enough:
        inside = tree.folders.get(f"{root}/{names[0]}" if root else names[0], [])
        hint = f"; did you mean {where.rstrip('/')}/{names[0]}?" if len(inside) > 1 else ""
        raise DataError(f"{where!r} has one class only ({names[0]!r}): a classifier needs at least two{hint}")
    items = [(name, i) for i, folder in enumerate(names) for name in images[folder]]
    return tuple(unicodedata.normalize("NFC", name) for name in names), items
