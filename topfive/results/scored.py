"""Which images a run was trained and validated on, as its folder tells; and so which images judge it honestly.

images.csv.gz    in a run's folder, written once: part, class, bytes, path of every image
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from topfive.data.class_folders import SCORED_WHOLE
from topfive.data.opening import open_source
from topfive.data.shards import is_pattern
from topfive.data.sources import SPLIT_HERE, Item, Source, few, fingerprint, split
from topfive.data.stores import Progress, silent
from topfive.errors import DataError, RefusedError
from topfive.results.runs import IMAGES, load_run
from topfive.results.training import Stated

COLUMNS = ("part", "class", "bytes", "path")
Known = Mapping[str, tuple[str, int]]  # by path: class, and size in bytes


class Trained(NamedTuple):
    """What a model says of its training: where it lies, the fingerprint and the name of its source, "" for neither."""

    where: str
    fingerprint: str
    source: str


@dataclass(frozen=True)
class Kept:
    """What a run's folder says."""

    folder: Path
    stated: Stated

    @cached_property
    def images(self) -> tuple[Known, Known] | None:
        """Those of training and of validation; none of a run of before they were recorded. Raises: RefusedError."""
        return _images(self.folder / IMAGES)

    @property
    def place(self) -> str:
        """What opens its source again."""
        return str(self.stated.source.get("path") or self.stated.source["where"])


def recorded(source: Source) -> bytes:
    """The images of a source, for a run's folder."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for part, items in (("train", source.train), ("validation", source.val)):
        table.writerows((part, source.classes[item.label], source.sizes.get(item.name, 0), item.name) for item in items)
    return gzip.compress(text.getvalue().encode("utf-8", "surrogateescape"), mtime=0)


def run_of(where: str) -> Kept | None:
    """The run that a folder is, or that a checkpoint's folder or file lies in. Raises: RefusedError."""
    path = Path(where).absolute()
    for folder in (path, *path.parents[:3]):
        if (folder / "run.json").is_file() and (folder == path or (folder / "checkpoints") in (path, *path.parents)):
            shown = Path(where) if folder == path else folder
            return Kept(shown, load_run(folder))
    return None


def still_there(run: str, place: str, option: str) -> None:
    """Raises: DataError where a run's source is no longer where it was; `option` is how to name it."""
    if os.path.isabs(place) and not is_pattern(place) and not Path(place).exists():
        raise DataError(f"the images of {run} are no longer at {place}: name where they are now, {option}")


def to_score(models: Sequence[Trained], where: str | None, progress: Progress = silent) -> tuple[Source, list[str]]:
    """The images that judge the models, as the validation ones of a source, and what must be said of them.

    `where` is a source, none for that of the only model, which is a run. A model's own source is scored on the images
    that the model was validated on; a folder that holds no train/ is scored whole. Raises: DataError.
    """
    runs = [run_of(model.where) for model in models]
    if where is None and runs[0]:
        where = runs[0].place
        still_there(str(runs[0].folder), where, f"topfive evaluate {runs[0].folder} NEW")
    own = next((run for run in runs if run and _same(run.place, str(where))), None)
    source = open_source(where, progress, whole=not own or (own.folder / IMAGES).exists())
    notes: list[str] = []
    # why: what was split when it was trained on is told again by the same split, wherever it lies now
    if source.split == SCORED_WHOLE and any(model.fingerprint == _split(source).fingerprint for model in models):
        source = _split(source)
    elif own and own.stated.source["fingerprint"] != source.fingerprint and own.images:
        source, notes = _validated(source, own, own.images)
    if source.split == SCORED_WHOLE:
        notes += few(source.classes, (), source.val, source.split)
    for model, run in zip(models, runs):
        notes += _trained_on(source, model, run)
    return source, notes


def said(source: Source) -> str:
    """What is scored, in a line."""
    count, images = len(source.val), "image" if len(source.val) == 1 else "images"
    classes = len({item.label for item in source.val})
    if not source.train:
        of = "class" if classes == 1 else "classes"
        return f"evaluating all {count:,} {images} of {source.name}, in {classes:,} {of}"
    return f"evaluating the {count:,} validation {images} of {source.name} ({source.split})"


