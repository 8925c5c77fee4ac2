"""Where results go: never into a source; and how they are told from a user's images: by a mark in their folder."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from topfive.errors import UsageError

if TYPE_CHECKING:
    from topfive.data.sources import Source

MARK = ".topfive"  # the first file in each folder of results
MARKED = b"This folder holds results of topfive: nothing in it is taken for an image of a source.\n"
# what the folders of results hold that were made before there was a mark: those of runs, of comparisons
SIGNS = (("run.json", "lock"), ("setting.json", "rows.jsonl"), ("setting.json", "decoding.json"))
PACK = "pack.json"  # a pack is a source by itself, and no class of another one
# what holds nothing but these pages, of before there was a mark, has results, too
PAGE = ("check-", ".html")
WORDS = {MARK, PACK, *(name for sign in SIGNS for name in sign)}


def holds_results(names: Collection[str]) -> bool:
    """Whether a folder with files of these names is one of ours."""
    return MARK in names or any(all(name in names for name in sign) for sign in SIGNS)


def signs_in(paths: Iterable[str]) -> set[str]:
    """The folders that hold results, or a pack, of all the posix `paths` of a tree."""
    found: dict[str, set[str]] = defaultdict(set)
    pages, others = set[str](), set[str]()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name in WORDS:
            found[folder].add(name)
        (pages if name.startswith(PAGE[0]) and name.endswith(PAGE[1]) else others).add(folder)
    signed = {folder for folder, names in found.items() if PACK in names or holds_results(names)}
    return signed | (pages - others)


def mark(folder: Path) -> None:
    """Make a folder for results; it is marked where it is new, empty or ours. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    names = os.listdir(folder)
    if MARK not in names and (not names or holds_results(names)):  # why: in a user's folder there may be images
        (folder / MARK).write_bytes(MARKED)


def placed(source: Source, default: str, given: str | None, option: str = "--out") -> Path:
    """Where results go: `given`, else `default`, which is taken beside the source where it would lie inside.

    Raises: UsageError for a place inside the source, but for a folder of results that is there already.
    """
    root = Path(os.path.realpath(source.where))
    place = Path(default if given is None else given)
    if not (root.is_dir() and Path(os.path.realpath(place)).is_relative_to(root)):
        return place
    if given is None and os.access(root.parent, os.W_OK):
        return Path(os.path.relpath(root.parent / default))
    if given is not None and place.is_dir() and holds_results(os.listdir(place)):
        return place
    raise UsageError(
        f"{place} lies inside the source {source.where!r}, which is never written to: give {option} a place outside"
    )
