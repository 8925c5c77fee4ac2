"""Tar shards of (image, label) pairs in the WebDataset convention, local or at a URL; read by position, in any order.

A sample is the run of members that share a name up to its first dot: `000017.jpg` and `000017.cls`, whose text is the
index of the class (or a `.json` with "label"). Names of classes stand in `classes.txt` beside the shards, one a line.

Source: https://github.com/webdataset/webdataset, the section on the format.
"""

import glob
import re
from collections.abc import Iterable, Set
from functools import partial
from pathlib import Path

import msgspec

from topfive.data.archives import ARCHIVES, Archive, archive
from topfive.data.class_folders import SCORED_WHOLE
from topfive.data.decoding import Unreadable, is_image, not_an_image
from topfive.data.sources import SPLIT_HERE, TRAIN, VAL, Item, Source, few, fingerprint, split
from topfive.data.stores import Joined, Progress, cached, digest, plain
from topfive.data.trees import Tree, kinds_of
from topfive.errors import DataError

LABELS = ("cls", "json")
CLASS_NAMES = ("classes.txt", "classnames.txt", "labels.txt")
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An image's member and what its label says."""

    image: str
    label: str


class _Known(msgspec.Struct, frozen=True):
    samples: tuple[Sample, ...]
    left_out: tuple[tuple[str, str], ...]  # members that belong to no sample, and what they are


def is_pattern(where: str) -> bool:
    """Whether `where` stands for shards: a URL, `{000..009}`, or a `*`; a folder may be called like that, too."""
    return "://" in where or ((BRACES.search(where) is not None or "*" in where) and not Path(where).exists())


def from_pattern(where: str, progress: Progress, whole: bool = False) -> Source:
    """The shards that a pattern or URL names. Raises: DataError, UsageError."""
    places = expanded(where)
    if "*" in where and "://" not in where:
        places = sorted(name for place in places for name in glob.glob(place))
    if not places:
        raise DataError(f"no file is called {where!r}")
    others = [place for place in places if "://" not in place and not place.lower().endswith(ARCHIVES)]
    if others:
        raise DataError(
            f"{where!r} stands for shards, and {others[0]!r} is no tar: name the folder that the class folders are in"
        )
    return _source(where, places, (), progress, whole)


def recognise(tree: Tree, progress: Progress, whole: bool = False) -> Source | None:
    """The source, where the tree is a shard or a folder of nothing but shards."""
    if any(name.endswith(".cls") for name in tree.files[""]):
        return _source(tree.where, [tree.where], (), progress, whole)
    tars = [name for name in tree.files[""] if name.endswith(".tar")]
    if not tars or tree.folders[""]:
        return None
    names: tuple[str, ...] = ()
    for stated in CLASS_NAMES:
        if stated in tree.files[""]:
            lines = tree.store.read(stated).decode("utf-8", "replace").splitlines()
            names = tuple(line.strip() for line in lines if line.strip())
            break
    return _source(tree.where, [f"{tree.where.rstrip('/')}/{name}" for name in tars], names, progress, whole)


def expanded(pattern: str) -> list[str]:
    """`a-{008..010}.tar` as the three names that it stands for."""
    found = BRACES.search(pattern)
    if not found:
        return [pattern]
    first, last = found[1], found[2]
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [name for n in numbers for name in expanded(pattern[: found.start()] + n + pattern[found.end() :])]


def _source(where: str, places: list[str], names: tuple[str, ...], progress: Progress, whole: bool) -> Source:
    parts: dict[str, Archive] = {}
    samples: dict[str, tuple[Sample, ...]] = {}
    left_out: list[tuple[str, str]] = []
    for i, place in enumerate(places):
        shard = archive(place, progress)
        if not isinstance(shard, Archive):
            raise DataError(f"{place} is compressed, and a shard is read in place: decompress it to a plain .tar")
        name = place.rpartition("/")[2]
        if name in parts:
            raise DataError(f"two shards are called {name!r}: give them different names")
        kept = f"labels/{digest([shard.file.place()])}.msgpack"
        known = cached(kept, shard.stamp, _Known, partial(_samples, shard))
        parts[name], samples[name] = shard, known.samples
        left_out += known.left_out
        progress("reading labels", i + 1, len(places))
    names = names or _numbered(label for shard in samples.values() for _, label in map(msgspec.structs.astuple, shard))
    index = _index(where, names, {sample.label for shard in samples.values() for sample in shard})
    items: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "": []}
    sizes: dict[str, int] = {}
    for shard_name, found in samples.items():
        part = _part(shard_name)
        for sample in found:
            if sample.label not in index:
                raise DataError(
                    f"{shard_name}: {sample.image!r} has the label {sample.label!r}, and there are the "
                    f"{len(names)} classes 0 to {len(names) - 1}"
                )
            name = f"{shard_name}/{sample.image}"
            items[part].append((name, index[sample.label]))
            sizes[name] = parts[shard_name].index.members[sample.image].size
    if items["train"] and items["validation"]:
        train, val = (tuple(Item(*item) for item in items[part]) for part in ("train", "validation"))
        how = "training and validation shards by their names"
    elif whole and not items["train"]:
        val = tuple(Item(*item) for part in items.values() for item in part)
        train, how = (), SCORED_WHOLE
    else:
        train, val = split([item for part in items.values() for item in part])
        how = SPLIT_HERE
    if len(names) < 2:
        raise DataError(f"{where!r} has {len(names)} class: a classifier needs at least two")
    notes = tuple(note for part in parts.values() for note in part.notes)
    notes += tuple(few(names, train, val, how)) if train else ()
    notes += (f"left out, no part of a sample: {kinds_of(left_out)}",) if left_out else ()
    name = plain(Path(where).name or where)
    mark = fingerprint(names, (*train, *val), sizes)
    return Source(name, where, names, train, val, how, mark, Joined(parts), notes=notes, sizes=sizes)


