"""A run's folder: it says everything about the run, and survives kill -9, a full disk and a second start.

    .topfive         written first: results of ours, and no image in it is taken for data
    run.json         what the run is; written once
    images.csv.gz    which images it is trained and validated on; written once
    rows.jsonl       what was measured, a row a line; replaced whole
    lock             held by the process that works here, and names it
    checkpoints/     step-00000400/, best-00000300/: files, and manifest.json with the sha256 of each
    NAME.PID.tmp     unfinished, here or in checkpoints/; removed at the next start

Nothing has its name before it is on the disk, and nothing older goes before that: write aside, fsync, rename, fsync of
the folder, and only then remove. A power cut between any two of these leaves the new, the old, or both.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn, Self, TypeVar

import msgspec

from topfive import system
from topfive.data.outputs import MARK, MARKED
from topfive.errors import RefusedError, ResourceError, UsageError
from topfive.results.records import EpochRecord
from topfive.results.version1 import recipe_of_now, result_of_now, source_of_now

VERSION = 1  # of the manifest
KEPT = {"step": 2, "best": 1}
PAUSES = (0.1, 0.5, 1.0)  # seconds before each new try at a disk that fails for a moment
MOST_DIFFERENCES = 5
LONGEST = 60  # letters of a value that differs
SEAL = b',\n "sha256": "'
IMAGES = "images.csv.gz"
# what may lie in a folder that holds no run yet: of a start that failed, and of train --plan
BESIDE = ("lock", "bad_files.csv", MARK, "plan.png", "plan.svg")
LEFTOVER = re.compile(r"(run\.json|rows\.jsonl|images\.csv\.gz|\.topfive|probe|[a-z]+-\d+)\.\d+\.tmp")
SAME_IMAGES = ("where", "path", "name", "words", "notes")  # of a source: may differ where the fingerprint does not

T = TypeVar("T")


class Reading(msgspec.Struct, frozen=True):
    """How the images come to a training, which its result depends on."""

    side: int | None  # of the squares that are kept in memory; None where they are read anew in every epoch
    workers: int | None = None  # that read them anew; their number changes nothing


class Begun(msgspec.Struct, frozen=True):
    """The weights that a training began with."""

    where: str
    sha256: str


class Stated(msgspec.Struct, frozen=True):
    """What a run is, in JSON's own types."""

    network: dict[str, object]
    name: str
    recipe: dict[str, object]
    size: int
    source: dict[str, object]  # where, path, name, fingerprint, classes, words, train, val, split, upright, notes
    decoding: str
    machine: dict[str, object]
    versions: dict[str, str]
    command: list[str]
    world: int
    made: str
    towers: bool = False
    reading: Reading | None = None  # None where it was not recorded yet
    start: Begun | None = None


