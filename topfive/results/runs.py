"""A run's folder: it says everything about the run, and survives kill -9, a full disk and a second start.

    .topfive         written first: results of ours, and no image in it is taken for data
    run.json         what the run is; written once
    images.csv.gz    which images it is trained and validated on; written once
    rows.jsonl       what was measured, a row a line; replaced whole
    lock             held by the process that works here, and names it
    checkpoints/     step-00000400/, best-00000300/: files, and manifest.json with the sha256 of each
    NAME.*.tmp       unfinished, here or in checkpoints/; removed at the next start

Nothing has its name before it is on the disk, and nothing older goes before that: write aside, fsync, rename, fsync of
the folder, and only then remove. A power cut between any two of these leaves the new, the old, or both.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from topfive.data.files import delete, fail, insist, put, remove, sync, write_whole
from topfive.data.outputs import MARK, MARKED
from topfive.errors import RefusedError, UsageError
from topfive.results.checkpoints import (
    VERSION,
    Checkpoint,
    Listed,
    Manifest,
    checkpoint_folders,
    newest,
    open_checkpoint,
    step_of,
    verifies,
)
from topfive.results.differences import compared
from topfive.results.locks import Lock
from topfive.results.records import EpochRecord
from topfive.results.seals import T, read_back, sealed, unsealed
from topfive.results.training import Stated
from topfive.results.version1 import recipe_of_now, result_of_now, source_of_now

KEPT = {"step": 2, "best": 1}
IMAGES = "images.csv.gz"
# what may lie in a folder that holds no run yet: of a start that failed, and of train --plan
BESIDE = ("lock", "bad_files.csv", MARK, "plan.png", "plan.svg")
LEFTOVER = re.compile(r"(run\.json|rows\.jsonl|images\.csv\.gz|\.topfive|aside|probe|[a-z]+-\d+)(\.\d+){1,2}\.tmp")


class Run:
    """A run's folder that this process alone may write to; `notes` is what its user should be told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._lock = Lock(folder / "lock")
        self._damaged: set[Path] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others work in the folder."""
        self._lock.release()

    def save(
        self,
        step: int,
        files: Mapping[str, bytes],
        about: Mapping[str, object],
        kind: str = "step",
        alone: bool = False,
    ) -> Path:
        """Save a checkpoint, then remove those before it that are not kept: all where it stands `alone`.

        Raises: ResourceError.
        """
        final = self.folder / "checkpoints" / f"{kind}-{step:08}"
        listed = {name: Listed(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
        manifest = sealed(Manifest(VERSION, kind, step, dict(about), listed))

        def attempt() -> None:
            if verifies(final):
                sync(final.parent)
            else:
                write_whole(final, {**files, "manifest.json": manifest})
            self._prune(kind, step, 1 if alone else KEPT.get(kind, 1))

        insist(attempt, final, sum(map(len, files.values())), self.notes)
        self._damaged.discard(final)
        return final

    def newest(self, kind: str = "step") -> Checkpoint | None:
        """The checkpoint to continue from; damaged ones are skipped and noted. Raises: RefusedError if all are."""
        found, damaged = newest(self.folder, kind)
        self._damaged.update(damaged)
        if found:
            self.notes += [f"{why}; {found.folder.name} is taken instead" for why in damaged.values()]
        elif damaged:
            first = next(iter(damaged.values()))
            raise RefusedError(f"none of the {len(damaged)} checkpoints in {self.folder} is whole: {first}")
        return found

    def rows(self) -> list[dict[str, object]]:
        """What `write_rows` wrote, with today's names. Raises: RefusedError, ResourceError."""
        return _rows_in(self.folder, dict[str, object])

    def write_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Replace all rows. Raises: ResourceError."""
        path, data = self.folder / "rows.jsonl", msgspec.json.Encoder().encode_lines(rows)
        insist(lambda: write_whole(path, data), path, len(data), self.notes)

    def forget(self) -> None:
        """Leave the folder as none of a run, where nothing has been saved in it."""
        if self.newest() is None:
            for name in ("run.json", IMAGES):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.folder / "checkpoints").rmdir()

    def _prune(self, kind: str, step: int, kept: int) -> None:
        """Keep so many checkpoints, the one of `step`, which is on the disk, included; a damaged one does not count."""
        older = [path for path in checkpoint_folders(self.folder, kind) if step_of(path) < step]
        stay = [path for path in older if path not in self._damaged][: kept - 1]
        for path in older:
            if path not in stay:
                remove(path)


def open_run(folder: Path, stated: Stated, images: Callable[[], bytes] | None = None, again: bool = False) -> Run:
    """The run's folder, new or as it was left, locked and tried for writing.

    `images` gives the content of images.csv.gz where it is not there yet; `again` is for a run that is to be there.
    Raises: UsageError where it is in use, is of another run or of none; RefusedError where run.json is damaged;
    ResourceError where it cannot be written.
    """
    path = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strange = [name for name in os.listdir(folder) if name not in BESIDE and not LEFTOVER.fullmatch(name)]
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} cannot be a run's folder: a file is in its place") from None
    except OSError as error:
        fail(error, folder)
    if strange and not path.exists():
        raise UsageError(f"{folder} is no run and not empty (it holds {min(strange)}): name one that is new or empty")
    run = Run(folder)
    try:
        run.notes += run._lock.take()
        if not (folder / MARK).exists():
            insist(lambda: write_whole(folder / MARK, MARKED), folder / MARK, 0, run.notes)
        if path.exists():
            now = msgspec.json.decode(msgspec.json.encode(stated), type=Stated)
            run.notes += compared(folder, load_run(folder), now, again)
        else:
            insist(lambda: write_whole(path, sealed(stated)), path, 0, run.notes)
        if images and not (folder / IMAGES).exists():
            content = images()
            insist(lambda: write_whole(folder / IMAGES, content), folder / IMAGES, len(content), run.notes)
        insist(lambda: _prepare(folder), folder, 0, run.notes)
    except BaseException:
        run.close()
        raise
    return run


def holds_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / "run.json").exists()


def load_run(folder: Path) -> Stated:
    """What the run in a folder is, for those who only read. Raises: UsageError, RefusedError, ResourceError."""
    if not holds_run(folder):
        raise UsageError(f"{folder} is no run: it holds no run.json")
    stated = unsealed(folder / "run.json", Stated)
    recipe, source = recipe_of_now(stated.recipe), source_of_now(stated.source)
    return msgspec.structs.replace(stated, recipe=recipe, source=source)


def load_rows(folder: Path) -> list[EpochRecord]:
    """The records of a run's epochs so far. Raises: RefusedError, ResourceError."""
    return _rows_in(folder, EpochRecord)


