"""Which layout a place has: `open_source` takes a path, a URL or a name, and finds out."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from topfive.data import cifar, imagenet, packing, shards
from topfive.data.archives import ARCHIVES, archive
from topfive.data.class_folders import class_folders
from topfive.data.fetching import fetched
from topfive.data.public_sets import PUBLIC
from topfive.data.sources import SPLIT_HERE, TRAIN, VAL, Source, split
from topfive.data.stores import Pixels, Progress, silent
from topfive.data.trees import Tree, folder_tree
from topfive.errors import DataError, UsageError, did_you_mean

DIGITS = "digits"


def open_source(where: str | None, progress: Progress = silent, whole: bool = False) -> Source:
    """The source that `where` means: a folder, an archive, shards (a pattern or URL), a named set, or the digits.

    Where nothing in it is called train, it is split here; with `whole` all of it is evaluated.
    Raises: DataError in one sentence that names what was found and what is wanted; UsageError for an unknown name.
    """
    if where is None or (where == DIGITS and not Path(where).exists()):
        return digits()
    if shards.is_pattern(where):
        return shards.from_pattern(where, progress, whole)
    path = Path(where)
    if not path.exists() and where in PUBLIC:
        there = fetched(where)
        if there is None:
            raise DataError(f"{where} is not on this machine: topfive data fetch {where}")
        source = _of(archive_tree(str(there), progress), progress)
        words = PUBLIC[where].words
        return replace(source, name=where, words=tuple(words.get(name, name) for name in source.classes))
    if path.is_dir():
        return _of(folder_tree(path), progress, whole)
    if where.lower().endswith(ARCHIVES):
        return _of(archive_tree(where, progress), progress, whole)
    if path.exists():
        raise DataError(f"{where!r} is a file, and no archive that is read ({', '.join(ARCHIVES)})")
    near = did_you_mean(where, (*PUBLIC, DIGITS)) if "/" not in where else ""
    raise DataError(f"there is no folder or file {where!r}{near}")


def digits() -> Source:
    """1,797 scanned digits of 8x8 pixels, ten classes, from scikit-learn; a fifth of each class for validation."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError("the digits come with scikit-learn: pip install 'topfive[digits]', or name a source") from None
    data = load_digits()
    pixels = np.round(data.images * 255 / 16).astype(np.uint8)
    names = [(f"{DIGITS}/{i:04}", int(label)) for i, label in enumerate(data.target)]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    train, val = split(names)
    store = Pixels({DIGITS: np.repeat(pixels[..., None], 3, 3)}, digest)
    return Source(DIGITS, DIGITS, tuple("0123456789"), train, val, SPLIT_HERE, digest, store, mirror=False)


def lasting(source: Source) -> str:
    """What opens the source again from any working folder: a name, a URL, or an absolute path."""
    if source.name in PUBLIC and str(fetched(source.name)) == source.where:
        return source.name
    named = "://" in source.where or (source.where == DIGITS and not Path(DIGITS).exists())
    return source.where if named else os.path.abspath(source.where)


def recognised(tree: Tree, progress: Progress = silent, whole: bool = False) -> Source | None:
    """The source, where more than folders tell what it is: a pack, CIFAR, ILSVRC2012, shards. Raises: DataError."""
    for layout in (packing.recognise, cifar.recognise, imagenet.recognise):
        source = layout(tree, progress)
        if source is not None:
            return source
    return shards.recognise(tree, progress, whole)


def _of(tree: Tree, progress: Progress, whole: bool = False) -> Source:
    return recognised(tree, progress, whole) or class_folders(tree, whole)


def archive_tree(where: str, progress: Progress = silent) -> Tree:
    """What lies in an archive, from the first folder on that holds more than one folder. Raises: DataError."""
    store = archive(where, progress)
    tree = Tree(where, store, store.entries(), store.notes)
    # why: most archives hold one folder that holds all; train/ by itself is the part that it is in a folder, too
    while len(tree.folders[""]) == 1 and not tree.files[""] and tree.folders.get(only := tree.folders[""][0]):
        if only.lower() in (*TRAIN, *VAL):
            break
        tree = tree.below(only)
    tree.where = where
    return tree
