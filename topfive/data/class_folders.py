"""A folder for each class, in one split or two, wherever they lie."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from topfive.data.decoding import SUFFIXES
from topfive.data.sources import SPLIT_HERE, TRAIN, VAL, Item, Source, few, fingerprint, listed, matched, natural, split
from topfive.data.stores import plain
from topfive.data.trees import Tree, folder_tree
from topfive.errors import DataError

SCORED_WHOLE = "all of it is scored"
NOT_UPRIGHT = "ImageNet's classes: EXIF orientation is ignored, as its protocols do"
WNID = re.compile(r"n\d{8}")


def folder(root: Path) -> Source:
    """A folder of class folders, or of a training and a validation folder of them.

    Raises: DataError in one sentence that names what was found and what is wanted; ResourceError without permission.
    """
    return class_folders(folder_tree(root))


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
