"""The files and folders of a store as a tree, hidden ones left out and counted."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from topfive.data.decoding import CONVERTIBLE, Unreadable, is_image, not_an_image
from topfive.data.outputs import holds_results, signs_in
from topfive.data.sources import TRAIN, VAL, listed, natural
from topfive.data.stores import Below, Entry, Folder, Tellable, plain
from topfive.errors import DataError, ResourceError

NOISE = ("thumbs.db", "desktop.ini")


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
