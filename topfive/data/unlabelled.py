"""Images without classes: single files, everything below a folder or in an archive."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from PIL import Image

from topfive.data.archives import ARCHIVES
from topfive.data.decoding import Unreadable, decode
from topfive.data.opening import archive_tree, open_source, recognised
from topfive.data.shards import expanded, is_pattern
from topfive.data.sources import Source, natural
from topfive.data.trees import Tree, folder_tree
from topfive.errors import DataError


@dataclass(frozen=True)
class UnlabelledImage:
    """An image's name for people; `image(upright)` is it in RGB, turned by EXIF or not, and raises Unreadable."""

    name: str
    image: Callable[[bool], Image.Image]


def images(places: Sequence[str]) -> tuple[list[UnlabelledImage], list[str]]:
    """The images at each of `places`, in natural order within each; and what was left out there, in words.

    Files are not opened yet: one that is gone or no image is found out when it is read. Raises: DataError for a
    folder that does not exist or holds no images.
    """
    found: list[UnlabelledImage] = []
    notes: list[str] = []
    for place in chain.from_iterable(map(_meant, places)):
        if Path(place).is_dir():
            tree = folder_tree(Path(place))
        elif place.lower().endswith(ARCHIVES) and Path(place).is_file():
            tree = archive_tree(place)
        elif "://" in place or (is_pattern(place) and expanded(place) != [place]):
            source = open_source(place, whole=True)
            found += _of_source(source)
            notes += source.notes
            continue
        else:
            found.append(UnlabelledImage(place, partial(_of_file, place)))
            continue
        below, said = _below(tree)
        found += below
        notes += said
    return found, notes


def _meant(place: str) -> list[str]:
    """The names that a pattern stands for which no shell has expanded; `place` itself where it is none or is there."""
    if os.path.exists(place) or not glob.has_magic(place):
        return [place]
    return sorted(glob.glob(place), key=natural) or [place]


def _of_file(name: str, upright: bool) -> Image.Image:
    try:
        data = Path(name).read_bytes()
    except OSError as error:  # it is gone, or may not be read
        raise Unreadable(name, error.strerror or str(error)) from None
    return decode(data, name, upright).image


def _below(tree: Tree) -> tuple[list[UnlabelledImage], Iterable[str]]:
    """The images in a tree, or else in the pack, shards or files of CIFAR that it holds; and what is to be said."""
    if names := tree.images(""):
        above = tree.where.rstrip("/")
        return [UnlabelledImage(f"{above}/{name}", partial(_of_tree, tree, name)) for name in names], tree.notes()
    if source := recognised(tree, whole=True):
        return _of_source(source), source.notes
    there = f", only {left_out}" if (left_out := tree.left_out("")) else ""
    raise DataError(f"there are no images below {tree.where!r}{there}")


def _of_source(source: Source) -> list[UnlabelledImage]:
    return [UnlabelledImage(source.path(item), partial(source.read, item)) for item in (*source.train, *source.val)]


def _of_tree(tree: Tree, name: str, upright: bool) -> Image.Image:
    return decode(tree.store.read(name), name, upright).image