def _validated(source: Source, run: Kept, images: tuple[Known, Known]) -> tuple[Source, list[str]]:
    """The source with the parts that the run recorded, as far as they are as they were, and what has changed."""
    now = {item.name: item for item in (*source.train, *source.val)}
    then = {**images[0], **images[1]}
    train, val = (
        tuple(now[name] for name in part if name in now and _known(source, now[name]) == part[name]) for part in images
    )
    if not val:
        raise DataError(
            f"{source.where} holds none of the {len(images[1]):,} images that {run.folder} was validated on: name "
            f"where they are, or others: topfive evaluate {run.folder} SOURCE"
        )
    gone = sum(name not in now for name in then)
    same = len(train) + len(val)
    changes = {"added": len(now.keys() - then.keys()), "gone": gone, "changed": len(then) - gone - same}
    told = ", ".join(f"{count:,} {what}" for what, count in changes.items() if count) or "the order of its images"
    mark = fingerprint(source.classes, (*train, *val), dict(source.sizes))
    note = (
        f"{source.name} is not as it was when {run.folder} was trained ({told}): scored are the {len(val):,} of "
        f"its {len(images[1]):,} validation images that are as they were"
    )
    parts = replace(source, train=train, val=val, split=f"as {run.folder} recorded", fingerprint=mark)
    return parts, [note]


def _trained_on(source: Source, model: Trained, run: Kept | None) -> Iterator[str]:
    """A warning where a model was trained on images that are scored, or where it may have been."""
    if not model.fingerprint or _related(model.fingerprint, source.fingerprint):
        return
    if run and run.images:
        trained = run.images[0]
        found = sum(
            any(trained.get(name) == _known(source, item) for name in _names(source, item, run.place))
            for item in source.val
        )
        if found:
            yield (
                f"warning: {model.where} was trained on {found:,} of the {len(source.val):,} scored images, going "
                "by path and size: the accuracy is too high"
            )
    elif model.source == source.name:
        yield (
            f"warning: {model.where} was trained on images of a {source.name} that is not the same as this one "
            f"(fingerprint {model.fingerprint} then, {source.fingerprint} now), and which ones is not recorded: if "
            "some of them are scored, the accuracy is too high"
        )


def _names(source: Source, item: Item, place: str) -> Iterator[str]:
    """What an image may be called in the source at `place`: by where it lies if one holds the other, else the same."""
    here, there = os.path.realpath(source.where), os.path.realpath(place)
    if here == there or not (here.startswith(f"{there}/") or there.startswith(f"{here}/")):
        yield item.name
    elif here.startswith(f"{there}/"):
        yield f"{here[len(there) + 1 :]}/{item.name}"
    elif item.name.startswith(inside := f"{there[len(here) + 1 :]}/"):
        yield item.name.removeprefix(inside)


def _known(source: Source, item: Item) -> tuple[str, int]:
    return source.classes[item.label], source.sizes.get(item.name, 0)


def _split(source: Source) -> Source:
    """A source that is whole, split as it is for training; unchanged where it cannot be."""
    try:
        train, val = split([(item.name, item.label) for item in source.val])
    except DataError:
        return source
    mark = fingerprint(source.classes, (*train, *val), dict(source.sizes))
    notes = (*source.notes, *few(source.classes, train, val, SPLIT_HERE))
    return replace(source, train=train, val=val, split=SPLIT_HERE, fingerprint=mark, notes=notes)


def _related(one: str, other: str) -> bool:
    """Whether two fingerprints are of the same images in the same parts; a pack adds its side, a blacklist a number."""
    return one == other or one.startswith(f"{other}-") or other.startswith(f"{one}-")


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _images(path: Path) -> tuple[Known, Known] | None:
    if not path.exists():
        return None
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8", "surrogateescape")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        known = {
            part: {row["path"]: (row["class"], int(row["bytes"])) for row in rows if row["part"] == part}
            for part in ("train", "validation")
        }
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RefusedError(f"{path} is damaged: {error}") from None
    return known["train"], known["validation"]