class Listed(msgspec.Struct, frozen=True):
    """A file of a checkpoint, as it was written."""

    size: int = msgspec.field(name="bytes")
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    version: int
    kind: str
    step: int
    about: dict[str, object]
    files: dict[str, Listed]


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint whose every byte is what was saved."""

    folder: Path
    kind: str
    step: int
    about: dict[str, object]
    files: dict[str, Listed]

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises: RefusedError where they are not those that were saved, ResourceError."""
        path, listed = self.folder / name, self.files[name]
        data = _read(path)
        if (found := hashlib.sha256(data).hexdigest()) != listed.sha256:
            sizes = f", {len(data):,} bytes, not {listed.size:,}" if len(data) != listed.size else ""
            raise RefusedError(f"{path} is damaged: its sha256 begins with {found[:8]}, not {listed.sha256[:8]}{sizes}")
        return data


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, verified whole. Raises: RefusedError, ResourceError."""
    manifest = _unsealed(folder / "manifest.json", Manifest)
    if manifest.version > VERSION:
        raise RefusedError(f"{folder} was saved by a newer topfive: upgrade it")
    if strange := [name for name in manifest.files if Path(name).name != name]:
        raise RefusedError(f"{folder} lists a file outside of it: {strange[0]!r}")
    found = Checkpoint(folder, manifest.kind, manifest.step, manifest.about, manifest.files)
    for name in found.files:
        found.read(name)
    return found


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

    def save(self, step: int, files: Mapping[str, bytes], about: Mapping[str, object], kind: str = "step") -> Path:
        """Save a checkpoint, then remove those before it that are not kept. Raises: ResourceError."""
        final = self.folder / "checkpoints" / f"{kind}-{step:08}"
        listed = {name: Listed(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
        manifest = _sealed(Manifest(VERSION, kind, step, dict(about), listed))

        def attempt() -> None:
            if _verifies(final):
                _sync(final.parent)
            else:
                _whole(final, {**files, "manifest.json": manifest})
            self._prune(kind, step)

        _insist(attempt, final, sum(map(len, files.values())), self.notes)
        self._damaged.discard(final)
        return final

    def newest(self, kind: str = "step") -> Checkpoint | None:
        """The checkpoint to continue from; damaged ones are skipped and noted. Raises: RefusedError if all are."""
        found, damaged = _newest(self.folder, kind)
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
        _insist(lambda: _whole(path, data), path, len(data), self.notes)

    def forget(self) -> None:
        """Leave the folder as none of a run, where nothing has been saved in it."""
        if self.newest() is None:
            for name in ("run.json", IMAGES):
                (self.folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.folder / "checkpoints").rmdir()

    def _prune(self, kind: str, step: int) -> None:
        """Remove what is older than `step`, which is on the disk; a damaged one does not count as kept."""
        older = [path for path in _checkpoints(self.folder, kind) if _step(path) < step]
        kept = [path for path in older if path not in self._damaged][: KEPT.get(kind, 1) - 1]
        for path in older:
            if path not in kept:
                _remove(path)


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
        _fail(error, folder)
    if strange and not path.exists():
        raise UsageError(f"{folder} is no run and not empty (it holds {min(strange)}): name one that is new or empty")
    run = Run(folder)
    try:
        run.notes += run._lock.take()
        if not (folder / MARK).exists():
            _insist(lambda: _whole(folder / MARK, MARKED), folder / MARK, 0, run.notes)
        if path.exists():
            now = msgspec.json.decode(msgspec.json.encode(stated), type=Stated)
            run.notes += _compare(folder, load_run(folder), now, again)
        else:
            _insist(lambda: _whole(path, _sealed(stated)), path, 0, run.notes)
        if images and not (folder / IMAGES).exists():
            content = images()
            _insist(lambda: _whole(folder / IMAGES, content), folder / IMAGES, len(content), run.notes)
        _insist(lambda: _prepare(folder), folder, 0, run.notes)
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
    stated = _unsealed(folder / "run.json", Stated)
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
        return [msgspec.convert(result_of_now(msgspec.json.decode(line)), kind) for line in _read(path).splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path} is damaged: {error}") from None


def newest_in(folder: Path, kind: str = "step", damaged: list[str] | None = None) -> Checkpoint:
    """The newest whole checkpoint of a run, for those who only read; `damaged` is told which newer ones are not whole.

    Raises: UsageError, RefusedError.
    """
    load_run(folder)
    found, wrong = _newest(folder, kind)
    if damaged is not None:
        damaged += wrong.values()
    if not found:
        raise RefusedError(f"{folder} has no whole checkpoint")
    return found


def _newest(folder: Path, kind: str) -> tuple[Checkpoint | None, dict[Path, str]]:
    """The newest whole checkpoint of a run, and what is wrong with those that are newer."""
    damaged: dict[Path, str] = {}
    for path in _checkpoints(folder, kind):
        try:
            found = open_checkpoint(path)
            if (found.kind, found.step) != (kind, _step(path)):
                raise RefusedError(f"{path} is another one, {found.kind} {found.step}")
        except RefusedError as error:
            damaged[path] = str(error)
        else:
            return found, damaged
    return None, damaged


def verify(folder: Path) -> list[str]:
    """What is damaged of a run: a sentence each, with the file and, of a checkpoint's, both hashes."""
    wrong = []
    checks: list[Callable[[], object]] = [partial(load_run, folder)]
    for check in checks + [partial(open_checkpoint, path) for path in _checkpoints(folder)]:
        try:
            check()
        except RefusedError as error:
            wrong.append(str(error))
    return wrong