def _rows_in(folder: Path, kind: type[T]) -> list[T]:
    path = folder / "rows.jsonl"
    if not path.exists():
        return []
    try:
        return [
            msgspec.convert(result_of_now(msgspec.json.decode(line)), kind) for line in read_back(path).splitlines()
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path} is damaged: {error}") from None


def newest_in(folder: Path, kind: str = "step", damaged: list[str] | None = None) -> Checkpoint:
    """The newest whole checkpoint of a run, for those who only read; `damaged` is told which newer ones are not whole.

    Raises: UsageError, RefusedError.
    """
    load_run(folder)
    found, wrong = newest(folder, kind)
    if damaged is not None:
        damaged += wrong.values()
    if not found:
        raise RefusedError(f"{folder} has no whole checkpoint")
    return found


def verify(folder: Path) -> list[str]:
    """What is damaged of a run: a sentence each, with the file and, of a checkpoint's, both hashes."""
    wrong = []
    checks: list[Callable[[], object]] = [partial(load_run, folder)]
    for check in checks + [partial(open_checkpoint, path) for path in checkpoint_folders(folder)]:
        try:
            check()
        except RefusedError as error:
            wrong.append(str(error))
    return wrong


def find_runs(root: Path) -> list[Path]:
    """The folders of runs at or below `root`; not those inside of another run."""
    found = []
    for folder, below, files in os.walk(root):
        if "run.json" in files:
            found.append(Path(folder))
            below.clear()
    return sorted(found)


def _prepare(folder: Path) -> None:
    """Remove what killed processes left, make what is missing, and find out at once whether it can be written."""
    places = folder, folder / "checkpoints"
    os.makedirs(places[1], exist_ok=True)
    for place in places:  # why: in both before the first probe; it may be these that have filled the disk
        for name in filter(LEFTOVER.fullmatch, os.listdir(place)):
            delete(place / name)
    for place in places:
        probe = place / f"probe.{os.getpid()}.tmp"
        put(probe, b"?")
        os.unlink(probe)
        sync(place)
    with contextlib.suppress(PermissionError):  # a parent that we may not list is not ours to look after
        sync(folder.parent)
