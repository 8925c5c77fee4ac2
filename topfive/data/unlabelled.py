"""Images without classes: single files, everything below a folder or in an archive."""

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from PIL import Image

from topfive.data.decoding import Unreadable, decode
from topfive.data.sources import Tree, folder_tree, natural
from topfive.data.stores import ARCHIVES, archive
from topfive.errors import DataError


@dataclass(frozen=True)
class UnlabelledImage:
    """An image's name for people, and its bytes; `read` raises OSError or Unreadable."""

    name: str
    read: Callable[[], bytes]

    def image(self, upright: bool) -> Image.Image:
        """In RGB. Raises: Unreadable, also where the file is gone or may not be read."""
        try:
            data = self.read()
        except OSError as error:
            raise Unreadable(self.name, error.strerror or str(error)) from None
        return decode(data, self.name, upright).image


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
            store = archive(place)
            tree = Tree(place, store, store.entries(), store.notes)
        else:
            found.append(_file(place))
            continue
        found += _below(tree)
        notes += tree.notes()
    return found, notes


def _meant(place: str) -> list[str]:
    """The names that a pattern stands for which no shell has expanded; `place` itself where it is none or is there."""
    if os.path.exists(place) or not glob.has_magic(place):
        return [place]
    return sorted(glob.glob(place), key=natural) or [place]


def _file(name: str) -> UnlabelledImage:
    return UnlabelledImage(name, Path(name).read_bytes)


def _below(tree: Tree) -> list[UnlabelledImage]:
    names = tree.images("")
    if not names:
        there = f", only {left_out}" if (left_out := tree.left_out("")) else ""
        raise DataError(f"there are no images below {tree.where!r}{there}")

    def reader(name: str) -> Callable[[], bytes]:
        return lambda: tree.store.read(name)

    return [UnlabelledImage(f"{tree.where.rstrip('/')}/{name}", reader(name)) for name in names]