def _checkpoints(folder: Path, kind: str = "[a-z]+") -> list[Path]:
    """The folders of a run's checkpoints, the newest first."""
    found = [path for path in (folder / "checkpoints").glob("*-*") if re.fullmatch(rf"{kind}-\d+", path.name)]
    return sorted(found, key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def find_runs(root: Path) -> list[Path]:
    """The folders of runs at or below `root`; not those inside of another run."""
    found = []
    for folder, below, files in os.walk(root):
        if "run.json" in files:
            found.append(Path(folder))
            below.clear()
    return sorted(found)


# --- the same run? --------------------------------------------------------------------------------------------------


def _compare(folder: Path, then: Stated, now: Stated, again: bool) -> list[str]:
    """What differs and may, in sentences. Raises: UsageError for what may not."""

    def begun(run: Stated) -> dict[str, object]:
        # why: a run of before the two were recorded does not say what it began with; one with a checkpoint needs not
        known = then.reading is not None and not (again and now.start is None)
        return {"start": run.start.sha256[:8] if run.start else None} if known else {}

    def determining(run: Stated) -> dict[str, object]:
        source = {key: value for key, value in run.source.items() if key not in SAME_IMAGES}
        machines = {"world": run.world, "towers": run.towers}
        parts = {"network": run.network, "recipe": run.recipe, "size": run.size, **machines, "source": source}
        return {**parts, **begun(run)}

    def elsewhere(run: Stated) -> dict[str, object]:
        return {**run.versions, **run.machine, "decoding": run.decoding}

    def otherwise(run: Stated) -> dict[str, object]:
        place = "path" if "path" in then.source and "path" in now.source else "where"
        return {"images in": run.source.get(place), "command": " ".join(run.command)}

    if found := [f"{what} {old} -> {new}" for what, old, new in _differences(determining(then), determining(now))]:
        more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        listed = ", ".join(found[:MOST_DIFFERENCES]) + more
        raise UsageError(f"{folder} was started with other settings: {listed}; {_advice(folder, then, now, again)}")
    inexact, exact = (
        [f"{what} {old} there, {new} now" for what, old, new in _differences(part(then), part(now))]
        for part in (elsewhere, otherwise)
    )
    return [f"{'; '.join(inexact)}: not bit-identical", *exact] if inexact else exact


def _advice(folder: Path, then: Stated, now: Stated, again: bool) -> str:
    """What to do about a run of other settings."""
    if again:
        return "it continues with those alone: give it its own images with --data, or train anew"
    before, after = then.recipe.get("epochs"), now.recipe.get("epochs")
    if isinstance(before, int) and isinstance(after, int) and after > before:
        return (
            f"its schedule ends with epoch {before} and cannot be stretched afterwards: to train its weights further, "
            f"name a new folder and --start {folder}"
        )
    return "name another folder, or use those"


def _differences(old: object, new: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(what, old, new), each for people; of a list the first that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"number of {path}", str(len(old)), str(len(new))
        for at, (one, other) in enumerate(zip_longest(old, new)):
            if one != other:
                yield from _differences(one, other, f"{path}[{at}]")
                break
    elif old != new:
        yield path, *_shown(old, new)


def _shown(old: object, new: object) -> tuple[str, str]:
    """Values that differ, for people: of long ones what is around the first place where they do."""
    one, other = (
        "none" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for value in (old, new)
    )
    if max(len(one), len(other)) <= LONGEST:
        return one, other
    first = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    start = max(0, first - LONGEST // 3)
    one, other = (f"...{text[start:]}" if start else text for text in (one, other))
    one, other = (text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..." for text in (one, other))
    return one, other


# --- the lock -------------------------------------------------------------------------------------------------------

_held: set[int] = set()  # the descriptors of this process's locks


class Lock:
    """A file that one process holds, and in which it is named. Raises: ResourceError."""

    def __init__(self, path: Path) -> None:
        self.path, self._taken = path, False
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | system.BINARY, 0o666)
        except OSError as error:
            _fail(error, path)
        _held.add(self._handle)

    def take(self) -> list[str]:
        """Lock the folder until this process ends, in whatever way; what is to be said. Raises: UsageError."""
        notes, free = list[str](), True
        try:
            free = system.lock(self._handle)
        except OSError as error:  # some network file systems have no locks
            notes.append(f"{self.path.parent} cannot be locked ({error.strerror}): start nothing else there")
        if not free:
            os.lseek(self._handle, 0, os.SEEK_SET)
            process, _, host = os.read(self._handle, 500).decode(errors="replace").partition(" ")
            who = f"process {process} on {host}" if process and host else "another process"
            raise UsageError(f"{self.path.parent} is in use by {who}: wait for it, or name another folder")
        try:
            self._taken = True
            self._sign(str(os.getpid()))
        except OSError as error:
            _fail(error, self.path)
        return notes

    def release(self) -> None:
        """Let others take it."""
        try:
            if self._taken and self._handle in _held:
                self._sign("")  # why: a later start reads who holds the lock before its next holder has said so
        except OSError:
            pass  # the name there is then of a process that is gone
        finally:
            self._taken = False
            _unlock(self._handle)

    def _sign(self, process: str) -> None:
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.ftruncate(self._handle, os.write(self._handle, f"{process} {system.host()}".encode()))


def _unlock(handle: int) -> None:
    if handle in _held:  # not so in a forked child, where the number may be another file's by now
        _held.discard(handle)
        os.close(handle)


if hasattr(os, "register_at_fork"):
    # why: a worker that outlives a killed parent would continue holding its locks
    os.register_at_fork(after_in_child=lambda: list(map(_unlock, tuple(_held))))


# --- onto the disk --------------------------------------------------------------------------------------------------


def _prepare(folder: Path) -> None:
    """Remove what killed processes left, make what is missing, and find out at once whether it can be written."""
    places = folder, folder / "checkpoints"
    os.makedirs(places[1], exist_ok=True)
    for place in places:  # why: in both before the first probe; it may be these that have filled the disk
        for name in filter(LEFTOVER.fullmatch, os.listdir(place)):
            _delete(place / name)
    for place in places:
        probe = place / f"probe.{os.getpid()}.tmp"
        _put(probe, b"?")
        os.unlink(probe)
        _sync(place)
    with contextlib.suppress(PermissionError):  # a parent that we may not list is not ours to look after
        _sync(folder.parent)


def _insist(action: Callable[[], object], path: Path, need: int, notes: list[str]) -> None:
    """Do what writes `path`, and do it again where the disk fails for a moment. Raises: ResourceError."""
    for pause in (*PAUSES, None):
        try:
            action()  # why: as a whole; an fsync that failed and then succeeds has not written what it had lost
            return
        except OSError as error:
            if error.errno != errno.EIO or pause is None:
                _fail(error, path, need)
            notes.append(f"{path}: {error.strerror}, tried again")
            time.sleep(pause)


def _fail(error: OSError, path: Path, need: int = 0) -> NoReturn:
    room = ""
    if need:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            room = f" ({need / 1e6:,.1f} MB needed, {free / 1e6:,.1f} MB free)"
    raise ResourceError(f"{path} cannot be written: {error.strerror}{room}") from error


def _whole(final: Path, content: bytes | Mapping[str, bytes]) -> None:
    """Write a file, or a folder of files, whole or not at all. A folder that has the name is damaged and goes."""
    aside = final.with_name(f"{final.name}.{os.getpid()}.tmp")
    _delete(aside)
    try:
        if isinstance(content, bytes):
            _put(aside, content)
        else:
            os.mkdir(aside)
            for name, data in content.items():
                _put(aside / name, data)
            _sync(aside)
            if final.exists():
                _remove(final)
        os.replace(aside, final)
    except OSError:
        _delete(aside)
        raise
    _sync(final.parent)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, of which half is never seen under its name."""
    aside = folder.with_name(f"{folder.name}.0.tmp")
    _delete(aside)
    os.replace(folder, aside)
    _delete(aside)


def _delete(path: Path) -> None:
    """Delete a file or folder; what cannot be deleted now is left for the next start."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else os.unlink(path)


def _put(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | system.BINARY, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """Make the names in a folder last."""
    try:
        system.sync_folder(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise


# --- and back -------------------------------------------------------------------------------------------------------


def _sealed(value: object) -> bytes:
    """The value as JSON whose last member is the sha256 of what is before it."""
    head = msgspec.json.format(msgspec.json.encode(value), indent=1).removesuffix(b"\n}")
    return head + _seal(head)


def _seal(head: bytes) -> bytes:
    return SEAL + hashlib.sha256(head).hexdigest().encode() + b'"\n}\n'


def _unsealed(path: Path, kind: type[T]) -> T:
    data = _read(path)
    head = data.rpartition(SEAL)[0]
    if data != head + _seal(head):
        raise RefusedError(f"{path} is damaged: it is not as it was written")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"{path} is of another topfive: {error}") from None


def _read(path: Path) -> bytes:
    """Raises: RefusedError for what is missing or cannot be read back, ResourceError for what we may not read now."""
    try:
        if not path.is_file():  # why: a pipe of that name would be waited for
            raise RefusedError(f"{path} is missing")
        return path.read_bytes()
    except OSError as error:
        failure = RefusedError if error.errno == errno.EIO else ResourceError
        raise failure(f"{path} cannot be read: {error.strerror}") from None


def _verifies(folder: Path) -> bool:
    try:
        return bool(open_checkpoint(folder))
    except RefusedError:
        return False