def _index(where: str, names: tuple[str, ...], labels: Set[str]) -> dict[str, int]:
    """The class that each label stands for: labels are indices or names, all alike. Raises: DataError for either."""
    indices, named = {str(i): i for i in range(len(names))}, {name: i for i, name in enumerate(names)}
    readings = [reading for reading in (indices, named) if labels <= reading.keys()]
    both = sorted(label for label in labels & indices.keys() & named.keys() if indices[label] != named[label])
    if both and len(readings) != 1:  # why: classes called 1, 2, 10 are not the classes 0, 1, 2
        raise DataError(
            f"{where!r} has the label {both[0]!r}, which is the index of one class and the name of another: give the "
            f"classes names that are no numbers in {CLASS_NAMES[0]}"
        )
    return readings[0] if readings else {**indices, **named}


def _samples(shard: Archive) -> _Known:
    """Every sample of a shard, in the order of the members. Raises: DataError with key and offsets."""
    groups: dict[str, dict[str, str]] = {}
    last = ""
    members = sorted(shard.index.members.items(), key=lambda item: item[1].offset)
    for name, member in members:
        folder, _, file = name.rpartition("/")
        stem, _, kind = file.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        kind = "image" if is_image(name) else kind.lower()
        if key != last and key in groups:
            first = shard.index.members[next(iter(groups[key].values()))].offset
            raise DataError(
                f"{shard.file}: the sample {key!r} is torn apart, at {first} and {member.offset}{_first_dot(name)}"
            )
        parts = groups.setdefault(key, {})
        if kind in parts and kind in ("image", *LABELS):
            first = shard.index.members[parts[kind]].offset
            two = f"the sample {key!r} has two of {kind!r}, at {first} and {member.offset}"
            raise DataError(f"{shard.file}: {two}{_first_dot(name)}")
        parts[kind], last = name, key
    samples: list[Sample] = []
    left_out: list[tuple[str, str]] = []
    with shard.file.open() as opened:
        for key, parts in groups.items():
            told = {} if "image" in parts else {name: _told(shard, name) for name in parts.values()}
            found = [name for name, reason in told.items() if not reason]
            if len(found) == 1:
                parts["image"] = found[0]
            kind = next((kind for kind in LABELS if kind in parts), "")
            if "image" not in parts and not kind:
                left_out += told.items()  # something else: a readme, a list
                continue
            if "image" not in parts or not kind:
                others = [(name, reason) for name, reason in told.items() if name != parts.get(kind)]
                lacks = (f"image, only {kinds_of(others)}" if others else "image") if kind else "label"
                name = next(iter(parts.values()))
                at = shard.index.members[name].offset
                raise DataError(f"{shard.file}: the sample {key!r} at {at} has no {lacks}{_first_dot(name)}")
            member = shard.index.members[parts[kind]]
            opened.seek(member.offset)
            samples.append(Sample(parts["image"], _label(opened.read(min(member.size, 2**20)), kind, shard, key)))
    if not samples:
        raise DataError(f"{shard.file} holds no samples: wanted are pairs such as 000017.jpg and 000017.cls")
    return _Known(tuple(samples), tuple(left_out))


def _first_dot(name: str) -> str:
    """What may be wrong with a member whose name has more dots than the one before its kind."""
    file = name.rpartition("/")[2]
    rule = f"; WebDataset's samples are named up to the first dot, and {file!r} has more: write others in their place"
    return rule if file.count(".") > 1 else ""


def _told(shard: Archive, name: str) -> str:
    """What a member is that its name does not tell, "" for an image."""
    try:
        return not_an_image(shard.start(name), name)
    except Unreadable as error:
        return error.reason


def _label(data: bytes, kind: str, shard: Archive, key: str) -> str:
    try:
        if kind == "cls":
            return data.decode().strip()
        stated = msgspec.json.decode(data)
        return str(next(stated[name] for name in ("label", "cls", "class") if name in stated))
    except (UnicodeDecodeError, msgspec.MsgspecError, StopIteration, TypeError):
        raise DataError(f"{shard.file}: the label of {key!r} cannot be read") from None


def _numbered(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes 0 to the largest label. Raises: DataError for a label that is no number."""
    most = -1
    for label in labels:
        if not (label.isascii() and label.isdigit() and int(label) < 1_000_000):
            raise DataError(f"the label {label!r} is no index of a class; lay {CLASS_NAMES[0]} beside the shards")
        most = max(most, int(label))
    return tuple(str(i) for i in range(most + 1))


def _part(name: str) -> str:
    words = re.split(r"[^a-z]+", name.lower())
    return "train" if any(w in TRAIN for w in words) else "validation" if any(w in VAL for w in words) else ""
